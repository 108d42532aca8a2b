/* SPDX-License-Identifier: MIT */
/* The way to membership and to the hub: the phases TRIAL, JOIN, STORE and ATTACH of process.h. */
#ifndef AGENT_DAEMON_HUB_LINK_H
#define AGENT_DAEMON_HUB_LINK_H

#include "agent/daemon/process.h"

/* Begins the phase: a new uplink with its key. */
void agent_link_begin(struct agent *agent, enum agent_phase phase);
/* Frees uplink, joiner and mesh. */
void agent_link_end(struct agent *agent);

#endif
