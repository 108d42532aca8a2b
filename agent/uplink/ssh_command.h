/* SPDX-License-Identifier: MIT */
/*
 * The way to the hub through a program of the user's (--ssh-command): it is run, and once the hub's
 * magic has come out of it, its standard input and output are the carrier.
 *
 * The command is words (words.h) with places: %h host, %p port, %u user, %o the options that make
 * an OpenSSH client (8.5 or newer) log in with the lease's key at the pinned host. A command
 * without any place is an ssh client and gets `%o` as its first arguments and `-- %h` as its last.
 * First, since ssh takes the first value of an option: the user's cannot loosen the check.
 *
 * With %o a link is taken only when ssh has shown the pinned host key (ssh_agent.h). A command with
 * places but without %o does its own log-in and its own checks.
 */
#ifndef AGENT_UPLINK_SSH_COMMAND_H
#define AGENT_UPLINK_SSH_COMMAND_H

#include "agent/uplink/argv_split.h"
#include "agent/uplink/ssh.h"

#define SSH_COMMAND_LETTERS "hpu"
#define SSH_COMMAND_LISTS "o"

enum { SSH_COMMAND_TIMEOUT_MS = 30 * 1000 };

struct ssh_command;

struct ssh_command_config {
    const char *command; /* as given; was checked by ssh_command_check */
    const char *folder;  /* of the socket for the key */
    int64_t timeout_ms;  /* until the magic; 0: SSH_COMMAND_TIMEOUT_MS */
    struct ssh_config to;
};

/* 0 or CBX_ERR_USAGE with what is wrong. */
int ssh_command_check(const char *command, struct cbx_error *error);
/* Exactly one of ops is called, from the loop, never inside; then the callee frees it. NULL when
 * memory is short. Only in the default loop. */
struct ssh_command *ssh_command_new(struct ev_loop *loop, const struct ssh_command_config *config,
                                    const struct ssh_login_ops *ops, void *arg);
/* Ends the program, unless its carrier was handed over. */
void ssh_command_free(struct ssh_command *command);

/* stdio_carrier.c: a program's pipes as a carrier, which ends the program when it is closed. first
 * is what was read already (copied). Takes all over; NULL when memory is short (they then stay the
 * caller's). */
struct child;
struct cbx_carrier *stdio_carrier_new(struct ev_loop *loop, struct child *child, int input,
                                      int output, const void *first, size_t length);

#endif
