/* SPDX-License-Identifier: MIT */
/* Do a lane's first bytes reach the hub, and in segments of which length? */
#ifndef AGENT_NETCHECK_LANE_H
#define AGENT_NETCHECK_LANE_H

#include <stdbool.h>
#include <stdint.h>

struct ev_loop;
struct netcheck_lane;

struct netcheck_lane_config {
    const char *address, *via;
    int64_t timeout_ms; /* of the connection, and then of the answer */
    int segment_max;    /* as in connector.h */
};

struct netcheck_lane_result {
    const char *trouble; /* "": the hub has read all; then a full segment has arrived there */
    bool answered;       /* something there did not leave it at taking the connection */
    int segment;         /* bytes in a full one; 0: not known */
};

/* Sends a preface that no hub can know, in two parts: a hub waits for the second, whose first
 * segment is a full one, and then closes without a word. NULL when memory is short. */
struct netcheck_lane *
netcheck_lane_new(struct ev_loop *loop, const struct netcheck_lane_config *config,
                  void (*done)(void *arg, const struct netcheck_lane_result *result), void *arg);
void netcheck_lane_free(struct netcheck_lane *lane); /* NULL is fine */

#endif
