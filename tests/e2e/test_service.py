# SPDX-License-Identifier: MIT
"""The programs as services: what signals do to each of their processes, log files and their rotation by the
real logrotate, restarts by whoever started them."""

import grp
import gzip
import os
import pty
import pwd
import re
import shutil
import signal
import socket
import stat
import subprocess
from pathlib import Path

import pytest
from conftest import Pair
from loads import family
from servers import Server, echo, read_exactly_from
from test_ssh_command import PLAIN
from test_ssh_command import up as up_through
from world import AGENT, AS_ROOT, HUB, ROOT, Agent, Hub, find, until

SIGNALS = [signal.SIGHUP, signal.SIGTERM, signal.SIGKILL]


def send(pids, number):
    for pid in pids:
        try:
            os.kill(pid, number)
        except ProcessLookupError:
            pass


def processes_of(pid):
    """The same as family, of a number."""

    class Of:
        child = type("Child", (), {"pid": pid})

    return family(Of)


def below(process):
    return [pid for pid in family(process) if pid != process.child.pid]


def name_of(pid):
    try:
        return Path(f"/proc/{pid}/comm").read_text().strip()
    except OSError:
        return ""


def running(pids):
    """Those that are there and no zombies."""

    def state(pid):
        try:
            return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
        except OSError:
            return ""

    return [pid for pid in pids if state(pid) not in ("", "Z")]


def all_end(pids):
    until("all of its processes have ended", lambda: not running(pids), 10)


# ---- signals ----


@pytest.mark.parametrize("number", SIGNALS, ids=lambda number: number.name)
@pytest.mark.parametrize("lanes", ["off", "auto"])
def test_each_sshd_and_attach_may_be_signalled(world, lanes, number):
    """What a hub's children get ends one login at most; its agent logs in again."""
    pair = Pair(world).start(options=["--direct", "off", "--lanes", lanes])
    hub = pair.hub.process
    for name in {name_of(pid) for pid in below(hub)} - {"cbx-hub-spawn"}:
        told = [pid for pid in below(hub) if name_of(pid) == name]
        send(told, number)
        until(f"a dial goes through after {number.name} to {name}", pair.works, 20)
    assert hub.running()
    until("no more sshd than agents", lambda: pair.hub.json("status")["door"]["sshd"] <= 2)


def test_helper_minds_no_signal_but_kill(pair):
    (helper,) = [pid for pid in below(pair.hub.process) if name_of(pid) == "cbx-hub-spawn"]
    for number in (signal.SIGHUP, signal.SIGTERM, signal.SIGINT):
        send([helper], number)
    assert pair.works()
    assert pair.web.process.terminate() == 0
    pair.web.up()  # a login needs it
    everyone = family(pair.hub.process)
    send([helper], signal.SIGKILL)
    assert pair.hub.process.ends() == 1
    assert "the helper that starts sshd has died" in pair.hub.process.stderr()
    all_end(everyone)
    pair.hub.start()
    until("a dial goes through", pair.works, 20)


@pytest.mark.parametrize("number", SIGNALS, ids=lambda number: number.name)
def test_ssh_command_may_be_signalled(world, hub, number):
    server = Server(world, echo)
    web = up_through(Agent(world, "web", hub), PLAIN, expose=[f"8080=127.0.0.1:{server.port}"])
    cli = Agent(world, "cli", hub).up()
    before = below(web.process)
    assert before
    send(before, number)
    all_end(before)
    until("a dial goes through", lambda: cli.dial("web.cbx:8080", b"x", check=False).stdout == b"x", 20)
    assert web.process.terminate() == 0


@pytest.mark.parametrize("which", ["hub", "web"])
def test_hangup_does_not_end_it(pair, which):
    process = getattr(pair, which).process
    for i in range(3):
        send([process.child.pid], signal.SIGHUP)
        until("it is said", lambda n=i: process.stderr().count("SIGHUP: no --log-file to open again") > n)
    assert pair.works()
    assert process.terminate() == 0


