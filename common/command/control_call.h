/* SPDX-License-Identifier: MIT */
/* The command's side of control.h: blocking, for short-lived processes. */
#ifndef COMMON_COMMAND_CONTROL_CALL_H
#define COMMON_COMMAND_CONTROL_CALL_H

#include "common/base/err.h"
#include <jansson.h>
#include <stdint.h>

struct cbx_call;

/* Connects; retries for up to wait_ms while nothing listens. CBX_ERR_NOTFOUND: not running. */
int cbx_call_open(struct cbx_call **call, const char *state_dir, int64_t wait_ms,
                  struct cbx_error *error);
/* Sends a request (steals the reference), with fd when it is not -1 (not closed). */
int cbx_call_send(struct cbx_call *call, json_t *request, int fd, struct cbx_error *error);
/* Next answer; timeout_ms < 0 waits forever. *answer is a new reference. An {"ok":false} answer is
 * returned as CBX_ERR_STATE with its text in error (and still in *answer when answer is not NULL).
 */
int cbx_call_next(struct cbx_call *call, int64_t timeout_ms, json_t **answer,
                  struct cbx_error *error);
int cbx_call_fd(const struct cbx_call *call); /* for poll */
void cbx_call_close(struct cbx_call *call);

#endif
