/* SPDX-License-Identifier: MIT */
/*
 * The engine itself: what it keeps, and beside each group of fields the file that writes it. Peers
 * are in peer_state.h; streams, sessions and direct lanes in stream.h, session.h and path.h, so
 * that a file sees only the things that it deals with. Functions stand in the header of the file
 * that has them; mesh.h is what the shell sees. From the ground up (a file uses only what stands
 * left of it or above):
 *
 *   base, budget, rendezvous_state, peer_state, path, lane, stream, peer; plane, moving, loop
 *   session, handshake, trust              who a peer is, and keys shared with it
 *   rendezvous_try, _say, rendezvous       how a direct lane comes to be
 *   ends, move                             streams end, or change their path
 *   dial, incoming, streams                streams begin; what the core asks and tells
 *   direct, directory, why, json           lanes to peers, who is listed, what people are told
 *   attach, engine                         the link to the hub, and the turn of it all
 */
#ifndef AGENT_MESH_BASE_H
#define AGENT_MESH_BASE_H

#include "agent/mesh/mesh.h"
#include "common/base/hash_table.h"
#include "common/base/rate.h"
#include "common/link/pump.h"
#include "common/session/session.h"
#include "common/stream/stream.h"
#include <sys/queue.h>

struct mesh_direct;
struct mesh_loop;
struct mesh_peer;
struct mesh_stream;

enum { MESH_TOMBSTONES_MAX = 1024 };

/* ---- planes (plane.c) ---- */

enum mesh_plane { MESH_PLANE_SSH, MESH_PLANE_RELAY, MESH_PLANE_DIRECT, MESH_PLANES };

struct mesh_plane_bytes {
    uint64_t in, out;
};

/* Rule 27: what is left of a finished stream: the last MESH_TOMBSTONES_MAX, for a resume. */
struct mesh_tombstone {
    uint8_t id[CBX_STREAM_ID_SIZE];
    uint64_t sent, received; /* a FIN counts */
    uint64_t epoch;          /* the greatest of either direction */
    int64_t at;
    bool clean; /* both directions had their end */
};

/* ---- rates that we keep on the link to the hub (rates.c) ---- */

struct mesh_rates {
    struct cbx_rate opens, passed, chains, lanes;
};

/* ---- the engine ---- */

/* DOWN -> GREETING (HUB_HELLO expected) -> WAITING (WELCOME) -> SYNCING (PEERs until SYNCED, and
 * the lane where one is required) -> UP; DOWN from any. */
enum mesh_phase { MESH_DOWN, MESH_GREETING, MESH_WAITING, MESH_SYNCING, MESH_UP };

struct mesh_counts {
    uint64_t paced; /* frames that waited for their rate, or were left unsaid */
    uint64_t dialed, accepted, refused, resets, integrity, rolled_back, leaked, bytes_in, bytes_out;
    uint64_t handshakes, handshakes_refused, handshakes_shed, stale, replayed, attaches,
        directory_mismatches;
    uint64_t lanes, lanes_lost;
    uint64_t directs, directs_lost, directs_suspect, moves;
    uint64_t rendezvous, direct_established,
        rendezvous_refused; /* tries, lanes of them, messages not believed */
};

TAILQ_HEAD(mesh_streams, mesh_stream);
TAILQ_HEAD(mesh_directs, mesh_direct);
TAILQ_HEAD(mesh_rendezvous_list, mesh_peer);

struct mesh {
    /* engine.c: what the shell gave, and what lasts as long as the engine */
    struct mesh_config config;
    const struct mesh_ops *ops;
    void *arg;
    struct cbx_cert invite_cert, peer_cert;
    uint8_t chain_hash[32];
    uint64_t own_serial;
    uint8_t incarnation[CBX_INCARNATION_SIZE];
    char *software;
    struct cbx_stream_env env;
    struct cbx_aead *aead;
    uint64_t send_used;
    int64_t swept_at;
    bool closing; /* in mesh_free: nothing goes on elsewhere */

