/* SPDX-License-Identifier: MIT */
/* Tested by sim_streams, sim_rates and sim_hostile_hub. */
#include "agent/mesh/dial.h"

#include "agent/mesh/budget.h"
#include "agent/mesh/ends.h"
#include "agent/mesh/handshake.h"
#include "agent/mesh/loop.h"
#include "agent/mesh/moving.h"
#include "agent/mesh/path.h"
#include "agent/mesh/peer.h"
#include "agent/mesh/plane.h"
#include "agent/mesh/rates.h"
#include "agent/mesh/session.h"
#include "agent/mesh/stream.h"

#include <stdlib.h>
#include <string.h>

/* A lane that has said nothing since an OPEN is asked for a sign of life, and is not waited for any
 * longer when that does not come either. */
static const int64_t ASK_US = 400 * 1000;
static const int64_t UNANSWERED_US = 1000 * 1000;

struct mesh_stream *
mesh_dial(struct mesh *mesh, const char *slug, uint16_t port, const struct mesh_end *end, void *arg,
          int64_t timeout_us)
{
    struct mesh_stream *stream = calloc(1, sizeof *stream);
    if (!stream)
        return NULL;
    stream->mesh = mesh;
    stream->end = end;
    stream->arg = arg;
    stream->port = port;
    strncpy(stream->slug, slug, sizeof stream->slug - 1);
    stream->deadline = mesh_now(mesh) + (timeout_us ? timeout_us : mesh->config.dial_timeout_us);
    TAILQ_INSERT_TAIL(&mesh->waiting, stream, entry);
    mesh->stream_count++;
    mesh->dial_due = true;
    mesh->count.dialed++;
    mesh_wake(mesh);
    return stream;
}

/* Rule 15: no counter more than 4,096 above the oldest unanswered one. */
static bool
counter_free(const struct mesh *mesh)
{
    const struct mesh_stream *oldest = TAILQ_FIRST(&mesh->opening);
    return !oldest || mesh->next_counter - oldest->counter < MESH_UNANSWERED_MAX;
}

/* Where no minimum window is free on a direct lane the hub's link may have one. The link, or NULL.
 */
static struct cbx_link *
begin_dial(struct mesh_stream *stream, struct mesh_peer *peer)
{
    struct mesh *mesh = stream->mesh;
    int64_t now = mesh_now(mesh);
    struct cbx_link *link = mesh_path(peer), *hub = &mesh->pump.link;
    while (link && cbx_stream_init(&stream->core, &mesh->env, true, mesh_budget_of(mesh, link),
                                   &peer->window_used, now) < 0)
        link = link == hub ? NULL : hub;
    return link;
}

static void
open_stream(struct mesh_stream *stream, struct mesh_peer *peer, struct mesh_session *session)
{
    struct mesh *mesh = stream->mesh;
    struct cbx_open open = {.port = stream->port, .epoch = 1};
    struct cbx_link *path = mesh_path(peer);
    if (path && !mesh_rate_opens(mesh, peer, path))
        return; /* it waits: paced_at */
    struct cbx_link *link = begin_dial(stream, peer);
    if (!link) {
        stream->starved = true;
        if (mesh->allow_denied || !mesh_may_grow(mesh))
            mesh_stream_refuse_waiting(stream, CBX_REASON_OVERLOADED);
        return; /* else it waits: a WANT goes out */
    }
    stream->counter = mesh->next_counter++;
    memcpy(open.source, mesh->config.slug, sizeof open.source);
    memcpy(open.target, peer->slug, sizeof open.target);
    memcpy(open.session, session->keys.id, sizeof open.session);
    cbx_stream_id(mesh->incarnation, session->keys.peer_incarnation, stream->counter,
                  open.stream_id);
    if (cbx_stream_dial(&stream->core, link, &session->keys, &open) < 0) {
        cbx_stream_dispose(&stream->core);
        mesh_stream_refuse_waiting(stream, CBX_REASON_OVERLOADED);
        return;
    }
    TAILQ_REMOVE(&mesh->waiting, stream, entry);
    TAILQ_INSERT_TAIL(&mesh->streams, stream, entry);
    TAILQ_INSERT_TAIL(&mesh->opening, stream, opening_entry);
    stream->peer = peer;
    stream->opened_at = mesh_now(mesh);
    mesh_stream_set_state(stream, MESH_STREAM_OPENING);
    peer->stream_count++;
    mesh_plane_begin(stream);
}

/* A session to dial with over the lane to the peer, which needs no hub. */
static struct mesh_session *
session_of_lane(struct mesh_peer *peer)
{
    const struct mesh *mesh = peer->mesh;
    struct mesh_session *session = mesh_peer_newest(peer);
    bool listed = peer->seen || mesh->phase != MESH_UP; /* else the lane is about to go */
    bool holds = listed && peer->trust == MESH_TRUST_BELIEVED && mesh_direct_up(peer) &&
                 mesh_path(peer) && !mesh_link_is_hub(mesh, mesh_path(peer));
    return holds && mesh_session_usable(peer, session) ? session : NULL;
}

