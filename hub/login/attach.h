/* SPDX-License-Identifier: MIT */
/*
 * How a log-in's two pipes get from sshd to the hub.
 *
 * sshd runs `cbx-hub attach --key FINGERPRINT` as the key's forced command, with pipes as standard
 * input and output and the connection's number in CBX_CONN. attach connects to <state>/attach.sock
 * (SOCK_SEQPACKET, in the 0700 state folder) and sends one struct attach_message with exactly those
 * two descriptors; then it sleeps until the hub closes that socket or sshd closes its pipe. sshd
 * ends the session when attach ends, not before.
 *
 * The hub takes a message only from its own uid, of exactly this form, with two pipes, the first to
 * read and the second to write. It wraps them as a carrier; closing the carrier ends attach too.
 */
#ifndef HUB_LOGIN_ATTACH_H
#define HUB_LOGIN_ATTACH_H

#include "common/base/err.h"
#include "common/link/carrier.h"
#include "common/trust/identity.h"
#include <stdint.h>

struct ev_loop;
struct attach_server;

enum {
    ATTACH_WAITING_MAX = 128,            /* connections whose message has not come */
    ATTACH_WAITING_MS = 5000,            /* how long that may take */
    ATTACH_PIPE_BYTES = 256 * 1024,      /* what a busy pipe is enlarged to */
    ATTACH_PIPES_SUM = 16 * 1024 * 1024, /* all enlarged pipes together */
    ATTACH_BUSY_BYTES = 1024 * 1024,     /* moved one way before its pipe is enlarged */
};

#define ATTACH_MAGIC "cbxatt1"

struct attach_message {
    char magic[8]; /* ATTACH_MAGIC with its NUL */
    uint64_t connection;
    char fingerprint[CBX_FINGERPRINT_TEXT_MAX]; /* NUL-terminated and padded with NULs */
    uint32_t zero;
};

struct attach_server_ops {
    /* A log-in. The carrier belongs to the callee from here on. */
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

/* The command's side: sends and sleeps. Returns the exit status. */
int attach_run(const char *state_dir, const char *fingerprint);

#endif
