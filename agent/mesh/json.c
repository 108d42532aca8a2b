/* SPDX-License-Identifier: MIT */
/* What people and scripts are told; the shapes are in PROTOCOL.md, "What commands answer". */
#include "agent/mesh/internal.h"
#include "common/command/listing.h"
#include <stdlib.h>
#include <string.h>

static const char *
trust_text(enum mesh_trust trust)
{
    static const char *const text[] = {"not asked yet", "fetching", "storing", "verified",
                                       "refused"};
    return text[trust];
}

static json_t *
peer_json(const struct mesh *mesh, struct mesh_peer *peer)
{
    char name[2 * CBX_SLUG_MAX + 8];
    snprintf(name, sizeof name, "%s.cbx", peer->slug);
    struct mesh_session *session = mesh_peer_newest(peer);
    json_t *out =
        json_pack("{s:s, s:s, s:s, s:s, s:b, s:I, s:I, s:o, s:o, s:s, s:I}", "slug", peer->slug,
                  "pond", mesh->config.pond, "name", name, "state", peer->ready ? "ready" : "away",
                  "self", strcmp(peer->slug, mesh->config.slug) == 0, "generation",
                  (json_int_t)peer->generation, "serial", (json_int_t)peer->serial, "expose",
                  cbx_listing_ports(peer->ports), "labels", cbx_listing_labels(peer->labels),
                  "trust", trust_text(peer->trust), "streams", (json_int_t)peer->stream_count);
    mesh_plane_peer(peer, out);
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
    static const char *const phase[] = {"down", "greeting", "waiting", "syncing", "attached"};
    const struct cbx_link *link = mesh->has_pump ? &mesh->pump.link : NULL;
    json_t *out =
        json_pack("{s:s, s:s, s:s, s:I, s:I, s:s, s:s, s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:o}",
                  "slug", mesh->config.slug, "pond", mesh->config.pond, "state", phase[mesh->phase],
                  "generation", (json_int_t)mesh->generation, "since",
                  (json_int_t)mesh->attached_unix, "hub_software", mesh->hub_software,
                  "seen_address", mesh->seen_address, "streams", (json_int_t)mesh->stream_count,
                  "round_trip_us", link ? (json_int_t)link->delay_us : (json_int_t)0,
                  "in_flight_limit", link ? (json_int_t)link->pace.cap : (json_int_t)0,
                  "granted_bytes", (json_int_t)mesh->budget.used, "allowance",
                  (json_int_t)mesh->allowance, "unacked_bytes", (json_int_t)mesh->send_used,
                  "slab_bytes", (json_int_t)cbx_slab_bytes(), "counters", counters_json(mesh));
    mesh_plane_status(mesh, out);
    return out;
}
