# SPDX-License-Identifier: MIT
"""A stranger's agent: joins, attaches, dials and answers by what PROTOCOL.md says and nothing else.

It shares no line with the programs: certificates and frames are made with msgpack, keys and seals
with libsodium (PyNaCl), the SSH connection is OpenSSH's client. It is single-threaded; whoever
waits for something reads frames until it came. Each step can be done otherwise: RawLink.send takes
any fields, RawLink.write any bytes, and a Stream's numbers may be set at will.
"""

import base64
import collections
import hashlib
import hmac
import os
import select
import struct
import subprocess
import time

import msgpack
import nacl.bindings as sodium

MAGIC = b"\0cbx link 1\r\n\0\xff\0"
FRAME_MAX = 66064
GRACE = 300
RECORD_COST = 160
CHACHA = 2
DATA_CLASS, CONTROL_CLASS = 0, 1

# type: name and kinds of its fields, as in the tables of PROTOCOL.md
FRAMES = {
    1: ("HUB_HELLO", "uct"),
    2: ("AGENT_HELLO", "ulut"),
    3: ("WELCOME", "ssuutc"),
    4: ("JOIN_OFFER", "sC"),
    5: ("JOIN", "C"),
    6: ("JOINED", ""),
    7: ("BYE", "cut"),
    8: ("PING", "uu"),
    9: ("PONG", "uu"),
    10: ("ACK", "u"),
    11: ("PACE", "u"),
    12: ("ALLOW", "uu"),
    13: ("ALLOWED", "u"),
    14: ("WANT", "u"),
    15: ("ADDRESSES", "t"),
    16: ("PEER", "scuulhtt"),
    17: ("SYNCED", "u"),
    18: ("CHAIN_GET", "s"),
    19: ("CHAIN", "sCC"),
    20: ("HANDSHAKE", "sschhm"),
    21: ("CONFIRM", "sslg"),
    22: ("NO_HANDSHAKE", "ssc"),
    23: ("RENDEZVOUS", "ssluM"),
    32: ("OPEN", "sspliuuuO"),
    33: ("DATA", "uuuB"),
    34: ("FIN", "uuug"),
    35: ("CREDIT", "uuuug"),
    36: ("RESET", "uur"),
    37: ("EPOCH", "uulr"),
    38: ("CLOSE", "c"),
    39: ("RESUME", "sspliuuuuug"),
    40: ("RESUMED", "uuuuug"),
}
TYPES = {name: number for number, (name, _) in FRAMES.items()}
KINDS = {"u": int, "c": int, "p": int, "s": str, "t": str}

REASONS = {
    "unknown name": 1,
    "peer away": 2,
    "port not exposed": 3,
    "connection refused": 4,
    "timed out": 5,
    "denied": 6,
    "overloaded": 7,
    "integrity": 10,
    "reset": 11,
    "protocol error": 12,
    "path lost": 13,
    "no session": 14,
    "superseded": 15,
    "expired": 17,
    "used": 18,
    "flow-control limit exceeded": 19,
}


def blake(data, key=b""):
    return hashlib.blake2b(data, digest_size=32, key=key).digest()


def u64(*values):
    return b"".join(struct.pack(">Q", value) for value in values)


def short(text):
    return bytes([len(text)]) + text.encode()


def pack(*elements):
    return msgpack.packb(list(elements))


def unpack(data, **limits):
    return msgpack.unpackb(data, strict_map_key=True, **limits)


class Closed(Exception):
    """The neighbour ended the link. bye: (reason, retry after, text) if it said one."""

    def __init__(self, bye=None):
        super().__init__(f"closed: {bye}")
        self.bye = bye


# ---- keys, token, certificates ----


def kdf(secret, number, context):
    """libsodium's crypto_kdf_derive_from_key, 32 bytes."""
    return hashlib.blake2b(
        digest_size=32,
        key=secret,
        salt=struct.pack("<Q", number).ljust(16, b"\0"),
        person=context.ljust(16, b"\0"),
    ).digest()


class SigningKey:
    """An Ed25519 key from its seed."""

    def __init__(self, seed):
        self.seed = seed
        self.public, self.secret = sodium.crypto_sign_seed_keypair(seed)

    def sign(self, message):
        return sodium.crypto_sign(message, self.secret)[:64]

    def openssh(self):
        """The private key file of OpenSSH, unencrypted."""

        def string(data):
            return struct.pack(">I", len(data)) + data

        blob = string(b"ssh-ed25519") + string(self.public)
        check = os.urandom(4)
        private = check * 2 + blob + string(self.secret) + string(b"")
        private += bytes(range(1, 1 + -len(private) % 8))
        data = b"openssh-key-v1\0" + string(b"none") * 2 + string(b"") + struct.pack(">I", 1)
        text = base64.encodebytes(data + string(blob) + string(private)).decode()
        return f"-----BEGIN OPENSSH PRIVATE KEY-----\n{text}-----END OPENSSH PRIVATE KEY-----\n"


