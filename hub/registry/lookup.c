/* SPDX-License-Identifier: MIT */
/* Tested by test_registry. */
#include "hub/registry/lookup.h"
#include "hub/registry/state.h"

bool
registry_slug_key(const char *pond, const char *slug, char key[])
{
    size_t pond_length = strnlen(pond, REG_NAME_SIZE);
    size_t slug_length = strnlen(slug, REG_NAME_SIZE);
    if (pond_length >= REG_NAME_SIZE || slug_length >= REG_NAME_SIZE)
        return false;
    memset(key, 0, REG_SLUG_KEY_SIZE);
    memcpy(key, pond, pond_length);
    memcpy(key + REG_NAME_SIZE, slug, slug_length);
    return true;
}

struct slug_node *
registry_slug_node(const struct registry *registry, const char *pond, const char *slug)
{
    char key[REG_SLUG_KEY_SIZE];
    struct slug_node *node = NULL;
    if (registry_slug_key(pond, slug, key))
        HASH_FIND(by_name, registry->index->slugs, key, REG_SLUG_KEY_SIZE, node);
    return node;
}

struct pond_node *
registry_pond_node(const struct registry *registry, const char *pond)
{
    struct pond_node *node = NULL;
    HASH_FIND(by_name, registry->index->ponds, pond, strlen(pond), node);
    return node;
}

struct reg_slug *
registry_slug(const struct registry *registry, const char *pond, const char *slug)
{
    struct slug_node *node = registry_slug_node(registry, pond, slug);
    return node != NULL ? &node->entry : NULL;
}

const uint8_t *
registry_pond_public(const struct registry *registry, const char *pond)
{
    const struct pond_node *node = registry_pond_node(registry, pond);
    return node != NULL ? node->public_key : NULL;
}

struct reg_peer *
registry_find_exchange(const struct registry *registry, const uint8_t exchange[32])
{
    struct peer_node *node = NULL;
    HASH_FIND(by_exchange, registry->index->exchanges, exchange, 32, node);
    return node != NULL ? &node->peer : NULL;
}

struct reg_login
registry_login(const struct registry *registry, const char *fingerprint)
{
    const size_t length = strlen(fingerprint);
    struct invite_node *invite = NULL;
    struct peer_node *peer = NULL;
    HASH_FIND(by_fingerprint, registry->index->peers, fingerprint, length, peer);
    if (peer)
        return (struct reg_login){.kind = REG_LOGIN_PEER, .peer = &peer->peer};
    HASH_FIND(by_fingerprint, registry->index->invites, fingerprint, length, invite);
    if (invite)
        return (struct reg_login){.kind = REG_LOGIN_INVITE, .invite = &invite->invite};
    return (struct reg_login){.kind = REG_LOGIN_NONE};
}

struct reg_peer *
registry_peer(const struct registry *registry, const char *pond, const char *slug)
{
    const struct reg_slug *entry = registry_slug(registry, pond, slug);
    return entry != NULL ? entry->peer : NULL;
}

struct reg_peer *
registry_peers(const struct registry *registry)
{
    return registry->peers;
}

struct reg_invite *
registry_invites(const struct registry *registry)
{
    return registry->invites;
}

bool
reg_peer_exposes(const struct reg_peer *peer, uint16_t port)
{
    for (uint32_t i = 0; i < peer->port_count; i++) {
        if (peer->port[i] == port)
            return true;
    }
    return false;
}
