/* SPDX-License-Identifier: MIT */
/* Tested by sim_rules. */
#include "hub/core/link.h"
#include "common/base/states.h"
#include "common/link/rates.h"

enum { CLOSING_US = 2 * 1000 * 1000 };

static const struct cbx_states phases = {
    .what = "link",
    .state = {
        [HUB_HELLO] = {"HELLO", CBX_STATE(HUB_COMMITTING) | CBX_STATE(HUB_CLOSING)},
        [HUB_COMMITTING] = {"COMMITTING", CBX_STATE(HUB_READY) | CBX_STATE(HUB_CLOSING)},
        [HUB_READY] = {"READY", CBX_STATE(HUB_CLOSING)},
        [HUB_CLOSING] = {"CLOSING", 0},
    }};

int64_t
hub_now(const struct hub_core *core)
{
    return core->ops->now_us(core->arg);
}

int64_t
hub_now_unix(const struct hub_core *core)
{
    return core->ops->now_unix_ms(core->arg) / 1000;
}

uint64_t
hub_core_commit(struct hub_core *core)
{
    core->ops->commit(core->arg, ++core->ticket);
    return core->ticket;
}

struct hub_link *
hub_peer_link(const struct reg_peer *peer)
{
    struct hub_link *link = peer->live;
    return link && link->phase == HUB_READY ? link : NULL;
}

void
hub_link_enter(struct hub_link *link, enum hub_phase phase)
{
    if (!cbx_states_allow(&phases, link->name, link->phase, phase))
        return;
    link->phase = phase;
    link->deadline = phase == HUB_CLOSING ? hub_now(link->core) + CLOSING_US : 0;
}

void
hub_link_await_commit(struct hub_link *link)
{
    hub_link_enter(link, HUB_COMMITTING);
    link->ticket = hub_core_commit(link->core);
}

void
hub_link_wake(struct hub_link *link)
{
    if (link->dirty)
        return;
    link->dirty = true;
    TAILQ_INSERT_TAIL(&link->core->dirty, link, dirty_entry);
    link->core->ops->wake(link->core->arg);
}

void
hub_link_shed(struct hub_link *link)
{
    link->floods = !cbx_rate_allows(&link->peer->rates.shed, &CBX_RATE_SHED, hub_now(link->core));
    link->core->count.shed++;
}
