/* SPDX-License-Identifier: MIT */
/* Belief in peers and sessions with them (rules 1 to 3, 12, 13, 15). */
#include "log.h"
#include "mesh_internal.h"
#include <sodium.h>
#include <stdlib.h>
#include <string.h>

enum { FIRST_PER_SECOND = 5, LISTED_GONE = 2, LISTED_READY = 1 };
static const int64_t RENEW_US = 3600ll * 1000 * 1000;
static const uint64_t RENEW_BYTES = 64ull << 30;

struct mesh_peer *
mesh_peer_find(struct mesh *mesh, const char *slug, size_t length)
{
    struct mesh_peer *peer = NULL;
    HASH_FIND(hh, mesh->peers, slug, length, peer);
    return peer;
}

static void
free_session(struct mesh_session *session)
{
    cbx_session_wipe(&session->keys);
    free(session);
}

static void
drop_handshake(struct mesh_peer *peer)
{
    if (!peer->begun)
        return;
    cbx_handshake_wipe(peer->begun);
    free(peer->begun);
    peer->begun = NULL;
}

static void
drop_unconfirmed(struct mesh_peer *peer)
{
    if (peer->unconfirmed)
        free_session(peer->unconfirmed);
    peer->unconfirmed = NULL;
}

static void
drop_pending(struct mesh_peer *peer)
{
    free(peer->pending);
    peer->pending = NULL;
}

void
mesh_peer_drop_sessions(struct mesh_peer *peer)
{
    struct mesh_session *session;
    while ((session = TAILQ_FIRST(&peer->sessions))) {
        TAILQ_REMOVE(&peer->sessions, session, entry);
        free_session(session);
    }
    peer->session_count = 0;
    drop_unconfirmed(peer);
    drop_handshake(peer);
}

void
mesh_peer_free(struct mesh_peer *peer)
{
    HASH_DELETE(hh, peer->mesh->peers, peer);
    mesh_peer_drop_sessions(peer);
    drop_pending(peer);
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
    peer->first_tokens = FIRST_PER_SECOND;
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
    if (!peer)
        peer = peer_new(mesh, &field[0]);
    if (!peer)
        return cbx_fail(error, CBX_ERR_NOMEM, "out of memory for a peer");
    peer->seen = true;
    peer->ready = field[1].u == LISTED_READY;
    peer->generation = field[2].u;
    peer->serial = field[3].u;
    memcpy(peer->life, field[4].p, CBX_LIFE_SIZE);
    set_text(&peer->ports, &field[6]);
    set_text(&peer->labels, &field[7]);
    if (memcmp(peer->listed_hash, field[5].p, 32) == 0)
        return 0;
    /* Another chain: what was believed of the old one does not hold for the new one. */
    memcpy(peer->listed_hash, field[5].p, 32);
    if (peer->trust == MESH_TRUST_REFUSED
        || (peer->trust == MESH_TRUST_BELIEVED
            && memcmp(peer->chain_hash, peer->listed_hash, 32) != 0)) {
        peer->trust = MESH_TRUST_NONE;
        mesh_peer_drop_sessions(peer);
    }
    return 0;
}

void
mesh_peers_synced(struct mesh *mesh)
{
    struct mesh_peer *peer, *next;
    HASH_ITER(hh, mesh->peers, peer, next)
    {
        if (!peer->seen)
            peer_gone(peer);
    }
}

/* ---- belief ---- */

static void
refuse(struct mesh_peer *peer, enum cbx_reason reason, const char *text)
{
    peer->trust = MESH_TRUST_REFUSED;
    peer->refused = reason;
    strncpy(peer->refused_text, text, sizeof peer->refused_text - 1);
    drop_pending(peer);
    cbx_log_warn("%s.%s.cbx is not believed: %s", peer->slug, peer->mesh->config.pond, text);
    mesh_streams_refuse_waiting(peer->mesh, peer->slug, reason);
}

