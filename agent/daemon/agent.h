/* SPDX-License-Identifier: MIT */
/* The agent's process: every part composed on one libev loop, from the state's lock to the exit. */
#ifndef AGENT_DAEMON_AGENT_H
#define AGENT_DAEMON_AGENT_H

#include "agent/daemon/settings.h"
#include "common/trust/token.h"

enum agent_goal {
    AGENT_GOAL_RUN,  /* until told to stop */
    AGENT_GOAL_JOIN, /* until the identity has logged in once, which burns the invite */
};

struct agent_start {
    const struct agent_settings *settings;
    struct cbx_token *token;   /* NULL: none was given; wiped once it is in the state */
    const char *token_missing; /* why there is none, when one was named; NULL */
    enum agent_goal goal;
    int64_t timeout_ms; /* for being attached the first time; 0: no limit */
    /*
     * Where a waiting parent hears how it goes, or -1. Lines: "trouble TEXT" (goes on),
     * "attached NAME", "failed TEXT" (ends). Owned from here on.
     */
    int report_fd;
};

/* Runs until told to stop. Returns the exit status; a failure was said in one line. */
int agent_run(const struct agent_start *start);

#endif
