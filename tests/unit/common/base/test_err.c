/* SPDX-License-Identifier: MIT */
#include "common/base/err.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <limits.h>
#include <string.h>

static void
fail_returns_the_code_and_writes_the_text(void **state)
{
    (void)state;
    struct cbx_error error;
    assert_int_equal(cbx_fail(&error, CBX_ERR_IO, "%s: %d", "file", 7), CBX_ERR_IO);
    assert_string_equal(error.text, "file: 7");
}

static void
fail_takes_no_error(void **state)
{
    (void)state;
    assert_int_equal(cbx_fail(NULL, CBX_ERR_AUTH, "text"), CBX_ERR_AUTH);
}

static void
fail_keeps_one_line_without_control_bytes(void **state)
{
    (void)state;
    struct cbx_error error;
    (void)cbx_fail(&error, CBX_ERR_FORMAT, "a\nb\x1b[2Jc\x7f");
    assert_string_equal(error.text, "a?b?[2Jc?");
}

static void
fail_cuts_a_long_text(void **state)
{
    (void)state;
    struct cbx_error error;
    char text[2 * CBX_ERROR_TEXT_MAX];
    memset(text, 'x', sizeof text - 1);
    text[sizeof text - 1] = '\0';
    (void)cbx_fail(&error, CBX_ERR_FORMAT, "%s", text);
    assert_int_equal(strlen(error.text), CBX_ERROR_TEXT_MAX - 1);
}

static void
fail_may_wrap_its_own_text(void **state)
{
    (void)state;
    struct cbx_error error;
    (void)cbx_fail(&error, CBX_ERR_IO, "inner");
    (void)cbx_fail(&error, CBX_ERR_IO, "outer: %s", error.text);
    assert_string_equal(error.text, "outer: inner");
}

static void
every_code_has_a_name_of_its_own(void **state)
{
    (void)state;
    for (int a = CBX_ERR_BUSY; a <= 0; a++) {
        assert_string_not_equal(cbx_err_name(a), "unknown error");
        for (int b = CBX_ERR_BUSY; b < a; b++)
            assert_string_not_equal(cbx_err_name(a), cbx_err_name(b));
    }
    assert_string_equal(cbx_err_name(CBX_ERR_BUSY), "busy");
    assert_string_equal(cbx_err_name(CBX_ERR_EXPIRED), "expired");
    assert_string_equal(cbx_err_name(CBX_ERR_BUSY - 1), "unknown error");
    assert_string_equal(cbx_err_name(1), "unknown error");
    assert_string_equal(cbx_err_name(INT_MIN), "unknown error");
}

static void
every_reason_has_words_of_its_own(void **state)
{
    (void)state;
    for (unsigned a = 0; a <= CBX_REASON_MAX; a++) {
        assert_string_not_equal(cbx_reason_text((enum cbx_reason)a), "unknown reason");
        for (unsigned b = 0; b < a; b++)
            assert_string_not_equal(cbx_reason_text((enum cbx_reason)a),
                                    cbx_reason_text((enum cbx_reason)b));
    }
    assert_string_equal(cbx_reason_text(CBX_REASON_NOT_EXPOSED), "port not exposed");
    assert_string_equal(cbx_reason_text(CBX_REASON_UNKNOWN_NAME), "unknown name");
}

static void
a_reason_from_a_newer_peer_has_words_too(void **state)
{
    (void)state;
    volatile unsigned next = CBX_REASON_MAX + 1;
    assert_string_equal(cbx_reason_text((enum cbx_reason)next), "unknown reason");
}

static void
a_reason_from_the_wire_is_known_or_replaced(void **state)
{
    (void)state;
    assert_int_equal(cbx_reason_of(0, CBX_REASON_LOST), CBX_REASON_LOST);
    assert_int_equal(cbx_reason_of(1, CBX_REASON_LOST), CBX_REASON_UNKNOWN_NAME);
    assert_int_equal(cbx_reason_of(CBX_REASON_MAX, CBX_REASON_LOST), CBX_REASON_MAX);
    assert_int_equal(cbx_reason_of(CBX_REASON_MAX + 1, CBX_REASON_RESET), CBX_REASON_RESET);
    assert_int_equal(cbx_reason_of((1ull << 32) + 1, CBX_REASON_RESET), CBX_REASON_RESET);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(fail_returns_the_code_and_writes_the_text),
        cmocka_unit_test(fail_takes_no_error),
        cmocka_unit_test(fail_keeps_one_line_without_control_bytes),
        cmocka_unit_test(fail_cuts_a_long_text),
        cmocka_unit_test(fail_may_wrap_its_own_text),
        cmocka_unit_test(every_code_has_a_name_of_its_own),
        cmocka_unit_test(every_reason_has_words_of_its_own),
        cmocka_unit_test(a_reason_from_a_newer_peer_has_words_too),
        cmocka_unit_test(a_reason_from_the_wire_is_known_or_replaced),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
