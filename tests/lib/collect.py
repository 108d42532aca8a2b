#!/usr/bin/python3
# SPDX-License-Identifier: MIT
"""Runs the tests and counts them: collect.py [--build DIR] [--only WORD] KIND ...

unit and sim are cmocka programs that speak TAP; e2e is pytest over tests/e2e; fuzz are libFuzzer
programs, one test each, which run for FUZZ_SECONDS (20), or FUZZ_RUNS times, and must find nothing.
What they find is kept in DIR/logs/, what they learn in DIR/corpus/. alloc and valgrind run the unit
programs again, with failing allocations (see failing_run.c) and under memcheck: one test each. A program that
crashes, hangs, leaks or runs no test at all counts as one failed test. Each program's whole output
is kept in DIR/logs/, and shown when something in it failed. smoke are a few end-to-end tests that
tell most. A test that is skipped says why; each reason is shown once, with its number. What the run
has left behind (leftovers.py) is one failed test. The last line is "N passed, N failed, N skipped"
(without the last part when there is none), and the exit status is 0 only when nothing failed and
something passed.
"""

import argparse
import collections
import concurrent.futures
import os
import re
import signal
import subprocess
import sys
import time
import xml.etree.ElementTree as ElementTree
from pathlib import Path

from leftovers import Watch, adopt

ROOT = Path(__file__).resolve().parents[2]
# What streams and fronts do, on each plane by itself; else agents choose.
PLANES = ("ssh", "relay", "direct")
PLANE_FILES = ("test_halfclose.py", "test_refusals.py")
if os.environ.get("CBX_FULL"):
    PLANE_FILES += ("test_transfer.py", "test_ssh.py", "test_loads.py")
SECONDS_MAX = {"unit": 120, "sim": 300, "e2e": 3600 if os.environ.get("CBX_FULL") else 900}
AGAIN_SECONDS_MAX = 3600 if os.environ.get("CBX_FULL") else 600
SECONDS_MAX.update(alloc=AGAIN_SECONDS_MAX, valgrind=AGAIN_SECONDS_MAX)
# The simulator's programs whose allocations fail too, as in the Makefile; and what takes longest, first.
ALLOC_SIM = ["sim_streams", "sim_hostile_handshakes", "sim_hostile_trust", "sim_hostile_circuits", "sim_rendezvous"]
LONGEST = ["agent/lanes/test_direct", "agent/uplink/test_uplink", "common/stream/test_resume"]
LONGEST += ["common/stream/test_stream_flow", "common/stream/test_stream", "hub/registry/test_registry"]
LONGEST += ["agent/front/test_conn"]
VALGRIND = ["valgrind", "-q", "--error-exitcode=99", "--leak-check=full", "--num-callers=24"]
VALGRIND += ["--show-leak-kinds=definite", "--errors-for-leak-kinds=definite"]
VALGRIND += ["--suppressions=tests/lib/valgrind.supp"]
# A dial by each front, both ends of a stream, refusals, a restart: what breaks first.
SMOKE = (
    "test_halfclose.py",
    "test_refusals.py",
    "test_restart.py::test_killed_hub_returns_on_its_port_at_once",
    "test_restart.py::test_stream_cut_by_a_killed_hub_is_an_error_not_an_end",
)
TAP = re.compile(r"^(not )?ok \d+")
SKIP = re.compile(r"^(?:not )?ok \d+.*# *skip", re.IGNORECASE)
REASON = re.compile(r"^#? ?# skipped: (.*)")
PLAN = re.compile(r"^1\.\.(\d+)")
SUMMARY = re.compile(r"^(?:not )?ok 1 - (.*)", re.MULTILINE)
FUZZ_SECONDS = int(os.environ.get("FUZZ_SECONDS") or 20)
FUZZ_RUNS = int(os.environ.get("FUZZ_RUNS") or 0)
FUZZ_RUNS_LEAST = 200  # more than the inputs that are checked in
FUZZ_PROGRESS = re.compile(r"^#\d+\s|^\s+NEW_(FUNC|PC)\[|^\"|^MS: ")
FUZZ_RAN = re.compile(r"^stat::number_of_executed_units: *(\d+)", re.MULTILINE)
FUZZ_FOUND = re.compile(r"Test unit written to (\S+)")
FUZZ_COVERED = re.compile(r"DONE +cov: (\d+)")


