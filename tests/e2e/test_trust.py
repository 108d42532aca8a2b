# SPDX-License-Identifier: MIT
"""Who may join, who may stay, and whom an agent believes."""

import re
import time

import pytest
from conftest import Pair
from world import Agent, Hub, refusal, until


def one_line(text):
    """The last thing that a program said, which must be one plain line."""
    lines = [line for line in text.splitlines() if line.strip()]
    assert lines, "it said nothing"
    return lines[-1]


def join_fails(agent, token, pattern):
    done = agent.run("join", agent.token_file(token), check=False)
    assert done.returncode == 1, done.stderr
    assert done.stdout == ""
    assert re.search(pattern, one_line(done.stderr)), done.stderr


def test_used_token_is_refused(world, pair):
    token = pair.hub.invite("once")
    first = Agent(world, "first", pair.hub).up(token=token)
    join_fails(Agent(world, "second"), token, r"(?i)token|invite|used")
    assert first.process.running()
    assert first.attached()


def test_up_ends_when_its_token_was_used(world, hub):
    """A permanent refusal ends `up` too, with exit status 1 and not with retries."""
    token = hub.invite("once")
    Agent(world, "first", hub).up(token=token)
    second = Agent(world, "second", hub).up(token=token, attached=False)
    assert second.process.ends(20) == 1
    assert re.search(r"(?i)token|invite|used", one_line(second.process.stderr()))


def test_expired_token_is_refused(world, hub):
    token = hub.invite("late", "--ttl", "1s")
    time.sleep(2.2)
    join_fails(Agent(world, "late"), token, r"(?i)token|invite|expired")


def test_withdrawn_token_is_refused(world, hub):
    token = hub.invite("nobody")
    (invite,) = hub.json("invites")["invites"]
    hub.run("uninvite", invite["id"])
    assert hub.json("invites")["invites"] == []
    join_fails(Agent(world, "nobody"), token, r"(?i)token|invite")


@pytest.mark.parametrize("damage", ["nonsense", "one character", "cut short", "empty"])
def test_bad_token_is_refused_at_once(world, hub, damage):
    token = hub.invite("bad")
    middle = len(token) // 2
    other = "A" if token[middle] != "A" else "B"
    bad = {
        "nonsense": "cbx1_nonsense",
        "one character": token[:middle] + other + token[middle + 1 :],
        "cut short": token[:-7],
        "empty": "",
    }[damage]
    join_fails(Agent(world, "bad"), bad, r"(?i)token")


def test_token_comes_by_file_input_environment_and_argument(world, hub):
    for way in ("file", "input", "environment", "argument"):
        token = hub.invite(way)
        agent = Agent(world, way, hub)
        if way == "file":
            done = agent.run("join", agent.token_file(token))
        elif way == "input":
            done = agent.run("join", "-", input=token + "\n")
        elif way == "environment":
            done = agent.run("join", environment={"CBX_TOKEN": token})
        else:
            done = agent.run("join", token)
            assert "warning" in done.stderr.lower() or "argument" in done.stderr.lower()
        if way != "argument":
            assert "warning" not in done.stderr.lower()
    assert set(hub.peers()) == {"file", "input", "environment", "argument"}


def test_token_is_never_in_the_log(world, pair):
    token = pair.hub.invite("quiet")
    Agent(world, "quiet", pair.hub).up(token=token)
    said = "".join(text for _, text in world.logs())
    assert token not in said and token[5:40] not in said


def test_revoked_peer_is_ended_and_forgotten(pair):
    assert pair.works()
    pair.hub.run("revoke", "web", "--pond", "demo")
    assert pair.web.process.ends(10) == 1
    assert "revoked" in one_line(pair.web.process.stderr())
    assert "web" not in pair.hub.peers()
    done = pair.cli.run("dial", "web.cbx:8080", check=False)
    assert (done.returncode, done.stderr) == (1, refusal("web.cbx:8080", "unknown name"))


def test_revoked_peer_does_not_come_back(pair):
    pair.hub.run("revoke", "web", "--pond", "demo")
    pair.web.process.ends(10)
    pair.web.up(attached=False)
    assert pair.web.process.ends(20) == 1
    assert len(pair.web.process.stderr().splitlines()) <= 4
    assert "web" not in pair.hub.peers()


def test_revoked_slug_can_be_invited_again(world, pair):
    pair.hub.run("revoke", "web", "--pond", "demo")
    pair.web.process.ends(10)
    again = Agent(world, "again", pair.hub).up(slug="web", expose=[f"8080=127.0.0.1:{pair.echo.port}"])
    assert again.attached()
    until("the new lease answers by the old name", pair.works)


def test_newer_invite_gives_the_slug_to_another_lease(world, pair):
    """A re-invited slug takes its name at once; the lease that had it is told and ends."""
    assert pair.works()
    Agent(world, "web2", pair.hub).up(slug="web", expose=[f"8080=127.0.0.1:{pair.echo.port}"])
    assert pair.web.process.ends(10) == 1
    until("the new lease answers", pair.works)
    assert sorted(pair.hub.peers()) == ["cli", "web"]


def test_another_invite_joins_again_under_the_same_identity(pair):
    """`up` with a new token of the same lease: new ports, same key."""
    before = pair.hub.login_keys()
    pair.web.process.terminate()
    token = pair.hub.invite("web", expose=[f"8080=127.0.0.1:{pair.echo.port}", f"9=127.0.0.1:{pair.echo.port}"])
    pair.web.up(token=token)
    assert pair.hub.login_keys() == before
    assert pair.cli.dial("web.cbx:9", b"new port").stdout == b"new port"


def test_up_with_the_token_it_has_used_just_runs(pair):
    """A script that always says `up @FILE` may be run again and again."""
    pair.cli.process.terminate()
    pair.cli.up(token=(pair.world.dir / "cli.token").read_text().strip())
    assert pair.works()


@pytest.mark.timeout(90)
def test_wrong_host_key_is_refused_said_once_and_tried_again(world, hub):
    """Another machine answers at the hub's address; later the true hub is back."""
    agent = Agent(world, "web", hub).up()
    assert hub.process.terminate() == 0
    impostor = Hub(world, "x")
    impostor.start(listen=hub.address)
    agent.process.expect(r"(?i)host key", 20, stream="stderr")
    time.sleep(16)
    assert agent.process.running()
    assert not agent.attached()
    said = [line for line in agent.process.stderr().splitlines() if re.search("(?i)host key", line)]
    assert len(said) == 1, said
    assert impostor.process.terminate() == 0
    hub.start()
    agent.wait_attached(20)


def test_join_refuses_a_wrong_host_key(world, hub):
    """A token pins the key: whoever else stands at the address gets nothing."""
    token = hub.invite("web")
    hub.process.terminate()
    Hub(world, "x").start(listen=hub.address)
    agent = Agent(world, "web").up(token=token, attached=False)
    agent.process.expect(r"(?i)host key", 20, stream="stderr")
    assert not agent.attached()


def test_hub_started_on_another_key_never_sees_a_peer(world):
    """Two hubs share nothing: the token of one is no login at the other."""
    pair = Pair(world).start()
    other = Hub(world, "x").start()
    assert other.peers() == {}
    assert set(pair.hub.peers()) == {"web", "cli"}
