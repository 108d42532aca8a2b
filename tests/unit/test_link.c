/* SPDX-License-Identifier: MIT */
/* One link of each side, with made-up circuits; bytes go from one to the other by hand. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "link.h"
#include <string.h>

enum { MS = 1000, SECOND = 1000 * MS, KEEPALIVE = 15 * SECOND, GONE = 45 * SECOND };
#define KIB ((uint64_t)1024)

struct side {
    struct cbx_link link;
    uint32_t frames, wakes;
    struct cbx_frame last;
    uint8_t order[64]; /* types as they came */
    int answer;
    struct cbx_slice kept[64];
    bool keep; /* the last 64 frames, as a relay does */
};

/* A circuit that sends DATA frames of one size, and CREDIT frames. */
struct source {
    struct cbx_circuit circuit;
    uint32_t size;
    uint64_t left, control_left;
    uint64_t sent, control_sent;
};

static struct side hub, agent;
static struct source source[4];
static struct cbx_error error;
static int64_t now;

static int
on_frame(void *owner, struct cbx_link *link, const struct cbx_frame *frame, int64_t at,
         struct cbx_error *out)
{
    (void)link;
    (void)at;
    struct side *side = owner;
    side->last = *frame;
    side->order[side->frames % 64] = (uint8_t)frame->type;
    if (side->keep) {
        struct cbx_slice *kept = &side->kept[side->frames % 64];
        cbx_slice_drop(kept);
        *kept = cbx_slice_of(frame->raw.slab, frame->raw.data, frame->raw.length);
    }
    side->frames++;
    return side->answer < 0 ? cbx_fail(out, side->answer, "the owner said so") : 0;
}

static void
on_wake(void *owner, struct cbx_link *link)
{
    (void)link;
    ((struct side *)owner)->wakes++;
}

static const struct cbx_link_ops ops = { .frame = on_frame, .wake = on_wake };

static int
source_data(struct cbx_circuit *circuit, uint64_t room, int64_t at, struct cbx_slice *out)
{
    (void)room;
    (void)at;
    struct source *from = (struct source *)circuit;
    if (from->left == 0)
        return 0;
    from->left--;
    static uint8_t payload[CBX_PAYLOAD_MAX];
    struct cbx_field fields[] = { cbx_field_uint(1), cbx_field_uint(1), cbx_field_uint(1),
                                  cbx_field_bytes(payload, from->size) };
    *out = cbx_frame_slice(CBX_FRAME_DATA, circuit->label, fields, 4);
    from->sent += out->length;
    return 1;
}

static int
source_control(struct cbx_circuit *circuit, int64_t at, struct cbx_slice *out)
{
    (void)at;
    struct source *from = (struct source *)circuit;
    if (from->control_left == 0)
        return 0;
    from->control_left--;
    uint8_t tag[16] = { 0 };
    struct cbx_field fields[] = { cbx_field_uint(1), cbx_field_uint(1), cbx_field_uint(1),
                                  cbx_field_uint(1), cbx_field_bytes(tag, 16) };
    *out = cbx_frame_slice(CBX_FRAME_CREDIT, circuit->label, fields, 5);
    from->control_sent += out->length;
    return 1;
}

static const struct cbx_circuit_ops source_ops = { .data = source_data, .control = source_control };

static void
source_init(int i, uint32_t size, uint64_t count)
{
    memset(&source[i], 0, sizeof source[i]);
    assert_int_equal(cbx_circuit_add(&agent.link, &source[i].circuit, cbx_link_label(&agent.link),
                                     &source_ops),
                     0);
    source[i].size = size;
    source[i].left = count;
    cbx_circuit_data_ready(&source[i].circuit);
}

static int
setup(void **state)
{
    (void)state;
    memset(&hub, 0, sizeof hub);
    memset(&agent, 0, sizeof agent);
    memset(source, 0, sizeof source);
    now = SECOND;
    struct cbx_link_config config
        = { .hub = true, .keepalive_us = KEEPALIVE, .gone_us = GONE };
    int result = cbx_link_init(&hub.link, &config, &ops, &hub, now);
    config.hub = false;
    return result | cbx_link_init(&agent.link, &config, &ops, &agent, now);
}

