# SPDX-License-Identifier: MIT
"""Rules that only whole programs can show and that no other file is about: the join as a
transaction, clones, sshd and attach, and what the programs leave alone. tests/README.md has the
table of rules and tests."""

import os
import re
import socket
import subprocess
import threading
import time
from pathlib import Path

import pytest
from loads import AsyncEcho, cpu_seconds, resident
from raw_agent import REASONS, RawAgent, Token, open_invite
from servers import Server, Socks, noise, read_all, read_exactly, reset
from world import AGENT, BUILD, Agent, Hub, find, until

MIB = 1 << 20
SANITIZED = "asan" in BUILD.parts


# ---- the join is a transaction (rule 6) ----


def inode(path):
    try:
        return path.stat().st_ino
    except FileNotFoundError:
        return None


class Road:
    """A relay before the hub. Once the agent's state file was written anew, as it is before it
    submits, it swallows what the hub says (JOINED), or else what the agent says (JOIN)."""

    def __init__(self, world, hub_port, state_file, swallows="answer"):
        self.state_file, self.hub_port, self.swallows = state_file, hub_port, swallows
        self.armed, self.open, self.swallowed = True, [], 0
        self.port = Server(world, self.relay).port

    def relay(self, near):
        before = inode(self.state_file)
        with socket.create_connection(("127.0.0.1", self.hub_port)) as far:
            self.open += [near, far]
            back = threading.Thread(target=self.copy, args=(far, near, "answer", before), daemon=True)
            back.start()
            self.copy(near, far, "question", before)
            back.join()

    def copy(self, source, sink, kind, before):
        try:
            while part := source.recv(65536):
                if self.armed and kind == self.swallows and inode(self.state_file) != before:
                    self.swallowed += len(part)
                else:
                    sink.sendall(part)
            sink.shutdown(socket.SHUT_WR)
        except OSError:
            pass

    def cut(self):
        """Ends what there is, and lets everything through from now on."""
        self.armed = False
        for one in self.open:
            try:
                one.shutdown(socket.SHUT_RDWR)
            except OSError:
                pass


def behind_road(world, swallows):
    """An agent that joins through such a road."""
    hub = Hub(world).start()
    agent = Agent(world, "web", hub)
    agent.road = Road(world, int(hub.address.rpartition(":")[2]), agent.state / "agent", swallows)
    hub.process.terminate()
    hub.start(extra=["--public", f"127.0.0.1:{agent.road.port}"])
    return agent.up(token=hub.invite("web"), attached=False)


@pytest.fixture
def submitted(world):
    """web has submitted its certificate, the hub has recorded it, and JOINED never came back."""
    agent = behind_road(world, "answer")
    until("the hub has recorded it", lambda: "web" in agent.hub.peers())
    assert agent.hub.json("invites")["invites"][0]["state"] == "joined"
    until("the answer was swallowed", lambda: agent.road.swallowed)
    time.sleep(0.5)
    assert not agent.attached(), "it submitted before its state was stored"
    return agent


def joins(hub):
    return hub.json("status")["counters"]["joined"]


def test_agent_stores_its_identity_before_it_submits(world, hub):
    """Where the state cannot be written nothing was sent, and the token is as good as before."""
    agent = Agent(world, "web", hub)
    token = agent.token_file(hub.invite("web"))
    agent.run("join", "@nothing", check=False)  # makes the key, which is smaller than the limit
    done = world.run(
        ["prlimit", "--fsize=64", "--core=0", AGENT, "--state", agent.state, "join", token], check=False
    )
    assert done.returncode != 0
    assert hub.peers() == {} and joins(hub) == 0
    assert [invite["state"] for invite in hub.json("invites")["invites"]] == ["open"]
    agent.run("join", token)
    assert set(hub.peers()) == {"web"}


