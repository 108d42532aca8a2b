# SPDX-License-Identifier: MIT
"""Strangers at the door, joiners who want more than their invite, other users of the machine: each
gets a clear error, is counted, and somebody else's stream goes on."""

import os
import re
import shutil
import socket
import subprocess
import time
from pathlib import Path

import pytest
from bystander import Counted, Watched
from loads import family, programs_below
from raw_agent import (
    REASONS,
    Identity,
    RawAgent,
    RawLink,
    SigningKey,
    Token,
    encode,
    peer_certificate,
    open_invite,
    ssh_command,
)
from world import AGENT, HUB, Agent, Hub, World, until

PROTOCOL, DENIED = REASONS["protocol error"], REASONS["denied"]
GRACE = 2  # seconds that this file's hub waits for a first word


@pytest.fixture(scope="module")
def stand():
    world = World()
    try:
        stand = Watched(world, ["--login-grace", f"{GRACE}s"]).start()
        stand.evil = RawAgent(world, stand.hub.invite("evil", expose=["7"])).join()
        stand.evil.attach()
        yield stand
    finally:
        world.close()


@pytest.fixture
def pond(stand):
    yield stand
    stand.unharmed()


def bye_of(link):
    bye = link.expect_end()
    assert bye, "the hub said no word before it closed"
    return bye


# ---- connections that say nothing ----


def connect(pond, source, data=b""):
    host, _, port = pond.hub.address.rpartition(":")
    connection = socket.create_connection((host, int(port)), 5, source_address=(source, 0))
    connection.sendall(data)
    return connection


def test_one_key_holds_few_logins_that_have_not_greeted(pond):
    """Each costs the hub two processes: the oldest go, the newest may greet."""
    agent = RawAgent(pond.world, pond.hub.invite("eager")).join()
    before = len(family(pond.hub.process))
    links = []
    for _ in range(8):
        links.append(RawLink(pond.world, agent.token, agent.identity.key))
        links[-1].begin(0)
    for link in links[:5]:
        assert "again and again" in bye_of(link)[2]
    until("their processes are gone", lambda: len(family(pond.hub.process)) <= before + 2 * 3, 5)
    agent.attach()
    for link in links:
        link.close()


def test_attach_that_never_speaks_is_closed_in_words(pond):
    agent = RawAgent(pond.world, pond.hub.invite("mute")).join()
    link = agent.open_link()
    with Counted(pond.hub_counters, "never_spoke"):
        assert "no HELLO or JOIN came in time" in bye_of(link)[2]
    agent.attach()


def test_join_link_that_never_speaks_is_closed_in_words(pond):
    agent = RawAgent(pond.world, pond.hub.invite("mute"))
    link = agent.open_join()
    with Counted(pond.hub_counters, "never_spoke"):
        assert "no HELLO or JOIN came in time" in bye_of(link)[2]
    agent.join()


def test_login_that_opens_no_session_is_closed(pond):
    evil = pond.evil
    with Counted(pond.hub_counters, "login_timeouts"):
        idle = pond.world.start("idle", ssh_command(pond.world, evil.token, evil.identity.key, "-N"))
        assert idle.ends(GRACE + 8) != 0


def test_200_silent_connections_keep_nobody_out(pond):
    """Half of them from the address that leases use, half from others; a lease of that address
    and one from an address never seen both join and transfer."""
    silent = []
    with Counted(pond.hub_counters, "silent_dropped"):
        for index in range(200):
            silent.append(connect(pond, "127.0.0.1" if index % 2 else f"127.0.1.{index}"))
        until("the door saw them", lambda: pond.hub_counters()["accepted"] > 64)
    Agent(pond.world, "known", pond.hub).up().process.terminate()
    unknown = RawAgent(pond.world, pond.hub.invite("unknown")).join("-b", "127.0.2.1")
    unknown.attach()
    assert unknown.dial("web", 8080).echoes(b"from an unknown address")
    with Counted(pond.hub_counters, "silent_timeouts"):
        time.sleep(0.5)
    for one in silent:
        one.close()


def test_banners_without_a_login_keep_known_addresses_no_longer_than_the_grace(pond):
    """Each of these costs an sshd, so few run at once; a known address is next in line."""
    banners = [connect(pond, f"127.0.3.{index}", b"SSH-2.0-nobody\r\n") for index in range(1, 41)]
    begun = time.monotonic()
    Agent(pond.world, "patient", pond.hub).up().process.terminate()
    assert time.monotonic() - begun < 2 * GRACE + 8
    assert pond.hub.json("status")["door"]["logging_in"] <= 2 * os.cpu_count() + 4
    for one in banners:
        one.close()
    until("the door is free", lambda: pond.hub.json("status")["door"]["logging_in"] == 0)


