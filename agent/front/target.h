/* SPDX-License-Identifier: MIT */
/* Incoming streams on their way to an exposed port: connects, answers the mesh, makes a conn. */
#ifndef AGENT_FRONT_TARGET_H
#define AGENT_FRONT_TARGET_H

#include "agent/front/conn.h"
#include "common/trust/expose.h"

struct target;
struct target_refusal;

struct target_stats {
    uint64_t incoming, accepted, refused;
};

struct target_set {
    struct conn_set *conns; /* borrowed */
    double connect_s;
    LIST_HEAD(, target) connecting;
    uint32_t count;
    struct target_refusal *refusals; /* answers that wait for the end of the batch */
    uint32_t refusals_count, refusals_room;
    struct ev_prepare after; /* never started, only fed */
    struct target_stats stats;
};

/* 0 or CBX_ERR_NOMEM. */
int target_set_init(struct target_set *set, struct conn_set *conns, int64_t connect_timeout_ms);
/* Refuses all that are not answered yet. The mesh must still live. */
void target_set_abandon(struct target_set *set, enum cbx_reason reason);
/* The same, and releases the set. */
void target_set_clear(struct target_set *set);

/* Inside mesh_ops.incoming: neither calls into the mesh, the answer comes later. share: the place
 * of the stream, given back at its end. */
void target_connect(struct target_set *set, struct mesh_stream *stream, const char *from,
                    const struct cbx_expose_item *item, struct share *share);
void target_refuse(struct target_set *set, struct mesh_stream *stream, enum cbx_reason reason);

/* What the errno of a connect means to the dialer. */
enum cbx_reason target_reason(int error);

#endif
