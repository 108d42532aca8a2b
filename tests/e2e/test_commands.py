# SPDX-License-Identifier: MIT
"""The command line, as scripts use it."""

import json
import os
import pwd
import re
import signal
import socket
import subprocess
import threading
import time

import pytest
from servers import Nginx, Server, echo
from world import AGENT, AS_ROOT, HUB, ROOT, Agent, Hub, find, free_port, may_run, until

# Word for word what the documentation promises; only --as-root is added where root runs it.
SCRIPT = """
cbx-hub --state h run --listen 127.0.0.1:7000 {as_root} &
cbx-hub --state h invite --pond demo --slug web --expose 8080 >web.token
cbx-hub --state h invite --pond demo --slug cli >cli.token
cbx-agent --state w up @web.token --proxy off --lanes off --direct off &
cbx-agent --state c up @cli.token --proxy 127.0.0.1:1080 &
cbx-agent --state c wait web.cbx:8080 --timeout 30s
curl --socks5-hostname 127.0.0.1:1080 http://web.cbx:8080/
"""


def in_private_network():
    """Words that run a command with a loopback of its own, where the system lets us."""
    words = [find("unshare"), "--net", find("bash"), "-c", 'ip link set lo up && exec "$@"', "net"]
    if os.geteuid() == 0 and subprocess.run([*words, "true"], check=False, capture_output=True).returncode == 0:
        return words
    return []


def test_script_works_as_it_stands(world):
    page = world.dir / "www"
    page.mkdir()
    (page / "index.html").write_text("hello from web\n")
    net = in_private_network()
    if not net:
        for port in (7000, 1080, 8080):
            with socket.socket() as probe:
                if probe.connect_ex(("127.0.0.1", port)) == 0:
                    pytest.skip(f"port {port} is in use and this account has no private network")
    nginx = Nginx.configure(world, page, port=8080)
    script = " ".join(str(word) for word in nginx) + " &\n" + SCRIPT.format(as_root=" ".join(AS_ROOT))
    child = subprocess.Popen(
        [*net, find("bash"), "-c", script],
        cwd=world.dir,
        env=world.environment,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=open(world.dir / "script.err", "wb"),
        start_new_session=True,
    )
    try:
        output = b""
        # The programs in the background hold the pipe too: read what is due, not to the end.
        while b"hello from web" not in output:
            part = os.read(child.stdout.fileno(), 4096)
            assert part, f"it ended after {output!r}"
            output += part
        assert child.wait(10) == 0
        assert output == b"listening 127.0.0.1:7000\nhello from web\n"
    finally:
        os.killpg(child.pid, signal.SIGTERM)
        until("the script's programs ended", lambda: not world.leftovers(), 6)


def test_invite_waits_for_a_hub_that_is_starting(world):
    hub = Hub(world)
    results = []
    thread = threading.Thread(target=lambda: results.append(hub.invite("web")))
    thread.start()
    time.sleep(1)
    hub.start()
    thread.join(20)
    assert results and results[0].startswith("cbx1_")


def test_invite_without_a_hub_fails_after_5_s(world):
    began = time.monotonic()
    done = Hub(world).run("invite", "--slug", "web", check=False)
    assert done.returncode == 1
    assert done.stdout == ""
    assert 4 < time.monotonic() - began < 8


def test_token_is_one_line_on_standard_output(hub):
    done = hub.run("invite", "--slug", "web")
    assert re.fullmatch(r"cbx1_[A-Za-z0-9_-]+\n", done.stdout)


@pytest.mark.parametrize("place", ["before", "after", "environment", "equals"])
def test_state_is_taken_from_every_place(world, hub, place):
    state = str(hub.state)
    done = {
        "before": lambda: world.run([HUB, "--state", state, "status"]),
        "after": lambda: world.run([HUB, "status", "--state", state]),
        "environment": lambda: world.run([HUB, "status"], environment={"CBX_STATE": state}),
        "equals": lambda: world.run([HUB, f"--state={state}", "status"]),
    }[place]()
    assert done.stdout


