/* SPDX-License-Identifier: MIT */
/*
 * When the agent opens a lane to its hub: as soon as one is promised; when that fails, the hub
 * refuses, or the lane is lost, it asks again after a growing, jittered wait. SSH goes on
 * meanwhile.
 */
#ifndef AGENT_LANES_HUB_LANE_H
#define AGENT_LANES_HUB_LANE_H

#include "agent/mesh/mesh.h"
#include "common/link/lane.h"
#include <stdbool.h>

struct agent_lane;
struct ev_loop;

/* NULL when memory is short. via is borrowed. */
struct agent_lane *agent_lane_new(struct ev_loop *loop, const char *via);
void agent_lane_free(struct agent_lane *lane); /* NULL is fine */

/* Forgets a mesh that is about to be freed (NULL), or serves another one. */
void agent_lane_serve(struct agent_lane *lane, struct mesh *mesh);
/* What the mesh says (mesh_ops). address is the hub's. */
void agent_lane_promised(struct agent_lane *lane, const char *address, int segment_max,
                         const struct cbx_lane_ticket *ticket);
void agent_lane_refused(struct agent_lane *lane, bool lost, const char *text);
/* What stands between the agent and a lane and when it tries again; "" when nothing does. */
void agent_lane_trouble(const struct agent_lane *lane, char *out, size_t size);

#endif
