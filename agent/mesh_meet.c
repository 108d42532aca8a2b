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
#include "log.h"
#include "meet.h"
#include "mesh_direct.h"
#include "mesh_internal.h"
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

_Static_assert(CBX_MEET_CANDIDATE_MAX + 1 == CANDIDATE_TEXT_MAX, "texts of one length");
_Static_assert((int)CBX_MEET_CANDIDATES_MAX == (int)CANDIDATES_MAX, "as many of them");

static const char neither[] = "neither side can reach the other directly";

struct mesh_try {
    struct cbx_lane_ticket ours, theirs; /* we listen; the peer listens */
    struct candidates to;                /* where the peer may be connected to */
};

static bool
trying(const struct mesh_meet *meet)
{
    return meet->state != MESH_MEET_REST && meet->state != MESH_MEET_UP;
}

static bool
offers(const struct mesh_peer *peer)
{
    return memcmp(peer->mesh->config.identity->sign.public_key, peer->identity, 32) < 0;
}

static void
list(struct mesh_peer *peer)
{
    if (peer->meet.listed)
        return;
    peer->meet.listed = true;
    TAILQ_INSERT_TAIL(&peer->mesh->meets, peer, meet.entry);
}

static void
unlist(struct mesh_peer *peer)
{
    if (peer->meet.listed)
        TAILQ_REMOVE(&peer->mesh->meets, peer, meet.entry);
    peer->meet.listed = false;
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
    bool usable = session && !session->doubted &&
                  memcmp(session->keys.peer_life, peer->life, CBX_LIFE_SIZE) == 0;
    return there && believed && usable ? session : NULL;
}

static bool
say(struct mesh_peer *peer, const struct cbx_meet *meet)
{
    struct mesh *mesh = peer->mesh;
    struct mesh_session *session = session_of(peer);
    if (!session)
        return false;
    struct cbx_slice frame = cbx_meet_seal(mesh->aead, &session->keys, mesh->config.slug,
                                           peer->slug, ++session->meet_sent, meet);
    return frame.slab && cbx_link_send_slice(&mesh->pump.link, frame) == 0;
}

static bool
say_step(struct mesh_peer *peer, enum cbx_meet_step step, const uint8_t id[CBX_LANE_ID])
{
    struct cbx_meet meet = {.step = step};
    memcpy(meet.id, id, CBX_LANE_ID);
    return say(peer, &meet);
}

static bool
host_mark_of(const struct mesh_peer *peer, const struct cbx_session *keys, bool ours, uint8_t role,
             uint8_t out[CBX_MEET_MARK])
{
    const struct mesh *mesh = peer->mesh;
    uint8_t key[32];
    cbx_meet_mark_key(keys, ours, key);
    bool has = mesh->ops->host_mark(mesh->arg, key, role, out);
    sodium_memzero(key, sizeof key);
    return has;
}

/* OFFER or ANSWER: who we are to the peer's candidates, and where we are. */
static bool
say_where(struct mesh_peer *peer, enum cbx_meet_step step)
{
    struct mesh *mesh = peer->mesh;
    struct mesh_session *session = session_of(peer);
    struct candidates own = {.count = 0};
    struct cbx_meet meet = {.step = step};
    if (!session)
        return false;
    memcpy(meet.id, peer->meet.id, CBX_LANE_ID);
    uint8_t role = step == CBX_MEET_OFFER ? ROLE_OFFERER : ROLE_ANSWERER;
    if (!host_mark_of(peer, &session->keys, true, role, meet.mark))
        memset(meet.mark, 0, sizeof meet.mark);
    mesh->ops->candidates(mesh->arg, mesh->seen_address, &own);
    meet.count = own.count < CANDIDATES_MAX ? own.count : CANDIDATES_MAX;
    memcpy(meet.candidate, own.item, meet.count * sizeof own.item[0]);
    return say(peer, &meet);
}

/* ---- a try's life ---- */

