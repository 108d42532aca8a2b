# SPDX-License-Identifier: MIT
"""Real programs and large numbers through the whole path, and what is left afterwards: nothing.

`make test` runs the short sizes; `make test-full` (CBX_FULL=1) the long ones.
"""

import asyncio
import hashlib
import os
import re
import signal
import socket
import sys
import threading
import time

import pytest
from conftest import Pair
from loads import (
    QUICK,
    AsyncEcho,
    Forwarder,
    Postgres,
    QuickAgent,
    Redis,
    SlowRoad,
    Stream,
    all_of,
    cpu_seconds,
    cpu_seconds_below,
    descriptors,
    leave_descriptors,
    resident,
    sized,
)
from servers import Nginx, Server, Socks, echo, noise, read_all, read_exactly, sha256_of
from world import BUILD, PLANE, PLANES, Agent, Hub, refusal, until

MIB = 1 << 20
SANITIZED = "asan" in BUILD.parts
# What 8,000 more streams may add: a tombstone each, for two minutes, and the heap's own unrest.
GROWTH_MAX = 2 * MIB


def at_rest(pair):
    """What an idle pair shows at each place where something is counted."""
    hub = pair.hub.json("status")
    left = {"circuits": hub["circuits"], "queued": hub["queued_bytes"]}
    for agent in (pair.web, pair.cli):
        status = agent.status()
        left[f"{agent.name} connections"] = status["front"]["connections"]
        for name in ("streams", "granted_bytes", "unacked_bytes"):
            left[f"{agent.name} {name}"] = status["mesh"][name]
    return {name: count for name, count in left.items() if count != 0}


def comes_to_rest(pair, seconds=10.0):
    try:
        until("all counters are zero", lambda: not at_rest(pair), seconds)
    except AssertionError as late:
        raise AssertionError(f"{late}: {at_rest(pair)}") from None


@pytest.fixture
def crowd(world):
    """The pair with an echo server behind web.cbx:8080 that takes thousands; through the hub, but
    where the plane is chosen."""
    pair = Pair(world)
    pair.echo.close()
    pair.echo = AsyncEcho(world)
    pair.start(options=() if PLANE else ["--direct", "off"])
    pair.echo.accepted = 0
    return pair


# ---- databases ----


@pytest.fixture
def database(world):
    """PostgreSQL behind db.cbx:5432, and a forwarder to it at the lease app."""
    postgres = Postgres(world)
    hub = Hub(world).start()
    Agent(world, "db", hub).up(expose=[f"5432=127.0.0.1:{postgres.port}"])
    app = Agent(world, "app", hub).up()
    app.wait("db.cbx:5432")
    postgres.forwarder = Forwarder(world, app, "db.cbx:5432")
    return postgres


@pytest.mark.timeout(120)
def test_psql_gets_the_same_as_without_the_mesh(database, world):
    away = database.forwarder.port
    table = "CREATE TABLE t AS SELECT i, md5(i::text) AS m FROM generate_series(1, 200000) AS i"
    database.psql(away, table)
    dump = "COPY (SELECT * FROM t ORDER BY i) TO STDOUT"
    through, direct = database.psql(away, dump).stdout, database.psql(database.port, dump).stdout
    assert len(direct) > 7 * MIB
    assert through == direct
    database.psql(away, "CREATE TABLE u (i int, m text)")
    database.psql(away, "COPY u FROM STDIN", input=direct)
    assert database.psql(away, "SELECT count(*) FROM u NATURAL JOIN t").stdout == "200000\n"
    wrong = database.psql(away, "SELECT 1/0", check=False)
    assert (wrong.returncode, wrong.stderr) == (1, "ERROR:  division by zero\n")


