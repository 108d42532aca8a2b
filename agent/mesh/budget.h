/* SPDX-License-Identifier: MIT */
/*
 * What this agent may have outstanding (rule 22). The hub says how much of the receive budget may
 * be granted over its link (the allowance); the rest may be granted over direct lanes. When a grant
 * was cut short, the hub is asked for twice as much, 20 times a second at most.
 */
#ifndef AGENT_MESH_BUDGET_H
#define AGENT_MESH_BUDGET_H

#include "agent/mesh/base.h"

/* The hub allows that much. */
void mesh_set_allowance(struct mesh *mesh, uint64_t value);
/* The hub might allow more than it does: worth waiting for its answer. */
bool mesh_may_grow(const struct mesh *mesh);
/* Sends WANT where that is due; needs the link. */
void mesh_ask_for_more(struct mesh *mesh, int64_t now);

#endif
