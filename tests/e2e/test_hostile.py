# SPDX-License-Identifier: MIT
"""A member of the pond that breaks the protocol: it hears why, the smallest thing ends, it is
counted, and somebody else's stream goes on. The member is raw_agent's; hub, victim and bystander
are the real programs."""

import os
import random
import struct
import time

import pytest
from bystander import Bystander, Counted, Watched
from raw_agent import (
    CONTROL_CLASS,
    REASONS,
    TYPES,
    RawAgent,
    encode,
)
from world import HUB, World, until

PROTOCOL = REASONS["protocol error"]


@pytest.fixture(scope="module")
def stand():
    """Hub, web, cli and a bystander for all tests of this file; evil is the member that breaks rules."""
    world = World()
    try:
        stand = Watched(world).start()
        stand.tests = 0
        yield stand
    finally:
        world.close()


@pytest.fixture
def pond(stand):
    """The stand, looked after at the end of each test."""
    if stand.tests % 50 == 0:  # a lease attaches 120 times at once, and then once a second
        stand.evil = RawAgent(stand.world, stand.hub.invite("evil", expose=["7"])).join()
    stand.tests += 1
    yield stand
    if stand.evil.link:
        stand.evil.link.close()
    stand.unharmed()


@pytest.fixture
def link(pond):
    """evil's link, attached."""
    return pond.evil.attach()


def body(*parts):
    """A frame of any bytes."""
    data = b"".join(parts)
    return struct.pack(">I", len(data)) + data


def ends_with(link, words, reason=PROTOCOL):
    bye = link.expect_end()
    assert bye, "the hub said no word before it closed"
    assert bye[0] == reason and words in bye[2], bye


# ---- frames ----

WANT = TYPES["WANT"]
FRAMES = {
    "too long": (struct.pack(">I", 66065), "length is out of bounds"),
    "longest number": (b"\xff\xff\xff\xff", "length is out of bounds"),
    "no body": (struct.pack(">I", 0), "length is out of bounds"),
    "one byte": (struct.pack(">I", 1) + b"\x90", "length is out of bounds"),
    "nested": (body(b"\x92", bytes([WANT]), b"\x91\x01"), "frame"),
    "deeply nested": (body(b"\x91" * 60000, b"\x01"), "frame"),
    "four billion elements": (body(b"\xdd\xff\xff\xff\xff", b"\x01"), "frame"),
    "four billion bytes": (body(b"\x92", bytes([WANT]), b"\xc6\xff\xff\xff\xff"), "frame"),
    "map": (body(b"\x81\x08\x01"), "frame"),
    "extension": (body(b"\x92", bytes([WANT]), b"\xd4\x01\x00"), "frame"),
    "long form of a short array": (body(b"\xdc\x00\x02", bytes([WANT]), b"\x01"), "short array"),
    "bytes behind it": (body(b"\x92", bytes([WANT]), b"\x01", b"\x00"), "frame"),
    "cut inside": (body(b"\x92", bytes([WANT]), b"\xcf\x00"), "frame"),
    "nothing in the array": (body(b"\x90\x90"), "frame"),
    "type of two bytes": (body(b"\x92\xcc", bytes([WANT]), b"\x01"), "type"),
    "type as text": (body(b"\x92\xa4WANT\x01"), "type"),
    "unknown type": (body(b"\x91\x63"), "unknown type 99"),
    "element too few": (encode("PING", 1), "PING: 2 elements instead of 3"),
    "element too many": (encode("PING", 1, 2, 3), "PING: 4 elements instead of 3"),
}
FIELDS = {
    "text for a number": encode("WANT", "1"),
    "negative number": encode("WANT", -1),
    "float": encode("WANT", 1.0),
    "nil": encode("WANT", None),
    "bytes for text": encode("CHAIN_GET", b"web"),
    "empty name": encode("CHAIN_GET", ""),
    "capital letter": encode("CHAIN_GET", "Web"),
    "name of 42": encode("CHAIN_GET", "a" * 42),
    "NUL in a name": encode("CHAIN_GET", "we\0b"),
    "code of 256": encode("BYE", 256, 0, ""),
    "control character in text": encode("BYE", 12, 0, "a\x1b[2Jb"),
    "text of 1,025": encode("BYE", 12, 0, "a" * 1025),
    "empty handshake": encode("HANDSHAKE", "evil", "web", 1, bytes(32), bytes(32), b""),
    "hash of 31": encode("HANDSHAKE", "evil", "web", 1, bytes(31), bytes(32), b"a"),
    "tag of 15": encode("CONFIRM", "evil", "web", bytes(16), bytes(15)),
    "port 0": encode("OPEN", "evil", "web", 0, bytes(16), bytes(40), 1, 0, 0, bytes(64), label=1),
    "port 65536": encode("OPEN", "evil", "web", 65536, bytes(16), bytes(40), 1, 0, 0, bytes(64), label=1),
    "short label": body(b"\x93\x26\x01\x01"),
    "payload of a tag": encode("DATA", 1, 1, 0, bytes(16), label=1),
    "payload of 65,553": encode("DATA", 1, 1, 0, bytes(65553), label=1),
}


