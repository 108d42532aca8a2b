/* SPDX-License-Identifier: MIT */
/* Where segments have to be short, and for how long that is remembered. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "agent/uplink/segments.h"

#include <stdio.h>
#include <string.h>

static const int64_t DAY_US = 86400ll * 1000 * 1000;

static void
each_address_has_its_own_limit_for_a_time(void **state)
{
    (void)state;
    struct segments segments = {0};
    assert_int_equal(segments_limit(&segments, "a:1", 5), 0);
    assert_int_equal(segments_limit(&segments, "", 5), 0);
    segments_set(&segments, "a:1", 1220, DAY_US, 5);
    segments_set(&segments, "b:1", 536, DAY_US, 5);
    assert_int_equal(segments_limit(&segments, "a:1", 6), 1220);
    assert_int_equal(segments_limit(&segments, "b:1", 6), 536);
    assert_int_equal(segments_limit(&segments, "c:1", 6), 0);
    segments_set(&segments, "a:1", 536, DAY_US, 100);
    assert_int_equal(segments_limit(&segments, "a:1", DAY_US + 99), 536);
    assert_int_equal(segments_limit(&segments, "b:1", DAY_US + 99), 0);
    assert_int_equal(segments_limit(&segments, "a:1", DAY_US + 100), 0);
    segments_set(&segments, "a:1", 536, DAY_US, 200);
    segments_set(&segments, "a:1", 0, DAY_US, 201);
    assert_int_equal(segments_limit(&segments, "a:1", 202), 0);
}

static void
they_go_down_in_steps(void **state)
{
    (void)state;
    assert_int_equal(segments_shorter(0), 1220);
    assert_int_equal(segments_shorter(1448), 1220);
    assert_int_equal(segments_shorter(1220), 536);
    assert_int_equal(segments_shorter(536), 0);
}

static void
the_oldest_gives_way(void **state)
{
    (void)state;
    struct segments segments = {0};
    char address[32];
    for (int i = 0; i <= PLACES_MAX; i++) {
        (void)snprintf(address, sizeof address, "a%d:1", i);
        segments_set(&segments, address, 1220, DAY_US, 10 + i);
    }
    assert_int_equal(segments_limit(&segments, "a0:1", 50), 0);
    assert_int_equal(segments_limit(&segments, "a1:1", 50), 1220);
    assert_int_equal(segments_limit(&segments, address, 50), 1220);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(each_address_has_its_own_limit_for_a_time),
        cmocka_unit_test(they_go_down_in_steps),
        cmocka_unit_test(the_oldest_gives_way),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
