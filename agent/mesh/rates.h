/* SPDX-License-Identifier: MIT */
/*
 * An agent never sends what its neighbour calls a breach (rule 24): each frame that has a rate asks
 * here first. What may not go out now waits where it came from (a dial in mesh.waiting, a stream in
 * its move) and is tried again in PACE_US, or is left unsaid where the far side asks again by
 * itself (handshakes, offers). Buckets begin full with the link, as the neighbour's do.
 */
#ifndef AGENT_MESH_RATES_H
#define AGENT_MESH_RATES_H

#include "agent/mesh/base.h"

/* The hub's link is a new one. */
void mesh_rates_begin(struct mesh *mesh);

/* OPEN or RESUME on that link. False: mesh.paced_at says when to try again. */
bool mesh_rate_opens(struct mesh *mesh, struct mesh_peer *peer, const struct cbx_link *link);

/* Frames that the hub passes on; who begins leaves room for answers, and both for the rest. */
enum mesh_passed { MESH_PASSED_BEGIN, MESH_PASSED_ANSWER, MESH_PASSED_SAY };
bool mesh_rate_passes(struct mesh *mesh, enum mesh_passed kind);

bool mesh_rate_fetches(struct mesh *mesh);
bool mesh_rate_asks_lane(struct mesh *mesh);

#endif