@pytest.mark.parametrize(
    "variables, folder",
    [
        ({"STATE_DIRECTORY": "{dir}/sd"}, "sd"),
        ({"XDG_STATE_HOME": "{dir}/xdg"}, "xdg/cbx/hub"),
        ({}, ".local/state/cbx/hub"),
    ],
)
def test_state_directory_has_its_defaults(world, variables, folder):
    variables = {name: value.format(dir=world.dir) for name, value in variables.items()}
    world.environment.update(variables)
    process = world.start("default", [HUB, "run", "--listen", "127.0.0.1:0", *AS_ROOT])
    process.expect("^listening ")
    assert (world.dir / folder).stat().st_mode & 0o777 == 0o700
    world.run([HUB, "status"])


def test_relative_state_directory_is_fine(world):
    process = world.start("relative", [HUB, "--state", "rel", "run", "--listen", "127.0.0.1:0", *AS_ROOT])
    process.expect("^listening ")
    token = world.run([HUB, "--state", "rel", "invite", "--slug", "a"]).stdout
    world.run([AGENT, "--state", "a", "join", "-"], input=token)


def test_listen_repeats(world):
    hub = Hub(world)
    second = free_port()
    hub.start(extra=["--listen", f"127.0.0.1:{second}"])
    hub.process.expect(rf"^listening 127\.0\.0\.1:{second}$")
    assert len(re.findall("^listening ", hub.process.stdout(), re.MULTILINE)) == 2


def test_silent_and_foreign_clients_are_closed(world, hub):
    """Who does not speak SSH gets nothing but the end of the connection."""
    address, _, port = hub.address.rpartition(":")
    with socket.create_connection((address, int(port)), timeout=15) as stranger:
        stranger.sendall(b"GET / HTTP/1.0\r\n\r\n")
        try:
            assert stranger.recv(100) == b""
        except ConnectionResetError:
            pass
    with socket.create_connection((address, int(port)), timeout=15) as silent:
        began = time.monotonic()
        try:
            assert silent.recv(100) == b""
        except ConnectionResetError:
            pass
        assert time.monotonic() - began > 8
    assert hub.process.running()


def test_wait_returns_when_the_port_actually_accepts(world, hub):
    port = free_port()
    Agent(world, "web", hub).up(expose=[f"8080=127.0.0.1:{port}"])
    cli = Agent(world, "cli", hub).up()
    waiting = cli.start("wait", "web.cbx:8080", "--timeout", "20s")
    time.sleep(1.5)
    assert waiting.running(), "it returned although nobody listens"
    Server(world, echo, port=port)
    assert waiting.ends(5) == 0


def test_wait_waits_for_a_peer_that_is_not_there_yet(world, hub):
    cli = Agent(world, "cli", hub).up()
    server = Server(world, echo)
    waiting = cli.start("wait", "web.cbx:8080", "--timeout", "20s")
    time.sleep(1)
    assert waiting.running()
    Agent(world, "web", hub).up(expose=[f"8080=127.0.0.1:{server.port}"])
    assert waiting.ends(5) == 0


def test_wait_for_an_agent_that_is_not_running_yet(world, hub):
    """In a script `wait` follows `up … &` at once."""
    server = Server(world, echo)
    Agent(world, "web", hub).up(expose=[f"8080=127.0.0.1:{server.port}"])
    cli = Agent(world, "cli", hub)
    token = hub.invite("cli")
    waiting = cli.start("wait", "web.cbx:8080", "--timeout", "20s")
    time.sleep(0.3)
    cli.up(token=token, attached=False)
    assert waiting.ends(10) == 0


def test_wait_fails_when_its_time_is_over(world, hub):
    cli = Agent(world, "cli", hub).up()
    began = time.monotonic()
    done = cli.run("wait", "nosuch.cbx:8080", "--timeout", "1s", check=False)
    assert done.returncode == 1
    assert 0.8 < time.monotonic() - began < 4
    assert "nosuch.cbx:8080" in done.stderr


