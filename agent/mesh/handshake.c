/* SPDX-License-Identifier: MIT */
/* Tested by sim_hostile_handshakes. */
#include "agent/mesh/handshake.h"

#include "agent/mesh/clocks.h"
#include "agent/mesh/peer.h"
#include "agent/mesh/rates.h"
#include "agent/mesh/session.h"
#include "agent/mesh/stream.h"
#include "common/link/fields.h"

#include <stdlib.h>
#include <string.h>

enum { FIRST_PER_SECOND = 5 }; /* first messages taken from one peer (rule 13) */
enum step { STEP_ASK = 1, STEP_ANSWER = 2 };
static const int64_t RETRY_MAX_US = 24 * 1000 * 1000;

/* ---- what is said ---- */

static uint64_t
highest_serial(const struct mesh *mesh)
{
    uint64_t highest = mesh->own_serial;
    for (size_t i = 0; i < mesh->known_count; i++) {
        if (mesh->known[i].serial > highest)
            highest = mesh->known[i].serial;
    }
    return highest;
}

static struct cbx_session_self
self_of(const struct mesh *mesh)
{
    struct cbx_session_self self = {
        .exchange_secret = mesh->config.identity->exchange_secret,
        .exchange_public = mesh->config.identity->exchange_public,
        .pond_public = mesh->config.pond_public,
        .chain_hash = mesh->chain_hash,
        .pond_serial = highest_serial(mesh),
        .cipher_count = 2,
    };
    memcpy(self.incarnation, mesh->incarnation, CBX_INCARNATION_SIZE);
    self.cipher[0] = (uint8_t)mesh_preferred_cipher(mesh);
    self.cipher[1] =
        self.cipher[0] == CBX_CIPHER_AES256GCM ? CBX_CIPHER_CHACHA20POLY1305 : CBX_CIPHER_AES256GCM;
    return self;
}

static void
send_handshake(struct mesh_peer *peer, enum step step, const uint8_t *message, size_t length)
{
    struct mesh *mesh = peer->mesh;
    struct cbx_field fields[] = {
        [CBX_HANDSHAKE_FROM] = cbx_field_text(mesh->config.slug),
        [CBX_HANDSHAKE_TO] = cbx_field_text(peer->slug),
        [CBX_HANDSHAKE_STEP] = cbx_field_uint(step),
        [CBX_HANDSHAKE_SENDER_HASH] = cbx_field_bytes(mesh->chain_hash, sizeof mesh->chain_hash),
        [CBX_HANDSHAKE_RECEIVER_HASH] = cbx_field_bytes(peer->chain_hash, sizeof peer->chain_hash),
        [CBX_HANDSHAKE_MESSAGE] = cbx_field_bytes(message, length),
    };
    cbx_link_send(&mesh->pump.link, CBX_FRAME_HANDSHAKE, 0, fields, 6);
}

static void
refuse_handshake(struct mesh_peer *peer, enum cbx_reason reason)
{
    struct mesh *mesh = peer->mesh;
    struct cbx_field fields[] = {
        [CBX_NO_HANDSHAKE_FROM] = cbx_field_text(mesh->config.slug),
        [CBX_NO_HANDSHAKE_TO] = cbx_field_text(peer->slug),
        [CBX_NO_HANDSHAKE_REASON] = cbx_field_uint(reason),
    };
    mesh->count.handshakes_refused++;
    if (mesh_rate_passes(mesh, MESH_PASSED_ANSWER))
        cbx_link_send(&mesh->pump.link, CBX_FRAME_NO_HANDSHAKE, 0, fields, 3);
}

/* ---- we begin ---- */

void
mesh_peer_drop_handshake(struct mesh_peer *peer)
{
    if (!peer->begun)
        return;
    cbx_handshake_wipe(peer->begun);
    free(peer->begun);
    peer->begun = NULL;
}

