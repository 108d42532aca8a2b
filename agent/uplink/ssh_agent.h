/* SPDX-License-Identifier: MIT */
/*
 * The key of a login, offered to an ssh client (draft-miller-ssh-agent): so the identity logs in
 * through any ssh and is in no file. This is no agent for general use. It knows one key, and makes
 * one kind of signature: of a login with that key as that user, once the client has shown the host
 * key that the token pins. To whoever has not shown it, there is no key here.
 *
 * The host key is shown by `cbx-agent known-host`, which ssh runs as its KnownHostsCommand and
 * which asks here (the extension below). ssh_agent_answer is pure; ssh_agent_socket.c listens.
 */
#ifndef AGENT_UPLINK_SSH_AGENT_H
#define AGENT_UPLINK_SSH_AGENT_H

#include "common/base/err.h"
#include "common/trust/identity.h"
#include "common/trust/token.h"
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum {
    SSH_AGENT_REQUEST_MAX = 8192, /* without its length */
    SSH_AGENT_REPLY_MAX = 128,
    SSH_AGENT_CLIENTS_MAX = 8, /* ssh has one, known-host one */
    SSH_AGENT_PATH_MAX = 108,
};

/* Types of draft-miller-ssh-agent. */
enum {
    SSH_AGENT_FAILURE = 5,
    SSH_AGENT_SUCCESS = 6,
    SSH_AGENT_REQUEST_IDENTITIES = 11,
    SSH_AGENT_IDENTITIES = 12,
    SSH_AGENT_REQUEST_SIGNATURE = 13,
    SSH_AGENT_SIGNATURE = 14,
    SSH_AGENT_EXTENSION = 27,
    SSH_AGENT_EXTENSION_FAILURE = 28,
};

/* string SSH_AGENT_HOST_KEY, string blob: SUCCESS when that is the pinned host key. */
#define SSH_AGENT_HOST_KEY "host-key@cbx"
/* Where known-host finds the socket. */
#define SSH_AGENT_ENVIRONMENT "CBX_SSH_AGENT"

struct ssh_agent {
    struct cbx_keypair key;
    uint8_t host_key_sha256[32]; /* the pinned one */
    char user[CBX_USER_MAX + 1];
    /* What happened so far. */
    bool host_key_right;
    bool host_key_wrong;
    uint8_t host_key_seen[32]; /* the last wrong one */
    bool listed;               /* the key was shown: the login has begun */
    bool signed_once;          /* so the server knows the key */
    unsigned refused;          /* requests that were answered with a failure */
};

/* request is one message without its length; the reply likewise. Returns the reply's length. */
size_t ssh_agent_answer(struct ssh_agent *agent, const uint8_t *request, size_t length,
                        uint8_t reply[SSH_AGENT_REPLY_MAX]);

#endif