@pytest.mark.parametrize("case", FRAMES)
def test_malformed_frame_ends_its_link_alone(pond, link, case):
    data, words = FRAMES[case]
    with Counted(pond.hub_counters, "breaches"):
        link.write(data)
        ends_with(link, words)


@pytest.mark.parametrize("case", FIELDS)
def test_field_of_the_wrong_kind_ends_its_link_alone(pond, link, case):
    with Counted(pond.hub_counters, "breaches"):
        link.write(FIELDS[case])
        ends_with(link, "frame")


def test_random_bytes_end_their_link_alone(pond):
    dice = random.Random(4)
    for _ in range(4):
        link = pond.evil.attach()
        link.pour(dice.randbytes(1 << 16), 2)
        assert link.expect_end()[0] == PROTOCOL


def test_random_frames_end_their_link_alone(pond):
    """The length is right, the rest is dice: nearly all of them are refused at the first."""
    dice = random.Random(5)
    for _ in range(4):
        link = pond.evil.attach()
        types = [*TYPES.values()]
        types.remove(TYPES["BYE"])
        for _ in range(100):
            head = bytes([0x90 | dice.randrange(16), dice.choice(types)])
            link.write(body(head, dice.randbytes(dice.randrange(300))))
        assert link.expect_end()[0] == PROTOCOL


def test_truncated_frame_ends_with_its_connection(pond, link):
    """Half a frame is waited for; the end of input inside it takes the peer away, and no more."""
    link.write(encode("PING", 7, 0)[:-1])
    pond.unharmed()
    assert pond.hub.peers()["evil"]["state"] == "ready"
    link.child.stdin.close()
    until("evil is away", lambda: pond.hub.peers()["evil"]["state"] == "away")


def test_frame_in_single_bytes_is_taken(pond, link):
    for byte in encode("PING", 7, 0):
        link.write(bytes([byte]))
        time.sleep(0.002)
    assert link.next("PONG").fields[0] == 7


# ---- phases ----

EARLY = {
    "WANT": encode("WANT", 1 << 20),
    "JOIN": encode("JOIN", b"a"),
    "OPEN": encode("OPEN", "evil", "web", 8080, bytes(16), bytes(40), 1, 0, 0, bytes(64), label=1),
    "HANDSHAKE": encode("HANDSHAKE", "evil", "web", 1, bytes(32), bytes(32), b"a"),
    "CHAIN_GET": encode("CHAIN_GET", "web"),
}
LATE = {
    "AGENT_HELLO": encode("AGENT_HELLO", 1, bytes(16), 1, "again"),
    "JOIN": encode("JOIN", b"a"),
    "HUB_HELLO": encode("HUB_HELLO", 1, 0, "me"),
    "WELCOME": encode("WELCOME", "demo", "web", 1, 1 << 40, "here", 1),
    "JOINED": encode("JOINED"),
    "ALLOW": encode("ALLOW", 1, 1 << 40),
    "PEER": encode("PEER", "web", 2, 1, 1, bytes(16), bytes(32), "", ""),
    "SYNCED": encode("SYNCED", 1),
    "CHAIN": encode("CHAIN", "web", b"", b""),
}


@pytest.mark.parametrize("case", EARLY)
def test_frame_before_the_greeting_ends_its_link(pond, case):
    link = pond.evil.open_link()
    with Counted(pond.hub_counters, "breaches"):
        link.write(EARLY[case])
        ends_with(link, case)


