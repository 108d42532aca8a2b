/* SPDX-License-Identifier: MIT */
/* Tested by sim_rendezvous. */
#include "agent/mesh/rendezvous.h"

#include "agent/mesh/path.h"
#include "agent/mesh/peer.h"
#include "agent/mesh/rendezvous_say.h"
#include "agent/mesh/rendezvous_try.h"
#include "agent/mesh/session.h"
#include "common/base/log.h"
#include "common/link/fields.h"

#include <sodium.h>
#include <stdio.h>
#include <string.h>

static const char neither[] = "neither side can reach the other directly";

/* ---- a try goes on ---- */

static void
offer(struct mesh_peer *peer, int64_t now)
{
    struct mesh *mesh = peer->mesh;
    struct mesh_session *session = mesh_rendezvous_session(peer);
    uint8_t id[CBX_LANE_ID];
    randombytes_buf(id, sizeof id);
    if (!session || !mesh_try_may_begin(peer, now) || !mesh_try_begin(peer, &session->keys, id))
        return;
    mesh->count.rendezvous++;
    mesh_try_enter(peer, MESH_RENDEZVOUS_OFFERED);
    mesh->ops->direct_expect(mesh->arg, &peer->rendezvous.try->ours);
    if (!mesh_rendezvous_say_where(peer, CBX_RENDEZVOUS_OFFER))
        mesh_try_over(peer, "cannot send over the link to the hub");
}

static void
connect_out(struct mesh_peer *peer)
{
    struct mesh *mesh = peer->mesh;
    peer->rendezvous.try->to.segment_max = mesh_direct_segment_max(peer);
    mesh->ops->direct_connect(mesh->arg, &peer->rendezvous.try->theirs, &peer->rendezvous.try->to);
}

/* We could not reach the peer: its turn. */
static void
turn(struct mesh_peer *peer)
{
    struct mesh *mesh = peer->mesh;
    mesh_try_enter(peer, MESH_RENDEZVOUS_EXPECTS);
    mesh->ops->direct_expect(mesh->arg, &peer->rendezvous.try->ours);
    if (!mesh_rendezvous_say(peer, CBX_RENDEZVOUS_TURN, peer->rendezvous.id))
        mesh_try_over(peer, "cannot send over the link to the hub");
}

static void
could_not_connect(struct mesh_peer *peer)
{
    if (peer->rendezvous.state == MESH_RENDEZVOUS_TRIES) {
        turn(peer);
    } else {
        mesh_rendezvous_say(peer, CBX_RENDEZVOUS_FAIL, peer->rendezvous.id);
        mesh_try_over(peer, neither);
    }
}

/* ---- what is heard ---- */

static void
refused(struct mesh_peer *peer)
{
    peer->mesh->count.rendezvous_refused++;
}

static void
take_offer(struct mesh_peer *peer, struct mesh_session *session, const struct cbx_rendezvous *said)
{
    struct mesh *mesh = peer->mesh;
    struct mesh_rendezvous *rendezvous = &peer->rendezvous;
    const struct mesh_peer *other = mesh_try_find(mesh, said->id); /* whose lane it would take */
    if (mesh_try_is_ours_to_offer(peer) || !mesh->hub_direct || (other && other != peer) ||
        !mesh_try_may_begin(peer, mesh_now(mesh))) {
        refused(peer);
        return;
    }
    if (!mesh->config.direct) {
        mesh_rendezvous_say(peer, CBX_RENDEZVOUS_REFUSE, said->id);
        return;
    }
    mesh_try_over(peer, "its agent started another attempt");
    if (rendezvous->state == MESH_RENDEZVOUS_UP) { /* its end of the lane is gone */
        mesh_rendezvous_set_state(peer, MESH_RENDEZVOUS_REST);
        mesh_direct_doom(peer, "its agent reported it lost");
    }
    if (!mesh_try_begin(peer, &session->keys, said->id))
        return;
    mesh->count.rendezvous++;
    mesh_rendezvous_take_candidates(peer, &session->keys, said, MESH_ROLE_OFFERER);
    mesh_try_enter(peer, MESH_RENDEZVOUS_TRIES);
    if (!mesh_rendezvous_say_where(peer, CBX_RENDEZVOUS_ANSWER))
        mesh_try_over(peer, "cannot send over the link to the hub");
    else if (rendezvous->try->to.count)
        connect_out(peer);
    else
        turn(peer);
}

static void
take_answer(struct mesh_peer *peer, struct mesh_session *session, const struct cbx_rendezvous *said)
{
    mesh_rendezvous_take_candidates(peer, &session->keys, said, MESH_ROLE_ANSWERER);
    mesh_try_enter(peer, MESH_RENDEZVOUS_AWAITS);
}

