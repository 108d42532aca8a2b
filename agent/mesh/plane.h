/* SPDX-License-Identifier: MIT */
/*
 * Which plane carries what, and since when. Bytes by plane cost nothing per frame: a stream's
 * counters are shared out when it moves or ends, a link's when it moves.
 */
#ifndef AGENT_MESH_PLANE_H
#define AGENT_MESH_PLANE_H

#include "agent/mesh/base.h"

const char *mesh_plane_name(enum mesh_plane plane);
/* Of the link to the hub. */
enum mesh_plane mesh_plane_of_link(const struct mesh *mesh);
/* Where a new stream to the peer goes. */
enum mesh_plane mesh_plane_of_peer(const struct mesh_peer *peer);

/* A stream has its first circuit. */
void mesh_plane_begin(struct mesh_stream *stream);
/* A stream may be on another plane now, or ends: what it carried so far is its old plane's. */
void mesh_plane_moved(struct mesh_stream *stream);
/* The same of every stream: the link to the hub moved, or somebody wants to know. */
void mesh_plane_settle(const struct mesh *mesh);
/* The link to the hub is about to go: what it carried is kept. */
void mesh_plane_link_over(struct mesh *mesh);
/* Adds what the link to the hub has carried so far. */
void mesh_plane_add_link(const struct mesh *mesh, struct mesh_plane_bytes bytes[MESH_PLANES]);

#endif