def test_hangup_to_all_of_the_hubs_name_costs_no_link(world):
    """pkill -HUP cbx-hub, as logrotate's scripts say it, also finds what sshd runs for each login."""
    pair = Pair(world).start(options=["--direct", "off", "--lanes", "off"])
    stream = pair.cli.dial_open("web.cbx:8080")
    stream.stdin.write(b"before")
    assert read_exactly_from(stream, 6) == b"before"
    named = [pid for pid in family(pair.hub.process) if name_of(pid) == "cbx-hub"]
    assert len(named) >= 3  # itself and two logins
    send(named, signal.SIGHUP)
    pair.hub.process.expect("SIGHUP", stream="stderr")
    stream.stdin.write(b"after")
    stream.stdin.close()
    assert read_exactly_from(stream, 5) == b"after"
    assert stream.wait(10) == 0
    assert set(named) == {pid for pid in family(pair.hub.process) if name_of(pid) == "cbx-hub"}


@pytest.mark.parametrize("program", ["hub", "agent"])
def test_it_outlives_the_terminal_that_it_was_started_on(world, hub, program):
    """The terminal's end is SIGHUP to those in its foreground, and a standard error that nothing takes."""
    agent = Agent(world, "web", hub)
    if program == "agent":
        words = [AGENT, "--state", agent.state, "up", agent.token_file(hub.invite("web")), "--proxy", "off"]
        status = agent.attached
    else:
        other = Hub(world, "other")
        words = [HUB, "--state", other.state, "run", "--listen", "127.0.0.1:0", *AS_ROOT]

        def status():
            return other.run("status", check=False).returncode == 0

    pid, terminal = pty.fork()
    if pid == 0:
        os.execve(words[0], [str(word) for word in words], world.environment)
    try:
        until("it runs", status, 15)
        os.close(terminal)
        for _ in range(5):
            assert status()
        everyone = processes_of(pid)
        os.kill(pid, signal.SIGTERM)
        until("it ends", lambda: os.waitpid(pid, os.WNOHANG) == (pid, 0), 10)
        all_end(everyone)
    finally:
        send(processes_of(pid), signal.SIGKILL)


@pytest.mark.parametrize("which", ["hub", "web"])
def test_second_sigterm_ends_it_as_well(pair, which):
    process = getattr(pair, which).process
    everyone = family(process)
    for _ in range(20):
        send([process.child.pid], signal.SIGTERM)
    assert process.ends() == 0
    all_end(everyone)


# ---- a service manager ----


@pytest.mark.parametrize("which", ["hub", "web"])
@pytest.mark.parametrize("whom", ["itself", "all of it"])
def test_sigterm_ends_it_with_0_and_leaves_nothing(pair, which, whom):
    """systemd sends SIGTERM to every process of a service at once, others to the first one only."""
    process = getattr(pair, which).process
    everyone = family(process)
    assert pair.works()
    send(everyone if whom == "all of it" else [process.child.pid], signal.SIGTERM)
    assert process.ends() == 0
    all_end(everyone)
    if which == "hub":
        pair.hub.start()
    else:
        pair.web.up()
    until("a dial goes through", pair.works, 20)


def test_killed_hub_starts_again_at_once(pair):
    """As often as its manager likes: the port, the lock and the sockets are free, and no agent is lost."""
    host, port = pair.hub.address.split(":")
    for _ in range(5):
        everyone = family(pair.hub.process)
        pair.hub.process.kill()
        with socket.socket() as probe:  # as the next hub does
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind((host, int(port)))
            probe.listen()
        pair.hub.start()
        all_end(everyone)
    until("a dial goes through", pair.works, 20)
    assert pair.hub.process.terminate() == 0


def test_killed_agent_starts_again_at_once(pair):
    for _ in range(5):
        pair.web.process.kill()
        pair.web.up()
    until("a dial goes through", pair.works, 20)


def test_killed_agent_leaves_no_ssh(world, hub):
    web = up_through(Agent(world, "web", hub), PLAIN)
    everyone = family(web.process)
    assert len(everyone) > 1
    web.process.kill()
    all_end(everyone)
    web.start("run", "--ssh-command", PLAIN, "--proxy", "off")
    web.wait_attached()


# ---- log files ----


