/* SPDX-License-Identifier: MIT */
/*
 * Meeting (rule 29). The peer with the smaller identity key offers, once a stream runs, at most
 * once a minute; messages go through the hub, sealed under the session.
 *
 *   offerer   REST -> OFFERED (OFFER sent; our listener expects the peer) -> AWAITS (ANSWER came)
 *             -> TURNED (TURN came: we connect) -> UP, or REST with FAIL
 *   answerer  REST -> TRIES (OFFER came, ANSWER sent: we connect) -> EXPECTS (that failed, TURN
 *             sent: our listener expects the peer) -> UP, or REST
 *
 * A lane that was proven ends the try in any of these steps (UP); a deadline ends each step, since
 * the hub may drop what it likes. LOST ends a lane at both ends, so that both move back together.
 * A message is believed when it opens, is newer than the last, names the try that goes on and fits
 * its step; anything else is counted and changes nothing. What a peer says can make us connect to 8
 * addresses once a minute (three times after a rest, for agents that are restarted), and we never
 * tell it what came of each.
 *
 * Tickets and the peer's addresses live in a struct mesh_try, wiped with the try.
 */
#include "common/session/rendezvous.h"
#include "agent/mesh/direct.h"
#include "agent/mesh/internal.h"
#include "common/base/log.h"
#include <sodium.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { ROLE_OFFERER = 1, ROLE_ANSWERER = 2, TRIES_AT_ONCE = 3 };
static const int64_t EVERY_US = 60 * 1000 * 1000;
/* The shell connects for 3 s; the rest is for slow roads to the hub. */
static const int64_t STEP_US = 10 * 1000 * 1000;
/* After this long an offer is not late any more, it does not come. */
static const int64_t OFFER_LATE_US = 10 * 1000 * 1000;

_Static_assert(CBX_RENDEZVOUS_CANDIDATE_MAX + 1 == CANDIDATE_TEXT_MAX, "texts of one length");
_Static_assert((int)CBX_RENDEZVOUS_CANDIDATES_MAX == (int)CANDIDATES_MAX, "as many of them");

static const char neither[] = "neither side can reach the other directly";

struct mesh_try {
    struct cbx_lane_ticket ours, theirs; /* we listen; the peer listens */
    struct candidates to;                /* where the peer may be connected to */
};

static bool
trying(const struct mesh_rendezvous *rendezvous)
{
    return rendezvous->state != MESH_RENDEZVOUS_REST && rendezvous->state != MESH_RENDEZVOUS_UP;
}

static bool
offers(const struct mesh_peer *peer)
{
    return memcmp(peer->mesh->config.identity->sign.public_key, peer->identity, 32) < 0;
}

static void
list(struct mesh_peer *peer)
{
    if (peer->rendezvous.listed)
        return;
    peer->rendezvous.listed = true;
    TAILQ_INSERT_TAIL(&peer->mesh->rendezvous, peer, rendezvous.entry);
}

static void
unlist(struct mesh_peer *peer)
{
    if (peer->rendezvous.listed)
        TAILQ_REMOVE(&peer->mesh->rendezvous, peer, rendezvous.entry);
    peer->rendezvous.listed = false;
}

/* ---- what is said ---- */

/* The session to speak in, while there is anybody to hear it. */
static struct mesh_session *
session_of(struct mesh_peer *peer)
{
    struct mesh *mesh = peer->mesh;
    struct mesh_session *session = mesh_peer_newest(peer);
    bool there = mesh->phase == MESH_UP && mesh->has_pump && peer->ready && peer->seen;
    bool believed = peer->trust == MESH_TRUST_BELIEVED &&
                    mesh->ops->now_unix(mesh->arg) <= peer->ends + CBX_CLOCK_GRACE_S;
    bool usable =
        session && !session->doubted &&
        memcmp(session->keys.peer_incarnation, peer->incarnation, CBX_INCARNATION_SIZE) == 0;
    return there && believed && usable ? session : NULL;
}

