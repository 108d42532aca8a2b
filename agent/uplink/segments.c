/* SPDX-License-Identifier: MIT */
/* A small table by address: what is over is forgotten, the entry that ends first makes room. */
#include "agent/uplink/segments.h"

#include "common/os/tcp_path.h"

#include <stdio.h>
#include <string.h>

int
segments_limit(const struct segments *segments, const char *address, int64_t now_us)
{
    for (int i = 0; i < PLACES_MAX; i++) {
        if (segments->item[i].limit > 0 && now_us < segments->item[i].until_us &&
            strcmp(segments->item[i].address, address) == 0)
            return segments->item[i].limit;
    }
    return 0;
}

int
segments_shorter(int limit)
{
    if (limit == 0 || limit > CBX_SEGMENT_SHORT)
        return CBX_SEGMENT_SHORT;
    return limit > CBX_SEGMENT_LEAST ? CBX_SEGMENT_LEAST : 0;
}

void
segments_set(struct segments *segments, const char *address, int limit, int64_t for_us,
             int64_t now_us)
{
    int at = 0;
    for (int i = 0; i < PLACES_MAX; i++) {
        if (strcmp(segments->item[i].address, address) == 0) {
            at = i;
            break;
        }
        if (segments->item[i].until_us < segments->item[at].until_us)
            at = i;
    }
    segments->item[at].limit = limit;
    segments->item[at].until_us = now_us + for_us;
    (void)snprintf(segments->item[at].address, sizeof segments->item[at].address, "%s", address);
}
