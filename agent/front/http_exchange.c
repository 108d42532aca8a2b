/* SPDX-License-Identifier: MIT */
/* Tested by test_http_client. */
#include "agent/front/http_exchange.h"

#include "agent/front/http_answer.h"
#include "common/os/socket.h"

#include <stdio.h>
#include <string.h>

/* How long a client may keep its connection without a request. */
static const double IDLE_S = 60.0;

/* ---- refusals: the last answer that a client gets ---- */

static void
leave_with(struct http_client *client, const char *words, size_t length)
{
    http_upstream_drop(&client->upstream, true);
    http_bytes_drop(&client->up, client->up.length);
    http_bytes_add(&client->out, words, length);
    http_client_set_deadline(client, client->set->head_s); /* for the client to read it */
    http_client_set_state(client, HTTP_CLIENT_LEAVING);
}

static void
reject(struct http_client *client, int status, const char *why)
{
    char words[CONN_WORDS_MAX];
    leave_with(client, words, http_answer_rejection(status, why, words, sizeof words));
}

static void
reject_request(struct http_client *client, int status, const char *why)
{
    client->set->stats.bad_requests++;
    reject(client, status, why);
}

static void
refuse_dial(struct http_client *client, const struct conn_refusal *refusal)
{
    char words[CONN_WORDS_MAX];
    leave_with(client, words, http_answer_refusal(refusal, words, sizeof words));
}

/* Before any dial, which would have counted it. */
static void
refuse(struct http_client *client, enum cbx_reason reason, const char *what)
{
    client->set->conns->stats.refused++;
    refuse_dial(client, &(struct conn_refusal){reason, what, cbx_reason_remedy(reason)});
}

/* ---- a request ---- */

static const struct conn_speech tunnel_speech = {
    .opened = http_answer_opened,
    .opened_length = HTTP_ANSWER_OPENED_LENGTH,
    .refused = http_answer_refusal,
};

/* CONNECT: the socket is a conn's from here on, with what was read behind the request. */
static void
become_conn(struct http_client *client, const struct cbx_dial_name *name, uint16_t port)
{
    struct conn *conn =
        conn_new(client->set->conns, client->fd, &tunnel_speech, client->in.at, client->in.length);
    if (!conn) {
        http_client_set_state(client, HTTP_CLIENT_RESET);
        return;
    }
    ev_io_stop(client->set->conns->loop, &client->reading);
    ev_io_stop(client->set->conns->loop, &client->writing);
    client->fd = -1;
    http_client_set_state(client, HTTP_CLIENT_GONE);
    conn_dial(conn, name->slug, port, 0);
}

static void
begin_exchange(struct http_client *client, const struct http_wish *wish,
               const struct cbx_dial_name *name)
{
    struct http_message *request = &client->request;
    if (!http_upstream_use(&client->upstream, name, wish->port)) {
        refuse(client, CBX_REASON_OVERLOADED, "no descriptor or memory is left for the stream");
        return;
    }
    bool head = request->parser.method == HTTP_HEAD;
    client->set->stats.forwarded++;
    client->reply = (struct http_reply){.one_zero = request->parser.http_minor == 0};
    client->upgrade = wish->upgrade;
    client->answered = client->more = false;
    client->served = true;
    http_request_head(request, wish, &client->up);
    http_message_go_on(request);
    http_message_begin(&client->response, HTTP_RESPONSE, head);
    http_client_set_deadline(client, 0.);
    http_client_set_state(client, HTTP_CLIENT_EXCHANGE);
    cbx_socket_reset_on_close(client->fd, true); /* until the response is whole */
}

static void
take_request(struct http_client *client)
{
    struct http_wish wish;
    struct cbx_dial_name name;
    int status;
    const char *why;
    const struct http_text *login =
        http_message_field(&client->request, "Proxy-Authorization", NULL);
    if (!proxy_password_is_basic(client->set->password, login ? login->at : NULL,
                                 login ? login->length : 0)) {
        reject_request(client, HTTP_STATUS_PROXY_AUTHENTICATION_REQUIRED,
                       "this proxy asks for a password");
        return;
    }
    if (!http_wish_read(&client->request, &wish, &status, &why)) {
        reject_request(client, status, why);
        return;
    }
    if (client->at_limit) {
        client->set->stats.at_limit++;
        refuse(client, CBX_REASON_OVERLOADED, "this agent has as many local connections as it may");
        return;
    }
    enum cbx_reason reason =
        conn_name(client->set->conns, wish.host, strlen(wish.host), &name, &why);
    if (reason != CBX_REASON_NONE)
        refuse(client, reason, why);
    else if (wish.tunnel)
        become_conn(client, &name, wish.port);
    else
        begin_exchange(client, &wish, &name);
}

