# SPDX-License-Identifier: MIT
"""Direct lanes: two agents find each other, on one machine or over a network where only one can be
reached; who forbids them; strangers at the listener; what happens when the way is lost."""

import contextlib
import hashlib
import json
import os
import random
import re
import socket
import threading
import time
from pathlib import Path

import pytest
from bystander import Bystander
from conftest import Pair
from servers import Server, Socks, echo
from spaces import BLOCK, Network, needs_spaces
from world import BUILD, PLANE, Agent, free_port, until

MAGIC = b"\0cbx lane 1\r\n\0\xff\0"
NEITHER = "neither side can reach the other directly"

pytestmark = pytest.mark.skipif(PLANE != "", reason="planes are chosen here")


def on_direct(pair):
    pair.cli.wait_plane("web", "direct")
    pair.web.wait_plane("cli", "direct")


def streams(agent):
    return json.loads(agent.run("peers", "--json").stdout)["streams"]


def listener(agent):
    return agent.status()["direct"]


def port_of(agent):
    return int(listener(agent)["listening"].rpartition(":")[2])


@pytest.fixture
def busy(pair):
    """A pair with a stream that goes on, on a direct lane."""
    pair.bystander = Bystander(pair)
    pair.bystander.goes_on()
    on_direct(pair)
    return pair


# ---- on one machine ----


def test_two_agents_on_one_machine_find_each_other(busy):
    until("the stream moved", lambda: [one["plane"] for one in streams(busy.cli)] == ["direct"])
    until("the stream moved", lambda: [one["plane"] for one in streams(busy.web)] == ["direct"])
    busy.bystander.goes_on()
    seen = {busy.cli.peer("web")["connected_by"], busy.web.peer("cli")["connected_by"]}
    assert seen == {"here", "peer"}
    text = busy.cli.run("peers").stdout
    assert re.search(r"^web\.cbx +ready +8080 +direct ", text, re.MULTILINE), text
    assert sum(listener(agent)["proven"] for agent in (busy.web, busy.cli)) == 1
    assert sum(listener(agent)["refused"] for agent in (busy.web, busy.cli)) == 0
    assert listener(busy.web)["expected"] == listener(busy.cli)["expected"] == 0
    assert re.search(r"^direct +listening on .*:\d+, [01] lanes? accepted", busy.cli.run("status").stdout, re.MULTILINE)


def test_streams_on_a_direct_lane_pass_the_hub_by(busy):
    # A stream moves at once, but what it had sent before may still be on its way.
    until("the stream moved", lambda: [one["plane"] for one in streams(busy.cli)] == ["direct"])
    before = busy.hub.peers()["cli"]
    client = Socks(busy.cli.proxy, "web.cbx", 8080)
    left = 8 << 20
    threading.Thread(target=client.socket.sendall, args=(bytes(left),), daemon=True).start()
    while left:
        part = client.socket.recv(1 << 18)
        assert part
        left -= len(part)
    after = busy.hub.peers()["cli"]
    assert after["bytes_from"] - before["bytes_from"] < 1 << 16
    assert after["bytes_to"] - before["bytes_to"] < 1 << 16
    assert busy.cli.peer("web")["bytes"]["direct"]["in"] >= 8 << 20


def test_netcheck_says_with_whom_and_who_connected(busy):
    for agent, other in ((busy.cli, "web"), (busy.web, "cli")):
        checks = json.loads(agent.run("netcheck", "--json").stdout)["checks"]
        (check,) = [one for one in checks if one["check"] == "direct"]
        assert check["result"] == "ok" and other in check["text"], check
        assert check["listening"].endswith(f":{port_of(agent)}")
        assert f"127.0.0.1:{port_of(agent)}" in check["candidates"]
        assert check["lanes"] == [{"slug": other, "connected_by": agent.peer(other)["connected_by"]}]
        assert check["without"] == []