def verified(signature, message, public):
    try:
        return sodium.crypto_sign_open(signature + message, public) == message
    except Exception:
        return False


class Token:
    def __init__(self, text):
        assert text.startswith("cbx1_")
        data = base64.urlsafe_b64decode(text[5:] + "=" * (-len(text[5:]) % 4))
        payload, check = data[:-4], data[-4:]
        assert blake(b"cbx token 1" + payload)[:4] == check
        self.addresses, self.host_key, self.user, self.pond_public, self.secret = unpack(payload)
        self.login = SigningKey(kdf(self.secret, 1, b"cbxlogin"))
        self.signing = SigningKey(kdf(self.secret, 2, b"cbxsign1"))


def encode_token(addresses, host_key, user, pond_public, secret):
    payload = pack(addresses, host_key, user, pond_public, secret)
    data = payload + blake(b"cbx token 1" + payload)[:4]
    return "cbx1_" + base64.urlsafe_b64encode(data).decode().rstrip("=")


INVITE = ("pond", "slug", "role", "expose", "labels", "uses", "serial", "issued", "join_by", "ends", "signing_key")
PEER = ("pond", "slug", "identity", "exchange", "expose", "issued", "ends", "invite_hash")


def open_object(context, names, signatures, data):
    """The fields, the signed body and the signatures of a certificate."""
    assert len(data) <= 4096
    cut = len(data) - 64 * signatures
    body = data[:cut]
    assert body.startswith(context)
    fields = unpack(body[len(context) :])
    assert len(fields) == len(names)
    return dict(zip(names, fields)), body, [data[cut + 64 * i :][:64] for i in range(signatures)]


def open_invite(data, pond_public):
    invite, body, (signature,) = open_object(b"cbx invite 1", INVITE, 1, data)
    assert verified(signature, body, pond_public)
    assert bool(invite["slug"]) != bool(invite["role"])
    return invite


def open_chain(invite_data, peer_data, pond_public):
    """What the peer certificate says, when the whole chain holds."""
    invite = open_invite(invite_data, pond_public)
    peer, body, (first, second) = open_object(b"cbx peer 1", PEER, 2, peer_data)
    assert verified(first, body, invite["signing_key"])
    assert verified(second, body, peer["identity"])
    assert (peer["pond"], peer["slug"]) == (invite["pond"], invite["slug"])
    assert peer["invite_hash"] == blake(invite_data)
    assert set(filter(None, peer["expose"].split(","))) <= set(filter(None, invite["expose"].split(",")))
    assert peer["ends"] <= invite["ends"] and time.time() <= peer["ends"] + GRACE
    return peer


def chain_hash(invite_data, peer_data):
    text = b"cbx chain 1"
    for data in (invite_data, peer_data):
        text += struct.pack(">I", len(data)) + data
    return blake(text)


class Identity:
    def __init__(self, seed=None, exchange=None):
        self.key = SigningKey(seed or os.urandom(32))
        self.exchange = exchange or os.urandom(32)
        self.exchange_public = sodium.crypto_scalarmult_base(self.exchange)


def peer_certificate(invite_data, signing, holder, **changes):
    """A peer certificate inside the invite's limits, or with what is changed."""
    invite, _, _ = open_object(b"cbx invite 1", INVITE, 1, invite_data)
    fields = {
        "pond": invite["pond"],
        "slug": invite["slug"],
        "identity": holder.key.public,
        "exchange": holder.exchange_public,
        "expose": invite["expose"],
        "issued": int(time.time()),
        "ends": invite["ends"],
        "invite_hash": blake(invite_data),
    }
    own_key = changes.pop("own_key", holder.key)
    fields.update(changes)
    body = b"cbx peer 1" + pack(*(fields[name] for name in PEER))
    return body + signing.sign(body) + own_key.sign(body)


# ---- Noise KK ----


