/* SPDX-License-Identifier: MIT */
/* Values of settings: what is taken, and that a refusal repeats the value and names the bounds. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "common/command/values.h"

static const int64_t HOUR = 3600000;

static void
choices_are_listed_when_none_fits(void **state)
{
    (void)state;
    static const char *const names[] = {"auto", "off", "require", NULL};
    struct cbx_error error;
    size_t index = 7;
    assert_int_equal(cbx_value_choice("require", names, &index, &error), 0);
    assert_int_equal(index, 2);
    index = 7;
    assert_int_equal(cbx_value_choice("x", names, &index, &error), CBX_ERR_USAGE);
    assert_string_equal(error.text, "'x' is not auto, off or require");
    assert_int_equal(cbx_value_choice("", names + 1, &index, &error), CBX_ERR_USAGE);
    assert_string_equal(error.text, "'' is not off or require");
    assert_int_equal(index, 7);
}

static void
bounds_have_units(void **state)
{
    (void)state;
    struct cbx_error error;
    int64_t ms = 7;
    uint64_t bytes = 7;
    assert_int_equal(cbx_value_duration("1h", 100, HOUR, &ms, &error), 0);
    assert_int_equal(ms, HOUR);
    assert_int_equal(cbx_value_duration("2h", 100, HOUR, &ms, &error), CBX_ERR_USAGE);
    assert_string_equal(error.text, "'2h' is not between 100ms and 1h");
    assert_int_equal(cbx_value_duration("15", 100, HOUR, &ms, &error), CBX_ERR_USAGE);
    assert_string_equal(error.text, "'15' is not a duration with a unit, such as 500ms, 30s, 15m, "
                                    "24h or 30d");
    assert_int_equal(ms, HOUR);
    assert_int_equal(cbx_value_size("1T", 1 << 20, 1ull << 40, &bytes, &error), 0);
    assert_true(bytes == 1ull << 40);
    assert_int_equal(cbx_value_size("1", 1 << 20, 1ull << 44, &bytes, &error), CBX_ERR_USAGE);
    assert_string_equal(error.text, "'1' is not between 1M and 16T");
    assert_int_equal(cbx_value_size("1X", 1, 2, &bytes, &error), CBX_ERR_USAGE);
    assert_string_equal(error.text, "'1X' is not a size, such as 64K, 256M or 1G");
    assert_true(bytes == 1ull << 40);
}

static void
counts_are_whole_numbers(void **state)
{
    (void)state;
    struct cbx_error error;
    uint64_t count = 7;
    assert_int_equal(cbx_value_count("4096", 2, 4096, &count, &error), 0);
    assert_int_equal(count, 4096);
    assert_int_equal(cbx_value_count("1", 2, 4096, &count, &error), CBX_ERR_USAGE);
    assert_string_equal(error.text, "'1' is not between 2 and 4096");
    static const char *const wrong[] = {"", "-1", "4K", "1 ", "0x2", "99999999999999999999"};
    for (size_t i = 0; i < sizeof wrong / sizeof wrong[0]; i++)
        assert_int_equal(cbx_value_count(wrong[i], 0, UINT64_MAX, &count, &error), CBX_ERR_USAGE);
    assert_int_equal(count, 4096);
}

static void
what_is_written_is_exact(void **state)
{
    (void)state;
    static const struct {
        int64_t ms;
        const char *text;
    } durations[] = {{0, "0ms"},         {100, "100ms"},          {1500, "1500ms"},
                     {90000, "90s"},     {600000, "10m"},         {HOUR, "1h"},
                     {24 * HOUR, "24h"}, {30 * 24 * HOUR, "30d"}, {36 * HOUR, "36h"}};
    static const struct {
        uint64_t bytes;
        const char *text;
    } sizes[] = {
        {0, "0"},        {1023, "1023"},     {1536, "1536"},      {256 * 1024, "256K"},
        {1 << 20, "1M"}, {1ull << 40, "1T"}, {1ull << 44, "16T"}, {1ull << 60, "1048576T"}};
    char text[CBX_VALUE_TEXT_MAX];
    for (size_t i = 0; i < sizeof durations / sizeof durations[0]; i++) {
        cbx_value_write_duration(durations[i].ms, text);
        assert_string_equal(text, durations[i].text);
    }
    for (size_t i = 0; i < sizeof sizes / sizeof sizes[0]; i++) {
        cbx_value_write_size(sizes[i].bytes, text);
        assert_string_equal(text, sizes[i].text);
    }
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(choices_are_listed_when_none_fits),
        cmocka_unit_test(bounds_have_units),
        cmocka_unit_test(counts_are_whole_numbers),
        cmocka_unit_test(what_is_written_is_exact),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