@pytest.mark.parametrize("case", LATE)
def test_frame_of_another_phase_or_side_ends_its_link(pond, link, case):
    with Counted(pond.hub_counters, "breaches"):
        link.write(LATE[case])
        ends_with(link, case)


def test_other_version_is_told_which_one_is_spoken(pond):
    link = pond.evil.open_link()
    link.send("AGENT_HELLO", 2, bytes(16), 1, "future")
    ends_with(link, "version 1")


# ---- names and labels ----


def test_handshake_under_anothers_name_ends_its_link(pond, link):
    with Counted(pond.hub_counters, "breaches"):
        link.send("HANDSHAKE", "cli", "web", 1, bytes(32), bytes(32), b"a")
        ends_with(link, "name of another")


def test_open_under_anothers_name_is_denied(pond, link):
    with Counted(pond.hub_counters, "denied"):
        stream = pond.evil.dial("web", 8080, answered=False, shown=("cli", "web", 8080))
        assert stream.ends() == ("CLOSE", REASONS["denied"])
    assert link.answers()


LABELS = {
    "zero": (0, "label 0"),
    "the hub's parity": (2, "label 2"),
    "used before": (1, "label 1"),
    "ahead of its turn": (5, "label 5"),
}


@pytest.mark.parametrize("case", LABELS)
def test_label_that_is_not_a_new_one_ends_its_link(pond, link, case):
    label, words = LABELS[case]
    stream = pond.evil.dial("web", 8080)
    assert stream.echoes(b"honest")
    frame = encode("OPEN", "evil", "web", 8080, bytes(16), bytes(40), 1, 0, 0, bytes(64), label=label)
    with Counted(pond.hub_counters, "breaches"):
        link.write(frame)
        ends_with(link, words)


@pytest.mark.parametrize("label", [2, 4, 999, 2**32 - 1])
def test_frame_for_a_label_never_opened_ends_its_link(pond, link, label):
    with Counted(pond.hub_counters, "breaches"):
        link.send("CLOSE", 13, label=label)
        ends_with(link, "never opened")


def test_frame_for_a_finished_label_is_dropped_and_counted(pond, link):
    stream = pond.evil.dial("web", 8080)
    stream.reset()
    with Counted(pond.hub_counters, "stale_frames"):
        stream.send(b"too late")
        assert link.answers()


# ---- offsets, credit: the stream ends, its sisters on the link go on ----


def after_fin(stream):
    stream.finish()
    stream.link.write(stream.data_frame(b"more", offset=stream.sent))


def pass_limit(stream):
    """More than web can grant to one whose own window is shut."""
    frames = b""
    while stream.sent < 8 << 20:
        frames += stream.data_frame(bytes(65536))
        stream.sent += 65536
    stream.link.pour(frames, 5)


def back_in_credit(stream):
    stream.credit(limit=1 << 20)
    stream.credit(limit=1 << 19)


def back_in_acknowledgement(stream):
    assert stream.echoes(b"four")
    stream.credit(acknowledged=3)


HUB_SEES = {
    "offset ahead": (lambda s: s.link.write(s.data_frame(b"x", offset=1)), PROTOCOL),
    "offset of the end of numbers": (lambda s: s.link.write(s.data_frame(b"x", offset=2**64 - 1)), PROTOCOL),
    "end of input ahead": (lambda s: s.finish(offset=5), PROTOCOL),
    "data after the end of input": (after_fin, PROTOCOL),
    "data beyond the limit": (pass_limit, REASONS["flow-control limit exceeded"]),
    "acknowledges what was not sent": (lambda s: s.credit(acknowledged=1), REASONS["flow-control limit exceeded"]),
    "limit goes back": (back_in_credit, REASONS["flow-control limit exceeded"]),
    "acknowledgement goes back": (back_in_acknowledgement, REASONS["flow-control limit exceeded"]),
}


@pytest.mark.parametrize("case", HUB_SEES)
def test_lie_that_the_hub_sees_ends_the_stream_alone(pond, link, case):
    lie, reason = HUB_SEES[case]
    sister = pond.evil.dial("web", 8080)
    stream = pond.evil.dial("web", 8080)
    with Counted(pond.hub_counters, "breaches"):
        lie(stream)
        assert stream.ends() == ("CLOSE", reason)
    assert sister.echoes(b"the sister goes on")


def flipped(stream):
    frame = bytearray(stream.data_frame(b"flipped"))
    frame[-1] ^= 1
    stream.link.write(bytes(frame))


