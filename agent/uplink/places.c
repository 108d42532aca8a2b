/* SPDX-License-Identifier: MIT */
/* The list built anew from its three sources; the one that worked last is tried first. */
#include "agent/uplink/places.h"

#include <string.h>

static void
add(struct places *places, const char *address, enum place_from from)
{
    if (places->count == PLACES_MAX || places_find(places, address) < places->count)
        return;
    struct place *place = &places->item[places->count++];
    place->from = from;
    strncpy(place->address, address, sizeof place->address - 1);
}

void
places_set(struct places *places, const struct cbx_token *where,
           const struct cbx_addresses *learned, const char *worked)
{
    *places = (struct places){0};
    for (uint32_t i = 0; i < where->address_count && i < CBX_TOKEN_ADDRESSES_MAX; i++)
        add(places, where->address[i], PLACE_TOKEN);
    for (uint32_t i = 0; learned && i < learned->count; i++)
        add(places, learned->text[i], PLACE_HUB);
    if (!worked || worked[0] == '\0')
        return;
    add(places, worked, PLACE_HUB);
    places->first = places_find(places, worked);
}

uint32_t
places_find(const struct places *places, const char *address)
{
    uint32_t i = 0;
    while (i < places->count && strcmp(places->item[i].address, address) != 0)
        i++;
    return i;
}

const char *
place_from_text(enum place_from from)
{
    static const char *const text[] = {"token", "hub"};
    return text[from];
}
