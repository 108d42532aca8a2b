/* SPDX-License-Identifier: MIT */
/* The sums: who joins with how much, who gets more, from whom it is taken back. */
#include "hub/core/allowance.h"
#include <string.h>

uint64_t
hub_allowance_left(const struct hub_allowances *all)
{
    return all->total - all->sum - all->pinned;
}

uint64_t
hub_allowance_share(const struct hub_allowances *all)
{
    return all->total / 2 / (all->links ? all->links : 1);
}

bool
hub_allowance_join(struct hub_allowances *all, struct hub_allowance *link)
{
    memset(link, 0, sizeof *link);
    uint64_t value = all->total / 2 / (all->links + 1);
    uint64_t left = hub_allowance_left(all);
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
    if (link->value + more > HUB_ALLOWANCE_MOST)
        more = HUB_ALLOWANCE_MOST - link->value;
    uint64_t left = hub_allowance_left(all);
    uint64_t reserve =
        link->value >= hub_allowance_share(all) ? all->total / HUB_ALLOWANCE_RESERVE : 0;
    if (more > left || left - more < reserve)
        return false;
    link->value += more;
    all->sum += more;
    link->goal = 0;
    link->sequence++;
    link->wants = false;
    return true;
}

bool
hub_allowance_reclaim(struct hub_allowance *link)
{
    return link->granted <= link->value / 4 && hub_allowance_lower(link);
}

bool
hub_allowance_lower(struct hub_allowance *link)
{
    if (link->asked || link->goal || link->value <= HUB_ALLOWANCE_LEAST)
        return false;
    uint64_t lower = link->value / 2;
    if (lower < HUB_ALLOWANCE_LEAST)
        lower = HUB_ALLOWANCE_LEAST;
    link->asked = lower;
    link->sequence++;
    return true;
}

bool
hub_allowance_confirm(struct hub_allowances *all, struct hub_allowance *link, uint64_t sequence,
                      uint64_t min_windows)
{
    if (sequence != link->sequence || !link->asked)
        return false;
    link->goal = link->asked;
    link->asked = 0;
    hub_allowance_settle(all, link, min_windows);
    return true;
}

bool
hub_allowance_settle(struct hub_allowances *all, struct hub_allowance *link, uint64_t min_windows)
{
    if (!link->goal)
        return false;
    uint64_t value = link->granted + min_windows;
    if (value < link->goal)
        value = link->goal;
    if (value >= link->value)
        return false;
    all->sum -= link->value - value;
    link->value = value;
    if (value == link->goal)
        link->goal = 0;
    return true;
}

bool
hub_allowance_pin(struct hub_allowances *all, uint64_t bytes)
{
    if (bytes > hub_allowance_left(all) || all->pinned + bytes > all->total / HUB_ALLOWANCE_PINNED)
        return false;
    all->pinned += bytes;
    return true;
}

void
hub_allowance_unpin(struct hub_allowances *all, uint64_t bytes)
{
    all->pinned -= bytes;
}

bool
hub_allowance_charge(struct hub_allowance *link, uint64_t more, uint64_t less)
{
    link->granted -= less <= link->granted ? less : link->granted;
    /* The numbers come from the agent: their sum must not run over. */
    link->granted = more > UINT64_MAX - link->granted ? UINT64_MAX : link->granted + more;
    return link->granted <= link->value;
}
