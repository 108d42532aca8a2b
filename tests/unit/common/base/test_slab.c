/* SPDX-License-Identifier: MIT */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "common/base/slab.h"
#include <string.h>

enum { POOLED = 16 * 1024, ODD = 5000 };

static int
trim(void **state)
{
    (void)state;
    cbx_slab_trim();
    return cbx_slab_bytes() != 0;
}

static void
a_new_slab_has_one_reference(void **state)
{
    (void)state;
    struct cbx_slab *slab = cbx_slab_new(ODD);
    assert_non_null(slab);
    assert_int_equal(slab->refs, 1);
    assert_int_equal(slab->capacity, ODD);
    memset(slab->bytes, 0x55, ODD);
    cbx_slab_unref(slab);
}

static void
no_slab_may_be_dropped(void **state)
{
    (void)state;
    struct cbx_slice none = {0};
    cbx_slab_unref(NULL);
    cbx_slice_drop(&none);
}

static void
a_slice_keeps_its_bytes_alive(void **state)
{
    (void)state;
    struct cbx_slab *slab = cbx_slab_new(ODD);
    assert_non_null(slab);
    memcpy(slab->bytes + 100, "bytes", 5);
    struct cbx_slice slice = cbx_slice_of(slab, slab->bytes + 100, 5);
    assert_int_equal(slab->refs, 2);
    cbx_slab_unref(slab);
    assert_memory_equal(slice.data, "bytes", 5);
    assert_int_equal(slice.slab->refs, 1);
    cbx_slice_drop(&slice);
    assert_int_equal(cbx_slab_bytes(), 0);
}

static void
dropping_empties_the_slice(void **state)
{
    (void)state;
    struct cbx_slice slice = cbx_slice_copy((const uint8_t *)"x", 1);
    cbx_slice_drop(&slice);
    assert_null(slice.slab);
    assert_null(slice.data);
    assert_int_equal(slice.length, 0);
    cbx_slice_drop(&slice);
}

static void
a_copy_has_a_slab_of_its_size(void **state)
{
    (void)state;
    uint8_t bytes[ODD];
    memset(bytes, 7, sizeof bytes);
    struct cbx_slice slice = cbx_slice_copy(bytes, sizeof bytes);
    bytes[0] = 8;
    assert_int_equal(slice.length, ODD);
    assert_int_equal(slice.slab->capacity, ODD);
    assert_int_equal(slice.data[0], 7);
    assert_int_equal(cbx_slab_bytes(), ODD);
    cbx_slice_drop(&slice);
}

static void
a_copy_of_nothing_is_a_slice(void **state)
{
    (void)state;
    uint8_t none = 0;
    struct cbx_slice slice = cbx_slice_copy(&none, 0);
    assert_non_null(slice.slab);
    assert_int_equal(slice.length, 0);
    cbx_slice_drop(&slice);
}

static void
a_pooled_slab_comes_back(void **state)
{
    (void)state;
    struct cbx_slab *first = cbx_slab_new(POOLED);
    cbx_slab_unref(first);
    assert_int_equal(cbx_slab_bytes(), POOLED);
    struct cbx_slab *second = cbx_slab_new(POOLED);
    assert_ptr_equal(first, second);
    assert_int_equal(second->refs, 1);
    assert_int_equal(cbx_slab_bytes(), POOLED);
    cbx_slab_unref(second);
}

static void
other_sizes_are_freed_at_once(void **state)
{
    (void)state;
    struct cbx_slab *slab = cbx_slab_new(ODD);
    assert_int_equal(cbx_slab_bytes(), ODD);
    cbx_slab_unref(slab);
    assert_int_equal(cbx_slab_bytes(), 0);
}

static void
few_are_kept_of_each_size(void **state)
{
    (void)state;
    struct cbx_slab *slabs[2 * CBX_SLAB_KEEP_MAX];
    for (int i = 0; i < 2 * CBX_SLAB_KEEP_MAX; i++)
        slabs[i] = cbx_slab_new(POOLED);
    assert_int_equal(cbx_slab_bytes(), 2 * CBX_SLAB_KEEP_MAX * POOLED);
    for (int i = 0; i < 2 * CBX_SLAB_KEEP_MAX; i++)
        cbx_slab_unref(slabs[i]);
    assert_int_equal(cbx_slab_bytes(), CBX_SLAB_KEEP_MAX * POOLED);
}

static void
trimming_frees_what_is_kept(void **state)
{
    (void)state;
    struct cbx_slab *used = cbx_slab_new(POOLED);
    struct cbx_slab *spare = cbx_slab_new(POOLED);
    cbx_slab_unref(spare);
    cbx_slab_trim();
    assert_int_equal(cbx_slab_bytes(), POOLED);
    cbx_slab_unref(used);
}

static void
a_tick_frees_what_nobody_needed_since_the_last(void **state)
{
    (void)state;
    struct cbx_slab *slabs[6];
    for (int i = 0; i < 6; i++)
        slabs[i] = cbx_slab_new(POOLED);
    for (int i = 0; i < 6; i++)
        cbx_slab_unref(slabs[i]);
    cbx_slab_tick(); /* all of them were in use */
    assert_int_equal(cbx_slab_bytes(), 6 * POOLED);
    for (int i = 0; i < 20; i++) { /* a quiet stream goes on with two */
        slabs[0] = cbx_slab_new(POOLED);
        slabs[1] = cbx_slab_new(POOLED);
        cbx_slab_unref(slabs[0]);
        cbx_slab_unref(slabs[1]);
    }
    cbx_slab_tick();
    assert_int_equal(cbx_slab_bytes(), 2 * POOLED);
    cbx_slab_tick();
    assert_int_equal(cbx_slab_bytes(), 0);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_teardown(a_new_slab_has_one_reference, trim),
        cmocka_unit_test_teardown(no_slab_may_be_dropped, trim),
        cmocka_unit_test_teardown(a_slice_keeps_its_bytes_alive, trim),
        cmocka_unit_test_teardown(dropping_empties_the_slice, trim),
        cmocka_unit_test_teardown(a_copy_has_a_slab_of_its_size, trim),
        cmocka_unit_test_teardown(a_copy_of_nothing_is_a_slice, trim),
        cmocka_unit_test_teardown(a_pooled_slab_comes_back, trim),
        cmocka_unit_test_teardown(other_sizes_are_freed_at_once, trim),
        cmocka_unit_test_teardown(few_are_kept_of_each_size, trim),
        cmocka_unit_test_teardown(trimming_frees_what_is_kept, trim),
        cmocka_unit_test_teardown(a_tick_frees_what_nobody_needed_since_the_last, trim),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
