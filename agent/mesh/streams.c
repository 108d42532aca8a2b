/* SPDX-License-Identifier: MIT */
/* Streams of the agent: dials on their way, incoming ones, and their programs. */
#include "agent/mesh/internal.h"
#include <stdlib.h>
#include <string.h>

enum { INCOMING_TIMEOUT_US = 30 * 1000 * 1000 };

static struct mesh_stream *
of_core(struct cbx_stream *core)
{
    return (struct mesh_stream *)((char *)core - offsetof(struct mesh_stream, core));
}

/* ---- ends ---- */

static void
to_reap(struct mesh_stream *stream)
{
    if (stream->in_reap || stream->held)
        return;
    stream->in_reap = true;
    TAILQ_INSERT_TAIL(&stream->mesh->reap, stream, reap_entry);
    mesh_wake(stream->mesh);
}

static void
leave_opening(struct mesh_stream *stream)
{
    if (stream->state == MESH_STREAM_OPENING)
        TAILQ_REMOVE(&stream->mesh->opening, stream, lazy_entry);
    if (stream->state == MESH_STREAM_OPENING || stream->state == MESH_STREAM_INCOMING)
        stream->state = MESH_STREAM_RUNNING;
    stream->mesh->dial_due = true;
}

static void
leave_delayed_acks(struct mesh_stream *stream)
{
    if (stream->in_delayed_acks)
        TAILQ_REMOVE(&stream->mesh->delayed_acks, stream, lazy_entry);
    stream->in_delayed_acks = false;
}

static void
leave_parked(struct mesh_stream *stream)
{
    if (!stream->in_parked)
        return;
    TAILQ_REMOVE(&stream->mesh->parked, stream, lazy_entry);
    stream->in_parked = false;
    stream->mesh->parked_count--;
    stream->peer->parked_count--;
}

static void
tell_closed(struct mesh_stream *stream, enum cbx_reason reason, bool by_target)
{
    const struct mesh_end *end = stream->end;
    stream->end = NULL;
    if (end)
        end->closed(stream->arg, reason, by_target);
}

void
mesh_stream_over(struct mesh_stream *stream, enum cbx_reason reason, bool by_target)
{
    tell_closed(stream, reason, by_target);
    to_reap(stream);
}

/* A dial that never got a circuit. */
static void
refuse_waiting(struct mesh_stream *stream, enum cbx_reason reason)
{
    TAILQ_REMOVE(&stream->mesh->waiting, stream, entry);
    stream->state = MESH_STREAM_ENDED;
    stream->mesh->count.refused++;
    tell_closed(stream, reason, false);
    to_reap(stream);
}

void
mesh_streams_refuse_waiting(struct mesh *mesh, const char *slug, enum cbx_reason reason)
{
    struct mesh_stream *stream, *next;
    for (stream = TAILQ_FIRST(&mesh->waiting); stream; stream = next) {
        next = TAILQ_NEXT(stream, entry);
        if (!slug || strcmp(slug, stream->slug) == 0)
            refuse_waiting(stream, reason);
    }
}

static void
bury(struct mesh_stream *stream)
{
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
    if (!stream->core.dialer && stream->hh.tbl)
        HASH_DELETE(hh, mesh->incoming, stream);
    TAILQ_REMOVE(&mesh->streams, stream, entry);
    stream->in_core = false;
    stream->peer->stream_count--;
    mesh_rendezvous_streams(stream->peer);
}

void
mesh_streams_free(struct mesh *mesh)
{
    struct mesh_stream *stream;
    while ((stream = TAILQ_FIRST(&mesh->reap))) {
        TAILQ_REMOVE(&mesh->reap, stream, reap_entry);
        tell_closed(stream, CBX_REASON_LOST, false); /* accepted after its end */
        if (stream->in_core) {
            bury(stream);
            leave_core(stream);
            leave_delayed_acks(stream);
            mesh_plane_moved(stream);
            mesh->count.bytes_in += stream->core.bytes_in;
            mesh->count.bytes_out += stream->core.bytes_out;
            cbx_stream_dispose(&stream->core);
        }
        mesh->stream_count--;
        free(stream);
    }
}