static bool
say(struct mesh_peer *peer, const struct cbx_rendezvous *rendezvous)
{
    struct mesh *mesh = peer->mesh;
    struct mesh_session *session = session_of(peer);
    if (!session)
        return false;
    struct cbx_slice frame =
        cbx_rendezvous_seal(mesh->aead, &session->keys, mesh->config.slug, peer->slug,
                            ++session->rendezvous_sent, rendezvous);
    return frame.slab && cbx_link_send_slice(&mesh->pump.link, frame) == 0;
}

static bool
say_step(struct mesh_peer *peer, enum cbx_rendezvous_step step, const uint8_t id[CBX_LANE_ID])
{
    struct cbx_rendezvous rendezvous = {.step = step};
    memcpy(rendezvous.id, id, CBX_LANE_ID);
    return say(peer, &rendezvous);
}

static bool
host_mark_of(const struct mesh_peer *peer, const struct cbx_session *keys, bool ours, uint8_t role,
             uint8_t out[CBX_RENDEZVOUS_MARK])
{
    const struct mesh *mesh = peer->mesh;
    uint8_t key[32];
    cbx_rendezvous_mark_key(keys, ours, key);
    bool has = mesh->ops->host_mark(mesh->arg, key, role, out);
    sodium_memzero(key, sizeof key);
    return has;
}

/* OFFER or ANSWER: who we are to the peer's candidates, and where we are. */
static bool
say_where(struct mesh_peer *peer, enum cbx_rendezvous_step step)
{
    struct mesh *mesh = peer->mesh;
    struct mesh_session *session = session_of(peer);
    struct candidates own = {.count = 0};
    struct cbx_rendezvous rendezvous = {.step = step};
    if (!session)
        return false;
    memcpy(rendezvous.id, peer->rendezvous.id, CBX_LANE_ID);
    uint8_t role = step == CBX_RENDEZVOUS_OFFER ? ROLE_OFFERER : ROLE_ANSWERER;
    if (!host_mark_of(peer, &session->keys, true, role, rendezvous.mark))
        memset(rendezvous.mark, 0, sizeof rendezvous.mark);
    mesh->ops->candidates(mesh->arg, mesh->seen_address, &own);
    rendezvous.count = own.count < CANDIDATES_MAX ? own.count : CANDIDATES_MAX;
    memcpy(rendezvous.candidate, own.item, rendezvous.count * sizeof own.item[0]);
    return say(peer, &rendezvous);
}

/* ---- a try's life ---- */

static void
wipe_try(struct mesh_rendezvous *rendezvous)
{
    if (!rendezvous->try)
        return;
    sodium_memzero(rendezvous->try, sizeof *rendezvous->try);
    free(rendezvous->try);
    rendezvous->try = NULL;
}

static void
over(struct mesh_peer *peer, const char *trouble)
{
    struct mesh_rendezvous *rendezvous = &peer->rendezvous;
    if (!trying(rendezvous))
        return;
    cbx_log_debug("no direct lane to %s: %s", peer->slug, trouble);
    (void)snprintf(rendezvous->trouble, sizeof rendezvous->trouble, "%s", trouble);
    peer->mesh->ops->direct_forget(peer->mesh->arg, rendezvous->id);
    rendezvous->state = MESH_RENDEZVOUS_REST;
    wipe_try(rendezvous);
}

static void
enter(struct mesh_peer *peer, enum mesh_rendezvous_state state)
{
    peer->rendezvous.state = state;
    peer->rendezvous.deadline = mesh_now(peer->mesh) + STEP_US;
}

/* Tickets for both sides' listeners, of one id. */
static bool
begin(struct mesh_peer *peer, const struct cbx_session *keys, const uint8_t id[CBX_LANE_ID])
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
    list(peer);
    return true;
}

static bool
may_begin(struct mesh_peer *peer, int64_t now)
{
    bool may = cbx_rate_take(&peer->rendezvous.rate, 1e6 / (double)EVERY_US, TRIES_AT_ONCE, now);
    if (may || now >= peer->rendezvous.next_at)
        peer->rendezvous.next_at = now + EVERY_US;
    return may;
}

