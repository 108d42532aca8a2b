/* SPDX-License-Identifier: MIT */
/*
 * Direct lanes: a link of its own between two agents, whose only carrier is the lane. It carries
 * streams and nothing else: sessions, the directory and the next rendezvous go over the hub. It
 * ends with its carrier, after a record that did not open, when the peer is listed no more, and
 * when no stream was there for a while; its streams go on over the hub (move.h). The object stays
 * until the end of that turn, since it may end inside a callback of its own pump.
 */
#ifndef AGENT_MESH_DIRECT_H
#define AGENT_MESH_DIRECT_H

#include "agent/mesh/peer_state.h"

/* Ends the lane to the peer, if there is one; not from inside a callback of its link: there
 * mesh_direct_doom. */
void mesh_direct_drop(struct mesh_peer *peer, const char *why);

/* Timers, writes, and what is over is freed. Returns when it is due next. */
int64_t mesh_directs_flush(struct mesh *mesh, int64_t now);
/* All of them; goodbye: the peers are told that this agent stops. */
void mesh_directs_close(struct mesh *mesh, bool goodbye);
/* Adds what went over those that stand. */
void mesh_directs_count(const struct mesh *mesh, struct mesh_plane_bytes *bytes);

#endif
