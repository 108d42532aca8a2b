/* SPDX-License-Identifier: MIT */
/* Programs that run for the agent: their pipes, their words, their end. */
#include "loop_fixture.h"
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "agent/uplink/child.h"
#include "agent/uplink/child_log.h"
#include "common/base/clock.h"
#include "common/base/log.h"
#include "skip.h"
#include "slow.h"

#include <errno.h>
#include <ev.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

static struct ev_loop *loop;
static struct child *child;
static int input, output;
static int exit_status;
static bool exited;
static size_t descriptors;

static void
on_exit_of_child(void *arg, int status)
{
    assert_ptr_equal(arg, &exited);
    assert_false(exited);
    exited = true;
    exit_status = status;
    ev_break(loop, EVBREAK_ALL);
}

/* Until the child's exit was reported. */
static void
run(void)
{
    run_watched(loop, &exited);
}

/* Runs the text by sh. */
static void
start(const char *text)
{
    char *const argv[] = {"sh", "-c", (char *)(uintptr_t)text, NULL};
    struct cbx_error error = {""};
    exited = false;
    child = child_start(loop, argv, "CBX_TEST", "a value", "test", &input, &output, &error);
    assert_string_equal(error.text, "");
    assert_non_null(child);
    child_watch(child, on_exit_of_child, &exited);
}

static void
close_pipes(void)
{
    close(input);
    close(output);
}

static size_t
read_output(char *out, size_t size)
{
    (void)fcntl(output, F_SETFL, 0);
    size_t used = 0;
    ssize_t got;
    while (used < size - 1 && (got = read(output, out + used, size - 1 - used)) > 0)
        used += (size_t)got;
    out[used] = '\0';
    return used;
}

static int
setup(void **state)
{
    (void)state;
    descriptors = open_descriptors();
    return 0;
}

/* Nothing may be left: descriptors, zombies, processes. */
static int
teardown(void **state)
{
    (void)state;
    child = NULL;
    assert_int_equal(open_descriptors(), descriptors);
    assert_int_equal(waitpid(-1, NULL, WNOHANG), -1);
    assert_int_equal(errno, ECHILD);
    return 0;
}

static bool
runs(long pid)
{
    char path[64], text[256] = "";
    (void)snprintf(path, sizeof path, "/proc/%ld/stat", pid);
    FILE *file = fopen(path, "re");
    if (file == NULL)
        return false;
    bool some = fgets(text, sizeof text, file) != NULL;
    fclose(file);
    /* One that waits for its parent (init here may never call) has ended. */
    const char *after = strrchr(text, ')');
    return some && after != NULL && strncmp(after, ") Z", 3) != 0;
}

static void
gone_soon(long pid)
{
    for (int i = 0; i < 500 && runs(pid); i++)
        usleep(10000);
    assert_false(runs(pid));
}

/* ---- the tests ---- */

static void
pipes_environment_and_status(void **state)
{
    (void)state;
    char seen[128];
    start("echo \"$CBX_TEST\"; cat; exit 3");
    assert_int_equal(write(input, "through\n", 8), 8);
    close(input);
    read_output(seen, sizeof seen);
    assert_string_equal(seen, "a value\nthrough\n");
    close(output);
    run();
    child_status_text(exit_status, seen, sizeof seen);
    assert_string_equal(seen, "ended with status 3");
    assert_string_equal(child_tail(child), "");
    child_end(child);
}

static void
a_signal_is_told(void **state)
{
    (void)state;
    char seen[64];
    start("kill -9 $$");
    run();
    child_status_text(exit_status, seen, sizeof seen);
    assert_string_equal(seen, "was killed by signal 9");
    close_pipes();
    child_end(child);
}

static void
a_program_that_is_not_there_costs_nothing(void **state)
{
    (void)state;
    if (runs_slowly())
        skip_because("valgrind does not tell of a program that is not there");
    char *const missing[] = {"/nowhere/program", NULL}, *const folder[] = {"/tmp", NULL};
    struct cbx_error error;
    assert_null(child_start(loop, missing, NULL, NULL, "test", &input, &output, &error));
    assert_string_equal(error.text, "cannot run /nowhere/program: No such file or directory");
    assert_null(child_start(loop, folder, NULL, NULL, "test", &input, &output, &error));
    assert_string_equal(error.text, "cannot run /tmp: Permission denied");
}

static void
the_last_lines_are_kept_and_cleaned(void **state)
{
    (void)state;
    start("printf 'one\\ntwo\\r\\n\\n\\033[31mthree\\377\\nlast without end' >&2");
    run();
    assert_string_equal(child_tail(child), "two / ?[31mthree? / last without end");
    close_pipes();
    child_end(child);
}

static void
long_lines_are_cut(void **state)
{
    (void)state;
    start("head -c 100000 /dev/zero | tr '\\0' x >&2; echo >&2; echo end >&2");
    run();
    const char *tail = child_tail(child);
    assert_int_equal(strspn(tail, "x"), CHILD_LINE_MAX);
    assert_string_equal(tail + CHILD_LINE_MAX, " / end");
    close_pipes();
    child_end(child);
}