@pytest.mark.timeout(180)
def test_pgbench_with_four_clients_keeps_its_books(database):
    """Every transaction moves one sum through four tables, so the sums say what was lost."""
    port = database.forwarder.port
    database.pgbench(port, "-i", "-q", "-s", "1")
    report = database.pgbench(port, "-c", "4", "-T", sized(5, 30)).stdout
    done = int(re.search(r"transactions actually processed: (\d+)", report).group(1))
    assert "number of failed transactions: 0 " in report
    assert done > 100
    assert database.psql(port, "SELECT count(*) FROM pgbench_history").stdout == f"{done}\n"
    sums = [
        "SELECT sum(delta) FROM pgbench_history",
        "SELECT sum(abalance) FROM pgbench_accounts",
        "SELECT sum(bbalance) FROM pgbench_branches",
        "SELECT sum(tbalance) FROM pgbench_tellers",
    ]
    assert len({database.psql(port, query).stdout for query in sums}) == 1


@pytest.fixture
def cache(world):
    """Redis behind store.cbx:6379, and a forwarder to it; links ping after 1 s, are dead after 3."""
    redis = Redis(world)
    hub = Hub(world).start(extra=QUICK)
    for name, expose in (("store", [f"6379=127.0.0.1:{redis.port}"]), ("app", [])):
        app = QuickAgent(world, name, hub).up(expose=expose)
    app.wait("store.cbx:6379")
    redis.forwarder = Forwarder(world, app, "store.cbx:6379")
    return redis


@pytest.mark.timeout(120)
def test_redis_benchmark_has_every_command_done(cache, world):
    count = sized(4000, 50000)
    before = int(cache.info("total_commands_processed"))
    argv = ["redis-benchmark", "-p", cache.forwarder.port, "-n", count, "-c", 16, "-t", "set,get,lpush,lrange_100"]
    report = world.run([*argv, "--csv"], seconds=100)
    assert "rror" not in report.stdout + report.stderr
    assert report.stdout.count("\n") == 6  # a head, a filling of the list, and four results
    for command in ("set", "get", "lrange"):
        calls = int(re.match(r"calls=(\d+)", cache.info(f"cmdstat_{command}")).group(1))
        assert calls == count
    assert int(cache.info("total_commands_processed")) - before > 4 * count
    assert cache.cli(cache.forwarder.port, "LLEN", "mylist") == str(2 * count)


@pytest.mark.timeout(60)
def test_blocked_blpop_is_woken_from_the_other_side(cache, world):
    """The stream is silent for longer than what makes a silent link a dead one."""
    blocked = world.start("blpop", ["redis-cli", "-p", cache.forwarder.port, "BLPOP", "queue", "0"])
    until("it waits", lambda: cache.info("blocked_clients") == "1")
    time.sleep(5)
    assert blocked.running()
    pushed = time.monotonic()
    cache.cli(cache.port, "RPUSH", "queue", "work")
    assert blocked.ends(5) == 0
    assert time.monotonic() - pushed < 1
    assert blocked.stdout().split() == ["queue", "work"]


# ---- many connections ----


@pytest.mark.timeout(120)
def test_500_connections_are_open_at_once_and_each_exchanges_data(crowd):
    count = 500

    async def talk(stream, number, size):
        data = noise(size, seed=f"{number}/{size}")
        assert await stream.exchange(data) == data

    async def play():
        opening = [Stream.connect(crowd.cli.proxy, "web.cbx", 8080) for _ in range(count)]
        streams = await all_of(opening, 30)
        await all_of([talk(one, number, 100) for number, one in enumerate(streams)], 30)
        assert crowd.hub.json("status")["circuits"] == (0 if PLANE == "direct" else count)
        for agent in (crowd.cli, crowd.web):
            status = agent.status()
            assert (status["front"]["connections"], status["mesh"]["streams"]) == (count, count)
        await all_of([talk(one, number, 64 << 10) for number, one in enumerate(streams)], 60)
        assert crowd.hub.json("status")["circuits"] == (0 if PLANE == "direct" else count)
        assert await all_of([one.finish() for one in streams], 30) == [b""] * count

    asyncio.run(play())
    assert crowd.echo.accepted == count
    comes_to_rest(crowd)


