/* SPDX-License-Identifier: MIT */
/*
 * What the agent's engine shares between its files: mesh.c (the link, its phases, the directory,
 * allowances), mesh_peer.c (peers as listed), mesh_trust.c (belief), mesh_session.c, mesh_stream.c
 * (dials and incoming streams), mesh_loop.c (dials of our own name), mesh_lane.c (the link's lane),
 * mesh_meet.c and mesh_direct.c (lanes to peers), mesh_move.c (streams that change their path),
 * mesh_plane.c (what goes where), mesh_json.c.
 *
 * Belief in a peer: NONE -> FETCHING (CHAIN_GET sent) -> STORING (serial and identity go to disk
 * first, rule 3) -> BELIEVED, or REFUSED with a reason until the directory shows another chain.
 *
 * Sessions of a peer: the newest confirmed one serves dials; older ones stay for a minute for what
 * is on its way; one handshake that we began and one session that we answered and that no record
 * has confirmed yet stand beside them (rule 13). Streams hold derived keys, never a session.
 *
 * A dialed stream: WAITING (for link, directory, session, allowance) -> OPENING (OPEN sent) ->
 * RUNNING; an incoming one: INCOMING (parked until a floor is free, then the shell connects) ->
 * RUNNING. Streams are freed in mesh_flush only.
 */
#ifndef AGENT_MESH_INTERNAL_H
#define AGENT_MESH_INTERNAL_H

#include "agent/mesh/direct.h"
#include "agent/mesh/mesh.h"
#include "agent/mesh/plane.h"
#include "agent/mesh/rendezvous.h"
#include "common/base/rate.h"
#include "common/link/pump.h"
#include "common/session/session.h"
#include "common/stream/stream.h"
#include <sys/queue.h>

struct mesh_loop;

enum {
    MESH_SESSIONS_MAX = 6,
    MESH_REPLAYS_MAX = 4,
    MESH_UNANSWERED_MAX = 4096, /* rule 15 */
    MESH_TOMBSTONES_MAX = 1024,
    MESH_PEERS_MAX = 16384,    /* a hub cannot list more at once either */
    MESH_FIRST_PER_SECOND = 5, /* first messages taken from one peer (rule 13) */
    MESH_PARKED_MAX = 1024,    /* incoming streams that wait for more allowance */
    MESH_PARKED_OF_PEER = 512,
};
static const int64_t MESH_CONFIRM_US = 10 * 1000 * 1000;
static const int64_t MESH_HANDSHAKE_RETRY_US = 3 * 1000 * 1000;
static const int64_t MESH_HANDSHAKE_RETRY_MAX_US = 24 * 1000 * 1000;
static const int64_t MESH_SESSION_GRACE_US = 60 * 1000 * 1000;
static const int64_t MESH_DELAYED_ACK_US = 100 * 1000;
static const int64_t MESH_RENEW_US = 3600ll * 1000 * 1000;
static const uint64_t MESH_RENEW_BYTES = 64ull << 30;

enum mesh_phase { MESH_DOWN, MESH_GREETING, MESH_WAITING, MESH_SYNCING, MESH_UP };
enum mesh_trust {
    MESH_TRUST_NONE,
    MESH_TRUST_FETCHING,
    MESH_TRUST_STORING,
    MESH_TRUST_BELIEVED,
    MESH_TRUST_REFUSED
};

struct mesh_session {
    struct cbx_session keys;
    int64_t born;
    int64_t replaced_at; /* 0: it is the newest */
    bool doubted;        /* said to be forgotten there: for no dial and no new epoch */
    uint8_t first[32];   /* answered: what message 1 began with, so that a repeat is seen */
    uint64_t bytes;
    uint64_t rendezvous_sent, rendezvous_taken; /* last counters of RENDEZVOUS */
    TAILQ_ENTRY(mesh_session) entry;
};
TAILQ_HEAD(mesh_sessions, mesh_session);
TAILQ_HEAD(mesh_streams, mesh_stream);

struct mesh_replay {
    uint8_t incarnation[CBX_INCARNATION_SIZE];
    int64_t used_at;
    struct cbx_replay window;
};

struct mesh_peer {
    UT_hash_handle hh;
    struct mesh *mesh;
    char slug[CBX_SLUG_MAX + 1];
    bool ready, seen; /* seen: in the snapshot that is coming in */
    uint64_t generation, serial;
    uint8_t incarnation[CBX_INCARNATION_SIZE];
    uint8_t listed_hash[32]; /* chain, as the directory has it */
    char *ports, *labels;

