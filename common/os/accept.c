/* SPDX-License-Identifier: MIT */
/* Sorts what accept() failed with, and pauses a listener that has no room. */
#include "common/os/accept.h"

#include "common/base/clock.h"

#include <errno.h>
#include <fcntl.h>
#include <unistd.h>

enum { BATCH = 64, SAY_AGAIN_US = 60 * 1000 * 1000 }; /* after a batch others have their turn */
static const double PAUSE_S = 0.1;

/* What accept(2) says of one client and not of us. */
static bool
is_clients_fault(int code)
{
    switch (code) {
    case EINTR: /* nobody's */
    case ECONNABORTED:
    case EPERM: /* a firewall's word */
    case EPROTO:
    case ENETDOWN:
    case ENETUNREACH:
    case EHOSTDOWN:
    case EHOSTUNREACH:
    case ENONET:
    case ENOPROTOOPT:
        return true;
    default:
        return false;
    }
}

static void
pause_accepting(struct cbx_acceptor *acceptor, int cause)
{
    int64_t now = cbx_clock_us(), *said = &acceptor->said_us[cause != CBX_ACCEPT_FULL];
    bool say = *said == 0 || now - *said >= SAY_AGAIN_US;
    ev_io_stop(acceptor->loop, &acceptor->readable);
    ev_timer_set(&acceptor->resume, PAUSE_S, 0.);
    ev_timer_start(acceptor->loop, &acceptor->resume);
    if (say)
        *said = now;
    if (acceptor->ops->paused)
        acceptor->ops->paused(acceptor->arg, cause, say);
}

static void
renew_spare(struct cbx_acceptor *acceptor)
{
    if (acceptor->spare < 0 && acceptor->ops->turned_away)
        acceptor->spare = open("/dev/null", O_RDONLY | O_CLOEXEC);
}

/* Why not even one more may be accepted now; -1: it may. */
static int
cause_to_wait(const struct cbx_acceptor *acceptor)
{
    const struct cbx_acceptor_ops *ops = acceptor->ops;
    if (ops->full && ops->full(acceptor->arg))
        return CBX_ACCEPT_FULL;
    if (!ops->turned_away &&
        cbx_descriptors_scarce(ops->use, acceptor->readable.fd,
                               ops->promised ? ops->promised(acceptor->arg) : 0))
        return EMFILE;
    return -1;
}

/* The spare descriptor makes room for the first in the queue, which is closed. */
static bool
turn_one_away(struct cbx_acceptor *acceptor)
{
    if (acceptor->spare < 0)
        return false;
    (void)close(acceptor->spare);
    acceptor->spare = -1;
    int fd = accept4(acceptor->readable.fd, NULL, NULL, SOCK_CLOEXEC);
    if (fd >= 0) {
        (void)close(fd);
        acceptor->ops->turned_away(acceptor->arg);
    }
    renew_spare(acceptor);
    return fd >= 0;
}

static void
take(struct cbx_acceptor *acceptor, int fd, const struct sockaddr *from)
{
    const struct cbx_acceptor_ops *ops = acceptor->ops;
    if (ops->turned_away && cbx_descriptor_is_reserved(fd)) {
        (void)close(fd);
        ops->turned_away(acceptor->arg);
    } else {
        ops->take(acceptor->arg, fd, from);
    }
}

/* False: enough for now. */
static bool
accept_one(struct cbx_acceptor *acceptor)
{
    struct sockaddr_storage from = {0};
    socklen_t length = sizeof from;
    int cause = cause_to_wait(acceptor);
    if (cause < 0) {
        int fd = accept4(acceptor->readable.fd, (struct sockaddr *)&from, &length,
                         SOCK_NONBLOCK | SOCK_CLOEXEC);
        cause = errno;
        if (fd >= 0) {
            take(acceptor, fd, (const struct sockaddr *)&from);
            return true;
        }
        if (cause == EAGAIN)
            return false;
        if (is_clients_fault(cause) ||
            ((cause == EMFILE || cause == ENFILE) && turn_one_away(acceptor)))
            return true;
    }
    pause_accepting(acceptor, cause);
    return false;
}

static void
on_readable(struct ev_loop *loop, ev_io *watcher, int events)
{
    (void)loop;
    (void)events;
    for (int i = 0; i < BATCH && accept_one(watcher->data); i++)
        ;
}

static void
on_resume(struct ev_loop *loop, ev_timer *timer, int events)
{
    (void)events;
    struct cbx_acceptor *acceptor = timer->data;
    renew_spare(acceptor);
    ev_io_start(loop, &acceptor->readable);
}

void
cbx_acceptor_start(struct cbx_acceptor *acceptor, struct ev_loop *loop, int fd,
                   const struct cbx_acceptor_ops *ops, void *arg)
{
    *acceptor = (struct cbx_acceptor){.loop = loop, .ops = ops, .arg = arg, .spare = -1};
    ev_io_init(&acceptor->readable, on_readable, fd, EV_READ);
    ev_timer_init(&acceptor->resume, on_resume, PAUSE_S, 0.);
    acceptor->readable.data = acceptor->resume.data = acceptor;
    if (fd < 0)
        return;
    renew_spare(acceptor);
    ev_io_start(loop, &acceptor->readable);
}

void
cbx_acceptor_stop(struct cbx_acceptor *acceptor)
{
    if (acceptor->readable.fd < 0)
        return;
    ev_io_stop(acceptor->loop, &acceptor->readable);
    ev_timer_stop(acceptor->loop, &acceptor->resume);
    (void)close(acceptor->readable.fd);
    if (acceptor->spare >= 0)
        (void)close(acceptor->spare);
    acceptor->readable.fd = acceptor->spare = -1;
}
