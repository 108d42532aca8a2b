/* SPDX-License-Identifier: MIT */
/*
 * The front owns the listener, the dials of `cbx-agent dial`, and the three sets behind it:
 * proxy (clients that have not said what they want), targets (incoming streams that connect) and
 * conns (sockets with a stream). One limit holds over all of them.
 *
 * Beyond the limit the proxy's clients are still accepted, some at a time, to hear that they are
 * refused. The listener pauses when those are too many, or when descriptors run out
 * (common/os/accept.h); each pause is counted.
 */
#include "agent/front/front.h"

#include "agent/front/conn.h"
#include "agent/front/proxy.h"
#include "agent/front/target.h"
#include "common/base/log.h"
#include "common/base/names.h"
#include "common/os/accept.h"
#include "common/os/socket.h"

#include <errno.h>
#include <netdb.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

enum {
    TIMEOUT_DEFAULT_MS = 10 * 1000,
    CONNECTIONS_DEFAULT = 8192,
    REFUSED_MAX = 256, /* those beyond it that are being told so */
    KEEPALIVE_DEFAULT_MS = 60 * 1000,
    BACKLOG = 1024,
    ADDRESS_TEXT_MAX = 80,
    HOST_MAX = 64,
};

/* Why the listener paused. */
enum pause { PAUSE_LIMIT, PAUSE_SYSTEM, PAUSE_CAUSES };

struct front {
    struct ev_loop *loop;
    struct conn_set conns;
    struct proxy proxy;
    struct target_set targets;
    LIST_HEAD(, front_dial) dials;
    uint32_t connections_max;
    struct cbx_acceptor acceptor;
    char address[ADDRESS_TEXT_MAX];
    struct cbx_error warning; /* front_warning */
    uint64_t accepted;
    uint64_t paused[PAUSE_CAUSES];
    bool limit_said; /* logged, and not below the limit since then */
};

struct front_dial {
    LIST_ENTRY(front_dial) in_front;
    struct conn *conn;
    const struct front_dial_ops *ops;
    void *arg;
};

static uint32_t
connections(const struct front *front)
{
    return front->conns.count + proxy_count(&front->proxy) + front->targets.count;
}

/*
 * Three kinds of users share the places, and none can have them all: peers at most three quarters
 * (share.h: and none of them all of these), the proxy's clients at most seven eighths, both of
 * them together all but the last thirty-second, which is for `cbx-agent dial`.
 */
static uint32_t
part(const struct front *front, uint32_t divisor)
{
    return front->connections_max - front->connections_max / divisor;
}

static bool
clients_are_at(const struct front *front, uint32_t beyond)
{
    uint32_t all = connections(front), outgoing = all - front->conns.shares.total;
    return all >= part(front, 32) + beyond || outgoing >= part(front, 8) + beyond;
}

/* Said once each time that the limit is reached. */
static bool
is_at_limit(struct front *front)
{
    bool reached = clients_are_at(front, 0);
    if (reached && !front->limit_said)
        cbx_log_warn("proxy %s: all connections that clients may have are in use (%u in all); new "
                     "clients are refused",
                     front->address, (unsigned)connections(front));
    front->limit_said = reached;
    return reached;
}

static void
take_client(void *arg, int fd, const struct sockaddr *from)
{
    (void)from;
    struct front *front = arg;
    int on = 1;
    (void)setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
    front->accepted++;
    proxy_take(&front->proxy, fd, is_at_limit(front));
}

static bool
is_full(void *arg)
{
    return clients_are_at(arg, REFUSED_MAX);
}

static void
on_paused(void *arg, int cause, bool say)
{
    struct front *front = arg;
    const char *text = "too many clients beyond the limit of connections";
    front->paused[cause == CBX_ACCEPT_FULL ? PAUSE_LIMIT : PAUSE_SYSTEM]++;
    if (cause == EMFILE)
        text = "no descriptor is free (raise LimitNOFILE or ulimit -n)";
    else if (cause != CBX_ACCEPT_FULL)
        text = strerror(cause);
    if (say)
        cbx_log_warn("proxy %s: %s; new clients wait", front->address, text);
}

static const struct cbx_acceptor_ops acceptor_ops = {
    .use = CBX_DESCRIPTORS_CLIENTS,
    .take = take_client,
    .full = is_full,
    .paused = on_paused,
};

union address {
    struct sockaddr any;
    struct sockaddr_in v4;
    struct sockaddr_in6 v6;
};

static bool
is_loopback(const union address *address)
{
    if (address->any.sa_family == AF_INET)
        return ntohl(address->v4.sin_addr.s_addr) >> 24 == 127;
    return IN6_IS_ADDR_LOOPBACK(&address->v6.sin6_addr);
}

