/* SPDX-License-Identifier: MIT */
/*
 * CONNECTING -> HALF (all of the preface but its last byte went out; nothing may come) -> WHOLE
 * (the hub closes) -> over. What lets only SSH through ends the connection in HALF, at the latest.
 */
#include "agent/netcheck/netcheck.h"

#include "agent/uplink/connector.h"
#include "common/link/lane.h"

#include <errno.h>
#include <ev.h>
#include <sodium.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

enum { QUIET_MS = 250 };

struct netcheck_lane {
    struct ev_loop *loop;
    void (*done)(void *arg, const char *trouble);
    void *arg;
    struct connector *connector;
    int fd; /* -1: not ours */
    bool whole;
    int64_t timeout_ms;
    ev_io readable;
    ev_timer timer; /* HALF: how long nothing came; WHOLE: the limit */
    uint8_t preface[CBX_LANE_PREFACE];
};

static void
stop(struct netcheck_lane *lane)
{
    connector_free(lane->connector);
    lane->connector = NULL;
    ev_io_stop(lane->loop, &lane->readable);
    ev_timer_stop(lane->loop, &lane->timer);
    if (lane->fd >= 0)
        close(lane->fd);
    lane->fd = -1;
}

static void
finish(struct netcheck_lane *lane, const char *trouble)
{
    stop(lane);
    lane->done(lane->arg, trouble);
}

static void
set_timer(struct netcheck_lane *lane, int64_t milliseconds)
{
    ev_timer_stop(lane->loop, &lane->timer);
    ev_now_update(lane->loop);
    ev_timer_set(&lane->timer, (double)milliseconds / 1000., 0.);
    ev_timer_start(lane->loop, &lane->timer);
}

static bool
put(struct netcheck_lane *lane, size_t from, size_t length)
{
    ssize_t sent = send(lane->fd, lane->preface + from, length, MSG_NOSIGNAL | MSG_DONTWAIT);
    return sent == (ssize_t)length;
}

static void
on_timer(struct ev_loop *loop, ev_timer *timer, int events)
{
    (void)loop;
    (void)events;
    struct netcheck_lane *lane = timer->data;
    if (lane->whole) {
        finish(lane, "the hub's port did not answer a lane's first bytes: something between holds "
                     "them back, or no hub with lanes is there");
        return;
    }
    lane->whole = true;
    if (put(lane, sizeof lane->preface - 1, 1))
        set_timer(lane, lane->timeout_ms);
    else
        finish(lane, "a lane's first bytes could not be sent");
}

static void
on_readable(struct ev_loop *loop, ev_io *watcher, int events)
{
    (void)loop;
    (void)events;
    struct netcheck_lane *lane = watcher->data;
    char bytes[256];
    ssize_t got = recv(lane->fd, bytes, sizeof bytes, MSG_DONTWAIT);
    if (got < 0 && (errno == EAGAIN || errno == EINTR))
        return;
    if (got > 0)
        finish(lane, "something that is no hub with lanes answered a lane's first bytes");
    else if (lane->whole)
        finish(lane, "");
    else
        finish(lane, "the connection was closed in the middle of a lane's first bytes: something "
                     "between lets only SSH through, or the hub knows no lanes");
}

static void
connected(void *arg, struct tcp_buffer *tcp)
{
    struct netcheck_lane *lane = arg;
    connector_free(lane->connector);
    lane->connector = NULL;
    lane->fd = tcp_buffer_release(tcp);
    if (lane->fd < 0) {
        tcp_buffer_free(tcp);
        finish(lane, "a lane cannot pass a proxy that itself wants TLS");
        return;
    }
    if (!put(lane, 0, sizeof lane->preface - 1)) {
        finish(lane, "a lane's first bytes could not be sent");
        return;
    }
    ev_io_set(&lane->readable, lane->fd, EV_READ);
    ev_io_start(lane->loop, &lane->readable);
    set_timer(lane, QUIET_MS);
}

static void
connect_failed(void *arg, enum connector_error error, const char *text)
{
    (void)error;
    finish(arg, text);
}

static const struct connector_ops connector_ops = {.connected = connected,
                                                   .failed = connect_failed};

struct netcheck_lane *
netcheck_lane_new(struct ev_loop *loop, const char *address, const char *via, int64_t timeout_ms,
                  void (*done)(void *arg, const char *trouble), void *arg)
{
    struct netcheck_lane *lane = calloc(1, sizeof *lane);
    if (lane == NULL)
        return NULL;
    struct cbx_lane_ticket ticket;
    cbx_lane_ticket_make(&ticket, CBX_CIPHER_CHACHA20POLY1305);
    cbx_lane_preface(&ticket, lane->preface);
    sodium_memzero(&ticket, sizeof ticket);
    lane->loop = loop;
    lane->done = done;
    lane->arg = arg;
    lane->fd = -1;
    lane->timeout_ms = timeout_ms;
    ev_init(&lane->readable, on_readable);
    ev_init(&lane->timer, on_timer);
    lane->readable.data = lane->timer.data = lane;
    lane->connector = connector_new(loop, address, via, timeout_ms, &connector_ops, lane);
    if (lane->connector == NULL) {
        netcheck_lane_free(lane);
        return NULL;
    }
    return lane;
}

void
netcheck_lane_free(struct netcheck_lane *lane)
{
    if (lane == NULL)
        return;
    stop(lane);
    free(lane);
}
