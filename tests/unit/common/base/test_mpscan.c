/* SPDX-License-Identifier: MIT */
#include "common/base/err.h"
#include "common/base/mpscan.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

enum { ELEMENTS = 16, DEPTH = 2 };

/* Scans a copy of exactly this size, so that the sanitizer sees any read behind it. */
static int
scan(const void *bytes, size_t length, size_t *used)
{
    uint8_t *copy = malloc(length + (length == 0));
    assert_non_null(copy);
    memcpy(copy, bytes, length);
    int result = cbx_mpscan(copy, length, ELEMENTS, DEPTH, used);
    free(copy);
    return result;
}

/* Whole it is taken; followed by a byte it is taken without it; cut anywhere it is refused. */
static void
expect_object(const char *bytes, size_t length)
{
    uint8_t more[64] = {0};
    size_t used = 0;
    assert_int_equal(scan(bytes, length, &used), 0);
    assert_int_equal(used, length);
    memcpy(more, bytes, length);
    assert_int_equal(scan(more, length + 1, &used), 0);
    assert_int_equal(used, length);
    for (size_t cut = 0; cut < length; cut++)
        assert_int_equal(scan(bytes, cut, &used), CBX_ERR_FORMAT);
}

#define OBJECT(text) expect_object((text), sizeof(text) - 1)

static void
every_plain_type_is_walked(void **state)
{
    (void)state;
    OBJECT("\x00");
    OBJECT("\x7f");
    OBJECT("\xe0");
    OBJECT("\xff");
    OBJECT("\xc0");
    OBJECT("\xc2");
    OBJECT("\xc3");
    OBJECT("\xcc\x01");
    OBJECT("\xcd\x01\x02");
    OBJECT("\xce\x01\x02\x03\x04");
    OBJECT("\xcf\x01\x02\x03\x04\x05\x06\x07\x08");
    OBJECT("\xd0\x01");
    OBJECT("\xd1\x01\x02");
    OBJECT("\xd2\x01\x02\x03\x04");
    OBJECT("\xd3\x01\x02\x03\x04\x05\x06\x07\x08");
    OBJECT("\xca\x01\x02\x03\x04");
    OBJECT("\xcb\x01\x02\x03\x04\x05\x06\x07\x08");
}

static void
every_text_and_bin_form_is_walked(void **state)
{
    (void)state;
    OBJECT("\xa0");
    OBJECT("\xa3"
           "abc");
    OBJECT("\xd9\x00");
    OBJECT("\xd9\x03"
           "abc");
    OBJECT("\xda\x00\x03"
           "abc");
    OBJECT("\xdb\x00\x00\x00\x03"
           "abc");
    OBJECT("\xc4\x03"
           "abc");
    OBJECT("\xc5\x00\x03"
           "abc");
    OBJECT("\xc6\x00\x00\x00\x03"
           "abc");
}

static void
every_array_form_is_walked(void **state)
{
    (void)state;
    OBJECT("\x90");
    OBJECT("\x93\x01\xa1x\x02");
    OBJECT("\xdc\x00\x02\x01\x02");
    OBJECT("\xdd\x00\x00\x00\x02\x01\x02");
    OBJECT("\x93\x91\x01\x90\x92\x01\x02");
    OBJECT("\x92\xdc\x00\x01\xc4\x01x\xcc\xff");
}

static void
lengths_beyond_the_input_are_refused(void **state)
{
    (void)state;
    size_t used;
    assert_int_equal(scan("\xdb\xff\xff\xff\xff", 5, &used), CBX_ERR_FORMAT);
    assert_int_equal(scan("\xc6\xff\xff\xff\xff", 5, &used), CBX_ERR_FORMAT);
    assert_int_equal(scan("\xc6\xff\xff\xff\xff"
                          "abc",
                          8, &used),
                     CBX_ERR_FORMAT);
    assert_int_equal(scan("\xc4\x02"
                          "a",
                          3, &used),
                     CBX_ERR_FORMAT);
    assert_int_equal(scan("\x92\x01", 2, &used), CBX_ERR_FORMAT);
}

