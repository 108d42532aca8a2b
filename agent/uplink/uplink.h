/* SPDX-License-Identifier: MIT */
/*
 * The way to the hub: TCP by libcurl (proxies, IPv6 and IPv4 raced), SSH by libssh2 with the host
 * key pinned and the login signed by libsodium, one exec channel, handed over as a carrier. Tries
 * the hub's addresses in order, the one that worked last before all others, backs off with full
 * jitter, starts at once after a network change.
 */
#ifndef AGENT_UPLINK_UPLINK_H
#define AGENT_UPLINK_UPLINK_H

#include "agent/uplink/attempt.h"
#include "agent/uplink/places.h"
#include "agent/uplink/segments.h"
#include "common/base/err.h"
#include "common/link/carrier.h"
#include "common/trust/identity.h"
#include "common/trust/token.h"

struct uplink;
struct ev_loop;

struct uplink_config {
    const struct cbx_token *where;  /* addresses, host key, user; copied */
    const struct places *places;    /* all there is to try; copied; NULL: the token's addresses */
    struct segments *segments;      /* where they have to be short; borrowed, may be NULL */
    const char *via;                /* proxy URL, NULL: environment */
    const char *ssh_command;        /* runs in place of TCP and SSH (ssh_command.h); NULL: none */
    const char *folder;             /* for its socket; may be NULL without it */
    int64_t connect_timeout_ms;     /* 0: 15 s, per address */
    int64_t keepalive_ms;           /* as in ssh_login.h */
    int64_t backoff_min_ms;         /* 0: 200 */
    int64_t backoff_refused_max_ms; /* 0: 2,000 */
    int64_t backoff_max_ms;         /* 0: 15,000 */
};

struct uplink_ops {
    /* A channel is open. The carrier belongs to the callee. */
    void (*up)(void *arg, struct cbx_carrier *carrier);
    /* One attempt (all addresses) failed; the next is in retry_ms, unless the callee stops it.
     * text is one line with the cause and, where there is one, the remedy. */
    void (*failed)(void *arg, enum uplink_error error, int64_t retry_ms, const char *text);
};

struct uplink *uplink_new(struct ev_loop *loop, const struct uplink_config *config,
                          const struct uplink_ops *ops, void *arg);
/* The key to log in with (copied, wiped on free). Set before uplink_start. */
void uplink_login(struct uplink *uplink, const struct cbx_keypair *key);
/* Connect now. No effect while an attempt runs. */
void uplink_start(struct uplink *uplink);
/* The carrier that up() gave was lost: connect again after retry_ms, or as back-off says (0).
 * A link that had lived for less than 10 s does not reset the back-off. */
void uplink_lost(struct uplink *uplink, int64_t retry_ms);
/* Stops attempts and timers until the next uplink_start. */
void uplink_stop(struct uplink *uplink);
void uplink_free(struct uplink *uplink);
/* What came up did not get far, for no reason that anybody named: it may have been for the length
 * of its segments. The next attempt there has others. */
void uplink_stood_still(struct uplink *uplink);
/* The hub's address that is tried, or that worked last. */
const char *uplink_address(const struct uplink *uplink);
/* Others to try from the next round on; what stands goes on. */
void uplink_move(struct uplink *uplink, const struct places *places);
/* Which addresses there are; `first` worked last. */
const struct places *uplink_places(const struct uplink *uplink);
/* "connecting to 1.2.3.4:22", "logging in", "up", "waiting 3 s": for status. */
const char *uplink_state(const struct uplink *uplink);

#endif
