/* SPDX-License-Identifier: MIT */
#ifndef TESTS_FAILING_RUN_H
#define TESTS_FAILING_RUN_H

#include "failing_alloc.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

enum {
    SANITIZED = 99, /* exit status after a sanitizer's report */
    SEEN_BITS = 16,
    PATHS_MAX = 16,
};

/* Lies in memory that the runner shares with the process of each run. */
struct failing_run {
    struct failing failing;
    int output; /* of a run, a file in memory */
    bool full;
    int failed;            /* tests, as cmocka counts */
    _Atomic bool checked;  /* the place where leaks are looked for was reached */
    _Atomic bool searched; /* and they were */
    _Atomic bool leaked;
    uint8_t leak_seen[1 << SEEN_BITS]; /* callers for which they were */
    _Atomic uint32_t paths;            /* that the run made below /tmp */
    char path[PATHS_MAX][128];
};

extern struct failing_run *failing_run;

/* Runs the test in this process and ends it. */
_Noreturn void failing_run_here(const struct CMUnitTest *test, CMFixtureFunction setup,
                                CMFixtureFunction teardown);

/* cmocka's runner, and what stands in its place. */
int __real__cmocka_run_group_tests(const char *name, const struct CMUnitTest *tests, size_t count,
                                   CMFixtureFunction setup, CMFixtureFunction teardown);
int __wrap__cmocka_run_group_tests(const char *name, const struct CMUnitTest *tests, size_t count,
                                   CMFixtureFunction setup, CMFixtureFunction teardown);

#endif
