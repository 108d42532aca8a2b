/* SPDX-License-Identifier: MIT */
/* The socket's side of a conn. The theory stands in conn.c. Tested by test_conn. */
#include "agent/front/conn_io.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

/*
 * PULL_MAX: a record leaves the far agent in one send, and a lane carries several in one. On
 * loopback, where most programs are, a packet takes 65,464 bytes (IPv6 and timestamps). A record of
 * 64 KiB would cost a second packet for its last few; this one fits with its lane's block and tag.
 */
enum { DRAIN_SIZE = 4096, PULL_MAX = 65344 };
/* How long a refused program may take to read our last words, and a probed port to close. */
static const double PATIENCE_S = 2.0;

static bool
would_wait(int error)
{
    return error == EAGAIN || error == EWOULDBLOCK;
}

static ssize_t
receive(int fd, void *buffer, size_t length, int flags)
{
    ssize_t got;
    do {
        got = recv(fd, buffer, length, MSG_DONTWAIT | flags);
    } while (got < 0 && errno == EINTR);
    return got;
}

static ssize_t
transmit(int fd, const struct iovec *vector, int count)
{
    struct msghdr message = {.msg_iov = (struct iovec *)(uintptr_t)vector,
                             .msg_iovlen = (size_t)count};
    ssize_t sent;
    do {
        sent = sendmsg(fd, &message, MSG_DONTWAIT | MSG_NOSIGNAL);
    } while (sent < 0 && errno == EINTR);
    return sent;
}

bool
conn_say(struct conn *conn)
{
    while (conn->words_left > 0) {
        struct iovec words = {.iov_base = (void *)(uintptr_t)conn->words,
                              .iov_len = conn->words_left};
        ssize_t sent = transmit(conn->fd, &words, 1);
        if (sent < 0 && would_wait(errno))
            break;
        if (sent < 0) {
            conn->words_left = 0;
            conn->state.words = false;
            conn_set_output(conn, CONN_OUTPUT_BROKEN);
            return false;
        }
        conn->words += sent;
        conn->words_left -= (size_t)sent;
    }
    conn->state.words = conn->words_left > 0;
    if (!conn->state.words && conn->state.output == CONN_OUTPUT_ENDING)
        conn_set_output(conn, CONN_OUTPUT_ENDED);
    conn_watch(conn);
    return !conn->state.words;
}

void
conn_drop_early(struct conn *conn)
{
    free(conn->early);
    conn->early = NULL;
    conn->early_left = 0;
}

static ssize_t
take_early(struct conn *conn, void *buffer, size_t length)
{
    size_t taken = length < conn->early_left ? length : conn->early_left;
    memcpy(buffer, conn->early + conn->early_at, taken);
    conn->early_at += taken;
    conn->early_left -= taken;
    if (conn->early_left == 0)
        conn_drop_early(conn);
    return (ssize_t)taken;
}

static ssize_t
wait_for_input(struct conn *conn)
{
    conn->drained = false;
    conn->state.read_wanted = true;
    conn_watch(conn);
    return CBX_ERR_AGAIN;
}

static ssize_t
end_pull(void *arg, void *buffer, size_t length)
{
    struct conn *conn = arg;
    if (conn->state.input == CONN_INPUT_BROKEN)
        return CBX_ERR_IO;
    if (length == 0)
        return CBX_ERR_AGAIN;
    if (conn->early_left > 0)
        return take_early(conn, buffer, length);
    if (conn->state.input == CONN_INPUT_ENDED)
        return CBX_ERR_CLOSED;
    if (conn->drained)
        return wait_for_input(conn);
    size_t most = length < PULL_MAX ? length : PULL_MAX;
    ssize_t got = conn->fd < 0 ? 0 : receive(conn->fd, buffer, most, 0);
    if (got > 0) {
        conn->drained = (size_t)got < most;
        return got;
    }
    if (got == 0) {
        conn_set_input(conn, CONN_INPUT_ENDED);
        return CBX_ERR_CLOSED;
    }
    if (would_wait(errno))
        return wait_for_input(conn);
    conn_set_input(conn, CONN_INPUT_BROKEN);
    return CBX_ERR_IO;
}

/* A probe has nobody who reads. */
static ssize_t
waste(const struct iovec *vector, int count)
{
    size_t length = 0;
    for (int i = 0; i < count; i++)
        length += vector[i].iov_len;
    return (ssize_t)length;
}

static ssize_t
end_push(void *arg, const struct iovec *vector, int count)
{
    struct conn *conn = arg;
    if (conn->state.output != CONN_OUTPUT_OPEN)
        return CBX_ERR_IO;
    if (conn->fd < 0)
        return waste(vector, count);
    ssize_t sent = CBX_ERR_AGAIN;
    if (conn->words_left == 0 || conn_say(conn)) {
        sent = transmit(conn->fd, vector, count);
        if (sent > 0)
            return sent;
        if (sent < 0 && !would_wait(errno))
            conn_set_output(conn, CONN_OUTPUT_BROKEN);
    }
    if (conn->state.output == CONN_OUTPUT_BROKEN)
        return CBX_ERR_IO;
    conn->state.write_wanted = true;
    conn_watch(conn);
    return CBX_ERR_AGAIN;
}

