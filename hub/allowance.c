/* SPDX-License-Identifier: MIT */
#include "allowance.h"
#include <string.h>

bool
hub_allowance_join(struct hub_allowances *all, struct hub_allowance *link)
{
    memset(link, 0, sizeof *link);
    uint64_t value = all->total / 2 / (all->links + 1);
    uint64_t left = all->total - all->sum;
    if (value > HUB_ALLOWANCE_FIRST)
        value = HUB_ALLOWANCE_FIRST;
    if (value > left)
        value = left;
    if (value < HUB_ALLOWANCE_LEAST)
        return false;
    link->value = value;
    all->sum += value;
    all->links++;
    return true;
}

void
hub_allowance_leave(struct hub_allowances *all, struct hub_allowance *link)
{
    if (link->value == 0)
        return;
    all->sum -= link->value;
    all->links--;
    link->value = 0;
}

bool
hub_allowance_want(struct hub_allowances *all, struct hub_allowance *link)
{
    uint64_t more = link->value;
    if (link->asked || link->value >= HUB_ALLOWANCE_MOST)
        return false;
    link->wants = true;
    if (more > all->total - all->sum)
        return false;
    if (link->value + more > HUB_ALLOWANCE_MOST)
        more = HUB_ALLOWANCE_MOST - link->value;
    link->value += more;
    all->sum += more;
    link->sequence++;
    link->wants = false;
    return true;
}

bool
hub_allowance_reclaim(struct hub_allowance *link)
{
    if (link->asked || link->value <= HUB_ALLOWANCE_LEAST || link->granted > link->value / 4)
        return false;
    uint64_t lower = link->value / 2;
    if (lower < HUB_ALLOWANCE_LEAST)
        lower = HUB_ALLOWANCE_LEAST;
    link->asked = lower;
    link->sequence++;
    return true;
}

bool
hub_allowance_confirm(struct hub_allowances *all, struct hub_allowance *link, uint64_t sequence)
{
    if (sequence != link->sequence || !link->asked)
        return false;
    all->sum -= link->value - link->asked;
    link->value = link->asked;
    link->asked = 0;
    return true;
}

bool
hub_allowance_charge(struct hub_allowance *link, uint64_t more, uint64_t less)
{
    link->granted -= less <= link->granted ? less : link->granted;
    /* The numbers come from the agent: their sum must not run over. */
    link->granted = more > UINT64_MAX - link->granted ? UINT64_MAX : link->granted + more;
    return link->granted <= link->value;
}