static void
fetch(struct mesh_peer *peer)
{
    struct mesh *mesh = peer->mesh;
    peer->trust = MESH_TRUST_FETCHING;
    peer->fetch_at = mesh_now(mesh);
    struct cbx_field field = cbx_field_text(peer->slug);
    cbx_link_send(&mesh->pump.link, CBX_FRAME_CHAIN_GET, 0, &field, 1);
}

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
        size_t room = 2 * mesh->known_room;
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
        refuse(peer, CBX_REASON_DENIED, "the hub shows an older certificate than this lease knows");
        return false;
    }
    if (known && known->serial == invite->serial) {
        if (sodium_memcmp(known->identity, cert->identity, 32) == 0)
            return true;
        mesh->count.leaked++;
        refuse(peer, CBX_REASON_DENIED,
               "a second identity under one invite: its token leaked; invite that lease anew");
        return false;
    }
    if (!known)
        known = known_add(mesh, peer->slug);
    if (!known) {
        refuse(peer, CBX_REASON_INTERNAL, "out of memory");
        return false;
    }
    known->serial = invite->serial;
    memcpy(known->identity, cert->identity, 32);
    mesh->known_version++;
    return true;
}

static void believed(struct mesh_peer *peer);

static void
store_known(struct mesh_peer *peer)
{
    struct mesh *mesh = peer->mesh;
    peer->store_version = mesh->known_version;
    if (mesh->stored_version >= peer->store_version) {
        believed(peer);
        return;
    }
    peer->trust = MESH_TRUST_STORING;
    if (mesh->asked_version == mesh->stored_version) {
        mesh->asked_version = mesh->known_version;
        mesh->ops->known_changed(mesh->arg, mesh->known, mesh->known_count);
    }
}