static void
end_push_end(void *arg)
{
    struct conn *conn = arg;
    if (conn->state.output == CONN_OUTPUT_OPEN)
        conn_set_output(conn, conn->state.words ? CONN_OUTPUT_ENDING : CONN_OUTPUT_ENDED);
}

static void
end_opened(void *arg)
{
    struct conn *conn = arg;
    conn->set->stats.opened++;
    conn->answered = true;
    conn->state.read_wanted = true;
    conn_set_phase(conn, CONN_OPEN);
    if (conn->speech) {
        conn->words = conn->speech->opened;
        conn->words_left = conn->speech->opened_length;
        (void)conn_say(conn);
    }
    conn_become_due(conn);
}

void
conn_end_stream(struct conn *conn, enum conn_phase phase, enum cbx_reason reason, bool by_target)
{
    if (conn->state.phase == CONN_OPEN && reason != CBX_REASON_NONE)
        conn->set->stats.reset++;
    conn->stream = NULL;
    conn->reason = reason;
    conn->by_target = by_target;
    if (conn->state.phase != phase) /* one that is over may be dropped */
        conn_set_phase(conn, phase);
}

static void
end_closed(void *arg, enum cbx_reason reason, bool by_target)
{
    struct conn *conn = arg;
    bool dialing = conn->state.phase == CONN_DIALING;
    conn_end_stream(conn, dialing ? CONN_REFUSED : CONN_ENDED, reason, by_target);
}

const struct mesh_end conn_end = {
    .pull = end_pull,
    .push = end_push,
    .push_end = end_push_end,
    .opened = end_opened,
    .closed = end_closed,
};

void
conn_give_up(struct conn *conn, enum conn_phase phase, enum cbx_reason reason)
{
    struct mesh_stream *stream = conn->stream;
    conn_end_stream(conn, phase, reason, false);
    mesh_stream_reset(stream, reason);
}

/* A program that leaves before the answer is worth knowing at once; bytes are none of our business
 * before it. End of input may be a half-close, unless a proxy's client has said nothing yet. */
static void
look_while_dialing(struct conn *conn)
{
    char byte;
    ssize_t got = receive(conn->fd, &byte, 1, MSG_PEEK);
    if (got < 0 && would_wait(errno))
        return;
    if (got < 0 || (got == 0 && conn->speech && conn->early_left == 0)) {
        conn->set->stats.gave_up++;
        conn_give_up(conn, CONN_ENDED, CBX_REASON_RESET);
        return;
    }
    conn->state.read_wanted = false;
    conn_watch(conn);
}

/* Closing with input unread would send a RST that overtakes our last words. */
static void
drain(struct conn *conn)
{
    char waste[DRAIN_SIZE];
    ssize_t got = receive(conn->fd, waste, sizeof waste, 0);
    if (got == 0 || (got < 0 && !would_wait(errno)))
        conn_set_phase(conn, CONN_OVER);
}

static void
on_readable(struct ev_loop *loop, struct ev_io *io, int events)
{
    (void)loop;
    (void)events;
    struct conn *conn = io->data;
    switch (conn->state.phase) {
    case CONN_DIALING:
        look_while_dialing(conn);
        break;
    case CONN_OPEN:
        /* Until the next AGAIN the mesh pulls as its credit allows. */
        conn->state.read_wanted = false;
        conn_watch(conn);
        mesh_stream_readable(conn->stream);
        break;
    case CONN_FAREWELL:
        drain(conn);
        break;
    case CONN_REFUSED:
    case CONN_ENDED:
    case CONN_OVER:
        break;
    }
}

static void
on_writable(struct ev_loop *loop, struct ev_io *io, int events)
{
    (void)loop;
    (void)events;
    struct conn *conn = io->data;
    if (conn->words_left > 0 && !conn_say(conn))
        return;
    if (conn->state.phase == CONN_OPEN && conn->state.write_wanted) {
        conn->state.write_wanted = false;
        conn_watch(conn);
        mesh_stream_writable(conn->stream);
    }
}

static void
on_patience(struct ev_loop *loop, struct ev_timer *timer, int events)
{
    (void)loop;
    (void)events;
    struct conn *conn = timer->data;
    if (conn->state.phase == CONN_OPEN) {
        /* A probe has its answer: how the port's program ends is no failure of ours. */
        struct mesh_stream *stream = conn->stream;
        conn_end_stream(conn, CONN_ENDED, CBX_REASON_NONE, false);
        mesh_stream_reset(stream, CBX_REASON_RESET);
    } else if (conn->state.phase == CONN_FAREWELL) {
        conn_set_phase(conn, CONN_OVER);
    }
}

void
conn_io_init(struct conn *conn)
{
    ev_io_init(&conn->reading, on_readable, conn->fd, EV_READ);
    ev_io_init(&conn->writing, on_writable, conn->fd, EV_WRITE);
    ev_timer_init(&conn->patience, on_patience, PATIENCE_S, 0.);
    conn->reading.data = conn->writing.data = conn->patience.data = conn;
}