/* ---- the core's callbacks ---- */

static ssize_t
on_pull(struct cbx_stream *core, void *buffer, size_t length)
{
    struct mesh_stream *stream = of_core(core);
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
    struct mesh_stream *stream = of_core(core);
    return stream->end ? stream->end->push(stream->arg, vector, count) : CBX_ERR_IO;
}

static void
on_push_end(struct cbx_stream *core)
{
    struct mesh_stream *stream = of_core(core);
    if (stream->end)
        stream->end->push_end(stream->arg);
}

static void
on_opened(struct cbx_stream *core)
{
    struct mesh_stream *stream = of_core(core);
    leave_opening(stream);
    mesh_rendezvous_streams(stream->peer);
    if (mesh_direct_up(stream->peer) && mesh_link_is_hub(stream->mesh, core->circuit.link))
        mesh_streams_move(stream->peer); /* the lane came to stand meanwhile */
    if (stream->end)
        stream->end->opened(stream->arg);
}

/* The same object goes back to waiting, since its program holds on to it. */
bool
mesh_stream_requeue(struct mesh_stream *stream)
{
    struct mesh *mesh = stream->mesh;
    if (stream->retried || !stream->end || stream->state != MESH_STREAM_OPENING || mesh->closing)
        return false;
    leave_opening(stream);
    leave_core(stream);
    cbx_stream_dispose(&stream->core);
    stream->peer = NULL;
    stream->state = MESH_STREAM_WAITING;
    stream->retried = true;
    TAILQ_INSERT_TAIL(&mesh->waiting, stream, entry);
    mesh_wake(mesh);
    return true;
}

/* The target restarted between directory and OPEN, or forgot: one new session, one more try. */
static bool
try_again(struct mesh_stream *stream, uint64_t reason)
{
    struct mesh_peer *peer = stream->peer;
    if (reason != CBX_REASON_NO_SESSION || !mesh_stream_requeue(stream))
        return false;
    mesh_peer_doubt_sessions(peer);
    return true;
}

static void
on_over(struct cbx_stream *core, enum cbx_reason reason, bool by_target)
{
    struct mesh_stream *stream = of_core(core);
    struct mesh *mesh = stream->mesh;
    bool unanswered = core->write == CBX_WRITE_WAIT;
    if (!by_target && reason == CBX_REASON_INTEGRITY)
        mesh->count.integrity++;
    if (reason != CBX_REASON_NONE) {
        mesh->count.refused += unanswered;
        mesh->count.resets += !unanswered;
    }
    leave_opening(stream);
    leave_delayed_acks(stream);
    leave_parked(stream);
    tell_closed(stream, reason, by_target);
}

static void
on_finished(struct cbx_stream *core)
{
    struct mesh_stream *stream = of_core(core);
    leave_opening(stream);
    leave_parked(stream);
    stream->state = MESH_STREAM_ENDED;
    to_reap(stream);
}

static void
on_delayed_ack(struct cbx_stream *core)
{
    struct mesh_stream *stream = of_core(core);
    if (stream->in_delayed_acks || stream->state == MESH_STREAM_OPENING)
        return;
    stream->in_delayed_acks = true;
    stream->delayed_ack_at = mesh_now(stream->mesh) + MESH_DELAYED_ACK_US;
    TAILQ_INSERT_TAIL(&stream->mesh->delayed_acks, stream, lazy_entry);
    mesh_wake(stream->mesh);
}

static const struct cbx_session *
on_session(struct cbx_stream *core, const uint8_t *id)
{
    struct mesh_session *session = mesh_peer_session_by_id(of_core(core)->peer, id);
    return session ? &session->keys : NULL;
}

static const struct cbx_session *
on_newest(struct cbx_stream *core)
{
    struct mesh_session *session = mesh_peer_newest(of_core(core)->peer);
    return session && !session->doubted ? &session->keys : NULL;
}

