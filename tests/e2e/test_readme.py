# SPDX-License-Identifier: MIT
"""Every command of README and of both manuals is run as it stands there, or said to be run elsewhere."""

import re

import pytest
from spaces import Spaces, needs_spaces
from world import AGENT, AS_ROOT, HUB, ROOT, find, until

README = (ROOT / "README.md").read_text()
MANUALS = {name: (ROOT / name).read_text() for name in ("agent/cbx-agent.1", "hub/cbx-hub.1")}
PROGRAMS = ("cbx-", "curl ", "git ", "ssh ", "socat ", "scp ", "rm ", "useradd ")

# What is not run here: where it is, or why not at all.
ELSEWHERE = {
    "git -c http.proxy=socks5h://127.0.0.1:1080 clone http://git.cbx/tools.git": "test_programs.py",
    "ssh -o ProxyCommand='cbx-agent dial %h:%p' build.cbx": "test_ssh.py",
    "ssh -o ProxyCommand='cbx-agent dial %h:%p' box.cbx": "test_ssh.py",
    "ssh -o ProxyCommand='cbx-agent dial %h:%p' web.cbx": "test_ssh.py",
    "socat TCP-LISTEN:5432,bind=127.0.0.1,fork 'EXEC:cbx-agent dial db.cbx\\:5432'": "loads.py, which test_loads.py uses",
    "cbx-agent up @cli.token --ssh-command 'ssh -J bastion'": "test_ssh_command.py",
    "cbx-agent dial NAME:PORT": "a pattern; test_commands.py",
    "cbx-hub run --user cbx --listen 0.0.0.0:7000": "test_commands.py, as another account",
    "useradd --system --create-home --shell /bin/sh cbx": "would change this machine's accounts",
}


def of_readme():
    """Lines of code blocks, and inline code that is a whole command."""
    lines = [line.strip() for line in re.findall(r"^    (\S.*)$", README, re.MULTILINE)]
    inline = re.findall(r"`((?:cbx|ssh|socat)[^`]* [^`]*)`", README)
    return [without_comment(line) for line in lines + inline if line.startswith(PROGRAMS)]


def of_manuals():
    found = []
    for text in MANUALS.values():
        for block in re.findall(r"^\.Bd -literal.*?\n(.*?)^\.Ed", text, re.MULTILINE | re.DOTALL):
            found += [line.strip() for line in block.splitlines() if line.startswith(PROGRAMS)]
        found += [line for line in re.findall(r"^\.Dl (.*)$", text, re.MULTILINE) if line.startswith(PROGRAMS)]
    return found


def without_comment(line):
    return re.sub(r"\s+#.*", "", line).strip()


@pytest.fixture
def machines(world):
    """The hub's machine and two boxes, each with a network, a home folder and a shell of its own."""
    spaces = Spaces()
    world.closers.append(spaces.close)
    for name, address in (("hub", "127.0.0.1"), ("web", "10.83.1.1"), ("cli", "10.83.2.1")):
        (world.dir / name).mkdir(0o700)
        (world.dir / f"{name}.hosts").write_text(f"127.0.0.1 localhost\n{address} hub.example.org\n")

    def words(name, line):
        """A shell that types the line there, where hub.example.org is the hub."""
        script = f"mount --bind {world.dir}/{name}.hosts /etc/hosts && cd && {line}"
        return [*spaces.exec(name), find("env"), f"HOME={world.dir}/{name}", find("bash"), "-c", script]

    yield words
    for name in ("web", "cli"):
        world.run(words(name, "cbx-agent down"))


@needs_spaces
def test_commands_of_readme_work_as_they_stand(world, machines):
    page = world.dir / "www"
    page.mkdir()
    (page / "index.html").write_text("hello from web\n")
    world.start("www", machines("web", f"exec python3 -m http.server 8080 --bind 127.0.0.1 --directory {page}"))
    ran, last = set(), []
    for line in of_readme():
        place = "web" if line in ("cbx-agent up @web.token --detach", "rm web.token") else "hub" if line.startswith(("cbx-hub", "scp")) else "cli"
        if line in ran or line in ELSEWHERE or is_flag(line):
            continue
        ran.add(line)
        if line.endswith("&"):
            hub = world.start("hub-run", machines(place, " ".join(["exec", line[:-1], *AS_ROOT])))
            hub.expect("^listening ")
        elif line.startswith("scp"):
            for name in ("web", "cli"):
                (world.dir / "hub" / f"{name}.token").rename(world.dir / name / f"{name}.token")
        elif line.startswith(("curl", "cbx-agent peers")) and not (world.dir / "cli" / ".local").exists():
            ran.discard(line)  # the first lines of the page show what the walk-through then makes
        elif line.startswith("cbx-hub revoke"):
            last.append((place, line))
        else:
            done = world.run(machines(place, line), check=False, seconds=40)
            assert done.returncode == 0, f"{line}: {done.stderr}"
            assert not line.startswith("curl") or done.stdout == "hello from web\n"
    for json in ("cbx-agent peers", "cbx-agent status", "cbx-agent netcheck", "cbx-hub peers", "cbx-hub status"):
        assert json in ran and world.run(machines("hub" if "hub" in json else "cli", f"{json} --json")).stdout.startswith("{")
    for place, line in last:
        assert "revoked" in world.run(machines(place, line)).stderr
    assert len(ran) >= 12 and any(line.startswith("curl") for line in ran)
    until("the revoked lease has ended", lambda: not (world.dir / "web/.local/state/cbx/agent/control.sock").exists())


def is_flag(line):
    """A mention of an option, as in the table of limits."""
    return bool(re.fullmatch(r"cbx-(hub|agent) [a-z]+ --[a-z-]+", line)) and not line.endswith(("--json", "--detach"))


def test_options_of_readme_exist(world):
    helps = {}
    for program in (HUB, AGENT):
        commands = re.findall(r"^  ([a-z]+)", world.run([program, "--help"]).stdout, re.MULTILINE)
        helps[program] = {word: world.run([program, word, "--help"]).stdout for word in commands if word != "help"}
    everything = "\n".join(text for texts in helps.values() for text in texts.values())
    for name in set(re.findall(r"`(?:[a-z-]+ )*(--[a-z-]+)", README)):
        assert re.search(rf"^  {name}\b", everything, re.MULTILINE), name
    for program, command, name in re.findall(r"`cbx-(hub|agent) ([a-z]+) (--[a-z-]+)", README):
        assert re.search(rf"^  {name}\b", helps[HUB if program == "hub" else AGENT][command], re.MULTILINE), name


def test_commands_of_manuals_are_those_of_readme_or_named():
    known = {line.removesuffix(" &") for line in of_readme()} | set(ELSEWHERE)
    assert len(of_manuals()) >= 8
    assert [line for line in of_manuals() if line not in known] == []


def test_nothing_is_named_that_is_in_no_document():
    assert set(ELSEWHERE) <= set(of_readme()) | set(of_manuals())
