/* SPDX-License-Identifier: MIT */
/*
 * An SSH channel as a carrier.
 *
 * Writing: bytes gather in `stage` until there are as many as libssh2 takes at a time, or the turn
 * of the loop ends; then they go into the channel, encrypted into the tcp_buffer's ring, and the
 * ring into the socket. The stage is needed for more than size: when libssh2 says EAGAIN (no
 * window, or a key exchange runs) the same bytes must be offered again at the same address, so what
 * is staged never moves until it is gone. A stage that did not go is `stalled`; only received bytes
 * or room in the ring can free it.
 *
 * Reading: the socket is read when the owner wants bytes, or when writing is stalled, since window
 * and key exchange arrive among the data. libssh2 may hold bytes that no event will tell of.
 * `may_read` is true from any reception until a read has found nothing.
 *
 * Events: `flush` is never started, only fed; at lowest priority it runs after all other events of
 * the turn. `again` with `nonstop` (which keeps the loop from sleeping) calls ready once a turn
 * while the owner wants what can be had without the socket. Both stop when the owner does not want.
 *
 * A connection that stands by while its link is on a lane says nothing for hours: `alive` sends a
 * request of SSH that needs no answer, so that no NAT or proxy between forgets it. Tested by
 * test_uplink.
 */
#include "agent/uplink/ssh_carrier.h"

#include <ev.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

/* Between signs of life of a connection that stands by. */
enum { ALIVE_DEFAULT_MS = 15 * 1000 };

struct ssh_carrier {
    struct cbx_carrier carrier; /* first: the two addresses are one */
    struct ev_loop *loop;
    struct tcp_buffer *tcp;
    LIBSSH2_SESSION *session;
    LIBSSH2_CHANNEL *channel;
    ev_prepare flush;
    ev_check again;
    ev_idle nonstop;
    ev_timer alive;
    bool want_read, want_write;
    bool may_read;
    bool stalled;
    int read_error, write_error; /* 0 while the direction lives */
    size_t start, end;           /* what is staged */
    uint8_t stage[SSH_WRITE_MAX];
};

static struct ssh_carrier *
from(struct cbx_carrier *carrier)
{
    return (struct ssh_carrier *)carrier;
}

static bool
readable(const struct ssh_carrier *c)
{
    return c->may_read || tcp_buffer_more(c->tcp);
}

static bool
writable(const struct ssh_carrier *c)
{
    return c->write_error != 0 || (!c->stalled && c->end < sizeof c->stage);
}

static bool
can_go_on(const struct ssh_carrier *c)
{
    return (c->want_read && readable(c)) || (c->want_write && writable(c)) ||
           (c->stalled && tcp_buffer_more(c->tcp));
}

/* Derives from the state what the loop watches for. */
static void
update(struct ssh_carrier *c)
{
    /* What was received and could not be used yet must go first: the buffer is one of a kind. */
    bool input = (c->want_read || c->stalled) && tcp_buffer_held(c->tcp) < TCP_BUFFER_IN_SIZE;
    tcp_buffer_watch(c->tcp, input, tcp_buffer_pending(c->tcp));
    bool again = can_go_on(c);
    if (again == (bool)ev_is_active(&c->again))
        return;
    if (again) {
        ev_check_start(c->loop, &c->again);
        ev_idle_start(c->loop, &c->nonstop);
    } else {
        ev_check_stop(c->loop, &c->again);
        ev_idle_stop(c->loop, &c->nonstop);
    }
}

/* Ring to socket. Room in the ring may be what reading waited for. */
static void
flush_tcp(struct ssh_carrier *c)
{
    if (!tcp_buffer_pending(c->tcp))
        return;
    bool starved = tcp_buffer_room(c->tcp) < SSH_REPLY_ROOM && tcp_buffer_held(c->tcp) > 0;
    int code = tcp_buffer_flush(c->tcp);
    if (code != 0 && code != CBX_ERR_AGAIN)
        c->write_error = code;
    if (starved && tcp_buffer_room(c->tcp) >= SSH_REPLY_ROOM)
        c->may_read = true;
}

static int
write_failed(struct ssh_carrier *c, ssize_t code)
{
    bool closed = code == LIBSSH2_ERROR_CHANNEL_CLOSED || code == LIBSSH2_ERROR_SOCKET_DISCONNECT ||
                  libssh2_channel_eof(c->channel) == 1;
    c->write_error = closed ? CBX_ERR_CLOSED : CBX_ERR_IO;
    c->may_read = true; /* libssh2 also reads when it writes: the reader must hear of it too */
    return c->write_error;
}