def forged_credit(stream):
    stream.link.send("CREDIT", 1, stream.take(CONTROL_CLASS), 0, 1 << 20, bytes(16), label=stream.label)


def forged_reset(stream):
    stream.link.send("RESET", 1, stream.take(CONTROL_CLASS), bytes(17), label=stream.label)


def forged_epoch(stream):
    fields = (1, stream.take(CONTROL_CLASS), stream.session.id, bytes(32))
    stream.link.send("EPOCH", *fields, label=stream.label)


def skipped_epoch(stream):
    counter = stream.take(CONTROL_CLASS)
    text = struct.pack(">QQ", 3, 0)
    sealed = stream.seal("EPOCH", CONTROL_CLASS, counter, (0, 0), text, stream.session.id)
    stream.link.send("EPOCH", 1, counter, stream.session.id, sealed, label=stream.label)


def other_epoch(stream):
    stream.epoch = 2
    stream.send(b"nobody began this epoch")


TARGET_SEES = {
    "seal is broken": flipped,
    "counter is skipped": lambda s: s.link.write(s.data_frame(b"x", counter=7)),
    "counter is repeated": lambda s: s.link.write(s.data_frame(b"x", counter=0)),
    "credit is forged": forged_credit,
    "epoch is forged": forged_epoch,
    "epoch is skipped": skipped_epoch,
    "epoch was never begun": other_epoch,
}


@pytest.mark.parametrize("case", TARGET_SEES)
def test_lie_that_the_target_sees_ends_the_stream_alone(pond, link, case):
    sister = pond.evil.dial("web", 8080)
    stream = pond.evil.dial("web", 8080)
    with Counted(lambda: pond.agent_counters(pond.web), "integrity"):
        TARGET_SEES[case](stream)
        assert stream.ends() == ("RESET", REASONS["integrity"])
    assert sister.echoes(b"the sister goes on")


def test_forged_reset_is_no_reset_to_the_target(pond, link):
    """The hub believes the sender that it is over; the target counts what did not open."""
    sister = pond.evil.dial("web", 8080)
    stream = pond.evil.dial("web", 8080)
    with Counted(lambda: pond.agent_counters(pond.web), "integrity"):
        forged_reset(stream)
    assert sister.echoes(b"the sister goes on")


@pytest.mark.parametrize("limit", [2**22 + 1, 2**40, 2**64 - 1])
def test_credit_beyond_the_allowance_ends_its_link(pond, link, limit):
    """A sister's credit is counted already: the sum must not run over."""
    pond.evil.dial("web", 8080)
    stream = pond.evil.dial("web", 8080)
    with Counted(pond.hub_counters, "breaches"):
        stream.credit(limit=limit)
        ends_with(link, "allowance")


@pytest.mark.parametrize("limit", [2**22 + 1, 2**40, 2**64 - 1])
def test_open_with_a_limit_beyond_the_allowance_ends_its_link(pond, link, limit):
    """And the target, which never sees that circuit, hears nothing of its end."""
    pond.evil.dial("web", 8080)
    generation = pond.hub.peers()["web"]["generation"]
    with Counted(pond.hub_counters, "breaches"):
        pond.evil.dial("web", 8080, answered=False, limit=limit)
        ends_with(link, "allowance")
    assert pond.hub.peers()["web"]["generation"] == generation


@pytest.mark.parametrize("frame", ["ACK", "PING", "PONG"])
def test_acknowledgement_of_bytes_never_sent_ends_its_link(pond, link, frame):
    with Counted(pond.hub_counters, "breaches"):
        link.send(frame, *([1] if frame != "ACK" else []), 1 << 40)
        ends_with(link, "never sent")


# ---- OPEN ----

HALVES = {
    "dialer": ("cli", "web", 8080),
    "target": ("evil", "cli", 8080),
    "port": ("evil", "web", 22),
}


@pytest.mark.parametrize("case", HALVES)
def test_open_whose_halves_differ_is_refused(pond, link, case):
    with Counted(lambda: pond.agent_counters(pond.web), "integrity"):
        stream = pond.evil.dial("web", 8080, answered=False, inner=HALVES[case])
        assert stream.ends() == ("CLOSE", REASONS["integrity"])
    assert link.answers()


