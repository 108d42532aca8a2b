/* SPDX-License-Identifier: MIT */
/*
 * Takes the place of cmocka's runner in a unit test program that is linked with failing_alloc.c,
 * and runs each of its tests again and again, each time in a process of its own in which another
 * allocation of the product fails. Such a run may pass or fail by an assertion, since the operation
 * failed. What it may not: die of a signal, break a rule of the sanitizers, hang, or leak. Leaks
 * are looked for where everything that is still in use is in reach: at the assertion, while the
 * test's own frames still stand, and behind a test that passed.
 *
 * A test's first, sound run counts its allocations and notes who asked for each. Then these fail:
 * the first one of each caller (a stack of 12 frames), the first 60, and a spread over the rest, as
 * many as the test's price allows. CBX_FULL takes more, and lets all later ones fail as well.
 *
 * What a run leaves behind (processes, folders) is removed after it. CBX_FAILING_AT=N shows one
 * run.
 */
#include "failing_alloc.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include <dlfcn.h>
#include <errno.h>
#include <execinfo.h>
#include <fcntl.h>
#include <ftw.h>
#include <poll.h>
#include <sanitizer/common_interface_defs.h>
#include <sanitizer/lsan_interface.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/pidfd.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

enum {
    SANITIZED = 99, /* exit status after a sanitizer's report */
    ALL_UP_TO = 60,
    SPREAD = 20,
    POINTS_MAX = 160,
    POINTS_MIN = 4,
    TEST_US = 1500 * 1000, /* what one test's runs may cost together */
    RUN_MS = 30 * 1000,    /* one that takes longer hangs */
    PATHS_MAX = 16,
    SHOWN_MAX = 300, /* findings whose output is shown */
    OUTPUT_MAX = 12 * 1024,
    SEEN_BITS = 16,
};

/* Shared with the process of each run. */
static struct shared {
    struct failing failing;
    _Atomic bool leaked;
    _Atomic bool checked; /* leaks were looked for */
    int failed;           /* tests, as cmocka counts */
    _Atomic uint32_t paths;
    char path[PATHS_MAX][128];
} * shared;

static struct tally {
    unsigned tests, runs, unfired, stopped, findings, leak_checks;
} tally;

static bool full;
static int output; /* of a run, a file in memory */
static uint8_t leak_seen[1 << SEEN_BITS], reported[1 << SEEN_BITS];

int __real__cmocka_run_group_tests(const char *name, const struct CMUnitTest *tests, size_t count,
                                   CMFixtureFunction setup, CMFixtureFunction teardown);
_Noreturn void __real___assert_fail(const char *text, const char *file, unsigned line,
                                    const char *function);
_Noreturn void __wrap___assert_fail(const char *text, const char *file, unsigned line,
                                    const char *function);
char *__real_mkdtemp(char *template);
int __real_mkstemp(char *template);

/* ---- in the process of a run ---- */

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