class Noise:
    """Noise_KK_25519_ChaChaPoly_BLAKE2b, both messages, from the Noise specification."""

    NAME = b"Noise_KK_25519_ChaChaPoly_BLAKE2b"

    def __init__(self, initiator, prologue, mine, mine_public, theirs_public):
        self.initiator = initiator
        self.s, self.rs = mine, theirs_public
        self.h = self.NAME.ljust(64, b"\0")
        self.ck = self.h
        self.key, self.counter = None, 0
        self.mix_hash(prologue)
        first, second = (mine_public, theirs_public) if initiator else (theirs_public, mine_public)
        self.mix_hash(first)
        self.mix_hash(second)

    def mix_hash(self, data):
        self.h = hashlib.blake2b(self.h + data).digest()

    def hkdf(self, data):
        temp = hmac.new(self.ck, data, "blake2b").digest()
        first = hmac.new(temp, b"\x01", "blake2b").digest()
        return first, hmac.new(temp, first + b"\x02", "blake2b").digest()

    def mix_dh(self, secret, public):
        self.ck, key = self.hkdf(sodium.crypto_scalarmult(secret, public))
        self.key, self.counter = key[:32], 0

    def nonce(self):
        self.counter += 1
        return bytes(4) + struct.pack("<Q", self.counter - 1)

    def seal(self, payload):
        data = sodium.crypto_aead_chacha20poly1305_ietf_encrypt(payload, self.h, self.nonce(), self.key)
        self.mix_hash(data)
        return data

    def open(self, data):
        payload = sodium.crypto_aead_chacha20poly1305_ietf_decrypt(data, self.h, self.nonce(), self.key)
        self.mix_hash(data)
        return payload

    def write(self, payload, first):
        self.e = os.urandom(32)
        public = sodium.crypto_scalarmult_base(self.e)
        self.mix_hash(public)
        if first:  # e, es, ss
            self.mix_dh(self.e, self.rs)
            self.mix_dh(self.s, self.rs)
        else:  # e, ee, se
            self.mix_dh(self.e, self.re)
            self.mix_dh(self.e, self.rs)
        return public + self.seal(payload)

    def read(self, message, first):
        self.re, data = message[:32], message[32:]
        self.mix_hash(self.re)
        if first:
            self.mix_dh(self.s, self.re)
            self.mix_dh(self.s, self.rs)
        else:
            self.mix_dh(self.e, self.re)
            self.mix_dh(self.s, self.re)
        return self.open(data)

    def split(self):
        """Root to send with, root to receive with, session id."""
        first, second = (key[:32] for key in self.hkdf(b""))
        roots = (first, second) if self.initiator else (second, first)
        return (*roots, self.h[:16])


class Session:
    def __init__(self, send_root, receive_root, number, peer, incarnation, initiator):
        self.send_root, self.receive_root, self.id = send_root, receive_root, number
        self.peer, self.incarnation, self.initiator = peer, incarnation, initiator


def record_key(root, identity, epoch, kind):
    return blake(b"cbx record 1" + identity + u64(epoch) + bytes([kind]), key=root)


def seal_record(root, identity, epoch, kind, counter, additional, text=b""):
    return sodium.crypto_aead_chacha20poly1305_ietf_encrypt(
        text, additional, bytes(4) + u64(counter), record_key(root, identity, epoch, kind)
    )


def open_record(root, identity, epoch, kind, counter, additional, data):
    return sodium.crypto_aead_chacha20poly1305_ietf_decrypt(
        data, additional, bytes(4) + u64(counter), record_key(root, identity, epoch, kind)
    )


# ---- one link ----

Frame = collections.namedtuple("Frame", "type name label fields")


def encode(name, *fields, label=None):
    """A frame's bytes, length first. Circuit frames have a label."""
    number = TYPES.get(name, name)
    body = bytes([0x90 | (1 + (label is not None) + len(fields)), number])
    if label is not None:
        body += b"\xce" + struct.pack(">I", label)
    body += b"".join(msgpack.packb(field) for field in fields)
    return struct.pack(">I", len(body)) + body


def decode(body):
    elements = unpack(body)
    name, kinds = FRAMES[elements[0]]
    label, rest = None, elements[1:]
    if elements[0] >= 32:
        assert body[2] == 0xCE
        label, rest = elements[1], elements[2:]
    assert [type(value) for value in rest] == [KINDS.get(kind, bytes) for kind in kinds], (name, rest)
    return Frame(elements[0], name, label, rest)


