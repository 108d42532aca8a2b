/* SPDX-License-Identifier: MIT */
#include "agent/uplink/backoff.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

static uint64_t seed;

/* splitmix64: a fixed seed gives a fixed row. */
static uint32_t
seeded(uint32_t upper_bound)
{
    seed += 0x9e3779b97f4a7c15u;
    uint64_t z = seed;
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
    return (uint32_t)((z ^ (z >> 31)) % upper_bound);
}

static uint32_t
highest(uint32_t upper_bound)
{
    return upper_bound - 1;
}

static uint32_t
lowest(uint32_t upper_bound)
{
    (void)upper_bound;
    return 0;
}

static void
the_ceiling_doubles_from_200_ms_to_15_s(void **state)
{
    (void)state;
    static const int64_t expected[] = {200, 400, 800, 1600, 3200, 6400, 12800, 15000, 15000};
    struct backoff backoff;
    backoff_init(&backoff, 0, 0, 0);
    for (size_t i = 0; i < sizeof expected / sizeof expected[0]; i++)
        assert_int_equal(backoff_next(&backoff, BACKOFF_OTHER, highest), expected[i]);
}

static void
while_refused_the_ceiling_stays_at_2_s(void **state)
{
    (void)state;
    static const int64_t expected[] = {200, 400, 800, 1600, 2000, 2000};
    struct backoff backoff;
    backoff_init(&backoff, 0, 0, 0);
    for (size_t i = 0; i < sizeof expected / sizeof expected[0]; i++)
        assert_int_equal(backoff_next(&backoff, BACKOFF_REFUSED, highest), expected[i]);
}

static void
a_refusal_after_time_outs_is_capped_at_2_s_again(void **state)
{
    (void)state;
    struct backoff backoff;
    backoff_init(&backoff, 0, 0, 0);
    for (int i = 0; i < 10; i++)
        (void)backoff_next(&backoff, BACKOFF_OTHER, highest);
    assert_int_equal(backoff_next(&backoff, BACKOFF_REFUSED, highest), 2000);
    assert_int_equal(backoff_next(&backoff, BACKOFF_OTHER, highest), 15000);
}

static void
a_wait_is_never_zero(void **state)
{
    (void)state;
    struct backoff backoff;
    backoff_init(&backoff, 0, 0, 0);
    for (int i = 0; i < 10; i++)
        assert_int_equal(backoff_next(&backoff, BACKOFF_OTHER, lowest), 1);
}

static void
reset_begins_anew(void **state)
{
    (void)state;
    struct backoff backoff;
    backoff_init(&backoff, 0, 0, 0);
    for (int i = 0; i < 5; i++)
        (void)backoff_next(&backoff, BACKOFF_OTHER, highest);
    backoff_reset(&backoff);
    assert_int_equal(backoff_next(&backoff, BACKOFF_OTHER, highest), 200);
}

static void
configured_limits_hold(void **state)
{
    (void)state;
    struct backoff backoff;
    backoff_init(&backoff, 10, 30, 50);
    assert_int_equal(backoff_next(&backoff, BACKOFF_OTHER, highest), 10);
    assert_int_equal(backoff_next(&backoff, BACKOFF_OTHER, highest), 20);
    assert_int_equal(backoff_next(&backoff, BACKOFF_OTHER, highest), 40);
    assert_int_equal(backoff_next(&backoff, BACKOFF_OTHER, highest), 50);
    assert_int_equal(backoff_next(&backoff, BACKOFF_REFUSED, highest), 30);
}

static void
absurd_limits_are_cut_to_a_day(void **state)
{
    (void)state;
    struct backoff backoff;
    backoff_init(&backoff, INT64_MAX, INT64_MAX, INT64_MAX);
    assert_int_equal(backoff_next(&backoff, BACKOFF_OTHER, highest), 86400000);
    backoff.failures = UINT32_MAX;
    assert_int_equal(backoff_next(&backoff, BACKOFF_OTHER, highest), 86400000);
    assert_int_equal(backoff.failures, UINT32_MAX);
}

static void
waits_spread_over_the_whole_range(void **state)
{
    (void)state;
    enum { DRAWS = 4000, BINS = 8 };
    unsigned bins[BINS] = {0};
    int64_t sum = 0;
    seed = 20;
    for (int i = 0; i < DRAWS; i++) {
        struct backoff backoff;
        backoff_init(&backoff, 800, 800, 800);
        int64_t wait = backoff_next(&backoff, BACKOFF_OTHER, seeded);
        assert_in_range(wait, 1, 800);
        bins[(wait - 1) * BINS / 800]++;
        sum += wait;
    }
    assert_in_range(sum / DRAWS, 380, 420);
    for (int i = 0; i < BINS; i++)
        assert_in_range(bins[i], DRAWS / BINS * 4 / 5, DRAWS / BINS * 6 / 5);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_ceiling_doubles_from_200_ms_to_15_s),
        cmocka_unit_test(while_refused_the_ceiling_stays_at_2_s),
        cmocka_unit_test(a_refusal_after_time_outs_is_capped_at_2_s_again),
        cmocka_unit_test(a_wait_is_never_zero),
        cmocka_unit_test(reset_begins_anew),
        cmocka_unit_test(configured_limits_hold),
        cmocka_unit_test(absurd_limits_are_cut_to_a_day),
        cmocka_unit_test(waits_spread_over_the_whole_range),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
