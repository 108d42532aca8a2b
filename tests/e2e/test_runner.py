# SPDX-License-Identifier: MIT
"""What runs the tests finds what a test leaves behind, and counts what it skips."""

import os
import re
import subprocess
import sys
from pathlib import Path

from spaces import needs_spaces
from world import until

LIB = Path(__file__).resolve().parents[1] / "lib"
LEAVE = """
import os, subprocess, sys, tempfile
sys.path.insert(0, sys.argv[1])
from pathlib import Path
from leftovers import Watch, adopt
adopt()
watch = Watch(Path(sys.argv[2]), Path(sys.argv[2]) / "build")
exec(sys.argv[3])
print("\\n".join(watch.findings()))
"""
# Twice forked, in a session of its own, without our environment: nobody's child but the adopter's.
DAEMON = "subprocess.run(['setsid', '-f', 'env', '-i', 'sleep', '47'], check=True)"


def findings(world, leave):
    done = world.run([sys.executable, "-B", "-c", LEAVE, LIB, world.dir, leave])
    return done.stdout.strip()


def test_a_clean_run_leaves_nothing(world):
    assert findings(world, "subprocess.run(['true'])") == ""


def test_a_process_of_its_own_session_is_found_and_ended(world):
    found = re.fullmatch(r"process (\d+): sleep 47", findings(world, DAEMON))
    assert found, "it was not found"
    until("it is ended", lambda: not os.path.exists(f"/proc/{found.group(1)}"))


def test_a_temporary_file_is_found_and_removed(world):
    found = findings(world, "open(tempfile.mkstemp(prefix='left')[1], 'w')")
    assert found.startswith("temporary file ")
    assert not os.path.exists(found.removeprefix("temporary file "))


@needs_spaces
def test_a_named_network_namespace_is_found(world):
    name = f"cbx-left-{os.getpid()}"  # its owner is none that runs
    try:
        found = findings(world, f"subprocess.run(['ip', 'netns', 'add', '{name}'], check=True)")
        assert f"network namespace {name}" in found
    finally:
        subprocess.run(["ip", "netns", "del", name], check=False, stderr=subprocess.DEVNULL)


def test_a_file_in_the_tree_is_found(world):
    world.run(["git", "init", "-q", "."])
    assert f"changed file {world.dir}/left" in findings(world, "open(sys.argv[2] + '/left', 'w')")
