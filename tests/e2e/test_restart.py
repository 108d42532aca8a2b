# SPDX-License-Identifier: MIT
"""Programs that are killed, stopped, started twice and come back."""

import os
import shutil
import signal
import time

import pytest
from servers import Socks, read_exactly, read_exactly_from
from world import Agent, refusal, until


def end(process):
    """kill -9, as a crash or a power cut would."""
    os.kill(process.child.pid, signal.SIGKILL)
    process.child.wait()


def test_dials_work_within_5_s_of_a_killed_hubs_return(pair):
    assert pair.works()
    end(pair.hub.process)
    time.sleep(3)  # long enough for the agents to back off
    pair.hub.start()
    returned = time.monotonic()
    until("a dial goes through", pair.works, 5)
    assert time.monotonic() - returned < 5


def test_killed_hub_returns_on_its_port_at_once(pair):
    end(pair.hub.process)
    pair.hub.start()
    until("a dial goes through", pair.works, 5)


def test_stream_cut_by_a_killed_hub_is_an_error_not_an_end(relayed):
    """Only the far program's own end is an end of input."""
    client = Socks(relayed.cli.proxy, "web.cbx", 8080)
    client.socket.sendall(b"ping")
    assert read_exactly(client.socket, 4) == b"ping"
    end(relayed.hub.process)
    with pytest.raises(ConnectionResetError):
        assert client.socket.recv(1) != b"", "a cut stream looked like a clean end"


def test_dial_cut_by_a_killed_hub_fails(relayed):
    child = relayed.cli.dial_open("web.cbx:8080")
    child.stdin.write(b"ping")
    assert read_exactly_from(child, 4) == b"ping"
    end(relayed.hub.process)
    assert child.wait(10) == 1
    assert b"cbx-agent: dial web.cbx:8080: " in child.stderr.read()


def test_restarted_hub_knows_its_peers_and_invites(pair):
    token = pair.hub.invite("later")
    before = pair.hub.peers(), pair.hub.login_keys()
    end(pair.hub.process)
    pair.hub.start()
    assert set(pair.hub.peers()) == set(before[0])
    assert pair.hub.login_keys() == before[1]
    Agent(pair.world, "later", pair.hub).up(token=token)


def test_hub_stops_within_5_s_and_agents_wait_for_it(pair):
    began = time.monotonic()
    assert pair.hub.process.terminate(5) == 0
    assert time.monotonic() - began < 5
    time.sleep(1)
    assert pair.web.process.running() and pair.cli.process.running()
    pair.hub.start()
    until("a dial goes through", pair.works, 5)


def test_hub_shutdown_command_stops_it(pair):
    pair.hub.run("shutdown")
    assert pair.hub.process.ends(5) == 0


def test_agent_stops_within_5_s_on_sigterm(pair):
    assert pair.web.process.terminate(5) == 0
    until("the hub sees it go", lambda: pair.hub.peers()["web"]["state"] == "away", 5)


def test_killed_agent_returns_under_its_name(pair):
    before = pair.hub.peers()["web"]["generation"]
    end(pair.web.process)
    pair.web.up()
    until("a dial goes through", pair.works, 5)
    assert pair.hub.peers()["web"]["generation"] > before


def test_dials_to_a_killed_agent_end_as_away(pair):
    end(pair.web.process)

    def away():
        done = pair.cli.run("dial", "web.cbx:8080", check=False)
        assert done.returncode == 1
        return done.stderr == refusal("web.cbx:8080", "peer away")

    until("the dial is refused as away", away, 5)


def test_silent_agent_is_replaced_at_once(pair):
    """A stopped process keeps its connection and says nothing; its successor does not wait for it."""
    os.kill(pair.web.process.child.pid, signal.SIGSTOP)
    try:
        copy = Agent(pair.world, "web2", pair.hub)
        shutil.copytree(pair.web.state, copy.state, ignore=shutil.ignore_patterns("*.sock"))
        copy.up()
        until("the successor answers", pair.works, 5)
    finally:
        os.kill(pair.web.process.child.pid, signal.SIGCONT)
    assert pair.web.process.ends(10) == 1


def test_second_process_with_the_same_identity_supersedes_the_first(pair):
    first = pair.web
    second = Agent(pair.world, "web2", pair.hub)
    shutil.copytree(first.state, second.state, ignore=shutil.ignore_patterns("*.sock"))
    second.up()
    assert first.process.ends(10) == 1
    assert "superseded" in first.process.stderr().splitlines()[-1]
    time.sleep(1)
    assert second.process.running() and second.attached()
    until("the second answers", pair.works, 5)


def test_second_process_on_one_state_directory_is_refused_with_the_pid(pair):
    done = pair.web.run("run", "--proxy", "off", check=False)
    assert done.returncode == 1
    assert str(pair.web.process.child.pid) in done.stderr
    assert len(done.stderr.splitlines()) == 1
    assert pair.works()


def test_second_hub_on_one_state_directory_is_refused_with_the_pid(pair):
    from world import AS_ROOT

    done = pair.hub.run("run", "--listen", "127.0.0.1:0", *AS_ROOT, check=False)
    assert done.returncode == 1
    assert str(pair.hub.process.child.pid) in done.stderr
    assert pair.works()


def test_down_stops_the_agent_and_run_brings_it_back(pair):
    pair.web.run("down")
    assert pair.web.process.ends(5) == 0
    pair.web.start("run", "--proxy", "off")
    pair.web.wait_attached()
    assert pair.works()


def test_up_detach_returns_once_attached(pair):
    pair.web.run("down")
    pair.web.run("up", "--detach", "--proxy", "off")
    try:
        assert pair.web.attached()
        assert pair.works()
    finally:
        pair.web.run("down")
    until("the detached agent is gone", lambda: not pair.web.status(), 5)


def test_leave_removes_the_identity_and_a_new_invite_takes_the_name(pair):
    pair.web.run("leave")
    assert pair.web.process.ends(5) == 0
    assert not [path for path in pair.web.state.rglob("*") if path.is_file() and path.stat().st_size]
    until("the hub sees it go", lambda: pair.hub.peers()["web"]["state"] == "away", 5)
    done = pair.web.run("run", "--proxy", "off", check=False)
    assert done.returncode == 1
    pair.web.up(token=pair.hub.invite("web", expose=[f"8080=127.0.0.1:{pair.echo.port}"]))
    until("the new lease answers", pair.works, 5)


def test_attach_over_and_over_leaves_no_process_behind(pair):
    """Ten attaches and ten ends: sshd and attach go with each."""
    before = len(pair.world.leftovers())
    for _ in range(10):
        pair.web.process.kill()
        pair.web.up()
    until("as many processes as before", lambda: len(pair.world.leftovers()) <= before, 10)
    assert pair.works()
