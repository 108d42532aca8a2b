# SPDX-License-Identifier: MIT
"""--ssh-command: the real ssh, jump hosts and programs that misbehave, as the way to the hub."""

import json
import os
import re
import signal
import time
from pathlib import Path

import pytest
from servers import Server, Sshd, echo, noise
from world import AGENT, Agent, until

# Nobody's own ~/.ssh/config, which ssh finds by the account, not by HOME.
PLAIN = "ssh -F none"


def join(agent, command, *words, token=None, check=False, seconds=40):
    """Runs `join` through the command, and returns what it said."""
    token = token or agent.hub.invite(agent.name)
    argv = ["join", agent.token_file(token), "--ssh-command", command, *words]
    return agent.run(*argv, check=check, seconds=seconds)


def up(agent, command, expose=(), proxy="off"):
    token = [] if agent.state.exists() else [agent.token_file(agent.hub.invite(agent.name, expose=expose))]
    agent.start("up", *token, "--ssh-command", command, "--proxy", proxy)
    agent.wait_attached()
    return agent


def children(pid):
    """Processes below pid: number and command line."""
    found = {}
    for entry in Path("/proc").iterdir():
        if not entry.name.isdigit():
            continue
        try:
            parent = int((entry / "stat").read_text().rpartition(")")[2].split()[1])
            words = (entry / "cmdline").read_bytes().decode(errors="replace").split("\0")
        except (OSError, ValueError, IndexError):
            continue
        found.setdefault(parent, []).append((int(entry.name), words))
    below = []
    queue = [pid]
    while queue:
        for number, words in found.get(queue.pop(), []):
            below.append((number, words))
            queue.append(number)
    return below


def script(world, name, text):
    """A program of the test's own."""
    path = world.dir / name
    path.write_text(f"#!/bin/sh\n{text}\n")
    path.chmod(0o755)
    return path


@pytest.fixture
def cli(world, hub):
    return Agent(world, "cli", hub)


@pytest.fixture
def bastion(world):
    """A jump host: the account's own sshd, with a key that only the user's configuration names."""
    sshd = Sshd(world)
    host_key = (sshd.home / "host.pub").read_text()
    (sshd.home / "known_hosts").write_text(f"[127.0.0.1]:{sshd.port} {host_key}")
    sshd.jump_config = world.dir / "jump.conf"
    sshd.jump_config.write_text(
        f"""Host bastion
    HostName 127.0.0.1
    Port {sshd.port}
    IdentityFile {sshd.home}/client
    UserKnownHostsFile {sshd.home}/known_hosts
    IdentitiesOnly yes
    BatchMode yes
"""
    )
    return sshd


# ---- what works ----


def exchange(world, hub, command):
    """Two leases through the command: one dials the other, both ways."""
    server = Server(world, echo)
    ports = [f"8080=127.0.0.1:{server.port}"]
    web = up(Agent(world, "web", hub), command, ports)
    cli = up(Agent(world, "cli", hub), command, ports)
    data = noise(1 << 20)
    assert cli.dial("web.cbx:8080", data).stdout == data
    assert web.dial("cli.cbx:8080", data).stdout == data
    return web, cli


def test_leases_join_dial_and_are_dialed_through_ssh(world, hub):
    web, cli = exchange(world, hub, PLAIN)
    for agent in (web, cli):
        assert agent.status()["carrier"] == "ssh-command"
        assert [words[0] for _, words in children(agent.process.child.pid)] == ["ssh"]
    assert "ssh-command" in cli.run("status").stdout


def connections(pid):
    """TCP connections of a process itself."""
    links = [os.readlink(entry) for entry in Path(f"/proc/{pid}/fd").iterdir() if entry.is_symlink()]
    lines = Path("/proc/net/tcp").read_text().splitlines() + Path("/proc/net/tcp6").read_text().splitlines()
    established = [line.split()[9] for line in lines if line.split()[3] == "01"]
    return [inode for inode in established if f"socket:[{inode}]" in links]


def test_nothing_goes_around_the_program_unless_asked_for(hub, cli):
    up(cli, PLAIN)
    assert cli.process.terminate() == 0
    cli.start("run", "--ssh-command", PLAIN, "--proxy", "off", "--lanes", "auto")
    cli.wait_attached()
    until("a lane, since it was asked for", lambda: connections(cli.process.child.pid))
    assert cli.process.terminate() == 0
    up(cli, PLAIN)
    time.sleep(1)  # a lane would be there by now
    assert not connections(cli.process.child.pid)


