# SPDX-License-Identifier: MIT
"""A hub whose address changes for good: agents have learned the next one over the link, keep it in
their state folder, and go there when the token's addresses fail. The host key stays pinned."""

import json
import re
import socket

import pytest
from conftest import Pair
from raw_agent import RawAgent, Token, encode_token
from world import Agent, Hub, free_port, until


class Moving:
    """A hub at `old` that says it is also reached at `new`, and lease cli that has heard that."""

    def __init__(self, world):
        self.world = world
        self.hub = Hub(world).start()
        self.old, self.new = self.hub.address, f"127.0.0.1:{free_port()}"
        self.cli = Agent(world, "cli", self.hub).up()
        self.file = self.cli.state / "addresses"

    def announce(self, *addresses):
        """The operator restarts the hub with another list, where it is."""
        assert self.hub.process.terminate() == 0
        self.hub.start(extra=[word for one in addresses for word in ("--public", one)])
        until("cli is back", lambda: self.hub.peers()["cli"]["state"] == "ready" and self.cli.attached())
        return self

    def move(self):
        if self.hub.process.running():
            assert self.hub.process.terminate() == 0
        self.hub.start(listen=self.new, extra=["--public", self.new])

    def addresses(self):
        return [(one["address"], one["from"]) for one in self.cli.status()["addresses"]]

    def there(self):
        status = self.cli.status()
        return status.get("state") == "attached" and status["hub"] == self.new


@pytest.fixture
def moving(world):
    return Moving(world)


def test_agents_learn_the_hubs_list_at_their_next_attach(moving):
    assert moving.addresses() == [(moving.old, "token")]
    assert not moving.file.exists()
    moving.announce(moving.old, moving.new)
    until("it is learned", lambda: moving.addresses() == [(moving.old, "token"), (moving.new, "hub")])
    until("it is stored", moving.file.exists)
    assert moving.file.stat().st_mode & 0o777 == 0o600
    assert moving.new.encode() not in moving.file.read_bytes(), "not sealed"
    assert re.search(rf"reached at {moving.new}, too", moving.cli.process.stderr())
    text = moving.cli.run("status").stdout
    assert re.search(rf"^looks at +{moving.old}, from the token\n +{moving.new}, from the hub$", text, re.MULTILINE), text


def test_agent_follows_a_hub_that_moves(moving):
    moving.announce(moving.old, moving.new)
    moving.move()
    until("cli is at the new address", moving.there)
    assert moving.addresses() == [(moving.old, "token"), (moving.new, "hub")]


def test_agent_finds_a_hub_that_moved_while_it_was_away(moving):
    moving.announce(moving.old, moving.new)
    until("it is stored", moving.file.exists)
    assert moving.cli.process.terminate() == 0
    moving.move()
    moving.cli.up()
    assert moving.there()


def test_address_that_worked_last_is_tried_first(moving):
    moving.announce(moving.old, moving.new)
    moving.move()
    until("cli is at the new address", moving.there)
    assert moving.cli.process.terminate() == 0
    host, port = moving.old.split(":")
    with socket.create_server((host, int(port))) as somebody_else:
        somebody_else.setblocking(False)
        moving.cli.up()
        assert moving.there()
        with pytest.raises(BlockingIOError):
            somebody_else.accept()


def test_ssh_command_goes_where_the_hub_went(world):
    hub = Hub(world).start()
    old, new = hub.address, f"127.0.0.1:{free_port()}"
    assert hub.process.terminate() == 0
    hub.start(extra=["--public", old, "--public", new])
    cli = Agent(world, "cli", hub).up(options=["--ssh-command", "ssh"])
    assert hub.process.terminate() == 0
    hub.start(listen=new)
    until("cli is at the new address", lambda: cli.attached() and cli.status()["hub"] == new, 30)
    assert cli.process.terminate() == 0
    cli.up(options=["--ssh-command", "ssh"])
    assert cli.status()["hub"] == new


def test_hub_that_moves_twice_is_followed_over_both_moves(moving):
    """What worked last is tried even when the list does not name it any more."""
    third = f"127.0.0.1:{free_port()}"
    moving.announce(moving.old, moving.new)
    moving.move()
    until("cli is at the new address", moving.there)
    assert moving.hub.process.terminate() == 0
    moving.hub.start(listen=moving.new, extra=["--public", third])
    until("the list is the new one", lambda: (third, "hub") in moving.addresses())
    assert moving.cli.process.terminate() == 0
    moving.cli.up()
    assert moving.there()
    moving.new = third
    moving.move()
    until("cli is at the third address", moving.there)


def test_what_is_known_is_not_written_again(moving):
    moving.announce(moving.old, moving.new)
    until("it is stored", moving.file.exists)
    before = moving.file.stat()
    moving.announce(moving.new, moving.old)
    assert moving.cli.process.terminate() == 0
    moving.cli.up()
    assert moving.cli.process.terminate() == 0
    after = moving.file.stat()
    assert (after.st_ino, after.st_mtime_ns) == (before.st_ino, before.st_mtime_ns)


