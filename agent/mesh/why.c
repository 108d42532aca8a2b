/* SPDX-License-Identifier: MIT */
/* Tested by sim_rendezvous, sim_planes and sim_rules. */
#include "agent/mesh/why.h"

#include "agent/mesh/clocks.h"
#include "agent/mesh/peer.h"
#include "agent/mesh/rendezvous_try.h"

#include <stdio.h>
#include <string.h>

/* After this long an offer is not late any more, it does not come. */
static const int64_t OFFER_LATE_US = 10 * 1000 * 1000;

void
mesh_why_not_relay(const struct mesh *mesh, char *out, size_t size)
{
    out[0] = '\0';
    if (mesh->config.lanes == CBX_LANES_OFF) {
        (void)snprintf(out, size, "lanes are off here (--lanes off)");
        return;
    }
    if (mesh->ops->lane_trouble)
        mesh->ops->lane_trouble(mesh->arg, out, size);
    if (out[0] != '\0')
        return;
    const char *text = mesh->pump.lane    ? "the lane is up; the link is moving to it"
                       : mesh->lane_asked ? "the hub has not answered the request for a lane yet"
                                          : "the lane is being connected";
    (void)snprintf(out, size, "%s", text);
}

static const char *
why_at_rest(const struct mesh_peer *peer)
{
    int64_t since = peer->rendezvous.busy_since;
    if (peer->stream_count == 0)
        return "a direct lane is made once a stream runs";
    if (mesh_try_is_ours_to_offer(peer))
        return "a direct lane is about to be offered";
    return since && mesh_now(peer->mesh) - since >= OFFER_LATE_US
               ? "its agent has not offered a direct lane: does it run with --direct off?"
               : "its agent has not offered a direct lane yet";
}

void
mesh_why_not_direct(const struct mesh_peer *peer, char *out, size_t size)
{
    const struct mesh *mesh = peer->mesh;
    const struct mesh_rendezvous *rendezvous = &peer->rendezvous;
    int64_t wait = rendezvous->next_at - mesh_now(mesh);
    long long seconds = wait / 1000000 + 1;
    if (!mesh->config.direct)
        (void)snprintf(out, size, "direct lanes are off here (--direct off)");
    else if (!mesh->hub_direct)
        (void)snprintf(out, size, "the hub does not allow direct lanes (--direct off)");
    else if (rendezvous->state == MESH_RENDEZVOUS_UP)
        (void)snprintf(out, size, "the direct lane is up; streams are moving to it");
    else if (rendezvous->state == MESH_RENDEZVOUS_OFFERED)
        (void)snprintf(out, size, "a direct lane was offered; its agent has not answered yet");
    else if (mesh_try_going(peer))
        (void)snprintf(out, size, "a direct lane is being tried");
    else if (rendezvous->refused)
        (void)snprintf(out, size, "its agent runs with --direct off");
    else if (!rendezvous->trouble[0])
        (void)snprintf(out, size, "%s", why_at_rest(peer));
    else if (peer->stream_count && wait > 0)
        (void)snprintf(out, size, "%s; next try in %lld s", rendezvous->trouble, seconds);
    else
        (void)snprintf(out, size, "%s; next try when a stream runs", rendezvous->trouble);
}

void
mesh_remedy(struct mesh *mesh, const char *slug, enum cbx_reason reason, char *out, size_t size)
{
    char clock[80], past[160];
    const struct mesh_peer *peer = mesh_peer_find(mesh, slug, strlen(slug));
    (void)snprintf(out, size, "%s", cbx_reason_remedy(reason));
    if (reason != CBX_REASON_EXPIRED || !peer)
        return;
    bool far = mesh_clock_text(mesh, clock, sizeof clock);
    if (peer->trust == MESH_TRUST_REFUSED && peer->refused == CBX_REASON_EXPIRED) {
        mesh_past_text(mesh, peer->ends, past, sizeof past);
        (void)snprintf(out, size, "its certificate %s: %s", past,
                       far ? "set this box's clock" : "invite that lease again");
    } else if (clock[0]) {
        (void)snprintf(out, size,
                       "that box's clock says that this lease's certificate has ended, and this "
                       "box's clock %s: %s",
                       clock, far ? "set it" : "set that box's clock, or invite this lease again");
    }
}
