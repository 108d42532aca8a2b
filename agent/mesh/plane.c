/* SPDX-License-Identifier: MIT */
/* Tested by sim_planes. */
#include "agent/mesh/plane.h"

#include "agent/mesh/path.h"
#include "agent/mesh/stream.h"

const char *
mesh_plane_name(enum mesh_plane plane)
{
    static const char *const names[MESH_PLANES] = {"ssh", "relay", "direct"};
    return names[plane];
}

enum mesh_plane
mesh_plane_of_link(const struct mesh *mesh)
{
    return mesh_lane_up(mesh) ? MESH_PLANE_RELAY : MESH_PLANE_SSH;
}

enum mesh_plane
mesh_plane_of_peer(const struct mesh_peer *peer)
{
    return mesh_direct_up(peer) ? MESH_PLANE_DIRECT : mesh_plane_of_link(peer->mesh);
}

static enum mesh_plane
plane_of_stream(const struct mesh_stream *stream)
{
    const struct mesh *mesh = stream->mesh;
    const struct cbx_link *link = stream->core.circuit.link;
    if (!link) /* no path any more: the last one was it */
        return stream->path.plane;
    return mesh_link_is_hub(mesh, link) ? mesh_plane_of_link(mesh) : MESH_PLANE_DIRECT;
}

/* ---- what moves ---- */

void
mesh_plane_begin(struct mesh_stream *stream)
{
    stream->path.plane = plane_of_stream(stream);
    stream->path.since = stream->mesh->ops->now_unix(stream->mesh->arg);
}

void
mesh_plane_moved(struct mesh_stream *stream)
{
    struct mesh_stream_plane *path = &stream->path;
    struct mesh_plane_bytes *bytes = &stream->peer->bytes[path->plane];
    bytes->in += stream->core.bytes_in - path->in;
    bytes->out += stream->core.bytes_out - path->out;
    path->in = stream->core.bytes_in;
    path->out = stream->core.bytes_out;
    if (plane_of_stream(stream) != path->plane)
        mesh_plane_begin(stream);
}

void
mesh_plane_settle(const struct mesh *mesh)
{
    struct mesh_stream *stream;
    TAILQ_FOREACH(stream, &mesh->streams, entry)
        mesh_plane_moved(stream);
}

void
mesh_plane_add_link(const struct mesh *mesh, struct mesh_plane_bytes bytes[MESH_PLANES])
{
    const struct cbx_link *link = &mesh->pump.link;
    if (!mesh->has_pump)
        return;
    uint64_t in = cbx_link_first_in(link), out = cbx_link_first_out(link);
    bytes[MESH_PLANE_SSH].in += in;
    bytes[MESH_PLANE_SSH].out += out;
    bytes[MESH_PLANE_RELAY].in += link->count.bytes_in - in;
    bytes[MESH_PLANE_RELAY].out += link->count.bytes_out - out;
}

void
mesh_plane_link_over(struct mesh *mesh)
{
    mesh_plane_add_link(mesh, mesh->link_bytes);
}
