# SPDX-License-Identifier: MIT
"""Bulk through nginx, curl and the whole SSH path, byte for byte."""

import threading

import pytest
from conftest import Pair
from servers import Connect, Nginx, Server, Socks, noise, read_all, sha256_of


@pytest.fixture
def nginx_pair(world, big_file):
    """The pair with nginx behind web.cbx:8080."""
    folder, _, _ = big_file
    nginx = Nginx(world, folder)
    pair = Pair(world)
    pair.web.up(expose=[f"8080=127.0.0.1:{nginx.port}"])
    pair.cli.up(proxy="127.0.0.1:0")
    return pair


@pytest.mark.timeout(300)
@pytest.mark.parametrize("option", ["--socks5-hostname", "--proxytunnel -x"])
def test_1_gib_file_arrives_whole(nginx_pair, big_file, world, option):
    _, checksum, size = big_file
    proxy = nginx_pair.cli.proxy
    if option == "--socks5-hostname":
        way = ["--socks5-hostname", proxy]
    else:
        way = ["--proxytunnel", "-x", f"http://{proxy}"]
    got = sha256_of(["curl", "-sS", "--fail", *way, "http://web.cbx:8080/big"], world)
    assert got == (checksum, size)


@pytest.mark.timeout(120)
def test_upload_arrives_whole(pair):
    """The other way round: the dialer sends."""
    data = noise(64 << 20)
    received = []

    def sink(connection):
        received.append(read_all(connection))
        connection.sendall(b"done")

    pair.echo.handler = sink
    client = Socks(pair.cli.proxy, "web.cbx", 8080)
    assert client.reply == 0
    client.socket.sendall(data)
    client.socket.shutdown(1)
    assert read_all(client.socket) == b"done"
    assert received == [data]


@pytest.mark.timeout(120)
@pytest.mark.parametrize("front", [Socks, Connect])
def test_many_streams_at_once_do_not_mix(pair, front):
    results = {}

    def one(number):
        data = noise(1 << 20, seed=number)
        client = front(pair.cli.proxy, "web.cbx", 8080)
        sender = threading.Thread(target=lambda: (client.socket.sendall(data), client.socket.shutdown(1)))
        sender.start()
        results[number] = read_all(client.socket) == data
        sender.join()

    threads = [threading.Thread(target=one, args=(number,)) for number in range(48)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert results == {number: True for number in range(48)}


@pytest.mark.timeout(120)
def test_slow_reader_stops_only_its_own_stream(pair, world):
    """One client that does not read, and another at speed beside it."""
    flood = Server(world, lambda connection: connection.sendall(noise(32 << 20)))
    pair.cli.process.terminate()
    pair.web.process.terminate()
    token = pair.hub.invite("web", expose=[f"8080=127.0.0.1:{pair.echo.port}", f"9=127.0.0.1:{flood.port}"])
    pair.web.up(token=token)
    pair.cli.up(proxy="127.0.0.1:0")
    stuck = Socks(pair.cli.proxy, "web.cbx", 9)
    assert stuck.reply == 0
    quick = Socks(pair.cli.proxy, "web.cbx", 9)
    assert len(read_all(quick.socket)) == 32 << 20
    assert pair.works()
    assert len(read_all(stuck.socket)) == 32 << 20


def test_what_a_client_sends_with_its_request_is_not_lost(pair):
    """Bytes right behind the SOCKS request or the CONNECT header belong to the far side."""
    for front in (Socks, Connect):
        client = front(pair.cli.proxy, "web.cbx", 8080, early=b"unasked")
        client.socket.shutdown(1)
        assert read_all(client.socket) == b"unasked"


def test_full_name_reaches_the_peer_too(pair):
    done = pair.cli.dial("web.demo.cbx:8080", b"hello")
    assert done.stdout == b"hello"


def test_both_leases_dial_each_other(pair, world):
    """Every agent dials and is dialed over the same link."""
    token = pair.hub.invite("cli", expose=[f"7=127.0.0.1:{pair.echo.port}"])
    pair.cli.process.terminate()
    pair.cli.up(token=token, proxy="127.0.0.1:0")
    assert pair.works()
    assert pair.web.dial("cli.cbx:7", b"back").stdout == b"back"