def short_ones(pair, count):
    """Dials count times, 64 at once; each has a question, an answer and an orderly end."""

    async def one(number):
        stream = await Stream.connect(pair.cli.proxy, "web.cbx", 8080)
        question = number.to_bytes(8, "big") * 16
        assert await stream.exchange(question) == question
        assert await stream.finish() == b""

    async def worker(numbers):
        for number in numbers:
            await one(number)

    async def play():
        numbers = iter(range(count))
        await all_of([worker(numbers) for _ in range(64)], 240)

    asyncio.run(play())


@pytest.mark.timeout(300)
def test_10000_short_connections_leave_nothing_behind(crowd):
    """Counters at zero, as many descriptors as before, and no more memory than after a tenth."""
    processes = [crowd.hub.process, crowd.web.process, crowd.cli.process]
    assert crowd.works()
    comes_to_rest(crowd)
    before = [descriptors(process) for process in processes]
    short_ones(crowd, 2000)
    comes_to_rest(crowd)
    early = [resident(process) for process in processes]
    short_ones(crowd, 8000)
    comes_to_rest(crowd)
    grown = {process.name: resident(process) - was for process, was in zip(processes, early)}
    print(f"grown by {grown}, from {early}")
    if not SANITIZED:  # a sanitizer keeps what was freed
        assert max(grown.values()) < GROWTH_MAX, grown
    # The last command's own connection may still be closing.
    until("as many descriptors as before", lambda: [descriptors(process) for process in processes] == before, 5)
    for agent in (crowd.web, crowd.cli):
        status = agent.status()
        assert status["mesh"]["counters"]["resets"] == 0
        assert status["front"]["refused"] == 0
    assert crowd.hub.json("status")["counters"]["refused"] == {}
    assert crowd.echo.accepted == 10001


REDIAL = """
import socket, sys, threading, time
proxy, port, until = int(sys.argv[1]), int(sys.argv[2]), time.monotonic() + float(sys.argv[3])
request = b"\\5\\1\\0\\5\\1\\0\\3\\7web.cbx" + port.to_bytes(2, "big")
counts = {}
def redial():
    while time.monotonic() < until:
        with socket.create_connection(("127.0.0.1", proxy)) as one:
            one.sendall(request)
            answer = one.recv(64)
            answer += one.recv(64) if len(answer) < 12 else b""
            code = answer[3] if len(answer) > 3 else -1
            counts[code] = counts.get(code, 0) + 1
threads = [threading.Thread(target=redial) for _ in range(4)]
[one.start() for one in threads]
[one.join() for one in threads]
print(counts)
"""


@pytest.mark.parametrize("plane", ["relay", "direct"])
@pytest.mark.parametrize("port", [8080, 81])
def test_twelve_threads_that_redial_without_pause_cost_no_link(world, plane, port):
    """Accepted and refused dials; neither the hub nor the peer sheds a frame or ends anything."""
    pair = Pair(world).start(options=PLANES[plane])
    if plane == "direct":
        pair.go_direct()
    stays = pair.cli.dial_open("web.cbx:8080")
    words = [sys.executable, "-c", REDIAL, pair.cli.proxy.rpartition(":")[2], port, 6]
    busy = [world.start(f"busy-{number}", words) for number in range(3)]
    assert [one.ends(40) for one in busy] == [0, 0, 0]
    said = [one.stdout() for one in busy]
    assert not any("{1:" in line or " 1:" in line for line in said), f"overloaded: {said}"
    counters = pair.hub.json("status")["counters"]
    assert counters["shed_frames"] == 0 and counters["breaches"] == 0
    for agent in (pair.cli, pair.web):
        assert agent.status()["mesh"]["counters"]["direct_lanes_lost"] == 0
        assert agent.status()["mesh"]["counters"]["attaches"] == 1
    stays.stdin.write(b"ping")
    assert stays.stdout.read(4) == b"ping"


