/* SPDX-License-Identifier: MIT */
/*
 * On the way to which addresses segments have to be short, because longer packets are lost there
 * and nobody says so (a black hole of path MTU discovery). Pure.
 */
#ifndef AGENT_UPLINK_SEGMENTS_H
#define AGENT_UPLINK_SEGMENTS_H

#include "agent/uplink/places.h"
#include <stdint.h>

struct segments {
    struct {
        int limit; /* 0: free */
        int64_t until_us;
        char address[CBX_ADDRESS_TEXT_MAX];
    } item[PLACES_MAX];
};

/* The most bytes of a segment; 0: as the system has it. */
int segments_limit(const struct segments *segments, const char *address, int64_t now_us);
/* The next shorter one than limit; 0: there is none. */
int segments_shorter(int limit);
/* Holds for_us; limit 0: as the system has it. Where all places are taken the one that ends soonest
 * is given up. */
void segments_set(struct segments *segments, const char *address, int limit, int64_t for_us,
                  int64_t now_us);

static const int64_t SEGMENTS_FOUND_US = 86400ll * 1000 * 1000;
static const int64_t SEGMENTS_GUESSED_US = 3600ll * 1000 * 1000;

#endif
