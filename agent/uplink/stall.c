/* SPDX-License-Identifier: MIT */
/* Two clocks, outward and inward: one begins when something is waited for, ends when it moves. */
#include "agent/uplink/stall.h"

/* The first may be chance, or a far end that was asleep. */
enum { RETRANSMITS_MIN = 2 };

static void
look(int64_t *since, bool waits, bool moved, int64_t now_us)
{
    if (!waits || moved)
        *since = 0;
    if (waits && *since == 0)
        *since = now_us;
}

int64_t
stall_look(struct stall *stall, const struct cbx_tcp_path *path, bool answer_due, int64_t now_us)
{
    bool stuck = path->unacked > 0 && path->retransmits >= RETRANSMITS_MIN;
    look(&stall->out_since, stuck, path->acked != stall->acked, now_us);
    look(&stall->in_since, answer_due, path->received != stall->received, now_us);
    stall->acked = path->acked;
    stall->received = path->received;
    int64_t out = stall->out_since ? now_us - stall->out_since : 0;
    int64_t in = stall->in_since ? now_us - stall->in_since : 0;
    return out > in ? out : in;
}
