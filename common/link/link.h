/* SPDX-License-Identifier: MIT */
/*
 * A link: frames over one carrier to one neighbour. Sans-I/O: bytes and time go in, frames come
 * out at the owner's callback, bytes to write come out as an iovec.
 *
 * Sending is link_out.h, receiving link_in.h, whose turn it is circuit.h.
 *
 * States: MAGIC (agent side: junk of at most 8 KiB before the hub's magic is skipped), OPEN,
 * FAILED (nothing more goes in or out; the owner closes).
 * A link may move from the carrier it began on to a lane, each direction for itself: SHIFT is the
 * last frame on the old carrier, everything after it comes over the lane, sealed. The owner of both
 * carriers asks in which of them the next bytes belong.
 *
 * Liveness: silence is measured on the arrival of any byte; ping after keepalive, dead after gone.
 */
#ifndef COMMON_LINK_LINK_H
#define COMMON_LINK_LINK_H

#include "common/link/circuit.h"
#include "common/link/link_in.h"
#include "common/link/link_out.h"
#include "common/link/link_state.h"

/* A ping after that much silence, and the end of a link, unless the owner says otherwise. */
enum { CBX_LINK_KEEPALIVE_US = 15 * 1000 * 1000, CBX_LINK_GONE_US = 45 * 1000 * 1000 };

int cbx_link_init(struct cbx_link *link, const struct cbx_link_config *config,
                  const struct cbx_link_ops *ops, void *owner, int64_t now);
/* Drops queues and buffers; circuits must have been removed. */
void cbx_link_dispose(struct cbx_link *link);

/* A lane of this id was agreed on: the neighbour may say SHIFT from now on. */
void cbx_link_expect_lane(struct cbx_link *link, const uint8_t id[CBX_LANE_ID]);
/* The lane is there (taken over): what goes out moves to it, what comes in once the neighbour says
 * so. CBX_ERR_STATE when there is one already (the lane is then freed). */
int cbx_link_lane(struct cbx_link *link, struct cbx_lane *lane);

/* When cbx_link_tick is due next. */
int64_t cbx_link_deadline(const struct cbx_link *link);
/* Measures the round trip now. */
int cbx_link_ping(struct cbx_link *link, int64_t now);
/* Acks, pings; CBX_ERR_CLOSED when the neighbour has been silent for too long. */
int cbx_link_tick(struct cbx_link *link, int64_t now);

#endif
