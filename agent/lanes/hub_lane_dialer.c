/* SPDX-License-Identifier: MIT */
/* Tested by test_lanes.py. */
#include "agent/lanes/hub_lane_dialer.h"
#include "agent/lanes/lane_proof.h"
#include "agent/uplink/connector.h"
#include "common/base/states.h"
#include "common/trust/token.h"
#include <ev.h>
#include <sodium.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum state {
    CONNECTING, /* the connector works */
    PROVING,    /* our preface went out, the answer is awaited; the socket is ours */
    OVER,       /* the owner was told, or is about to free us */
};

static const struct cbx_states states = {
    .what = "hub lane to",
    .state =
        {
            [CONNECTING] = {"connecting", CBX_STATE(PROVING) | CBX_STATE(OVER)},
            [PROVING] = {"proving", CBX_STATE(OVER)},
            [OVER] = {"over", 0},
        },
};

struct lane_dialer {
    struct ev_loop *loop;
    const struct lane_dialer_ops *ops;
    void *arg;
    struct connector *connector;
    struct cbx_lane_ticket ticket;
    int64_t timeout_ms;
    enum state state;
    int fd; /* -1: none, or not ours */
    ev_io readable;
    ev_timer limit;
    struct lane_proof proof;
    char address[CBX_ADDRESS_TEXT_MAX];
};

static void
set_state(struct lane_dialer *dialer, enum state state)
{
    if (cbx_states_allow(&states, dialer->address, dialer->state, state))
        dialer->state = state;
}

static void
stop(struct lane_dialer *dialer)
{
    if (dialer->state != OVER)
        set_state(dialer, OVER);
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
    switch (lane_proof_hear(&dialer->proof, dialer->fd)) {
    case LANE_PROOF_MORE:
        break;
    case LANE_PROOF_HOLDS:
        finish(dialer);
        break;
    case LANE_PROOF_WRONG:
        fail(dialer, "what answers at the hub's port failed authentication (it does not know the "
                     "lane's secret)");
        break;
    case LANE_PROOF_CLOSED:
        fail(dialer, "the connection was closed before the lane was answered: does something "
                     "between let only SSH through?");
        break;
    }
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
    if (!lane_proof_send(&dialer->proof, dialer->fd, CBX_LANE_PREFACE)) {
        fail(dialer, "the lane's first bytes could not be sent");
        return;
    }
    set_state(dialer, PROVING);
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
    dialer->fd = lane_proof_socket(tcp);
    if (dialer->fd >= 0)
        prove(dialer);
    else
        fail(dialer, lane_proof_no_socket);
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
                const struct cbx_lane_ticket *ticket, int64_t timeout_ms, int segment_max,
                const struct lane_dialer_ops *ops, void *arg)
{
    struct lane_dialer *dialer = calloc(1, sizeof *dialer);
    if (!dialer)
        return NULL;
    dialer->loop = loop;
    dialer->ops = ops;
    dialer->arg = arg;
    dialer->ticket = *ticket;
    dialer->proof.ticket = &dialer->ticket;
    dialer->timeout_ms = timeout_ms;
    dialer->fd = -1;
    strncpy(dialer->address, address, sizeof dialer->address - 1);
    ev_init(&dialer->readable, on_answer);
    ev_init(&dialer->limit, on_limit);
    dialer->readable.data = dialer->limit.data = dialer;
    dialer->connector =
        connector_new(loop, dialer->address, via, timeout_ms, segment_max, &connector_ops, dialer);
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
