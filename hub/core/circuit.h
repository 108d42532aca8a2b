/* SPDX-License-Identifier: MIT */
/*
 * A circuit: one stream's way through the hub, from one link to another. It has a half on each
 * link; half[0] is the dialer's. What comes from one side's link waits in the other half, bounded
 * in bytes of memory: text and cost of each record by the receiver's outstanding credit, so all of
 * it by the sum of allowances; what is pinned by an eighth of --queue-max.
 *
 *   OPENING, RESUMING  OPEN or RESUME was passed on; DATA may come once it is  -> ANSWERED, DONE;
 *                      for longer than any dial waits                           -> DONE
 *   ANSWERED           the target took it                                       -> DONE
 *   DONE               nothing more will come; what had to be told drains      -> REAPING
 *   REAPING            in the core's reap list: freed after the turn, never inside a callback of a
 *                      link
 *
 * A circuit is DONE when both FINs are acknowledged, when one side resets, when the hub says CLOSE,
 * or with a link.
 */
#ifndef HUB_CORE_CIRCUIT_H
#define HUB_CORE_CIRCUIT_H

#include "hub/core/link.h"
#include <stddef.h>

/* Control frames that wait in one half. An honest agent acknowledges ten times a second at most,
 * for as long as the other link may stand still before it is given up (45 s unless set). */
enum { HUB_CIRCUIT_CONTROL_MAX = 512 };

/*
 * How many circuits the agent of one link may have opened: twice the connections of local programs
 * that an agent takes, for a stream that changes its path has two for a moment. Beyond
 * HUB_CIRCUITS_LEAST no more than are still free of HUB_CIRCUITS_SHARE of queue_max, at
 * HUB_CIRCUIT_COST each: so one link never takes the last.
 */
enum {
    HUB_CIRCUITS_MOST = 16384,
    HUB_CIRCUITS_LEAST = 1024,
    HUB_CIRCUITS_SHARE = 8, /* this part of queue_max */
    HUB_CIRCUIT_COST = 512  /* bytes of one at rest, with its places in two tables */
};
/* The longest --dial-timeout is an hour. */
static const int64_t HUB_ANSWER_MAX_US = 3660ll * 1000 * 1000;

enum hub_circuit_state {
    HUB_CIRCUIT_OPENING,
    HUB_CIRCUIT_RESUMING,
    HUB_CIRCUIT_ANSWERED,
    HUB_CIRCUIT_DONE,
    HUB_CIRCUIT_REAPING
};

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

struct hub_circuit {
    TAILQ_ENTRY(hub_circuit) entry; /* OPENING, RESUMING: core.unanswered; REAPING: core.reap */
    struct hub_core *core;
    int64_t began;
    struct hub_half half[2];
    enum hub_circuit_state state; /* hub_circuit_enter */
};

static inline struct hub_half *
hub_half_of(struct cbx_circuit *circuit)
{
    return (struct hub_half *)((char *)circuit - offsetof(struct hub_half, circuit));
}

static inline struct hub_half *
hub_half_other(struct hub_half *half)
{
    struct hub_circuit *circuit = half->owner;
    return half == &circuit->half[0] ? &circuit->half[1] : &circuit->half[0];
}

/* NULL once the link is gone. */
static inline struct hub_link *
hub_half_link(const struct hub_half *half)
{
    return half->circuit.link ? half->circuit.link->owner : NULL;
}

/* An OPEN or RESUME of from under its label, to be passed on to `to` under a label of ours. NULL
 * when memory or labels are out. */
struct hub_circuit *hub_circuit_new(struct hub_link *from, uint32_t label, struct hub_link *to,
                                    bool resume);
/* Whether this link may open one more. */
bool hub_circuit_allowed(const struct hub_link *link);
/* The one setter of the state. */
void hub_circuit_enter(struct hub_circuit *circuit, enum hub_circuit_state state);
/* Its OPEN or RESUME could not be passed on: the far side never hears of it. */
void hub_circuit_unsent(struct hub_core *core, struct hub_circuit *circuit, enum cbx_reason reason);
/* DONE: it is freed once what it holds has gone out. */
void hub_circuit_finish(struct hub_circuit *circuit);
/* Ends it in the middle: data that waits is dropped, credit is free. */
void hub_circuit_end(struct hub_core *core, struct hub_circuit *circuit);
/* The hub's own word to both sides, about a side that broke the rules. */
void hub_circuit_break(struct hub_core *core, struct hub_circuit *circuit, enum cbx_reason reason);

/* A frame with the label of the link that it goes to: a copy of its own. */
struct cbx_slice hub_half_relabelled(const struct cbx_frame *frame, const struct hub_half *to);
/* DATA or FIN to wait in this half; see struct hub_queued. CBX_ERR_NOMEM. */
int hub_half_put_data(struct hub_core *core, struct hub_half *to, const struct cbx_frame *frame,
                      uint32_t text, uint32_t cost);
/* What waits there of it is not sent any more. */
void hub_half_drop_data(struct hub_core *core, struct hub_half *half);
/* A control frame. CBX_ERR_NOMEM. */
int hub_half_put_control(struct hub_half *to, const struct cbx_frame *frame);
/* The last frame of a circuit, which must be heard, or the link that it goes to ends. */
void hub_half_put_last(struct hub_half *to, const struct cbx_frame *frame);
/* The same, a CLOSE of the hub's own. No effect once the link is gone. */
void hub_half_put_close(struct hub_half *to, enum cbx_reason reason);

/* The link is gone: the other side of each of its circuits is told. */
void hub_circuits_link_gone(struct hub_link *link);
/* Ends those that nobody answered in HUB_ANSWER_MAX_US. */
void hub_circuits_sweep(struct hub_core *core, int64_t now);
/* Frees what is REAPING. */
void hub_circuits_reap(struct hub_core *core);

#endif
