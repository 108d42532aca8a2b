/* SPDX-License-Identifier: MIT */
/*
 * The server's side of HTTP CONNECT (RFC 9110, 9.3.6), with Proxy-Status (RFC 9209) on every
 * refusal. Sans-I/O: the client's bytes go in, in pieces of any size; the wanted address or the
 * response to send comes out.
 */
#ifndef AGENT_FRONT_HTTP_CONNECT_H
#define AGENT_FRONT_HTTP_CONNECT_H

#include "agent/front/conn_state.h"
#include <http_parser.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum {
    HTTP_CONNECT_HEADER_MAX = 16 * 1024, /* request line and fields */
    HTTP_CONNECT_HOST_MAX = 255,
    HTTP_CONNECT_AUTHORITY_MAX = HTTP_CONNECT_HOST_MAX + 8, /* "[host]:65535" */
};

enum http_connect_state {
    HTTP_CONNECT_MORE,    /* the end of the header is awaited */
    HTTP_CONNECT_READY,   /* host and port are known; the caller dials, then responds */
    HTTP_CONNECT_REFUSED, /* send http_connect_rejection, then close */
};

struct http_connect {
    enum http_connect_state state;
    struct http_parser parser;
    size_t taken;
    bool complete; /* the header's end was seen */
    char authority[HTTP_CONNECT_AUTHORITY_MAX + 1];
    size_t authority_length;
    char host[HTTP_CONNECT_HOST_MAX + 1]; /* NUL-terminated, when READY */
    uint16_t port;
    int status; /* when REFUSED */
    const char *why;
};

void http_connect_init(struct http_connect *http);
/* Returns how many bytes were taken. What stands behind a complete header is left: it is for the
 * far side. */
size_t http_connect_feed(struct http_connect *http, const char *data, size_t length);
/* The client did not finish its header in time: REFUSED with 408. */
void http_connect_timed_out(struct http_connect *http);
/* The response to a request that is REFUSED. Returns its length, at most CONN_WORDS_MAX. */
size_t http_connect_rejection(const struct http_connect *http, char *out, size_t size);

extern const char http_connect_opened[];
enum { HTTP_CONNECT_OPENED_LENGTH = 39 };
/* The response to a dial that failed; as conn_speech.refused. */
size_t http_connect_refusal(const struct conn_refusal *refusal, char *out, size_t size);

#endif
