/* SPDX-License-Identifier: MIT */
/*
 * What people and scripts are told; the shapes are in PROTOCOL.md, "What commands answer". Tested
 * by sim_planes.
 */
#include "agent/mesh/base.h"

#include "agent/mesh/direct.h"
#include "agent/mesh/lane.h"
#include "agent/mesh/path.h"
#include "agent/mesh/peer.h"
#include "agent/mesh/plane.h"
#include "agent/mesh/session.h"
#include "agent/mesh/stream.h"
#include "agent/mesh/why.h"
#include "common/command/listing.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { REASON_MAX = 400, STREAMS_LISTED_MAX = 10000 };

/* ---- planes ---- */

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
    return mesh_lane_up(mesh) && mesh->lane_since_unix ? mesh->lane_since_unix
                                                       : mesh->attached_unix;
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

static void
add_planes(const struct mesh *mesh, json_t *out)
{
    char reason[REASON_MAX] = "this agent is not attached to the hub";
    struct mesh_plane_bytes bytes[MESH_PLANES];
    bool synced = mesh->has_pump && mesh->synced;
    enum mesh_plane plane = mesh_plane_of_link(mesh);
    memcpy(bytes, mesh->link_bytes, sizeof bytes);
    mesh_plane_add_link(mesh, bytes);
    mesh_directs_count(mesh, &bytes[MESH_PLANE_DIRECT]);
    if (synced && plane == MESH_PLANE_SSH)
        mesh_why_not_relay(mesh, reason, sizeof reason);
    else if (synced)
        reason[0] = '\0';
    json_object_set_new(out, "plane", json_string(synced ? mesh_plane_name(plane) : "none"));
    json_object_set_new(out, "plane_since", json_integer(synced ? link_since(mesh) : 0));
    json_object_set_new(out, "plane_reason", json_string(reason));
    json_object_set_new(out, "bytes", bytes_json(bytes));
}

static bool
is_self(const struct mesh_peer *peer)
{
    return strcmp(peer->slug, peer->mesh->config.slug) == 0;
}

static void
why_not_better(const struct mesh_peer *peer, enum mesh_plane plane, char *out, size_t size)
{
    out[0] = '\0';
    if (plane == MESH_PLANE_SSH)
        mesh_why_not_relay(peer->mesh, out, size);
    else if (plane == MESH_PLANE_RELAY)
        mesh_why_not_direct(peer, out, size);
}

