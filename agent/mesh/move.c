/* SPDX-License-Identifier: MIT */
/*
 * The decisions and the messages of a move: who leaves which path, RESUME and what answers it. The
 * list of streams that are moving is kept in moving.c. Tested by sim_moves.
 */
#include "agent/mesh/move.h"

#include "agent/mesh/ends.h"
#include "agent/mesh/handshake.h"
#include "agent/mesh/lane.h"
#include "agent/mesh/moving.h"
#include "agent/mesh/path.h"
#include "agent/mesh/peer.h"
#include "agent/mesh/plane.h"
#include "agent/mesh/rates.h"
#include "agent/mesh/session.h"
#include "agent/mesh/stream.h"

#include <string.h>

static const int64_t RETRY_US = 200 * 1000;
static const int64_t SILENT_US = 5 * 1000 * 1000; /* long before the link itself is given up */

/* ---- what happens to a path ---- */

/* Whether another path than the one that failed may serve. */
static bool
has_other_path(const struct mesh_stream *stream)
{
    const struct mesh *mesh = stream->mesh;
    const struct cbx_link *link = stream->core.circuit.link;
    if (!link || mesh_link_is_hub(mesh, link))
        return mesh_direct_up(stream->peer);
    return mesh->phase == MESH_UP;
}

/* Reasons that say nothing about the stream itself. */
static bool
may_pass(enum cbx_reason reason, bool resuming)
{
    switch (reason) {
    case CBX_REASON_LOST:
    case CBX_REASON_INTEGRITY:
    case CBX_REASON_PROTOCOL:
    case CBX_REASON_FLOW:
        return true;
    case CBX_REASON_NO_SESSION:
    case CBX_REASON_OVERLOADED:
        return resuming;
    default:
        return false;
    }
}

bool
mesh_move_stranded(struct mesh_stream *stream, enum cbx_reason reason)
{
    struct mesh *mesh = stream->mesh;
    bool resuming = cbx_stream_resuming(&stream->core);
    bool direct = stream->core.circuit.link && !mesh_link_is_hub(mesh, stream->core.circuit.link);
    bool wait = resuming && (reason == CBX_REASON_NO_SESSION || reason == CBX_REASON_OVERLOADED);
    if (mesh->closing || stream->move.lost || !may_pass(reason, resuming) ||
        (!wait && !has_other_path(stream)))
        return false;
    if (reason == CBX_REASON_INTEGRITY) {
        if (stream->move.broken)
            return false; /* the second time */
        mesh->count.integrity++;
        stream->move.broken = true;
        if (direct)
            mesh_direct_doom(stream->peer, "a record on it failed authentication");
    }
    if (reason == CBX_REASON_NO_SESSION)
        mesh_peer_suspect_sessions(stream->peer);
    if (direct && wait && reason == CBX_REASON_OVERLOADED)
        stream->move.by_hub = true;
    mesh_moving_enter(stream, mesh_now(mesh) + (wait ? RETRY_US : 0));
    mesh_wake(mesh);
    return true;
}

void
mesh_move_done(struct mesh_stream *stream)
{
    mesh_moving_leave(stream);
    mesh_left_close(stream);
    stream->move.by_hub = false;
    stream->mesh->count.moves++;
    mesh_plane_moved(stream);
}

void
mesh_streams_leave(struct mesh *mesh, const struct cbx_link *link, enum cbx_reason reason)
{
    struct mesh_stream *stream, *next;
    for (stream = TAILQ_FIRST(&mesh->streams); stream; stream = next) {
        next = TAILQ_NEXT(stream, entry);
        if (stream->left.link == link)
            stream->left.link = NULL;
        if (stream->core.circuit.link != link)
            continue;
        if (mesh_link_is_hub(mesh, link) || !mesh_stream_requeue(stream))
            cbx_stream_lost(&stream->core, reason);
    }
}

/* ---- the dialer moves ---- */