/* Stage to channel. 0 when the stage is empty, CBX_ERR_AGAIN (stalled), or the error, which stays.
 */
static int
push(struct ssh_carrier *c)
{
    while (c->write_error == 0 && c->start < c->end) {
        if (tcp_buffer_room(c->tcp) < SSH_PACKET_MAX + SSH_REPLY_ROOM)
            flush_tcp(c);
        ssize_t sent = LIBSSH2_ERROR_EAGAIN;
        if (tcp_buffer_room(c->tcp) >= SSH_PACKET_MAX + SSH_REPLY_ROOM)
            sent = libssh2_channel_write(c->channel, (const char *)c->stage + c->start,
                                         c->end - c->start);
        if (sent == LIBSSH2_ERROR_EAGAIN || sent == 0) {
            c->stalled = true;
            if (tcp_buffer_held(c->tcp) == 0)
                c->write_error = tcp_buffer_ended(c->tcp); /* nothing will free it any more */
            return c->write_error != 0 ? c->write_error : CBX_ERR_AGAIN;
        }
        if (sent < 0)
            return write_failed(c, sent);
        c->start += (size_t)sent;
    }
    if (c->write_error != 0)
        return c->write_error;
    c->start = c->end = 0;
    c->stalled = false;
    return 0;
}

/* ---- the carrier's operations -------------------------------------------------------------- */

/* What an exhausted channel means. */
static ssize_t
nothing_read(struct ssh_carrier *c)
{
    if (libssh2_channel_eof(c->channel) == 1)
        c->read_error = CBX_ERR_CLOSED;
    else if (tcp_buffer_ended(c->tcp) != 0 && tcp_buffer_held(c->tcp) == 0)
        c->read_error = tcp_buffer_ended(c->tcp);
    /* False but for packets that libssh2 took one at a time, all without data for us. */
    c->may_read = c->read_error == 0 && tcp_buffer_held(c->tcp) > 0 &&
                  tcp_buffer_room(c->tcp) >= SSH_REPLY_ROOM;
    update(c);
    return c->read_error != 0 ? c->read_error : CBX_ERR_AGAIN;
}

static ssize_t
carrier_read(struct cbx_carrier *carrier, void *buffer, size_t length)
{
    struct ssh_carrier *c = from(carrier);
    if (c->read_error != 0)
        return c->read_error;
    if (!readable(c))
        return CBX_ERR_AGAIN;
    if (tcp_buffer_more(c->tcp))
        (void)tcp_buffer_fill(c->tcp);
    ssize_t got = libssh2_channel_read(c->channel, buffer, length);
    if (c->stalled || tcp_buffer_pending(c->tcp)) /* window, or an answer */
        ev_feed_event(c->loop, &c->flush, EV_CUSTOM);
    if (got > 0)
        return got;
    if (got == 0 || got == LIBSSH2_ERROR_EAGAIN)
        return nothing_read(c);
    c->read_error = got == LIBSSH2_ERROR_SOCKET_DISCONNECT ? CBX_ERR_CLOSED : CBX_ERR_IO;
    c->may_read = false;
    update(c);
    return c->read_error;
}

/* Stages what there is room for; pushes whenever the stage is full. */
static size_t
stage_bytes(struct ssh_carrier *c, const uint8_t *from_bytes, size_t length)
{
    size_t taken = 0;
    while (taken < length) {
        if (c->end == sizeof c->stage && push(c) != 0)
            break;
        size_t room = sizeof c->stage - c->end;
        size_t count = length - taken < room ? length - taken : room;
        memcpy(c->stage + c->end, from_bytes + taken, count);
        c->end += count;
        taken += count;
    }
    return taken;
}

static ssize_t
carrier_writev(struct cbx_carrier *carrier, const struct iovec *vector, int count)
{
    struct ssh_carrier *c = from(carrier);
    size_t total = 0;
    for (int i = 0; i < count && c->write_error == 0; i++) {
        size_t taken = stage_bytes(c, vector[i].iov_base, vector[i].iov_len);
        total += taken;
        if (taken < vector[i].iov_len)
            break;
    }
    if (total > 0)
        ev_feed_event(c->loop, &c->flush, EV_CUSTOM);
    if (c->stalled)
        update(c);
    if (total > 0)
        return (ssize_t)total;
    return c->write_error != 0 ? c->write_error : CBX_ERR_AGAIN;
}

static void
carrier_want(struct cbx_carrier *carrier, bool read, bool write)
{
    struct ssh_carrier *c = from(carrier);
    if (c->want_read == read && c->want_write == write)
        return;
    c->want_read = read;
    c->want_write = write;
    update(c);
}

