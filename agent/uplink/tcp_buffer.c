/* SPDX-License-Identifier: MIT */
/*
 * In: one flat buffer, filled by one large receive at its end, taken from the front, and moved
 * down only when its end is reached. Out: a ring; its bytes never move once put, because OpenSSL
 * wants a write that could not be finished repeated from the same address with at least the same
 * length.
 *
 * An end or error of a direction is final and kept; the other direction goes on by itself, so that
 * what a hub said before it closed is still read.
 */
#include "agent/uplink/tcp_buffer.h"

#include "common/base/err.h"

#include <errno.h>
#include <ev.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

struct wire {
    struct ev_loop *loop;
    void (*event)(void *arg, int events);
    void *arg;
    int fd;
    CURLM *multi; /* NULL: a plain socket */
    CURL *easy;
    ev_io read_io, write_io;
    int in_error, out_error; /* 0 while the direction lives */
    bool more;
    size_t in_start, in_end;
    uint64_t out_start, out_end; /* count up; the place in the ring is the remainder */
    uint8_t in[WIRE_IN_SIZE];
    uint8_t out[WIRE_OUT_SIZE];
};

static void
on_event(struct ev_loop *loop, ev_io *io, int events)
{
    (void)loop;
    struct wire *wire = io->data;
    if (wire->event != NULL)
        wire->event(wire->arg, events);
}

static struct wire *
wire_new(struct ev_loop *loop, CURLM *multi, CURL *easy, int fd)
{
    /* Not calloc: the buffers' pages stay untouched until bytes come. */
    struct wire *wire = malloc(sizeof *wire);
    if (wire == NULL)
        return NULL;
    memset(wire, 0, offsetof(struct wire, in));
    wire->loop = loop;
    wire->fd = fd;
    wire->multi = multi;
    wire->easy = easy;
    ev_io_init(&wire->read_io, on_event, fd, EV_READ);
    ev_io_init(&wire->write_io, on_event, fd, EV_WRITE);
    wire->read_io.data = wire;
    wire->write_io.data = wire;
    return wire;
}

struct wire *
wire_socket(struct ev_loop *loop, int fd)
{
    return wire_new(loop, NULL, NULL, fd);
}

struct wire *
wire_tunnel(struct ev_loop *loop, CURLM *multi, CURL *easy, int fd)
{
    return wire_new(loop, multi, easy, fd);
}

void
wire_free(struct wire *wire)
{
    if (wire == NULL)
        return;
    ev_io_stop(wire->loop, &wire->read_io);
    ev_io_stop(wire->loop, &wire->write_io);
    if (wire->multi != NULL) {
        (void)curl_multi_remove_handle(wire->multi, wire->easy);
        curl_easy_cleanup(wire->easy);
        (void)curl_multi_cleanup(wire->multi);
    } else {
        close(wire->fd);
    }
    free(wire);
}

int
wire_fd(const struct wire *wire)
{
    return wire->fd;
}

int
wire_release(struct wire *wire)
{
    if (wire->multi != NULL || wire_held(wire) > 0)
        return -1;
    ev_io_stop(wire->loop, &wire->read_io);
    ev_io_stop(wire->loop, &wire->write_io);
    int fd = wire->fd;
    free(wire);
    return fd;
}

void
wire_listen(struct wire *wire, void (*event)(void *arg, int events), void *arg)
{
    wire->event = event;
    wire->arg = arg;
}

static void
watch_one(struct wire *wire, ev_io *io, bool on)
{
    if (on == (bool)ev_is_active(io))
        return;
    if (on)
        ev_io_start(wire->loop, io);
    else
        ev_io_stop(wire->loop, io);
}

void
wire_watch(struct wire *wire, bool read, bool write)
{
    watch_one(wire, &wire->read_io, read && wire->in_error == 0);
    watch_one(wire, &wire->write_io, write && wire->out_error == 0);
}

static int
errno_code(void)
{
    if (errno == EAGAIN || errno == EWOULDBLOCK || errno == EINTR)
        return CBX_ERR_AGAIN;
    return errno == EPIPE || errno == ECONNRESET ? CBX_ERR_CLOSED : CBX_ERR_IO;
}

