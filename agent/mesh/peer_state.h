/* SPDX-License-Identifier: MIT */
/* What the engine knows of a peer, and beside each group of fields the file that writes it. */
#ifndef AGENT_MESH_PEER_STATE_H
#define AGENT_MESH_PEER_STATE_H

#include "agent/mesh/base.h"
#include "agent/mesh/rendezvous_state.h"

struct mesh_direct;
struct mesh_replay;
struct mesh_session;

/*
 * NONE -> FETCHING (CHAIN_GET sent) -> STORING (serial and identity go to disk first, rule 3) ->
 * BELIEVED, or REFUSED with a reason until the directory shows another chain.
 */
enum mesh_trust {
    MESH_TRUST_NONE,
    MESH_TRUST_FETCHING,
    MESH_TRUST_STORING,
    MESH_TRUST_BELIEVED,
    MESH_TRUST_REFUSED
};

TAILQ_HEAD(mesh_sessions, mesh_session);
SLIST_HEAD(mesh_replays, mesh_replay);

struct mesh_peer {
    UT_hash_handle hh;
    struct mesh *mesh;

    /* directory.c: as listed */
    char slug[CBX_SLUG_MAX + 1];
    bool ready, seen; /* seen: in the snapshot that is coming in */
    uint64_t generation, serial;
    uint8_t incarnation[CBX_INCARNATION_SIZE]; /* handshake.c: the peer's own word stands above */
    uint8_t listed_hash[32];                   /* chain, as the directory has it */
    char *ports, *labels;

    /* peer.c, trust.c: whether it is believed */
    enum mesh_trust trust; /* mesh_peer_set_trust sets it */
    enum cbx_reason refused;
    char refused_text[160];
    int64_t fetch_at;
    uint64_t store_version;
    uint8_t chain_hash[32]; /* of the chain that was verified */
    uint8_t identity[32], exchange[32];
    int64_t ends;

    /* session.c */
    struct mesh_sessions sessions; /* newest first */
    uint32_t session_count;
    struct mesh_session *unconfirmed;

    /* handshake.c */
    struct cbx_handshake *begun;
    /* Another one is begun after `begun_wait` without an answer. */
    int64_t begun_at, begun_wait;
    uint8_t *pending; /* a first message that waits for the chain */
    uint32_t pending_length;
    uint8_t pending_hash[32];
    struct cbx_rate first_messages;
    int64_t round_trip_us; /* of the last handshake; 0: unknown */

    /* dial.c, incoming.c, ends.c: streams */
    uint64_t window_used;
    uint32_t stream_count, parked_count;
    struct mesh_replays replays; /* session.c; one for each incarnation of the sessions, at most */
    struct mesh_plane_bytes bytes[MESH_PLANES]; /* plane.c; but what open streams still keep */

    struct mesh_rendezvous rendezvous;
    struct mesh_direct *direct; /* direct.c: the lane to it, or NULL */
    int64_t short_until;        /* direct.c: lanes to it have short segments until then */
    bool move_due;              /* path.c: its streams have a better path */
    bool move_held;             /* move.c: some of them wait for the rate of RESUME */
};

#endif