@pytest.mark.timeout(300)
def test_16_downloads_each_way_at_once_arrive_whole(world, big_file):
    """Ranges of one file, no two alike, by curl from nginx; each lease serves and fetches."""
    folder, _, _ = big_file
    size = sized(16, 64) * MIB
    nginx = Nginx(world, folder)
    pair = Pair(world)
    pair.web.up(expose=[f"80=127.0.0.1:{nginx.port}"], proxy="127.0.0.1:0")
    pair.cli.up(expose=[f"80=127.0.0.1:{nginx.port}"], proxy="127.0.0.1:0")
    wanted, got = {}, {}
    with open(folder / "big", "rb") as file:
        for number in range(16):
            wanted[number] = hashlib.sha256(file.read(size)).hexdigest()

    def fetch(agent, host, number):
        span = f"{number * size}-{(number + 1) * size - 1}"
        url = f"http://{host}/big"
        argv = ["curl", "-sS", "--fail", "-r", span, "--socks5-hostname", agent.proxy, url]
        got[host, number] = sha256_of(argv, world)

    ways = [(pair.cli, "web.cbx"), (pair.web, "cli.cbx")]
    threads = [threading.Thread(target=fetch, args=(*way, number)) for number in range(16) for way in ways]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert got == {(host, number): (wanted[number], size) for number in range(16) for _, host in ways}
    comes_to_rest(pair)


# ---- descriptors run out ----


def is_calm(process, seconds=1.0):
    """It does not spin: a fifth of a core at most."""
    before = cpu_seconds(process)
    time.sleep(seconds)
    return cpu_seconds(process) - before < 0.2 * seconds


def said(process, words):
    return process.stderr().count(words)


class Knock(threading.Thread):
    """A client that waits for the proxy's answer as long as it takes."""

    def __init__(self, proxy):
        super().__init__(daemon=True)
        self.proxy, self.client = proxy, None
        self.start()

    def run(self):
        self.client = Socks(self.proxy, "web.cbx", 8080)

    def echoes(self):
        self.client.socket.sendall(b"ping")
        return read_exactly(self.client.socket, 4) == b"ping"

    def close(self):
        self.client.socket.close()


def answered(knocks):
    return [knock for knock in knocks if knock.client]


@pytest.mark.timeout(60)
def test_agent_out_of_descriptors_lets_clients_wait_and_goes_on(pair):
    agent = pair.cli.process
    assert pair.works()
    leave_descriptors(agent, 20)
    knocks = [Knock(pair.cli.proxy) for _ in range(30)]
    agent.expect("new clients wait", stream="stderr")
    until("those with a descriptor have an answer", lambda: len(answered(knocks)) >= 20)
    assert is_calm(agent)
    first = answered(knocks)
    assert len(first) == 20
    assert all(knock.client.reply == 0 and knock.echoes() for knock in first)
    # Commands have descriptors of their own.
    assert pair.cli.status()["front"]["paused_by_system"] > 0
    for knock in first[:15]:
        knock.close()
    until("the others have their turn", lambda: len(answered(knocks)) == 30)
    assert all(knock.echoes() for knock in knocks if knock not in first[:15])
    assert said(agent, "new clients wait") == 1


@pytest.mark.timeout(60)
def test_target_out_of_descriptors_refuses_and_goes_on(pair):
    assert pair.works()
    leave_descriptors(pair.web.process, 10)
    clients = [Socks(pair.cli.proxy, "web.cbx", 8080) for _ in range(20)]
    taken = [client for client in clients if client.reply == 0]
    assert len(taken) == 10
    done = pair.cli.run("dial", "web.cbx:8080", check=False)
    assert done.stderr == refusal("web.cbx:8080", "overloaded")
    for client in taken:
        client.socket.sendall(b"ping")
        assert read_exactly(client.socket, 4) == b"ping"
    for client in taken:
        client.socket.close()
    until("dials work again", pair.works)
    comes_to_rest(pair)


