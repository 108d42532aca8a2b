/* SPDX-License-Identifier: MIT */
/* Do a lane's first bytes reach the hub? */
#ifndef AGENT_NETCHECK_LANE_H
#define AGENT_NETCHECK_LANE_H

#include <stdint.h>

struct ev_loop;
struct netcheck_lane;

/* Sends a preface that no hub can know, in two parts: a hub waits for the second and then closes
 * without a word. done gets "" or what happened instead. NULL when memory is short. */
struct netcheck_lane *netcheck_lane_new(struct ev_loop *loop, const char *address, const char *via,
                                        int64_t timeout_ms,
                                        void (*done)(void *arg, const char *trouble), void *arg);
void netcheck_lane_free(struct netcheck_lane *lane); /* NULL is fine */

#endif
