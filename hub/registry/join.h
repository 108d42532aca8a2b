/* SPDX-License-Identifier: MIT */
/* Joins: how an identity takes a lease by its invite. */
#ifndef HUB_REGISTRY_JOIN_H
#define HUB_REGISTRY_JOIN_H

#include "common/base/err.h"
#include "hub/registry/types.h"

struct registry;

/*
 * A join under an invite (rules 1, 6): checks the chain, the window, that neither key is known
 * under another identity, then records the peer. The same identity may repeat it. A peer of the
 * same slug with a lower serial, or the same identity's older entry, is removed and handed out
 * through *replaced (its live pointer tells the core whom to evict; free with reg_peer_free). It is
 * a list by next: there are two when an identity leaves one slug for another that had an older
 * peer. Joined invites of those removed are freed. A repeat of the very same join changes nothing.
 * *reason gets what the agent is told: DENIED, USED, EXPIRED, PROTOCOL, OVERLOADED, INTERNAL.
 */
int registry_join(struct registry *registry, struct reg_invite *invite, const uint8_t *peer_cert,
                  size_t length, int64_t now_unix, struct reg_peer **out,
                  struct reg_peer **replaced, enum cbx_reason *reason, struct cbx_error *error);

#endif
