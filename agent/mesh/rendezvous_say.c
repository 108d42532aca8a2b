/* SPDX-License-Identifier: MIT */
/* Tested by sim_rendezvous. */
#include "agent/mesh/rendezvous_say.h"

#include "agent/mesh/rates.h"
#include "agent/mesh/rendezvous_try.h"
#include "agent/mesh/session.h"

#include <sodium.h>
#include <string.h>

_Static_assert(CBX_RENDEZVOUS_CANDIDATE_MAX + 1 == CANDIDATE_TEXT_MAX, "texts of one length");
_Static_assert((int)CBX_RENDEZVOUS_CANDIDATES_MAX == (int)CANDIDATES_MAX, "as many of them");

struct mesh_session *
mesh_rendezvous_session(struct mesh_peer *peer)
{
    struct mesh *mesh = peer->mesh;
    struct mesh_session *session = mesh_peer_newest(peer);
    bool there = mesh->phase == MESH_UP && mesh->has_pump && peer->ready && peer->seen;
    bool believed = peer->trust == MESH_TRUST_BELIEVED &&
                    mesh->ops->now_unix(mesh->arg) <= peer->ends + CBX_CLOCK_GRACE_S;
    return there && believed && mesh_session_usable(peer, session) ? session : NULL;
}

static bool
say(struct mesh_peer *peer, const struct cbx_rendezvous *rendezvous)
{
    struct mesh *mesh = peer->mesh;
    struct mesh_session *session = mesh_rendezvous_session(peer);
    if (!session || !mesh_rate_passes(mesh, MESH_PASSED_SAY))
        return false;
    struct cbx_slice frame =
        cbx_rendezvous_seal(mesh->aead, &session->keys, mesh->config.slug, peer->slug,
                            ++session->rendezvous_sent, rendezvous);
    return frame.slab && cbx_link_send_slice(&mesh->pump.link, frame) == 0;
}

bool
mesh_rendezvous_say(struct mesh_peer *peer, enum cbx_rendezvous_step step,
                    const uint8_t id[CBX_LANE_ID])
{
    struct cbx_rendezvous rendezvous = {.step = step};
    memcpy(rendezvous.id, id, CBX_LANE_ID);
    return say(peer, &rendezvous);
}

static bool
host_mark_of(const struct mesh_peer *peer, const struct cbx_session *keys, bool ours,
             enum mesh_rendezvous_role role, uint8_t out[CBX_RENDEZVOUS_MARK])
{
    const struct mesh *mesh = peer->mesh;
    uint8_t key[32];
    cbx_rendezvous_mark_key(keys, ours, key);
    bool has = mesh->ops->host_mark(mesh->arg, key, (uint8_t)role, out);
    sodium_memzero(key, sizeof key);
    return has;
}

bool
mesh_rendezvous_say_where(struct mesh_peer *peer, enum cbx_rendezvous_step step)
{
    struct mesh *mesh = peer->mesh;
    struct mesh_session *session = mesh_rendezvous_session(peer);
    struct candidates own = {.count = 0};
    struct cbx_rendezvous rendezvous = {.step = step};
    if (!session)
        return false;
    memcpy(rendezvous.id, peer->rendezvous.id, CBX_LANE_ID);
    enum mesh_rendezvous_role role =
        step == CBX_RENDEZVOUS_OFFER ? MESH_ROLE_OFFERER : MESH_ROLE_ANSWERER;
    if (!host_mark_of(peer, &session->keys, true, role, rendezvous.mark))
        memset(rendezvous.mark, 0, sizeof rendezvous.mark);
    mesh->ops->candidates(mesh->arg, mesh->seen_address, &own);
    rendezvous.count = own.count < CANDIDATES_MAX ? own.count : CANDIDATES_MAX;
    memcpy(rendezvous.candidate, own.item, rendezvous.count * sizeof own.item[0]);
    return say(peer, &rendezvous);
}

void
mesh_rendezvous_take_candidates(struct mesh_peer *peer, const struct cbx_session *keys,
                                const struct cbx_rendezvous *said, enum mesh_rendezvous_role role)
{
    struct candidates *to = &peer->rendezvous.try->to;
    uint8_t mark[CBX_RENDEZVOUS_MARK];
    bool same_host = !sodium_is_zero(said->mark, sizeof said->mark) &&
                     host_mark_of(peer, keys, false, role, mark) &&
                     sodium_memcmp(mark, said->mark, sizeof mark) == 0;
    to->count = 0;
    for (uint32_t i = 0; i < said->count; i++) {
        const char *text = said->candidate[i];
        if (candidate_usable(text, strlen(text), same_host))
            memcpy(to->item[to->count++], text, sizeof to->item[0]);
        else if (!candidate_usable(text, strlen(text), true))
            peer->mesh->count.rendezvous_refused++; /* nobody honest names it */
    }
}