@pytest.mark.parametrize("ending", ["cut", "killed"])
def test_identity_is_tried_first_after_a_failed_join(submitted, ending):
    """The same process, and the next one, log in as what the hub may have recorded: no second join."""
    agent, hub = submitted, submitted.hub
    if ending == "killed":
        agent.process.kill()
    agent.road.cut()
    if ending == "killed":
        agent.start("up", "--proxy", "off")
    agent.wait_attached()
    assert joins(hub) == 1
    assert hub.json("invites")["invites"] == []


def test_join_that_never_arrived_is_made_again(world):
    """The identity is no login then, and the invite still is."""
    agent = behind_road(world, "question")
    until("JOIN was swallowed", lambda: agent.road.swallowed)
    assert agent.hub.peers() == {}
    agent.road.cut()
    agent.wait_attached()
    assert joins(agent.hub) == 1


def test_only_the_login_with_the_identity_burns_the_invite(submitted):
    """Until then the same identity may join again, and nobody else."""
    hub = submitted.hub
    submitted.process.kill()
    submitted.road.cut()
    token = (submitted.world.dir / "web.token").read_text().strip()
    other = Agent(submitted.world, "other", hub)
    done = other.run("join", other.token_file(token), check=False)
    assert done.returncode == 1 and "leaked" in done.stderr, done.stderr
    assert [invite["state"] for invite in hub.json("invites")["invites"]] == ["joined"]
    submitted.start("up", "--proxy", "off")
    submitted.wait_attached()
    assert hub.json("invites")["invites"] == []


def test_loser_of_a_leaked_token_hears_the_alarm(world, hub):
    """Whoever joins first has it; before and after the thief's first log-in the holder is told."""
    token = hub.invite("web")
    thief = RawAgent(world, token).join()
    holder = Agent(world, "web", hub).up(token=token, attached=False)
    assert holder.process.ends(20) == 1
    assert "used already" in holder.process.stderr() and "leaked" in holder.process.stderr()
    thief.attach()
    late = Agent(world, "late", hub).up(token=token, attached=False)
    assert late.process.ends(20) == 1
    assert "used already" in late.process.stderr()
    assert hub.peers()["web"]["state"] == "ready"


def memory_of(pid):
    """Every byte that a process can write or read and that is its own."""
    for line in Path(f"/proc/{pid}/maps").read_text().splitlines():
        span, mode, _, _, number = line.split()[:5]
        # The sanitizer's shadow is terabytes of nothing.
        if mode[0] != "r" or "[v" in line or (SANITIZED and mode[1] != "w"):
            continue
        begin, end = (int(part, 16) for part in span.split("-"))
        if end - begin > 1 << 30:
            continue
        with open(f"/proc/{pid}/mem", "rb", buffering=0) as memory:
            memory.seek(begin)
            while begin < end:
                try:
                    part = memory.read(min(end - begin, 16 * MIB))
                except OSError:
                    break
                if not part:
                    break
                begin += len(part)
                yield part


def secrets_of(text):
    token = Token(text)
    return {
        "secret": token.secret,
        "login key": token.login.seed,
        "signing key": token.signing.seed,
        "token": text[20:60].encode(),
    }


def readable(pid):
    try:
        with open(f"/proc/{pid}/mem", "rb"):
            return True
    except OSError:
        return False


@pytest.mark.skipif(SANITIZED, reason="a sanitizer keeps what was freed")
@pytest.mark.parametrize("way", ["file", "environment"])
def test_secret_and_signing_key_are_wiped_after_the_join(world, hub, way):
    text = hub.invite("web")
    agent = Agent(world, "web", hub)
    if way == "environment":
        world.environment["CBX_TOKEN"] = text
        agent.start("up", "--proxy", "off")
        del world.environment["CBX_TOKEN"]
        agent.wait_attached()
    else:
        agent.up(token=text)
    pid = agent.process.child.pid
    if not readable(pid):
        pytest.skip("this account may not read the memory of its own processes")
    found = set()
    public, seen = Token(text).pond_public, False
    for part in memory_of(pid):
        found |= {name for name, value in secrets_of(text).items() if value in part}
        seen = seen or public in part
    assert seen, "the search finds not even what must be there"
    assert not found


