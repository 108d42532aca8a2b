/* SPDX-License-Identifier: MIT */
/*
 * One attempt to reach one address by TCP, directly or through a proxy, by libcurl: names resolve
 * without blocking, IPv6 and IPv4 race, HTTP and SOCKS proxies work.
 * The proxy is proxy_choice.h's.
 */
#ifndef AGENT_UPLINK_CONNECTOR_H
#define AGENT_UPLINK_CONNECTOR_H

#include "agent/uplink/tcp_buffer.h"
#include <stdint.h>

struct connector;
struct ev_loop;

enum connector_error {
    CONNECTOR_REFUSED, /* the machine answers, nothing listens on the port */
    CONNECTOR_OTHER,   /* no route, name, time, or the proxy says no */
};

/* Exactly one of the two is called, from the loop, never inside connector_new. The connector does
 * nothing after it; the callee frees it, inside or later. */
struct connector_ops {
    void (*connected)(void *arg, struct tcp_buffer *tcp); /* the buffer belongs to the callee */
    void (*failed)(void *arg, enum connector_error error, const char *text);
};

/* address is "host:port" or "[v6]:port". timeout_ms bounds look-up, connection and proxy together.
 * segment_max: as cbx_tcp_limit_segments has it. NULL when memory is short. */
struct connector *connector_new(struct ev_loop *loop, const char *address, const char *via,
                                int64_t timeout_ms, int segment_max,
                                const struct connector_ops *ops, void *arg);
/* Ends the attempt if it still runs. */
void connector_free(struct connector *connector);

#endif