static ssize_t
receive(struct wire *wire, void *buffer, size_t length)
{
    if (wire->multi == NULL) {
        ssize_t got = recv(wire->fd, buffer, length, 0);
        return got > 0 ? got : got == 0 ? CBX_ERR_CLOSED : errno_code();
    }
    size_t got = 0;
    CURLcode code = curl_easy_recv(wire->easy, buffer, length, &got);
    if (code == CURLE_OK)
        return got > 0 ? (ssize_t)got : CBX_ERR_CLOSED;
    return code == CURLE_AGAIN ? CBX_ERR_AGAIN : CBX_ERR_IO;
}

static ssize_t
transmit(struct wire *wire, const void *data, size_t length)
{
    if (wire->multi == NULL) {
        ssize_t sent = send(wire->fd, data, length, MSG_NOSIGNAL);
        return sent >= 0 ? sent : errno_code();
    }
    size_t sent = 0;
    CURLcode code = curl_easy_send(wire->easy, data, length, &sent);
    if (code == CURLE_OK)
        return (ssize_t)sent;
    return code == CURLE_AGAIN ? CBX_ERR_AGAIN : CBX_ERR_IO;
}

ssize_t
wire_fill(struct wire *wire)
{
    if (wire->in_error != 0)
        return wire->in_error;
    if (wire->in_start == wire->in_end)
        wire->in_start = wire->in_end = 0;
    if (wire->in_end == sizeof wire->in && wire->in_start > 0) {
        wire->in_end -= wire->in_start;
        memmove(wire->in, wire->in + wire->in_start, wire->in_end);
        wire->in_start = 0;
    }
    size_t room = sizeof wire->in - wire->in_end;
    if (room == 0)
        return CBX_ERR_AGAIN;
    ssize_t got;
    size_t total = 0;
    do {
        got = receive(wire, wire->in + wire->in_end + total, room - total);
        total += got > 0 ? (size_t)got : 0;
        /* TLS hands out one record a call, and may have read more of them from the socket. */
    } while (wire->multi != NULL && got > 0 && total < room);
    wire->more = wire->multi != NULL && got > 0;
    wire->in_end += total;
    if (got < 0 && got != CBX_ERR_AGAIN)
        wire->in_error = (int)got;
    return total > 0 ? (ssize_t)total : got;
}

bool
wire_more(const struct wire *wire)
{
    return wire->more;
}

size_t
wire_held(const struct wire *wire)
{
    return wire->in_end - wire->in_start;
}

size_t
wire_take(struct wire *wire, void *out, size_t length)
{
    size_t held = wire_held(wire);
    size_t count = length < held ? length : held;
    memcpy(out, wire->in + wire->in_start, count);
    wire->in_start += count;
    return count;
}

int
wire_ended(const struct wire *wire)
{
    return wire->in_error;
}

size_t
wire_room(const struct wire *wire)
{
    return sizeof wire->out - (size_t)(wire->out_end - wire->out_start);
}

bool
wire_put(struct wire *wire, const void *data, size_t length)
{
    if (length > wire_room(wire))
        return false;
    size_t at = (size_t)(wire->out_end % sizeof wire->out);
    size_t first = sizeof wire->out - at < length ? sizeof wire->out - at : length;
    memcpy(wire->out + at, data, first);
    memcpy(wire->out, (const uint8_t *)data + first, length - first);
    wire->out_end += length;
    return true;
}

int
wire_flush(struct wire *wire)
{
    while (wire->out_error == 0 && wire->out_start < wire->out_end) {
        size_t at = (size_t)(wire->out_start % sizeof wire->out);
        size_t length = (size_t)(wire->out_end - wire->out_start);
        if (length > sizeof wire->out - at)
            length = sizeof wire->out - at;
        ssize_t sent = transmit(wire, wire->out + at, length);
        if (sent == CBX_ERR_AGAIN)
            return CBX_ERR_AGAIN;
        if (sent < 0)
            wire->out_error = (int)sent;
        else
            wire->out_start += (uint64_t)sent;
    }
    return wire->out_error;
}

bool
wire_pending(const struct wire *wire)
{
    return wire->out_error == 0 && wire->out_start < wire->out_end;
}
