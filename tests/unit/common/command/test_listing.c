/* SPDX-License-Identifier: MIT */
#include "common/command/listing.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

#include <cmocka.h>

static void
check(json_t *made, const char *expected)
{
    char *text = json_dumps(made, JSON_COMPACT);
    assert_non_null(text);
    assert_string_equal(text, expected);
    free(text);
    json_decref(made);
}

static void
ports_are_numbers(void **state)
{
    (void)state;
    check(cbx_listing_ports("80,8080,65535"), "[80,8080,65535]");
    check(cbx_listing_ports(""), "[]");
    check(cbx_listing_ports(NULL), "[]");
}

/* The agent's text is the hub's word. */
static void
what_is_no_port_is_left_out(void **state)
{
    (void)state;
    check(cbx_listing_ports("0,65536,-1,x,80x,,99999999999999999999,22,"), "[22]");
}

static void
labels_are_an_object(void **state)
{
    (void)state;
    check(cbx_listing_labels("lang=python,size=big"), "{\"lang\":\"python\",\"size\":\"big\"}");
    check(cbx_listing_labels(""), "{}");
    check(cbx_listing_labels(NULL), "{}");
}

static void
a_label_may_be_empty_or_hold_an_equals_sign(void **state)
{
    (void)state;
    check(cbx_listing_labels("a=,b=c=d"), "{\"a\":\"\",\"b\":\"c=d\"}");
}

static void
what_is_no_label_is_left_out(void **state)
{
    (void)state;
    check(cbx_listing_labels(",x,,a=b,\xff=1,c=\xff,"), "{\"a\":\"b\"}");
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(ports_are_numbers),
        cmocka_unit_test(what_is_no_port_is_left_out),
        cmocka_unit_test(labels_are_an_object),
        cmocka_unit_test(a_label_may_be_empty_or_hold_an_equals_sign),
        cmocka_unit_test(what_is_no_label_is_left_out),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
