/* SPDX-License-Identifier: MIT */
/* Tested by test_log. */
#include "common/base/clock.h"

#include <time.h>

static struct timespec
now(clockid_t clock)
{
    struct timespec time = {0};
    (void)clock_gettime(clock, &time); /* cannot fail for these two clocks */
    return time;
}

int64_t
cbx_clock_us(void)
{
    struct timespec time = now(CLOCK_MONOTONIC);
    return (int64_t)time.tv_sec * 1000000 + time.tv_nsec / 1000;
}

int64_t
cbx_clock_unix(void)
{
    return (int64_t)now(CLOCK_REALTIME).tv_sec;
}

int64_t
cbx_clock_unix_ms(void)
{
    struct timespec time = now(CLOCK_REALTIME);
    return (int64_t)time.tv_sec * 1000 + time.tv_nsec / 1000000;
}
