/* SPDX-License-Identifier: MIT */
/* Tested by test_http_client. */
#include "agent/front/http_upstream.h"

#include "common/os/descriptors.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

static void
on_readable(struct ev_loop *loop, struct ev_io *io, int events)
{
    (void)loop;
    (void)events;
    struct http_upstream *upstream = io->data;
    upstream->ops->readable(upstream->arg);
}

static void
on_writable(struct ev_loop *loop, struct ev_io *io, int events)
{
    (void)loop;
    (void)events;
    struct http_upstream *upstream = io->data;
    upstream->ops->writable(upstream->arg);
}

static void
conn_opened(void *arg)
{
    struct http_upstream *upstream = arg;
    upstream->opened = true;
}

/* The socket's end tells the rest: all that the server sent before is read first. */
static void
conn_closed(void *arg, enum cbx_reason reason, bool by_target, const char *remedy)
{
    struct http_upstream *upstream = arg;
    (void)by_target;
    upstream->conn = NULL;
    --*upstream->dialed;
    upstream->reason = reason;
    (void)snprintf(upstream->remedy, sizeof upstream->remedy, "%s", remedy);
}

static const struct conn_owner conn_owner = {.opened = conn_opened, .closed = conn_closed};

void
http_upstream_init(struct http_upstream *upstream, struct conn_set *conns, uint32_t *dialed,
                   const struct http_upstream_ops *ops, void *arg)
{
    memset(upstream, 0, sizeof *upstream);
    upstream->conns = conns;
    upstream->dialed = dialed;
    upstream->ops = ops;
    upstream->arg = arg;
    upstream->fd = -1;
}

static bool
open_pair(int pair[2])
{
    if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, pair) != 0)
        return false;
    if (!cbx_descriptor_is_reserved(pair[0]) && !cbx_descriptor_is_reserved(pair[1]))
        return true;
    close(pair[0]);
    close(pair[1]);
    return false;
}

static bool
dial(struct http_upstream *upstream, const struct cbx_dial_name *name, uint16_t port)
{
    int pair[2];
    if (!open_pair(pair))
        return false;
    struct conn *conn = conn_new(upstream->conns, pair[1], NULL, NULL, 0);
    if (!conn) {
        close(pair[0]);
        close(pair[1]);
        return false;
    }
    http_upstream_init(upstream, upstream->conns, upstream->dialed, upstream->ops, upstream->arg);
    upstream->fd = pair[0];
    upstream->conn = conn;
    upstream->name = *name;
    upstream->port = port;
    ev_io_init(&upstream->reading, on_readable, upstream->fd, EV_READ);
    ev_io_init(&upstream->writing, on_writable, upstream->fd, EV_WRITE);
    upstream->reading.data = upstream->writing.data = upstream;
    ++*upstream->dialed;
    conn_own(conn, &conn_owner, upstream);
    conn_dial(conn, name->slug, port, 0);
    return true;
}

bool
http_upstream_use(struct http_upstream *upstream, const struct cbx_dial_name *name, uint16_t port)
{
    bool same = upstream->fd >= 0 && upstream->conn && !upstream->ended && !upstream->deaf &&
                upstream->port == port && strcmp(upstream->name.slug, name->slug) == 0;
    if (same) {
        upstream->used = true;
        return true;
    }
    http_upstream_drop(upstream, false);
    return dial(upstream, name, port);
}

static void
watch_one(struct ev_loop *loop, struct ev_io *io, bool wanted)
{
    if (wanted && !ev_is_active(io))
        ev_io_start(loop, io);
    else if (!wanted && ev_is_active(io))
        ev_io_stop(loop, io);
}

void
http_upstream_watch(struct http_upstream *upstream, bool read, bool write)
{
    if (upstream->fd < 0)
        return;
    watch_one(upstream->conns->loop, &upstream->reading, read && !upstream->ended);
    watch_one(upstream->conns->loop, &upstream->writing, write && !upstream->deaf);
}

ssize_t
http_upstream_read(struct http_upstream *upstream, void *out, size_t size)
{
    ssize_t got;
    if (upstream->fd < 0 || upstream->ended)
        return CBX_ERR_AGAIN;
    do {
        got = recv(upstream->fd, out, size, MSG_DONTWAIT);
    } while (got < 0 && errno == EINTR);
    if (got > 0)
        return got;
    if (got < 0 && (errno == EAGAIN || errno == EWOULDBLOCK))
        return CBX_ERR_AGAIN;
    upstream->ended = true;
    return got == 0 && upstream->reason == CBX_REASON_NONE ? CBX_ERR_CLOSED : CBX_ERR_IO;
}

void
http_upstream_write(struct http_upstream *upstream, struct http_bytes *bytes)
{
    while (bytes->length > 0 && upstream->fd >= 0 && !upstream->deaf) {
        ssize_t sent = send(upstream->fd, bytes->at, bytes->length, MSG_DONTWAIT | MSG_NOSIGNAL);
        if (sent >= 0)
            http_bytes_drop(bytes, (size_t)sent);
        else if (errno == EAGAIN || errno == EWOULDBLOCK)
            return;
        else if (errno != EINTR)
            upstream->deaf = true;
    }
    http_bytes_drop(bytes, bytes->length);
}

void
http_upstream_shut(struct http_upstream *upstream)
{
    if (upstream->fd < 0 || upstream->deaf)
        return;
    upstream->deaf = true;
    (void)shutdown(upstream->fd, SHUT_WR);
}

void
http_upstream_drop(struct http_upstream *upstream, bool reset)
{
    if (upstream->fd < 0)
        return;
    http_upstream_watch(upstream, false, false);
    if (upstream->conn) {
        --*upstream->dialed;
        /* Else it goes on alone until the server ends its side, too. */
        if (reset)
            conn_drop(upstream->conn, CBX_REASON_RESET);
        else
            conn_own(upstream->conn, NULL, NULL);
        upstream->conn = NULL;
    }
    close(upstream->fd);
    upstream->fd = -1;
}
