/* SPDX-License-Identifier: MIT */
/*
 * One stream: its state, its place in the lists, what its program is told. Traffic of all of them
 * is in streams.c. Tested by sim_rules and sim_allowance.
 */
#include "agent/mesh/stream.h"

#include "common/base/states.h"
#include "common/link/fields.h"

#include <string.h>

static const struct cbx_states states = {
    .what = "stream of",
    .state =
        {
            [MESH_STREAM_WAITING] = {"waiting to open",
                                     CBX_STATE(MESH_STREAM_OPENING) | CBX_STATE(MESH_STREAM_ENDED)},
            [MESH_STREAM_OPENING] = {"opening", CBX_STATE(MESH_STREAM_RUNNING) |
                                                    CBX_STATE(MESH_STREAM_WAITING) |
                                                    CBX_STATE(MESH_STREAM_ENDED)},
            [MESH_STREAM_PARKED] = {"parked", CBX_STATE(MESH_STREAM_INCOMING) |
                                                  CBX_STATE(MESH_STREAM_RUNNING)},
            [MESH_STREAM_INCOMING] = {"incoming", CBX_STATE(MESH_STREAM_PARKED) |
                                                      CBX_STATE(MESH_STREAM_RUNNING) |
                                                      CBX_STATE(MESH_STREAM_ENDED)},
            [MESH_STREAM_RUNNING] = {"running", CBX_STATE(MESH_STREAM_ENDED)},
            [MESH_STREAM_ENDED] = {"ended", 0},
        },
};

void
mesh_stream_set_state(struct mesh_stream *stream, enum mesh_stream_state state)
{
    const char *who = stream->peer ? stream->peer->slug : stream->slug;
    if (cbx_states_allow(&states, who, stream->state, state))
        stream->state = state;
}

/* ---- lists ---- */

static void
leave_parked(struct mesh_stream *stream)
{
    TAILQ_REMOVE(&stream->mesh->parked, stream, parked_entry);
    stream->mesh->parked_count--;
    stream->peer->parked_count--;
}

void
mesh_stream_unpark(struct mesh_stream *stream)
{
    leave_parked(stream);
    mesh_stream_set_state(stream, MESH_STREAM_INCOMING);
}

void
mesh_stream_settle(struct mesh_stream *stream)
{
    stream->mesh->dial_due = true;
    if (stream->state == MESH_STREAM_OPENING)
        TAILQ_REMOVE(&stream->mesh->opening, stream, opening_entry);
    else if (stream->state == MESH_STREAM_PARKED)
        leave_parked(stream);
    else if (stream->state != MESH_STREAM_INCOMING)
        return;
    mesh_stream_set_state(stream, MESH_STREAM_RUNNING);
}

void
mesh_stream_leave_delayed_acks(struct mesh_stream *stream)
{
    if (stream->delayed_ack_at)
        TAILQ_REMOVE(&stream->mesh->delayed_acks, stream, delayed_ack_entry);
    stream->delayed_ack_at = 0;
}

/* ---- ends ---- */

void
mesh_stream_reap(struct mesh_stream *stream)
{
    if (stream->in_reap || stream->held)
        return;
    stream->in_reap = true;
    TAILQ_INSERT_TAIL(&stream->mesh->reap, stream, reap_entry);
    mesh_wake(stream->mesh);
}

void
mesh_stream_tell_closed(struct mesh_stream *stream, enum cbx_reason reason, bool by_target)
{
    const struct mesh_end *end = stream->end;
    stream->end = NULL;
    if (end)
        end->closed(stream->arg, reason, by_target);
}

void
mesh_stream_over(struct mesh_stream *stream, enum cbx_reason reason, bool by_target)
{
    mesh_stream_tell_closed(stream, reason, by_target);
    mesh_stream_reap(stream);
}

void
mesh_stream_refuse_waiting(struct mesh_stream *stream, enum cbx_reason reason)
{
    TAILQ_REMOVE(&stream->mesh->waiting, stream, entry);
    mesh_stream_set_state(stream, MESH_STREAM_ENDED);
    stream->mesh->count.refused++;
    mesh_stream_over(stream, reason, false);
}

void
mesh_streams_refuse_waiting(struct mesh *mesh, const char *slug, enum cbx_reason reason)
{
    struct mesh_stream *stream, *next;
    for (stream = TAILQ_FIRST(&mesh->waiting); stream; stream = next) {
        next = TAILQ_NEXT(stream, entry);
        if (!slug || strcmp(slug, stream->slug) == 0)
            mesh_stream_refuse_waiting(stream, reason);
    }
}

/* ---- circuits ---- */

void
mesh_streams_rekey(struct mesh_peer *peer)
{
    struct mesh_stream *stream;
    TAILQ_FOREACH(stream, &peer->mesh->streams, entry) {
        if (stream->peer == peer)
            cbx_stream_rekey(&stream->core);
    }
}

void
mesh_circuit_refuse(struct mesh *mesh, struct cbx_link *link, uint32_t label,
                    enum cbx_reason reason)
{
    struct cbx_field fields[] = {[CBX_CLOSE_REASON] = cbx_field_uint(reason)};
    mesh->count.refused++;
    cbx_link_send(link, CBX_FRAME_CLOSE, label, fields, 1);
}
