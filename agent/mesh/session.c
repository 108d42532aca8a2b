/* SPDX-License-Identifier: MIT */
/* Sessions with peers (rules 12, 13): begun, answered, confirmed, renewed. */
#include "agent/mesh/internal.h"
#include "common/base/log.h"
#include "common/crypto/aead_choice.h"
#include <sodium.h>
#include <stdlib.h>
#include <string.h>

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
    bool aes = cbx_aead_preferred() == CBX_CIPHER_AES256GCM && !mesh->config.prefer_chacha;
    self.cipher[0] = aes ? CBX_CIPHER_AES256GCM : CBX_CIPHER_CHACHA20POLY1305;
    self.cipher[1] = aes ? CBX_CIPHER_CHACHA20POLY1305 : CBX_CIPHER_AES256GCM;
    return self;
}

static void
send_handshake(struct mesh_peer *peer, uint64_t step, const uint8_t *message, size_t length)
{
    struct mesh *mesh = peer->mesh;
    struct cbx_field fields[] = {cbx_field_text(mesh->config.slug),
                                 cbx_field_text(peer->slug),
                                 cbx_field_uint(step),
                                 cbx_field_bytes(mesh->chain_hash, 32),
                                 cbx_field_bytes(peer->chain_hash, 32),
                                 cbx_field_bytes(message, length)};
    cbx_link_send(&mesh->pump.link, CBX_FRAME_HANDSHAKE, 0, fields, 6);
}

static void
begin(struct mesh_peer *peer)
{
    struct mesh *mesh = peer->mesh;
    /* On a slow road an answer takes longer than the first wait: each wait is twice the one before,
     * or every answer would come to a handshake that has been replaced. */
    peer->begun_wait = peer->begun ? 2 * peer->begun_wait : MESH_HANDSHAKE_RETRY_US;
    if (peer->begun_wait > MESH_HANDSHAKE_RETRY_MAX_US)
        peer->begun_wait = MESH_HANDSHAKE_RETRY_MAX_US;
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
    send_handshake(peer, 1, message, (size_t)length);
}

struct mesh_session *
mesh_peer_newest(struct mesh_peer *peer)
{
    return TAILQ_FIRST(&peer->sessions);
}

/* Where both ends began at the same time there are two sessions, and each end hears of them in
 * another order: the same one must be the newest at both. */
static bool
crossed(const struct mesh_session *old, const struct mesh_session *session, int64_t now)
{
    return old && !old->doubted && now - old->born < MESH_CONFIRM_US &&
           old->keys.initiator != session->keys.initiator &&
           memcmp(old->keys.peer_incarnation, session->keys.peer_incarnation,
                  CBX_INCARNATION_SIZE) == 0;
}

/* Takes the session in as the newest; streams move to it in epochs of their own. */
static void
adopt(struct mesh_peer *peer, struct mesh_session *session)
{
    int64_t now = mesh_now(peer->mesh);
    struct mesh_session *old = TAILQ_FIRST(&peer->sessions);
    bool second = crossed(old, session, now) &&
                  memcmp(old->keys.id, session->keys.id, CBX_SESSION_ID_SIZE) > 0;
    session->born = now;
    session->replaced_at = second ? now : 0;
    if (second) {
        TAILQ_INSERT_AFTER(&peer->sessions, old, session, entry);
    } else {
        if (old)
            old->replaced_at = now;
        TAILQ_INSERT_HEAD(&peer->sessions, session, entry);
    }
    if (++peer->session_count > MESH_SESSIONS_MAX) {
        struct mesh_session *oldest = TAILQ_LAST(&peer->sessions, mesh_sessions);
        TAILQ_REMOVE(&peer->sessions, oldest, entry);
        mesh_session_free(oldest);
        peer->session_count--;
    }
    peer->mesh->dial_due = true;
    mesh_streams_rekey(peer);
    mesh_wake(peer->mesh);
}

