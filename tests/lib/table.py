#!/usr/bin/python3
# SPDX-License-Identifier: MIT
"""Checks the table of rules in tests/README.md: every test that it names is in the source and runs,
every rule has its rows, every file of tests is mentioned. `file::name` names a test, `::name` one
more of the same file. Silent when all is well; one line a finding, and exit status 1."""

import re
import sys
from pathlib import Path

TESTS = Path(__file__).resolve().parents[1]
FOLDERS = {"test_*.c": "unit", "sim_*.c": "sim", "test_*.py": "e2e", "fuzz_*.c": "fuzz"}
RULES = range(1, 31)
NAMED = re.compile(r"`([A-Za-z0-9_/]+\.(?:c|py))?::([a-z][a-z0-9_]*)`")


def sources():
    """The text of each file of tests by its name."""
    return {
        str(path.relative_to(TESTS / folder)): path.read_text()
        for glob, folder in FOLDERS.items()
        for path in (TESTS / folder).rglob(glob)
    }


def found_as(files, named):
    """The one file whose path ends with what the table says, or None."""
    paths = [path for path in files if path == named or path.endswith(f"/{named}")]
    return paths[0] if len(paths) == 1 else None


def runs(name, text, is_python):
    """A function of that name is there, and in C main's list has it too."""
    if is_python:
        return re.search(rf"^(async )?def {name}\(", text, re.MULTILINE)
    defined = re.search(rf"^{name}\(void \*\*state\)", text, re.MULTILINE)
    return defined and re.search(rf"\w\(\s*{name}(,\s*\w+)*\),$", text, re.MULTILINE)


def findings(readme, files):
    named, rules, last = 0, set(), None
    for number, line in enumerate(readme.splitlines(), 1):
        cells = [cell.strip() for cell in line.split("|")]
        if line.startswith("|") and cells[1].isdigit():
            rules.add(int(cells[1]))
            if not NAMED.search(cells[3]) and not cells[3].startswith("later:"):
                yield f"README.md:{number}: no test is named"
        for file, name in NAMED.findall(line) if line.startswith("|") else ():
            last = file or last
            named += 1
            path = found_as(files, last)
            if path is None:
                yield f"README.md:{number}: there is no {last}, or more than one"
            elif not runs(name, files[path], path.endswith(".py")):
                yield f"README.md:{number}: {last} has no test {name}"
    yield from (f"README.md: rule {rule} is not in the table" for rule in RULES if rule not in rules)
    for name in sorted(files):
        base = name.rpartition("/")[2]
        if (base.endswith(".py") or base.startswith("sim_")) and f"`{base}`" not in readme:
            yield f"README.md: {name} is not mentioned"
    if named == 0:
        yield "README.md: it names no test at all"


def main():
    found = list(findings((TESTS / "README.md").read_text(), sources()))
    print("\n".join(found), end="\n" if found else "")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
