# SPDX-License-Identifier: MIT
"""A world of a test's own: a folder, a hub, agents and servers, all real processes, all ours.

Every process is started by World.start, which records it; World.close ends exactly those and then
checks that nothing of the folder still runs. Ports are free ones of 127.0.0.1.
"""

import json
import os
import re
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
BUILD = Path(os.environ.get("CBX_BUILD", ROOT / "build")).absolute()
HUB = str(BUILD / "cbx-hub")
AGENT = str(BUILD / "cbx-agent")
AS_ROOT = ["--as-root"] if os.geteuid() == 0 else []
# What to do about a refused dial, as README says it.
REMEDIES = {
    "unknown name": "`cbx-agent peers` lists the names",
    "peer away": "its agent is not attached to the hub now",
    "port not exposed": "invite that lease again with --expose",
    "connection refused": "nothing listens there on the target",
    "timed out": "`cbx-agent netcheck` tests the way to the hub",
    "overloaded": "a limit is reached: try again later",
    "state cannot be saved": "the disk of this box or of that one is full: see their logs",
}
SBIN = "/usr/sbin:/sbin"
SANITIZER = re.compile(r"(Address|Leak|UndefinedBehavior)Sanitizer|runtime error:")


# The plane that streams must be on; by default agents choose.
PLANES = {
    "": (),
    "ssh": ("--lanes", "off", "--direct", "off"),
    "relay": ("--lanes", "require", "--direct", "off"),
    "direct": ("--direct", "auto"),
}
PLANE = os.environ.get("CBX_TEST_PLANE", "")


def find(program):
    path = shutil.which(program, path=f"{os.environ['PATH']}:{SBIN}")
    assert path, f"{program} is not installed (make deps)"
    return path


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def until(what, probe, seconds=10.0, step=0.05):
    """Calls probe until it returns something true, and returns that."""
    end = time.monotonic() + seconds
    while True:
        value = probe()
        if value:
            return value
        if time.monotonic() > end:
            raise AssertionError(f"not within {seconds:g} s: {what}")
        time.sleep(step)


def may_run(uid):
    """Whether another account may run the programs where they stand."""
    try:
        return subprocess.run([HUB, "--version"], user=uid, check=False, capture_output=True).returncode == 0
    except PermissionError:
        return False


class Process:
    """A started program. Its output goes to files, so that it never waits for a reader."""

    def __init__(self, world, name, argv, **options):
        self.name = name
        self.ours = any(str(word) in (HUB, AGENT) for word in argv[:5])
        self.out = world.dir / f"{name}.out"
        self.err = world.dir / f"{name}.err"
        with open(self.out, "ab") as out, open(self.err, "ab") as err:
            self.out_start, self.err_start = out.tell(), err.tell()
            self.child = subprocess.Popen(
                [str(word) for word in argv],
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=err,
                env=dict(world.environment, **options.pop("environment", {})),
                cwd=world.dir,
                **options,
            )

    def stdout(self):
        return self.out.read_bytes()[self.out_start :].decode(errors="replace")

    def stderr(self):
        return self.err.read_bytes()[self.err_start :].decode(errors="replace")

    def running(self):
        return self.child.poll() is None

    def expect(self, pattern, seconds=10.0, stream="stdout"):
        """Waits for a line that matches, and returns the match."""

        def look():
            match = re.search(pattern, getattr(self, stream)(), re.MULTILINE)
            if not match and not self.running():
                match = re.search(pattern, getattr(self, stream)(), re.MULTILINE)
                assert match, f"{self.name} ended ({self.child.returncode}): {self.stderr()}"
            return match

        return until(f"{self.name} says {pattern!r}", look, seconds)

    def ends(self, seconds=10.0):
        """Waits for its end and returns the exit status."""
        try:
            return self.child.wait(seconds)
        except subprocess.TimeoutExpired:
            raise AssertionError(f"{self.name} still runs after {seconds:g} s") from None

    def kill(self):
        self.child.kill()
        self.child.wait()

    def terminate(self, seconds=5.0):
        """SIGTERM; returns the exit status."""
        self.child.terminate()
        return self.ends(seconds)


