/* SPDX-License-Identifier: MIT */
/*
 * Clients of the proxy port until they have said what they want: SOCKS5 or HTTP CONNECT, told
 * apart by the first byte. Then the socket becomes a conn.
 */
#ifndef AGENT_FRONT_PROXY_H
#define AGENT_FRONT_PROXY_H

#include "agent/front/conn.h"

struct proxy_client;

struct proxy_stats {
    uint64_t socks, http;
    uint64_t unknown_protocol; /* the first byte was neither's; SOCKS4 too */
    uint64_t bad_requests;     /* refused for what they said, before any dial */
    uint64_t timed_out;
    uint64_t gave_up;  /* closed or reset by the client */
    uint64_t at_limit; /* refused because there were too many connections */
};

struct proxy {
    struct conn_set *conns; /* borrowed */
    double handshake_s;
    LIST_HEAD(, proxy_client) clients;
    uint32_t count;
    struct proxy_stats stats;
};

void proxy_init(struct proxy *proxy, struct conn_set *conns, int64_t handshake_timeout_ms);
/* Takes the socket over; closes it when memory is short. at_limit: there are as many connections as
 * may be, so this one only hears, in its own dialect, that its dial is refused. */
void proxy_take(struct proxy *proxy, int fd, bool at_limit);
void proxy_clear(struct proxy *proxy);

#endif
