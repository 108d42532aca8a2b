/* SPDX-License-Identifier: MIT */
#include "common/trust/expose.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <stdio.h>
#include <string.h>

static struct cbx_expose
make(const char *spec)
{
    struct cbx_expose list = {0};
    assert_int_equal(cbx_expose_add(&list, spec, NULL), 0);
    return list;
}

static void
expect_text(const char *spec, const char *text)
{
    struct cbx_expose list = make(spec);
    char out[CBX_EXPOSE_TEXT_MAX];
    assert_int_equal(cbx_expose_format(&list, out, sizeof out), strlen(text));
    assert_string_equal(out, text);
}

static void
a_port_leads_to_loopback(void **state)
{
    (void)state;
    struct cbx_expose list = make("8080");
    const struct cbx_expose_item *item = cbx_expose_find(&list, 8080);
    assert_non_null(item);
    assert_string_equal(item->target, "127.0.0.1");
    assert_int_equal(item->target_port, 8080);
}

static void
targets_beyond_loopback_are_read(void **state)
{
    (void)state;
    struct cbx_expose list = make("5432=10.83.0.7:5433,80=[fd00::1]:8080");
    assert_string_equal(cbx_expose_find(&list, 5432)->target, "10.83.0.7");
    assert_int_equal(cbx_expose_find(&list, 5432)->target_port, 5433);
    assert_string_equal(cbx_expose_find(&list, 80)->target, "fd00::1");
    assert_int_equal(cbx_expose_find(&list, 80)->target_port, 8080);
}

static void
the_text_is_canonical(void **state)
{
    (void)state;
    expect_text("", "");
    expect_text("9000,80,8080", "80,8080,9000");
    expect_text("80=localhost:80", "80");
    expect_text("80=127.0.0.1:80", "80");
    expect_text("80=localhost:81", "80=127.0.0.1:81");
    expect_text("80=[FD00:0:0::1]:80", "80=[fd00::1]:80");
    expect_text("80=[::1]:80", "80=[::1]:80");
}

static void
canonical_text_reads_back_equal(void **state)
{
    (void)state;
    struct cbx_expose list = make("8080,5432=10.83.0.7:5432,80=[fd00::1]:8080");
    char out[CBX_EXPOSE_TEXT_MAX];
    assert_true(cbx_expose_format(&list, out, sizeof out) > 0);
    struct cbx_expose again = make(out);
    assert_memory_equal(&list, &again, sizeof list);
}

static void
ports_alone_are_listed_for_the_directory(void **state)
{
    (void)state;
    struct cbx_expose list = make("8080,5432=10.83.0.7:5432");
    char out[64];
    assert_int_equal(cbx_expose_ports(&list, out, sizeof out), 9);
    assert_string_equal(out, "5432,8080");
}

static void
bad_items_are_refused_by_name_and_change_nothing(void **state)
{
    (void)state;
    static const char *const bad[] = {
        ",",
        "80,",
        ",80",
        "80,,81",
        "0",
        "65536",
        "http",
        "80=",
        "80=:80",
        "80=10.0.0.1",
        "80=10.0.0.1:0",
        "80=web:80",
        "80=web.cbx:80",
        "80=10.0.0.1:80:80",
        "80=10.0.0:80",
        "80=fd00::1:80",
        "80=[10.0.0.1]:80",
        "80=0.0.0.0:80",
        "80=[::]:80",
        "80 ",
        "8 0",
        "80=80",
        "=10.0.0.1:80",
        "80=[fd00::1%eth0]:80",
        "80=[ffff:ffff:ffff:ffff:ffff:ffff:255.255.255.255:ffff:ffff:ffff:ffff]:80",
    };
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        char spec[128];
        struct cbx_expose list = make("7000");
        struct cbx_error error = {""};
        (void)snprintf(spec, sizeof spec, "22,%s", bad[i]);
        assert_int_equal(cbx_expose_add(&list, spec, &error), CBX_ERR_FORMAT);
        assert_non_null(strstr(error.text, "expose \""));
        assert_int_equal(list.count, 1);
    }
    struct cbx_expose list = make("7000");
    struct cbx_error error = {""};
    assert_int_equal(cbx_expose_add(&list, "80,8x,90", &error), CBX_ERR_FORMAT);
    assert_non_null(strstr(error.text, "\"8x\""));
}