@pytest.mark.timeout(60)
def test_commands_out_of_descriptors_wait_and_are_not_lost(pair):
    """Each running dial takes two; those that come too late for one wait, and it is said once."""
    agent = pair.cli.process
    leave_descriptors(agent, 1)
    dials = [pair.cli.dial_open("web.cbx:8080") for _ in range(20)]
    agent.expect("commands wait", stream="stderr")
    assert is_calm(agent)
    assert said(agent, "commands wait") == 1
    for child in dials:  # the end of its input ends a dial
        child.stdin.close()
    assert [(child.wait(20), child.stderr.read()) for child in dials] == [(0, b"")] * 20
    assert pair.works()
    assert said(agent, "not stored") == 0


def how_many(agents):
    return len([agent for agent in agents if agent.attached()])


@pytest.mark.timeout(90)
def test_hub_out_of_descriptors_lets_agents_wait_and_goes_on(pair):
    """An attached lease takes three descriptors, so nine are good for three leases."""
    hub = pair.hub.process
    bystander = Socks(pair.cli.proxy, "web.cbx", 8080)
    agents = [Agent(pair.world, f"a{number}", pair.hub) for number in range(6)]
    tokens = [pair.hub.invite(agent.name) for agent in agents]
    leave_descriptors(hub, 9)
    for agent, token in zip(agents, tokens):
        agent.up(token=token, attached=False)
    until("three are in", lambda: how_many(agents) >= 3)
    assert is_calm(hub, 2)
    assert how_many(agents) < 5
    assert pair.hub.json("status")["door"]["descriptors_exhausted"] > 0
    for agent in [agent for agent in agents if agent.attached()]:
        assert agent.process.terminate() == 0
    running = [agent for agent in agents if agent.process.running()]
    until("the others have their turn", lambda: how_many(running) == len(running))
    bystander.socket.sendall(b"ping")
    assert read_exactly(bystander.socket, 4) == b"ping"
    assert pair.works()
    assert said(hub, "cannot accept connections") == 1
    assert said(hub, "could not be stored") + said(hub, "attach refused") == 0


# ---- storms ----


def ready(hub):
    return hub.json("status")["attached"]


@pytest.mark.timeout(400)
def test_every_agent_is_back_soon_after_the_hub_was_killed(world):
    """All of them notice at once and come back at once; the hub takes them in order."""
    count = 100
    hub = Hub(world).start()
    agents = [Agent(world, f"a{number}", hub) for number in range(count)]
    tokens = [hub.invite(agent.name) for agent in agents]
    began = time.monotonic()
    for agent, token in zip(agents, tokens):
        agent.up(token=token, attached=False)
    until("all have joined", lambda: ready(hub) == count, 2 * count)
    print(f"{count} joined in {time.monotonic() - began:.1f} s")
    hub.process.kill()
    time.sleep(1)
    hub.start()
    began = time.monotonic()
    until("all are attached again", lambda: ready(hub) == count, 30)
    took, spent = time.monotonic() - began, cpu_seconds_below(hub.process)
    print(f"{count} attached again in {took:.1f} s, {spent:.1f} s CPU of the hub's processes")
    assert spent < 0.3 * count
    assert all(agent.process.running() for agent in agents)
    until("all know it", lambda: all(agent.attached() for agent in agents))


# ---- silence and noise ----


@pytest.fixture
def quick(world):
    """The pair, with pings after 1 s of silence and links dead after 3."""
    pair = Pair(world)
    pair.hub.process.terminate()
    pair.hub.start(extra=QUICK)
    pair.web, pair.cli = QuickAgent(world, "web", pair.hub), QuickAgent(world, "cli", pair.hub)
    return pair.start()


def generations(hub):
    return {slug: peer["generation"] for slug, peer in hub.peers().items()}


