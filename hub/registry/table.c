/* SPDX-License-Identifier: MIT */
/*
 * Theory. Every invite and every peer hangs at the entry of its name (pond and slug); the entries
 * of a pond hold its public key's entry alive. Entries go when nothing hangs there any more, so a
 * pond is known exactly as long as it has an invite or a peer. Look-ups by name, login fingerprint
 * and exchange key are hash tables, because thousands of agents may attach at once.
 */
#include "hub/registry/table.h"

#include <stdlib.h>
#include <string.h>

enum { NAME_SIZE = CBX_SLUG_MAX + 1, SLUG_KEY_SIZE = 2 * NAME_SIZE };

struct pond_node {
    char name[NAME_SIZE];
    uint8_t public_key[32];
    uint32_t slugs;
    UT_hash_handle by_name;
};

struct slug_node {
    struct reg_slug entry;   /* first */
    char key[SLUG_KEY_SIZE]; /* pond and slug, zero padded */
    struct pond_node *pond;
    UT_hash_handle by_name;
};

struct registry_index {
    struct pond_node *ponds;
    struct slug_node *slugs;
    struct invite_node *invites;
    struct peer_node *peers;
    struct peer_node *exchanges;
};

/* Names. */

/* Names from outside may be anything: false when they cannot be keys. */
static bool
slug_key(const char *pond, const char *slug, char key[SLUG_KEY_SIZE])
{
    size_t pond_length = strnlen(pond, NAME_SIZE);
    size_t slug_length = strnlen(slug, NAME_SIZE);
    if (pond_length >= NAME_SIZE || slug_length >= NAME_SIZE)
        return false;
    memset(key, 0, SLUG_KEY_SIZE);
    memcpy(key, pond, pond_length);
    memcpy(key + NAME_SIZE, slug, slug_length);
    return true;
}

static struct slug_node *
find_slug(const struct registry *registry, const char *pond, const char *slug)
{
    char key[SLUG_KEY_SIZE];
    struct slug_node *node = NULL;
    if (slug_key(pond, slug, key))
        HASH_FIND(by_name, registry->index->slugs, key, SLUG_KEY_SIZE, node);
    return node;
}

static struct pond_node *
find_pond(const struct registry *registry, const char *pond)
{
    struct pond_node *node = NULL;
    HASH_FIND(by_name, registry->index->ponds, pond, strlen(pond), node);
    return node;
}

struct reg_slug *
registry_slug(const struct registry *registry, const char *pond, const char *slug)
{
    struct slug_node *node = find_slug(registry, pond, slug);
    return node != NULL ? &node->entry : NULL;
}

const uint8_t *
registry_pond_public(const struct registry *registry, const char *pond)
{
    const struct pond_node *node = find_pond(registry, pond);
    return node != NULL ? node->public_key : NULL;
}

