/* SPDX-License-Identifier: MIT */
/*
 * One attempt to reach the hub at one of its addresses: a connection (connector.h) and the SSH
 * login on it (ssh_login.h) or, with an ssh-command, its program in place of both (ssh_command.h).
 */
#ifndef AGENT_UPLINK_ATTEMPT_H
#define AGENT_UPLINK_ATTEMPT_H

#include "agent/uplink/ssh_login.h"
#include <stdbool.h>
#include <stdint.h>

struct attempt;
struct ev_loop;

enum uplink_error {
    UPLINK_UNREACHABLE,  /* name, route, refused, timed out: retried */
    UPLINK_HOST_KEY,     /* the host key is not the pinned one: retried every 15 s */
    UPLINK_LOGIN_DENIED, /* the hub's sshd does not take this key */
    UPLINK_PROTOCOL,     /* not an SSH server, channel refused, ...: retried */
};

struct attempt_config {
    struct ssh_config to;    /* address, user, keys; copied */
    const char *via;         /* as in connector.h */
    const char *ssh_command; /* NULL: none */
    const char *folder;      /* for the socket of the ssh-command */
    int segment_max;         /* as in connector.h */
    int64_t timeout_ms; /* of the connection, and then of the login; an ssh-command has its own */
};

/* Exactly one of the two is called, from the loop, never inside attempt_new. The attempt does
 * nothing after it; the callee frees it, inside or later. */
struct attempt_ops {
    void (*up)(void *arg, struct cbx_carrier *carrier); /* the carrier belongs to the callee */
    /* refused: the machine answers, and nothing listens there. */
    void (*failed)(void *arg, enum uplink_error error, bool refused, const char *text);
};

/* NULL when memory is short. */
struct attempt *attempt_new(struct ev_loop *loop, const struct attempt_config *config,
                            const struct attempt_ops *ops, void *arg);
void attempt_free(struct attempt *attempt); /* NULL is fine */
/* "connecting to 1.2.3.4:22", "logging in", "running ssh-command to 1.2.3.4:22". */
const char *attempt_state(const struct attempt *attempt);

#endif
