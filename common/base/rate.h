/* SPDX-License-Identifier: MIT */
/*
 * A token bucket: so many a second on average, so many at once after a rest. Pure: the time goes
 * in, an answer comes out. A bucket of zeros is a full one.
 */
#ifndef COMMON_BASE_RATE_H
#define COMMON_BASE_RATE_H

#include <stdbool.h>
#include <stdint.h>

struct cbx_rate {
    int64_t at;   /* us: when it was last counted */
    double spent; /* tokens missing to a full bucket */
};

/* Takes a token; false when there is none. burst: what a full bucket holds, the same at every
 * call. now: us; a clock that goes back adds nothing. */
bool cbx_rate_take(struct cbx_rate *rate, double per_second, double burst, int64_t now);

#endif