static bool
on_stranded(struct cbx_stream *core, enum cbx_reason reason)
{
    return mesh_move_stranded(of_core(core), reason);
}

static void
on_resumed(struct cbx_stream *core)
{
    mesh_move_done(of_core(core));
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

void
mesh_streams_rekey(struct mesh_peer *peer)
{
    struct mesh_stream *stream;
    TAILQ_FOREACH(stream, &peer->mesh->streams, entry) {
        if (stream->peer == peer)
            cbx_stream_rekey(&stream->core);
    }
}

/* ---- dialing ---- */

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

/* Where no floor is free on a direct lane the hub's link may have one. The link, or NULL. */
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
    struct cbx_link *link = begin_dial(stream, peer);
    if (!link) {
        stream->starved = true;
        if (mesh->allow_denied || !mesh_may_grow(mesh))
            refuse_waiting(stream, CBX_REASON_OVERLOADED);
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
        refuse_waiting(stream, CBX_REASON_OVERLOADED);
        return;
    }
    TAILQ_REMOVE(&mesh->waiting, stream, entry);
    TAILQ_INSERT_TAIL(&mesh->streams, stream, entry);
    TAILQ_INSERT_TAIL(&mesh->opening, stream, lazy_entry);
    stream->in_core = true;
    stream->state = MESH_STREAM_OPENING;
    stream->peer = peer;
    peer->stream_count++;
    mesh_plane_begin(stream);
}

/* Our own name needs no link, and obeys the same expose list. */
static void
dial_self(struct mesh_stream *stream)
{
    struct mesh *mesh = stream->mesh;
    const struct cbx_expose_item *item = cbx_expose_find(&mesh->config.expose, stream->port);
    struct mesh_stream *target = item ? calloc(1, sizeof *target) : NULL;
    if (!target) {
        refuse_waiting(stream, item ? CBX_REASON_OVERLOADED : CBX_REASON_NOT_EXPOSED);
        return;
    }
    TAILQ_REMOVE(&mesh->waiting, stream, entry);
    target->mesh = mesh;
    target->port = stream->port;
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
    if (!peer || !peer->seen) {
        refuse_waiting(stream, CBX_REASON_UNKNOWN_NAME);
        return;
    }
    if (!peer->ready) {
        refuse_waiting(stream, CBX_REASON_PEER_AWAY);
        return;
    }
    if (!counter_free(mesh))
        return;
    struct mesh_session *session = mesh_peer_session(peer);
    if (stream->state == MESH_STREAM_ENDED)
        return; /* the peer was found out just now */
    if (session)
        open_stream(stream, peer, session);
    else if (peer->trust == MESH_TRUST_REFUSED)
        refuse_waiting(stream, peer->refused);
}

static void
expire(struct mesh *mesh, int64_t now)
{
    struct mesh_stream *stream, *next;
    for (stream = TAILQ_FIRST(&mesh->waiting); stream; stream = next) {
        next = TAILQ_NEXT(stream, entry);
        if (now >= stream->deadline)
            refuse_waiting(stream, stream->starved ? CBX_REASON_OVERLOADED : CBX_REASON_TIMED_OUT);
    }
    for (stream = TAILQ_FIRST(&mesh->opening); stream; stream = next) {
        next = TAILQ_NEXT(stream, lazy_entry);
        if (now < stream->deadline)
            continue;
        leave_opening(stream);
        mesh->count.refused++;
        tell_closed(stream, CBX_REASON_TIMED_OUT, false);
        cbx_stream_abort(&stream->core, CBX_REASON_TIMED_OUT);
    }
}

static void
start_incoming(struct mesh_stream *stream, const struct cbx_expose_item *item)
{
    struct mesh *mesh = stream->mesh;
    mesh->count.accepted++;
    stream->held = true;
    mesh->ops->incoming(mesh->arg, stream, stream->peer->slug, item);
}

