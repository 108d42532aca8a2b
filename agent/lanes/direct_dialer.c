/* SPDX-License-Identifier: MIT */
/*
 * Each attempt connects, proves (lane_proof.h), and is lost or won. The ticket is good once, so of
 * several attempts that reach the peer's listener it answers the first and closes the others. When
 * the last attempt is closed, or the time is over, all has failed.
 */
#include "agent/lanes/direct_dialer.h"
#include "agent/lanes/lane_proof.h"
#include "common/base/err.h"
#include "common/base/names.h"
#include "common/base/states.h"
#include "common/os/descriptors.h"
#include "common/os/socket.h"
#include "common/os/tcp_path.h"
#include <arpa/inet.h>
#include <errno.h>
#include <ev.h>
#include <netinet/in.h>
#include <sodium.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

enum attempt_state {
    ATTEMPT_IDLE, /* there is no socket */
    ATTEMPT_CONNECTING,
    ATTEMPT_PROVING, /* our preface went out, the answer is awaited */
    ATTEMPT_LOST,
    ATTEMPT_WON, /* the socket is the owner's */
};

static const struct cbx_states attempt_states = {
    .what = "direct dial to",
    .state =
        {
            [ATTEMPT_IDLE] = {"idle", CBX_STATE(ATTEMPT_CONNECTING)},
            [ATTEMPT_CONNECTING] = {"connecting",
                                    CBX_STATE(ATTEMPT_PROVING) | CBX_STATE(ATTEMPT_LOST)},
            [ATTEMPT_PROVING] = {"proving", CBX_STATE(ATTEMPT_LOST) | CBX_STATE(ATTEMPT_WON)},
            [ATTEMPT_LOST] = {"lost", 0},
            [ATTEMPT_WON] = {"won", 0},
        },
};

struct attempt {
    struct direct_dialer *dialer;
    enum attempt_state state;
    int fd; /* in CONNECTING and PROVING */
    ev_io io;
    const char *candidate;
    struct lane_proof proof;
};

struct direct_dialer {
    struct ev_loop *loop;
    const struct direct_dialer_ops *ops;
    void *arg;
    struct cbx_lane_ticket ticket;
    struct candidates to;
    struct attempt attempt[CANDIDATES_MAX];
    uint32_t open;
    ev_timer limit;
    char trouble[CBX_ERROR_TEXT_MAX]; /* of the attempt that came to an end last */
};

static void
set_state(struct attempt *attempt, enum attempt_state state)
{
    if (cbx_states_allow(&attempt_states, attempt->candidate, attempt->state, state))
        attempt->state = state;
}

static bool
is_open(const struct attempt *attempt)
{
    return attempt->state == ATTEMPT_CONNECTING || attempt->state == ATTEMPT_PROVING;
}

static void
close_attempt(struct attempt *attempt)
{
    if (!is_open(attempt))
        return;
    ev_io_stop(attempt->dialer->loop, &attempt->io);
    close(attempt->fd);
    set_state(attempt, ATTEMPT_LOST);
    attempt->dialer->open--;
}

static void
stop(struct direct_dialer *dialer)
{
    ev_timer_stop(dialer->loop, &dialer->limit);
    for (uint32_t i = 0; i < dialer->to.count; i++)
        close_attempt(&dialer->attempt[i]);
}

static void
note(struct attempt *attempt, const char *text)
{
    struct direct_dialer *dialer = attempt->dialer;
    (void)snprintf(dialer->trouble, sizeof dialer->trouble, "%s: %s", attempt->candidate, text);
}

/* May end the dialer. */
static void
lose(struct attempt *attempt, const char *text)
{
    struct direct_dialer *dialer = attempt->dialer;
    note(attempt, text);
    close_attempt(attempt);
    if (dialer->open > 0)
        return;
    stop(dialer);
    dialer->ops->failed(dialer->arg, dialer->trouble);
}

static void
win(struct attempt *attempt)
{
    struct direct_dialer *dialer = attempt->dialer;
    ev_io_stop(dialer->loop, &attempt->io);
    set_state(attempt, ATTEMPT_WON);
    dialer->open--;
    stop(dialer);
    dialer->ops->up(dialer->arg, attempt->fd, &dialer->ticket);
}

static void
on_answer(struct attempt *attempt)
{
    switch (lane_proof_hear(&attempt->proof, attempt->fd)) {
    case LANE_PROOF_MORE:
        break;
    case LANE_PROOF_HOLDS:
        win(attempt);
        break;
    case LANE_PROOF_WRONG:
        lose(attempt, "the listener there failed authentication (it does not know the lane's "
                      "secret)");
        break;
    case LANE_PROOF_CLOSED:
        lose(attempt, "closed without an answer");
        break;
    }
}

