# SPDX-License-Identifier: MIT
"""Which path a new dial takes when one of several is gone, silent or not proven."""

import os
import signal
import time

import pytest
from loads import programs_below
from servers import Socks, read_exactly, read_exactly_from
from spaces import Network, needs_spaces
from world import PLANE, until

pytestmark = pytest.mark.skipif(PLANE != "", reason="planes are chosen here")


@pytest.fixture
def direct(pair):
    pair.go_direct()
    return pair


def dials(pair):
    """Seconds that a dial with an echo took."""
    began = time.monotonic()
    with Socks(pair.cli.proxy, "web.cbx", 8080).socket as client:
        client.sendall(b"ping")
        assert read_exactly(client, 4) == b"ping"
    return time.monotonic() - began


def test_new_dials_go_over_a_direct_lane_when_the_hub_is_killed(direct):
    direct.hub.process.kill()
    for _ in range(5):
        assert dials(direct) < 2
        time.sleep(0.3)
    assert direct.cli.peer("web")["plane"] == "direct"


def test_new_dials_go_over_a_direct_lane_when_the_hub_is_silent(direct):
    os.kill(direct.hub.process.child.pid, signal.SIGSTOP)
    try:
        for _ in range(3):
            assert dials(direct) < 2
            time.sleep(0.3)
        done = direct.cli.run("dial", "web.cbx:8080", input="ping", seconds=5)
        assert done.stdout == "ping"
    finally:
        os.kill(direct.hub.process.child.pid, signal.SIGCONT)


def test_a_lease_dials_itself_without_the_hub(direct):
    direct.hub.process.kill()
    done = direct.web.run("dial", "web.cbx:8080", input="ping", seconds=5)
    assert done.stdout == "ping"


# ---- only the path between the two goes dark, without a reset ----


DARK = {"web": 'iifname "to-cli" drop', "cli": 'iifname "to-web" drop'}


@pytest.fixture
def dark(world):
    """Two leases on a direct lane; darken() drops all between them, both keep the hub."""
    network = Network(world).up()
    stream = network.cli.dial_open("web.cbx:8080")
    stream.stdin.write(b"ping")
    assert read_exactly_from(stream, 4) == b"ping"
    network.cli.wait_plane("web", "direct")
    network.stream = stream
    network.darken = lambda: [network.spaces.filter(name, rule) for name, rule in DARK.items()]
    return network


def echo_seconds(network):
    began = time.monotonic()
    assert network.cli.dial("web.cbx:8080", b"ping").stdout == b"ping"
    return time.monotonic() - began


@needs_spaces
def test_dial_goes_to_the_hub_when_the_direct_lane_does_not_answer(dark):
    dark.darken()
    assert echo_seconds(dark) < 3, "the first waited for a path that was not proven"
    assert echo_seconds(dark) < 1, "the lane is suspect: nothing new goes there"


@needs_spaces
def test_running_stream_leaves_a_dark_lane_with_the_next_dial(dark):
    dark.darken()
    assert echo_seconds(dark) < 3
    dark.stream.stdin.write(b"pong")
    assert read_exactly_from(dark.stream, 4) == b"pong"
    counters = dark.cli.status()["mesh"]["counters"]
    assert counters["direct_lanes_suspect"] == 1


@needs_spaces
def test_lane_that_is_heard_again_serves_again(dark):
    dark.darken()
    assert echo_seconds(dark) < 3
    for name in DARK:
        dark.spaces.open(name)
    until("it is on direct again", lambda: dark.cli.peer("web")["plane"] == "direct", 75)
    assert echo_seconds(dark) < 1


@needs_spaces
def test_slow_target_does_not_make_its_lane_suspect(dark):
    """The lane answers a ping, only the program behind the port does not."""
    dark.spaces.filter("web", 'iifname "lo" tcp dport 8080 tcp flags syn / syn,ack drop')
    child = dark.cli.dial_open("web.cbx:8080")
    time.sleep(3)
    assert child.poll() is None
    assert dark.cli.status()["mesh"]["counters"]["direct_lanes_suspect"] == 0
    assert dark.cli.peer("web")["plane"] == "direct"


# ---- the path to the hub goes dark, without a reset ----


@needs_spaces
def test_dark_network_is_noticed_once_by_both_ends(world):
    """What is silent for --gone is gone with all that hangs on it: lane and SSH alike."""
    quick = ["--keepalive", "300ms", "--gone", "1500ms"]
    network = Network(world, hub_options=quick).up("--direct", "off", *quick)
    network.cli.wait_plane("web", "relay")
    assert echo_seconds(network) < 2
    network.spaces.filter("hub", 'iifname "to-cli" drop')
    network.spaces.filter("cli", 'iifname "to-hub" drop')
    began = time.monotonic()
    until("the agent notices", lambda: not network.cli.attached(), 10, 0.05)
    until("the hub notices", lambda: network.hub.peers()["cli"]["state"] == "away", 10, 0.05)
    assert time.monotonic() - began < 3, "it was granted its time twice"
    for name in ("hub", "cli"):
        network.spaces.open(name)
    network.cli.wait_attached(30)
    assert echo_seconds(network) < 2


@needs_spaces
def test_standby_that_is_cut_leaves_the_link_on_its_lane(world):
    """A proxy that cuts silent connections cuts the SSH connection beside a lane; nothing else ends."""
    network = Network(world).up("--direct", "off")
    network.cli.wait_plane("web", "relay")
    stream = network.cli.dial_open("web.cbx:8080")
    stream.stdin.write(b"ping")
    assert read_exactly_from(stream, 4) == b"ping"
    attaches = network.cli.status()["mesh"]["counters"]["attaches"]
    sshds = programs_below(network.hub.process, "sshd")
    assert len(sshds) >= 2
    for pid in sshds:
        os.kill(pid, signal.SIGKILL)
    until("sshd is gone", lambda: not programs_below(network.hub.process, "sshd"))
    time.sleep(0.5)
    stream.stdin.write(b"pong")
    assert read_exactly_from(stream, 4) == b"pong"
    assert network.cli.status()["mesh"]["counters"]["attaches"] == attaches
