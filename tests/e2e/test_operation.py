# SPDX-License-Identifier: MIT
"""The programs as an operator runs them: what a refused start leaves behind, log files and their rotation,
full disks, a load balancer in front."""

import os
import pwd
import re
import socket
import time
from pathlib import Path

import pytest
from servers import Server, echo
from world import AGENT, AS_ROOT, HUB, Agent, Hub, find, refusal, until


def account_without_shell():
    for account in pwd.getpwall():
        if account.pw_shell.endswith(("nologin", "false")):
            return account.pw_name
    return None


# Each is refused for what can be known before anything is made.
REFUSED = {
    "an account without a login shell": (HUB, ["run", "--user", "ACCOUNT"], "login shell"),
    "a shell that runs nothing": (HUB, ["run", "--user", "sync"], "fails at `exec true`"),
    "an account without a name": (HUB, ["run", "--user", ""], "name an account"),
    "a log that is a pipe": (HUB, ["run", *AS_ROOT, "--log-file", "PIPE"], "no such device"),
    "an account that is not there": (HUB, ["run", "--user", "no-such-account"], "no such account"),
    "an sshd that is none": (HUB, ["run", *AS_ROOT, "--sshd", "/bin/true"], "is not OpenSSH's sshd"),
    "an sshd that never ends": (HUB, ["run", *AS_ROOT, "--sshd", "YES"], "is it OpenSSH's sshd"),
    "a key file that is not there": (HUB, ["run", *AS_ROOT, "--key-file", "/nonexistent"], "/nonexistent"),
    "a passphrase that is not there": (HUB, ["run", *AS_ROOT, "--passphrase-file", "/nonexistent"], "/nonexistent"),
    "a port that is taken": (HUB, ["run", *AS_ROOT, "--listen", "TAKEN"], "already in use"),
    "a name that does not resolve": (HUB, ["run", *AS_ROOT, "--listen", "no-such-host.invalid:7000"], "no-such-host"),
    "an agent that has not joined": (AGENT, ["run"], "not joined yet"),
    "an agent that has not joined, detached": (AGENT, ["up", "--detach"], "not joined yet"),
    "an agent's proxy": (AGENT, ["up", "TOKEN", "--proxy", "TAKEN"], "already in use"),
    "an agent's proxy, detached": (AGENT, ["up", "TOKEN", "--detach", "--proxy", "TAKEN"], "already in use"),
    "an agent's direct port": (AGENT, ["up", "TOKEN", "--direct", "TAKEN"], "already in use"),
    "an agent's key file": (AGENT, ["run", "--key-file", "/nonexistent"], "/nonexistent"),
    "an agent's passphrase": (AGENT, ["up", "TOKEN", "--passphrase-file", "/nonexistent"], "/nonexistent"),
}


@pytest.mark.parametrize("what", REFUSED)
def test_refused_start_has_made_nothing(world, hub, what):
    """Checks come before effects: a folder that another account owns would refuse the next start."""
    program, words, said = REFUSED[what]
    if "--user" in words and os.geteuid() != 0:
        pytest.skip("needs root")
    places = {}
    if "ACCOUNT" in words:
        places["ACCOUNT"] = account_without_shell()
    if "TOKEN" in words:
        token = world.dir / "token"
        token.write_text(hub.invite("web"))
        places["TOKEN"] = f"@{token}"
    if "PIPE" in words:
        places["PIPE"] = str(world.dir / "pipe")
        os.mkfifo(places["PIPE"])
    if "YES" in words:
        endless = world.dir / "endless"
        endless.write_text("#!/bin/sh\nsleep 60\n")
        endless.chmod(0o755)
        places["YES"] = str(endless)
    if program == AGENT and "--proxy" not in words:
        words = [*words, "--proxy", "off"]
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        places["TAKEN"] = f"127.0.0.1:{taken.getsockname()[1]}"
        state = world.dir / "fresh"
        words = [places.get(word, word) for word in words]
        if program == HUB and "--listen" not in words:
            words += ["--listen", "127.0.0.1:0"]
        done = world.run([program, "--state", state, *words], check=False, seconds=20)
    assert done.returncode == 2 if "--sshd" in words else done.returncode in (1, 2)
    assert said.lower() in done.stderr.lower() and len(done.stderr.splitlines()) == 1, done.stderr
    assert not state.exists(), sorted(state.rglob("*"))


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root")
def test_hub_that_nobody_could_reach_has_made_nothing(world):
    """A machine with no network yet, and no --public."""
    state = world.dir / "fresh"
    words = [find("unshare"), "--net", HUB, "--state", state, "run", *AS_ROOT]
    done = world.run([*words, "--listen", "0.0.0.0:7000", "--listen", "[::]:7000"], check=False)
    assert done.returncode == 1
    assert "no address that others can reach" in done.stderr and len(done.stderr.splitlines()) == 1
    assert not state.exists()


