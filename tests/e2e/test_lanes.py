# SPDX-License-Identifier: MIT
"""Lanes to the hub: they come by themselves, are refused, die, and are asked for again."""

import hashlib
import os
import re
import socket
import subprocess
import threading
import time

import pytest
from servers import Server, Socks, echo
from world import PLANE, Agent, Hub, until

MAGIC = b"\0cbx lane 1\r\n\0\xff\0"

pytestmark = pytest.mark.skipif(PLANE != "", reason="planes are chosen here")


def plane(agent):
    return agent.status().get("mesh", {}).get("plane")


def on_relay(*agents):
    for agent in agents:
        until(f"{agent.name} is on a lane", lambda: plane(agent) == "relay", 10)


def counters(hub):
    return hub.json("status")["counters"]


def sockets_to(pid, port):
    """Local ports of the process's connections to the hub."""
    listing = subprocess.run(["ss", "-Htnp"], capture_output=True, text=True, check=True).stdout
    return {
        int(match.group(1))
        for line in listing.splitlines()
        if f"pid={pid}," in line
        for match in [re.search(rf":(\d+)\s+127\.0\.0\.1:{port}\b", line)]
        if match
    }


def kill_socket(port):
    subprocess.run(["ss", "-K", "sport", "=", f":{port}"], capture_output=True, check=False)


def may_kill_sockets():
    """ss -K needs root and a kernel that lets it."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen()
        with socket.create_connection(listener.getsockname()) as made:
            kill_socket(made.getsockname()[1])
            made.settimeout(1)
            try:
                return made.recv(1) == b""
            except ConnectionError:
                return True
            except OSError:
                return False


def test_a_lane_comes_by_itself_and_is_shown(pair):
    on_relay(pair.web, pair.cli)
    assert pair.works()
    assert {peer["plane"] for peer in pair.hub.peers().values()} == {"relay"}
    assert counters(pair.hub)["lanes"] == 2


def test_lanes_off_at_the_agent(world, hub):
    echo_server = Server(world, echo)
    web = Agent(world, "web", hub).up(expose=[f"8080=127.0.0.1:{echo_server.port}"], options=["--lanes", "off"])
    cli = Agent(world, "cli", hub).up()
    on_relay(cli)
    assert plane(web) == "ssh"
    assert cli.dial("web.cbx:8080", b"ping").stdout == b"ping"


def test_lanes_off_at_the_hub_is_said_once_and_changes_nothing(world):
    hub = Hub(world).start(extra=["--lanes", "off"])
    echo_server = Server(world, echo)
    web = Agent(world, "web", hub).up(expose=[f"8080=127.0.0.1:{echo_server.port}"])
    cli = Agent(world, "cli", hub).up()
    assert cli.dial("web.cbx:8080", b"ping").stdout == b"ping"
    until("the agent has asked again", lambda: counters(hub)["lanes_refused"] > 3, 20)
    assert plane(cli) == "ssh"
    assert web.process.stderr().count("--lanes off") == 1


def test_a_hub_that_requires_lanes_switches_nothing_without(world):
    hub = Hub(world).start(extra=["--lanes", "require"])
    echo_server = Server(world, echo)
    web = Agent(world, "web", hub).up(expose=[f"8080=127.0.0.1:{echo_server.port}"], options=["--lanes", "off"])
    cli = Agent(world, "cli", hub).up()
    on_relay(cli)
    done = cli.dial("web.cbx:8080", b"ping", check=False)
    assert done.returncode == 1 and b"away" in done.stderr
    web.process.terminate()
    web.up()
    on_relay(web)
    assert cli.dial("web.cbx:8080", b"ping").stdout == b"ping"


def test_an_agent_that_requires_a_lane_waits_for_it(world):
    hub = Hub(world).start(extra=["--lanes", "off"])
    cli = Agent(world, "cli", hub).up(attached=False, options=["--lanes", "require"])
    cli.process.expect("no lane to the hub", stream="stderr")
    assert not cli.attached()


@pytest.mark.skipif(not may_kill_sockets(), reason="ss -K does not work here")
def test_a_lost_lane_falls_back_to_the_same_login_and_comes_again(relayed):
    on_relay(relayed.web, relayed.cli)
    port = int(relayed.hub.address.rsplit(":", 1)[1])
    both = sockets_to(relayed.cli.process.child.pid, port)
    assert len(both) == 2
    (lane,) = both - {int(relayed.hub.peers()["cli"]["address"].rsplit(":", 1)[1])}
    logins = relayed.hub.process.stderr().count("Accepted publickey")
    client = Socks(relayed.cli.proxy, "web.cbx", 8080)
    kill_socket(lane)
    until("the loss is seen", lambda: counters(relayed.hub)["lanes_lost"] == 1, 10)
    with pytest.raises(ConnectionResetError):
        assert client.socket.recv(1) != b"", "a lost path looked like a clean end"
    until("dials work again", relayed.works, 10)
    on_relay(relayed.cli)
    assert relayed.works()
    assert relayed.hub.process.stderr().count("Accepted publickey") == logins


def test_strangers_with_a_lanes_magic_get_no_answer(pair):
    on_relay(pair.web, pair.cli)
    host, port = pair.hub.address.rsplit(":", 1)
    for count in range(200):
        with socket.create_connection((host, int(port))) as stranger:
            stranger.sendall(MAGIC + os.urandom(48))
            stranger.settimeout(5)
            try:
                assert stranger.recv(1) == b""
            except ConnectionResetError:
                pass
    assert counters(pair.hub)["prefaces_refused"] == 200
    assert pair.works()


def test_a_preface_in_pieces_or_never_ended_costs_its_time_only(world):
    hub = Hub(world).start(extra=["--login-grace", "1s"])
    host, port = hub.address.rsplit(":", 1)
    with socket.create_connection((host, int(port))) as slow:
        for byte in (MAGIC + os.urandom(20))[:30]:
            slow.sendall(bytes([byte]))
            time.sleep(0.01)
        slow.settimeout(5)
        try:
            assert slow.recv(1) == b""
        except ConnectionResetError:
            pass
    assert hub.json("status")["door"]["silent_timeouts"] == 1


def test_bulk_both_ways_at_once_over_lanes(world, hub):
    """256 MiB up and the same down, together."""
    on = Server(world, echo)
    web = Agent(world, "web", hub).up(expose=[f"8080=127.0.0.1:{on.port}"])
    cli = Agent(world, "cli", hub).up(proxy="127.0.0.1:0")
    on_relay(web, cli)
    client = Socks(cli.proxy, "web.cbx", 8080)
    size = 256 << 20
    block = os.urandom(1 << 20)
    sent, got = hashlib.sha256(), hashlib.sha256()

    def upload():
        for _ in range(size >> 20):
            sent.update(block)
            client.socket.sendall(block)
        client.socket.shutdown(socket.SHUT_WR)

    thread = threading.Thread(target=upload)
    thread.start()
    left = size
    while left:
        part = client.socket.recv(1 << 18)
        assert part
        got.update(part)
        left -= len(part)
    thread.join()
    assert client.socket.recv(1) == b""
    assert sent.digest() == got.digest()
