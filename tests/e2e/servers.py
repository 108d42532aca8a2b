# SPDX-License-Identifier: MIT
"""What stands at both ends of a stream in the tests: servers in threads, nginx, sshd, and clients
that speak SOCKS5 and HTTP CONNECT byte for byte."""

import hashlib
import os
import socket
import struct
import subprocess
import threading
import time

from world import find, free_port, until


def read_all(connection):
    """Everything up to the end of input."""
    parts = []
    while True:
        part = connection.recv(1 << 16)
        if not part:
            return b"".join(parts)
        parts.append(part)


def read_exactly(connection, length):
    data = b""
    while len(data) < length:
        part = connection.recv(length - len(data))
        if not part:
            raise EOFError(f"ended after {len(data)} of {length} bytes: {data!r}")
        data += part
    return data


def read_exactly_from(child, length):
    """The same of a program's output."""
    data = b""
    while len(data) < length:
        part = child.stdout.read(length - len(data))
        assert part, child.stderr.read()
        data += part
    return data


def noise(length, seed=1):
    """Bytes that a shift, a swap or a repetition cannot leave the same."""
    block = hashlib.shake_128(str(seed).encode()).digest(1 << 16)
    parts = []
    for index in range(length // len(block) + 1):
        parts.append(struct.pack(">Q", index) + block[8:])
    return b"".join(parts)[:length]


class Server:
    """Listens on a loopback port; each connection runs handler(socket) in a thread."""

    def __init__(self, world, handler, port=0):
        self.handler = handler
        self.accepted = 0
        self.errors = []
        self.listener = socket.socket()
        self.listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        self.listener.bind(("127.0.0.1", port))
        self.listener.listen(256)
        self.port = self.listener.getsockname()[1]
        world.closers.append(self.close)
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self):
        while True:
            try:
                connection, _ = self.listener.accept()
            except OSError:
                return
            connection.settimeout(60)
            self.accepted += 1
            threading.Thread(target=self._serve, args=(connection,), daemon=True).start()

    def _serve(self, connection):
        try:
            with connection:
                self.handler(connection)
        except Exception as error:  # shown by the test that waits for this server
            self.errors.append(error)

    def close(self):
        # Wakes the thread in accept, which close alone would not.
        try:
            self.listener.shutdown(socket.SHUT_RDWR)
        except OSError:
            pass
        self.listener.close()


def echo(connection):
    while True:
        data = connection.recv(1 << 16)
        if not data:
            return
        connection.sendall(data)


def reset(connection):
    """Closes with RST instead of FIN."""
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    connection.close()


class FullBacklog:
    """A port that accepts nobody: connections to it time out."""

    def __init__(self, world):
        self.listener = socket.socket()
        self.listener.bind(("127.0.0.1", 0))
        self.listener.listen(0)
        self.port = self.listener.getsockname()[1]
        self.fillers = []
        for _ in range(4):
            filler = socket.socket()
            filler.setblocking(False)
            filler.connect_ex(("127.0.0.1", self.port))
            self.fillers.append(filler)
        time.sleep(0.1)
        world.closers.append(self.close)

    def close(self):
        for one in [*self.fillers, self.listener]:
            one.close()


# ---- clients ----


class Socks:
    """One SOCKS5 connection; reply is the code that the proxy gave."""

    def __init__(self, proxy, host, port, form="domain", early=b""):
        address, _, proxy_port = proxy.rpartition(":")
        self.socket = socket.create_connection((address, int(proxy_port)), timeout=60)
        self.socket.sendall(b"\x05\x01\x00")
        assert read_exactly(self.socket, 2) == b"\x05\x00"
        if form == "domain":
            where = b"\x03" + bytes([len(host)]) + host.encode()
        elif form == "ipv4":
            where = b"\x01" + socket.inet_pton(socket.AF_INET, host)
        else:
            where = b"\x04" + socket.inet_pton(socket.AF_INET6, host)
        self.socket.sendall(b"\x05\x01\x00" + where + struct.pack(">H", port) + early)
        version, self.reply, zero, kind = read_exactly(self.socket, 4)
        assert (version, zero) == (5, 0)
        if kind == 3:
            length = read_exactly(self.socket, 1)[0]
        else:
            length = {1: 4, 4: 16}[kind]
        read_exactly(self.socket, length + 2)


