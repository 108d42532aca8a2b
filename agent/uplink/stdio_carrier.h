/* SPDX-License-Identifier: MIT */
/* A program's pipes as a carrier, which ends the program when it is closed. */
#ifndef AGENT_UPLINK_STDIO_CARRIER_H
#define AGENT_UPLINK_STDIO_CARRIER_H

#include "common/link/carrier.h"
#include <stddef.h>

struct child;
struct ev_loop;

/* first is what was read already (copied). Takes all over; NULL when memory is short (they then
 * stay the caller's). */
struct cbx_carrier *stdio_carrier_new(struct ev_loop *loop, struct child *child, int input,
                                      int output, const void *first, size_t length);

#endif
