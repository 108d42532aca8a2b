/* SPDX-License-Identifier: MIT */
/* How each direction of a link moves to a lane: every change that is legal, and no other. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "common/base/log.h"
#include "common/link/link_state.h"

enum { SHIFTS = CBX_SHIFT_DONE + 1 };

static void
what_comes_in_waits_for_the_lane_or_moves_at_once(void **state)
{
    (void)state;
    static const bool legal[SHIFTS][SHIFTS] = {
        [CBX_SHIFT_NONE] = {[CBX_SHIFT_MARKED] = true, [CBX_SHIFT_DONE] = true},
        [CBX_SHIFT_MARKED] = {[CBX_SHIFT_DONE] = true},
    };
    for (enum cbx_link_shift from = 0; from <= CBX_SHIFT_DONE; from++) {
        for (enum cbx_link_shift to = 0; to <= CBX_SHIFT_DONE; to++) {
            struct cbx_link link = {.shift_in = from};
            cbx_link_set_shift_in(&link, to);
            assert_int_equal(link.shift_in, legal[from][to] ? to : from);
            assert_int_equal(link.shift_out, CBX_SHIFT_NONE);
        }
    }
}

static void
what_goes_out_is_marked_before_it_moves(void **state)
{
    (void)state;
    static const bool legal[SHIFTS][SHIFTS] = {
        [CBX_SHIFT_NONE] = {[CBX_SHIFT_WANTED] = true},
        [CBX_SHIFT_WANTED] = {[CBX_SHIFT_MARKED] = true},
        [CBX_SHIFT_MARKED] = {[CBX_SHIFT_DONE] = true},
    };
    for (enum cbx_link_shift from = 0; from <= CBX_SHIFT_DONE; from++) {
        for (enum cbx_link_shift to = 0; to <= CBX_SHIFT_DONE; to++) {
            struct cbx_link link = {.shift_out = from};
            cbx_link_set_shift_out(&link, to);
            assert_int_equal(link.shift_out, legal[from][to] ? to : from);
            assert_int_equal(link.shift_in, CBX_SHIFT_NONE);
        }
    }
}

int
main(void)
{
    cbx_log_init("test", CBX_LOG_DEBUG);
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_comes_in_waits_for_the_lane_or_moves_at_once),
        cmocka_unit_test(what_goes_out_is_marked_before_it_moves),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
