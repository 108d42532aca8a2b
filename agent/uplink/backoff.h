/* SPDX-License-Identifier: MIT */
/*
 * How long to wait before the next attempt. Full jitter: a wait is drawn evenly from 1 ms to a
 * ceiling, and the ceiling doubles with each failure in a row. Many agents that lost one hub at
 * one moment so come back spread out. Pure: chance is an argument.
 */
#ifndef AGENT_UPLINK_BACKOFF_H
#define AGENT_UPLINK_BACKOFF_H

#include <stdint.h>

enum backoff_kind {
    BACKOFF_REFUSED, /* someone answers there and says no: a hub restarts, it is back soon */
    BACKOFF_OTHER,   /* time-outs and all the rest */
};

struct backoff {
    int64_t min_ms;         /* first ceiling */
    int64_t refused_max_ms; /* highest ceiling for BACKOFF_REFUSED */
    int64_t max_ms;         /* highest ceiling otherwise */
    uint32_t failures;      /* in a row */
};

/* Zeros give the defaults: 200, 2,000 and 15,000 ms. */
void backoff_init(struct backoff *backoff, int64_t min_ms, int64_t refused_max_ms, int64_t max_ms);
/* Milliseconds to wait, at least 1, and one more failure counted. uniform(n) gives a number
 * below n, each equally likely; randombytes_uniform fits. */
int64_t backoff_next(struct backoff *backoff, enum backoff_kind kind,
                     uint32_t (*uniform)(uint32_t upper_bound));
/* The next wait is a first one again. */
void backoff_reset(struct backoff *backoff);

#endif
