/* SPDX-License-Identifier: MIT */
/*
 * Clients of the proxy port until they have said what they want: SOCKS, or HTTP (http_client.h),
 * told apart by the first byte. Then the socket becomes a conn.
 */
#ifndef AGENT_FRONT_PROXY_H
#define AGENT_FRONT_PROXY_H

#include "agent/front/conn.h"
#include "agent/front/http_client.h"
#include "agent/front/proxy_password.h"

struct proxy_client;

struct proxy_stats {
    uint64_t socks, http;
    uint64_t unknown_protocol; /* the first byte was neither's */
    uint64_t bad_requests;     /* refused for what they said, before any dial */
    uint64_t timed_out;
    uint64_t gave_up;  /* closed or reset by the client */
    uint64_t at_limit; /* refused because there were too many connections */
};

struct proxy {
    struct conn_set *conns; /* borrowed */
    double handshake_s;
    struct proxy_password password;
    struct http_clients http;
    LIST_HEAD(, proxy_client) clients;
    uint32_t count;
    struct proxy_stats stats;
};

/* password NULL: none is asked for. */
void proxy_init(struct proxy *proxy, struct conn_set *conns, int64_t handshake_timeout_ms,
                const char *password);
/* Of its own and those who speak HTTP; who has a conn, too, is counted there. */
uint32_t proxy_count(const struct proxy *proxy);
/* Takes the socket over; closes it when memory is short. at_limit: there are as many connections as
 * may be, so this one only hears, in its own dialect, that its dial is refused. */
void proxy_take(struct proxy *proxy, int fd, bool at_limit);
void proxy_clear(struct proxy *proxy);

#endif