void
mesh_peers_stored(struct mesh *mesh)
{
    struct mesh_peer *peer, *next;
    HASH_ITER(hh, mesh->peers, peer, next)
    {
        if (peer->trust == MESH_TRUST_STORING && mesh->stored_version >= peer->store_version)
            believed(peer);
    }
    if (mesh->known_version > mesh->asked_version) {
        mesh->asked_version = mesh->known_version;
        mesh->ops->known_changed(mesh->arg, mesh->known, mesh->known_count);
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

static void
take_chain(struct mesh_peer *peer, struct cbx_frame *frame, struct chain *chain)
{
    struct mesh *mesh = peer->mesh;
    struct cbx_error error = { "" };
    if (copy_cert(&chain->invite, &frame->field[1]) < 0
        || copy_cert(&chain->peer, &frame->field[2]) < 0) {
        peer->trust = MESH_TRUST_NONE;
        mesh_streams_refuse_waiting(mesh, peer->slug, CBX_REASON_UNKNOWN_NAME);
        return;
    }
    int result = cbx_chain_open(&chain->invite, &chain->peer, mesh->config.pond_public,
                                mesh->ops->now_unix(mesh->arg), &chain->invite_read,
                                &chain->peer_read, &error);
    if (result < 0) {
        refuse(peer, result == CBX_ERR_EXPIRED ? CBX_REASON_EXPIRED : CBX_REASON_DENIED, error.text);
        return;
    }
    if (strcmp(chain->peer_read.slug, peer->slug) != 0
        || strcmp(chain->peer_read.pond, mesh->config.pond) != 0) {
        refuse(peer, CBX_REASON_DENIED, "the hub shows the certificate of another lease");
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
    struct mesh_peer *peer
        = mesh_peer_find(mesh, (const char *)frame->field[0].p, frame->field[0].n);
    if (!peer || peer->trust != MESH_TRUST_FETCHING)
        return;
    struct chain *chain = calloc(1, sizeof *chain);
    if (!chain) {
        peer->trust = MESH_TRUST_NONE;
        return;
    }
    take_chain(peer, frame, chain);
    free(chain);
    mesh->dial_due = true;
}

/* ---- sessions ---- */

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
    memcpy(self.life, mesh->life, CBX_LIFE_SIZE);
    bool aes = cbx_aead_has_aes() && !mesh->config.prefer_chacha;
    self.cipher[0] = aes ? CBX_CIPHER_AES256GCM : CBX_CIPHER_CHACHA20POLY1305;
    self.cipher[1] = aes ? CBX_CIPHER_CHACHA20POLY1305 : CBX_CIPHER_AES256GCM;
    return self;
}

static void
send_handshake(struct mesh_peer *peer, uint64_t step, const uint8_t *message, size_t length)
{
    struct mesh *mesh = peer->mesh;
    struct cbx_field fields[]
        = { cbx_field_text(mesh->config.slug),        cbx_field_text(peer->slug),
            cbx_field_uint(step),                     cbx_field_bytes(mesh->chain_hash, 32),
            cbx_field_bytes(peer->chain_hash, 32), cbx_field_bytes(message, length) };
    cbx_link_send(&mesh->pump.link, CBX_FRAME_HANDSHAKE, 0, fields, 6);
}

static void
begin(struct mesh_peer *peer)
{
    struct mesh *mesh = peer->mesh;
    drop_handshake(peer);
    peer->begun = calloc(1, sizeof *peer->begun);
    if (!peer->begun)
        return;
    struct cbx_session_self self = self_of(mesh);
    struct cbx_session_peer other
        = { .exchange_public = peer->exchange, .chain_hash = peer->chain_hash };
    uint8_t message[CBX_HANDSHAKE_MESSAGE_MAX];
    int length = cbx_handshake_begin(peer->begun, &self, &other, message);
    if (length < 0) {
        drop_handshake(peer);
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

/* Takes the session in as the newest; streams move to it in epochs of their own. */
static void
adopt(struct mesh_peer *peer, struct mesh_session *session)
{
    int64_t now = mesh_now(peer->mesh);
    struct mesh_session *old = TAILQ_FIRST(&peer->sessions);
    if (old)
        old->replaced_at = now;
    session->born = now;
    session->replaced_at = 0;
    TAILQ_INSERT_HEAD(&peer->sessions, session, entry);
    if (++peer->session_count > MESH_SESSIONS_MAX) {
        struct mesh_session *oldest = TAILQ_LAST(&peer->sessions, mesh_sessions);
        TAILQ_REMOVE(&peer->sessions, oldest, entry);
        free_session(oldest);
        peer->session_count--;
    }
    peer->mesh->dial_due = true;
    if (old)
        mesh_streams_rekey(peer);
    mesh_wake(peer->mesh);
}

struct mesh_session *
mesh_peer_session_by_id(struct mesh_peer *peer, const uint8_t *id)
{
    struct mesh_session *session;
    TAILQ_FOREACH(session, &peer->sessions, entry)
    {
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
    return session && memcmp(session->keys.peer_life, peer->life, CBX_LIFE_SIZE) == 0;
}

struct mesh_session *
mesh_peer_session(struct mesh_peer *peer)
{
    struct mesh *mesh = peer->mesh;
    int64_t now = mesh_now(mesh);
    struct mesh_session *session = TAILQ_FIRST(&peer->sessions);
    if (peer->trust == MESH_TRUST_REFUSED || mesh->phase != MESH_UP)
        return NULL;
    bool expired = peer->trust == MESH_TRUST_BELIEVED
        && mesh->ops->now_unix(mesh->arg) > peer->ends + CBX_CLOCK_GRACE_S;
    if (expired) {
        refuse(peer, CBX_REASON_EXPIRED, "its certificate is past its end");
        return NULL;
    }
    bool good = usable(peer, session) && peer->trust == MESH_TRUST_BELIEVED;
    bool old = good && (now - session->born > RENEW_US || session->bytes > RENEW_BYTES);
    if (good && !old)
        return session;
    if (peer->trust == MESH_TRUST_NONE)
        fetch(peer);
    else if (peer->trust == MESH_TRUST_BELIEVED
             && (!peer->begun || now - peer->begun_at >= MESH_HANDSHAKE_RETRY_US))
        begin(peer);
    return good ? session : NULL;
}

static void answer(struct mesh_peer *peer, const uint8_t *message, uint32_t length);

/* The chain holds and is on disk: what waited for that goes on. */
static void
believed(struct mesh_peer *peer)
{
    peer->trust = MESH_TRUST_BELIEVED;
    if (peer->pending) {
        uint8_t *message = peer->pending;
        peer->pending = NULL;
        if (memcmp(peer->pending_hash, peer->chain_hash, 32) == 0)
            answer(peer, message, peer->pending_length);
        free(message);
    }
    peer->mesh->dial_due = true;
}

static void
refuse_handshake(struct mesh_peer *peer, enum cbx_reason reason)
{
    struct mesh *mesh = peer->mesh;
    struct cbx_field fields[] = { cbx_field_text(mesh->config.slug), cbx_field_text(peer->slug),
                                  cbx_field_uint(reason) };
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
    struct cbx_session_peer other
        = { .exchange_public = peer->exchange, .chain_hash = peer->chain_hash };
    uint8_t reply[CBX_HANDSHAKE_MESSAGE_MAX];
    int result = cbx_handshake_answer(&self, &other, message, length, reply, &session->keys);
    if (result < 0) {
        free(session);
        refuse_handshake(peer, CBX_REASON_DENIED);
        return;
    }
    drop_unconfirmed(peer);
    peer->unconfirmed = session;
    session->born = mesh_now(mesh);
    send_handshake(peer, 2, reply, (size_t)result);
}

static bool
first_message_allowed(struct mesh_peer *peer)
{
    int64_t now = mesh_now(peer->mesh);
    if (peer->first_at)
        peer->first_tokens += (double)(now - peer->first_at) * FIRST_PER_SECOND / 1e6;
    if (peer->first_tokens > FIRST_PER_SECOND)
        peer->first_tokens = FIRST_PER_SECOND;
    peer->first_at = now;
    if (peer->first_tokens < 1)
        return false;
    peer->first_tokens -= 1;
    return true;
}

static void
take_first(struct mesh_peer *peer, const struct cbx_frame *frame)
{
    struct mesh *mesh = peer->mesh;
    if (!first_message_allowed(peer)) {
        mesh->count.handshakes_shed++;
        return;
    }
    if (memcmp(frame->field[4].p, mesh->chain_hash, 32) != 0) {
        refuse_handshake(peer, CBX_REASON_RESTARTED);
        return;
    }
    bool same = peer->trust == MESH_TRUST_BELIEVED
        && memcmp(frame->field[3].p, peer->chain_hash, 32) == 0;
    if (same) {
        answer(peer, frame->field[5].p, frame->field[5].n);
        return;
    }
    if (peer->trust == MESH_TRUST_REFUSED
        && memcmp(frame->field[3].p, peer->listed_hash, 32) == 0) {
        refuse_handshake(peer, CBX_REASON_DENIED);
        return;
    }
    drop_pending(peer);
    peer->pending = malloc(frame->field[5].n);
    if (!peer->pending)
        return;
    memcpy(peer->pending, frame->field[5].p, frame->field[5].n);
    peer->pending_length = frame->field[5].n;
    memcpy(peer->pending_hash, frame->field[3].p, 32);
    if (peer->trust != MESH_TRUST_FETCHING && peer->trust != MESH_TRUST_STORING)
        fetch(peer);
}

static void
take_second(struct mesh_peer *peer, const struct cbx_frame *frame)
{
    struct mesh *mesh = peer->mesh;
    if (!peer->begun)
        return;
    struct mesh_session *session = calloc(1, sizeof *session);
    if (!session)
        return;
    int result = cbx_handshake_finish(peer->begun, frame->field[5].p, frame->field[5].n,
                                      &session->keys);
    drop_handshake(peer);
    if (result < 0) {
        mesh->count.handshakes_refused++;
        mesh->count.integrity++;
        free(session);
        return; /* begun anew after the retry time while somebody waits */
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
    if (to->n != strlen(mesh->config.slug) || memcmp(to->p, mesh->config.slug, to->n) != 0) {
        mesh->count.stale++;
        return NULL;
    }
    struct mesh_peer *peer
        = mesh_peer_find(mesh, (const char *)frame->field[0].p, frame->field[0].n);
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
}

void
mesh_peer_confirm_frame(struct mesh *mesh, struct cbx_frame *frame)
{
    struct mesh_peer *peer = sender_of(mesh, frame);
    struct mesh_session *session = peer ? peer->unconfirmed : NULL;
    if (!session || memcmp(session->keys.id, frame->field[2].p, CBX_SESSION_ID_SIZE) != 0)
        return;
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
    if (!peer || !peer->begun)
        return;
    uint64_t code = frame->field[2].u;
    mesh->count.handshakes_refused++;
    drop_handshake(peer);
    if (code == CBX_REASON_RESTARTED) {
        peer->trust = MESH_TRUST_NONE;
        peer->begun_at = mesh_now(mesh);
        return;
    }
    mesh_streams_refuse_waiting(mesh, peer->slug,
                                code && code <= CBX_REASON_MAX ? (enum cbx_reason)code
                                                               : CBX_REASON_DENIED);
}

void
mesh_prepare(struct mesh *mesh, const char *slug)
{
    struct mesh_peer *peer = mesh_peer_find(mesh, slug, strlen(slug));
    if (peer && peer->ready)
        mesh_peer_session(peer);
}

/* ---- replay, time ---- */

bool
mesh_peer_replay_take(struct mesh_peer *peer, const uint8_t stream_id[CBX_STREAM_ID_SIZE])
{
    int64_t now = mesh_now(peer->mesh);
    int slot = 0;
    for (int i = 0; i < MESH_REPLAYS_MAX; i++) {
        struct mesh_replay *replay = peer->replay[i];
        if (replay && memcmp(replay->life, stream_id, CBX_LIFE_SIZE) == 0) {
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
    memcpy(replay->life, stream_id, CBX_LIFE_SIZE);
    replay->used_at = now;
    return cbx_replay_take(&replay->window, cbx_stream_id_counter(stream_id));
}

void
mesh_peers_sweep(struct mesh *mesh, int64_t now)
{
    struct mesh_peer *peer, *next;
    HASH_ITER(hh, mesh->peers, peer, next)
    {
        if (peer->unconfirmed && now - peer->unconfirmed->born > MESH_CONFIRM_US)
            drop_unconfirmed(peer);
        if (peer->trust == MESH_TRUST_FETCHING && now - peer->fetch_at > MESH_HANDSHAKE_RETRY_US)
            peer->trust = MESH_TRUST_NONE;
        struct mesh_session *session, *after;
        for (session = TAILQ_FIRST(&peer->sessions); session; session = after) {
            after = TAILQ_NEXT(session, entry);
            if (session->replaced_at && now - session->replaced_at > MESH_SESSION_GRACE_US) {
                TAILQ_REMOVE(&peer->sessions, session, entry);
                peer->session_count--;
                free_session(session);
            }
        }
        session = TAILQ_FIRST(&peer->sessions);
        if (session && peer->stream_count
            && (now - session->born > RENEW_US || session->bytes > RENEW_BYTES))
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
    HASH_ITER(hh, mesh->peers, peer, next)
    {
        drop_handshake(peer);
        drop_pending(peer);
        if (peer->trust == MESH_TRUST_FETCHING)
            peer->trust = MESH_TRUST_NONE;
    }
}
