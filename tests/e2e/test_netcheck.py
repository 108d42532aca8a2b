# SPDX-License-Identifier: MIT
"""cbx-agent netcheck: each step of the way to the hub, with and without a running agent."""

import json
import re
import shutil
import socket
import threading

import pytest
from servers import Server
from world import AGENT, PLANE, Agent, Hub, free_port, until

pytestmark = pytest.mark.skipif(PLANE != "", reason="planes are chosen here")

NAMES = {"hub", "proxy", "ssh", "login", "delay", "mtu", "lane", "direct", "clock", "ciphers"}


class Checked:
    def __init__(self, done):
        self.status = done.returncode
        assert done.stdout, done.stderr
        self.document = json.loads(done.stdout)
        self.checks = {check["check"]: check for check in self.document["checks"]}
        assert NAMES <= set(self.checks)
        for check in self.checks.values():
            assert check["result"] in ("ok", "failed", "skipped") and check["text"]
            assert bool(check["remedy"]) == (check["result"] == "failed"), check
        assert self.document["passed"] == (self.status == 0)

    def __getitem__(self, name):
        return self.checks[name]

    def results(self):
        return {name: check["result"] for name, check in self.checks.items()}


def netcheck(agent, *words, **options):
    return Checked(agent.run("netcheck", "--json", *words, check=False, **options))


def on_relay(agent):
    until("a lane is there", lambda: agent.status()["mesh"]["plane"] == "relay")


def take_connect(conn):
    """The address that a CONNECT asks for."""
    request = b""
    while b"\r\n\r\n" not in request:
        part = conn.recv(1)
        if not part:
            raise ConnectionError("closed before CONNECT")
        request += part
    host, port = request.split()[1].decode().rsplit(":", 1)
    return host, int(port)


def refusing_proxy(conn):
    take_connect(conn)
    conn.sendall(b"HTTP/1.1 403 Forbidden\r\nContent-Length: 0\r\n\r\n")


def forwarding_proxy(conn, only_ssh=False):
    where = take_connect(conn)
    conn.sendall(b"HTTP/1.1 200 OK\r\n\r\n")
    first = conn.recv(65536)
    if only_ssh and not first.startswith(b"SSH-"):
        return
    with socket.create_connection(where) as far:
        far.sendall(first)

        def copy(source, to):
            try:
                while part := source.recv(65536):
                    to.sendall(part)
                to.shutdown(socket.SHUT_WR)
            except OSError:
                pass

        thread = threading.Thread(target=copy, args=(far, conn))
        thread.start()
        copy(conn, far)
        thread.join()


def test_all_is_well_with_a_running_agent(world, hub):
    cli = Agent(world, "cli", hub).up()
    on_relay(cli)
    before = hub.peers()["cli"]["generation"]
    checked = netcheck(cli)
    assert checked.status == 0 and checked.document["agent"] == "running"
    expected = {"hub", "ssh", "login", "delay", "mtu", "link", "lane", "clock", "ciphers"}
    assert {name for name, result in checked.results().items() if result == "ok"} >= expected
    assert checked["hub"]["address"] == hub.address
    assert checked["hub"]["addresses"][0]["peer"] == hub.address
    assert checked["ssh"]["host_key"] == hub.json("status")["host_key"]
    assert checked["delay"]["connect_us"] > 0 and checked["delay"]["round_trip_us"] > 0
    assert checked["mtu"]["mtu"] >= 1280
    assert abs(checked["clock"]["ahead_ms"]) <= checked["clock"]["within_ms"] + 50
    for cipher in ("aes_256_gcm_bytes_per_s", "chacha20_poly1305_bytes_per_s"):
        assert checked["ciphers"][cipher] > 1 << 20
    assert checked["ciphers"]["aes_256_gcm_by"] in ("libcrypto", "IPSec_MB")
    assert hub.peers()["cli"]["generation"] == before, "the running agent was superseded"
    text = cli.run("netcheck").stdout
    for name, result in checked.results().items():
        assert re.search(rf"^{name} +{result} +\S", text, re.MULTILINE), text


