/* SPDX-License-Identifier: MIT */
/*
 * How a command finds its running process: a unix socket `control.sock` in the state folder (0700),
 * one JSON object per line each way: requests of at most 256 KiB, answers of at most 32 MiB (a list
 * of 10,000 peers). Only our own uid is served (SO_PEERCRED). A request may carry one descriptor
 * (SCM_RIGHTS). State paths longer than a socket address are reached through a descriptor of the
 * folder. This is the process's side; the command's is control_call.h.
 *
 * Requests are {"cmd": "...", ...}. Answers are {"ok": true, ...} or {"ok": false, "error": "one
 * line"}.
 */
#ifndef COMMON_COMMAND_CONTROL_H
#define COMMON_COMMAND_CONTROL_H

#include "common/base/err.h"
#include <jansson.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

struct ev_loop;
struct cbx_control;        /* the listener */
struct cbx_control_client; /* one connection, server side */

enum {
    CBX_CONTROL_LINE_MAX = 256 * 1024,
    CBX_CONTROL_ANSWER_MAX = 32 * 1024 * 1024,
    CBX_CONTROL_CLIENTS_MAX = 256
};

struct cbx_control_ops {
    /*
     * One request. fd is -1 or a descriptor that now belongs to the handler. The handler answers
     * with cbx_control_reply, at once or later; a client may be answered several times (progress)
     * and is closed with cbx_control_finish.
     */
    void (*request)(void *arg, struct cbx_control_client *client, json_t *request, int fd);
    /* The client is gone (also after finish): forget it. */
    void (*gone)(void *arg, struct cbx_control_client *client);
};

/* Makes the folder 0700 when missing; takes a stale socket over (the caller holds the state lock).
 */
struct cbx_control *cbx_control_listen(struct ev_loop *loop, const char *state_dir,
                                       const struct cbx_control_ops *ops, void *arg,
                                       struct cbx_error *error);
void cbx_control_free(struct cbx_control *control); /* removes the socket */

/* A place for the handler's own pointer. */
void cbx_control_set_user(struct cbx_control_client *client, void *user);
void *cbx_control_user(const struct cbx_control_client *client);

/* Steals the reference to object. */
void cbx_control_reply(struct cbx_control_client *client, json_t *object);
void cbx_control_reply_error(struct cbx_control_client *client, const char *format, ...)
    __attribute__((format(printf, 2, 3)));
/* Closes after what was replied has been written. */
void cbx_control_finish(struct cbx_control_client *client);

#endif