static void
equal_repeats_are_folded(void **state)
{
    (void)state;
    expect_text("80,80,80=localhost:80", "80");
}

static void
a_port_with_two_targets_is_refused(void **state)
{
    (void)state;
    struct cbx_expose list = make("80");
    struct cbx_error error;
    assert_int_equal(cbx_expose_add(&list, "80=10.0.0.1:80", &error), CBX_ERR_EXISTS);
    assert_non_null(strstr(error.text, "80"));
    assert_int_equal(cbx_expose_add(&list, "81=10.0.0.1:80,81", NULL), CBX_ERR_EXISTS);
    assert_int_equal(list.count, 1);
}

static void
the_list_has_a_limit(void **state)
{
    (void)state;
    struct cbx_expose list = {0};
    char spec[16];
    for (int port = 1; port <= CBX_EXPOSE_MAX; port++) {
        (void)snprintf(spec, sizeof spec, "%d", port);
        assert_int_equal(cbx_expose_add(&list, spec, NULL), 0);
    }
    assert_int_equal(cbx_expose_add(&list, "64", NULL), 0);
    assert_int_equal(cbx_expose_add(&list, "65", NULL), CBX_ERR_LIMIT);
    assert_int_equal(list.count, CBX_EXPOSE_MAX);
}

static void
a_list_whose_text_is_too_long_is_refused(void **state)
{
    (void)state;
    struct cbx_expose list = {0};
    char spec[64];
    int result = 0;
    for (int port = 10000; result == 0 && port < 10064; port++) {
        (void)snprintf(spec, sizeof spec, "%d=[fd00:1111:2222:3333:4444:5555:6666:7777]:50000",
                       port);
        result = cbx_expose_add(&list, spec, NULL);
    }
    char out[CBX_EXPOSE_TEXT_MAX];
    assert_int_equal(result, CBX_ERR_LIMIT);
    assert_true(cbx_expose_format(&list, out, sizeof out) > 0);
}

static void
format_never_passes_its_buffer(void **state)
{
    (void)state;
    struct cbx_expose list = make("80,8080");
    char out[16];
    for (size_t size = 0; size < 8; size++) {
        memset(out, '#', sizeof out);
        assert_int_equal(cbx_expose_format(&list, out, size), CBX_ERR_LIMIT);
        assert_int_equal(out[size], '#');
    }
    assert_int_equal(cbx_expose_format(&list, out, 8), 7);
}

static void
find_knows_what_is_not_exposed(void **state)
{
    (void)state;
    struct cbx_expose list = make("80,443");
    assert_null(cbx_expose_find(&list, 81));
    assert_null(cbx_expose_find(&list, 0));
    assert_non_null(cbx_expose_find(&list, 443));
}

static bool
within(const char *inner, const char *outer)
{
    struct cbx_expose a = make(inner);
    struct cbx_expose b = make(outer);
    return cbx_expose_within(&a, &b);
}

static void
within_compares_ports_and_targets(void **state)
{
    (void)state;
    assert_true(within("", "") && within("", "80") && within("80", "80") && within("80", "22,80"));
    assert_true(within("80=[fd00:0::1]:1", "80=[fd00::1]:1"));
    assert_false(within("80", "") || within("80,81", "80"));
    assert_false(within("80=127.0.0.1:81", "80") || within("80=10.0.0.1:80", "80"));
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_port_leads_to_loopback),
        cmocka_unit_test(targets_beyond_loopback_are_read),
        cmocka_unit_test(the_text_is_canonical),
        cmocka_unit_test(canonical_text_reads_back_equal),
        cmocka_unit_test(ports_alone_are_listed_for_the_directory),
        cmocka_unit_test(bad_items_are_refused_by_name_and_change_nothing),
        cmocka_unit_test(equal_repeats_are_folded),
        cmocka_unit_test(a_port_with_two_targets_is_refused),
        cmocka_unit_test(the_list_has_a_limit),
        cmocka_unit_test(a_list_whose_text_is_too_long_is_refused),
        cmocka_unit_test(format_never_passes_its_buffer),
        cmocka_unit_test(find_knows_what_is_not_exposed),
        cmocka_unit_test(within_compares_ports_and_targets),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
