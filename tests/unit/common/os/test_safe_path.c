/* SPDX-License-Identifier: MIT */
/* Folders that somebody else could change. */
#include "common/os/safe_path.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include "tests/lib/scratch.h"
#include "tests/lib/skip.h"

static char top[SCRATCH_MAX];
static struct cbx_error error;

static const char *
below(const char *rest)
{
    static char path[4][512];
    static unsigned next;
    char *at = path[next++ % 4];
    (void)snprintf(at, sizeof path[0], "%s/%s", top, rest);
    return at;
}

static int
begin(void **state)
{
    (void)state;
    return scratch_folder("safe", top) && mkdir(below("a"), 0700) == 0 &&
                   mkdir(below("a/b"), 0700) == 0
               ? 0
               : -1;
}

static int
end(void **state)
{
    (void)state;
    return scratch_remove(top) ? 0 : -1;
}

static void
folders_of_our_own_are_safe(void **state)
{
    (void)state;
    assert_int_equal(cbx_safe_path(below("a/b/c"), &error), CBX_OK);
    assert_int_equal(cbx_safe_path(below("a/none/of/these"), &error), CBX_OK);
    assert_int_equal(cbx_safe_path("/", &error), CBX_OK);
}

static void
a_folder_that_others_may_write_is_named(void **state)
{
    (void)state;
    for (int bit = 020; bit; bit = bit == 020 ? 002 : 0) {
        assert_int_equal(chmod(below("a"), 0700 | (mode_t)bit), 0);
        assert_int_equal(cbx_safe_path(below("a/b/c"), &error), CBX_ERR_AUTH);
        assert_non_null(strstr(error.text, below("a")));
        assert_int_equal(cbx_safe_path(below("a"), &error), CBX_OK); /* it is not above itself */
        assert_int_equal(cbx_safe_file(below("a"), &error), CBX_ERR_AUTH);
    }
    assert_int_equal(chmod(below("a"), 01777), 0); /* as /tmp */
    assert_int_equal(cbx_safe_path(below("a/b/c"), &error), CBX_OK);
}

static void
a_link_is_followed(void **state)
{
    (void)state;
    assert_int_equal(mkdir(below("open"), 0700), 0);
    assert_int_equal(chmod(below("open"), 0777), 0);
    assert_int_equal(mkdir(below("open/inner"), 0700), 0);
    assert_int_equal(symlink(below("open/inner"), below("a/link")), 0);
    assert_int_equal(cbx_safe_path(below("a/link/state"), &error), CBX_ERR_AUTH);
    assert_non_null(strstr(error.text, below("open")));
    assert_int_equal(symlink(below("a/b"), below("a/good")), 0);
    assert_int_equal(cbx_safe_path(below("a/good/state"), &error), CBX_OK);
    assert_int_equal(symlink("round", below("a/round")), 0);
    assert_int_not_equal(cbx_safe_path(below("a/round/state"), &error), CBX_OK);
}

static void
a_file_may_be_named_from_the_working_folder(void **state)
{
    (void)state;
    char before[512];
    assert_non_null(getcwd(before, sizeof before));
    assert_int_equal(chdir(below("a")), 0);
    assert_int_equal(cbx_safe_file("b", &error), CBX_OK);
    assert_int_equal(chmod("b", 0722), 0);
    assert_int_equal(cbx_safe_file("b", &error), CBX_ERR_AUTH);
    assert_int_equal(chdir(before), 0);
}

static void
another_users_folder_is_named_with_its_owner(void **state)
{
    (void)state;
    if (geteuid() != 0)
        skip_because("another owner needs root");
    assert_int_equal(chown(below("a"), 65534, 65534), 0);
    assert_int_equal(cbx_safe_path(below("a/b/c"), &error), CBX_ERR_AUTH);
    assert_non_null(strstr(error.text, "nobody"));
    /* A link of somebody else, too, wherever it leads now. */
    assert_int_equal(chown(below("a"), 0, 0), 0);
    assert_int_equal(symlink(below("a/b"), below("theirs")), 0);
    assert_int_equal(lchown(below("theirs"), 65534, 65534), 0);
    assert_int_equal(cbx_safe_path(below("theirs/c"), &error), CBX_ERR_AUTH);
}

static void
only_whole_paths_of_legal_length_are_looked_at(void **state)
{
    (void)state;
    static char longest[10000];
    memset(longest, 'x', sizeof longest - 1);
    longest[0] = '/';
    assert_int_equal(cbx_safe_path(longest, &error), CBX_ERR_LIMIT);
    assert_int_equal(cbx_safe_path("a/b", &error), CBX_ERR_LIMIT);
}

int
main(void)
{
#define T(name) cmocka_unit_test_setup_teardown(name, begin, end)
    const struct CMUnitTest tests[] = {
        T(folders_of_our_own_are_safe),
        T(a_folder_that_others_may_write_is_named),
        T(a_link_is_followed),
        T(a_file_may_be_named_from_the_working_folder),
        T(another_users_folder_is_named_with_its_owner),
        T(only_whole_paths_of_legal_length_are_looked_at),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