def test_state_without_the_file_is_whole(moving):
    """That of an agent that knew nothing of it."""
    moving.announce(moving.old, moving.new)
    until("it is stored", moving.file.exists)
    assert moving.cli.process.terminate() == 0
    moving.file.unlink()
    moving.cli.up()
    until("it is learned again", lambda: moving.addresses() == [(moving.old, "token"), (moving.new, "hub")])
    until("it is stored again", moving.file.exists)


@pytest.mark.parametrize("damage", ["a byte", "cut short", "empty", "no file of ours", "a folder"])
def test_damaged_file_is_passed_over_with_a_line(moving, damage):
    moving.announce(moving.old, moving.new)
    until("it is stored", moving.file.exists)
    assert moving.cli.process.terminate() == 0
    whole = moving.file.read_bytes()
    moving.file.unlink()
    if damage == "a folder":
        moving.file.mkdir()
    else:
        changed = {"a byte": whole[:-1] + bytes([whole[-1] ^ 1]), "cut short": whole[:40], "empty": b""}
        moving.file.write_bytes(changed.get(damage, b"10.0.0.1:7000\n"))
    moving.cli.up()
    assert moving.cli.process.stderr().count("continuing with the token's addresses") == 1
    until("it is learned again", lambda: len(moving.addresses()) == 2)
    if damage == "a folder":
        moving.cli.process.expect("cannot save the hub's addresses, retrying", stream="stderr")
        return
    assert moving.cli.process.terminate() == 0
    moving.move()
    moving.cli.up()
    assert moving.there(), "the file was not written anew"


@pytest.mark.parametrize("software", ["stranger", "stranger +addresses", "stranger +addresses ", "+addresses"])
def test_addresses_are_said_only_to_who_takes_them(world, software):
    """An agent of an earlier version would end its link at them."""
    hub = Hub(world).start(extra=["--public", "hub.example.org:7000", "--public", "[2001:db8::1]:7000"])
    token = Token(hub.invite("raw"))
    token.addresses = [hub.address]
    raw = RawAgent(world, encode_token(token.addresses, token.host_key, token.user, token.pond_public, token.secret)).join()
    raw.software = software
    raw.attach()
    said = [frame.fields for frame in raw.link.kept if frame.name == "ADDRESSES"]
    takes = software == "stranger +addresses"
    assert said == ([["hub.example.org:7000,[2001:db8::1]:7000"]] if takes else [])
    assert hub.peers()["raw"]["software"] == ("stranger" if takes else software)


def test_another_hub_at_a_learned_address_gets_no_login(moving):
    moving.announce(moving.old, moving.new)
    moving.hub.process.kill()
    other = Hub(moving.world, "other").start(listen=moving.new)
    moving.cli.process.expect(f"{moving.new} presented the host key", stream="stderr")
    assert not moving.cli.attached()
    assert other.json("status")["links"] == 0
    moving.hub.start(listen=moving.old)
    moving.cli.wait_attached(30)


def test_netcheck_tries_learned_addresses_and_says_whence(moving):
    moving.announce(moving.old, moving.new)
    until("it is stored", moving.file.exists)
    for running in (True, False):
        if not running:
            assert moving.cli.process.terminate() == 0
        done = moving.cli.run("netcheck", "--json")
        (check,) = [one for one in json.loads(done.stdout)["checks"] if one["check"] == "hub"]
        found = {one["address"]: (one["from"], one["connected"]) for one in check["addresses"]}
        assert found == {moving.old: ("token", True), moving.new: ("hub", False)}


def test_leave_takes_the_file_along(moving):
    moving.announce(moving.old, moving.new)
    until("it is stored", moving.file.exists)
    moving.cli.run("leave")
    assert not moving.cli.state.exists()


def test_join_keeps_what_the_hub_said(world):
    """Also where the process ends with the join."""
    new = f"127.0.0.1:{free_port()}"
    hub = Hub(world).start()
    token = hub.invite("cli")
    assert hub.process.terminate() == 0
    hub.start(extra=["--public", hub.address, "--public", new])
    cli = Agent(world, "cli", hub)
    cli.run("join", cli.token_file(token))
    assert hub.process.terminate() == 0
    hub.start(listen=new)
    cli.up()
    assert cli.status()["hub"] == new


def test_lanes_follow_the_hub(world):
    """Both planes to the hub go to the address that works."""
    pair = Pair(world).start(options=["--direct", "off"])
    old, new = pair.hub.address, f"127.0.0.1:{free_port()}"
    assert pair.hub.process.terminate() == 0
    pair.hub.start(extra=["--public", old, "--public", new])
    until("dials work", pair.works)
    assert pair.hub.process.terminate() == 0
    pair.hub.start(listen=new)
    until("dials work again", pair.works, 20)
    until("on a lane", lambda: pair.cli.status()["mesh"]["plane"] == "relay")
