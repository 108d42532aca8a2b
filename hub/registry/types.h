/* SPDX-License-Identifier: MIT */
/* What the registry knows: invites and peers. They are read by all, changed by its functions only.
 */
#ifndef HUB_REGISTRY_TYPES_H
#define HUB_REGISTRY_TYPES_H

#include "common/base/rate.h"
#include "common/trust/trust.h"
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum {
    REG_INVITE_ID_SIZE = 8,
    REG_PEERS_MAX = 10000, /* in one registry */
    REG_INVITES_MAX = 10000,
};

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

/* What the core counts of a peer (rule 24), whatever link it comes by. */
struct reg_rates {
    struct cbx_rate attaches, told, opens, passed, chains, lanes, stale;
    struct cbx_rate shed; /* frames that were dropped for one of these */
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
    struct reg_rates rates;
    bool untold; /* a change that the others have not been told of yet */
    struct reg_peer *next;
};

enum reg_login_kind { REG_LOGIN_NONE = 0, REG_LOGIN_INVITE = 1, REG_LOGIN_PEER = 2 };

struct reg_login {
    enum reg_login_kind kind;
    struct reg_invite *invite;
    struct reg_peer *peer;
};

#endif
