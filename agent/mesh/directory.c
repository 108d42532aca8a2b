/* SPDX-License-Identifier: MIT */
/* Tested by sim_rules and sim_hostile_hub. */
#include "agent/mesh/directory.h"

#include "agent/mesh/clocks.h"
#include "agent/mesh/direct.h"
#include "agent/mesh/ends.h"
#include "agent/mesh/handshake.h"
#include "agent/mesh/peer.h"
#include "agent/mesh/rendezvous.h"
#include "agent/mesh/session.h"
#include "agent/mesh/stream.h"
#include "common/link/fields.h"

#include <stdlib.h>
#include <string.h>

enum { LISTED_READY = 1, LISTED_GONE = 2 };

static void
drop_sessions(struct mesh_peer *peer)
{
    mesh_peer_drop_sessions(peer);
    mesh_rendezvous_drop_try(peer);
    mesh_peer_drop_handshake(peer);
}

static void
peer_free(struct mesh_peer *peer)
{
    mesh_direct_drop(peer, "the peer is no longer listed");
    HASH_DELETE(hh, peer->mesh->peers, peer);
    drop_sessions(peer);
    mesh_rendezvous_free(peer);
    mesh_peer_drop_pending(peer);
    free(peer->ports);
    free(peer->labels);
    free(peer);
}

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
        peer_free(peer);
}

/* Another chain: what was believed of the old one does not hold for the new one. */
static void
take_hash(struct mesh_peer *peer, const uint8_t hash[32])
{
    if (memcmp(peer->listed_hash, hash, 32) == 0)
        return;
    memcpy(peer->listed_hash, hash, 32);
    if (peer->trust == MESH_TRUST_REFUSED ||
        (peer->trust == MESH_TRUST_BELIEVED && memcmp(peer->chain_hash, hash, 32) != 0)) {
        mesh_peer_set_trust(peer, MESH_TRUST_NONE);
        drop_sessions(peer);
    }
}

int
mesh_peer_listed(struct mesh *mesh, const struct cbx_frame *frame, struct cbx_error *error)
{
    const struct cbx_field *field = frame->field;
    struct mesh_peer *peer = mesh_peer_named(mesh, &field[CBX_PEER_SLUG]);
    if (field[CBX_PEER_STATE].u == LISTED_GONE) {
        if (peer)
            peer_gone(peer);
        return 0;
    }
    if (!peer && HASH_COUNT(mesh->peers) >= MESH_PEERS_MAX)
        return cbx_fail(error, CBX_ERR_LIMIT, "the hub lists more than %d peers", MESH_PEERS_MAX);
    if (!peer)
        peer = peer_new(mesh, &field[CBX_PEER_SLUG]);
    if (!peer)
        return cbx_fail(error, CBX_ERR_NOMEM, "out of memory for a peer");
    peer->seen = true;
    peer->ready = field[CBX_PEER_STATE].u == LISTED_READY;
    peer->generation = field[CBX_PEER_GENERATION].u;
    peer->serial = field[CBX_PEER_SERIAL].u;
    memcpy(peer->incarnation, field[CBX_PEER_INCARNATION].p, CBX_INCARNATION_SIZE);
    set_text(&peer->ports, &field[CBX_PEER_PORTS]);
    set_text(&peer->labels, &field[CBX_PEER_LABELS]);
    take_hash(peer, field[CBX_PEER_CHAIN_HASH].p);
    return 0;
}

void
mesh_peers_begin(struct mesh *mesh)
{
    struct mesh_peer *peer, *next;
    HASH_ITER(hh, mesh->peers, peer, next)
        peer->seen = false;
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

/* All that its certificate gave it here ends with that. */
static void
expire(struct mesh_peer *peer)
{
    mesh_peer_expired(peer, peer->ends);
    mesh_streams_end(peer, CBX_REASON_EXPIRED);
    drop_sessions(peer);
    mesh_direct_drop(peer, "the peer's certificate has expired");
}

static void
sweep(struct mesh_peer *peer, int64_t now)
{
    const struct mesh *mesh = peer->mesh;
    if (peer->trust == MESH_TRUST_BELIEVED && mesh_is_past(mesh, peer->ends))
        expire(peer);
    if (mesh->phase == MESH_UP && peer->trust == MESH_TRUST_NONE && peer->ready &&
        (peer->stream_count || peer->direct))
        mesh_peer_fetch(peer); /* another chain is listed: what runs goes on by that, or ends */
    mesh_sessions_sweep(peer, now);
    if (peer->trust == MESH_TRUST_FETCHING && now - peer->fetch_at > MESH_HANDSHAKE_RETRY_US)
        mesh_peer_set_trust(peer, MESH_TRUST_NONE);
    const struct mesh_session *newest = mesh_peer_newest(peer);
    if (peer->ready && peer->stream_count &&
        (!newest || newest->suspect || mesh_session_old(newest, now)))
        (void)mesh_peer_session(peer); /* another one is begun */
    if (!peer->seen && peer->stream_count == 0 && peer->mesh->phase == MESH_UP)
        peer_free(peer);
}

void
mesh_peers_sweep(struct mesh *mesh, int64_t now)
{
    struct mesh_peer *peer, *next;
    HASH_ITER(hh, mesh->peers, peer, next)
        sweep(peer, now);
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
            mesh_peer_set_trust(peer, MESH_TRUST_NONE);
    }
}

void
mesh_peers_free(struct mesh *mesh)
{
    struct mesh_peer *peer, *next;
    HASH_ITER(hh, mesh->peers, peer, next)
        peer_free(peer);
}
