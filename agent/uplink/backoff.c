/* SPDX-License-Identifier: MIT */
/* Ceilings by kind of failure, and the draw below the ceiling. */
#include "agent/uplink/backoff.h"

enum { DEFAULT_MIN_MS = 200, DEFAULT_REFUSED_MAX_MS = 2000, DEFAULT_MAX_MS = 15000 };

/* One day: keeps the doubling and the 32-bit draw far from overflow. */
static const int64_t CEILING_LIMIT_MS = (int64_t)24 * 3600 * 1000;

static int64_t
pick(int64_t value, int64_t fallback)
{
    if (value <= 0)
        return fallback;
    return value < CEILING_LIMIT_MS ? value : CEILING_LIMIT_MS;
}

void
backoff_init(struct backoff *backoff, int64_t min_ms, int64_t refused_max_ms, int64_t max_ms)
{
    backoff->min_ms = pick(min_ms, DEFAULT_MIN_MS);
    backoff->refused_max_ms = pick(refused_max_ms, DEFAULT_REFUSED_MAX_MS);
    backoff->max_ms = pick(max_ms, DEFAULT_MAX_MS);
    backoff->failures = 0;
}

static int64_t
ceiling(const struct backoff *backoff, enum backoff_kind kind)
{
    int64_t highest = kind == BACKOFF_REFUSED ? backoff->refused_max_ms : backoff->max_ms;
    int64_t value = backoff->min_ms;
    for (uint32_t i = 0; i < backoff->failures && value < highest; i++)
        value *= 2;
    return value < highest ? value : highest;
}

int64_t
backoff_next(struct backoff *backoff, enum backoff_kind kind,
             uint32_t (*uniform)(uint32_t upper_bound))
{
    int64_t highest = ceiling(backoff, kind);
    if (backoff->failures < UINT32_MAX)
        backoff->failures++;
    return 1 + (int64_t)uniform((uint32_t)highest);
}

void
backoff_reset(struct backoff *backoff)
{
    backoff->failures = 0;
}
