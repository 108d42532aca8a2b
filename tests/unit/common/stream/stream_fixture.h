/* SPDX-License-Identifier: MIT */
/* What the tests of the stream share: a fresh pair for each, and a few words for what they expect.
 */
#ifndef TESTS_STREAM_FIXTURE_H
#define TESTS_STREAM_FIXTURE_H

#include "common/crypto/cpu.h"
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "pair.h"

enum { MS = 1000, SECOND = 1000 * MS };
#define KIB ((uint64_t)1024)
#define MIB (1024 * KIB)

static struct pair pair;
static struct pair_end *const dialer = &pair.end[PAIR_DIALER];
static struct pair_end *const target = &pair.end[PAIR_TARGET];

static inline int
setup(void **state)
{
    (void)state;
    return pair_init(&pair, cbx_cpu_has_aes() ? CBX_CIPHER_AES256GCM : CBX_CIPHER_CHACHA20POLY1305);
}

/* Whatever happened, everything that was borrowed is given back. */
static inline int
teardown(void **state)
{
    (void)state;
    bool late = dialer->late || target->late;
    bool told_twice =
        dialer->over > 1 || target->over > 1 || dialer->finished > 1 || target->finished > 1;
    pair_dispose(&pair);
    cbx_slab_trim();
    return late || told_twice || dialer->budget.used || target->budget.used || dialer->peer_used ||
           target->peer_used || dialer->send_used || target->send_used || cbx_slab_bytes();
}

/* The dial has come to the target, which takes its time when the pair says so. */
static inline void
dial_pair(void)
{
    assert_int_equal(pair_dial(&pair), 0);
    pair_move(&pair);
    assert_true(target->has_stream);
}

/* A stream that is open both ways and at rest. */
static inline void
connect_pair(void)
{
    assert_int_equal(pair_dial(&pair), 0);
    pair_move(&pair);
    assert_int_equal(dialer->opened, 1);
    assert_int_equal(dialer->stream.write, CBX_WRITE_OPEN);
    assert_int_equal(target->stream.write, CBX_WRITE_OPEN);
}

/* This end found a breach: it told its program, and its RESET told the other side's. */
static inline void
assert_breach(struct pair_end *finder, enum cbx_reason reason)
{
    struct pair_end *other = finder == dialer ? target : dialer;
    pair_move(&pair);
    assert_int_equal(finder->over, 1);
    assert_int_equal(finder->reason, reason);
    assert_false(finder->by_target);
    assert_int_equal(finder->finished, 1);
    assert_int_equal(other->over, 1);
    assert_int_equal(other->reason, reason);
    assert_true(other->by_target);
    assert_int_equal(other->finished, 1);
    assert_int_equal(other->frames[CBX_FRAME_RESET], 1);
    assert_int_equal(finder->frames[CBX_FRAME_RESET], 0);
    assert_false(dialer->link.failed || target->link.failed);
}

#define STREAM_TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

#endif
