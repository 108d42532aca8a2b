/* SPDX-License-Identifier: MIT */
/*
 * In: one flat buffer, filled by one large receive at its end, taken from the front, and moved
 * down only when its end is reached. Out: a ring; its bytes never move once put, because OpenSSL
 * wants a write that could not be finished repeated from the same address with at least the same
 * length.
 *
 * An end or error of a direction is final and kept; the other direction goes on by itself, so that
 * what a hub said before it closed is still read. Tested by test_uplink.
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

struct tcp_buffer {
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
    uint8_t in[TCP_BUFFER_IN_SIZE];
    uint8_t out[TCP_BUFFER_OUT_SIZE];
};

static void
on_event(struct ev_loop *loop, ev_io *io, int events)
{
    (void)loop;
    struct tcp_buffer *tcp = io->data;
    if (tcp->event)
        tcp->event(tcp->arg, events);
}

static struct tcp_buffer *
tcp_buffer_new(struct ev_loop *loop, CURLM *multi, CURL *easy, int fd)
{
    /* Not calloc: the buffers' pages stay untouched until bytes come. */
    struct tcp_buffer *tcp = malloc(sizeof *tcp);
    if (!tcp)
        return NULL;
    memset(tcp, 0, offsetof(struct tcp_buffer, in));
    tcp->loop = loop;
    tcp->fd = fd;
    tcp->multi = multi;
    tcp->easy = easy;
    ev_io_init(&tcp->read_io, on_event, fd, EV_READ);
    ev_io_init(&tcp->write_io, on_event, fd, EV_WRITE);
    tcp->read_io.data = tcp;
    tcp->write_io.data = tcp;
    return tcp;
}

struct tcp_buffer *
tcp_buffer_over_socket(struct ev_loop *loop, int fd)
{
    return tcp_buffer_new(loop, NULL, NULL, fd);
}

struct tcp_buffer *
tcp_buffer_over_tunnel(struct ev_loop *loop, CURLM *multi, CURL *easy, int fd)
{
    return tcp_buffer_new(loop, multi, easy, fd);
}

void
tcp_buffer_free(struct tcp_buffer *tcp)
{
    if (!tcp)
        return;
    ev_io_stop(tcp->loop, &tcp->read_io);
    ev_io_stop(tcp->loop, &tcp->write_io);
    if (tcp->multi) {
        (void)curl_multi_remove_handle(tcp->multi, tcp->easy);
        curl_easy_cleanup(tcp->easy);
        (void)curl_multi_cleanup(tcp->multi);
    } else {
        close(tcp->fd);
    }
    free(tcp);
}

int
tcp_buffer_fd(const struct tcp_buffer *tcp)
{
    return tcp->fd;
}

int
tcp_buffer_release(struct tcp_buffer *tcp)
{
    if (tcp->multi || tcp_buffer_held(tcp) > 0)
        return -1;
    ev_io_stop(tcp->loop, &tcp->read_io);
    ev_io_stop(tcp->loop, &tcp->write_io);
    int fd = tcp->fd;
    free(tcp);
    return fd;
}

void
tcp_buffer_listen(struct tcp_buffer *tcp, void (*event)(void *arg, int events), void *arg)
{
    tcp->event = event;
    tcp->arg = arg;
}

static void
watch_one(struct tcp_buffer *tcp, ev_io *io, bool on)
{
    if (on == (bool)ev_is_active(io))
        return;
    if (on)
        ev_io_start(tcp->loop, io);
    else
        ev_io_stop(tcp->loop, io);
}

void
tcp_buffer_watch(struct tcp_buffer *tcp, bool read, bool write)
{
    watch_one(tcp, &tcp->read_io, read && tcp->in_error == 0);
    watch_one(tcp, &tcp->write_io, write && tcp->out_error == 0);
}

static int
errno_code(void)
{
    if (errno == EAGAIN || errno == EWOULDBLOCK || errno == EINTR)
        return CBX_ERR_AGAIN;
    return errno == EPIPE || errno == ECONNRESET ? CBX_ERR_CLOSED : CBX_ERR_IO;
}

