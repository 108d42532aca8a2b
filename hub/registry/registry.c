/* SPDX-License-Identifier: MIT */
/* The registry's begin and end, and what ends entries: logins, revocation, time. */
#include "hub/registry/registry.h"
#include "hub/registry/state.h"
#include "hub/registry/table.h"
#include <stdlib.h>
#include <string.h>

struct registry *
registry_new(const char *path, const struct cbx_vault_key *key)
{
    struct registry *registry = calloc(1, sizeof *registry);
    if (!registry)
        return NULL;
    registry->key = key;
    registry->path = strdup(path);
    registry->index = calloc(1, sizeof *registry->index);
    if (!registry->path || !registry->index) {
        registry_free(registry);
        return NULL;
    }
    return registry;
}

void
registry_free(struct registry *registry)
{
    if (!registry)
        return;
    registry_clear(registry);
    registry_drop_waiters(registry);
    free(registry->index);
    free(registry->path);
    free(registry);
}

bool
registry_burn(struct registry *registry, const struct reg_peer *peer)
{
    const struct reg_slug *entry = registry_slug(registry, peer->pond, peer->slug);
    struct reg_invite *invite = entry != NULL ? entry->joined : NULL;
    if (!invite || invite->serial != peer->serial ||
        !reg_same_key(invite->identity, peer->identity))
        return false;
    registry_delete_invite(registry, invite);
    return true;
}

uint64_t
registry_next_generation(struct registry *registry, struct reg_peer *peer, int64_t now_ms)
{
    (void)registry;
    uint64_t now = now_ms > 0 ? (uint64_t)now_ms : 0;
    peer->generation = peer->generation + 1 > now ? peer->generation + 1 : now;
    return peer->generation;
}

struct reg_peer *
registry_remove_peer(struct registry *registry, const char *pond, const char *slug)
{
    struct reg_peer *peer = registry_peer(registry, pond, slug);
    if (peer)
        registry_take_out(registry, peer, NULL);
    return peer;
}

struct reg_peer *
registry_take_ended(struct registry *registry, int64_t now_unix)
{
    for (struct reg_peer *peer = registry->peers; peer; peer = peer->next) {
        if (now_unix <= peer->ends + CBX_CLOCK_GRACE_S)
            continue;
        registry_take_out(registry, peer, NULL);
        return peer;
    }
    return NULL;
}

bool
registry_expire(struct registry *registry, int64_t now_unix)
{
    bool changed = false;
    struct reg_invite *next_invite;
    for (struct reg_invite *invite = registry->invites; invite != NULL; invite = next_invite) {
        next_invite = invite->next;
        if (now_unix <= invite->join_by && now_unix <= invite->ends)
            continue;
        registry_delete_invite(registry, invite);
        changed = true;
    }
    return changed;
}
