# SPDX-License-Identifier: MIT
"""Commands that meet a process which does not answer, is another user's, or has something to say."""

import fcntl
import json
import os
import pwd
import re
import signal
import time

import pytest
from servers import Server, echo
from world import AGENT, Agent, may_run, until


@pytest.fixture
def stopped(world, hub):
    """An agent that is there and does nothing (SIGSTOP)."""
    agent = Agent(world, "cli", hub).up()
    agent.process.child.send_signal(signal.SIGSTOP)
    yield agent
    agent.process.child.send_signal(signal.SIGCONT)
    agent.run("down")  # one that was asked before may be under way
    assert agent.process.ends() == 0


@pytest.mark.parametrize("words", [["dial", "web.cbx:80"], ["status"], ["wait", "web.cbx:80", "--timeout", "1s"], ["down"]])
def test_command_at_a_stopped_agent_ends_and_says_what_it_waited_for(stopped, words):
    began = time.monotonic()
    done = stopped.run(*words, check=False, seconds=60)
    assert done.returncode == 1 and time.monotonic() - began < 30
    assert re.search(rf"process {stopped.process.child.pid} did not answer within \d+s", done.stderr), done.stderr
    assert len(done.stderr.splitlines()) == 1


def test_dial_may_take_longer_than_the_agent_may_be_silent(world, hub):
    """A dial that is slow is not taken for an agent that is stopped."""
    Agent(world, "web", hub).up(expose=["8080=127.0.0.1:1"])
    cli = Agent(world, "cli", hub).up(options=["--dial-timeout", "8s"])
    hub.process.child.send_signal(signal.SIGSTOP)
    try:
        done = cli.run("dial", "web.cbx:8080", check=False, seconds=30)
    finally:
        hub.process.child.send_signal(signal.SIGCONT)
    assert done.returncode == 1 and "timed out" in done.stderr


def test_invite_waits_for_another_only_so_long(world, hub):
    hub.invite("web")
    with open(hub.state / "ponds" / ".lock") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        done = hub.run("invite", "--pond", "demo", "--slug", "more", check=False, seconds=40)
    assert done.returncode == 1 and "another cbx-hub invite" in done.stderr
    assert hub.invite("more").startswith("cbx1_")


def test_invite_into_a_known_pond_makes_no_key(world, hub):
    hub.invite("web")
    typo = world.dir / "typo"
    words = ["invite", "--pond", "demo", "--slug", "more", "--keys"]
    done = hub.run(*words, typo, check=False)
    assert done.returncode == 1 and f"the folder {typo} does not exist" in done.stderr
    assert not typo.exists()
    typo.mkdir()
    done = hub.run(*words, typo, check=False)
    assert done.returncode == 1 and "--keys" in done.stderr
    assert list(typo.iterdir()) == []
    assert hub.run("invite", "--pond", "other", "--slug", "web", "--keys", typo).stdout.startswith("cbx1_")


def test_detach_shows_warnings_and_status_keeps_them(world, hub):
    """Else curl goes through another agent, perhaps of another pond."""
    try:
        Server(world, echo, port=1080)
    except OSError:
        pass  # somebody else has it, which is as good
    agent = Agent(world, "web", hub)
    agent.run("join", agent.token_file(hub.invite("web", expose=["80"])))
    done = agent.run("up", "--detach", "--expose", "80", "--expose", "81")
    try:
        assert done.stdout.startswith("attached as web.demo.cbx")
        assert "warning: continuing without a proxy: proxy 127.0.0.1:1080: Address already in use" in done.stderr
        assert "warning: --expose lists ports that the certificate does not allow" in done.stderr
        warnings = json.loads(agent.run("status", "--json").stdout)["warnings"]
        assert len(warnings) == 2 and "127.0.0.1:1080" in warnings[0]
        assert re.search(r"^warning +continuing without a proxy", agent.run("status").stdout, re.MULTILINE)
    finally:
        agent.run("down")


def test_status_without_warnings_has_none(world, hub):
    agent = Agent(world, "web", hub).up()
    assert json.loads(agent.run("status", "--json").stdout)["warnings"] == []
    assert "warning" not in agent.run("status").stdout


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root")
def test_root_asks_another_users_agent_as_its_owner(world, hub):
    account = next((one for one in pwd.getpwall() if one.pw_uid != 0 and may_run(one.pw_uid)), None)
    if not account:
        pytest.skip("no other account here may run the program")
    world.dir.chmod(0o711)
    state = world.dir / "theirs"
    state.mkdir(0o700)
    os.chown(state, account.pw_uid, account.pw_gid)
    token = world.dir / "theirs.token"
    token.write_text(hub.invite("web") + "\n")
    os.chown(token, account.pw_uid, account.pw_gid)
    agent = Agent(world, "web", hub, state=state)
    done = agent.run("up", f"@{token}", "--proxy", "off", check=False)
    assert done.returncode == 1 and f"belongs to {account.pw_name}: run this command as {account.pw_name}" in done.stderr
    words = [AGENT, "--state", state, "up", f"@{token}", "--proxy", "off"]
    process = world.start("theirs", words, user=account.pw_uid, group=account.pw_gid, extra_groups=[])
    until("it is attached", agent.attached)
    assert "web" in agent.run("peers").stdout
    assert agent.run("netcheck").returncode == 0
    agent.run("down")
    assert process.ends() == 0
    agent.run("leave")
    assert not state.exists() or list(state.iterdir()) == []


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root")
def test_anyone_else_is_told_whom_to_be(world, hub):
    agent = Agent(world, "web", hub).up()
    account = next((one for one in pwd.getpwall() if one.pw_uid != 0 and may_run(one.pw_uid)), None)
    if not account:
        pytest.skip("no other account here may run the program")
    world.dir.chmod(0o711)
    done = agent.run("status", check=False, user=account.pw_uid, group=account.pw_gid, extra_groups=[])
    assert done.returncode == 1 and "run this command as root" in done.stderr