def test_open_under_an_unknown_session_is_refused(pond, link):
    session = pond.evil.session("web")
    true_id, session.id = session.id, os.urandom(16)
    try:
        stream = pond.evil.dial("web", 8080, answered=False)
        assert stream.ends() == ("CLOSE", REASONS["no session"])
    finally:
        session.id = true_id


def test_repeated_open_is_refused(pond, link):
    """The same stream identity under a new label, sealed rightly: taken once."""
    stream = pond.evil.dial("web", 8080)
    with Counted(lambda: pond.agent_counters(pond.web), "replayed"):
        pond.evil.stream_counter -= 1
        again = pond.evil.dial("web", 8080, answered=False)
        assert again.ends() == ("CLOSE", REASONS["denied"])
    assert stream.echoes(b"the first goes on")


def test_unexposed_port_never_reaches_the_target(pond, link):
    with Counted(pond.hub_counters, "port not exposed"):
        stream = pond.evil.dial("web", 22, answered=False)
        assert stream.ends() == ("CLOSE", REASONS["port not exposed"])


def test_member_that_dials_itself_through_the_hub_harms_nobody(pond, link):
    """One link at both ends of a circuit; it ends in the midst of two of them."""
    for label in (1, 3):
        fields = ("evil", "evil", 7, bytes(16), bytes(40), 1, 0, 65536, bytes(64))
        link.send("OPEN", *fields, label=label)
    back = link.next("OPEN").label
    link.send("CREDIT", 1, 0, 0, 1000, bytes(16), label=back)
    assert link.next("CREDIT").label == 1
    link.send("DATA", 1, 0, 0, bytes(100), label=1)
    assert link.next("DATA").label == back
    link.close()
    until("evil is away", lambda: pond.hub.peers()["evil"]["state"] == "away")


# ---- RESUME ----


def test_stream_goes_on_elsewhere_as_the_document_says(pond, link):
    """By PROTOCOL.md alone: a new circuit, a new epoch, and the bytes go on where they were."""
    stream = pond.evil.dial("web", 8080)
    assert stream.echoes(b"before")
    old = stream.label
    link.write(stream.resume_frame("web", 8080))
    name, (received, acknowledged, _, ended) = stream.wait_resumed()
    assert (name, received, acknowledged, ended) == ("RESUMED", 6, 6, 0)
    assert stream.echoes(b"behind it")
    assert link.next("CLOSE", where=lambda frame: frame.label == old)


NOT_TRUE = {
    "delivered more than came": {"received": 5, "acknowledged": 6, "limit": 65536},
    "delivered more than granted": {"received": 9, "acknowledged": 9, "limit": 8},
    "offset at the end of numbers": {"received": 2**64 - 8, "acknowledged": 2**64 - 8, "limit": 2**64 - 8},
    "offset beyond all streams": {"received": 2**62 + 1, "acknowledged": 2**62 + 1, "limit": 2**62 + 1},
    "limit at the end of numbers": {"received": 6, "acknowledged": 6, "limit": 2**64 - 1},
}


@pytest.mark.parametrize("case", NOT_TRUE)
def test_resume_with_claims_that_cannot_be_true_ends_its_link(pond, link, case):
    """The hub's arithmetic would run over, and then hold data that no credit covers."""
    stream = pond.evil.dial("web", 8080)
    with Counted(pond.hub_counters, "breaches"):
        link.write(stream.resume_frame("web", 8080, **NOT_TRUE[case]))
        ends_with(link, "contradictory offsets")


@pytest.mark.parametrize("limit", [2**22 + 1, 2**40, 2**62])
def test_resume_with_credit_beyond_the_allowance_ends_its_link(pond, link, limit):
    """Or with what is left of it beside the circuit that was left."""
    stream = pond.evil.dial("web", 8080)
    generation = pond.hub.peers()["web"]["generation"]
    with Counted(pond.hub_counters, "breaches"):
        link.write(stream.resume_frame("web", 8080, limit=limit))
        ends_with(link, "allowance")
    assert pond.hub.peers()["web"]["generation"] == generation


def test_resume_under_anothers_name_is_denied(pond, link):
    stream = pond.evil.dial("web", 8080)
    link.write(stream.resume_frame("web", 8080, name="cli"))
    assert stream.wait_resumed() == ("CLOSE", REASONS["denied"])
    assert link.answers()


