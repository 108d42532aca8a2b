/* SPDX-License-Identifier: MIT */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "hub/login/admission.h"
#include <arpa/inet.h>
#include <netinet/in.h>
#include <string.h>

enum { SECOND = 1000000 };

static const struct admission_config defaults = {
    .total = 64,
    .per_address = 32,
    .sshd = 8,
    .silent_us = 10 * (int64_t)SECOND,
    .login_us = 10 * (int64_t)SECOND,
    .recent_us = 86400 * (int64_t)SECOND,
};

static struct admission_address
v4(uint32_t number)
{
    struct sockaddr_in in = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(number)};
    struct admission_address out;

    assert_true(admission_address_of((const struct sockaddr *)(const void *)&in, &out));
    return out;
}

static struct admission_address
v6(const char *text)
{
    struct sockaddr_in6 in = {.sin6_family = AF_INET6};
    struct admission_address out;

    assert_int_equal(inet_pton(AF_INET6, text, &in.sin6_addr), 1);
    assert_true(admission_address_of((const struct sockaddr *)(const void *)&in, &out));
    return out;
}

static int
setup(void **state)
{
    *state = admission_new(&defaults);
    return *state == NULL;
}

static int
teardown(void **state)
{
    admission_free(*state);
    return 0;
}

static enum admission_verdict
admit(struct admission *admission, uint64_t id, uint32_t address, uint32_t random,
      uint64_t *dropped)
{
    struct admission_address from = v4(address);

    return admission_admit(admission, id, &from, 0, random, dropped);
}

/* Fills up with speakers from addresses of their own. */
static void
fill_speaking(struct admission *admission, uint64_t first, uint32_t count)
{
    uint64_t dropped;

    for (uint32_t i = 0; i < count; i++) {
        assert_int_equal(admit(admission, first + i, 1000 + i, 0, &dropped), ADMISSION_ADMITTED);
        admission_spoke(admission, first + i);
    }
}

static void
make_known(struct admission *admission, uint64_t id, uint32_t address)
{
    uint64_t dropped;

    assert_int_equal(admit(admission, id, address, 0, &dropped), ADMISSION_ADMITTED);
    admission_spoke(admission, id);
    assert_int_equal(admission_next(admission, 0), id);
    assert_true(admission_login(admission, id, 0));
}

static void
test_an_sshd_goes_to_those_who_spoke_in_order(void **state)
{
    uint64_t dropped;

    for (uint64_t id = 1; id <= 3; id++)
        assert_int_equal(admit(*state, id, 7, 0, &dropped), ADMISSION_ADMITTED);
    admission_spoke(*state, 3);
    admission_spoke(*state, 2);
    assert_int_equal(admission_next(*state, 0), 2);
    assert_int_equal(admission_next(*state, 0), 3);
    assert_int_equal(admission_next(*state, 0), 0);
}

static void
test_no_more_than_the_allowed_sshd_run_at_once(void **state)
{
    fill_speaking(*state, 1, 12);
    for (uint64_t id = 1; id <= 8; id++)
        assert_int_equal(admission_next(*state, 0), id);
    assert_int_equal(admission_next(*state, 0), 0);
    assert_true(admission_login(*state, 4, 0));
    assert_int_equal(admission_next(*state, 0), 9);
    assert_int_equal(admission_next(*state, 0), 0);
}

static void
test_known_addresses_get_an_sshd_first(void **state)
{
    uint64_t dropped;

    make_known(*state, 1, 5);
    fill_speaking(*state, 10, 3);
    assert_int_equal(admit(*state, 20, 5, 0, &dropped), ADMISSION_ADMITTED);
    admission_spoke(*state, 20);
    assert_int_equal(admission_next(*state, 0), 20);
    assert_int_equal(admission_next(*state, 0), 10);
}

static void
test_strangers_get_half_of_the_slots_and_known_ones_all(void **state)
{
    uint64_t dropped;

    make_known(*state, 1, 5);
    fill_speaking(*state, 10, 32);
    assert_int_equal(admit(*state, 100, 6, 0, &dropped), ADMISSION_FULL);
    for (uint64_t id = 200; id < 232; id++) {
        assert_int_equal(admit(*state, id, 5, 0, &dropped), ADMISSION_ADMITTED);
        admission_spoke(*state, id);
    }
    assert_int_equal(admission_count(*state), 64);
    assert_int_not_equal(admit(*state, 300, 5, 0, &dropped), ADMISSION_ADMITTED);
}