def test_leases_dial_each_other_through_a_jump_host(world, hub, bastion):
    _, cli = exchange(world, hub, f"ssh -F {bastion.jump_config} -J bastion")
    assert bastion.process.stderr().count("Accepted publickey") >= 2
    jumps = [words for _, words in children(cli.process.child.pid) if "-W" in words]
    assert len(jumps) == 1


def test_the_users_own_agent_serves_the_jump_host_and_ours_the_hub(world, hub, bastion):
    """The key of the jump host is in an ssh-agent only, as that of a hardware key would be."""
    socket = world.dir / "users-agent"
    world.start("users-agent-process", ["ssh-agent", "-D", "-a", socket])
    until("the user's agent listens", socket.exists)
    world.environment["SSH_AUTH_SOCK"] = str(socket)
    world.run(["ssh-add", "-q", bastion.home / "client"])
    text = bastion.jump_config.read_text()
    bastion.jump_config.write_text(text.replace(f"{bastion.home}/client", f"{bastion.home}/client.pub"))
    (bastion.home / "client").unlink()
    exchange(world, hub, f"ssh -F {bastion.jump_config} -J bastion")


def test_join_alone_ends_with_the_program_it_ran(cli):
    done = join(cli, PLAIN, check=True)
    assert done.stdout == "joined as cli.demo.cbx\n"
    assert not (cli.state / "ssh-agent.sock").exists()
    cli.start("run", "--proxy", "off")
    cli.wait_attached()
    assert cli.status()["carrier"] == "ssh"


def test_a_command_with_places_gets_what_it_asks_for(world, cli):
    wrapper = script(world, "wrapper", f'echo "$@" >{world.dir}/words; shift 3; exec ssh -F none "$@"')
    up(cli, f"{wrapper} %u %h %p %o %h")
    host, port = cli.hub.address.rsplit(":", 1)
    words = (world.dir / "words").read_text().split()
    assert words[1:3] == [host, port]
    assert "-oStrictHostKeyChecking=yes" in words


def test_a_key_in_the_configuration_file_names_the_command(world, cli):
    config = world.dir / "agent.conf"
    config.write_text(f"ssh-command = {PLAIN}\n")
    token = cli.token_file(cli.hub.invite("cli"))
    cli.start("up", token, "--config", config, "--proxy", "off")
    cli.wait_attached()
    assert cli.status()["carrier"] == "ssh-command"


def test_a_state_folder_with_a_long_name_works(world, hub):
    state = world.dir / ("long" * 30) / "state folder"
    up(Agent(world, "cli", hub, state), PLAIN)


def test_words_before_the_link_are_skipped(world, cli):
    talks = script(world, "talks", f'echo Welcome to this host; exec {PLAIN} "$@"')
    up(cli, f"{talks} %o %h")


def test_nothing_of_the_agent_leaks_into_the_program(world, cli):
    lists = world.dir / "lists"
    lists.write_text(
        f"""#!/usr/bin/python3
import json, os, signal, sys
with open("{world.dir}/seen", "w") as out:
    inherited = [fd for fd in range(4096) if fd != out.fileno() and os.path.exists(f"/proc/self/fd/{{fd}}")]
    blocked = list(signal.pthread_sigmask(signal.SIG_BLOCK, []))
    json.dump([inherited, dict(os.environ), blocked, os.getsid(0) == os.getpid()], out)
os.execvp("ssh", ["ssh", "-F", "none", *sys.argv[1:]])
"""
    )
    lists.chmod(0o755)
    token = cli.hub.invite("cli")
    world.environment["CBX_TOKEN"] = token
    cli.start("up", "--ssh-command", f"{lists} %o %h", "--proxy", "127.0.0.1:0")
    cli.wait_attached()
    inherited, environment, blocked, leads = json.loads((world.dir / "seen").read_text())
    assert (inherited, blocked, leads) == ([0, 1, 2], [], True)
    assert "CBX_TOKEN" not in environment
    assert not any(token in value for value in environment.values())
    for _, words in children(cli.process.child.pid):
        assert not any(token in word for word in words)


# ---- its life ----


def ssh_of(agent):
    (found,) = [number for number, words in children(agent.process.child.pid) if words[0] == "ssh"]
    return found


