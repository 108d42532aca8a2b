/* SPDX-License-Identifier: MIT */
/*
 * SSH by libssh2 over a tcp_buffer: checks the pinned host key, logs in with an Ed25519 key, opens
 * one exec channel, and hands that over as a carrier.
 */
#ifndef AGENT_UPLINK_SSH_LOGIN_H
#define AGENT_UPLINK_SSH_LOGIN_H

#include "agent/uplink/tcp_buffer.h"
#include "common/link/carrier.h"
#include "common/trust/identity.h"
#include <stdbool.h>
#include <stdint.h>

struct ssh_login;

enum ssh_error {
    SSH_HOST_KEY, /* not the pinned one */
    SSH_DENIED,   /* the server does not take this key for this user */
    SSH_CLOSED,   /* the connection ended before the login did */
    SSH_PROTOCOL, /* not an SSH server, no common algorithm, channel refused, ... */
    SSH_REFUSED,  /* nothing listens there (only an ssh-command tells it here) */
};

struct ssh_config {
    const char *address;            /* for messages; copied */
    const char *user;               /* copied */
    const uint8_t *host_key_sha256; /* 32 bytes, copied */
    const struct cbx_keypair *key;  /* copied, wiped when the login is over */
    int64_t keepalive_ms;           /* a sign of life of a connection that stands by; 0: 15 s */
    bool login_only; /* up() comes, without a carrier, once the login was taken and sshd
                      * is done with it (a channel is open, nothing runs on it) */
};

/* Exactly one of the two is called, from the loop, never inside ssh_login_new. The login does
 * nothing after it; the callee frees it, inside or later. */
struct ssh_login_ops {
    void (*up)(void *arg, struct cbx_carrier *carrier); /* the carrier belongs to the callee */
    void (*failed)(void *arg, enum ssh_error error, const char *text);
};

/* What the server called itself, "" before it did. Not to be trusted. Not after up() with a
 * carrier. */
const char *ssh_login_banner(const struct ssh_login *login);

/* Takes the buffer over, also when it returns NULL (memory is short). */
struct ssh_login *ssh_login_new(struct ev_loop *loop, struct tcp_buffer *tcp,
                                const struct ssh_config *config, const struct ssh_login_ops *ops,
                                void *arg);
/* Ends the login if it still runs, and the connection with it. */
void ssh_login_free(struct ssh_login *login);

#endif
