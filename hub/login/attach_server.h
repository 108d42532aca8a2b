/* SPDX-License-Identifier: MIT */
/*
 * The hub's end of attach (attach.h). A connection is waiting (its message has not come; bounded in
 * number and time) and then either refused and closed, or it becomes part of a carrier
 * (attach_carrier.h).
 */
#ifndef HUB_LOGIN_ATTACH_SERVER_H
#define HUB_LOGIN_ATTACH_SERVER_H

#include "common/base/err.h"
#include "common/link/carrier.h"
#include <stdint.h>

struct ev_loop;
struct attach_server;

enum {
    ATTACH_WAITING_MAX = 128, /* connections whose message has not come */
    ATTACH_WAITING_MS = 5000, /* how long that may take */
};

struct attach_server_ops {
    /* A login. The carrier belongs to the callee from here on. */
    void (*attached)(void *arg, uint64_t connection, const char *fingerprint,
                     struct cbx_carrier *carrier);
    /* That carrier was closed, by whomever. Not called from attach_server_free on. */
    void (*detached)(void *arg, uint64_t connection);
};

/* Binds <state>/attach.sock, in place of a stale one (the caller holds the state lock). */
struct attach_server *attach_server_new(struct ev_loop *loop, const char *state_dir,
                                        const struct attach_server_ops *ops, void *arg,
                                        struct cbx_error *error);
/* Removes the socket. Carriers that still live may be closed later. */
void attach_server_free(struct attach_server *server);
/* Messages that were refused. */
uint64_t attach_server_refused(const struct attach_server *server);

#endif
