#!/usr/bin/python3
# SPDX-License-Identifier: MIT
"""Runs the tests and counts them: collect.py [--build DIR] [--only WORD] unit|sim|e2e ...

unit and sim are cmocka programs that speak TAP; e2e is pytest over tests/e2e. A program that
crashes, hangs, leaks or runs no test at all counts as one failed test. Each program's whole output
is kept in DIR/logs/, and shown when something in it failed. The last line is "N passed, N failed",
and the exit status is 0 only when nothing failed and something passed.
"""

import argparse
import concurrent.futures
import os
import re
import signal
import subprocess
import sys
import time
import xml.etree.ElementTree as ElementTree
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
SECONDS_MAX = {"unit": 120, "sim": 300, "e2e": 3600 if os.environ.get("CBX_FULL") else 900}
TAP = re.compile(r"^(not )?ok \d+")
SKIP = re.compile(r"^ok \d+.*# *skip", re.IGNORECASE)
PLAN = re.compile(r"^1\.\.(\d+)")


class Result:
    """What one program or one run of pytest came to."""

    def __init__(self, name):
        self.name = name
        self.passed = 0
        self.failed = 0
        self.skipped = 0
        self.note = ""
        self.output = ""
        self.seconds = 0.0


def count_tap(text, result):
    """Counts TAP lines; tests that a plan promised and that never reported are failed."""
    promised = 0
    for line in text.splitlines():
        plan = PLAN.match(line)
        if plan:
            promised += int(plan.group(1))
        elif SKIP.match(line):
            result.skipped += 1
        elif TAP.match(line):
            if line.startswith("not"):
                result.failed += 1
            else:
                result.passed += 1
    reported = result.passed + result.failed + result.skipped
    if promised > reported:
        result.failed += promised - reported
        result.note = f"{promised - reported} of {promised} tests never reported"
    elif reported == 0:
        result.failed += 1
        result.note = "no test ran"


def how_it_ended(status):
    if status < 0:
        return f"killed by {signal.Signals(-status).name}"
    return f"exit status {status}"


def run_program(kind, program, logs):
    result = Result(f"{kind} {program.name.removeprefix('test_').removeprefix('sim_')}")
    environment = dict(
        os.environ,
        CMOCKA_MESSAGE_OUTPUT="TAP",
        ASAN_OPTIONS="detect_leaks=1:detect_stack_use_after_return=1",
        UBSAN_OPTIONS="print_stacktrace=1",
    )
    if not program.exists():
        result.failed = 1
        result.note = "it was not built"
        return result
    started = time.monotonic()
    try:
        done = subprocess.run(
            [program],
            cwd=ROOT,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            timeout=SECONDS_MAX[kind],
            check=False,
        )
        raw, status = done.stdout, done.returncode
    except subprocess.TimeoutExpired as late:
        raw, status = late.stdout or b"", None
    result.seconds = time.monotonic() - started
    result.output = raw.decode(errors="replace")
    (logs / f"{kind}-{program.name}.log").write_text(result.output)
    count_tap(result.output, result)
    if status is None:
        result.failed = max(result.failed, 1)
        result.note = f"still running after {SECONDS_MAX[kind]} s"
    elif status != 0 and result.failed == 0:
        # All tests passed and yet it failed: a sanitizer's report at the end.
        result.failed = 1
        result.note = how_it_ended(status)
    elif status < 0:
        result.note = how_it_ended(status)
    return result


def run_e2e(build, only, logs):
    """pytest writes to the terminal itself; the counts come from its report."""
    result = Result("e2e")
    report = logs / "e2e.xml"
    report.unlink(missing_ok=True)
    command = [sys.executable, "-B", "-m", "pytest", "-v", "-p", "no:cacheprovider"]
    command += ["--rootdir", "tests/e2e", "-c", "/dev/null", "-o", "junit_family=xunit2"]
    command += ["-o", "timeout=60", "--tb=short", f"--junit-xml={report}", "tests/e2e"]
    if only:
        command += ["-k", only]
    started = time.monotonic()
    child = subprocess.Popen(command, cwd=ROOT, env=dict(os.environ, CBX_BUILD=str(build)))
    try:
        status = child.wait(SECONDS_MAX["e2e"])
    except subprocess.TimeoutExpired:
        child.terminate()  # so that the fixtures take their processes down
        try:
            child.wait(20)
        except subprocess.TimeoutExpired:
            child.kill()
        status = None
    result.seconds = time.monotonic() - started
    if report.exists():
        for suite in ElementTree.parse(report).getroot().iter("testsuite"):
            bad = int(suite.get("failures", 0)) + int(suite.get("errors", 0))
            skipped = int(suite.get("skipped", 0))
            result.failed += bad
            result.skipped += skipped
            result.passed += max(0, int(suite.get("tests", 0)) - bad - skipped)
    if status is None:
        result.note = f"still running after {SECONDS_MAX['e2e']} s"
    elif status != 0:
        result.note = f"pytest ended with {how_it_ended(status)}"
    if (status != 0 and result.failed == 0) or result.passed + result.failed == 0:
        result.failed += 1
        result.note = result.note or "no test ran"
    return result


def programs(kind, build, only):
    """The programs there are sources for, built or not."""
    source, pattern, place = {
        "unit": ("tests/unit", "test_*.c", build / "asan" / "unit"),
        "sim": ("tests/sim", "sim_*.c", build / "asan"),
    }[kind]
    names = sorted(path.stem for path in (ROOT / source).glob(pattern))
    return [place / name for name in names if not only or only in name]


def say(result, show_output):
    counts = f"{result.passed} passed"
    if result.failed:
        counts += f", {result.failed} failed"
    if result.skipped:
        counts += f", {result.skipped} skipped"
    note = f"  ({result.note})" if result.note else ""
    print(f"{result.name:<24} {counts:<24} {result.seconds:6.1f} s{note}", flush=True)
    if result.failed and show_output:
        for line in result.output.splitlines()[-400:]:
            print(f"    {line}")
        sys.stdout.flush()


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--build", default="build")
    parser.add_argument("--only")
    parser.add_argument("kinds", nargs="+", choices=["unit", "sim", "e2e"])
    options = parser.parse_args()
    build = Path(options.build).absolute()
    logs = build / "logs"
    logs.mkdir(parents=True, exist_ok=True)

    results = []
    todo = [(k, p) for k in options.kinds if k != "e2e" for p in programs(k, build, options.only)]
    with concurrent.futures.ThreadPoolExecutor(os.cpu_count() or 2) as pool:
        for result in pool.map(lambda pair: run_program(*pair, logs), todo):
            say(result, show_output=True)
            results.append(result)
    for kind in ("unit", "sim"):
        if kind in options.kinds and not any(k == kind for k, _ in todo) and not options.only:
            results.append(Result(kind))
            results[-1].failed = 1
            print(f"{kind}: there is no test program")
    if "e2e" in options.kinds:
        results.append(run_e2e(build, options.only, logs))
        say(results[-1], show_output=False)

    passed = sum(result.passed for result in results)
    failed = sum(result.failed for result in results)
    if passed + failed == 0:
        print(f"no test is called *{options.only}*")
        failed = 1
    skipped = sum(result.skipped for result in results)
    if skipped:
        print(f"{skipped} skipped")
    print(f"{passed} passed, {failed} failed", flush=True)
    return 1 if failed or not passed else 0


if __name__ == "__main__":
    sys.exit(main())
