/* SPDX-License-Identifier: MIT */
/*
 * What the engine knows: one struct for each thing, and beside each group of fields the file that
 * writes it. Functions stand in the header of the file that has them; mesh.h is what the shell
 * sees. From the ground up (a file uses only what stands left of it or above):
 *
 *   base, budget, path, lane, stream, peer; plane, moving, loop
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

struct mesh_loop;
struct mesh_try;

enum { MESH_SESSIONS_MAX = 6, MESH_TOMBSTONES_MAX = 1024 };

/* ---- planes (plane.c) ---- */

enum mesh_plane { MESH_PLANE_SSH, MESH_PLANE_RELAY, MESH_PLANE_DIRECT, MESH_PLANES };

struct mesh_plane_bytes {
    uint64_t in, out;
};

/* What each stream keeps. */
struct mesh_stream_plane {
    enum mesh_plane plane;
    int64_t since;    /* Unix seconds */
    uint64_t in, out; /* bytes of the core that were shared out already */
};

/* ---- sessions (session.c) ---- */

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
TAILQ_HEAD(mesh_sessions, mesh_session);

/* ---- direct lanes (direct.c) ---- */

struct mesh_direct {
    struct cbx_pump pump;
    struct mesh *mesh;
    struct mesh_peer *peer; /* NULL once it is over */
    TAILQ_ENTRY(mesh_direct) entry;
    struct cbx_rate opens, opens_out; /* the peer's; rates.c: ours */
    struct cbx_rate stale;
    uint32_t shed; /* frames beyond opens and stale */
    int64_t since_unix;
    int64_t idle_since;  /* 0: a stream is there */
    enum cbx_reason bye; /* what the peer said last */
    char doomed[96];     /* path.c: why it goes at the next turn; "": it stays */
    int64_t suspect_at;  /* path.c: asked then whether it lives; 0, or heard since: it does */
};
TAILQ_HEAD(mesh_directs, mesh_direct);

/* ---- rendezvous (rendezvous_try.c; the steps stand in rendezvous.c) ---- */

enum mesh_rendezvous_state {
    MESH_RENDEZVOUS_REST,
    /* Who offered: */
    MESH_RENDEZVOUS_OFFERED, /* no answer yet; the peer may connect */
    MESH_RENDEZVOUS_AWAITS,  /* ANSWER came; the peer may connect */
    MESH_RENDEZVOUS_TURNED,  /* TURN came; we connect */
    /* Who answered: */
    MESH_RENDEZVOUS_TRIES,   /* we connect */
    MESH_RENDEZVOUS_EXPECTS, /* TURN was sent; the peer may connect */

    MESH_RENDEZVOUS_UP, /* the lane stands, as far as we know */
};

/* What each peer keeps. */
struct mesh_rendezvous {
    TAILQ_ENTRY(mesh_peer) entry; /* in mesh.rendezvous while listed */
    bool listed;
    bool refused;  /* it runs with --direct off: not asked again in this incarnation of it */
    bool say_lost; /* LOST is to be said once the hub's link is up */
    enum mesh_rendezvous_state state; /* mesh_rendezvous_set_state sets it */
    uint8_t id[CBX_LANE_ID];          /* of the try that goes on, or the lane that stands */
    uint8_t incarnation[CBX_INCARNATION_SIZE]; /* of the peer, as these fields know it */
    struct mesh_try *try;                      /* while one goes on */
    int64_t deadline;                          /* of the try's step */
    int64_t next_at;                           /* no try before */
    int64_t busy_since; /* streams run, in this incarnation of the peer; 0: none do */
    struct cbx_rate rate;
    char trouble[96]; /* what ended the last try or lane, for people; "": nothing */
};
TAILQ_HEAD(mesh_rendezvous_list, mesh_peer);

/* ---- peers ---- */

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

/* Stream identities of one incarnation of a dialer (rule 15): there for as long as one of its
 * sessions is. */
struct mesh_replay {
    SLIST_ENTRY(mesh_replay) entry;
    uint8_t incarnation[CBX_INCARNATION_SIZE];
    struct cbx_replay window;
};
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
    char refused_text[120];
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

/* ---- streams ---- */

/*
 * A dialed stream: WAITING (for link, directory, session, allowance) -> OPENING (OPEN sent) ->
 * RUNNING; an incoming one: PARKED (while no minimum window is free) -> INCOMING (the shell
 * connects) -> RUNNING. Either is RUNNING from its answer or its end on, and ENDED when nothing
 * more is to be sent. A dial without an answer may go back to WAITING, once. Streams are freed in
 * mesh_flush only.
 */
enum mesh_stream_state {
    MESH_STREAM_WAITING,
    MESH_STREAM_OPENING,
    MESH_STREAM_PARKED,
    MESH_STREAM_INCOMING,
    MESH_STREAM_RUNNING,
    MESH_STREAM_ENDED
};

/* Identities are what a peer says that they are: another's prove nothing and hide nothing. */
struct mesh_incoming {
    uint8_t id[CBX_STREAM_ID_SIZE];
    const struct mesh_peer *peer;
};

/* Which path it looks for (moving.c, move.c). */
struct mesh_stream_move {
    TAILQ_ENTRY(mesh_stream) entry; /* in mesh.moving while `until` is set */
    int64_t at, until;              /* looked after then; given up then, 0: it is not moving */
    bool broken;                    /* a record did not open, once already */
    bool lost;                      /* no path is looked for */
    bool by_hub;                    /* the far side had no room for it on the direct lane */
};

/* A circuit that the stream has left and the far side perhaps not (moving.c). */
struct mesh_circuit_left {
    struct cbx_link *link; /* NULL: none, or the link is over */
    uint32_t label;
    uint64_t credit; /* what it still counts for in mesh.hub_budget */
};

struct mesh_stream {
    struct cbx_stream core;
    struct mesh *mesh;
    struct mesh_peer *peer;     /* NULL: no core: WAITING, or a dial of our own name */
    struct mesh_loop *loop;     /* loop.c: a dial of our own name: no circuit, no core */
    const struct mesh_end *end; /* NULL: the program was told or gave up */
    void *arg;
    enum mesh_stream_state state; /* mesh_stream_set_state sets it */
    char slug[CBX_SLUG_MAX + 1];
    uint16_t port;
    uint64_t counter;
    int64_t opened_at;      /* OPENING: when OPEN was queued */
    int64_t deadline;       /* of the answer, or of the wait for allowance */
    int64_t delayed_ack_at; /* in mesh.delayed_acks until then; 0: it is not */
    struct mesh_stream_plane path;
    bool retried; /* NO_SESSION was answered once */
    bool starved; /* waits for allowance */
    bool held;    /* incoming: the shell has not answered yet and may still look */
    bool in_reap;
    TAILQ_ENTRY(mesh_stream) entry; /* in mesh.waiting, or in mesh.streams */
    TAILQ_ENTRY(mesh_stream) opening_entry, parked_entry, delayed_ack_entry, reap_entry;
    struct mesh_incoming key; /* incoming */
    UT_hash_handle hh;
    struct mesh_stream_move move;
    struct mesh_circuit_left left;
};
TAILQ_HEAD(mesh_streams, mesh_stream);

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
