/* SPDX-License-Identifier: MIT */
/* What a command tells the agent's process to do. */
#ifndef AGENT_DAEMON_START_H
#define AGENT_DAEMON_START_H

#include "agent/daemon/settings.h"
#include "common/trust/token.h"
#include <stdbool.h>
#include <stdint.h>

enum agent_goal {
    AGENT_GOAL_RUN,  /* until told to stop */
    AGENT_GOAL_JOIN, /* until the identity has logged in once, which burns the invite */
};

struct agent_start {
    const struct agent_settings *settings;
    struct cbx_token *token;   /* NULL: none was given; wiped once it is in the state */
    const char *token_missing; /* why there is none, when one was named; NULL */
    enum agent_goal goal;
    bool detached;      /* standard error is of no use: the log is a file in any case */
    int64_t timeout_ms; /* for being attached the first time; 0: no limit */
    /*
     * Where a waiting parent hears how it goes, or -1. Lines: "trouble TEXT" and "warning TEXT"
     * (goes on), "attached NAME"; "failed TEXT" and "wrong TEXT" (it ends with 1, with 2). Owned
     * from here on.
     */
    int report_fd;
};

#endif