static void
wipe_try(struct mesh_meet *meet)
{
    if (!meet->try)
        return;
    sodium_memzero(meet->try, sizeof *meet->try);
    free(meet->try);
    meet->try = NULL;
}

static void
over(struct mesh_peer *peer, const char *trouble)
{
    struct mesh_meet *meet = &peer->meet;
    if (!trying(meet))
        return;
    cbx_log_debug("no direct lane to %s: %s", peer->slug, trouble);
    (void)snprintf(meet->trouble, sizeof meet->trouble, "%s", trouble);
    peer->mesh->ops->direct_forget(peer->mesh->arg, meet->id);
    meet->state = MESH_MEET_REST;
    wipe_try(meet);
}

static void
enter(struct mesh_peer *peer, enum mesh_meet_state state)
{
    peer->meet.state = state;
    peer->meet.deadline = mesh_now(peer->mesh) + STEP_US;
}

/* Tickets for both sides' listeners, of one id. */
static bool
begin(struct mesh_peer *peer, const struct cbx_session *keys, const uint8_t id[CBX_LANE_ID])
{
    struct mesh_meet *meet = &peer->meet;
    meet->try = calloc(1, sizeof *meet->try);
    if (!meet->try)
        return false;
    memcpy(meet->id, id, CBX_LANE_ID);
    memcpy(meet->life, keys->peer_life, CBX_LIFE_SIZE);
    cbx_meet_ticket(keys, true, id, &meet->try->ours);
    cbx_meet_ticket(keys, false, id, &meet->try->theirs);
    meet->say_lost = false;
    list(peer);
    return true;
}

static bool
may_begin(struct mesh_peer *peer, int64_t now)
{
    bool may = cbx_rate_take(&peer->meet.rate, 1e6 / (double)EVERY_US, TRIES_AT_ONCE, now);
    if (may || now >= peer->meet.next_at)
        peer->meet.next_at = now + EVERY_US;
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
    mesh->count.meets++;
    enter(peer, MESH_MEET_OFFERED);
    mesh->ops->direct_expect(mesh->arg, &peer->meet.try->ours);
    if (!say_where(peer, CBX_MEET_OFFER))
        over(peer, "the link to the hub takes no more");
}

/* What of the peer's addresses is worth a try. */
static void
take_candidates(struct mesh_peer *peer, const struct cbx_session *keys, const struct cbx_meet *said,
                uint8_t role)
{
    struct candidates *to = &peer->meet.try->to;
    uint8_t mark[CBX_MEET_MARK];
    bool same_host = !sodium_is_zero(said->mark, sizeof said->mark) &&
                     host_mark_of(peer, keys, false, role, mark) &&
                     sodium_memcmp(mark, said->mark, sizeof mark) == 0;
    to->count = 0;
    for (uint32_t i = 0; i < said->count; i++) {
        const char *text = said->candidate[i];
        if (candidate_usable(text, strlen(text), same_host))
            memcpy(to->item[to->count++], text, sizeof to->item[0]);
        else if (!candidate_usable(text, strlen(text), true))
            peer->mesh->count.meets_refused++; /* nobody honest names it */
    }
}

static void
connect_out(struct mesh_peer *peer)
{
    struct mesh *mesh = peer->mesh;
    mesh->ops->direct_connect(mesh->arg, &peer->meet.try->theirs, &peer->meet.try->to);
}

/* We could not reach the peer: its turn. */
static void
turn(struct mesh_peer *peer)
{
    struct mesh *mesh = peer->mesh;
    enter(peer, MESH_MEET_EXPECTS);
    mesh->ops->direct_expect(mesh->arg, &peer->meet.try->ours);
    if (!say_step(peer, CBX_MEET_TURN, peer->meet.id))
        over(peer, "the link to the hub takes no more");
}

static void
could_not_connect(struct mesh_peer *peer)
{
    if (peer->meet.state == MESH_MEET_TRIES) {
        turn(peer);
    } else {
        say_step(peer, CBX_MEET_FAIL, peer->meet.id);
        over(peer, neither);
    }
}

/* ---- what is heard ---- */