def test_invites_lists_and_uninvite_withdraws(hub):
    hub.invite("web", "--ttl", "1h", expose=["8080"])
    hub.invite("cli")
    listed = hub.json("invites")["invites"]
    assert sorted(invite["slug"] for invite in listed) == ["cli", "web"]
    text = hub.run("invites").stdout
    assert "web" in text and "cli" in text
    web = next(invite for invite in listed if invite["slug"] == "web")
    hub.run("uninvite", web["id"][:8])
    assert [invite["slug"] for invite in hub.json("invites")["invites"]] == ["cli"]
    assert hub.run("uninvite", "ffffffff", check=False).returncode == 1


def test_hub_shows_its_peers_and_status(pair):
    peers = pair.hub.json("peers")["peers"]
    assert sorted(peer["slug"] for peer in peers) == ["cli", "web"]
    assert all(peer["pond"] == "demo" for peer in peers)
    text = pair.hub.run("peers").stdout
    assert "web" in text and "8080" in text
    assert isinstance(pair.hub.json("status"), dict)
    assert pair.hub.address in pair.hub.run("status").stdout


def test_agent_shows_its_peers_and_status(pair):
    peers = json.loads(pair.cli.run("peers", "--json").stdout)["peers"]
    assert "web" in [peer["slug"] for peer in peers]
    assert "web" in pair.cli.run("peers").stdout
    status = json.loads(pair.cli.run("status", "--json").stdout)
    assert status["state"] == "attached"
    text = pair.cli.run("status").stdout
    assert "cli" in text and "demo" in text


COMPLETE = """
. "$1"; function=$2; shift 2
COMP_WORDS=("$@"); COMP_CWORD=$(($# - 1)); "$function"; printf '%s\\n' "${COMPREPLY[@]}"
"""


def completed(world, program, state, *words):
    """What bash offers for the last of the words."""
    name = os.path.basename(program)
    folder = "agent" if program == AGENT else "hub"
    script = os.path.join(ROOT, folder, f"{name}.bash")
    line = [program, "--state", state, *words]
    bash = [find("bash"), "-c", COMPLETE, "bash", script, "_" + name.replace("-", "_"), *line]
    return world.run(bash).stdout.split()


def test_completion_offers_what_the_running_process_knows(world, pair):
    spare = pair.hub.invite("spare")
    invites = json.loads(pair.hub.run("invites", "--json").stdout)["invites"]
    assert spare and completed(world, AGENT, pair.cli.state, "dial", "we") == ["web.cbx:8080"]
    assert completed(world, AGENT, pair.cli.state, "wait", "web") == ["web.cbx:8080"]
    assert completed(world, HUB, pair.hub.state, "revoke", "")[-2:] == ["web", "cli"]
    assert completed(world, HUB, pair.hub.state, "uninvite", invites[-1]["id"][:4]) == [invites[-1]["id"]]
    assert completed(world, AGENT, pair.cli.state, "help", "p") == ["peers"]
    assert completed(world, AGENT, world.dir / "none", "dial", "we") == []


def manual_of(program):
    name = os.path.basename(program)
    with open(os.path.join(ROOT, "agent" if program == AGENT else "hub", f"{name}.1")) as file:
        return file.read()


@pytest.mark.parametrize("program", [HUB, AGENT], ids=["hub", "agent"])
def test_help_manual_and_completion_name_the_same_options(world, program):
    manual = manual_of(program)
    commands = re.findall(r"^  ([a-z]+)\b", world.run([program, "--help"]).stdout.split("options of every")[0], re.M)
    assert len(commands) >= 8
    for command in commands:
        text = world.run([program, command, "--help"]).stdout
        options = set(re.findall(r"^  (--[a-z-]+)", text, re.M))
        assert options <= {"-" + name for name in re.findall(r"Fl (-[a-z-]+)", manual)}, command
        assert re.search(rf"^\.(It Cm|Ss) {command}\b", manual, re.M), command
        assert set(completed(world, program, "/", command, "--")) == options | {"--help"}, command


def test_manuals_explain_every_counter(pair):
    def names(value):
        return set(value).union(*(names(inner) for inner in value.values() if isinstance(inner, dict)))

    status = json.loads(pair.cli.run("status", "--json").stdout)
    hub = pair.hub.json("status")
    for manual, counters in (
        (manual_of(AGENT), names(status["front"]) | names(status["direct"]) | set(status["mesh"]["counters"])),
        (manual_of(HUB), names(hub["door"]) | set(hub["counters"]) | {"attach_refused"}),
    ):
        explained = set(re.findall(r"\w+", manual))
        assert counters - {"proxy", "mode", "trouble", "listening"} - explained == set()