def test_token_in_the_environment_is_removed_from_it(world, hub):
    text = hub.invite("web")
    world.environment["CBX_TOKEN"] = text
    agent = Agent(world, "web", hub)
    agent.start("up", "--proxy", "off")
    del world.environment["CBX_TOKEN"]
    agent.wait_attached()
    environment = Path(f"/proc/{agent.process.child.pid}/environ").read_bytes()
    assert b"CBX_TOKEN=" in environment and text[5:30].encode() not in environment


def test_every_certificate_ends_after_30_days_unless_told(world, hub):
    for words, days in (((), 30), (("--ends", "2d"), 2)):
        agent = RawAgent(world, hub.invite("web", *words))
        agent.open_join().close()
        invite = open_invite(agent.invite, agent.token.pond_public)
        assert invite["ends"] - invite["issued"] == days * 86400
        assert invite["join_by"] - invite["issued"] == 15 * 60
        assert invite["uses"] == 1 and invite["slug"] == "web" and invite["role"] == ""


# ---- clones (rule 7) ----


def test_same_life_replaces_its_link_and_another_is_told_superseded(world, hub):
    agent = RawAgent(world, hub.invite("web")).join()
    first = agent.attach()
    second = agent.attach()
    bye = first.expect_end()
    assert bye is None or bye[0] == REASONS["path lost"], bye
    assert "another process" not in hub.process.stderr()
    before, agent.incarnation = agent.generation, os.urandom(16)
    agent.attach()
    assert agent.generation > before
    assert second.expect_end()[0] == REASONS["superseded"]
    assert hub.process.stderr().count("another process attached") == 1
    assert hub.json("status")["counters"]["evicted"] == 2


# ---- identities of streams (rule 15) ----


def test_stream_identity_is_taken_once_across_sessions(pair):
    """Sealed rightly by its dialer under a newer session, and refused all the same."""
    agent = RawAgent(pair.world, pair.hub.invite("raw")).join()
    agent.attach()
    stream = agent.dial("web", 8080)
    assert stream.echoes(b"first")
    old = agent.sessions.pop("web")
    agent.stream_counter -= 1
    again = agent.dial("web", 8080, answered=False)
    assert agent.sessions["web"].id != old.id
    assert again.identity == stream.identity
    assert again.ends() == ("CLOSE", REASONS["denied"])
    assert pair.web.status()["mesh"]["counters"]["replayed"] == 1
    assert agent.dial("web", 8080).echoes(b"the next one is taken")


# ---- sshd and attach (rules 9 to 11) ----


def effective(hub):
    """What sshd makes of its configuration."""
    argv = [find("sshd"), "-T", "-f", hub.state / "ssh" / "sshd_config"]
    said = hub.world.run(argv).stdout
    settings = {}
    for line in said.splitlines():
        word, _, value = line.partition(" ")
        settings.setdefault(word, []).append(value)
    return settings


def test_sshd_allows_one_session_by_key_and_nothing_else(hub):
    settings = effective(hub)
    user = hub.json("status")["user"]
    wanted = {
        "maxsessions": ["1"],
        "disableforwarding": ["yes"],
        "authenticationmethods": ["publickey"],
        "pubkeyauthentication": ["yes"],
        "passwordauthentication": ["no"],
        "kbdinteractiveauthentication": ["no"],
        "allowusers": [user],
        "permituserenvironment": ["no"],
        "permituserrc": ["no"],
        "permittty": ["no"],
        "permittunnel": ["no"],
        "authorizedkeysfile": [str(hub.state / "ssh" / "authorized_keys")],
    }
    assert {word: settings.get(word) for word in wanted} == wanted
    assert "subsystem" not in settings and "acceptenv" not in settings and "setenv" not in settings


