/* SPDX-License-Identifier: MIT */
/*
 * What a proxy makes of the heads that it forwards (RFC 9110, 7; RFC 9112, 3.2.2 and 6): the target
 * in the form that a server knows, fields that are only for the next hop taken out, the message
 * framed anew, Via added. Pure.
 */
#ifndef AGENT_FRONT_HTTP_REWRITE_H
#define AGENT_FRONT_HTTP_REWRITE_H

#include "agent/front/http_bytes.h"
#include "agent/front/http_message.h"

enum { HTTP_HOST_MAX = 255 };

/* What a request asks of the proxy. */
struct http_wish {
    bool tunnel; /* CONNECT */
    char host[HTTP_HOST_MAX + 1];
    uint16_t port;
    /* Unless it is a tunnel. Into the head, so until http_message_go_on. */
    struct http_text authority; /* "web.cbx:8080", without user */
    struct http_text path;      /* with query; may be empty */
    bool query_only;            /* the path begins with '?' */
    bool upgrade;               /* it wants to go on with another protocol, as websocket */
};

/* Reads a request whose head is READY. False: *status and *why say what is wrong. */
bool http_wish_read(const struct http_message *request, struct http_wish *wish, int *status,
                    const char **why);

/* Adds the head for the server. */
void http_request_head(const struct http_message *request, const struct http_wish *wish,
                       struct http_bytes *out);

/* How the client's connection goes on behind a response. */
struct http_reply {
    bool one_zero; /* the client speaks HTTP/1.0: no chunks, no interim responses */
    bool close;    /* it ends with this response */
    bool upgrade;  /* 101, as the client wanted */
};
/* Adds the head for the client. */
void http_response_head(const struct http_message *response, const struct http_reply *reply,
                        struct http_bytes *out);

/* Adds a piece of a body, and its end, in the framing that the rewritten head announced. */
void http_body_add(bool chunked, const struct http_bytes *body, bool end, struct http_bytes *out);
/* Whether that is in chunks. */
bool http_request_is_chunked(const struct http_message *request);
bool http_response_is_chunked(const struct http_message *response, const struct http_reply *reply);

#endif
