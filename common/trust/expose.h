/* SPDX-License-Identifier: MIT */
/*
 * Expose lists: which ports of a lease its pond may dial, and where each leads.
 * Spec: items separated by commas; `8080` leads to 127.0.0.1:8080, `5432=10.83.0.7:5432` and
 * `80=[fd00::1]:8080` beyond. Targets are literal addresses, or `localhost`. Pure, no resolution.
 */
#ifndef COMMON_TRUST_EXPOSE_H
#define COMMON_TRUST_EXPOSE_H

#include "common/base/err.h"
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum { CBX_EXPOSE_MAX = 64, CBX_EXPOSE_TEXT_MAX = 1024, CBX_EXPOSE_HOST_MAX = 46 };

struct cbx_expose_item {
    uint16_t port; /* what the pond dials */
    uint16_t target_port;
    char target[CBX_EXPOSE_HOST_MAX]; /* numeric address, "127.0.0.1" by default */
};

struct cbx_expose {
    uint32_t count;
    struct cbx_expose_item item[CBX_EXPOSE_MAX]; /* sorted by port, no port twice */
};

/* Adds the items of one spec. CBX_ERR_FORMAT (error names the item), CBX_ERR_LIMIT, CBX_ERR_EXISTS
 * when a port is listed twice with different targets (equal repeats are folded). */
int cbx_expose_add(struct cbx_expose *list, const char *spec, struct cbx_error *error);

/* Canonical text ("8080,5432=10.83.0.7:5432", ascending). Returns length or CBX_ERR_LIMIT. */
int cbx_expose_format(const struct cbx_expose *list, char *out, size_t size);

/* Ports only ("5432,8080"), as the directory shows them. */
int cbx_expose_ports(const struct cbx_expose *list, char *out, size_t size);

/* NULL when the port is not exposed. */
const struct cbx_expose_item *cbx_expose_find(const struct cbx_expose *list, uint16_t port);

/* True when every item of inner is in outer with the same target. */
bool cbx_expose_within(const struct cbx_expose *inner, const struct cbx_expose *outer);

#endif
