/* SPDX-License-Identifier: MIT */
/*
 * What the tests of the link share: one link of each side, made-up circuits on the agent's, and
 * bytes that go from one to the other by hand.
 */
#ifndef TESTS_LINK_FIXTURE_H
#define TESTS_LINK_FIXTURE_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "common/link/link.h"
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

static inline int
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

static inline void
on_wake(void *owner, struct cbx_link *link)
{
    (void)link;
    ((struct side *)owner)->wakes++;
}

static const struct cbx_link_ops ops = {.frame = on_frame, .wake = on_wake};

static inline int
source_data(struct cbx_circuit *circuit, uint64_t room, int64_t at, struct cbx_slice *out)
{
    (void)room;
    (void)at;
    struct source *from = (struct source *)circuit;
    if (from->left == 0)
        return 0;
    from->left--;
    static uint8_t payload[CBX_PAYLOAD_MAX];
    struct cbx_field fields[] = {cbx_field_uint(1), cbx_field_uint(1), cbx_field_uint(1),
                                 cbx_field_bytes(payload, from->size)};
    *out = cbx_frame_slice(CBX_FRAME_DATA, circuit->label, fields, 4);
    assert_non_null(out->slab);
    from->sent += out->length;
    return 1;
}

static inline int
source_control(struct cbx_circuit *circuit, int64_t at, struct cbx_slice *out)
{
    (void)at;
    struct source *from = (struct source *)circuit;
    if (from->control_left == 0)
        return 0;
    from->control_left--;
    uint8_t tag[16] = {0};
    struct cbx_field fields[] = {cbx_field_uint(1), cbx_field_uint(1), cbx_field_uint(1),
                                 cbx_field_uint(1), cbx_field_bytes(tag, 16)};
    *out = cbx_frame_slice(CBX_FRAME_CREDIT, circuit->label, fields, 5);
    assert_non_null(out->slab);
    from->control_sent += out->length;
    return 1;
}

static const struct cbx_circuit_ops source_ops = {.data = source_data, .control = source_control};

static inline void
source_init(int i, uint32_t size, uint64_t count)
{
    memset(&source[i], 0, sizeof source[i]);
    assert_int_equal(
        cbx_circuit_add(&agent.link, &source[i].circuit, cbx_link_label(&agent.link), &source_ops),
        0);
    source[i].size = size;
    source[i].left = count;
    cbx_circuit_data_ready(&source[i].circuit);
}

static inline int
setup(void **state)
{
    (void)state;
    memset(&hub, 0, sizeof hub);
    memset(&agent, 0, sizeof agent);
    memset(source, 0, sizeof source);
    now = SECOND;
    struct cbx_link_config config = {.hub = true, .keepalive_us = KEEPALIVE, .gone_us = GONE};
    int result = cbx_link_init(&hub.link, &config, &ops, &hub, now);
    config.hub = false;
    return result | cbx_link_init(&agent.link, &config, &ops, &agent, now);
}

static inline int
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
static inline size_t
take(struct side *from, uint8_t *to, size_t most)
{
    struct iovec vector[16];
    size_t taken = 0;
    int count;
    while (taken < most && (count = cbx_link_output(&from->link, vector, 16, now)) > 0) {
        size_t part = 0;
        for (int i = 0; i < count && taken + part < most; i++) {
            size_t n =
                vector[i].iov_len < most - taken - part ? vector[i].iov_len : most - taken - part;
            if (to)
                memcpy(to + taken + part, vector[i].iov_base, n);
            part += n;
        }
        cbx_link_written(&from->link, part);
        taken += part;
    }
    return taken;
}

static inline int
give(struct side *to, const void *bytes, size_t length)
{
    return cbx_link_input(&to->link, bytes, length, now, &error);
}

/* Everything, in pieces of `chop`. */
static inline size_t
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

static inline void
greet(void)
{
    move(&hub, &agent, 1024);
    assert_true(agent.link.magic_seen);
    now += 1;
}

static inline int
send_ping(struct side *from, uint64_t nonce, uint64_t received)
{
    struct cbx_field fields[] = {cbx_field_uint(nonce), cbx_field_uint(received)};
    return cbx_link_send(&from->link, CBX_FRAME_PING, 0, fields, 2);
}

static inline int
send_number(struct side *from, enum cbx_frame_type type, uint64_t number)
{
    struct cbx_field field = cbx_field_uint(number);
    return cbx_link_send(&from->link, type, 0, &field, 1);
}

/* Lets the sender send as if the path were endless. */
static inline void
no_cap(void)
{
    agent.link.pace.cap = UINT64_C(1) << 40;
}

#define LINK_TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

#endif
