# SPDX-License-Identifier: MIT
"""One stream over every plane: 1 GiB goes from ssh to relay to direct and back to relay."""

import hashlib
import json
import subprocess
import threading
import time

import pytest
from spaces import BLOCK, Network, needs_spaces
from world import PLANE, find, until

pytestmark = pytest.mark.skipif(PLANE != "", reason="planes are chosen here")

# Hashes what comes and returns a part of it; says last what it took and gave.
FAR = """
import hashlib, socket
listener = socket.create_server(("127.0.0.1", 8080))
print("ready", flush=True)
with listener.accept()[0] as one:
    took, gave = hashlib.sha256(), hashlib.sha256()
    while part := one.recv(1 << 18):
        took.update(part)
        back = part[:len(part) // 16]
        gave.update(back)
        one.sendall(back)
    one.sendall(took.digest() + gave.digest())
"""
BLOCK_SIZE = 1 << 18
MIB = 1 << 20
DIGESTS = 64
# Of each agent's connections to the hub's port the first is its login, the next the lane: its SYN is
# repeated after 1, 3 and 7 s.
LOGIN_ONLY = "tcp dport 7000 tcp flags syn / syn,ack limit rate over 1/day burst 1 packets drop"


class Upload:
    """A file through socat and the proxy's CONNECT to far. Paced but for when full_speed is set; so
    slowly in the end that one more try of a direct lane, a minute later, still finds it going on."""

    def __init__(self, network, path):
        command = [*network.cli.space, find("socat"), "-b", str(BLOCK_SIZE), "-t", "60", "-"]
        command.append(f"PROXY:127.0.0.1:web.cbx:8080,proxyport={network.cli.proxy.rpartition(':')[2]}")
        self.child = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, bufsize=0)
        network.world.closers.append(lambda: (self.child.kill(), self.child.wait()))
        self.sent, self.full_speed = 0, False
        self.got, self.tail = hashlib.sha256(), b""
        self.threads = [threading.Thread(target=self._send, args=(path,), daemon=True)]
        self.threads.append(threading.Thread(target=self._receive, daemon=True))
        for thread in self.threads:
            thread.start()

    def _send(self, path):
        with open(path, "rb") as file, self.child.stdin as pipe:
            while block := file.read(BLOCK_SIZE):
                self.sent += pipe.write(block)
                if not self.full_speed:
                    time.sleep(len(block) / ((48 if self.sent < 384 * MIB else 4) * MIB))

    def _receive(self):
        while part := self.child.stdout.read(BLOCK_SIZE):
            self.tail += part
            self.got.update(self.tail[:-DIGESTS])
            self.tail = self.tail[-DIGESTS:]

    def finish(self):
        """The checksum at the far end, after that of what came back was compared."""
        for thread in self.threads:
            thread.join(120)
        assert self.child.wait(10) == 0
        assert self.tail[32:] == self.got.digest()
        return self.tail[:32].hex()


class Watch:
    """The planes of an agent's one stream, in the order in which they were seen."""

    def __init__(self, network, agent):
        self.agent, self.planes, self.stopped = agent, [], False
        self.thread = threading.Thread(target=self._look, daemon=True)
        network.world.closers.append(self.stop)
        self.thread.start()

    def _look(self):
        while not self.stopped:
            streams = json.loads(self.agent.run("peers", "--json").stdout)["streams"]
            for stream in streams:
                if self.planes[-1:] != [stream["plane"]]:
                    self.planes.append(stream["plane"])
            time.sleep(0.05)

    def stop(self):
        self.stopped = True
        self.thread.join(30)


def seen(watches, *planes, seconds=90):
    def look():
        assert all(watch.thread.is_alive() for watch in watches)
        return all(watch.planes[: len(planes)] == list(planes) for watch in watches)

    try:
        until(f"the stream went {' -> '.join(planes)}", look, seconds)
    except AssertionError as error:
        raise AssertionError(f"{error}; it went {[watch.planes for watch in watches]}") from None


def start(network):
    """Both are attached, and held on ssh and off each other."""
    for agent, expose in ((network.web, ["8080"]), (network.cli, [])):
        token = network.hub.invite(agent.name, expose=expose)
        assert agent.start("join", agent.token_file(token)).ends(15) == 0
    for name in ("web", "cli"):
        network.spaces.filter("hub", f'iifname "to-{name}" {LOGIN_ONLY}')
        network.spaces.filter(name, BLOCK[name])
    network.web.up(attached=False)
    network.cli.up(proxy="127.0.0.1:0")
    network.web.wait_attached()
    until("cli knows web", lambda: network.cli.peer("web").get("state") == "ready", 20)


@needs_spaces
@pytest.mark.timeout(240)
def test_1_gib_from_ssh_to_relay_to_direct_and_back_to_relay(world, big_file):
    folder, checksum, size = big_file
    network = Network(world, far=FAR)
    start(network)
    upload = Upload(network, folder / "big")
    watches = [Watch(network, agent) for agent in (network.cli, network.web)]
    seen(watches, "ssh")
    network.spaces.open("hub")
    seen(watches, "ssh", "relay")
    for name in ("web", "cli"):
        network.spaces.open(name)
    seen(watches, "ssh", "relay", "direct")
    upload.full_speed = True
    until("much went over it", lambda: network.cli.peer("web")["bytes"]["direct"]["out"] > 128 * MIB, 60)
    upload.full_speed = False
    for name, other in (("web", "cli"), ("cli", "web")):
        network.spaces.filter(name, f'iifname "to-{other}" meta l4proto tcp reject with tcp reset')
    seen(watches, "ssh", "relay", "direct", "relay")
    assert upload.sent < size, "the last move came after the file's end"
    upload.full_speed = True
    assert upload.finish() == checksum
    for watch in watches:
        watch.stop()
        assert watch.planes == ["ssh", "relay", "direct", "relay"]
    went = network.cli.peer("web")["bytes"]
    assert sum(way["out"] for way in went.values()) == size
    assert sum(way["in"] for way in went.values()) >= size // 17 + DIGESTS, went
    assert all(way["in"] > 1 << 14 and way["out"] > 1 << 18 for way in went.values()), went