static void
add_peer_planes(const struct mesh_peer *peer, json_t *out)
{
    const struct mesh *mesh = peer->mesh;
    char reason[REASON_MAX] = "";
    enum mesh_plane plane = mesh_plane_of_peer(peer);
    bool hub = mesh->has_pump && mesh->synced;
    bool there = peer->ready && (hub || plane == MESH_PLANE_DIRECT) && !is_self(peer);
    if (there)
        why_not_better(peer, plane, reason, sizeof reason);
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

/* ---- peers ---- */

static json_t *
peer_json(const struct mesh *mesh, struct mesh_peer *peer)
{
    char name[2 * CBX_SLUG_MAX + 8];
    snprintf(name, sizeof name, "%s.%s.cbx", peer->slug, mesh->config.pond);
    struct mesh_session *session = mesh_peer_newest(peer);
    json_t *out =
        json_pack("{s:s, s:s, s:s, s:s, s:b, s:I, s:I, s:o, s:o, s:s, s:I}", "slug", peer->slug,
                  "pond", mesh->config.pond, "name", name, "state", peer->ready ? "ready" : "away",
                  "self", is_self(peer), "generation", (json_int_t)peer->generation, "serial",
                  (json_int_t)peer->serial, "expose", cbx_listing_ports(peer->ports), "labels",
                  cbx_listing_labels(peer->labels), "trust", mesh_trust_name(peer->trust),
                  "streams", (json_int_t)peer->stream_count);
    add_peer_planes(peer, out);
    if (session)
        json_object_set_new(out, "cipher", json_string(cbx_cipher_name(session->keys.cipher)));
    if (peer->trust == MESH_TRUST_REFUSED)
        json_object_set_new(out, "refused", json_string(peer->refused_text));
    return out;
}

static int
by_slug(const void *a, const void *b)
{
    const struct mesh_peer *const *left = a, *const *right = b;
    return strcmp((*left)->slug, (*right)->slug);
}

json_t *
mesh_peers_json(const struct mesh *mesh)
{
    json_t *array = json_array();
    mesh_plane_settle(mesh);
    size_t count = HASH_COUNT(mesh->peers), n = 0;
    struct mesh_peer **sorted = calloc(count + 1, sizeof(struct mesh_peer *)), *peer, *next;
    if (sorted) {
        HASH_ITER(hh, mesh->peers, peer, next) {
            if (peer->seen)
                sorted[n++] = peer;
        }
        qsort(sorted, n, sizeof(struct mesh_peer *), by_slug);
    }
    for (size_t i = 0; i < n; i++)
        json_array_append_new(array, peer_json(mesh, sorted[i]));
    free(sorted);
    return json_pack("{s:o}", "peers", array);
}

/* ---- this agent ---- */

static json_t *
counters_json(const struct mesh *mesh)
{
    const struct mesh_counts *c = &mesh->count;
    uint64_t in = c->bytes_in, out = c->bytes_out;
    const struct mesh_stream *stream;
    TAILQ_FOREACH(stream, &mesh->streams, entry) {
        in += stream->core.bytes_in;
        out += stream->core.bytes_out;
    }
    const struct {
        const char *name;
        uint64_t value;
    } counters[] = {
        {"attaches", c->attaches},
        {"dialed", c->dialed},
        {"accepted", c->accepted},
        {"refused", c->refused},
        {"resets", c->resets},
        {"integrity", c->integrity},
        {"replayed", c->replayed},
        {"rolled_back", c->rolled_back},
        {"leaked", c->leaked},
        {"handshakes", c->handshakes},
        {"handshakes_refused", c->handshakes_refused},
        {"handshakes_shed", c->handshakes_shed},
        {"stale_frames", c->stale},
        {"directory_mismatches", c->directory_mismatches},
        {"lanes", c->lanes},
        {"lanes_lost", c->lanes_lost},
        {"rendezvous", c->rendezvous},
        {"direct_established", c->direct_established},
        {"rendezvous_refused", c->rendezvous_refused},
        {"direct_lanes", c->directs},
        {"direct_lanes_lost", c->directs_lost},
        {"paced_frames", c->paced},
        {"direct_lanes_suspect", c->directs_suspect},
        {"moves", c->moves},
        {"bytes_in", in},
        {"bytes_out", out},
    };
    json_t *json = json_object();
    for (size_t i = 0; i < sizeof counters / sizeof counters[0]; i++)
        json_object_set_new(json, counters[i].name, json_integer((json_int_t)counters[i].value));
    return json;
}

json_t *
mesh_status_json(const struct mesh *mesh)
{
    const struct cbx_link *link = mesh->has_pump ? &mesh->pump.link : NULL;
    json_t *out =
        json_pack("{s:s, s:s, s:s, s:I, s:I, s:s, s:s, s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:o}",
                  "slug", mesh->config.slug, "pond", mesh->config.pond, "state",
                  mesh_phase_name(mesh->phase), "generation", (json_int_t)mesh->generation, "since",
                  (json_int_t)mesh->attached_unix, "hub_software", mesh->hub_software,
                  "seen_address", mesh->seen_address, "streams", (json_int_t)mesh->stream_count,
                  "round_trip_us", link ? (json_int_t)link->delay_us : (json_int_t)0,
                  "in_flight_limit", link ? (json_int_t)link->pace.cap : (json_int_t)0,
                  "granted_bytes", (json_int_t)mesh->hub_budget.used, "allowance",
                  (json_int_t)mesh->allowance, "unacked_bytes", (json_int_t)mesh->send_used,
                  "slab_bytes", (json_int_t)cbx_slab_bytes(), "counters", counters_json(mesh));
    add_planes(mesh, out);
    return out;
}

/* ---- streams ---- */

static const char *
state_name(const struct mesh_stream *stream)
{
    if (stream->state != MESH_STREAM_RUNNING)
        return "opening";
    bool half = stream->core.write >= CBX_WRITE_FIN || stream->core.read != CBX_READ_OPEN;
    return cbx_stream_is_over(&stream->core) ? "over" : half ? "half-closed" : "open";
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