static int
teardown(void **state)
{
    (void)state;
    for (int i = 0; i < 4; i++)
        cbx_circuit_remove(&source[i].circuit);
    for (int i = 0; i < 64; i++) {
        cbx_slice_drop(&hub.kept[i]);
        cbx_slice_drop(&agent.kept[i]);
    }
    cbx_link_dispose(&hub.link);
    cbx_link_dispose(&agent.link);
    cbx_slab_trim();
    return cbx_slab_bytes() != 0;
}

/* Takes at most `most` bytes of what one side has to say; the first of them land in `to`. */
static size_t
take(struct side *from, uint8_t *to, size_t most)
{
    struct iovec vector[16];
    size_t taken = 0;
    int count;
    while (taken < most && (count = cbx_link_output(&from->link, vector, 16, now)) > 0) {
        size_t part = 0;
        for (int i = 0; i < count && taken + part < most; i++) {
            size_t n = vector[i].iov_len < most - taken - part ? vector[i].iov_len
                                                               : most - taken - part;
            if (to)
                memcpy(to + taken + part, vector[i].iov_base, n);
            part += n;
        }
        cbx_link_written(&from->link, part);
        taken += part;
    }
    return taken;
}

static int
give(struct side *to, const void *bytes, size_t length)
{
    return cbx_link_input(&to->link, bytes, length, now, &error);
}

/* Everything, in pieces of `chop`. */
static size_t
move(struct side *from, struct side *to, size_t chop)
{
    static uint8_t bytes[512 * 1024];
    size_t moved = 0, n;
    while ((n = take(from, bytes, chop)) > 0) {
        assert_int_equal(give(to, bytes, n), 0);
        moved += n;
    }
    return moved;
}

static void
greet(void)
{
    move(&hub, &agent, 1024);
    assert_true(agent.link.magic_seen);
    now += 1;
}

static int
send_ping(struct side *from, uint64_t nonce, uint64_t received)
{
    struct cbx_field fields[] = { cbx_field_uint(nonce), cbx_field_uint(received) };
    return cbx_link_send(&from->link, CBX_FRAME_PING, 0, fields, 2);
}

static int
send_number(struct side *from, enum cbx_frame_type type, uint64_t number)
{
    struct cbx_field field = cbx_field_uint(number);
    return cbx_link_send(&from->link, type, 0, &field, 1);
}

/* Lets the sender send as if the path were endless. */
static void
no_cap(void)
{
    agent.link.pace.cap = UINT64_C(1) << 40;
}

/* ---- the first bytes ---- */

static void
the_hub_speaks_first(void **state)
{
    (void)state;
    static const uint8_t magic[] = { 0x00, 0x63, 0x62, 0x78, 0x20, 0x6c, 0x69, 0x6e,
                                     0x6b, 0x20, 0x31, 0x0d, 0x0a, 0x00, 0xff, 0x00 };
    uint8_t bytes[64];
    assert_int_equal(take(&agent, bytes, sizeof bytes), 0);
    assert_int_equal(take(&hub, bytes, sizeof bytes), sizeof magic);
    assert_memory_equal(bytes, magic, sizeof magic);
    assert_int_equal(give(&agent, bytes, sizeof magic), 0);
    assert_true(agent.link.magic_seen);
    assert_int_equal(agent.link.junk, 0);
}

static int
give_junk_and_magic(const uint8_t *junk, size_t length, size_t chop)
{
    static uint8_t bytes[16 * 1024];
    memcpy(bytes, junk, length);
    memcpy(bytes + length, cbx_link_magic, 16);
    for (size_t at = 0; at < length + 16; at += chop) {
        size_t n = length + 16 - at < chop ? length + 16 - at : chop;
        int result = give(&agent, bytes + at, n);
        if (result < 0)
            return result;
    }
    return 0;
}

static void
junk_of_8_kib_before_the_magic_is_skipped(void **state)
{
    (void)state;
    static uint8_t junk[8192];
    for (size_t i = 0; i < sizeof junk; i++)
        junk[i] = i % 5 ? (uint8_t)"Welcome to Debian\r\n\0\0c"[i % 22] : 0;
    assert_int_equal(give_junk_and_magic(junk, sizeof junk, 1), 0);
    assert_true(agent.link.magic_seen);
    assert_int_equal(agent.link.junk, 8192);
}

