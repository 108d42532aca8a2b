/* SPDX-License-Identifier: MIT */
/*
 * The server's side of an HTTP client: a stream to NAME:PORT, used for one request after the other.
 * It is one end of a pair of sockets, whose other end is a conn like that of any program, so that
 * what waits, waits in the kernel, and ends and resets come as they would from TCP.
 */
#ifndef AGENT_FRONT_HTTP_UPSTREAM_H
#define AGENT_FRONT_HTTP_UPSTREAM_H

#include "agent/front/conn.h"
#include "agent/front/http_bytes.h"

/* None of them may free the upstream's owner but readable and writable, as their last act. */
struct http_upstream_ops {
    void (*readable)(void *arg);
    void (*writable)(void *arg);
};

struct http_upstream {
    struct conn_set *conns;
    uint32_t *dialed; /* counts those that have a conn */
    const struct http_upstream_ops *ops;
    void *arg;
    int fd; /* -1: none */
    struct conn *conn;
    struct ev_io reading, writing;
    struct cbx_dial_name name;
    uint16_t port;
    bool used;  /* answered a request before */
    bool ended; /* nothing more comes from it */
    bool deaf;  /* it takes nothing more */
    bool opened;
    enum cbx_reason reason; /* why its stream was refused or reset, NONE while it was not */
    char remedy[CONN_REMEDY_MAX];
};

/* There is none yet. */
void http_upstream_init(struct http_upstream *upstream, struct conn_set *conns, uint32_t *dialed,
                        const struct http_upstream_ops *ops, void *arg);
/* Dials, or keeps the one that there is to the same place. False: no descriptors or memory. */
bool http_upstream_use(struct http_upstream *upstream, const struct cbx_dial_name *name,
                       uint16_t port);
void http_upstream_watch(struct http_upstream *upstream, bool read, bool write);
/* > 0, CBX_ERR_AGAIN, CBX_ERR_CLOSED at a clean end, CBX_ERR_IO when it was cut off. */
ssize_t http_upstream_read(struct http_upstream *upstream, void *out, size_t size);
/* Sends what it can of *bytes; when nobody takes them any more they are dropped. */
void http_upstream_write(struct http_upstream *upstream, struct http_bytes *bytes);
/* Our end of input. */
void http_upstream_shut(struct http_upstream *upstream);
/* Ends it: as an end of input, or with reset as an error for the server. Without one: no effect. */
void http_upstream_drop(struct http_upstream *upstream, bool reset);

#endif