def test_commands_without_a_process_say_so(world, hub):
    for words in (["status"], ["peers"], ["dial", "web.cbx:1"]):
        done = Agent(world, "nobody").run(*words, check=False)
        assert done.returncode == 1, words
        assert done.stdout == "" and len(done.stderr.splitlines()) == 1, done.stderr
    done = Agent(world, "nobody").run("down")  # what it wants already holds
    assert len(done.stderr.splitlines()) == 1
    assert Hub(world, "none").run("status", check=False).returncode == 1


USAGE = [
    (HUB, []),
    (HUB, ["frobnicate"]),
    (HUB, ["run", "--no-such-option"]),
    (HUB, ["run", "--listen", "nonsense"]),
    (HUB, ["run", "--config", "/nonexistent", *AS_ROOT]),
    (HUB, ["run", "--config", "/", *AS_ROOT]),
    (HUB, ["run", "--listen", "127.0.0.1:99999"]),
    (HUB, ["run", "--lanes", "perhaps", *AS_ROOT]),
    (HUB, ["run", "--key-file", "/nonexistent", *AS_ROOT]),
    (HUB, ["run", "--passphrase-file", "/", *AS_ROOT]),
    (HUB, ["run", "--gone", "50s", "--gone", "60s"]),
    (HUB, ["status", "--json", "--json"]),
    (HUB, ["invite"]),
    (HUB, ["invite", "--slug", "web", "--label", "a=1", "--label", "a=2"]),
    (HUB, ["invite", "--slug", "Not_A_Slug"]),
    (HUB, ["invite", "--slug", "web", "--expose", "0"]),
    (HUB, ["invite", "--slug", "web", "--expose", "80,x"]),
    (HUB, ["invite", "--slug", "web", "--ttl", "15"]),
    (HUB, ["uninvite"]),
    (HUB, ["revoke"]),
    (AGENT, []),
    (AGENT, ["frobnicate"]),
    (AGENT, ["run", "--config", "/nonexistent"]),
    (AGENT, ["run", "--config", "/"]),
    (AGENT, ["run", "--key-file", "/nonexistent"]),
    (AGENT, ["run", "--passphrase-file", "/"]),
    (AGENT, ["up", "@/nonexistent"]),
    (AGENT, ["up", "@/nonexistent", "--detach"]),
    (AGENT, ["up", "@"]),
    (AGENT, ["netcheck", "@/nonexistent"]),
    (AGENT, ["run", "--lanes", "off", "--lanes", "auto"]),
    (AGENT, ["dial"]),
    (AGENT, ["dial", "web.cbx"]),
    (AGENT, ["dial", "web.cbx:0"]),
    (AGENT, ["wait", "web.cbx:80", "--timeout", "soon"]),
    (AGENT, ["wait", "web.cbx:80", "--timeout", "30"]),
    (AGENT, ["status", "surplus"]),
    (AGENT, ["up", "--proxy", "nonsense"]),
    (AGENT, ["up", "--lanes", "perhaps"]),
]


@pytest.mark.parametrize("program, words", USAGE, ids=lambda value: " ".join(value) if isinstance(value, list) else os.path.basename(value))
def test_usage_errors_exit_2(world, program, words):
    done = world.run([program, "--state", world.dir / "none", *words], check=False, seconds=10)
    assert done.returncode == 2, done.stderr
    assert done.stdout == ""
    assert done.stderr.startswith(os.path.basename(program))


COMMANDS = {
    HUB: (["run", *AS_ROOT], ["status"], ["peers"], ["invite", "--slug", "a"], ["revoke", "a"], ["shutdown"]),
    AGENT: (["run"], ["status"], ["peers"], ["down"], ["leave"], ["netcheck"], ["dial", "a.cbx:1"], ["wait", "a.cbx:1"]),
}


@pytest.mark.parametrize("program", [HUB, AGENT])
def test_empty_state_is_a_usage_error_of_every_command(world, program):
    for words in COMMANDS[program]:
        done = world.run([program, "--state", "", *words], check=False, seconds=10)
        assert done.returncode == 2 and "--state: the name is empty" in done.stderr, words