/* All of `in` at most; true when something was taken. */
static bool
feed_request(struct http_client *client)
{
    struct http_message *request = &client->request;
    struct http_bytes body = {0};
    bool head = request->state == HTTP_MESSAGE_HEAD;
    bool begins = head && request->head.length == 0;
    http_bytes_drop(&client->in,
                    http_message_feed(request, client->in.at, client->in.length, &body));
    /* Its first request has its time since it was accepted; empty lines begin none. */
    if (begins && request->head.length > 0 && client->served)
        http_client_set_deadline(client, client->set->head_s);
    if (request->state == HTTP_MESSAGE_READY)
        take_request(client);
    else if (request->state == HTTP_MESSAGE_BAD && client->answered)
        http_client_set_state(client, HTTP_CLIENT_RESET);
    else if (request->state == HTTP_MESSAGE_BAD)
        reject_request(client, request->status, request->why);
    else if (!head)
        http_body_add(http_request_is_chunked(request), &body, request->state == HTTP_MESSAGE_DONE,
                      &client->up);
    http_bytes_clear(&body);
    return true;
}

/* What came from the client, as far as it may go now. */
bool
http_exchange_take_in(struct http_client *client)
{
    bool free_way = client->up.length == 0;
    if (client->in.length == 0)
        return false;
    if (client->state == HTTP_CLIENT_REQUEST)
        return feed_request(client);
    if (client->state == HTTP_CLIENT_EXCHANGE && client->request.state == HTTP_MESSAGE_BODY &&
        free_way)
        return feed_request(client);
    if (client->state == HTTP_CLIENT_TUNNEL && free_way) {
        http_bytes_add(&client->up, client->in.at, client->in.length);
        http_bytes_drop(&client->in, client->in.length);
        return true;
    }
    return false;
}

/* ---- its response ---- */

static void
take_response(struct http_client *client)
{
    struct http_message *response = &client->response;
    unsigned status = response->parser.status_code;
    struct http_reply *reply = &client->reply;
    if (status == 101 && !client->upgrade) {
        reject(client, HTTP_STATUS_BAD_GATEWAY, "the server changed the protocol unasked");
        return;
    }
    if (status / 100 == 1 && status != 101) {
        if (!reply->one_zero)
            http_response_head(response, reply, &client->out);
        http_message_clear(response);
        http_message_begin(response, HTTP_RESPONSE, response->bodiless);
        return;
    }
    reply->upgrade = status == 101;
    reply->close = !reply->upgrade &&
                   (reply->one_zero || !client->request.keep_alive || client->ended ||
                    client->request.state != HTTP_MESSAGE_DONE || response->framing == HTTP_TO_END);
    http_response_head(response, reply, &client->out);
    http_message_go_on(response);
    client->answered = true;
    if (reply->upgrade)
        http_client_set_state(client, HTTP_CLIENT_TUNNEL);
}

static void
feed_response(struct http_client *client, const char *data, size_t length)
{
    struct http_message *response = &client->response;
    while (length > 0 && client->state == HTTP_CLIENT_EXCHANGE &&
           response->state != HTTP_MESSAGE_DONE) {
        struct http_bytes body = {0};
        bool head = response->state == HTTP_MESSAGE_HEAD;
        size_t taken = http_message_feed(response, data, length, &body);
        data += taken;
        length -= taken;
        if (response->state == HTTP_MESSAGE_READY)
            take_response(client);
        else if (response->state == HTTP_MESSAGE_BAD && client->answered)
            http_client_set_state(client, HTTP_CLIENT_RESET);
        else if (response->state == HTTP_MESSAGE_BAD)
            reject(client, HTTP_STATUS_BAD_GATEWAY, response->why);
        else if (!head)
            http_body_add(http_response_is_chunked(response, &client->reply), &body,
                          response->state == HTTP_MESSAGE_DONE, &client->out);
        http_bytes_clear(&body);
    }
    if (client->state == HTTP_CLIENT_TUNNEL)
        http_bytes_add(&client->out, data, length);
    else if (length > 0)
        client->upstream.ended = true; /* more than its answer: of no further use */
}

