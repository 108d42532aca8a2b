/* SPDX-License-Identifier: MIT */
/*
 * Linux: a NETLINK_ROUTE socket in the groups for addresses and routes. What changed is of no
 * interest, only that something did which can open a way to the hub: a new address, a route of a
 * table other than the local one come or gone. A message that does not parse is skipped; an
 * overrun (ENOBUFS) means that changes were missed, which counts as one.
 *
 * The period timer runs after each call; `pending` notes a change seen while it runs. Tested by
 * test_direct.py and test_moves.py.
 */
#include "common/os/netwatch.h"

#include <errno.h>
#include <ev.h>
#include <stdbool.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

#ifdef __linux__
#include <linux/netlink.h>
#include <linux/rtnetlink.h>
#endif

enum { DEFAULT_PERIOD_MS = 5000, BURST_MAX = 64 };

struct netwatch {
    struct ev_loop *loop;
    void (*changed)(void *arg);
    void *arg;
    double period;
    ev_io io;
    ev_timer timer;
    int fd; /* -1: no news on this system */
    bool pending;
};

#ifdef __linux__

static int
open_socket(void)
{
    int fd = socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC | SOCK_NONBLOCK, NETLINK_ROUTE);
    if (fd < 0)
        return -1;
    struct sockaddr_nl address = {
        .nl_family = AF_NETLINK,
        .nl_groups =
            RTMGRP_IPV4_IFADDR | RTMGRP_IPV6_IFADDR | RTMGRP_IPV4_ROUTE | RTMGRP_IPV6_ROUTE,
    };
    if (bind(fd, (const struct sockaddr *)&address, sizeof address) != 0) {
        close(fd);
        return -1;
    }
    return fd;
}

static bool
message_matters(const struct nlmsghdr *header)
{
    if (header->nlmsg_type == RTM_NEWADDR)
        return true;
    if (header->nlmsg_type != RTM_NEWROUTE && header->nlmsg_type != RTM_DELROUTE)
        return false;
    if (header->nlmsg_len < NLMSG_LENGTH(sizeof(struct rtmsg)))
        return false;
    const struct rtmsg *route = NLMSG_DATA(header);
    return route->rtm_table != RT_TABLE_LOCAL && (route->rtm_flags & RTM_F_CLONED) == 0;
}

/* Reads what is there; true when something that matters changed. */
static bool
read_news(int fd)
{
    bool matters = false;
    for (int i = 0; i < BURST_MAX; i++) {
        _Alignas(struct nlmsghdr) char buffer[8192];
        struct sockaddr_nl from = {0};
        socklen_t from_length = sizeof from;
        ssize_t length =
            recvfrom(fd, buffer, sizeof buffer, 0, (struct sockaddr *)&from, &from_length);
        if (length < 0 && errno == ENOBUFS) {
            matters = true;
            continue;
        }
        if (length <= 0)
            break;
        if (from.nl_pid != 0) /* only the kernel speaks for the kernel */
            continue;
        unsigned left = (unsigned)length;
        for (const struct nlmsghdr *header = (const struct nlmsghdr *)buffer;
             NLMSG_OK(header, left); header = NLMSG_NEXT(header, left))
            matters = matters || message_matters(header);
    }
    return matters;
}

#else

static int
open_socket(void)
{
    return -1;
}

static bool
read_news(int fd)
{
    (void)fd;
    return false;
}

#endif

static void
tell(struct netwatch *watch)
{
    watch->pending = false;
    ev_timer_set(&watch->timer, watch->period, 0.);
    ev_timer_start(watch->loop, &watch->timer);
    watch->changed(watch->arg);
}

static void
on_news(struct ev_loop *loop, ev_io *io, int events)
{
    (void)loop;
    (void)events;
    struct netwatch *watch = io->data;
    if (!read_news(watch->fd))
        return;
    if (ev_is_active(&watch->timer))
        watch->pending = true;
    else
        tell(watch);
}

static void
on_period_end(struct ev_loop *loop, ev_timer *timer, int events)
{
    (void)loop;
    (void)events;
    struct netwatch *watch = timer->data;
    if (watch->pending)
        tell(watch);
}

struct netwatch *
netwatch_new(struct ev_loop *loop, int64_t period_ms, void (*changed)(void *arg), void *arg)
{
    struct netwatch *watch = calloc(1, sizeof *watch);
    if (!watch)
        return NULL;
    watch->loop = loop;
    watch->changed = changed;
    watch->arg = arg;
    watch->period = (double)(period_ms > 0 ? period_ms : DEFAULT_PERIOD_MS) / 1000.;
    watch->fd = open_socket();
    ev_init(&watch->timer, on_period_end);
    watch->timer.data = watch;
    ev_io_init(&watch->io, on_news, watch->fd, EV_READ);
    watch->io.data = watch;
    if (watch->fd >= 0)
        ev_io_start(loop, &watch->io);
    return watch;
}

void
netwatch_free(struct netwatch *watch)
{
    if (!watch)
        return;
    ev_io_stop(watch->loop, &watch->io);
    ev_timer_stop(watch->loop, &watch->timer);
    if (watch->fd >= 0)
        close(watch->fd);
    free(watch);
}