def test_resume_to_a_port_that_is_not_exposed_is_refused(pond, link):
    stream = pond.evil.dial("web", 8080)
    with Counted(pond.hub_counters, "port not exposed"):
        link.write(stream.resume_frame("web", 22))
        assert stream.wait_resumed() == ("CLOSE", REASONS["port not exposed"])


def test_resume_whose_tag_does_not_hold_changes_nothing(pond, link):
    """The target goes on with the circuit that it has."""
    stream = pond.evil.dial("web", 8080)
    kept = stream.label, stream.epoch, stream.send_counter, stream.receive_counter
    frame = bytearray(stream.resume_frame("web", 8080))
    frame[-1] ^= 1
    with Counted(lambda: pond.agent_counters(pond.web), "replayed"):
        link.write(bytes(frame))
        assert stream.wait_resumed() == ("CLOSE", REASONS["denied"])
    stream.label, stream.epoch, stream.send_counter, stream.receive_counter = kept
    stream.receive_epoch = stream.epoch
    assert stream.echoes(b"as before")


def test_resume_that_comes_again_is_denied(pond, link):
    """Under a new label, sealed rightly: its epoch is past, on the stream and on its tombstone."""
    stream = pond.evil.dial("web", 8080)
    frame = stream.resume_frame("web", 8080)
    link.write(frame)
    assert stream.wait_resumed()[0] == "RESUMED"
    living = stream.label

    def repeat():
        label = link.next_label
        link.next_label += 2
        link.write(frame[:6] + struct.pack(">BI", 0xCE, label) + frame[11:])
        return link.next("CLOSE", "RESUMED", where=lambda frame: frame.label == label)

    with Counted(lambda: pond.agent_counters(pond.web), "replayed"):
        again = repeat()
        assert (again.name, again.fields) == ("CLOSE", [REASONS["denied"]])
    assert stream.label == living and stream.echoes(b"the first goes on")
    stream.finish()
    assert stream.ends_cleanly()
    assert link.answers()
    again = repeat()  # one nonce would seal two things, if it were answered
    assert again.name == "CLOSE", again


def out_of_turn(stream):
    """Of an OPEN's circuit, by the dialer."""
    stream.link.write(stream.resumed_frame(0, 0, 65536))


def by_the_dialer(stream):
    stream.link.write(stream.resume_frame("web", 8080))
    stream.link.write(stream.resumed_frame(0, 0, 65536))
    stream.receive_counter = [0, 0]


@pytest.mark.parametrize("act", [out_of_turn, by_the_dialer])
def test_resumed_out_of_turn_ends_its_circuit_alone(pond, link, act):
    sister = pond.evil.dial("web", 8080)
    stream = pond.evil.dial("web", 8080)
    with Counted(pond.hub_counters, "breaches"):
        act(stream)
        assert link.next("CLOSE", where=lambda frame: frame.label == stream.label).fields == [PROTOCOL]
    assert sister.echoes(b"the sister goes on")


@pytest.mark.parametrize("offset", [0, 7, 2**64 - 1])
def test_data_that_does_not_continue_what_was_claimed_ends_its_circuit_alone(pond, link, offset):
    sister = pond.evil.dial("web", 8080)
    stream = pond.evil.dial("web", 8080)
    assert stream.echoes(b"before")
    link.write(stream.resume_frame("web", 8080))
    assert stream.wait_resumed()[0] == "RESUMED"
    with Counted(pond.hub_counters, "breaches"):
        link.write(stream.data_frame(b"x", offset=offset))
        assert stream.ends() == ("CLOSE", PROTOCOL)
    assert sister.echoes(b"the sister goes on")


RESUMED_BEFORE = {
    "data": lambda link, label: link.send("DATA", 65536, 1, 0, bytes(100), label=label),
    "credit": lambda link, label: link.send("CREDIT", 65536, 0, 0, 1000, bytes(16), label=label),
}


@pytest.mark.parametrize("case", RESUMED_BEFORE)
def test_member_that_resumes_to_itself_and_answers_wrongly_harms_nobody(pond, link, case):
    """One link at both ends: whatever comes before RESUMED ends the circuit."""
    tail = (65536, 0, 0, 65536, 0, bytes(16))
    link.send("RESUME", "evil", "evil", 7, bytes(16), bytes(40), *tail, label=1)
    back = link.next("RESUME").label
    with Counted(pond.hub_counters, "breaches"):
        RESUMED_BEFORE[case](link, back)
        assert link.next("CLOSE").fields == [PROTOCOL if case == "data" else REASONS["flow-control limit exceeded"]]
    assert link.answers()


