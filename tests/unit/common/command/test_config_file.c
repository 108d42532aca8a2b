/* SPDX-License-Identifier: MIT */
/* Configuration files: what is taken, and that the first wrong line is named. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "common/command/config_file.h"
#include "scratch.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static char path[SCRATCH_MAX];
static char taken[256]; /* "listen=a listen=b user=c " */

static const char *
name_at(size_t index, bool *repeats)
{
    static const char *const names[] = {"listen", "user", NULL};
    *repeats = index == 0;
    return names[index];
}

static int
set(void *arg, size_t index, const char *value, struct cbx_error *error)
{
    bool repeats;
    assert_ptr_equal(arg, taken);
    if (strcmp(value, "wrong") == 0)
        return cbx_fail(error, CBX_ERR_FORMAT, "'wrong' is wrong");
    size_t used = strlen(taken);
    (void)snprintf(taken + used, sizeof taken - used, "%s=%s ", name_at(index, &repeats), value);
    return 0;
}

static int
read_bytes(const char *text, size_t length, struct cbx_error *error)
{
    static const char *const line_only[] = {"config", "state", NULL};
    static const struct cbx_config_file file = {.section = "hub",
                                                .manual = "the manual",
                                                .name = name_at,
                                                .set = set,
                                                .line_only = line_only};
    assert_true(scratch_file("config-file", text, length, path));
    taken[0] = '\0';
    int result = cbx_config_file_read(path, &file, taken, error);
    unlink(path);
    return result;
}

static void
takes(const char *text, const char *expected)
{
    struct cbx_error error = {""};
    int result = read_bytes(text, strlen(text), &error);
    assert_string_equal(error.text, "");
    assert_int_equal(result, 0);
    assert_string_equal(taken, expected);
}

/* The whole error, without the path at its beginning. */
static void
refuses_bytes(const char *text, size_t length, const char *expected)
{
    struct cbx_error error = {""};
    assert_int_equal(read_bytes(text, length, &error), CBX_ERR_USAGE);
    assert_memory_equal(error.text, path, strlen(path));
    assert_string_equal(error.text + strlen(path), expected);
}

static void
refuses(const char *text, const char *expected)
{
    refuses_bytes(text, strlen(text), expected);
}

static void
names_count_in_the_section_and_before_any(void **state)
{
    (void)state;
    takes("", "");
    takes("user = a\n", "user=a ");
    takes("# c\n; c\n\n[hub]\nlisten=a\nlisten = b ; c\nuser = c d", "listen=a listen=b user=c d ");
    refuses("[hub]\nuser = a\n[agent]\nlisten = b\n",
            ":4: unknown section [agent]; only [hub] is known");
}

static void
a_name_is_known_and_set_once(void **state)
{
    (void)state;
    refuses("\nusers = a\n", ":2: unknown name users; the manual lists the known ones");
    refuses("user = a\nuser = a\n", ":2: user is set twice; remove one of the lines");
    refuses("listen 127.0.0.1:1\n", ":1: 'listen 127.0.0.1' is not a name; write NAME = VALUE");
    refuses("state = a\n", ":1: state is for the command line only; give --state there");
}

static void
a_wrong_value_is_named(void **state)
{
    (void)state;
    refuses("user = wrong\n", ":1: user: 'wrong' is wrong");
    assert_string_equal(taken, "");
}

static void
the_first_wrong_line_counts(void **state)
{
    (void)state;
    static const char neither[] =
        ": neither [SECTION] nor NAME = VALUE; correct or remove the line";
    char text[128];
    (void)snprintf(text, sizeof text, ":1%s", neither);
    refuses("user\nuser = wrong\n", text);
    refuses("user = wrong\nuser\n", ":1: user: 'wrong' is wrong");
    (void)snprintf(text, sizeof text, ":2%s", neither);
    refuses("listen = a\n  b\nuser = c\n", text); /* no value goes on in the next line */
    assert_string_equal(taken, "listen=a user=c ");
}

static void
long_lines_and_nul_bytes_are_refused(void **state)
{
    (void)state;
    char text[512];
    memset(text, 'x', sizeof text);
    memcpy(text, "user = ", 7);
    text[198] = '\n';
    text[199] = '\0';
    struct cbx_error error = {""};
    assert_int_equal(read_bytes(text, strlen(text), &error), 0);
    assert_int_equal(strlen(taken), strlen("user=") + 191 + 1);
    text[198] = 'x';
    text[199] = '\n';
    text[200] = '\0';
    refuses(text, ":1: the line is longer than 198 characters; shorten it, or "
                  "write a list as several lines of that name");
    refuses_bytes("user = a\0b\nlisten = c\n", 22,
                  ":1: the line contains a NUL byte; use a plain text file");
    assert_string_equal(taken, "");
}

static void
a_file_that_cannot_be_read_is_named(void **state)
{
    (void)state;
    static const struct cbx_config_file file = {
        .section = "hub", .manual = "", .name = name_at, .set = set};
    struct cbx_error error;
    assert_int_equal(cbx_config_file_read("/tmp/cbx-no-such-file", &file, taken, &error),
                     CBX_ERR_USAGE);
    assert_string_equal(error.text, "cannot open the configuration file /tmp/cbx-no-such-file: No "
                                    "such file or directory");
    assert_int_equal(cbx_config_file_read("/tmp", &file, taken, &error), CBX_ERR_USAGE);
    assert_string_equal(error.text, "cannot read the configuration file /tmp");
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(names_count_in_the_section_and_before_any),
        cmocka_unit_test(a_name_is_known_and_set_once),
        cmocka_unit_test(a_wrong_value_is_named),
        cmocka_unit_test(the_first_wrong_line_counts),
        cmocka_unit_test(long_lines_and_nul_bytes_are_refused),
        cmocka_unit_test(a_file_that_cannot_be_read_is_named),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