def test_each_key_has_restrict_one_absolute_command_and_an_end_in_utc(world, hub):
    hub.invite("later")
    RawAgent(world, hub.invite("web")).join()
    lines = (hub.state / "ssh" / "authorized_keys").read_text().splitlines()
    lines = [line for line in lines if line and not line.startswith("#")]
    assert len(lines) == 3  # later's, web's until it logs in, and web's own
    command = r"exec '(/[^']+/cbx-hub)' attach --state '/[^']+' --key 'SHA256:\S{43}'"
    form = rf'restrict,command="{command}",expiry-time="\d{{14}}Z" ssh-ed25519 \S+ cbx'
    for line in lines:
        assert re.fullmatch(form, line), line
        assert os.access(re.match(form, line).group(1), os.X_OK)


def attach_processes(hub):
    """Environment of each `cbx-hub attach` of this hub, by pid."""
    found = {}
    for entry in Path("/proc").iterdir():
        try:
            words = (entry / "cmdline").read_bytes().split(b"\0") if entry.name.isdigit() else []
            if b"attach" in words and str(hub.state).encode() in b" ".join(words):
                pairs = (entry / "environ").read_bytes().decode().split("\0")
                found[int(entry.name)] = dict(pair.split("=", 1) for pair in pairs if "=" in pair)
        except OSError:
            continue
    return found


def test_connection_number_reaches_attach_and_tags_sshds_lines(world, hub):
    Agent(world, "web", hub).up()
    (environment,) = attach_processes(hub).values()
    number = environment["CBX_CONN"]
    assert re.search(rf"sshd\[{number}\]: Accepted publickey", hub.process.stderr())
    Agent(world, "cli", hub).up()
    numbers = {one["CBX_CONN"] for one in attach_processes(hub).values()}
    assert len(numbers) == 2 and number in numbers


@pytest.mark.parametrize("shell", ["bash", "zsh"])
def test_shells_skip_their_start_files_at_attach(world, hub, shell):
    """The environment that sshd really gave to attach, and a shell with start files."""
    if not os.access(f"/bin/{shell}", os.X_OK):
        pytest.skip(f"there is no {shell}")
    Agent(world, "web", hub).up()
    (environment,) = attach_processes(hub).values()
    home = world.dir / "home"
    home.mkdir()
    for name in (".bashrc", ".zshenv", ".zshrc"):
        (home / name).write_text("echo start file\n")

    def said(**changes):
        full = {**environment, "HOME": str(home), **changes}
        full = {name: value for name, value in full.items() if value is not None}
        argv = [f"/bin/{shell}", "-c", "echo command"]
        return subprocess.run(argv, env=full, stdout=subprocess.PIPE, stdin=subprocess.DEVNULL, check=True).stdout

    assert said() == b"command\n"
    plain = said(SHLVL=None, ZDOTDIR=None)
    assert plain == b"start file\ncommand\n", "this shell would not have read them in any case"


def test_sshds_lines_are_limited_in_rate_and_counted(world, hub):
    """A storm of log-ins that fail: some of its lines are logged, the rest is a number."""
    host, _, port = hub.address.rpartition(":")
    for round in range(30):
        storm = [socket.create_connection((host, int(port)), 5, source_address=(f"127.0.4.{round + 1}", 0)) for _ in range(4)]
        for one in storm:
            one.sendall(b"SSH-2.0-storm\r\n" + b"\0" * 64)
        for one in storm:
            try:
                one.settimeout(5)
                while one.recv(65536):
                    pass
            except OSError:
                pass
            one.close()
    until("the storm is over", lambda: hub.json("status")["door"]["sshd"] == 0)
    time.sleep(1)
    Agent(world, "web", hub).up()
    logged = len(re.findall(r"sshd\[\d+\]:", hub.process.stderr()))
    dropped = sum(int(n) for n in re.findall(r"sshd: (\d+) lines over the limit", hub.process.stderr()))
    assert dropped > 0 and logged >= 50, (logged, dropped)