    /* attach.c: the link to the hub */
    struct cbx_pump pump;
    bool has_pump;
    enum mesh_phase phase;        /* mesh_set_phase sets it */
    bool addresses_told;          /* ADDRESSES came */
    bool synced;                  /* the directory is complete */
    bool hub_direct;              /* the hub allows direct lanes */
    int64_t greet_by;             /* GREETING: the hub says HUB_HELLO until then */
    int64_t hello_at, welcome_at; /* between the two the hub drew the generation */
    char hub_software[64], seen_address[64];
    uint64_t generation;
    int64_t attached_unix;
    int64_t lane_since_unix; /* 0: the link is not on a lane */
    enum cbx_reason bye;
    uint32_t bye_retry_ms;
    char bye_text[CBX_FRAME_TEXT_MAX + 1];

    /* rates.c */
    struct mesh_rates rates;
    int64_t paced_at; /* something waits for a rate until then; 0: nothing does */

    /* lane.c */
    bool lane_due;                /* to be asked for once its rate allows */
    bool lane_asked;              /* and not answered */
    uint8_t lane_id[CBX_LANE_ID]; /* of the promise that was heard last */

    /* plane.c, direct.c */
    struct mesh_plane_bytes link_bytes[MESH_PLANES]; /* of links that are over */

    /* budget.c; a stream's core counts in `used` of one of the two */
    struct cbx_budget hub_budget;    /* over the link to the hub */
    struct cbx_budget direct_budget; /* over all direct lanes: what the other leaves */
    uint64_t allowance;
    int64_t want_at;         /* no WANT before */
    bool allow_denied;       /* the hub has just said that there is no more room */
    uint64_t closing_credit; /* moving.c: in hub_budget, of circuits whose CLOSE is on its way */

    /* directory.c */
    struct mesh_peer *peers;

    /* trust.c: serials and identities, as stored */
    struct mesh_known *known;
    size_t known_count, known_room;
    uint64_t known_version, stored_version, asked_version;
    bool storing_failed; /* the last write that was asked for; told at the next flush */

    /* Streams: each list is written by the file that is named */
    struct mesh_streams streams;      /* dial.c, incoming.c, ends.c: those with a core */
    struct mesh_streams waiting;      /* dial.c, ends.c: dials that cannot be opened yet */
    struct mesh_streams opening;      /* dial.c: by counter, unanswered */
    struct mesh_streams parked;       /* incoming.c: no minimum window is free for them yet */
    struct mesh_streams delayed_acks; /* streams.c */
    struct mesh_streams reap;         /* stream.c, until ends.c frees them */
    struct mesh_streams moving;       /* moving.c: without a path, or between two */
    struct mesh_stream *incoming;     /* incoming.c: targets' streams, by peer and identity */
    TAILQ_HEAD(, mesh_loop) loops;    /* loop.c */
    uint64_t next_counter;
    uint32_t stream_count, parked_count;
    bool dial_due; /* any file: something that a waiting or parked stream waits for has come */

    /* ends.c */
    uint32_t tombstone_next;
    struct mesh_tombstone tombstone[MESH_TOMBSTONES_MAX];

    /* direct.c; path.c; rendezvous_try.c */
    struct mesh_directs directs;
    bool move_due;                          /* a peer's */
    struct mesh_rendezvous_list rendezvous; /* those with streams or a try going */

    struct mesh_counts count; /* any file */
};

int64_t mesh_now(const struct mesh *mesh);
/* Calls for a turn of mesh_flush before the loop sleeps. */
void mesh_wake(struct mesh *mesh);
void mesh_set_phase(struct mesh *mesh, enum mesh_phase phase);
const char *mesh_phase_name(enum mesh_phase phase);
/* Of two ciphers that are equally good the one that is faster here. */
enum cbx_cipher mesh_preferred_cipher(const struct mesh *mesh);

#endif
