# SPDX-License-Identifier: MIT
"""OpenSSH's own tools through `cbx-agent dial` as ProxyCommand."""

import os

import pytest
from conftest import Pair
from servers import Sshd, noise
from world import AGENT


@pytest.fixture
def config(world):
    """ssh's settings for web.cbx, behind which stands an sshd of the test's own."""
    sshd = Sshd(world)
    pair = Pair(world)
    pair.web.up(expose=[f"22=127.0.0.1:{sshd.port}"])
    pair.cli.up()
    return sshd.client_config(f"{AGENT} --state {pair.cli.state} dial %h:%p")


def test_ssh_runs_a_command_and_gives_its_exit_status(world, config):
    done = world.run(["ssh", "-F", config, "web.cbx", "echo out; echo err >&2; exit 3"], check=False)
    assert (done.returncode, done.stdout, done.stderr) == (3, "out\n", "err\n")


def test_ssh_passes_a_stream_both_ways(world, config):
    data = noise(8 << 20)
    done = world.run(["ssh", "-F", config, "web.cbx", "cat"], input=data, text=False)
    assert done.stdout == data


def test_scp_copies_there_and_back(world, config):
    data = noise(16 << 20)
    (world.dir / "there").write_bytes(data)
    target = world.dir / "target"
    world.run(["scp", "-q", "-F", config, "there", f"web.cbx:{target}"])
    assert target.read_bytes() == data
    world.run(["scp", "-q", "-F", config, f"web.cbx:{target}", "back"])
    assert (world.dir / "back").read_bytes() == data


def test_rsync_copies_a_tree_and_then_only_what_changed(world, config):
    source, target = world.dir / "tree", world.dir / "copy"
    (source / "deep" / "er").mkdir(parents=True)
    for number in range(20):
        (source / "deep" / f"{number}").write_bytes(noise(100_000 + number, seed=number))
    (source / "deep" / "er" / "big").write_bytes(noise(8 << 20))
    os.symlink("deep/1", source / "link")
    rsync = ["rsync", "-a", "--stats", "-e", f"ssh -F {config}", f"{source}/", f"web.cbx:{target}/"]
    world.run(rsync)
    names = sorted(path.relative_to(source) for path in source.rglob("*"))
    assert names == sorted(path.relative_to(target) for path in target.rglob("*"))
    for name in names:
        if (source / name).is_file():
            assert (source / name).read_bytes() == (target / name).read_bytes()
    (source / "deep" / "3").write_bytes(b"changed")
    again = world.run(rsync).stdout
    assert "Number of regular files transferred: 1" in again
