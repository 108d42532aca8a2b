#!/usr/bin/python3
# SPDX-License-Identifier: MIT
"""What a run of programs built for gcov has reached: coverage.py DIR

Prints lines of code, lines that ran and their share for each file and each folder of the product.
A header counts once, however many files include it. What never returned from main, as a process
that was killed or left by _exit, has told nothing.
"""

import collections
import json
import subprocess
import sys
from pathlib import Path

FOLDERS = ("common", "hub", "agent")


def reports(build):
    """One report of gcov for each object, run or not."""
    notes = [str(path) for folder in FOLDERS for path in (build / "obj" / folder).rglob("*.gcno")]
    command = ["gcov", "--json-format", "--stdout", *sorted(notes)]
    # On standard error it names each file that no process has run.
    quiet = {"stdout": subprocess.PIPE, "stderr": subprocess.DEVNULL}
    output = subprocess.run(command, check=True, text=True, **quiet).stdout
    return [json.loads(line) for line in output.splitlines() if line.strip()]


def lines_of(build):
    """File, line: how often it ran."""
    lines = collections.defaultdict(lambda: collections.defaultdict(int))
    for report in reports(build):
        for source in report["files"]:
            if source["file"].split("/")[0] not in FOLDERS:
                continue
            for line in source["lines"]:
                lines[source["file"]][line["line_number"]] += line["count"]
    return lines


def say(name, counts):
    ran = sum(count > 0 for count in counts)
    print(f"{name:<28} {len(counts):>6} lines {ran:>6} ran {100 * ran / max(1, len(counts)):6.1f} %")


def main():
    lines = lines_of(Path(sys.argv[1]))
    for name in sorted(lines):
        say(name, list(lines[name].values()))
    print()
    total = []
    for folder in FOLDERS:
        counts = [n for name in lines if name.startswith(folder + "/") for n in lines[name].values()]
        say(folder + "/", counts)
        total += counts
    say("all", total)
    return 0 if total else 1


if __name__ == "__main__":
    sys.exit(main())