static void
arrays_over_the_limit_are_refused(void **state)
{
    (void)state;
    uint8_t bytes[32] = {0xdc, 0, ELEMENTS};
    size_t used;
    assert_int_equal(scan(bytes, 3 + ELEMENTS, &used), 0);
    bytes[2] = ELEMENTS + 1;
    assert_int_equal(scan(bytes, 4 + ELEMENTS, &used), CBX_ERR_LIMIT);
    assert_int_equal(scan("\xdd\xff\xff\xff\xff", 5, &used), CBX_ERR_LIMIT);
    assert_int_equal(scan("\x91\xdd\xff\xff\xff\xff", 6, &used), CBX_ERR_LIMIT);
}

static void
depth_over_the_limit_is_refused(void **state)
{
    (void)state;
    size_t used;
    assert_int_equal(scan("\x91\x91\x01", 3, &used), 0);
    assert_int_equal(scan("\x91\x91\x91\x01", 4, &used), CBX_ERR_LIMIT);
    assert_int_equal(scan("\x92\x90\x91\x90", 4, &used), CBX_ERR_LIMIT);
    assert_int_equal(cbx_mpscan((const uint8_t *)"\x90", 1, ELEMENTS, 0, &used), CBX_ERR_LIMIT);
    assert_int_equal(cbx_mpscan((const uint8_t *)"\x01", 1, ELEMENTS, 0, &used), 0);
}

static void
depth_is_bounded_whatever_the_caller_says(void **state)
{
    (void)state;
    uint8_t bytes[100];
    size_t used;
    memset(bytes, 0x91, sizeof bytes);
    bytes[CBX_MPSCAN_DEPTH_MAX] = 1;
    assert_int_equal(cbx_mpscan(bytes, sizeof bytes, ELEMENTS, 1000000, &used), 0);
    assert_int_equal(used, CBX_MPSCAN_DEPTH_MAX + 1);
    bytes[CBX_MPSCAN_DEPTH_MAX] = 0x91;
    assert_int_equal(cbx_mpscan(bytes, sizeof bytes, ELEMENTS, 1000000, &used), CBX_ERR_LIMIT);
}

static void
maps_ext_types_and_the_unused_byte_are_refused(void **state)
{
    (void)state;
    uint8_t bytes[16] = {0};
    size_t used;
    for (unsigned first = 0; first < 256; first++) {
        bool refused = (first >= 0x80 && first < 0x90) || first == 0xc1 ||
                       (first >= 0xc7 && first <= 0xc9) || (first >= 0xd4 && first <= 0xd8) ||
                       first == 0xde || first == 0xdf;
        if (!refused)
            continue;
        bytes[0] = (uint8_t)first;
        assert_int_equal(scan(bytes, sizeof bytes, &used), CBX_ERR_FORMAT);
    }
}

static void
empty_input_is_refused(void **state)
{
    (void)state;
    size_t used;
    assert_int_equal(cbx_mpscan(NULL, 0, ELEMENTS, DEPTH, &used), CBX_ERR_FORMAT);
}

static void
any_bytes_stay_inside_the_input(void **state)
{
    (void)state;
    uint32_t seed = 12345;
    for (int round = 0; round < 20000; round++) {
        uint8_t bytes[24];
        size_t used = 0;
        for (size_t i = 0; i < sizeof bytes; i++) {
            seed = seed * 1664525 + 1013904223;
            bytes[i] = (uint8_t)(seed >> 24);
        }
        size_t length = seed % (sizeof bytes + 1);
        if (scan(bytes, length, &used) == 0)
            assert_true(used > 0 && used <= length);
    }
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_plain_type_is_walked),
        cmocka_unit_test(every_text_and_bin_form_is_walked),
        cmocka_unit_test(every_array_form_is_walked),
        cmocka_unit_test(lengths_beyond_the_input_are_refused),
        cmocka_unit_test(arrays_over_the_limit_are_refused),
        cmocka_unit_test(depth_over_the_limit_is_refused),
        cmocka_unit_test(depth_is_bounded_whatever_the_caller_says),
        cmocka_unit_test(maps_ext_types_and_the_unused_byte_are_refused),
        cmocka_unit_test(empty_input_is_refused),
        cmocka_unit_test(any_bytes_stay_inside_the_input),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