    enum mesh_trust trust;
    enum cbx_reason refused;
    char refused_text[120];
    int64_t fetch_at;
    uint64_t store_version;
    uint8_t chain_hash[32]; /* of the chain that was verified */
    uint8_t identity[32], exchange[32];
    int64_t ends;

    struct mesh_sessions sessions; /* newest first */
    uint32_t session_count;
    struct mesh_session *unconfirmed;
    struct cbx_handshake *begun;
    /* Another one is begun after `begun_wait` without an answer. */
    int64_t begun_at, begun_wait;
    uint8_t *pending; /* a first message that waits for the chain */
    uint32_t pending_length;
    uint8_t pending_hash[32];
    struct cbx_rate first_messages;

    uint64_t window_used;
    uint32_t stream_count, parked_count;
    struct mesh_plane_bytes bytes[MESH_PLANES]; /* of streams, but what open ones still keep */
    int64_t round_trip_us;                      /* of the last handshake; 0: unknown */
    struct mesh_replay *replay[MESH_REPLAYS_MAX];
    struct mesh_rendezvous rendezvous;
    struct mesh_direct *direct; /* the lane to it, or NULL */
    bool move_due;              /* its streams have a better path */
};

enum mesh_stream_state {
    MESH_STREAM_WAITING,
    MESH_STREAM_OPENING,
    MESH_STREAM_INCOMING,
    MESH_STREAM_RUNNING,
    MESH_STREAM_ENDED
};

/* Identities are what a peer says that they are: another's prove nothing and hide nothing. */
struct mesh_incoming {
    uint8_t id[CBX_STREAM_ID_SIZE];
    const struct mesh_peer *peer;
};

struct mesh_stream {
    struct cbx_stream core;
    struct mesh *mesh;
    struct mesh_peer *peer;     /* NULL while WAITING */
    const struct mesh_end *end; /* NULL: the program was told or gave up */
    void *arg;
    enum mesh_stream_state state;
    char slug[CBX_SLUG_MAX + 1];
    uint16_t port;
    uint64_t counter;
    int64_t deadline;
    int64_t delayed_ack_at;
    struct mesh_stream_plane path;
    bool retried;           /* NO_SESSION was answered once */
    bool starved;           /* waits for allowance */
    struct mesh_loop *loop; /* a dial of our own name: no circuit, no core */
    bool opened;
    bool in_core, in_delayed_acks, in_reap, in_parked;
    bool held; /* incoming: the shell has not answered yet and may still look */
    TAILQ_ENTRY(mesh_stream) entry, lazy_entry, reap_entry, move_entry;
    struct mesh_incoming key; /* incoming */
    UT_hash_handle hh;

    bool in_moving, broken, lost; /* broken: a record did not open; lost: no path is looked for */
    bool by_hub;                  /* the far side had no room for it on the direct lane */
    int64_t move_at, move_until;
    struct cbx_link *left; /* a circuit that the stream has left and the far side perhaps not */
    uint32_t left_label;
    uint64_t left_credit; /* what it still counts for in mesh.budget */
};

/* Rule 27: what is left of a finished stream: the last MESH_TOMBSTONES_MAX, for a resume. */
struct mesh_tombstone {
    uint8_t id[CBX_STREAM_ID_SIZE];
    uint64_t sent, received; /* a FIN counts */
    uint64_t epoch;          /* the greatest of either direction */
    int64_t at;
    bool clean; /* both directions had their end */
};

struct mesh_counts {
    uint64_t dialed, accepted, refused, resets, integrity, rolled_back, leaked, bytes_in, bytes_out;
    uint64_t handshakes, handshakes_refused, handshakes_shed, stale, replayed, attaches,
        directory_mismatches;
    uint64_t lanes, lanes_lost;
    uint64_t directs, directs_lost, moves;
    uint64_t rendezvous, direct_established,
        rendezvous_refused; /* tries, lanes of them, messages not believed */
};

struct mesh {
    struct mesh_config config;
    const struct mesh_ops *ops;
    void *arg;
    struct cbx_cert invite_cert, peer_cert;
    uint8_t chain_hash[32];
    uint64_t own_serial;
    uint8_t incarnation[CBX_INCARNATION_SIZE];
    char *software;

