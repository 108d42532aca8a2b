/* SPDX-License-Identifier: MIT */
/* What agents are told of their pond: peers as deltas, chains on request; and the handshakes and
 * rendezvous that peers send each other, which the hub passes on and cannot read. */
#ifndef HUB_CORE_DIRECTORY_H
#define HUB_CORE_DIRECTORY_H

#include "common/link/frame.h"
#include "hub/registry/registry.h"
#include <stdbool.h>
#include <stdint.h>

struct hub_core;
struct hub_link;

/* All peers of its pond, and SYNCED. Negative when they do not fit into the link's queue. */
int hub_directory_snapshot(struct hub_link *link);
/* Tells every attached agent of the pond how peer stands. A link that has no room for it is marked
 * `behind` and woken: it has a wrong directory from now on, so the core closes it at its flush. */
void hub_directory_tell(struct hub_core *core, struct reg_peer *peer, bool gone);
/* What could not be told at once for its number. */
void hub_directory_tell_due(struct hub_core *core, int64_t now);
/* CHAIN_GET. */
void hub_directory_chain(struct hub_link *link, const struct cbx_frame *frame);
/* HANDSHAKE, CONFIRM, NO_HANDSHAKE, RENDEZVOUS: passed on to the peer they name. A negative result
 * ends the link. */
int hub_directory_pass(struct hub_link *link, const struct cbx_frame *frame, int64_t now,
                       struct cbx_error *error);

#endif