class Logged:
    """A hub or an agent with a log file, and what makes it write a line."""

    def __init__(self, world, hub, program):
        self.world = world
        self.log = world.dir / "logs" / f"{program}.log"
        self.log.parent.mkdir()
        if program == "hub":
            self.hub = Hub(world, "logged").start(extra=["--log-file", self.log])
            self.process = self.hub.process
        else:
            self.agent = Agent(world, "web", hub)
            self.hub = hub
            self.agent.up(options=["--log-file", str(self.log)])
            self.process = self.agent.process
        self.program = program

    def speak(self):
        """Makes it log: the hub's helper of a failed login, the agent of the hub's restart."""
        before = self.text()
        if self.program == "hub":
            host, port = self.hub.address.split(":")
            with socket.create_connection((host, int(port)), timeout=20) as client:
                client.sendall(b"SSH-2.0-x\r\n")
                client.recv(8)
        else:
            assert self.hub.process.terminate() == 0
            self.hub.start()
            self.agent.wait_attached()
        until("a line is there", lambda: self.text() != before and self.text().endswith("\n"))

    def text(self):
        return self.log.read_text() if self.log.exists() else ""

    def held(self):
        """Files in the logs' folder that a process of it has open."""
        found = set()
        for pid in family(self.process):
            for entry in Path(f"/proc/{pid}/fd").iterdir():
                try:
                    found.add(os.readlink(entry))
                except OSError:
                    pass
        return {path for path in found if path.startswith(str(self.log.parent))}

    def rotate(self, *directives):
        """By the real logrotate, now."""
        config = self.world.dir / "logrotate.conf"
        pids = f"{self.process.child.pid}"
        script = f"postrotate\n kill -HUP {pids}\n endscript" if "copytruncate" not in directives else ""
        lines = "\n    ".join([*directives, script])
        config.write_text(f"{self.log} {{\n    rotate 5\n    size 1\n    {lines}\n}}\n")
        config.chmod(0o644)
        self.world.run([find("logrotate"), "--force", "--state", self.world.dir / "logrotate.state", config])


@pytest.mark.parametrize("program", ["hub", "agent"])
@pytest.mark.parametrize("way", ["copytruncate", "create 0600", "nocreate"])
def test_log_file_is_rotated_by_logrotate(world, hub, program, way):
    logged = Logged(world, hub, program)
    logged.speak()
    for turn in range(1, 4):
        first = logged.text()
        logged.rotate(way)
        rotated = Path(f"{logged.log}.1")
        if way != "copytruncate":
            until("it is opened again", lambda: "log file opened again" in logged.text())
            until("all of its processes have it", lambda: logged.held() == {str(logged.log)})
        logged.speak()
        kept = rotated.read_text()
        assert kept.startswith(first)
        assert not set(kept.splitlines()) & set(logged.text().splitlines()), turn
        assert b"\0" not in logged.log.read_bytes()
        assert logged.log.stat().st_mode & 0o777 == 0o600
    assert logged.process.running()
    assert logged.process.stderr() == ""


@pytest.mark.parametrize("program", ["hub", "agent"])
def test_log_file_is_appended_to_and_private(world, hub, program):
    logged = Logged(world, hub, program)
    logged.speak()
    assert stat.S_IMODE(logged.log.stat().st_mode) == 0o600
    for line in logged.text().splitlines():
        assert line[:20].count("-") == 2 and line[10] == "T", line  # a time
    first = logged.text()
    assert logged.process.terminate() == 0
    logged.log.chmod(0o640)
    if program == "hub":
        logged.hub.start(extra=["--log-file", logged.log])
        logged.process = logged.hub.process
    else:
        logged.agent.up(options=["--log-file", str(logged.log)])
    logged.speak()
    assert logged.text().startswith(first) and len(logged.text()) > len(first)
    assert stat.S_IMODE(logged.log.stat().st_mode) == 0o640  # whose owner wants it so


@pytest.mark.parametrize("program", ["hub", "agent"])
def test_log_file_that_cannot_be_opened_again_is_gone_on_in(world, hub, program):
    logged = Logged(world, hub, program)
    logged.speak()
    kept = logged.log.parent / "kept"
    logged.log.rename(kept)
    logged.log.mkdir()
    send([logged.process.child.pid], signal.SIGHUP)
    until("it is said", lambda: f"cannot open the log file {logged.log} again: Is a directory" in kept.read_text())
    logged.log.rmdir()
    send([logged.process.child.pid], signal.SIGHUP)
    until("it is opened", lambda: "log file opened again" in logged.text())


