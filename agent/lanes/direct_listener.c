/* SPDX-License-Identifier: MIT */
/*
 * A connection is read from when it is accepted: a peer's preface comes with its first packet, so
 * it takes no place. Others wait in one until their 64 bytes are there or 3 s are over, and are
 * then handed out or closed; either way they are forgotten here. When all places (or those of one
 * address) are taken, the oldest silent one goes: silence cannot keep peers out.
 *
 * Without a free descriptor connections are closed at once (common/os/accept.h): whoever tries
 * several addresses learns soon that this one does not answer.
 */
#include "agent/lanes/direct_listener.h"
#include "agent/mesh/candidates.h"
#include "common/base/clock.h"
#include "common/base/names.h"
#include "common/os/accept.h"
#include "common/os/socket.h"
#include <errno.h>
#include <ev.h>
#include <netdb.h>
#include <netinet/in.h>
#include <sodium.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/queue.h>
#include <sys/socket.h>
#include <unistd.h>

enum { BACKLOG = 64, ADDRESS_BYTES = 16 };
static const double TICK_S = 0.25;

struct first_bytes {
    size_t got;
    uint8_t preface[CBX_LANE_PREFACE];
};

struct stranger {
    TAILQ_ENTRY(stranger) entry;
    struct direct_listener *listener;
    ev_io readable;
    int64_t until_us;
    uint8_t address[ADDRESS_BYTES];
    struct first_bytes first;
};

struct direct_listener {
    struct ev_loop *loop;
    enum direct_verdict (*took)(void *arg, int fd, const uint8_t preface[CBX_LANE_PREFACE]);
    void *arg;
    struct cbx_acceptor acceptor;
    ev_timer tick;                    /* runs while somebody waits */
    TAILQ_HEAD(, stranger) strangers; /* oldest first */
    uint32_t waiting;
    uint16_t port;
    char bound[DIRECT_BOUND_MAX];
    struct {
        uint64_t accepted, proven, repeated, refused, silent, crowded, exhausted;
    } count;
};

/* ---- one connection ---- */

enum progress { MORE, WHOLE, OVER };

/* Only as far as the bytes are a preface's. */
static enum progress
read_more(int fd, struct first_bytes *first)
{
    ssize_t got =
        recv(fd, first->preface + first->got, sizeof first->preface - first->got, MSG_DONTWAIT);
    if (got < 0 && (errno == EAGAIN || errno == EINTR))
        return MORE;
    if (got <= 0)
        return OVER;
    first->got += (size_t)got;
    size_t magic = first->got < CBX_LANE_MAGIC ? first->got : CBX_LANE_MAGIC;
    if (memcmp(first->preface, cbx_lane_magic, magic) != 0)
        return OVER;
    return first->got == sizeof first->preface ? WHOLE : MORE;
}

static void
set_low_water(int fd, size_t missing)
{
    const int bytes = (int)missing;
    (void)setsockopt(fd, SOL_SOCKET, SO_RCVLOWAT, &bytes, sizeof bytes);
}

static void
hand_out(struct direct_listener *listener, int fd, struct first_bytes *first)
{
    switch (listener->took(listener->arg, fd, first->preface)) {
    case DIRECT_PROVEN:
        listener->count.proven++;
        break;
    case DIRECT_REPEATED:
        listener->count.repeated++;
        break;
    case DIRECT_STRANGER:
        listener->count.refused++;
        break;
    }
    sodium_memzero(first, sizeof *first);
}

static void
forget(struct stranger *stranger, bool keep_socket)
{
    struct direct_listener *listener = stranger->listener;
    ev_io_stop(listener->loop, &stranger->readable);
    if (!keep_socket)
        close(stranger->readable.fd);
    TAILQ_REMOVE(&listener->strangers, stranger, entry);
    listener->waiting--;
    free(stranger);
}

static void
on_preface(struct ev_loop *loop, ev_io *watcher, int events)
{
    (void)loop;
    (void)events;
    struct stranger *stranger = watcher->data;
    struct direct_listener *listener = stranger->listener;
    int fd = watcher->fd;
    enum progress progress = read_more(fd, &stranger->first);
    if (progress == MORE) {
        set_low_water(fd, sizeof stranger->first.preface - stranger->first.got);
        return;
    }
    struct first_bytes first = stranger->first;
    forget(stranger, progress == WHOLE);
    if (progress == OVER) {
        listener->count.refused++;
        return;
    }
    set_low_water(fd, 1);
    hand_out(listener, fd, &first);
}