    struct cbx_pump pump;
    bool has_pump;
    bool synced;       /* the directory is complete */
    bool lane_asked;   /* and not answered */
    bool hub_direct;   /* the hub lets agents meet */
    bool allow_denied; /* the hub has just said that there is no more room */
    bool dial_due;
    bool move_due; /* a peer's */
    bool closing;  /* in mesh_free: nothing goes on elsewhere */
    enum mesh_phase phase;
    uint8_t lane_id[CBX_LANE_ID];                    /* of the promise that was heard last */
    int64_t lane_since_unix;                         /* 0: the link is not on a lane */
    struct mesh_plane_bytes link_bytes[MESH_PLANES]; /* of links that are over */
    int64_t hello_at, welcome_at; /* between the two the hub drew the generation */
    char hub_software[64], seen_address[64];
    uint64_t generation;
    int64_t attached_unix;
    enum cbx_reason bye;
    uint32_t bye_retry_ms;
    char bye_text[CBX_FRAME_TEXT_MAX + 1];

    struct cbx_budget budget;        /* over the link to the hub */
    struct cbx_budget direct_budget; /* over all direct lanes: what the other leaves */
    uint64_t closing_credit;         /* in it: of circuits whose CLOSE is on its way */
    uint64_t allowance;
    int64_t want_at; /* no WANT before */
    uint64_t send_used;
    struct cbx_stream_env env;
    struct cbx_aead *aead;

    struct mesh_peer *peers;
    struct mesh_rendezvous_list rendezvous; /* those with streams or a try going */
    struct mesh_known *known;
    size_t known_count, known_room;
    uint64_t known_version, stored_version, asked_version;

    struct mesh_streams streams; /* in_core: incoming, opening, running */
    struct mesh_streams waiting; /* dials that cannot be opened yet */
    struct mesh_streams opening; /* by counter: unanswered */
    struct mesh_streams parked;  /* incoming ones for which no floor is free yet */
    struct mesh_streams delayed_acks, reap;
    struct mesh_streams moving;   /* without a path, or between two */
    struct mesh_stream *incoming; /* targets' streams, by peer and identity */
    struct mesh_directs directs;
    TAILQ_HEAD(, mesh_loop) loops;
    uint64_t next_counter;
    int64_t swept_at;
    uint32_t stream_count, parked_count, tombstone_next;
    struct mesh_tombstone tombstone[MESH_TOMBSTONES_MAX];
    struct mesh_counts count;
};

/* mesh.c */
int64_t mesh_now(const struct mesh *mesh);
void mesh_wake(struct mesh *mesh);
/* The hub might allow more than it does: worth waiting for its answer. */
bool mesh_may_grow(const struct mesh *mesh);

/* mesh_lane.c */
int mesh_lane_promised(struct mesh *mesh, const struct cbx_frame *frame, struct cbx_error *error);
int mesh_lane_refused(struct mesh *mesh, const struct cbx_frame *frame, struct cbx_error *error);
/* The link may carry streams. */
bool mesh_lane_allows(const struct mesh *mesh);

/* mesh_peer.c */
struct mesh_peer *mesh_peer_find(struct mesh *mesh, const char *slug, size_t length);
int mesh_peer_listed(struct mesh *mesh, const struct cbx_frame *frame, struct cbx_error *error);
void mesh_peers_synced(struct mesh *mesh);
void mesh_peer_free(struct mesh_peer *peer);
void mesh_session_free(struct mesh_session *session);
void mesh_peer_drop_handshake(struct mesh_peer *peer);
void mesh_peer_drop_unconfirmed(struct mesh_peer *peer);
void mesh_peer_drop_pending(struct mesh_peer *peer);

/* mesh_trust.c */
void mesh_peer_fetch(struct mesh_peer *peer);
/* Belief is refused: dials fail with the reason until the directory shows another chain. */
void mesh_peer_refuse(struct mesh_peer *peer, enum cbx_reason reason, const char *text);

