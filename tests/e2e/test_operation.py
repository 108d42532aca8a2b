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
    "an account that is not there": (HUB, ["run", "--user", "no-such-account"], "no such account"),
    "an sshd that is none": (HUB, ["run", *AS_ROOT, "--sshd", "/bin/true"], "is not OpenSSH's sshd"),
    "an sshd that never ends": (HUB, ["run", *AS_ROOT, "--sshd", "YES"], "is it OpenSSH's sshd"),
    "a key file that is not there": (HUB, ["run", *AS_ROOT, "--key-file", "/nonexistent"], "/nonexistent"),
    "a passphrase that is not there": (HUB, ["run", *AS_ROOT, "--passphrase-file", "/nonexistent"], "/nonexistent"),
    "a port that is taken": (HUB, ["run", *AS_ROOT, "--listen", "TAKEN"], "already in use"),
    "a name that does not resolve": (HUB, ["run", *AS_ROOT, "--listen", "no-such-host.invalid:7000"], "no-such-host"),
    "an agent that has not joined": (AGENT, ["run"], "not joined yet"),
    "an agent that has not joined, detached": (AGENT, ["up", "--detach"], "not joined yet"),
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
    if "YES" in words:
        endless = world.dir / "endless"
        endless.write_text("#!/bin/sh\nsleep 60\n")
        endless.chmod(0o755)
        places["YES"] = str(endless)
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        places["TAKEN"] = f"127.0.0.1:{taken.getsockname()[1]}"
        state = world.dir / "fresh"
        words = [places.get(word, word) for word in words]
        if program == HUB and "--listen" not in words:
            words += ["--listen", "127.0.0.1:0"]
        done = world.run([program, "--state", state, *words], check=False, seconds=20)
    assert done.returncode in (1, 2)
    assert said in done.stderr and len(done.stderr.splitlines()) == 1, done.stderr
    assert not state.exists(), sorted(state.rglob("*"))


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