struct mesh_session *
mesh_peer_session_by_id(struct mesh_peer *peer, const uint8_t *id)
{
    struct mesh_session *session;
    TAILQ_FOREACH(session, &peer->sessions, entry) {
        if (memcmp(session->keys.id, id, CBX_SESSION_ID_SIZE) == 0)
            return session;
    }
    session = peer->unconfirmed;
    return session && memcmp(session->keys.id, id, CBX_SESSION_ID_SIZE) == 0 ? session : NULL;
}

void
mesh_peer_confirm(struct mesh_peer *peer, struct mesh_session *session)
{
    if (session != peer->unconfirmed)
        return;
    peer->unconfirmed = NULL;
    adopt(peer, session);
}

static bool
usable(const struct mesh_peer *peer, const struct mesh_session *session)
{
    return session && !session->doubted &&
           memcmp(session->keys.peer_incarnation, peer->incarnation, CBX_INCARNATION_SIZE) == 0;
}

struct mesh_session *
mesh_peer_session(struct mesh_peer *peer)
{
    struct mesh *mesh = peer->mesh;
    int64_t now = mesh_now(mesh);
    struct mesh_session *session = TAILQ_FIRST(&peer->sessions);
    if (peer->trust == MESH_TRUST_REFUSED || mesh->phase != MESH_UP)
        return NULL;
    bool expired = peer->trust == MESH_TRUST_BELIEVED &&
                   mesh->ops->now_unix(mesh->arg) > peer->ends + CBX_CLOCK_GRACE_S;
    if (expired) {
        mesh_peer_refuse(peer, CBX_REASON_EXPIRED, "its certificate is past its end");
        return NULL;
    }
    bool good = usable(peer, session) && peer->trust == MESH_TRUST_BELIEVED;
    bool old = good && (now - session->born > MESH_RENEW_US || session->bytes > MESH_RENEW_BYTES);
    if (good && !old)
        return session;
    if (peer->trust == MESH_TRUST_NONE)
        mesh_peer_fetch(peer);
    else if (peer->trust == MESH_TRUST_BELIEVED &&
             (!peer->begun || now - peer->begun_at >= peer->begun_wait))
        begin(peer);
    return good ? session : NULL;
}

static void answer(struct mesh_peer *peer, const uint8_t *message, uint32_t length);

