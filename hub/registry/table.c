/* SPDX-License-Identifier: MIT */
/* Tested by test_registry. */
#include "hub/registry/table.h"
#include "hub/registry/lookup.h"
#include "hub/registry/object.h"
#include "hub/registry/state.h"
#include <stdlib.h>
#include <string.h>

/* ---- names ---- */

static struct pond_node *
acquire_pond(struct registry *registry, const char *name, const uint8_t pond_public[32])
{
    struct pond_node *pond = registry_pond_node(registry, name);
    if (pond)
        return pond;
    pond = calloc(1, sizeof *pond);
    if (!pond)
        return NULL;
    memcpy(pond->name, name, strnlen(name, REG_NAME_SIZE - 1));
    memcpy(pond->public_key, pond_public, sizeof pond->public_key);
    HASH_ADD_KEYPTR(by_name, registry->index->ponds, pond->name, strlen(pond->name), pond);
    if (!pond->by_name.tbl) {
        free(pond);
        return NULL;
    }
    return pond;
}

static void
release_pond(struct registry *registry, struct pond_node *pond)
{
    if (pond->slugs > 0)
        return;
    HASH_DELETE(by_name, registry->index->ponds, pond);
    free(pond);
}

static struct slug_node *
acquire_slug(struct registry *registry, const char *pond, const char *slug,
             const uint8_t pond_public[32])
{
    struct slug_node *node = registry_slug_node(registry, pond, slug);
    if (node)
        return node;
    node = calloc(1, sizeof *node);
    if (!node || !registry_slug_key(pond, slug, node->key) ||
        !(node->pond = acquire_pond(registry, pond, pond_public))) {
        free(node);
        return NULL;
    }
    HASH_ADD_KEYPTR(by_name, registry->index->slugs, node->key, REG_SLUG_KEY_SIZE, node);
    if (!node->by_name.tbl) {
        release_pond(registry, node->pond);
        free(node);
        return NULL;
    }
    node->pond->slugs++;
    return node;
}

static void
release_slug(struct registry *registry, struct slug_node *slug)
{
    const struct reg_slug *entry = &slug->entry;
    if (entry->open || entry->joined || entry->peer)
        return;
    HASH_DELETE(by_name, registry->index->slugs, slug);
    slug->pond->slugs--;
    release_pond(registry, slug->pond);
    free(slug);
}

/* ---- invites ---- */

int
registry_link_invite(struct registry *registry, struct reg_invite *invite)
{
    struct invite_node *node = invite_node(invite);
    struct slug_node *slug =
        acquire_slug(registry, invite->pond, invite->slug, invite->pond_public);
    if (!slug)
        return CBX_ERR_NOMEM;
    HASH_ADD_KEYPTR(by_fingerprint, registry->index->invites, invite->fingerprint,
                    strlen(invite->fingerprint), node);
    if (!node->by_fingerprint.tbl) {
        release_slug(registry, slug);
        return CBX_ERR_NOMEM;
    }
    node->slug = slug;
    if (invite->state == REG_INVITE_OPEN)
        slug->entry.open = invite;
    else
        slug->entry.joined = invite;
    invite->next = NULL;
    node->previous = registry->last_invite;
    if (registry->last_invite)
        registry->last_invite->next = invite;
    else
        registry->invites = invite;
    registry->last_invite = invite;
    registry->invite_count++;
    return 0;
}

static void
unlink_invite(struct registry *registry, struct reg_invite *invite)
{
    struct invite_node *node = invite_node(invite);
    HASH_DELETE(by_fingerprint, registry->index->invites, node);
    if (invite->next)
        invite_node(invite->next)->previous = node->previous;
    else
        registry->last_invite = node->previous;
    if (node->previous)
        node->previous->next = invite->next;
    else
        registry->invites = invite->next;
    invite->next = node->previous = NULL;
    registry->invite_count--;
    struct reg_slug *entry = &node->slug->entry;
    if (entry->open == invite)
        entry->open = NULL;
    if (entry->joined == invite)
        entry->joined = NULL;
    release_slug(registry, node->slug);
    node->slug = NULL;
}

void
registry_delete_invite(struct registry *registry, struct reg_invite *invite)
{
    unlink_invite(registry, invite);
    registry_invite_free(invite);
}

void
registry_mark_joined(struct registry *registry, struct reg_invite *invite,
                     const uint8_t identity[32])
{
    struct reg_slug *entry = &invite_node(invite)->slug->entry;
    struct reg_invite *older = entry->joined;
    entry->joined = invite;
    if (entry->open == invite)
        entry->open = NULL;
    if (older && older != invite)
        registry_delete_invite(registry, older);
    if (invite->state == REG_INVITE_OPEN)
        invite->state = REG_INVITE_JOINED;
    memcpy(invite->identity, identity, sizeof invite->identity);
}

/* ---- peers ---- */

int
registry_link_peer(struct registry *registry, struct reg_peer *peer, const uint8_t pond_public[32])
{
    struct peer_node *node = peer_node(peer);
    struct registry_index *index = registry->index;
    struct slug_node *slug = acquire_slug(registry, peer->pond, peer->slug, pond_public);
    if (!slug)
        return CBX_ERR_NOMEM;
    HASH_ADD_KEYPTR(by_fingerprint, index->peers, peer->fingerprint, strlen(peer->fingerprint),
                    node);
    if (node->by_fingerprint.tbl) {
        HASH_ADD_KEYPTR(by_exchange, index->exchanges, peer->exchange, sizeof peer->exchange, node);
        if (!node->by_exchange.tbl)
            HASH_DELETE(by_fingerprint, index->peers, node);
    }
    if (!node->by_exchange.tbl) {
        release_slug(registry, slug);
        return CBX_ERR_NOMEM;
    }
    node->slug = slug;
    slug->entry.peer = peer;
    peer->next = NULL;
    node->previous = registry->last_peer;
    if (registry->last_peer)
        registry->last_peer->next = peer;
    else
        registry->peers = peer;
    registry->last_peer = peer;
    registry->peer_count++;
    return 0;
}

void
registry_unlink_peer(struct registry *registry, struct reg_peer *peer)
{
    struct peer_node *node = peer_node(peer);
    HASH_DELETE(by_fingerprint, registry->index->peers, node);
    HASH_DELETE(by_exchange, registry->index->exchanges, node);
    if (peer->next)
        peer_node(peer->next)->previous = node->previous;
    else
        registry->last_peer = node->previous;
    if (node->previous)
        node->previous->next = peer->next;
    else
        registry->peers = peer->next;
    peer->next = node->previous = NULL;
    registry->peer_count--;
    if (node->slug->entry.peer == peer)
        node->slug->entry.peer = NULL;
    release_slug(registry, node->slug);
    node->slug = NULL;
}

/* ---- the whole ---- */

void
registry_clear(struct registry *registry)
{
    while (registry->invites)
        registry_delete_invite(registry, registry->invites);
    while (registry->peers) {
        struct reg_peer *peer = registry->peers;
        registry_unlink_peer(registry, peer);
        reg_peer_free(peer);
    }
}

void
registry_take_out(struct registry *registry, struct reg_peer *peer, const struct reg_invite *keep)
{
    const struct reg_slug *entry = registry_slug(registry, peer->pond, peer->slug);
    struct reg_invite *joined = entry->joined;
    if (joined && joined != keep && reg_same_key(joined->identity, peer->identity))
        registry_delete_invite(registry, joined);
    registry_unlink_peer(registry, peer);
}
