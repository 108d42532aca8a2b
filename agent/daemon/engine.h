/* SPDX-License-Identifier: MIT */
/*
 * The mesh, wired into the process: its link to the hub is the uplink's, its lanes are those of
 * agent/lanes, its programs are the front's. What ends the link for good ends the process.
 */
#ifndef AGENT_DAEMON_ENGINE_H
#define AGENT_DAEMON_ENGINE_H

#include "agent/daemon/process.h"

/* A mesh for this membership, not attached yet; lanes and front serve it. False when memory is
 * short. There is none yet. */
bool agent_engine_begin(struct agent *agent, const struct agent_membership *membership);
/* Frees the mesh; lanes and front forget it first. */
void agent_engine_end(struct agent *agent);

#endif
