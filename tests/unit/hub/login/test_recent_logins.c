/* SPDX-License-Identifier: MIT */
#include "hub/login/recent_logins.h"

#include <arpa/inet.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

enum { SECOND = 1000000, HOUR_S = 3600 };

static const int64_t UNIX = 1800000000;

static struct admission *
new_slots(void)
{
    /* Strangers have one slot of two: a second one is refused, a known address is not. */
    static const struct admission_config config = {.total = 2,
                                                   .per_address = 2,
                                                   .sshd = 2,
                                                   .silent_us = SECOND,
                                                   .login_us = SECOND,
                                                   .recent_us = 24 * HOUR_S * (int64_t)SECOND};
    struct admission *admission = admission_new(&config);
    assert_non_null(admission);
    return admission;
}

static struct admission_address
address(uint32_t number)
{
    struct sockaddr_in at = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(number)};
    struct admission_address out;
    assert_true(admission_address_of((struct sockaddr *)&at, &out));
    return out;
}

static void
log_in(struct admission *admission, uint32_t number, int64_t now_us)
{
    struct admission_address from = address(number);
    uint64_t dropped;
    assert_int_equal(admission_admit(admission, 1, &from, now_us, 0, &dropped), ADMISSION_ADMITTED);
    admission_spoke(admission, 1);
    assert_int_equal(admission_next(admission, now_us), 1);
    assert_true(admission_login(admission, 1, now_us));
}

/* Judged by what it is good for: a slot while strangers have none. */
static bool
is_known(struct admission *admission, uint32_t number, int64_t now_us)
{
    struct admission_address stranger = address(0x7f000001), from = address(number);
    uint64_t dropped;
    assert_int_equal(admission_admit(admission, 1, &stranger, now_us, 0, &dropped),
                     ADMISSION_ADMITTED);
    admission_spoke(admission, 1);
    bool known = admission_admit(admission, 2, &from, now_us, 0, &dropped) == ADMISSION_ADMITTED;
    admission_drop(admission, 1);
    admission_drop(admission, 2);
    return known;
}

static void
addresses_are_known_after_a_restart(void **state)
{
    (void)state;
    struct admission *before = new_slots(), *after = new_slots();
    size_t length;
    log_in(before, 10, 500 * (int64_t)SECOND);
    log_in(before, 11, 600 * (int64_t)SECOND);
    uint8_t *bytes = recent_logins_encode(before, 600 * (int64_t)SECOND, UNIX, &length);
    assert_non_null(bytes);
    assert_int_equal(length, 16 + 2 * 17 + 16);
    assert_false(is_known(after, 10, 0));
    /* Another boot: its clock begins anew. */
    assert_int_equal(recent_logins_decode(after, bytes, length, 0, UNIX + 60), 0);
    assert_true(is_known(after, 10, 0));
    assert_true(is_known(after, 11, 0));
    assert_false(is_known(after, 12, 0));
    free(bytes);
    admission_free(before);
    admission_free(after);
}

static void
the_end_of_recent_counts_the_time_between(void **state)
{
    (void)state;
    struct admission *before = new_slots(), *after = new_slots();
    size_t length;
    log_in(before, 10, 0);
    log_in(before, 11, HOUR_S * (int64_t)SECOND);
    uint8_t *bytes = recent_logins_encode(before, HOUR_S * (int64_t)SECOND, UNIX, &length);
    assert_int_equal(recent_logins_decode(after, bytes, length, 0, UNIX + 23 * HOUR_S + 1), 0);
    assert_false(is_known(after, 10, 0));
    assert_true(is_known(after, 11, 0));
    assert_false(is_known(after, 11, HOUR_S * (int64_t)SECOND));
    free(bytes);
    admission_free(before);
    admission_free(after);
}

static void
a_moment_in_the_future_is_now(void **state)
{
    (void)state;
    struct admission *before = new_slots(), *after = new_slots();
    size_t length;
    log_in(before, 10, 0);
    uint8_t *bytes = recent_logins_encode(before, 0, UNIX, &length);
    assert_int_equal(recent_logins_decode(after, bytes, length, 0, UNIX - 1000 * HOUR_S), 0);
    assert_true(is_known(after, 10, 0));
    assert_false(is_known(after, 10, 25 * HOUR_S * (int64_t)SECOND));
    free(bytes);
    admission_free(before);
    admission_free(after);
}

static void
no_more_are_kept_than_fit(void **state)
{
    (void)state;
    struct admission *before = new_slots(), *after = new_slots();
    size_t length;
    for (uint32_t i = 0; i < ADMISSION_RECENT_MAX + 1; i++)
        log_in(before, 100 + i, i);
    uint8_t *bytes = recent_logins_encode(before, ADMISSION_RECENT_MAX, UNIX, &length);
    assert_int_equal(length, RECENT_LOGINS_FILE_MAX);
    assert_int_equal(recent_logins_decode(after, bytes, length, 0, UNIX), 0);
    assert_false(is_known(after, 100, 0));
    assert_true(is_known(after, 101, 0));
    assert_true(is_known(after, 100 + ADMISSION_RECENT_MAX, 0));
    free(bytes);
    admission_free(before);
    admission_free(after);
}

static void
damage_anywhere_leaves_all_of_it_out(void **state)
{
    (void)state;
    struct admission *before = new_slots(), *after = new_slots();
    size_t length;
    log_in(before, 10, 0);
    uint8_t *bytes = recent_logins_encode(before, 0, UNIX, &length);
    assert_non_null(bytes);
    for (size_t i = 0; i < length; i++) {
        bytes[i] ^= 1;
        assert_int_equal(recent_logins_decode(after, bytes, length, 0, UNIX), CBX_ERR_FORMAT);
        bytes[i] ^= 1;
        assert_int_equal(recent_logins_decode(after, bytes, i, 0, UNIX), CBX_ERR_FORMAT);
    }
    assert_false(is_known(after, 10, 0));
    assert_int_equal(recent_logins_decode(after, bytes, length, 0, UNIX), 0);
    assert_true(is_known(after, 10, 0));
    free(bytes);
    admission_free(before);
    admission_free(after);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(addresses_are_known_after_a_restart),
        cmocka_unit_test(the_end_of_recent_counts_the_time_between),
        cmocka_unit_test(a_moment_in_the_future_is_now),
        cmocka_unit_test(no_more_are_kept_than_fit),
        cmocka_unit_test(damage_anywhere_leaves_all_of_it_out),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
