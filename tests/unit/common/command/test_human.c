/* SPDX-License-Identifier: MIT */
#include "common/command/human.h"
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

static void
spans_have_two_units_at_most(void **state)
{
    (void)state;
    static const struct {
        int64_t seconds;
        const char *text;
    } cases[] = {{-5, "0s"},       {0, "0s"},        {59, "59s"},          {60, "1m"},
                 {61, "1m 1s"},    {3600, "1h"},     {3661, "1h 1m"},      {86400, "1d"},
                 {90000, "1d 1h"}, {90061, "1d 1h"}, {86400 * 30ll, "30d"}};
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        char text[CBX_HUMAN_MAX];
        cbx_human_span(cases[i].seconds, text, sizeof text);
        assert_string_equal(text, cases[i].text);
    }
}

static void
bytes_have_two_digits_at_least(void **state)
{
    (void)state;
    static const struct {
        uint64_t bytes;
        const char *text;
    } cases[] = {{0, "0 B"},           {1023, "1023 B"},        {1024, "1.0 KiB"},
                 {1536, "1.5 KiB"},    {12288, "12 KiB"},       {1048575, "1.0 MiB"},
                 {1048576, "1.0 MiB"}, {5ull << 30, "5.0 GiB"}, {UINT64_MAX, "16 EiB"}};
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        char text[CBX_HUMAN_MAX];
        cbx_human_bytes(cases[i].bytes, text, sizeof text);
        assert_string_equal(text, cases[i].text);
    }
}

static void
round_trips_are_in_milliseconds_or_seconds(void **state)
{
    (void)state;
    static const struct {
        int64_t microseconds;
        const char *text;
    } cases[] = {{-1, "-"},         {0, "-"},          {31, "0.03 ms"}, {994, "0.99 ms"},
                 {996, "1.0 ms"},   {4209, "4.2 ms"},  {9960, "10 ms"}, {120000, "120 ms"},
                 {999600, "1.0 s"}, {1234000, "1.2 s"}};
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        char text[CBX_HUMAN_MAX];
        cbx_human_us(cases[i].microseconds, text, sizeof text);
        assert_string_equal(text, cases[i].text);
    }
}

static void
a_moment_that_was_never_set_is_no_time(void **state)
{
    (void)state;
    char text[CBX_HUMAN_MAX];
    cbx_human_since(0, 1700000000, text, sizeof text);
    assert_string_equal(text, "-");
    cbx_human_since(-5, 1700000000, text, sizeof text);
    assert_string_equal(text, "-");
    cbx_human_since(1700000000 - 12, 1700000000, text, sizeof text);
    assert_string_equal(text, "12s");
    cbx_human_since(1700000100, 1700000000, text, sizeof text);
    assert_string_equal(text, "0s");
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_moment_that_was_never_set_is_no_time),
        cmocka_unit_test(spans_have_two_units_at_most),
        cmocka_unit_test(bytes_have_two_digits_at_least),
        cmocka_unit_test(round_trips_are_in_milliseconds_or_seconds),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