static void
begin(struct mesh_peer *peer)
{
    struct mesh *mesh = peer->mesh;
    if (!mesh_rate_passes(mesh, MESH_PASSED_BEGIN))
        return; /* the dial that wants it comes again */
    /* On a slow path an answer takes longer than the first wait: each wait is twice the one before,
     * or every answer would come to a handshake that has been replaced. */
    peer->begun_wait = peer->begun ? 2 * peer->begun_wait : MESH_HANDSHAKE_RETRY_US;
    if (peer->begun_wait > RETRY_MAX_US)
        peer->begun_wait = RETRY_MAX_US;
    mesh_peer_drop_handshake(peer);
    peer->begun = calloc(1, sizeof *peer->begun);
    if (!peer->begun)
        return;
    struct cbx_session_self self = self_of(mesh);
    struct cbx_session_peer other = {.exchange_public = peer->exchange,
                                     .chain_hash = peer->chain_hash};
    uint8_t message[CBX_HANDSHAKE_MESSAGE_MAX];
    int length = cbx_handshake_begin(peer->begun, &self, &other, message);
    if (length < 0) {
        mesh_peer_drop_handshake(peer);
        return;
    }
    peer->begun_at = mesh_now(mesh);
    mesh->count.handshakes++;
    send_handshake(peer, STEP_ASK, message, (size_t)length);
}

struct mesh_session *
mesh_peer_session(struct mesh_peer *peer)
{
    struct mesh *mesh = peer->mesh;
    int64_t now = mesh_now(mesh);
    struct mesh_session *session = TAILQ_FIRST(&peer->sessions);
    mesh_peer_reconsider(peer);
    if (peer->trust == MESH_TRUST_REFUSED || mesh->phase != MESH_UP)
        return NULL;
    if (peer->trust == MESH_TRUST_BELIEVED && mesh_is_past(mesh, peer->ends)) {
        mesh_peer_expired(peer, peer->ends);
        return NULL;
    }
    bool good = mesh_session_usable(peer, session) && peer->trust == MESH_TRUST_BELIEVED;
    if (good && !mesh_session_old(session, now))
        return session;
    if (peer->trust == MESH_TRUST_NONE)
        mesh_peer_fetch(peer);
    else if (peer->trust == MESH_TRUST_BELIEVED &&
             (!peer->begun || now - peer->begun_at >= peer->begun_wait))
        begin(peer);
    return good ? session : NULL;
}

/* ---- we answer ---- */

static void
answer(struct mesh_peer *peer, const uint8_t *message, uint32_t length)
{
    struct mesh *mesh = peer->mesh;
    if (!mesh_rate_passes(mesh, MESH_PASSED_ANSWER)) {
        mesh->count.handshakes_shed++; /* the initiator tries again */
        return;
    }
    struct mesh_session *session = calloc(1, sizeof *session);
    if (!session)
        return;
    struct cbx_session_self self = self_of(mesh);
    struct cbx_session_peer other = {.exchange_public = peer->exchange,
                                     .chain_hash = peer->chain_hash};
    uint8_t reply[CBX_HANDSHAKE_MESSAGE_MAX];
    int result = cbx_handshake_answer(&self, &other, message, length, reply, &session->keys);
    if (result < 0) {
        free(session);
        refuse_handshake(peer, CBX_REASON_DENIED);
        return;
    }
    memcpy(session->first, message, sizeof session->first); /* it opened: it is long enough */
    mesh_peer_drop_unconfirmed(peer);
    peer->unconfirmed = session;
    session->born = mesh_now(mesh);
    send_handshake(peer, STEP_ANSWER, reply, (size_t)result);
}

void
mesh_peer_not_stored(struct mesh_peer *peer)
{
    mesh_peer_set_trust(peer, MESH_TRUST_NONE);
    if (peer->pending)
        refuse_handshake(peer, CBX_REASON_STORAGE);
    mesh_peer_drop_pending(peer);
}

