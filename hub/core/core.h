/* SPDX-License-Identifier: MIT */
/*
 * The hub's protocol engine: links of agents, the directory they are told, joins, and the switch
 * between their circuits. It holds no stream's plaintext and no key. The shell hands it carriers
 * with the identity that sshd checked, and the time.
 */
#ifndef HUB_CORE_CORE_H
#define HUB_CORE_CORE_H

#include "common/link/carrier.h"
#include "common/link/lane.h"
#include "hub/registry/registry.h"
#include <jansson.h>
#include <stdint.h>

struct hub_core;
struct hub_link;

struct hub_core_config {
    int64_t keepalive_us; /* ping after this much silence; default 15 s when 0 */
    int64_t gone_us;      /* dead after this much silence; default 45 s when 0 */
    int64_t hello_us;     /* time for the first frame of a new link; default 10 s when 0 */
    int64_t allowed_us;   /* time to answer a lowered allowance; default 10 s when 0 */
    uint64_t queue_max;   /* bytes of circuits held in all; default 1 GiB when 0 */
    enum cbx_lanes lanes;
    bool direct;          /* agents may meet for lanes of their own */
    const char *software; /* "cbx-hub 0.1" */
};

struct hub_core_ops {
    /* The registry changed and must reach the disk; call hub_core_committed(core, ticket) when it
     * has. Tickets grow by one. */
    void (*commit)(void *arg, uint64_t ticket);
    /* Login keys changed: sshd's authorized_keys must be written anew before hub_core_committed. */
    int64_t (*now_us)(void *arg);
    int64_t (*now_unix_ms)(void *arg);
    /* Output is pending or a timer moved: call hub_core_flush before the loop sleeps. */
    void (*wake)(void *arg);
};

struct hub_core *hub_core_new(const struct hub_core_config *config, struct registry *registry,
                              const struct hub_core_ops *ops, void *arg);
void hub_core_free(struct hub_core *core);

/* A neighbour is there: takes the carrier over. connection is the number given to sshd; address is
 * for people ("127.0.0.1:40022"). Fingerprints that the registry does not know are closed. */
int hub_core_attach(struct hub_core *core, struct cbx_carrier *carrier, const char *fingerprint,
                    uint64_t connection, const char *address);

/* A connection began with this preface. Takes the carrier over: true when it became the lane of the
 * link it was made for, false when nobody waits for it (the carrier is closed, nothing was said).
 */
bool hub_core_lane(struct hub_core *core, struct cbx_carrier *carrier,
                   const uint8_t preface[CBX_LANE_PREFACE]);

void hub_core_committed(struct hub_core *core, uint64_t ticket, int result);

/* Writes what is pending; returns microseconds until the next timer is due (-1: none). Call before
 * each sleep and when that time has come. */
int64_t hub_core_flush(struct hub_core *core);

/* Registry edits by commands. They change memory and links at once, then commit; the shell answers
 * its client when the ticket is committed. */
int hub_core_add_invite(struct hub_core *core, const uint8_t pond_public[32], const uint8_t *cert,
                        size_t length, const uint8_t login_key[32], struct reg_invite **out,
                        uint64_t *ticket, struct cbx_error *error);
int hub_core_drop_invite(struct hub_core *core, const char *id, uint64_t *ticket,
                         struct cbx_error *error);
int hub_core_revoke(struct hub_core *core, const char *pond, const char *slug, uint64_t *ticket,
                    struct cbx_error *error);
/* Drops what is past its end. Call now and then. */
void hub_core_expire(struct hub_core *core);

/* Says goodbye to every agent (retry_ms: when they should come back). True once all links are
 * closed; call hub_core_flush meanwhile. */
void hub_core_shutdown(struct hub_core *core, uint32_t retry_ms);
bool hub_core_idle(const struct hub_core *core);

/* New references; the shapes are documented in PROTOCOL.md, "What commands answer". */
json_t *hub_core_peers_json(const struct hub_core *core, const char *pond_or_null);
json_t *hub_core_status_json(const struct hub_core *core);
json_t *hub_core_invites_json(const struct hub_core *core);

#endif
