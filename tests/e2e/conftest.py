# SPDX-License-Identifier: MIT
import hashlib
import os
import resource
import shutil
import struct
import tempfile
from pathlib import Path

import pytest
from servers import Server, echo
from world import AGENT, HUB, PLANE, Agent, Hub, World


def pytest_configure():
    for program in (HUB, AGENT):
        if not os.access(program, os.X_OK):
            pytest.exit(f"{program} is not there: run make first", returncode=3)
    # A login has 1,024 descriptors unless it asks for more, and loads open thousands here.
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_makereport(item, call):
    """A failed test shows what the programs said."""
    report = (yield).get_result()
    if report.failed:
        for value in getattr(item, "funcargs", {}).values():
            world = value if isinstance(value, World) else getattr(value, "world", None)
            if isinstance(world, World) and not getattr(world, "shown", False):
                world.shown = call.when == "call"
                report.sections += list(world.logs())
                break


@pytest.fixture
def world():
    made = World()
    yield made
    made.close()


@pytest.fixture
def hub(world):
    return Hub(world).start()


class Pair:
    """Lease web with an echo server behind web.cbx:8080, and lease cli with a proxy."""

    def __init__(self, world, hub_options=()):
        self.world = world
        self.hub = Hub(world).start(extra=hub_options)
        self.echo = Server(world, echo)
        self.web = Agent(world, "web", self.hub)
        self.cli = Agent(world, "cli", self.hub)

    def start(self, expose=(), options=()):
        self.web.up(expose=[f"8080=127.0.0.1:{self.echo.port}", *expose], options=options)
        self.cli.up(proxy="127.0.0.1:0", options=options)
        if PLANE == "direct" and not options:
            self.go_direct()
        return self

    def go_direct(self):
        """A stream, until the lane for it is there; the lane then stays for the next ones."""
        stream = self.cli.dial_open("web.cbx:8080")
        self.cli.wait_plane("web", "direct")
        self.web.wait_plane("cli", "direct")
        stream.stdin.close()
        assert stream.wait(10) == 0

    def works(self):
        """True when a new dial goes through, end to end."""
        done = self.cli.run("dial", "web.cbx:8080", input="ping", check=False)
        return done.returncode == 0 and done.stdout == "ping"


@pytest.fixture
def pair(world):
    return Pair(world).start()


@pytest.fixture
def relayed(world):
    """A pair whose streams go through the hub."""
    return Pair(world).start(options=["--direct", "off"])


@pytest.fixture(scope="session")
def big_file():
    """A folder with a file of 1 GiB in which no two blocks are equal, and its checksum."""
    size = 1 << 30
    roomy = shutil.disk_usage("/dev/shm").free > 2 * size if os.path.isdir("/dev/shm") else False
    folder = Path(tempfile.mkdtemp(prefix=f"{Path(tempfile.gettempdir()).name}-big-", dir="/dev/shm" if roomy else None))
    block = os.urandom((1 << 20) - 8)
    digest = hashlib.sha256()
    with open(folder / "big", "wb") as file:
        for index in range(size >> 20):
            part = struct.pack(">Q", index) + block
            digest.update(part)
            file.write(part)
    yield folder, digest.hexdigest(), size
    shutil.rmtree(folder)