# What a value's error says, of an option and of a line.
WRONG_VALUES = [
    (HUB, "lanes", "x", "'x' is not auto, off or require"),
    (HUB, "direct", "require", "'require' is not auto or off"),
    (HUB, "queue-max", "100T", "'100T' is not between 1M and 16T"),
    (HUB, "keepalive", "2h", "'2h' is not between 100ms and 1h"),
    (HUB, "login-processes", "4K", "'4K' is not a whole number"),
    (AGENT, "lanes", "x", "'x' is not auto, off or require"),
    (AGENT, "receive-budget", "1", "'1' is not between 256K and 1T"),
    (AGENT, "gone", "15", "'15' is not a duration with a unit"),
]


@pytest.mark.parametrize("program, name, value, text", WRONG_VALUES)
def test_wrong_value_is_said_with_its_name_and_bounds(world, program, name, value, text):
    (world.dir / "c").write_text(f"\n{name} = {value}\n")
    run = [program, "--state", world.dir / "none", "run"]
    done = world.run([*run, f"--{name}", value], check=False, seconds=10)
    assert done.returncode == 2 and f"--{name}: {text}" in done.stderr
    done = world.run([*run, "--config", world.dir / "c"], check=False, seconds=10)
    assert done.returncode == 2 and f"{world.dir}/c:2: {name}: {text}" in done.stderr


@pytest.mark.parametrize("program", [HUB, AGENT])
def test_what_stands_wrongly_in_a_file_is_said(world, program):
    name = "direct" if program == AGENT else "listen"
    lines = {
        f"{name} 127.0.0.1:1": f"'{name} 127.0.0.1' is not a name; write NAME = VALUE",
        "state = /x": "state is for the command line only; give --state there",
        "config = /x": "config is for the command line only",
        "lanes = off\nlanes = off": "lanes is set twice; remove one of the lines",
        f"{name} = {'1' * 300}": "the line is longer than 198 characters; shorten it",
    }
    for line, text in lines.items():
        (world.dir / "c").write_text(line + "\n")
        words = [program, "--state", world.dir / "none", "run", "--config", world.dir / "c"]
        done = world.run(words, check=False, seconds=10)
        assert done.returncode == 2 and text in done.stderr and f"{world.dir}/c:" in done.stderr, done.stderr


@pytest.mark.parametrize("program", [HUB, AGENT])
def test_version_and_help_go_to_standard_output(world, program):
    name = os.path.basename(program)
    assert re.match(rf"{name} \d+\.\d+", world.run([program, "--version"]).stdout)
    assert name in world.run([program, "--help"]).stdout
    assert "--state" in world.run([program, "run", "--help"]).stdout


def test_proxy_port_that_was_asked_for_must_be_free(world, hub):
    server = Server(world, echo)
    agent = Agent(world, "web", hub)
    process = agent.start("up", agent.token_file(hub.invite("web")), "--proxy", f"127.0.0.1:{server.port}")
    assert process.ends(10) == 1
    assert str(server.port) in process.stderr()


def test_default_proxy_port_that_is_taken_is_only_a_note(world, hub):
    try:
        Server(world, echo, port=1080)
    except OSError:
        pass  # somebody else has it, which is as good
    agent = Agent(world, "web", hub)
    agent.start("up", agent.token_file(hub.invite("web")))
    agent.wait_attached()
    assert "1080" in agent.process.stderr()


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root")
def test_hub_as_root_wants_it_said(world):
    done = world.run([HUB, "--state", world.dir / "r", "run", "--listen", "127.0.0.1:0"], check=False, seconds=10)
    assert done.returncode in (1, 2)
    assert "--as-root" in done.stderr and "--user" in done.stderr


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root")
def test_hub_drops_to_the_account_it_is_told(world):
    hub, account = hub_of_another_account(world, "127.0.0.1:0")
    hub.process.expect("^listening ")
    assert os.stat(f"/proc/{hub.process.child.pid}").st_uid == account.pw_uid
    Agent(world, "web", hub).up()
    foreign = [path for path in hub.state.rglob("*") if path.stat().st_uid != account.pw_uid]
    assert not foreign


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root")
def test_port_below_1024_is_bound_before_root_is_given_up(world):
    """443 is what company proxies let through."""
    port = next(port for port in range(700, 1000) if is_free(port))
    hub, account = hub_of_another_account(world, f"127.0.0.1:{port}")
    hub.process.expect(f"^listening 127.0.0.1:{port}$")
    assert os.stat(f"/proc/{hub.process.child.pid}").st_uid == account.pw_uid