static void
one_byte_of_junk_more_ends_the_link(void **state)
{
    (void)state;
    static uint8_t junk[8193];
    memset(junk, 'x', sizeof junk);
    assert_int_equal(give_junk_and_magic(junk, sizeof junk, 16 * 1024), CBX_ERR_FORMAT);
    assert_true(agent.link.failed);
    assert_non_null(strstr(error.text, "8192"));
}

static void
endless_junk_ends_the_link(void **state)
{
    (void)state;
    uint8_t junk[100];
    memset(junk, 0, sizeof junk);
    int result = 0, rounds = 0;
    while (result == 0 && rounds++ < 1000)
        result = give(&agent, junk, sizeof junk);
    assert_int_equal(result, CBX_ERR_FORMAT);
    assert_int_equal(rounds, 82);
}

/* Whatever part of the magic comes before it, but for its first 15 bytes: those and a NUL are it. */
static void
a_piece_of_the_magic_is_junk_too(void **state)
{
    (void)state;
    for (size_t part = 1; part < 15; part++) {
        teardown(NULL);
        setup(NULL);
        assert_int_equal(give_junk_and_magic(cbx_link_magic, part, 1), 0);
        assert_true(agent.link.magic_seen);
        assert_int_equal(agent.link.junk, part);
    }
}

static void
frames_right_behind_the_magic_are_taken(void **state)
{
    (void)state;
    send_number(&hub, CBX_FRAME_SYNCED, 3);
    move(&hub, &agent, 4096);
    assert_int_equal(agent.frames, 1);
    assert_int_equal(agent.last.type, CBX_FRAME_SYNCED);
}

/* ---- input ---- */

static void
frames_chopped_at_every_byte_come_whole(void **state)
{
    (void)state;
    greet();
    no_cap();
    source_init(0, 300, 20);
    source_init(1, 17000, 2);
    uint64_t moved = move(&agent, &hub, 1);
    assert_int_equal(hub.frames, 22);
    assert_int_equal(hub.link.data_received, source[0].sent + source[1].sent);
    assert_int_equal(hub.link.count.bytes_in, moved);
    assert_int_equal(agent.link.count.bytes_out, moved);
}

static void
a_length_out_of_bounds_ends_the_link_and_allocates_nothing(void **state)
{
    (void)state;
    static const uint8_t lengths[][4]
        = { { 0xff, 0xff, 0xff, 0xff }, { 0, 1, 2, 0x11 }, { 0, 0, 0, 1 }, { 0, 0, 0, 0 } };
    for (int i = 0; i < 4; i++) {
        teardown(NULL);
        setup(NULL);
        give(&hub, lengths[i], 3);
        size_t before = cbx_slab_bytes();
        assert_int_equal(give(&hub, lengths[i] + 3, 1), CBX_ERR_FORMAT);
        assert_int_equal(cbx_slab_bytes(), before);
        assert_true(hub.link.failed);
    }
}

static void
a_failed_link_takes_and_says_nothing_more(void **state)
{
    (void)state;
    greet();
    send_number(&hub, CBX_FRAME_SYNCED, 3);
    assert_int_equal(give(&hub, "\0\0\0\2\x91\x0f", 6), CBX_ERR_NOTFOUND);
    struct iovec vector[4];
    assert_int_equal(cbx_link_output(&hub.link, vector, 4, now), 0);
    assert_false(cbx_link_has_output(&hub.link));
    assert_int_equal(send_number(&hub, CBX_FRAME_SYNCED, 3), CBX_ERR_LIMIT);
    give(&hub, "\0\0\0\2\x91\x06", 6);
    assert_int_equal(hub.frames, 0);
}

static void
the_owners_refusal_ends_the_link_at_that_frame(void **state)
{
    (void)state;
    hub.answer = CBX_ERR_STATE;
    assert_int_equal(give(&hub, "\0\0\0\2\x91\x06\0\0\0\2\x91\x06", 12), CBX_ERR_STATE);
    assert_string_equal(error.text, "the owner said so");
    assert_int_equal(hub.frames, 1);
    assert_true(hub.link.failed);
}