def test_detached_agent_has_a_log_file_that_is_rotated(world, hub):
    """Its log in the state folder, or the one that is named."""
    for words, log in (((), "web/log"), (("--log-file", "named.log"), "named.log")):
        agent = Agent(world, "web", hub)
        log = world.dir / log
        token = [] if agent.state.exists() else [agent.token_file(hub.invite("web"))]
        said = agent.run("up", *token, "--detach", "--proxy", "off", *words)
        pid = int(said.stdout.rpartition("pid ")[2].rstrip(")\n"))
        until("it is written", lambda log=log: log.exists() and log.read_text())
        log.rename(f"{log}.1")
        send([pid], signal.SIGHUP)
        until("it is opened again", lambda log=log: log.exists() and "log file opened again" in log.read_text())
        held = {os.readlink(entry) for entry in Path(f"/proc/{pid}/fd").iterdir()}
        assert str(log) in held and f"{log}.1" not in held
        assert stat.S_IMODE(log.stat().st_mode) == 0o600
        agent.run("down")


REFUSED = {"a folder": (".", "Is a directory"), "in no folder": ("none/log", "No such file")}


@pytest.mark.parametrize("what", REFUSED)
@pytest.mark.parametrize("program", ["hub", "agent", "detached"])
def test_log_file_that_cannot_be_opened_is_refused_before_anything_is_made(world, hub, program, what):
    name, said = REFUSED[what]
    state = world.dir / "fresh"
    if program == "hub":
        words = [HUB, "--state", state, "run", "--listen", "127.0.0.1:0", *AS_ROOT]
    else:
        token = world.dir / "token"
        token.write_text(hub.invite("web"))
        words = [AGENT, "--state", state, "up", f"@{token}", "--proxy", "off"]
        words += ["--detach"] if program == "detached" else []
    done = world.run([*words, "--log-file", name], check=False)
    assert done.returncode == 2
    assert said in done.stderr and name in done.stderr and len(done.stderr.splitlines()) == 1, done.stderr
    assert not state.exists()


@pytest.mark.parametrize("program", ["hub", "agent"])
def test_what_keeps_it_from_running_is_said_to_both(world, hub, program):
    """Who reads the log finds it there, and who started it sees it."""
    log = world.dir / "log"
    if program == "hub":
        other = Hub(world, "other").start()
        assert other.process.terminate() == 0
        (other.state / "registry").write_bytes(b"damaged")
        done = other.run("run", "--listen", "127.0.0.1:0", *AS_ROOT, "--log-file", log, check=False)
    else:
        agent = Agent(world, "web", hub).up()
        assert agent.process.terminate() == 0
        hub.run("revoke", "web", "--pond", "demo")
        done = agent.run("run", "--proxy", "off", "--log-file", log, check=False)
    assert done.returncode == 1
    assert done.stderr.count("\n") == 1
    said = done.stderr.partition(": ")[2].partition(" (see")[0].strip()
    said = said.removeprefix("run: ")
    assert said and said in log.read_text()


def test_log_file_in_the_new_state_folder_is_made_with_it(world):
    hub = Hub(world)
    hub.start(extra=["--log-file", hub.state / "log"])
    assert (hub.state / "log").exists()


def test_log_file_may_be_named_in_the_configuration(world, hub):
    log = world.dir / "from.file"
    config = world.dir / "agent.conf"
    config.write_text(f"[agent]\nlog-file = {log}\nproxy = off\n")
    agent = Agent(world, "web", hub)
    agent.start("up", agent.token_file(hub.invite("web")), "--config", config)
    agent.wait_attached()
    assert "attached" in log.read_text()
    other = Hub(world, "other")
    config.write_text(f"[hub]\nlog-file = {world.dir}/hub.log\n")
    other.start(extra=["--config", config])
    assert (world.dir / "hub.log").exists()


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root")
def test_log_file_is_the_accounts_own(world):
    """Opened as the account that the hub runs as, so that it can open it again."""
    logs = world.dir / "logs"
    logs.mkdir()
    world.dir.chmod(0o755)
    words = ["run", "--listen", "127.0.0.1:0", "--user", "nobody-here", "--log-file", logs / "hub.log"]
    accounts = [line.split(":") for line in Path("/etc/passwd").read_text().splitlines()]
    usable = [a[0] for a in accounts if a[2] != "0" and a[6] in ("/bin/sh", "/bin/bash")]
    if not usable:
        pytest.skip("no account with a login shell but root's")
    words[4] = usable[0]
    if subprocess.run(["su", usable[0], "-c", f"test -x {HUB}"], check=False, capture_output=True).returncode:
        pytest.skip("the programs are not where another account may run them")
    hub = Hub(world)
    done = hub.run(*words, check=False)
    assert done.returncode == 2 and "Permission denied" in done.stderr
    assert not hub.state.exists()
    os.chown(logs, int([a[2] for a in accounts if a[0] == usable[0]][0]), -1)
    process = world.start("h", [HUB, "--state", hub.state, *words])
    process.expect("^listening")
    assert (logs / "hub.log").stat().st_uid == (hub.state).stat().st_uid != 0
    assert process.terminate() == 0


