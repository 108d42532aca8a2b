/* SPDX-License-Identifier: MIT */
/*
 * A client lives from accept until its request is complete, refused or late. No mesh knows it, so
 * it is freed in its own callbacks. It reads one chunk at a time and stops at the request's end:
 * what stood behind it in that chunk goes to the conn as early data, the rest stays in the socket.
 * One that speaks HTTP goes to http_client.c with its first bytes.
 * Tested by test_front.
 */
#include "agent/front/proxy.h"

#include "agent/front/socks.h"

#include <errno.h>
#include <sodium.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

enum { CHUNK_SIZE = 4096 };
/* How long one that is refused anyway may take to say what it wants. */
static const double AT_LIMIT_S = 2.0;

struct proxy_client {
    LIST_ENTRY(proxy_client) in_proxy;
    struct proxy *proxy;
    int fd; /* -1: a conn has it */
    struct ev_io reading;
    struct ev_timer deadline;
    bool begun; /* its first byte was SOCKS's */
    bool at_limit;
    struct socks socks;
};

static const struct conn_speech socks_speech = {
    .opened = socks_opened,
    .opened_length = SOCKS_REPLY_SIZE,
    .refused = socks_refusal,
};

static const struct conn_speech socks4_speech = {
    .opened = socks4_opened,
    .opened_length = SOCKS4_REPLY_SIZE,
    .refused = socks4_refusal,
};

static void
client_free(struct proxy_client *client)
{
    struct proxy *proxy = client->proxy;
    ev_io_stop(proxy->conns->loop, &client->reading);
    ev_timer_stop(proxy->conns->loop, &client->deadline);
    if (client->fd >= 0)
        close(client->fd);
    LIST_REMOVE(client, in_proxy);
    proxy->count--;
    sodium_memzero(&client->socks, sizeof client->socks);
    free(client);
}

/* The socket's next life; NULL (and the socket closes with the client) when memory is short. */
static struct conn *
client_to_conn(struct proxy_client *client, const struct conn_speech *speech, const void *early,
               size_t early_length)
{
    ev_io_stop(client->proxy->conns->loop, &client->reading);
    struct conn *conn = conn_new(client->proxy->conns, client->fd, speech, early, early_length);
    if (conn)
        client->fd = -1;
    return conn;
}

/* All three end the client. */
static void
client_reject(struct proxy_client *client, const void *words, size_t length)
{
    struct conn *conn = client_to_conn(client, NULL, NULL, 0);
    if (conn)
        conn_farewell(conn, words, length);
    client_free(client);
}

struct wish {
    const struct conn_speech *speech;
    const char *host;
    size_t host_length;
    uint16_t port;
    const void *early;
    size_t early_length;
};

static void
client_dial(struct proxy_client *client, const struct wish *wish)
{
    struct conn *conn = client_to_conn(client, wish->speech, wish->early, wish->early_length);
    if (conn) {
        struct cbx_dial_name name;
        const char *why;
        enum cbx_reason reason =
            conn_name(client->proxy->conns, wish->host, wish->host_length, &name, &why);
        if (client->at_limit) {
            client->proxy->stats.at_limit++;
            reason = CBX_REASON_OVERLOADED;
            why = "this agent has as many local connections as it may";
        } else if (reason == CBX_REASON_NONE && wish->port == 0) {
            reason = CBX_REASON_NOT_EXPOSED;
            why = "port 0";
        }
        if (reason != CBX_REASON_NONE)
            conn_refuse(conn, reason, why);
        else
            conn_dial(conn, name.slug, wish->port, 0);
    }
    client_free(client);
}

static void
feed_socks(struct proxy_client *client, const uint8_t *data, size_t length)
{
    struct socks *socks = &client->socks;
    size_t taken = socks_feed(socks, data, length);
    if (socks->state == SOCKS_REFUSED) {
        client->proxy->stats.bad_requests++;
        client_reject(client, socks->answer, socks->answer_length);
        return;
    }
    /* Two bytes on a fresh connection: a socket that does not take them is of no use. */
    if (socks->answer_length > 0 &&
        send(client->fd, socks->answer, socks->answer_length, MSG_DONTWAIT | MSG_NOSIGNAL) !=
            (ssize_t)socks->answer_length) {
        client->proxy->stats.gave_up++;
        client_free(client);
        return;
    }
    socks->answer_length = 0;
    if (socks->state == SOCKS_READY)
        client_dial(client,
                    &(struct wish){socks->four ? &socks4_speech : &socks_speech, socks->host,
                                   socks->host_length, socks->port, data + taken, length - taken});
}

