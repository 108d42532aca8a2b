/* SPDX-License-Identifier: MIT */
/* Tested by sim_rules and sim_hostile_trust. */
#include "agent/mesh/peer.h"

#include "agent/mesh/clocks.h"
#include "agent/mesh/rates.h"
#include "agent/mesh/stream.h"
#include "common/base/log.h"
#include "common/base/states.h"
#include "common/link/fields.h"

#include <stdlib.h>
#include <string.h>

/* From any state belief may be refused, or begin anew; it comes from a chain that was fetched, by
 * way of the disk where what it says is new. */
static const struct cbx_states trusts = {
    .what = "trust in",
    .state =
        {
            [MESH_TRUST_NONE] = {"not asked yet", CBX_STATE(MESH_TRUST_FETCHING) |
                                                      CBX_STATE(MESH_TRUST_REFUSED) |
                                                      CBX_STATE(MESH_TRUST_NONE)},
            [MESH_TRUST_FETCHING] = {"fetching", CBX_STATE(MESH_TRUST_STORING) |
                                                     CBX_STATE(MESH_TRUST_BELIEVED) |
                                                     CBX_STATE(MESH_TRUST_REFUSED) |
                                                     CBX_STATE(MESH_TRUST_NONE)},
            [MESH_TRUST_STORING] = {"storing", CBX_STATE(MESH_TRUST_BELIEVED) |
                                                   CBX_STATE(MESH_TRUST_REFUSED) |
                                                   CBX_STATE(MESH_TRUST_NONE)},
            [MESH_TRUST_BELIEVED] = {"verified", CBX_STATE(MESH_TRUST_FETCHING) |
                                                     CBX_STATE(MESH_TRUST_REFUSED) |
                                                     CBX_STATE(MESH_TRUST_NONE)},
            [MESH_TRUST_REFUSED] = {"refused", CBX_STATE(MESH_TRUST_FETCHING) |
                                                   CBX_STATE(MESH_TRUST_REFUSED) |
                                                   CBX_STATE(MESH_TRUST_NONE)},
        },
};

struct mesh_peer *
mesh_peer_find(struct mesh *mesh, const char *slug, size_t length)
{
    struct mesh_peer *peer = NULL;
    HASH_FIND(hh, mesh->peers, slug, length, peer);
    return peer;
}

struct mesh_peer *
mesh_peer_named(struct mesh *mesh, const struct cbx_field *slug)
{
    return mesh_peer_find(mesh, (const char *)slug->p, slug->n);
}

/* ---- belief ---- */

void
mesh_peer_set_trust(struct mesh_peer *peer, enum mesh_trust trust)
{
    if (cbx_states_allow(&trusts, peer->slug, peer->trust, trust))
        peer->trust = trust;
}

const char *
mesh_trust_name(enum mesh_trust trust)
{
    return trusts.state[trust].name;
}

void
mesh_peer_fetch(struct mesh_peer *peer)
{
    struct mesh *mesh = peer->mesh;
    if (!mesh_rate_fetches(mesh))
        return; /* what wants it comes again */
    mesh_peer_set_trust(peer, MESH_TRUST_FETCHING);
    peer->fetch_at = mesh_now(mesh);
    struct cbx_field fields[] = {[CBX_CHAIN_GET_SLUG] = cbx_field_text(peer->slug)};
    cbx_link_send(&mesh->pump.link, CBX_FRAME_CHAIN_GET, 0, fields, 1);
}

void
mesh_peer_refuse(struct mesh_peer *peer, enum cbx_reason reason, const char *text)
{
    mesh_peer_set_trust(peer, MESH_TRUST_REFUSED);
    peer->refused = reason;
    strncpy(peer->refused_text, text, sizeof peer->refused_text - 1);
    mesh_peer_drop_pending(peer);
    cbx_log_warn("%s.%s.cbx: certificate rejected: %s", peer->slug, peer->mesh->config.pond, text);
    mesh_streams_refuse_waiting(peer->mesh, peer->slug, reason);
}

void
mesh_peer_expired(struct mesh_peer *peer, int64_t ends)
{
    char text[sizeof peer->refused_text];
    peer->ends = ends;
    mesh_past_text(peer->mesh, ends, text, sizeof text);
    mesh_peer_refuse(peer, CBX_REASON_EXPIRED, text);
}

void
mesh_peer_reconsider(struct mesh_peer *peer)
{
    if (peer->trust == MESH_TRUST_REFUSED && peer->refused == CBX_REASON_EXPIRED &&
        !mesh_is_past(peer->mesh, peer->ends))
        mesh_peer_set_trust(peer, MESH_TRUST_NONE);
}

void
mesh_peer_drop_pending(struct mesh_peer *peer)
{
    free(peer->pending);
    peer->pending = NULL;
}
