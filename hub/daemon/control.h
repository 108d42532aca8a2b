/* SPDX-License-Identifier: MIT */
/*
 * What the commands ask of the running hub. Requests (PROTOCOL.md, "What commands answer"):
 *
 *   {"cmd": "invite", "pond_public": hex, "cert": hex, "login_key": hex}
 *   {"cmd": "invites"}, {"cmd": "uninvite", "id": id}
 *   {"cmd": "revoke", "pond": pond, "slug": slug}
 *   {"cmd": "peers", "pond": pond or absent}, {"cmd": "status"}, {"cmd": "shutdown"}
 *
 * An answer that promises a change is sent when the change is on disk.
 */
#ifndef HUB_DAEMON_CONTROL_H
#define HUB_DAEMON_CONTROL_H

#include "common/base/err.h"
#include "hub/core/core.h"
#include "hub/login/attach_server.h"
#include "hub/login/listen.h"
#include <jansson.h>
#include <stddef.h>
#include <stdint.h>

struct control_server;
struct ev_loop;

/* All borrowed. */
struct control_server_config {
    const char *state_dir;
    const char *user; /* login name for tokens */
    const uint8_t *host_key_sha256;
    const char *const *public_addresses;
    size_t public_count;
    struct hub_core *core;
    struct listen *listen;
    struct attach_server *attach;
    void (*shutdown)(void *arg); /* asked for by a command */
    void *arg;
};

struct control_server *control_server_new(struct ev_loop *loop,
                                          const struct control_server_config *config,
                                          struct cbx_error *error);
void control_server_free(struct control_server *server);
/* Answers whoever waits for a ticket up to this one. */
void control_server_committed(struct control_server *server, uint64_t ticket, int result,
                              const char *text);

#endif