class Result:
    """What one program or one run of pytest came to."""

    def __init__(self, name):
        self.name = name
        self.passed = 0
        self.failed = 0
        self.skipped = 0
        self.reasons = collections.Counter()
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
        elif REASON.match(line):
            result.reasons[REASON.match(line).group(1)] += 1
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


def environment_of(kind):
    environment = dict(os.environ, CMOCKA_MESSAGE_OUTPUT="TAP", UBSAN_OPTIONS="print_stacktrace=1")
    environment["ASAN_OPTIONS"] = "detect_leaks=1:detect_stack_use_after_return=1"
    if kind == "alloc":  # brings its own
        del environment["ASAN_OPTIONS"], environment["UBSAN_OPTIONS"]
    elif kind == "valgrind":
        environment["CBX_SLOW"] = "1"
    return environment


def count_as_one(result):
    """What ran under valgrind passed or did not; its tests were counted without it."""
    if result.failed == 0:
        result.note = f"{result.passed} tests"
    result.passed, result.failed, result.skipped = int(result.failed == 0), int(result.failed > 0), 0
    result.reasons.clear()


def told(name):
    """A test's name as people are told it: common/link/frame."""
    folder, _, program = name.rpartition("/")
    for prefix in ("test_", "sim_", "fuzz_"):
        program = program.removeprefix(prefix)
    return f"{folder}/{program}".lstrip("/")


def flat(name):
    """The same for a file's name: two folders may have tests of one name."""
    return name.replace("/", "-")