static void
on_connected(struct attempt *attempt)
{
    struct direct_dialer *dialer = attempt->dialer;
    int code = 0;
    socklen_t length = sizeof code;
    if (getsockopt(attempt->fd, SOL_SOCKET, SO_ERROR, &code, &length) != 0)
        code = errno;
    if (code != 0) {
        lose(attempt, strerror(code));
        return;
    }
    if (!lane_proof_send(&attempt->proof, attempt->fd, CBX_LANE_PREFACE)) {
        lose(attempt, "the first bytes could not be sent");
        return;
    }
    set_state(attempt, ATTEMPT_PROVING);
    ev_io_stop(dialer->loop, &attempt->io);
    ev_io_set(&attempt->io, attempt->fd, EV_READ);
    ev_io_start(dialer->loop, &attempt->io);
}

static void
on_event(struct ev_loop *loop, ev_io *watcher, int events)
{
    (void)loop;
    (void)events;
    struct attempt *attempt = watcher->data;
    if (attempt->state == ATTEMPT_PROVING)
        on_answer(attempt);
    else
        on_connected(attempt);
}

static void
on_limit(struct ev_loop *loop, ev_timer *watcher, int events)
{
    (void)loop;
    (void)events;
    struct direct_dialer *dialer = watcher->data;
    for (uint32_t i = 0; i < dialer->to.count; i++) {
        if (is_open(&dialer->attempt[i]))
            note(&dialer->attempt[i], "no answer in time");
    }
    stop(dialer);
    dialer->ops->failed(dialer->arg, dialer->trouble);
}

static socklen_t
address_of(const char *candidate, struct sockaddr_storage *out)
{
    struct sockaddr_in *four = (struct sockaddr_in *)out;
    struct sockaddr_in6 *six = (struct sockaddr_in6 *)out;
    char host[CANDIDATE_TEXT_MAX];
    uint16_t port;
    *out = (struct sockaddr_storage){0};
    if (cbx_host_port_parse(candidate, host, sizeof host, &port) != CBX_OK)
        return 0;
    if (inet_pton(AF_INET, host, &four->sin_addr) == 1) {
        four->sin_family = AF_INET;
        four->sin_port = htons(port);
        return sizeof *four;
    }
    if (inet_pton(AF_INET6, host, &six->sin6_addr) == 1) {
        six->sin6_family = AF_INET6;
        six->sin6_port = htons(port);
        return sizeof *six;
    }
    return 0;
}

/* NULL, or why there is no attempt. */
static const char *
begin(struct attempt *attempt)
{
    struct sockaddr_storage address;
    socklen_t size = address_of(attempt->candidate, &address);
    if (size == 0)
        return "not a numeric address";
    int fd = socket(address.ss_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (fd < 0)
        return strerror(errno);
    cbx_socket_unpace(fd, (const struct sockaddr *)&address);
    cbx_tcp_limit_segments(fd, attempt->dialer->to.segment_max);
    bool scarce = cbx_descriptor_is_reserved(fd);
    if (scarce || (connect(fd, (struct sockaddr *)&address, size) != 0 && errno != EINPROGRESS)) {
        const char *text = scarce ? "no descriptor is free" : strerror(errno);
        close(fd);
        return text;
    }
    attempt->fd = fd;
    set_state(attempt, ATTEMPT_CONNECTING);
    attempt->dialer->open++;
    ev_io_set(&attempt->io, fd, EV_WRITE);
    ev_io_start(attempt->dialer->loop, &attempt->io);
    return NULL;
}

struct direct_dialer *
direct_dialer_new(struct ev_loop *loop, const struct candidates *to,
                  const struct cbx_lane_ticket *ticket, int64_t timeout_ms,
                  const struct direct_dialer_ops *ops, void *arg)
{
    struct direct_dialer *dialer = calloc(1, sizeof *dialer);
    if (!dialer)
        return NULL;
    dialer->loop = loop;
    dialer->ops = ops;
    dialer->arg = arg;
    dialer->ticket = *ticket;
    dialer->to = *to;
    (void)snprintf(dialer->trouble, sizeof dialer->trouble, "no address to try");
    for (uint32_t i = 0; i < to->count; i++) {
        struct attempt *attempt = &dialer->attempt[i];
        attempt->dialer = dialer;
        attempt->candidate = dialer->to.item[i];
        attempt->proof.ticket = &dialer->ticket;
        ev_init(&attempt->io, on_event);
        attempt->io.data = attempt;
        const char *trouble = begin(attempt);
        if (trouble)
            note(attempt, trouble);
    }
    double limit = dialer->open > 0 ? (double)timeout_ms / 1000. : 0.;
    ev_now_update(loop);
    ev_timer_init(&dialer->limit, on_limit, limit, 0.);
    dialer->limit.data = dialer;
    ev_timer_start(loop, &dialer->limit);
    return dialer;
}

void
direct_dialer_free(struct direct_dialer *dialer)
{
    if (!dialer)
        return;
    stop(dialer);
    sodium_memzero(dialer, sizeof *dialer);
    free(dialer);
}
