/* SPDX-License-Identifier: MIT */
/*
 * The hub's protocol engine: links of agents, the directory they are told, joins, and the switch
 * between their circuits. It holds no stream's plaintext and no key. The shell hands it carriers
 * with the identity that sshd checked, and the time. Lanes come through lane.h, edits by commands
 * through edit.h; what it is asked for is in json.h.
 */
#ifndef HUB_CORE_CORE_H
#define HUB_CORE_CORE_H

#include "common/link/carrier.h"
#include "hub/core/config.h"
#include "hub/registry/registry.h"
#include <stdint.h>

struct hub_core;

/* registry, ops and arg are borrowed. NULL when memory is short. */
struct hub_core *hub_core_new(const struct hub_core_config *config, struct registry *registry,
                              const struct hub_core_ops *ops, void *arg);
void hub_core_free(struct hub_core *core);

/* A neighbour is there: takes the carrier over. connection is the number given to sshd; address is
 * for people ("127.0.0.1:40022"). Fingerprints that the registry does not know are closed. */
int hub_core_attach(struct hub_core *core, struct cbx_carrier *carrier, const char *fingerprint,
                    uint64_t connection, const char *address);

void hub_core_committed(struct hub_core *core, uint64_t ticket, int result);

/* Writes what is pending; returns microseconds until the next timer is due (-1: none). Call before
 * each sleep and when that time has come. */
int64_t hub_core_flush(struct hub_core *core);

/* Says goodbye to every agent (retry_ms: when they should come back). True once all links are
 * closed; call hub_core_flush meanwhile. */
void hub_core_shutdown(struct hub_core *core, uint32_t retry_ms);
bool hub_core_idle(const struct hub_core *core);

#endif
