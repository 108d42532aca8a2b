/* SPDX-License-Identifier: MIT */
/* Bytes on their way, in one allocation that grows; what is taken leaves at the front. */
#ifndef AGENT_FRONT_HTTP_BYTES_H
#define AGENT_FRONT_HTTP_BYTES_H

#include <stdbool.h>
#include <stddef.h>

/* All zero: empty. failed: memory was short once, and what was to be added is missing. secret: set
 * by the owner, and kept: a password may be in it, so memory is wiped before it is given back. */
struct http_bytes {
    char *at; /* the first one that is left */
    size_t length;
    char *base;
    size_t room;
    bool failed;
    bool secret;
};

void http_bytes_add(struct http_bytes *bytes, const void *data, size_t length);
void http_bytes_add_format(struct http_bytes *bytes, const char *format, ...)
    __attribute__((format(printf, 2, 3)));
/* Takes length bytes away, at most all. Memory is given back with the last one. */
void http_bytes_drop(struct http_bytes *bytes, size_t length);
void http_bytes_clear(struct http_bytes *bytes);

#endif
