/* SPDX-License-Identifier: MIT */
/* Questions to a registry. What they return belongs to it. */
#ifndef HUB_REGISTRY_LOOKUP_H
#define HUB_REGISTRY_LOOKUP_H

#include "hub/registry/types.h"

struct registry;
struct reg_slug;
struct slug_node;
struct pond_node;

/* Whose login key is this? Compared whole. */
struct reg_login registry_login(const struct registry *registry, const char *fingerprint);
struct reg_peer *registry_peer(const struct registry *registry, const char *pond, const char *slug);
struct reg_peer *registry_peers(const struct registry *registry); /* list head, by next */
struct reg_invite *registry_invites(const struct registry *registry);
bool reg_peer_exposes(const struct reg_peer *peer, uint16_t port);

/* ---- for the registry's own files ---- */

/* NULL when the name is not known, or no legal name at all. */
struct reg_slug *registry_slug(const struct registry *registry, const char *pond, const char *slug);
/* The pond's public key; NULL when the pond has neither invites nor peers. */
const uint8_t *registry_pond_public(const struct registry *registry, const char *pond);
struct reg_peer *registry_find_exchange(const struct registry *registry,
                                        const uint8_t exchange[32]);
struct slug_node *registry_slug_node(const struct registry *registry, const char *pond,
                                     const char *slug);
struct pond_node *registry_pond_node(const struct registry *registry, const char *pond);
/* The key of a name: pond and slug, zero padded. Names from outside may be anything: false when
 * they cannot be keys. */
bool registry_slug_key(const char *pond, const char *slug, char key[]);

#endif
