/* SPDX-License-Identifier: MIT */
/* Tested by sim_hostile_trust. */
#include "agent/mesh/trust.h"

#include "agent/mesh/handshake.h"
#include "agent/mesh/peer.h"
#include "agent/mesh/stream.h"
#include "common/link/fields.h"

#include <sodium.h>
#include <stdlib.h>
#include <string.h>

static struct mesh_known *
known_find(struct mesh *mesh, const char *slug)
{
    for (size_t i = 0; i < mesh->known_count; i++) {
        if (strcmp(mesh->known[i].slug, slug) == 0)
            return &mesh->known[i];
    }
    return NULL;
}

static struct mesh_known *
known_add(struct mesh *mesh, const char *slug)
{
    if (mesh->known_count == mesh->known_room) {
        size_t room = 2 * mesh->known_room + 16;
        struct mesh_known *more = realloc(mesh->known, room * sizeof *more);
        if (!more)
            return NULL;
        mesh->known = more;
        mesh->known_room = room;
    }
    struct mesh_known *known = &mesh->known[mesh->known_count++];
    memset(known, 0, sizeof *known);
    memcpy(known->slug, slug, strlen(slug) + 1);
    return known;
}

/* Serial and identity against what was stored (rule 3). False: refused, and said why. */
static bool
remember(struct mesh_peer *peer, const struct cbx_invite_cert *invite,
         const struct cbx_peer_cert *cert)
{
    struct mesh *mesh = peer->mesh;
    struct mesh_known *known = known_find(mesh, peer->slug);
    if (known && known->serial > invite->serial) {
        mesh->count.rolled_back++;
        mesh_peer_refuse(peer, CBX_REASON_DENIED,
                         "the hub presents an older certificate than this lease has seen");
        return false;
    }
    if (known && known->serial == invite->serial) {
        if (sodium_memcmp(known->identity, cert->identity, 32) == 0)
            return true;
        mesh->count.leaked++;
        mesh_peer_refuse(peer, CBX_REASON_DENIED,
                         "a second identity under one invite: its token has leaked; revoke the "
                         "lease and invite it again");
        return false;
    }
    if (!known)
        known = known_add(mesh, peer->slug);
    if (!known) {
        mesh_peer_refuse(peer, CBX_REASON_INTERNAL, "out of memory");
        return false;
    }
    known->serial = invite->serial;
    memcpy(known->identity, cert->identity, 32);
    mesh->known_version++;
    return true;
}

static void
store(struct mesh *mesh)
{
    mesh->asked_version = mesh->known_version;
    mesh->ops->known_changed(mesh->arg, mesh->known, mesh->known_count);
}

static void
store_known(struct mesh_peer *peer)
{
    struct mesh *mesh = peer->mesh;
    peer->store_version = mesh->known_version;
    if (mesh->stored_version >= peer->store_version) {
        mesh_peer_believed(peer);
        return;
    }
    mesh_peer_set_trust(peer, MESH_TRUST_STORING);
    if (mesh->asked_version == mesh->stored_version)
        store(mesh);
}

void
mesh_peers_stored(struct mesh *mesh)
{
    struct mesh_peer *peer, *next;
    HASH_ITER(hh, mesh->peers, peer, next) {
        if (peer->trust == MESH_TRUST_STORING && mesh->stored_version >= peer->store_version)
            mesh_peer_believed(peer);
    }
    if (mesh->known_version > mesh->asked_version)
        store(mesh);
}

void
mesh_peers_not_stored(struct mesh *mesh)
{
    struct mesh_peer *peer, *next;
    mesh->storing_failed = false;
    HASH_ITER(hh, mesh->peers, peer, next) {
        if (peer->trust != MESH_TRUST_STORING)
            continue;
        mesh_peer_not_stored(peer);
        mesh_streams_refuse_waiting(mesh, peer->slug, CBX_REASON_STORAGE);
    }
}

static int
copy_cert(struct cbx_cert *to, const struct cbx_field *field)
{
    if (field->n == 0 || field->n > sizeof to->bytes)
        return CBX_ERR_FORMAT;
    to->length = (uint16_t)field->n;
    memcpy(to->bytes, field->p, field->n);
    return 0;
}

struct chain {
    struct cbx_cert invite, peer;
    struct cbx_invite_cert invite_read;
    struct cbx_peer_cert peer_read;
};

/* A refused chain gives nothing away; by a clock that stands still it shows its end. */
static void
refuse_expired(struct mesh_peer *peer, struct chain *chain)
{
    struct cbx_error error = {""};
    if (cbx_chain_open(&chain->invite, &chain->peer, peer->mesh->config.pond_public, 0, NULL,
                       &chain->peer_read, &error) == 0)
        mesh_peer_expired(peer, chain->peer_read.ends);
    else
        mesh_peer_refuse(peer, CBX_REASON_DENIED, error.text);
}

static void
take_chain(struct mesh_peer *peer, struct cbx_frame *frame, struct chain *chain)
{
    struct mesh *mesh = peer->mesh;
    struct cbx_error error = {""};
    if (copy_cert(&chain->invite, &frame->field[CBX_CHAIN_INVITE]) < 0 ||
        copy_cert(&chain->peer, &frame->field[CBX_CHAIN_PEER]) < 0) {
        mesh_peer_set_trust(peer, MESH_TRUST_NONE);
        mesh_streams_refuse_waiting(mesh, peer->slug, CBX_REASON_UNKNOWN_NAME);
        return;
    }
    int result = cbx_chain_open(&chain->invite, &chain->peer, mesh->config.pond_public,
                                mesh->ops->now_unix(mesh->arg), &chain->invite_read,
                                &chain->peer_read, &error);
    if (result == CBX_ERR_EXPIRED) {
        refuse_expired(peer, chain);
        return;
    }
    if (result < 0) {
        mesh_peer_refuse(peer, CBX_REASON_DENIED, error.text);
        return;
    }
    if (strcmp(chain->peer_read.slug, peer->slug) != 0 ||
        strcmp(chain->peer_read.pond, mesh->config.pond) != 0) {
        mesh_peer_refuse(peer, CBX_REASON_DENIED, "the hub presents another lease's certificate");
        return;
    }
    cbx_chain_hash(&chain->invite, &chain->peer, peer->chain_hash);
    memcpy(peer->identity, chain->peer_read.identity, 32);
    memcpy(peer->exchange, chain->peer_read.exchange, 32);
    peer->ends = chain->peer_read.ends;
    if (remember(peer, &chain->invite_read, &chain->peer_read))
        store_known(peer);
}

void
mesh_peer_chain(struct mesh *mesh, struct cbx_frame *frame)
{
    struct mesh_peer *peer = mesh_peer_named(mesh, &frame->field[CBX_CHAIN_SLUG]);
    if (!peer || peer->trust != MESH_TRUST_FETCHING) {
        mesh->count.stale++;
        return;
    }
    struct chain *chain = calloc(1, sizeof *chain);
    if (!chain) {
        mesh_peer_set_trust(peer, MESH_TRUST_NONE);
        return;
    }
    take_chain(peer, frame, chain);
    free(chain);
    mesh->dial_due = true;
}
