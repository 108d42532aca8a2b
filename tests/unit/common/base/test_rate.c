/* SPDX-License-Identifier: MIT */
#include "common/base/rate.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

enum { SECOND = 1000 * 1000 };

/* How many of `asked` are allowed at this moment. */
static int
take(struct cbx_rate *rate, int asked, int64_t now)
{
    int got = 0;
    for (int i = 0; i < asked; i++)
        got += cbx_rate_take(rate, 5, 20, now);
    return got;
}

static void
a_new_bucket_is_full(void **state)
{
    (void)state;
    struct cbx_rate at_zero = {0}, later = {0};
    assert_int_equal(take(&at_zero, 100, 0), 20);
    assert_int_equal(take(&at_zero, 100, 0), 0);
    assert_int_equal(take(&later, 100, 1000 * (int64_t)SECOND), 20);
}

static void
it_fills_with_time(void **state)
{
    (void)state;
    struct cbx_rate rate = {0};
    (void)take(&rate, 20, SECOND);
    assert_int_equal(take(&rate, 100, SECOND + SECOND / 5 - 1), 0);
    assert_int_equal(take(&rate, 100, SECOND + SECOND / 5), 1);
    assert_int_equal(take(&rate, 100, 3 * SECOND + SECOND / 5), 10);
}

static void
it_never_holds_more_than_its_burst(void **state)
{
    (void)state;
    struct cbx_rate rate = {0};
    (void)take(&rate, 3, 0);
    assert_int_equal(take(&rate, 100, INT64_MAX / 2), 20);
}

/* Asking often must not lose the fractions between two questions. */
static void
the_rate_holds_however_often_it_is_asked(void **state)
{
    (void)state;
    struct cbx_rate rate = {0};
    int got = take(&rate, 20, 0);
    for (int64_t now = 1000; now <= 10 * SECOND; now += 1000)
        got += take(&rate, 1, now);
    assert_in_range(got, 69, 70);
}

static void
a_clock_that_goes_back_gives_and_takes_nothing(void **state)
{
    (void)state;
    struct cbx_rate rate = {0};
    (void)take(&rate, 18, 10 * SECOND);
    assert_int_equal(take(&rate, 1, 5 * SECOND), 1);
    assert_int_equal(take(&rate, 100, 5 * SECOND), 1);
    assert_int_equal(take(&rate, 100, 6 * SECOND), 5);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_new_bucket_is_full),
        cmocka_unit_test(it_fills_with_time),
        cmocka_unit_test(it_never_holds_more_than_its_burst),
        cmocka_unit_test(the_rate_holds_however_often_it_is_asked),
        cmocka_unit_test(a_clock_that_goes_back_gives_and_takes_nothing),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
