/* SPDX-License-Identifier: MIT */
/*
 * Where peers open direct lanes. Nothing but a preface that is expected now gets an answer:
 * everything else is closed without a word and counted. Bounds: connections that have not proven
 * anything, in all and per address, and their time.
 */
#ifndef AGENT_LANES_DIRECT_LISTENER_H
#define AGENT_LANES_DIRECT_LISTENER_H

#include "common/base/err.h"
#include "common/link/lane.h"
#include <jansson.h>
#include <stdbool.h>
#include <stdint.h>

struct direct_listener;
struct ev_loop;

enum {
    DIRECT_WAITING_MAX = 64,
    DIRECT_WAITING_PER_ADDRESS = 8, /* IPv6: per /64 */
    DIRECT_PREFACE_MS = 3000,
    DIRECT_BOUND_MAX = 64,
};

enum direct_verdict {
    DIRECT_PROVEN,
    DIRECT_REPEATED, /* its ticket was good lately: one of several that raced, or a replay */
    DIRECT_STRANGER,
};

/*
 * where: "auto" (every address, a port of the system's choice) or "ADDR:PORT" (port 0: the
 * system's choice). took gets a socket and the 64 bytes read from it; whatever it says, the socket
 * is its own to use or close. CBX_ERR_USAGE or CBX_ERR_IO in error, and NULL.
 */
struct direct_listener *direct_listener_new(
    struct ev_loop *loop, const char *where,
    enum direct_verdict (*took)(void *arg, int fd, const uint8_t preface[CBX_LANE_PREFACE]),
    void *arg, struct cbx_error *error);
void direct_listener_free(struct direct_listener *listener); /* NULL is fine */

uint16_t direct_listener_port(const struct direct_listener *listener);
/* The address it is bound to: "::" is every one, "0.0.0.0" every one of IPv4. */
const char *direct_listener_bound(const struct direct_listener *listener);
/* {"listening": "[::]:40123", "waiting", "accepted", "proven", "repeated", "refused", "silent",
 * "crowded", "exhausted"}: new reference. */
json_t *direct_listener_json(const struct direct_listener *listener);

#endif
