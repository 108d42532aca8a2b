/* SPDX-License-Identifier: MIT */
/* An SSH channel as a carrier. */
#ifndef AGENT_UPLINK_SSH_CARRIER_H
#define AGENT_UPLINK_SSH_CARRIER_H

#include "agent/uplink/ssh_session.h"
#include "common/link/carrier.h"

struct ev_loop;

/* Takes all three over; NULL when memory is short (they then stay the caller's). After keepalive_ms
 * without a write (0: 15 s) a sign of life goes out: what stands by beside a lane is else silent
 * for hours, and cut by what is on its way. */
struct cbx_carrier *ssh_carrier_new(struct ev_loop *loop, struct tcp_buffer *tcp,
                                    LIBSSH2_SESSION *session, LIBSSH2_CHANNEL *channel,
                                    int64_t keepalive_ms);

#endif
