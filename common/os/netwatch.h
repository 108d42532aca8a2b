/* SPDX-License-Identifier: MIT */
/*
 * Tells when the machine's addresses or routes changed, so that an agent that waits for its hub
 * tries again at once. At most one call per period: the first change is told at once, those that
 * follow within the period are told together at its end. Where the system has no such news
 * (other systems than Linux, sandboxes without netlink) it is silent, and back-off alone decides.
 */
#ifndef COMMON_OS_NETWATCH_H
#define COMMON_OS_NETWATCH_H

#include <stdint.h>

struct netwatch;
struct ev_loop;

/* changed is called from the loop and may free the watch. period_ms 0: 5,000. NULL only when
 * memory is short. */
struct netwatch *netwatch_new(struct ev_loop *loop, int64_t period_ms, void (*changed)(void *arg),
                              void *arg);
void netwatch_free(struct netwatch *watch);

#endif
