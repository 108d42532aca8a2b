# SPDX-License-Identifier: MIT
"""Paths on which packets above some length vanish and nobody says so: agents find out, keep to short
segments and work; netcheck says which length arrives. Nothing of that on a path that is sound.

What is told here takes its time, all of it waiting, so the tests run side by side, each in a world of
its own (alongside)."""

import json
import os
import re
import subprocess
import threading
import traceback
from concurrent.futures import ThreadPoolExecutor

import pytest
from servers import read_exactly_from
from spaces import Network, ip, needs_spaces
from world import AGENT, PLANE, Agent, World, find, until

pytestmark = [needs_spaces, pytest.mark.skipif(PLANE != "", reason="planes are chosen here")]

SIZE = 300_000
AT_ONCE = 5
SHORT = r"packets of more than 1260 bytes (are|seem to be) lost on the way to 10\.83\.2\.1:7000: continuing with segments of 1220 bytes"


def in_own_world(scenario):
    world = World()
    try:
        scenario(world)
    except BaseException:
        logs = "\n".join(f"---- {name}\n{text}" for name, text in world.logs())
        raise AssertionError(f"{traceback.format_exc()}\n{logs}") from None
    finally:
        world.close()


@pytest.fixture(scope="module")
def outcomes(request):
    """Of the tests that were chosen: they all begin when the first one is asked for its."""
    functions = [item.function for item in request.session.items if item.module is request.module]
    with ThreadPoolExecutor(AT_ONCE) as pool:
        yield {one.scenario: pool.submit(in_own_world, one.scenario) for one in functions}
        pool.shutdown(cancel_futures=True)


def alongside(scenario):
    def test(outcomes):
        outcomes[scenario].result()

    test.scenario, test.__name__, test.__doc__ = scenario, scenario.__name__, scenario.__doc__
    return test


class Holes(Network):
    """Its links carry single packets, as outside of one machine, so that filters see their length."""

    def __init__(self, world, **options):
        super().__init__(world, **options)
        for name in self.spaces.names:
            for other in {"hub": ("web", "cli"), "web": ("hub", "cli"), "cli": ("hub", "web")}[name]:
                ip("-n", self.spaces.names[name], "link", "set", f"to-{other}", "gso_max_segs", "1")

    def dig(self, at, come_from, longest=1280):
        """What comes in there from there and is longer vanishes, as does all ICMP."""
        self.spaces.filter(at, f'iifname "to-{come_from}" meta length > {longest} drop')
        self.spaces.filter(at, f'iifname "to-{come_from}" meta l4proto {{ icmp, ipv6-icmp }} drop')

    def dig_both(self, one, other, longest=1280):
        self.dig(one, other, longest)
        self.dig(other, one, longest)

    def echoed(self, size=SIZE):
        """True when all bytes of a dial come back."""
        data = os.urandom(size)
        child = self.cli.dial_open("web.cbx:8080")

        def feed():
            try:
                child.stdin.write(data)
                child.stdin.close()
            except OSError:
                pass

        thread = threading.Thread(target=feed)
        thread.start()
        back = b""
        while len(back) < size and (part := child.stdout.read(1 << 16)):
            back += part
        child.kill()
        child.wait()
        thread.join()
        assert data.startswith(back)
        return len(back) == size

    def tries(self, seconds=60):
        """How often a stream is lost until one gets through."""
        lost = 0

        def look():
            nonlocal lost
            if self.echoed():
                return True
            lost += 1
            return False

        until("bytes get through", look, seconds)
        return lost

    def mtu(self, *words):
        argv = [*self.cli.space, AGENT, "--state", self.cli.state, "netcheck", "--json", *words]
        done = self.world.run(argv, check=False, seconds=90)
        (check,) = [one for one in json.loads(done.stdout)["checks"] if one["check"] == "mtu"]
        return check

    def lost_links(self):
        return self.cli.process.stderr().count("lost the link to the hub")

    def mended(self, lost=1):
        """One link was lost, it was said once, and all goes on working."""
        assert self.tries() <= lost
        assert all(self.echoed() for _ in range(3))
        said = self.cli.process.stderr()
        assert self.lost_links() == lost, said
        assert len(re.findall(SHORT, said)) == 1, said


def work_through(world, plane, *dug):
    """What is dug is where long packets do not come in."""
    holes = Holes(world).up("--direct", "off", "--lanes", {"relay": "auto", "ssh": "off"}[plane])
    for at, come_from in dug:
        holes.dig(at, come_from)
    holes.mended()
    assert holes.cli.status()["mesh"]["plane"] == plane


@alongside
def test_lane_that_loses_what_it_sends_is_mended(world):
    work_through(world, "relay", ("hub", "cli"))


@alongside
def test_lane_that_loses_what_comes_is_mended(world):
    work_through(world, "relay", ("cli", "hub"))


@alongside
def test_lane_that_loses_both_is_mended(world):
    work_through(world, "relay", ("cli", "hub"), ("hub", "cli"))


