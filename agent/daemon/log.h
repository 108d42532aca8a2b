/* SPDX-License-Identifier: MIT */
/* Where the lines of an agent go: standard error, --log-file, or a detached agent's log. */
#ifndef AGENT_DAEMON_LOG_H
#define AGENT_DAEMON_LOG_H

#include "agent/daemon/settings.h"
#include "common/base/err.h"
#include <ev.h>
#include <limits.h>

struct agent;

/* The file of --log-file, else that of a detached agent. */
const char *agent_log_path(const struct agent_settings *settings, char path[PATH_MAX]);
/* Begins the file, if there is to be one. The state folder is there. 0 or CBX_ERR_*. */
int agent_log_open(const struct agent *agent, struct cbx_error *error);
/* For SIGHUP: opens it again. */
void agent_log_on_hangup(struct ev_loop *loop, ev_signal *watcher, int events);

#endif