static void
offer(struct mesh_peer *peer, int64_t now)
{
    struct mesh *mesh = peer->mesh;
    struct mesh_session *session = session_of(peer);
    uint8_t id[CBX_LANE_ID];
    randombytes_buf(id, sizeof id);
    if (!session || !may_begin(peer, now) || !begin(peer, &session->keys, id))
        return;
    mesh->count.rendezvous++;
    enter(peer, MESH_RENDEZVOUS_OFFERED);
    mesh->ops->direct_expect(mesh->arg, &peer->rendezvous.try->ours);
    if (!say_where(peer, CBX_RENDEZVOUS_OFFER))
        over(peer, "the link to the hub takes no more");
}

/* What of the peer's addresses is worth a try. */
static void
take_candidates(struct mesh_peer *peer, const struct cbx_session *keys,
                const struct cbx_rendezvous *said, uint8_t role)
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

static void
connect_out(struct mesh_peer *peer)
{
    struct mesh *mesh = peer->mesh;
    mesh->ops->direct_connect(mesh->arg, &peer->rendezvous.try->theirs, &peer->rendezvous.try->to);
}

/* We could not reach the peer: its turn. */
static void
turn(struct mesh_peer *peer)
{
    struct mesh *mesh = peer->mesh;
    enter(peer, MESH_RENDEZVOUS_EXPECTS);
    mesh->ops->direct_expect(mesh->arg, &peer->rendezvous.try->ours);
    if (!say_step(peer, CBX_RENDEZVOUS_TURN, peer->rendezvous.id))
        over(peer, "the link to the hub takes no more");
}

static void
could_not_connect(struct mesh_peer *peer)
{
    if (peer->rendezvous.state == MESH_RENDEZVOUS_TRIES) {
        turn(peer);
    } else {
        say_step(peer, CBX_RENDEZVOUS_FAIL, peer->rendezvous.id);
        over(peer, neither);
    }
}

/* ---- what is heard ---- */

static void
refused(struct mesh_peer *peer)
{
    peer->mesh->count.rendezvous_refused++;
}

static struct mesh_peer *try_of(const struct mesh *mesh, const uint8_t id[CBX_LANE_ID]);

static void
take_offer(struct mesh_peer *peer, struct mesh_session *session, const struct cbx_rendezvous *said)
{
    struct mesh *mesh = peer->mesh;
    struct mesh_rendezvous *rendezvous = &peer->rendezvous;
    const struct mesh_peer *other = try_of(mesh, said->id); /* whose lane it would take */
    if (offers(peer) || !mesh->hub_direct || (other && other != peer) ||
        !may_begin(peer, mesh_now(mesh))) {
        refused(peer);
        return;
    }
    if (!mesh->config.direct) {
        say_step(peer, CBX_RENDEZVOUS_REFUSE, said->id);
        return;
    }
    over(peer, "its agent began anew");
    if (rendezvous->state == MESH_RENDEZVOUS_UP) { /* its end of the lane is gone */
        rendezvous->state = MESH_RENDEZVOUS_REST;
        mesh_direct_drop(peer, "its agent has lost it");
    }
    if (!begin(peer, &session->keys, said->id))
        return;
    mesh->count.rendezvous++;
    take_candidates(peer, &session->keys, said, ROLE_OFFERER);
    enter(peer, MESH_RENDEZVOUS_TRIES);
    if (!say_where(peer, CBX_RENDEZVOUS_ANSWER))
        over(peer, "the link to the hub takes no more");
    else if (rendezvous->try->to.count)
        connect_out(peer);
    else
        turn(peer);
}

static void
take_answer(struct mesh_peer *peer, struct mesh_session *session, const struct cbx_rendezvous *said)
{
    take_candidates(peer, &session->keys, said, ROLE_ANSWERER);
    enter(peer, MESH_RENDEZVOUS_AWAITS);
}

static void
take_turn(struct mesh_peer *peer)
{
    struct mesh *mesh = peer->mesh;
    mesh->ops->direct_forget(mesh->arg, peer->rendezvous.id);
    enter(peer, MESH_RENDEZVOUS_TURNED);
    if (peer->rendezvous.try->to.count)
        connect_out(peer);
    else
        could_not_connect(peer);
}

