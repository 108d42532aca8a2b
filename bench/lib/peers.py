# SPDX-License-Identifier: MIT
"""Other programs for the same purpose, where they are on PATH or below build/peers/bin (make bench-peers).

Each is set up as the chain needs it: target's side → hub → dialer's side, with what its manual gives as the
usual secure setting. Where the dialer goes straight to the hub's port there is one process less in the
path, and that leg is in the clear: title and sealed say so.
"""

import re

from paths import Path
from proc import Broken, find

SECRET = "bench-only-not-secret"


class Peer(Path):
    tool = ()  # programs
    made_as = ""  # its name in bench/get-peers, where it is not the program's
    emulated = False
    one_less = False  # the dialer connects to the hub itself

    @classmethod
    def programs(cls, build):
        """Those of make bench-peers first."""
        own = build / "peers" / "bin"
        return [own / name if (own / name).exists() else name for name in cls.tool]

    @classmethod
    def missing(cls, build):
        """What is not there, and why make bench-peers could not build it where that tried."""
        word = next((str(word) for word in cls.programs(build) if not find(str(word))), None)
        if not word:
            return None
        failed = build / "peers" / "failed" / (cls.made_as or word)
        why = failed.read_text().strip() if failed.exists() else ""
        return f"{word} is not installed" + (f": make bench-peers: {why}" if why else "")

    def program(self, name):
        return next(word for word in self.programs(self.build) if str(word).rsplit("/", 1)[-1] == name)

    def write(self, name, text):
        path = self.group.folder / name
        path.write_text(text)
        return path

    def certificate(self):
        """A key and a certificate that signs itself, for 127.0.0.1 and localhost."""
        key, cert = self.group.folder / "key.pem", self.group.folder / "cert.pem"
        words = ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"]
        words += ["-days", 7, "-subj", "/CN=localhost", "-addext", "subjectAltName=DNS:localhost,IP:127.0.0.1"]
        self.group.run([*words, "-keyout", key, "-out", cert])
        return key, cert

    def start(self):
        self.hub, self.far, self.near = (self.place.free_port(side) for side in ("far", "far", "near"))
        self.start_all()
        if self.one_less:
            self.wait_far(self.far)
        else:
            self.wait_near(self.near)
        # A listener may be there before the way behind it is.
        words = [self.build / "bench" / "load", "dial", "--count", 1, "--ms", 1, *self.client()]
        for attempt in range(20):
            try:
                self.group.run(words, 30)
                return
            except Broken:
                self.group.check()
                if attempt == 19:
                    raise

    def start_all(self):
        raise NotImplementedError

    def client(self):
        return ["--to", f"127.0.0.1:{self.far if self.one_less else self.near}"]

    def versions(self):
        done = self.group.run([self.program(self.tool[0]), "--version"])
        said = done.stdout + done.stderr
        found = re.search(r"Version: +(\S+)", said) or re.search(r"v?(\d+\.\d+(\.\d+)?\S*)", said)
        return {self.tool[0]: found.group(1) if found else "of unknown version"}


class RatholeNoise(Peer):
    name, title = "rathole-noise", "rathole, noise; one process less in the path"
    sealed = "the leg of the target; the hub and the dialer's leg see plaintext"
    tool, one_less = ("rathole",), True

    def transport(self):
        keys = self.group.run([self.program("rathole"), "--genkey"]).stdout.split("\n")
        private, public = (line for line in keys if re.fullmatch(r"[A-Za-z0-9+/]{43}=", line))
        self.ciphers = "Noise_NK_25519_ChaChaPoly_BLAKE2s, its default"
        noise = 'type = "noise"\n[{}.transport.noise]\n{} = "{}"\n'
        return noise.format("server", "local_private_key", private), noise.format("client", "remote_public_key", public)

    def start_all(self):
        server, client = self.transport()
        server = self.write(
            "server.toml",
            f'[server]\nbind_addr = "127.0.0.1:{self.hub}"\ndefault_token = "{SECRET}"\n[server.transport]\n{server}'
            f'[server.services.bench]\nbind_addr = "127.0.0.1:{self.far}"\n',
        )
        client = self.write(
            "client.toml",
            f'[client]\nremote_addr = "127.0.0.1:{self.hub}"\ndefault_token = "{SECRET}"\n[client.transport]\n{client}'
            f'[client.services.bench]\nlocal_addr = "127.0.0.1:{self.server_port}"\n',
        )
        self.run_on("far", "rathole server", [self.program("rathole"), "--server", server])
        self.wait_far(self.hub)
        self.run_on("far", "rathole client", [self.program("rathole"), "--client", client])


