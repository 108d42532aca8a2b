/* SPDX-License-Identifier: MIT */
/*
 * A target lives from the mesh's question until connect() has an answer. The mesh keeps the stream
 * until it hears mesh_accept or mesh_refuse, even if the dialer gives up meanwhile. Answers known
 * inside the question (limits, no route, no descriptors) wait in a list for the end of the batch.
 * Tested by test_front.
 */
#include "agent/front/target.h"

#include "common/base/log.h"
#include "common/os/descriptors.h"
#include "common/os/socket.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

enum { REFUSALS_ROOM = 64 };

struct target_refusal {
    struct mesh_stream *stream;
    enum cbx_reason reason;
};

struct target {
    LIST_ENTRY(target) in_set;
    struct target_set *set;
    struct mesh_stream *stream;
    struct share *share; /* NULL once the conn has it */
    int fd;
    struct ev_io connecting;
    struct ev_timer deadline;
    char from[CBX_SLUG_MAX + 1];
    struct cbx_expose_item item;
};

enum cbx_reason
target_reason(int error)
{
    switch (error) {
    case ECONNREFUSED:
    case ECONNRESET:
        return CBX_REASON_REFUSED;
    case ENETUNREACH:
    case EHOSTUNREACH:
    case ENETDOWN:
    case EHOSTDOWN:
    case EADDRNOTAVAIL:
    case EAFNOSUPPORT:
    case EINVAL:
        return CBX_REASON_UNREACHABLE;
    case ETIMEDOUT:
        return CBX_REASON_TIMED_OUT;
    case EMFILE:
    case ENFILE:
    case ENOMEM:
    case ENOBUFS:
    case EAGAIN:
        return CBX_REASON_OVERLOADED;
    case EACCES:
    case EPERM: /* a firewall on this box */
        return CBX_REASON_DENIED;
    default:
        return CBX_REASON_INTERNAL;
    }
}

static void
target_free(struct target *target)
{
    struct target_set *set = target->set;
    ev_io_stop(set->conns->loop, &target->connecting);
    ev_timer_stop(set->conns->loop, &target->deadline);
    if (target->fd >= 0)
        close(target->fd);
    LIST_REMOVE(target, in_set);
    share_drop(&set->conns->shares, target->share);
    set->count--;
    free(target);
}

static void
fail(struct target *target, enum cbx_reason reason, const char *text)
{
    cbx_log_debug("%s dials port %u: %s port %u: %s", target->from, (unsigned)target->item.port,
                  target->item.target, (unsigned)target->item.target_port, text);
    struct mesh_stream *stream = target->stream;
    target->set->stats.refused++;
    target_free(target);
    mesh_refuse(stream, reason);
}

/* A connect to a free port of this box may meet itself, when the kernel picks that very port as
 * its source. */
static bool
met_itself(int fd)
{
    struct sockaddr_storage here, there;
    memset(&here, 0, sizeof here);
    memset(&there, 0, sizeof there);
    socklen_t here_size = sizeof here, there_size = sizeof there;
    return getsockname(fd, (struct sockaddr *)&here, &here_size) == 0 &&
           getpeername(fd, (struct sockaddr *)&there, &there_size) == 0 &&
           here_size == there_size && memcmp(&here, &there, here_size) == 0;
}

static void
succeed(struct target *target)
{
    struct target_set *set = target->set;
    struct mesh_stream *stream = target->stream;
    ev_io_stop(set->conns->loop, &target->connecting);
    struct conn *conn = conn_new(set->conns, target->fd, NULL, NULL, 0);
    if (!conn) {
        fail(target, CBX_REASON_OVERLOADED, "out of memory");
        return;
    }
    cbx_log_debug("%s dials port %u: connected to %s port %u", target->from,
                  (unsigned)target->item.port, target->item.target,
                  (unsigned)target->item.target_port);
    set->stats.accepted++;
    struct share *share = target->share;
    target->fd = -1;
    target->share = NULL;
    target_free(target);
    conn_accept(conn, stream, share);
}

/* The item's address; 0 when it is not a literal one. */
static socklen_t
make_address(const struct cbx_expose_item *item, struct sockaddr_storage *out)
{
    memset(out, 0, sizeof *out);
    struct sockaddr_in *v4 = (struct sockaddr_in *)out;
    struct sockaddr_in6 *v6 = (struct sockaddr_in6 *)out;
    if (inet_pton(AF_INET, item->target, &v4->sin_addr) == 1) {
        v4->sin_family = AF_INET;
        v4->sin_port = htons(item->target_port);
        return sizeof *v4;
    }
    memset(out, 0, sizeof *out);
    if (inet_pton(AF_INET6, item->target, &v6->sin6_addr) == 1) {
        v6->sin6_family = AF_INET6;
        v6->sin6_port = htons(item->target_port);
        return sizeof *v6;
    }
    return 0;
}

