# SPDX-License-Identifier: MIT
"""PROTOCOL.md is enough: an agent written from it alone joins, attaches, dials and is dialed."""

import json
import os
import threading

import pytest
from raw_agent import REASONS, RawAgent, Token, encode_token
from servers import noise
from world import Agent, World, until
from conftest import Pair


@pytest.fixture(scope="module")
def pond():
    world = World()
    try:
        pond = Pair(world).start()
        token = pond.hub.invite("stranger", "--label", "lang=python", expose=["7", "9=10.0.0.1:80"])
        pond.stranger = RawAgent(world, token).join()
        pond.stranger.attach()
        yield pond
    finally:
        world.close()


def test_token_is_what_the_document_says(pond):
    text = pond.hub.invite("token")
    token = Token(text)
    assert encode_token(token.addresses, token.host_key, token.user, token.pond_public, token.secret) == text


def test_stranger_is_a_peer_like_any_other(pond):
    assert pond.hub.peers()["stranger"]["state"] == "ready"
    assert pond.hub.peers()["stranger"]["software"] == "stranger"
    assert pond.hub.peers()["stranger"]["labels"] == {"lang": "python"}
    until("cli knows it", lambda: "stranger" in pond.cli.run("peers").stdout)
    listed = {peer["slug"]: peer for peer in json.loads(pond.cli.run("peers", "--json").stdout)["peers"]}
    assert listed["stranger"]["labels"] == {"lang": "python"} and listed["stranger"]["expose"] == [7, 9]
    assert listed["web"]["labels"] == {}


def test_directory_tells_names_ports_and_states(pond):
    stranger = pond.stranger
    stranger.wait_ready("web")
    slug, state, _, _, incarnation, chain, ports, labels = stranger.peers["web"]
    assert (slug, state, ports, labels) == ("web", 1, "8080", "")
    assert incarnation != bytes(16) and chain == stranger.chain("web")[1]
    assert stranger.peers["stranger"][6:] == ["7,9", "lang=python"]
    assert stranger.peers["stranger"][5] == stranger.own_hash()


def test_chain_of_an_unknown_name_is_empty(pond):
    pond.stranger.link.send("CHAIN_GET", "nobody")
    assert pond.stranger.link.next("CHAIN").fields == ["nobody", b"", b""]


def test_stranger_dials_a_megabyte_both_ways_and_ends_cleanly(pond):
    stream = pond.stranger.dial("web", 8080)
    data = noise(1 << 20)
    back = b""
    at = 0
    while len(back) < len(data):
        room = min(stream.room(), 16384, len(data) - at)
        if room > 0:
            stream.send(data[at : at + room])
            at += room
        else:
            name, _ = stream.frame()
            assert name in ("DATA", "CREDIT")
            if name == "DATA":
                back += stream.data
                stream.data = b""
                stream.credit()
    assert back == data
    stream.finish()
    assert stream.ends_cleanly()
    until("no circuit is left", lambda: pond.hub.json("status")["circuits"] == 0)


def test_stranger_changes_its_epoch_in_the_midst(pond):
    stream = pond.stranger.dial("web", 8080)
    for number in range(4):
        assert stream.echoes(b"epoch %d" % number)
        stream.next_epoch()
    stream.finish()
    assert stream.ends_cleanly()


def test_stranger_hears_each_refusal(pond):
    away = RawAgent(pond.world, pond.hub.invite("away", expose=["7"])).join()
    assert away.slug == "away"
    stranger = pond.stranger
    for slug, port, reason in (("web", 22, "port not exposed"), ("stranger", 22, "port not exposed")):
        stream = stranger.dial_blind(slug, port)
        assert stream.ends() == ("CLOSE", REASONS[reason])
    stream = stranger.dial_blind("nobody", 7)
    assert stream.ends() == ("CLOSE", REASONS["unknown name"])
    stream = stranger.dial_blind("away", 7)
    assert stream.ends() == ("CLOSE", REASONS["peer away"])


def test_refusal_by_the_targets_program_is_sealed(pond):
    dead = Agent(pond.world, "dead", pond.hub).up(expose=["7=127.0.0.1:1"])
    pond.stranger.wait_ready("dead")
    stream = pond.stranger.dial("dead", 7, answered=False)
    assert stream.ends() == ("RESET", REASONS["connection refused"])
    assert dead.attached()


def test_stranger_is_dialed_and_echoes(pond):
    """The real `dial` sends, ends its input, and reads to the end."""
    stranger, data = pond.stranger, os.urandom(200000)
    results = []
    thread = threading.Thread(target=lambda: results.append(pond.cli.dial("stranger.cbx:7", data)))
    thread.start()
    stranger.chain("cli")
    stranger.answer_session("cli")
    stream = stranger.accept("cli")
    stream.credit()
    back, ended = b"", False
    while stream.acked < len(data) + 1:
        if not ended and stream.fin_received and not back:
            stream.finish()
            ended = True
        room = min(stream.room(), 16384, len(back))
        if room > 0:
            stream.send(back[:room])
            back = back[room:]
            continue
        name, _ = stream.frame()
        assert name in ("DATA", "FIN", "CREDIT"), name
        back, stream.data = back + stream.data, b""
        if name != "CREDIT":
            stream.credit()
    thread.join(20)
    assert results and results[0].stdout == data
