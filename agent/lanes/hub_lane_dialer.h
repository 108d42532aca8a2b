/* SPDX-License-Identifier: MIT */
/*
 * One attempt to open a lane: connects as the way to the hub does (proxies too), sends the preface
 * and waits for the listener's answer (rule 28). Afterwards the socket is a carrier.
 */
#ifndef AGENT_LANES_HUB_LANE_DIALER_H
#define AGENT_LANES_HUB_LANE_DIALER_H

#include "common/link/carrier.h"
#include "common/link/lane.h"
#include <stdint.h>

struct lane_dialer;
struct ev_loop;

/* Exactly one of the two is called, from the loop, never inside lane_dialer_new. The dialer does
 * nothing after it; the callee frees it, inside or later. */
struct lane_dialer_ops {
    /* Proven by both sides. The carrier belongs to the callee. */
    void (*up)(void *arg, struct cbx_carrier *carrier, const struct cbx_lane_ticket *ticket);
    void (*failed)(void *arg, const char *text);
};

/* address is "host:port"; via a proxy and segment_max as in connector.h; timeout_ms bounds the
 * connection, and then again the answer. NULL when memory is short. */
struct lane_dialer *lane_dialer_new(struct ev_loop *loop, const char *address, const char *via,
                                    const struct cbx_lane_ticket *ticket, int64_t timeout_ms,
                                    int segment_max, const struct lane_dialer_ops *ops, void *arg);
void lane_dialer_free(struct lane_dialer *dialer); /* NULL is fine */

#endif
