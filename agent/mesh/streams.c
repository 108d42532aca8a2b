/* SPDX-License-Identifier: MIT */
/*
 * The traffic of all streams: which file a frame, a question of a core or a call of the shell goes
 * to. What one stream is: stream.c. Tested by sim_load and sim_rules.
 */
#include "agent/mesh/streams.h"

#include "agent/mesh/dial.h"
#include "agent/mesh/ends.h"
#include "agent/mesh/incoming.h"
#include "agent/mesh/loop.h"
#include "agent/mesh/move.h"
#include "agent/mesh/path.h"
#include "agent/mesh/rendezvous.h"
#include "agent/mesh/session.h"
#include "agent/mesh/stream.h"
#include "common/link/fields.h"

#include <stddef.h>

static const int64_t DELAYED_ACK_US = 100 * 1000;

/* ---- the core's callbacks ---- */

static ssize_t
on_pull(struct cbx_stream *core, void *buffer, size_t length)
{
    struct mesh_stream *stream = mesh_stream_of(core);
    if (!stream->end)
        return CBX_ERR_AGAIN;
    ssize_t got = stream->end->pull(stream->arg, buffer, length);
    struct mesh_session *session = mesh_peer_newest(stream->peer);
    if (got > 0 && session)
        session->bytes += (uint64_t)got; /* a session is renewed after 64 GiB */
    return got;
}

static ssize_t
on_push(struct cbx_stream *core, const struct iovec *vector, int count)
{
    struct mesh_stream *stream = mesh_stream_of(core);
    return stream->end ? stream->end->push(stream->arg, vector, count) : CBX_ERR_IO;
}

static void
on_push_end(struct cbx_stream *core)
{
    struct mesh_stream *stream = mesh_stream_of(core);
    if (stream->end)
        stream->end->push_end(stream->arg);
}

static void
on_opened(struct cbx_stream *core)
{
    struct mesh_stream *stream = mesh_stream_of(core);
    mesh_stream_settle(stream);
    mesh_rendezvous_streams(stream->peer);
    if (mesh_direct_up(stream->peer) && mesh_link_is_hub(stream->mesh, core->circuit.link))
        mesh_streams_move(stream->peer); /* the lane came to stand meanwhile */
    if (stream->end)
        stream->end->opened(stream->arg);
}

static void
on_over(struct cbx_stream *core, enum cbx_reason reason, bool by_target)
{
    struct mesh_stream *stream = mesh_stream_of(core);
    struct mesh *mesh = stream->mesh;
    bool unanswered = core->write == CBX_WRITE_WAIT;
    if (!by_target && reason == CBX_REASON_INTEGRITY)
        mesh->count.integrity++;
    if (reason != CBX_REASON_NONE) {
        mesh->count.refused += unanswered;
        mesh->count.resets += !unanswered;
    }
    mesh_stream_settle(stream);
    mesh_stream_leave_delayed_acks(stream);
    mesh_stream_tell_closed(stream, reason, by_target);
}

static void
on_finished(struct cbx_stream *core)
{
    struct mesh_stream *stream = mesh_stream_of(core);
    mesh_stream_settle(stream);
    mesh_stream_set_state(stream, MESH_STREAM_ENDED);
    mesh_stream_bury(stream);
    mesh_stream_reap(stream);
}

static void
on_delayed_ack(struct cbx_stream *core)
{
    struct mesh_stream *stream = mesh_stream_of(core);
    if (stream->delayed_ack_at || stream->state == MESH_STREAM_OPENING)
        return;
    stream->delayed_ack_at = mesh_now(stream->mesh) + DELAYED_ACK_US;
    TAILQ_INSERT_TAIL(&stream->mesh->delayed_acks, stream, delayed_ack_entry);
    mesh_wake(stream->mesh);
}

static const struct cbx_session *
on_session(struct cbx_stream *core, const uint8_t *id)
{
    struct mesh_session *session = mesh_peer_session_by_id(mesh_stream_of(core)->peer, id);
    return session ? &session->keys : NULL;
}

static const struct cbx_session *
on_newest(struct cbx_stream *core)
{
    struct mesh_session *session = mesh_peer_newest(mesh_stream_of(core)->peer);
    return session && !session->suspect ? &session->keys : NULL;
}

static bool
on_stranded(struct cbx_stream *core, enum cbx_reason reason)
{
    return mesh_move_stranded(mesh_stream_of(core), reason);
}

static void
on_resumed(struct cbx_stream *core)
{
    mesh_move_done(mesh_stream_of(core));
}

