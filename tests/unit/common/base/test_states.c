/* SPDX-License-Identifier: MIT */
/* The setter of state machines: what it allows, and that each transition is one debug line. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "common/base/log.h"
#include "common/base/states.h"

#include <string.h>
#include <unistd.h>

enum { CLOSED, OPENING, OPEN };

static const struct cbx_states door = {
    .what = "door",
    .state =
        {
            [CLOSED] = {"closed", CBX_STATE(OPENING)},
            [OPENING] = {"opening", CBX_STATE(OPEN) | CBX_STATE(CLOSED)},
            [OPEN] = {"open", CBX_STATE(CLOSED)},
        },
};

/* What is logged while from becomes to. */
static const char *
logged(unsigned from, unsigned to, bool allowed)
{
    static char line[256];
    int ends[2];
    int standard_error = dup(STDERR_FILENO);
    assert_int_equal(pipe(ends), 0);
    assert_true(dup2(ends[1], STDERR_FILENO) >= 0);
    assert_int_equal(cbx_states_allow(&door, "3", from, to), allowed);
    assert_true(dup2(standard_error, STDERR_FILENO) >= 0);
    close(standard_error);
    close(ends[1]);
    ssize_t length = read(ends[0], line, sizeof line - 1);
    assert_true(length >= 0);
    line[length] = '\0';
    close(ends[0]);
    return line;
}

static void
a_legal_transition_is_logged_at_debug_level_only(void **state)
{
    (void)state;
    cbx_log_init("test", CBX_LOG_DEBUG);
    assert_string_equal(logged(CLOSED, OPENING, true), "test: door 3: closed -> opening\n");
    cbx_log_init("test", CBX_LOG_INFO);
    assert_string_equal(logged(OPENING, CLOSED, true), "");
}

static void
an_illegal_one_is_refused_and_logged(void **state)
{
    (void)state;
    cbx_log_init("test", CBX_LOG_INFO);
    assert_string_equal(logged(CLOSED, OPEN, false),
                        "test: door 3: a bug: state open cannot follow closed\n");
    assert_string_equal(logged(OPEN, OPEN, false),
                        "test: door 3: a bug: state open cannot follow open\n");
}

static void
a_number_tells_which_one_it_was(void **state)
{
    (void)state;
    cbx_log_init("test", CBX_LOG_DEBUG);
    assert_true(cbx_states_allow_number(&door, "side", 7, CLOSED, OPENING));
    cbx_log_init("test", CBX_LOG_INFO);
    assert_true(cbx_states_allow_number(&door, "side", 7, CLOSED, OPENING));
    assert_false(cbx_states_allow_number(&door, "side", 7, CLOSED, OPEN));
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_legal_transition_is_logged_at_debug_level_only),
        cmocka_unit_test(an_illegal_one_is_refused_and_logged),
        cmocka_unit_test(a_number_tells_which_one_it_was),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
