# SPDX-License-Identifier: MIT
"""The hub behind a load balancer that says who its clients are (PROXY protocol): the real haproxy, and whoever
connects with such a header or without one. The balancer is 127.0.0.2 here, everybody else 127.0.0.1."""

import re
import socket
import struct

import pytest
from servers import Server, echo, noise
from world import Agent, Hub, find, free_port, until

BALANCER = "127.0.0.2"
SIGNATURE = b"\r\n\r\n\0\r\nQUIT\n"


def header_v1(address, port=4711):
    return f"PROXY TCP4 {address} 127.0.0.1 {port} 7000\r\n".encode()


def header_v2(address, port=4711, more=b""):
    body = socket.inet_aton(address) + bytes(4) + struct.pack(">HH", port, 7000) + more
    return SIGNATURE + b"\x21\x11" + struct.pack(">H", len(body)) + body


LOCAL = SIGNATURE + b"\x20\x00\x00\x00"
UNKNOWN = b"PROXY UNKNOWN\r\n"


def start(world, *extra):
    return Hub(world).start(extra=["--proxy-protocol", BALANCER, *extra])


def connect(world, hub, source, data=b""):
    host, port = hub.address.split(":")
    connection = socket.create_connection((host, int(port)), timeout=20, source_address=(source, 0))
    world.closers.append(connection.close)
    connection.sendall(data)
    return connection


def closed(connection):
    """Waits for its end, which must come without a byte."""
    try:
        return connection.recv(1) == b""
    except ConnectionResetError:
        return True


def greeting(connection):
    """sshd's first bytes."""
    return connection.recv(8)


def door(hub):
    return hub.json("status")["door"]


class Haproxy:
    """In front of a hub, in TCP mode; what it sends first is said by the words of its `server` line."""

    def __init__(self, world, hub_port, words):
        self.port = free_port()
        self.config = world.dir / "haproxy.cfg"
        self.config.write_text(
            f"""global
    stats socket {world.dir}/haproxy.sock mode 600
defaults
    mode tcp
    timeout connect 5s
    timeout client 1m
    timeout server 1m
listen hub
    bind 127.0.0.1:{self.port}
    server hub 127.0.0.1:{hub_port} source {BALANCER} {words}
"""
        )
        self.socket = world.dir / "haproxy.sock"
        world.start("haproxy", [find("haproxy"), "-db", "-f", self.config])
        until("haproxy listens", self.listens)
        world.closers.append(self.end)
        self.process = world.processes[-1]

    def listens(self):
        with socket.socket() as probe:
            return probe.connect_ex(("127.0.0.1", self.port)) == 0

    def end(self):
        self.process.kill()

    def check_status(self):
        """What its health check of the hub says."""
        with socket.socket(socket.AF_UNIX) as stats:
            stats.connect(str(self.socket))
            stats.sendall(b"show servers state\n")
            text = b""
            while part := stats.recv(1 << 16):
                text += part
        return int(text.decode().splitlines()[2].split()[5])  # srv_op_state: 2 is running


@pytest.mark.parametrize("words", ["send-proxy", "send-proxy-v2", "send-proxy-v2 check inter 100ms"])
@pytest.mark.parametrize("lanes", ["off", "require"])
def test_agents_behind_haproxy_have_their_own_addresses(world, words, lanes):
    hub_port = free_port()
    haproxy = Haproxy(world, hub_port, words)
    hub = Hub(world)
    hub.address = f"127.0.0.1:{hub_port}"
    hub.start(extra=["--proxy-protocol", f"{BALANCER}/32", "--public", f"127.0.0.1:{haproxy.port}"])
    server = Server(world, echo)
    options = ("--lanes", lanes, "--direct", "off")
    web = Agent(world, "web", hub).up(expose=[f"8080=127.0.0.1:{server.port}"], options=options)
    cli = Agent(world, "cli", hub).up(options=options)
    cli.wait_plane("web", "relay" if lanes == "require" else "ssh")
    data = noise(3 << 20)
    assert cli.dial("web.cbx:8080", data).stdout == data
    for peer in hub.peers().values():
        assert re.fullmatch(r"127\.0\.0\.1:\d+", peer["address"])
    counts = door(hub)
    assert counts["not_proxy"] == counts["not_ssh"] == 0
    if "check" in words:
        until("haproxy finds the hub healthy", lambda: haproxy.check_status() == 2)
        until("checks come", lambda: door(hub)["left"] > 3)
    assert "PROXY" not in hub.process.stderr()
    assert web.process.terminate() == 0


@pytest.mark.parametrize("words", ["send-proxy", "send-proxy-v2"])
def test_haproxy_that_was_not_named_is_told_of(world, words):
    hub = Hub(world).start()
    haproxy = Haproxy(world, int(hub.address.split(":")[1]), words)
    with socket.create_connection(("127.0.0.1", haproxy.port), timeout=20) as client:
        client.sendall(b"SSH-2.0-x\r\n")
        assert closed(client)
    version = 2 if words.endswith("v2") else 1
    hub.process.expect(
        rf"connection \d+ from {BALANCER}:\d+, closed: it begins with a PROXY protocol header \(v{version}\); "
        "if that is your load balancer, name its address with --proxy-protocol$",
        stream="stderr",
    )


