/* SPDX-License-Identifier: MIT */
/*
 * Since when has a TCP connection stood still while somebody waits for it? Outward: what was sent
 * is sent again and again, and no byte more is acknowledged. Inward: an answer is due, and no byte
 * more comes. What nobody waits for may be silent. Pure.
 */
#ifndef AGENT_UPLINK_STALL_H
#define AGENT_UPLINK_STALL_H

#include "common/os/tcp_path.h"
#include <stdbool.h>
#include <stdint.h>

struct stall {
    uint64_t acked, received;
    int64_t out_since, in_since; /* 0: it moves, or nobody waits */
};

/* For how long, in microseconds; 0: it does not. A new connection begins with a zeroed stall. */
int64_t stall_look(struct stall *stall, const struct cbx_tcp_path *path, bool answer_due,
                   int64_t now_us);

#endif