@alongside
def test_ssh_that_loses_what_it_sends_is_mended(world):
    work_through(world, "ssh", ("hub", "cli"))


@alongside
def test_ssh_that_loses_what_comes_is_mended(world):
    work_through(world, "ssh", ("cli", "hub"))


@alongside
def test_black_hole_that_was_there_before_the_agent(world):
    holes = Holes(world)
    holes.dig_both("cli", "hub")
    holes.up("--direct", "off")
    holes.mended()
    # A second link, for another reason, begins with short segments.
    holes.cli.run("status")
    holes.hub.process.kill()
    holes.hub.start(extra=["--public", "10.83.1.1:7000", "--public", "10.83.2.1:7000"], listen="0.0.0.0:7000")
    until("cli is back", lambda: holes.lost_links() == 2 and holes.cli.attached() and holes.web.attached(), 20)
    assert holes.tries() == 0
    assert holes.lost_links() == 2


@alongside
def test_narrower_hole_takes_two_steps(world):
    holes = Holes(world).up("--direct", "off")
    holes.dig_both("cli", "hub", longest=700)
    assert holes.tries() <= 2
    assert all(holes.echoed() for _ in range(2))
    assert "continuing with segments of 536 bytes" in holes.cli.process.stderr()


@alongside
def test_join_that_does_not_fit_is_tried_with_shorter_segments(world):
    """The hub's offer is long here."""
    holes = Holes(world)
    holes.dig_both("cli", "hub")
    holes.web.up(expose=["8080"], options=["--direct", "off"])
    ports = [f"{port}=10.83.100.100:{port}" for port in range(10_000, 10_036)]
    token = holes.hub.invite("cli", *[word for i in range(8) for word in ("--label", f"k{i}={'v' * 50}")], expose=ports)
    holes.cli.up(token=token, options=["--direct", "off"], attached=False)
    holes.cli.wait_attached(60)
    assert holes.tries() == 0
    assert holes.cli.status()["segment_max"] == 1220
    assert re.search(r"^segments +of 1220 bytes at most", holes.cli.run("status").stdout, re.MULTILINE)


@alongside
def test_directory_that_does_not_fit_is_fetched_with_shorter_segments(world):
    """Nothing was ever attached here that could be lost."""
    holes = Holes(world)
    labels = [word for i in range(8) for word in ("--label", f"k{i}={'v' * 50}")]
    for name in ("one", "two", "three", "four"):
        member = Agent(world, name, holes.hub)
        token = holes.hub.invite(name, *labels)
        world.run([*holes.web.space, AGENT, "--state", member.state, "join", member.token_file(token)])
    holes.dig("cli", "hub")
    holes.web.up(expose=["8080"], options=["--direct", "off"])
    holes.cli.up(options=["--direct", "off"], attached=False)
    holes.cli.wait_attached(60)
    assert holes.tries() == 0
    assert holes.cli.status()["segment_max"] == 1220


@alongside
def test_netcheck_says_what_arrives(world):
    holes = Holes(world).up("--direct", "off")
    sound = holes.mtu()
    assert sound["result"] == "ok" and sound["passed"] == sound["mss"] == 1448, sound
    holes.dig_both("cli", "hub")
    check = holes.mtu()
    assert check["result"] == "failed" and check["passed"] == 1208, check
    assert "1448 bytes do not arrive" in check["text"] and "1208 bytes do" in check["text"]
    assert holes.cli.process.terminate() == 0
    assert holes.mtu() == check


@alongside
def test_netcheck_says_what_the_agent_found_in_the_other_direction(world):
    holes = Holes(world).up("--direct", "off")
    holes.dig("cli", "hub")
    holes.mended()
    check = holes.mtu()
    assert check["result"] == "failed" and "the running agent keeps to 1220" in check["text"], check


@alongside
def test_direct_lane_works_through_a_black_hole(world):
    """Its streams go on over the hub, and the next lane has short segments."""
    holes = Holes(world).up("--keepalive", "2s", "--gone", "8s")
    stream = holes.cli.dial_open("web.cbx:8080")
    stream.stdin.write(b"ping")
    assert read_exactly_from(stream, 4) == b"ping"
    holes.cli.wait_plane("web", "direct")
    holes.web.wait_plane("cli", "direct")
    holes.dig_both("web", "cli")
    data = os.urandom(SIZE)
    thread = threading.Thread(target=lambda: stream.stdin.write(data))
    thread.start()
    assert read_exactly_from(stream, SIZE) == data
    thread.join()
    assert re.search(r"direct lane to \S+ stood still: the next ones have segments of 1220 bytes", holes.cli.process.stderr() + holes.web.process.stderr())
    until("on a direct lane again", lambda: holes.cli.peer("web").get("plane") == "direct", 90, 0.5)
    before = holes.cli.peer("web")["bytes"]["direct"]["out"]
    assert holes.echoed()
    assert holes.cli.peer("web")["bytes"]["direct"]["out"] - before >= SIZE
    stood = [agent.process.stderr().count("stood still") for agent in (holes.cli, holes.web)]
    assert max(stood) == 1, stood


