/* SPDX-License-Identifier: MIT */
/* The bucket kept as what was spent: it drains with time, and there is nothing to start. */
#include "common/base/rate.h"

bool
cbx_rate_take(struct cbx_rate *rate, double per_second, double burst, int64_t now)
{
    if (now > rate->at)
        rate->spent -= (double)(now - rate->at) * per_second / 1e6;
    if (rate->spent < 0)
        rate->spent = 0;
    rate->at = now;
    if (rate->spent + 1 > burst)
        return false;
    rate->spent += 1;
    return true;
}
