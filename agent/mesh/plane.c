/* SPDX-License-Identifier: MIT */
#include "agent/mesh/internal.h"
#include <stdio.h>
#include <string.h>

enum { REASON_MAX = 400, STREAMS_LISTED_MAX = 10000 };

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
    return link == &mesh->pump.link ? mesh_plane_of_link(mesh) : MESH_PLANE_DIRECT;
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

static void
add_link(const struct mesh *mesh, struct mesh_plane_bytes bytes[MESH_PLANES])
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
    add_link(mesh, mesh->link_bytes);
}

/* ---- why not a better one ---- */

static void
why_not_relay(const struct mesh *mesh, char out[REASON_MAX])
{
    out[0] = '\0';
    if (mesh->config.lanes == CBX_LANES_OFF) {
        (void)snprintf(out, REASON_MAX, "lanes are off here (--lanes off)");
        return;
    }
    if (mesh->ops->lane_trouble)
        mesh->ops->lane_trouble(mesh->arg, out, REASON_MAX);
    if (out[0] != '\0')
        return;
    const char *text = mesh->pump.lane    ? "the lane is there, the link is moving to it"
                       : mesh->lane_asked ? "the hub was asked for a lane and has not answered yet"
                                          : "the lane is being connected";
    (void)snprintf(out, REASON_MAX, "%s", text);
}

/* Nothing is wrong with a peer that nothing can be done about here: "". */
static void
why_not_direct(const struct mesh_peer *peer, char out[REASON_MAX])
{
    mesh_rendezvous_why(peer, out, REASON_MAX);
}

static bool
is_self(const struct mesh_peer *peer)
{
    return strcmp(peer->slug, peer->mesh->config.slug) == 0;
}

static void
why_not_better(const struct mesh_peer *peer, enum mesh_plane plane, char out[REASON_MAX])
{
    out[0] = '\0';
    if (plane == MESH_PLANE_SSH)
        why_not_relay(peer->mesh, out);
    else if (plane == MESH_PLANE_RELAY)
        why_not_direct(peer, out);
}

/* ---- what people are told ---- */

int64_t
mesh_round_trip_us(const struct mesh *mesh)
{
    return mesh->has_pump ? mesh->pump.link.delay_us : 0;
}

bool
mesh_attach_times(const struct mesh *mesh, struct mesh_attach_times *out)
{
    *out = (struct mesh_attach_times){
        .hello_us = mesh->hello_at, .welcome_us = mesh->welcome_at, .generation = mesh->generation};
    return mesh->welcome_at >= mesh->hello_at && mesh->generation > 0;
}

static json_t *
bytes_json(const struct mesh_plane_bytes bytes[MESH_PLANES])
{
    json_t *out = json_object();
    for (int i = 0; i < MESH_PLANES; i++)
        json_object_set_new(out, mesh_plane_name((enum mesh_plane)i),
                            json_pack("{s:I, s:I}", "in", (json_int_t)bytes[i].in, "out",
                                      (json_int_t)bytes[i].out));
    return out;
}

static int64_t
link_since(const struct mesh *mesh)
{
    return mesh_lane_up(mesh) ? mesh->lane_since_unix : mesh->attached_unix;
}

static int64_t
peer_since(const struct mesh_peer *peer)
{
    return peer->direct ? peer->direct->since_unix : link_since(peer->mesh);
}

/* Over a direct lane as its pings say, else of the last handshake. */
static int64_t
peer_round_trip(const struct mesh_peer *peer)
{
    int64_t direct = peer->direct ? peer->direct->pump.link.delay_us : 0;
    return direct > 0 ? direct : peer->round_trip_us;
}

void
mesh_plane_status(const struct mesh *mesh, json_t *out)
{
    char reason[REASON_MAX] = "this agent is not attached to the hub";
    struct mesh_plane_bytes bytes[MESH_PLANES];
    bool synced = mesh->has_pump && mesh->synced;
    enum mesh_plane plane = mesh_plane_of_link(mesh);
    memcpy(bytes, mesh->link_bytes, sizeof bytes);
    add_link(mesh, bytes);
    mesh_directs_count(mesh, &bytes[MESH_PLANE_DIRECT].in, &bytes[MESH_PLANE_DIRECT].out);
    if (synced && plane == MESH_PLANE_SSH)
        why_not_relay(mesh, reason);
    else if (synced)
        reason[0] = '\0';
    json_object_set_new(out, "plane", json_string(synced ? mesh_plane_name(plane) : "none"));
    json_object_set_new(out, "plane_since", json_integer(synced ? link_since(mesh) : 0));
    json_object_set_new(out, "plane_reason", json_string(reason));
    json_object_set_new(out, "bytes", bytes_json(bytes));
}

void
mesh_plane_peer(const struct mesh_peer *peer, json_t *out)
{
    const struct mesh *mesh = peer->mesh;
    char reason[REASON_MAX] = "";
    enum mesh_plane plane = mesh_plane_of_peer(peer);
    bool hub = mesh->has_pump && mesh->synced;
    bool there = peer->ready && (hub || plane == MESH_PLANE_DIRECT) && !is_self(peer);
    if (there)
        why_not_better(peer, plane, reason);
    else if (!is_self(peer))
        (void)snprintf(reason, sizeof reason, "%s",
                       peer->ready ? "this agent is not attached to the hub"
                                   : "its agent is not attached to the hub");
    json_object_set_new(out, "plane",
                        json_string(there           ? mesh_plane_name(plane)
                                    : is_self(peer) ? "local"
                                                    : "none"));
    json_object_set_new(out, "plane_since", json_integer(there ? peer_since(peer) : 0));
    json_object_set_new(out, "plane_reason", json_string(reason));
    if (peer->direct)
        json_object_set_new(out, "connected_by",
                            json_string(peer->direct->pump.link.config.hub ? "peer" : "here"));
    json_object_set_new(out, "bytes", bytes_json(peer->bytes));
    int64_t round_trip = peer_round_trip(peer);
    if (round_trip > 0)
        json_object_set_new(out, "round_trip_us", json_integer(round_trip));
}

static const char *
state_name(const struct mesh_stream *stream)
{
    if (stream->state != MESH_STREAM_RUNNING)
        return "opening";
    bool half = stream->core.write >= CBX_WRITE_FIN || stream->core.read != CBX_READ_OPEN;
    return stream->core.is_over ? "over" : half ? "half-closed" : "open";
}

static json_t *
stream_json(const struct mesh_stream *stream)
{
    return json_pack("{s:s, s:I, s:s, s:s, s:s, s:I, s:I, s:I}", "peer", stream->peer->slug, "port",
                     (json_int_t)stream->port, "direction",
                     stream->core.dialer ? "dialed" : "accepted", "state", state_name(stream),
                     "plane", mesh_plane_name(stream->path.plane), "since",
                     (json_int_t)stream->path.since, "bytes_in", (json_int_t)stream->core.bytes_in,
                     "bytes_out", (json_int_t)stream->core.bytes_out);
}

json_t *
mesh_streams_json(const struct mesh *mesh, uint64_t *left_out)
{
    json_t *streams = json_array();
    const struct mesh_stream *stream;
    *left_out = 0;
    TAILQ_FOREACH(stream, &mesh->streams, entry) {
        if (json_array_size(streams) < STREAMS_LISTED_MAX)
            json_array_append_new(streams, stream_json(stream));
        else
            ++*left_out;
    }
    return streams;
}