/* Standard error of this process is a file meanwhile: what would be logged is counted. */
static void
few_of_many_lines_are_logged(void **state)
{
    (void)state;
    FILE *log = tmpfile();
    int kept = dup(STDERR_FILENO);
    assert_true(log != NULL && kept >= 0 && dup2(fileno(log), STDERR_FILENO) >= 0);
    cbx_log_init("test", CBX_LOG_INFO);
    start("i=0; while [ $i -lt 3000 ]; do echo number $i; i=$((i+1)); done >&2");
    run();
    (void)child_tail(child);
    assert_true(dup2(kept, STDERR_FILENO) >= 0);
    cbx_log_init("test", CBX_LOG_ERROR);
    char line[512];
    int lines = 0;
    rewind(log);
    while (fgets(line, sizeof line, log) != NULL)
        lines += strncmp(line, "test: test: number ", 19) == 0;
    assert_in_range(lines, 1, CHILD_LOG_BURST + 2);
    assert_string_equal(child_tail(child), "number 2997 / number 2998 / number 2999");
    fclose(log);
    close(kept);
    close_pipes();
    child_end(child);
}

/* What the program started ends with it, and nobody has to wait for that. */
static void
what_outlives_the_program_is_killed(void **state)
{
    (void)state;
    char seen[32];
    start("sleep 1000 & echo $!; exit 0");
    run();
    read_output(seen, sizeof seen); /* ends when sleep does not hold the pipe any more */
    gone_soon(atol(seen));
    close_pipes();
    child_end(child);
}

/* Turns of the loop until waitpid knows of no child, which libev reaps. */
static void
until_reaped(pid_t pid)
{
    int64_t limit = cbx_clock_us() + WATCHDOG_S * 1000000LL;
    while (kill(pid, 0) == 0 && cbx_clock_us() < limit) {
        ev_run(loop, EVRUN_NOWAIT);
        usleep(1000);
    }
    assert_int_equal(kill(pid, 0), -1);
    for (int i = 0; i < 5; i++)
        ev_run(loop, EVRUN_NOWAIT);
}

static void
one_that_was_let_go_ends_with_its_input(void **state)
{
    (void)state;
    start("cat >/dev/null; sleep 0.1; echo bye >&2");
    pid_t pid = child_pid(child);
    int64_t begun = cbx_clock_us();
    close_pipes();
    child_end(child);
    until_reaped(pid);
    assert_true(cbx_clock_us() - begun < CHILD_END_MS * 1000LL);
    assert_false(exited);
}

static void
one_that_ignores_signals_is_killed_with_its_children(void **state)
{
    (void)state;
    char seen[32];
    start("trap '' TERM HUP; sleep 1000 & echo $!; while :; do sleep 1000; done");
    pid_t pid = child_pid(child);
    (void)fcntl(output, F_SETFL, 0);
    ssize_t got = read(output, seen, sizeof seen - 1);
    assert_true(got > 0);
    seen[got] = '\0';
    close_pipes();
    child_end(child);
    until_reaped(pid);
    gone_soon(atol(seen));
}

static void
the_end_of_the_process_waits_for_all_and_kills(void **state)
{
    (void)state;
    start("sleep 0.2");
    close_pipes();
    child_end(child);
    start("trap '' TERM HUP; while :; do sleep 1000; done");
    pid_t pid = child_pid(child);
    close_pipes();
    child_end(child);
    child_end_all();
    assert_int_equal(kill(pid, 0), -1);
    child_end_all(); /* nothing left */
}

static int
begin(void **state)
{
    (void)state;
    loop = ev_default_loop(EVFLAG_AUTO);
    return loop == NULL;
}

int
main(void)
{
    (void)signal(SIGPIPE, SIG_IGN);
    cbx_log_init("test", CBX_LOG_ERROR);
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(pipes_environment_and_status, setup, teardown),
        cmocka_unit_test_setup_teardown(a_signal_is_told, setup, teardown),
        cmocka_unit_test_setup_teardown(a_program_that_is_not_there_costs_nothing, setup, teardown),
        cmocka_unit_test_setup_teardown(the_last_lines_are_kept_and_cleaned, setup, teardown),
        cmocka_unit_test_setup_teardown(long_lines_are_cut, setup, teardown),
        cmocka_unit_test_setup_teardown(few_of_many_lines_are_logged, setup, teardown),
        cmocka_unit_test_setup_teardown(what_outlives_the_program_is_killed, setup, teardown),
        cmocka_unit_test_setup_teardown(one_that_was_let_go_ends_with_its_input, setup, teardown),
        cmocka_unit_test_setup_teardown(one_that_ignores_signals_is_killed_with_its_children, setup,
                                        teardown),
        cmocka_unit_test_setup_teardown(the_end_of_the_process_waits_for_all_and_kills, setup,
                                        teardown),
    };
    return cmocka_run_group_tests(tests, begin, NULL);
}
