/* SPDX-License-Identifier: MIT */
/*
 * What the hub knows for good: ponds (public keys only), invites, peers. In memory with one sealed
 * file behind it; every change is made in memory, then registry_commit puts it on disk and calls
 * back: answers that promise something (joined, registered, a generation) wait for that.
 * Nothing here holds a private key. Sans-I/O but for load and commit.
 */
#ifndef HUB_REGISTRY_REGISTRY_H
#define HUB_REGISTRY_REGISTRY_H

#include "common/base/err.h"
#include "common/disk/store.h"
#include "common/disk/vault.h"
#include "common/trust/trust.h"
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum {
    REG_INVITE_ID_SIZE = 8,
    REG_PEERS_MAX = 10000, /* in one registry */
    REG_INVITES_MAX = 10000,
};

struct registry;

/* Encoded certificate of exactly the size it has. */
struct reg_blob {
    uint32_t length;
    uint8_t *bytes;
};

enum reg_invite_state {
    REG_INVITE_OPEN = 0,   /* nobody joined yet */
    REG_INVITE_JOINED = 1, /* an identity was recorded; that identity may join again */
    REG_INVITE_USED = 2,   /* that identity logged in: burned */
};

struct reg_invite {
    char id[2 * REG_INVITE_ID_SIZE + 1]; /* hex, from the certificate's hash */
    char pond[CBX_SLUG_MAX + 1];
    char slug[CBX_SLUG_MAX + 1];
    uint8_t pond_public[32];
    uint8_t login_key[32];
    char fingerprint[CBX_FINGERPRINT_TEXT_MAX];
    struct reg_blob cert;
    uint64_t serial;
    int64_t issued, join_by, ends;
    enum reg_invite_state state;
    uint8_t identity[32]; /* who joined, from JOINED on */
    struct reg_invite *next;
};

struct reg_peer {
    char pond[CBX_SLUG_MAX + 1];
    char slug[CBX_SLUG_MAX + 1];
    uint8_t identity[32];
    uint8_t exchange[32];
    char fingerprint[CBX_FINGERPRINT_TEXT_MAX];
    struct reg_blob invite_cert, peer_cert;
    uint8_t chain_hash[32];
    uint64_t serial;
    uint64_t generation; /* of the newest attach; 0: never attached */
    int64_t joined, ends;
    char *ports;    /* "5432,8080" */
    char *labels;   /* "k=v,k=v" */
    uint16_t *port; /* sorted; what the hub itself checks */
    uint32_t port_count;
    void *live; /* the core's: current link, NULL when away */
    struct reg_peer *next;
};

enum reg_login_kind { REG_LOGIN_NONE = 0, REG_LOGIN_INVITE = 1, REG_LOGIN_PEER = 2 };

struct reg_login {
    enum reg_login_kind kind;
    struct reg_invite *invite;
    struct reg_peer *peer;
};

/* Empty registry, not yet on disk. key is borrowed and must outlive it. */
struct registry *registry_new(const char *path, const struct cbx_vault_key *key);
/* Reads path; a missing file is an empty registry. Damage is an error and leaves the file alone. */
int registry_load(struct registry *registry, struct cbx_error *error);
void registry_free(struct registry *registry);

/* Seals a snapshot and gives it to the store. done runs from the loop when it is on disk (or
 * failed). While one is being written, the next is not made: it will hold all that changed until
 * then. CBX_ERR_STATE unless registry_load succeeded: an unread file is not written over. Free the
 * store before the registry. */
int registry_commit(struct registry *registry, struct cbx_store *store, cbx_store_done *done,
                    void *arg);
/* Before cbx_store_free: gives the store at once what still waits for its snapshot. */
int registry_flush(struct registry *registry);
/* The authorized_keys text for sshd (malloc'd): one line per live login key, with
 * restrict,command="exec ... attach --key FINGERPRINT" and expiry-time (rule 9). program and
 * state_dir are absolute; quoting is done here. */
int registry_authorized_keys(const struct registry *registry, const char *program,
                             const char *state_dir, int64_t now_unix, char **text);

/* Whose login key is this? Compared whole. */
struct reg_login registry_login(const struct registry *registry, const char *fingerprint);

/* Registers an invite whose certificate verifies under pond_public. The pond's public key is fixed
 * by its first invite; another key for a known pond is refused (CBX_ERR_AUTH). A pond is known
 * while it has an invite or a peer. An older invite of the slug that nobody used yet is dropped and
 * freed. CBX_ERR_EXISTS when the serial is not newer. */
int registry_add_invite(struct registry *registry, const uint8_t pond_public[32],
                        const uint8_t *cert, size_t length, const uint8_t login_key[32],
                        int64_t now_unix, struct reg_invite **out, struct cbx_error *error);

/* Removes an invite by id (a unique prefix of at least 4 characters will do). */
int registry_drop_invite(struct registry *registry, const char *id, struct cbx_error *error);

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

/* The identity logged in: burns its invite (drops it from the list). True when something changed.
 */
bool registry_burn(struct registry *registry, const struct reg_peer *peer);

/* max(last + 1, now_ms), stored in the peer. */
uint64_t registry_next_generation(struct registry *registry, struct reg_peer *peer, int64_t now_ms);

/* Takes the peer out and hands it over (NULL when there is none). Its joined invite is freed: a
 * removed peer cannot come back by its old token. */
struct reg_peer *registry_remove_peer(struct registry *registry, const char *pond,
                                      const char *slug);
void reg_peer_free(struct reg_peer *peer);

/* Drops invites past join_by, peers past ends (+grace) that are not live. True when changed. */
bool registry_expire(struct registry *registry, int64_t now_unix);

struct reg_peer *registry_peer(const struct registry *registry, const char *pond, const char *slug);
struct reg_peer *registry_peers(const struct registry *registry); /* list head, by next */
struct reg_invite *registry_invites(const struct registry *registry);
bool reg_peer_exposes(const struct reg_peer *peer, uint16_t port);

#endif