def test_other_protocols_are_closed_at_once_and_counted(pond):
    with Counted(pond.hub_counters, "not_ssh"):
        with connect(pond, "127.0.0.1", b"GET / HTTP/1.1\r\n\r\n") as connection:
            try:
                assert connection.recv(1) == b""
            except ConnectionResetError:
                pass


# ---- what a login may do ----


def try_ssh(pond, key, *words, command=(), user=None):
    argv = [*ssh_command(pond.world, pond.evil.token, key, *words, user=user), *command]
    return pond.world.run(argv, check=False, text=False, seconds=20)


def test_unknown_key_does_not_log_in(pond):
    with Counted(pond.hub_counters, "login_failures"):
        done = try_ssh(pond, SigningKey(os.urandom(32)))
    assert done.returncode == 255 and b"Permission denied (publickey)" in done.stderr


def test_other_account_does_not_log_in(pond):
    done = try_ssh(pond, pond.evil.identity.key, user="nobody")
    assert done.returncode == 255 and b"Permission denied" in done.stderr


@pytest.mark.parametrize("kind", ["identity", "invite"])
def test_login_gives_no_forwarding_no_command_and_no_files(pond, kind):
    """A lease's key at the operator's machine opens cbx and nothing else."""
    joiner = RawAgent(pond.world, pond.hub.invite("limited"))
    key = pond.evil.identity.key if kind == "identity" else joiner.token.login
    port = pond.echo.port
    before = pond.echo.accepted
    direct = try_ssh(pond, key, "-W", f"127.0.0.1:{port}")
    assert direct.returncode != 0 and b"forwarding failed" in direct.stderr, direct
    remote = try_ssh(pond, key, "-N", "-o", "ExitOnForwardFailure=yes", "-R", f"127.0.0.1:0:127.0.0.1:{port}")
    assert remote.returncode != 0 and b"forwarding failed" in remote.stderr.lower(), remote
    for words, command in ((("-s",), ["sftp"]), ((), ["id"]), ((), ["cat /etc/passwd"])):
        done = try_ssh(pond, key, *words, command=command)
        assert b"uid=" not in done.stdout and b"root:" not in done.stdout
    assert pond.echo.accepted == before


# ---- joining ----

MORE = {
    "AGENT_HELLO": encode("AGENT_HELLO", 1, bytes(16), 1 << 20, "stranger"),
    "OPEN": encode("OPEN", "evil", "web", 8080, bytes(16), bytes(40), 1, 0, 0, bytes(64), label=1),
    "HANDSHAKE": encode("HANDSHAKE", "evil", "web", 1, bytes(32), bytes(32), b"a"),
    "CHAIN_GET": encode("CHAIN_GET", "web"),
    "WANT": encode("WANT", 1 << 20),
}


@pytest.mark.parametrize("case", MORE)
def test_join_link_may_only_join(pond, case):
    joiner = RawAgent(pond.world, pond.hub.invite("joiner"))
    link = joiner.open_join()
    with Counted(pond.hub_counters, "breaches"):
        link.write(MORE[case])
        reason, _, text = bye_of(link)
    assert reason == PROTOCOL and ("join" in text or case in text), text


@pytest.fixture(scope="module")
def invited(stand):
    """Somebody with an invite for slug greedy, port 7; who never joins honestly before the end."""
    return RawAgent(stand.world, stand.hub.invite("greedy", expose=["7"]))


def refused(pond, agent, certificate, words, reason=DENIED):
    peers = pond.hub.peers()
    link = agent.open_join()
    counter = {DENIED: "denied", PROTOCOL: "protocol error", REASONS["expired"]: "expired"}[reason]
    with Counted(pond.hub_counters, counter):
        link.send("JOIN", certificate(agent))
        bye = bye_of(link)
    assert bye[0] == reason and words in bye[2], bye
    assert pond.hub.peers().keys() == peers.keys()


def flip(data, at):
    return data[:at] + bytes([data[at] ^ 1]) + data[at + 1 :]


