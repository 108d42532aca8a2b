# SPDX-License-Identifier: MIT
"""Every refusal in each front's own words: SOCKS reply, HTTP status with Proxy-Status, dial's line."""

import pytest
from conftest import Pair
from servers import Connect, FullBacklog, Server, Socks, echo
from world import Agent, free_port, refusal

# case: what is dialed, SOCKS reply, HTTP status, Proxy-Status error (RFC 9209), words
CASES = {
    "unknown name": ("nosuch.cbx", 8080, 4, 502, "destination_not_found", "unknown name"),
    "name of no pond": ("example.com", 80, 4, 502, "destination_not_found", "unknown name"),
    "name in another pond": ("web.other.cbx", 8080, 4, 502, "destination_not_found", "unknown name"),
    "peer away": ("gone.cbx", 8080, 3, 503, "destination_unavailable", "peer away"),
    "port not exposed": ("web.cbx", 81, 2, 403, "http_request_denied", "port not exposed"),
    "refused by the target": ("web.cbx", 82, 5, 502, "connection_refused", "connection refused"),
    "timed out": ("web.cbx", 83, 6, 504, "connection_timeout", "timed out"),
}


# Names that no directory could have say so.
CAUSES = {
    "name of no pond": "only names that end in .cbx can be reached here",
    "name in another pond": "the name belongs to another pond",
}


@pytest.fixture(scope="module")
def leases():
    """One world for all cases: web answers, gone has joined and left."""
    from world import World

    world = World()
    try:
        silent = FullBacklog(world)
        pair = Pair(world).start([f"82=127.0.0.1:{free_port()}", f"83=127.0.0.1:{silent.port}"])
        gone = Agent(world, "gone", pair.hub).up(expose=["8080"])
        gone.process.terminate()
        yield pair
    finally:
        world.close()


@pytest.mark.parametrize("case", CASES)
def test_socks_reply(leases, case):
    host, port, reply, _, _, _ = CASES[case]
    client = Socks(leases.cli.proxy, host, port)
    assert client.reply == reply
    assert client.socket.recv(1) == b""


@pytest.mark.parametrize("case", CASES)
def test_http_status(leases, case):
    host, port, _, status, error, words = CASES[case]
    client = Connect(leases.cli.proxy, host, port)
    assert client.status == status
    proxy_status = client.fields["proxy-status"]
    assert proxy_status.startswith("cbx")
    assert f"error={error}" in proxy_status
    assert words in proxy_status


@pytest.mark.parametrize("case", CASES)
def test_dial_message(leases, case):
    host, port, _, _, _, words = CASES[case]
    done = leases.cli.run("dial", f"{host}:{port}", check=False)
    assert done.returncode == 1
    assert done.stdout == ""
    if case in CAUSES:
        assert done.stderr == f"cbx-agent: dial {host}:{port}: {words}; {CAUSES[case]}\n"
    else:
        assert done.stderr == refusal(f"{host}:{port}", words)


def test_socks_takes_the_ipv4_and_ipv6_forms(leases):
    """They are read and answered in full; no peer has these addresses."""
    assert Socks(leases.cli.proxy, "192.0.2.1", 80, form="ipv4").reply == 4
    assert Socks(leases.cli.proxy, "2001:db8::1", 80, form="ipv6").reply == 4


def test_refusal_does_not_disturb_others(leases):
    assert leases.works()


def test_target_of_the_expose_list_is_the_only_one_reached(world, hub):
    """Port 8080 of the pond leads where the list says; the lease's own 8080 is not dialed."""
    told = Server(world, lambda connection: connection.sendall(b"told"))
    other = Server(world, echo)
    Agent(world, "web", hub).up(expose=[f"{other.port}=127.0.0.1:{told.port}"])
    cli = Agent(world, "cli", hub).up()
    assert cli.dial(f"web.cbx:{other.port}").stdout == b"told"
    assert other.accepted == 0


def test_agent_narrows_its_own_list(world, hub):
    """--expose at the agent takes ports away, and cannot add any."""
    server = Server(world, echo)
    token = hub.invite("web", expose=[f"1=127.0.0.1:{server.port},2=127.0.0.1:{server.port}"])
    web = Agent(world, "web", hub)
    web.start("up", web.token_file(token), "--proxy", "off", "--expose", f"1=127.0.0.1:{server.port}")
    web.wait_attached()
    cli = Agent(world, "cli", hub).up()
    assert cli.dial("web.cbx:1", b"in").stdout == b"in"
    refused = cli.run("dial", "web.cbx:2", check=False)
    assert refused.stderr == refusal("web.cbx:2", "port not exposed")


def test_peers_of_another_pond_are_unknown(world, pair):
    stranger = Agent(world, "stranger")
    stranger.start("up", stranger.token_file(pair.hub.run("invite", "--slug", "stranger").stdout), "--proxy", "off")
    stranger.wait_attached()
    done = stranger.run("dial", "web.cbx:8080", check=False)
    assert (done.returncode, done.stderr) == (1, refusal("web.cbx:8080", "unknown name"))
