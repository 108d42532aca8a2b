/* SPDX-License-Identifier: MIT */
/*
 * How a command finds its running process: a unix socket `control.sock` in the state folder (0700),
 * one JSON object per line each way: requests of at most 256 KiB, answers of at most 32 MiB (a list
 * of 10,000 peers). Only our own uid is served (SO_PEERCRED). A request may carry one descriptor
 * (SCM_RIGHTS). State paths longer than a socket address are reached through a descriptor of the
 * folder.
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

/* ---- the command's side: blocking, for short-lived processes ---- */

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

/* ---- the state folder ---- */

/*
 * The address of a unix socket at path, however long: one that does not fit into an address leads
 * through /proc/self/fd and a descriptor of the folder. *folder is that descriptor, or -1: close it
 * after bind or connect.
 */
struct sockaddr_un;
int cbx_unix_address(const char *path, struct sockaddr_un *address, int *folder,
                     struct cbx_error *error);

/* Whether the process at the other end of a unix socket runs as uid (SO_PEERCRED). */
bool cbx_peer_is_uid(int fd, uid_t uid);

/* Makes the folder (0700, parents too) and takes its lock, kept until the process ends. Returns the
 * lock's descriptor, or CBX_ERR_BUSY with *pid set to the holder, or CBX_ERR_IO. */
int cbx_state_lock(const char *state_dir, long *pid, struct cbx_error *error);

/* --state, CBX_STATE, $STATE_DIRECTORY, $XDG_STATE_HOME/cbx/<kind>, ~/.local/state/cbx/<kind>.
 * Absolute path into out. 0 or CBX_ERR_*. */
int cbx_state_dir(const char *option, const char *kind, char *out, size_t size,
                  struct cbx_error *error);

#endif
