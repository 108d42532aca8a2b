/* SPDX-License-Identifier: MIT */
/* The agent's process: every part composed on one libev loop, from the state's lock to the exit. */
#ifndef AGENT_DAEMON_AGENT_H
#define AGENT_DAEMON_AGENT_H

#include "agent/daemon/start.h"
#include "common/base/err.h"

/* What can be known before the first file is made: there is something to run, and the key that was
 * named is there. Looks only. 0 or CBX_ERR_*. */
int agent_look_ahead(const struct agent_start *start, struct cbx_error *error);

/* Runs until told to stop. Returns the exit status; a failure was said in one line. */
int agent_run(const struct agent_start *start);

#endif
