/* SPDX-License-Identifier: MIT */
/*
 * Receiving: from a carrier's bytes to frames at the owner's callback. Bytes are read into slabs
 * whose size follows the traffic, and frames borrow from them; the link's own frames (PING, PONG,
 * ACK, PACE, SHIFT, LANE_LOST) end here. On a lane a frame's block is opened first.
 */
#ifndef COMMON_LINK_LINK_IN_H
#define COMMON_LINK_LINK_IN_H

#include "common/link/link_state.h"

enum { CBX_LINK_READ_SMALL = 16 * 1024 /* capacity of a quiet link's slab */ };

/* Where the next bytes belong, and how many fit; CBX_ERR_NOMEM. Then say how many came. */
int cbx_link_space(struct cbx_link *link, uint8_t **at, size_t *room);
int cbx_link_received(struct cbx_link *link, size_t bytes, int64_t now, struct cbx_error *error);
/* Bytes from elsewhere (tests): copies. */
int cbx_link_input(struct cbx_link *link, const uint8_t *bytes, size_t length, int64_t now,
                   struct cbx_error *error);

#endif