def test_a_killed_ssh_is_replaced_and_the_lease_attaches_again(world, hub, cli):
    up(cli, PLAIN)
    for number in (signal.SIGKILL, signal.SIGTERM):
        generation = hub.peers()["cli"]["generation"]
        os.kill(ssh_of(cli), number)
        until(
            "attached again",
            lambda g=generation: cli.attached() and hub.peers()["cli"]["generation"] > g,
        )
    assert len(children(cli.process.child.pid)) == 1, "the old ones are reaped"


def test_a_restarted_hub_is_found_again(hub, cli):
    up(cli, PLAIN)
    hub.process.terminate()
    until("the loss is seen", lambda: not cli.attached())
    hub.start()
    cli.wait_attached()


def test_the_program_ends_with_the_agent(world, hub, bastion, cli):
    up(cli, f"ssh -F {bastion.jump_config} -J bastion")
    below = [number for number, _ in children(cli.process.child.pid)]
    assert len(below) == 2
    assert cli.process.terminate() == 0
    until("all are gone", lambda: not any(Path(f"/proc/{number}").exists() for number in below), 3)
    until("the hub knows", lambda: hub.peers()["cli"]["state"] == "away", 3)
    assert not (cli.state / "ssh-agent.sock").exists()


def test_the_program_ends_when_the_agent_is_killed(world, hub, bastion, cli):
    up(cli, f"ssh -F {bastion.jump_config} -J bastion")
    below = [number for number, _ in children(cli.process.child.pid)]
    cli.process.kill()
    until("ssh is gone", lambda: not any(Path(f"/proc/{number}").exists() for number in below))


def test_a_program_that_ignores_its_end_is_killed(world, cli):
    stays = script(
        world,
        "stays",
        f"trap '' TERM HUP\n{PLAIN} \"$@\"\nsleep 1000 & sleep 1000",
    )
    up(cli, f"{stays} %o %h")
    below = until(
        "the program of the join is killed",
        lambda: (found := children(cli.process.child.pid)) and len(found) == 2 and found,
    )
    below = [number for number, _ in below]
    assert cli.process.terminate(8) == 0
    until("nothing is left", lambda: not any(Path(f"/proc/{number}").exists() for number in below), 3)


# ---- what is refused, and what people are told ----


def refused(cli, command, pattern, *words, token=None):
    """The join fails with one error that matches, and leaves nothing running."""
    done = join(cli, command, *(words or ("--timeout", "3s")), token=token)
    assert done.returncode == 1, done.stderr
    lines = [line for line in done.stderr.splitlines() if re.search(pattern, line)]
    assert lines, f"{pattern!r} is not in {done.stderr!r}"
    until("nothing is left", lambda: not [1 for _, w in cli.world.leftovers() if "join" in w], 3)
    assert not (cli.state / "ssh-agent.sock").exists()
    return done.stderr


def test_a_command_that_does_not_exist_is_named(cli):
    refused(cli, "/nowhere/ssh -J x", "not attached after 3 s: ssh-command: cannot run /nowhere/ssh: No such")


def test_a_command_that_exits_shows_status_and_last_words(world, cli):
    fails = script(world, "fails", "echo first >&2; echo no smart card >&2; exit 7")
    refused(cli, str(fails), "ended with status 7 before the hub answered: first / no smart card")


def test_a_command_that_prints_junk_is_shown(world, cli):
    junk = script(world, "junk", "echo 'HTTP/1.1 400 Bad\tRequest'; while :; do echo xxxxxxxxxxxxxxxxxx; done")
    refused(cli, str(junk), r'printed something that is not a hub\'s link \("HTTP/1.1 400 Bad\?Request"\)')


def test_a_command_that_hangs_is_ended(world, cli):
    """Its own limit of 30 s is the unit test's; here the join's is shorter."""
    hangs = script(world, "hangs", "sleep 1000 & sleep 1000")
    refused(cli, str(hangs), "not attached after 2 s", "--timeout", "2s")


def test_a_command_that_floods_standard_error_fills_no_log(world, cli):
    floods = script(world, "floods", "i=0; while [ $i -lt 5000 ]; do echo line $i >&2; i=$((i+1)); done; exit 1")
    said = refused(cli, str(floods), "line 4997 / line 4998 / line 4999")
    assert said.count("ssh-command: line") <= 22


