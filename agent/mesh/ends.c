/* SPDX-License-Identifier: MIT */
/* Tested by sim_streams, sim_moves and sim_hostile_circuits. */
#include "agent/mesh/ends.h"

#include "agent/mesh/moving.h"
#include "agent/mesh/plane.h"
#include "agent/mesh/rendezvous.h"
#include "agent/mesh/stream.h"

#include <stdlib.h>
#include <string.h>

static void
leave_incoming(struct mesh_stream *stream)
{
    if (!stream->core.dialer && stream->hh.tbl)
        HASH_DELETE(hh, stream->mesh->incoming, stream);
    stream->hh.tbl = NULL;
}

/* At its end, not when it is freed: a RESUME may come in the turn between. */
void
mesh_stream_bury(struct mesh_stream *stream)
{
    leave_incoming(stream);
    struct mesh *mesh = stream->mesh;
    struct mesh_tombstone *stone = &mesh->tombstone[mesh->tombstone_next++ % MESH_TOMBSTONES_MAX];
    memcpy(stone->id, stream->core.id, sizeof stone->id);
    stone->sent = stream->core.out.sent;
    stone->received = stream->core.received + (stream->core.read != CBX_READ_OPEN ? 1 : 0);
    stone->epoch = cbx_stream_epoch(&stream->core);
    stone->at = mesh_now(mesh);
    stone->clean = stream->core.write == CBX_WRITE_DONE && stream->core.read == CBX_READ_DONE;
}

/* Nobody finds it by its peer, its identity or its place in lists of its path any more. */
static void
leave_core(struct mesh_stream *stream)
{
    struct mesh *mesh = stream->mesh;
    mesh_move_forget(stream);
    leave_incoming(stream);
    TAILQ_REMOVE(&mesh->streams, stream, entry);
    stream->peer->stream_count--;
    mesh_rendezvous_streams(stream->peer);
}

void
mesh_streams_free(struct mesh *mesh)
{
    struct mesh_stream *stream;
    while ((stream = TAILQ_FIRST(&mesh->reap))) {
        TAILQ_REMOVE(&mesh->reap, stream, reap_entry);
        mesh_stream_tell_closed(stream, CBX_REASON_LOST, false); /* accepted after its end */
        if (mesh_stream_has_core(stream)) {
            leave_core(stream);
            mesh_stream_leave_delayed_acks(stream);
            mesh_plane_moved(stream);
            mesh->count.bytes_in += stream->core.bytes_in;
            mesh->count.bytes_out += stream->core.bytes_out;
            cbx_stream_dispose(&stream->core);
        }
        mesh->stream_count--;
        free(stream);
    }
}

void
mesh_streams_end(struct mesh_peer *peer, enum cbx_reason reason)
{
    struct mesh_stream *stream;
    TAILQ_FOREACH(stream, &peer->mesh->streams, entry) {
        if (stream->peer == peer && !cbx_stream_is_over(&stream->core))
            cbx_stream_fail(&stream->core, reason);
    }
}

/* The same object goes back to waiting, since its program holds on to it. */
bool
mesh_stream_requeue(struct mesh_stream *stream)
{
    struct mesh *mesh = stream->mesh;
    if (stream->retried || !stream->end || stream->state != MESH_STREAM_OPENING || mesh->closing)
        return false;
    mesh->dial_due = true;
    TAILQ_REMOVE(&mesh->opening, stream, opening_entry);
    leave_core(stream);
    cbx_stream_dispose(&stream->core);
    stream->peer = NULL;
    mesh_stream_set_state(stream, MESH_STREAM_WAITING);
    stream->retried = true;
    TAILQ_INSERT_TAIL(&mesh->waiting, stream, entry);
    mesh_wake(mesh);
    return true;
}
