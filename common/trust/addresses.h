/* SPDX-License-Identifier: MIT */
/*
 * Where a hub is reached, as it says itself: a bounded list of addresses that a token could hold
 * too, none twice. As a text it is what ADDRESSES carries (PROTOCOL.md, "Frames"). Pure.
 */
#ifndef COMMON_TRUST_ADDRESSES_H
#define COMMON_TRUST_ADDRESSES_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum {
    CBX_ADDRESSES_MAX = 8,
    CBX_ADDRESS_TEXT_MAX = 272,    /* host (at most 253) : port */
    CBX_ADDRESSES_TEXT_MAX = 1025, /* of all, with commas and a NUL: a text of a frame */
};

struct cbx_addresses {
    uint32_t count;
    char text[CBX_ADDRESSES_MAX][CBX_ADDRESS_TEXT_MAX]; /* "host:port", "[v6]:port" */
};

bool cbx_address_valid(const char *address);
bool cbx_addresses_hold(const struct cbx_addresses *list, const char *address);
/* False, and nothing changes: not legal, there already, or no room. */
bool cbx_addresses_add(struct cbx_addresses *list, const char *address);
bool cbx_addresses_equal(const struct cbx_addresses *one, const struct cbx_addresses *other);

/* Addresses with commas between them. What is not legal is left out, as is what is beyond the
 * bounds: who said it may know more kinds than we do. text needs no NUL. */
void cbx_addresses_read(struct cbx_addresses *out, const char *text, size_t length);
/* As many as fit, each of them whole. */
void cbx_addresses_write(const struct cbx_addresses *list, char out[CBX_ADDRESSES_TEXT_MAX]);

#endif
