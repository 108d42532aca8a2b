# SPDX-License-Identifier: MIT
"""The paths that are compared. Each carries TCP from a client on this machine to the load's server.

A path has real programs only, in a folder of its own, on ports of 127.0.0.1. It says how the load's
client enters it (client), which programs it runs (programs) and who can read the bytes (sealed).
A new path is one class here and its name in PATHS.
"""

import getpass
import json
import os
import re
from pathlib import Path as File

from proc import Group, find, free_port


class Path:
    name = title = sealed = ""
    optional = False  # only by --only

    def __init__(self, folder, build, server_port):
        self.group = Group(folder)
        self.build = build
        self.server_port = server_port
        self.ciphers = "none"

    @classmethod
    def missing(cls, build):
        """Why this path cannot run here, or None."""
        return next((f"{word} is not installed" for word in cls.programs(build) if not find(str(word))), None)

    @staticmethod
    def programs(build):
        return []

    def start(self):
        """Returns once a dial through the whole path works."""

    def client(self):
        """The words that bring the load's client into the path."""
        return ["--to", f"127.0.0.1:{self.server_port}"]

    def versions(self):
        return {}

    def stop(self):
        self.group.stop()


class Raw(Path):
    name, title = "raw", "raw TCP"
    sealed = "nothing, no process between"


class SshChain(Path):
    """The serving side runs ssh -R, the dialing side ssh -L, both to one sshd."""

    name, title = "ssh", "OpenSSH chain, its default cipher"
    sealed = "each leg; the hub's sshd sees plaintext"
    cipher = None

    @staticmethod
    def programs(build):
        return ["ssh", "sshd", "ssh-keygen"]

    def key(self, name):
        path = self.group.folder / name
        self.group.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", path])
        return path, File(f"{path}.pub").read_text()

    def start_sshd(self):
        folder, port = self.group.folder, free_port()
        host_key, host_public = self.key("host_key")
        self.identity, public = self.key("identity")
        (folder / "authorized_keys").write_text(public)
        (folder / "known_hosts").write_text(f"[127.0.0.1]:{port} {host_public}")
        (folder / "sshd_config").write_text(
            f"ListenAddress 127.0.0.1:{port}\nHostKey {host_key}\nPidFile none\n"
            f"AuthorizedKeysFile {folder}/authorized_keys\nAllowUsers {getpass.getuser()}\n"
            "AuthenticationMethods publickey\nPermitRootLogin prohibit-password\n"
            "StrictModes no\nUsePAM no\nAllowTcpForwarding yes\nLogLevel ERROR\n"
        )
        if os.geteuid() == 0:
            os.makedirs("/run/sshd", 0o755, exist_ok=True)  # sshd as root insists on it
        self.group.start("sshd", [find("sshd"), "-D", "-f", folder / "sshd_config", "-E", folder / "sshd.log"])
        self.group.wait_port(port)
        return port

    def ssh(self, port, *words):
        settings = {
            "UserKnownHostsFile": self.group.folder / "known_hosts",
            "IdentityFile": self.identity,
            "IdentitiesOnly": "yes",
            "BatchMode": "yes",
            "StrictHostKeyChecking": "yes",
            "ExitOnForwardFailure": "yes",
        }
        argv = ["ssh", "-F", "none", "-p", port]
        for name, value in settings.items():
            argv += ["-o", f"{name}={value}"]
        if self.cipher:
            argv += ["-c", self.cipher]
        return [*argv, *words, "127.0.0.1"]

    def start(self):
        port, far, self.near = self.start_sshd(), free_port(), free_port()
        said = self.group.run([*self.ssh(port, "-v"), "true"]).stderr
        cipher, mac = re.search(r"kex: client->server cipher: (\S+) MAC: (\S+)", said).groups()
        self.ciphers = cipher if mac == "<implicit>" else f"{cipher} with {mac}"
        self.group.start("ssh -R", self.ssh(port, "-N", "-R", f"127.0.0.1:{far}:127.0.0.1:{self.server_port}"))
        self.group.wait_port(far)
        self.group.start("ssh -L", self.ssh(port, "-N", "-L", f"127.0.0.1:{self.near}:127.0.0.1:{far}"))
        self.group.wait_port(self.near)

    def client(self):
        return ["--to", f"127.0.0.1:{self.near}"]

    def versions(self):
        return {"OpenSSH": self.group.run(["ssh", "-V"]).stderr.strip().removeprefix("OpenSSH_")}


class SshChainGcm(SshChain):
    name, title = "ssh-gcm", "OpenSSH chain, aes128-gcm"
    cipher = "aes128-gcm@openssh.com"


class Cbx(Path):
    """Lease web serves, lease cli dials; both hold an SSH link to the hub."""

    name, title = "cbx-ssh", "cbx over ssh, by SOCKS5"
    sealed = "end to end, and each leg again by SSH; the hub sees ciphertext"

    @staticmethod
    def programs(build):
        return [build / "cbx-hub", build / "cbx-agent", "sshd"]

    def agent(self, name, *words):
        return [self.build / "cbx-agent", "--state", self.group.folder / name, *words]

    def invite(self, slug, *words):
        hub = [self.build / "cbx-hub", "--state", self.group.folder / "hub"]
        token = self.group.folder / f"{slug}.token"
        token.touch(0o600)
        token.write_text(self.group.run([*hub, "invite", "--pond", "bench", "--slug", slug, *words]).stdout)
        return f"@{token}"

    def start(self):
        group, port = self.group, self.server_port
        hub = [self.build / "cbx-hub", "--state", group.folder / "hub", "run", "--listen", "127.0.0.1:0"]
        group.start("cbx-hub", hub + (["--as-root"] if os.geteuid() == 0 else []))
        group.expect("cbx-hub", r"^listening \S+$")
        self.proxy = free_port()
        web, cli = self.invite("web", "--expose", port), self.invite("cli")
        planes = ["--lanes", "off", "--direct", "off"]
        group.start("agent web", self.agent("web", "up", web, "--proxy", "off", *planes))
        group.start("agent cli", self.agent("cli", "up", cli, "--proxy", f"127.0.0.1:{self.proxy}", *planes))
        group.wait_port(self.proxy)
        group.run(self.agent("cli", "wait", f"web.cbx:{port}", "--timeout", "30s"))
        peers = json.loads(group.run(self.agent("cli", "peers", "--json")).stdout)["peers"]
        sealed = next(peer.get("cipher", "unknown") for peer in peers if peer["slug"] == "web")
        self.ciphers = f"{sealed} end to end; SSH legs by libssh2, whose first choice is aes128-ctr with hmac-sha2-256"

    def client(self):
        return ["--to", f"web.cbx:{self.server_port}", "--socks", f"127.0.0.1:{self.proxy}"]

    def versions(self):
        return {
            "cbx": self.group.run([self.build / "cbx-agent", "--version"]).stdout.split()[-1] + " with " + libraries(),
        }


class CbxDial(Cbx):
    name, title, optional = "cbx-dial", "cbx over ssh, by cbx-agent dial", True

    def client(self):
        return ["--command", f"exec {self.build}/cbx-agent --state {self.group.folder}/cli dial web.cbx:{self.server_port}"]


def libraries():
    """The versions of the libraries that do the work in cbx."""
    found = []
    for name in ("libssh2", "libcrypto", "libsodium", "libcurl"):
        with os.popen(f"pkg-config --modversion {name} 2>/dev/null") as answer:
            found.append(f"{name} {answer.read().strip() or 'of unknown version'}")
    return ", ".join(found)


PATHS = {cls.name: cls for cls in (Raw, SshChain, SshChainGcm, Cbx, CbxDial)}
