/* SPDX-License-Identifier: MIT */
/* Tested by sim_rates. */
#include "common/link/rates.h"

bool
cbx_rate_allows(struct cbx_rate *rate, const struct cbx_rate_limit *limit, int64_t now)
{
    return cbx_rate_take(rate, limit->per_second, limit->burst, now);
}

bool
cbx_rate_paces(struct cbx_rate *rate, const struct cbx_rate_limit *limit, double share, int64_t now)
{
    return cbx_rate_take(rate, limit->per_second * 0.9, limit->burst / 2 * share, now);
}
