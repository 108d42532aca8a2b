/* SPDX-License-Identifier: MIT */
/*
 * How many of an agent's places for connections the streams of each peer hold, so that no peer has
 * all of them: beyond SHARE_LEAST each may have no more than are still free of those for incoming
 * streams. Two that take what they can leave a quarter to the others, three an eighth.
 */
#ifndef AGENT_FRONT_SHARE_H
#define AGENT_FRONT_SHARE_H

#include <stdint.h>

enum { SHARE_LEAST = 64 };

struct share; /* of one peer; there while it holds a place */

struct share_set {
    struct share *shares; /* by the peer's slug */
    uint32_t max, total;  /* places for all peers; those that are held */
};

/* A place for a stream of that peer, or NULL: there is none for it, or no memory. */
struct share *share_take(struct share_set *set, const char *peer);
/* The place is free again. NULL is harmless. */
void share_drop(struct share_set *set, struct share *share);

#endif