static void
refused(struct mesh_peer *peer)
{
    peer->mesh->count.meets_refused++;
}

static struct mesh_peer *try_of(const struct mesh *mesh, const uint8_t id[CBX_LANE_ID]);

static void
take_offer(struct mesh_peer *peer, struct mesh_session *session, const struct cbx_meet *said)
{
    struct mesh *mesh = peer->mesh;
    struct mesh_meet *meet = &peer->meet;
    const struct mesh_peer *other = try_of(mesh, said->id); /* whose lane it would take */
    if (offers(peer) || !mesh->hub_direct || (other && other != peer) ||
        !may_begin(peer, mesh_now(mesh))) {
        refused(peer);
        return;
    }
    if (!mesh->config.direct) {
        say_step(peer, CBX_MEET_REFUSE, said->id);
        return;
    }
    over(peer, "its agent began anew");
    if (meet->state == MESH_MEET_UP) { /* its end of the lane is gone */
        meet->state = MESH_MEET_REST;
        mesh_direct_drop(peer, "its agent has lost it");
    }
    if (!begin(peer, &session->keys, said->id))
        return;
    mesh->count.meets++;
    take_candidates(peer, &session->keys, said, ROLE_OFFERER);
    enter(peer, MESH_MEET_TRIES);
    if (!say_where(peer, CBX_MEET_ANSWER))
        over(peer, "the link to the hub takes no more");
    else if (meet->try->to.count)
        connect_out(peer);
    else
        turn(peer);
}

static void
take_answer(struct mesh_peer *peer, struct mesh_session *session, const struct cbx_meet *said)
{
    take_candidates(peer, &session->keys, said, ROLE_ANSWERER);
    enter(peer, MESH_MEET_AWAITS);
}

static void
take_turn(struct mesh_peer *peer)
{
    struct mesh *mesh = peer->mesh;
    mesh->ops->direct_forget(mesh->arg, peer->meet.id);
    enter(peer, MESH_MEET_TURNED);
    if (peer->meet.try->to.count)
        connect_out(peer);
    else
        could_not_connect(peer);
}

static void
take_lost(struct mesh_peer *peer)
{
    struct mesh_meet *meet = &peer->meet;
    over(peer, "its agent has lost the lane");
    if (meet->state != MESH_MEET_UP)
        return;
    meet->state = MESH_MEET_REST;
    (void)snprintf(meet->trouble, sizeof meet->trouble, "its agent has lost the lane");
    mesh_direct_drop(peer, "its agent has lost it");
}

/* The step that each message but OFFER belongs to; LOST belongs to all but REST. */
static bool
fits(enum cbx_meet_step step, enum mesh_meet_state state)
{
    switch (step) {
    case CBX_MEET_ANSWER:
    case CBX_MEET_REFUSE:
        return state == MESH_MEET_OFFERED;
    case CBX_MEET_TURN:
        return state == MESH_MEET_AWAITS;
    case CBX_MEET_FAIL:
        return state == MESH_MEET_TRIES || state == MESH_MEET_EXPECTS;
    case CBX_MEET_LOST:
        return state != MESH_MEET_REST;
    default:
        return false;
    }
}

static void
take(struct mesh_peer *peer, struct mesh_session *session, const struct cbx_meet *said)
{
    struct mesh_meet *meet = &peer->meet;
    if (said->step == CBX_MEET_OFFER) {
        take_offer(peer, session, said);
        return;
    }
    bool known = memcmp(said->id, meet->id, CBX_LANE_ID) == 0;
    if (!known || !fits(said->step, meet->state)) {
        /* What is said of a try that is over has often crossed its end. */
        if (!known || trying(meet))
            refused(peer);
        return;
    }
    if (said->step == CBX_MEET_ANSWER) {
        take_answer(peer, session, said);
    } else if (said->step == CBX_MEET_TURN) {
        take_turn(peer);
    } else if (said->step == CBX_MEET_LOST) {
        take_lost(peer);
    } else if (said->step == CBX_MEET_REFUSE) {
        meet->refused = true;
        over(peer, "its agent runs with --direct off");
    } else {
        over(peer, neither);
    }
}

