/* SPDX-License-Identifier: MIT */
/*
 * A client has one request at a time: what it sends behind it (pipelining) waits in its socket or
 * in `in`. Each direction holds at most one chunk: the next is read when the last one was written.
 * Handlers only change the state; `run` ends each of them, and frees the client where it is over.
 */
#include "agent/front/http_client.h"

#include "agent/front/http_exchange.h"
#include "common/os/socket.h"

#include <errno.h>
#include <sodium.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

/* How long one that is refused anyway may take to say what it wants. */
static const double AT_LIMIT_S = 2.0;

static void
client_free(struct http_client *client)
{
    struct ev_loop *loop = client->set->conns->loop;
    ev_io_stop(loop, &client->reading);
    ev_io_stop(loop, &client->writing);
    ev_timer_stop(loop, &client->deadline);
    http_upstream_drop(&client->upstream, client->state != HTTP_CLIENT_GONE);
    if (client->fd >= 0)
        close(client->fd);
    http_message_clear(&client->request);
    http_message_clear(&client->response);
    http_bytes_clear(&client->in);
    http_bytes_clear(&client->out);
    http_bytes_clear(&client->up);
    LIST_REMOVE(client, entry);
    client->set->count--;
    free(client);
}

/* ---- ends ---- */

/* Ends of input go on as such, behind what was sent before. */
static void
pass_ends(struct http_client *client)
{
    bool tunnel = client->state == HTTP_CLIENT_TUNNEL;
    bool asked =
        client->state == HTTP_CLIENT_EXCHANGE && client->request.state == HTTP_MESSAGE_DONE;
    if (client->ended && client->up.length == 0 && client->in.length == 0 && (tunnel || asked))
        http_upstream_shut(&client->upstream);
    if (tunnel && client->upstream.ended && client->out.length == 0 && !client->out_end) {
        client->out_end = true;
        (void)shutdown(client->fd, SHUT_WR);
    }
    if (tunnel && client->out_end && client->ended && client->up.length == 0) {
        cbx_socket_reset_on_close(client->fd, false);
        http_upstream_drop(&client->upstream, false);
        http_client_set_state(client, HTTP_CLIENT_LEAVING);
    }
}

/* Closing with input unread would send a RST that overtakes the last bytes: a conn knows how. */
static void
say_goodbye(struct http_client *client)
{
    if (client->out.length > 0)
        return;
    struct conn *conn = conn_new(client->set->conns, client->fd, NULL, NULL, 0);
    if (conn) {
        ev_io_stop(client->set->conns->loop, &client->reading);
        ev_io_stop(client->set->conns->loop, &client->writing);
        client->fd = -1;
        conn_farewell(conn, "", 0);
    }
    http_upstream_drop(&client->upstream, false);
    http_client_set_state(client, HTTP_CLIENT_GONE);
}

/* ---- the client's socket ---- */

static void
flush_out(struct http_client *client)
{
    while (client->out.length > 0 && client->state <= HTTP_CLIENT_LEAVING) {
        ssize_t sent =
            send(client->fd, client->out.at, client->out.length, MSG_DONTWAIT | MSG_NOSIGNAL);
        if (sent >= 0)
            http_bytes_drop(&client->out, (size_t)sent);
        else if (errno == EAGAIN || errno == EWOULDBLOCK)
            return;
        else if (errno != EINTR)
            http_client_set_state(client, HTTP_CLIENT_RESET);
    }
}

static bool
wants_input(const struct http_client *client)
{
    if (client->ended || client->in.length > 0)
        return false;
    if (client->state == HTTP_CLIENT_EXCHANGE && client->request.state == HTTP_MESSAGE_DONE)
        return !client->more; /* only to see whether it leaves */
    return client->state == HTTP_CLIENT_REQUEST ||
           ((client->state == HTTP_CLIENT_EXCHANGE || client->state == HTTP_CLIENT_TUNNEL) &&
            client->up.length == 0);
}

static void
watch_one(struct ev_loop *loop, struct ev_io *io, bool wanted)
{
    if (wanted && !ev_is_active(io))
        ev_io_start(loop, io);
    else if (!wanted && ev_is_active(io))
        ev_io_stop(loop, io);
}

/* The last act of each handler: all that can go on goes on, then the events to wait for are set, or
 * the client is freed. */
