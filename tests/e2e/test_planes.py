# SPDX-License-Identifier: MIT
"""What status and peers say of planes, in both programs, as text and as JSON."""

import json
import re
import time

import pytest
from servers import Server, Socks, echo
from world import PLANE, Agent, Hub, until

pytestmark = pytest.mark.skipif(PLANE != "", reason="planes are chosen here")


def mesh(agent):
    return agent.status()["mesh"]


def on_relay(*agents):
    for agent in agents:
        until(f"{agent.name} is on a lane", lambda: mesh(agent)["plane"] == "relay", 10)


def peers(agent):
    return json.loads(agent.run("peers", "--json").stdout)


def peer(agent, slug):
    return next(each for each in peers(agent)["peers"] if each["slug"] == slug)


def moved(bytes_of_plane):
    return sum(bytes_of_plane.values()) > 0


def test_each_agent_says_its_plane_and_what_went_over_it(relayed):
    on_relay(relayed.web, relayed.cli)
    assert relayed.works()
    now = time.time()
    status = mesh(relayed.cli)
    assert status["plane_reason"] == ""
    assert now - 60 < status["plane_since"] <= now + 1
    assert status["round_trip_us"] > 0
    assert moved(status["bytes"]["ssh"]) and moved(status["bytes"]["relay"])
    assert not moved(status["bytes"]["direct"])
    web = peer(relayed.cli, "web")
    assert web["plane"] in ("relay", "direct") and web["plane_since"] > now - 60
    assert web["round_trip_us"] > 0
    assert sum(each["in"] for each in web["bytes"].values()) == 4
    assert sum(each["out"] for each in web["bytes"].values()) == 4
    assert peer(relayed.cli, "cli")["plane"] == "local"
    text = relayed.cli.run("status").stdout
    assert re.search(r"^plane +relay for \d", text, re.MULTILINE), text
    assert re.search(r"^link +ssh .* in, .* out; relay ", text, re.MULTILINE), text
    text = relayed.cli.run("peers").stdout
    assert re.search(r"^NAME +STATE +PORTS +PLANE", text), text
    assert re.search(r"^web\.cbx +ready +8080 +(relay|direct) ", text, re.MULTILINE), text


def test_streams_are_listed_with_their_plane(pair):
    on_relay(pair.web, pair.cli)
    client = Socks(pair.cli.proxy, "web.cbx", 8080)
    client.socket.sendall(b"x" * 1000)
    left = 1000
    while left:
        left -= len(client.socket.recv(left))
    dialed = peers(pair.cli)
    assert dialed["streams_left_out"] == 0
    (stream,) = dialed["streams"]
    assert (stream["peer"], stream["port"], stream["direction"]) == ("web", 8080, "dialed")
    assert stream["plane"] in ("relay", "direct") and stream["state"] == "open"
    assert (stream["bytes_in"], stream["bytes_out"]) == (1000, 1000)
    assert time.time() - 60 < stream["since"] <= time.time() + 1
    (stream,) = peers(pair.web)["streams"]
    assert (stream["peer"], stream["port"], stream["direction"]) == ("cli", 8080, "accepted")
    text = pair.cli.run("peers", "--streams").stdout
    assert re.search(r"^web +8080 +dialed +open +(relay|direct) .*1000 B +1000 B$", text, re.MULTILINE), text
    client.socket.close()
    until("the stream is gone", lambda: not peers(pair.cli)["streams"])
    assert peers(pair.web)["streams"] == []


def test_the_hub_says_each_links_plane(pair):
    on_relay(pair.web, pair.cli)
    assert pair.works()
    for link in pair.hub.peers().values():
        assert link["plane"] == "relay" and link["plane_reason"] == ""
        assert time.time() - 60 < link["plane_since"] <= time.time() + 1
        for plane in ("ssh", "relay"):
            assert link["bytes"][plane]["from"] > 0 and link["bytes"][plane]["to"] > 0
    status = pair.hub.json("status")
    assert status["lanes"] == "auto"
    assert status["planes"]["relay"]["links"] == 2 and status["planes"]["ssh"]["links"] == 0
    text = pair.hub.run("status").stdout
    assert re.search(r"^relay +2 links, .* from agents, .* to them$", text, re.MULTILINE), text
    text = pair.hub.run("peers").stdout
    assert " PLANE " in text and " relay " in text


def test_why_there_is_no_lane_is_one_clear_reason(world):
    hub = Hub(world).start(extra=["--lanes", "off"])
    web = Agent(world, "web", hub).up(options=["--lanes", "off"])
    cli = Agent(world, "cli", hub).up()
    until("the refusal was heard", lambda: "--lanes off" in mesh(cli)["plane_reason"])
    reason = mesh(cli)["plane_reason"]
    assert re.match(r"the hub runs with --lanes off; (next try in [\d.]+ s|trying again now)$", reason), reason
    assert peer(cli, "web")["plane_reason"].startswith("the hub runs with --lanes off")
    assert "the hub runs with --lanes off" in cli.run("status").stdout
    assert mesh(web)["plane"] == "ssh" and mesh(web)["plane_reason"].startswith("lanes are off here")
    for link in hub.peers().values():
        assert link["plane"] == "ssh" and link["plane_reason"] == "this hub runs with --lanes off"
    assert "this hub runs with --lanes off" in hub.run("peers").stdout


def test_the_hub_says_who_has_not_asked(world, hub):
    Agent(world, "web", hub).up(options=["--lanes", "off"])
    assert "has not asked for a lane" in hub.peers()["web"]["plane_reason"]
    assert hub.json("status")["planes"]["ssh"]["links"] == 1


def test_without_a_link_there_is_no_plane(world, hub):
    web = Agent(world, "web", hub).up()
    cli = Agent(world, "cli", hub).up()
    web.process.terminate()
    until("web is away", lambda: peer(cli, "web")["state"] == "away")
    assert peer(cli, "web")["plane"] == "none"
    assert "not attached" in peer(cli, "web")["plane_reason"]
    hub.process.terminate()
    until("cli has lost the hub", lambda: not cli.attached())
    assert mesh(cli)["plane"] == "none" and "not attached" in mesh(cli)["plane_reason"]
    assert moved(mesh(cli)["bytes"]["ssh"]), "a lost link's bytes were forgotten"
    assert "not attached" in cli.run("status").stdout


def test_bytes_of_a_stream_that_moved_are_shared_out(world, hub):
    """The stream begins on ssh, as the hub refuses lanes at first, and ends on a lane."""
    hub.process.terminate()
    hub.start(extra=["--lanes", "off"])
    on, off = Server(world, echo), ["--direct", "off"]
    web = Agent(world, "web", hub).up(expose=[f"8080=127.0.0.1:{on.port}"], options=off)
    cli = Agent(world, "cli", hub).up(proxy="127.0.0.1:0", options=off)
    assert cli.dial("web.cbx:8080", b"ssh").stdout == b"ssh"
    hub.process.terminate()
    hub.start()
    on_relay(web, cli)
    assert cli.dial("web.cbx:8080", b"relay").stdout == b"relay"
    of_planes = peer(cli, "web")["bytes"]
    assert of_planes["ssh"] == {"in": 3, "out": 3}
    assert of_planes["relay"] == {"in": 5, "out": 5}
