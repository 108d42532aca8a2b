/* SPDX-License-Identifier: MIT */
/*
 * The registry on disk: a vault file of kind "cbx hub registry" with one msgpack array,
 *
 *   [version = 1, invites, peers]
 *   invite: [pond_public bin32, certificate bin, login_key bin32, state uint, identity bin32]
 *   peer:   [pond_public bin32, invite certificate bin, peer certificate bin, generation uint,
 *            joined uint]
 */
#ifndef HUB_REGISTRY_SNAPSHOT_H
#define HUB_REGISTRY_SNAPSHOT_H

#include <stdint.h>

#define REG_SNAPSHOT_KIND "cbx hub registry"
/* Generations and times: far from wrapping, and exact in JSON. */
#define REG_NUMBER_MAX ((UINT64_C(1) << 53) - 1)

enum { REG_SNAPSHOT_FORMAT = 1, REG_SNAPSHOT_DEPTH = 3 };

/* The elements of each array. */
enum { REG_SNAPSHOT_VERSION, REG_SNAPSHOT_INVITES, REG_SNAPSHOT_PEERS, REG_SNAPSHOT_ELEMENTS };
enum {
    REG_INVITE_POND_PUBLIC,
    REG_INVITE_CERT,
    REG_INVITE_LOGIN_KEY,
    REG_INVITE_STATE,
    REG_INVITE_IDENTITY,
    REG_INVITE_ELEMENTS
};
enum {
    REG_PEER_POND_PUBLIC,
    REG_PEER_INVITE_CERT,
    REG_PEER_CERT,
    REG_PEER_GENERATION,
    REG_PEER_JOINED,
    REG_PEER_ELEMENTS
};

#endif
