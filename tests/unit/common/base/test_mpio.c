/* SPDX-License-Identifier: MIT */
#include "common/base/err.h"
#include "common/base/mpio.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <string.h>

static int
decode(const char *bytes, size_t length, unsigned count, unsigned depth)
{
    msgpack_zone zone;
    const msgpack_object *array;
    int result = cbx_mp_array((const uint8_t *)bytes, length, count, depth, &zone, &array);
    if (result == 0)
        msgpack_zone_destroy(&zone);
    return result;
}

static void
a_full_buffer_takes_nothing_more(void **state)
{
    (void)state;
    uint8_t bytes[8] = {0};
    struct cbx_mpbuf buffer = {.bytes = bytes, .size = 4};
    cbx_mpbuf_add(&buffer, "abc", 3);
    assert_int_equal(cbx_mpbuf_write(&buffer, "de", 2), -1);
    assert_true(buffer.full);
    assert_int_equal(cbx_mpbuf_write(&buffer, "d", 1), -1);
    assert_int_equal(buffer.length, 3);
    assert_memory_equal(bytes, "abc\0\0\0\0", 8);
}

static void
what_is_packed_reads_back(void **state)
{
    (void)state;
    uint8_t bytes[64];
    struct cbx_mpbuf buffer = {.bytes = bytes, .size = sizeof bytes};
    msgpack_packer packer;
    msgpack_packer_init(&packer, &buffer, cbx_mpbuf_write);
    msgpack_pack_array(&packer, 3);
    cbx_mp_pack_text(&packer, "web");
    cbx_mp_pack_bin(&packer, "\x01\x02", 2);
    msgpack_pack_uint64(&packer, UINT64_MAX);
    msgpack_zone zone;
    const msgpack_object *array;
    assert_int_equal(cbx_mp_array(bytes, buffer.length, 3, 1, &zone, &array), 0);
    char text[4];
    uint8_t bin[2];
    uint64_t number;
    assert_true(cbx_mp_text(&array[0], text, sizeof text));
    assert_string_equal(text, "web");
    assert_true(cbx_mp_bin(&array[1], bin, sizeof bin));
    assert_memory_equal(bin, "\x01\x02", 2);
    assert_true(cbx_mp_uint(&array[2], UINT64_MAX, &number));
    assert_true(number == UINT64_MAX);
    msgpack_zone_destroy(&zone);
}

static void
reads_are_typed_and_bounded(void **state)
{
    (void)state;
    static const char bytes[] = "\x95\xa3web\xc4\x02xy\x05\xff\xa3w\0b";
    msgpack_zone zone;
    const msgpack_object *array;
    assert_int_equal(cbx_mp_array((const uint8_t *)bytes, sizeof bytes - 1, 5, 1, &zone, &array),
                     0);
    char text[8];
    uint8_t bin[3];
    uint64_t number;
    assert_false(cbx_mp_text(&array[0], text, 3));
    assert_false(cbx_mp_text(&array[1], text, sizeof text));
    assert_false(cbx_mp_text(&array[4], text, sizeof text));
    assert_false(cbx_mp_bin(&array[0], bin, 3));
    assert_false(cbx_mp_bin(&array[1], bin, 1));
    assert_false(cbx_mp_bin(&array[1], bin, 3));
    assert_true(cbx_mp_uint(&array[2], 5, &number));
    assert_false(cbx_mp_uint(&array[2], 4, &number));
    assert_false(cbx_mp_uint(&array[3], UINT64_MAX, &number));
    msgpack_zone_destroy(&zone);
}

static void
only_one_array_of_the_wanted_size_is_decoded(void **state)
{
    (void)state;
    assert_int_equal(decode("\x92\x01\x02", 3, 2, 1), 0);
    assert_int_equal(decode("\x92\x01\x02", 3, 3, 1), CBX_ERR_FORMAT);
    assert_int_equal(decode("\x92\x01\x02\x03", 4, 2, 1), CBX_ERR_FORMAT);
    assert_int_equal(decode("\x92\x01", 2, 2, 1), CBX_ERR_FORMAT);
    assert_int_equal(decode("\x01", 1, 1, 1), CBX_ERR_FORMAT);
    assert_int_equal(decode("\x91\x90", 2, 1, 1), CBX_ERR_FORMAT);
    assert_int_equal(decode("\x91\x90", 2, 1, 2), 0);
    assert_int_equal(decode("\xdd\xff\xff\xff\xff", 5, 1, 1), CBX_ERR_FORMAT);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_full_buffer_takes_nothing_more),
        cmocka_unit_test(what_is_packed_reads_back),
        cmocka_unit_test(reads_are_typed_and_bounded),
        cmocka_unit_test(only_one_array_of_the_wanted_size_is_decoded),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