def ssh_command(world, token, key, *words, user=None):
    """OpenSSH's client as that key at the token's hub; words go before the destination."""
    ssh_command.count += 1
    key_file = world.dir / f"raw{ssh_command.count}.key"
    known = key_file.with_suffix(".known")
    key_file.touch(0o600)
    key_file.write_text(key.openssh())
    # The host key is the token's or nobody's: ssh asks this for the keys it may take.
    pin = base64.b64encode(token.host_key).decode().rstrip("=")
    known.write_text(f'#!/bin/sh\n[ "$1" != "SHA256:{pin}" ] || echo "* $2 $3"\n')
    known.chmod(0o700)
    host, _, port = token.addresses[0].rpartition(":")
    argv = ["ssh", "-F", "none", "-T", "-p", port]
    for option in (
        f"IdentityFile={key_file}",
        "IdentitiesOnly=yes",
        "StrictHostKeyChecking=yes",
        f"KnownHostsCommand={known} %f %t %K",
        "UserKnownHostsFile=/dev/null",
        "GlobalKnownHostsFile=/dev/null",
        "UpdateHostKeys=no",
        "BatchMode=yes",
        "LogLevel=ERROR",
        "KexAlgorithms=curve25519-sha256",  # the default costs 60 ms more
    ):
        argv += ["-o", option]
    return [*argv, *words, f"{user or token.user}@{host.strip('[]')}"]


ssh_command.count = 0


class RawLink:
    """ssh with the key of one signing key; frames over its standard input and output."""

    def __init__(self, world, token, key, *words):
        self.world = world
        argv = ssh_command(world, token, key, *words)
        self.error_file = world.dir / f"raw{ssh_command.count}.err"
        with open(self.error_file, "wb") as error:
            self.child = subprocess.Popen(
                [*argv, "cbx"],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=error,
                env=world.environment,
                bufsize=0,
            )
        world.closers.append(self.close)
        self.buffer = b""
        self.bye = None
        self.ended = False
        self.data_received = 0
        self.next_label = 1
        self.kept = collections.deque()
        self.answers_allow = True  # it grants little: it is always within what it is allowed

    def close(self):
        if self.child.poll() is None:
            self.child.kill()
        self.child.wait()
        self.child.stdin.close()
        self.child.stdout.close()

    def errors(self):
        return self.error_file.read_text(errors="replace")

    def write(self, data):
        try:
            self.child.stdin.write(data)
        except BrokenPipeError:
            self.ended = True

    def pour(self, data, seconds, reads=True):
        """Writes what the pipe takes within the time, reading meanwhile; returns how much went."""
        out, back = self.child.stdin.fileno(), self.child.stdout.fileno()
        end, done = time.monotonic() + seconds, 0
        os.set_blocking(out, False)
        try:
            while done < len(data) and time.monotonic() < end:
                ready, writable, _ = select.select([back] if reads else [], [out], [], 0.05)
                if ready:
                    self.fill(end)
                if writable:
                    done += os.write(out, data[done : done + 65536])
        except (BrokenPipeError, Closed):
            self.ended = True
        finally:
            os.set_blocking(out, True)
        return done

    def send(self, name, *fields, label=None):
        self.write(encode(name, *fields, label=label))

    def fill(self, deadline):
        """Reads what is there; raises at the end of the link or of the time."""
        fd = self.child.stdout.fileno()
        if not select.select([fd], [], [], max(0, deadline - time.monotonic()))[0]:
            raise TimeoutError(f"nothing came; {self.errors()}")
        part = os.read(fd, 1 << 16)
        if not part:
            self.ended = True
            raise Closed(self.bye)
        self.buffer += part

    def take_magic(self, deadline):
        while MAGIC not in self.buffer:
            assert len(self.buffer) < 8192 + 16
            self.fill(deadline)
        self.buffer = self.buffer[self.buffer.index(MAGIC) + 16 :]

    def frame(self, deadline):
        while len(self.buffer) < 4 or len(self.buffer) < 4 + struct.unpack(">I", self.buffer[:4])[0]:
            self.fill(deadline)
        length = struct.unpack(">I", self.buffer[:4])[0]
        assert 2 <= length <= FRAME_MAX
        body, self.buffer = self.buffer[4 : 4 + length], self.buffer[4 + length :]
        frame = decode(body)
        if frame.name in ("DATA", "FIN"):
            self.data_received += 4 + length
            self.send("ACK", self.data_received)
        elif frame.name == "PING":
            self.send("PONG", frame.fields[0], self.data_received)
        elif frame.name == "ALLOW" and self.answers_allow:
            self.send("ALLOWED", frame.fields[0])
        elif frame.name == "BYE":
            self.bye = tuple(frame.fields)
        return frame

    def next(self, *names, seconds=10.0, where=None):
        """The next frame of one of these names; what comes before it is kept for later."""
        deadline = time.monotonic() + seconds

        def wanted(frame):
            return (not names or frame.name in names) and (where is None or where(frame))

        for frame in self.kept:
            if wanted(frame):
                self.kept.remove(frame)
                return frame
        while True:
            frame = self.frame(deadline)
            if wanted(frame):
                return frame
            if frame.name not in ("PING", "PONG", "ACK", "PACE"):
                self.kept.append(frame)

    def expect_end(self, seconds=10.0):
        """Reads until the hub closes; returns the BYE, or None when it said none."""
        deadline = time.monotonic() + seconds
        try:
            while True:
                self.kept.append(self.frame(deadline))
        except Closed as closed:
            return closed.bye

    def begin(self, kind, seconds=10.0):
        """Magic and HUB_HELLO."""
        self.take_magic(time.monotonic() + seconds)
        hello = self.frame(time.monotonic() + seconds)
        assert hello.name == "HUB_HELLO" and hello.fields[:2] == [1, kind], hello
        return hello

    def answers(self, seconds=10.0):
        """True when the hub still serves this link: an OPEN to nobody is refused... with a PING."""
        nonce = int.from_bytes(os.urandom(4), "big")
        self.send("PING", nonce, self.data_received)
        deadline = time.monotonic() + seconds
        while True:
            frame = self.frame(deadline)
            if frame.name == "PONG" and frame.fields[0] == nonce:
                return True
            self.kept.append(frame)


