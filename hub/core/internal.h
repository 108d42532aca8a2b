/* SPDX-License-Identifier: MIT */
/*
 * What the hub's engine shares between its files: core.c (links and their phases), core_join.c,
 * core_allowance.c, directory.c (what agents are told), switch.c (circuits), core_json.c (what
 * people are told).
 *
 * A link's phases and what it may send in each (the table is in core.c):
 *   HELLO      peer: AGENT_HELLO within 10 s          join: JOIN within 10 s
 *   COMMITTING waits until the registry is on disk; nothing may come
 *   READY      everything of an attached agent
 *   CLOSING    a BYE is on its way; what comes is dropped
 *
 * Ownership: the core owns links, a link owns its pump, two links share a circuit until it is done;
 * reg_peer.live and hub_link.peer point at each other while a peer is attached or attaching.
 */
#ifndef HUB_CORE_INTERNAL_H
#define HUB_CORE_INTERNAL_H

#include "common/base/rate.h"
#include "common/link/pump.h"
#include "common/session/session.h"
#include "hub/core/allowance.h"
#include "hub/core/core.h"
#include <jansson.h>
#include <sys/queue.h>

enum {
    HUB_CIRCUIT_CONTROL_MAX = 256,
    HUB_SHED_MAX = 20000,
    HUB_CLOSING_US = 2 * 1000 * 1000,
    HUB_WANT_US = 750 * 1000 /* after this a wish that could not be met is refused */
};

enum hub_phase { HUB_HELLO, HUB_COMMITTING, HUB_READY, HUB_CLOSING };

/* A lane that was promised to a link and has not come yet (rule 28). */
struct hub_promise {
    UT_hash_handle hh; /* by the ticket's id, in hub_core.promises */
    struct cbx_lane_ticket ticket;
    struct hub_link *link;
    int64_t until; /* 0: none */
};

/* What a link's frames go over. */
enum hub_plane { HUB_PLANE_SSH, HUB_PLANE_RELAY, HUB_PLANES };
struct hub_plane_bytes {
    uint64_t from, to; /* agents; all bytes of their links */
};

struct hub_circuit;
TAILQ_HEAD(hub_circuits, hub_circuit);

struct hub_link {
    struct cbx_pump pump;
    struct hub_core *core;
    TAILQ_ENTRY(hub_link) entry, dirty_entry, ack_entry;
    bool dirty, ack_waits; /* in core->dirty, in core->acks */
    enum hub_phase phase;
    enum reg_login_kind kind;
    struct reg_peer *peer; /* NULL for join links and after removal */
    char pond[CBX_SLUG_MAX + 1];
    char slug[CBX_SLUG_MAX + 1];
    char fingerprint[CBX_FINGERPRINT_TEXT_MAX];
    char address[64];
    char software[64];
    uint64_t connection;
    uint8_t incarnation[CBX_INCARNATION_SIZE];
    uint64_t ticket;         /* COMMITTING: what it waits for */
    int64_t began, deadline; /* us; deadline 0: none */
    int64_t since_unix;
    struct hub_allowance allowance;
    int64_t wanted_at; /* a WANT has had no answer yet since; 0: none */
    int64_t asked_at;  /* when the allowance was asked down last */
    struct cbx_rate opens, handshakes, chains, lanes;
    struct hub_promise promise;
    uint32_t shed; /* frames dropped for their rate */
    uint32_t circuits;
    uint64_t bytes_from, bytes_to; /* stream payload relayed */
};
TAILQ_HEAD(hub_links, hub_link);

/* DATA or FIN on its way. cost: text and CBX_RECORD_COST, which covers this and the frame around
 * the text; 0 for a FIN, the only one of its direction. */
struct hub_queued {
    STAILQ_ENTRY(hub_queued) entry;
    struct cbx_slice slice;
    uint32_t text, cost;
};
STAILQ_HEAD(hub_queue, hub_queued);

/* One side of a circuit: the link it leads to and what waits to be sent there. */
struct hub_half {
    struct cbx_circuit circuit;
    struct hub_circuit *owner;
    struct hub_queue data;
    struct cbx_queue control;
    uint32_t control_count;
    uint64_t data_cost; /* of what waits */
    uint64_t overhead;  /* what of it is not text */
    uint64_t passed;    /* offset up to which the other side's bytes went out here */
    /* What this side's agent has said. */
    uint64_t sent;  /* next offset of its bytes */
    uint64_t limit; /* what it granted */
    uint64_t acked; /* what it acknowledged of the other's bytes */
    bool fin;
};

