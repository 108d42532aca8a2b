# SPDX-License-Identifier: MIT
"""The programs as an operator runs them: what a refused start leaves behind, log files and their rotation,
full disks, a load balancer in front."""

import os
import pwd
import socket

import pytest
from world import AGENT, AS_ROOT, HUB, until


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
