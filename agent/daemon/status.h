/* SPDX-License-Identifier: MIT */
/* What a running agent says of itself. New references; NULL when memory is short. */
#ifndef AGENT_DAEMON_STATUS_H
#define AGENT_DAEMON_STATUS_H

#include "agent/daemon/process.h"
#include <jansson.h>

/*
 * {"ok":true, "state":"attached", "slug":"web", "pond":"demo", "name":"web.demo.cbx",
 *  "hub":"127.0.0.1:7000", "since":1700000000, "pid":17, "started":1700000000,
 *  "proxy":"127.0.0.1:1080", "expose":[8080], "ends":1702592000, "uplink":"up", "carrier":"ssh",
 *  "trouble":"", "warnings":[], "addresses":[{"address":"127.0.0.1:7000", "from":"token"}],
 *  "segment_max":0, "front":{...}, "direct":{...}, "mesh":{...}}
 * state: "joining", "connecting", "attached" or "stopping". since: when the present link came up, 0
 * without one. carrier: "ssh", or "ssh-command" when that program is it. proxy: "" when off.
 * trouble: the last thing that went wrong on the way to the hub, "" while attached. warnings: texts
 * of agent_warnings. addresses: those of uplink_places. segment_max: of
 * agent_segment_max. front is front_status_json, direct is agent_direct_json, mesh is
 * mesh_status_json (null before the join).
 */
json_t *agent_status_json(const struct agent *agent);

/* What is not as it should be since the start, and still holds: the proxy's port is taken, ... Up
 * to AGENT_WARNINGS_MAX texts into out; returns their count. */
enum { AGENT_WARNINGS_MAX = 3 };
size_t agent_warnings(const struct agent *agent, const char *out[AGENT_WARNINGS_MAX]);

/* {"ok":true, "peers":[...]} as mesh_peers_json; with streams also "streams":[...] as
 * mesh_streams_json and "streams_left_out":0. */
json_t *agent_peers_json(const struct agent *agent, bool streams);

#endif
