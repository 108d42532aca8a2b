/* SPDX-License-Identifier: MIT */
/*
 * The rates of the protocol, for both ends (rule 24; PROTOCOL.md, "Rates"): the neighbour drops or
 * refuses what is beyond them, and ends the link when that does not stop. Who sends stays below by
 * itself: a tenth slower, with half of the burst, since the network may press into a moment what
 * was sent over a second.
 */
#ifndef COMMON_LINK_RATES_H
#define COMMON_LINK_RATES_H

#include "common/base/rate.h"

struct cbx_rate_limit {
    double per_second;
    double burst; /* at once after a rest */
};

static const struct cbx_rate_limit CBX_RATE_OPEN = {2000, 8192};  /* OPEN, RESUME */
static const struct cbx_rate_limit CBX_RATE_PASSED = {200, 1024}; /* HANDSHAKE, CONFIRM,
                                                                   * NO_HANDSHAKE, RENDEZVOUS */
static const struct cbx_rate_limit CBX_RATE_CHAIN_GET = {500, 10000};
static const struct cbx_rate_limit CBX_RATE_LANE_GET = {2, 16};
static const struct cbx_rate_limit CBX_RATE_ATTACH = {1, 120}; /* AGENT_HELLO */
/* Frames for a circuit that is gone: of honest senders only those that crossed its end, which is
 * what credit and control of their circuits allow. */
static const struct cbx_rate_limit CBX_RATE_STALE = {20000, 200000};

enum { CBX_RATE_SHED_MAX = 20000 /* frames beyond a rate, before the link ends */ };
/* They are forgiven within a minute. */
static const struct cbx_rate_limit CBX_RATE_SHED = {CBX_RATE_SHED_MAX / 60., CBX_RATE_SHED_MAX};

/* The receiver's side: false when the frame is beyond the rate. */
bool cbx_rate_allows(struct cbx_rate *rate, const struct cbx_rate_limit *limit, int64_t now);
/* The sender's: true when a frame may go out now. share: how much of the sender's burst this kind
 * of frame may use up, up to 1; what matters more has the rest. */
bool cbx_rate_paces(struct cbx_rate *rate, const struct cbx_rate_limit *limit, double share,
                    int64_t now);

#endif
