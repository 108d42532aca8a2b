# SPDX-License-Identifier: MIT
"""What commands print with --json is what PROTOCOL.md says, field by field, in every state."""

import json
import re

import pytest
from servers import Server, echo
from shapes import differences, documented
from world import AGENT, HUB, ROOT, Agent

SHAPES = documented()


def check(command, text):
    answer = json.loads(text)
    assert differences(answer, SHAPES[command]) == []
    return answer


def test_every_command_with_json_has_a_shape(world):
    for program in (HUB, AGENT):
        name = program.rsplit("/", 1)[1]
        commands = re.findall(r"^  ([a-z]+)", world.run([program, "--help"]).stdout, re.MULTILINE)
        with_json = [word for word in commands if word != "help" and "--json" in world.run([program, word, "--help"], check=False).stdout]
        assert with_json and {f"{name} {word}" for word in with_json} == {shape for shape in SHAPES if shape.startswith(name + " ")}


@pytest.fixture
def busy(world, hub):
    """A pond with labels, targets, a peer that is away, a stream and an open invite."""
    server = Server(world, echo)
    hub.invite("spare")
    web = Agent(world, "web", hub)
    web.up(token=hub.invite("web", "--label", "lang=c", expose=["80", f"8080=127.0.0.1:{server.port}", "5432=[fd00::1]:5433"]))
    Agent(world, "gone", hub).up().process.terminate()
    cli = Agent(world, "cli", hub).up(proxy="127.0.0.1:0")
    cli.wait("web.cbx:8080")
    dial = cli.dial_open("web.cbx:8080")
    dial.stdin.write(b"x")
    assert dial.stdout.read(1) == b"x"
    hub.web, hub.cli = web, cli
    return hub


def test_hub_prints_what_the_document_says(busy):
    peers = check("cbx-hub peers", busy.run("peers", "--json").stdout)["peers"]
    assert {peer["name"]: peer["state"] for peer in peers} == {
        "web.demo.cbx": "ready",
        "cli.demo.cbx": "ready",
        "gone.demo.cbx": "away",
    }
    assert check("cbx-hub invites", busy.run("invites", "--json").stdout)["invites"]
    assert check("cbx-hub status", busy.run("status", "--json").stdout)["attached"] == 2


def test_agent_prints_what_the_document_says(busy):
    peers = {peer["name"]: peer for peer in check("cbx-agent peers", busy.cli.run("peers", "--json").stdout)["peers"]}
    assert peers["web.demo.cbx"]["expose"] == [80, 5432, 8080]
    status = check("cbx-agent status", busy.web.run("status", "--json").stdout)
    assert status["name"] == "web.demo.cbx" and status["expose"] == [80, 5432, 8080]
    assert sorted(status["targets"]) == ["5432", "8080"] and status["targets"]["5432"] == "[fd00::1]:5433"
    check("cbx-agent peers", busy.cli.run("peers", "--streams", "--json").stdout)
    check("cbx-agent netcheck", busy.cli.run("netcheck", "--json").stdout)


def test_both_programs_tell_a_peer_alike(busy):
    """What both say of a lease has the same name, type and meaning."""
    hubs = {peer["name"]: peer for peer in busy.json("peers")["peers"]}
    agents = {peer["name"]: peer for peer in json.loads(busy.cli.run("peers", "--json").stdout)["peers"]}
    for name in ("web.demo.cbx", "gone.demo.cbx"):
        for field in ("slug", "pond", "name", "state", "expose", "labels"):
            assert hubs[name][field] == agents[name][field], field


def test_agent_without_a_hub_prints_the_same_shape(world, hub):
    """Also before the join, and with what is off."""
    agent = Agent(world, "web", hub)
    token = agent.token_file(hub.invite("web"))
    hub.process.terminate()
    agent.start("up", token, "--proxy", "off", "--direct", "off")
    agent.process.expect("refused by", stream="stderr", seconds=20)
    assert check("cbx-agent status", agent.run("status", "--json").stdout)["mesh"] is None
    assert check("cbx-agent peers", agent.run("peers", "--json").stdout)["peers"] == []
    check("cbx-agent netcheck", agent.run("netcheck", "--json", "--timeout", "1s", check=False).stdout)


def test_fields_of_each_check_are_in_the_document(busy):
    rows = re.findall(r"^\| ([a-z, ]+) \| (.*) \|$", (ROOT / "common" / "PROTOCOL.md").read_text(), re.MULTILINE)
    for one in json.loads(busy.cli.run("netcheck", "--json").stdout)["checks"]:
        said = " ".join(text for names, text in rows if one["check"] in names.split(", "))
        missing = [name for name in one if name not in ("check", "result", "text", "remedy") and f"`{name}`" not in said]
        assert not missing, one["check"]
