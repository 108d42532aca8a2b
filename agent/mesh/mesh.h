/* SPDX-License-Identifier: MIT */
/*
 * The agent's protocol engine: the link to the hub, the directory, sessions with peers and the
 * streams in them. Sans-I/O but for carriers: programs are reached through struct mesh_end.
 */
#ifndef AGENT_MESH_MESH_H
#define AGENT_MESH_MESH_H

#include "agent/mesh/candidates.h"
#include "common/base/err.h"
#include "common/base/names.h"
#include "common/link/carrier.h"
#include "common/link/lane.h"
#include "common/trust/addresses.h"
#include "common/trust/expose.h"
#include "common/trust/identity.h"
#include "common/trust/trust.h"
#include <jansson.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>
#include <sys/uio.h>

struct mesh;
struct mesh_stream;

/*
 * A stream's local program, seen from the stream. One end = one socket (or pipe pair) of the shell.
 * None of these may call back into the mesh or free the stream; they return at once.
 */
struct mesh_end {
    /* Bytes for the far side, straight into the record: > 0, CBX_ERR_AGAIN (call
     * mesh_stream_readable later), CBX_ERR_CLOSED at the end of input (half-close), CBX_ERR_IO for
     * a reset. */
    ssize_t (*pull)(void *arg, void *buffer, size_t length);
    /* Bytes from the far side: how many were taken (> 0), CBX_ERR_AGAIN (call
     * mesh_stream_writable later), CBX_ERR_IO when the program is gone. */
    ssize_t (*push)(void *arg, const struct iovec *vector, int count);
    /* The far side ended its direction (FIN): shut writing down. All bytes were pushed before. */
    void (*push_end)(void *arg);
    /* The dial was answered: bytes may flow. Only dialed streams. */
    void (*opened)(void *arg);
    /*
     * The stream is over; the last call. reason NONE: both directions ended cleanly and our FIN was
     * acknowledged. Anything else: refused (before opened) or reset (after); by_target tells
     * whether the target sealed it or it is the hub's word.
     */
    void (*closed)(void *arg, enum cbx_reason reason, bool by_target);
};

struct mesh_config {
    const struct cbx_identity *identity; /* borrowed, must outlive the mesh */
    uint8_t pond_public[32];
    char pond[CBX_SLUG_MAX + 1];
    char slug[CBX_SLUG_MAX + 1];
    const struct cbx_cert *invite_cert; /* own chain, copied */
    const struct cbx_cert *peer_cert;
    struct cbx_expose expose; /* certificate's list, narrowed by own configuration */
    int64_t keepalive_us;     /* 0: 15 s */
    int64_t gone_us;          /* 0: 45 s */
    int64_t dial_timeout_us;  /* 0: 30 s */
    uint64_t receive_budget;  /* 0: 128 MiB */
    uint64_t send_budget;     /* 0: 64 MiB */
    const char *software;
    bool prefer_chacha; /* tests: as a CPU without AES */
    enum cbx_lanes lanes;
    bool direct; /* lanes between peers may be made */
};

/* What an agent keeps about each peer it ever believed (rule 3). Stored before first use. */
struct mesh_known {
    char slug[CBX_SLUG_MAX + 1];
    uint64_t serial;
    uint8_t identity[32];
};

struct mesh_ops {
    /* A peer dials our port: the shell connects to item->target and then calls mesh_accept or
     * mesh_refuse, never from inside this call. from is the verified slug of the dialer. */
    void (*incoming)(void *arg, struct mesh_stream *stream, const char *from,
                     const struct cbx_expose_item *item);
    /* The link to the hub is over: reconnect after retry_ms (0: as back-off says). reason
     * SUPERSEDED, REVOKED, EXPIRED, DENIED are final. text is one line for people. */
    void (*link_lost)(void *arg, enum cbx_reason reason, uint32_t retry_ms, const char *text);
    /* Attached: the directory is complete. */
    void (*attached)(void *arg);
    /* Where the hub says that it is reached (--public); once for each WELCOME at most, before
     * attached. May be NULL. */
    void (*addresses)(void *arg, const struct cbx_addresses *list);
    /* The hub promises a lane: whoever connects to it with this ticket within 30 s gets it; then
     * mesh_lane_attach. Never called unless mesh_lane_ask was. May be NULL where lanes are off. */
    void (*lane)(void *arg, const struct cbx_lane_ticket *ticket);
    /* No lane, and why: the hub refused (lost false), or the one that there was is gone and the
     * link goes on over SSH. */
    void (*no_lane)(void *arg, bool lost, const char *text);
    /* Why there is no lane yet, for people; "" when nothing is known to be wrong. May be NULL. */
    void (*lane_trouble)(void *arg, char *out, size_t size);
    /*
     * Direct lanes to peers (rule 29); never called unless config.direct, else may be NULL.
     *   candidates      where peers may reach our listener now; seen: the address that the hub saw
     *   host_mark       as in host_mark.h
     *   direct_expect   whoever connects to our listener with this ticket gets a lane, once: then
     *                   mesh_direct_attach. Until direct_forget.
     *   direct_connect  connect to these, all at once, within 3 s; then mesh_direct_attach or
     *                   mesh_direct_failed, never from inside this call
     *   direct_forget   the ticket is no good any more: no more waiting, no more trying
     */
    void (*candidates)(void *arg, const char *seen, struct candidates *out);
    bool (*host_mark)(void *arg, const uint8_t key[32], uint8_t role, uint8_t out[16]);
    void (*direct_expect)(void *arg, const struct cbx_lane_ticket *ticket);
    void (*direct_connect)(void *arg, const struct cbx_lane_ticket *ticket,
                           const struct candidates *to);
    void (*direct_forget)(void *arg, const uint8_t id[CBX_LANE_ID]);
    /* The list of known peers changed: it must be on disk before mesh_known_stored(mesh). Where it
     * cannot be written: mesh_known_failed(mesh), also from inside this call. */
    void (*known_changed)(void *arg, const struct mesh_known *known, size_t count);
    int64_t (*now_us)(void *arg);
    int64_t (*now_unix)(void *arg);
    /* Output is pending or a timer moved: call mesh_flush before the loop sleeps. */
    void (*wake)(void *arg);
};

