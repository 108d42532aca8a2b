/* SPDX-License-Identifier: MIT */
/* Tested by sim_rules and sim_hostile_handshakes. */
#include "agent/mesh/session.h"

#include "agent/mesh/stream.h"

#include <stdlib.h>
#include <string.h>

/* Unconfirmed for longer than this, an answered session is given up. */
static const int64_t CONFIRM_US = 10 * 1000 * 1000;
/* For what is on its way in a session that was replaced. */
static const int64_t GRACE_US = 60 * 1000 * 1000;

/* ---- which ---- */

struct mesh_session *
mesh_peer_newest(struct mesh_peer *peer)
{
    return TAILQ_FIRST(&peer->sessions);
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

bool
mesh_session_usable(const struct mesh_peer *peer, const struct mesh_session *session)
{
    return session && !session->suspect &&
           memcmp(session->keys.peer_incarnation, peer->incarnation, CBX_INCARNATION_SIZE) == 0;
}

bool
mesh_session_old(const struct mesh_session *session, int64_t now)
{
    return now - session->born > MESH_RENEW_US || session->bytes > MESH_RENEW_BYTES;
}

/* ---- replay windows ---- */

static struct mesh_replay *
find_replay(const struct mesh_peer *peer, const uint8_t incarnation[CBX_INCARNATION_SIZE])
{
    struct mesh_replay *replay;
    SLIST_FOREACH(replay, &peer->replays, entry) {
        if (memcmp(replay->incarnation, incarnation, CBX_INCARNATION_SIZE) == 0)
            return replay;
    }
    return NULL;
}

bool
mesh_session_replay_take(struct mesh_peer *peer, const uint8_t stream_id[CBX_STREAM_ID_SIZE])
{
    struct mesh_replay *replay = find_replay(peer, stream_id);
    if (!replay) {
        replay = calloc(1, sizeof *replay);
        if (!replay)
            return false;
        memcpy(replay->incarnation, stream_id, CBX_INCARNATION_SIZE);
        SLIST_INSERT_HEAD(&peer->replays, replay, entry);
    }
    return cbx_replay_take(&replay->window, cbx_stream_id_counter(stream_id));
}

static bool
is_of(const struct mesh_session *session, const struct mesh_replay *replay)
{
    return memcmp(session->keys.peer_incarnation, replay->incarnation, CBX_INCARNATION_SIZE) == 0;
}

static bool
has_session(const struct mesh_peer *peer, const struct mesh_replay *replay)
{
    const struct mesh_session *session;
    TAILQ_FOREACH(session, &peer->sessions, entry) {
        if (is_of(session, replay))
            return true;
    }
    return peer->unconfirmed && is_of(peer->unconfirmed, replay);
}

/* A session went: what only its records could have come by goes with it. */
static void
forget_replays(struct mesh_peer *peer)
{
    struct mesh_replay *replay, *next;
    for (replay = SLIST_FIRST(&peer->replays); replay; replay = next) {
        next = SLIST_NEXT(replay, entry);
        if (has_session(peer, replay))
            continue;
        SLIST_REMOVE(&peer->replays, replay, mesh_replay, entry);
        free(replay);
    }
}

/* ---- they come ---- */

static void
session_free(struct mesh_session *session)
{
    cbx_session_wipe(&session->keys);
    free(session);
}

static void
drop(struct mesh_peer *peer, struct mesh_session *session)
{
    TAILQ_REMOVE(&peer->sessions, session, entry);
    session_free(session);
    peer->session_count--;
    forget_replays(peer);
}

/* Where both ends began at the same time there are two sessions, and each end hears of them in
 * another order: the same one must be the newest at both. */
static bool
crossed(const struct mesh_session *old, const struct mesh_session *session, int64_t now)
{
    return old && !old->suspect && now - old->born < CONFIRM_US &&
           old->keys.initiator != session->keys.initiator &&
           memcmp(old->keys.peer_incarnation, session->keys.peer_incarnation,
                  CBX_INCARNATION_SIZE) == 0;
}

void
mesh_session_adopt(struct mesh_peer *peer, struct mesh_session *session)
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
    if (++peer->session_count > MESH_SESSIONS_MAX)
        drop(peer, TAILQ_LAST(&peer->sessions, mesh_sessions));
    peer->mesh->dial_due = true;
    mesh_streams_rekey(peer);
    mesh_wake(peer->mesh);
}

void
mesh_peer_confirm(struct mesh_peer *peer, struct mesh_session *session)
{
    if (session != peer->unconfirmed)
        return;
    peer->unconfirmed = NULL;
    mesh_session_adopt(peer, session);
}

/* ---- they go ---- */

void
mesh_peer_suspect_sessions(struct mesh_peer *peer)
{
    struct mesh_session *session;
    TAILQ_FOREACH(session, &peer->sessions, entry)
        session->suspect = true;
}

void
mesh_peer_drop_unconfirmed(struct mesh_peer *peer)
{
    if (peer->unconfirmed)
        session_free(peer->unconfirmed);
    peer->unconfirmed = NULL;
    forget_replays(peer);
}

void
mesh_peer_drop_sessions(struct mesh_peer *peer)
{
    struct mesh_session *session;
    while ((session = TAILQ_FIRST(&peer->sessions)))
        drop(peer, session);
    mesh_peer_drop_unconfirmed(peer);
}

void
mesh_sessions_sweep(struct mesh_peer *peer, int64_t now)
{
    struct mesh_session *session, *next;
    if (peer->unconfirmed && now - peer->unconfirmed->born > CONFIRM_US)
        mesh_peer_drop_unconfirmed(peer);
    for (session = TAILQ_FIRST(&peer->sessions); session; session = next) {
        next = TAILQ_NEXT(session, entry);
        if (session->replaced_at && now - session->replaced_at > GRACE_US)
            drop(peer, session);
    }
}
