/* SPDX-License-Identifier: MIT */
/* The agent's process: every part composed on one libev loop, from the state's lock to the exit. */
#ifndef AGENT_DAEMON_AGENT_H
#define AGENT_DAEMON_AGENT_H

#include "agent/daemon/start.h"

/* Runs until told to stop. Returns the exit status; a failure was said in one line. */
int agent_run(const struct agent_start *start);

#endif