struct mesh *mesh_new(const struct mesh_config *config, const struct mesh_known *known,
                      size_t known_count, const struct mesh_ops *ops, void *arg);
void mesh_free(struct mesh *mesh);
void mesh_known_stored(struct mesh *mesh);
/* Dials that wait for it are refused; the next one asks anew. */
void mesh_known_failed(struct mesh *mesh);

/* The carrier of a fresh uplink; taken over. An older link is dropped. */
int mesh_attach(struct mesh *mesh, struct cbx_carrier *carrier);
bool mesh_attached(const struct mesh *mesh);

/* Asks the hub for a lane. No effect before the link is attached, or when it has one. */
void mesh_lane_ask(struct mesh *mesh);
/* The lane stands: its proof was given and taken. Takes the carrier over. CBX_ERR_STATE when the
 * link that it was for is gone. */
int mesh_lane_attach(struct mesh *mesh, struct cbx_carrier *carrier,
                     const struct cbx_lane_ticket *ticket);
/* Both directions of the link are on a lane. */
bool mesh_lane_up(const struct mesh *mesh);

/* A direct lane stands: the preface was proven both ways. Takes the carrier over; listener: we took
 * the connection. CBX_ERR_STATE when nobody waits for it any more. */
int mesh_direct_attach(struct mesh *mesh, struct cbx_carrier *carrier,
                       const struct cbx_lane_ticket *ticket, bool listener);
/* direct_connect came to nothing. */
void mesh_direct_failed(struct mesh *mesh, const uint8_t id[CBX_LANE_ID], const char *text);

/* Writes what is pending; returns microseconds until the next timer (-1: none). */
int64_t mesh_flush(struct mesh *mesh);

/* Tells the hub and drops the link. */
void mesh_shutdown(struct mesh *mesh);

/*
 * Dials slug:port. The answer comes by end->opened or end->closed, never inside this call; NULL
 * only when memory is short. timeout_us 0: the configured one. When no link is up yet the dial
 * waits for one within its timeout.
 */
struct mesh_stream *mesh_dial(struct mesh *mesh, const char *slug, uint16_t port,
                              const struct mesh_end *end, void *arg, int64_t timeout_us);

/* What to do about a dial of slug that failed so, a phrase for people; "": nothing to say. Says
 * more than cbx_reason_remedy where the mesh knows more. */
void mesh_remedy(struct mesh *mesh, const char *slug, enum cbx_reason reason, char *out,
                 size_t size);

/* Answers to incoming. */
void mesh_accept(struct mesh_stream *stream, const struct mesh_end *end, void *arg);
void mesh_refuse(struct mesh_stream *stream, enum cbx_reason reason);

/* The local program may have bytes again / takes bytes again. Cheap. */
void mesh_stream_readable(struct mesh_stream *stream);
void mesh_stream_writable(struct mesh_stream *stream);
/* Gives the stream up: the far side sees a reset with this reason; end->closed is not called. */
void mesh_stream_reset(struct mesh_stream *stream, enum cbx_reason reason);

/* The link to the hub, for who watches its path. */
struct mesh_hub_look {
    int socket;       /* -1: there is no link, or no socket below it */
    bool answer_due;  /* a ping, or AGENT_HELLO, has had no answer yet */
    int64_t heard_at; /* now_us when the last byte came */
    uint64_t frames;  /* that came */
};
void mesh_hub_look(const struct mesh *mesh, struct mesh_hub_look *out);
void mesh_hub_ping(struct mesh *mesh);
/* Ends that link: link_lost comes, with this text, inside. No effect without one. */
void mesh_hub_give_up(struct mesh *mesh, const char *text);

/* Of the link to the hub, as last measured; 0: unknown. */
int64_t mesh_round_trip_us(const struct mesh *mesh);
/* Between these two moments (now_us) of the last attach the hub drew the generation. False before
 * the first one. */
struct mesh_attach_times {
    int64_t hello_us, welcome_us;
    uint64_t generation;
};
bool mesh_attach_times(const struct mesh *mesh, struct mesh_attach_times *out);

/* New references (PROTOCOL.md, "What commands answer"). */
json_t *mesh_peers_json(const struct mesh *mesh);
/* The streams with peers, oldest first; *left_out: how many more there are. */
json_t *mesh_streams_json(const struct mesh *mesh, uint64_t *left_out);
json_t *mesh_status_json(const struct mesh *mesh);

#endif
