/* SPDX-License-Identifier: MIT */
/* The join (rule 6): from the link of an invite's key to a membership on disk. */
#ifndef AGENT_DAEMON_JOIN_H
#define AGENT_DAEMON_JOIN_H

#include "agent/daemon/process.h"

struct cbx_carrier;

/* In JOIN: submits the identity over this link. Leads to STORE, TRIAL or STOP. */
void agent_join_begin(struct agent *agent, struct cbx_carrier *carrier);
/* In STORE: writes the membership to disk. Leads to ATTACH or STOP. */
void agent_join_store(struct agent *agent);

#endif
