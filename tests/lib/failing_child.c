/* SPDX-License-Identifier: MIT */
/* What happens in the process of one run: see failing_run.c. */
#include "failing_run.h"

#include <dlfcn.h>
#include <sanitizer/lsan_interface.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

struct failing_run *failing_run;

_Noreturn void __real___assert_fail(const char *text, const char *file, unsigned line,
                                    const char *function);
_Noreturn void __wrap___assert_fail(const char *text, const char *file, unsigned line,
                                    const char *function);
char *__real_mkdtemp(char *template);
int __real_mkstemp(char *template);

const char *
__asan_default_options(void)
{
    /* Its handlers stay on top of cmocka's, which would call a wild pointer a failed assertion. */
    return "exitcode=99:handle_segv=2:handle_sigbus=2:handle_sigfpe=2:handle_sigill=2:"
           "handle_abort=2:detect_leaks=1:leak_check_at_exit=0:allocator_may_return_null=1:"
           "detect_stack_use_after_return=0";
}

const char *
__ubsan_default_options(void)
{
    return "print_stacktrace=1";
}

/* Once in a run, and once for each caller. */
static void
look_for_leaks(void)
{
    if (failing_run == NULL || !failing_run->failing.fired || failing_run->checked)
        return;
    failing_run->checked = true;
    uint8_t *seen =
        &failing_run
             ->leak_seen[failing_run->failing.hash[failing_run->full ? 1 : 0] >> (32 - SEEN_BITS)];
    int room = dup(failing_run->output); /* the checker needs descriptors: a test may have all */
    if (room < 0)
        return;
    (void)close(room);
    if (*seen)
        return;
    *seen = 1;
    failing_run->searched = true;
    failing_run->leaked = __lsan_do_recoverable_leak_check() != 0;
}

/* cmocka's own, through which each failing assertion goes. */
void
_fail(const char *const file, const int line)
{
    void (*real)(const char *, int);

    *(void **)(void *)&real = dlsym(RTLD_NEXT, "_fail"); /* as POSIX has it */
    look_for_leaks();
    real(file, line);
    abort();
}

/* The simulator asserts with this. */
void
__wrap___assert_fail(const char *text, const char *file, unsigned line, const char *function)
{
    if (failing == NULL || strncmp(file, "tests/", 6) != 0)
        __real___assert_fail(text, file, line, function);
    look_for_leaks();
    printf("%s:%u: %s\n", file, line, text);
    (void)fflush(NULL);
    _exit(0);
}

static void
remember_path(const char *path)
{
    if (failing_run == NULL)
        return;
    uint32_t n = failing_run->paths++;
    if (n < PATHS_MAX)
        (void)snprintf(failing_run->path[n], sizeof failing_run->path[n], "%s", path);
}

char *
__wrap_mkdtemp(char *template)
{
    char *path = __real_mkdtemp(template);
    if (path != NULL)
        remember_path(path);
    return path;
}

int
__wrap_mkstemp(char *template)
{
    int fd = __real_mkstemp(template);
    if (fd >= 0)
        remember_path(template);
    return fd;
}

_Noreturn void
failing_run_here(const struct CMUnitTest *test, CMFixtureFunction setup, CMFixtureFunction teardown)
{
    (void)setpgid(0, 0);
    (void)dup2(failing_run->output, STDOUT_FILENO);
    (void)dup2(failing_run->output, STDERR_FILENO);
    failing = &failing_run->failing;
    failing_run->failed = __real__cmocka_run_group_tests("failing", test, 1, setup, teardown);
    if (failing_run->failed == 0)
        look_for_leaks();
    failing = NULL;
    (void)fflush(NULL);
    _exit(0);
}