/* A socket that connects or has connected, or a negative errno. */
static int
open_socket(const struct cbx_expose_item *item)
{
    struct sockaddr_storage address;
    socklen_t size = make_address(item, &address);
    if (size == 0)
        return -EINVAL;
    int fd = socket(address.ss_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (fd < 0)
        return -errno;
    if (cbx_descriptor_is_reserved(fd)) {
        close(fd);
        return -EMFILE;
    }
    int on = 1;
    (void)setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
    cbx_socket_unpace(fd, (struct sockaddr *)&address);
    if (connect(fd, (struct sockaddr *)&address, size) != 0 && errno != EINPROGRESS) {
        int error = errno;
        close(fd);
        return -error;
    }
    return fd;
}

/* A server that listens on [::1] only is as much this box's as one on 127.0.0.1. True: the target
 * is being connected to there. */
static bool
try_loopback_six(struct target *target)
{
    struct ev_loop *loop = target->set->conns->loop;
    if (strcmp(target->item.target, "127.0.0.1") != 0)
        return false;
    (void)snprintf(target->item.target, sizeof target->item.target, "::1");
    int fd = open_socket(&target->item);
    if (fd < 0)
        return false;
    ev_io_stop(loop, &target->connecting);
    close(target->fd);
    target->fd = fd;
    ev_io_set(&target->connecting, fd, EV_WRITE);
    ev_io_start(loop, &target->connecting);
    return true;
}

static void
on_connected(struct ev_loop *loop, struct ev_io *io, int events)
{
    (void)loop;
    (void)events;
    struct target *target = io->data;
    int error = 0;
    socklen_t size = sizeof error;
    if (getsockopt(target->fd, SOL_SOCKET, SO_ERROR, &error, &size) != 0)
        error = errno;
    if (error == 0 && met_itself(target->fd))
        error = ECONNREFUSED;
    if (error == ECONNREFUSED && try_loopback_six(target))
        return;
    if (error != 0)
        fail(target, target_reason(error), strerror(error));
    else
        succeed(target);
}

static void
on_deadline(struct ev_loop *loop, struct ev_timer *timer, int events)
{
    (void)loop;
    (void)events;
    fail(timer->data, CBX_REASON_TIMED_OUT, "no answer in time");
}

void
target_connect(struct target_set *set, struct mesh_stream *stream, const char *from,
               const struct cbx_expose_item *item, struct share *share)
{
    int fd = open_socket(item);
    struct target *target = fd < 0 ? NULL : calloc(1, sizeof *target);
    if (!target) {
        int error = fd < 0 ? -fd : ENOMEM;
        if (fd >= 0)
            close(fd);
        cbx_log_debug("%s dials port %u: %s port %u: %s", from, (unsigned)item->port, item->target,
                      (unsigned)item->target_port, strerror(error));
        share_drop(&set->conns->shares, share);
        target_refuse(set, stream, target_reason(error));
        return;
    }
    set->stats.incoming++;
    target->set = set;
    target->stream = stream;
    target->share = share;
    target->fd = fd;
    target->item = *item;
    (void)snprintf(target->from, sizeof target->from, "%s", from);
    ev_io_init(&target->connecting, on_connected, fd, EV_WRITE);
    ev_timer_init(&target->deadline, on_deadline, set->connect_s, 0.);
    target->connecting.data = target->deadline.data = target;
    cbx_log_debug("%s dials port %u: connecting to %s port %u", from, (unsigned)item->port,
                  item->target, (unsigned)item->target_port);
    LIST_INSERT_HEAD(&set->connecting, target, in_set);
    set->count++;
    ev_io_start(set->conns->loop, &target->connecting);
    ev_timer_start(set->conns->loop, &target->deadline);
}

/* Room for one more, or false. */
static bool
make_room(struct target_set *set)
{
    if (set->refusals_count < set->refusals_room)
        return true;
    uint32_t room = set->refusals_room * 2;
    struct target_refusal *grown = reallocarray(set->refusals, room, sizeof *grown);
    if (!grown)
        return false;
    set->refusals = grown;
    set->refusals_room = room;
    return true;
}

void
target_refuse(struct target_set *set, struct mesh_stream *stream, enum cbx_reason reason)
{
    set->stats.incoming++;
    set->stats.refused++;
    if (!make_room(set)) {
        cbx_log_warn("out of memory: an incoming stream cannot be answered");
        return;
    }
    set->refusals[set->refusals_count++] = (struct target_refusal){stream, reason};
    ev_feed_event(set->conns->loop, &set->after, EV_CUSTOM);
}

static void
send_refusals(struct target_set *set)
{
    /* The mesh may ask for more inside; those are appended, and this list may move. */
    for (uint32_t i = 0; i < set->refusals_count; i++) {
        struct target_refusal refusal = set->refusals[i];
        mesh_refuse(refusal.stream, refusal.reason);
    }
    set->refusals_count = 0;
}

static void
on_after(struct ev_loop *loop, struct ev_prepare *after, int events)
{
    (void)loop;
    (void)events;
    send_refusals(after->data);
}

int
target_set_init(struct target_set *set, struct conn_set *conns, int64_t connect_timeout_ms)
{
    memset(set, 0, sizeof *set);
    set->conns = conns;
    set->connect_s = (double)connect_timeout_ms / 1e3;
    LIST_INIT(&set->connecting);
    ev_prepare_init(&set->after, on_after);
    ev_set_priority(&set->after, EV_MINPRI);
    set->after.data = set;
    set->refusals = calloc(REFUSALS_ROOM, sizeof *set->refusals);
    set->refusals_room = REFUSALS_ROOM;
    return !set->refusals ? CBX_ERR_NOMEM : 0;
}

void
target_set_abandon(struct target_set *set, enum cbx_reason reason)
{
    struct target *target;
    while ((target = LIST_FIRST(&set->connecting)))
        fail(target, reason, cbx_reason_text(reason));
    send_refusals(set);
}

void
target_set_clear(struct target_set *set)
{
    target_set_abandon(set, CBX_REASON_GOING_AWAY);
    ev_clear_pending(set->conns->loop, &set->after);
    free(set->refusals);
    set->refusals = NULL;
}
