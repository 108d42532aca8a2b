/* SPDX-License-Identifier: MIT */
/*
 * One attempt to open a direct lane: plain connections to all candidates at once, our preface on
 * each that stands; the first that proves to know the ticket wins, the others are closed. Never
 * through a proxy.
 */
#ifndef AGENT_LANES_DIRECT_DIALER_H
#define AGENT_LANES_DIRECT_DIALER_H

#include "agent/mesh/candidates.h"
#include "common/link/lane.h"
#include <stdint.h>

struct direct_dialer;
struct ev_loop;

enum { DIRECT_CONNECT_MS = 3000 };

/* Exactly one of the two is called, from the loop, never inside direct_dialer_new. The dialer does
 * nothing after it; the callee frees it, inside or later. */
struct direct_dialer_ops {
    /* Proven by both sides. The socket belongs to the callee. */
    void (*up)(void *arg, int fd, const struct cbx_lane_ticket *ticket);
    void (*failed)(void *arg, const char *text);
};

/* timeout_ms bounds all of it. The caller has looked at the candidates (candidate_usable). NULL
 * when memory is short. */
struct direct_dialer *direct_dialer_new(struct ev_loop *loop, const struct candidates *to,
                                        const struct cbx_lane_ticket *ticket, int64_t timeout_ms,
                                        const struct direct_dialer_ops *ops, void *arg);
void direct_dialer_free(struct direct_dialer *dialer); /* NULL is fine */

#endif
