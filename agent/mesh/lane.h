/* SPDX-License-Identifier: MIT */
/*
 * The link's lane to the hub (rule 28): asked for, promised or refused, and taken. Who connects is
 * the shell; a lane is then carrier of the link that it was promised to, and of no later one.
 */
#ifndef AGENT_MESH_LANE_H
#define AGENT_MESH_LANE_H

#include "agent/mesh/base.h"

/* LANE and NO_LANE. */
int mesh_lane_promised(struct mesh *mesh, const struct cbx_frame *frame, struct cbx_error *error);
int mesh_lane_refused(struct mesh *mesh, const struct cbx_frame *frame, struct cbx_error *error);
/* The link may carry streams. */
bool mesh_lane_allows(const struct mesh *mesh);

#endif