static void
carrier_close(struct cbx_carrier *carrier)
{
    struct ssh_carrier *c = from(carrier);
    /* A last word should get out if the socket takes it now; nobody waits for more. */
    if (c->write_error == 0 && push(c) == 0)
        flush_tcp(c);
    ev_prepare_stop(c->loop, &c->flush);
    ev_check_stop(c->loop, &c->again);
    ev_idle_stop(c->loop, &c->nonstop);
    ev_timer_stop(c->loop, &c->alive);
    ssh_session_end(c->session, c->tcp);
    free(c);
}

static int
carrier_socket(const struct cbx_carrier *carrier)
{
    return tcp_buffer_fd(((const struct ssh_carrier *)carrier)->tcp);
}

static const struct cbx_carrier_ops operations = {
    .socket = carrier_socket,
    .read = carrier_read,
    .writev = carrier_writev,
    .want = carrier_want,
    .close = carrier_close,
};

/* ---- events -------------------------------------------------------------------------------- */

/* Moves what can be moved without the owner. */
static void
work(struct ssh_carrier *c)
{
    if (c->start < c->end)
        (void)push(c);
    flush_tcp(c);
    if (c->stalled && c->write_error == 0 && push(c) == 0)
        flush_tcp(c);
    update(c);
}

/* Calls the owner, who may close the carrier: nothing is touched afterwards. */
static void
serve(struct ssh_carrier *c)
{
    bool ready = (c->want_read && readable(c)) || (c->want_write && writable(c));
    if (ready && c->carrier.ready)
        c->carrier.ready(c->carrier.arg);
}

static void
receive(struct ssh_carrier *c)
{
    if (tcp_buffer_fill(c->tcp) != CBX_ERR_AGAIN && c->read_error == 0)
        c->may_read = true;
}

static void
on_tcp(void *arg, int events)
{
    struct ssh_carrier *c = arg;
    if ((events & EV_READ) != 0)
        receive(c);
    work(c);
    serve(c);
}

static void
on_again(struct ev_loop *loop, ev_check *check, int events)
{
    (void)loop;
    (void)events;
    struct ssh_carrier *c = check->data;
    if (tcp_buffer_more(c->tcp) && tcp_buffer_held(c->tcp) < TCP_BUFFER_IN_SIZE)
        receive(c);
    work(c);
    serve(c);
}

/* Only keeps the loop from sleeping. */
static void
on_nonstop(struct ev_loop *loop, ev_idle *idle, int events)
{
    (void)loop;
    (void)idle;
    (void)events;
}

static void
on_flush(struct ev_loop *loop, ev_prepare *prepare, int events)
{
    (void)loop;
    (void)events;
    work(prepare->data);
}

/* Not between the parts of a write that libssh2 has not finished. */
static void
on_alive(struct ev_loop *loop, ev_timer *timer, int events)
{
    (void)loop;
    (void)events;
    struct ssh_carrier *c = timer->data;
    int next = 0;
    if (c->stalled || c->write_error != 0 ||
        tcp_buffer_room(c->tcp) < SSH_PACKET_MAX + SSH_REPLY_ROOM)
        return;
    (void)libssh2_keepalive_send(c->session, &next);
    work(c);
}

struct cbx_carrier *
ssh_carrier_new(struct ev_loop *loop, struct tcp_buffer *tcp, LIBSSH2_SESSION *session,
                LIBSSH2_CHANNEL *channel, int64_t keepalive_ms)
{
    struct ssh_carrier *c = malloc(sizeof *c);
    if (!c)
        return NULL;
    memset(c, 0, offsetof(struct ssh_carrier, stage));
    c->carrier.ops = &operations;
    c->loop = loop;
    c->tcp = tcp;
    c->session = session;
    c->channel = channel;
    c->may_read = true; /* data may have come with the answer to exec */
    ev_prepare_init(&c->flush, on_flush);
    ev_set_priority(&c->flush, EV_MINPRI);
    c->flush.data = c;
    ev_check_init(&c->again, on_again);
    c->again.data = c;
    ev_idle_init(&c->nonstop, on_nonstop);
    double alive_s = (double)(keepalive_ms > 0 ? keepalive_ms : ALIVE_DEFAULT_MS) / 1e3;
    ev_timer_init(&c->alive, on_alive, alive_s, alive_s);
    c->alive.data = c;
    ev_timer_start(loop, &c->alive);
    libssh2_keepalive_config(session, 0, 2); /* the timer is ours; 2 is the least it takes */
    tcp_buffer_listen(tcp, on_tcp, c);
    ev_feed_event(loop, &c->flush, EV_CUSTOM); /* the login may have left bytes to send */
    return &c->carrier;
}
