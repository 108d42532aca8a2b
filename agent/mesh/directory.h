/* SPDX-License-Identifier: MIT */
/*
 * The directory: which peers the hub lists, with which state and chain. A peer that is listed no
 * more stays while it has streams; another chain ends what was believed of the old one.
 */
#ifndef AGENT_MESH_DIRECTORY_H
#define AGENT_MESH_DIRECTORY_H

#include "agent/mesh/peer_state.h"

enum { MESH_PEERS_MAX = 16384 }; /* a hub cannot list more at once either */

/* A snapshot begins: none of the peers has been seen in it. */
void mesh_peers_begin(struct mesh *mesh);
/* PEER. */
int mesh_peer_listed(struct mesh *mesh, const struct cbx_frame *frame, struct cbx_error *error);
/* The snapshot is complete: who is not in it is gone. */
void mesh_peers_synced(struct mesh *mesh);
/* Timers: chains that do not come, sessions to be renewed or freed, peers that are gone. */
void mesh_peers_sweep(struct mesh *mesh, int64_t now);
/* Nothing that was asked of the hub is answered any more. */
void mesh_peers_link_lost(struct mesh *mesh);
void mesh_peers_free(struct mesh *mesh);

#endif