def test_all_is_well_without_a_running_agent(world, hub):
    cli = Agent(world, "cli", hub).up()
    before = hub.peers()["cli"]["generation"]
    cli.process.terminate()
    checked = netcheck(cli)
    assert checked.status == 0 and checked.document["agent"] == "not running"
    assert [checked[name]["result"] for name in ("hub", "ssh", "login", "lane")] == ["ok"] * 4
    assert checked["clock"]["result"] == checked["direct"]["result"] == "skipped"
    peer = hub.peers()["cli"]
    assert peer["state"] == "away" and peer["generation"] == before, "netcheck attached"


def test_a_token_is_tried_and_stays_good(world, hub):
    cli = Agent(world, "cli", hub)
    token = hub.invite("cli")
    checked = netcheck(cli, cli.token_file(token))
    assert checked.status == 0 and checked["login"]["result"] == "ok"
    assert not cli.state.exists()
    cli.up(token=token)
    cli.process.terminate()
    used = netcheck(cli, cli.token_file(token))
    assert used.status == 1 and used["login"]["result"] == "failed"
    assert "new invite" in used["login"]["remedy"]


@pytest.mark.parametrize("running", [True, False])
def test_the_hub_is_down(world, hub, running):
    cli = Agent(world, "cli", hub).up()
    hub.process.terminate()
    until("cli has lost it", lambda: not cli.attached())
    if not running:
        cli.process.terminate()
    checked = netcheck(cli)
    assert checked.status == 1
    assert checked["hub"]["result"] == "failed" and "refused" in checked["hub"]["text"]
    assert "operator" in checked["hub"]["remedy"]
    assert {checked[name]["result"] for name in ("ssh", "login", "delay", "mtu", "lane")} == {"skipped"}
    assert ("link" in checked.checks) == running
    done = cli.run("netcheck", check=False)
    assert done.returncode == 1 and re.search(r"^hub +failed .*\n +to do: ask", done.stdout, re.MULTILINE)


def test_another_host_key(world, hub):
    cli = Agent(world, "cli", hub).up()
    hub.process.terminate()
    Hub(world, "other").start(listen=hub.address)
    until("cli sees it", lambda: "host key" in cli.status()["trouble"])
    for stop in (False, True):
        if stop:
            cli.process.terminate()
        checked = netcheck(cli)
        assert checked.status == 1
        assert checked["hub"]["result"] == "ok"
        assert checked["ssh"]["result"] == "failed" and "pins SHA256:" in checked["ssh"]["text"]
        assert "operator" in checked["ssh"]["remedy"]
        assert checked["login"]["result"] == "skipped"


def test_a_port_that_is_no_hub(world, hub):
    cli = Agent(world, "cli", hub).up()
    cli.process.terminate()
    hub.process.terminate()
    with socket.socket() as silent:
        silent.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        silent.bind(("127.0.0.1", int(hub.address.rsplit(":", 1)[1])))
        silent.listen()
        checked = netcheck(cli, "--timeout", "500ms")
    assert checked.status == 1
    assert checked["hub"]["result"] == "ok" and checked["ssh"]["result"] == "failed"


def test_a_hub_with_lanes_off(world):
    hub = Hub(world).start(extra=["--lanes", "off"])
    cli = Agent(world, "cli", hub).up()
    until("the refusal was heard", lambda: "--lanes off" in cli.status()["mesh"]["plane_reason"])
    checked = netcheck(cli)
    assert checked.status == 0, "ssh is enough"
    assert checked["lane"]["result"] == "failed" and "--lanes off" in checked["lane"]["text"]


def test_lanes_off_here(world, hub):
    cli = Agent(world, "cli", hub).up(options=["--lanes", "off"])
    checked = netcheck(cli)
    assert checked.status == 0
    assert checked["lane"]["result"] == "skipped" and "off here" in checked["lane"]["text"]


def test_a_lane_that_something_between_stops(world, hub):
    cli = Agent(world, "cli", hub).up()
    cli.process.terminate()
    proxy = Server(world, lambda conn: forwarding_proxy(conn, only_ssh=True))
    checked = netcheck(cli, "--via", f"http://127.0.0.1:{proxy.port}")
    assert checked.status == 0, "ssh is enough"
    assert checked["lane"]["result"] == "failed" and "only SSH" in checked["lane"]["text"]


