/* SPDX-License-Identifier: MIT */
/* A carrier over descriptors: sshd's two pipes, or a socket. Declared in carrier.h. */
#include "common/link/carrier.h"
#include <errno.h>
#include <ev.h>
#include <fcntl.h>
#include <stdlib.h>
#include <unistd.h>

struct fd_carrier {
    struct cbx_carrier base;
    struct ev_loop *loop;
    ev_io readable, writable;
    int read_fd, write_fd;
};

static int
classify(int error)
{
    if (error == EAGAIN || error == EWOULDBLOCK || error == EINTR)
        return CBX_ERR_AGAIN;
    return error == EPIPE || error == ECONNRESET ? CBX_ERR_CLOSED : CBX_ERR_IO;
}

static ssize_t
fd_read(struct cbx_carrier *base, void *buffer, size_t length)
{
    struct fd_carrier *carrier = (struct fd_carrier *)base;
    ssize_t got = read(carrier->read_fd, buffer, length);
    if (got > 0)
        return got;
    return got == 0 ? CBX_ERR_CLOSED : classify(errno);
}

static ssize_t
fd_writev(struct cbx_carrier *base, const struct iovec *vector, int count)
{
    struct fd_carrier *carrier = (struct fd_carrier *)base;
    ssize_t written = writev(carrier->write_fd, vector, count);
    return written >= 0 ? written : classify(errno);
}

static void
set(struct ev_loop *loop, ev_io *watcher, bool on)
{
    if (on)
        ev_io_start(loop, watcher);
    else
        ev_io_stop(loop, watcher);
}

static void
fd_want(struct cbx_carrier *base, bool want_read, bool want_write)
{
    struct fd_carrier *carrier = (struct fd_carrier *)base;
    set(carrier->loop, &carrier->readable, want_read);
    set(carrier->loop, &carrier->writable, want_write);
}

static void
fd_close(struct cbx_carrier *base)
{
    struct fd_carrier *carrier = (struct fd_carrier *)base;
    ev_io_stop(carrier->loop, &carrier->readable);
    ev_io_stop(carrier->loop, &carrier->writable);
    close(carrier->read_fd);
    if (carrier->write_fd != carrier->read_fd)
        close(carrier->write_fd);
    free(carrier);
}

static int
fd_socket(const struct cbx_carrier *base)
{
    const struct fd_carrier *carrier = (const struct fd_carrier *)base;
    return carrier->read_fd == carrier->write_fd ? carrier->read_fd : -1;
}

static const struct cbx_carrier_ops fd_ops = {
    .read = fd_read, .writev = fd_writev, .want = fd_want, .close = fd_close, .socket = fd_socket};

static void
on_event(struct ev_loop *loop, ev_io *watcher, int events)
{
    (void)loop;
    (void)events;
    struct cbx_carrier *base = watcher->data;
    if (base->ready)
        base->ready(base->arg);
}

static void
set_nonblocking(int fd)
{
    int flags = fcntl(fd, F_GETFL);
    if (flags >= 0)
        fcntl(fd, F_SETFL, flags | O_NONBLOCK);
}

struct cbx_carrier *
cbx_carrier_fd(struct ev_loop *loop, int read_fd, int write_fd)
{
    struct fd_carrier *carrier = calloc(1, sizeof *carrier);
    if (!carrier)
        return NULL;
    carrier->base.ops = &fd_ops;
    carrier->loop = loop;
    carrier->read_fd = read_fd;
    carrier->write_fd = write_fd;
    set_nonblocking(read_fd);
    set_nonblocking(write_fd);
    ev_io_init(&carrier->readable, on_event, read_fd, EV_READ);
    ev_io_init(&carrier->writable, on_event, write_fd, EV_WRITE);
    carrier->readable.data = carrier->writable.data = carrier;
    return &carrier->base;
}