EXCEEDS = {
    "another slug": (lambda a: a.certificate(slug="cli"), "slug"),
    "another pond": (lambda a: a.certificate(pond="other"), "pond"),
    "one port more": (lambda a: a.certificate(expose="7,22"), "expose"),
    "another target": (lambda a: a.certificate(expose="7=10.0.0.1:22"), "expose"),
    "a longer life": (lambda a: a.certificate(ends=open_invite(a.invite, a.token.pond_public)["ends"] + 1), "end"),
    "another invite": (lambda a: a.certificate(invite_hash=bytes(32)), "invite"),
    "not signed by its identity": (lambda a: a.certificate(own_key=SigningKey(bytes(32))), "not signed by its own"),
    "not signed under the invite": (
        lambda a: peer_certificate(a.invite, SigningKey(bytes(32)), a.identity),
        "not signed by the invite",
    ),
    "one bit flipped": (lambda a: flip(a.certificate(), 60), "not signed"),
}
MALFORMED = {
    "no certificate": lambda a: b"",
    "noise": lambda a: os.urandom(300),
    "a byte too many": lambda a: a.certificate() + b"\0",
    "the invite certificate": lambda a: a.invite,
    "exchange key of low order": lambda a: a.certificate(exchange=bytes(32)),
    "identity that is no key": lambda a: a.certificate(identity=b"\xff" * 32),
    "end long ago": lambda a: a.certificate(ends=1),
    "end in no year": lambda a: a.certificate(ends=2**63),
}


@pytest.mark.parametrize("case", EXCEEDS)
def test_certificate_that_exceeds_its_invite_is_refused(pond, invited, case):
    refused(pond, invited, *EXCEEDS[case])


@pytest.mark.parametrize("case", MALFORMED)
def test_malformed_certificate_is_refused(pond, invited, case):
    link = invited.open_join()
    link.send("JOIN", MALFORMED[case](invited))
    reason, _, text = bye_of(link)
    assert reason in (PROTOCOL, DENIED, REASONS["expired"]) and "certificate" in text, (reason, text)
    assert "greedy" not in pond.hub.peers()


def test_certificate_too_long_for_its_frame_ends_the_link(pond, invited):
    link = invited.open_join()
    link.send("JOIN", bytes(4097))
    assert bye_of(link)[0] == PROTOCOL


def of_web(pond, name):
    """A key of web as every member of its pond knows it."""
    return pond.evil.chain("web")[0][name]


OTHERS_KEYS = {
    "identity": lambda pond, a: a.certificate(identity=of_web(pond, "identity")),
    "exchange key": lambda pond, a: a.certificate(exchange=of_web(pond, "exchange")),
    "exchange key of a member itself": lambda pond, a: a.certificate(exchange=pond.evil.identity.exchange_public),
    "login key of its own invite": lambda pond, a: a.certificate(identity=a.token.login.public, own_key=a.token.login),
}


@pytest.mark.parametrize("case", OTHERS_KEYS)
def test_member_cannot_register_anothers_key(pond, invited, case):
    words = {"identity": "not signed"}.get(case, "key")
    refused(pond, invited, lambda agent: OTHERS_KEYS[case](pond, agent), words)


def test_refused_joins_use_nothing_up(pond, invited):
    """The invite is still good for its true holder, and then for nobody else."""
    invited.identity = Identity()
    invited.join().attach()
    thief = RawAgent(pond.world, pond.hub.invite("thief"))
    thief.token = invited.token
    with pytest.raises(Exception):
        RawLink(pond.world, thief.token, thief.token.login).begin(1)


# ---- other users of the machine ----

TALK = """
import socket, sys
connection = socket.socket(socket.AF_UNIX, int(sys.argv[2]))
connection.settimeout(5)
connection.connect(sys.argv[1])
try:
    connection.send(sys.argv[3].encode())
    print(connection.recv(4096).decode(errors="replace"))
except (BrokenPipeError, ConnectionResetError):
    pass
"""


def as_nobody(pond, *argv):
    words = [shutil.which("setpriv"), "--reuid=65534", "--regid=65534", "--clear-groups", *argv]
    return pond.world.run(words, check=False)


def talk(pond, path, kind=socket.SOCK_STREAM, line='{"cmd": "status"}\n'):
    return as_nobody(pond, "/usr/bin/python3", "-c", TALK, path, str(int(kind)), line)