void
mesh_meet_frame(struct mesh *mesh, struct cbx_frame *frame)
{
    const struct cbx_field *from = &frame->field[0];
    struct mesh_peer *peer = cbx_field_is(&frame->field[1], mesh->config.slug)
                                 ? mesh_peer_find(mesh, (const char *)from->p, from->n)
                                 : NULL;
    struct mesh_session *session = peer ? mesh_peer_session_by_id(peer, frame->field[2].p) : NULL;
    struct cbx_meet said;
    if (!session) {
        mesh->count.stale++;
        return;
    }
    if (frame->field[3].u <= session->meet_taken) {
        mesh->count.replayed++;
        return;
    }
    if (peer->trust != MESH_TRUST_BELIEVED ||
        cbx_meet_open(mesh->aead, &session->keys, frame, &said) < 0) {
        refused(peer);
        return;
    }
    session->meet_taken = frame->field[3].u;
    mesh_peer_confirm(peer, session);
    take(peer, session, &said);
}

/* ---- timers ---- */

static void
look_at_life(struct mesh_peer *peer)
{
    struct mesh_meet *meet = &peer->meet;
    if (memcmp(meet->life, peer->life, CBX_LIFE_SIZE) == 0)
        return;
    memcpy(meet->life, peer->life, CBX_LIFE_SIZE);
    over(peer, "its agent was restarted");
    meet->refused = meet->say_lost = false;
    meet->next_at = meet->busy_since = 0;
}

static void
look_at_streams(struct mesh_peer *peer, int64_t now)
{
    if (peer->stream_count == 0)
        peer->meet.busy_since = 0;
    else if (peer->meet.busy_since == 0)
        peer->meet.busy_since = now;
}

static void
look_at_try(struct mesh_peer *peer, int64_t now)
{
    struct mesh_meet *meet = &peer->meet;
    if (!trying(meet) || now < meet->deadline)
        return;
    if (meet->state == MESH_MEET_OFFERED)
        over(peer, "its agent did not answer");
    else if (meet->state == MESH_MEET_TRIES || meet->state == MESH_MEET_TURNED)
        could_not_connect(peer);
    else
        over(peer, neither);
}

void
mesh_meet_sweep(struct mesh_peer *peer, int64_t now)
{
    struct mesh_meet *meet = &peer->meet;
    const struct mesh *mesh = peer->mesh;
    look_at_life(peer);
    look_at_streams(peer, now);
    look_at_try(peer, now);
    if (meet->say_lost && say_step(peer, CBX_MEET_LOST, meet->id))
        meet->say_lost = false;
    if (mesh->config.direct && mesh->hub_direct && meet->state == MESH_MEET_REST &&
        !meet->refused && peer->stream_count && now >= meet->next_at && session_of(peer) &&
        offers(peer))
        offer(peer, now);
}

void
mesh_meets_sweep(struct mesh *mesh, int64_t now)
{
    struct mesh_peer *peer, *next;
    for (peer = TAILQ_FIRST(&mesh->meets); peer; peer = next) {
        next = TAILQ_NEXT(peer, meet.entry);
        if (!mesh_direct_up(peer))
            mesh_meet_lost(peer, "this agent is out of memory"); /* claimed, and not taken */
        mesh_meet_sweep(peer, now);
        if (peer->stream_count == 0 && !trying(&peer->meet) && !peer->meet.say_lost)
            unlist(peer);
    }
}

void
mesh_meet_streams(struct mesh_peer *peer)
{
    if (!peer->mesh->config.direct)
        return;
    list(peer);
    mesh_meet_sweep(peer, mesh_now(peer->mesh));
}

/* ---- what the lane's own side says ---- */

static struct mesh_peer *
try_of(const struct mesh *mesh, const uint8_t id[CBX_LANE_ID])
{
    struct mesh_peer *peer;
    TAILQ_FOREACH(peer, &mesh->meets, meet.entry)
    {
        if (trying(&peer->meet) && memcmp(peer->meet.id, id, CBX_LANE_ID) == 0)
            return peer;
    }
    return NULL;
}

