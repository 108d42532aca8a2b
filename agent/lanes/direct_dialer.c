/* SPDX-License-Identifier: MIT */
/*
 * Each attempt: CONNECTING -> PROVING (our preface went out, 32 bytes are awaited) -> closed or
 * won. The ticket is good once, so of several attempts that reach the peer's listener it answers
 * the first and closes the others. When the last attempt is closed, or the time is over, all has
 * failed.
 */
#include "agent/lanes/direct_dialer.h"
#include "common/base/err.h"
#include "common/base/names.h"
#include "common/os/descriptors.h"
#include "common/os/socket.h"
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

struct attempt {
    struct direct_dialer *dialer;
    int fd; /* -1: closed */
    bool proving;
    ev_io io;
    const char *candidate;
    uint8_t answer[CBX_LANE_MAC];
    size_t answered;
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
close_attempt(struct attempt *attempt)
{
    if (attempt->fd < 0)
        return;
    ev_io_stop(attempt->dialer->loop, &attempt->io);
    close(attempt->fd);
    attempt->fd = -1;
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
    int fd = attempt->fd;
    ev_io_stop(dialer->loop, &attempt->io);
    attempt->fd = -1;
    dialer->open--;
    stop(dialer);
    dialer->ops->up(dialer->arg, fd, &dialer->ticket);
}

static void
on_answer(struct attempt *attempt)
{
    ssize_t got = recv(attempt->fd, attempt->answer + attempt->answered,
                       sizeof attempt->answer - attempt->answered, MSG_DONTWAIT);
    if (got < 0 && (errno == EAGAIN || errno == EINTR))
        return;
    if (got <= 0) {
        lose(attempt, "closed without an answer");
        return;
    }
    attempt->answered += (size_t)got;
    if (attempt->answered < sizeof attempt->answer)
        return;
    if (cbx_lane_answer_holds(&attempt->dialer->ticket, attempt->answer))
        win(attempt);
    else
        lose(attempt, "who answers there does not know the lane's secret");
}

static void
on_connected(struct attempt *attempt)
{
    uint8_t preface[CBX_LANE_PREFACE];
    struct direct_dialer *dialer = attempt->dialer;
    int code = 0;
    socklen_t length = sizeof code;
    if (getsockopt(attempt->fd, SOL_SOCKET, SO_ERROR, &code, &length) != 0)
        code = errno;
    if (code != 0) {
        lose(attempt, strerror(code));
        return;
    }
    cbx_lane_preface(&dialer->ticket, preface);
    ssize_t sent = send(attempt->fd, preface, sizeof preface, MSG_NOSIGNAL | MSG_DONTWAIT);
    sodium_memzero(preface, sizeof preface);
    if (sent != (ssize_t)sizeof preface) {
        lose(attempt, "the first bytes could not be sent");
        return;
    }
    attempt->proving = true;
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
    if (attempt->proving)
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
        if (dialer->attempt[i].fd >= 0)
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
        return "no address";
    int fd = socket(address.ss_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (fd < 0)
        return strerror(errno);
    cbx_socket_unpace(fd, (const struct sockaddr *)&address);
    bool scarce = cbx_descriptor_is_reserved(fd);
    if (scarce || (connect(fd, (struct sockaddr *)&address, size) != 0 && errno != EINPROGRESS)) {
        const char *text = scarce ? "no descriptor is free" : strerror(errno);
        close(fd);
        return text;
    }
    attempt->fd = fd;
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
    (void)snprintf(dialer->trouble, sizeof dialer->trouble, "there is no address to try");
    for (uint32_t i = 0; i < to->count; i++) {
        struct attempt *attempt = &dialer->attempt[i];
        *attempt = (struct attempt){.dialer = dialer, .fd = -1, .candidate = dialer->to.item[i]};
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
