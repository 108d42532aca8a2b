# SPDX-License-Identifier: MIT
"""The paths that are compared. Each carries TCP from a client on the near side of a place to the load's
server on the far side, where the hub is too.

A path has real programs only, in a folder of its own, on ports of its own. It says how the load's client
enters it (client), which programs it runs (programs) and who can read the bytes (sealed). A new path is
one class here or in peers.py and its name in PATHS.
"""

import getpass
import json
import os
import re
import subprocess
from pathlib import Path as File

from proc import Broken, Group, find, until


class Path:
    name = title = sealed = ""
    optional = False  # only by --only
    emulated = True
    idle_max = 10000  # streams that may stand on it at once

    def __init__(self, folder, build, server_port, place):
        self.group = Group(folder)
        self.build = build
        self.place = place
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

    def run_on(self, side, name, argv):
        self.group.start(name, [*self.place.inside(side), *argv])

    def wait_far(self, port, host=None):
        self.place.wait_port(self.group, "far", host or self.place.host, port)

    def wait_near(self, port):
        self.place.wait_port(self.group, "near", "127.0.0.1", port)

    def client(self):
        """The words that bring the load's client, on the near side, into the path."""
        return ["--to", f"{self.place.host}:{self.server_port}"]

    def versions(self):
        return {}

    def stop(self):
        self.group.stop()


class Raw(Path):
    name, title = "raw", "raw TCP"
    sealed = "nothing, no process between"


class ThreeRelays(Path):
    """near → hub → far → server: what a chain through a hub costs when nothing is done but to copy."""

    sealed = "nothing"
    emulated = False

    def relay(self, listen, to):
        raise NotImplementedError

    def start(self):
        host, far, hub = self.place.host, self.place.free_port("far"), self.place.free_port("far")
        self.near = self.place.free_port("near")
        self.run_on("far", "relay far", self.relay(f"127.0.0.1:{far}", f"127.0.0.1:{self.server_port}"))
        self.wait_far(far, "127.0.0.1")
        self.run_on("far", "relay hub", self.relay(f"{host}:{hub}", f"127.0.0.1:{far}"))
        self.wait_far(hub)
        self.run_on("near", "relay near", self.relay(f"127.0.0.1:{self.near}", f"{host}:{hub}"))
        self.wait_near(self.near)

    def client(self):
        return ["--to", f"127.0.0.1:{self.near}"]


class Plain(ThreeRelays):
    name, title = "plain", "three plain relays: read, write, 256 KiB"

    @staticmethod
    def programs(build):
        return [build / "bench" / "plain"]

    def relay(self, listen, to):
        return [self.build / "bench" / "plain", listen, to]


class Socat(ThreeRelays):
    name, title = "socat", "three socat"

    @staticmethod
    def programs(build):
        return ["socat"]

    def relay(self, listen, to):
        host, port = listen.split(":")
        return ["socat", "-b", 262144, f"TCP-LISTEN:{port},bind={host},reuseaddr,fork,backlog=1024,nodelay", f"TCP:{to},nodelay"]

    def versions(self):
        return {"socat": re.search(r"socat version (\S+)", self.group.run(["socat", "-V"]).stdout).group(1)}


class SshChain(Path):
    """The serving side runs ssh -R, the dialing side ssh -L, both to one sshd."""

    name, title = "ssh", "OpenSSH chain, its default cipher"
    sealed = "each leg; the hub's sshd sees plaintext"
    cipher = None
    emulated = False  # one OpenSSH chain says enough there
    idle_max = 1000  # from 2,000 on OpenSSH opens some tens of channels a second

    @staticmethod
    def programs(build):
        return ["ssh", "sshd", "ssh-keygen"]

    def key(self, name):
        path = self.group.folder / name
        self.group.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", path])
        return path, File(f"{path}.pub").read_text()

    def start_sshd(self):
        folder, host, port = self.group.folder, self.place.host, self.place.free_port("far")
        host_key, host_public = self.key("host_key")
        self.identity, public = self.key("identity")
        (folder / "authorized_keys").write_text(public)
        (folder / "known_hosts").write_text(f"[{host}]:{port} {host_public}")
        (folder / "sshd_config").write_text(
            f"ListenAddress {host}:{port}\nHostKey {host_key}\nPidFile none\n"
            f"AuthorizedKeysFile {folder}/authorized_keys\nAllowUsers {getpass.getuser()}\n"
            "AuthenticationMethods publickey\nPermitRootLogin prohibit-password\n"
            "StrictModes no\nUsePAM no\nUseDNS no\nAllowTcpForwarding yes\nLogLevel ERROR\n"
        )
        if os.geteuid() == 0:
            os.makedirs("/run/sshd", 0o755, exist_ok=True)  # sshd as root insists on it
        self.run_on("far", "sshd", [find("sshd"), "-D", "-f", folder / "sshd_config", "-E", folder / "sshd.log"])
        self.wait_far(port)
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
        return [*argv, *words, self.place.host]

    def start(self):
        port, far, self.near = self.start_sshd(), self.place.free_port("far"), self.place.free_port("near")
        said = self.group.run([*self.place.inside("near"), *self.ssh(port, "-v"), "true"]).stderr
        cipher, mac = re.search(r"kex: client->server cipher: (\S+) MAC: (\S+)", said).groups()
        self.ciphers = cipher if mac == "<implicit>" else f"{cipher} with {mac}"
        self.run_on("far", "ssh -R", self.ssh(port, "-N", "-R", f"127.0.0.1:{far}:127.0.0.1:{self.server_port}"))
        self.wait_far(far, "127.0.0.1")
        self.run_on("near", "ssh -L", self.ssh(port, "-N", "-L", f"127.0.0.1:{self.near}:127.0.0.1:{far}"))
        self.wait_near(self.near)

    def client(self):
        return ["--to", f"127.0.0.1:{self.near}"]

    def versions(self):
        return {"OpenSSH": self.group.run(["ssh", "-V"]).stderr.strip().removeprefix("OpenSSH_")}


