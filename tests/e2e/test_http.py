# SPDX-License-Identifier: MIT
"""Plain http:// through the agent's proxy, as http_proxy= asks for it: real clients and servers, each form of body,
connections that are kept, pipelining, upgrades, refusals, ends that are no ends."""

import base64
import http.client
import shutil
import socket
import struct
import threading
import time
import urllib.request

import pytest
from servers import Nginx, Server, noise, read_all, read_exactly
from test_rules import SANITIZED, memory_of, readable
from world import Agent, find, until

PAGE = b"a page of nginx's\n"


def read_head(connection):
    head = b""
    while not head.endswith(b"\r\n\r\n"):
        head += read_exactly(connection, 1)
    return head.decode()


def body_of(connection, head):
    """Of a request, framed either way; what came is what is returned, chunks without their framing."""
    fields = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in head.split("\r\n")[1:-2])}
    if fields.get("transfer-encoding") != "chunked":
        return read_exactly(connection, int(fields.get("content-length", 0)))
    body = b""
    while True:
        length = int(read_line(connection), 16)
        body += read_exactly(connection, length)
        assert read_exactly(connection, 2) == b"\r\n"
        if length == 0:
            return body


def read_line(connection):
    line = b""
    while not line.endswith(b"\r\n"):
        line += read_exactly(connection, 1)
    return line[:-2]


def mirror(connection):
    """Answers each request with its head and body, chunked where the path says so; the connection is kept."""
    with connection:
        try:
            while True:
                head = read_head(connection)
                if "Expect: 100-continue" in head:
                    connection.sendall(b"HTTP/1.1 100 Continue\r\n\r\n")
                content = head.encode() + body_of(connection, head)
                if head.split()[1] == "/chunked":
                    pieces = [content[i : i + 1000] for i in range(0, len(content), 1000)]
                    framed = b"".join(b"%x\r\n%s\r\n" % (len(piece), piece) for piece in pieces)
                    connection.sendall(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n" + framed + b"0\r\nX-Sum: 1\r\n\r\n")
                elif head.split()[1] == "/end":
                    connection.sendall(b"HTTP/1.1 200 OK\r\nKeep-Alive: timeout=5\r\nConnection: close\r\n\r\n" + content)
                    return
                else:
                    connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(content) + content)
        except EOFError:
            pass


def cut(connection):
    """Ends in the middle of a body that it announced; at /reset with a RST."""
    head = read_head(connection)
    if head.split()[1] == "/nothing":
        connection.close()
        return
    connection.sendall(b"HTTP/1.1 200 OK\r\n%s\r\nhalf" % (b"Content-Length: 8\r\n" if head.split()[1] == "/short" else b""))
    time.sleep(0.3)
    if head.split()[1] == "/reset":
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    connection.close()


def chat(connection):
    """Agrees to any upgrade, then says all again until the end of input."""
    with connection:
        head = read_head(connection)
        assert "Connection: Upgrade\r\n" in head and "Upgrade: chat\r\n" in head, head
        connection.sendall(b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: chat\r\n\r\nhello ")
        while part := connection.recv(1 << 16):
            connection.sendall(part)


@pytest.fixture
def leases(world, hub):
    site = world.dir / "site"
    site.mkdir()
    (site / "page").write_bytes(PAGE)
    (site / "big").write_bytes(noise(8 << 20))
    servers = {"80": Nginx(world, site), "81": Server(world, mirror), "82": Server(world, cut), "83": Server(world, chat)}
    expose = [f"{port}=127.0.0.1:{server.port}" for port, server in servers.items()]
    web = Agent(world, "web", hub).up(expose=expose)
    cli = Agent(world, "cli", hub).up(proxy="127.0.0.1:0")
    cli.web, cli.servers, cli.site = web, servers, site
    return cli


def environment(agent):
    return {"http_proxy": f"http://{agent.proxy}", "no_proxy": ""}


def connect(agent):
    host, _, port = agent.proxy.rpartition(":")
    return socket.create_connection((host, int(port)), timeout=20)


def ask(agent, text):
    """All that the proxy says to these bytes until it ends the connection."""
    with connect(agent) as client:
        client.sendall(text)
        client.shutdown(socket.SHUT_WR)
        return read_all(client)


# ---- programs ----


def test_curl_wget_and_urllib_fetch_a_page(leases):
    run = leases.world.run
    url = "http://web.cbx/page"
    assert run(["curl", "-sSf", url], environment=environment(leases)).stdout.encode() == PAGE
    assert run(["wget", "-q", "-O", "-", url], environment=environment(leases)).stdout.encode() == PAGE
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({"http": f"http://{leases.proxy}"}))
    assert opener.open(url, timeout=20).read() == PAGE
    assert leases.status()["front"]["http_requests"] == 3