bool
mesh_meet_claim(struct mesh *mesh, const uint8_t id[CBX_LANE_ID], struct mesh_peer **peer)
{
    *peer = try_of(mesh, id);
    if (!*peer)
        return false;
    mesh->count.meets_made++;
    (*peer)->meet.state = MESH_MEET_UP;
    (*peer)->meet.trouble[0] = '\0';
    wipe_try(&(*peer)->meet);
    return true;
}

void
mesh_direct_failed(struct mesh *mesh, const uint8_t id[CBX_LANE_ID], const char *text)
{
    struct mesh_peer *peer = try_of(mesh, id);
    if (!peer || (peer->meet.state != MESH_MEET_TRIES && peer->meet.state != MESH_MEET_TURNED))
        return;
    cbx_log_debug("cannot connect to %s: %s", peer->slug, text);
    could_not_connect(peer);
    mesh_wake(mesh);
}

void
mesh_meet_lost(struct mesh_peer *peer, const char *why)
{
    struct mesh_meet *meet = &peer->meet;
    if (meet->state != MESH_MEET_UP)
        return;
    meet->state = MESH_MEET_REST;
    (void)snprintf(meet->trouble, sizeof meet->trouble, "the direct lane was lost: %s", why);
    meet->say_lost = !say_step(peer, CBX_MEET_LOST, meet->id);
    list(peer);
    mesh_wake(peer->mesh);
}

/* ---- ends ---- */

void
mesh_meet_drop_try(struct mesh_peer *peer)
{
    over(peer, "its session is gone");
}

void
mesh_meets_link_lost(struct mesh *mesh)
{
    struct mesh_peer *peer;
    TAILQ_FOREACH(peer, &mesh->meets, meet.entry)
    over(peer, "the link to the hub was lost meanwhile");
}

void
mesh_meet_free(struct mesh_peer *peer)
{
    mesh_meet_drop_try(peer);
    unlist(peer);
    sodium_memzero(&peer->meet, sizeof peer->meet);
}

/* ---- for people ---- */

static const char *
why_at_rest(const struct mesh_peer *peer)
{
    int64_t since = peer->meet.busy_since;
    if (peer->stream_count == 0)
        return "a direct lane is made once a stream runs";
    if (offers(peer))
        return "a direct lane is about to be offered";
    return since && mesh_now(peer->mesh) - since >= OFFER_LATE_US
               ? "its agent has not offered a direct lane: does it run with --direct off?"
               : "its agent has not offered a direct lane yet";
}

void
mesh_meet_why(const struct mesh_peer *peer, char *out, size_t size)
{
    const struct mesh *mesh = peer->mesh;
    const struct mesh_meet *meet = &peer->meet;
    int64_t wait = meet->next_at - mesh_now(mesh);
    long long seconds = wait / 1000000 + 1;
    if (!mesh->config.direct)
        (void)snprintf(out, size, "direct lanes are off here (--direct off)");
    else if (!mesh->hub_direct)
        (void)snprintf(out, size, "the hub forbids direct lanes (--direct off)");
    else if (meet->state == MESH_MEET_UP)
        (void)snprintf(out, size, "the direct lane is there, streams are moving to it");
    else if (meet->state == MESH_MEET_OFFERED)
        (void)snprintf(out, size, "a direct lane was offered, its agent has not answered yet");
    else if (trying(meet))
        (void)snprintf(out, size, "a direct lane is being tried");
    else if (meet->refused)
        (void)snprintf(out, size, "its agent runs with --direct off");
    else if (!meet->trouble[0])
        (void)snprintf(out, size, "%s", why_at_rest(peer));
    else if (peer->stream_count && wait > 0)
        (void)snprintf(out, size, "%s; next try in %lld s", meet->trouble, seconds);
    else
        (void)snprintf(out, size, "%s; tried again once a stream runs", meet->trouble);
}