def test_first_bytes_that_do_not_tell_cost_no_cpu(hub):
    """Three bytes of four: the hub sleeps until the fourth, and a socket that waits has no sshd."""
    host, _, port = hub.address.rpartition(":")
    with socket.create_connection((host, int(port)), 5) as shy:
        shy.sendall(b"SSH")
        until("it is there", lambda: hub.json("status")["door"]["accepted"] == 1)
        before = cpu_seconds(hub.process)
        time.sleep(2)
        assert cpu_seconds(hub.process) - before < 0.4
        assert hub.json("status")["door"]["sshd"] == 0
        shy.sendall(b"-2.0-at last\r\n")
        shy.settimeout(5)
        assert shy.recv(100).startswith(b"SSH-2.0-")


# ---- dial (rule 27) ----


def test_dial_exits_after_the_acknowledgement_of_its_end(pair):
    """The far side has ended its own direction long before, and takes ours late."""
    data, taken, go = noise(40 * MIB), [], threading.Event()

    def late(connection):
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 65536)
        connection.shutdown(socket.SHUT_WR)
        assert go.wait(30)
        taken.append(read_all(connection))

    pair.echo.handler = late
    child = pair.cli.dial_open("web.cbx:8080")
    feeder = threading.Thread(target=lambda: (child.stdin.write(data), child.stdin.close()), daemon=True)
    feeder.start()
    assert child.stdout.read() == b""
    time.sleep(1)
    assert child.poll() is None, "it ended although nobody took what it sent"
    go.set()
    assert child.wait(60) == 0
    feeder.join()
    until("the far side has all", lambda: taken)
    assert len(taken[0]) == len(data) and taken[0] == data


# ---- what users of such tools complain about ----


def sockets_of(pids):
    """(local, remote, state) of each TCP socket that these processes hold."""
    inodes = set()
    for pid in pids:
        for entry in Path(f"/proc/{pid}/fd").iterdir():
            try:
                inodes.add(os.readlink(entry))
            except OSError:
                continue
    found = set()
    for table in ("tcp", "tcp6"):
        for line in Path(f"/proc/net/{table}").read_text().splitlines()[1:]:
            fields = line.split()
            if f"socket:[{fields[9]}]" in inodes:
                local, remote = (address.rpartition(":") for address in fields[1:3])
                found.add((local[0], int(local[2], 16), int(remote[2], 16), fields[3]))
    return found


def below(pid):
    """The process and all that descend from it."""
    found = {pid}
    for task in Path(f"/proc/{pid}/task").iterdir():
        for child in (task / "children").read_text().split():
            found |= below(int(child))
    return found


def test_hub_dials_nothing_for_a_lease(pair):
    """While streams run, each TCP socket of the hub and its sshd is one that came in at its port."""
    held = [Socks(pair.cli.proxy, "web.cbx", 8080) for _ in range(4)]
    assert all(one.reply == 0 for one in held)
    port = int(pair.hub.address.rpartition(":")[2])
    sockets = sockets_of(below(pair.hub.process.child.pid))
    assert len(sockets) >= 3  # the listener and two leases
    assert {local for _, local, _, _ in sockets} == {port}


@pytest.mark.parametrize("direct", ["auto", "off"])
def test_agent_listens_on_loopback_only_but_for_peers(world, hub, direct):
    """Neither program has anything open to the network but what it was told, and the one port
    for direct lanes."""
    agent = Agent(world, "web", hub)
    agent.start("up", agent.token_file(hub.invite("web", expose=["8080"])), "--direct", direct)
    agent.wait_attached()
    listening = [one for one in sockets_of({agent.process.child.pid}) if one[3] == "0A"]
    elsewhere = [port for address, port, *_ in listening if address != "0100007F"]
    told = agent.status()["direct"].get("listening", "")
    assert elsewhere == ([int(told.rpartition(":")[2])] if direct == "auto" else [])
    port = int(hub.address.rpartition(":")[2])
    listening = [one for one in sockets_of(below(hub.process.child.pid)) if one[3] == "0A"]
    assert listening == [("0100007F", port, 0, "0A")]