class Connect:
    """One HTTP CONNECT connection: status and fields (lower-case names) of the response."""

    def __init__(self, proxy, host, port, early=b""):
        address, _, proxy_port = proxy.rpartition(":")
        self.socket = socket.create_connection((address, int(proxy_port)), timeout=60)
        target = f"{host}:{port}"
        request = f"CONNECT {target} HTTP/1.1\r\nHost: {target}\r\n\r\n".encode()
        self.socket.sendall(request + early)
        head = b""
        while not head.endswith(b"\r\n\r\n"):
            head += read_exactly(self.socket, 1)
        lines = head.decode().split("\r\n")
        self.status = int(lines[0].split()[1])
        self.fields = {}
        for line in lines[1:-2]:
            name, _, value = line.partition(":")
            self.fields[name.strip().lower()] = value.strip()


# ---- Debian's servers ----


class Nginx:
    """nginx over a folder, as one process on a free loopback port."""

    def __init__(self, world, folder, name="nginx"):
        self.port = free_port()
        self.process = world.start(name, self.configure(world, folder, name, self.port))
        until("nginx listens", self.listens)

    @staticmethod
    def configure(world, folder, name="nginx", port=8080):
        """Writes the configuration and returns the command that runs it in the foreground."""
        home = world.dir / name
        home.mkdir()
        temp = "\n".join(
            f"    {kind}_temp_path {home}/{kind};"
            for kind in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
        )
        (home / "nginx.conf").write_text(
            f"""daemon off;
master_process off;
pid {home}/pid;
error_log stderr;
events {{ }}
http {{
    access_log off;
{temp}
    sendfile on;
    default_type text/plain;
    server {{
        listen 127.0.0.1:{port};
        root {folder};
    }}
}}
"""
        )
        return [find("nginx"), "-p", home, "-e", "stderr", "-c", home / "nginx.conf"]

    def listens(self):
        with socket.socket() as probe:
            return probe.connect_ex(("127.0.0.1", self.port)) == 0


class Sshd:
    """OpenSSH's server for the account that runs the tests, and a client's files for it."""

    def __init__(self, world):
        self.port = free_port()
        self.home = world.dir / "sshd"
        self.home.mkdir()
        if os.geteuid() == 0:
            os.makedirs("/run/sshd", mode=0o755, exist_ok=True)
        for key in ("host", "client"):
            world.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", self.home / key])
        (self.home / "authorized_keys").write_text((self.home / "client.pub").read_text())
        (self.home / "sshd.conf").write_text(
            f"""ListenAddress 127.0.0.1:{self.port}
HostKey {self.home}/host
AuthorizedKeysFile {self.home}/authorized_keys
PidFile none
UsePAM no
StrictModes no
PasswordAuthentication no
PermitRootLogin prohibit-password
Subsystem sftp internal-sftp
"""
        )
        self.process = world.start("sshd", [find("sshd"), "-D", "-e", "-f", self.home / "sshd.conf"])
        self.process.expect("Server listening", stream="stderr")

    def client_config(self, proxy_command):
        """Settings for ssh, scp and rsync: hosts *.cbx go through proxy_command."""
        host_key = (self.home / "host.pub").read_text()
        (self.home / "known_hosts").write_text(f"web.cbx {host_key}")
        path = self.home / "ssh.conf"
        path.write_text(
            f"""Host *.cbx
    ProxyCommand {proxy_command}
    IdentityFile {self.home}/client
    IdentitiesOnly yes
    UserKnownHostsFile {self.home}/known_hosts
    GlobalKnownHostsFile /dev/null
    StrictHostKeyChecking yes
    BatchMode yes
    LogLevel ERROR
"""
        )
        return path


def sha256_of(argv, world, seconds=300):
    """The checksum and length of what a program writes to standard output, and its own end."""
    child = subprocess.Popen(
        [str(word) for word in argv],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env=world.environment,
    )
    watchdog = threading.Timer(seconds, child.kill)
    watchdog.start()
    digest, length = hashlib.sha256(), 0
    buffer = bytearray(1 << 20)
    while count := child.stdout.readinto(buffer):
        digest.update(memoryview(buffer)[:count])
        length += count
    error = child.stderr.read().decode(errors="replace")
    status = child.wait()
    watchdog.cancel()
    assert status == 0, f"exit {status} after {length} bytes: {error}"
    return digest.hexdigest(), length