void
mesh_peer_believed(struct mesh_peer *peer)
{
    mesh_peer_set_trust(peer, MESH_TRUST_BELIEVED);
    if (peer->pending) {
        uint8_t *message = peer->pending;
        peer->pending = NULL;
        if (memcmp(peer->pending_hash, peer->chain_hash, 32) == 0)
            answer(peer, message, peer->pending_length);
        else
            peer->mesh->count.handshakes_refused++; /* from another chain than the directory's */
        free(message);
    }
    peer->mesh->dial_due = true;
}

/* A message 1 that was answered already: another answer would take the place of the first one's
 * session, which the initiator is about to use. */
static bool
answered(const struct mesh_peer *peer, const struct cbx_field *message)
{
    const struct mesh_session *session = peer->unconfirmed;
    if (message->n < sizeof session->first)
        return false;
    if (session && memcmp(session->first, message->p, sizeof session->first) == 0)
        return true;
    TAILQ_FOREACH(session, &peer->sessions, entry) {
        if (memcmp(session->first, message->p, sizeof session->first) == 0)
            return true;
    }
    return peer->pending && peer->pending_length == message->n &&
           memcmp(peer->pending, message->p, message->n) == 0;
}

/* It waits for the chain. */
static void
keep_pending(struct mesh_peer *peer, const struct cbx_field *message, const uint8_t *hash)
{
    mesh_peer_drop_pending(peer);
    peer->pending = malloc(message->n);
    if (!peer->pending)
        return;
    memcpy(peer->pending, message->p, message->n);
    peer->pending_length = message->n;
    memcpy(peer->pending_hash, hash, sizeof peer->pending_hash);
    if (peer->trust != MESH_TRUST_FETCHING && peer->trust != MESH_TRUST_STORING)
        mesh_peer_fetch(peer);
}

static void
take_first(struct mesh_peer *peer, const struct cbx_frame *frame)
{
    struct mesh *mesh = peer->mesh;
    const struct cbx_field *message = &frame->field[CBX_HANDSHAKE_MESSAGE];
    const uint8_t *theirs = frame->field[CBX_HANDSHAKE_SENDER_HASH].p;
    const uint8_t *ours = frame->field[CBX_HANDSHAKE_RECEIVER_HASH].p;
    if (answered(peer, message)) {
        mesh->count.replayed++;
        return;
    }
    if (!cbx_rate_take(&peer->first_messages, FIRST_PER_SECOND, FIRST_PER_SECOND, mesh_now(mesh))) {
        mesh->count.handshakes_shed++;
        return;
    }
    mesh_peer_reconsider(peer);
    if (memcmp(ours, mesh->chain_hash, 32) != 0)
        refuse_handshake(peer, CBX_REASON_RESTARTED);
    else if (peer->trust == MESH_TRUST_BELIEVED && memcmp(theirs, peer->chain_hash, 32) == 0)
        answer(peer, message->p, message->n);
    else if (peer->trust == MESH_TRUST_REFUSED && memcmp(theirs, peer->listed_hash, 32) == 0)
        refuse_handshake(peer, peer->refused == CBX_REASON_EXPIRED ? CBX_REASON_EXPIRED
                                                                   : CBX_REASON_DENIED);
    else
        keep_pending(peer, message, theirs);
}

/* ---- what came of ours ---- */

