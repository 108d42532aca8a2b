/* SPDX-License-Identifier: MIT */
#include "agent/mesh/candidates.h"
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <stdio.h>
#include <string.h>

static bool
usable(const char *text, bool same_host)
{
    return candidate_usable(text, strlen(text), same_host);
}

static void
addresses_of_other_machines_may_be_tried(void **state)
{
    static const char *const texts[] = {
        "10.1.2.3:4000",   "192.168.0.1:65535",      "203.0.113.9:1024", "[2001:db8::1]:4000",
        "[fd00::1]:40000", "[::ffff:10.1.2.3]:4000", "100.64.0.1:4000"};
    (void)state;
    for (size_t i = 0; i < sizeof texts / sizeof texts[0]; i++) {
        assert_true(usable(texts[i], false));
        assert_true(usable(texts[i], true));
    }
}

static void
loopback_only_beside_us(void **state)
{
    static const char *const texts[] = {"127.0.0.1:4000", "127.83.0.1:4000", "[::1]:4000",
                                        "[::ffff:127.0.0.1]:4000"};
    (void)state;
    for (size_t i = 0; i < sizeof texts / sizeof texts[0]; i++) {
        assert_false(usable(texts[i], false));
        assert_true(usable(texts[i], true));
    }
}

static void
others_are_never_tried(void **state)
{
    static const char *const texts[] = {"0.0.0.0:4000",
                                        "0.1.2.3:4000",
                                        "169.254.169.254:4000",
                                        "169.254.0.1:4000",
                                        "224.0.0.1:4000",
                                        "239.255.255.255:4000",
                                        "255.255.255.255:4000",
                                        "240.0.0.1:4000",
                                        "[::]:4000",
                                        "[fe80::1]:4000",
                                        "[ff02::1]:4000",
                                        "[::1.2.3.4]:4000",
                                        "[::ffff:169.254.1.1]:80",
                                        "[::ffff:0.0.0.0]:4000",
                                        "[fe80::1%eth0]:4000",
                                        "[::1%lo]:4000",
                                        "[::ffff:224.0.0.1]:4000"};
    (void)state;
    for (size_t i = 0; i < sizeof texts / sizeof texts[0]; i++)
        assert_false(usable(texts[i], true));
}

static void
ports_begin_at_1024(void **state)
{
    (void)state;
    assert_false(usable("10.0.0.1:1023", true));
    assert_false(usable("10.0.0.1:22", true));
    assert_false(usable("10.0.0.1:0", true));
    assert_false(usable("10.0.0.1:65536", true));
    assert_true(usable("10.0.0.1:1024", true));
}

static void
what_is_no_address_is_refused(void **state)
{
    static const char *const texts[] = {"",
                                        "10.0.0.1",
                                        "10.0.0.1:",
                                        "10.0.0.1:4e3",
                                        "localhost:4000",
                                        "web.example.org:4000",
                                        "1.2.3:4000",
                                        "0x7f.0.0.1:4000",
                                        "010.0.0.1:4000",
                                        "2130706433:4000",
                                        "[::1:4000",
                                        "::1:4000",
                                        " 10.0.0.1:4000",
                                        "10.0.0.1:4000 ",
                                        "10.0.0.1:+4000"};
    char filled[300];
    (void)state;
    for (size_t i = 0; i < sizeof texts / sizeof texts[0]; i++)
        assert_false(usable(texts[i], true));
    assert_false(candidate_usable("10.0.0.1:4000\0x", 15, true));
    memset(filled, '1', sizeof filled);
    for (size_t length = 1; length <= sizeof filled; length++)
        assert_false(candidate_usable(filled, length, true));
}

static void
a_text_need_not_end_in_a_nul(void **state)
{
    (void)state;
    assert_true(candidate_usable("10.0.0.1:40001", 13, false));
    assert_false(candidate_usable("10.0.0.1:40001", 9, false));
}

static bool
holds(const struct candidates *list, const char *text)
{
    for (uint32_t i = 0; i < list->count; i++) {
        if (strcmp(list->item[i], text) == 0)
            return true;
    }
    return false;
}

static void
every_address_has_loopback_last_and_what_the_hub_saw_first(void **state)
{
    struct candidates list;
    (void)state;
    candidates_own(&list, 40000, "::", "203.0.113.9:55555");
    assert_in_range(list.count, 1, CANDIDATES_MAX);
    assert_string_equal(list.item[0], "203.0.113.9:40000");
    bool loopback = false;
    for (uint32_t i = 0; i < list.count; i++) {
        bool own = !usable(list.item[i], false);
        assert_true(usable(list.item[i], true));
        assert_false(loopback && !own);
        loopback = own;
    }
    assert_true(list.count == 1 || loopback || !holds(&list, "127.0.0.1:40000"));
}

static void
ipv4_alone_names_no_ipv6(void **state)
{
    struct candidates list;
    (void)state;
    candidates_own(&list, 40000, "0.0.0.0", "[2001:db8::1]:55555");
    for (uint32_t i = 0; i < list.count; i++)
        assert_null(strchr(list.item[i], '['));
}

static void
one_address_stands_alone_but_for_a_nat(void **state)
{
    struct candidates list;
    (void)state;
    candidates_own(&list, 40000, "10.1.2.3", "203.0.113.9:55555");
    assert_int_equal(list.count, 2);
    assert_string_equal(list.item[0], "10.1.2.3:40000");
    assert_string_equal(list.item[1], "203.0.113.9:40000");
    candidates_own(&list, 40000, "10.1.2.3", "10.1.2.3:55555");
    assert_int_equal(list.count, 1);
    candidates_own(&list, 40000, "127.0.0.1", "203.0.113.9:55555");
    assert_int_equal(list.count, 1);
    assert_string_equal(list.item[0], "127.0.0.1:40000");
    candidates_own(&list, 40000, "2001:db8::7", "");
    assert_int_equal(list.count, 1);
    assert_string_equal(list.item[0], "[2001:db8::7]:40000");
}

static void
nothing_useless_is_offered(void **state)
{
    struct candidates list;
    (void)state;
    candidates_own(&list, 1023, "::", "203.0.113.9:55555");
    assert_int_equal(list.count, 0);
    candidates_own(&list, 40000, "169.254.3.4", "203.0.113.9:55555");
    assert_int_equal(list.count, 0);
    static const char *const seen[] = {"127.0.0.1:5", "169.254.1.1:5", "hub.example:5", "junk", ""};
    for (size_t i = 0; i < sizeof seen / sizeof seen[0]; i++) {
        candidates_own(&list, 40000, "10.1.2.3", seen[i]);
        assert_int_equal(list.count, 1);
    }
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(addresses_of_other_machines_may_be_tried),
        cmocka_unit_test(loopback_only_beside_us),
        cmocka_unit_test(others_are_never_tried),
        cmocka_unit_test(ports_begin_at_1024),
        cmocka_unit_test(what_is_no_address_is_refused),
        cmocka_unit_test(a_text_need_not_end_in_a_nul),
        cmocka_unit_test(every_address_has_loopback_last_and_what_the_hub_saw_first),
        cmocka_unit_test(ipv4_alone_names_no_ipv6),
        cmocka_unit_test(one_address_stands_alone_but_for_a_nat),
        cmocka_unit_test(nothing_useless_is_offered),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