@pytest.mark.skipif(os.geteuid() != 0, reason="another uid needs root")
def test_local_user_gets_nothing_at_the_sockets(pond):
    """By the folder's mode first; and where that was opened, by the uid at the other end."""
    states = [pond.hub.state, pond.web.state]
    pond.world.dir.chmod(0o755)
    for path in (pond.hub.state / "control.sock", pond.hub.state / "attach.sock", pond.web.state / "control.sock"):
        assert "PermissionError" in talk(pond, path).stderr
    for state in states:
        state.chmod(0o755)
        for path in state.glob("*.sock"):
            path.chmod(0o666)
    try:
        for state in states:
            done = talk(pond, state / "control.sock")
            assert "software" not in done.stdout and "round_trip" not in done.stdout, done.stdout
            assert "PermissionError" not in done.stderr, done.stderr
        before = pond.hub.json("status")["attach_refused"]
        assert talk(pond, pond.hub.state / "attach.sock", socket.SOCK_SEQPACKET, "hello").stdout.strip() == ""
        assert pond.hub.json("status")["attach_refused"] == before + 1
        done = as_nobody(pond, AGENT, "--state", pond.cli.state, "dial", "web.cbx:8080")
        assert done.returncode == 1 and len(done.stderr.splitlines()) == 1, done.stderr
        for word in ("registry", "key", "ponds/demo.pond", "ssh/host_ed25519", "ssh/authorized_keys"):
            assert as_nobody(pond, "cat", pond.hub.state / word).returncode != 0
        for word in ("agent", "key"):
            assert as_nobody(pond, "cat", pond.web.state / word).returncode != 0
    finally:
        for state in states:
            state.chmod(0o700)
            for path in state.glob("*.sock"):
                path.chmod(0o600)


@pytest.mark.skipif(os.geteuid() != 0, reason="another uid needs root")
def test_local_user_cannot_start_on_anothers_state_folder(pond):
    pond.world.dir.chmod(0o755)
    for argv in ([HUB, "--state", pond.hub.state, "run"], [AGENT, "--state", pond.web.state, "run"]):
        done = as_nobody(pond, *argv)
        assert done.returncode == 1 and len(done.stderr.splitlines()) == 1, done.stderr
        assert str(argv[2]) in done.stderr


# ---- tokens ----


def test_token_with_any_one_character_changed_is_refused_before_any_connection(pond):
    token = pond.hub.invite("typo")
    agent = Agent(pond.world, "typo")
    path = agent.token_file(token)
    before = pond.hub_counters()["accepted"]
    for at in range(0, len(token)):
        other = "B" if token[at] != "B" else "C"
        (pond.world.dir / "typo.token").write_text(token[:at] + other + token[at + 1 :] + "\n")
        done = subprocess.run(
            [AGENT, "--state", agent.state, "join", path],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            env=pond.world.environment,
            timeout=20,
            check=False,
        )
        assert done.returncode == 1 and "token" in done.stderr, (at, done)
        assert len([line for line in done.stderr.splitlines() if "root" not in line]) == 1, done.stderr
    assert pond.hub_counters()["accepted"] == before
    assert Token(token).user
    agent.run("join", agent.token_file(token))


def states_below(process):
    """Of each process that descends from it: its state, as the kernel says."""
    states = []
    for pid in family(process):
        try:
            states.append(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0])
        except OSError:
            continue
    return states


@pytest.mark.skipif(os.geteuid() != 0, reason="a PID namespace needs root")
def test_hub_that_is_pid_1_leaves_no_zombies(world):
    """In a container without an init the orphans of each failed log-in would stay for good."""
    hub = Hub(world)
    hub.space = ("unshare", "--pid", "--fork", "--mount-proc", "--kill-child")
    hub.start()
    port = int(hub.address.rpartition(":")[2])
    for _ in range(15):
        with socket.create_connection(("127.0.0.1", port)) as stranger:
            stranger.sendall(b"SSH-2.0-stranger\r\n")
            stranger.recv(16)
    time.sleep(0.5)
    until("their sshds are gone", lambda: not programs_below(hub.process, "sshd"), 15)
    assert "Z" not in states_below(hub.process)


def test_sshd_offers_only_what_is_pinned(world, hub):
    """Key exchange, too: no NIST curves, no groups of the client's choice."""
    host, _, port = hub.address.rpartition(":")
    done = world.run(["ssh", "-vv", "-p", port, "-oBatchMode=yes", "-oStrictHostKeyChecking=no", f"nobody@{host}"], check=False)
    offered = re.findall(r"KEX algorithms: (\S+)", done.stderr)
    assert [name for name in offered[-1].split(",") if not name.startswith("kex-")] == [
        "curve25519-sha256",
        "curve25519-sha256@libssh.org",
    ], offered
