/* SPDX-License-Identifier: MIT */
/* Tested by sim_rendezvous. */
#include "agent/mesh/rendezvous_try.h"

#include "common/base/log.h"
#include "common/base/states.h"
#include "common/session/rendezvous.h"

#include <sodium.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { TRIES_AT_ONCE = 3 };
static const int64_t EVERY_US = 60 * 1000 * 1000;
/* The shell connects for 3 s; the rest is for slow paths to the hub. */
static const int64_t STEP_US = 10 * 1000 * 1000;

enum { ENDS = CBX_STATE(MESH_RENDEZVOUS_UP) | CBX_STATE(MESH_RENDEZVOUS_REST) };
static const struct cbx_states states = {
    .what = "rendezvous with",
    .state =
        {
            [MESH_RENDEZVOUS_REST] = {"rest", CBX_STATE(MESH_RENDEZVOUS_OFFERED) |
                                                  CBX_STATE(MESH_RENDEZVOUS_TRIES)},
            [MESH_RENDEZVOUS_OFFERED] = {"offered", ENDS | CBX_STATE(MESH_RENDEZVOUS_AWAITS)},
            [MESH_RENDEZVOUS_AWAITS] = {"awaits", ENDS | CBX_STATE(MESH_RENDEZVOUS_TURNED)},
            [MESH_RENDEZVOUS_TURNED] = {"turned", ENDS},
            [MESH_RENDEZVOUS_TRIES] = {"tries", ENDS | CBX_STATE(MESH_RENDEZVOUS_EXPECTS)},
            [MESH_RENDEZVOUS_EXPECTS] = {"expects", ENDS},
            [MESH_RENDEZVOUS_UP] = {"up", CBX_STATE(MESH_RENDEZVOUS_REST)},
        },
};

void
mesh_rendezvous_set_state(struct mesh_peer *peer, enum mesh_rendezvous_state state)
{
    if (cbx_states_allow(&states, peer->slug, peer->rendezvous.state, state))
        peer->rendezvous.state = state;
}

bool
mesh_try_going(const struct mesh_peer *peer)
{
    return peer->rendezvous.state != MESH_RENDEZVOUS_REST &&
           peer->rendezvous.state != MESH_RENDEZVOUS_UP;
}

bool
mesh_try_is_ours_to_offer(const struct mesh_peer *peer)
{
    return memcmp(peer->mesh->config.identity->sign.public_key, peer->identity, 32) < 0;
}

struct mesh_peer *
mesh_try_find(const struct mesh *mesh, const uint8_t id[CBX_LANE_ID])
{
    struct mesh_peer *peer;
    TAILQ_FOREACH(peer, &mesh->rendezvous, rendezvous.entry) {
        if (mesh_try_going(peer) && memcmp(peer->rendezvous.id, id, CBX_LANE_ID) == 0)
            return peer;
    }
    return NULL;
}

/* ---- the list ---- */

void
mesh_rendezvous_list(struct mesh_peer *peer)
{
    if (peer->rendezvous.listed)
        return;
    peer->rendezvous.listed = true;
    TAILQ_INSERT_TAIL(&peer->mesh->rendezvous, peer, rendezvous.entry);
}

void
mesh_rendezvous_unlist(struct mesh_peer *peer)
{
    if (peer->rendezvous.listed)
        TAILQ_REMOVE(&peer->mesh->rendezvous, peer, rendezvous.entry);
    peer->rendezvous.listed = false;
}

/* ---- its life ---- */

bool
mesh_try_may_begin(struct mesh_peer *peer, int64_t now)
{
    bool may = cbx_rate_take(&peer->rendezvous.rate, 1e6 / (double)EVERY_US, TRIES_AT_ONCE, now);
    if (may || now >= peer->rendezvous.next_at)
        peer->rendezvous.next_at = now + EVERY_US;
    return may;
}

bool
mesh_try_begin(struct mesh_peer *peer, const struct cbx_session *keys,
               const uint8_t id[CBX_LANE_ID])
{
    struct mesh_rendezvous *rendezvous = &peer->rendezvous;
    rendezvous->try = calloc(1, sizeof *rendezvous->try);
    if (!rendezvous->try)
        return false;
    memcpy(rendezvous->id, id, CBX_LANE_ID);
    memcpy(rendezvous->incarnation, keys->peer_incarnation, CBX_INCARNATION_SIZE);
    cbx_rendezvous_ticket(keys, true, id, &rendezvous->try->ours);
    cbx_rendezvous_ticket(keys, false, id, &rendezvous->try->theirs);
    rendezvous->say_lost = false;
    mesh_rendezvous_list(peer);
    return true;
}

void
mesh_try_enter(struct mesh_peer *peer, enum mesh_rendezvous_state state)
{
    mesh_rendezvous_set_state(peer, state);
    peer->rendezvous.deadline = mesh_now(peer->mesh) + STEP_US;
}

static void
wipe_try(struct mesh_rendezvous *rendezvous)
{
    if (!rendezvous->try)
        return;
    sodium_memzero(rendezvous->try, sizeof *rendezvous->try);
    free(rendezvous->try);
    rendezvous->try = NULL;
}

void
mesh_try_won(struct mesh_peer *peer)
{
    mesh_rendezvous_set_state(peer, MESH_RENDEZVOUS_UP);
    peer->rendezvous.trouble[0] = '\0';
    wipe_try(&peer->rendezvous);
}

void
mesh_try_over(struct mesh_peer *peer, const char *trouble)
{
    struct mesh_rendezvous *rendezvous = &peer->rendezvous;
    if (!mesh_try_going(peer))
        return;
    cbx_log_debug("no direct lane to %s: %s", peer->slug, trouble);
    (void)snprintf(rendezvous->trouble, sizeof rendezvous->trouble, "%s", trouble);
    peer->mesh->ops->direct_forget(peer->mesh->arg, rendezvous->id);
    mesh_rendezvous_set_state(peer, MESH_RENDEZVOUS_REST);
    wipe_try(rendezvous);
}
