/* SPDX-License-Identifier: MIT */
/*
 * Everywhere that the hub may be: the token's addresses, then what the hub itself has said over the
 * link since (it may have moved), none twice; and which of them worked last. Pure.
 */
#ifndef AGENT_UPLINK_PLACES_H
#define AGENT_UPLINK_PLACES_H

#include "common/trust/addresses.h"
#include "common/trust/token.h"
#include <stdint.h>

/* The one that worked last need not be named by anybody any more. */
enum { PLACES_MAX = CBX_TOKEN_ADDRESSES_MAX + CBX_ADDRESSES_MAX + 1 };

enum place_from { PLACE_TOKEN, PLACE_HUB };

struct place {
    enum place_from from;
    char address[CBX_ADDRESS_TEXT_MAX];
};

struct places {
    uint32_t count;
    uint32_t first; /* to be tried before the others: what worked last, else the token's first */
    struct place item[PLACES_MAX];
};

/* learned may be NULL, worked NULL or "". */
void places_set(struct places *places, const struct cbx_token *where,
                const struct cbx_addresses *learned, const char *worked);
/* Its index, or count. */
uint32_t places_find(const struct places *places, const char *address);
/* "token", "hub". */
const char *place_from_text(enum place_from from);

#endif