@pytest.mark.timeout(60)
def test_stopped_agent_is_gone_in_time_and_its_name_is_free(quick):
    assert quick.works()
    stopped = quick.web.process.child
    os.kill(stopped.pid, signal.SIGSTOP)
    since = time.monotonic()
    try:
        until("it is away", lambda: quick.hub.peers()["web"]["state"] == "away", 8)
        assert 1.5 < time.monotonic() - since < 5
        done = quick.cli.run("dial", "web.cbx:8080", check=False)
        assert done.stderr == refusal("web.cbx:8080", "peer away")
        successor = QuickAgent(quick.world, "web2", quick.hub)
        token = quick.hub.invite("web", expose=[f"8080=127.0.0.1:{quick.echo.port}"])
        successor.up(token=token)
        until("the successor answers", quick.works, 5)
    finally:
        os.kill(stopped.pid, signal.SIGCONT)
    time.sleep(2)
    assert quick.works() and successor.attached(), "the old one has no say any more"


@pytest.mark.timeout(60)
def test_stopped_agent_comes_back_when_it_goes_on(quick):
    os.kill(quick.web.process.child.pid, signal.SIGSTOP)
    until("it is away", lambda: quick.hub.peers()["web"]["state"] == "away", 8)
    os.kill(quick.web.process.child.pid, signal.SIGCONT)
    until("dials work again", quick.works, 5)


@pytest.mark.timeout(60)
def test_stopped_hub_is_noticed_and_taken_up_again(quick):
    assert quick.works()
    os.kill(quick.hub.process.child.pid, signal.SIGSTOP)
    try:
        until("the agents say so", lambda: not quick.cli.attached() and not quick.web.attached(), 8)
    finally:
        os.kill(quick.hub.process.child.pid, signal.SIGCONT)
    until("dials work again", quick.works, 10)


@pytest.mark.timeout(120)
def test_idle_links_and_streams_stay(quick):
    """Silence of many times what would make a link dead."""
    client = Socks(quick.cli.proxy, "web.cbx", 8080)
    before = generations(quick.hub)
    time.sleep(sized(7, 60))
    client.socket.sendall(b"ping")
    assert read_exactly(client.socket, 4) == b"ping"
    assert generations(quick.hub) == before


@pytest.mark.timeout(180)
def test_busy_link_is_never_called_dead(quick):
    """Both directions full for longer than what makes a silent link a dead one."""
    before = generations(quick.hub)
    end = time.monotonic() + sized(6, 40)
    counts = []

    def send(connection, data):
        while time.monotonic() < end:
            connection.sendall(data)
        connection.shutdown(socket.SHUT_WR)

    def load():
        client = Socks(quick.cli.proxy, "web.cbx", 8080)
        sender = threading.Thread(target=send, args=(client.socket, noise(MIB)), daemon=True)
        sender.start()
        count = 0
        while part := client.socket.recv(1 << 18):
            count += len(part)
        counts.append(count)

    threads = [threading.Thread(target=load, daemon=True) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(counts) == 8 and all(count and count % MIB == 0 for count in counts)
    assert generations(quick.hub) == before


@pytest.mark.timeout(180)
def test_slow_and_full_link_is_never_called_dead(world):
    """A second of bytes is under way on 150 kB/s, and pings wait behind them."""
    road = SlowRoad(world, 150_000)
    hub = Hub(world).start(extra=[*QUICK, "--public", f"127.0.0.1:{road.port}"])
    road.lead_to(hub.address)
    echo_server = Server(world, echo)
    QuickAgent(world, "web", hub).up(expose=[f"8080=127.0.0.1:{echo_server.port}"])
    cli = QuickAgent(world, "cli", hub).up(proxy="127.0.0.1:0")
    before = generations(hub)
    data = noise(sized(600_000, 4_000_000))
    client = Socks(cli.proxy, "web.cbx", 8080)
    sender = threading.Thread(
        target=lambda: (client.socket.sendall(data), client.socket.shutdown(socket.SHUT_WR))
    )
    sender.start()
    assert read_all(client.socket) == data
    sender.join()
    assert generations(hub) == before
