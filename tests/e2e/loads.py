# SPDX-License-Identifier: MIT
"""What the load tests need: databases of the test's own, a forwarder around `dial`, an echo server
and clients on asyncio, and what the kernel says about a process."""

import asyncio
import os
import pwd
import resource
import signal
import socket
import struct
import threading
import time
from pathlib import Path

from servers import Server
from world import AGENT, Agent, find, free_port, until

QUICK = ["--keepalive", "1s", "--gone", "3s"]
FULL = bool(os.environ.get("CBX_FULL"))


def sized(short, full):
    """The size of a load: short for `make test`, full for `make test-full`."""
    return full if FULL else short


# ---- what the kernel says ----


def descriptors(process):
    return len(os.listdir(f"/proc/{process.child.pid}/fd"))


def resident(process):
    """Bytes of memory, as the kernel counts them."""
    for line in Path(f"/proc/{process.child.pid}/status").read_text().splitlines():
        if line.startswith("VmRSS:"):
            return int(line.split()[1]) * 1024
    raise AssertionError(f"{process.name} has no memory")


def stat_of(pid):
    """Its parent, and CPU seconds of its own and of the children it has waited for."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return int(fields[1]), sum(int(field) for field in fields[11:15]) / os.sysconf("SC_CLK_TCK")


def cpu_seconds(process):
    return stat_of(process.child.pid)[1]


def family(process):
    """A process and all that descend from it: pid, and what stat_of says."""
    seen = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                seen[int(entry.name)] = stat_of(entry.name)
            except OSError:
                continue
    found = {process.child.pid}
    while more := {pid for pid, (parent, _) in seen.items() if parent in found} - found:
        found |= more
    return {pid: seen[pid] for pid in found if pid in seen}


def cpu_seconds_below(process):
    """Of a process and all that descend from it."""
    return sum(seconds for _, seconds in family(process).values())


def programs_below(process, name):
    """Pids of the programs of that name that descend from a process."""
    return [pid for pid in family(process) if Path(f"/proc/{pid}/comm").read_text().strip() == name]


def settled_descriptors(process):
    """Its open descriptors, once none was opened or closed for a while."""
    before, since = None, time.monotonic()
    while time.monotonic() - since < 0.5:
        now = {int(name) for name in os.listdir(f"/proc/{process.child.pid}/fd")}
        if now != before:
            before, since = now, time.monotonic()
        time.sleep(0.02)
    return before


def leave_descriptors(process, clients):
    """Lowers its limit, so that from now on that many more descriptors are for its clients."""
    taken = settled_descriptors(process)
    limit = 0
    # A part is kept back for commands and files (common/os/descriptors.h).
    while len(set(range(limit - min(32, limit // 4))) - taken) < clients:
        limit += 1
    _, hard = resource.prlimit(process.child.pid, resource.RLIMIT_NOFILE)
    resource.prlimit(process.child.pid, resource.RLIMIT_NOFILE, (limit, hard))


# ---- servers and the way to them ----


class Forwarder:
    """For programs that know no proxy: a loopback port, each of whose connections is a `dial`."""

    def __init__(self, world, agent, target):
        self.port = free_port()
        name = f"forward-{self.port}"
        # socat parts its own words at colons.
        dial = f"{AGENT} --state {agent.state} dial {target}".replace(":", "\\:")
        listen = f"TCP4-LISTEN:{self.port},bind=127.0.0.1,reuseaddr,fork,backlog=128"
        # -t: how long the other direction may go on after one has ended.
        self.process = world.start(name, [find("socat"), "-d", "-t", "60", listen, f"EXEC:{dial}"])
        until("socat listens", lambda: listens(self.port))


def listens(port):
    """Looks into the kernel's table: a connection would be a dial of its own."""
    for line in Path("/proc/net/tcp").read_text().splitlines()[1:]:
        fields = line.split()
        if fields[1] == f"0100007F:{port:04X}" and fields[3] == "0A":
            return True
    return False


class Postgres:
    """A cluster of the test's own, as an ordinary user: PostgreSQL refuses to run as root."""

    def __init__(self, world):
        self.world = world
        self.port = free_port()
        data = world.dir / "postgres"
        data.mkdir(mode=0o700)
        options = {}
        if os.geteuid() == 0:
            account = pwd.getpwnam("postgres")
            os.chown(data, account.pw_uid, account.pw_gid)
            os.chmod(world.dir, 0o711)
            options = {"user": account.pw_uid, "group": account.pw_gid, "extra_groups": []}
        world.run(
            [self.find("initdb"), "-D", data, "-U", "cbx", "-A", "trust", "--no-sync", "--locale=C", "-E", "UTF8"],
            **options,
        )
        server = [self.find("postgres"), "-D", data, "-p", self.port, "-c", "listen_addresses=127.0.0.1"]
        server += ["-c", "unix_socket_directories=", "-c", "fsync=off"]
        self.process = world.start("postgres", server, **options)
        world.closers.append(self.close)
        self.process.expect("database system is ready", stream="stderr")

    @staticmethod
    def find(program):
        """Debian keeps the server's programs in a folder for each version."""
        versions = sorted(Path("/usr/lib/postgresql").glob(f"*/bin/{program}"))
        return versions[-1] if versions else find(program)

    def close(self):
        """SIGINT: ends without waiting for its clients."""
        if self.process.running():
            self.process.child.send_signal(signal.SIGINT)
            self.process.ends()

    def psql(self, port, query, **options):
        argv = ["psql", "-X", "-q", "-A", "-t", "-v", "ON_ERROR_STOP=1", "-h", "127.0.0.1", "-p", port]
        return self.world.run([*argv, "-U", "cbx", "-d", "postgres", "-c", query], **options)

    def pgbench(self, port, *words, seconds=120):
        argv = [self.find("pgbench"), "-h", "127.0.0.1", "-p", port, "-U", "cbx", *words, "postgres"]
        return self.world.run(argv, seconds=seconds)