def test_control_characters_do_not_reach_the_terminal(world, cli):
    evil = script(world, "evil", r"printf '\033]0;owned\007 \377bad\n' >&2; exit 1")
    said = refused(cli, str(evil), r"\?\]0;owned\? \?bad")
    assert "\033" not in said


def interceptor(world, port):
    """ssh's settings that lead every connection to another port: a machine in between."""
    path = world.dir / "between.conf"
    relay = f"socat - TCP:127.0.0.1:{port}"
    path.write_text(f"Host *\n    ProxyCommand {relay}\n    StrictHostKeyChecking no\n")
    return path


@pytest.mark.parametrize(
    "loose", ["", "-o StrictHostKeyChecking=no", "-o KnownHostsCommand=none -o UserKnownHostsFile=/dev/null"]
)
def test_another_host_key_is_refused_whatever_the_user_configured(world, cli, bastion, loose):
    config = interceptor(world, bastion.port)
    said = refused(cli, f"ssh -F {config} {loose}", "presented the host key SHA256:.*token pins SHA256:")
    assert "Accepted" not in bastion.process.stderr()
    assert "not attached after" not in said, "a join ends at once"


def test_another_host_key_is_told_after_the_join_and_healed(world, hub, cli, bastion):
    join(cli, PLAIN, check=True)
    config = interceptor(world, bastion.port)
    cli.start("run", "--ssh-command", f"ssh -F {config}", "--proxy", "off")
    cli.process.expect("presented the host key", stream="stderr")
    assert not cli.attached()
    assert "presented the host key" in cli.status()["trouble"]
    cli.process.terminate()
    up(cli, PLAIN)


def test_a_link_without_a_check_of_the_host_key_is_refused(world, cli):
    """A wrapper that drops our options cannot make the agent talk to whatever answers."""
    magic = r"\000cbx link 1\r\n\000\377\000"
    speaks = script(world, "speaks", f"printf '{magic}'; sleep 1000")
    refused(cli, str(speaks), "without verifying the host key")


def test_a_used_token_is_refused_as_over_our_own_ssh(world, hub, cli):
    token = hub.invite("cli")
    join(cli, PLAIN, token=token, check=True)
    other = Agent(world, "other", hub)
    said = refused(other, PLAIN, "token rejected by the hub", token=token)
    assert "not attached after" not in said


def test_a_denial_by_the_jump_host_does_not_cost_the_token(world, hub, bastion, cli):
    """Only the hub's own sshd can say that the token is no good."""
    (bastion.home / "authorized_keys").write_text("")
    token = hub.invite("cli")
    command = f"ssh -F {bastion.jump_config} -J bastion"
    refused(cli, command, "not attached after 3 s: ssh-command .*Permission denied", token=token)
    join(cli, PLAIN, token=token, check=True)


def test_a_revoked_lease_ends(hub, cli):
    up(cli, PLAIN)
    hub.run("revoke", "cli", "--pond", "demo")
    assert cli.process.ends(20) == 1
    assert "revoked" in cli.process.stderr()


@pytest.mark.parametrize(
    "words, error",
    [
        (["--ssh-command", "ssh $HOST"], "--ssh-command: an unquoted '$'"),
        (["--ssh-command", "ssh 'a"], "--ssh-command: unterminated single quote"),
        (["--ssh-command", ""], "--ssh-command: no program is named"),
        (["--ssh-command", "ssh %x"], "--ssh-command: unknown placeholder '%x'"),
        (["--ssh-command", "ssh -J b", "--via", "http://p:1"], "via and ssh-command are mutually exclusive"),
    ],
)
def test_a_wrong_command_is_a_usage_error(cli, words, error):
    done = cli.run("run", *words, check=False)
    assert done.returncode == 2
    assert error in done.stderr


def test_known_host_says_nothing_to_strangers(world):
    """Run by hand it has no agent to ask: no line, so no ssh would believe a key by it."""
    key = "AAAAC3NzaC1lZDI1NTE5AAAAINBh0QzlzuMtr4WBThW9r5kzk6Ap+2mCqumCQN/b4/t4"
    for environment in ({}, {"CBX_SSH_AGENT": "/nowhere"}):
        words = [AGENT, "known-host", "HOSTNAME", "h", "ssh-ed25519", key]
        done = world.run(words, check=False, environment=environment)
        assert (done.returncode, done.stdout) == (1, "")
    assert "known-host" not in world.run([AGENT, "--help"]).stdout
