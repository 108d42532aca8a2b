/* SPDX-License-Identifier: MIT */
/*
 * CONNECTING (connector) -> PROVING (our preface went out, 32 bytes are awaited) -> over. The
 * socket is ours in PROVING only.
 */
#include "agent/lanes/hub_lane_dialer.h"
#include "agent/uplink/connector.h"
#include "common/trust/token.h"
#include <errno.h>
#include <ev.h>
#include <sodium.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

struct lane_dialer {
    struct ev_loop *loop;
    const struct lane_dialer_ops *ops;
    void *arg;
    struct connector *connector;
    struct cbx_lane_ticket ticket;
    int64_t timeout_ms;
    int fd; /* -1: not ours */
    ev_io readable;
    ev_timer limit;
    uint8_t answer[CBX_LANE_MAC];
    size_t answered;
    char address[CBX_ADDRESS_TEXT_MAX];
};

static void
stop(struct lane_dialer *dialer)
{
    connector_free(dialer->connector);
    dialer->connector = NULL;
    ev_io_stop(dialer->loop, &dialer->readable);
    ev_timer_stop(dialer->loop, &dialer->limit);
    if (dialer->fd >= 0)
        close(dialer->fd);
    dialer->fd = -1;
}

static void
fail(struct lane_dialer *dialer, const char *text)
{
    stop(dialer);
    dialer->ops->failed(dialer->arg, text);
}

static void
finish(struct lane_dialer *dialer)
{
    if (!cbx_lane_answer_holds(&dialer->ticket, dialer->answer)) {
        fail(dialer, "whoever answers there does not know the lane's secret");
        return;
    }
    ev_io_stop(dialer->loop, &dialer->readable);
    struct cbx_carrier *carrier = cbx_carrier_fd(dialer->loop, dialer->fd, dialer->fd);
    if (!carrier) {
        fail(dialer, "out of memory");
        return;
    }
    dialer->fd = -1;
    stop(dialer);
    dialer->ops->up(dialer->arg, carrier, &dialer->ticket);
}

static void
on_answer(struct ev_loop *loop, ev_io *watcher, int events)
{
    (void)loop;
    (void)events;
    struct lane_dialer *dialer = watcher->data;
    ssize_t got = recv(dialer->fd, dialer->answer + dialer->answered,
                       sizeof dialer->answer - dialer->answered, MSG_DONTWAIT);
    if (got < 0 && (errno == EAGAIN || errno == EINTR))
        return;
    if (got <= 0) {
        fail(dialer,
             "the connection was closed before the lane was answered: does something between "
             "let only SSH through?");
        return;
    }
    dialer->answered += (size_t)got;
    if (dialer->answered == sizeof dialer->answer)
        finish(dialer);
}

static void
on_limit(struct ev_loop *loop, ev_timer *watcher, int events)
{
    (void)loop;
    (void)events;
    fail(watcher->data, "the lane was not answered in time");
}

static void
prove(struct lane_dialer *dialer)
{
    uint8_t preface[CBX_LANE_PREFACE];
    cbx_lane_preface(&dialer->ticket, preface);
    ssize_t sent = send(dialer->fd, preface, sizeof preface, MSG_NOSIGNAL | MSG_DONTWAIT);
    sodium_memzero(preface, sizeof preface);
    if (sent != (ssize_t)sizeof preface) {
        fail(dialer, "the lane's first bytes could not be sent");
        return;
    }
    ev_io_set(&dialer->readable, dialer->fd, EV_READ);
    ev_io_start(dialer->loop, &dialer->readable);
    ev_timer_set(&dialer->limit, (double)dialer->timeout_ms / 1000., 0.);
    ev_timer_start(dialer->loop, &dialer->limit);
}

static void
connected(void *arg, struct tcp_buffer *tcp)
{
    struct lane_dialer *dialer = arg;
    connector_free(dialer->connector);
    dialer->connector = NULL;
    dialer->fd = tcp_buffer_release(tcp);
    if (dialer->fd < 0) {
        tcp_buffer_free(tcp);
        fail(dialer, "a lane cannot pass a proxy that itself wants TLS");
        return;
    }
    prove(dialer);
}

static void
connect_failed(void *arg, enum connector_error error, const char *text)
{
    (void)error;
    fail(arg, text);
}

static const struct connector_ops connector_ops = {.connected = connected,
                                                   .failed = connect_failed};

struct lane_dialer *
lane_dialer_new(struct ev_loop *loop, const char *address, const char *via,
                const struct cbx_lane_ticket *ticket, int64_t timeout_ms,
                const struct lane_dialer_ops *ops, void *arg)
{
    struct lane_dialer *dialer = calloc(1, sizeof *dialer);
    if (!dialer)
        return NULL;
    dialer->loop = loop;
    dialer->ops = ops;
    dialer->arg = arg;
    dialer->ticket = *ticket;
    dialer->timeout_ms = timeout_ms;
    dialer->fd = -1;
    strncpy(dialer->address, address, sizeof dialer->address - 1);
    ev_init(&dialer->readable, on_answer);
    ev_init(&dialer->limit, on_limit);
    dialer->readable.data = dialer->limit.data = dialer;
    dialer->connector =
        connector_new(loop, dialer->address, via, timeout_ms, &connector_ops, dialer);
    if (!dialer->connector) {
        lane_dialer_free(dialer);
        return NULL;
    }
    return dialer;
}

void
lane_dialer_free(struct lane_dialer *dialer)
{
    if (!dialer)
        return;
    stop(dialer);
    sodium_memzero(dialer, sizeof *dialer);
    free(dialer);
}
