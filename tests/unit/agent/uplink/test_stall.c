/* SPDX-License-Identifier: MIT */
/* When a connection counts as standing still, and when it does not. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "agent/uplink/stall.h"

static struct stall stall;
static struct cbx_tcp_path path;

static int
begin(void **state)
{
    (void)state;
    stall = (struct stall){0};
    path = (struct cbx_tcp_path){.acked = 1000, .received = 5000};
    return 0;
}

static void
what_is_sent_again_and_again_stands_still(void **state)
{
    (void)state;
    path.unacked = 12;
    assert_int_equal(stall_look(&stall, &path, false, 1), 0);
    path.retransmits = 1;
    assert_int_equal(stall_look(&stall, &path, false, 2), 0);
    path.retransmits = 2;
    assert_int_equal(stall_look(&stall, &path, false, 3), 0);
    path.received += 10; /* what comes in does not help it */
    assert_int_equal(stall_look(&stall, &path, false, 10), 7);
    path.acked++;
    assert_int_equal(stall_look(&stall, &path, false, 11), 0);
    assert_int_equal(stall_look(&stall, &path, false, 13), 2);
    path.unacked = path.retransmits = 0;
    assert_int_equal(stall_look(&stall, &path, false, 14), 0);
    assert_int_equal(stall_look(&stall, &path, false, 99), 0);
}

static void
an_answer_that_does_not_come_stands_still(void **state)
{
    (void)state;
    assert_int_equal(stall_look(&stall, &path, false, 1), 0);
    assert_int_equal(stall_look(&stall, &path, true, 5), 0);
    path.acked += 100; /* what goes out does not help it */
    assert_int_equal(stall_look(&stall, &path, true, 9), 4);
    path.received++; /* a slow path is none */
    assert_int_equal(stall_look(&stall, &path, true, 10), 0);
    assert_int_equal(stall_look(&stall, &path, true, 12), 2);
    assert_int_equal(stall_look(&stall, &path, false, 13), 0);
}

static void
silence_that_nobody_minds_is_none(void **state)
{
    (void)state;
    for (int64_t now = 1; now < 100; now++)
        assert_int_equal(stall_look(&stall, &path, false, now), 0);
    path.unacked = 1; /* on its way */
    for (int64_t now = 100; now < 200; now++)
        assert_int_equal(stall_look(&stall, &path, false, now), 0);
}

static void
the_longer_of_both_counts(void **state)
{
    (void)state;
    path.unacked = 1;
    path.retransmits = 5;
    assert_int_equal(stall_look(&stall, &path, false, 1), 0);
    assert_int_equal(stall_look(&stall, &path, true, 5), 4);
    path.acked++;
    assert_int_equal(stall_look(&stall, &path, true, 9), 4);
}

#define STALL_TEST(name) cmocka_unit_test_setup(name, begin)

int
main(void)
{
    const struct CMUnitTest tests[] = {
        STALL_TEST(what_is_sent_again_and_again_stands_still),
        STALL_TEST(an_answer_that_does_not_come_stands_still),
        STALL_TEST(silence_that_nobody_minds_is_none),
        STALL_TEST(the_longer_of_both_counts),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
