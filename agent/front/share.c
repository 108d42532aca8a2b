/* SPDX-License-Identifier: MIT */
/* A count for each peer that has a place. */
#include "agent/front/share.h"

#include "common/base/hash_table.h"
#include "common/base/names.h"

#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>

struct share {
    UT_hash_handle hh;
    uint32_t count;
    char peer[CBX_SLUG_MAX + 1];
};

static struct share *
share_new(struct share_set *set, const char *peer)
{
    struct share *share = calloc(1, sizeof *share);
    if (!share)
        return NULL;
    (void)snprintf(share->peer, sizeof share->peer, "%s", peer);
    HASH_ADD_STR(set->shares, peer, share);
    if (share->hh.tbl)
        return share;
    free(share);
    return NULL;
}

struct share *
share_take(struct share_set *set, const char *peer)
{
    struct share *share = NULL;
    uint32_t left = set->max > set->total ? set->max - set->total : 0;
    HASH_FIND_STR(set->shares, peer, share);
    uint32_t has = share ? share->count : 0;
    if (left == 0 || (has >= SHARE_LEAST && has >= left))
        return NULL;
    if (!share)
        share = share_new(set, peer);
    if (!share)
        return NULL;
    share->count++;
    set->total++;
    return share;
}

void
share_drop(struct share_set *set, struct share *share)
{
    if (!share)
        return;
    set->total--;
    if (--share->count > 0)
        return;
    HASH_DEL(set->shares, share);
    free(share);
}