/* half[0] is the dialer's side. What comes from one side's link waits in the other half. */
struct hub_circuit {
    TAILQ_ENTRY(hub_circuit) entry;
    struct hub_half half[2];
    bool answered; /* the target has taken the OPEN, or said RESUMED */
    bool resuming; /* it began with RESUME */
    bool done;     /* nothing more will come; freed once drained */
    bool reaping;
};

struct hub_counts {
    uint64_t attached, joined, evicted, revoked, refused[CBX_REASON_MAX + 1];
    uint64_t relayed_frames, relayed_bytes, opened, stale, breaches, shed, unknown_logins,
        never_spoke, allowances_refused, allowances_kept, lanes, lanes_lost, lanes_refused,
        prefaces_refused, rendezvous, rendezvous_dropped;
};

struct hub_core {
    struct hub_core_config config;
    struct registry *registry;
    const struct hub_core_ops *ops;
    void *arg;
    struct hub_links links, dirty;
    struct hub_links acks; /* those that owe an ack, and some that did lately */
    uint64_t looked;       /* links looked at by turns, but not by sweeps */
    struct hub_circuits reap;
    struct hub_promise *promises;
    struct hub_allowances allowances;
    struct hub_counts count;
    struct hub_plane_bytes plane_bytes[HUB_PLANES]; /* of links that are over */
    uint64_t ticket;                                /* last one given out */
    uint64_t committed;                             /* last one on disk */
    uint64_t held;                                  /* cost of what waits in circuits */
    uint64_t least_wanted; /* least allowance of a link that wants more and cannot have it */
    uint32_t circuit_count;
    int64_t swept_at, started_unix;
    bool shutting_down;
};

/* core.c */
void hub_link_wake(struct hub_link *link);
/* Says why, then closes. Final reasons stop the agent. */
void hub_link_bye(struct hub_link *link, enum cbx_reason reason, uint32_t retry_ms,
                  const char *text);
void hub_link_shed(struct hub_link *link); /* a frame was dropped for its rate */
uint64_t hub_core_commit(struct hub_core *core);
struct hub_link *hub_peer_link(const struct reg_peer *peer); /* READY, or NULL */
int64_t hub_now(const struct hub_core *core);

/* core_join.c */
int hub_join_take(struct hub_link *link, const struct cbx_frame *frame, struct cbx_error *error);
void hub_join_done(struct hub_link *link); /* it is on disk */

/* core_allowance.c */
void hub_core_want(struct hub_link *link, int64_t now);          /* WANT */
void hub_core_allowed(struct hub_link *link, uint64_t sequence); /* ALLOWED */
void hub_core_look_for_room(struct hub_core *core, int64_t now); /* at each sweep */
/* It has not answered a lowering for too long. */
bool hub_core_keeps_allowance(const struct hub_link *link, int64_t now);

/* core_lane.c */
int hub_lane_get(struct hub_link *link, const struct cbx_frame *frame, int64_t now);
void hub_lane_forget(struct hub_link *link);
/* Both directions are on the lane. */
bool hub_lane_up(const struct hub_link *link);
/* What the link may carry: with lanes required, nothing before it is on one. */
bool hub_lane_allows(const struct hub_link *link);

/* core_plane.c */
const char *hub_plane_name(enum hub_plane plane);
/* The link is about to go: what it carried is kept. */
void hub_plane_link_over(const struct hub_link *link);
/* What peers and status say of planes. */
void hub_plane_peer(const struct hub_link *link, json_t *out);
json_t *hub_planes_json(const struct hub_core *core);

/* directory.c */
void hub_directory_snapshot(struct hub_link *link);
void hub_directory_tell(struct hub_core *core, const struct reg_peer *peer, bool gone);
void hub_directory_chain(struct hub_link *link, const struct cbx_frame *frame);
/* HANDSHAKE, CONFIRM, NO_HANDSHAKE, RENDEZVOUS: passed on to the peer they name. */
int hub_directory_pass(struct hub_link *link, const struct cbx_frame *frame, int64_t now,
                       struct cbx_error *error);

/* switch.c: frames with a label. */
int hub_switch_frame(struct hub_link *link, const struct cbx_frame *frame, int64_t now,
                     struct cbx_error *error);
/* The link is gone: the other side of each of its circuits is told. */
void hub_switch_link_gone(struct hub_link *link);
void hub_switch_reap(struct hub_core *core);

#endif