/* The address really bound, as text. */
static void
note_address(struct front *front, int listener)
{
    union address bound;
    memset(&bound, 0, sizeof bound);
    socklen_t size = sizeof bound;
    char host[HOST_MAX], port[8];
    if (getsockname(listener, &bound.any, &size) != 0 ||
        getnameinfo(&bound.any, size, host, sizeof host, port, sizeof port,
                    NI_NUMERICHOST | NI_NUMERICSERV) != 0)
        return;
    const char *format = bound.any.sa_family == AF_INET6 ? "[%s]:%s" : "%s:%s";
    (void)snprintf(front->address, sizeof front->address, format, host, port);
    if (!is_loopback(&bound))
        (void)cbx_fail(
            &front->warning, CBX_OK,
            "proxy %s is not on loopback: anyone who can reach it can dial as this lease",
            front->address);
}

static int
bind_address(const struct addrinfo *info)
{
    int fd = socket(info->ai_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (fd < 0)
        return -1;
    int on = 1;
    (void)setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
    cbx_socket_unpace(fd, info->ai_addr);
    if (bind(fd, info->ai_addr, info->ai_addrlen) == 0 && listen(fd, BACKLOG) == 0)
        return fd;
    int error = errno;
    close(fd);
    errno = error;
    return -1;
}

static int
open_listener(struct front *front, const char *text, struct cbx_error *error)
{
    char host[HOST_MAX], service[8];
    uint16_t port;
    if (cbx_listen_parse(text, host, sizeof host, &port) != 0)
        return cbx_fail(error, CBX_ERR_USAGE, "proxy \"%s\": not ADDRESS:PORT, as 127.0.0.1:1080",
                        text);
    struct addrinfo hints = {
        .ai_flags = AI_NUMERICHOST | AI_NUMERICSERV,
        .ai_socktype = SOCK_STREAM,
    };
    struct addrinfo *info;
    (void)snprintf(service, sizeof service, "%u", (unsigned)port);
    const char *numeric = strcmp(host, "localhost") == 0 ? "127.0.0.1" : host;
    if (getaddrinfo(numeric, service, &hints, &info) != 0)
        return cbx_fail(error, CBX_ERR_USAGE, "proxy \"%s\": give a numeric address, as 127.0.0.1",
                        text);
    int fd = bind_address(info);
    int cause = errno;
    freeaddrinfo(info);
    if (fd < 0)
        return cbx_fail(error, CBX_ERR_IO,
                        "proxy %s: %s; choose another port with --proxy, or --proxy off", text,
                        strerror(cause));
    note_address(front, fd);
    cbx_acceptor_start(&front->acceptor, front->loop, fd, &acceptor_ops, front);
    return 0;
}

static int64_t
or_default(int64_t value, int64_t fallback)
{
    return value > 0 ? value : fallback;
}

/* A port that nobody asked for by name is only nice to have. */
static int
start_proxy(struct front *front, const struct front_config *config, struct cbx_error *error)
{
    struct cbx_error cause = {""};
    int result = !config->proxy ? 0 : open_listener(front, config->proxy, &cause);
    if (result == 0)
        return 0;
    if (config->proxy_required || result != CBX_ERR_IO)
        return cbx_fail(error, result, "%s", cause.text);
    (void)cbx_fail(&front->warning, CBX_OK, "continuing without a proxy: %s", cause.text);
    return 0;
}

struct front *
front_new(struct ev_loop *loop, const struct front_config *config, struct cbx_error *error)
{
    struct front *front = calloc(1, sizeof *front);
    if (!front) {
        (void)cbx_fail(error, CBX_ERR_NOMEM, "out of memory");
        return NULL;
    }
    front->loop = loop;
    front->connections_max = (uint32_t)or_default(config->connections_max, CONNECTIONS_DEFAULT);
    LIST_INIT(&front->dials);
    cbx_acceptor_start(&front->acceptor, loop, -1, &acceptor_ops, front);
    conn_set_init(&front->conns, loop);
    front->conns.shares.max = part(front, 4);
    front->conns.keepalive_ms =
        config->tcp_keepalive_ms ? config->tcp_keepalive_ms : KEEPALIVE_DEFAULT_MS;
    proxy_init(&front->proxy, &front->conns,
               or_default(config->handshake_timeout_ms, TIMEOUT_DEFAULT_MS),
               config->proxy_password);
    if (target_set_init(&front->targets, &front->conns,
                        or_default(config->connect_timeout_ms, TIMEOUT_DEFAULT_MS)) != 0)
        (void)cbx_fail(error, CBX_ERR_NOMEM, "out of memory");
    else if (start_proxy(front, config, error) == 0)
        return front;
    front_free(front);
    return NULL;
}

void
front_set_mesh(struct front *front, struct mesh *mesh, const char *pond)
{
    if (front->conns.mesh && front->conns.mesh != mesh) {
        target_set_abandon(&front->targets, CBX_REASON_GOING_AWAY);
        conn_set_abandon(&front->conns, CBX_REASON_GOING_AWAY);
    }
    front->conns.mesh = mesh;
    (void)snprintf(front->conns.pond, sizeof front->conns.pond, "%s", pond != NULL ? pond : "");
}

void
front_free(struct front *front)
{
    if (!front)
        return;
    cbx_acceptor_stop(&front->acceptor);
    proxy_clear(&front->proxy);
    target_set_clear(&front->targets);
    conn_set_clear(&front->conns);
    struct front_dial *dial;
    while ((dial = LIST_FIRST(&front->dials))) {
        LIST_REMOVE(dial, in_front);
        free(dial);
    }
    free(front);
}

void
front_incoming(struct front *front, struct mesh_stream *stream, const char *from,
               const struct cbx_expose_item *item)
{
    /* While the agent says goodbye it has no front any more; the link's end answers for it. */
    if (!front)
        return;
    struct share *share = NULL;
    if (connections(front) < part(front, 32))
        share = share_take(&front->conns.shares, from);
    if (!share)
        target_refuse(&front->targets, stream, CBX_REASON_OVERLOADED);
    else
        target_connect(&front->targets, stream, from, item, share);
}

static void
dial_free(struct front_dial *dial)
{
    LIST_REMOVE(dial, in_front);
    free(dial);
}

static void
dial_opened(void *arg)
{
    struct front_dial *dial = arg;
    dial->ops->opened(dial->arg);
}

static void
dial_closed(void *arg, enum cbx_reason reason, bool by_target, const char *remedy)
{
    struct front_dial *dial = arg;
    const struct front_dial_ops *ops = dial->ops;
    void *ops_arg = dial->arg;
    dial_free(dial);
    ops->closed(ops_arg, reason, by_target, remedy);
}

static const struct conn_owner dial_owner = {
    .opened = dial_opened,
    .closed = dial_closed,
};

struct front_dial *
front_dial(struct front *front, const char *name, uint16_t port, int fd, int64_t timeout_ms,
           const struct front_dial_ops *ops, void *arg)
{
    struct front_dial *dial = calloc(1, sizeof *dial);
    struct conn *conn = dial != NULL ? conn_new(&front->conns, fd, NULL, NULL, 0) : NULL;
    if (!conn) {
        free(dial);
        if (fd >= 0)
            close(fd);
        return NULL;
    }
    dial->conn = conn;
    dial->ops = ops;
    dial->arg = arg;
    LIST_INSERT_HEAD(&front->dials, dial, in_front);
    conn_own(conn, &dial_owner, dial);
    struct cbx_dial_name parsed;
    const char *why;
    enum cbx_reason reason = conn_name(&front->conns, name, strlen(name), &parsed, &why);
    if (reason != CBX_REASON_NONE)
        conn_refuse(conn, reason, why);
    else if (connections(front) > front->connections_max)
        conn_refuse(conn, CBX_REASON_OVERLOADED, name);
    else
        conn_dial(conn, parsed.slug, port, timeout_ms > 0 ? timeout_ms * 1000 : 0);
    return dial;
}

void
front_dial_cancel(struct front_dial *dial)
{
    conn_drop(dial->conn, CBX_REASON_RESET);
    dial_free(dial);
}

const char *
front_proxy_address(const struct front *front)
{
    return front->address;
}

const char *
front_warning(const struct front *front)
{
    return front->warning.text;
}

json_t *
front_status_json(const struct front *front)
{
    const struct conn_stats *conns = &front->conns.stats;
    const struct proxy_stats *proxy = &front->proxy.stats;
    const struct http_stats *http = &front->proxy.http.stats;
    const struct target_stats *targets = &front->targets.stats;
    const struct {
        const char *name;
        uint64_t value;
    } counters[] = {
        {"connections", connections(front)},
        {"connections_max", front->connections_max},
        {"accepted", front->accepted},
        {"socks", proxy->socks},
        {"http", proxy->http},
        {"unknown_protocol", proxy->unknown_protocol},
        {"http_requests", http->forwarded},
        {"bad_requests", proxy->bad_requests + http->bad_requests},
        {"handshake_timeouts", proxy->timed_out + http->timed_out},
        {"gave_up", proxy->gave_up + http->gave_up + conns->gave_up},
        {"dialed", conns->dialed},
        {"opened", conns->opened},
        {"refused", conns->refused},
        {"incoming", targets->incoming},
        {"incoming_accepted", targets->accepted},
        {"incoming_refused", targets->refused},
        {"reset", conns->reset},
        {"refused_at_limit", proxy->at_limit + http->at_limit},
        {"paused_at_limit", front->paused[PAUSE_LIMIT]},
        {"paused_by_system", front->paused[PAUSE_SYSTEM]},
    };
    json_t *status = json_object();
    int result = json_object_set_new(status, "proxy", json_string(front->address));
    for (size_t i = 0; i < sizeof counters / sizeof counters[0] && result == 0; i++)
        result = json_object_set_new(status, counters[i].name,
                                     json_integer((json_int_t)counters[i].value));
    if (result == 0)
        return status;
    json_decref(status);
    return NULL;
}
