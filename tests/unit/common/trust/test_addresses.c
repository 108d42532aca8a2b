/* SPDX-License-Identifier: MIT */
/* A hub's own list of addresses: what is legal, how many, as a text and back. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "common/trust/addresses.h"

#include <stdio.h>
#include <string.h>

static void
a_list_comes_back_as_it_was(void **state)
{
    (void)state;
    struct cbx_addresses list = {0}, again;
    char text[CBX_ADDRESSES_TEXT_MAX];
    assert_true(cbx_addresses_add(&list, "hub.example.org:7000"));
    assert_true(cbx_addresses_add(&list, "[2001:db8::1]:443"));
    cbx_addresses_write(&list, text);
    assert_string_equal(text, "hub.example.org:7000,[2001:db8::1]:443");
    cbx_addresses_read(&again, text, strlen(text));
    assert_true(cbx_addresses_equal(&list, &again));
    assert_true(cbx_addresses_hold(&again, "[2001:db8::1]:443"));
    assert_false(cbx_addresses_hold(&again, "[2001:db8::1]:44"));
    assert_true(cbx_addresses_add(&again, "10.0.0.1:1"));
    assert_false(cbx_addresses_equal(&list, &again));
    cbx_addresses_read(&again, "", 0);
    assert_int_equal(again.count, 0);
    cbx_addresses_write(&again, text);
    assert_string_equal(text, "");
}

static void
what_is_not_legal_is_not_taken(void **state)
{
    (void)state;
    static const char *const wrong[] = {"",           "host",        ":7000",      "host:0",
                                        "host:65536", "host:7000x",  "ho st:7000", "host,a:7000",
                                        "::1:7000",   "[host]:7000", "http://a:1", "host:07000",
                                        "[::1]",      "host:",       "user@host:1"};
    struct cbx_addresses list = {0};
    for (size_t i = 0; i < sizeof wrong / sizeof wrong[0]; i++) {
        assert_false(cbx_address_valid(wrong[i]));
        assert_false(cbx_addresses_add(&list, wrong[i]));
    }
    assert_int_equal(list.count, 0);
    static const char mixed[] = "a:1,,b,c:2,\0:3,d:4\0,e:5";
    cbx_addresses_read(&list, mixed, sizeof mixed - 1);
    assert_int_equal(list.count, 3);
    assert_string_equal(list.text[0], "a:1");
    assert_string_equal(list.text[1], "c:2");
    assert_string_equal(list.text[2], "e:5");
}

static void
the_same_address_is_taken_once(void **state)
{
    (void)state;
    struct cbx_addresses list;
    cbx_addresses_read(&list, "a:1,a:1,b:1,a:1", 15);
    assert_int_equal(list.count, 2);
}

static void
number_and_length_are_bounded(void **state)
{
    (void)state;
    struct cbx_addresses list = {0}, again;
    char one[CBX_ADDRESS_TEXT_MAX + 8], text[CBX_ADDRESSES_TEXT_MAX];
    (void)snprintf(one, sizeof one, "%0253d:7000", 1);
    assert_true(cbx_addresses_add(&list, one));
    (void)snprintf(one, sizeof one, "%0254d:7000", 1);
    assert_false(cbx_addresses_add(&list, one));
    for (int i = 2; i < 20; i++) {
        (void)snprintf(one, sizeof one, "%0253d:7000", i);
        assert_int_equal(cbx_addresses_add(&list, one), i <= CBX_ADDRESSES_MAX);
    }
    assert_int_equal(list.count, CBX_ADDRESSES_MAX);
    /* Three of these fit; a short one behind them does, too. */
    (void)snprintf(list.text[7], sizeof list.text[7], "short:1");
    cbx_addresses_write(&list, text);
    assert_in_range(strlen(text), 3 * 258, CBX_ADDRESSES_TEXT_MAX - 1);
    cbx_addresses_read(&again, text, strlen(text));
    assert_int_equal(again.count, 4);
    assert_string_equal(again.text[3], "short:1");
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_list_comes_back_as_it_was),
        cmocka_unit_test(what_is_not_legal_is_not_taken),
        cmocka_unit_test(the_same_address_is_taken_once),
        cmocka_unit_test(number_and_length_are_bounded),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