static void
test_a_recent_login_ends_after_its_time(void **state)
{
    uint64_t dropped;
    struct admission_address from = v4(5);

    make_known(*state, 1, 5);
    fill_speaking(*state, 10, 32);
    assert_int_equal(admission_admit(*state, 50, &from, defaults.recent_us, 0, &dropped),
                     ADMISSION_ADMITTED);
    assert_int_equal(admission_admit(*state, 51, &from, defaults.recent_us + 1, 0, &dropped),
                     ADMISSION_FULL);
}

static void
test_one_address_gets_its_share_only(void **state)
{
    uint64_t dropped;

    make_known(*state, 1, 5); /* so that half of all is not the bound */
    for (uint64_t id = 10; id < 42; id++) {
        assert_int_equal(admit(*state, id, 5, 0, &dropped), ADMISSION_ADMITTED);
        admission_spoke(*state, id);
    }
    assert_int_equal(admit(*state, 50, 5, 0, &dropped), ADMISSION_ADDRESS_FULL);
    assert_int_equal(dropped, 0);
    assert_int_equal(admit(*state, 51, 6, 0, &dropped), ADMISSION_ADMITTED);
}

static void
test_a_full_address_drops_a_silent_one_of_its_own(void **state)
{
    uint64_t dropped;

    make_known(*state, 1, 5);
    assert_int_equal(admit(*state, 9, 6, 0, &dropped), ADMISSION_ADMITTED);
    for (uint64_t id = 10; id < 42; id++) {
        assert_int_equal(admit(*state, id, 5, 0, &dropped), ADMISSION_ADMITTED);
        if (id != 20)
            admission_spoke(*state, id);
    }
    assert_int_equal(admit(*state, 50, 5, 0, &dropped), ADMISSION_ADMITTED);
    assert_int_equal(dropped, 20);
    assert_int_equal(admission_count(*state), 33);
}

static void
test_below_half_of_the_share_nobody_is_dropped(void **state)
{
    uint64_t dropped;

    for (uint64_t id = 1; id <= 16; id++) {
        assert_int_equal(admit(*state, id, (uint32_t)id, 0, &dropped), ADMISSION_ADMITTED);
        assert_int_equal(dropped, 0);
    }
}

static void
test_a_burst_of_newcomers_does_not_drop_its_own(void **state)
{
    uint64_t dropped;

    for (uint64_t id = 1; id <= 32; id++) { /* random 0: dropped whenever that is allowed */
        assert_int_equal(admit(*state, id, (uint32_t)id, 0, &dropped), ADMISSION_ADMITTED);
        assert_int_equal(dropped, 0);
    }
}

static void
test_from_half_on_newcomers_drop_those_who_stay_silent(void **state)
{
    uint64_t dropped;
    struct admission_address from = v4(77);

    for (uint64_t id = 1; id <= 17; id++)
        assert_int_equal(admit(*state, id, (uint32_t)id, 0, &dropped), ADMISSION_ADMITTED);
    assert_int_equal(admission_admit(*state, 18, &from, SECOND, 15, &dropped), ADMISSION_ADMITTED);
    assert_int_equal(dropped, 0); /* one chance in 16, and it did not fall so */
    assert_int_equal(admission_admit(*state, 19, &from, SECOND, 0, &dropped), ADMISSION_ADMITTED);
    assert_int_equal(dropped, 1);
    admission_drop(*state, 18);
}

static void
test_when_the_share_is_full_of_silence_each_newcomer_drops_one(void **state)
{
    uint64_t dropped;

    for (uint64_t id = 1; id <= 32; id++)
        assert_int_equal(admit(*state, id, (uint32_t)id, 15, &dropped), ADMISSION_ADMITTED);
    assert_int_equal(admission_count(*state), 32);
    for (uint64_t id = 100; id < 200; id++) {
        assert_int_equal(admit(*state, id, (uint32_t)id, (uint32_t)id * 2654435761u, &dropped),
                         ADMISSION_ADMITTED);
        assert_int_not_equal(dropped, 0);
        assert_int_equal(admission_count(*state), 32);
    }
}

static void
test_speakers_are_never_dropped_for_newcomers(void **state)
{
    uint64_t dropped;

    fill_speaking(*state, 1, 31);
    assert_int_equal(admit(*state, 40, 1, 15, &dropped), ADMISSION_ADMITTED);
    assert_int_equal(admit(*state, 41, 2, 15, &dropped), ADMISSION_ADMITTED);
    assert_int_equal(dropped, 40);
    admission_spoke(*state, 41);
    assert_int_equal(admit(*state, 42, 3, 15, &dropped), ADMISSION_FULL);
}