def test_large_bodies_come_and_go_byte_for_byte(leases):
    big = leases.site / "big"
    done = leases.world.run(["curl", "-sSf", "http://web.cbx/big"], environment=environment(leases), text=False)
    assert done.stdout == big.read_bytes()
    for extra in ([], ["-H", "Transfer-Encoding: chunked"], ["-H", "Expect:"]):
        done = leases.world.run(["curl", "-sSf", "-X", "PUT", "-T", big, *extra, "http://web.cbx:81/x"], environment=environment(leases), text=False)
        assert done.stdout.endswith(big.read_bytes()), extra


@pytest.mark.parametrize("path", ["plain", "chunked", "end"])
@pytest.mark.parametrize("words", [[], ["--http1.0"]], ids=["1.1", "1.0"])
def test_each_framing_reaches_each_client(leases, path, words):
    done = leases.world.run(["curl", "-sSf", *words, "-H", "X-Mark: 1", f"http://web.cbx:81/{path}"], environment=environment(leases))
    assert "X-Mark: 1" in done.stdout


def test_answer_to_head_has_a_length_and_no_body(leases):
    done = leases.world.run(["curl", "-sSf", "--head", *["http://web.cbx/page"] * 2], environment=environment(leases))
    assert done.stdout.count(f"Content-Length: {len(PAGE)}") == 2
    assert leases.status()["front"]["accepted"] == 1


def test_git_clones_over_http(leases):
    """Git's dumb protocol, files alone: what a static server can do."""
    run = leases.world.run
    git = [find("git"), "-c", "user.name=a", "-c", "user.email=a@b", "-c", "init.defaultBranch=main"]
    work, bare, copy = (leases.world.dir / name for name in ("work", "site/repo.git", "copy"))
    run([*git, "init", "-q", work])
    (work / "file").write_bytes(noise(100_000))
    run([*git, "-C", work, "add", "."])
    run([*git, "-C", work, "commit", "-q", "-m", "one"])
    run([*git, "clone", "-q", "--bare", work, bare])
    run([*git, "-C", bare, "update-server-info"])
    run([*git, "clone", "-q", "http://web.cbx/repo.git", copy], environment=environment(leases))
    assert (copy / "file").read_bytes() == noise(100_000)


@pytest.mark.timeout(180)
@pytest.mark.skipif(not shutil.which("go"), reason="no go here")
def test_go_fetches_pages_over_kept_connections(leases):
    folder = leases.world.dir
    (folder / "fetch.go").write_text(GO)
    cache = {"GOCACHE": str(folder / "cache"), "GO111MODULE": "off"}
    leases.world.run([shutil.which("go"), "build", "-o", folder / "fetch", folder / "fetch.go"], environment=cache, seconds=150)
    done = leases.world.run([folder / "fetch", "http://web.cbx/page", "20"], environment=environment(leases))
    assert done.stdout.encode() == PAGE * 20
    assert leases.status()["front"]["accepted"] == 1


GO = """package main

import ("io"; "net/http"; "os"; "strconv")

func main() {
	times, _ := strconv.Atoi(os.Args[2])
	for ; times > 0; times-- {
		answer, err := http.Get(os.Args[1])
		if err != nil { panic(err) }
		if _, err = io.Copy(os.Stdout, answer.Body); err != nil { panic(err) }
		answer.Body.Close()
	}
}
"""


# ---- connections ----