def run_program(kind, name, program, logs):
    result = Result(f"{kind} {told(name)}")
    if not program.exists():
        result.failed = 1
        result.note = "it was not built"
        return result
    started = time.monotonic()
    try:
        done = subprocess.run(
            (VALGRIND if kind == "valgrind" else []) + [program],
            cwd=ROOT,
            env=environment_of(kind),
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
    (logs / f"{kind}-{flat(name)}.log").write_text(result.output)
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
    summary = SUMMARY.search(result.output)
    if kind == "valgrind":
        count_as_one(result)
    elif kind == "alloc" and summary:
        result.note = result.note or summary.group(1)
    return result


def fuzz_command(name, program, logs):
    """From and into its own corpus, and from the one that is checked in."""
    corpora = [logs.parent / "corpus" / flat(name)]
    corpora[0].mkdir(parents=True, exist_ok=True)
    if (ROOT / "tests/fuzz" / name).is_dir():
        corpora.append(ROOT / "tests/fuzz" / name)
    end = f"-runs={FUZZ_RUNS}" if FUZZ_RUNS else f"-max_total_time={FUZZ_SECONDS}"
    return [program, end, "-print_final_stats=1", f"-artifact_prefix={logs}/fuzz-{flat(name)}-"] + corpora


def judge_fuzz(result, program, status):
    """One test: it ended by itself, found nothing, and has really run."""
    found = FUZZ_FOUND.search(result.output)
    ran = FUZZ_RAN.search(result.output)
    covered = FUZZ_COVERED.search(result.output)
    runs = int(ran.group(1)) if ran else 0
    result.failed = 1
    if found:
        result.note = f"a finding; replay it with: {program} {found.group(1)}"
    elif status is None:
        result.note = "did not end by itself"
    elif status != 0:
        result.note = how_it_ended(status)
    elif not covered or runs < (FUZZ_RUNS or FUZZ_RUNS_LEAST):
        result.note = f"only {runs:,} runs"
    else:
        result.passed, result.failed = 1, 0
        result.note = f"{runs:,} runs, {covered.group(1)} points of the code reached"


def run_fuzz(name, program, logs):
    result = Result(f"fuzz {told(name)}")
    if not program.exists():
        result.failed = 1
        result.note = "it was not built"
        return result
    started = time.monotonic()
    log = logs / f"fuzz-{flat(name)}.log"
    status = None
    with open(log, "wb") as out:
        try:
            status = subprocess.run(
                fuzz_command(name, program, logs),
                cwd=ROOT,
                env=dict(
                    os.environ,
                    ASAN_OPTIONS="quarantine_size_mb=16",
                    UBSAN_OPTIONS="print_stacktrace=1",
                ),
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=subprocess.STDOUT,
                timeout=None if FUZZ_RUNS else FUZZ_SECONDS + 120,
                check=False,
            ).returncode
        except subprocess.TimeoutExpired:
            pass
    result.seconds = time.monotonic() - started
    result.output = log.read_text(errors="replace")
    judge_fuzz(result, program, status)
    lines = result.output.splitlines()
    result.output = "\n".join(line for line in lines if not FUZZ_PROGRESS.match(line))
    return result


def run_one(kind, name, program, logs):
    return run_fuzz(name, program, logs) if kind == "fuzz" else run_program(kind, name, program, logs)


def run_e2e(build, only, logs, plane=None, quiet=False):
    """pytest writes to the terminal itself, unless quiet; the counts come from its report."""
    result = Result(f"e2e on {plane}" if plane in PLANES else f"e2e {plane}" if plane else "e2e")
    report = logs / (f"e2e-{plane}.xml" if plane else "e2e.xml")
    report.unlink(missing_ok=True)
    command = [sys.executable, "-B", "-m", "pytest", "-v", "-p", "no:cacheprovider"]
    command += ["--rootdir", "tests/e2e", "-c", "/dev/null", "-o", "junit_family=xunit2"]
    command += ["-o", "timeout=60", "--tb=short", f"--junit-xml={report}"]
    files = PLANE_FILES if plane in PLANES else SMOKE if plane == "smoke" else ("",)
    command += [str(Path("tests/e2e", name)) for name in files]
    environment = dict(os.environ, CBX_BUILD=str(build))
    if plane in PLANES:
        environment["CBX_TEST_PLANE"] = plane
    if only:
        command += ["-k", only]
    started = time.monotonic()
    log = open(report.with_suffix(".log"), "w+") if quiet else None
    child = subprocess.Popen(command, cwd=ROOT, env=environment, stdout=log, stderr=log)
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
    if log:
        log.seek(0)
        result.output = log.read()
        log.close()
    if report.exists():
        for suite in ElementTree.parse(report).getroot().iter("testsuite"):
            bad = int(suite.get("failures", 0)) + int(suite.get("errors", 0))
            skipped = int(suite.get("skipped", 0))
            result.failed += bad
            result.skipped += skipped
            result.passed += max(0, int(suite.get("tests", 0)) - bad - skipped)
            result.reasons.update(case.get("message") or "no reason" for case in suite.iter("skipped"))
    if status is None:
        result.note = f"still running after {SECONDS_MAX['e2e']} s"
    elif status != 0:
        result.note = f"pytest ended with {how_it_ended(status)}"
    if (status != 0 and result.failed == 0) or result.passed + result.failed == 0:
        result.failed += 1
        result.note = result.note or "no test ran"
    return result


def run_all_e2e(kinds, build, only, logs):
    """Tests of planes wait most of the time, so they run beside the others, but for full loads."""
    planes = PLANES if "planes" in kinds else ()
    both = planes and "e2e" in kinds and not os.environ.get("CBX_FULL")
    with concurrent.futures.ThreadPoolExecutor(1) as beside:
        waiting = [beside.submit(run_e2e, build, only, logs, plane, True) for plane in planes if both]
        if "e2e" in kinds:
            yield run_e2e(build, only, logs)
        for one in waiting:
            yield one.result()
    for plane in () if both else planes:
        yield run_e2e(build, only, logs, plane)


def programs(kind, build, tree, only):
    """Name and place of the programs there are sources for, built or not."""
    source, pattern, place = {
        "unit": ("tests/unit", "test_*.c", build / tree / "unit"),
        "sim": ("tests/sim", "sim_*.c", build / tree),
        "fuzz": ("tests/fuzz", "fuzz_*.c", build / "fuzz/run"),
        "alloc": ("tests/unit", "test_*.c", build / "alloc/unit"),
        "valgrind": ("tests/unit", "test_*.c", build / "plain/unit"),
    }[kind]
    paths = (ROOT / source).rglob(pattern)
    names = sorted(str(path.relative_to(ROOT / source).with_suffix("")) for path in paths)
    if kind in ("alloc", "valgrind"):
        names = [name for name in LONGEST if name in names] + [n for n in names if n not in LONGEST]
    found = [(name, place / name) for name in names]
    if kind == "alloc":
        found += [(name, build / "alloc" / name) for name in ALLOC_SIM]
    return [(name, path) for name, path in found if not only or only in name]


def say(result, show_output):
    counts = f"{result.passed} passed"
    if result.failed:
        counts += f", {result.failed} failed"
    if result.skipped:
        counts += f", {result.skipped} skipped"
    note = f"  ({result.note})" if result.note else ""
    print(f"{result.name:<36} {counts:<24} {result.seconds:6.1f} s{note}", flush=True)
    if result.failed and show_output:
        for line in result.output.splitlines()[-400:]:
            print(f"    {line}")
        sys.stdout.flush()


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--build", default="build")
    parser.add_argument("--tree", default="asan", help="where below DIR unit and sim are")
    parser.add_argument("--only")
    parser.add_argument("kinds", nargs="+", choices=[*SECONDS_MAX, "fuzz", "planes", "smoke"])
    options = parser.parse_args()
    build = Path(options.build).absolute()
    logs = build / "logs"
    logs.mkdir(parents=True, exist_ok=True)
    adopt()
    watch = Watch(ROOT, build)

    results = []
    todo = [
        (kind, name, program)
        for kind in options.kinds
        if kind not in ("e2e", "planes", "smoke")
        for name, program in programs(kind, build, options.tree, options.only)
    ]
    with concurrent.futures.ThreadPoolExecutor((os.cpu_count() or 2) + 1) as pool:
        # It waits most of its time, so it runs beside the programs.
        smoke = [pool.submit(run_e2e, build, options.only, logs, "smoke", True) for k in options.kinds if k == "smoke"]
        for result in pool.map(lambda one: run_one(*one, logs), todo):
            say(result, show_output=True)
            results.append(result)
        for one in smoke:
            say(one.result(), show_output=True)
            results.append(one.result())
    for kind in ("unit", "sim", "alloc", "valgrind", "fuzz"):
        if kind in options.kinds and not any(one[0] == kind for one in todo) and not options.only:
            results.append(Result(kind))
            results[-1].failed = 1
            print(f"{kind}: there is no test program")
    for result in run_all_e2e(options.kinds, build, options.only, logs):
        say(result, show_output=True)
        results.append(result)

    left = Result("nothing is left behind")
    found = watch.findings()
    left.passed, left.failed, left.output = int(not found), int(bool(found)), "\n".join(found)
    say(left, show_output=True)
    results.append(left)

    passed = sum(result.passed for result in results)
    failed = sum(result.failed for result in results)
    if passed + failed == 1 and not failed:  # nothing ran, and so nothing is left behind
        print(f"no test is called *{options.only}*")
        failed = 1
    skipped = sum(result.skipped for result in results)
    for reason, number in sum((result.reasons for result in results), collections.Counter()).most_common():
        print(f"skipped {number}: {reason}")
    if skipped > sum(sum(result.reasons.values()) for result in results):
        print("a skipped test gave no reason: skip_because() in C, reason= in Python")
        failed += 1
    print(f"{passed} passed, {failed} failed" + (f", {skipped} skipped" if skipped else ""), flush=True)
    return 1 if failed or not passed else 0


if __name__ == "__main__":
    sys.exit(main())