/* mesh_session.c */
/* The chain holds and is on disk: what waited for that goes on. */
void mesh_peer_believed(struct mesh_peer *peer);
/* The session to dial with, or NULL: then one is being made (or the peer is REFUSED). */
struct mesh_session *mesh_peer_session(struct mesh_peer *peer);
struct mesh_session *mesh_peer_newest(struct mesh_peer *peer);
/* By id, an unconfirmed one too. */
struct mesh_session *mesh_peer_session_by_id(struct mesh_peer *peer, const uint8_t *id);
/* A record of the initiator opened. */
void mesh_peer_confirm(struct mesh_peer *peer, struct mesh_session *session);
/* Somebody says that the far side does not know the newest session any more. */
void mesh_peer_doubt_sessions(struct mesh_peer *peer);
void mesh_peer_chain(struct mesh *mesh, struct cbx_frame *frame);
void mesh_peer_handshake(struct mesh *mesh, struct cbx_frame *frame);
void mesh_peer_confirm_frame(struct mesh *mesh, struct cbx_frame *frame);
void mesh_peer_no_handshake(struct mesh *mesh, struct cbx_frame *frame);
void mesh_peers_stored(struct mesh *mesh);
void mesh_peers_sweep(struct mesh *mesh, int64_t now);
void mesh_peers_link_lost(struct mesh *mesh);
/* True once per stream identity of that dialer's life. */
bool mesh_peer_replay_take(struct mesh_peer *peer, const uint8_t stream_id[CBX_STREAM_ID_SIZE]);

/* mesh_stream.c */
extern const struct cbx_stream_ops mesh_stream_ops;
int mesh_stream_frame(struct mesh *mesh, struct cbx_link *link, struct cbx_frame *frame,
                      int64_t now, struct cbx_error *error);
/* The session that an OPEN or RESUME names, when names and lives are those that it was made for. */
struct mesh_session *mesh_session_for(struct mesh *mesh, struct mesh_peer *peer,
                                      const struct cbx_open *open);
/* An OPEN or RESUME on that label is not taken: CLOSE. */
void mesh_circuit_refuse(struct mesh *mesh, struct cbx_link *link, uint32_t label,
                         enum cbx_reason reason);
/* A dial that was not answered goes back to waiting, once: true then. */
bool mesh_stream_requeue(struct mesh_stream *stream);
void mesh_streams_due(struct mesh *mesh, int64_t now);
void mesh_streams_rekey(struct mesh_peer *peer);
void mesh_streams_refuse_waiting(struct mesh *mesh, const char *slug, enum cbx_reason reason);
void mesh_streams_free(struct mesh *mesh);
int64_t mesh_streams_deadline(const struct mesh *mesh);
/* Tells the program and leaves the stream to mesh_streams_free. */
void mesh_stream_over(struct mesh_stream *stream, enum cbx_reason reason, bool by_target);

/* mesh_move.c */
/* Where a new stream to the peer goes; NULL: nowhere now. */
struct cbx_link *mesh_path(struct mesh_peer *peer);
/* What is granted over that link counts here. */
struct cbx_budget *mesh_budget_of(struct mesh *mesh, const struct cbx_link *link);
bool mesh_link_is_hub(const struct mesh *mesh, const struct cbx_link *link);
/* Whether the peer may speak on that link. */
bool mesh_link_leads_to(const struct mesh *mesh, const struct cbx_link *link,
                        const struct mesh_peer *peer);
/* A better path to the peer is there: its streams go there at the next turn. */
void mesh_streams_move(struct mesh_peer *peer);
/* The link is over: its streams look for another path, or end with the reason. */
void mesh_streams_leave(struct mesh *mesh, const struct cbx_link *link, enum cbx_reason reason);
/* Returns when it is due next. */
int64_t mesh_moves_due(struct mesh *mesh, int64_t now);
/* What the core asks and tells (stream.h: stranded, resumed). */
bool mesh_move_stranded(struct mesh_stream *stream, enum cbx_reason reason);
void mesh_move_done(struct mesh_stream *stream);
/* The stream is about to be freed. */
void mesh_move_forget(struct mesh_stream *stream);
/* RESUME. */
void mesh_move_take(struct mesh *mesh, struct cbx_link *link, struct cbx_frame *frame, int64_t now);

/* mesh_loop.c */
/* Joins the two; false (target freed, dialer told) when memory is short. */
bool mesh_loop_dial(struct mesh_stream *dialer, struct mesh_stream *target);
void mesh_loop_accepted(struct mesh_stream *target);
void mesh_loop_wake(struct mesh_stream *stream);
void mesh_loop_leave(struct mesh_stream *stream, enum cbx_reason reason);
void mesh_loops_run(struct mesh *mesh);
void mesh_loops_free(struct mesh *mesh);

#endif
