/* SPDX-License-Identifier: MIT */
/*
 * The argument vector of an ssh-command: the setting is split (argv_split.h), checked, and filled
 * with what the token says. Pure.
 *
 * Its placeholders: %h host, %p port, %u user, %o the options that make an OpenSSH client (8.5 or
 * newer) log in with the lease's key at the pinned host. A command without any placeholder is an
 * ssh client and gets `%o` as its first arguments and `-- %h` as its last. First, since ssh takes
 * the first value of an option: the user's cannot loosen the check.
 */
#ifndef AGENT_UPLINK_SSH_COMMAND_ARGV_H
#define AGENT_UPLINK_SSH_COMMAND_ARGV_H

#include "agent/uplink/argv_split.h"
#include "common/base/err.h"
#include <stdbool.h>
#include <stdint.h>

enum { SSH_COMMAND_HOST_MAX = 256 };

/* What the placeholders stand for. */
struct ssh_command_target {
    char host[SSH_COMMAND_HOST_MAX];
    uint16_t port;
    const char *user;     /* borrowed */
    int64_t keepalive_ms; /* as in ssh_login.h */
};

/* Splits and checks the setting, and adds what a command without placeholders gets. 0, or
 * CBX_ERR_USAGE and others with what is wrong. The caller disposes of *out in any case. */
int ssh_command_parse(struct argv_split *out, const char *command, struct cbx_error *error);
/* The same, for the check alone. */
int ssh_command_check(const char *command, struct cbx_error *error);
/* %o is in it: the host key is checked by us, with the key behind our socket. */
bool ssh_command_pins(const struct argv_split *argv);
/* The target at "host:port". CBX_ERR_FORMAT when host or user have characters that are not given to
 * programs, which may hand them to a shell: they come from the token. */
int ssh_command_target_set(struct ssh_command_target *target, const char *address, const char *user,
                           struct cbx_error *error);
/* What to run. 0, CBX_ERR_NOMEM or CBX_ERR_LIMIT. */
int ssh_command_fill(struct argv_split *out, const struct argv_split *argv,
                     const struct ssh_command_target *target);

#endif