static void
a_kept_frame_outlives_the_links_buffer(void **state)
{
    (void)state;
    greet();
    no_cap();
    hub.keep = true;
    source_init(0, 3000, 40);
    move(&agent, &hub, 10000);
    struct cbx_frame_decoder decoder;
    cbx_frame_decoder_init(&decoder);
    for (int i = 0; i < 40; i++) {
        struct cbx_frame frame;
        assert_int_equal(cbx_frame_decode(&decoder, hub.kept[i], &frame, NULL), 0);
        assert_int_equal(frame.field[3].n, 3000);
    }
    cbx_frame_decoder_dispose(&decoder);
}

/* As a relay: frames are kept by reference, reads are as large as they come. */
static void
large_frames_are_not_copied(void **state)
{
    (void)state;
    static uint8_t bytes[512 * 1024];
    greet();
    no_cap();
    hub.keep = true;
    for (int i = 0; i < 3; i++)
        source_init(i, (uint32_t)(65000 - i * 1111), 1000);
    source_init(3, 300, 1000);
    for (int i = 0; i < 200; i++) {
        uint8_t *at;
        size_t room;
        if (i == 20)
            hub.link.count.copied = 0; /* by then the buffer has grown */
        assert_int_equal(cbx_link_space(&hub.link, &at, &room), 0);
        size_t n = take(&agent, bytes, room);
        assert_true(n > 0);
        memcpy(at, bytes, n);
        assert_int_equal(cbx_link_received(&hub.link, n, now, &error), 0);
    }
    assert_true(hub.link.count.bytes_in > 10 * 1024 * KIB);
    assert_in_range(hub.link.count.copied, 0, 1000);
}

static void
a_link_at_rest_keeps_no_buffer(void **state)
{
    (void)state;
    greet();
    no_cap();
    source_init(0, 65000, 40);
    move(&agent, &hub, 300 * KIB);
    assert_int_equal(hub.frames, 40);
    for (int i = 0; i < 3; i++) {
        send_ping(&agent, 1, 0);
        move(&agent, &hub, 1000);
    }
    assert_null(hub.link.in);
    assert_null(agent.link.in);
}

/* ---- order and fairness ---- */

static void
circuits_share_by_bytes_whatever_their_record_size(void **state)
{
    (void)state;
    greet();
    no_cap();
    source_init(0, 500, 100000);
    source_init(1, 4096, 100000);
    source_init(2, 20000, 100000);
    source_init(3, 65000, 100000);
    take(&agent, NULL, 16 * 1024 * KIB);
    for (int i = 0; i < 4; i++)
        assert_in_range(source[i].sent, 4 * 1024 * KIB - 140 * KIB, 4 * 1024 * KIB + 140 * KIB);
}

static void
a_newly_active_circuit_is_served_first(void **state)
{
    (void)state;
    greet();
    no_cap();
    source_init(0, 65000, 100000);
    source_init(1, 65000, 100000);
    take(&agent, NULL, 2 * 1024 * KIB);
    source_init(2, 100, 1);
    /* Only what was committed already is before it. */
    struct iovec vector[CBX_LINK_OUT_SLICES];
    uint32_t committed = agent.link.out_count;
    int count = cbx_link_output(&agent.link, vector, CBX_LINK_OUT_SLICES, now);
    assert_true(count > (int)committed);
    assert_int_equal(vector[committed].iov_len, source[2].sent);
    assert_int_equal(source[2].left, 0);
}

/* Being idle saves nothing up: a circuit that was sparse for long gets its share and no more. */
static void
a_sparse_circuit_gathers_no_claim(void **state)
{
    (void)state;
    greet();
    no_cap();
    source_init(0, 4000, 1000000);
    source_init(1, 100, 1);
    for (int i = 0; i < 3000; i++) {
        source[1].left = 1;
        cbx_circuit_data_ready(&source[1].circuit);
        take(&agent, NULL, 20000);
    }
    source[1].size = 4000;
    source[1].left = 1000000;
    cbx_circuit_data_ready(&source[1].circuit);
    uint64_t zero = source[0].sent, one = source[1].sent;
    take(&agent, NULL, 4 * 1024 * KIB);
    assert_in_range(source[1].sent - one, 2 * 1024 * KIB - 100 * KIB, 2 * 1024 * KIB + 300 * KIB);
    assert_in_range(source[0].sent - zero, 2 * 1024 * KIB - 300 * KIB, 2 * 1024 * KIB + 100 * KIB);
}

