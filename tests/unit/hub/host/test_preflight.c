/* SPDX-License-Identifier: MIT */
/* The account that sshd will log in to: which shells are refused, which are warned of (rule 9). */
#include "common/base/log.h"
#include "hub/host/preflight.h"
#include "scratch.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static char folder[SCRATCH_MAX];
static char said[8192]; /* on standard error */

static int
make_folder(void **state)
{
    (void)state;
    cbx_log_init("cbx-test", CBX_LOG_INFO);
    cbx_log_times(false);
    return scratch_folder("preflight", folder) ? 0 : -1;
}

static int
remove_folder(void **state)
{
    (void)state;
    return scratch_end(folder, "shell", "log", NULL) ? 0 : -1;
}

/* An account whose login shell is this script. */
static struct account
account_with(const char *script)
{
    struct account account = {.uid = geteuid(), .gid = getegid(), .name = "somebody"};
    (void)snprintf(account.home, sizeof account.home, "%s", folder);
    (void)snprintf(account.shell, sizeof account.shell, "%s/shell", folder);
    FILE *file = fopen(account.shell, "w");
    assert_non_null(file);
    assert_true(fprintf(file, "#!/bin/sh\n%s\n", script) > 0);
    assert_int_equal(fclose(file), 0);
    assert_int_equal(chmod(account.shell, 0700), 0);
    return account;
}

/* Standard error stands aside in a file meanwhile. */
static void
try_shell(const char *script)
{
    char path[SCRATCH_MAX + 8];
    struct account account = account_with(script);
    (void)snprintf(path, sizeof path, "%s/log", folder);
    int saved = dup(STDERR_FILENO);
    int log = open(path, O_RDWR | O_CREAT | O_TRUNC, 0600);
    assert_true(saved >= 0 && log >= 0);
    assert_true(dup2(log, STDERR_FILENO) >= 0);
    preflight_shell(&account);
    assert_true(dup2(saved, STDERR_FILENO) >= 0);
    close(saved);
    ssize_t length = pread(log, said, sizeof said - 1, 0);
    close(log);
    said[length > 0 ? length : 0] = '\0';
}

static int
shell_runs(const char *script, struct cbx_error *error)
{
    struct account account = account_with(script);
    return preflight_shell_runs(&account, error);
}

static void
assert_said(const char *words)
{
    if (strstr(said, words) == NULL)
        fail_msg("it does not say \"%s\" but: %s", words, said);
}

static void
a_quiet_shell_is_not_mentioned(void **state)
{
    (void)state;
    try_shell("exec /bin/sh \"$@\"");
    if (strstr(said, "prints") != NULL || strstr(said, "fails") != NULL)
        fail_msg("%s", said);
}

static void
a_shell_that_prints_is_told_with_what_it_prints(void **state)
{
    (void)state;
    try_shell("echo Welcome to this machine; exec /bin/sh \"$@\"");
    assert_said("Welcome to this machine");
    assert_said("chsh -s /bin/sh somebody");
}

static void
a_shell_that_takes_over_100_ms_is_told(void **state)
{
    (void)state;
    try_shell("sleep 0.3; exec /bin/sh \"$@\"");
    assert_said("ms to start");
    assert_said("chsh -s /bin/sh somebody");
}

static void
a_shell_that_fails_or_hangs_is_refused(void **state)
{
    (void)state;
    struct cbx_error error;
    assert_int_equal(shell_runs("exit 3", &error), CBX_ERR_STATE);
    assert_non_null(strstr(error.text, "agents cannot log in"));
    assert_non_null(strstr(error.text, "exit status 3"));
    assert_int_equal(shell_runs("kill -9 $$", &error), CBX_ERR_STATE);
    assert_non_null(strstr(error.text, "signal 9"));
    assert_int_equal(shell_runs("exec sleep 30", &error), CBX_ERR_STATE);
    assert_non_null(strstr(error.text, "does not run its command"));
    assert_int_equal(shell_runs("exec /bin/sh \"$@\"", &error), 0);
}

static void
the_shell_sees_what_makes_it_skip_its_start_files(void **state)
{
    (void)state;
    try_shell(
        "[ \"$SHLVL $ZDOTDIR\" = \"9 /nonexistent\" ] || echo otherwise; exec /bin/sh \"$@\"");
    if (strstr(said, "otherwise") != NULL)
        fail_msg("%s", said);
}

static void
shells_that_let_nobody_in_are_refused(void **state)
{
    (void)state;
    static const char *const shells[] = {"/usr/sbin/nologin", "/sbin/nologin", "/bin/false",
                                         "/nonexistent/sh", "/etc"};
    for (size_t i = 0; i < sizeof shells / sizeof shells[0]; i++) {
        struct cbx_error error = {""};
        struct account account = {.uid = 4242, .gid = 4242, .name = "somebody"};
        (void)snprintf(account.shell, sizeof account.shell, "%s", shells[i]);
        assert_int_equal(preflight_check(&account, &error), CBX_ERR_STATE);
        assert_non_null(strstr(error.text, shells[i]));
        assert_non_null(strstr(error.text, "chsh -s /bin/sh somebody"));
    }
    struct cbx_error error = {""};
    struct account account = {.uid = 4242, .gid = 4242, .name = "somebody", .shell = "/bin/sh"};
    if (access("/etc/nologin", F_OK) != 0)
        assert_int_equal(preflight_check(&account, &error), 0);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_quiet_shell_is_not_mentioned),
        cmocka_unit_test(a_shell_that_prints_is_told_with_what_it_prints),
        cmocka_unit_test(a_shell_that_takes_over_100_ms_is_told),
        cmocka_unit_test(a_shell_that_fails_or_hangs_is_refused),
        cmocka_unit_test(the_shell_sees_what_makes_it_skip_its_start_files),
        cmocka_unit_test(shells_that_let_nobody_in_are_refused),
    };
    return cmocka_run_group_tests(tests, make_folder, remove_folder);
}