# ---- what is no black hole ----


def nothing_changed(holes, agent=None):
    said = (agent or holes.cli).process.stderr()
    assert "continuing with segments" not in said and "stood still" not in said, said


def segments_to(holes, name, port):
    """The segment size of each connection that stands from there to that port."""
    done = subprocess.run(
        [*holes.spaces.exec(name), find("ss"), "-tinH", "state", "established", "dport", "=", f":{port}"],
        check=True,
        capture_output=True,
        text=True,
    )
    return [int(size) for size in re.findall(r"\bmss:(\d+)", done.stdout)]


@alongside
def test_sound_path_is_left_as_it_is(world):
    holes = Holes(world).up("--keepalive", "1s", "--gone", "20s")
    stream = holes.cli.dial_open("web.cbx:8080")
    stream.stdin.write(b"x")
    assert read_exactly_from(stream, 1) == b"x"
    assert all(holes.echoed(2_000_000) for _ in range(5))
    nothing_changed(holes)
    nothing_changed(holes, holes.web)
    assert holes.lost_links() == 0
    assert set(segments_to(holes, "cli", 7000)) == {1448}
    assert "unexpected lane connection" not in holes.hub.process.stderr(), "something was tried"


def down_for_a_while(world, *closed):
    """The streams on it go on, and its segments are as long as before."""
    holes = Holes(world).up("--direct", "off")
    stream = holes.cli.dial_open("web.cbx:8080")
    stream.stdin.write(b"x")
    assert read_exactly_from(stream, 1) == b"x"
    for at, come_from in closed:
        holes.spaces.filter(at, f'iifname "to-{come_from}" drop')
    data = os.urandom(SIZE)
    thread = threading.Thread(target=lambda: stream.stdin.write(data))
    thread.start()
    threading.Event().wait(17)
    for at, _ in closed:
        holes.spaces.open(at)
    assert read_exactly_from(stream, SIZE) == data
    thread.join()
    nothing_changed(holes)
    assert holes.lost_links() == 0


@alongside
def test_path_that_is_down_for_a_while_costs_no_link(world):
    down_for_a_while(world, ("cli", "hub"), ("hub", "cli"))


@alongside
def test_path_that_loses_what_comes_for_a_while_costs_no_link(world):
    down_for_a_while(world, ("cli", "hub"))


@alongside
def test_path_that_loses_what_is_sent_for_a_while_costs_no_link(world):
    down_for_a_while(world, ("hub", "cli"))


@alongside
def test_connection_that_is_forgotten_between_is_no_black_hole(world):
    """As by a NAT that was started anew: others pass, at any length."""
    holes = Holes(world).up("--direct", "off", "--keepalive", "2s", "--gone", "24s")
    stream = holes.cli.dial_open("web.cbx:8080")
    stream.stdin.write(b"x")
    assert read_exactly_from(stream, 1) == b"x"
    done = subprocess.run(
        [*holes.spaces.exec("cli"), find("ss"), "-tnH", "dport", "=", ":7000"], check=True, capture_output=True, text=True
    )
    ports = ", ".join(re.findall(r"10\.83\.2\.2:(\d+)", done.stdout))
    holes.spaces.filter("hub", f'iifname "to-cli" tcp sport {{ {ports} }} drop')
    holes.spaces.filter("cli", f'iifname "to-hub" tcp dport {{ {ports} }} drop')
    until("cli gives the link up", lambda: holes.lost_links() == 1, 40)
    holes.cli.wait_attached()
    nothing_changed(holes)
    assert holes.tries() == 0
    assert set(segments_to(holes, "cli", 7000)) == {1448}


@alongside
def test_hub_that_is_stopped_for_a_while_costs_no_link(world):
    holes = Holes(world).up("--direct", "off")
    stream = holes.cli.dial_open("web.cbx:8080")
    stream.stdin.write(b"x")
    assert read_exactly_from(stream, 1) == b"x"
    (pid,) = [holes.hub.json("status")["pid"]]
    os.kill(pid, 19)
    data = os.urandom(SIZE)
    thread = threading.Thread(target=lambda: stream.stdin.write(data))
    thread.start()
    threading.Event().wait(25)
    os.kill(pid, 18)
    assert read_exactly_from(stream, SIZE) == data
    thread.join()
    nothing_changed(holes)
    assert holes.lost_links() == 0


@alongside
def test_hub_that_stays_stopped_is_no_black_hole(world):
    holes = Holes(world).up("--direct", "off", "--keepalive", "2s", "--gone", "14s")
    pid = holes.hub.json("status")["pid"]
    os.kill(pid, 19)
    try:
        until("cli gives the link up", lambda: holes.lost_links() == 1, 40)
        nothing_changed(holes)
    finally:
        os.kill(pid, 18)
    holes.cli.wait_attached(40)
    assert set(segments_to(holes, "cli", 7000)) == {1448}
