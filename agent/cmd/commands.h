/* SPDX-License-Identifier: MIT */
/* The commands of cbx-agent (tables in main.c), and what they share. */
#ifndef AGENT_CMD_COMMANDS_H
#define AGENT_CMD_COMMANDS_H

#include "agent/daemon/agent.h"
#include "common/base/names.h"
#include "common/command/cli.h"
#include "common/command/control_call.h"
#include <limits.h>

int agent_cmd_join(const struct cbx_command *command, void *parsed);
int agent_cmd_run(const struct cbx_command *command, void *parsed);
int agent_cmd_up(const struct cbx_command *command, void *parsed);
int agent_cmd_down(const struct cbx_command *command, void *parsed);
int agent_cmd_leave(const struct cbx_command *command, void *parsed);
int agent_cmd_status(const struct cbx_command *command, void *parsed);
int agent_cmd_peers(const struct cbx_command *command, void *parsed);
int agent_cmd_netcheck(const struct cbx_command *command, void *parsed);
int agent_cmd_wait(const struct cbx_command *command, void *parsed);
int agent_cmd_dial(const struct cbx_command *command, void *parsed);
int agent_cmd_known_host(const struct cbx_command *command, void *parsed);

/*
 * Runs the agent in a process of its own, in the background, with its log in the state folder.
 * Returns once it is attached (0), or with what went wrong (1). start->report_fd is set here.
 */
int agent_detach(struct agent_start *start);

/* Says what went wrong; returns the exit status of that code (cbx_exit_of). */
int agent_fail(const struct cbx_args *args, int result, const char *text);
/* The state folder; as root the command then becomes its owner. CBX_EXIT_OK, or an exit status
 * after it said why there is none. */
int agent_find_state(const struct cbx_args *args, char out[PATH_MAX]);
/* A connection to the running agent. As above; *call is NULL then. */
int agent_call(const struct cbx_args *args, int64_t wait_ms, struct cbx_call **call);
/* One request (stolen), one answer (a new reference) from the running agent. As above. */
int agent_ask(const struct cbx_args *args, json_t *request, json_t **answer);

/* Operand 0, "NAME:PORT". CBX_EXIT_OK, or CBX_EXIT_USAGE after it said what is wrong. */
struct agent_address {
    const char *text;
    char name[CBX_NAME_MAX + 1];
    uint16_t port;
};
int agent_read_address(const struct cbx_args *args, struct agent_address *out);

/* --timeout into *milliseconds, which holds the default. As above. */
int agent_read_timeout(const struct cbx_args *args, int64_t *milliseconds);

#endif