# ---- the agent ----


class RawAgent:
    """One identity in a pond, at most one link at a time."""

    def __init__(self, world, token, slug=None):
        self.world, self.token, self.slug = world, Token(token), slug
        self.identity = Identity()
        self.incarnation = os.urandom(16)
        self.link = None
        self.peers, self.chains, self.sessions = {}, {}, {}
        self.stream_counter = 0
        self.software = "stranger"

    # -- join --

    def open_join(self, *words):
        """A join link up to the offer, which is checked; words are ssh's."""
        link = RawLink(self.world, self.token, self.token.login, *words)
        link.begin(1)
        slug, invite = link.next("JOIN_OFFER").fields
        fields = open_invite(invite, self.token.pond_public)
        assert fields["slug"] == slug
        assert fields["signing_key"] == self.token.signing.public
        self.invite, self.slug, self.pond = invite, slug, fields["pond"]
        return link

    def certificate(self, **changes):
        return peer_certificate(self.invite, self.token.signing, self.identity, **changes)

    def join(self, *words):
        link = self.open_join(*words)
        self.own = self.certificate()
        link.send("JOIN", self.own)
        link.next("JOINED")
        link.close()
        return self

    # -- attach --

    def open_link(self):
        """A peer link up to HUB_HELLO."""
        self.link = RawLink(self.world, self.token, self.identity.key)
        self.link.begin(0)
        return self.link

    def attach(self):
        link = self.open_link()
        link.send("AGENT_HELLO", 1, self.incarnation, 16 << 20, self.software)
        pond, slug, self.generation, self.allowance, _, _ = link.next("WELCOME").fields
        assert (pond, slug) == (self.pond, self.slug)
        link.next("SYNCED")
        self.take_directory()
        return link

    def take_directory(self):
        for frame in [frame for frame in self.link.kept if frame.name == "PEER"]:
            self.link.kept.remove(frame)
            self.peers[frame.fields[0]] = frame.fields

    def wait_ready(self, slug, seconds=10.0):
        self.take_directory()
        while self.peers.get(slug, (slug, 0))[1] != 1:
            frame = self.link.next("PEER", seconds=seconds)
            self.peers[frame.fields[0]] = frame.fields

    # -- sessions --

    def chain(self, slug):
        """(certificate, hash) of a peer, checked from the pond's key down."""
        if slug not in self.chains:
            self.link.send("CHAIN_GET", slug)
            _, invite, peer = self.link.next("CHAIN", where=lambda frame: frame.fields[0] == slug).fields
            self.chains[slug] = open_chain(invite, peer, self.token.pond_public), chain_hash(invite, peer)
        return self.chains[slug]

    def own_hash(self):
        return chain_hash(self.invite, self.own)

    def noise(self, slug, initiator):
        theirs, theirs_hash = self.chain(slug)
        hashes = (self.own_hash(), theirs_hash) if initiator else (theirs_hash, self.own_hash())
        prologue = b"cbx/1" + self.token.pond_public + hashes[0] + hashes[1]
        return Noise(initiator, prologue, self.identity.exchange, self.identity.exchange_public, theirs["exchange"])

    def first_message(self, slug):
        """Noise's state and the HANDSHAKE frame's bytes of a first message."""
        noise = self.noise(slug, True)
        message = noise.write(pack(1, self.incarnation, bytes([CHACHA]), 0), True)
        _, theirs_hash = self.chain(slug)
        return noise, encode("HANDSHAKE", self.slug, slug, 1, self.own_hash(), theirs_hash, message)

    def confirm(self, session):
        additional = bytes([TYPES["CONFIRM"]]) + u64(0, 0, 0, 0) + session.id
        additional += short(self.slug) + short(session.peer)
        tag = seal_record(session.send_root, bytes(40), 0, CONTROL_CLASS, 0, additional)
        return encode("CONFIRM", self.slug, session.peer, session.id, tag)

    def session(self, slug, seconds=10.0):
        """A session that we began, made when there is none."""
        if slug in self.sessions:
            return self.sessions[slug]
        noise, first = self.first_message(slug)
        self.link.write(first)
        answer = self.link.next(
            "HANDSHAKE", "NO_HANDSHAKE", seconds=seconds, where=lambda frame: frame.fields[0] == slug
        )
        assert answer.name == "HANDSHAKE", answer
        assert answer.fields[2:5] == [2, self.chain(slug)[1], self.own_hash()]
        version, incarnation, _, _, chosen = unpack(noise.read(answer.fields[5], False))
        assert (version, chosen) == (1, CHACHA)
        session = Session(*noise.split(), slug, incarnation, True)
        self.link.write(self.confirm(session))
        self.sessions[slug] = session
        return session

    def answer_session(self, slug, seconds=10.0):
        """Waits for a first message of slug and answers it."""
        first = self.link.next(
            "HANDSHAKE", seconds=seconds, where=lambda frame: frame.fields[0] == slug and frame.fields[2] == 1
        )
        noise = self.noise(slug, False)
        version, incarnation, ciphers, _ = unpack(noise.read(first.fields[5], True))
        assert version == 1 and CHACHA in ciphers
        message = noise.write(pack(1, self.incarnation, bytes([CHACHA]), 0, CHACHA), False)
        _, theirs_hash = self.chain(slug)
        self.link.send("HANDSHAKE", self.slug, slug, 2, self.own_hash(), theirs_hash, message)
        session = Session(*noise.split(), slug, incarnation, False)
        confirm = self.link.next("CONFIRM", seconds=seconds, where=lambda frame: frame.fields[0] == slug)
        assert confirm.fields[2] == session.id
        self.sessions[slug] = session
        return session

    # -- streams --

    def dial(self, slug, port, answered=True, **changes):
        session = self.session(slug)
        stream = Stream(self, session, self.incarnation + session.incarnation + u64(self.stream_counter))
        self.stream_counter += 1
        stream.label = self.link.next_label
        self.link.next_label += 2
        self.link.write(stream.open_frame(slug, port, **changes))
        if answered:
            stream.wait_answer()
        return stream

    def dial_blind(self, slug, port):
        """An OPEN without a session, for whom the hub refuses before anybody opens it."""
        nobody = Session(bytes(32), bytes(32), bytes(16), slug, bytes(16), True)
        self.sessions, kept = {slug: nobody}, self.sessions
        try:
            return self.dial(slug, port, answered=False)
        finally:
            self.sessions = kept

    def accept(self, slug, seconds=10.0):
        """Waits for an OPEN of slug, checks it, and returns the stream unanswered."""
        frame = self.link.next("OPEN", seconds=seconds, where=lambda frame: frame.fields[0] == slug)
        dialer, target, port, number, identity, epoch, counter, limit, sealed = frame.fields
        session = self.sessions[slug]
        assert (target, number, counter) == (self.slug, session.id, 0)
        assert identity[:32] == session.incarnation + self.incarnation
        additional = open_additional(epoch, counter, limit, port, number, identity, dialer, target)
        text = open_record(session.receive_root, identity, epoch, DATA_CLASS, 0, additional, sealed)
        assert text == short(dialer) + short(target) + struct.pack(">H", port) + bytes(4)
        stream = Stream(self, session, identity)
        stream.label, stream.may_send, stream.port = frame.label, limit, port
        stream.receive_counter[DATA_CLASS] = 1
        return stream