/* IPv4 whole, IPv6 by /64. */
static void
address_of(const struct sockaddr *from, uint8_t out[ADDRESS_BYTES])
{
    memset(out, 0, ADDRESS_BYTES);
    if (from->sa_family == AF_INET6) {
        const struct in6_addr *six = &((const struct sockaddr_in6 *)(const void *)from)->sin6_addr;
        memcpy(out, six->s6_addr, IN6_IS_ADDR_V4MAPPED(six) ? 16 : 8);
    } else if (from->sa_family == AF_INET) {
        memcpy(out, &((const struct sockaddr_in *)(const void *)from)->sin_addr, 4);
    }
}

static void
make_room(struct direct_listener *listener, const uint8_t address[ADDRESS_BYTES])
{
    uint32_t same = 0;
    struct stranger *stranger, *oldest = TAILQ_FIRST(&listener->strangers), *own = NULL;
    TAILQ_FOREACH(stranger, &listener->strangers, entry) {
        if (memcmp(stranger->address, address, ADDRESS_BYTES) != 0)
            continue;
        own = own != NULL ? own : stranger;
        same++;
    }
    if (same >= DIRECT_WAITING_PER_ADDRESS)
        oldest = own;
    else if (listener->waiting < DIRECT_WAITING_MAX)
        return;
    listener->count.crowded++;
    forget(oldest, false);
}

static bool
let_wait(struct direct_listener *listener, int fd, const struct first_bytes *first,
         const struct sockaddr *from)
{
    struct stranger *stranger = calloc(1, sizeof *stranger);
    if (!stranger)
        return false;
    address_of(from, stranger->address);
    make_room(listener, stranger->address);
    set_low_water(fd, sizeof first->preface - first->got);
    stranger->listener = listener;
    stranger->first = *first;
    stranger->until_us = cbx_clock_us() + DIRECT_PREFACE_MS * 1000;
    ev_io_init(&stranger->readable, on_preface, fd, EV_READ);
    stranger->readable.data = stranger;
    ev_io_start(listener->loop, &stranger->readable);
    TAILQ_INSERT_TAIL(&listener->strangers, stranger, entry);
    listener->waiting++;
    if (!ev_is_active(&listener->tick))
        ev_timer_again(listener->loop, &listener->tick);
    return true;
}

static void
admit(void *arg, int fd, const struct sockaddr *from)
{
    struct direct_listener *listener = arg;
    struct first_bytes first = {0};
    listener->count.accepted++;
    cbx_socket_unpace(fd, from);
    switch (read_more(fd, &first)) {
    case WHOLE:
        hand_out(listener, fd, &first);
        return;
    case MORE:
        if (let_wait(listener, fd, &first, from))
            return;
        listener->count.exhausted++;
        break;
    case OVER:
        listener->count.refused++;
        break;
    }
    close(fd);
}

static void
on_turned_away(void *arg)
{
    struct direct_listener *listener = arg;
    listener->count.exhausted++;
}

static const struct cbx_acceptor_ops acceptor_ops = {
    .use = CBX_DESCRIPTORS_CLIENTS,
    .take = admit,
    .turned_away = on_turned_away,
};

/* ---- time ---- */

static void
on_tick(struct ev_loop *loop, ev_timer *timer, int events)
{
    (void)events;
    struct direct_listener *listener = timer->data;
    struct stranger *stranger;
    int64_t now = cbx_clock_us();
    while ((stranger = TAILQ_FIRST(&listener->strangers)) && stranger->until_us <= now) {
        listener->count.silent++;
        forget(stranger, false);
    }
    if (listener->waiting == 0)
        ev_timer_stop(loop, timer);
}

/* ---- binding ---- */

/* A bound socket, or CBX_ERR_*. */
static int
bind_to(const char *host, uint16_t port, struct cbx_error *error)
{
    char service[8];
    struct addrinfo hints = {.ai_socktype = SOCK_STREAM,
                             .ai_flags = AI_PASSIVE | AI_NUMERICHOST | AI_NUMERICSERV};
    struct addrinfo *found = NULL;
    const int one = 1, zero = 0;
    (void)snprintf(service, sizeof service, "%u", port);
    if (getaddrinfo(host, service, &hints, &found) != 0)
        return cbx_fail(error, CBX_ERR_USAGE, "--direct %s: write a numeric address", host);
    int fd = socket(found->ai_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (fd >= 0 && found->ai_family == AF_INET6)
        (void)setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &zero, sizeof zero);
    if (fd >= 0)
        (void)setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one);
    if (fd >= 0)
        cbx_socket_unpace(fd, found->ai_addr);
    if (fd < 0 || bind(fd, found->ai_addr, found->ai_addrlen) < 0 || listen(fd, BACKLOG) < 0) {
        (void)cbx_fail(error, CBX_ERR_IO, "--direct: cannot listen on %s port %u: %s", host, port,
                       strerror(errno));
        if (fd >= 0)
            close(fd);
        fd = CBX_ERR_IO;
    }
    freeaddrinfo(found);
    return fd;
}

