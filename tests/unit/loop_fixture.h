/* SPDX-License-Identifier: MIT */
/* What tests of sockets on a libev loop share. Their fixture has the loop in `loop`. */
#ifndef TESTS_LOOP_FIXTURE_H
#define TESTS_LOOP_FIXTURE_H

#include <dirent.h>
#include <ev.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <unistd.h>

#include <cmocka.h>

#define eventually(f, what)                                                                        \
    do {                                                                                           \
        bool true_now = (what);                                                                    \
        for (int tries = 0; tries < 2000 && !true_now; tries++) {                                  \
            (void)ev_run((f)->loop, EVRUN_NOWAIT);                                                 \
            (void)usleep(tries < 100 ? 10 : 1000);                                                 \
            true_now = (what);                                                                     \
        }                                                                                          \
        if (!true_now)                                                                             \
            fail_msg("in vain: %s", #what);                                                        \
    } while (0)

static inline unsigned
open_descriptors(void)
{
    unsigned count = 0;
    DIR *folder = opendir("/proc/self/fd");
    assert_non_null(folder);
    while (readdir(folder))
        count++;
    closedir(folder);
    return count;
}

#endif