static void
take_lost(struct mesh_peer *peer)
{
    struct mesh_rendezvous *rendezvous = &peer->rendezvous;
    over(peer, "its agent has lost the lane");
    if (rendezvous->state != MESH_RENDEZVOUS_UP)
        return;
    rendezvous->state = MESH_RENDEZVOUS_REST;
    (void)snprintf(rendezvous->trouble, sizeof rendezvous->trouble, "its agent has lost the lane");
    mesh_direct_drop(peer, "its agent has lost it");
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
        if (!known || trying(rendezvous))
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
        over(peer, "its agent runs with --direct off");
    } else {
        over(peer, neither);
    }
}

void
mesh_rendezvous_frame(struct mesh *mesh, struct cbx_frame *frame)
{
    const struct cbx_field *from = &frame->field[0];
    struct mesh_peer *peer = cbx_field_is(&frame->field[1], mesh->config.slug)
                                 ? mesh_peer_find(mesh, (const char *)from->p, from->n)
                                 : NULL;
    struct mesh_session *session = peer ? mesh_peer_session_by_id(peer, frame->field[2].p) : NULL;
    struct cbx_rendezvous said;
    if (!session) {
        mesh->count.stale++;
        return;
    }
    if (frame->field[3].u <= session->rendezvous_taken) {
        mesh->count.replayed++;
        return;
    }
    if (peer->trust != MESH_TRUST_BELIEVED ||
        cbx_rendezvous_open(mesh->aead, &session->keys, frame, &said) < 0) {
        refused(peer);
        return;
    }
    session->rendezvous_taken = frame->field[3].u;
    mesh_peer_confirm(peer, session);
    take(peer, session, &said);
}

/* ---- timers ---- */

static void
look_at_life(struct mesh_peer *peer)
{
    struct mesh_rendezvous *rendezvous = &peer->rendezvous;
    if (memcmp(rendezvous->incarnation, peer->incarnation, CBX_INCARNATION_SIZE) == 0)
        return;
    memcpy(rendezvous->incarnation, peer->incarnation, CBX_INCARNATION_SIZE);
    over(peer, "its agent was restarted");
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
    if (!trying(rendezvous) || now < rendezvous->deadline)
        return;
    if (rendezvous->state == MESH_RENDEZVOUS_OFFERED)
        over(peer, "its agent did not answer");
    else if (rendezvous->state == MESH_RENDEZVOUS_TRIES ||
             rendezvous->state == MESH_RENDEZVOUS_TURNED)
        could_not_connect(peer);
    else
        over(peer, neither);
}

void
mesh_rendezvous_sweep(struct mesh_peer *peer, int64_t now)
{
    struct mesh_rendezvous *rendezvous = &peer->rendezvous;
    const struct mesh *mesh = peer->mesh;
    look_at_life(peer);
    look_at_streams(peer, now);
    look_at_try(peer, now);
    if (rendezvous->say_lost && say_step(peer, CBX_RENDEZVOUS_LOST, rendezvous->id))
        rendezvous->say_lost = false;
    if (mesh->config.direct && mesh->hub_direct && rendezvous->state == MESH_RENDEZVOUS_REST &&
        !rendezvous->refused && peer->stream_count && now >= rendezvous->next_at &&
        session_of(peer) && offers(peer))
        offer(peer, now);
}

void
mesh_rendezvous_sweep_all(struct mesh *mesh, int64_t now)
{
    struct mesh_peer *peer, *next;
    for (peer = TAILQ_FIRST(&mesh->rendezvous); peer; peer = next) {
        next = TAILQ_NEXT(peer, rendezvous.entry);
        if (!mesh_direct_up(peer))
            mesh_rendezvous_lost(peer, "this agent is out of memory"); /* claimed, and not taken */
        mesh_rendezvous_sweep(peer, now);
        if (peer->stream_count == 0 && !trying(&peer->rendezvous) && !peer->rendezvous.say_lost)
            unlist(peer);
    }
}

void
mesh_rendezvous_streams(struct mesh_peer *peer)
{
    if (!peer->mesh->config.direct)
        return;
    list(peer);
    mesh_rendezvous_sweep(peer, mesh_now(peer->mesh));
}

/* ---- what the lane's own side says ---- */