const struct cbx_stream_ops mesh_stream_ops = {
    .pull = on_pull,
    .push = on_push,
    .push_end = on_push_end,
    .opened = on_opened,
    .over = on_over,
    .finished = on_finished,
    .ack_delayed = on_delayed_ack,
    .session = on_session,
    .newest = on_newest,
    .stranded = on_stranded,
    .resumed = on_resumed,
};

/* ---- time ---- */

void
mesh_streams_due(struct mesh *mesh, int64_t now)
{
    struct mesh_stream *stream;
    while ((stream = TAILQ_FIRST(&mesh->delayed_acks)) && stream->delayed_ack_at <= now) {
        mesh_stream_leave_delayed_acks(stream);
        cbx_stream_announce(&stream->core, now);
    }
    bool paced = mesh->paced_at && now >= mesh->paced_at;
    if (paced)
        mesh->paced_at = 0;
    if (!mesh->dial_due && !paced)
        return;
    mesh->dial_due = false;
    mesh_dials_expire(mesh, now);
    if (mesh->phase != MESH_UP) {
        mesh_dials_try(mesh); /* those that need no hub */
        return;
    }
    mesh_parked_try(mesh, now);
    mesh_dials_try(mesh);
    mesh->allow_denied = false;
}

int64_t
mesh_streams_deadline(const struct mesh *mesh)
{
    const struct mesh_stream *first = TAILQ_FIRST(&mesh->delayed_acks);
    if (mesh->dial_due)
        return 0;
    int64_t due = first ? first->delayed_ack_at : INT64_MAX;
    return mesh->paced_at && mesh->paced_at < due ? mesh->paced_at : due;
}

/* ---- frames ---- */

/* OPEN and RESUME begin a circuit. */
static int
take_new(struct mesh *mesh, struct cbx_link *link, struct cbx_frame *frame, int64_t now,
         struct cbx_error *error)
{
    if (cbx_link_take_label(link, frame->label) < 0)
        return cbx_fail(error, CBX_ERR_FORMAT, "%s: label %u is not the sender's next one",
                        cbx_frame_name(frame->type), frame->label);
    if (frame->type == CBX_FRAME_OPEN)
        mesh_incoming_take(mesh, link, frame, now);
    else
        mesh_move_take(mesh, link, frame, now);
    return 0;
}

/* For a circuit that was left, the frame has crossed its end; or it never was. */
static int
take_stale(struct mesh *mesh, const struct cbx_link *link, const struct cbx_frame *frame,
           struct cbx_error *error)
{
    if (!cbx_link_label_known(link, frame->label))
        return cbx_fail(error, CBX_ERR_FORMAT, "%s: label %u was never opened",
                        cbx_frame_name(frame->type), frame->label);
    mesh->count.stale++;
    return 0;
}

int
mesh_stream_frame(struct mesh *mesh, struct cbx_link *link, struct cbx_frame *frame, int64_t now,
                  struct cbx_error *error)
{
    if (frame->type == CBX_FRAME_OPEN || frame->type == CBX_FRAME_RESUME)
        return take_new(mesh, link, frame, now, error);
    struct cbx_circuit *circuit = cbx_circuit_find(link, frame->label);
    if (!circuit)
        return take_stale(mesh, link, frame, error);
    struct cbx_stream *core =
        (struct cbx_stream *)((char *)circuit - offsetof(struct cbx_stream, circuit));
    if (frame->type == CBX_FRAME_CLOSE &&
        mesh_dial_again(mesh_stream_of(core), frame->field[CBX_CLOSE_REASON].u))
        return 0;
    cbx_stream_frame(core, frame, now);
    return 0;
}

/* ---- the shell's hand on a stream ---- */

void
mesh_stream_readable(struct mesh_stream *stream)
{
    if (mesh_stream_has_core(stream))
        cbx_stream_readable(&stream->core);
    else if (stream->loop)
        mesh_loop_wake(stream);
}

void
mesh_stream_writable(struct mesh_stream *stream)
{
    if (mesh_stream_has_core(stream))
        cbx_stream_writable(&stream->core, mesh_now(stream->mesh));
    else if (stream->loop)
        mesh_loop_wake(stream);
}

void
mesh_stream_reset(struct mesh_stream *stream, enum cbx_reason reason)
{
    stream->end = NULL;
    if (stream->loop) {
        mesh_loop_leave(stream, reason);
        return;
    }
    if (mesh_stream_has_core(stream)) {
        mesh_stream_settle(stream);
        mesh_stream_leave_delayed_acks(stream);
        cbx_stream_abort(&stream->core, reason);
        return;
    }
    if (stream->state == MESH_STREAM_WAITING) {
        TAILQ_REMOVE(&stream->mesh->waiting, stream, entry);
        mesh_stream_set_state(stream, MESH_STREAM_ENDED);
        mesh_stream_reap(stream);
    }
}
