#!/usr/bin/python3
# SPDX-License-Identifier: MIT
"""Every file of the product says what it holds, and where its tests are: tested.py [DIR]

A head stands before the first include: a comment beside the licence's, that says what this file
holds or who tests it; what the module is for is its header's to say.

common/link/frame.c has tests/unit/common/link/test_frame.c, or the comments before its first
include say who tests it instead: "Tested by sim_lanes, fuzz_hub and test_restart.py." One line
a finding, also where a name is nobody's; silent when all is well.
"""

import re
import sys
from pathlib import Path

ROOT = Path(sys.argv[1] if len(sys.argv) > 1 else Path(__file__).parents[2]).resolve()
TESTS = ROOT / "tests"
NAME = r"(?:test|sim|fuzz)_\w+(?:\.py)?"
TESTED = re.compile(rf"\bTested by ({NAME}(?:(?:,| and|, and) {NAME})*)")


def programs():
    """The names of all tests: of programs without their .c, of end-to-end files with their .py."""
    names = {path.stem for kind in ("unit", "sim", "fuzz") for path in (TESTS / kind).rglob("*_*.c")}
    return names | {path.name for path in (TESTS / "e2e").glob("test_*.py")}


def head(path):
    """The comments before the first include as one line of text."""
    text = path.read_text().partition("#include")[0]
    return " ".join(re.sub(r"/\*|\*/|^ \*", " ", text, flags=re.MULTILINE).split())


def headless(path):
    said = re.sub(r"^SPDX\S+ \S+", "", head(path)).strip()
    return None if said else "has no head: what does this file hold?"


def untested(path, known):
    own = TESTS / "unit" / path.parent.relative_to(ROOT) / f"test_{path.name}"
    said = TESTED.search(head(path))
    if not said:
        return None if own.exists() else "has no unit test of its own, and says nobody who tests it"
    unknown = set(re.findall(NAME, said.group(1))) - known
    return f"is said to be tested by {', '.join(sorted(unknown))}, which is not there" if unknown else None


def main():
    known = programs()
    found = 0
    for folder in ("common", "hub", "agent"):
        for path in sorted((ROOT / folder).rglob("*.c")):
            for what in filter(None, (headless(path), untested(path, known))):
                print(f"{path.relative_to(ROOT)}:1: {what}")
                found += 1
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