static void
control_goes_first(void **state)
{
    (void)state;
    greet();
    no_cap();
    source_init(0, 1000, 3);
    source[0].control_left = 2;
    cbx_circuit_control_ready(&source[0].circuit);
    send_number(&agent, CBX_FRAME_WANT, 1);
    move(&agent, &hub, 1 << 16);
    static const uint8_t order[] = { CBX_FRAME_WANT, CBX_FRAME_CREDIT, CBX_FRAME_CREDIT,
                                     CBX_FRAME_DATA, CBX_FRAME_DATA,   CBX_FRAME_DATA };
    assert_int_equal(hub.frames, sizeof order);
    assert_memory_equal(hub.order, order, sizeof order);
}

static void
control_takes_a_quarter_of_a_busy_link_at_most(void **state)
{
    (void)state;
    greet();
    no_cap();
    source_init(0, 4000, 1000000);
    source_init(1, 4000, 0);
    take(&agent, NULL, 1024 * KIB); /* the second has found that it has no data */
    uint64_t before = source[0].sent;
    source[1].control_left = 1000000; /* a flood of credit on one circuit */
    cbx_circuit_control_ready(&source[1].circuit);
    uint64_t taken = take(&agent, NULL, 4 * 1024 * KIB);
    assert_in_range(source[1].control_sent, taken / 5, taken / 4 + 2 * 64 * KIB);
    assert_true(source[0].sent - before > taken / 2);
}

/* What is beyond that quarter comes out of the circuit's own share. */
static void
a_flood_of_control_on_a_busy_circuit_costs_its_own_data(void **state)
{
    (void)state;
    greet();
    no_cap();
    source_init(0, 4000, 1000000);
    source_init(1, 4000, 1000000);
    source[1].control_left = 1000000;
    cbx_circuit_control_ready(&source[1].circuit);
    uint64_t taken = take(&agent, NULL, 4 * 1024 * KIB);
    assert_in_range(source[0].sent, taken / 4 * 3 / 2 - 100 * KIB, taken / 2);
}

static void
without_data_control_has_the_whole_link(void **state)
{
    (void)state;
    greet();
    source_init(0, 4000, 0);
    source[0].control_left = 20000;
    cbx_circuit_control_ready(&source[0].circuit);
    take(&agent, NULL, 8 * 1024 * KIB);
    assert_int_equal(source[0].control_left, 0);
}

/* An EPOCH must not be overtaken by the records that it announces. */
static void
a_circuits_control_goes_before_its_data(void **state)
{
    (void)state;
    greet();
    no_cap();
    agent.link.control_credit = -1000; /* used up */
    source_init(0, 1000, 1);
    source[0].control_left = 1;
    cbx_circuit_control_ready(&source[0].circuit);
    move(&agent, &hub, 1 << 16);
    assert_int_equal(hub.order[0], CBX_FRAME_CREDIT);
    assert_int_equal(hub.order[1], CBX_FRAME_DATA);
}

static void
the_control_queue_is_bounded(void **state)
{
    (void)state;
    int sent = 0;
    while (send_number(&agent, CBX_FRAME_WANT, 1) == 0)
        sent++;
    assert_int_equal(sent, CBX_LINK_CONTROL_MAX);
}

static void
little_is_committed_ahead_of_the_carrier(void **state)
{
    (void)state;
    greet();
    no_cap();
    source_init(0, 65000, 1000);
    struct iovec vector[CBX_LINK_OUT_SLICES];
    for (int i = 0; i < 10; i++)
        cbx_link_output(&agent.link, vector, CBX_LINK_OUT_SLICES, now);
    assert_true(agent.link.out_bytes < CBX_LINK_COMMIT_MAX + 65536);
}

