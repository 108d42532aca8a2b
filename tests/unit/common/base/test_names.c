/* SPDX-License-Identifier: MIT */
#include "common/base/err.h"
#include "common/base/names.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <stdio.h>
#include <string.h>

/* 41 and 42 characters. */
static const char longest[] = "a2345678901234567890123456789012345678901";
static const char too_long[] = "a23456789012345678901234567890123456789012";

static bool
slug(const char *text)
{
    return cbx_slug_valid(text, strlen(text));
}

static int
dial(const char *name, struct cbx_dial_name *out)
{
    return cbx_dial_name_parse(name, strlen(name), out);
}

static void
legal_slugs_are_taken(void **state)
{
    (void)state;
    assert_true(slug("a") && slug("0") && slug("web") && slug("a-b") && slug("a--b") && slug("9z"));
    assert_true(slug(longest));
}

static void
illegal_slugs_are_refused(void **state)
{
    (void)state;
    assert_false(slug("") || slug("-") || slug("-a") || slug("a-") || slug("A") || slug("a_b"));
    assert_false(slug("a.b") || slug("a b") || slug("\xc3\xbc") || slug(too_long) || slug("a\n"));
    assert_false(cbx_slug_valid("a\0b", 3));
}

static void
short_and_full_names_are_read(void **state)
{
    (void)state;
    struct cbx_dial_name name;
    assert_int_equal(dial("web.cbx", &name), 0);
    assert_string_equal(name.slug, "web");
    assert_string_equal(name.pond, "");
    assert_int_equal(dial("web.demo.cbx", &name), 0);
    assert_string_equal(name.slug, "web");
    assert_string_equal(name.pond, "demo");
}

static void
letter_case_and_one_trailing_dot_do_not_matter(void **state)
{
    (void)state;
    struct cbx_dial_name name;
    assert_int_equal(dial("Web.DEMO.cBx.", &name), 0);
    assert_string_equal(name.slug, "web");
    assert_string_equal(name.pond, "demo");
    assert_int_not_equal(dial("web.cbx..", &name), 0);
}

static void
the_longest_name_is_read_and_a_longer_one_refused(void **state)
{
    (void)state;
    struct cbx_dial_name name;
    char text[CBX_NAME_MAX];
    (void)snprintf(text, sizeof text, "%s.%s.cbx", longest, longest);
    assert_int_equal(dial(text, &name), 0);
    assert_string_equal(name.pond, longest);
    (void)snprintf(text, sizeof text, "%s.cbx", too_long);
    assert_int_equal(dial(text, &name), CBX_ERR_FORMAT);
    (void)snprintf(text, sizeof text, "a.%s.cbx", too_long);
    assert_int_equal(dial(text, &name), CBX_ERR_FORMAT);
}

static void
other_names_are_not_ours(void **state)
{
    (void)state;
    struct cbx_dial_name name;
    static const char *const others[] = {
        "", ".", "cbx", "web", "example.com", "web.cbx.com", "webcbx", "web.cb"};
    for (size_t i = 0; i < sizeof others / sizeof others[0]; i++)
        assert_int_equal(dial(others[i], &name), CBX_ERR_NOTFOUND);
}

static void
illegal_names_of_ours_are_refused_and_leave_nothing(void **state)
{
    (void)state;
    struct cbx_dial_name name;
    static const char *const bad[] = {".cbx",   "..cbx",   "a..cbx",  ".a.cbx",   "a.b.c.cbx",
                                      "-a.cbx", "a_b.cbx", "a b.cbx", "web.-.cbx"};
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        assert_int_equal(dial(bad[i], &name), CBX_ERR_FORMAT);
        assert_string_equal(name.slug, "");
        assert_string_equal(name.pond, "");
    }
    assert_int_equal(cbx_dial_name_parse("a\0b.cbx", 7, &name), CBX_ERR_FORMAT);
}

static void
the_length_bounds_what_is_read(void **state)
{
    (void)state;
    struct cbx_dial_name name;
    assert_int_equal(cbx_dial_name_parse("web.cbxtra", 7, &name), 0);
    assert_string_equal(name.slug, "web");
}

static void
ports_are_read(void **state)
{
    (void)state;
    uint16_t port = 0;
    assert_int_equal(cbx_port_parse("1", 1, &port), 0);
    assert_int_equal(port, 1);
    assert_int_equal(cbx_port_parse("65535", 5, &port), 0);
    assert_int_equal(port, 65535);
}

static void
bad_ports_are_refused(void **state)
{
    (void)state;
    static const char *const bad[] = {"",   "0",  "65536", "99999", "100000", "-1",        "+1",
                                      " 1", "1 ", "0x1",   "080",   "http",   "4294967297"};
    uint16_t port = 7;
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++)
        assert_int_equal(cbx_port_parse(bad[i], strlen(bad[i]), &port), CBX_ERR_FORMAT);
    assert_int_equal(port, 7);
}

static void
hosts_with_ports_are_read(void **state)
{
    (void)state;
    char host[64];
    uint16_t port;
    assert_int_equal(cbx_host_port_parse("web.cbx:8080", host, sizeof host, &port), 0);
    assert_string_equal(host, "web.cbx");
    assert_int_equal(port, 8080);
    assert_int_equal(cbx_host_port_parse("[fd00::1]:22", host, sizeof host, &port), 0);
    assert_string_equal(host, "fd00::1");
    assert_int_equal(port, 22);
}

