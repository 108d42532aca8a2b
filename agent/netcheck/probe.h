/* SPDX-License-Identifier: MIT */
/* One address of the hub: connects, logs in, and leaves again before anything is opened there. */
#ifndef AGENT_NETCHECK_PROBE_H
#define AGENT_NETCHECK_PROBE_H

#include "agent/uplink/ssh_login.h"
#include "common/base/err.h"
#include "common/trust/identity.h"
#include <stdbool.h>
#include <stdint.h>

struct ev_loop;
struct netcheck_probe;

enum { NETCHECK_PEER_MAX = 80 };

struct netcheck_probe_config {
    const char *address, *via, *user;
    const uint8_t *host_key_sha256;
    const struct cbx_keypair *key;
    int64_t timeout_ms;
};

struct netcheck_found {
    bool connected;
    bool logged_in;
    bool greeted;                 /* it speaks SSH and has shown the pinned host key */
    bool refused;                 /* connection refused */
    enum ssh_error error;         /* connected, not logged_in */
    int64_t connect_us;           /* from the name to the open connection */
    int64_t ssh_us;               /* from there to the end of the login */
    int64_t tcp_us;               /* round trip as the kernel sees it; 0: unknown */
    int mss, mtu;                 /* 0: unknown */
    char peer[NETCHECK_PEER_MAX]; /* who answered: the hub or a proxy */
    char banner[128];
    struct cbx_error text; /* what went wrong */
};

/* done is called once, from the loop. NULL when memory is short. */
struct netcheck_probe *netcheck_probe_new(struct ev_loop *loop,
                                          const struct netcheck_probe_config *config,
                                          void (*done)(void *arg), void *arg);
void netcheck_probe_free(struct netcheck_probe *probe); /* NULL is fine */
const struct netcheck_found *netcheck_probe_found(const struct netcheck_probe *probe);

#endif