def is_free(port):
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) != 0


def hub_of_another_account(world, listen):
    """A hub that root has started with --user, and that account."""
    shells = ("/bin/sh", "/bin/bash", "/bin/dash")
    for account in pwd.getpwall():
        if account.pw_uid != 0 and account.pw_shell in shells and may_run(account.pw_uid):
            break
    else:
        pytest.skip("no other account here has a shell and may run the programs")
    world.dir.chmod(0o711)
    hub = Hub(world)
    hub.state.mkdir(0o700)
    os.chown(hub.state, account.pw_uid, account.pw_gid)
    hub.process = world.start("h", [HUB, "--state", hub.state, "run", "--listen", listen, "--user", account.pw_name])
    return hub, account


@pytest.mark.parametrize("damage", ["cut", "changed", "foreign", "empty"])
def test_damaged_registry_is_refused_and_left_alone(world, hub, damage):
    hub.invite("web")
    assert hub.process.terminate() == 0
    path = hub.state / "registry"
    sealed = path.read_bytes()
    bad = {
        "cut": sealed[: len(sealed) // 2],
        "changed": sealed[:-9] + bytes([sealed[-9] ^ 1]) + sealed[-8:],
        "foreign": b"#!/bin/sh\necho not ours, but long enough to be looked at\n" * 4,
        "empty": b"",
    }[damage]
    path.write_bytes(bad)
    done = hub.run("run", "--listen", "127.0.0.1:0", *AS_ROOT, check=False, seconds=10)
    assert done.returncode == 1
    assert str(path) in done.stderr
    assert path.read_bytes() == bad


def test_secrets_on_disk_are_sealed_and_private(world, pair):
    """Nobody else may read the state, and no key lies there in the clear."""
    for folder in (pair.hub.state, pair.web.state):
        assert folder.stat().st_mode & 0o077 == 0
        for path in folder.rglob("*"):
            if path.is_file():
                assert path.stat().st_mode & 0o077 == 0, path


def test_readiness_is_told_to_systemd(world):
    path = world.dir / "notify"
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as receiver:
        receiver.bind(str(path))
        receiver.settimeout(10)
        world.environment["NOTIFY_SOCKET"] = str(path)
        Hub(world).start()
        assert b"READY=1" in receiver.recv(4096)


# ---- what a slug or pond means to the hub's commands ----


def test_revoke_finds_the_only_pond_that_has_the_slug(world, hub):
    web = Agent(world, "web", hub).up()
    done = hub.run("revoke", "web")
    assert "web of pond demo revoked" in done.stderr
    assert web.process.ends() == 1


def test_revoke_names_the_ponds_when_there_is_a_choice(world, hub):
    for pond in ("demo", "other"):
        hub.pond = pond
        Agent(world, f"web-{pond}", hub).up(token=hub.invite("web"))
    done = hub.run("revoke", "web", check=False)
    assert done.returncode == 1 and "2 ponds have a lease web" in done.stderr
    assert "demo" in done.stderr and "other" in done.stderr
    done = hub.run("revoke", "nosuch", check=False)
    assert done.returncode == 1 and "no pond has a lease nosuch" in done.stderr


def test_peers_of_a_pond_that_does_not_exist_is_an_error(world, hub):
    hub.invite("web")
    done = hub.run("peers", "--pond", "nosuch", check=False)
    assert done.returncode == 1 and "there is no pond nosuch; there are: demo" in done.stderr
    assert hub.run("peers", "--pond", "demo").returncode == 0


def test_invite_out_writes_a_file_that_only_its_owner_reads(world, hub):
    path = world.dir / "web.token"
    done = hub.run("invite", "--slug", "web", "--out", path)
    assert done.stdout == "" and path.stat().st_mode & 0o777 == 0o600
    Agent(world, "web", hub).up(token=path.read_text().strip())
    done = hub.run("invite", "--slug", "more", "--out", path, check=False)
    assert done.returncode == 2 and "is there already" in done.stderr
    assert hub.json("invites")["invites"] == []


def test_invite_that_cannot_be_printed_is_withdrawn(world, hub):
    with open("/dev/full", "w") as full:
        done = hub.run("invite", "--slug", "web", check=False, stdout=full)
    assert done.returncode == 1 and "withdrawn" in done.stderr
    assert hub.json("invites")["invites"] == []


@pytest.mark.parametrize("script", ["{ sleep 0.5; INVITE; } | true", "INVITE >&-"])
def test_invite_whose_token_nobody_reads_is_withdrawn(world, hub, script):
    """A pipe whose reader is gone, as where `| ssh box …` failed; and an output that was closed."""
    invite = f"{HUB} --state {hub.state} invite --pond demo --slug web"
    done = world.run(["sh", "-c", script.replace("INVITE", invite)], check=False)
    assert "withdrawn" in done.stderr
    assert hub.json("invites")["invites"] == []


def test_inviting_a_joined_slug_needs_replace_and_says_whom(world, hub):
    Agent(world, "web", hub).up()
    words = ["invite", "--pond", "demo", "--slug", "web"]
    done = hub.run(*words, check=False)
    assert done.returncode == 1 and done.stdout == ""
    assert "web.demo.cbx has joined (ready, attached for" in done.stderr and "--replace" in done.stderr
    assert hub.run(*words, "--replace").stdout.startswith("cbx1_")


def test_tables_show_labels_and_wrap_long_lists(world, hub):
    ports = [str(port) for port in range(10001, 10026)]
    web = Agent(world, "web", hub).up(token=hub.invite("web", "--label", "lang=c", "--label", "gpu=no", expose=ports))
    Agent(world, "cli", hub).up()
    for text in (hub.run("peers").stdout, web.run("peers").stdout, web.run("status").stdout):
        assert all(port in text for port in ports)
        assert max(len(line) for line in text.splitlines()) < 200, text
    for text in (hub.run("peers").stdout, web.run("peers").stdout):
        assert "LABELS" in text and "lang=c,gpu=no" in text
    assert len(completed(world, AGENT, web.state, "dial", "web")) == len(ports)
    status = web.run("status").stdout
    assert "carrier" not in status and "plane" in status
    hub.run("revoke", "web")
    assert "LABELS" not in hub.run("peers").stdout
    assert web.process.ends() == 1


def test_one_of_a_thing_is_not_said_in_the_plural(pair):
    pair.cli.wait("web.cbx:8080")
    text = "".join(pair.hub.run("status").stdout + agent.run("status").stdout for agent in (pair.cli, pair.web))
    assert not re.search(r"\b1 (lanes|links|circuits|connections|streams)\b", text), text


TIMED = r"^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z cbx-"


def test_log_has_times_where_nobody_else_adds_them(world, hub):
    agent = Agent(world, "web", hub).up()
    assert hub.process.expect(TIMED + "hub: invite", stream="stderr")
    assert agent.process.expect(TIMED + "agent: attached as web.demo.cbx", stream="stderr")
    agent.process.terminate()
    agent.up(options=["--log-times", "no"])
    assert agent.process.expect("^cbx-agent: attached as web.demo.cbx", stream="stderr")
    agent.process.terminate()
    world.environment["JOURNAL_STREAM"] = "8:1"
    agent.up()
    assert agent.process.expect("^cbx-agent: attached as web.demo.cbx", stream="stderr")


def test_netcheck_leaves_no_complaint_in_the_hubs_log(world, hub):
    agent = Agent(world, "web", hub).up()
    for _ in range(5):
        agent.run("netcheck")
    agent.process.terminate()
    until("the hub knows", lambda: hub.json("status")["attached"] == 0)
    assert "Broken pipe" not in hub.process.stderr() and "ssh_packet" not in hub.process.stderr()