def test_a_stream_on_a_direct_lane_outlives_its_hub(busy):
    until("the stream moved", lambda: [one["plane"] for one in streams(busy.web)] == ["direct"])
    busy.hub.process.kill()
    until("cli knows", lambda: not busy.cli.attached())
    busy.bystander.goes_on()
    busy.hub.start()
    busy.cli.wait_attached()
    busy.web.wait_attached()
    busy.bystander.goes_on()
    assert busy.works()


def test_an_agent_that_stops_ends_its_streams_as_the_hub_would_say(busy):
    client = Socks(busy.cli.proxy, "web.cbx", 8080)
    busy.bystander.stop()
    assert busy.web.process.terminate() == 0
    with pytest.raises(ConnectionResetError):
        assert client.socket.recv(1) != b"", "a lost peer looked like a clean end"
    done = busy.cli.dial("web.cbx:8080", b"ping", check=False)
    assert done.returncode == 1 and b"away" in done.stderr


def test_a_killed_agent_leaves_no_lane(busy):
    busy.bystander.stop()
    busy.web.process.kill()
    until("cli sees it", lambda: busy.cli.peer("web").get("plane") == "none")
    busy.web.up()
    until("dials work again", busy.works)


# ---- who forbids it ----


def reason_with_a_stream(pair, agent, slug, pattern):
    stream = pair.cli.dial_open("web.cbx:8080")
    stream.stdin.write(b"x")
    assert stream.stdout.read(1) == b"x"

    def look():
        peer = agent.peer(slug)
        assert peer["plane"] != "direct"
        return re.search(pattern, peer["plane_reason"])

    until(f"{agent.name} says {pattern!r}", look, 15)
    return stream


def test_direct_off_at_the_hub_is_for_all(world):
    pair = Pair(world, hub_options=["--direct", "off"]).start()
    reason_with_a_stream(pair, pair.cli, "web", r"the hub does not allow direct lanes \(--direct off\)")
    assert "the hub does not allow" in pair.web.peer("cli")["plane_reason"]
    assert pair.hub.json("status")["direct"] == "off"
    assert listener(pair.web)["accepted"] == listener(pair.cli)["accepted"] == 0


@pytest.mark.parametrize("off", ["web", "cli"])
def test_direct_off_at_one_agent_is_said_at_both(world, off):
    pair = Pair(world)
    words = {name: ["--direct", "off"] if name == off else [] for name in ("web", "cli")}
    pair.web.up(expose=[f"8080=127.0.0.1:{pair.echo.port}"], options=words["web"])
    pair.cli.up(options=words["cli"])
    agent, other = (pair.web, pair.cli) if off == "web" else (pair.cli, pair.web)
    # Which of the two offers is drawn by their keys: only who offers hears the refusal.
    reason_with_a_stream(pair, agent, other.name, r"off here \(--direct off\)")
    reason_with_a_stream(pair, other, agent.name, r"its agent runs with --direct off|has not offered")
    assert listener(agent) == {"mode": "off"}
    assert re.search("^direct +off$", agent.run("status").stdout, re.MULTILINE)
    assert "direct lanes are off here (--direct off)" in agent.run("netcheck").stdout
    (found,) = re.findall("^direct +(.*)$", other.run("netcheck").stdout, re.MULTILINE)
    assert found.startswith("skipped") or "has not offered" in found, found


def test_an_address_that_is_taken_is_an_error_and_auto_is_not_needed(world, hub):
    taken = Server(world, echo)
    lease = Agent(world, "web", hub)
    lease.start("up", lease.token_file(hub.invite("web")), "--proxy", "off", "--direct", f"127.0.0.1:{taken.port}")
    assert lease.process.ends(10) == 1
    assert "--direct: cannot listen on 127.0.0.1" in lease.process.stderr()
    done = lease.run("up", "--direct", "0.0.0.0:80", check=False)
    assert done.returncode == 2 and "not connect to ports below 1024" in done.stderr
    lease.up(token=hub.invite("web"), options=["--direct", f"127.0.0.1:{free_port()}"])
    assert listener(lease)["listening"].startswith("127.0.0.1:")


# ---- strangers ----


