/* SPDX-License-Identifier: MIT */
/* Slugs, ponds, roles and `.cbx` names: what is legal, and what a dialed name means. Pure. */
#ifndef COMMON_BASE_NAMES_H
#define COMMON_BASE_NAMES_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum { CBX_SLUG_MAX = 41, CBX_NAME_MAX = 128 };

/* ^[a-z0-9]([a-z0-9-]{0,39}[a-z0-9])?$ : slugs and ponds. text need not be NUL-terminated. */
bool cbx_slug_valid(const char *text, size_t length);

struct cbx_dial_name {
    char slug[CBX_SLUG_MAX + 1];
    char pond[CBX_SLUG_MAX + 1]; /* "" when the short form was used */
};

/*
 * Reads "web.cbx", "web.demo.cbx" (any letter case, one trailing dot allowed) into *out.
 * Returns 0, CBX_ERR_NOTFOUND when the name does not end in .cbx, CBX_ERR_FORMAT when it does but
 * is not legal.
 */
int cbx_dial_name_parse(const char *name, size_t length, struct cbx_dial_name *out);

/* Reads "NAME:PORT" ("[v6]:PORT" too). host gets NUL-terminated text. 0 or CBX_ERR_FORMAT. */
int cbx_host_port_parse(const char *text, char *host, size_t host_size, uint16_t *port);

/* The same for a listening address, where port 0 means any free port. */
int cbx_listen_parse(const char *text, char *host, size_t host_size, uint16_t *port);

/* Decimal port 1..65535, whole text. 0 or CBX_ERR_FORMAT. */
int cbx_port_parse(const char *text, size_t length, uint16_t *port);

/* Duration with a unit: "500ms", "30s", "15m", "24h", "30d". Result in milliseconds. 0 or
 * CBX_ERR_FORMAT (no unit, overflow, junk, negative). */
int cbx_duration_parse(const char *text, int64_t *milliseconds);

/* Bytes: a whole number, or one with a unit of 1,024's powers: "64K", "512M", "1GiB", "1T". 0 or
 * CBX_ERR_FORMAT. */
int cbx_size_parse(const char *text, uint64_t *bytes);

#endif
