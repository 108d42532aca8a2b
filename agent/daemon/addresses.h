/* SPDX-License-Identifier: MIT */
/* Where the hub may be: the token's addresses and what was learned since, for uplink and people. */
#ifndef AGENT_DAEMON_ADDRESSES_H
#define AGENT_DAEMON_ADDRESSES_H

#include "agent/daemon/process.h"
#include "agent/uplink/places.h"

/* The token that the present phase goes by. */
const struct cbx_token *agent_where(const struct agent *agent);
/* Reads what was learned of that token's hub; a file that cannot be read is said and passed over.
 */
void agent_addresses_begin(struct agent *agent, const struct cbx_token *where);
/* The most bytes of a segment on the way to the hub now; 0: as the system has it. */
int agent_segment_max(const struct agent *agent);
void agent_addresses_list(const struct agent *agent, struct places *out);

/* The hub says where it is reached; and an attach, by which it is believed: what is new is stored.
 */
void agent_addresses_heard(struct agent *agent, const struct cbx_addresses *list);
void agent_addresses_attached(struct agent *agent);

#endif
