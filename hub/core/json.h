/* SPDX-License-Identifier: MIT */
/* What people and scripts are told: new references; the shapes are documented in PROTOCOL.md, "What
 * commands answer". */
#ifndef HUB_CORE_JSON_H
#define HUB_CORE_JSON_H

#include <jansson.h>

struct hub_core;

json_t *hub_core_peers_json(const struct hub_core *core, const char *pond_or_null);
json_t *hub_core_status_json(const struct hub_core *core);
json_t *hub_core_invites_json(const struct hub_core *core);

#endif
