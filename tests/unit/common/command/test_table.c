/* SPDX-License-Identifier: MIT */
#include "common/command/table.h"
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

/* What the end of the table prints. */
static bool
printed(struct cbx_table *table, char *out, size_t size)
{
    int standard = dup(STDOUT_FILENO), pipes[2];
    assert_int_equal(pipe2(pipes, O_CLOEXEC), 0);
    (void)fflush(stdout);
    assert_true(dup2(pipes[1], STDOUT_FILENO) >= 0);
    bool good = cbx_table_end(table);
    (void)fflush(stdout);
    assert_true(dup2(standard, STDOUT_FILENO) >= 0);
    close(standard);
    close(pipes[1]);
    ssize_t got = read(pipes[0], out, size - 1);
    close(pipes[0]);
    out[got > 0 ? got : 0] = '\0';
    return good;
}

static void
columns_have_their_widest_cells_width(void **state)
{
    (void)state;
    char text[200];
    struct cbx_table *table = cbx_table_new(3);
    cbx_table_row(table, (const char *const[]){"A", "LONG", "LAST"});
    cbx_table_row(table, (const char *const[]){"wide one", "x", ""});
    assert_true(printed(table, text, sizeof text));
    assert_string_equal(text, "A         LONG  LAST\nwide one  x\n");
}

static void
long_lists_go_on_below(void **state)
{
    (void)state;
    char text[400];
    struct cbx_table *table = cbx_table_new(3);
    cbx_table_row(table, (const char *const[]){"NAME", "PORTS", "NOTE"});
    cbx_table_row(
        table, (const char *const[]){"web", "10001,10002,10003,10004,10005,10006,10007", "a, b"});
    cbx_table_row(
        table, (const char *const[]){"x", "-",
                                     "a sentence, however long, stays in one line, as it is said"});
    assert_true(printed(table, text, sizeof text));
    assert_string_equal(text, "NAME  PORTS                           NOTE\n"
                              "web   10001,10002,10003,10004,10005,  a, b\n"
                              "      10006,10007\n"
                              "x     -                               a sentence, however long, "
                              "stays in one line, as it is said\n");
}

static void
control_bytes_are_shown_as_question_marks(void **state)
{
    (void)state;
    char text[200];
    struct cbx_table *table = cbx_table_new(1);
    cbx_table_add(table, "a\x1b[2J\x7f\n");
    assert_true(printed(table, text, sizeof text));
    assert_string_equal(text, "a?[2J??\n");
}

static void
many_rows_are_kept(void **state)
{
    (void)state;
    static char text[8192];
    struct cbx_table *table = cbx_table_new(2);
    for (int i = 0; i < 500; i++)
        cbx_table_row(table, (const char *const[]){"abc", "def"});
    assert_true(printed(table, text, sizeof text));
    assert_int_equal(strlen(text), 500 * strlen("abc  def\n"));
}

static void
no_table_prints_nothing_and_says_so(void **state)
{
    (void)state;
    cbx_table_add(NULL, "x");
    assert_false(cbx_table_end(NULL));
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(columns_have_their_widest_cells_width),
        cmocka_unit_test(long_lists_go_on_below),
        cmocka_unit_test(control_bytes_are_shown_as_question_marks),
        cmocka_unit_test(many_rows_are_kept),
        cmocka_unit_test(no_table_prints_nothing_and_says_so),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
