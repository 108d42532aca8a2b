/* SPDX-License-Identifier: MIT */
/* Tested by sim_planes. */
#include "hub/core/plane.h"
#include "hub/core/lane.h"
#include "hub/core/link.h"
#include <string.h>

static const char *
plane_name(enum hub_plane plane)
{
    return plane == HUB_PLANE_RELAY ? "relay" : "ssh";
}

static void
add_link(const struct hub_link *link, struct hub_plane_bytes bytes[HUB_PLANES])
{
    const struct cbx_link *inner = &link->pump.link;
    uint64_t from = cbx_link_first_in(inner), to = cbx_link_first_out(inner);
    bytes[HUB_PLANE_SSH].from += from;
    bytes[HUB_PLANE_SSH].to += to;
    bytes[HUB_PLANE_RELAY].from += inner->count.bytes_in - from;
    bytes[HUB_PLANE_RELAY].to += inner->count.bytes_out - to;
}

void
hub_plane_link_over(const struct hub_link *link)
{
    add_link(link, link->core->plane_bytes);
}

static const char *
why_not_relay(const struct hub_link *link)
{
    if (link->core->config.lanes == CBX_LANES_OFF)
        return "this hub runs with --lanes off";
    if (link->pump.lane)
        return "the lane is established, the link is moving to it";
    if (!link->lane_asked)
        return "the agent has not asked for a lane (its --lanes off?)";
    if (link->promise.until > hub_now(link->core))
        return "a lane was offered, the agent has not connected yet";
    if (link->promise.until)
        return "a lane was offered, the agent did not connect within 30 s: its status says why";
    return "the agent's proof of the lane's secret was wrong or came too late";
}

static json_t *
bytes_json(const struct hub_plane_bytes *bytes)
{
    return json_pack("{s:I, s:I}", "from", (json_int_t)bytes->from, "to", (json_int_t)bytes->to);
}

void
hub_plane_peer(const struct hub_link *link, json_t *out)
{
    const struct cbx_link *inner = &link->pump.link;
    struct hub_plane_bytes bytes[HUB_PLANES] = {0};
    bool relay = hub_lane_up(link);
    int64_t since = link->since_unix;
    if (relay)
        since = hub_now_unix(link->core) - (hub_now(link->core) - inner->moved_at) / 1000000;
    add_link(link, bytes);
    json_t *planes = json_object();
    for (int i = 0; i < HUB_PLANES; i++)
        json_object_set_new(planes, plane_name((enum hub_plane)i), bytes_json(&bytes[i]));
    json_object_set_new(out, "plane",
                        json_string(plane_name(relay ? HUB_PLANE_RELAY : HUB_PLANE_SSH)));
    json_object_set_new(out, "plane_since", json_integer(since));
    json_object_set_new(out, "plane_reason", json_string(relay ? "" : why_not_relay(link)));
    json_object_set_new(out, "bytes", planes);
}

json_t *
hub_planes_json(const struct hub_core *core)
{
    struct hub_plane_bytes bytes[HUB_PLANES];
    json_int_t links[HUB_PLANES] = {0};
    const struct hub_link *link;
    memcpy(bytes, core->plane_bytes, sizeof bytes);
    TAILQ_FOREACH(link, &core->links, entry) {
        add_link(link, bytes);
        if (link->phase == HUB_READY)
            links[hub_lane_up(link) ? HUB_PLANE_RELAY : HUB_PLANE_SSH]++;
    }
    json_t *out = json_object();
    for (int i = 0; i < HUB_PLANES; i++) {
        json_t *plane = bytes_json(&bytes[i]);
        json_object_set_new(plane, "links", json_integer(links[i]));
        json_object_set_new(out, plane_name((enum hub_plane)i), plane);
    }
    return out;
}