static int
bind_where(struct direct_listener *listener, const char *where, struct cbx_error *error)
{
    uint16_t port = 0;
    if (strcmp(where, "auto") == 0) {
        /* IPv6 and IPv4 on one socket where the system has both. */
        memcpy(listener->bound, "::", sizeof "::");
        int fd = bind_to(listener->bound, 0, error);
        if (fd >= 0)
            return fd;
        memcpy(listener->bound, "0.0.0.0", sizeof "0.0.0.0");
        return bind_to(listener->bound, 0, error);
    }
    if (cbx_listen_parse(where, listener->bound, sizeof listener->bound, &port) != CBX_OK)
        return cbx_fail(error, CBX_ERR_USAGE, "--direct %s: not ADDR:PORT", where);
    return bind_to(listener->bound, port, error);
}

/* Peers connect to no port below 1024. */
static int
note_port(struct direct_listener *listener, int fd, struct cbx_error *error)
{
    struct sockaddr_in6 own = {0}; /* its port is where an IPv4 address has it */
    socklen_t length = sizeof own;
    (void)getsockname(fd, (struct sockaddr *)&own, &length);
    listener->port = ntohs(own.sin6_port);
    if (listener->port >= CANDIDATE_PORT_MIN)
        return CBX_OK;
    return cbx_fail(
        error, CBX_ERR_USAGE,
        "--direct: peers do not connect to ports below %d, such as %u; choose a higher one",
        CANDIDATE_PORT_MIN, listener->port);
}

/* ---- the whole ---- */

struct direct_listener *
direct_listener_new(struct ev_loop *loop, const char *where,
                    enum direct_verdict (*took)(void *arg, int fd,
                                                const uint8_t preface[CBX_LANE_PREFACE]),
                    void *arg, struct cbx_error *error)
{
    struct direct_listener *listener = calloc(1, sizeof *listener);
    if (!listener) {
        (void)cbx_fail(error, CBX_ERR_NOMEM, "out of memory");
        return NULL;
    }
    listener->loop = loop;
    listener->took = took;
    listener->arg = arg;
    TAILQ_INIT(&listener->strangers);
    int fd = bind_where(listener, where, error);
    if (fd < 0 || note_port(listener, fd, error) != CBX_OK) {
        if (fd >= 0)
            close(fd);
        free(listener);
        return NULL;
    }
    cbx_acceptor_start(&listener->acceptor, loop, fd, &acceptor_ops, listener);
    ev_timer_init(&listener->tick, on_tick, 0., TICK_S);
    listener->tick.data = listener;
    return listener;
}

void
direct_listener_free(struct direct_listener *listener)
{
    if (!listener)
        return;
    while (!TAILQ_EMPTY(&listener->strangers))
        forget(TAILQ_FIRST(&listener->strangers), false);
    ev_timer_stop(listener->loop, &listener->tick);
    cbx_acceptor_stop(&listener->acceptor);
    free(listener);
}

uint16_t
direct_listener_port(const struct direct_listener *listener)
{
    return listener->port;
}

const char *
direct_listener_bound(const struct direct_listener *listener)
{
    return listener->bound;
}

json_t *
direct_listener_json(const struct direct_listener *listener)
{
    char text[DIRECT_BOUND_MAX + 16];
    bool six = strchr(listener->bound, ':') != NULL;
    (void)snprintf(text, sizeof text, six ? "[%s]:%u" : "%s:%u", listener->bound, listener->port);
    return json_pack(
        "{s:s, s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:I}", "listening", text, "waiting",
        (json_int_t)listener->waiting, "accepted", (json_int_t)listener->count.accepted, "proven",
        (json_int_t)listener->count.proven, "repeated", (json_int_t)listener->count.repeated,
        "refused", (json_int_t)listener->count.refused, "silent",
        (json_int_t)listener->count.silent, "crowded", (json_int_t)listener->count.crowded,
        "exhausted", (json_int_t)listener->count.exhausted);
}
