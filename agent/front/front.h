/* SPDX-License-Identifier: MIT */
/*
 * Local programs meet streams here: SOCKS and HTTP on one loopback port, descriptors
 * handed over by `cbx-agent dial`, and connections to exposed ports for incoming streams.
 */
#ifndef AGENT_FRONT_FRONT_H
#define AGENT_FRONT_FRONT_H

#include "agent/mesh/mesh.h"
#include "common/base/err.h"
#include <stdint.h>

struct ev_loop;
struct front;

struct front_config {
    const char *proxy;            /* "127.0.0.1:1080"; NULL: none */
    bool proxy_required;          /* asked for by name: taken port is an error, else a note */
    int64_t handshake_timeout_ms; /* 0: 10 s for a client to say what it wants */
    int64_t connect_timeout_ms;   /* 0: 10 s to reach an exposed port */
    uint32_t connections_max;     /* 0: 8,192 */
    const char *proxy_password;   /* what clients must know; copied as a hash. NULL: nothing */
    int64_t tcp_keepalive_ms;     /* of programs' sockets; 0: 60 s, below: none */
};

/* The mesh may be set later (before the join there is none). */
struct front *front_new(struct ev_loop *loop, const struct front_config *config,
                        struct cbx_error *error);
void front_set_mesh(struct front *front, struct mesh *mesh, const char *pond);
void front_free(struct front *front);

/* For mesh_ops.incoming: connects to the target and answers. */
void front_incoming(struct front *front, struct mesh_stream *stream, const char *from,
                    const struct cbx_expose_item *item);

/* How a `dial` ended or came up: called once with opened, once with closed. */
struct front_dial_ops {
    void (*opened)(void *arg);
    /* remedy: what to do about it, or "" */
    void (*closed)(void *arg, enum cbx_reason reason, bool by_target, const char *remedy);
};
/*
 * Dials name ("web.cbx") and port for a descriptor (a socket, owned from here on; -1: only see
 * whether the port accepts, then close). ops are never called inside. Returns a handle for
 * front_dial_cancel, or NULL when memory is short.
 */
struct front_dial;
struct front_dial *front_dial(struct front *front, const char *name, uint16_t port, int fd,
                              int64_t timeout_ms, const struct front_dial_ops *ops, void *arg);
/* Resets the stream; ops are not called. Not after closed. */
void front_dial_cancel(struct front_dial *dial);

/* "127.0.0.1:1080", or "" without a proxy: the address really bound (port 0 works). */
const char *front_proxy_address(const struct front *front);
/* What is wrong with the proxy as long as the front lives: it has no port, or one that strangers
 * reach; "" when nothing is. */
const char *front_warning(const struct front *front);
/* {"proxy":"127.0.0.1:1080","connections":3,"accepted":…,"refused":…,…}: new reference. */
json_t *front_status_json(const struct front *front);

#endif
