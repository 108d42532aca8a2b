/* SPDX-License-Identifier: MIT */
/*
 * The way to the hub through a program of the user's (--ssh-command): it is run, and once the hub's
 * magic has come out of it, its standard input and output are the carrier.
 *
 * The command has placeholders (ssh_command_argv.h). With %o a link is taken only when ssh has
 * shown the pinned host key (ssh_agent.h). A command with placeholders but without %o does its own
 * login and its own checks.
 */
#ifndef AGENT_UPLINK_SSH_COMMAND_H
#define AGENT_UPLINK_SSH_COMMAND_H

#include "agent/uplink/ssh_login.h"

enum { SSH_COMMAND_TIMEOUT_MS = 30 * 1000 };

struct ssh_command;

struct ssh_command_config {
    const char *command; /* as given; was checked by ssh_command_check */
    const char *folder;  /* of the socket for the key */
    int64_t timeout_ms;  /* until the magic; 0: SSH_COMMAND_TIMEOUT_MS */
    struct ssh_config to;
};

/* Exactly one of ops is called, from the loop, never inside; then the callee frees it. NULL when
 * memory is short. Only in the default loop. */
struct ssh_command *ssh_command_new(struct ev_loop *loop, const struct ssh_command_config *config,
                                    const struct ssh_login_ops *ops, void *arg);
/* Ends the program, unless its carrier was handed over. */
void ssh_command_free(struct ssh_command *command);

#endif
