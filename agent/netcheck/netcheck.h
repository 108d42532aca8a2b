/* SPDX-License-Identifier: MIT */
/*
 * What stands between this machine and its hub: each address is connected to, logged in to and left
 * again before anything is opened there, so that it changes nothing: no invite is used up, no
 * running agent is superseded. Runs on any loop: a running agent's, or a command's own.
 */
#ifndef AGENT_NETCHECK_NETCHECK_H
#define AGENT_NETCHECK_NETCHECK_H

#include "agent/uplink/places.h"
#include "common/base/err.h"
#include "common/trust/identity.h"
#include "common/trust/token.h"
#include <jansson.h>
#include <stdbool.h>
#include <stdint.h>

struct ev_loop;
struct netcheck;

enum { NETCHECK_TIMEOUT_MS = 10000 };

struct netcheck_config {
    const struct cbx_token *where; /* addresses, host key, user; copied */
    const struct places *places;   /* all there is to try; copied; NULL: the token's addresses */
    const struct cbx_keypair *key; /* to log in with; copied, wiped at the end */
    const char *via;               /* proxy URL, NULL: environment; borrowed */
    const char *ssh_command;       /* its program makes the connection: nothing to try here */
    int64_t timeout_ms;            /* of each step; 0: NETCHECK_TIMEOUT_MS */
    int64_t round_trip_us;         /* of the link to the hub; 0: none is known */
    int segment_max;               /* that a running agent keeps to; 0: as the system has it */
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

#endif