def test_invite_that_has_no_place_for_its_token_replaces_nothing(hub):
    """An older invite for the name stays good, and no key of a new pond is made."""
    hub.invite("web")
    before = hub.run("invites").stdout
    (hub.world.dir / "there").touch()
    for path, said in (("there", "is there already"), ("none/token", "No such file"), ("", "empty"), (".", "there")):
        for pond in ("demo", "other"):
            done = hub.run("invite", "--pond", pond, "--slug", "web", "--replace", "--out", path, check=False)
            assert done.returncode == 2
            assert f"--out {path}: " in done.stderr and said in done.stderr
            assert len(done.stderr.splitlines()) == 1
    assert hub.run("invites").stdout == before
    assert not (hub.state / "ponds" / "other.pond").exists()


def test_second_agent_on_a_folder_is_told_of_the_first(world, hub):
    """Not that its port is taken, which the first one holds, too."""
    agent = Agent(world, "web", hub).up(proxy="127.0.0.1:0")
    for words in (["run"], ["up"], ["up", "--detach"]):
        done = agent.run(*words, "--proxy", agent.proxy, check=False)
        assert done.returncode == 1
        assert f"process {agent.process.child.pid} already runs" in done.stderr and "in use" not in done.stderr


def test_second_hub_on_a_folder_is_told_of_the_first(world, hub):
    """Not that the port is taken, which the first one holds, too."""
    done = hub.run("run", "--listen", hub.address, *AS_ROOT, check=False)
    assert done.returncode == 1
    assert f"already running on {hub.state} (pid {hub.process.child.pid})" in done.stderr


# ---- full disks ----