static struct mesh_peer *
try_of(const struct mesh *mesh, const uint8_t id[CBX_LANE_ID])
{
    struct mesh_peer *peer;
    TAILQ_FOREACH(peer, &mesh->rendezvous, rendezvous.entry) {
        if (trying(&peer->rendezvous) && memcmp(peer->rendezvous.id, id, CBX_LANE_ID) == 0)
            return peer;
    }
    return NULL;
}

bool
mesh_rendezvous_claim(struct mesh *mesh, const uint8_t id[CBX_LANE_ID], struct mesh_peer **peer)
{
    *peer = try_of(mesh, id);
    if (!*peer)
        return false;
    mesh->count.direct_established++;
    (*peer)->rendezvous.state = MESH_RENDEZVOUS_UP;
    (*peer)->rendezvous.trouble[0] = '\0';
    wipe_try(&(*peer)->rendezvous);
    return true;
}

void
mesh_direct_failed(struct mesh *mesh, const uint8_t id[CBX_LANE_ID], const char *text)
{
    struct mesh_peer *peer = try_of(mesh, id);
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
    rendezvous->state = MESH_RENDEZVOUS_REST;
    (void)snprintf(rendezvous->trouble, sizeof rendezvous->trouble, "the direct lane was lost: %s",
                   why);
    rendezvous->say_lost = !say_step(peer, CBX_RENDEZVOUS_LOST, rendezvous->id);
    list(peer);
    mesh_wake(peer->mesh);
}

/* ---- ends ---- */

void
mesh_rendezvous_drop_try(struct mesh_peer *peer)
{
    over(peer, "its session is gone");
}

void
mesh_rendezvous_link_lost(struct mesh *mesh)
{
    struct mesh_peer *peer;
    TAILQ_FOREACH(peer, &mesh->rendezvous, rendezvous.entry)
        over(peer, "the link to the hub was lost meanwhile");
}

void
mesh_rendezvous_free(struct mesh_peer *peer)
{
    mesh_rendezvous_drop_try(peer);
    unlist(peer);
    sodium_memzero(&peer->rendezvous, sizeof peer->rendezvous);
}

/* ---- for people ---- */

static const char *
why_at_rest(const struct mesh_peer *peer)
{
    int64_t since = peer->rendezvous.busy_since;
    if (peer->stream_count == 0)
        return "a direct lane is made once a stream runs";
    if (offers(peer))
        return "a direct lane is about to be offered";
    return since && mesh_now(peer->mesh) - since >= OFFER_LATE_US
               ? "its agent has not offered a direct lane: does it run with --direct off?"
               : "its agent has not offered a direct lane yet";
}

void
mesh_rendezvous_why(const struct mesh_peer *peer, char *out, size_t size)
{
    const struct mesh *mesh = peer->mesh;
    const struct mesh_rendezvous *rendezvous = &peer->rendezvous;
    int64_t wait = rendezvous->next_at - mesh_now(mesh);
    long long seconds = wait / 1000000 + 1;
    if (!mesh->config.direct)
        (void)snprintf(out, size, "direct lanes are off here (--direct off)");
    else if (!mesh->hub_direct)
        (void)snprintf(out, size, "the hub forbids direct lanes (--direct off)");
    else if (rendezvous->state == MESH_RENDEZVOUS_UP)
        (void)snprintf(out, size, "the direct lane is there, streams are moving to it");
    else if (rendezvous->state == MESH_RENDEZVOUS_OFFERED)
        (void)snprintf(out, size, "a direct lane was offered, its agent has not answered yet");
    else if (trying(rendezvous))
        (void)snprintf(out, size, "a direct lane is being tried");
    else if (rendezvous->refused)
        (void)snprintf(out, size, "its agent runs with --direct off");
    else if (!rendezvous->trouble[0])
        (void)snprintf(out, size, "%s", why_at_rest(peer));
    else if (peer->stream_count && wait > 0)
        (void)snprintf(out, size, "%s; next try in %lld s", rendezvous->trouble, seconds);
    else
        (void)snprintf(out, size, "%s; tried again once a stream runs", rendezvous->trouble);
}
