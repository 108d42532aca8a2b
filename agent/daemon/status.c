/* SPDX-License-Identifier: MIT */
/* Tested by test_planes.py. */
#include "agent/daemon/status.h"

#include "agent/daemon/addresses.h"
#include "agent/front/front.h"
#include "agent/lanes/direct.h"
#include "agent/mesh/mesh.h"
#include "agent/uplink/uplink.h"
#include "common/command/listing.h"
#include "common/trust/expose.h"

#include <stdio.h>
#include <string.h>
#include <unistd.h>

static const char *
state_word(const struct agent *agent)
{
    if (agent->phase == AGENT_PHASE_STOP)
        return "stopping";
    if (agent->phase == AGENT_PHASE_JOIN || agent->phase == AGENT_PHASE_STORE)
        return "joining";
    return agent->attached_at != 0 ? "attached" : "connecting";
}

size_t
agent_warnings(const struct agent *agent, const char *out[AGENT_WARNINGS_MAX])
{
    const char *const texts[AGENT_WARNINGS_MAX] = {
        agent->front != NULL ? front_warning(agent->front) : "",
        agent_direct_warning(agent->direct),
        agent->expose_warning.text,
    };
    size_t count = 0;
    for (size_t i = 0; i < AGENT_WARNINGS_MAX; i++) {
        if (texts[i][0] != '\0')
            out[count++] = texts[i];
    }
    return count;
}

static json_t *
warnings_json(const struct agent *agent)
{
    const char *texts[AGENT_WARNINGS_MAX];
    size_t count = agent_warnings(agent, texts);
    json_t *list = json_array();
    for (size_t i = 0; list && i < count; i++)
        (void)json_array_append_new(list, json_string(texts[i]));
    return list;
}

/* The ports as in `peers`; before the join there are none. */
static json_t *
expose_json(const struct agent *agent)
{
    char ports[CBX_EXPOSE_TEXT_MAX] = "";
    if (agent->mesh && cbx_expose_ports(&agent->exposed, ports, sizeof ports) < 0)
        ports[0] = '\0';
    return cbx_listing_ports(ports);
}

/* Of those that lead elsewhere than to the same port of this machine. */
static json_t *
targets_json(const struct agent *agent)
{
    json_t *targets = json_object();
    for (uint32_t i = 0; agent->mesh && i < agent->exposed.count; i++) {
        const struct cbx_expose_item *item = &agent->exposed.item[i];
        const bool v6 = strchr(item->target, ':') != NULL;
        char port[8], target[CBX_EXPOSE_HOST_MAX + 10];
        if (item->target_port == item->port && strcmp(item->target, "127.0.0.1") == 0)
            continue;
        (void)snprintf(port, sizeof port, "%u", (unsigned)item->port);
        (void)snprintf(target, sizeof target, "%s%s%s:%u", v6 ? "[" : "", item->target,
                       v6 ? "]" : "", (unsigned)item->target_port);
        (void)json_object_set_new(targets, port, json_string(target));
    }
    return targets;
}

/* Where the hub is looked for, in the order of the tries but for what worked last. */
static json_t *
addresses_json(const struct agent *agent)
{
    json_t *list = json_array();
    const struct places *places = agent->uplink ? uplink_places(agent->uplink) : NULL;
    for (uint32_t i = 0; places && i < places->count; i++)
        (void)json_array_append_new(list,
                                    json_pack("{s:s, s:s}", "address", places->item[i].address,
                                              "from", place_from_text(places->item[i].from)));
    return list;
}

json_t *
agent_status_json(const struct agent *agent)
{
    const struct agent_membership *joined = &agent->state.joined;
    char name[AGENT_NAME_MAX];
    agent_name(agent, name);
    const char *hub = agent->uplink != NULL ? uplink_address(agent->uplink) : "";
    return json_pack(
        "{s:b, s:s, s:s, s:s, s:s, s:s, s:I, s:I, s:I, s:s, s:o, s:o, s:I, s:s, s:s, s:s, s:o?, "
        "s:o?, "
        "s:o?, s:o, s:o, s:i}",
        "ok", 1, "state", state_word(agent), "slug", joined->peer.slug, "pond", joined->peer.pond,
        "name", name, "hub", hub, "since", (json_int_t)agent->attached_at, "pid",
        (json_int_t)getpid(), "started", (json_int_t)agent->started_at, "proxy",
        agent->front != NULL ? front_proxy_address(agent->front) : "", "expose", expose_json(agent),
        "targets", targets_json(agent), "ends", (json_int_t)joined->peer.ends, "uplink",
        agent->uplink != NULL ? uplink_state(agent->uplink) : "", "carrier",
        agent->settings->ssh_command != NULL ? "ssh-command" : "ssh", "trouble", agent->trouble,
        "front", agent->front != NULL ? front_status_json(agent->front) : NULL, "direct",
        agent_direct_json(agent->direct), "mesh",
        agent->mesh != NULL ? mesh_status_json(agent->mesh) : NULL, "warnings",
        warnings_json(agent), "addresses", addresses_json(agent), "segment_max",
        agent_segment_max(agent));
}

json_t *
agent_peers_json(const struct agent *agent, bool streams)
{
    json_t *document =
        agent->mesh != NULL ? mesh_peers_json(agent->mesh) : json_pack("{s:[]}", "peers");
    if (streams) {
        uint64_t left_out = 0;
        json_object_set_new(document, "streams",
                            agent->mesh != NULL ? mesh_streams_json(agent->mesh, &left_out)
                                                : json_array());
        json_object_set_new(document, "streams_left_out", json_integer((json_int_t)left_out));
    }
    if (document && json_object_set_new(document, "ok", json_true()) != 0) {
        json_decref(document);
        return NULL;
    }
    return document;
}