static void
run(struct http_client *client)
{
    bool more;
    do {
        flush_out(client);
        http_upstream_write(&client->upstream, &client->up);
        more = http_exchange_take_in(client) || http_exchange_end(client);
        pass_ends(client);
        bool failed = client->in.failed || client->out.failed || client->up.failed;
        if (failed && client->state < HTTP_CLIENT_RESET)
            http_client_set_state(client, HTTP_CLIENT_RESET);
    } while (more && client->state < HTTP_CLIENT_LEAVING);
    flush_out(client);
    if (client->state == HTTP_CLIENT_LEAVING)
        say_goodbye(client);
    if (client->state == HTTP_CLIENT_RESET)
        cbx_socket_reset_on_close(client->fd, true);
    if (client->state == HTTP_CLIENT_RESET || client->state == HTTP_CLIENT_GONE) {
        client_free(client);
        return;
    }
    struct ev_loop *loop = client->set->conns->loop;
    watch_one(loop, &client->reading, wants_input(client));
    watch_one(loop, &client->writing, client->out.length > 0);
    http_upstream_watch(&client->upstream,
                        client->state < HTTP_CLIENT_LEAVING && client->out.length == 0,
                        client->up.length > 0);
}

/* The client's end of input. */
static void
take_end(struct http_client *client)
{
    client->ended = true;
    if (client->state == HTTP_CLIENT_REQUEST) {
        client->set->stats.gave_up += client->served ? 0 : 1;
        http_client_set_state(client, HTTP_CLIENT_LEAVING);
    } else if (client->request.state == HTTP_MESSAGE_BODY) {
        http_client_set_state(client, HTTP_CLIENT_RESET);
    }
}

static void
take_bytes(struct http_client *client, size_t length)
{
    http_bytes_add(&client->in, client->set->chunk, length);
    if (client->in.secret)
        sodium_memzero(client->set->chunk, length);
}

static void
on_readable(struct ev_loop *loop, struct ev_io *io, int events)
{
    (void)loop;
    (void)events;
    struct http_client *client = io->data;
    bool look = client->state == HTTP_CLIENT_EXCHANGE && client->request.state == HTTP_MESSAGE_DONE;
    ssize_t got = recv(client->fd, client->set->chunk, look ? 1 : HTTP_CHUNK_SIZE,
                       MSG_DONTWAIT | (look ? MSG_PEEK : 0));
    if (got < 0 && (errno == EAGAIN || errno == EWOULDBLOCK || errno == EINTR))
        return;
    if (got > 0 && look)
        client->more = true;
    else if (got > 0)
        take_bytes(client, (size_t)got);
    else if (got == 0)
        take_end(client);
    else
        http_client_set_state(client, HTTP_CLIENT_RESET);
    run(client);
}

static void
on_writable(struct ev_loop *loop, struct ev_io *io, int events)
{
    (void)loop;
    (void)events;
    run(io->data);
}

static void
on_upstream_readable(void *arg)
{
    http_exchange_read_upstream(arg);
    run(arg);
}

static void
on_upstream_writable(void *arg)
{
    run(arg);
}

static const struct http_upstream_ops upstream_ops = {.readable = on_upstream_readable,
                                                      .writable = on_upstream_writable};

static void
on_deadline(struct ev_loop *loop, struct ev_timer *timer, int events)
{
    (void)loop;
    (void)events;
    http_exchange_late(timer->data);
    run(timer->data);
}

/* ---- all of them ---- */

void
http_clients_init(struct http_clients *clients, struct conn_set *conns,
                  const struct proxy_password *password, double head_s)
{
    memset(clients, 0, sizeof *clients);
    clients->conns = conns;
    clients->password = password;
    clients->head_s = head_s;
    LIST_INIT(&clients->all);
}

void
http_clients_take(struct http_clients *clients, int fd, const void *data, size_t length,
                  bool at_limit)
{
    struct http_client *client = calloc(1, sizeof *client);
    if (!client) {
        close(fd);
        return;
    }
    client->set = clients;
    client->fd = fd;
    client->at_limit = at_limit;
    client->in.secret = clients->password->set;
    ev_io_init(&client->reading, on_readable, fd, EV_READ);
    ev_io_init(&client->writing, on_writable, fd, EV_WRITE);
    ev_timer_init(&client->deadline, on_deadline, 0., 0.);
    client->reading.data = client->writing.data = client->deadline.data = client;
    http_upstream_init(&client->upstream, clients->conns, &clients->dialed, &upstream_ops, client);
    http_client_next_request(client);
    LIST_INSERT_HEAD(&clients->all, client, entry);
    clients->count++;
    cbx_socket_keepalive(fd, clients->conns->keepalive_ms);
    http_bytes_add(&client->in, data, length);
    http_client_set_deadline(client, at_limit && AT_LIMIT_S < clients->head_s ? AT_LIMIT_S
                                                                              : clients->head_s);
    run(client);
}

void
http_clients_clear(struct http_clients *clients)
{
    struct http_client *client;
    while ((client = LIST_FIRST(&clients->all)))
        client_free(client);
}
