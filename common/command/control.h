/* SPDX-License-Identifier: MIT */
/*
 * How a command finds its running process: a unix socket `control.sock` in the state folder (0700),
 * one JSON object per line each way: requests of at most 256 KiB, answers of at most 32 MiB (a list
 * of 10,000 peers). Only our own uid is served (SO_PEERCRED). A request may carry one descriptor
 * (SCM_RIGHTS). State paths longer than a socket address are reached through a descriptor of the
 * folder. This is the listener of the process, whose side of a connection is control_client.h; the
 * command's side is control_call.h.
 *
 * Requests are {"cmd": "...", ...}. Answers are {"ok": true, ...} or {"ok": false, "error": "one
 * line"}.
 */
#ifndef COMMON_COMMAND_CONTROL_H
#define COMMON_COMMAND_CONTROL_H

#include "common/base/err.h"
#include "common/command/control_client.h"

struct ev_loop;
struct cbx_control; /* the listener */

/* Makes the folder 0700 when missing; takes a stale socket over (the caller holds the state lock).
 */
struct cbx_control *cbx_control_listen(struct ev_loop *loop, const char *state_dir,
                                       const struct cbx_control_ops *ops, void *arg,
                                       struct cbx_error *error);
void cbx_control_free(struct cbx_control *control); /* removes the socket */

#endif