static void
a_removed_circuit_sends_nothing_more(void **state)
{
    (void)state;
    greet();
    no_cap();
    source_init(0, 1000, 5);
    source[0].control_left = 5;
    cbx_circuit_control_ready(&source[0].circuit);
    uint32_t label = source[0].circuit.label;
    assert_ptr_equal(cbx_circuit_find(&agent.link, label), &source[0].circuit);
    cbx_circuit_remove(&source[0].circuit);
    cbx_circuit_remove(&source[0].circuit);
    cbx_circuit_data_ready(&source[0].circuit);
    cbx_circuit_control_ready(&source[0].circuit);
    assert_null(cbx_circuit_find(&agent.link, label));
    assert_int_equal(take(&agent, NULL, 10000), 0);
}

/* ---- in flight, acks ---- */

static void
no_more_than_the_cap_is_in_flight(void **state)
{
    (void)state;
    greet();
    source_init(0, 5000, 1000);
    uint64_t sent = take(&agent, NULL, 4 * 1024 * KIB);
    assert_in_range(agent.link.pace.sent, 256 * KIB, 256 * KIB + 5100); /* the last may pass it */
    assert_true(sent < 262 * KIB);
    assert_false(cbx_link_has_output(&agent.link));
    assert_int_equal(send_number(&hub, CBX_FRAME_ACK, 100000), 0);
    move(&hub, &agent, 1000);
    assert_true(cbx_link_has_output(&agent.link));
    take(&agent, NULL, 4 * 1024 * KIB);
    assert_true(agent.link.pace.sent - agent.link.pace.acked <= agent.link.pace.cap + 5100);
}

static void
control_is_outside_the_cap(void **state)
{
    (void)state;
    greet();
    source_init(0, 5000, 1000);
    take(&agent, NULL, 4 * 1024 * KIB);
    send_number(&agent, CBX_FRAME_WANT, 1);
    assert_true(cbx_link_has_output(&agent.link));
    assert_true(take(&agent, NULL, 4096) > 0);
}

static void
a_quarter_of_the_cap_is_acknowledged_at_once(void **state)
{
    (void)state;
    greet();
    no_cap();
    source_init(0, 1000, 64); /* 64 KiB before a PACE came */
    agent.link.pace_told = agent.link.pace.cap / 4;
    move(&agent, &hub, 4096);
    assert_true(hub.link.ack_at && hub.link.ack_at > now);
    source[0].left = 2;
    cbx_circuit_data_ready(&source[0].circuit);
    move(&agent, &hub, 4096);
    assert_int_equal(hub.link.ack_at, now);
    move(&hub, &agent, 1000);
    assert_int_equal(agent.link.pace.acked, agent.link.pace.sent);
    assert_int_equal(hub.link.ack_at, 0);
}

static void
less_is_acknowledged_after_5_ms(void **state)
{
    (void)state;
    greet();
    source_init(0, 100, 1);
    move(&agent, &hub, 4096);
    assert_int_equal(cbx_link_deadline(&hub.link), now + 5 * MS);
    now += 5 * MS - 1;
    cbx_link_tick(&hub.link, now);
    move(&hub, &agent, 1000);
    assert_int_equal(agent.link.pace.acked, 0);
    now += 1;
    cbx_link_tick(&hub.link, now);
    move(&hub, &agent, 1000);
    assert_int_equal(agent.link.pace.acked, agent.link.pace.sent);
}

static void
pace_says_how_often_to_acknowledge(void **state)
{
    (void)state;
    greet();
    source_init(0, 100, 1);
    move(&agent, &hub, 4096);
    assert_int_equal(hub.link.ack_every, 256 * KIB / 4);
    send_number(&agent, CBX_FRAME_PACE, 5000);
    move(&agent, &hub, 4096);
    assert_int_equal(hub.link.ack_every, 5000);
    send_number(&agent, CBX_FRAME_PACE, 0); /* an ack per byte is not to be had */
    move(&agent, &hub, 4096);
    assert_int_equal(hub.link.ack_every, 1024);
}

static void
an_ack_of_what_was_never_sent_ends_the_link(void **state)
{
    (void)state;
    greet();
    source_init(0, 100, 1);
    move(&agent, &hub, 4096);
    send_number(&hub, CBX_FRAME_ACK, agent.link.pace.sent + 1);
    uint8_t bytes[100];
    size_t n = take(&hub, bytes, sizeof bytes);
    assert_int_equal(give(&agent, bytes, n), CBX_ERR_FORMAT);
    assert_true(agent.link.failed);
    assert_string_equal(error.text, "link: acknowledged bytes that were never sent");
}

