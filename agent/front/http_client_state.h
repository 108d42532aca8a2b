/* SPDX-License-Identifier: MIT */
/* What HTTP clients are made of, and the setter of their state; for http_client.c and
 * http_exchange.c, and what the front counts. */
#ifndef AGENT_FRONT_HTTP_CLIENT_STATE_H
#define AGENT_FRONT_HTTP_CLIENT_STATE_H

#include "agent/front/conn.h"
#include "agent/front/http_message.h"
#include "agent/front/http_rewrite.h"
#include "agent/front/http_upstream.h"
#include "agent/front/proxy_password.h"

struct http_stats {
    uint64_t forwarded;    /* requests */
    uint64_t bad_requests; /* refused for what they said, before any dial */
    uint64_t timed_out;
    uint64_t gave_up;  /* closed or reset by the client before its first request was whole */
    uint64_t at_limit; /* refused because there were too many connections */
};

enum { HTTP_CHUNK_SIZE = 64 * 1024 };

struct http_clients {
    struct conn_set *conns;                /* borrowed */
    const struct proxy_password *password; /* borrowed */
    double head_s;
    LIST_HEAD(, http_client) all;
    uint32_t count;
    uint32_t dialed; /* of these, have a conn of the set too */
    struct http_stats stats;
    char chunk[HTTP_CHUNK_SIZE]; /* what was just read */
};

enum http_client_state {
    HTTP_CLIENT_REQUEST,  /* the head of a request is awaited; either side may end without harm */
    HTTP_CLIENT_EXCHANGE, /* a request goes to the upstream, its response comes back, both at once
                           */
    HTTP_CLIENT_TUNNEL,  /* another protocol was agreed on (101): bytes, until both sides have ended
                          */
    HTTP_CLIENT_LEAVING, /* the last bytes leave; then a conn says goodbye on its socket */
    HTTP_CLIENT_RESET,   /* an exchange was cut off: the client sees an error and never an end */
    HTTP_CLIENT_GONE,    /* its socket is another's */
};

struct http_client {
    LIST_ENTRY(http_client) entry;
    struct http_clients *set;
    enum http_client_state state;
    int fd;
    struct ev_io reading, writing;
    struct ev_timer deadline;
    struct http_upstream upstream;
    struct http_message request, response;
    struct http_reply reply;
    struct http_bytes in;  /* from the client, not looked at yet */
    struct http_bytes out; /* for the client */
    struct http_bytes up;  /* for the upstream */
    bool upgrade;          /* the request wants one */
    bool answered;         /* the response's head is in out, or behind it */
    bool served;           /* not its first request */
    bool at_limit;
    bool ended;   /* nothing more comes from the client */
    bool more;    /* there is more in its socket, for the next request */
    bool out_end; /* TUNNEL: the client was told the server's end */
};

void http_client_set_state(struct http_client *client, enum http_client_state state);
/* A request is awaited; the one before must be cleared. */
void http_client_next_request(struct http_client *client);
/* 0: none. */
void http_client_set_deadline(struct http_client *client, double seconds);

#endif
