/* SPDX-License-Identifier: MIT */
/* Where agents reach the hub, as a token says it. */
#ifndef HUB_DAEMON_ADDRESSES_H
#define HUB_DAEMON_ADDRESSES_H

#include "common/base/err.h"
#include "common/trust/token.h"
#include "hub/login/listen.h"
#include <stddef.h>

enum addresses_source {
    ADDRESSES_PUBLIC = 0,     /* --public */
    ADDRESSES_LISTEN = 1,     /* what is listened on */
    ADDRESSES_INTERFACES = 2, /* a wildcard is listened on: all global addresses of the machine */
};

struct addresses {
    enum addresses_source source; /* INTERFACES when any of them came from there */
    uint32_t count;
    char text[CBX_TOKEN_ADDRESSES_MAX][CBX_ADDRESS_TEXT_MAX];
};

/*
 * --public if there is any; else what is listened on, where a wildcard stands for the addresses of
 * all interfaces that are up, but for loopback and link-local ones; public ones first. At most as
 * many as a token holds. CBX_ERR_NOTFOUND when there is none.
 */
int addresses_of(const struct listen *listen, const char *const *public_addresses, size_t count,
                 struct addresses *out, struct cbx_error *error);

/* Whether addresses_of would find any, before there is a struct listen: bound are the sockets that
 * will be listened on, public_count is how many --public there are. */
int addresses_look(const int *bound, uint32_t bound_count, size_t public_count,
                   struct cbx_error *error);

/* "public", "listen", "interfaces". */
const char *addresses_source_text(enum addresses_source source);

/* Reads a --public value; out gets its canonical form. */
int addresses_parse_public(const char *text, char out[CBX_ADDRESS_TEXT_MAX],
                           struct cbx_error *error);

#endif
