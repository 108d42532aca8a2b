/* SPDX-License-Identifier: MIT */
#include "common/base/log_file.h"

#include "common/base/log.h"
#include "scratch.h"

#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

static char folder[SCRATCH_MAX];
static int outside = -1; /* the test program's own standard error */
static struct cbx_error error;

static int
setup(void **state)
{
    (void)state;
    if (!scratch_folder("log-file", folder))
        return -1;
    outside = fcntl(STDERR_FILENO, F_DUPFD_CLOEXEC, 10);
    cbx_log_times(false);
    return outside >= 0 ? 0 : -1;
}

static int
teardown(void **state)
{
    (void)state;
    (void)cbx_log_file_end();
    (void)dup2(outside, STDERR_FILENO);
    (void)close(outside);
    cbx_log_times(false);
    return scratch_end(folder, "log", "old", NULL) ? 0 : -1;
}

static const char *
at(const char *file)
{
    static char path[2][512];
    static unsigned turn;
    char *out = path[turn++ % 2];
    (void)snprintf(out, sizeof path[0], "%s/%s", folder, file);
    return out;
}

static void
expect_lines(const char *file, int lines, const char *last)
{
    char text[4096] = "";
    FILE *in = fopen(at(file), "r");
    assert_non_null(in);
    size_t length = fread(text, 1, sizeof text - 1, in);
    text[length] = '\0';
    (void)fclose(in);
    int found = 0;
    for (const char *end = text; (end = strchr(end, '\n')); end++)
        found++;
    assert_int_equal(found, lines);
    assert_non_null(strstr(text, last));
}

static void
lines_are_appended_to_a_private_file(void **state)
{
    struct stat status;
    (void)state;
    assert_false(cbx_log_file_used());
    assert_int_equal(cbx_log_file_begin(at("log"), true, &error), 0);
    assert_true(cbx_log_file_used());
    cbx_log_info("first");
    assert_int_equal(truncate(at("log"), 0), 0); /* as copytruncate does */
    cbx_log_info("second");
    expect_lines("log", 1, "Z cbx: second\n"); /* with its time */
    assert_int_equal(stat(at("log"), &status), 0);
    assert_int_equal(status.st_mode & 0777, 0600);
}

static void
a_renamed_file_is_left_when_it_is_opened_again(void **state)
{
    (void)state;
    assert_int_equal(cbx_log_file_begin(at("log"), true, &error), 0);
    cbx_log_info("first");
    assert_int_equal(rename(at("log"), at("old")), 0);
    cbx_log_info("second");
    assert_true(cbx_log_file_reopen());
    cbx_log_info("third");
    expect_lines("old", 2, "second\n");
    expect_lines("log", 1, "third\n");
}

static void
one_that_cannot_be_opened_again_is_kept(void **state)
{
    (void)state;
    assert_int_equal(cbx_log_file_begin(at("log"), true, &error), 0);
    assert_int_equal(rename(at("log"), at("old")), 0);
    assert_int_equal(mkdir(at("log"), 0700), 0);
    assert_true(cbx_log_file_reopen());
    cbx_log_info("second");
    expect_lines("old", 2, "Is a directory");
    assert_int_equal(rmdir(at("log")), 0);
}

static void
its_end_gives_standard_error_back(void **state)
{
    struct stat before, now;
    (void)state;
    assert_false(cbx_log_file_end());
    assert_int_equal(fstat(STDERR_FILENO, &before), 0);
    assert_int_equal(cbx_log_file_begin(at("log"), true, &error), 0);
    assert_true(cbx_log_file_end());
    assert_int_equal(fstat(STDERR_FILENO, &now), 0);
    assert_true(now.st_dev == before.st_dev && now.st_ino == before.st_ino);
    assert_false(cbx_log_file_used());
    assert_false(cbx_log_file_reopen());
    assert_int_equal(cbx_log_file_begin(at("log"), false, &error), 0);
    assert_false(cbx_log_file_end()); /* nothing was kept */
    assert_true(cbx_log_file_used());
}

static void
what_cannot_be_opened_changes_nothing(void **state)
{
    struct stat before, now;
    (void)state;
    assert_int_equal(fstat(STDERR_FILENO, &before), 0);
    assert_int_equal(cbx_log_file_begin(folder, true, &error), CBX_ERR_USAGE);
    assert_non_null(strstr(error.text, "Is a directory"));
    assert_int_equal(fstat(STDERR_FILENO, &now), 0);
    assert_true(now.st_dev == before.st_dev && now.st_ino == before.st_ino);
    assert_false(cbx_log_file_end());
}

static void
a_look_makes_nothing(void **state)
{
    (void)state;
    assert_int_equal(cbx_log_file_look(at("log"), NULL, &error), 0);
    assert_int_not_equal(access(at("log"), F_OK), 0);
    assert_int_equal(cbx_log_file_look("", NULL, &error), CBX_ERR_USAGE);
    assert_int_equal(cbx_log_file_look(folder, NULL, &error), CBX_ERR_USAGE);
    assert_int_equal(cbx_log_file_look(at("none/log"), NULL, &error), CBX_ERR_USAGE);
    assert_non_null(strstr(error.text, "No such file"));
    assert_int_equal(cbx_log_file_look(at("none/log"), at("none"), &error), 0); /* will be made */
    assert_int_equal(cbx_log_file_look("/log-in-the-root-folder-is-fine", NULL, &error),
                     access("/", W_OK) == 0 ? 0 : CBX_ERR_USAGE);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int
main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(lines_are_appended_to_a_private_file),
        TEST(a_renamed_file_is_left_when_it_is_opened_again),
        TEST(one_that_cannot_be_opened_again_is_kept),
        TEST(its_end_gives_standard_error_back),
        TEST(what_cannot_be_opened_changes_nothing),
        TEST(a_look_makes_nothing),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