class Redis:
    def __init__(self, world):
        self.world = world
        self.port = free_port()
        argv = [find("redis-server"), "--port", self.port, "--bind", "127.0.0.1", "--dir", world.dir]
        self.process = world.start("redis", [*argv, "--save", "", "--appendonly", "no"])
        self.process.expect("Ready to accept connections")

    def cli(self, port, *words):
        done = self.world.run(["redis-cli", "-p", port, *words])
        return done.stdout.strip()

    def info(self, field):
        for line in self.cli(self.port, "INFO", "everything").splitlines():
            name, _, value = line.strip().partition(":")
            if name == field:
                return value
        raise AssertionError(f"redis has no {field}")


class AsyncEcho:
    """Gives back what comes, on many connections at once, in a thread of its own."""

    def __init__(self, world):
        self.loop = asyncio.new_event_loop()
        self.accepted = 0
        self.server = self.loop.run_until_complete(
            asyncio.start_server(self.serve, "127.0.0.1", 0, backlog=2048)
        )
        self.port = self.server.sockets[0].getsockname()[1]
        self.thread = threading.Thread(target=self.loop.run_forever, daemon=True)
        self.thread.start()
        world.closers.append(self.close)

    async def serve(self, reader, writer):
        self.accepted += 1
        try:
            while data := await reader.read(1 << 16):
                writer.write(data)
                await writer.drain()
        except ConnectionError:
            pass
        finally:
            writer.close()

    def close(self):
        self.loop.call_soon_threadsafe(self.loop.stop)
        self.thread.join()
        self.server.close()


# ---- clients ----


class Stream:
    """One SOCKS5 connection on asyncio."""

    def __init__(self, reader, writer):
        self.reader, self.writer = reader, writer

    @classmethod
    async def connect(cls, proxy, host, port):
        address, _, proxy_port = proxy.rpartition(":")
        reader, writer = await asyncio.open_connection(address, int(proxy_port))
        stream = cls(reader, writer)
        try:
            # Method and request at once: each round trip is paid 10,000 times.
            name = host.encode()
            request = b"\x05\x01\x00\x03" + bytes([len(name)]) + name + struct.pack(">H", port)
            writer.write(b"\x05\x01\x00" + request)
            assert await reader.readexactly(2) == b"\x05\x00"
            reply = await reader.readexactly(10)
            if reply[1] != 0:
                raise ConnectionRefusedError(f"SOCKS reply {reply[1]}")
        except BaseException:
            writer.close()
            raise
        return stream

    async def exchange(self, data):
        """What came back for data, while it is being sent."""
        self.writer.write(data)
        drained = asyncio.ensure_future(self.writer.drain())
        answer = await self.reader.readexactly(len(data))
        await drained
        return answer

    async def finish(self):
        """Ends our direction and waits for the end of the other."""
        self.writer.write_eof()
        rest = await self.reader.read()
        self.close()
        return rest

    def close(self):
        self.writer.close()


async def all_of(work, seconds):
    """Runs coroutines at once; their results."""
    return await asyncio.wait_for(asyncio.gather(*work), seconds)


class SlowRoad:
    """A relay on a loopback port that passes at most that many bytes a second each way."""

    PART = 4096

    def __init__(self, world, rate):
        self.world, self.rate = world, rate
        self.port = free_port()
        self.hub_port = None

    def lead_to(self, address):
        self.hub_port = int(address.rpartition(":")[2])
        Server(self.world, self.relay, self.port)

    def relay(self, near):
        # Small buffers: what is in them does not count as sent.
        near.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 65536)
        with socket.create_connection(("127.0.0.1", self.hub_port)) as far:
            for one in (near, far):
                one.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            back = threading.Thread(target=self.copy, args=(far, near), daemon=True)
            back.start()
            self.copy(near, far)
            back.join()

    def copy(self, source, sink):
        try:
            while part := source.recv(self.PART):
                time.sleep(len(part) / self.rate)
                sink.sendall(part)
            sink.shutdown(socket.SHUT_WR)
        except OSError:
            pass


class QuickAgent(Agent):
    """Pings after one second of silence, and calls a link dead after three."""

    def start(self, *words):
        return super().start(*words, *QUICK)