static ssize_t
receive(struct tcp_buffer *tcp, void *buffer, size_t length)
{
    if (!tcp->multi) {
        ssize_t got = recv(tcp->fd, buffer, length, 0);
        return got > 0 ? got : got == 0 ? CBX_ERR_CLOSED : errno_code();
    }
    size_t got = 0;
    CURLcode code = curl_easy_recv(tcp->easy, buffer, length, &got);
    if (code == CURLE_OK)
        return got > 0 ? (ssize_t)got : CBX_ERR_CLOSED;
    return code == CURLE_AGAIN ? CBX_ERR_AGAIN : CBX_ERR_IO;
}

static ssize_t
transmit(struct tcp_buffer *tcp, const void *data, size_t length)
{
    if (!tcp->multi) {
        ssize_t sent = send(tcp->fd, data, length, MSG_NOSIGNAL);
        return sent >= 0 ? sent : errno_code();
    }
    size_t sent = 0;
    CURLcode code = curl_easy_send(tcp->easy, data, length, &sent);
    if (code == CURLE_OK)
        return (ssize_t)sent;
    return code == CURLE_AGAIN ? CBX_ERR_AGAIN : CBX_ERR_IO;
}

ssize_t
tcp_buffer_fill(struct tcp_buffer *tcp)
{
    if (tcp->in_error != 0)
        return tcp->in_error;
    if (tcp->in_start == tcp->in_end)
        tcp->in_start = tcp->in_end = 0;
    if (tcp->in_end == sizeof tcp->in && tcp->in_start > 0) {
        tcp->in_end -= tcp->in_start;
        memmove(tcp->in, tcp->in + tcp->in_start, tcp->in_end);
        tcp->in_start = 0;
    }
    size_t room = sizeof tcp->in - tcp->in_end;
    if (room == 0)
        return CBX_ERR_AGAIN;
    ssize_t got;
    size_t total = 0;
    do {
        got = receive(tcp, tcp->in + tcp->in_end + total, room - total);
        total += got > 0 ? (size_t)got : 0;
        /* TLS hands out one record a call, and may have read more of them from the socket. */
    } while (tcp->multi && got > 0 && total < room);
    tcp->more = tcp->multi != NULL && got > 0;
    tcp->in_end += total;
    if (got < 0 && got != CBX_ERR_AGAIN)
        tcp->in_error = (int)got;
    return total > 0 ? (ssize_t)total : got;
}

bool
tcp_buffer_more(const struct tcp_buffer *tcp)
{
    return tcp->more;
}

size_t
tcp_buffer_held(const struct tcp_buffer *tcp)
{
    return tcp->in_end - tcp->in_start;
}

size_t
tcp_buffer_take(struct tcp_buffer *tcp, void *out, size_t length)
{
    size_t held = tcp_buffer_held(tcp);
    size_t count = length < held ? length : held;
    memcpy(out, tcp->in + tcp->in_start, count);
    tcp->in_start += count;
    return count;
}

int
tcp_buffer_ended(const struct tcp_buffer *tcp)
{
    return tcp->in_error;
}

size_t
tcp_buffer_room(const struct tcp_buffer *tcp)
{
    return sizeof tcp->out - (size_t)(tcp->out_end - tcp->out_start);
}

bool
tcp_buffer_put(struct tcp_buffer *tcp, const void *data, size_t length)
{
    if (length > tcp_buffer_room(tcp))
        return false;
    size_t at = (size_t)(tcp->out_end % sizeof tcp->out);
    size_t first = sizeof tcp->out - at < length ? sizeof tcp->out - at : length;
    memcpy(tcp->out + at, data, first);
    memcpy(tcp->out, (const uint8_t *)data + first, length - first);
    tcp->out_end += length;
    return true;
}

int
tcp_buffer_flush(struct tcp_buffer *tcp)
{
    while (tcp->out_error == 0 && tcp->out_start < tcp->out_end) {
        size_t at = (size_t)(tcp->out_start % sizeof tcp->out);
        size_t length = (size_t)(tcp->out_end - tcp->out_start);
        if (length > sizeof tcp->out - at)
            length = sizeof tcp->out - at;
        ssize_t sent = transmit(tcp, tcp->out + at, length);
        if (sent == CBX_ERR_AGAIN)
            return CBX_ERR_AGAIN;
        if (sent < 0)
            tcp->out_error = (int)sent;
        else
            tcp->out_start += (uint64_t)sent;
    }
    return tcp->out_error;
}

bool
tcp_buffer_pending(const struct tcp_buffer *tcp)
{
    return tcp->out_error == 0 && tcp->out_start < tcp->out_end;
}