def open_additional(epoch, counter, limit, port, session, identity, dialer, target, name="OPEN"):
    head = bytes([TYPES[name]]) + u64(epoch, counter, limit, port)
    return head + session + identity + short(dialer) + short(target)


class Stream:
    """One stream, at either end."""

    def __init__(self, agent, session, identity):
        self.agent, self.link, self.session, self.identity = agent, agent.link, session, identity
        self.send_counter = [0, 0]  # by class
        self.receive_counter = [0, 0]
        self.sent = self.received = 0  # offsets
        self.may_send = 0  # the limit that the other side granted
        self.acked = 0  # what the other side acknowledged
        self.records = collections.deque()  # ends of those that are not wholly acknowledged
        self.epoch = self.receive_epoch = 1
        self.fin_received = False
        self.data = b""

    def take(self, kind):
        self.send_counter[kind] += 1
        return self.send_counter[kind] - 1

    def seal(self, name, kind, counter, fields, text=b"", tail=b""):
        additional = bytes([TYPES[name]]) + u64(self.epoch, counter, *fields) + tail
        return seal_record(self.session.send_root, self.identity, self.epoch, kind, counter, additional, text)

    def open_frame(self, slug, port, limit=65536, shown=None, inner=None):
        """shown, inner: other (dialer, target, port) in the clear and in the sealed half."""
        dialer, target, number = shown or (self.agent.slug, slug, port)
        names = inner or (self.agent.slug, slug, port)
        text = short(names[0]) + short(names[1]) + struct.pack(">H", names[2]) + bytes(4)
        additional = open_additional(1, 0, limit, number, self.session.id, self.identity, dialer, target)
        sealed = seal_record(self.session.send_root, self.identity, 1, DATA_CLASS, 0, additional, text)
        self.send_counter[DATA_CLASS] = 1
        fields = (dialer, target, number, self.session.id, self.identity, 1, 0, limit, sealed)
        return encode("OPEN", *fields, label=self.label)

    def resume_frame(self, slug, port, received=None, acknowledged=None, limit=None, ended=0, name=None):
        """On the next label; the stream is in a new epoch from here on. name: another dialer's."""
        received = self.received if received is None else received
        acknowledged = received if acknowledged is None else acknowledged
        limit = received + 65536 if limit is None else limit
        dialer = name or self.agent.slug
        self.epoch = self.receive_epoch = (max(self.epoch, self.receive_epoch) // 65536 + 1) * 65536
        self.send_counter, self.receive_counter = [1, 0], [1, 0]
        self.label = self.link.next_label
        self.link.next_label += 2
        additional = open_additional(
            self.epoch, 0, limit, port, self.session.id, self.identity, dialer, slug, "RESUME"
        )
        additional += u64(received, acknowledged) + bytes([ended])
        tag = seal_record(self.session.send_root, self.identity, self.epoch, DATA_CLASS, 0, additional, b"")
        numbers = (self.epoch, received, acknowledged, limit, ended)
        return encode("RESUME", dialer, slug, port, self.session.id, self.identity, *numbers, tag, label=self.label)

    def resumed_frame(self, received, acknowledged, limit, ended=0):
        additional = bytes([TYPES["RESUMED"]]) + u64(self.epoch, 0, limit, 0, received, acknowledged) + bytes([ended])
        tag = seal_record(self.session.send_root, self.identity, self.epoch, DATA_CLASS, 0, additional, b"")
        return encode("RESUMED", self.epoch, received, acknowledged, limit, ended, tag, label=self.label)

    def wait_resumed(self, seconds=10.0):
        """What the target has: its RESUMED, opened. Returns the name of what came, and its value."""
        frame = self.link.next("RESUMED", "CLOSE", seconds=seconds, where=lambda frame: frame.label == self.label)
        if frame.name == "CLOSE":
            return "CLOSE", frame.fields[0]
        epoch, received, acknowledged, limit, ended, tag = frame.fields
        assert epoch == self.receive_epoch
        additional = bytes([frame.type]) + u64(epoch, 0, limit, 0, received, acknowledged) + bytes([ended])
        open_record(self.session.receive_root, self.identity, epoch, DATA_CLASS, 0, additional, tag)
        self.sent, self.acked, self.may_send = received, acknowledged, limit
        self.records.clear()
        return "RESUMED", (received, acknowledged, limit, ended)

    def data_frame(self, text, offset=None, counter=None):
        counter = self.take(DATA_CLASS) if counter is None else counter
        offset = self.sent if offset is None else offset
        sealed = self.seal("DATA", DATA_CLASS, counter, (offset, 0), text)
        return encode("DATA", self.epoch, counter, offset, sealed, label=self.label)

    def room(self):
        """How much one more record may hold."""
        return self.may_send - self.sent - RECORD_COST * (len(self.records) + 1)

    def send(self, text):
        self.link.write(self.data_frame(text))
        self.sent += len(text)
        self.records.append(self.sent)

    def finish(self, offset=None):
        counter = self.take(DATA_CLASS)
        offset = self.sent if offset is None else offset
        tag = self.seal("FIN", DATA_CLASS, counter, (offset, 0))
        self.link.send("FIN", self.epoch, counter, offset, tag, label=self.label)
        self.sent += 1

    def credit(self, acknowledged=None, limit=None):
        acknowledged = self.received if acknowledged is None else acknowledged
        limit = self.received + 65536 if limit is None else limit
        counter = self.take(CONTROL_CLASS)
        tag = self.seal("CREDIT", CONTROL_CLASS, counter, (acknowledged, limit))
        self.link.send("CREDIT", self.epoch, counter, acknowledged, limit, tag, label=self.label)

    def reset(self, reason=REASONS["reset"]):
        counter = self.take(CONTROL_CLASS)
        sealed = self.seal("RESET", CONTROL_CLASS, counter, (0, 0), bytes([reason]))
        self.link.send("RESET", self.epoch, counter, sealed, label=self.label)

    def next_epoch(self):
        """Our direction goes on under the next epoch's keys, of the same session."""
        counter = self.take(CONTROL_CLASS)
        text = u64(self.epoch + 1, self.sent)
        sealed = self.seal("EPOCH", CONTROL_CLASS, counter, (0, 0), text, self.session.id)
        self.link.send("EPOCH", self.epoch, counter, self.session.id, sealed, label=self.label)
        self.epoch += 1
        self.send_counter = [0, 0]

    def frame(self, *names, seconds=10.0):
        """The next frame of this stream, opened; returns (name, value)."""
        frame = self.link.next(*names, seconds=seconds, where=lambda frame: frame.label == self.label)
        if frame.name == "CLOSE":
            return "CLOSE", frame.fields[0]
        kind = DATA_CLASS if frame.name in ("DATA", "FIN") else CONTROL_CLASS
        epoch, counter = frame.fields[:2]
        assert (epoch, counter) == (self.receive_epoch, self.receive_counter[kind]), frame
        self.receive_counter[kind] += 1
        numbers = {"DATA": 1, "FIN": 1, "CREDIT": 2}.get(frame.name, 0)
        values = (frame.fields[2 : 2 + numbers] + [0, 0])[:2]
        additional = bytes([frame.type]) + u64(epoch, counter, *values)
        text = open_record(
            self.session.receive_root, self.identity, epoch, kind, counter, additional, frame.fields[-1]
        )
        return self.took(frame.name, values, text)

    def took(self, name, values, text):
        if name in ("DATA", "FIN"):
            assert values[0] == self.received, (values, self.received)
            self.received += len(text) if name == "DATA" else 1
            self.data += text
            self.fin_received = name == "FIN"
            return name, text
        if name == "CREDIT":
            self.acked, self.may_send = values
            while self.records and self.records[0] <= self.acked:
                self.records.popleft()
            return name, tuple(values)
        return name, text[0] if name == "RESET" else text

    def wait_answer(self, seconds=10.0):
        name, value = self.frame(seconds=seconds)
        assert name == "CREDIT", (name, value)

    def receive(self, length, seconds=10.0):
        """Exactly so many more bytes, acknowledged."""
        while len(self.data) < length:
            name, value = self.frame(seconds=seconds)
            assert name in ("DATA", "CREDIT"), (name, value)
            if name == "DATA":
                self.credit()
        text, self.data = self.data[:length], self.data[length:]
        return text

    def ends(self, seconds=10.0):
        """What the stream is ended with: ("RESET", reason) or ("CLOSE", reason)."""
        while True:
            name, value = self.frame(seconds=seconds)
            if name in ("RESET", "CLOSE"):
                return name, value

    def ends_cleanly(self, seconds=10.0):
        """The other side's FIN came and ours is acknowledged; theirs is acknowledged by us."""
        while not (self.fin_received and self.acked == self.sent):
            name, value = self.frame(seconds=seconds)
            assert name in ("DATA", "FIN", "CREDIT"), (name, value)
            if name != "CREDIT":
                self.credit()
        return True

    def echoes(self, text):
        self.send(text)
        return self.receive(len(text)) == text
