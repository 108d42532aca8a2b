/* SPDX-License-Identifier: MIT */
/*
 * Lanes of agents (rule 28). An attached agent asks; the hub makes id and secret, good once and for
 * 30 s, and answers over the link; whoever then connects and proves to know them gets the link's
 * lane. One promise a link: a new one replaces the older. The promise is struck out before the
 * proof is looked at, so that nobody can try twice.
 */
#ifndef HUB_CORE_LANE_H
#define HUB_CORE_LANE_H

#include "common/link/carrier.h"
#include "common/link/frame.h"
#include "common/link/lane.h"
#include <stdbool.h>
#include <stdint.h>

struct hub_core;
struct hub_link;

/* A connection began with this preface. Takes the carrier over: true when it became the lane of the
 * link it was made for, false when no link expects it (the carrier is closed, nothing was said). */
bool hub_core_lane(struct hub_core *core, struct cbx_carrier *carrier,
                   const uint8_t preface[CBX_LANE_PREFACE]);

/* LANE_GET. */
int hub_lane_get(struct hub_link *link, const struct cbx_frame *frame, int64_t now);
/* The link goes: what it was promised is void. */
void hub_lane_forget(struct hub_link *link);
/* Both directions are on the lane. */
bool hub_lane_up(const struct hub_link *link);
/* What the link may carry: with lanes required, nothing before it is on one. */
bool hub_lane_allows(const struct hub_link *link);

#endif
