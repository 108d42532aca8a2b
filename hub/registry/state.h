/* SPDX-License-Identifier: MIT */
/*
 * What a registry is made of. Every invite and every peer hangs at the entry of its name (pond and
 * slug); the entries of a pond hold its public key's entry alive. Entries go when nothing hangs
 * there any more, so a pond is known exactly as long as it has an invite or a peer. Look-ups by
 * name, login fingerprint and exchange key are hash tables, because thousands of agents may attach
 * at once.
 */
#ifndef HUB_REGISTRY_STATE_H
#define HUB_REGISTRY_STATE_H

#include "common/base/hash_table.h"
#include "common/disk/store.h"
#include "common/disk/vault.h"
#include "hub/registry/types.h"

enum { REG_NAME_SIZE = CBX_SLUG_MAX + 1, REG_SLUG_KEY_SIZE = 2 * REG_NAME_SIZE };

struct commit_waiter;
struct slug_node;

/* What stands around each invite and peer: the public struct is the first member. */
struct invite_node {
    struct reg_invite invite; /* first */
    struct slug_node *slug;
    struct reg_invite *previous;
    UT_hash_handle by_fingerprint;
};

struct peer_node {
    struct reg_peer peer; /* first */
    struct slug_node *slug;
    struct reg_peer *previous;
    UT_hash_handle by_fingerprint;
    UT_hash_handle by_exchange;
};

static inline struct invite_node *
invite_node(struct reg_invite *invite)
{
    return (struct invite_node *)invite;
}

static inline struct peer_node *
peer_node(struct reg_peer *peer)
{
    return (struct peer_node *)peer;
}

/* What a registry knows about one name of one pond. Exists while any of the three is set. */
struct reg_slug {
    struct reg_invite *open;   /* newest invite, nobody joined yet */
    struct reg_invite *joined; /* the invite of peer, until it is burned */
    struct reg_peer *peer;
};

struct pond_node {
    char name[REG_NAME_SIZE];
    uint8_t public_key[32];
    uint32_t slugs;
    UT_hash_handle by_name;
};

struct slug_node {
    struct reg_slug entry;       /* first */
    char key[REG_SLUG_KEY_SIZE]; /* pond and slug, zero padded */
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

struct registry {
    const struct cbx_vault_key *key; /* borrowed */
    char *path;
    bool loaded; /* what is in memory may replace the file */

    struct reg_peer *peers, *last_peer;
    struct reg_invite *invites, *last_invite;
    uint32_t peer_count, invite_count;
    struct registry_index *index;

    /* commit.c: one snapshot is being written at a time */
    struct cbx_store *store;
    bool writing;
    struct commit_waiter *in_write; /* told when the write is done */
    struct commit_waiter *queued;   /* wait for the next snapshot */
};

static inline bool
reg_same_key(const uint8_t a[32], const uint8_t b[32])
{
    return memcmp(a, b, CBX_KEY_SIZE) == 0;
}

#endif
