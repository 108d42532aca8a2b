/* SPDX-License-Identifier: MIT */
/*
 * The sessions of a peer (rules 12, 13): which is the newest, which an OPEN names, and how long the
 * others stay. handshake.c makes them. A session is adopted once it is confirmed: at once where we
 * began the handshake, by the first record that opens where we answered it.
 */
#ifndef AGENT_MESH_SESSION_H
#define AGENT_MESH_SESSION_H

#include "agent/mesh/peer_state.h"

enum { MESH_SESSIONS_MAX = 6 };

/*
 * The newest confirmed one serves dials; older ones stay for a minute for what is on its way. One
 * handshake that we began and one session that we answered and that no record has confirmed yet
 * stand beside them (rule 13). Streams hold derived keys, never a session.
 */
struct mesh_session {
    struct cbx_session keys;
    int64_t born;
    int64_t replaced_at; /* 0: it is the newest */
    bool suspect;        /* said to be forgotten there: for no dial and no new epoch */
    uint8_t first[32];   /* answered: what message 1 began with, so that a repeat is seen */
    uint64_t bytes;      /* sent while it was the newest */
    uint64_t rendezvous_sent, rendezvous_taken; /* last counters of RENDEZVOUS */
    TAILQ_ENTRY(mesh_session) entry;
};

/* Stream identities of one incarnation of a dialer (rule 15): there for as long as one of its
 * sessions is. */
struct mesh_replay {
    SLIST_ENTRY(mesh_replay) entry;
    uint8_t incarnation[CBX_INCARNATION_SIZE];
    struct cbx_replay window;
};

/* A session is replaced by another after this long or this much. */
static const int64_t MESH_RENEW_US = 3600ll * 1000 * 1000;
static const uint64_t MESH_RENEW_BYTES = 64ull << 30;

struct mesh_session *mesh_peer_newest(struct mesh_peer *peer);
/* By id, an unconfirmed one too. */
struct mesh_session *mesh_peer_session_by_id(struct mesh_peer *peer, const uint8_t *id);
/* The session that an OPEN or RESUME names, when names and incarnations are those that it was made
 * for. */
struct mesh_session *mesh_session_for(struct mesh *mesh, struct mesh_peer *peer,
                                      const struct cbx_open *open);
/* With the incarnation of the peer that is there now, and not suspect. */
bool mesh_session_usable(const struct mesh_peer *peer, const struct mesh_session *session);
/* It is time for another one. */
bool mesh_session_old(const struct mesh_session *session, int64_t now);

/* True once per stream identity of that incarnation of the peer, of which there is a session: its
 * window is there for as long as one of its sessions. */
bool mesh_session_replay_take(struct mesh_peer *peer, const uint8_t stream_id[CBX_STREAM_ID_SIZE]);

/* Takes the session in as the newest; streams move to it in epochs of their own. */
void mesh_session_adopt(struct mesh_peer *peer, struct mesh_session *session);
/* A record of the initiator opened. */
void mesh_peer_confirm(struct mesh_peer *peer, struct mesh_session *session);
/* Somebody says that the far side does not know the sessions any more. They stay for the streams
 * that they have; dials and new epochs wait for the next one. */
void mesh_peer_suspect_sessions(struct mesh_peer *peer);

void mesh_peer_drop_unconfirmed(struct mesh_peer *peer);
void mesh_peer_drop_sessions(struct mesh_peer *peer);
/* Frees those whose time is over. */
void mesh_sessions_sweep(struct mesh_peer *peer, int64_t now);

#endif