class SshChainGcm(SshChain):
    name, title = "ssh-gcm", "OpenSSH chain, aes128-gcm"
    cipher = "aes128-gcm@openssh.com"
    emulated = True


class Cbx(Path):
    """Lease web serves, lease cli dials, both through the hub; entered by SOCKS5."""

    name, title = "cbx-ssh", "cbx over ssh"
    sealed = "end to end, and each leg again by SSH; the hub sees ciphertext"
    plane = "ssh"
    idle_max = 8000  # an agent's proxy takes 8,192 connections
    legs = "SSH legs by libssh2, whose first choice is aes128-ctr with hmac-sha2-256"
    agent_words = ["--lanes", "off", "--direct", "off"]
    hub_words = ["--lanes", "off", "--direct", "off"]

    @staticmethod
    def programs(build):
        return [build / "cbx-hub", build / "cbx-agent", "sshd"]

    @classmethod
    def missing(cls, build):
        """Older programs take the options of a plane that they do not have: each is known by another word."""
        why = super().missing(build)
        if why or cls.plane == "ssh":
            return why
        built = "auto|off|require" in help_of(build / "cbx-agent", "up")
        built = built and (cls.plane != "direct" or "--direct" in help_of(build / "cbx-hub", "run"))
        return None if built else "not built"

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
        hub = [self.build / "cbx-hub", "--state", group.folder / "hub", "run", "--listen", f"{self.place.host}:0"]
        known = help_of(self.build / "cbx-hub", "run")
        for flag, value in zip(self.hub_words[::2], self.hub_words[1::2]):
            hub += [flag, value] if flag in known else []
        self.run_on("far", "cbx-hub", hub + (["--as-root"] if os.geteuid() == 0 else []))
        group.expect("cbx-hub", r"^listening \S+$")
        self.proxy = self.place.free_port("near")
        web, cli = self.invite("web", "--expose", port), self.invite("cli")
        self.run_on("far", "agent web", self.agent("web", "up", web, "--proxy", "off", *self.agent_words))
        self.run_on("near", "agent cli", self.agent("cli", "up", cli, "--proxy", f"127.0.0.1:{self.proxy}", *self.agent_words))
        self.wait_near(self.proxy)
        group.run(self.agent("cli", "wait", f"web.cbx:{port}", "--timeout", "30s"))
        self.await_plane()

    def peer(self):
        peers = json.loads(self.group.run(self.agent("cli", "peers", "--json")).stdout)["peers"]
        return next(peer for peer in peers if peer["slug"] == "web")

    def await_plane(self):
        """What is measured is what the name says, or nothing."""

        def look():
            self.group.check()
            return self.peer().get("plane", "ssh") == self.plane

        try:
            until(f"cbx-agent peers says that web is on plane {self.plane}", look, 20.0)
        except Broken as broken:
            raise Broken(f"{broken}; it says {self.peer()}") from None
        cipher = self.peer().get("cipher", "unknown")
        self.ciphers = f"{cipher}{self.computed_by() if 'aes' in cipher else ''} end to end; {self.legs}"

    def computed_by(self):
        answer = self.group.run(self.agent("cli", "netcheck", "--json")).stdout
        checks = {check["check"]: check for check in json.loads(answer)["checks"]}
        by = checks["ciphers"].get("aes_256_gcm_by")  # older programs do not say
        return f" by {by}" if by else ""

    def client(self):
        return ["--to", f"web.cbx:{self.server_port}", "--socks", f"127.0.0.1:{self.proxy}"]

    def versions(self):
        return {
            "cbx": self.group.run([self.build / "cbx-agent", "--version"]).stdout.split()[-1] + " with " + libraries(),
        }


class CbxRelay(Cbx):
    name, title = "cbx-relay", "cbx over lanes to the hub"
    sealed = "end to end; headers and control again on each leg; the hub sees ciphertext"
    plane = "relay"
    legs = "headers sealed hop by hop"
    agent_words = ["--lanes", "require", "--direct", "off"]
    hub_words = ["--lanes", "auto", "--direct", "off"]


class CbxDirect(Cbx):
    name, title = "cbx-direct", "cbx over a lane between the two leases"
    sealed = "end to end; no hub between"
    plane = "direct"
    legs = "headers sealed on the lane"
    agent_words = ["--lanes", "auto", "--direct", "auto"]
    hub_words = ["--lanes", "auto", "--direct", "auto"]


class CbxDial(Cbx):
    name, title, optional = "cbx-dial", "cbx over ssh, by cbx-agent dial", True

    def client(self):
        return ["--command", f"exec {self.build}/cbx-agent --state {self.group.folder}/cli dial web.cbx:{self.server_port}"]


def help_of(program, command):
    done = subprocess.run([program, command, "--help"], capture_output=True, text=True, check=False)
    return done.stdout + done.stderr


def libraries():
    """The versions of the libraries that do the work in cbx."""
    found = []
    for name in ("libssh2", "libcrypto", "libsodium", "libcurl"):
        with os.popen(f"pkg-config --modversion {name} 2>/dev/null") as answer:
            found.append(f"{name} {answer.read().strip() or 'of unknown version'}")
    return ", ".join(found)


PATH_CLASSES = (Raw, Plain, Socat, SshChain, SshChainGcm, Cbx, CbxRelay, CbxDirect, CbxDial)
