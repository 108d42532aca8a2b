/* SPDX-License-Identifier: MIT */
/* What a running agent answers on its control socket. */
#ifndef AGENT_DAEMON_CONTROL_H
#define AGENT_DAEMON_CONTROL_H

#include "agent/daemon/process.h"

int agent_control_start(struct agent *agent, struct cbx_error *error);
/* Answers what is still open: the agent is going away. Before the front is freed. */
void agent_control_abandon(struct agent *agent);

#endif
