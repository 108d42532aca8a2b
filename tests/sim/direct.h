/* SPDX-License-Identifier: MIT */
/*
 * Direct lanes in the simulator, as agents' shells make them: each agent has a listener at an
 * address of its own, which expects tickets; whoever connects there with a preface that holds is
 * joined to it by a pipe. For world.c: the mesh ops, and their turn.
 */
#ifndef SIM_DIRECT_H
#define SIM_DIRECT_H

#include "agent/mesh/mesh.h"
#include "world.h"

void world_direct_candidates(void *arg, const char *seen, struct candidates *out);
bool world_direct_mark(void *arg, const uint8_t key[32], uint8_t role, uint8_t out[16]);
void world_direct_expect(void *arg, const struct cbx_lane_ticket *ticket);
void world_direct_connect(void *arg, const struct cbx_lane_ticket *ticket,
                          const struct candidates *to);
void world_direct_forget(void *arg, const uint8_t id[CBX_LANE_ID]);
void world_direct_step(struct world *world);
/* What was expected or on its way when the world ends. */
void world_direct_free(struct world *world);

/* How many tickets its listener waits for. */
uint32_t world_direct_expects(const struct world_agent *agent);

#endif
