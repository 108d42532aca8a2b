# SPDX-License-Identifier: MIT
"""Network namespaces with a hub and two agents in them, and nftables between."""

import itertools
import os
import re
import subprocess
import sys

import pytest
from world import Agent, Hub, find, until

ECHO = """
import socket, threading
def serve(one):
    with one:
        while part := one.recv(1 << 18):
            one.sendall(part)
listener = socket.create_server(("127.0.0.1", 8080), backlog=64)
print("ready", flush=True)
while True:
    threading.Thread(target=serve, args=(listener.accept()[0],), daemon=True).start()
"""


COUNT = itertools.count()  # several may be there at once


def ip(*words):
    subprocess.run([find("ip"), *words], check=True, capture_output=True)


class Spaces:
    """Three network namespaces: the hub's, to which web and cli have a link each, and a link between
    those two."""

    def __init__(self):
        number = next(COUNT)
        self.names = {name: f"cbx-{os.getpid()}-{number}-{name}" for name in ("hub", "web", "cli")}
        for name in self.names.values():
            ip("netns", "add", name)
            ip("-n", name, "link", "set", "lo", "up")
        self.link("hub", "web", "10.83.1")
        self.link("hub", "cli", "10.83.2")
        self.link("web", "cli", "10.83.3")
        for name in self.names.values():
            until("its links are up", lambda: self.links_up(name))

    def link(self, one, other, net):
        ends = [(one, f"to-{other}", f"{net}.1/24"), (other, f"to-{one}", f"{net}.2/24")]
        (a, a_dev, _), (b, b_dev, _) = ends
        ip("-n", self.names[a], "link", "add", a_dev, "type", "veth", "peer", "name", b_dev, "netns", self.names[b])
        for name, device, address in ends:
            ip("-n", self.names[name], "address", "add", address, "dev", device)
            ip("-n", self.names[name], "link", "set", device, "up")

    def links_up(self, name):
        """The kernel takes its time, and an agent offers no address of a link that is not up."""
        listing = subprocess.run([find("ip"), "-n", name, "-br", "link"], check=True, capture_output=True, text=True)
        return re.findall(r"^to-\S+ +(\S+)", listing.stdout, re.MULTILINE) == ["UP", "UP"]

    def exec(self, name):
        return (find("ip"), "netns", "exec", self.names[name])

    def filter(self, name, rule):
        """One nftables rule for what comes in."""
        text = f"add table inet t; add chain inet t c {{ type filter hook input priority 0; }}; add rule inet t c {rule}"
        subprocess.run([*self.exec(name), find("nft"), text], check=True, capture_output=True)

    def open(self, name):
        subprocess.run([*self.exec(name), find("nft"), "flush ruleset"], check=True, capture_output=True)

    def close(self):
        for name in self.names.values():
            subprocess.run([find("ip"), "netns", "del", name], capture_output=True, check=False)


def may_make_spaces():
    if os.geteuid() != 0:
        return False
    try:
        Spaces().close()
        return bool(find("nft"))
    except (AssertionError, subprocess.CalledProcessError):
        return False


needs_spaces = pytest.mark.skipif(not may_make_spaces(), reason="no network namespaces, or no nftables")

# Who cannot be connected to over the link between the two.
BLOCK = {"web": 'iifname "to-cli" tcp flags syn / syn,ack drop', "cli": 'iifname "to-web" tcp flags syn / syn,ack drop'}


class Network:
    """A hub that runs, two agents that do not yet, and far, a program behind web.cbx:8080."""

    def __init__(self, world, far=ECHO, hub_options=()):
        self.world, self.spaces = world, Spaces()
        world.closers.append(self.spaces.close)
        self.hub = Hub(world)
        self.hub.space = self.spaces.exec("hub")
        self.hub.start(listen="0.0.0.0:7000", extra=["--public", "10.83.1.1:7000", "--public", "10.83.2.1:7000", *hub_options])
        self.web, self.cli = Agent(world, "web", self.hub), Agent(world, "cli", self.hub)
        self.web.space, self.cli.space = self.spaces.exec("web"), self.spaces.exec("cli")
        world.start("far", [*self.web.space, sys.executable, "-c", far]).expect("^ready")

    def up(self, *options):
        self.web.up(expose=["8080"], options=options)
        self.cli.up(options=options)
        return self
