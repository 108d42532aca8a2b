/* SPDX-License-Identifier: MIT */
/* Peers as the directory lists them, what hangs on them, and the replay windows (rule 15). */
#include "agent/mesh/internal.h"
#include "common/base/log.h"
#include <sodium.h>
#include <stdlib.h>
#include <string.h>

enum { LISTED_GONE = 2, LISTED_READY = 1 };

struct mesh_peer *
mesh_peer_find(struct mesh *mesh, const char *slug, size_t length)
{
    struct mesh_peer *peer = NULL;
    HASH_FIND(hh, mesh->peers, slug, length, peer);
    return peer;
}

void
mesh_session_free(struct mesh_session *session)
{
    cbx_session_wipe(&session->keys);
    free(session);
}

void
mesh_peer_drop_handshake(struct mesh_peer *peer)
{
    if (!peer->begun)
        return;
    cbx_handshake_wipe(peer->begun);
    free(peer->begun);
    peer->begun = NULL;
}

void
mesh_peer_drop_unconfirmed(struct mesh_peer *peer)
{
    if (peer->unconfirmed)
        mesh_session_free(peer->unconfirmed);
    peer->unconfirmed = NULL;
}

void
mesh_peer_drop_pending(struct mesh_peer *peer)
{
    free(peer->pending);
    peer->pending = NULL;
}

static void
drop_sessions(struct mesh_peer *peer)
{
    struct mesh_session *session;
    while ((session = TAILQ_FIRST(&peer->sessions))) {
        TAILQ_REMOVE(&peer->sessions, session, entry);
        mesh_session_free(session);
    }
    peer->session_count = 0;
    mesh_rendezvous_drop_try(peer);
    mesh_peer_drop_unconfirmed(peer);
    mesh_peer_drop_handshake(peer);
}

/* It stays for the streams that it has; dials and new epochs wait for the next one. */
void
mesh_peer_doubt_sessions(struct mesh_peer *peer)
{
    struct mesh_session *session;
    TAILQ_FOREACH(session, &peer->sessions, entry)
        session->doubted = true;
}

void
mesh_peer_free(struct mesh_peer *peer)
{
    mesh_direct_drop(peer, "the peer is listed no more");
    HASH_DELETE(hh, peer->mesh->peers, peer);
    drop_sessions(peer);
    mesh_rendezvous_free(peer);
    mesh_peer_drop_pending(peer);
    for (int i = 0; i < MESH_REPLAYS_MAX; i++)
        free(peer->replay[i]);
    free(peer->ports);
    free(peer->labels);
    free(peer);
}

/* ---- directory ---- */

static struct mesh_peer *
peer_new(struct mesh *mesh, const struct cbx_field *slug)
{
    struct mesh_peer *peer = calloc(1, sizeof *peer);
    if (!peer)
        return NULL;
    peer->mesh = mesh;
    memcpy(peer->slug, slug->p, slug->n);
    TAILQ_INIT(&peer->sessions);
    HASH_ADD(hh, mesh->peers, slug, slug->n, peer);
    if (!peer->hh.tbl) {
        free(peer);
        return NULL;
    }
    return peer;
}

static void
set_text(char **to, const struct cbx_field *field)
{
    char *copy = strndup((const char *)field->p, field->n);
    if (!copy)
        return;
    free(*to);
    *to = copy;
}

/* Kept while streams point at it; the sweep frees it then. */
static void
peer_gone(struct mesh_peer *peer)
{
    peer->ready = false;
    peer->seen = false;
    mesh_streams_refuse_waiting(peer->mesh, peer->slug, CBX_REASON_UNKNOWN_NAME);
    if (peer->stream_count == 0)
        mesh_peer_free(peer);
}