def test_data_beyond_what_a_resumed_circuit_covers_ends_it(pond, link):
    """Two liars that claim to be far on: what the hub holds for them stays within their credit."""
    begin = 2**62 - 100000
    tail = (65536, begin, begin, begin + 65536, 0, bytes(16))
    link.send("RESUME", "evil", "evil", 7, bytes(16), bytes(40), *tail, label=1)
    back = link.next("RESUME").label
    link.send("RESUMED", 65536, begin, begin, begin + 65536, 0, bytes(16), label=back)
    assert link.next("RESUMED").label == 1
    with Counted(pond.hub_counters, "breaches"):
        link.send("DATA", 65536, 1, begin, bytes(40016), label=1)
        assert link.next("DATA").label == back
        link.send("DATA", 65536, 2, begin + 40000, bytes(40016), label=1)
        assert link.next("CLOSE").fields == [REASONS["flow-control limit exceeded"]]
    assert link.answers()


# ---- evil is dialed ----


def evil_answers(pond, act):
    """cli dials evil, which answers as act says; what dial said, and its exit status."""
    evil = pond.evil
    child = pond.cli.dial_open("evil.cbx:7")
    if "cli" not in evil.sessions:
        evil.chain("cli")
        evil.answer_session("cli")
    stream = evil.accept("cli")
    assert stream.port == 7
    act(stream)
    status = child.wait(20)
    return status, child.stderr.read().decode()


def data_before_answer(stream):
    stream.may_send = 1 << 20
    stream.send(b"impatient")


def answers_then(act):
    def answer(stream):
        stream.credit()
        act(stream)

    return answer


ANSWERS = {
    "data before the answer": (data_before_answer, "protocol error|connection reset|integrity"),
    "forged answer": (forged_credit, "integrity"),
    "forged refusal": (forged_reset, "integrity"),
    "acknowledges in the answer": (lambda s: s.credit(acknowledged=9), "flow-control limit exceeded"),
    "answer, then a flipped byte": (answers_then(flipped), "integrity"),
    "answer, then an end at the wrong place": (answers_then(lambda s: s.finish(offset=3)), "protocol error"),
    "answer, then a wrong counter": (
        answers_then(lambda s: s.link.write(s.data_frame(b"x", counter=9))),
        "integrity",
    ),
    "answer, then CLOSE": (answers_then(lambda s: s.link.send("CLOSE", 13, label=s.label)), "lost"),
    "refusal with a reason nobody knows": (lambda s: s.reset(reason=200), "."),
}


@pytest.mark.parametrize("case", ANSWERS)
def test_lying_target_harms_only_its_own_stream(pond, link, case):
    act, words = ANSWERS[case]
    status, said = evil_answers(pond, act)
    assert status == 1
    assert any(word in said for word in words.split("|")), said
    assert len(said.splitlines()) == 1 and said.startswith("cbx-agent: "), said
    assert link.answers()


def test_lying_answer_to_a_handshake_is_refused(pond, link):
    """A second message of noise: the dial fails in words, and the next session is a true one."""
    evil = pond.evil
    evil.sessions.pop("cli", None)
    pond.cli.process.terminate()
    pond.cli.up(proxy="127.0.0.1:0")
    pond.bystander = Bystander(pond)  # the first one was cli's
    evil.wait_ready("cli")
    child = pond.cli.dial_open("evil.cbx:7")
    first = link.next("HANDSHAKE", where=lambda frame: frame.fields[0] == "cli")
    with Counted(lambda: pond.agent_counters(pond.cli), "handshakes_refused"):
        link.send("HANDSHAKE", "evil", "cli", 2, first.fields[4], first.fields[3], os.urandom(96))
    evil.answer_session("cli")
    stream = evil.accept("cli")
    stream.credit()
    assert child.poll() is None
    child.stdin.write(b"after all")
    assert stream.receive(9) == b"after all"


# ---- floods ----


# A sanitizer keeps what was freed.
ROOM = 16 * 1024 if "asan" not in HUB else 128 * 1024


def rss(process):
    """Resident kibibytes."""
    with open(f"/proc/{process.child.pid}/statm") as file:
        return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE") // 1024