class RatholeTls(RatholeNoise):
    name, title = "rathole-tls", "rathole, TLS; one process less in the path"

    def transport(self):
        key, cert = self.certificate()
        identity = self.group.folder / "identity.pfx"
        words = ["openssl", "pkcs12", "-export", "-inkey", key, "-in", cert, "-passout", f"pass:{SECRET}"]
        self.group.run([*words, "-out", identity])
        self.ciphers = "TLS, as the system's library chooses"
        return (
            f'type = "tls"\n[server.transport.tls]\npkcs12 = "{identity}"\npkcs12_password = "{SECRET}"\n',
            f'type = "tls"\n[client.transport.tls]\ntrusted_root = "{cert}"\nhostname = "localhost"\n',
        )


class Bore(Peer):
    name, title = "bore", "bore; one process less in the path"
    sealed = "nothing"
    tool, one_less = ("bore",), True

    def start_all(self):
        bore = self.program("bore")
        self.run_on("far", "bore server", [bore, "server", "--bind-addr", "127.0.0.1", "--secret", SECRET])
        self.wait_far(7835)  # it knows no other
        words = ["local", self.server_port, "--local-host", "127.0.0.1", "--to", "127.0.0.1"]
        self.run_on("far", "bore local", [bore, *words, "--port", self.far, "--secret", SECRET])


class Frp(Peer):
    name, title = "frp", "frp, stcp, TLS on (its default)"
    sealed = "each leg; the hub sees plaintext"
    tool = ("frps", "frpc")
    made_as = "frp"

    def start_all(self):
        server = self.write(
            "frps.toml", f'bindAddr = "127.0.0.1"\nbindPort = {self.hub}\nauth.token = "{SECRET}"\n'
        )
        to_hub = (
            f'serverAddr = "127.0.0.1"\nserverPort = {self.hub}\nauth.token = "{SECRET}"\n'
            "transport.tls.enable = true\n"
        )
        target = self.write(
            "target.toml",
            f'{to_hub}[[proxies]]\nname = "bench"\ntype = "stcp"\nsecretKey = "{SECRET}"\n'
            f'localIP = "127.0.0.1"\nlocalPort = {self.server_port}\n',
        )
        dialer = self.write(
            "dialer.toml",
            f'{to_hub}[[visitors]]\nname = "bench-visitor"\ntype = "stcp"\nserverName = "bench"\n'
            f'secretKey = "{SECRET}"\nbindAddr = "127.0.0.1"\nbindPort = {self.near}\n',
        )
        self.ciphers = "TLS, as Go chooses"
        self.run_on("far", "frps", [self.program("frps"), "-c", server])
        self.wait_far(self.hub)
        self.run_on("far", "frpc target", [self.program("frpc"), "-c", target])
        self.run_on("near", "frpc dialer", [self.program("frpc"), "-c", dialer])


class Chisel(Peer):
    name, title = "chisel", "chisel"
    sealed = "each leg; the hub sees plaintext"
    tool = ("chisel",)

    def start_all(self):
        chisel, url = self.program("chisel"), f"http://127.0.0.1:{self.hub}"
        login = ["--auth", f"bench:{SECRET}"]
        self.ciphers = "SSH by Go over WebSocket, as both choose"
        server = ["server", "--host", "127.0.0.1", "--port", self.hub, "--reverse", *login]
        self.run_on("far", "chisel server", [chisel, *server])
        self.wait_far(self.hub)
        said = self.group.output("chisel server") + self.group.output("chisel server", "err")
        client = [chisel, "client", *login, "--fingerprint", re.search(r"Fingerprint (\S+)", said).group(1), url]
        back = f"R:127.0.0.1:{self.far}:127.0.0.1:{self.server_port}"
        self.run_on("far", "chisel target", [*client, back])
        self.wait_far(self.far, "127.0.0.1")
        self.run_on("near", "chisel dialer", [*client, f"127.0.0.1:{self.near}:127.0.0.1:{self.far}"])


class Wstunnel(Peer):
    name, title = "wstunnel", "wstunnel"
    sealed = "each leg; the hub sees plaintext"
    tool = ("wstunnel",)

    def start_all(self):
        wstunnel, url = self.program("wstunnel"), f"wss://127.0.0.1:{self.hub}"
        self.ciphers = "TLS, as rustls chooses"
        self.run_on("far", "wstunnel server", [wstunnel, "server", url])
        self.wait_far(self.hub)
        back = f"tcp://127.0.0.1:{self.far}:127.0.0.1:{self.server_port}"
        self.run_on("far", "wstunnel target", [wstunnel, "client", "-R", back, url])
        self.wait_far(self.far, "127.0.0.1")
        forth = f"tcp://127.0.0.1:{self.near}:127.0.0.1:{self.far}"
        self.run_on("near", "wstunnel dialer", [wstunnel, "client", "-L", forth, url])


PEER_CLASSES = (RatholeNoise, RatholeTls, Bore, Frp, Chisel, Wstunnel)