class SmallDisk:
    """A tmpfs of its own, in a mount namespace of its own: nothing of it is left when its holder ends."""

    def __init__(self, world, name, size="1m"):
        folder = world.dir / name
        folder.mkdir()
        script = f"mount -t tmpfs -o size={size},mode=700 none {folder} && echo mounted && exec sleep infinity"
        self.holder = world.start(f"disk-{name}", [find("unshare"), "--mount", find("sh"), "-c", script])
        self.holder.expect("^mounted$")
        pid = self.holder.child.pid
        self.space = (find("nsenter"), f"--mount=/proc/{pid}/ns/mnt")
        self.inside = folder  # for programs that are started in the space
        self.outside = Path(f"/proc/{pid}/root{folder}")
        world.closers.append(self.end)

    def end(self):
        """After what runs on it, else it could not be unmounted; sleep does not mind SIGTERM's status."""
        if self.holder.running():
            self.holder.kill()

    def fill(self):
        """To the last byte."""
        with open(self.outside / "ballast", "ab", buffering=0) as ballast:
            for size in (4096, 1):
                try:
                    while ballast.write(bytes(size)):
                        pass
                except OSError:
                    continue
        stat = os.statvfs(self.outside)
        assert stat.f_bavail == 0

    def empty(self):
        (self.outside / "ballast").unlink()


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root")
def test_hub_on_a_full_disk_attaches_restarts_and_revokes(world):
    """What is unchanged is not written, and what must be written has its room."""
    disk = SmallDisk(world, "disk")
    hub = Hub(world)
    hub.space = disk.space
    hub.state = disk.inside / "h"
    hub.start()
    hub.state = disk.outside / "h"  # where its commands find it
    server = Server(world, echo)
    web = Agent(world, "web", hub).up(expose=[f"8080=127.0.0.1:{server.port}"])
    cli = Agent(world, "cli", hub).up()
    disk.fill()
    for _ in range(5):  # each attach writes a generation
        assert web.process.terminate() == 0
        web.up()
    assert cli.dial("web.cbx:8080", b"full").stdout == b"full"
    assert hub.process.terminate() == 0
    hub.state = disk.inside / "h"
    hub.start()
    hub.state = disk.outside / "h"
    web.wait_attached()
    cli.wait_attached()
    until("it is dialed again", lambda: cli.dial("web.cbx:8080", b"again", check=False).stdout == b"again", 20)
    keys = hub.login_keys()
    hub.run("revoke", "web", "--pond", "demo")
    assert hub.login_keys() < keys
    assert web.process.ends(10) == 1  # as a revoked one does
    assert "could not be stored" not in hub.process.stderr()
    assert os.statvfs(disk.outside).f_bavail == 0


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root")
def test_dial_of_a_peer_that_cannot_be_stored_says_so_at_once(world, hub):
    server = Server(world, echo)
    Agent(world, "web", hub).up(expose=[f"8080=127.0.0.1:{server.port}"])
    disk = SmallDisk(world, "disk")
    cli = Agent(world, "cli", hub)
    token = hub.invite("cli")
    cli.space = disk.space
    cli.state = disk.inside / "a"
    cli.start("up", cli.token_file(token), "--proxy", "off")
    cli.state = disk.outside / "a"
    cli.wait_attached()
    disk.fill()
    for _ in range(3):
        before = time.monotonic()
        done = cli.dial("web.cbx:8080", b"x", check=False)
        assert time.monotonic() - before < 5
        assert done.returncode == 1
        assert done.stderr.decode() == refusal("web.cbx:8080", "state cannot be saved")
    assert len(re.findall("cannot save the state.*No space left", cli.process.stderr())) == 1
    disk.empty()
    assert cli.dial("web.cbx:8080", b"room").stdout == b"room"


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root")
def test_agent_on_a_full_disk_restarts_and_dials_whom_it_knows(world, hub):
    """What is unchanged is not written."""
    server = Server(world, echo)
    Agent(world, "web", hub).up(expose=[f"8080=127.0.0.1:{server.port}"])
    disk = SmallDisk(world, "disk")
    cli = Agent(world, "cli", hub)
    token = hub.invite("cli")
    cli.space = disk.space
    for words in (["up", cli.token_file(token)], ["run"]):
        cli.state = disk.inside / "a"
        cli.start(*words, "--proxy", "off", "--log-file", disk.inside / "log")
        cli.state = disk.outside / "a"
        cli.wait_attached()
        assert cli.dial("web.cbx:8080", b"known").stdout == b"known"
        disk.fill()
        assert cli.dial("web.cbx:8080", b"full").stdout == b"full"
        if words == ["run"]:
            break
        assert cli.process.terminate() == 0


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root")
def test_hub_without_an_inode_left_attaches_and_restarts(world):
    """A disk can be full of files, too."""
    disk = SmallDisk(world, "disk", "1m,nr_inodes=40")
    hub = Hub(world)
    hub.space = disk.space
    hub.state = disk.inside / "h"
    hub.start()
    hub.state = disk.outside / "h"
    web = Agent(world, "web", hub).up()
    assert hub.process.terminate() == 0  # which writes the last of its files for the first time
    hub.state = disk.inside / "h"
    hub.start()
    hub.state = disk.outside / "h"
    web.wait_attached()
    for number in range(40):
        try:
            (disk.outside / f"ballast-{number}").touch()
        except OSError:
            break
    assert os.statvfs(disk.outside).f_ffree == 0
    for _ in range(3):
        assert web.process.terminate() == 0
        web.up()
    assert hub.process.terminate() == 0
    hub.state = disk.inside / "h"
    hub.start()
    hub.state = disk.outside / "h"
    web.wait_attached()
    hub.run("revoke", "web", "--pond", "demo")
    assert web.process.ends(10) == 1
    assert "could not be stored" not in hub.process.stderr()


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root")
def test_invite_and_join_on_a_full_disk_work_or_say_why(world):
    disk = SmallDisk(world, "disk")
    hub = Hub(world)
    hub.space = disk.space
    hub.state = disk.inside / "h"
    hub.start()
    hub.state = disk.outside / "h"
    token = hub.invite("web")
    invites = hub.run("invites").stdout
    disk.fill()
    for pond in ("demo", "other"):  # its serial is counted in the pond's file; a new pond has a new one
        done = hub.run("invite", "--pond", pond, "--slug", "new", check=False)
        assert done.returncode == 1 and "No space left on device" in done.stderr, done
    assert hub.run("invites").stdout == invites
    web = Agent(world, "web", hub).up(token=token)
    assert hub.peers()["web"]["state"] == "ready"
    disk.empty()
    for pond in ("demo", "other"):
        hub.run("invite", "--pond", pond, "--slug", "new")
    assert web.process.running()