class World:
    def __init__(self):
        # Short: a unix socket's address has 108 bytes.
        self.dir = Path(tempfile.mkdtemp(prefix="cbx-e2e-"))
        self.processes = []
        self.closers = []
        keep = ("PATH", "LANG", "TERM", "USER", "LOGNAME", "TMPDIR")
        self.environment = {k: v for k, v in os.environ.items() if k in keep}
        self.environment["PATH"] = f"{BUILD}:{self.environment['PATH']}:{SBIN}"
        # Nobody's own settings (~/.curlrc, ~/.ssh) come in.
        self.environment["HOME"] = str(self.dir)

    def start(self, name, argv, **options):
        process = Process(self, name, argv, **options)
        self.processes.append(process)
        return process

    def run(self, argv, check=True, seconds=30, text=True, **options):
        environment = dict(self.environment, **options.pop("environment", {}))
        if "input" not in options and "stdin" not in options:
            options["stdin"] = subprocess.DEVNULL
        done = subprocess.run(
            [str(word) for word in argv],
            stdout=options.pop("stdout", subprocess.PIPE),
            stderr=subprocess.PIPE,
            env=environment,
            cwd=self.dir,
            timeout=seconds,
            text=text,
            check=False,
            **options,
        )
        if check:
            assert done.returncode == 0, f"{argv}: exit {done.returncode}: {done.stderr}"
        return done

    def logs(self):
        """What every program said, for a failed test."""
        for path in sorted(self.dir.glob("*.out")) + sorted(self.dir.glob("*.err")):
            text = path.read_text(errors="replace")
            if text:
                yield path.name, text[-6000:]

    def leftovers(self):
        """Processes that hold our folder's name in their command line."""
        found = []
        for entry in Path("/proc").iterdir():
            if not entry.name.isdigit() or int(entry.name) == os.getpid():
                continue
            try:
                words = (entry / "cmdline").read_bytes()
            except OSError:
                continue
            if str(self.dir).encode() in words:
                found.append((int(entry.name), words.replace(b"\0", b" ").decode(errors="replace")))
        return found

    def close(self):
        for close in reversed(self.closers):
            close()
        alive = [process for process in reversed(self.processes) if process.running()]
        for process in alive:
            process.child.terminate()
        for process in alive:
            try:
                process.child.wait(6)
            except subprocess.TimeoutExpired:
                process.kill()
        left = []
        try:
            until("all processes ended", lambda: not self.leftovers(), 5)
        except AssertionError:
            left = self.leftovers()
            for pid, _ in left:
                try:
                    os.kill(pid, signal.SIGKILL)
                except ProcessLookupError:
                    pass
        unclean = [p.name for p in alive if p.ours and p.child.returncode != 0]
        reports = [name for name, text in self.logs() if SANITIZER.search(text)]
        if os.environ.get("CBX_KEEP"):
            print(f"kept: {self.dir}")
        else:
            shutil.rmtree(self.dir, ignore_errors=True)
        assert not left, f"left running: {left}"
        assert not unclean, f"did not end well on SIGTERM: {unclean}"
        assert not reports, f"a sanitizer objects: {reports}"


def refusal(target, reason):
    """The line by which `cbx-agent dial` refuses."""
    return f"cbx-agent: dial {target}: {reason}; {REMEDIES[reason]}\n"