/* The server ended its side before the response was whole. */
static void
cut_off(struct http_client *client)
{
    struct http_upstream *upstream = &client->upstream;
    char what[CBX_SLUG_MAX + 16];
    (void)snprintf(what, sizeof what, "%s.cbx:%u", upstream->name.slug, (unsigned)upstream->port);
    /* A kept connection that ends is nothing new to a client: whether to ask again is its choice.
     */
    if (client->answered || (upstream->used && client->response.head.length == 0))
        http_client_set_state(client, HTTP_CLIENT_RESET);
    else if (upstream->reason != CBX_REASON_NONE && !upstream->opened) {
        refuse_dial(client, &(struct conn_refusal){upstream->reason, what, upstream->remedy});
    } else
        reject(client, HTTP_STATUS_BAD_GATEWAY,
               "the server ended the connection without an answer");
}

static void
upstream_over(struct http_client *client, bool clean)
{
    switch (client->state) {
    case HTTP_CLIENT_EXCHANGE:
        if (client->response.state == HTTP_MESSAGE_DONE)
            break;
        if (clean && client->answered)
            http_message_end(&client->response);
        if (client->response.state != HTTP_MESSAGE_DONE)
            cut_off(client);
        break;
    case HTTP_CLIENT_TUNNEL:
        if (!clean)
            http_client_set_state(client, HTTP_CLIENT_RESET);
        break;
    case HTTP_CLIENT_REQUEST:
        http_upstream_drop(&client->upstream, false);
        break;
    case HTTP_CLIENT_LEAVING:
    case HTTP_CLIENT_RESET:
    case HTTP_CLIENT_GONE:
        break;
    }
}

void
http_exchange_read_upstream(struct http_client *client)
{
    ssize_t got = http_upstream_read(&client->upstream, client->set->chunk, HTTP_CHUNK_SIZE);
    if (got == CBX_ERR_AGAIN)
        return;
    if (got < 0 || client->state == HTTP_CLIENT_REQUEST)
        upstream_over(client, got == CBX_ERR_CLOSED);
    else if (client->state == HTTP_CLIENT_TUNNEL)
        http_bytes_add(&client->out, client->set->chunk, (size_t)got);
    else
        feed_response(client, client->set->chunk, (size_t)got);
}

/* The response has left: on to the next request, or away. */
bool
http_exchange_end(struct http_client *client)
{
    struct http_upstream *upstream = &client->upstream;
    if (client->state != HTTP_CLIENT_EXCHANGE || client->response.state != HTTP_MESSAGE_DONE ||
        client->out.length > 0)
        return false;
    bool whole = client->request.state == HTTP_MESSAGE_DONE;
    if (!whole || upstream->ended || upstream->deaf || client->up.length > 0 ||
        !client->response.keep_alive)
        http_upstream_drop(upstream, !whole || client->up.length > 0);
    http_bytes_drop(&client->up, client->up.length);
    http_message_clear(&client->request);
    http_message_clear(&client->response);
    cbx_socket_reset_on_close(client->fd, false);
    if (client->reply.close || client->ended) {
        http_client_set_state(client, HTTP_CLIENT_LEAVING);
        return false;
    }
    http_client_next_request(client);
    http_client_set_deadline(client, IDLE_S);
    http_client_set_state(client, HTTP_CLIENT_REQUEST);
    return true;
}

void
http_exchange_late(struct http_client *client)
{
    bool begun = client->request.head.length > 0;
    if (client->state == HTTP_CLIENT_LEAVING) {
        http_client_set_state(client, HTTP_CLIENT_RESET);
        return;
    }
    client->set->stats.timed_out += begun || !client->served ? 1 : 0;
    if (begun)
        reject(client, HTTP_STATUS_REQUEST_TIMEOUT, "the request header was not received in time");
    else
        http_client_set_state(client, HTTP_CLIENT_LEAVING);
}