/* ---- time ---- */

static void
a_ping_is_answered_with_its_nonce_and_what_was_received(void **state)
{
    (void)state;
    greet();
    source_init(0, 100, 1);
    move(&agent, &hub, 4096);
    agent.link.ping_nonce = 77;
    agent.link.ping_sent_at = now;
    send_ping(&agent, 77, 0);
    move(&agent, &hub, 4096);
    now += 30 * MS;
    move(&hub, &agent, 4096);
    assert_int_equal(agent.link.delay_us, 30 * MS);
    assert_int_equal(agent.link.pace.acked, agent.link.pace.sent);
    assert_int_equal(agent.frames + hub.frames, 1); /* the owner sees none of it */
}

static void
an_answer_to_no_ping_measures_nothing(void **state)
{
    (void)state;
    greet();
    struct cbx_field fields[] = { cbx_field_uint(5), cbx_field_uint(0) };
    cbx_link_send(&hub.link, CBX_FRAME_PONG, 0, fields, 2);
    move(&hub, &agent, 100);
    assert_int_equal(agent.link.delay_us, 0);
}

static void
a_ping_goes_out_after_the_keepalive(void **state)
{
    (void)state;
    greet();
    int64_t heard = now - 1; /* the magic */
    assert_int_equal(cbx_link_deadline(&agent.link), heard + KEEPALIVE);
    now = heard + KEEPALIVE - 1;
    assert_int_equal(cbx_link_tick(&agent.link, now), 0);
    assert_false(cbx_link_has_output(&agent.link));
    now++;
    assert_int_equal(cbx_link_tick(&agent.link, now), 0);
    assert_true(cbx_link_has_output(&agent.link));
    assert_int_equal(cbx_link_deadline(&agent.link), now + KEEPALIVE);
    take(&agent, NULL, 1000);
    cbx_link_tick(&agent.link, now + 1);
    assert_false(cbx_link_has_output(&agent.link)); /* one is enough */
}

static void
silence_for_too_long_is_the_end(void **state)
{
    (void)state;
    greet();
    int64_t heard = now - 1;
    for (now = heard; now < heard + GONE; now = cbx_link_deadline(&agent.link)) {
        assert_int_equal(cbx_link_tick(&agent.link, now), 0);
        assert_true(cbx_link_deadline(&agent.link) > now); /* it never spins */
    }
    assert_int_equal(now, heard + GONE);
    assert_int_equal(cbx_link_tick(&agent.link, now), CBX_ERR_CLOSED);
}

static void
any_byte_counts_as_life(void **state)
{
    (void)state;
    greet();
    now = agent.link.heard_at;
    for (int i = 0; i < 4; i++) { /* four bytes of one length prefix */
        now += GONE - 1;
        assert_int_equal(cbx_link_tick(&agent.link, now), 0);
        give(&agent, "\0\0\0\6" + i, 1);
    }
    assert_false(agent.link.failed);
    assert_int_equal(agent.link.heard_at, now);
}

/* Nothing may be sent before the magic: no ping, and no timer that fires again and again for it. */
static void
before_the_magic_only_the_end_is_waited_for(void **state)
{
    (void)state;
    int64_t start = now;
    for (; now < start + GONE; now = cbx_link_deadline(&agent.link)) {
        assert_int_equal(cbx_link_tick(&agent.link, now), 0);
        assert_false(cbx_link_has_output(&agent.link));
        assert_true(cbx_link_deadline(&agent.link) > now);
    }
    assert_int_equal(cbx_link_tick(&agent.link, now), CBX_ERR_CLOSED);
}

/* ---- labels ---- */

static void
each_side_opens_labels_of_its_own_parity(void **state)
{
    (void)state;
    assert_int_equal(cbx_link_label(&agent.link), 1);
    assert_int_equal(cbx_link_label(&agent.link), 3);
    assert_int_equal(cbx_link_label(&hub.link), 2);
    assert_int_equal(cbx_link_label(&hub.link), 4);
}