/* By the first byte. False when the client is gone: to those who speak HTTP, or for good. */
static bool
tell_dialect(struct proxy_client *client, const uint8_t *data, size_t length)
{
    struct proxy *proxy = client->proxy;
    bool letter = (data[0] >= 'A' && data[0] <= 'Z') || (data[0] >= 'a' && data[0] <= 'z');
    if (data[0] == SOCKS_VERSION || data[0] == SOCKS4_VERSION) {
        proxy->stats.socks++;
        client->begun = true;
        socks_init(&client->socks, &proxy->password);
        return true;
    }
    int fd = client->fd;
    bool at_limit = client->at_limit;
    client->fd = letter ? -1 : client->fd;
    client_free(client);
    if (letter) {
        proxy->stats.http++;
        http_clients_take(&proxy->http, fd, data, length, at_limit);
    } else {
        proxy->stats.unknown_protocol++;
    }
    return false;
}

static void
on_readable(struct ev_loop *loop, struct ev_io *io, int events)
{
    (void)loop;
    (void)events;
    struct proxy_client *client = io->data;
    uint8_t chunk[CHUNK_SIZE];
    ssize_t got = recv(client->fd, chunk, sizeof chunk, MSG_DONTWAIT);
    if (got < 0 && (errno == EAGAIN || errno == EWOULDBLOCK || errno == EINTR))
        return;
    if (got <= 0) {
        client->proxy->stats.gave_up++;
        client_free(client);
        return;
    }
    if (client->begun || tell_dialect(client, chunk, (size_t)got))
        feed_socks(client, chunk, (size_t)got);
    sodium_memzero(chunk, (size_t)got); /* somebody's password, maybe */
}

static void
on_deadline(struct ev_loop *loop, struct ev_timer *timer, int events)
{
    (void)loop;
    (void)events;
    struct proxy_client *client = timer->data;
    client->proxy->stats.timed_out++;
    client_free(client);
}

void
proxy_init(struct proxy *proxy, struct conn_set *conns, int64_t handshake_timeout_ms,
           const char *password)
{
    memset(proxy, 0, sizeof *proxy);
    proxy->conns = conns;
    proxy->handshake_s = (double)handshake_timeout_ms / 1e3;
    LIST_INIT(&proxy->clients);
    proxy_password_init(&proxy->password, password);
    http_clients_init(&proxy->http, conns, &proxy->password, proxy->handshake_s);
}

void
proxy_take(struct proxy *proxy, int fd, bool at_limit)
{
    struct proxy_client *client = calloc(1, sizeof *client);
    if (!client) {
        close(fd);
        return;
    }
    client->proxy = proxy;
    client->fd = fd;
    client->at_limit = at_limit;
    double patience = at_limit && AT_LIMIT_S < proxy->handshake_s ? AT_LIMIT_S : proxy->handshake_s;
    ev_io_init(&client->reading, on_readable, fd, EV_READ);
    ev_timer_init(&client->deadline, on_deadline, patience, 0.);
    client->reading.data = client->deadline.data = client;
    LIST_INSERT_HEAD(&proxy->clients, client, in_proxy);
    proxy->count++;
    ev_io_start(proxy->conns->loop, &client->reading);
    ev_timer_start(proxy->conns->loop, &client->deadline);
}

void
proxy_clear(struct proxy *proxy)
{
    struct proxy_client *client;
    while ((client = LIST_FIRST(&proxy->clients)))
        client_free(client);
    http_clients_clear(&proxy->http);
}

uint32_t
proxy_count(const struct proxy *proxy)
{
    return proxy->count + proxy->http.count - proxy->http.dialed;
}