static void
look_for_leaks(void)
{
    if (shared == NULL || !shared->failing.fired || shared->checked)
        return;
    shared->checked = true;
    if (leak_seen[shared->failing.hash[1] >> (32 - SEEN_BITS)])
        return;
    int room = dup(output); /* the checker needs descriptors, and a test may have taken them all */
    if (room < 0)
        return;
    (void)close(room);
    if (__lsan_do_recoverable_leak_check() != 0)
        shared->leaked = true;
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
    if (shared == NULL)
        return;
    uint32_t n = shared->paths++;
    if (n < PATHS_MAX)
        (void)snprintf(shared->path[n], sizeof shared->path[n], "%s", path);
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

static _Noreturn void
run_here(const struct CMUnitTest *test, CMFixtureFunction setup, CMFixtureFunction teardown)
{
    (void)setpgid(0, 0);
    (void)dup2(output, STDOUT_FILENO);
    (void)dup2(output, STDERR_FILENO);
    failing = &shared->failing;
    shared->failed = __real__cmocka_run_group_tests("failing", test, 1, setup, teardown);
    if (shared->failed == 0)
        look_for_leaks();
    failing = NULL;
    (void)fflush(NULL);
    _exit(0);
}

/* ---- in the runner ---- */

static int64_t
now_us(void)
{
    struct timespec time;
    (void)clock_gettime(CLOCK_MONOTONIC, &time);
    return (int64_t)time.tv_sec * 1000000 + time.tv_nsec / 1000;
}

/* Processes that a run left behind are ours now: see PR_SET_CHILD_SUBREAPER. */
static void
end_processes(pid_t group)
{
    char path[64], list[4096];

    (void)kill(-group, SIGKILL);
    (void)snprintf(path, sizeof path, "/proc/self/task/%d/children", (int)getpid());
    for (int i = 0; i < 100; i++) {
        int fd = open(path, O_RDONLY | O_CLOEXEC);
        ssize_t n = fd >= 0 ? read(fd, list, sizeof list - 1) : 0;
        if (fd >= 0)
            (void)close(fd);
        if (n <= 0)
            return;
        list[n] = '\0';
        for (char *at = list, *end; *at != '\0'; at = end) {
            long pid = strtol(at, &end, 10);
            if (end == at || pid <= 1)
                break;
            (void)kill((pid_t)pid, SIGKILL);
            (void)waitpid((pid_t)pid, NULL, 0);
        }
    }
}

static int
remove_entry(const char *path, const struct stat *status, int type, struct FTW *place)
{
    (void)status;
    (void)type;
    (void)place;
    (void)remove(path);
    return 0;
}

static void
remove_paths(void)
{
    for (uint32_t i = 0; i < shared->paths && i < PATHS_MAX; i++)
        (void)nftw(shared->path[i], remove_entry, 16, FTW_DEPTH | FTW_PHYS);
    shared->paths = 0;
}

/* Runs the test once; its wait status, or -1: it hangs. */
static int
run_once(const struct CMUnitTest *test, CMFixtureFunction setup, CMFixtureFunction teardown)
{
    int status = -1;

    shared->failing.count = 0;
    shared->failing.fired = false;
    shared->leaked = shared->checked = false;
    shared->failed = 1;
    (void)ftruncate(output, 0);
    (void)lseek(output, 0, SEEK_SET);
    (void)fflush(NULL);
    pid_t pid = fork();
    if (pid < 0)
        return -1;
    if (pid == 0)
        run_here(test, setup, teardown);
    int handle = pidfd_open(pid, 0);
    struct pollfd end = {.fd = handle, .events = POLLIN};
    bool over = poll(&end, 1, RUN_MS) == 1;
    (void)close(handle);
    if (!over)
        (void)kill(pid, SIGKILL);
    (void)waitpid(pid, &status, 0);
    end_processes(pid);
    remove_paths();
    return over ? status : -1;
}

static bool
output_has(const char *text, const char *word)
{
    return strstr(text, word) != NULL;
}

/* What is wrong with the run, or NULL. */
static const char *
finding(int status, const char *text)
{
    if (status == -1)
        return "hangs";
    if (WIFSIGNALED(status))
        return "died of a signal";
    if (shared->leaked)
        return "leaks";
    if (WEXITSTATUS(status) == SANITIZED || output_has(text, "ERROR: AddressSanitizer") ||
        output_has(text, ": runtime error: "))
        return "broke a rule of the sanitizers";
    return WEXITSTATUS(status) != 0 ? "ended itself" : NULL;
}

static void
say_callers(void)
{
    for (int i = 0; i < shared->failing.depth; i++) {
        char line[512];
        __sanitizer_symbolize_pc((char *)shared->failing.stack[i] - 1, "%f %S", line, sizeof line);
        if (strstr(line, "failing_") != NULL)
            continue;
        printf("#     %s\n", line);
        if (strstr(line, "tests/") != NULL)
            break;
    }
}

static void
say_run(const char *test, uint32_t at, const char *what, const char *text)
{
    printf("# %s, allocation %u: %s\n#   failed by\n", test, at, what);
    say_callers();
    printf("%s\n", text);
}

static void
say_finding(const char *test, uint32_t at, const char *what, const char *text)
{
    uint32_t site = shared->failing.hash[1] >> (32 - SEEN_BITS);

    tally.findings++;
    if (!reported[site])
        say_run(test, at, what, tally.findings <= SHOWN_MAX ? text : "");
    reported[site] = 1;
}

/* One run with that allocation failing; false: there is no such allocation (any more). */
static bool
fail_at(const struct CMUnitTest *test, CMFixtureFunction setup, CMFixtureFunction teardown,
        uint32_t at)
{
    static char text[OUTPUT_MAX + 1];

    shared->failing.at = at;
    int64_t t0 = now_us();
    int status = run_once(test, setup, teardown);
    ssize_t n = pread(output, text, OUTPUT_MAX, 0);
    text[n > 0 ? n : 0] = '\0';
    const char *what = finding(status, text);
    tally.runs++;
    if (now_us() - t0 > 2000000) {
        printf("# slow %lld\n", (long long)(now_us() - t0));
        say_run(test->name, at, "slow", text);
    }
    if (what != NULL)
        say_finding(test->name, at, what, text);
    else if (getenv("CBX_FAILING_AT") != NULL)
        say_run(test->name, at, shared->failed == 0 ? "passes" : "an assertion fails", text);
    if (shared->checked) {
        uint32_t site = shared->failing.hash[1] >> (32 - SEEN_BITS);
        tally.leak_checks += leak_seen[site] == 0;
        leak_seen[site] = 1;
    }
    tally.unfired += !shared->failing.fired;
    return shared->failing.fired;
}

static bool taken[FAILING_TRAIL_MAX + 1];

static uint32_t
known(void)
{
    uint32_t count = shared->failing.count;
    return count < FAILING_TRAIL_MAX ? count : FAILING_TRAIL_MAX;
}

static unsigned
take(uint32_t at, uint32_t *points, unsigned n)
{
    if (taken[at])
        return n;
    taken[at] = true;
    points[n] = at;
    return n + 1;
}

/* The first allocation of each near or far caller that is not in `seen`. */
static unsigned
first_of_each(uint8_t *seen, int far, uint32_t *points, unsigned n, unsigned max)
{
    for (uint32_t at = 1; at <= known() && n < max; at++) {
        uint32_t who = shared->failing.trail[at - 1][far] >> (32 - SEEN_BITS);
        if (!seen[who])
            n = take(at, points, n);
        seen[who] = 1;
    }
    return n;
}

/* Which allocations of a test are to fail, dearest first; how many. */
static unsigned
choose(uint32_t *points, unsigned max)
{
    static uint8_t near[1 << SEEN_BITS], far[1 << SEEN_BITS]; /* near ones of all the tests */
    uint32_t step = known() / SPREAD > 0 ? known() / SPREAD : 1;

    memset(taken, 0, sizeof taken);
    memset(far, 0, sizeof far);
    unsigned n = first_of_each(near, 0, points, 0, max);
    n = first_of_each(far, 1, points, n, max);
    for (uint32_t at = 1; at <= known() && n < max; at += at < ALL_UP_TO ? 1 : step)
        n = take(at, points, n);
    return n;
}

static unsigned
affordable(int64_t us)
{
    int64_t n = (full ? 20 : 1) * (int64_t)TEST_US / (us > 0 ? us : 1);
    unsigned max = full ? 4 * POINTS_MAX : POINTS_MAX;
    return n < POINTS_MIN ? POINTS_MIN : n > max ? max : (unsigned)n;
}

static void
take_test(const struct CMUnitTest *test, CMFixtureFunction setup, CMFixtureFunction teardown)
{
    static uint32_t points[4 * POINTS_MAX];
    int64_t began = now_us();

    tally.tests++;
    shared->failing.at = 0;
    shared->failing.draws_trail = true;
    int status = run_once(test, setup, teardown);
    shared->failing.draws_trail = false;
    if (status != 0 || shared->failed != 0) {
        tally.findings++;
        printf("# %s: fails although no allocation does\n", test->name);
        return;
    }
    int64_t price = now_us() - began;
    unsigned n = choose(points, affordable(price));
    for (unsigned i = 0; i < n; i++) {
        /* One that waits in vain for what failed may take longer than the sound run. */
        if (!full && i >= POINTS_MIN && now_us() - began > 2 * (int64_t)TEST_US) {
            tally.stopped++;
            break;
        }
        shared->failing.forever = false;
        if (fail_at(test, setup, teardown, points[i]) && full) {
            shared->failing.forever = true;
            (void)fail_at(test, setup, teardown, points[i]);
        }
    }
}

static bool
prepare(void)
{
    void *warm[1];

    (void)backtrace(warm, 1); /* the first call loads a library */
    full = getenv("CBX_FULL") != NULL;
    output = memfd_create("output", MFD_CLOEXEC);
    shared = mmap(NULL, sizeof *shared, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    return output >= 0 && shared != MAP_FAILED && prctl(PR_SET_CHILD_SUBREAPER, 1) == 0;
}

int
__wrap__cmocka_run_group_tests(const char *name, const struct CMUnitTest *tests, size_t count,
                               CMFixtureFunction setup, CMFixtureFunction teardown)
{
    const char *only = getenv("CBX_FAILING_TEST"), *at = getenv("CBX_FAILING_AT");

    (void)name;
    if (!prepare())
        return 1;
    puts("1..1");
    for (size_t i = 0; i < count; i++) {
        if (only != NULL && strcmp(only, tests[i].name) != 0)
            continue;
        if (at != NULL)
            (void)fail_at(&tests[i], setup, teardown, (uint32_t)strtoul(at, NULL, 10));
        else
            take_test(&tests[i], setup, teardown);
    }
    printf("%sok 1 - %u tests, %u runs with a failing allocation, %u leak checks, %u findings\n",
           tally.findings == 0 ? "" : "not ", tally.tests, tally.runs, tally.leak_checks,
           tally.findings);
    printf("# %u allocations were not reached again, %u tests were cut short\n", tally.unfired,
           tally.stopped);
    return tally.findings == 0 ? 0 : 1;
}
