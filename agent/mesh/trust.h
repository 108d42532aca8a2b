/* SPDX-License-Identifier: MIT */
/*
 * Belief in peers (rules 1 to 3): chains are fetched, verified, and what they say of serial and
 * identity is compared with what was stored and remembered on disk before it is used. One write is
 * under way at a time; what changed meanwhile goes with the next.
 */
#ifndef AGENT_MESH_TRUST_H
#define AGENT_MESH_TRUST_H

#include "agent/mesh/peer_state.h"

/* CHAIN. */
void mesh_peer_chain(struct mesh *mesh, struct cbx_frame *frame);
/* The list up to mesh.stored_version is on disk. */
void mesh_peers_stored(struct mesh *mesh);
/* It could not be written: who waits for it is refused, and asked again by the next dial. */
void mesh_peers_not_stored(struct mesh *mesh);

#endif
