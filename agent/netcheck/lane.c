/* SPDX-License-Identifier: MIT */
/*
 * What lets only SSH through ends the connection in HALF, at the latest. The last byte of the
 * preface goes out at the head of two full segments of zeros: where packets of that length are
 * lost, it does not arrive. Tested by test_netcheck.py and test_black_hole.py.
 */
#include "agent/netcheck/lane.h"

#include "agent/lanes/lane_proof.h"
#include "agent/uplink/connector.h"
#include "common/base/states.h"
#include "common/link/lane.h"
#include "common/os/tcp_path.h"
#include "common/trust/token.h"

#include <ev.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

/* Segments above PADDING_MAX (loopback's) follow the buffers, not the path. */
enum { QUIET_MS = 250, PADDING_MAX = 9000 };
static const char NOT_SENT[] = "a lane's first bytes could not be sent";

enum state {
    CONNECTING, /* the connector works */
    HALF,       /* all of the preface but its last byte went out; nothing may come */
    WHOLE,      /* the last byte, too: the hub closes */
    OVER,
};

static const struct cbx_states states = {
    .what = "netcheck lane to",
    .state =
        {
            [CONNECTING] = {"connecting", CBX_STATE(HALF) | CBX_STATE(OVER)},
            [HALF] = {"half", CBX_STATE(WHOLE) | CBX_STATE(OVER)},
            [WHOLE] = {"whole", CBX_STATE(OVER)},
            [OVER] = {"over", 0},
        },
};

struct netcheck_lane {
    struct ev_loop *loop;
    void (*done)(void *arg, const struct netcheck_lane_result *result);
    void *arg;
    struct connector *connector;
    enum state state;
    int fd; /* -1: none */
    int64_t timeout_ms;
    int segment;
    bool answered;
    ev_io readable;
    ev_timer timer; /* HALF: how long nothing came; WHOLE: the limit */
    char address[CBX_ADDRESS_TEXT_MAX];
    struct cbx_lane_ticket ticket; /* of our own making: no hub knows it */
    struct lane_proof proof;
};

static void
set_state(struct netcheck_lane *lane, enum state state)
{
    if (cbx_states_allow(&states, lane->address, lane->state, state))
        lane->state = state;
}

static void
stop(struct netcheck_lane *lane)
{
    if (lane->state != OVER)
        set_state(lane, OVER);
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
    const struct netcheck_lane_result result = {
        .trouble = trouble, .answered = lane->answered, .segment = lane->segment};
    lane->done(lane->arg, &result);
}

static void
set_timer(struct netcheck_lane *lane, int64_t milliseconds)
{
    ev_timer_stop(lane->loop, &lane->timer);
    ev_now_update(lane->loop);
    ev_timer_set(&lane->timer, (double)milliseconds / 1000., 0.);
    ev_timer_start(lane->loop, &lane->timer);
}

/* In one piece: a segment of the last byte alone would arrive on any path. */
static bool
send_rest(struct netcheck_lane *lane)
{
    uint8_t rest[2 * PADDING_MAX] = {0}, preface[CBX_LANE_PREFACE];
    struct cbx_tcp_path path;
    if (cbx_tcp_path(lane->fd, &path))
        lane->segment = path.segment;
    if (lane->segment > 2 * PADDING_MAX)
        lane->segment = 2 * PADDING_MAX; /* that is how much goes out */
    int full = lane->segment > 0 && lane->segment < PADDING_MAX ? lane->segment : PADDING_MAX;
    cbx_lane_preface(&lane->ticket, preface);
    rest[0] = preface[CBX_LANE_PREFACE - 1];
    ssize_t sent = send(lane->fd, rest, 2 * (size_t)full, MSG_NOSIGNAL | MSG_DONTWAIT);
    return sent >= full;
}

static void
on_timer(struct ev_loop *loop, ev_timer *timer, int events)
{
    (void)loop;
    (void)events;
    struct netcheck_lane *lane = timer->data;
    if (lane->state == WHOLE) {
        finish(lane, "the hub's port did not answer a lane's first bytes: something between holds "
                     "them back, or no hub with lanes is there");
        return;
    }
    if (!send_rest(lane)) {
        finish(lane, NOT_SENT);
        return;
    }
    set_state(lane, WHOLE);
    set_timer(lane, lane->timeout_ms);
}

static void
on_readable(struct ev_loop *loop, ev_io *watcher, int events)
{
    (void)loop;
    (void)events;
    struct netcheck_lane *lane = watcher->data;
    enum lane_proof_result result = lane_proof_hear(&lane->proof, lane->fd);
    lane->answered = true;
    if (lane->proof.heard > 0)
        finish(lane, "something that is not a hub with lanes answered a lane's first bytes");
    else if (result == LANE_PROOF_CLOSED && lane->state == WHOLE)
        finish(lane, "");
    else if (result == LANE_PROOF_CLOSED)
        finish(lane, "the connection was closed in the middle of a lane's first bytes: something "
                     "between lets only SSH through, or the hub knows no lanes");
}

static void
connected(void *arg, struct tcp_buffer *tcp)
{
    struct netcheck_lane *lane = arg;
    connector_free(lane->connector);
    lane->connector = NULL;
    lane->fd = lane_proof_socket(tcp);
    if (lane->fd < 0) {
        finish(lane, lane_proof_no_socket);
        return;
    }
    if (!lane_proof_send(&lane->proof, lane->fd, CBX_LANE_PREFACE - 1)) {
        finish(lane, NOT_SENT);
        return;
    }
    set_state(lane, HALF);
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
netcheck_lane_new(struct ev_loop *loop, const struct netcheck_lane_config *config,
                  void (*done)(void *arg, const struct netcheck_lane_result *result), void *arg)
{
    struct netcheck_lane *lane = calloc(1, sizeof *lane);
    if (!lane)
        return NULL;
    cbx_lane_ticket_make(&lane->ticket, CBX_CIPHER_CHACHA20POLY1305);
    lane->proof.ticket = &lane->ticket;
    (void)snprintf(lane->address, sizeof lane->address, "%s", config->address);
    lane->loop = loop;
    lane->done = done;
    lane->arg = arg;
    lane->fd = -1;
    lane->timeout_ms = config->timeout_ms;
    ev_init(&lane->readable, on_readable);
    ev_init(&lane->timer, on_timer);
    lane->readable.data = lane->timer.data = lane;
    lane->connector = connector_new(loop, config->address, config->via, config->timeout_ms,
                                    config->segment_max, &connector_ops, lane);
    if (!lane->connector) {
        netcheck_lane_free(lane);
        return NULL;
    }
    return lane;
}

void
netcheck_lane_free(struct netcheck_lane *lane)
{
    if (!lane)
        return;
    stop(lane);
    free(lane);
}