/* The first come first; no floor for one means none for the others. */
static void
try_parked(struct mesh *mesh, int64_t now)
{
    struct mesh_stream *stream;
    while ((stream = TAILQ_FIRST(&mesh->parked))) {
        if (cbx_stream_grant(&stream->core, now) == 0) {
            leave_parked(stream);
            start_incoming(stream, cbx_expose_find(&mesh->config.expose, stream->port));
        } else if (mesh->allow_denied || !mesh_may_grow(mesh) || now >= stream->deadline) {
            leave_parked(stream);
            mesh_refuse(stream, CBX_REASON_OVERLOADED);
        } else {
            return;
        }
    }
}

void
mesh_streams_due(struct mesh *mesh, int64_t now)
{
    struct mesh_stream *stream, *next;
    while ((stream = TAILQ_FIRST(&mesh->delayed_acks)) && stream->delayed_ack_at <= now) {
        leave_delayed_acks(stream);
        cbx_stream_announce(&stream->core, now);
    }
    if (!mesh->dial_due)
        return;
    mesh->dial_due = false;
    expire(mesh, now);
    if (mesh->phase != MESH_UP)
        return;
    try_parked(mesh, now);
    for (stream = TAILQ_FIRST(&mesh->waiting); stream; stream = next) {
        next = TAILQ_NEXT(stream, entry);
        try_dial(stream);
        /* A refusal of one may have refused others of the same peer: start over then. */
        if (next && next->state == MESH_STREAM_ENDED)
            next = TAILQ_FIRST(&mesh->waiting);
    }
    mesh->allow_denied = false;
}

int64_t
mesh_streams_deadline(const struct mesh *mesh)
{
    const struct mesh_stream *delayed_acks = TAILQ_FIRST(&mesh->delayed_acks);
    if (mesh->dial_due)
        return 0;
    return delayed_acks ? delayed_acks->delayed_ack_at : -1;
}

/* ---- incoming ---- */

void
mesh_circuit_refuse(struct mesh *mesh, struct cbx_link *link, uint32_t label,
                    enum cbx_reason reason)
{
    struct cbx_field field = cbx_field_uint(reason);
    mesh->count.refused++;
    cbx_link_send(link, CBX_FRAME_CLOSE, label, &field, 1);
}

static struct mesh_stream *
new_incoming(struct mesh *mesh, struct cbx_link *link, struct mesh_peer *peer, int64_t now,
             enum cbx_reason *reason)
{
    bool hub = mesh_link_is_hub(mesh, link);
    struct mesh_stream *stream = calloc(1, sizeof *stream);
    *reason = CBX_REASON_OVERLOADED;
    if (!stream)
        return NULL;
    bool may_wait = hub && mesh_may_grow(mesh) && mesh->parked_count < MESH_PARKED_MAX &&
                    peer->parked_count < MESH_PARKED_OF_PEER;
    if (cbx_stream_init(&stream->core, &mesh->env, false, mesh_budget_of(mesh, link),
                        &peer->window_used, now) < 0 &&
        !may_wait) {
        free(stream);
        return NULL;
    }
    stream->mesh = mesh;
    stream->peer = peer;
    stream->state = MESH_STREAM_INCOMING;
    stream->deadline = now + INCOMING_TIMEOUT_US;
    return stream;
}

static void
add_incoming(struct mesh_stream *stream)
{
    struct mesh *mesh = stream->mesh;
    TAILQ_INSERT_TAIL(&mesh->streams, stream, entry);
    stream->in_core = true;
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
    TAILQ_INSERT_TAIL(&mesh->parked, stream, lazy_entry);
    stream->in_parked = true;
    mesh->parked_count++;
    stream->peer->parked_count++;
}

struct mesh_session *
mesh_session_for(struct mesh *mesh, struct mesh_peer *peer, const struct cbx_open *open)
{
    struct mesh_session *session = peer ? mesh_peer_session_by_id(peer, open->session) : NULL;
    if (!session || strcmp(open->target, mesh->config.slug) != 0 ||
        memcmp(open->stream_id, session->keys.peer_incarnation, CBX_INCARNATION_SIZE) != 0 ||
        memcmp(open->stream_id + CBX_INCARNATION_SIZE, mesh->incarnation, CBX_INCARNATION_SIZE) !=
            0)
        return NULL;
    return session;
}

