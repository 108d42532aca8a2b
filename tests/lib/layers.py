#!/usr/bin/python3
# SPDX-License-Identifier: MIT
"""Checks how the product's files stand to each other: layers.py [--figures] [DIR]

A file includes its own folder or one below it (ORDER), never upwards, and writes the whole path
from the project's root. No circle: neither between files (a file is its .c with its .h, and knows
another one by including it or by naming a function of its .c) nor between folders. A file has at
most 500 lines. One line a finding, FILE:LINE first, and exit status 1; silent when all is well.
--figures prints instead how long files and functions are, and how many circles there are.
"""

import re
import statistics
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
LINES_MAX = 500

# From the ground up; what stands in one line may not see each other. A folder that is missing here is a finding.
ORDER = (
    ("common/base",),
    ("common/os",),
    ("common/crypto",),
    ("common/trust",),
    ("common/disk",),
    ("common/link",),
    ("common/session",),
    ("common/stream",),
    ("common/command",),
    ("agent/uplink", "agent/mesh", "hub/registry", "hub/host"),
    ("agent/lanes", "hub/core"),
    ("agent/front", "hub/login"),
    ("agent/netcheck",),
    ("agent/daemon", "hub/daemon"),
    ("agent/cmd", "hub/cmd"),
    ("agent", "hub"),
)
LEVEL = {folder: level for level, folders in enumerate(ORDER) for folder in folders}
PROGRAMS = ("common", "hub", "agent")
INCLUDE = re.compile(r'^#include "([^"]+)"', re.MULTILINE)
# Comments, strings and characters; and a function of external linkage, as clang-format writes it.
NO_CODE = re.compile(r"/\*.*?\*/|\"(?:\\.|[^\"\\\n])*\"|'(?:\\.|[^'\\\n])*'", re.DOTALL)
EXTERNAL = re.compile(r"^(?!static\b)\w[\w *]*\n(\w+)\([^;{}]*\)\n\{", re.MULTILINE)
FUNCTION = re.compile(r"^(\w[\w ]*)\(.*?^\}", re.MULTILINE | re.DOTALL)


def sources(root):
    """The text of each file of the product by its path."""
    found = (path for program in PROGRAMS for path in sorted((root / program).rglob("*.[ch]")))
    return {str(path.relative_to(root)): path.read_text() for path in found}


def folder_of(path):
    return path.rpartition("/")[0]


def unit_of(path):
    return path.rpartition(".")[0]


def includes(files):
    """File, line, what it includes: of our own files."""
    for path, text in files.items():
        for match in INCLUDE.finditer(text):
            yield path, text.count("\n", 0, match.start()) + 1, match.group(1)


def open_tables(files):
    """Tables whose keys others choose have a secret hash: uthash is had by one header only."""
    for path, text in files.items():
        found = re.search(r"^#include <uthash.h>", text, re.MULTILINE)
        if found and path != "common/base/hash_table.h":
            yield f"{path}:{text.count(chr(10), 0, found.start()) + 1}: include common/base/hash_table.h, whose hash is secret"


def wrong_ways(files):
    for path, line, target in includes(files):
        here, there = folder_of(path), folder_of(target)
        if target not in files:
            yield f"{path}:{line}: {target} is no path from the project's root"
        elif here not in LEVEL or there not in LEVEL:
            yield f"{path}:{line}: {here if here not in LEVEL else there} has no place in the order of folders"
        elif here == there:
            continue
        elif LEVEL[there] >= LEVEL[here]:
            yield f"{path}:{line}: {here} must not include {there}, which is not below it"
        elif there.partition("/")[0] not in ("common", here.partition("/")[0]):
            yield f"{path}:{line}: {here} and {there} are parts of two programs"


def circles(edges):
    """Groups of nodes that reach each other (Tarjan's strongly connected components of two and more)."""
    order, low, stack, found = {}, {}, [], []

    def visit(node):
        order[node] = low[node] = len(order)
        stack.append(node)
        for after in sorted(edges.get(node, ())):
            if after not in order:
                visit(after)
                low[node] = min(low[node], low[after])
            elif after in stack:
                low[node] = min(low[node], order[after])
        if low[node] == order[node]:
            group = []
            while not group or group[-1] != node:
                group.append(stack.pop())
            if len(group) > 1:
                found.append(sorted(group))

    sys.setrecursionlimit(10000)
    for node in sorted(edges):
        if node not in order:
            visit(node)
    return found


def functions(files):
    """Who defines it: files of common and of one program by the name of a function."""
    owners = {}
    for path, code in files.items():
        if path.endswith(".c") and not path.endswith("/main.c"):
            for name in EXTERNAL.findall(code):
                owners.setdefault(name, set()).add(path)
    return owners


def neighbours(files):
    """File and file that it knows: by an include, or by a function's name."""
    for path, _, target in includes(files):
        if target in files:
            yield path, target
    code = {path: NO_CODE.sub(" ", text) for path, text in files.items()}
    owners = functions(code)
    for path, text in code.items():
        mine = {"common", path.partition("/")[0]}
        for name in set(re.findall(r"\w+", text)) & owners.keys() if path.endswith(".c") else ():
            yield from ((path, owner) for owner in owners[name] if owner.partition("/")[0] in mine)


def edges_between(files, name_of):
    edges = {}
    for path, other in neighbours(files):
        if name_of(path) != name_of(other):
            edges.setdefault(name_of(path), set()).add(name_of(other))
    return edges


def findings(files):
    yield from open_tables(files)
    yield from wrong_ways(files)
    for name_of in (unit_of, folder_of):
        for group in circles(edges_between(files, name_of)):
            yield f"a circle: {' '.join(group)}"
    for path, text in files.items():
        lines = text.count("\n")
        if lines > LINES_MAX:
            yield f"{path}:{LINES_MAX + 1}: {lines} lines, at most {LINES_MAX} read well"


def say(what, numbers):
    numbers = sorted(numbers)
    p90 = numbers[min(len(numbers) - 1, len(numbers) * 9 // 10)]
    print(f"{what:<22} {len(numbers):>6}  median {statistics.median(numbers):>5g}  p90 {p90:>4}  max {numbers[-1]:>4}")


def figures(files):
    say("lines of a file", [text.count("\n") for text in files.values()])
    functions = [m.group(0).count("\n") + 1 for p, t in files.items() if p.endswith(".c") for m in FUNCTION.finditer(t)]
    say("lines of a function", functions)
    print(f"files over {LINES_MAX} lines    {sum(text.count(chr(10)) > LINES_MAX for text in files.values()):>6}")
    wrong = list(wrong_ways(files))
    rootless = sum("is no path" in finding for finding in wrong)
    print(f"includes that go up    {len(wrong) - rootless:>6}")
    print(f"not from the root      {rootless:>6}")
    groups = circles(edges_between(files, unit_of))
    print(f"circles of files       {len(groups):>6}  ({', '.join(str(len(group)) for group in groups) or 'none'} files)")
    print(f"circles of folders     {len(circles(edges_between(files, folder_of))):>6}")


def main():
    words = [word for word in sys.argv[1:] if word != "--figures"]
    files = sources(Path(words[0]).resolve() if words else ROOT)
    if "--figures" in sys.argv[1:]:
        figures(files)
        return 0
    found = list(findings(files))
    print("\n".join(found), end="\n" if found else "")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