static void
take_turn(struct mesh_peer *peer)
{
    struct mesh *mesh = peer->mesh;
    mesh->ops->direct_forget(mesh->arg, peer->rendezvous.id);
    mesh_try_enter(peer, MESH_RENDEZVOUS_TURNED);
    if (peer->rendezvous.try->to.count)
        connect_out(peer);
    else
        could_not_connect(peer);
}

static void
take_lost(struct mesh_peer *peer)
{
    struct mesh_rendezvous *rendezvous = &peer->rendezvous;
    mesh_try_over(peer, "its agent reported the lane lost");
    if (rendezvous->state != MESH_RENDEZVOUS_UP)
        return;
    mesh_rendezvous_set_state(peer, MESH_RENDEZVOUS_REST);
    (void)snprintf(rendezvous->trouble, sizeof rendezvous->trouble,
                   "its agent reported the lane lost");
    mesh_direct_doom(peer, "its agent reported it lost");
}

/* The step that each message but OFFER belongs to; LOST belongs to all but REST. */
static bool
fits(enum cbx_rendezvous_step step, enum mesh_rendezvous_state state)
{
    switch (step) {
    case CBX_RENDEZVOUS_ANSWER:
    case CBX_RENDEZVOUS_REFUSE:
        return state == MESH_RENDEZVOUS_OFFERED;
    case CBX_RENDEZVOUS_TURN:
        return state == MESH_RENDEZVOUS_AWAITS;
    case CBX_RENDEZVOUS_FAIL:
        return state == MESH_RENDEZVOUS_TRIES || state == MESH_RENDEZVOUS_EXPECTS;
    case CBX_RENDEZVOUS_LOST:
        return state != MESH_RENDEZVOUS_REST;
    default:
        return false;
    }
}

static void
take(struct mesh_peer *peer, struct mesh_session *session, const struct cbx_rendezvous *said)
{
    struct mesh_rendezvous *rendezvous = &peer->rendezvous;
    if (said->step == CBX_RENDEZVOUS_OFFER) {
        take_offer(peer, session, said);
        return;
    }
    bool known = memcmp(said->id, rendezvous->id, CBX_LANE_ID) == 0;
    if (!known || !fits(said->step, rendezvous->state)) {
        /* What is said of a try that is over has often crossed its end. */
        if (!known || mesh_try_going(peer))
            refused(peer);
        return;
    }
    if (said->step == CBX_RENDEZVOUS_ANSWER) {
        take_answer(peer, session, said);
    } else if (said->step == CBX_RENDEZVOUS_TURN) {
        take_turn(peer);
    } else if (said->step == CBX_RENDEZVOUS_LOST) {
        take_lost(peer);
    } else if (said->step == CBX_RENDEZVOUS_REFUSE) {
        rendezvous->refused = true;
        mesh_try_over(peer, "its agent runs with --direct off");
    } else {
        mesh_try_over(peer, neither);
    }
}

void
mesh_rendezvous_frame(struct mesh *mesh, struct cbx_frame *frame)
{
    bool for_us = cbx_field_is(&frame->field[CBX_RENDEZVOUS_TO], mesh->config.slug);
    struct mesh_peer *peer =
        for_us ? mesh_peer_named(mesh, &frame->field[CBX_RENDEZVOUS_FROM]) : NULL;
    struct mesh_session *session =
        peer ? mesh_peer_session_by_id(peer, frame->field[CBX_RENDEZVOUS_SESSION].p) : NULL;
    uint64_t counter = frame->field[CBX_RENDEZVOUS_COUNTER].u;
    struct cbx_rendezvous said;
    if (!session) {
        mesh->count.stale++;
        return;
    }
    if (counter <= session->rendezvous_taken) {
        mesh->count.replayed++;
        return;
    }
    if (peer->trust != MESH_TRUST_BELIEVED ||
        cbx_rendezvous_open(mesh->aead, &session->keys, frame, &said) < 0) {
        refused(peer);
        return;
    }
    session->rendezvous_taken = counter;
    mesh_peer_confirm(peer, session);
    take(peer, session, &said);
}

/* ---- timers ---- */

static void
look_at_incarnation(struct mesh_peer *peer)
{
    struct mesh_rendezvous *rendezvous = &peer->rendezvous;
    if (memcmp(rendezvous->incarnation, peer->incarnation, CBX_INCARNATION_SIZE) == 0)
        return;
    memcpy(rendezvous->incarnation, peer->incarnation, CBX_INCARNATION_SIZE);
    mesh_try_over(peer, "its agent was restarted");
    rendezvous->refused = rendezvous->say_lost = false;
    rendezvous->next_at = rendezvous->busy_since = 0;
}