def flooded_out(pond, link, data):
    """Pours until the hub closes. It says why in its log; a flooder need not hear it."""
    words = "evil.demo.cbx left: too many frames over the rate limit"
    said, before = pond.hub.process.stderr().count(words), rss(pond.hub.process)
    with Counted(pond.hub_counters, "shed_frames", "breaches"):
        link.pour(data, 8)
        link.expect_end()
    assert pond.hub.process.stderr().count(words) == said + 1
    assert rss(pond.hub.process) - before < 2 * ROOM


FLOODS = {
    "CHAIN_GET": encode("CHAIN_GET", "web"),
    "NO_HANDSHAKE": encode("NO_HANDSHAKE", "evil", "web", 6),
    "CONFIRM": encode("CONFIRM", "evil", "web", bytes(16), bytes(16)),
}


@pytest.mark.parametrize("case", FLOODS)
def test_flood_of_control_is_shed_and_ends_its_link(pond, link, case):
    flooded_out(pond, link, FLOODS[case] * 40000)


def test_flood_of_opens_is_refused_and_ends_its_link(pond, link):
    """Each OPEN is well-formed and leads to web, which knows no such session."""
    fields = ("evil", "web", 8080, bytes(16), bytes(40), 1, 0, 0, bytes(64))
    opens = [encode("OPEN", *fields, label=label) for label in range(1, 80000, 2)]
    with Counted(pond.hub_counters, "overloaded"):
        flooded_out(pond, link, b"".join(opens))


def test_repeated_first_message_is_taken_once(pond, link):
    _, first = pond.evil.first_message("web")
    with Counted(lambda: pond.agent_counters(pond.web), "replayed"):
        link.write(first * 3)
        assert link.answers()


def test_flood_of_first_messages_is_shed_by_the_victim(pond, link):
    messages = [pond.evil.first_message("web")[1] for _ in range(50)]
    with Counted(lambda: pond.agent_counters(pond.web), "handshakes_shed"):
        link.write(b"".join(messages))
        assert link.answers()


@pytest.mark.parametrize("name", ["PING", "ALLOWED", "WANT", "ACK", "PACE"])
def test_flood_of_link_frames_costs_no_memory(pond, link, name):
    """Answers to a flooder that does not read are bounded; one that reads is just served."""
    fields = {"PING": (1, 0), "WANT": (1 << 40,)}.get(name, (0,))
    before = rss(pond.hub.process)
    link.pour(encode(name, *fields) * 200000, 2, reads=name == "WANT")
    pond.unharmed()
    assert rss(pond.hub.process) - before < ROOM


def test_flood_of_credit_on_one_circuit_harms_nobody(pond, link):
    """The victim opens each of them; they are legal as long as they do not go back."""
    stream = pond.evil.dial("web", 8080)
    frames = b""
    for _ in range(5000):
        counter = stream.take(CONTROL_CLASS)
        tag = stream.seal("CREDIT", CONTROL_CLASS, counter, (0, 65536))
        frames += encode("CREDIT", 1, counter, 0, 65536, tag, label=stream.label)
    link.pour(frames, 5)
    pond.unharmed()


def test_allowance_that_is_never_given_back_starves_nobody(pond, link):
    """evil asks for all there is; a new lease still attaches and transfers."""
    for _ in range(40):
        link.send("WANT", 2**63)
    assert link.answers()
    status = pond.hub.json("status")
    assert status["allowance_bytes"] <= status["queue_max"] / 2
    assert pond.works()


def test_member_that_never_answers_a_lower_allowance_loses_its_link():
    """It takes what it can get, then says nothing of it; what it had goes to others."""
    world = World()
    try:
        stand = Watched(world, ["--queue-max", "2M", "--allowance-grace", "1s"]).start()
        evil = RawAgent(world, stand.hub.invite("evil", expose=["7"])).join()
        link = evil.attach()
        link.answers_allow = False
        link.send("WANT", 2**63)
        assert link.next("ALLOW").fields[1] > 600000
        with Counted(stand.hub_counters, "allowances_kept"):
            for name in ("one", "two"):
                RawAgent(world, stand.hub.invite(name)).join().attach()
            ends_with(link, "the lowered allowance was not confirmed", REASONS["timed out"])
        assert stand.works()
        stand.unharmed()
    finally:
        world.close()