static void
move(struct mesh_stream *stream, struct cbx_link *path, int64_t now)
{
    struct mesh *mesh = stream->mesh;
    struct mesh_circuit_left from = mesh_circuit_now(stream);
    struct mesh_session *session = mesh_peer_newest(stream->peer);
    struct cbx_open names = {.port = stream->port};
    if (!session || session->suspect) {
        if (mesh_stream_is_moving(stream)) {
            mesh_moving_enter(stream, now + RETRY_US);
            (void)mesh_peer_session(stream->peer); /* one is begun */
        }
        return;
    }
    if (!mesh_rate_opens(mesh, stream->peer, path)) {
        if (mesh_stream_is_moving(stream))
            mesh_moving_enter(stream, mesh->paced_at);
        else
            stream->peer->move_held = true;
        return;
    }
    memcpy(names.source, mesh->config.slug, sizeof names.source);
    memcpy(names.target, stream->peer->slug, sizeof names.target);
    int result = cbx_stream_resume(&stream->core, path, mesh_budget_of(mesh, path), &session->keys,
                                   &names, now);
    if (result == CBX_ERR_LIMIT && mesh_stream_is_moving(stream))
        mesh_moving_enter(stream, now + RETRY_US);
    if (result == 0)
        mesh_moving_enter(stream, now);
    if (result < 0 && result != CBX_ERR_NOMEM)
        return; /* else the circuit was left, whatever became of the stream */
    if (from.link && !stream->left.link) {
        stream->left = from;
        mesh->hub_budget.used += from.credit;
    }
}

/* Those that run somewhere else than where a new one would go. */
static void
move_running(struct mesh *mesh, int64_t now)
{
    struct mesh_stream *stream;
    TAILQ_FOREACH(stream, &mesh->streams, entry) {
        const struct cbx_link *link = stream->core.circuit.link;
        struct cbx_link *path = mesh_path(stream->peer);
        if (stream->peer->move_due && stream->core.dialer && link &&
            !cbx_stream_resuming(&stream->core) && cbx_stream_movable(&stream->core) && path &&
            link != path)
            move(stream, path, now);
    }
    struct mesh_peer *peer, *next;
    HASH_ITER(hh, mesh->peers, peer, next) {
        peer->move_due = peer->move_held;
        mesh->move_due = mesh->move_due || peer->move_held;
        peer->move_held = false;
    }
}

/* The far side's agent is gone, or another incarnation of it: nobody there knows the stream. */
static bool
is_vain(const struct mesh_stream *stream)
{
    const struct mesh_peer *peer = stream->peer;
    const uint8_t *id = stream->core.id + (stream->core.dialer ? CBX_INCARNATION_SIZE : 0);
    if (peer->direct || peer->mesh->phase != MESH_UP)
        return false;
    return !peer->seen || !peer->ready || memcmp(peer->incarnation, id, CBX_INCARNATION_SIZE) != 0;
}

/* The dialer said RESUME over a direct lane, at move.at, and may say it elsewhere. */
static bool
asks_direct(const struct mesh_stream *stream)
{
    const struct mesh *mesh = stream->mesh;
    const struct cbx_link *link = stream->core.circuit.link;
    return cbx_stream_resuming(&stream->core) && link && !mesh_link_is_hub(mesh, link) &&
           mesh->phase == MESH_UP;
}

static struct cbx_link *
path_of(struct mesh_stream *stream)
{
    struct cbx_link *hub = stream->move.by_hub ? mesh_hub_path(stream->mesh) : NULL;
    return hub ? hub : mesh_path(stream->peer);
}

static void
look_after(struct mesh_stream *stream, int64_t now)
{
    struct cbx_link *path = NULL;
    if (now >= stream->move.until || is_vain(stream)) {
        mesh_moving_leave(stream);
        stream->move.lost = true;
        cbx_stream_lost(&stream->core, CBX_REASON_LOST);
    } else if (stream->core.dialer && !stream->core.circuit.link && now >= stream->move.at &&
               (path = path_of(stream))) {
        move(stream, path, now);
    } else if (asks_direct(stream) && now - stream->move.at >= SILENT_US) {
        mesh_direct_doom(stream->peer, "the peer does not answer on it");
    }
}

/* When it is to be looked after next. */
static int64_t
due_of(const struct mesh_stream *stream, int64_t now)
{
    int64_t due = stream->move.until, at = INT64_MAX;
    if (stream->core.dialer && !stream->core.circuit.link)
        at = stream->move.at;
    else if (asks_direct(stream))
        at = stream->move.at + SILENT_US;
    return at > now && at < due ? at : due;
}

int64_t
mesh_moves_due(struct mesh *mesh, int64_t now)
{
    struct mesh_stream *stream, *next;
    int64_t due = INT64_MAX;
    mesh_left_settle(mesh);
    if (mesh->move_due) {
        mesh->move_due = false;
        move_running(mesh, now);
    }
    for (stream = TAILQ_FIRST(&mesh->moving); stream; stream = next) {
        next = TAILQ_NEXT(stream, move.entry);
        look_after(stream, now);
        int64_t at = mesh_stream_is_moving(stream) ? due_of(stream, now) : due;
        due = at < due ? at : due;
    }
    return due;
}

