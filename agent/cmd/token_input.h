/* SPDX-License-Identifier: MIT */
/* Where a token comes from: @FILE, standard input, CBX_TOKEN, or (with a warning) an argument. */
#ifndef AGENT_CMD_TOKEN_INPUT_H
#define AGENT_CMD_TOKEN_INPUT_H

#include "common/base/err.h"
#include "common/trust/token.h"

/* First thing in main(), whatever the command: takes CBX_TOKEN out of the environment and wipes it
 * there, so that neither children nor /proc show it. */
void agent_token_take_environment(void);

/*
 * Reads the token that source names: "@FILE", "-", the token itself (wiped in place), or NULL for
 * what CBX_TOKEN held. CBX_ERR_NOTFOUND: source is NULL and there was no CBX_TOKEN. CBX_ERR_USAGE:
 * source is none of these. The caller wipes *out.
 */
int agent_token_read(const char *source, struct cbx_token *out, struct cbx_error *error);

/* Wipes what was taken from the environment. */
void agent_token_forget(void);

#endif
