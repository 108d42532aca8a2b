# SPDX-License-Identifier: MIT
"""What local programs and exposed servers meet at their sockets: the dialects of the proxy, an
agent that is killed, machines that vanish without a word, servers on IPv6 only."""

import os
import signal
import socket
import threading
import time

import pytest
from servers import Server, Socks, echo, read_exactly
from spaces import Network, needs_spaces
from world import PLANE, Agent, until

BODY = b"a body without a length\n"


def http(connection):
    """One answer, whose end is the connection's."""
    with connection:
        while b"\r\n\r\n" not in connection.recv(4096):
            pass
        connection.sendall(b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n" + BODY)


def trickle(connection):
    """An answer that goes on for a minute, and whose end is the connection's."""
    with connection:
        connection.recv(4096)
        connection.sendall(b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n")
        for _ in range(600):
            connection.sendall(BODY)
            time.sleep(0.1)


@pytest.fixture
def leases(world, hub):
    servers = {"8080": Server(world, http), "8081": Server(world, trickle), "7": Server(world, echo)}
    web = Agent(world, "web", hub).up(expose=[f"{port}=127.0.0.1:{server.port}" for port, server in servers.items()])
    cli = Agent(world, "cli", hub).up(proxy="127.0.0.1:0")
    cli.web = web
    return cli


@pytest.mark.parametrize(
    "words",
    [
        ["--socks4a", "PROXY"],
        ["--socks5-hostname", "PROXY"],
        ["--socks5-hostname", "PROXY", "--proxy-user", "any:thing"],
        ["--proxytunnel", "--proxy", "http://PROXY"],
    ],
    ids=["socks4a", "socks5", "socks5 with a password", "connect"],
)
def test_curl_is_served_in_each_dialect(leases, words):
    words = [word.replace("PROXY", leases.proxy) for word in words]
    done = leases.world.run(["curl", "-sS", *words, "http://web.cbx:8080/"])
    assert done.stdout.encode() == BODY


def test_socks5_client_that_offers_only_a_password_is_served(leases):
    """curl offers both; some programs do not."""
    host, _, port = leases.proxy.rpartition(":")
    with socket.create_connection((host, int(port))) as client:
        client.sendall(b"\5\1\2")
        assert read_exactly(client, 2) == b"\5\2"
        client.sendall(b"\1\3bob\6secret")
        assert read_exactly(client, 2) == b"\1\0"
        client.sendall(b"\5\1\0\3\7web.cbx\0\7")
        assert read_exactly(client, 10)[:2] == b"\5\0"
        client.sendall(b"ping")
        assert read_exactly(client, 4) == b"ping"


@pytest.mark.parametrize("whose", ["cli", "web"])
def test_killed_agent_is_an_error_and_never_an_end(leases, whose):
    """An answer that ends with its connection must not look whole."""
    command = ["curl", "-sS", "-o", "/dev/null", "--socks5-hostname", leases.proxy, "http://web.cbx:8081/"]
    curl = leases.world.start("curl", command)
    until("it has begun", lambda: leases.status()["mesh"]["streams"] == 1)
    time.sleep(0.5)
    victim = leases if whose == "cli" else leases.web
    victim.process.kill()
    assert curl.ends(10) == 56, curl.stderr()
    assert "reset" in curl.stderr()


def test_refusal_tells_the_remedy(leases):
    done = leases.run("dial", "web.cbx:81", check=False)
    assert done.returncode == 1 and "port not exposed; invite that lease again with --expose" in done.stderr
    done = leases.world.run(["curl", "-sS", "--proxytunnel", "-x", f"http://{leases.proxy}", "-D", "-", "http://web.cbx:81/"], check=False)
    assert "403" in done.stdout


def may_listen_on_six():
    try:
        socket.create_server(("::1", 0), family=socket.AF_INET6).close()
        return True
    except OSError:
        return False


@pytest.mark.skipif(not may_listen_on_six(), reason="no IPv6 loopback here")
def test_server_on_ipv6_loopback_alone_is_reached(world, hub):
    listener = socket.create_server(("::1", 0), family=socket.AF_INET6)
    port = listener.getsockname()[1]
    world.closers.append(listener.close)
    threading.Thread(target=lambda: http(listener.accept()[0]), daemon=True).start()
    Agent(world, "web", hub).up(expose=[str(port)])
    cli = Agent(world, "cli", hub).up(proxy="127.0.0.1:0")
    done = world.run(["curl", "-sS", "--socks5-hostname", cli.proxy, f"http://web.cbx:{port}/"])
    assert done.stdout.encode() == BODY


# ---- machines that vanish ----


@needs_spaces
@pytest.mark.skipif(PLANE != "", reason="planes are chosen here")
def test_machine_behind_an_exposed_port_that_vanishes_ends_the_stream(world):
    """The target is another machine, here that of cli, behind web's port; its link goes dark."""
    network = Network(world)
    options = ("--direct", "off", "--tcp-keepalive", "1s")
    network.web.up(expose=["9=10.83.3.2:8080"], options=options)
    world.start("behind", [*network.cli.space, "/usr/bin/python3", "-c", BEHIND]).expect("^ready")
    network.cli.up(options=options)
    stream = network.cli.dial_open("web.cbx:9")
    stream.stdin.write(b"ping")
    assert stream.stdout.read(4) == b"ping"
    network.spaces.filter("web", 'iifname "to-cli" drop')
    network.spaces.filter("cli", 'iifname "to-web" drop')
    assert stream.wait(15) == 1, "it stays for good"
    assert b"reset" in stream.stderr.read()
    assert network.cli.attached() and network.web.attached()


BEHIND = """
import socket
listener = socket.create_server(("10.83.3.2", 8080))
print("ready", flush=True)
one = listener.accept()[0]
while part := one.recv(100):
    one.sendall(part)
"""
