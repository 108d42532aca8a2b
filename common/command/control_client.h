/* SPDX-License-Identifier: MIT */
/*
 * The process's side of one connection to control.sock: requests come in as lines, answers go out
 * as lines.
 *
 * Limits: clients (CBX_CONTROL_CLIENTS_MAX, more are closed at once), a request's line
 * (CBX_CONTROL_LINE_MAX), answers waiting for a client that does not read (CBX_CONTROL_ANSWER_MAX).
 */
#ifndef COMMON_COMMAND_CONTROL_CLIENT_H
#define COMMON_COMMAND_CONTROL_CLIENT_H

#include "common/base/err.h"
#include <jansson.h>
#include <stdint.h>

struct ev_loop;
struct cbx_control_client; /* one connection */

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

/* A place for the handler's own pointer. */
void cbx_control_set_user(struct cbx_control_client *client, void *user);
void *cbx_control_user(const struct cbx_control_client *client);

/* Steals the reference to object. */
void cbx_control_reply(struct cbx_control_client *client, json_t *object);
void cbx_control_reply_error(struct cbx_control_client *client, const char *format, ...)
    __attribute__((format(printf, 2, 3)));
/* Closes after what was replied has been written. */
void cbx_control_finish(struct cbx_control_client *client);

/* ---- for the listener ---- */

/* All clients of one listener; lies where it was first filled, since they point to it. */
struct cbx_control_clients {
    struct ev_loop *loop;
    const struct cbx_control_ops *ops;
    void *arg;
    struct cbx_control_client *first;
    unsigned count;
};

/* Takes the descriptor over, also when memory is short: then it is closed. */
void cbx_control_client_new(struct cbx_control_clients *clients, int fd);
/* How many have sent no request yet: each may bring a descriptor with its first. */
uint32_t cbx_control_clients_promised(const struct cbx_control_clients *clients);
/* Ends all; what waits to be written gets one try. */
void cbx_control_clients_free(struct cbx_control_clients *clients);

#endif
