/* SPDX-License-Identifier: MIT */
/* The commands of cbx-hub; each `int cmd_*` is the run of one entry in main.c's table. */
#ifndef HUB_CMD_CMD_H
#define HUB_CMD_CMD_H

#include "common/base/err.h"
#include "common/command/cli.h"
#include "common/command/human.h"
#include "common/command/table.h"
#include <jansson.h>
#include <stdbool.h>

enum { CMD_STATE_MAX = 4096, CMD_WAIT_MS = 5000, CMD_ANSWER_MS = 30000 };

int cmd_run(const struct cbx_command *command, void *parsed);
int cmd_invite(const struct cbx_command *command, void *parsed);
int cmd_invites(const struct cbx_command *command, void *parsed);
int cmd_uninvite(const struct cbx_command *command, void *parsed);
int cmd_revoke(const struct cbx_command *command, void *parsed);
int cmd_peers(const struct cbx_command *command, void *parsed);
int cmd_status(const struct cbx_command *command, void *parsed);
int cmd_shutdown(const struct cbx_command *command, void *parsed);
int cmd_attach(const struct cbx_command *command, void *parsed);

/* ---- for all of them ---- */

/* "cbx-hub invite: TEXT" on standard error; returns CBX_EXIT_FAILURE. */
int cmd_fail(const struct cbx_command *command, const char *text);
/* The same, or a usage error: the exit status is that of the code (cbx_exit_of). */
int cmd_exit(const struct cbx_command *command, const struct cbx_args *args, int result,
             const char *text);
/* Finds the state folder, and as root becomes its owner, after the hub is up or wait_ms are over.
 * Returns an exit status. */
int cmd_begin(const struct cbx_command *command, const struct cbx_args *args, int64_t wait_ms,
              char state_dir[CMD_STATE_MAX]);
/* One request, one answer. Steals request; *answer (may be NULL) is a new reference. Waits for the
 * hub for up to wait_ms. Prints its own errors; returns an exit status. */
int cmd_call(const struct cbx_command *command, const char *state_dir, int64_t wait_ms,
             json_t *request, json_t **answer);
/* The pond of --pond, checked. NULL after a usage error has been printed. */
const char *cmd_pond(const struct cbx_args *args);
/* Prints an answer as JSON (without "ok"), steals it. Returns an exit status. */
int cmd_print_json(const struct cbx_command *command, json_t *answer);
/* Flushes standard output; a failure to write is an error. */
int cmd_end(const struct cbx_command *command);

/* Prints and frees. Returns an exit status. */
int cmd_table_end(const struct cbx_command *command, struct cbx_table *table);

#endif
