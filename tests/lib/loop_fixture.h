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

enum { WATCHDOG_S = 15 };

static inline void
on_watchdog(struct ev_loop *loop, ev_timer *timer, int events)
{
    (void)loop;
    (void)timer;
    (void)events;
    fail_msg("nothing happened within %d s", WATCHDOG_S);
}

/* The loop until something breaks it, again until *done where that is given; within WATCHDOG_S. */
static inline void
run_watched(struct ev_loop *loop, const bool *done)
{
    ev_timer watchdog;
    ev_timer_init(&watchdog, on_watchdog, WATCHDOG_S, 0.);
    ev_now_update(loop);
    ev_timer_start(loop, &watchdog);
    do
        ev_run(loop, 0);
    while (done && !*done);
    ev_timer_stop(loop, &watchdog);
}

/* What is ready now, and what that makes ready. */
static inline void
turn(struct ev_loop *loop)
{
    for (int i = 0; i < 4; i++)
        (void)ev_run(loop, EVRUN_NOWAIT);
}

static inline void
on_time_passed(struct ev_loop *loop, ev_timer *timer, int events)
{
    (void)timer;
    (void)events;
    ev_break(loop, EVBREAK_ALL);
}

/* Real time, for what waits for a timer. */
static inline void
pass_time(struct ev_loop *loop, double seconds)
{
    ev_timer timer;
    ev_timer_init(&timer, on_time_passed, seconds, 0.);
    ev_now_update(loop);
    ev_timer_start(loop, &timer);
    (void)ev_run(loop, 0);
    ev_timer_stop(loop, &timer);
}

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