static struct pond_node *
acquire_pond(struct registry *registry, const char *name, const uint8_t pond_public[32])
{
    struct pond_node *pond = find_pond(registry, name);
    if (pond != NULL)
        return pond;
    pond = calloc(1, sizeof *pond);
    if (pond == NULL)
        return NULL;
    memcpy(pond->name, name, strnlen(name, NAME_SIZE - 1));
    memcpy(pond->public_key, pond_public, sizeof pond->public_key);
    HASH_ADD_KEYPTR(by_name, registry->index->ponds, pond->name, strlen(pond->name), pond);
    if (pond->by_name.tbl == NULL) {
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
    struct slug_node *node = find_slug(registry, pond, slug);
    if (node != NULL)
        return node;
    node = calloc(1, sizeof *node);
    if (node == NULL || !slug_key(pond, slug, node->key) ||
        (node->pond = acquire_pond(registry, pond, pond_public)) == NULL) {
        free(node);
        return NULL;
    }
    HASH_ADD_KEYPTR(by_name, registry->index->slugs, node->key, SLUG_KEY_SIZE, node);
    if (node->by_name.tbl == NULL) {
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
    if (entry->open != NULL || entry->joined != NULL || entry->peer != NULL)
        return;
    HASH_DELETE(by_name, registry->index->slugs, slug);
    slug->pond->slugs--;
    release_pond(registry, slug->pond);
    free(slug);
}

/* Invites. */

int
registry_link_invite(struct registry *registry, struct reg_invite *invite)
{
    struct invite_node *node = invite_node(invite);
    struct slug_node *slug =
        acquire_slug(registry, invite->pond, invite->slug, invite->pond_public);
    if (slug == NULL)
        return CBX_ERR_NOMEM;
    HASH_ADD_KEYPTR(by_fingerprint, registry->index->invites, invite->fingerprint,
                    strlen(invite->fingerprint), node);
    if (node->by_fingerprint.tbl == NULL) {
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
    if (registry->last_invite != NULL)
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
    if (invite->next != NULL)
        invite_node(invite->next)->previous = node->previous;
    else
        registry->last_invite = node->previous;
    if (node->previous != NULL)
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
    if (older != NULL && older != invite)
        registry_delete_invite(registry, older);
    if (invite->state == REG_INVITE_OPEN)
        invite->state = REG_INVITE_JOINED;
    memcpy(invite->identity, identity, sizeof invite->identity);
}

/* Peers. */

int
registry_link_peer(struct registry *registry, struct reg_peer *peer, const uint8_t pond_public[32])
{
    struct peer_node *node = peer_node(peer);
    struct registry_index *index = registry->index;
    struct slug_node *slug = acquire_slug(registry, peer->pond, peer->slug, pond_public);
    if (slug == NULL)
        return CBX_ERR_NOMEM;
    HASH_ADD_KEYPTR(by_fingerprint, index->peers, peer->fingerprint, strlen(peer->fingerprint),
                    node);
    if (node->by_fingerprint.tbl != NULL) {
        HASH_ADD_KEYPTR(by_exchange, index->exchanges, peer->exchange, sizeof peer->exchange, node);
        if (node->by_exchange.tbl == NULL)
            HASH_DELETE(by_fingerprint, index->peers, node);
    }
    if (node->by_exchange.tbl == NULL) {
        release_slug(registry, slug);
        return CBX_ERR_NOMEM;
    }
    node->slug = slug;
    slug->entry.peer = peer;
    peer->next = NULL;
    node->previous = registry->last_peer;
    if (registry->last_peer != NULL)
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
    if (peer->next != NULL)
        peer_node(peer->next)->previous = node->previous;
    else
        registry->last_peer = node->previous;
    if (node->previous != NULL)
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
    if (peer != NULL)
        return (struct reg_login){.kind = REG_LOGIN_PEER, .peer = &peer->peer};
    HASH_FIND(by_fingerprint, registry->index->invites, fingerprint, length, invite);
    if (invite != NULL)
        return (struct reg_login){.kind = REG_LOGIN_INVITE, .invite = &invite->invite};
    return (struct reg_login){.kind = REG_LOGIN_NONE};
}

/* The whole. */

struct registry *
registry_new(const char *path, const struct cbx_vault_key *key)
{
    struct registry *registry = calloc(1, sizeof *registry);
    if (registry == NULL)
        return NULL;
    registry->key = key;
    registry->path = strdup(path);
    registry->index = calloc(1, sizeof *registry->index);
    if (registry->path == NULL || registry->index == NULL) {
        registry_free(registry);
        return NULL;
    }
    return registry;
}

void
registry_clear(struct registry *registry)
{
    while (registry->invites != NULL)
        registry_delete_invite(registry, registry->invites);
    while (registry->peers != NULL) {
        struct reg_peer *peer = registry->peers;
        registry_unlink_peer(registry, peer);
        reg_peer_free(peer);
    }
}

void
registry_free(struct registry *registry)
{
    if (registry == NULL)
        return;
    registry_clear(registry);
    registry_drop_waiters(registry);
    free(registry->index);
    free(registry->path);
    free(registry);
}