/* ---- the target follows ---- */

static const struct mesh_tombstone *
find_tombstone(const struct mesh *mesh, const uint8_t *id)
{
    for (int i = 0; i < MESH_TOMBSTONES_MAX; i++) {
        const struct mesh_tombstone *stone = &mesh->tombstone[i];
        if (stone->clean && memcmp(stone->id, id, sizeof stone->id) == 0)
            return stone;
    }
    return NULL;
}

/* The stream had its clean end here, and only the last word of that was lost: it is said again, but
 * never in an epoch whose first nonce sealed something else. */
static void
answer_for_the_dead(struct mesh *mesh, struct cbx_link *link, const struct cbx_session *session,
                    struct cbx_frame *frame, const struct cbx_open *open,
                    const struct cbx_resume *theirs)
{
    const struct mesh_tombstone *stone = find_tombstone(mesh, open->stream_id);
    struct cbx_record_keys keys;
    cbx_record_keys_derive(&keys, session->root_receive, open->stream_id, open->epoch,
                           session->cipher);
    bool holds = stone && open->epoch > stone->epoch &&
                 cbx_record_open_resume(mesh->aead, &keys, frame, open, theirs) == 0;
    struct cbx_slice slice = {0};
    if (holds) {
        struct cbx_resume have = {.received = stone->received,
                                  .acked = stone->received,
                                  .limit = stone->received,
                                  .ended = true};
        cbx_record_keys_derive(&keys, session->root_send, open->stream_id, open->epoch,
                               session->cipher);
        slice = cbx_record_resumed(mesh->aead, &keys, frame->label, &have);
    }
    cbx_record_keys_wipe(&keys);
    if (!slice.slab || cbx_link_send_slice(link, slice) < 0)
        mesh_circuit_refuse(mesh, link, frame->label, CBX_REASON_RESET);
}

static enum cbx_reason
reason_of(struct mesh *mesh, int result)
{
    if (result == CBX_ERR_LIMIT)
        return CBX_REASON_OVERLOADED;
    mesh->count.replayed += result == CBX_ERR_AUTH;
    return result == CBX_ERR_AUTH ? CBX_REASON_DENIED : CBX_REASON_RESET;
}

void
mesh_move_take(struct mesh *mesh, struct cbx_link *link, struct cbx_frame *frame, int64_t now)
{
    struct cbx_open open;
    struct cbx_resume theirs;
    cbx_resume_read(frame, &open, &theirs);
    cbx_stream_flush(&mesh->env, now); /* which may end this very stream */
    struct mesh_peer *peer = mesh_peer_find(mesh, open.source, strlen(open.source));
    struct mesh_session *session = mesh_session_for(mesh, peer, &open);
    if (mesh_link_is_hub(mesh, link) && !mesh_lane_allows(mesh)) {
        mesh_circuit_refuse(mesh, link, frame->label, CBX_REASON_OVERLOADED); /* it asks again */
        return;
    }
    if (!session || !mesh_link_leads_to(mesh, link, peer)) {
        mesh_circuit_refuse(mesh, link, frame->label, CBX_REASON_NO_SESSION);
        return;
    }
    struct mesh_incoming key = {.peer = peer};
    memcpy(key.id, open.stream_id, sizeof key.id);
    struct mesh_stream *stream = NULL;
    HASH_FIND(hh, mesh->incoming, &key, sizeof key, stream);
    if (!stream) {
        answer_for_the_dead(mesh, link, &session->keys, frame, &open, &theirs);
        return;
    }
    struct mesh_circuit_left from = mesh_circuit_now(stream);
    int result = cbx_stream_take_resume(&stream->core, link, mesh_budget_of(mesh, link),
                                        &session->keys, frame, now);
    const struct cbx_circuit *circuit = &stream->core.circuit;
    bool moved = circuit->link != from.link || circuit->label != from.label;
    if (from.link && moved) { /* also without memory */
        mesh->hub_budget.used += from.credit;
        mesh_circuit_close(mesh, &from);
    }
    if (result < 0) {
        mesh_circuit_refuse(mesh, link, frame->label, reason_of(mesh, result));
        return;
    }
    mesh_peer_confirm(peer, session);
    mesh_move_done(stream);
}