class Hub:
    def __init__(self, world, name="h", pond="demo"):
        self.world, self.name, self.pond = world, name, pond
        self.state = world.dir / name
        self.process = None
        self.address = None
        self.space = ()  # words that begin a program in another network namespace

    def start(self, listen=None, extra=()):
        """Starts on a free port, or again on the one it had."""
        argv = [*self.space, HUB, "--state", self.state, "run"]
        argv += ["--listen", listen or self.address or "127.0.0.1:0"]
        self.process = self.world.start(self.name, [*argv, *AS_ROOT, *extra])
        self.address = self.process.expect(r"^listening ([\d.]+:\d+)$").group(1)
        return self

    def run(self, *words, **options):
        return self.world.run([HUB, "--state", self.state, *words], **options)

    def json(self, *words):
        return json.loads(self.run(*words, "--json").stdout)

    def invite(self, slug, *words, expose=()):
        argv = ["invite", "--pond", self.pond, "--slug", slug, "--replace", *words]
        for spec in expose:
            argv += ["--expose", spec]
        return self.run(*argv).stdout.strip()

    def login_keys(self):
        """The public keys that sshd lets in."""
        text = (self.state / "ssh" / "authorized_keys").read_text()
        return set(re.findall(r"ssh-ed25519 (\S+)", text))

    def peers(self):
        """Each peer's object by its slug."""
        return {peer["slug"]: peer for peer in self.json("peers")["peers"]}


class Agent:
    def __init__(self, world, name, hub=None, state=None):
        self.world, self.name, self.hub = world, name, hub
        self.state = state or world.dir / name
        self.process = None
        self.proxy = None
        self.space = ()

    def token_file(self, token):
        path = self.world.dir / f"{self.name}.token"
        path.touch(0o600)
        path.write_text(token + "\n")
        return f"@{path}"

    def start(self, *words):
        """Starts the program itself; words are the command with its options."""
        self.process = self.world.start(self.name, [*self.space, AGENT, "--state", self.state, *words])
        return self.process

    def up(self, token=None, proxy="off", expose=(), slug=None, attached=True, options=()):
        """Joins by the token, or by a fresh invite, or not at all if it has joined; then runs."""
        words = ["up"]
        if token is None and not self.state.exists():
            token = self.hub.invite(slug or self.name, expose=expose)
        if token is not None:
            words.append(self.token_file(token))
        defaults = ("--proxy", proxy, *PLANES[PLANE])
        for name, value in zip(defaults[::2], defaults[1::2], strict=True):
            if name not in options:  # each is given once
                words += [name, value]
        self.start(*words, *options)
        if attached:
            self.wait_attached()
            if proxy != "off":
                self.proxy = self.status()["proxy"]
        return self

    def run(self, *words, **options):
        return self.world.run([AGENT, "--state", self.state, *words], **options)

    def status(self):
        done = self.run("status", "--json", check=False)
        return json.loads(done.stdout) if done.returncode == 0 else {}

    def attached(self):
        return self.status().get("state") == "attached"

    def wait_attached(self, seconds=15.0):
        def look():
            assert self.process.running(), f"{self.name} ended: {self.process.stderr()}"
            return self.attached()

        until(f"{self.name} is attached", look, seconds)

    def wait(self, target, timeout="30s"):
        return self.run("wait", target, "--timeout", timeout, seconds=60)

    def dial(self, target, data=b"", check=True, seconds=60):
        """Runs `dial` with data on its standard input; output is bytes."""
        done = self.run("dial", target, input=data, text=False, check=check, seconds=seconds)
        return done

    def dial_open(self, target):
        """A running `dial`, with pipes, for conversations."""
        child = subprocess.Popen(
            [AGENT, "--state", str(self.state), "dial", target],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env=self.world.environment,
            bufsize=0,
        )
        self.world.closers.append(lambda: (child.kill(), child.wait()))
        return child

    def peer(self, slug):
        """Its object in `peers`."""
        peers = json.loads(self.run("peers", "--json").stdout)["peers"]
        return {peer["slug"]: peer for peer in peers}.get(slug, {})

    def wait_plane(self, slug, plane, seconds=15.0):
        """Until new streams to that peer take that plane."""

        def look():
            found = self.peer(slug)
            look.last = found.get("plane_reason")
            return found.get("plane") == plane

        look.last = ""
        try:
            until(f"{self.name} is on {plane} with {slug}", look, seconds)
        except AssertionError as error:
            raise AssertionError(f"{error}: {look.last}") from None
