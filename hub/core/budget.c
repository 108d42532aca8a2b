/* SPDX-License-Identifier: MIT */
/* Tested by sim_allowance. */
#include "hub/core/budget.h"
#include "common/stream/window.h"
#include "hub/core/link.h"

enum { WANT_US = 750 * 1000 }; /* after this a wish that could not be met is refused */

static void
tell_allowance(struct hub_link *link, uint64_t value)
{
    const struct cbx_field fields[] = {[CBX_ALLOW_SEQUENCE] =
                                           cbx_field_uint(link->allowance.sequence),
                                       [CBX_ALLOW_ALLOWANCE] = cbx_field_uint(value)};
    cbx_link_send(&link->pump.link, CBX_FRAME_ALLOW, 0, fields, 2);
}

/* Doubles it where there is room, unless somebody wants more who has less than half of it. */
static bool
give_more(struct hub_link *link)
{
    struct hub_core *core = link->core;
    struct hub_allowance *one = &link->allowance;
    if (one->value / 2 > core->least_wanted || !hub_allowance_want(&core->allowances, one))
        return false;
    link->wanted_at = 0;
    tell_allowance(link, one->value);
    return true;
}

/* What cannot be met now is met within WANT_US, when others had time to give back, or refused
 * (hub_budget_sweep). */
void
hub_budget_want(struct hub_link *link, int64_t now)
{
    if (link->allowance.asked)
        return; /* they crossed: the lowering is the answer */
    if (give_more(link))
        return;
    link->allowance.wants = link->allowance.value < HUB_ALLOWANCE_MOST;
    if (!link->wanted_at)
        link->wanted_at = now;
}

static uint64_t
min_windows_of(const struct hub_link *link)
{
    return (uint64_t)link->circuits * CBX_WINDOW_MIN;
}

void
hub_budget_allowed(struct hub_link *link, uint64_t sequence)
{
    hub_allowance_confirm(&link->core->allowances, &link->allowance, sequence,
                          min_windows_of(link));
}

bool
hub_budget_overdue(const struct hub_link *link, int64_t now)
{
    return link->phase == HUB_READY && link->allowance.asked &&
           now - link->asked_at >= link->core->config.allowed_us;
}

/* The least allowance among the links that want more. */
static void
find_least_wanted(struct hub_core *core)
{
    core->least_wanted = UINT64_MAX;
    struct hub_link *link;
    TAILQ_FOREACH(link, &core->links, entry) {
        struct hub_allowance *one = &link->allowance;
        if (one->granted <= one->value / 4 && !link->wanted_at)
            one->wants = false; /* that has passed: it would keep for ever what it once had */
        if (link->phase == HUB_READY && one->wants && one->value < core->least_wanted)
            core->least_wanted = one->value;
    }
}

/* Idle links are asked to give back: all of them when somebody wants more than is free, and those
 * above their share when little is left, or the next link could not even attach. Busy ones give way
 * to a link that wants more and has less than half as much, or when hardly anything is left. */
static void
ask_back(struct hub_link *link, bool tight, bool full, int64_t now)
{
    struct hub_core *core = link->core;
    struct hub_allowance *one = &link->allowance;
    uint64_t share = hub_allowance_share(&core->allowances), value = one->value;
    bool wanted = core->least_wanted != UINT64_MAX;
    bool idle = !one->wants && (wanted || (tight && value > share));
    bool busy = value / 2 > core->least_wanted || (full && value / 2 > share);
    if (!(idle && hub_allowance_reclaim(one)) && !(busy && hub_allowance_lower(one)))
        return;
    link->asked_at = now;
    tell_allowance(link, one->asked);
}

void
hub_budget_sweep(struct hub_core *core, int64_t now)
{
    struct hub_allowances *all = &core->allowances;
    struct hub_link *link;
    TAILQ_FOREACH(link, &core->links, entry)
        hub_allowance_settle(all, &link->allowance, min_windows_of(link));
    find_least_wanted(core);
    TAILQ_FOREACH(link, &core->links, entry) {
        if (link->phase == HUB_READY && link->allowance.wants)
            give_more(link);
    }
    find_least_wanted(core);
    uint64_t left = hub_allowance_left(all);
    bool tight = left < all->total / 4, full = left < all->total / HUB_ALLOWANCE_RESERVE;
    TAILQ_FOREACH(link, &core->links, entry) {
        if (link->phase != HUB_READY)
            continue;
        ask_back(link, tight, full, now);
        if (!link->wanted_at || now - link->wanted_at < WANT_US || link->allowance.asked)
            continue;
        link->wanted_at = 0;
        core->count.allowances_refused++;
        tell_allowance(link, link->allowance.goal ? link->allowance.goal : link->allowance.value);
    }
}
