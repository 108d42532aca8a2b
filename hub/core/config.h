/* SPDX-License-Identifier: MIT */
/* What the engine is told when it is made: limits, times, and the shell's functions. */
#ifndef HUB_CORE_CONFIG_H
#define HUB_CORE_CONFIG_H

#include "common/link/lane.h"
#include "common/trust/addresses.h"
#include <stdbool.h>
#include <stdint.h>

struct hub_core_config {
    int64_t keepalive_us; /* ping after this much silence; 0: CBX_LINK_KEEPALIVE_US */
    int64_t gone_us;      /* dead after this much silence; 0: CBX_LINK_GONE_US */
    int64_t hello_us;     /* time for the first frame of a new link; default 10 s when 0 */
    int64_t allowed_us;   /* time to answer a lowered allowance; default 10 s when 0 */
    uint64_t queue_max;   /* bytes of circuits held in all; default 1 GiB when 0 */
    enum cbx_lanes lanes;
    bool direct;          /* agents may meet for lanes of their own */
    const char *software; /* "cbx-hub 0.1.0" */
    /* Where agents should look for this hub, as cbx_addresses_write has it; "": nothing is said. */
    char addresses[CBX_ADDRESSES_TEXT_MAX];
};

struct hub_core_ops {
    /* The registry changed and must reach the disk, with sshd's authorized_keys where login keys
     * changed; call hub_core_committed(core, ticket) when it has. Tickets grow by one. */
    void (*commit)(void *arg, uint64_t ticket);
    int64_t (*now_us)(void *arg);
    int64_t (*now_unix_ms)(void *arg);
    /* Output is pending or a timer moved: call hub_core_flush before the loop sleeps. */
    void (*wake)(void *arg);
};

#endif
