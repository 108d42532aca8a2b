/* SPDX-License-Identifier: MIT */
/*
 * What the hub knows for good: ponds (public keys only), invites, peers. In memory with one sealed
 * file behind it; every change is made in memory, then registry_commit puts it on disk and calls
 * back: answers that promise something (joined, registered, a generation) wait for that.
 * Nothing here holds a private key. Sans-I/O but for load and commit.
 *
 * Per name (pond and slug) there is at most one open invite, at most one joined invite, and at most
 * one peer, the joined invite's. Serials order them: open is newer than peer. Per pond there is one
 * public key; per login key, identity and exchange key one owner.
 *
 *   invite: OPEN -join-> JOINED -identity logs in-> gone     (drop, expire, newer invite: gone)
 *   peer:   recorded by join, gone by revoke, expiry, a join with a higher serial, or a join of the
 *           same identity elsewhere; its joined invite goes with it, so that a revoked lease cannot
 *           come back by its old token
 *
 * Every check comes before the first change, and whatever needs memory before what does not: a call
 * that fails has changed nothing.
 */
#ifndef HUB_REGISTRY_REGISTRY_H
#define HUB_REGISTRY_REGISTRY_H

#include "common/disk/vault.h"
#include "hub/registry/commit.h"
#include "hub/registry/file.h"
#include "hub/registry/invite.h"
#include "hub/registry/join.h"
#include "hub/registry/keys.h"
#include "hub/registry/lookup.h"
#include "hub/registry/object.h"
#include "hub/registry/types.h"

struct registry;

/* Empty registry, not yet on disk. key is borrowed and must outlive it. */
struct registry *registry_new(const char *path, const struct cbx_vault_key *key);
void registry_free(struct registry *registry);

/* The identity logged in: burns its invite (drops it from the list). True when something changed.
 */
bool registry_burn(struct registry *registry, const struct reg_peer *peer);

/* max(last + 1, now_ms), stored in the peer. */
uint64_t registry_next_generation(struct registry *registry, struct reg_peer *peer, int64_t now_ms);

/* Takes the peer out and hands it over (NULL when there is none). Its joined invite is freed: a
 * removed peer cannot come back by its old token. */
struct reg_peer *registry_remove_peer(struct registry *registry, const char *pond,
                                      const char *slug);

/* Takes out a peer that is past its end (+grace) and hands it over; NULL when there is none. */
struct reg_peer *registry_take_ended(struct registry *registry, int64_t now_unix);
/* Drops invites past join_by. True when changed. */
bool registry_expire(struct registry *registry, int64_t now_unix);

#endif
