/* SPDX-License-Identifier: MIT */
/*
 * Takes the place of cmocka's runner in a test program that is linked with failing_alloc.c, and
 * runs each of its tests again and again, each time in a process of its own in which another
 * allocation of the product fails. Such a run may pass or fail by an assertion, since the operation
 * failed. What it may not: die of a signal, break a rule of the sanitizers, take much longer than a
 * sound one, or leak. Leaks are looked for where everything that is in use is in reach: at the
 * assertion, while the test's own frames still stand, and behind a test that passed.
 *
 * A test's first, sound run counts its allocations and notes who asked for each. Then these fail:
 * the first of each caller that no test has met yet (a stack of 4 frames), the first of each caller
 * (12 frames), the first 30, and a spread over the rest; as many as the price of a run allows.
 * CBX_FULL takes more, and each also together with all that follow.
 *
 * What a run leaves behind (processes, folders) is removed after it. CBX_FAILING_TEST=NAME is for
 * one test, CBX_FAILING_AT=N with it shows the run in which that allocation fails.
 */
#include "failing_run.h"

#include <execinfo.h>
#include <fcntl.h>
#include <ftw.h>
#include <openssl/evp.h>
#include <poll.h>
#include <sanitizer/common_interface_defs.h>
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
    ALL_UP_TO = 30,
    SPREAD = 20,
    POINTS_MAX = 48, /* four times as many where time is no matter */
    POINTS_MIN = 4,
    TEST_US = 1000 * 1000, /* what one test's runs may cost together */
    FULL_FACTOR = 5,
    HANG_MS = 10 * 1000, /* one that takes so much longer than five sound ones hangs */
    SHOWN_MAX = 12,      /* findings whose output is shown */
    OUTPUT_MAX = 12 * 1024,
};

static struct tally {
    unsigned tests, runs, unfired, stopped, findings, leak_checks;
} tally;

static int sound_ms;                     /* what a sound run of this test takes */
static uint8_t met[1 << SEEN_BITS];      /* near callers of what has failed */
static uint8_t reported[1 << SEEN_BITS]; /* callers whose finding was shown */

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
    for (uint32_t i = 0; i < failing_run->paths && i < PATHS_MAX; i++)
        (void)nftw(failing_run->path[i], remove_entry, 16, FTW_DEPTH | FTW_PHYS);
    failing_run->paths = 0;
}

/* Runs the test once; its wait status, or -1: it hangs. */
static int
run_once(const struct CMUnitTest *test, CMFixtureFunction setup, CMFixtureFunction teardown)
{
    int status = -1;

    failing_run->failing.count = 0;
    failing_run->failing.fired = false;
    failing_run->checked = failing_run->searched = failing_run->leaked = false;
    failing_run->failed = 1;
    (void)ftruncate(failing_run->output, 0);
    (void)lseek(failing_run->output, 0, SEEK_SET);
    (void)fflush(NULL);
    pid_t pid = fork();
    if (pid < 0)
        return -1;
    if (pid == 0)
        failing_run_here(test, setup, teardown);
    int handle = pidfd_open(pid, 0);
    struct pollfd end = {.fd = handle, .events = POLLIN};
    bool over = poll(&end, 1, HANG_MS + 5 * sound_ms) == 1;
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
    if (failing_run->leaked)
        return "leaks";
    if (WEXITSTATUS(status) == SANITIZED || output_has(text, "ERROR: AddressSanitizer") ||
        output_has(text, ": runtime error: "))
        return "broke a rule of the sanitizers";
    return WEXITSTATUS(status) != 0 ? "ended itself" : NULL;
}