static void
labels_only_grow(void **state)
{
    (void)state;
    assert_int_equal(cbx_link_take_label(&hub.link, 2), CBX_ERR_FORMAT);
    assert_int_equal(cbx_link_take_label(&hub.link, 5), 0);
    assert_int_equal(cbx_link_take_label(&hub.link, 5), CBX_ERR_FORMAT);
    assert_int_equal(cbx_link_take_label(&hub.link, 3), CBX_ERR_FORMAT);
    assert_int_equal(cbx_link_take_label(&hub.link, UINT32_MAX), 0);
    assert_int_equal(cbx_link_take_label(&agent.link, 0), CBX_ERR_FORMAT);
    assert_int_equal(cbx_link_take_label(&agent.link, 1), CBX_ERR_FORMAT);
    assert_int_equal(cbx_link_take_label(&agent.link, 2), 0);
}

static void
labels_run_out_and_never_wrap(void **state)
{
    (void)state;
    agent.link.next_label = UINT32_MAX - 4;
    uint32_t last = 0, label;
    while ((label = cbx_link_label(&agent.link)) != 0) {
        assert_true(label > last);
        last = label;
    }
    assert_true(last > UINT32_MAX - 5);
    assert_int_equal(cbx_link_label(&agent.link), 0);
}

#define LINK_TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int
main(void)
{
    const struct CMUnitTest tests[] = {
        LINK_TEST(the_hub_speaks_first),
        LINK_TEST(junk_of_8_kib_before_the_magic_is_skipped),
        LINK_TEST(one_byte_of_junk_more_ends_the_link),
        LINK_TEST(endless_junk_ends_the_link),
        LINK_TEST(a_piece_of_the_magic_is_junk_too),
        LINK_TEST(frames_right_behind_the_magic_are_taken),
        LINK_TEST(frames_chopped_at_every_byte_come_whole),
        LINK_TEST(a_length_out_of_bounds_ends_the_link_and_allocates_nothing),
        LINK_TEST(a_failed_link_takes_and_says_nothing_more),
        LINK_TEST(the_owners_refusal_ends_the_link_at_that_frame),
        LINK_TEST(a_kept_frame_outlives_the_links_buffer),
        LINK_TEST(large_frames_are_not_copied),
        LINK_TEST(a_link_at_rest_keeps_no_buffer),
        LINK_TEST(circuits_share_by_bytes_whatever_their_record_size),
        LINK_TEST(a_newly_active_circuit_is_served_first),
        LINK_TEST(a_sparse_circuit_gathers_no_claim),
        LINK_TEST(control_goes_first),
        LINK_TEST(control_takes_a_quarter_of_a_busy_link_at_most),
        LINK_TEST(a_flood_of_control_on_a_busy_circuit_costs_its_own_data),
        LINK_TEST(without_data_control_has_the_whole_link),
        LINK_TEST(a_circuits_control_goes_before_its_data),
        LINK_TEST(the_control_queue_is_bounded),
        LINK_TEST(little_is_committed_ahead_of_the_carrier),
        LINK_TEST(a_removed_circuit_sends_nothing_more),
        LINK_TEST(no_more_than_the_cap_is_in_flight),
        LINK_TEST(control_is_outside_the_cap),
        LINK_TEST(a_quarter_of_the_cap_is_acknowledged_at_once),
        LINK_TEST(less_is_acknowledged_after_5_ms),
        LINK_TEST(pace_says_how_often_to_acknowledge),
        LINK_TEST(an_ack_of_what_was_never_sent_ends_the_link),
        LINK_TEST(a_ping_is_answered_with_its_nonce_and_what_was_received),
        LINK_TEST(an_answer_to_no_ping_measures_nothing),
        LINK_TEST(a_ping_goes_out_after_the_keepalive),
        LINK_TEST(silence_for_too_long_is_the_end),
        LINK_TEST(any_byte_counts_as_life),
        LINK_TEST(before_the_magic_only_the_end_is_waited_for),
        LINK_TEST(each_side_opens_labels_of_its_own_parity),
        LINK_TEST(labels_only_grow),
        LINK_TEST(labels_run_out_and_never_wrap),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