static void
test_strangers_do_not_drop_silent_known_ones(void **state)
{
    uint64_t dropped;

    make_known(*state, 1, 5);
    assert_int_equal(admit(*state, 2, 5, 0, &dropped), ADMISSION_ADMITTED);
    fill_speaking(*state, 10, 32);
    assert_int_equal(admit(*state, 100, 6, 0, &dropped), ADMISSION_FULL);
    assert_int_equal(dropped, 0);
}

static void
test_silence_ends_after_its_time(void **state)
{
    uint64_t dropped;

    assert_int_equal(admit(*state, 1, 5, 0, &dropped), ADMISSION_ADMITTED);
    assert_int_equal(admission_overdue(*state, defaults.silent_us - 1), 0);
    assert_int_equal(admission_overdue(*state, defaults.silent_us), 1);
    assert_int_equal(admission_count(*state), 0);
}

static void
test_the_login_clock_starts_with_the_sshd(void **state)
{
    uint64_t dropped;

    assert_int_equal(admit(*state, 1, 5, 0, &dropped), ADMISSION_ADMITTED);
    admission_spoke(*state, 1);
    assert_int_equal(admission_overdue(*state, 1000 * (int64_t)SECOND), 0);
    assert_int_equal(admission_next(*state, 1000 * (int64_t)SECOND), 1);
    assert_int_equal(admission_overdue(*state, 1009 * (int64_t)SECOND), 0);
    assert_int_equal(admission_overdue(*state, 1010 * (int64_t)SECOND), 1);
}

static void
test_only_a_running_sshd_can_log_in(void **state)
{
    uint64_t dropped;

    assert_int_equal(admit(*state, 1, 5, 0, &dropped), ADMISSION_ADMITTED);
    assert_false(admission_login(*state, 1, 0));
    admission_spoke(*state, 1);
    assert_false(admission_login(*state, 1, 0));
    assert_int_equal(admission_next(*state, 0), 1);
    assert_true(admission_login(*state, 1, 0));
    assert_false(admission_login(*state, 1, 0));
    assert_false(admission_login(*state, 99, 0));
}

static void
test_ipv6_counts_by_its_first_64_bits_and_mapped_ipv4_as_ipv4(void **state)
{
    struct admission_address a = v6("2001:db8:1:2::1"), b = v6("2001:db8:1:2:ffff::9");
    struct admission_address c = v6("2001:db8:1:3::1"), m = v6("::ffff:192.0.2.7"),
                             four = v4(0xc0000207);

    (void)state;
    assert_memory_equal(&a, &b, sizeof a);
    assert_memory_not_equal(&a, &c, sizeof a);
    assert_memory_equal(&m, &four, sizeof m);
}

static void
test_other_families_have_no_address(void **state)
{
    struct sockaddr unix_address = {.sa_family = AF_UNIX};
    struct admission_address out;

    (void)state;
    assert_false(admission_address_of(&unix_address, &out));
}

static void
test_only_so_many_addresses_are_remembered(void **state)
{
    for (uint32_t i = 0; i < ADMISSION_RECENT_MAX + 10; i++)
        make_known(*state, i + 1, 5000 + i);
    uint64_t dropped;
    fill_speaking(*state, 100000, 32);
    assert_int_equal(admit(*state, 1, 5000, 0, &dropped),
                     ADMISSION_FULL); /* the oldest is forgotten */
    assert_int_equal(admit(*state, 1, 5000 + ADMISSION_RECENT_MAX, 0, &dropped),
                     ADMISSION_ADMITTED);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int
main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_an_sshd_goes_to_those_who_spoke_in_order),
        TEST(test_no_more_than_the_allowed_sshd_run_at_once),
        TEST(test_known_addresses_get_an_sshd_first),
        TEST(test_strangers_get_half_of_the_slots_and_known_ones_all),
        TEST(test_a_recent_login_ends_after_its_time),
        TEST(test_one_address_gets_its_share_only),
        TEST(test_a_full_address_drops_a_silent_one_of_its_own),
        TEST(test_below_half_of_the_share_nobody_is_dropped),
        TEST(test_a_burst_of_newcomers_does_not_drop_its_own),
        TEST(test_from_half_on_newcomers_drop_those_who_stay_silent),
        TEST(test_when_the_share_is_full_of_silence_each_newcomer_drops_one),
        TEST(test_speakers_are_never_dropped_for_newcomers),
        TEST(test_strangers_do_not_drop_silent_known_ones),
        TEST(test_silence_ends_after_its_time),
        TEST(test_the_login_clock_starts_with_the_sshd),
        TEST(test_only_a_running_sshd_can_log_in),
        TEST(test_ipv6_counts_by_its_first_64_bits_and_mapped_ipv4_as_ipv4),
        TEST(test_other_families_have_no_address),
        TEST(test_only_so_many_addresses_are_remembered),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