/* The chain holds and is on disk: what waited for that goes on. */
void
mesh_peer_believed(struct mesh_peer *peer)
{
    peer->trust = MESH_TRUST_BELIEVED;
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

static void
refuse_handshake(struct mesh_peer *peer, enum cbx_reason reason)
{
    struct mesh *mesh = peer->mesh;
    struct cbx_field fields[] = {cbx_field_text(mesh->config.slug), cbx_field_text(peer->slug),
                                 cbx_field_uint(reason)};
    mesh->count.handshakes_refused++;
    cbx_link_send(&mesh->pump.link, CBX_FRAME_NO_HANDSHAKE, 0, fields, 3);
}

static void
answer(struct mesh_peer *peer, const uint8_t *message, uint32_t length)
{
    struct mesh *mesh = peer->mesh;
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
    send_handshake(peer, 2, reply, (size_t)result);
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

static void
take_first(struct mesh_peer *peer, const struct cbx_frame *frame)
{
    struct mesh *mesh = peer->mesh;
    if (answered(peer, &frame->field[5])) {
        mesh->count.replayed++;
        return;
    }
    if (!cbx_rate_take(&peer->first_messages, MESH_FIRST_PER_SECOND, MESH_FIRST_PER_SECOND,
                       mesh_now(mesh))) {
        mesh->count.handshakes_shed++;
        return;
    }
    if (memcmp(frame->field[4].p, mesh->chain_hash, 32) != 0) {
        refuse_handshake(peer, CBX_REASON_RESTARTED);
        return;
    }
    bool same =
        peer->trust == MESH_TRUST_BELIEVED && memcmp(frame->field[3].p, peer->chain_hash, 32) == 0;
    if (same) {
        answer(peer, frame->field[5].p, frame->field[5].n);
        return;
    }
    if (peer->trust == MESH_TRUST_REFUSED &&
        memcmp(frame->field[3].p, peer->listed_hash, 32) == 0) {
        refuse_handshake(peer, CBX_REASON_DENIED);
        return;
    }
    mesh_peer_drop_pending(peer);
    peer->pending = malloc(frame->field[5].n);
    if (!peer->pending)
        return;
    memcpy(peer->pending, frame->field[5].p, frame->field[5].n);
    peer->pending_length = frame->field[5].n;
    memcpy(peer->pending_hash, frame->field[3].p, 32);
    if (peer->trust != MESH_TRUST_FETCHING && peer->trust != MESH_TRUST_STORING)
        mesh_peer_fetch(peer);
}

static void
take_second(struct mesh_peer *peer, const struct cbx_frame *frame)
{
    struct mesh *mesh = peer->mesh;
    if (!peer->begun || memcmp(frame->field[3].p, peer->chain_hash, 32) != 0 ||
        memcmp(frame->field[4].p, mesh->chain_hash, 32) != 0) {
        mesh->count.stale++;
        return;
    }
    struct mesh_session *session = calloc(1, sizeof *session);
    if (!session)
        return;
    struct cbx_handshake attempt = *peer->begun; /* wiped by the attempt */
    int result =
        cbx_handshake_finish(&attempt, frame->field[5].p, frame->field[5].n, &session->keys);
    if (result < 0) {
        /* Most often the answer to one begun before: that to this one may still come. */
        mesh->count.handshakes_refused++;
        free(session);
        return;
    }
    peer->round_trip_us = mesh_now(mesh) - peer->begun_at;
    mesh_peer_drop_handshake(peer);
    /* The peer's own sealed word about its life stands above the directory's. */
    if (memcmp(session->keys.peer_incarnation, peer->incarnation, CBX_INCARNATION_SIZE) != 0) {
        mesh->count.directory_mismatches++;
        memcpy(peer->incarnation, session->keys.peer_incarnation, CBX_INCARNATION_SIZE);
    }
    adopt(peer, session);
    cbx_link_send_slice(&mesh->pump.link, cbx_record_confirm(mesh->aead, &session->keys,
                                                             mesh->config.slug, peer->slug));
}

/* Frames between peers name their sender first; it must be a listed peer and we the receiver. */
static struct mesh_peer *
sender_of(struct mesh *mesh, const struct cbx_frame *frame)
{
    const struct cbx_field *to = &frame->field[1];
    if (!cbx_field_is(to, mesh->config.slug)) {
        mesh->count.stale++;
        return NULL;
    }
    struct mesh_peer *peer =
        mesh_peer_find(mesh, (const char *)frame->field[0].p, frame->field[0].n);
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
    if (frame->field[2].u == 1)
        take_first(peer, frame);
    else if (frame->field[2].u == 2)
        take_second(peer, frame);
    else
        mesh->count.stale++;
}

void
mesh_peer_confirm_frame(struct mesh *mesh, struct cbx_frame *frame)
{
    struct mesh_peer *peer = sender_of(mesh, frame);
    struct mesh_session *session = peer ? peer->unconfirmed : NULL;
    if (!session || memcmp(session->keys.id, frame->field[2].p, CBX_SESSION_ID_SIZE) != 0) {
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
    enum cbx_reason reason = cbx_reason_of(frame->field[2].u, CBX_REASON_DENIED);
    mesh->count.handshakes_refused++;
    mesh_peer_drop_handshake(peer);
    if (reason == CBX_REASON_RESTARTED) {
        peer->trust = MESH_TRUST_NONE;
        peer->begun_at = mesh_now(mesh);
        return;
    }
    mesh_streams_refuse_waiting(mesh, peer->slug, reason);
}