def test_client_keeps_its_connection_and_the_stream_over_hosts(leases):
    connection = http.client.HTTPConnection(*leases.proxy.split(":"), timeout=20)
    for url in ["http://web.cbx/page"] * 5 + ["http://web.cbx:81/x", "http://web.cbx/page"]:
        connection.request("GET", url)
        answer = connection.getresponse()
        assert answer.status == 200 and answer.getheader("Via") == "1.1 cbx"
        assert answer.read()
    front = leases.status()["front"]
    assert (front["accepted"], front["http_requests"], front["dialed"]) == (1, 7, 3)
    connection.close()
    until("nothing is left", lambda: leases.status()["front"]["connections"] == 0)


def test_pipelined_requests_are_answered_in_their_order(leases):
    request = b"".join(b"POST http://web.cbx:81/%d HTTP/1.1\r\nHost: x\r\nContent-Length: 1\r\n\r\n%d" % (i, i) for i in range(9))
    text = ask(leases, request + b"GET http://web.cbx:81/end HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
    places = [text.index(b"POST /%d HTTP/1.1\r\nHost: web.cbx:81\r\n" % i) for i in range(9)]
    assert places == sorted(places)
    assert text.count(b"HTTP/1.1 200 OK") == 10 and b"GET /end HTTP/1.1" in text


def test_connect_may_follow_on_the_same_connection(leases):
    with connect(leases) as client:
        client.sendall(b"GET http://web.cbx/page HTTP/1.1\r\nHost: web.cbx\r\n\r\n")
        read_head(client)
        assert read_exactly(client, len(PAGE)) == PAGE
        client.sendall(b"CONNECT web.cbx:80 HTTP/1.1\r\nHost: web.cbx\r\n\r\nGET /page HTTP/1.0\r\n\r\n")
        assert read_head(client).startswith("HTTP/1.1 200 Connection established")
        assert read_all(client).endswith(PAGE)


def test_fields_of_one_hop_stay_on_it(leases):
    text = ask(
        leases,
        b"GET http://user:secret@web.cbx:81/end?a=b#c HTTP/1.1\r\nHost: other.example\r\nConnection: X-Mine, close\r\nX-Mine: 1\r\n"
        b"Proxy-Connection: keep-alive\r\nProxy-Authorization: Basic abcd\r\nKeep-Alive: 5\r\nTE: trailers\r\nUpgrade: h2c\r\nX-Stays: yes\r\n\r\n",
    ).decode()
    head, _, mirrored = text.partition("\r\n\r\n")
    assert mirrored.startswith("GET /end?a=b HTTP/1.1\r\nHost: web.cbx:81\r\n")
    assert "X-Stays: yes\r\n" in mirrored and "Via: 1.1 cbx\r\n" in mirrored
    for word in ("X-Mine", "Proxy-", "Keep-Alive", "TE:", "h2c", "secret", "other.example"):
        assert word not in mirrored
    assert "Keep-Alive" not in head and "Connection: close" in head


def test_upgrade_becomes_a_tunnel(leases):
    with connect(leases) as client:
        client.sendall(b"GET http://web.cbx:83/ HTTP/1.1\r\nHost: web.cbx:83\r\nConnection: Upgrade\r\nUpgrade: chat\r\n\r\nearly ")
        head = read_head(client)
        assert head.startswith("HTTP/1.1 101 ") and "Upgrade: chat" in head
        assert read_exactly(client, 12) == b"hello early "
        client.sendall(b"more")
        client.shutdown(socket.SHUT_WR)
        assert read_all(client) == b"more"


# ---- refusals and ends ----


@pytest.mark.parametrize(
    "request_line, status, words",
    [
        ("GET http://example.org/", 502, "only names that end in .cbx"),
        ("GET http://nobody.cbx/", 502, "`cbx-agent peers` lists the names"),
        ("GET http://web.cbx:99/", 403, "invite that lease again with --expose"),
        ("GET /page", 400, "this is a proxy"),
        ("GET https://web.cbx/", 400, "CONNECT"),
        ("GET ftp://web.cbx/", 400, "http://"),
        ("OPTIONS *", 400, "this is a proxy"),
    ],
)
def test_refusal_says_why(leases, request_line, status, words):
    text = ask(leases, f"{request_line} HTTP/1.1\r\nHost: x\r\n\r\n".encode()).decode()
    assert text.startswith(f"HTTP/1.1 {status} ") and words in text
    assert "Proxy-Status: cbx; error=" in text and "Connection: close" in text


@pytest.mark.parametrize("path, code", [("short", 18), ("reset", 56), ("nothing", 22)])
def test_cut_response_is_an_error(leases, path, code):
    """18: partial file, 56: reset, 22: an HTTP error, which is ours."""
    done = leases.world.run(["curl", "-sSf", f"http://web.cbx:82/{path}"], environment=environment(leases), check=False)
    assert done.returncode in ({18, 56} if code == 18 else {code}), done.stderr
    if path == "nothing":
        assert "502" in done.stderr


def test_response_that_ends_with_its_connection_is_whole(leases):
    assert leases.world.run(["curl", "-sSf", "http://web.cbx:82/"], environment=environment(leases)).stdout == "half"


def test_client_that_leaves_ends_the_stream(leases):
    gone = threading.Event()

    def wait(connection):
        read_head(connection)
        assert connection.recv(1) == b""
        gone.set()
        connection.close()

    leases.servers["82"].handler = wait
    client = connect(leases)
    client.sendall(b"GET http://web.cbx:82/ HTTP/1.1\r\nHost: x\r\n\r\n")
    until("it is there", lambda: leases.status()["mesh"]["streams"] == 1)
    client.close()
    assert gone.wait(10)
    until("nothing is left", lambda: leases.status()["front"]["connections"] == 0)


def test_killed_agent_is_an_error_and_never_an_end(leases):
    def trickle(connection):
        with connection:
            read_head(connection)
            connection.sendall(b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n")
            for _ in range(600):
                connection.sendall(b"more\n")
                time.sleep(0.1)

    leases.servers["82"].handler = trickle
    curl = leases.world.start("curl", ["curl", "-sS", "-o", "/dev/null", "-x", f"http://{leases.proxy}", "http://web.cbx:82/"])
    until("it has begun", lambda: leases.status()["mesh"]["streams"] == 1)
    time.sleep(0.5)
    leases.process.kill()
    assert curl.ends(10) == 56, curl.stderr()


def test_password_is_asked_for_in_each_dialect(world, hub):
    server = Server(world, mirror)
    (world.dir / "password").write_text("se:cret\nnot this\n")
    Agent(world, "web", hub).up(expose=[f"81=127.0.0.1:{server.port}"])
    cli = Agent(world, "cli", hub).up(proxy="127.0.0.1:0", options=["--proxy-password-file", world.dir / "password"])
    socks, plain, tunnel = (["--proxy", f"socks5h://{cli.proxy}"], ["--proxy", f"http://{cli.proxy}"], ["--proxytunnel", "--proxy", f"http://{cli.proxy}"])
    for words in (socks, plain, tunnel):
        curl = ["curl", "-sSf", *words, "http://web.cbx:81/end"]
        assert world.run([*curl, "--proxy-user", "any:se:cret"]).stdout.startswith("GET /end")
        if readable(cli.process.child.pid) and not SANITIZED:  # before another request takes the same memory
            secrets = (b"se:cret", base64.b64encode(b"any:se:cret"))
            assert not [secret for part in memory_of(cli.process.child.pid) for secret in secrets if secret in part]
        for wrong in ([], ["--proxy-user", "any:secret"]):
            assert world.run([*curl, *wrong], check=False).returncode in (22, 56, 97)
    assert world.run(["curl", "-sS", "--socks4a", cli.proxy, "http://web.cbx:81/end"], check=False).returncode == 97
    assert server.accepted == 3
    logs = "".join(text for _, text in world.logs())
    assert "se:cret" not in logs and "se:cret" not in str(cli.status())


def test_password_file_that_cannot_serve_is_named(world, hub):
    agent = Agent(world, "cli", hub)
    token = agent.token_file(hub.invite("cli"))
    (world.dir / "empty").write_text("\n")
    (world.dir / "long").write_text("x" * 256)
    for name, words in (("empty", "the password, is empty"), ("long", "longer than 255 bytes"), ("none", "no such file")):
        done = agent.run("up", token, "--proxy-password-file", world.dir / name, check=False)
        assert done.returncode == 2 and words in done.stderr and name in done.stderr
    agent.start("up", token, "--proxy", "off")
    agent.wait_attached()  # the invite was not used up
