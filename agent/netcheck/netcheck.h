/* SPDX-License-Identifier: MIT */
/*
 * What stands between this machine and its hub: each address is connected to, logged in to and left
 * again before anything is opened there, so that it changes nothing: no invite is used up, no
 * running agent is superseded. Runs on any loop: a running agent's, or a command's own.
 */
#ifndef AGENT_NETCHECK_NETCHECK_H
#define AGENT_NETCHECK_NETCHECK_H

#include "agent/uplink/ssh_login.h"
#include "common/base/err.h"
#include "common/trust/identity.h"
#include "common/trust/token.h"
#include <jansson.h>
#include <stdbool.h>
#include <stdint.h>

struct ev_loop;
struct netcheck;

enum { NETCHECK_PEER_MAX = 80, NETCHECK_TIMEOUT_MS = 10000 };

struct netcheck_config {
    const struct cbx_token *where; /* addresses, host key, user; copied */
    const struct cbx_keypair *key; /* to log in with; copied, wiped at the end */
    const char *via;               /* proxy URL, NULL: environment; borrowed */
    const char *ssh_command;       /* its program makes the connection: nothing to try here */
    int64_t timeout_ms;            /* of each step; 0: NETCHECK_TIMEOUT_MS */
    int64_t round_trip_us;         /* of the link to the hub; 0: none is known */
    bool try_lane;                 /* nobody else knows how lanes fare */
};

/* done is called once, from the loop: checks is an array (PROTOCOL.md, "What commands answer"), a
 * new reference; NULL when memory was short. It may free the netcheck. NULL: memory is short. */
struct netcheck *netcheck_new(struct ev_loop *loop, const struct netcheck_config *config,
                              void (*done)(void *arg, json_t *checks), void *arg);
void netcheck_free(struct netcheck *check); /* NULL is fine */

enum netcheck_result { NETCHECK_OK, NETCHECK_FAILED, NETCHECK_SKIPPED };

/* Appends a check and returns it (borrowed), for numbers of its own; NULL when memory is short.
 * remedy is what to do about a failure, else "". Texts are cleaned of bytes that are not ASCII. */
json_t *netcheck_add(json_t *checks, const char *name, enum netcheck_result result,
                     const char *remedy, const char *format, ...)
    __attribute__((format(printf, 5, 6)));
/* The hub is reached and lets us in. */
bool netcheck_passed(const json_t *checks);

/* ---- netcheck_probe.c: one address ---- */

struct netcheck_probe;

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

/* ---- netcheck_lane.c: do a lane's first bytes reach the hub ---- */

struct netcheck_lane;

/* Sends a preface that no hub can know, in two parts: a hub waits for the second and then closes
 * without a word. done gets "" or what happened instead. NULL when memory is short. */
struct netcheck_lane *netcheck_lane_new(struct ev_loop *loop, const char *address, const char *via,
                                        int64_t timeout_ms,
                                        void (*done)(void *arg, const char *trouble), void *arg);
void netcheck_lane_free(struct netcheck_lane *lane); /* NULL is fine */

#endif