static void
look_at_streams(struct mesh_peer *peer, int64_t now)
{
    if (peer->stream_count == 0)
        peer->rendezvous.busy_since = 0;
    else if (peer->rendezvous.busy_since == 0)
        peer->rendezvous.busy_since = now;
}

static void
look_at_try(struct mesh_peer *peer, int64_t now)
{
    struct mesh_rendezvous *rendezvous = &peer->rendezvous;
    if (!mesh_try_going(peer) || now < rendezvous->deadline)
        return;
    if (rendezvous->state == MESH_RENDEZVOUS_OFFERED)
        mesh_try_over(peer, "its agent did not answer");
    else if (rendezvous->state == MESH_RENDEZVOUS_TRIES ||
             rendezvous->state == MESH_RENDEZVOUS_TURNED)
        could_not_connect(peer);
    else
        mesh_try_over(peer, neither);
}

static void
sweep(struct mesh_peer *peer, int64_t now)
{
    struct mesh_rendezvous *rendezvous = &peer->rendezvous;
    const struct mesh *mesh = peer->mesh;
    look_at_incarnation(peer);
    look_at_streams(peer, now);
    look_at_try(peer, now);
    if (rendezvous->say_lost && mesh_rendezvous_say(peer, CBX_RENDEZVOUS_LOST, rendezvous->id))
        rendezvous->say_lost = false;
    if (mesh->config.direct && mesh->hub_direct && rendezvous->state == MESH_RENDEZVOUS_REST &&
        !rendezvous->refused && peer->stream_count && now >= rendezvous->next_at &&
        mesh_rendezvous_session(peer) && mesh_try_is_ours_to_offer(peer))
        offer(peer, now);
}

void
mesh_rendezvous_sweep(struct mesh *mesh, int64_t now)
{
    struct mesh_peer *peer, *next;
    for (peer = TAILQ_FIRST(&mesh->rendezvous); peer; peer = next) {
        next = TAILQ_NEXT(peer, rendezvous.entry);
        if (!mesh_direct_up(peer))
            mesh_rendezvous_lost(peer, "this agent is out of memory"); /* claimed, and not taken */
        sweep(peer, now);
        if (peer->stream_count == 0 && !mesh_try_going(peer) && !peer->rendezvous.say_lost)
            mesh_rendezvous_unlist(peer);
    }
}

void
mesh_rendezvous_streams(struct mesh_peer *peer)
{
    if (!peer->mesh->config.direct)
        return;
    mesh_rendezvous_list(peer);
    sweep(peer, mesh_now(peer->mesh));
}

/* ---- what the lane's own side says ---- */

bool
mesh_rendezvous_claim(struct mesh *mesh, const uint8_t id[CBX_LANE_ID], struct mesh_peer **peer)
{
    *peer = mesh_try_find(mesh, id);
    if (!*peer)
        return false;
    mesh->count.direct_established++;
    mesh_try_won(*peer);
    return true;
}

void
mesh_direct_failed(struct mesh *mesh, const uint8_t id[CBX_LANE_ID], const char *text)
{
    struct mesh_peer *peer = mesh_try_find(mesh, id);
    if (!peer || (peer->rendezvous.state != MESH_RENDEZVOUS_TRIES &&
                  peer->rendezvous.state != MESH_RENDEZVOUS_TURNED))
        return;
    cbx_log_debug("cannot connect to %s: %s", peer->slug, text);
    could_not_connect(peer);
    mesh_wake(mesh);
}

void
mesh_rendezvous_lost(struct mesh_peer *peer, const char *why)
{
    struct mesh_rendezvous *rendezvous = &peer->rendezvous;
    if (rendezvous->state != MESH_RENDEZVOUS_UP)
        return;
    mesh_rendezvous_set_state(peer, MESH_RENDEZVOUS_REST);
    (void)snprintf(rendezvous->trouble, sizeof rendezvous->trouble, "the direct lane was lost: %s",
                   why);
    rendezvous->say_lost = !mesh_rendezvous_say(peer, CBX_RENDEZVOUS_LOST, rendezvous->id);
    mesh_rendezvous_list(peer);
    mesh_wake(peer->mesh);
}

/* ---- ends ---- */

void
mesh_rendezvous_drop_try(struct mesh_peer *peer)
{
    mesh_try_over(peer, "its session is gone");
}

void
mesh_rendezvous_link_lost(struct mesh *mesh)
{
    struct mesh_peer *peer;
    TAILQ_FOREACH(peer, &mesh->rendezvous, rendezvous.entry)
        mesh_try_over(peer, "the link to the hub was lost meanwhile");
}

void
mesh_rendezvous_free(struct mesh_peer *peer)
{
    mesh_rendezvous_drop_try(peer);
    mesh_rendezvous_unlist(peer);
    sodium_memzero(&peer->rendezvous, sizeof peer->rendezvous);
}
