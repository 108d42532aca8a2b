# SPDX-License-Identifier: MIT
"""Damaged state files, wrong configurations, illegal names: a clear error that says what and where,
nothing overwritten, nothing else disturbed."""

import os
import re
import shutil
import socket
import subprocess

import pytest
from conftest import Pair
from servers import read_exactly
from world import AGENT, AS_ROOT, HUB, Agent, Hub, World

HUGE = 1 << 33

# ---- state files ----


def truncated(data, other):
    return data[: len(data) // 2]


def flipped(data, other):
    """One bit, where each kind of file holds what matters most."""
    at = len(data) * 3 // 4
    return data[:at] + bytes([data[at] ^ 1]) + data[at + 1 :]


def first_byte(data, other):
    return bytes([data[0] ^ 1]) + data[1:]


def empty(data, other):
    return b""


def foreign(data, other):
    return other


def longer(data, other):
    return data + b"\0"


DAMAGES = {f.__name__: f for f in (truncated, flipped, first_byte, empty, foreign, longer)}
# file: damages that it cannot show: any 32 bytes are a key, but not the one; a host key of another
# hub is whole, and what is behind the last line of one is nobody's business
HUB_FILES = {"registry": (), "ponds/demo.pond": (), "key": (), "ssh/host_ed25519": ("foreign", "longer")}
AGENT_FILES = {"agent": (), "key": ()}


def cases(files):
    return [(name, damage) for name, without in files.items() for damage in DAMAGES if damage not in without]


class States:
    """State folders of a hub and an agent that know each other, and of two others of their kind."""

    def __init__(self, world):
        self.world = world
        for suffix in ("2", ""):
            self.hub = Hub(world, f"h{suffix}").start()
            self.agent = Agent(world, f"a{suffix}", self.hub)
            self.agent.run("join", self.agent.token_file(self.hub.invite("web")))
            assert self.hub.process.terminate() == 0

    def serve(self):
        """Both run, on the port that the agent knows."""
        self.hub.start()
        self.agent.start("run", "--proxy", "off")
        self.agent.wait_attached()
        return self.hub, self.agent

    def rest(self):
        assert self.agent.process.terminate() == 0
        assert self.hub.process.terminate() == 0

    def run(self, program, folder, *words):
        environment = dict(self.world.environment)
        return subprocess.run(
            [program, "--state", str(self.world.dir / folder), *words],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            env=environment,
            cwd=self.world.dir,
            timeout=20,
            check=False,
        )


@pytest.fixture(scope="module")
def states():
    world = World()
    try:
        yield States(world)
    finally:
        world.close()


class Damaged:
    """with Damaged(states, "h", "registry", how) as path: …; afterwards it is whole again, and
    nobody wrote to it meanwhile."""

    def __init__(self, states, folder, name, how):
        self.path = states.world.dir / folder / name
        self.whole = self.path.read_bytes()
        self.bad = how(self.whole, (states.world.dir / f"{folder}2" / name).read_bytes())

    def __enter__(self):
        self.path.write_bytes(self.bad)
        return self.path

    def __exit__(self, kind, value, trace):
        found = self.path.read_bytes()
        self.path.write_bytes(self.whole)
        if kind is None:
            assert found == self.bad, f"{self.path} was written to"


def said(done):
    """The last line of a failed program, which must be its only one about the failure."""
    assert done.returncode == 1, done
    assert done.stdout == "", done
    lines = [line for line in done.stderr.splitlines() if "running as root" not in line]
    assert len(lines) == 1, done.stderr
    return lines[0]


RUN_HUB = ("run", "--listen", "127.0.0.1:0", *AS_ROOT)


def names_the_file(line, path):
    """The file itself; for a wrong key perhaps the file that it does not open, beside it."""
    beside = path.parent.name in ("h", "a") and path.name == "key"
    return str(path) in line or (beside and str(path.parent) in line and "key" in line)


@pytest.mark.parametrize("name,damage", [case for case in cases(HUB_FILES) if "pond" not in case[0]])
def test_hub_does_not_start_on_a_damaged_file(states, name, damage):
    with Damaged(states, "h", name, DAMAGES[damage]) as path:
        line = said(states.run(HUB, "h", *RUN_HUB))
        assert names_the_file(line, path), line


@pytest.mark.parametrize("name,damage", cases(AGENT_FILES))
def test_agent_does_not_start_on_a_damaged_file(states, name, damage):
    with Damaged(states, "a", name, DAMAGES[damage]) as path:
        line = said(states.run(AGENT, "a", "run", "--proxy", "off"))
        assert names_the_file(line, path), line


def test_damaged_pond_key_is_refused_by_invite_and_the_hub_runs_on(states):
    """`run` never opens it; what signs says which file, and whoever joined is served."""
    hub, web = states.serve()
    for damage, how in DAMAGES.items():
        with Damaged(states, "h", "ponds/demo.pond", how) as path:
            done = states.run(HUB, "h", "invite", "--pond", "demo", "--slug", "next")
            assert str(path) in said(done), (damage, done)
    assert web.attached() and hub.peers().keys() == {"web"}
    assert hub.invite("next").startswith("cbx1_")
    states.rest()


@pytest.mark.parametrize("folder,name", [("h", name) for name in HUB_FILES] + [("a", name) for name in AGENT_FILES])
def test_endless_state_file_is_refused_and_not_read(states, folder, name):
    """A sparse file of 8 GiB."""
    path = states.world.dir / folder / name
    whole = path.read_bytes()
    try:
        os.truncate(path, HUGE)
        if name.startswith("ponds"):
            return  # opened by `invite` only, which needs a running hub: see above
        words = RUN_HUB if folder == "h" else ("run", "--proxy", "off")
        line = said(states.run(HUB if folder == "h" else AGENT, folder, *words))
        assert names_the_file(line, path), line
        assert path.stat().st_size == HUGE
    finally:
        path.write_bytes(whole)


@pytest.mark.parametrize("folder,name", [("h", "registry"), ("h", "key"), ("a", "agent"), ("a", "key")])
def test_folder_in_the_place_of_a_state_file_is_refused(states, folder, name):
    path = states.world.dir / folder / name
    whole = path.read_bytes()
    path.unlink()
    path.mkdir()
    try:
        words = RUN_HUB if folder == "h" else ("run", "--proxy", "off")
        assert str(path) in said(states.run(HUB if folder == "h" else AGENT, folder, *words))
    finally:
        path.rmdir()
        path.write_bytes(whole)
        path.chmod(0o600)


@pytest.mark.parametrize("folder", ["h", "a"])
def test_lost_key_is_not_made_anew_beside_what_it_sealed(states, folder):
    path = states.world.dir / folder / "key"
    whole = path.read_bytes()
    path.unlink()
    try:
        words = RUN_HUB if folder == "h" else ("run", "--proxy", "off")
        assert "key" in said(states.run(HUB if folder == "h" else AGENT, folder, *words))
        assert not path.exists()
    finally:
        path.write_bytes(whole)
        path.chmod(0o600)


def test_sealed_file_of_another_kind_is_refused(states):
    """The agent's state under the hub's key and name: right seal, wrong kind."""
    folder = states.world.dir / "mixed"
    shutil.copytree(states.world.dir / "h", folder)
    shutil.copy(states.world.dir / "a" / "agent", folder / "registry")
    shutil.copy(states.world.dir / "a" / "key", folder / "key")
    assert str(folder / "registry") in said(states.run(HUB, "mixed", *RUN_HUB))


def test_damaged_list_of_late_logins_is_ignored_and_written_anew(states):
    path = states.world.dir / "h" / "lately"
    states.serve()
    states.rest()
    assert path.stat().st_size == 16 + 17 + 16 and path.stat().st_mode & 0o777 == 0o600
    damaged = path.read_bytes()[:-1]
    path.write_bytes(damaged)
    hub, _ = states.serve()
    assert f"{path}: cannot read the recent logins" in hub.process.stderr()
    states.rest()
    assert path.stat().st_size == 16 + 17 + 16 and path.read_bytes() != damaged


def test_after_all_damage_the_restored_files_serve(states):
    states.serve()
    states.rest()


# ---- configurations ----

LONG = "x" * 5000
HUB_CONFIGS = {
    "unknown name": ("[hub]\nlisten = 127.0.0.1:0\nlisten-on = 127.0.0.1:1\n", 3, "listen-on"),
    "unknown section": ("[hub]\n\n[agent]\nlisten = 127.0.0.1:0\n", 4, "agent"),
    "no setting": ("[hub]\nlisten 127.0.0.1:0\n", 2, ""),
    "no address": ("listen = nowhere\n", 1, "nowhere"),
    "port too high": ("\n\n\nlisten = 127.0.0.1:65536\n", 4, "65536"),
    "duration without unit": ("[hub]\nkeepalive = 15\n", 2, "unit"),
    "negative duration": ("[hub]\nkeepalive = -15s\n", 2, "keepalive"),
    "number too high": ("[hub]\nunauthenticated-max = 99999999999999999999\n", 2, "unauthenticated-max"),
    "out of range": ("[hub]\nqueue-max = 1\n", 2, "queue-max"),
    "not yes or no": ("[hub]\nlog-times = maybe\n", 2, "maybe"),
    "twice": ("[hub]\nsshd = /a\nsshd = /b\n", 3, "twice"),
    "endless line": (f"[hub]\nsshd = {LONG}\n", 2, "longer"),
    "bytes of no text": ("[hub]\n\x01\x02\x1b[2J = 1\n", 2, ""),
}
AGENT_CONFIGS = {
    "unknown name": ("[agent]\nproxy = off\nproxies = off\n", 3, "proxies"),
    "unknown section": ("[agent]\n[hub]\nproxy = off\n", 3, "hub"),
    "no setting": ("[agent]\nproxy off\n", 2, ""),
    "no address": ("proxy = nowhere\n", 1, "nowhere"),
    "expose of nonsense": ("[agent]\n\nexpose = 80,81=\n", 3, "expose"),
    "port 0": ("expose = 0\n", 1, "expose"),
    "duration without unit": ("[agent]\nkeepalive = 15\n", 2, "keepalive"),
    "size of nonsense": ("[agent]\nreceive-budget = lots\n", 2, "receive-budget"),
    "endless line": (f"[agent]\nkey-file = {LONG}\n", 2, ""),
    "bytes of no text": ("[agent]\n\x01\x02\x1b[2J = 1\n", 2, ""),
}


def config_error(states, program, folder, text, line, word):
    path = states.world.dir / "config"
    path.write_text(text)
    words = (*RUN_HUB[:1], *AS_ROOT) if program == HUB else ("run",)
    done = states.run(program, folder, *words, "--config", str(path))
    assert done.returncode == 2 and done.stdout == "", done
    lines = [line for line in done.stderr.splitlines() if "running as root" not in line]
    assert len(lines) == 1 and lines[0].isprintable(), done.stderr
    assert re.search(re.escape(str(path)) + rf":{line}: ", lines[0]) and word in lines[0], lines


@pytest.mark.parametrize("case", HUB_CONFIGS)
def test_config_error_of_the_hub_names_file_and_line(states, case):
    config_error(states, HUB, "h", *HUB_CONFIGS[case])


@pytest.mark.parametrize("case", AGENT_CONFIGS)
def test_config_error_of_the_agent_names_file_and_line(states, case):
    config_error(states, AGENT, "a", *AGENT_CONFIGS[case])


@pytest.mark.parametrize("program,folder", [(HUB, "h"), (AGENT, "a")])
@pytest.mark.parametrize("what", ["missing", "folder", "endless"])
def test_config_that_is_no_file_is_named(states, program, folder, what):
    path = states.world.dir / f"config-{what}"
    if what == "folder":
        path.mkdir(exist_ok=True)
    elif what == "endless":
        path.touch()
        os.truncate(path, HUGE)
    words = (*RUN_HUB[:1], *AS_ROOT) if program == HUB else ("run",)
    done = states.run(program, folder, *words, "--config", str(path))
    assert done.returncode in (1, 2) and done.stdout == ""
    assert str(path) in done.stderr.splitlines()[-1], done.stderr


# ---- names ----

LEGAL = set(b"abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-.")
ILLEGAL = [byte for byte in range(256) if byte not in LEGAL]
WRONG = [b"", b".", b"..", b".cbx", b"web..cbx", b"-web.cbx", b"web-.cbx", b"web.-demo.cbx"]
WRONG += [b"a" * 42 + b".cbx", b"a" * 255, b"web.demo.demo.cbx", b"web.cbx.cbx", b"web.cbx\0", b"web.cbx\0.cbx"]


@pytest.fixture(scope="module")
def pair():
    world = World()
    try:
        yield Pair(world).start()
    finally:
        world.close()


def front(pair):
    host, _, port = pair.cli.proxy.rpartition(":")
    return socket.create_connection((host, int(port)), 10)


def socks_reply(pair, name):
    with front(pair) as connection:
        connection.sendall(b"\x05\x01\x00")
        assert read_exactly(connection, 2) == b"\x05\x00"
        connection.sendall(b"\x05\x01\x00\x03" + bytes([len(name)]) + name + (8080).to_bytes(2, "big"))
        reply = read_exactly(connection, 2)
        assert reply[0] == 5
        return reply[1]


def connect_status(pair, name):
    with front(pair) as connection:
        connection.sendall(b"CONNECT " + name + b":8080 HTTP/1.1\r\nHost: a\r\n\r\n")
        head = b""
        while b"\r\n" not in head:
            part = connection.recv(4096)
            if not part:
                break
            head += part
        match = re.match(rb"HTTP/1\.[01] (\d+) ", head)
        return int(match.group(1)) if match else 0


def quiet_and_alive(pair):
    assert pair.works()
    assert all(line.isprintable() for line in pair.cli.process.stderr().splitlines())


@pytest.mark.parametrize("shape", ["we%b.cbx", "%bweb.cbx", "web.cbx%b", "web.d%bmo.cbx"])
def test_illegal_character_at_socks_is_an_unknown_name(pair, shape):
    accepted = pair.echo.accepted
    for byte in ILLEGAL:
        assert socks_reply(pair, shape.encode() % bytes([byte])) == 4, byte
    assert pair.echo.accepted == accepted
    quiet_and_alive(pair)


@pytest.mark.parametrize("shape", ["we%b.cbx", "web.cbx%b", "web.d%bmo.cbx"])
def test_illegal_character_at_connect_is_refused(pair, shape):
    accepted = pair.echo.accepted
    for byte in ILLEGAL:
        assert connect_status(pair, shape.encode() % bytes([byte])) in (400, 502, 505), byte
    assert pair.echo.accepted == accepted
    quiet_and_alive(pair)


def test_illegal_name_at_each_front_reaches_nobody(pair):
    accepted = pair.echo.accepted
    for name in WRONG:
        assert socks_reply(pair, name) == 4, name
        assert connect_status(pair, name) in (400, 502), name
        if b"\0" not in name:
            done = dial(pair, name)
            assert done.returncode in (1, 2), name
    assert pair.echo.accepted == accepted
    quiet_and_alive(pair)


def dial(pair, name):
    return subprocess.run(
        [AGENT, "--state", str(pair.cli.state), "dial", "--", name + b":8080"],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        env=pair.world.environment,
        timeout=20,
        check=False,
    )


def test_illegal_character_at_dial_is_named_in_one_printable_line(pair):
    accepted = pair.echo.accepted
    for byte in ILLEGAL[1:]:
        done = dial(pair, b"we" + bytes([byte]) + b".cbx")
        assert done.returncode in (1, 2) and done.stdout == b"", (byte, done)
        lines = done.stderr.split(b"\n")
        assert len(lines) == 2 and lines[1] == b"", (byte, done.stderr)
        assert all(at >= 0x20 and at != 0x7F for at in lines[0]), (byte, done.stderr)
    assert pair.echo.accepted == accepted
    quiet_and_alive(pair)


@pytest.mark.parametrize(
    "where", ["--slug=WEB", "--slug=we b", "--slug=-web", "--slug=", "--slug=" + "a" * 42, "--pond=de/mo", "--pond=.."]
)
def test_illegal_name_at_invite_is_refused(pair, where):
    words = ["--slug=fine", where] if where.startswith("--pond") else [where]
    done = pair.hub.run("invite", *words, check=False)
    assert done.returncode == 2 and done.stdout == "", done
    assert len(done.stderr.splitlines()) == 1, done.stderr


# ---- folders above the state ----


def theirs(world):
    """A folder that another user owns, with one of ours below it."""
    folder = world.dir / "theirs"
    (folder / "ours").mkdir(parents=True)
    os.chown(folder, 65534, 65534)
    return folder


def open_to_all(world):
    folder = world.dir / "open"
    (folder / "ours").mkdir(parents=True)
    folder.chmod(0o777)
    return folder


@pytest.mark.parametrize("make", [theirs, open_to_all])
def test_folder_that_others_could_change_is_refused(world, make):
    """Who may rename our folder could make a root hub read files of their own."""
    if make is theirs and not AS_ROOT:
        pytest.skip("another owner needs root")
    folder = make(world)
    (folder / "ours" / "key").write_bytes(bytes(32))
    (folder / "ours" / "key").chmod(0o600)
    own = world.dir / "own"
    for words in (
        [HUB, "--state", folder / "ours" / "hub", "run", *AS_ROOT],
        [AGENT, "--state", folder / "ours" / "agent", "run"],
        [HUB, "--state", own, "run", *AS_ROOT, "--key-file", folder / "ours" / "key"],
    ):
        done = world.run(words, check=False)
        assert done.returncode != 0 and str(folder) in done.stderr, done.stderr
        assert len(done.stderr.splitlines()) == 1
        assert not (folder / "ours" / "hub").exists() and not own.exists()