static void
take_open(struct mesh *mesh, struct cbx_link *link, struct cbx_frame *frame, int64_t now)
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
    enum cbx_reason reason;
    struct mesh_stream *stream = new_incoming(mesh, link, peer, now, &reason);
    if (!stream) {
        mesh_circuit_refuse(mesh, link, frame->label, reason);
        return;
    }
    if (cbx_stream_take(&stream->core, link, &session->keys, frame, &open, now) < 0) {
        mesh->count.integrity++;
        cbx_stream_dispose(&stream->core);
        free(stream);
        mesh_circuit_refuse(mesh, link, frame->label, CBX_REASON_INTEGRITY);
        return;
    }
    mesh_peer_confirm(peer, session);
    if (open.epoch < 1 || !mesh_peer_replay_take(peer, open.stream_id)) {
        mesh->count.replayed++;
        cbx_stream_dispose(&stream->core);
        free(stream);
        mesh_circuit_refuse(mesh, link, frame->label, CBX_REASON_DENIED);
        return;
    }
    add_incoming(stream);
    const struct cbx_expose_item *item = cbx_expose_find(&mesh->config.expose, open.port);
    if (!item) {
        mesh_refuse(stream, CBX_REASON_NOT_EXPOSED);
        return;
    }
    stream->port = open.port;
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
        stream->state = MESH_STREAM_RUNNING;
        cbx_stream_accept(&stream->core);
        mesh_rendezvous_streams(stream->peer);
    } else if (stream->state == MESH_STREAM_ENDED) {
        to_reap(stream);
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
        to_reap(stream);
    else
        cbx_stream_abort(&stream->core, reason);
}

int
mesh_stream_frame(struct mesh *mesh, struct cbx_link *link, struct cbx_frame *frame, int64_t now,
                  struct cbx_error *error)
{
    if (frame->type == CBX_FRAME_OPEN || frame->type == CBX_FRAME_RESUME) {
        if (cbx_link_take_label(link, frame->label) < 0)
            return cbx_fail(error, CBX_ERR_FORMAT, "%s: label %u is not a new one of yours",
                            cbx_frame_name(frame->type), frame->label);
        if (frame->type == CBX_FRAME_OPEN)
            take_open(mesh, link, frame, now);
        else
            mesh_move_take(mesh, link, frame, now);
        return 0;
    }
    struct cbx_circuit *circuit = cbx_circuit_find(link, frame->label);
    if (!circuit) {
        bool ours = (frame->label & 1) != link->config.hub;
        if (ours ? frame->label >= link->next_label : frame->label > link->last_seen)
            return cbx_fail(error, CBX_ERR_FORMAT, "%s: label %u was never opened",
                            cbx_frame_name(frame->type), frame->label);
        mesh->count.stale++;
        return 0;
    }
    struct cbx_stream *core =
        (struct cbx_stream *)((char *)circuit - offsetof(struct cbx_stream, circuit));
    if (frame->type == CBX_FRAME_CLOSE && try_again(of_core(core), frame->field[0].u))
        return 0;
    cbx_stream_frame(core, frame, now);
    return 0;
}

/* ---- the shell's hand on a stream ---- */

void
mesh_stream_readable(struct mesh_stream *stream)
{
    if (stream->in_core)
        cbx_stream_readable(&stream->core);
    else if (stream->loop)
        mesh_loop_wake(stream);
}

void
mesh_stream_writable(struct mesh_stream *stream)
{
    if (stream->in_core)
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
    if (stream->in_core) {
        leave_opening(stream);
        leave_delayed_acks(stream);
        cbx_stream_abort(&stream->core, reason);
        return;
    }
    if (stream->state == MESH_STREAM_WAITING) {
        TAILQ_REMOVE(&stream->mesh->waiting, stream, entry);
        stream->state = MESH_STREAM_ENDED;
        to_reap(stream);
    }
}