static void
bad_hosts_with_ports_are_refused(void **state)
{
    (void)state;
    static const char *const bad[] = {"",
                                      ":",
                                      "web",
                                      "web:",
                                      ":80",
                                      "web:0",
                                      "web:x",
                                      "a:1:2",
                                      "fd00::1",
                                      "[fd00::1]",
                                      "[fd00::1]80",
                                      "[]:80",
                                      "[web]:80",
                                      "[1.2.3.4]:80",
                                      "we b:80",
                                      "w\xc3\xbc:80",
                                      "a/b:80",
                                      "user@web:80",
                                      "[fd00::1:80"};
    char host[64];
    uint16_t port;
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++)
        assert_int_equal(cbx_host_port_parse(bad[i], host, sizeof host, &port), CBX_ERR_FORMAT);
}

static void
a_host_must_fit_its_buffer(void **state)
{
    (void)state;
    char host[4];
    uint16_t port;
    assert_int_equal(cbx_host_port_parse("abc:1", host, sizeof host, &port), 0);
    assert_int_equal(cbx_host_port_parse("abcd:1", host, sizeof host, &port), CBX_ERR_FORMAT);
}

static void
only_a_listening_address_may_have_port_0(void **state)
{
    (void)state;
    char host[64];
    uint16_t port = 9;
    assert_int_equal(cbx_host_port_parse("127.0.0.1:0", host, sizeof host, &port), CBX_ERR_FORMAT);
    assert_int_equal(cbx_listen_parse("127.0.0.1:0", host, sizeof host, &port), 0);
    assert_int_equal(port, 0);
    assert_int_equal(cbx_listen_parse("127.0.0.1:00", host, sizeof host, &port), CBX_ERR_FORMAT);
}

static void
durations_are_read(void **state)
{
    (void)state;
    static const struct {
        const char *text;
        int64_t milliseconds;
    } good[] = {{"0s", 0},
                {"500ms", 500},
                {"30s", 30000},
                {"15m", 900000},
                {"24h", 86400000},
                {"30d", 2592000000},
                {"9223372036854775807ms", INT64_MAX}};
    for (size_t i = 0; i < sizeof good / sizeof good[0]; i++) {
        int64_t milliseconds = -1;
        assert_int_equal(cbx_duration_parse(good[i].text, &milliseconds), 0);
        assert_true(milliseconds == good[i].milliseconds);
    }
}

static void
bad_durations_are_refused(void **state)
{
    (void)state;
    static const char *const bad[] = {"",
                                      "30",
                                      "s",
                                      "-1s",
                                      "+1s",
                                      "1.5s",
                                      "30 s",
                                      " 30s",
                                      "30s ",
                                      "30S",
                                      "1h30m",
                                      "1w",
                                      "9223372036854775808ms",
                                      "9223372036854775807s",
                                      "99999999999999999999999d"};
    int64_t milliseconds = 42;
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++)
        assert_int_equal(cbx_duration_parse(bad[i], &milliseconds), CBX_ERR_FORMAT);
    assert_true(milliseconds == 42);
}

static void
sizes_are_read(void **state)
{
    (void)state;
    static const struct {
        const char *text;
        uint64_t bytes;
    } good[] = {{"0", 0},
                {"1048576", 1048576},
                {"64K", 65536},
                {"64KiB", 65536},
                {"3M", UINT64_C(3) << 20},
                {"1GiB", UINT64_C(1) << 30},
                {"16T", UINT64_C(16) << 40},
                {"16777215T", UINT64_C(16777215) << 40},
                {"18446744073709551615", UINT64_MAX}};
    for (size_t i = 0; i < sizeof good / sizeof good[0]; i++) {
        uint64_t bytes = 42;
        assert_int_equal(cbx_size_parse(good[i].text, &bytes), 0);
        assert_true(bytes == good[i].bytes);
    }
    static const char *const bad[] = {"",
                                      "K",
                                      "-1",
                                      "+1",
                                      "1.5M",
                                      "1 M",
                                      " 1M",
                                      "1M ",
                                      "1MB",
                                      "1Mi",
                                      "1MiBx",
                                      "1k",
                                      "1P",
                                      "0x10",
                                      "1iB",
                                      "16777216T",
                                      "18446744073709551616"};
    uint64_t bytes = 42;
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++)
        assert_int_equal(cbx_size_parse(bad[i], &bytes), CBX_ERR_FORMAT);
    assert_true(bytes == 42);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(legal_slugs_are_taken),
        cmocka_unit_test(illegal_slugs_are_refused),
        cmocka_unit_test(short_and_full_names_are_read),
        cmocka_unit_test(letter_case_and_one_trailing_dot_do_not_matter),
        cmocka_unit_test(the_longest_name_is_read_and_a_longer_one_refused),
        cmocka_unit_test(other_names_are_not_ours),
        cmocka_unit_test(illegal_names_of_ours_are_refused_and_leave_nothing),
        cmocka_unit_test(the_length_bounds_what_is_read),
        cmocka_unit_test(ports_are_read),
        cmocka_unit_test(bad_ports_are_refused),
        cmocka_unit_test(hosts_with_ports_are_read),
        cmocka_unit_test(bad_hosts_with_ports_are_refused),
        cmocka_unit_test(a_host_must_fit_its_buffer),
        cmocka_unit_test(only_a_listening_address_may_have_port_0),
        cmocka_unit_test(durations_are_read),
        cmocka_unit_test(bad_durations_are_refused),
        cmocka_unit_test(sizes_are_read),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
