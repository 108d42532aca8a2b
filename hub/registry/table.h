/* SPDX-License-Identifier: MIT */
/*
 * The registry's lists and hash tables (state.h): what is linked into them and taken out. No rule
 * of trust lives here; callers have checked certificates and serials before they link anything.
 */
#ifndef HUB_REGISTRY_TABLE_H
#define HUB_REGISTRY_TABLE_H

#include "hub/registry/types.h"

struct registry;

/*
 * Into lists and look-ups. 0 or CBX_ERR_NOMEM, with nothing changed. An object of the same name or
 * keys may still be linked, and must be unlinked by the caller next. The name's entry points to
 * the new object from here on.
 */
int registry_link_invite(struct registry *registry, struct reg_invite *invite);
int registry_link_peer(struct registry *registry, struct reg_peer *peer,
                       const uint8_t pond_public[32]);
/* Out of them; the object itself stays. */
void registry_unlink_peer(struct registry *registry, struct reg_peer *peer);
/* Unlinks and frees. */
void registry_delete_invite(struct registry *registry, struct reg_invite *invite);

/* OPEN or JOINED -> JOINED by identity. An older joined invite of the name is deleted. */
void registry_mark_joined(struct registry *registry, struct reg_invite *invite,
                          const uint8_t identity[32]);

/* Unlinks a peer and deletes the joined invite that led to it, unless that is keep: a peer that was
 * removed cannot come back by its old token. */
void registry_take_out(struct registry *registry, struct reg_peer *peer,
                       const struct reg_invite *keep);
/* Deletes all invites and peers. */
void registry_clear(struct registry *registry);

#endif
