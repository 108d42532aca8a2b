/* SPDX-License-Identifier: MIT */
#include "common/session/session.h"
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <stdlib.h>
#include <string.h>

enum { WINDOW = CBX_REPLAY_WINDOW };

static void
counter_0_is_taken_once(void **state)
{
    (void)state;
    struct cbx_replay window = {0};
    assert_true(cbx_replay_take(&window, 0));
    assert_false(cbx_replay_take(&window, 0));
    assert_true(cbx_replay_take(&window, 1));
    assert_false(cbx_replay_take(&window, 0));
}

static void
a_first_counter_may_be_any(void **state)
{
    (void)state;
    static const uint64_t first[] = {1, 63, 64, WINDOW - 1, WINDOW, WINDOW + 64, UINT64_MAX / 2};
    for (size_t i = 0; i < sizeof first / sizeof first[0]; i++) {
        struct cbx_replay window = {0};
        assert_true(cbx_replay_take(&window, first[i]));
        assert_false(cbx_replay_take(&window, first[i]));
        assert_true(cbx_replay_take(&window, first[i] - 1));
    }
}

static void
ascending_descending_and_shuffled_orders_take_each_once(void **state)
{
    (void)state;
    enum { COUNT = WINDOW };
    static const uint64_t stride[] = {1, COUNT - 1, 4097, 67, 8191 - 64};
    for (size_t s = 0; s < sizeof stride / sizeof stride[0]; s++) {
        struct cbx_replay window = {0};
        /* An odd stride visits each residue once; the base is not aligned to a word. */
        for (uint64_t i = 0; i < COUNT; i++)
            assert_true(cbx_replay_take(&window, 1000 + i * (stride[s] | 1) % COUNT));
        for (uint64_t i = 0; i < COUNT; i++)
            assert_false(cbx_replay_take(&window, 1000 + i));
    }
}

static void
exactly_the_window_is_kept(void **state)
{
    (void)state;
    for (uint64_t top = WINDOW; top < WINDOW + 130; top++) {
        struct cbx_replay window = {0};
        assert_true(cbx_replay_take(&window, top));
        assert_false(cbx_replay_take(&window, top - WINDOW));
        assert_true(cbx_replay_take(&window, top - WINDOW + 1));
        assert_false(cbx_replay_take(&window, top - WINDOW + 1));
    }
}

static void
a_jump_past_the_window_forgets_the_old_and_refuses_it(void **state)
{
    (void)state;
    static const uint64_t jump[] = {WINDOW - 1,  WINDOW,     WINDOW + 1,
                                    WINDOW + 64, 2 * WINDOW, (uint64_t)1 << 40};
    for (size_t j = 0; j < sizeof jump / sizeof jump[0]; j++) {
        struct cbx_replay window = {0};
        for (uint64_t i = 0; i < WINDOW; i++)
            assert_true(cbx_replay_take(&window, i));
        uint64_t top = WINDOW - 1 + jump[j];
        assert_true(cbx_replay_take(&window, top));
        assert_false(cbx_replay_take(&window, WINDOW - 1));
        assert_false(cbx_replay_take(&window, 0));
        for (uint64_t c = WINDOW > top - WINDOW ? WINDOW : top - WINDOW + 1; c < top; c++)
            assert_true(cbx_replay_take(&window, c));
        assert_false(cbx_replay_take(&window, top));
    }
}

static void
the_last_counter_is_never_taken_and_harms_nothing(void **state)
{
    (void)state;
    struct cbx_replay window = {0};
    assert_false(cbx_replay_take(&window, UINT64_MAX));
    assert_true(cbx_replay_take(&window, 0));
    assert_false(cbx_replay_take(&window, UINT64_MAX));
    assert_true(cbx_replay_take(&window, 1));
    assert_true(cbx_replay_take(&window, UINT64_MAX - 1));
    assert_false(cbx_replay_take(&window, UINT64_MAX - 1));
    assert_false(cbx_replay_take(&window, UINT64_MAX));
    assert_false(cbx_replay_take(&window, 2));
    assert_true(cbx_replay_take(&window, UINT64_MAX - 2));
}

/* A plain set of everything taken is the model. */
static void
it_behaves_as_a_plain_set_would(void **state)
{
    (void)state;
    enum { SPAN = 64 * 1024 };
    uint8_t *taken = calloc(1, SPAN);
    assert_non_null(taken);
    struct cbx_replay window = {0};
    uint64_t random = 12345;
    uint64_t top = 0;
    for (size_t i = 0; i < 100000; i++) {
        random = random * 6364136223846793005u + 1442695040888963407u;
        uint64_t around = top > 10000 ? top - 10000 : 0;
        uint64_t counter = (around + (random >> 33) % 10300) % SPAN;
        bool expected = taken[counter] == 0 && (counter > top || top - counter < WINDOW);
        assert_int_equal(cbx_replay_take(&window, counter), expected);
        if (expected) {
            taken[counter] = 1;
            top = counter > top ? counter : top;
        }
    }
    assert_int_equal(window.highest, top + 1);
    free(taken);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(counter_0_is_taken_once),
        cmocka_unit_test(a_first_counter_may_be_any),
        cmocka_unit_test(ascending_descending_and_shuffled_orders_take_each_once),
        cmocka_unit_test(exactly_the_window_is_kept),
        cmocka_unit_test(a_jump_past_the_window_forgets_the_old_and_refuses_it),
        cmocka_unit_test(the_last_counter_is_never_taken_and_harms_nothing),
        cmocka_unit_test(it_behaves_as_a_plain_set_would),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