int
mesh_peer_listed(struct mesh *mesh, const struct cbx_frame *frame, struct cbx_error *error)
{
    const struct cbx_field *field = frame->field;
    struct mesh_peer *peer = mesh_peer_find(mesh, (const char *)field[0].p, field[0].n);
    if (field[1].u == LISTED_GONE) {
        if (peer)
            peer_gone(peer);
        return 0;
    }
    if (!peer && HASH_COUNT(mesh->peers) >= MESH_PEERS_MAX)
        return cbx_fail(error, CBX_ERR_LIMIT, "the hub lists more than %d peers", MESH_PEERS_MAX);
    if (!peer)
        peer = peer_new(mesh, &field[0]);
    if (!peer)
        return cbx_fail(error, CBX_ERR_NOMEM, "out of memory for a peer");
    peer->seen = true;
    peer->ready = field[1].u == LISTED_READY;
    peer->generation = field[2].u;
    peer->serial = field[3].u;
    memcpy(peer->incarnation, field[4].p, CBX_INCARNATION_SIZE);
    set_text(&peer->ports, &field[6]);
    set_text(&peer->labels, &field[7]);
    if (memcmp(peer->listed_hash, field[5].p, 32) == 0)
        return 0;
    /* Another chain: what was believed of the old one does not hold for the new one. */
    memcpy(peer->listed_hash, field[5].p, 32);
    if (peer->trust == MESH_TRUST_REFUSED ||
        (peer->trust == MESH_TRUST_BELIEVED &&
         memcmp(peer->chain_hash, peer->listed_hash, 32) != 0)) {
        peer->trust = MESH_TRUST_NONE;
        drop_sessions(peer);
    }
    return 0;
}

void
mesh_peers_synced(struct mesh *mesh)
{
    struct mesh_peer *peer, *next;
    HASH_ITER(hh, mesh->peers, peer, next) {
        if (!peer->seen)
            peer_gone(peer);
    }
}

/* ---- replay, time ---- */

bool
mesh_peer_replay_take(struct mesh_peer *peer, const uint8_t stream_id[CBX_STREAM_ID_SIZE])
{
    int64_t now = mesh_now(peer->mesh);
    int slot = 0;
    for (int i = 0; i < MESH_REPLAYS_MAX; i++) {
        struct mesh_replay *replay = peer->replay[i];
        if (replay && memcmp(replay->incarnation, stream_id, CBX_INCARNATION_SIZE) == 0) {
            replay->used_at = now;
            return cbx_replay_take(&replay->window, cbx_stream_id_counter(stream_id));
        }
        int64_t best = peer->replay[slot] ? peer->replay[slot]->used_at : -1;
        if (best >= 0 && (!replay || replay->used_at < best))
            slot = i;
    }
    /* A life whose window is gone has no session any more either: it cannot come back. */
    if (!peer->replay[slot])
        peer->replay[slot] = malloc(sizeof **peer->replay);
    struct mesh_replay *replay = peer->replay[slot];
    if (!replay)
        return false;
    memset(replay, 0, sizeof *replay);
    memcpy(replay->incarnation, stream_id, CBX_INCARNATION_SIZE);
    replay->used_at = now;
    return cbx_replay_take(&replay->window, cbx_stream_id_counter(stream_id));
}

void
mesh_peers_sweep(struct mesh *mesh, int64_t now)
{
    struct mesh_peer *peer, *next;
    HASH_ITER(hh, mesh->peers, peer, next) {
        if (peer->unconfirmed && now - peer->unconfirmed->born > MESH_CONFIRM_US)
            mesh_peer_drop_unconfirmed(peer);
        if (peer->trust == MESH_TRUST_FETCHING && now - peer->fetch_at > MESH_HANDSHAKE_RETRY_US)
            peer->trust = MESH_TRUST_NONE;
        struct mesh_session *session, *after;
        for (session = TAILQ_FIRST(&peer->sessions); session; session = after) {
            after = TAILQ_NEXT(session, entry);
            if (session->replaced_at && now - session->replaced_at > MESH_SESSION_GRACE_US) {
                TAILQ_REMOVE(&peer->sessions, session, entry);
                peer->session_count--;
                mesh_session_free(session);
            }
        }
        session = TAILQ_FIRST(&peer->sessions);
        if (peer->ready && peer->stream_count &&
            (!session || session->doubted || now - session->born > MESH_RENEW_US ||
             session->bytes > MESH_RENEW_BYTES))
            mesh_peer_session(peer);
        if (!peer->seen && peer->stream_count == 0 && mesh->phase == MESH_UP)
            mesh_peer_free(peer);
    }
    mesh->dial_due = true;
}

void
mesh_peers_link_lost(struct mesh *mesh)
{
    struct mesh_peer *peer, *next;
    mesh_rendezvous_link_lost(mesh);
    HASH_ITER(hh, mesh->peers, peer, next) {
        mesh_peer_drop_handshake(peer);
        mesh_peer_drop_pending(peer);
        if (peer->trust == MESH_TRUST_FETCHING)
            peer->trust = MESH_TRUST_NONE;
    }
}
