/* SPDX-License-Identifier: MIT */
/* Why the link, or a peer, is on no better plane: one line for people; "" when nothing is wrong.
 * mesh_remedy (mesh.h) is here too. */
#ifndef AGENT_MESH_WHY_H
#define AGENT_MESH_WHY_H

#include "agent/mesh/peer_state.h"
#include <stddef.h>

void mesh_why_not_relay(const struct mesh *mesh, char *out, size_t size);
void mesh_why_not_direct(const struct mesh_peer *peer, char *out, size_t size);

#endif
