/* SPDX-License-Identifier: MIT */
/* Tested by sim_rules and sim_hostile_hub. */
#include "agent/mesh/incoming.h"

#include "agent/mesh/budget.h"
#include "agent/mesh/lane.h"
#include "agent/mesh/loop.h"
#include "agent/mesh/path.h"
#include "agent/mesh/peer.h"
#include "agent/mesh/plane.h"
#include "agent/mesh/rendezvous.h"
#include "agent/mesh/session.h"
#include "agent/mesh/stream.h"

#include <stdlib.h>
#include <string.h>

enum {
    TIMEOUT_US = 30 * 1000 * 1000,
    PARKED_MAX = 1024, /* that wait for more allowance */
    PARKED_OF_PEER_MAX = 512,
};

static void
start_incoming(struct mesh_stream *stream, const struct cbx_expose_item *item)
{
    struct mesh *mesh = stream->mesh;
    mesh->count.accepted++;
    stream->held = true;
    mesh->ops->incoming(mesh->arg, stream, stream->peer->slug, item);
}

void
mesh_parked_try(struct mesh *mesh, int64_t now)
{
    struct mesh_stream *stream;
    while ((stream = TAILQ_FIRST(&mesh->parked))) {
        if (cbx_stream_grant(&stream->core, now) == 0) {
            mesh_stream_unpark(stream);
            start_incoming(stream, cbx_expose_find(&mesh->config.expose, stream->port));
        } else if (mesh->allow_denied || !mesh_may_grow(mesh) || now >= stream->deadline) {
            mesh_stream_unpark(stream);
            mesh_refuse(stream, CBX_REASON_OVERLOADED);
        } else {
            return;
        }
    }
}

/* Without a grant yet where it may wait for one. NULL: no room. */
static struct mesh_stream *
new_incoming(struct mesh *mesh, struct cbx_link *link, struct mesh_peer *peer, int64_t now)
{
    bool hub = mesh_link_is_hub(mesh, link);
    struct mesh_stream *stream = calloc(1, sizeof *stream);
    if (!stream)
        return NULL;
    bool may_wait = hub && mesh_may_grow(mesh) && mesh->parked_count < PARKED_MAX &&
                    peer->parked_count < PARKED_OF_PEER_MAX;
    if (cbx_stream_init(&stream->core, &mesh->env, false, mesh_budget_of(mesh, link),
                        &peer->window_used, now) < 0 &&
        !may_wait) {
        free(stream);
        return NULL;
    }
    stream->mesh = mesh;
    stream->peer = peer;
    stream->state = MESH_STREAM_INCOMING; /* that is how it begins */
    stream->deadline = now + TIMEOUT_US;
    return stream;
}

/* Before it was added. */
static void
reject(struct mesh_stream *stream, struct cbx_link *link, uint32_t label, enum cbx_reason reason)
{
    struct mesh *mesh = stream->mesh;
    cbx_stream_dispose(&stream->core);
    free(stream);
    mesh_circuit_refuse(mesh, link, label, reason);
}

static void
add_incoming(struct mesh_stream *stream)
{
    struct mesh *mesh = stream->mesh;
    TAILQ_INSERT_TAIL(&mesh->streams, stream, entry);
    memcpy(stream->key.id, stream->core.id, sizeof stream->key.id);
    stream->key.peer = stream->peer;
    HASH_ADD(hh, mesh->incoming, key, sizeof stream->key, stream);
    stream->peer->stream_count++;
    mesh->stream_count++;
    mesh_plane_begin(stream);
}

static void
park(struct mesh_stream *stream)
{
    struct mesh *mesh = stream->mesh;
    TAILQ_INSERT_TAIL(&mesh->parked, stream, parked_entry);
    mesh_stream_set_state(stream, MESH_STREAM_PARKED);
    mesh->parked_count++;
    stream->peer->parked_count++;
}

void
mesh_incoming_take(struct mesh *mesh, struct cbx_link *link, struct cbx_frame *frame, int64_t now)
{
    struct cbx_open open;
    cbx_open_read(frame, &open);
    struct mesh_peer *peer = mesh_peer_find(mesh, open.source, strlen(open.source));
    struct mesh_session *session = mesh_session_for(mesh, peer, &open);
    if (mesh_link_is_hub(mesh, link) && !mesh_lane_allows(mesh)) {
        mesh_circuit_refuse(mesh, link, frame->label, CBX_REASON_PEER_AWAY);
        return;
    }
    if (!session || !mesh_link_leads_to(mesh, link, peer)) {
        mesh_circuit_refuse(mesh, link, frame->label, CBX_REASON_NO_SESSION);
        return;
    }
    struct mesh_stream *stream = new_incoming(mesh, link, peer, now);
    if (!stream) {
        mesh_circuit_refuse(mesh, link, frame->label, CBX_REASON_OVERLOADED);
        return;
    }
    if (cbx_stream_take(&stream->core, link, &session->keys, frame, &open, now) < 0) {
        mesh->count.integrity++;
        reject(stream, link, frame->label, CBX_REASON_INTEGRITY);
        return;
    }
    mesh_peer_confirm(peer, session);
    if (open.epoch < 1 || !mesh_session_replay_take(peer, open.stream_id)) {
        mesh->count.replayed++;
        reject(stream, link, frame->label, CBX_REASON_DENIED);
        return;
    }
    add_incoming(stream);
    stream->port = open.port;
    const struct cbx_expose_item *item = cbx_expose_find(&mesh->config.expose, open.port);
    if (!item) {
        mesh_refuse(stream, CBX_REASON_NOT_EXPOSED);
        return;
    }
    if (stream->core.in.open)
        start_incoming(stream, item);
    else
        park(stream);
}

/* The dialer may have gone meanwhile: the shell then hears `closed` at the next flush. */
void
mesh_accept(struct mesh_stream *stream, const struct mesh_end *end, void *arg)
{
    stream->held = false;
    stream->end = end;
    stream->arg = arg;
    if (stream->loop) {
        mesh_loop_accepted(stream);
    } else if (stream->state == MESH_STREAM_INCOMING) {
        mesh_stream_set_state(stream, MESH_STREAM_RUNNING);
        cbx_stream_accept(&stream->core);
        mesh_rendezvous_streams(stream->peer);
    } else if (stream->state == MESH_STREAM_ENDED) {
        mesh_stream_reap(stream);
    }
}

void
mesh_refuse(struct mesh_stream *stream, enum cbx_reason reason)
{
    stream->held = false;
    stream->mesh->count.refused++;
    stream->end = NULL;
    if (stream->loop)
        mesh_loop_leave(stream, reason);
    else if (stream->state == MESH_STREAM_ENDED)
        mesh_stream_reap(stream);
    else
        cbx_stream_abort(&stream->core, reason);
}
