/* SPDX-License-Identifier: MIT */
/*
 * Direct lanes as the process makes them: the listener and the tickets expected there, the tries
 * to reach peers. When to do which, and what the lanes carry, is the mesh's (mesh_ops).
 */
#ifndef AGENT_LANES_DIRECT_H
#define AGENT_LANES_DIRECT_H

#include "agent/mesh/candidates.h"
#include "agent/mesh/mesh.h"
#include "common/base/err.h"
#include "common/link/lane.h"
#include <jansson.h>
#include <stdint.h>

struct agent_direct;
struct ev_loop;

/*
 * where: "auto", or "ADDR:PORT" of the listener. When no listener can be had, "auto" goes on
 * without one (lanes then are only opened by us); for an address that was asked for it is the
 * error. NULL also when memory is short.
 */
struct agent_direct *agent_direct_new(struct ev_loop *loop, const char *where,
                                      struct cbx_error *error);
void agent_direct_free(struct agent_direct *direct); /* NULL is fine */

/* Forgets a mesh that is about to be freed (NULL), or serves another one. */
void agent_direct_serve(struct agent_direct *direct, struct mesh *mesh);

/* What the mesh asks for (mesh_ops). */
void agent_direct_candidates(const struct agent_direct *direct, const char *seen,
                             struct candidates *out);
void agent_direct_expect(struct agent_direct *direct, const struct cbx_lane_ticket *ticket);
void agent_direct_connect(struct agent_direct *direct, const struct cbx_lane_ticket *ticket,
                          const struct candidates *to);
void agent_direct_forget(struct agent_direct *direct, const uint8_t id[CBX_LANE_ID]);

/* Why peers cannot open lanes to this agent; "" when they can, or are not to (NULL). */
const char *agent_direct_warning(const struct agent_direct *direct);

/* {"mode": "on", "trouble", "listening", ... (direct_listener_json), "expected", "dials",
 * "dials_failed"}; "listening" is "" without a listener, and trouble says why. New reference; also
 * for NULL: {"mode": "off"}. */
json_t *agent_direct_json(const struct agent_direct *direct);

#endif
