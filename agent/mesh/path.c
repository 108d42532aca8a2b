/* SPDX-License-Identifier: MIT */
/* Tested by sim_moves. */
#include "agent/mesh/path.h"

#include "common/base/log.h"
#include "common/os/tcp_path.h"

#include <stdio.h>

struct cbx_link *
mesh_hub_path(struct mesh *mesh)
{
    return mesh->phase == MESH_UP ? &mesh->pump.link : NULL;
}

struct cbx_link *
mesh_path(struct mesh_peer *peer)
{
    struct cbx_link *hub = mesh_hub_path(peer->mesh);
    bool stands = peer->direct && !peer->direct->doomed[0];
    return stands && (!hub || mesh_direct_proven(peer)) ? &peer->direct->pump.link : hub;
}

bool
mesh_direct_proven(const struct mesh_peer *peer)
{
    const struct mesh_direct *direct = peer->direct;
    return direct && !direct->doomed[0] &&
           (!direct->suspect_at || direct->pump.link.heard_at >= direct->suspect_at);
}

void
mesh_direct_suspect(struct mesh_peer *peer)
{
    if (!mesh_direct_proven(peer))
        return;
    peer->direct->suspect_at = mesh_now(peer->mesh);
    peer->mesh->count.directs_suspect++;
    cbx_log_debug("direct lane to %s does not answer: it is suspect", peer->slug);
    mesh_wake(peer->mesh);
}

bool
mesh_link_is_hub(const struct mesh *mesh, const struct cbx_link *link)
{
    return link == &mesh->pump.link;
}

struct cbx_budget *
mesh_budget_of(struct mesh *mesh, const struct cbx_link *link)
{
    return mesh_link_is_hub(mesh, link) ? &mesh->hub_budget : &mesh->direct_budget;
}

bool
mesh_link_leads_to(const struct mesh *mesh, const struct cbx_link *link,
                   const struct mesh_peer *peer)
{
    return mesh_link_is_hub(mesh, link) || (peer->direct && link == &peer->direct->pump.link);
}

void
mesh_streams_move(struct mesh_peer *peer)
{
    peer->move_due = peer->mesh->move_due = true;
}

bool
mesh_direct_up(const struct mesh_peer *peer)
{
    return peer->direct != NULL;
}

void
mesh_direct_doom(struct mesh_peer *peer, const char *why)
{
    struct mesh_direct *direct = peer->direct;
    if (!direct || direct->doomed[0])
        return;
    (void)snprintf(direct->doomed, sizeof direct->doomed, "%s", why);
    mesh_wake(peer->mesh);
}

int
mesh_direct_segment_max(const struct mesh_peer *peer)
{
    return mesh_now(peer->mesh) < peer->short_until ? CBX_SEGMENT_SHORT : 0;
}
