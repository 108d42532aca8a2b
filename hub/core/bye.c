/* SPDX-License-Identifier: MIT */
/* Tested by sim_rules, sim_load. */
#include "hub/core/bye.h"
#include "hub/core/circuit.h"
#include "hub/core/directory.h"
#include "hub/core/lane.h"
#include "hub/core/link.h"
#include "hub/core/plane.h"
#include <stdlib.h>

static void
detach(struct hub_link *link)
{
    struct reg_peer *peer = link->peer;
    hub_lane_forget(link);
    hub_circuits_link_gone(link);
    hub_allowance_leave(&link->core->allowances, &link->allowance);
    link->peer = NULL;
    if (!peer || peer->live != link)
        return;
    peer->live = NULL;
    hub_directory_tell(link->core, peer, false);
}

void
hub_link_close(struct hub_link *link)
{
    hub_link_enter(link, HUB_CLOSING);
    detach(link);
    cbx_pump_close_soon(&link->pump);
    hub_link_wake(link);
}

void
hub_link_bye(struct hub_link *link, enum cbx_reason reason, uint32_t retry_ms, const char *text)
{
    if (link->phase == HUB_CLOSING)
        return;
    const struct cbx_field fields[] = {[CBX_BYE_REASON] = cbx_field_uint(reason),
                                       [CBX_BYE_RETRY_MS] = cbx_field_uint(retry_ms),
                                       [CBX_BYE_TEXT] = cbx_field_text(text)};
    cbx_link_send(&link->pump.link, CBX_FRAME_BYE, 0, fields, 3);
    hub_link_close(link);
}

void
hub_link_free(struct hub_link *link)
{
    struct hub_core *core = link->core;
    detach(link);
    if (link->dirty)
        TAILQ_REMOVE(&core->dirty, link, dirty_entry);
    if (link->ack_waits)
        TAILQ_REMOVE(&core->acks, link, ack_entry);
    TAILQ_REMOVE(&core->links, link, entry);
    hub_plane_link_over(link);
    cbx_pump_dispose(&link->pump);
    free(link);
}
