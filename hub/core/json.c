/* SPDX-License-Identifier: MIT */
/* Tested by sim_planes, sim_streams. */
#include "hub/core/json.h"
#include "common/command/listing.h"
#include "hub/core/link.h"
#include "hub/core/plane.h"
#include <string.h>

static json_t *
peer_json(const struct reg_peer *peer)
{
    const struct hub_link *link = hub_peer_link(peer);
    char name[2 * CBX_SLUG_MAX + 8];
    snprintf(name, sizeof name, "%s.%s.cbx", peer->slug, peer->pond);
    json_t *out =
        json_pack("{s:s, s:s, s:s, s:s, s:I, s:I, s:o, s:o, s:I, s:I}", "slug", peer->slug, "pond",
                  peer->pond, "name", name, "state", link ? "ready" : "away", "generation",
                  (json_int_t)peer->generation, "serial", (json_int_t)peer->serial, "expose",
                  cbx_listing_ports(peer->ports), "labels", cbx_listing_labels(peer->labels),
                  "joined", (json_int_t)peer->joined, "ends", (json_int_t)peer->ends);
    if (!out || !link)
        return out;
    hub_plane_peer(link, out);
    json_object_set_new(out, "address", json_string(link->address));
    json_object_set_new(out, "software", json_string(link->software));
    json_object_set_new(out, "since", json_integer(link->since_unix));
    json_object_set_new(out, "round_trip_us", json_integer(link->pump.link.delay_us));
    json_object_set_new(out, "streams", json_integer(link->circuits));
    json_object_set_new(out, "bytes_from", json_integer((json_int_t)link->bytes_from));
    json_object_set_new(out, "bytes_to", json_integer((json_int_t)link->bytes_to));
    return out;
}

json_t *
hub_core_peers_json(const struct hub_core *core, const char *pond)
{
    json_t *peers = json_array();
    for (struct reg_peer *peer = registry_peers(core->registry); peer; peer = peer->next) {
        if (!pond || strcmp(peer->pond, pond) == 0)
            json_array_append_new(peers, peer_json(peer));
    }
    return json_pack("{s:o}", "peers", peers);
}

json_t *
hub_core_invites_json(const struct hub_core *core)
{
    static const char *const state[] = {"open", "joined", "used"};
    json_t *invites = json_array();
    for (struct reg_invite *invite = registry_invites(core->registry); invite;
         invite = invite->next)
        json_array_append_new(
            invites, json_pack("{s:s, s:s, s:s, s:s, s:I, s:I, s:I}", "id", invite->id, "pond",
                               invite->pond, "slug", invite->slug, "state", state[invite->state],
                               "issued", (json_int_t)invite->issued, "join_by",
                               (json_int_t)invite->join_by, "ends", (json_int_t)invite->ends));
    return json_pack("{s:o}", "invites", invites);
}

static json_t *
counters_json(const struct hub_counts *count)
{
    json_t *refused = json_object();
    for (int i = 1; i <= CBX_REASON_MAX; i++) {
        if (count->refused[i])
            json_object_set_new(refused, cbx_reason_text((enum cbx_reason)i),
                                json_integer((json_int_t)count->refused[i]));
    }
    return json_pack(
        "{s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:I, "
        "s:I, s:I, s:I, s:I, s:o}",
        "attached", (json_int_t)count->attached, "joined", (json_int_t)count->joined, "evicted",
        (json_int_t)count->evicted, "revoked", (json_int_t)count->revoked, "expired",
        (json_int_t)count->expired, "opened", (json_int_t)count->opened, "relayed_frames",
        (json_int_t)count->relayed_frames, "relayed_bytes", (json_int_t)count->relayed_bytes,
        "stale_frames", (json_int_t)count->stale, "breaches", (json_int_t)count->breaches,
        "shed_frames", (json_int_t)count->shed, "unknown_logins", (json_int_t)count->unknown_logins,
        "never_spoke", (json_int_t)count->never_spoke, "allowances_refused",
        (json_int_t)count->allowances_refused, "allowances_kept",
        (json_int_t)count->allowances_kept, "lanes", (json_int_t)count->lanes, "lanes_lost",
        (json_int_t)count->lanes_lost, "lanes_refused", (json_int_t)count->lanes_refused,
        "prefaces_refused", (json_int_t)count->prefaces_refused, "rendezvous",
        (json_int_t)count->rendezvous, "rendezvous_dropped", (json_int_t)count->rendezvous_dropped,
        "refused", refused);
}

json_t *
hub_core_status_json(const struct hub_core *core)
{
    json_int_t links = 0, ready = 0, peers = 0;
    const struct hub_link *link;
    TAILQ_FOREACH(link, &core->links, entry) {
        links++;
        ready += link->phase == HUB_READY;
    }
    for (struct reg_peer *peer = registry_peers(core->registry); peer; peer = peer->next)
        peers++;
    return json_pack("{s:s, s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:s, s:s, s:o, "
                     "s:o}",
                     "software", core->config.software, "since", (json_int_t)core->started_unix,
                     "links", links, "attached", ready, "peers", peers, "circuits",
                     (json_int_t)core->circuit_count, "queued_bytes", (json_int_t)core->held,
                     "allowance_bytes", (json_int_t)core->allowances.sum, "queue_max",
                     (json_int_t)core->allowances.total, "slab_bytes", (json_int_t)cbx_slab_bytes(),
                     "lanes", cbx_lanes_names[core->config.lanes], "direct",
                     core->config.direct ? "auto" : "off", "planes", hub_planes_json(core),
                     "counters", counters_json(&core->count));
}
