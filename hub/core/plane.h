/* SPDX-License-Identifier: MIT */
/* Which plane each link is on, since when, and why not on a lane. */
#ifndef HUB_CORE_PLANE_H
#define HUB_CORE_PLANE_H

#include <jansson.h>

struct hub_core;
struct hub_link;

/* The link is about to go: what it carried is kept. */
void hub_plane_link_over(const struct hub_link *link);
/* Into a peer's object: plane, plane_since, plane_reason, bytes. */
void hub_plane_peer(const struct hub_link *link, json_t *out);
/* {"ssh": {"from", "to", "links"}, ...}: new reference. */
json_t *hub_planes_json(const struct hub_core *core);

#endif