/* Our own name needs no link, and obeys the same expose list. */
static void
dial_self(struct mesh_stream *stream)
{
    struct mesh *mesh = stream->mesh;
    const struct cbx_expose_item *item = cbx_expose_find(&mesh->config.expose, stream->port);
    struct mesh_stream *target = item ? calloc(1, sizeof *target) : NULL;
    if (!target) {
        mesh_stream_refuse_waiting(stream, item ? CBX_REASON_OVERLOADED : CBX_REASON_NOT_EXPOSED);
        return;
    }
    TAILQ_REMOVE(&mesh->waiting, stream, entry);
    target->mesh = mesh;
    target->port = stream->port;
    memcpy(target->slug, stream->slug, sizeof target->slug);
    if (mesh_loop_dial(stream, target))
        mesh->ops->incoming(mesh->arg, target, mesh->config.slug, item);
}

static void
try_dial(struct mesh_stream *stream)
{
    struct mesh *mesh = stream->mesh;
    struct mesh_peer *peer = mesh_peer_find(mesh, stream->slug, strlen(stream->slug));
    if (strcmp(stream->slug, mesh->config.slug) == 0) {
        dial_self(stream);
        return;
    }
    struct mesh_session *session = peer ? session_of_lane(peer) : NULL;
    if (mesh->phase != MESH_UP && !session)
        return; /* the hub's word is needed first */
    if (!session && (!peer || !peer->seen)) {
        mesh_stream_refuse_waiting(stream, CBX_REASON_UNKNOWN_NAME);
        return;
    }
    if (!session && !peer->ready) {
        mesh_stream_refuse_waiting(stream, CBX_REASON_PEER_AWAY);
        return;
    }
    if (!counter_free(mesh))
        return;
    struct mesh_session *renewed = mesh_peer_session(peer); /* also begins another when it is old */
    if (stream->state == MESH_STREAM_ENDED)
        return; /* the peer was found out just now */
    if (renewed || session)
        open_stream(stream, peer, renewed ? renewed : session);
    else if (peer->trust == MESH_TRUST_REFUSED)
        mesh_stream_refuse_waiting(stream, peer->refused);
}

void
mesh_dials_try(struct mesh *mesh)
{
    struct mesh_stream *stream, *next;
    for (stream = TAILQ_FIRST(&mesh->waiting); stream; stream = next) {
        next = TAILQ_NEXT(stream, entry);
        try_dial(stream);
        /* A refusal of one may have refused others of the same peer: start over then. */
        if (next && next->state == MESH_STREAM_ENDED)
            next = TAILQ_FIRST(&mesh->waiting);
    }
}

bool
mesh_dial_again(struct mesh_stream *stream, uint64_t reason)
{
    struct mesh_peer *peer = stream->peer;
    if (reason != CBX_REASON_NO_SESSION || !mesh_stream_requeue(stream))
        return false;
    mesh_peer_suspect_sessions(peer);
    return true;
}

/*
 * An OPEN over a direct lane that has said nothing since: the lane is suspect, and where the hub's
 * link is up the dial goes there. The target hears CLOSE behind the OPEN, should it come after all;
 * no byte of the program was sent before its answer.
 */
static void
suspect_path_of(struct mesh_stream *stream, int64_t now)
{
    struct mesh *mesh = stream->mesh;
    struct cbx_link *link = stream->core.circuit.link;
    bool silent = link && !mesh_link_is_hub(mesh, link) && link->heard_at <= stream->opened_at;
    if (!silent || now - stream->opened_at < ASK_US)
        return;
    if (link->ping_at <= stream->opened_at)
        (void)cbx_link_ping(link, now);
    if (now - stream->opened_at < UNANSWERED_US || now - link->ping_at < ASK_US)
        return;
    mesh_direct_suspect(stream->peer);
    if (!mesh_hub_path(mesh))
        return;
    struct mesh_circuit_left left = mesh_circuit_now(stream);
    bool retried = stream->retried;
    if (!mesh_stream_requeue(stream))
        return;
    stream->retried = retried; /* that was for a session that is not known there */
    mesh_circuit_close(mesh, &left);
    mesh_wake(mesh);
}

static void
suspect_lanes(struct mesh *mesh, int64_t now)
{
    struct mesh_stream *stream, *next;
    if (TAILQ_EMPTY(&mesh->directs))
        return;
    for (stream = TAILQ_FIRST(&mesh->opening); stream; stream = next) {
        next = TAILQ_NEXT(stream, opening_entry);
        suspect_path_of(stream, now);
    }
}

void
mesh_dials_expire(struct mesh *mesh, int64_t now)
{
    suspect_lanes(mesh, now);
    struct mesh_stream *stream, *next;
    for (stream = TAILQ_FIRST(&mesh->waiting); stream; stream = next) {
        next = TAILQ_NEXT(stream, entry);
        if (now >= stream->deadline)
            mesh_stream_refuse_waiting(stream, stream->starved ? CBX_REASON_OVERLOADED
                                                               : CBX_REASON_TIMED_OUT);
    }
    for (stream = TAILQ_FIRST(&mesh->opening); stream; stream = next) {
        next = TAILQ_NEXT(stream, opening_entry);
        if (now < stream->deadline)
            continue;
        mesh_stream_settle(stream);
        mesh->count.refused++;
        mesh_stream_tell_closed(stream, CBX_REASON_TIMED_OUT, false);
        cbx_stream_abort(&stream->core, CBX_REASON_TIMED_OUT);
    }
}
