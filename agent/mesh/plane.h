/* SPDX-License-Identifier: MIT */
/*
 * Which plane carries what, since when, and why not a better one. Bytes by plane cost nothing per
 * frame: a stream's counters are shared out when it moves or ends, a link's when it moves.
 */
#ifndef AGENT_MESH_PLANE_H
#define AGENT_MESH_PLANE_H

#include <jansson.h>
#include <stddef.h>
#include <stdint.h>

struct mesh;
struct mesh_peer;
struct mesh_stream;

enum mesh_plane { MESH_PLANE_SSH, MESH_PLANE_RELAY, MESH_PLANE_DIRECT, MESH_PLANES };

struct mesh_plane_bytes {
    uint64_t in, out;
};

/* What each stream keeps. */
struct mesh_stream_plane {
    enum mesh_plane plane;
    int64_t since;    /* Unix seconds */
    uint64_t in, out; /* bytes of the core that were shared out already */
};

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

/* Adds what status and peers say of planes (PROTOCOL.md, "What commands answer"). */
void mesh_plane_status(const struct mesh *mesh, json_t *out);
void mesh_plane_peer(const struct mesh_peer *peer, json_t *out);

#endif
