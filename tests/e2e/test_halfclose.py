# SPDX-License-Identifier: MIT
"""End of input in one direction leaves the other open, through every front; reset is reset."""

import socket
import threading

import pytest
from servers import Connect, Socks, noise, read_all, read_exactly, reset

BULK = noise(3 << 20)


class Dial:
    """`cbx-agent dial` with the face of a socket."""

    def __init__(self, pair):
        self.child = pair.cli.dial_open("web.cbx:8080")

    def sendall(self, data):
        while data:
            data = data[self.child.stdin.write(data) :]

    def recv(self, length):
        return self.child.stdout.read(length)

    def end(self):
        self.child.stdin.close()

    def finish(self):
        assert self.child.wait(20) == 0, self.child.stderr.read()


class Tcp:
    """The same through a proxy."""

    def __init__(self, pair, front):
        self.socket = front(pair.cli.proxy, "web.cbx", 8080).socket
        self.sendall, self.recv = self.socket.sendall, self.socket.recv

    def end(self):
        self.socket.shutdown(socket.SHUT_WR)

    def finish(self):
        self.socket.close()


@pytest.fixture(params=["socks", "connect", "dial"])
def opened(request, pair):
    """A function that opens web.cbx:8080 by this front."""
    return {
        "socks": lambda: Tcp(pair, Socks),
        "connect": lambda: Tcp(pair, Connect),
        "dial": lambda: Dial(pair),
    }[request.param]


def test_dialer_ends_first_and_still_hears_the_answer(pair, opened):
    heard = []

    def answer_after_the_end(connection):
        heard.append(read_all(connection))
        connection.sendall(BULK)

    pair.echo.handler = answer_after_the_end
    client = opened()
    client.sendall(b"question")
    client.end()
    assert read_all(client) == BULK
    assert heard == [b"question"]
    client.finish()


def test_target_ends_first_and_still_hears_the_dialer(pair, opened):
    heard, done = [], threading.Event()

    def end_and_listen(connection):
        connection.sendall(b"that is all")
        connection.shutdown(socket.SHUT_WR)
        heard.append(read_all(connection))
        done.set()

    pair.echo.handler = end_and_listen
    client = opened()
    assert read_all(client) == b"that is all"
    client.sendall(BULK)
    client.end()
    assert done.wait(20), pair.echo.errors
    assert heard == [BULK]
    client.finish()


def test_conversation_goes_on_for_many_turns(pair, opened):
    client = opened()
    for turn in range(50):
        client.sendall(b"%04d" % turn)
        assert read_exactly(client, 4) == b"%04d" % turn
    client.end()
    assert read_all(client) == b""
    client.finish()


def test_reset_by_the_target_is_a_reset_at_the_dialer(pair):
    def reset_at_once(connection):
        read_exactly(connection, 4)
        reset(connection)

    pair.echo.handler = reset_at_once
    client = Socks(pair.cli.proxy, "web.cbx", 8080)
    client.socket.sendall(b"ping")
    with pytest.raises(ConnectionResetError):
        read_all(client.socket)


def test_reset_by_the_target_is_a_failure_of_dial(pair):
    def reset_at_once(connection):
        read_exactly(connection, 4)
        reset(connection)

    pair.echo.handler = reset_at_once
    client = pair.cli.dial_open("web.cbx:8080")
    client.stdin.write(b"ping")
    assert client.wait(20) == 1
    assert client.stderr.read().startswith(b"cbx-agent: dial web.cbx:8080: connection reset")


def test_reset_by_the_dialer_is_a_reset_at_the_target(pair):
    seen, done = [], threading.Event()

    def listen(connection):
        try:
            connection.sendall(b"ready")
            read_all(connection)
            seen.append("end of input")
        except ConnectionResetError:
            seen.append("reset")
        done.set()

    pair.echo.handler = listen
    client = Socks(pair.cli.proxy, "web.cbx", 8080)
    assert read_exactly(client.socket, 5) == b"ready"
    reset(client.socket)
    assert done.wait(20)
    assert seen == ["reset"]