static void
say_callers(void)
{
    for (int i = 0; i < failing_run->failing.depth; i++) {
        char line[512];
        __sanitizer_symbolize_pc((char *)failing_run->failing.stack[i] - 1, "%f %S", line,
                                 sizeof line);
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
    uint32_t site = failing_run->failing.hash[1] >> (32 - SEEN_BITS);

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

    failing_run->failing.at = at;
    int status = run_once(test, setup, teardown);
    ssize_t n = pread(failing_run->output, text, OUTPUT_MAX, 0);
    text[n > 0 ? n : 0] = '\0';
    const char *what = finding(status, text);
    tally.runs++;
    if (what != NULL)
        say_finding(test->name, at, what, text);
    else if (getenv("CBX_FAILING_AT") != NULL)
        say_run(test->name, at, failing_run->failed == 0 ? "passes" : "an assertion fails", text);
    tally.leak_checks += failing_run->searched;
    met[failing_run->failing.hash[0] >> (32 - SEEN_BITS)] = 1;
    tally.unfired += !failing_run->failing.fired;
    return failing_run->failing.fired;
}

static bool taken[FAILING_TRAIL_MAX + 1];

static uint32_t
known(void)
{
    uint32_t count = failing_run->failing.count;
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
        uint32_t who = failing_run->failing.trail[at - 1][far] >> (32 - SEEN_BITS);
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
    static uint8_t near[1 << SEEN_BITS], far[1 << SEEN_BITS];
    uint32_t up_to = failing_run->full ? 4 * ALL_UP_TO : ALL_UP_TO;
    uint32_t step = known() / SPREAD > 0 ? known() / SPREAD : 1;

    memset(taken, 0, sizeof taken);
    memcpy(near, met, sizeof near);
    memset(far, 0, sizeof far);
    unsigned n = first_of_each(near, 0, points, 0, max);
    n = first_of_each(far, 1, points, n, max);
    for (uint32_t at = 1; at <= known() && n < max; at += at < up_to ? 1 : step)
        n = take(at, points, n);
    return n;
}

static unsigned
affordable(int64_t us)
{
    int64_t n = (failing_run->full ? FULL_FACTOR : 1) * (int64_t)TEST_US / (us > 0 ? us : 1);
    unsigned max = failing_run->full ? 4 * POINTS_MAX : POINTS_MAX;
    return n < POINTS_MIN ? POINTS_MIN : n > max ? max : (unsigned)n;
}

static void
take_test(const struct CMUnitTest *test, CMFixtureFunction setup, CMFixtureFunction teardown)
{
    static uint32_t points[4 * POINTS_MAX];
    int64_t began = now_us();

    tally.tests++;
    sound_ms = 60 * 1000;
    failing_run->failing.at = 0;
    failing_run->failing.draws_trail = true;
    int status = run_once(test, setup, teardown);
    failing_run->failing.draws_trail = false;
    if (status != 0 || failing_run->failed != 0) {
        tally.findings++;
        printf("# %s: fails although no allocation does\n", test->name);
        return;
    }
    int64_t price = now_us() - began;
    sound_ms = (int)(price / 1000);
    unsigned n = choose(points, affordable(price));
    for (unsigned i = 0; i < n; i++) {
        /* One that waits in vain for what failed may take longer than the sound run. */
        if (!failing_run->full && i >= POINTS_MIN && now_us() - began > 2 * (int64_t)TEST_US) {
            tally.stopped++;
            break;
        }
        failing_run->failing.forever = false;
        if (fail_at(test, setup, teardown, points[i]) && failing_run->full) {
            failing_run->failing.forever = true;
            (void)fail_at(test, setup, teardown, points[i]);
        }
    }
}

static bool
prepare(void)
{
    void *warm[1];

    /* What takes long the first time, once for all runs: a library loaded, ciphers looked up. */
    (void)backtrace(warm, 1);
    EVP_CIPHER_free(EVP_CIPHER_fetch(NULL, "AES-256-GCM", NULL));
    EVP_CIPHER_free(EVP_CIPHER_fetch(NULL, "ChaCha20-Poly1305", NULL));
    (void)unsetenv("CMOCKA_MESSAGE_OUTPUT"); /* the runs' own words are no results */
    failing_run =
        mmap(NULL, sizeof *failing_run, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    if (failing_run == MAP_FAILED)
        return false;
    failing_run->full = getenv("CBX_FULL") != NULL;
    failing_run->output = memfd_create("output", MFD_CLOEXEC);
    return failing_run->output >= 0 && prctl(PR_SET_CHILD_SUBREAPER, 1) == 0;
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