def test_a_proxy_that_refuses(world, hub):
    cli = Agent(world, "cli", hub).up()
    cli.process.terminate()
    proxy = Server(world, refusing_proxy)
    via = f"http://someone:hunter2@127.0.0.1:{proxy.port}"
    checked = netcheck(cli, "--via", via)
    assert checked.status == 1
    assert checked["hub"]["result"] == "failed" and "403" in checked["hub"]["text"]
    assert checked["proxy"]["result"] == "failed"
    assert (checked["proxy"]["url"], checked["proxy"]["from"]) == (f"http://127.0.0.1:{proxy.port}", "--via")
    done = cli.run("netcheck", check=False, environment={"https_proxy": via})
    assert done.returncode == 1 and "from https_proxy" in done.stdout
    assert "hunter2" not in done.stdout + done.stderr + json.dumps(checked.document)


def test_a_proxy_that_lets_through(world, hub):
    cli = Agent(world, "cli", hub).up()
    cli.process.terminate()
    proxy = Server(world, forwarding_proxy)
    via = {"ALL_PROXY": f"http://127.0.0.1:{proxy.port}"}
    checked = netcheck(cli, environment=via)
    assert checked.status == 0
    assert checked["proxy"]["result"] == "ok" and checked["proxy"]["used"]
    assert checked["proxy"]["from"] == "ALL_PROXY"
    assert checked["hub"]["addresses"][0]["peer"] == f"127.0.0.1:{proxy.port}"
    checked = netcheck(cli, environment=dict(via, no_proxy="127.0.0.1"))
    assert checked.status == 0 and not checked["proxy"]["used"]
    assert "no_proxy" in checked["proxy"]["text"]


def test_a_variable_that_names_the_agents_own_proxy_is_passed_over(world, hub):
    port = free_port()
    own = {"ALL_PROXY": f"socks5h://127.0.0.1:{port}"}
    cli = Agent(world, "cli", hub)
    words = ["up", cli.token_file(hub.invite("cli")), "--proxy", f"127.0.0.1:{port}"]
    cli.process = world.start("cli", [AGENT, "--state", cli.state, *words], environment=own)
    cli.wait_attached()
    said = [line for line in cli.process.stderr().splitlines() if "own proxy" in line]
    assert len(said) == 1 and "ALL_PROXY" in said[0], cli.process.stderr()
    assert "ALL_PROXY names this agent's own proxy" in netcheck(cli)["proxy"]["text"]
    cli.process.terminate()
    checked = netcheck(cli, environment={"ALL_PROXY": "socks5h://127.0.0.1:1080"})  # where it would listen
    assert checked.status == 0 and "own proxy" in checked["proxy"]["text"]


def test_nothing_to_check_is_said(world, hub):
    cli = Agent(world, "cli", hub)
    done = cli.run("netcheck", check=False)
    assert done.returncode == 1 and "@FILE" in done.stderr and not cli.state.exists()
    assert cli.run("netcheck", "nonsense", check=False).returncode == 2
    assert cli.run("netcheck", "--timeout", "soon", check=False).returncode == 2
    bad = Agent(world, "bad", hub)
    done = bad.run("netcheck", "@/nonexistent", check=False)
    assert done.returncode == 2 and "/nonexistent" in done.stderr


def test_a_state_that_cannot_be_opened(world, hub):
    cli = Agent(world, "cli", hub).up()
    cli.process.terminate()
    shutil.copy(cli.state / "key", world.dir / "key")
    (cli.state / "key").unlink()
    done = cli.run("netcheck", check=False)
    assert done.returncode == 1 and "key" in done.stderr
    assert not (cli.state / "key").exists(), "netcheck made a key"
    checked = netcheck(cli, "--key-file", str(world.dir / "key"))
    assert checked.status == 0


def test_an_unreachable_address_is_given_up_in_time(world, hub):
    cli = Agent(world, "cli", hub).up()
    cli.process.terminate()
    checked = netcheck(cli, "--via", f"http://127.0.0.1:{free_port()}", "--timeout", "2s")
    assert checked.status == 1 and "the proxy" in checked["hub"]["text"]