def memory_of(pid):
    text = Path(f"/proc/{pid}/status").read_text()
    return int(re.search(r"VmRSS:\s+(\d+) kB", text).group(1)) << 10


def descriptors_of(pid):
    return len(os.listdir(f"/proc/{pid}/fd"))


def one_stranger(port, chance, kept):
    """Connects, says something or nothing; returns what came back to one of the first. Enough are
    kept that the oldest silent ones had to make room."""
    stranger = socket.socket()
    stranger.bind((f"127.0.0.{chance.randrange(1, 20)}", 0))
    stranger.connect(("127.0.0.1", port))
    kind = chance.randrange(6)
    with contextlib.suppress(ConnectionError):
        if kind == 0:
            stranger.sendall(chance.randbytes(chance.randrange(1, 200)))
        elif kind == 1:
            stranger.sendall(MAGIC + chance.randbytes(48))
        elif kind == 2:
            stranger.sendall((MAGIC + chance.randbytes(48))[: chance.randrange(1, 63)])
        elif kind == 3:
            stranger.sendall(MAGIC + chance.randbytes(500))
        elif kind == 4:
            stranger.sendall(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n" * 3)
    kept.append(stranger)
    return ends(kept.pop(0)) if len(kept) > 400 else b""


def ends(stranger):
    stranger.settimeout(10)
    try:
        return stranger.recv(1)
    except ConnectionError:
        return b""
    finally:
        stranger.close()


def test_10000_strangers_get_no_byte_and_leave_nothing(busy):
    agent, port = busy.web, port_of(busy.web)
    pid = agent.process.child.pid
    before = listener(agent)
    chance, kept = random.Random(1), []
    for _ in range(500):
        assert one_stranger(port, chance, kept) == b""
    until("the first are gone", lambda: listener(agent)["waiting"] == 0)
    memory, descriptors = memory_of(pid), descriptors_of(pid)
    for _ in range(9500):
        assert one_stranger(port, chance, kept) == b""
    for stranger in kept:
        assert ends(stranger) == b""
    until("all are gone", lambda: listener(agent)["waiting"] == 0)
    after = listener(agent)
    assert after["accepted"] - before["accepted"] == 10000
    closed = ("refused", "silent", "crowded")
    assert sum(after[name] - before[name] for name in closed) == 10000, (before, after)
    assert after["proven"] == before["proven"]
    assert descriptors_of(pid) <= descriptors + 2
    if "asan" not in BUILD.parts:  # a sanitizer keeps what was freed
        assert memory_of(pid) < memory + (1 << 20)
    busy.bystander.goes_on()
    assert busy.works()
    assert busy.cli.peer("web")["plane"] == "direct"


def test_silent_strangers_do_not_keep_a_peer_out(pair):
    """All places are taken, over and over, when the peer comes."""
    stop, trouble = threading.Event(), []

    def crowd(port):
        kept = []
        try:
            while not stop.is_set():
                kept.append(socket.create_connection(("127.0.0.1", port)))
                if len(kept) > 100:
                    kept.pop(0).close()
        except OSError as error:
            trouble.append(error)
        for one in kept:
            one.close()

    threads = [threading.Thread(target=crowd, args=(port_of(agent),)) for agent in (pair.web, pair.cli)]
    for thread in threads:
        thread.start()
    try:
        until("places are taken", lambda: listener(pair.web)["crowded"] > 100)
        stream = pair.cli.dial_open("web.cbx:8080")
        on_direct(pair)
        stream.stdin.write(b"ping")
        assert stream.stdout.read(4) == b"ping"
    finally:
        stop.set()
        for thread in threads:
            thread.join()
    assert not trouble


# ---- over a network ----

@pytest.fixture
def network(world):
    return Network(world)


@needs_spaces
@pytest.mark.parametrize("blocked", ["web", "cli", None])
def test_it_is_enough_that_one_can_reach_the_other(network, blocked):
    if blocked:
        network.spaces.filter(blocked, BLOCK[blocked])
    network.up()
    bystander = Bystander(network)
    bystander.goes_on()
    on_direct(network)
    bystander.goes_on()
    seen = {name: getattr(network, name).peer(other)["connected_by"] for name, other in (("web", "cli"), ("cli", "web"))}
    assert sorted(seen.values()) == ["here", "peer"]
    if blocked:
        assert seen[blocked] == "here"
    bystander.stop()


@needs_spaces
def test_where_neither_can_reach_the_other_the_hub_carries_and_the_reason_is_told(network):
    for name, rule in BLOCK.items():
        network.spaces.filter(name, rule)
    network.up()
    bystander = Bystander(network)
    bystander.goes_on()
    for agent, other in ((network.web, "cli"), (network.cli, "web")):
        until(f"{agent.name} says why", lambda: NEITHER in agent.peer(other)["plane_reason"], 15)
        assert re.search(r"next try in \d+ s", agent.peer(other)["plane_reason"])
        assert agent.peer(other)["plane"] == "relay"
        text = agent.run("netcheck").stdout
        assert re.search(rf"^direct +failed +{other}: {NEITHER}.*\n +to do: .*--direct ADDR:PORT", text, re.MULTILINE), text
    bystander.goes_on()
    bystander.stop()


@needs_spaces
def test_loopback_is_not_tried_between_machines(network):
    """A namespace of its own counts as a machine: each has an agent on the very port that the other
    names, which would hear of it."""
    for name, rule in BLOCK.items():
        network.spaces.filter(name, rule)
    network.web.up(expose=["8080"], options=["--direct", "0.0.0.0:4000"])
    network.cli.up(options=["--direct", "0.0.0.0:4000"])
    bystander = Bystander(network)
    until("it failed", lambda: NEITHER in network.cli.peer("web")["plane_reason"], 15)
    assert listener(network.web)["accepted"] == listener(network.cli)["accepted"] == 0
    bystander.stop()


class Transfer:
    """Random blocks through an echo, until told to stop; both ways hashed."""

    def __init__(self, network):
        self.child = network.cli.dial_open("web.cbx:8080")
        self.stopped = threading.Event()
        self.sent, self.got = hashlib.sha256(), hashlib.sha256()
        self.count = 0
        self.threads = [threading.Thread(target=run, daemon=True) for run in (self._send, self._receive)]
        for thread in self.threads:
            thread.start()

    def _send(self):
        blocks = [os.urandom(1 << 18) for _ in range(8)]
        with contextlib.suppress(BrokenPipeError):
            while not self.stopped.is_set():
                block = blocks[random.randrange(len(blocks))]
                self.sent.update(block)
                self.child.stdin.write(block)
        self.child.stdin.close()

    def _receive(self):
        while part := os.read(self.child.stdout.fileno(), 1 << 18):
            self.got.update(part)
            self.count += len(part)

    def goes_on(self):
        wanted = self.count + (16 << 20)
        until("the transfer goes on", lambda: self.count >= wanted, 20)

    def finish(self):
        self.stopped.set()
        for thread in self.threads:
            thread.join(30)
        assert self.child.wait(10) == 0, self.child.stderr.read()
        assert self.sent.digest() == self.got.digest()


@needs_spaces
@pytest.mark.parametrize("how", ["drop", "reject with tcp reset"])
def test_a_lost_direct_path_moves_a_transfer_back_to_the_hub(network, how):
    network.up("--keepalive", "300ms", "--gone", "1s")
    transfer = Transfer(network)
    on_direct(network)
    transfer.goes_on()
    network.spaces.filter("web", f'iifname "to-cli" meta l4proto tcp {how}')
    network.spaces.filter("cli", f'iifname "to-web" meta l4proto tcp {how}')
    network.cli.wait_plane("web", "relay")
    transfer.goes_on()
    assert "lost" in network.cli.peer("web")["plane_reason"] or NEITHER in network.cli.peer("web")["plane_reason"]
    moved = {plane: numbers["in"] for plane, numbers in network.cli.peer("web")["bytes"].items()}
    assert moved["direct"] > 8 << 20 and moved["relay"] > 8 << 20, moved
    transfer.finish()
