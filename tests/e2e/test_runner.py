# SPDX-License-Identifier: MIT
"""What runs the tests finds what a test leaves behind; linters of our own find what they are for."""

import os
import re
import subprocess
import sys
from pathlib import Path

from spaces import needs_spaces
from world import until

LIB = Path(__file__).resolve().parents[1] / "lib"
BENCH = LIB.parents[1] / "bench"
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


def lint(world, linter, **files):
    """What a linter says of a tree of these files; __ in their names is a slash."""
    for name, text in files.items():
        path = world.dir / f"{name.replace('__', '/')}.c"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    done = world.run([sys.executable, "-B", LIB / linter, world.dir], check=False)
    assert done.returncode == (1 if done.stdout else 0), done.stderr
    return done.stdout


BELOW = "int\nbelow(void)\n{\n    return above();\n}\n"
ABOVE = "int\nabove(void)\n{\n    return below();\n}\n"


def test_an_include_that_goes_up_is_found(world):
    found = lint(world, "layers.py", common__base__a='\n#include "common/link/b.c"\n', common__link__b="")
    assert found == "common/base/a.c:2: common/base must not include common/link, which is not below it\n"


def test_files_that_call_each_other_are_found(world):
    assert lint(world, "layers.py", common__base__a=BELOW, common__base__b=ABOVE) == (
        "a circle: common/base/a common/base/b\n"
    )


def test_a_call_one_way_is_no_finding(world):
    assert lint(world, "layers.py", common__base__a=BELOW, common__base__b=ABOVE.replace("below", "zero")) == ""


def test_a_file_of_the_product_without_a_test_is_found(world):
    sound = {
        "tests__unit__hub__core__test_b": "",
        "hub__core__b": "/* What is here. */\n",
        "hub__core__c": "/* Tested by test_b. */\n",
    }
    assert lint(world, "tested.py", **sound) == ""
    found = lint(world, "tested.py", hub__core__d="/* Tested by\n * sim_none. */\n", hub__core__e="")
    assert "hub/core/d.c:1: is said to be tested by sim_none" in found
    assert "hub/core/e.c:1: has no unit test" in found
    assert "hub/core/e.c:1: has no head" in found


# Stand-ins for compilers: bore builds, rathole and go do not.
CARGO = """#!/bin/sh
root=; for word; do [ "$last" = --root ] && root=$word; last=$word; done
[ "$last" = bore-cli ] || { echo "warning: old"; echo "error[E0282]: type annotations needed"; exit 101; }
echo '#!/bin/sh' >"$root/bin/bore"; chmod +x "$root/bin/bore"
"""
GO = '#!/bin/sh\necho "proxy unreachable" >&2\nexit 1\n'


def test_peers_of_the_benchmark_are_built_each_for_itself(world):
    tools, folder = world.dir / "tools", world.dir / "build" / "peers"
    tools.mkdir()
    for name, text in (("cargo", CARGO), ("go", GO)):
        (tools / name).write_text(text)
        (tools / name).chmod(0o755)
    environment = {"PATH": f"{tools}:{world.environment['PATH']}"}
    done = world.run([BENCH / "get-peers", folder], check=False, environment=environment)
    assert done.returncode == 1
    assert "bench-peers: rathole: error[E0282]: type annotations needed" in done.stderr
    assert done.stderr.splitlines()[-1] == "bench-peers: not built: rathole, chisel, frp"
    assert os.access(folder / "bin" / "bore", os.X_OK)
    assert (folder / "failed" / "frp").read_text() == "proxy unreachable\n"
    script = "import sys; sys.path.insert(0, sys.argv[1]); from pathlib import Path; import peers\n"
    script += "for one in peers.PEER_CLASSES: print(one.tool[0], one.missing(Path(sys.argv[2])))"
    empty = {"PATH": f"{world.dir}"}
    said = world.run([sys.executable, "-B", "-c", script, BENCH / "lib", world.dir / "build"], environment=empty).stdout
    assert "type annotations needed" in said and "make bench-peers: proxy unreachable" in said and "bore None" in said
    (tools / "cargo").unlink()  # what was built stays, what has failed is tried again
    done = world.run([BENCH / "get-peers", folder], check=False, environment=environment | {"PATH": f"{tools}:/usr/bin:/bin"})
    assert "rathole: " in done.stderr and "bore" not in done.stderr