# ---- the examples of the manuals ----


def example(program, beginning):
    """The literal block of its manual that begins so."""
    text = (ROOT / program / f"cbx-{program}.1").read_text()
    blocks = re.findall(r"^\.Bd -literal.*?\n(.*?)^\.Ed", text, re.MULTILINE | re.DOTALL)
    (block,) = [block for block in blocks if block.startswith(beginning)]
    return block


def unit_of(program):
    """Each key's value, and the text with our own programs."""
    text = example(program, "[Unit]").replace("/usr/local/bin", str(Path(HUB).parent))
    return dict(line.split("=", 1) for line in text.splitlines() if "=" in line), text


@pytest.mark.skipif(not shutil.which("systemd-analyze"), reason="needs systemd-analyze")
@pytest.mark.parametrize("program", ["hub", "agent"])
def test_systemd_takes_the_unit_of_the_manual(world, program):
    unit = world.dir / f"cbx-{program}.service"
    unit.write_text(unit_of(program)[1])
    done = world.run([find("systemd-analyze"), "verify", unit], check=False)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


def test_unit_of_the_hub_runs(world):
    """As systemd would run it: readiness, the state folder, reload, stop."""
    keys, _ = unit_of("hub")
    state = world.dir / keys["StateDirectory"]
    state.mkdir(0o755)
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as notify:
        notify.bind(str(world.dir / "notify"))
        notify.settimeout(20)
        given = {"STATE_DIRECTORY": str(state), "NOTIFY_SOCKET": str(world.dir / "notify")}
        command = keys["ExecStart"].replace("0.0.0.0:7000", "127.0.0.1:0").split()
        process = world.start("service", [*command, *AS_ROOT], environment=given)
        assert notify.recv(100) == b"READY=1"
        reload = keys["ExecReload"].replace("$MAINPID", str(process.child.pid)).split()
        world.run([find(reload[0]), *reload[1:]])
        process.expect("SIGHUP", stream="stderr")
        process.child.terminate()
        assert notify.recv(100) == b"STOPPING=1"
        assert process.ends() == 0
    assert (state / "key").exists()


def test_unit_of_the_agent_runs(world, hub):
    keys, _ = unit_of("agent")
    agent = Agent(world, "web", hub, state=world.dir / keys["StateDirectory"])
    agent.run("join", agent.token_file(hub.invite("web")))
    given = {"STATE_DIRECTORY": str(agent.state)}
    process = world.start("service", [*keys["ExecStart"].split(), "--proxy", "off"], environment=given)
    until("it is attached", agent.attached)
    assert process.terminate() == 0


def test_logrotate_takes_the_example_of_the_manual(world):
    """All but the account and the path, which are not here."""
    me = pwd.getpwuid(os.geteuid()).pw_name
    group = grp.getgrgid(os.getegid()).gr_name
    log = world.dir / "logs" / "hub.log"
    log.parent.mkdir()
    hub = Hub(world).start(extra=["--log-file", log])
    text = example("hub", "/var/log").replace("/var/log/cbx/hub.log", str(log))
    text = text.replace("0600 cbx cbx", f"0600 {me} {group}")
    assert text.count("pkill -HUP -x") == 1
    # Nobody else's hubs: the one that was started here, by its number.
    text = re.sub("pkill .*", f"kill -HUP {hub.process.child.pid}", text)
    config = world.dir / "logrotate.conf"
    config.write_text(text)
    config.chmod(0o644)
    rotate = [find("logrotate"), "--force", "--state", world.dir / "logrotate.state", config]
    hub.invite("web")
    for turn in range(1, 4):
        world.run(rotate)
        until("it is opened again", lambda: "log file opened again" in log.read_text())
        assert len(list(log.parent.iterdir())) == 1 + turn
    assert b"invite" in gzip.decompress(Path(f"{log}.3.gz").read_bytes())
