/* SPDX-License-Identifier: MIT */
/*
 * The ground of the engine: links of agents, what they are made of, and the core that holds them.
 *
 * A link's phases, and what it may send in each (the table is in core.c):
 *
 *   HELLO       peer: AGENT_HELLO within 10 s; join: JOIN within 10 s   -> COMMITTING, CLOSING
 *   COMMITTING  waits until the registry is on disk; nothing may come   -> READY, CLOSING
 *   READY       everything of an attached agent                         -> CLOSING
 *   CLOSING     a last frame is on its way; what comes is dropped       -> freed when it is out, or
 *                                                                          after 2 s
 *
 * Ownership: the core owns links, a link owns its pump, two links share a circuit until it is done;
 * reg_peer.live and hub_link.peer point at each other while a peer is attached or attaching.
 */
#ifndef HUB_CORE_LINK_H
#define HUB_CORE_LINK_H

#include "common/base/rate.h"
#include "common/link/pump.h"
#include "common/session/session.h"
#include "hub/core/allowance.h"
#include "hub/core/config.h"
#include "hub/registry/registry.h"
#include <sys/queue.h>

enum { HUB_LINK_NAME_MAX = 2 * CBX_SLUG_MAX + sizeof "..cbx" };

enum hub_phase { HUB_HELLO, HUB_COMMITTING, HUB_READY, HUB_CLOSING };

/* What a link's frames go over. */
enum hub_plane { HUB_PLANE_SSH, HUB_PLANE_RELAY, HUB_PLANES };

struct hub_plane_bytes {
    uint64_t from, to; /* agents; all bytes of their links */
};

/* A lane that was promised to a link and has not come yet (rule 28). */
struct hub_promise {
    UT_hash_handle hh; /* by the ticket's id, in hub_core.promises */
    struct cbx_lane_ticket ticket;
    struct hub_link *link;
    int64_t until; /* 0: none */
};

struct hub_link {
    struct cbx_pump pump; /* first */
    struct hub_core *core;
    TAILQ_ENTRY(hub_link) entry, dirty_entry, ack_entry;
    bool dirty, ack_waits; /* in core->dirty, in core->acks */
    bool behind;           /* has missed news of its pond: to be closed at the next flush */
    enum hub_phase phase;  /* hub_link_enter */
    enum reg_login_kind kind;
    struct reg_peer *peer; /* NULL for join links and after removal */
    char pond[CBX_SLUG_MAX + 1];
    char slug[CBX_SLUG_MAX + 1];
    char name[HUB_LINK_NAME_MAX]; /* "slug.pond.cbx", for the log */
    char fingerprint[CBX_FINGERPRINT_TEXT_MAX];
    char address[64];
    char software[64];
    bool takes_addresses; /* its software says so */
    uint64_t connection;
    uint8_t incarnation[CBX_INCARNATION_SIZE];
    uint64_t ticket;         /* COMMITTING: what it waits for */
    int64_t began, deadline; /* us; deadline 0: none */
    int64_t since_unix;
    struct hub_allowance allowance;
    int64_t wanted_at; /* a WANT has had no answer yet since; 0: none */
    int64_t asked_at;  /* when the allowance was asked down last */
    bool floods;       /* more was dropped for its rate than is forgiven */
    bool lane_asked;   /* LANE_GET came */
    struct hub_promise promise;
    uint32_t circuits;             /* that have a half here */
    uint32_t opened;               /* of these, by its agent */
    uint64_t bytes_from, bytes_to; /* stream payload relayed */
};

struct hub_circuit;
TAILQ_HEAD(hub_links, hub_link);
TAILQ_HEAD(hub_circuits, hub_circuit);

struct hub_counts {
    uint64_t attached, joined, evicted, revoked, expired, refused[CBX_REASON_MAX + 1];
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
    struct hub_links acks;          /* those that owe an ack, and some that did lately */
    uint64_t looked;                /* links looked at by turns, but not by sweeps */
    struct hub_circuits unanswered; /* the oldest first */
    struct hub_circuits reap;
    struct hub_promise *promises;
    struct hub_allowances allowances;
    struct hub_counts count;
    struct hub_plane_bytes plane_bytes[HUB_PLANES]; /* of links that are over */
    uint64_t ticket;                                /* last one given out */
    uint64_t committed;                             /* last one on disk */
    uint64_t held;                                  /* cost of what waits in circuits */
    uint64_t least_wanted; /* least allowance of a link that wants more and cannot have it */
    uint32_t circuit_count, untold; /* peers that are */
    int64_t swept_at, expired_at, started_unix;
    bool shutting_down;
};

int64_t hub_now(const struct hub_core *core);
int64_t hub_now_unix(const struct hub_core *core); /* seconds */
/* The registry changed: the ticket under which it goes to the disk. */
uint64_t hub_core_commit(struct hub_core *core);
/* The link of an attached peer: READY, or NULL. */
struct hub_link *hub_peer_link(const struct reg_peer *peer);

/* The one setter of the phase. */
void hub_link_enter(struct hub_link *link, enum hub_phase phase);
/* COMMITTING, until what was changed for it is on disk. */
void hub_link_await_commit(struct hub_link *link);
/* Something waits to be sent, or a timer moved: it is flushed before the loop sleeps. */
void hub_link_wake(struct hub_link *link);
/* A frame of it, which is READY, was dropped for its rate. */
void hub_link_shed(struct hub_link *link);

#endif
