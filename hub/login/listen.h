/* SPDX-License-Identifier: MIT */
/*
 * The door: listening sockets, and every connection until its sshd is gone (conn.h). Who gets in is
 * decided in admission.h; sshd is started by the spawner.
 */
#ifndef HUB_LOGIN_LISTEN_H
#define HUB_LOGIN_LISTEN_H

#include "common/base/err.h"
#include "common/link/lane.h"
#include "hub/login/admission.h"
#include "hub/login/proxy_protocol.h"
#include <jansson.h>
#include <stdint.h>
#include <sys/socket.h>

struct ev_loop;
struct listen;
struct spawner;

enum {
    LISTEN_ADDRESSES_MAX = 8,
    LISTEN_ENDING_MS = 3000, /* from the core's close to SIGTERM */
};

/* spawner is borrowed and must outlive it. NULL when memory is short. */
struct listen *listen_new(struct ev_loop *loop, const struct admission_config *admission,
                          struct spawner *spawner);
/* Closes everything but running sshd, which are the spawner's. */
void listen_free(struct listen *listen);

/* Who takes connections that begin with a lane's preface: fd and 64 bytes that were read from it.
 */
void listen_lanes(struct listen *listen,
                  void (*lane)(void *arg, int fd, const uint8_t preface[CBX_LANE_PREFACE]),
                  void *arg);

/* Connections from there begin with a header that says who their client is (proxy_protocol.h).
 * False when there are PROXY_PREFIXES_MAX already. */
bool listen_proxy(struct listen *listen, const struct proxy_prefix *prefix);

/* Who waits; for what outlives the process (recent_logins.h). */
struct admission *listen_admission(struct listen *listen);

/* Begins to accept on a socket of listen_bind (bind.h), which is taken over. */
int listen_add(struct listen *listen, int fd, struct cbx_error *error);
/* What is listened on, as bound. */
uint32_t listen_count(const struct listen *listen);
const char *listen_text(const struct listen *listen, uint32_t index);
const struct sockaddr *listen_address(const struct listen *listen, uint32_t index);

/* A login came through: its slot is free. *address (valid until listen_exited) is the peer's, for
 * people. CBX_ERR_NOTFOUND for a number that is not in SSHD. */
int listen_attached(struct listen *listen, uint64_t connection, const char **address);
/* The link of a connection was closed. */
void listen_detached(struct listen *listen, uint64_t connection);
/* The spawner's report. */
void listen_exited(struct listen *listen, uint64_t connection);

/* Accepts no more and closes whoever has no sshd yet. */
void listen_stop(struct listen *listen);
/* Connections that have an sshd. */
uint32_t listen_running(const struct listen *listen);
/* {"accepted": ..., "waiting": ..., ...}: new reference, NULL when memory is short. */
json_t *listen_json(const struct listen *listen);

#endif
