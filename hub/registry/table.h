/* SPDX-License-Identifier: MIT */
/*
 * Inside the registry: its objects, lists and look-ups. No rule of trust lives here; callers have
 * checked certificates and serials before they link anything.
 */
#ifndef HUB_REGISTRY_TABLE_H
#define HUB_REGISTRY_TABLE_H

#include "hub/registry/registry.h"

/* Out of memory is an answer, not the end of the process: a failed add leaves hh.tbl NULL. */
#ifdef UTHASH_H
#error "registry_table.h must come before uthash.h"
#endif
#define HASH_NONFATAL_OOM 1
#include <uthash.h>

/* The snapshot's shape. */
#define REG_SNAPSHOT_KIND "cbx hub registry"
/* Generations and times: far from wrapping, and exact in JSON. */
#define REG_NUMBER_MAX ((UINT64_C(1) << 53) - 1)
enum {
    REG_SNAPSHOT_VERSION = 1,
    REG_SNAPSHOT_ELEMENTS = 3,
    REG_SNAPSHOT_DEPTH = 3,
    REG_RECORD_ELEMENTS = 5,
};

struct commit_waiter;
struct registry_index;
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

struct registry {
    const struct cbx_vault_key *key; /* borrowed */
    char *path;
    bool loaded; /* what is in memory may replace the file */

    struct reg_peer *peers, *last_peer;
    struct reg_invite *invites, *last_invite;
    uint32_t peer_count, invite_count;
    struct registry_index *index;

    /* registry_commit.c: one snapshot is being written at a time */
    struct cbx_store *store;
    bool writing;
    struct commit_waiter *in_write; /* told when the write is done */
    struct commit_waiter *queued;   /* wait for the next snapshot */
};

/* Both return NULL when memory is out. The certificates have been opened by the caller. */
struct reg_invite *registry_invite_new(const uint8_t *bytes, size_t length,
                                       const struct cbx_invite_cert *cert,
                                       const uint8_t pond_public[32], const uint8_t login_key[32]);
struct reg_peer *registry_peer_new(const struct cbx_cert *invite, const struct cbx_cert *peer,
                                   const struct cbx_invite_cert *invite_cert,
                                   const struct cbx_peer_cert *peer_cert);
void registry_invite_free(struct reg_invite *invite);

/* NULL when the name is not known, or no legal name at all. */
struct reg_slug *registry_slug(const struct registry *registry, const char *pond, const char *slug);
/* The pond's public key; NULL when the pond has neither invites nor peers. */
const uint8_t *registry_pond_public(const struct registry *registry, const char *pond);
struct reg_peer *registry_find_exchange(const struct registry *registry,
                                        const uint8_t exchange[32]);

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

/* registry_commit.c: frees callbacks that have not run, without running them. */
void registry_drop_waiters(struct registry *registry);

/* Deletes all invites and peers. */
void registry_clear(struct registry *registry);

#endif