static void
take_second(struct mesh_peer *peer, const struct cbx_frame *frame)
{
    struct mesh *mesh = peer->mesh;
    const struct cbx_field *message = &frame->field[CBX_HANDSHAKE_MESSAGE];
    if (!peer->begun ||
        memcmp(frame->field[CBX_HANDSHAKE_SENDER_HASH].p, peer->chain_hash, 32) != 0 ||
        memcmp(frame->field[CBX_HANDSHAKE_RECEIVER_HASH].p, mesh->chain_hash, 32) != 0) {
        mesh->count.stale++;
        return;
    }
    struct mesh_session *session = calloc(1, sizeof *session);
    if (!session)
        return;
    struct cbx_handshake attempt = *peer->begun; /* wiped by the attempt */
    int result = cbx_handshake_finish(&attempt, message->p, message->n, &session->keys);
    if (result < 0) {
        /* Most often the answer to one begun before: that to this one may still come. */
        mesh->count.handshakes_refused++;
        free(session);
        return;
    }
    peer->round_trip_us = mesh_now(mesh) - peer->begun_at;
    mesh_peer_drop_handshake(peer);
    /* The peer's own sealed word about its incarnation stands above the directory's. */
    if (memcmp(session->keys.peer_incarnation, peer->incarnation, CBX_INCARNATION_SIZE) != 0) {
        mesh->count.directory_mismatches++;
        memcpy(peer->incarnation, session->keys.peer_incarnation, CBX_INCARNATION_SIZE);
    }
    mesh_session_adopt(peer, session);
    if (mesh_rate_passes(mesh, MESH_PASSED_SAY)) /* any record of ours confirms it, too */
        cbx_link_send_slice(&mesh->pump.link, cbx_record_confirm(mesh->aead, &session->keys,
                                                                 mesh->config.slug, peer->slug));
}

/* ---- frames ---- */

/* Frames between peers name their sender first; it must be a listed peer and we the receiver. */
static struct mesh_peer *
sender_of(struct mesh *mesh, const struct cbx_frame *frame)
{
    const struct cbx_field *to = &frame->field[CBX_PASSED_TO];
    if (!cbx_field_is(to, mesh->config.slug)) {
        mesh->count.stale++;
        return NULL;
    }
    struct mesh_peer *peer = mesh_peer_named(mesh, &frame->field[CBX_PASSED_FROM]);
    if (!peer)
        mesh->count.stale++;
    return peer;
}

void
mesh_peer_handshake(struct mesh *mesh, struct cbx_frame *frame)
{
    struct mesh_peer *peer = sender_of(mesh, frame);
    if (!peer)
        return;
    uint64_t step = frame->field[CBX_HANDSHAKE_STEP].u;
    if (step == STEP_ASK)
        take_first(peer, frame);
    else if (step == STEP_ANSWER)
        take_second(peer, frame);
    else
        mesh->count.stale++;
}

void
mesh_peer_confirm_frame(struct mesh *mesh, struct cbx_frame *frame)
{
    struct mesh_peer *peer = sender_of(mesh, frame);
    struct mesh_session *session = peer ? peer->unconfirmed : NULL;
    if (!session ||
        memcmp(session->keys.id, frame->field[CBX_CONFIRM_SESSION].p, CBX_SESSION_ID_SIZE) != 0) {
        mesh->count.stale++; /* most often a record came first */
        return;
    }
    if (cbx_record_open_confirm(mesh->aead, &session->keys, frame) < 0) {
        mesh->count.integrity++;
        return;
    }
    mesh_peer_confirm(peer, session);
}

/* The hub's or the peer's word, not sealed: it can only make us wait or ask again. */
void
mesh_peer_no_handshake(struct mesh *mesh, struct cbx_frame *frame)
{
    struct mesh_peer *peer = sender_of(mesh, frame);
    if (!peer || !peer->begun) {
        mesh->count.stale++;
        return;
    }
    enum cbx_reason reason =
        cbx_reason_of(frame->field[CBX_NO_HANDSHAKE_REASON].u, CBX_REASON_DENIED);
    mesh->count.handshakes_refused++;
    mesh_peer_drop_handshake(peer);
    if (reason == CBX_REASON_RESTARTED) {
        mesh_peer_set_trust(peer, MESH_TRUST_NONE);
        peer->begun_at = mesh_now(mesh);
        return;
    }
    mesh_streams_refuse_waiting(mesh, peer->slug, reason);
}