def test_headers_from_other_addresses_get_few_lines(world):
    hub = start(world)
    for i in range(60):
        assert closed(connect(world, hub, "127.0.0.1", [header_v1, header_v2][i % 2]("203.0.113.9")))
    until("all are counted", lambda: door(hub)["not_ssh"] == 60)
    assert 1 <= hub.process.stderr().count("PROXY protocol header") <= 8
    assert "203.0.113.9" not in hub.process.stderr()
    assert greeting(connect(world, hub, "127.0.0.1", b"SSH-2.0-x\r\n")) == b"SSH-2.0-"


@pytest.mark.parametrize(
    "header",
    [header_v1("203.0.113.9"), header_v2("203.0.113.9"), header_v2("203.0.113.9", more=noise(3000)), LOCAL, UNKNOWN],
    ids=["v1", "v2", "long", "local", "unknown"],
)
def test_header_may_come_in_any_pieces(world, header):
    hub = start(world)
    assert greeting(connect(world, hub, BALANCER, header + b"SSH-2.0-x\r\n")) == b"SSH-2.0-"
    slow = connect(world, hub, BALANCER)
    slow.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    for byte in header[:60]:
        slow.sendall(bytes([byte]))
    slow.sendall(header[60:])
    slow.sendall(b"SSH-")
    slow.sendall(b"2.0-x\r\n")
    assert greeting(slow) == b"SSH-2.0-"


def log_in(world, hub, header):
    """A client that has an sshd, and so a place, for the time of a login."""
    connection = connect(world, hub, BALANCER, header + b"SSH-2.0-x\r\n")
    assert greeting(connection) == b"SSH-2.0-"
    return connection


@pytest.mark.parametrize("header", [header_v1, header_v2])
def test_limits_count_the_address_that_the_header_names(world, header):
    hub = start(world, "--per-address-max", "2")
    held = [log_in(world, hub, header(f"203.0.113.{9 + i // 2}", 4711 + i)) for i in range(4)]
    assert closed(connect(world, hub, BALANCER, header("203.0.113.9") + b"SSH-2.0-x\r\n"))
    assert door(hub)["refused_address"] == 1
    held.append(log_in(world, hub, header("203.0.113.11")))
    assert door(hub)["logging_in"] == len(held)


@pytest.mark.parametrize("header", [LOCAL, UNKNOWN])
def test_headers_that_name_nobody_keep_the_real_address(world, header):
    hub = start(world, "--per-address-max", "2")
    held = [log_in(world, hub, header) for _ in range(2)]
    assert closed(connect(world, hub, BALANCER, header + b"SSH-2.0-x\r\n"))
    assert door(hub)["refused_address"] == 1
    assert door(hub)["logging_in"] == len(held)


def test_log_names_the_address_of_the_header(world):
    hub = start(world)
    connection = log_in(world, hub, header_v1("203.0.113.9", 4711))
    connection.close()
    line = hub.process.expect(
        r"connection (\d+) from 203\.0\.113\.9:4711: ended without a login$", stream="stderr"
    )
    assert f"sshd[{line.group(1)}]: " in hub.process.stderr()


@pytest.mark.parametrize(
    "first, said",
    [
        (b"SSH-2.0-OpenSSH_9.2\r\n", "it does not begin with a PROXY protocol header"),
        (b"GET / HTTP/1.1\r\nHost: x\r\n\r\n", "it does not begin with a PROXY protocol header"),
        (b"PROXY TCP4 203.0.113.999 127.0.0.1 1 2\r\n", "its PROXY protocol header is not legal"),
        (b"PROXY UNKNOWN " + b"x" * 200, "its PROXY protocol header is not legal"),
        (SIGNATURE + b"\x21\x11\xff\xff" + bytes(12), "its PROXY protocol header is not legal"),
    ],
    ids=["ssh", "http", "address", "line", "length"],
)
def test_balancer_without_a_legal_header_is_closed_and_told_of(world, first, said):
    """Nobody guesses: what a client writes could else pass for its balancer's word."""
    hub = start(world)
    assert closed(connect(world, hub, BALANCER, first))
    hub.process.expect(f"{BALANCER}.*closed: {said}, and --proxy-protocol names its address$", stream="stderr")
    assert door(hub)["not_proxy"] == 1


def test_second_header_is_said_to_be_one(world):
    hub = start(world)
    assert closed(connect(world, hub, BALANCER, header_v2("203.0.113.9") + header_v1("203.0.113.10") + b"SSH-2.0-x"))
    hub.process.expect(r"from 203\.0\.113\.9:4711, closed: it begins with a second PROXY", stream="stderr")
    assert "203.0.113.10" not in hub.process.stderr()


def test_silent_balancer_holds_no_more_than_its_places_and_its_time(world):
    hub = start(world, "--unauthenticated-max", "8", "--login-grace", "2s")
    silent = [connect(world, hub, BALANCER, b"PROXY TCP4 "[: i % 12]) for i in range(40)]
    until("most were dropped", lambda: door(hub)["silent_dropped"] >= 32)
    counts = door(hub)
    assert counts["awaiting_header"] == 8 and counts["accepted"] == 0
    # One that speaks gets in nevertheless, and so does everybody else.
    assert greeting(connect(world, hub, BALANCER, header_v1("203.0.113.9") + b"SSH-2.0-x\r\n")) == b"SSH-2.0-"
    assert greeting(connect(world, hub, "127.0.0.1", b"SSH-2.0-x\r\n")) == b"SSH-2.0-"
    for connection in silent:
        assert closed(connection)
    assert door(hub)["awaiting_header"] == 0