def contents(*paths):
    return {path: Path(path).read_bytes() for path in paths if os.path.exists(path)}


def test_nothing_outside_the_state_folder_is_written(pair):
    """No resolv.conf, no hosts, no file in the home folder."""
    files = ("/etc/hosts", "/etc/resolv.conf", "/etc/nsswitch.conf", "/etc/ssh/ssh_config", "/etc/ssh/sshd_config")
    before = contents(*files)
    lease = Agent(pair.world, "fresh", pair.hub)
    home = pair.world.dir / "home"
    home.mkdir()
    pair.world.environment["HOME"] = str(home)
    lease.up(proxy="127.0.0.1:0")
    assert lease.dial("web.cbx:8080", b"ping").stdout == b"ping"
    lease.run("peers")
    lease.run("leave")
    assert lease.process.ends(5) == 0
    assert contents(*files) == before
    assert list(home.rglob("*")) == []


class Source(AsyncEcho):
    """Sends a megabyte to each who connects, as soon as it is taken, and waits for the end."""

    serving = unsent = 0

    async def serve(self, reader, writer):
        self.serving += 1
        self.unsent += MIB
        # The kernel's own buffers are not what is looked at here, and filling them takes time.
        writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 1 << 14)
        writer.transport.set_write_buffer_limits(0)
        try:
            for _ in range(MIB >> 14):
                writer.write(bytes(1 << 14))
                await writer.drain()
                self.unsent -= 1 << 14
            await reader.read()
        except ConnectionError:
            pass
        finally:
            self.serving -= 1
            writer.close()


def stalled(proxy):
    """A connection by SOCKS whose client takes nothing, not even into a large buffer of the kernel,
    which grows with the segment's size."""
    host, _, port = proxy.rpartition(":")
    client = socket.socket()
    client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    client.setsockopt(socket.IPPROTO_TCP, socket.TCP_MAXSEG, 536)
    client.settimeout(30)
    client.connect((host, int(port)))
    client.sendall(b"\x05\x01\x00" + b"\x05\x01\x00\x03\x07web.cbx" + (8080).to_bytes(2, "big"))
    assert read_exactly(client, 12)[:4] == b"\x05\x00\x05\x00"
    return client


@pytest.mark.timeout(120)
@pytest.mark.skipif(SANITIZED, reason="a sanitizer keeps what was freed")
def test_thousand_stalled_streams_cost_no_more_memory_than_the_budgets(world):
    """Each has a sender with a megabyte and a reader that takes nothing."""
    budget, count = 8 * MIB, 1000
    hub = Hub(world).start()
    server = Source(world)
    web = Agent(world, "web", hub)
    web.start(
        "up", web.token_file(hub.invite("web", expose=[f"8080=127.0.0.1:{server.port}"])), "--proxy", "off",
        "--send-budget", "8M",
    )
    web.wait_attached()
    cli = Agent(world, "cli", hub)
    cli.start("up", cli.token_file(hub.invite("cli")), "--proxy", "127.0.0.1:0", "--receive-budget", "8M")
    cli.wait_attached()
    cli.proxy = cli.status()["proxy"]
    processes = [hub.process, web.process, cli.process]
    before = [resident(process) for process in processes]
    held = [stalled(cli.proxy) for _ in range(count)]
    time.sleep(2)
    grown = {process.name: resident(process) - was for process, was in zip(processes, before)}
    print(f"grown by {grown}, {server.unsent >> 20} MiB wait")
    assert server.unsent > 100 * MIB, "the streams are not stalled"
    # Twice the budget for what surrounds the bytes, and 8 KiB for each stream itself.
    assert max(grown.values()) < 2 * budget + count * 8192, grown
    status = cli.status()["mesh"]
    assert status["granted_bytes"] <= budget and web.status()["mesh"]["unacked_bytes"] <= budget
    for one in held:
        reset(one)
    until("all are gone", lambda: hub.json("status")["circuits"] == 0 and server.serving == 0, 20)
