/* SPDX-License-Identifier: MIT */
/*
 * What a load balancer says of a connection before the first byte of its client: the PROXY protocol
 * of haproxy (doc/proxy-protocol.txt), versions 1 and 2. Pure: bytes go in, an address comes out.
 * Whether who sent them may be believed is the door's question (conn.h): nobody guesses, a
 * connection from an address that is asked for a header must begin with one.
 */
#ifndef HUB_LOGIN_PROXY_PROTOCOL_H
#define HUB_LOGIN_PROXY_PROTOCOL_H

#include "common/base/err.h"
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/socket.h>

enum {
    PROXY_HEADER_FIRST = 15, /* "PROXY UNKNOWN\r\n", the shortest one */
    PROXY_HEADER_V1_MAX = 107,
    PROXY_HEADER_MAX = 4096, /* version 2 with what it appends, such as a certificate's names */
    PROXY_PREFIXES_MAX = 8,
};

struct proxy_header {
    size_t length;    /* of the header; the client's own bytes follow */
    bool has_address; /* else the balancer speaks for itself (LOCAL) or does not know (UNKNOWN) */
    struct sockaddr_storage address; /* AF_INET or AF_INET6 */
};

/* 1: a whole header, in *out. 0: legal so far; *wanted (more than length) is how many bytes to look
 * at next. CBX_ERR_FORMAT: not a header, or not a legal one; CBX_ERR_LIMIT: too long. */
int proxy_header_parse(const uint8_t *bytes, size_t length, struct proxy_header *out,
                       size_t *wanted);

/* The version that these first bytes look like, 0: none. At least 4 of them are needed. */
int proxy_header_looks_like(const uint8_t *bytes, size_t length);

/* "10.0.0.7", "10.0.0.0/8", "fd00::/8". */
struct proxy_prefix {
    uint8_t family; /* 4 or 6 */
    uint8_t bits;
    uint8_t address[16];
};
int proxy_prefix_parse(const char *text, struct proxy_prefix *out, struct cbx_error *error);
/* IPv4 inside IPv6 counts as IPv4. */
bool proxy_prefix_holds(const struct proxy_prefix *prefix, const struct sockaddr *address);

#endif
