/* SPDX-License-Identifier: MIT */
/*
 * A client reads until a line is whole, hands the object to the owner, and writes what the owner
 * replied whenever the socket takes it. States: open (reads requests); finishing (writes what is
 * left, reads only to notice the end); dead (nothing any more). Operations only change state and
 * start watchers; a client is freed from its own event callback alone, so the owner may call
 * anything from inside `request` and keeps the pointer until `gone`.
 *
 * A descriptor belongs to the first request whose line ends after it came; a second one before that
 * ends the client.
 *
 * Tested by test_control.
 */
#include "common/command/control_client.h"

#include "common/base/log.h"
#include "common/base/states.h"

#include <errno.h>
#include <ev.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

enum { READ_SIZE = 16 * 1024, FDS_MAX = 4 };

enum client_state { CLIENT_OPEN, CLIENT_FINISHING, CLIENT_DEAD };

static const struct cbx_states client_states = {
    .what = "control client",
    .state =
        {
            [CLIENT_OPEN] = {"open", CBX_STATE(CLIENT_FINISHING) | CBX_STATE(CLIENT_DEAD)},
            [CLIENT_FINISHING] = {"finishing", CBX_STATE(CLIENT_DEAD)},
            [CLIENT_DEAD] = {"dead", 0},
        },
};

struct buffer {
    char *bytes;
    size_t start, end, size; /* what lies between start and end is in use */
};

struct cbx_control_client {
    struct cbx_control_clients *clients;
    struct cbx_control_client *next, **link;
    enum client_state state;
    bool reported; /* the owner knows of it: gone is due */
    int fd;
    int passed_fd; /* came with the request that is being read; -1: none */
    ev_io readable, writable;
    struct buffer in, out;
    void *user;
};

/* Makes room for more bytes; nothing is lost when it fails. */
static bool
buffer_reserve(struct buffer *buffer, size_t more)
{
    if (buffer->start > 0) {
        memmove(buffer->bytes, buffer->bytes + buffer->start, buffer->end - buffer->start);
        buffer->end -= buffer->start;
        buffer->start = 0;
    }
    if (buffer->size - buffer->end >= more)
        return true;
    size_t size = buffer->size > 0 ? buffer->size : READ_SIZE;
    while (size - buffer->end < more)
        size *= 2;
    char *bytes = realloc(buffer->bytes, size);
    if (!bytes)
        return false;
    buffer->bytes = bytes;
    buffer->size = size;
    return true;
}

static void
set_state(struct cbx_control_client *client, enum client_state state)
{
    if (cbx_states_allow_number(&client_states, "descriptor", (uint32_t)client->fd, client->state,
                                state))
        client->state = state;
}

static void
client_free(struct cbx_control_client *client)
{
    struct cbx_control_clients *clients = client->clients;
    ev_io_stop(clients->loop, &client->readable);
    ev_io_stop(clients->loop, &client->writable);
    *client->link = client->next;
    if (client->next)
        client->next->link = client->link;
    clients->count--;
    if (client->state != CLIENT_DEAD)
        set_state(client, CLIENT_DEAD); /* whatever the owner still calls is ignored */
    if (client->reported && clients->ops->gone)
        clients->ops->gone(clients->arg, client);
    if (client->passed_fd >= 0)
        close(client->passed_fd);
    close(client->fd);
    free(client->in.bytes);
    free(client->out.bytes);
    free(client);
}

/* Nothing more is read or written; the next turn of the loop frees it. */
static void
client_kill(struct cbx_control_client *client)
{
    set_state(client, CLIENT_DEAD);
    ev_feed_event(client->clients->loop, &client->writable, EV_WRITE);
}

/* Writes what it can. False when the client is beyond help. */
static bool
client_flush(struct cbx_control_client *client)
{
    struct buffer *out = &client->out;
    while (out->start < out->end) {
        ssize_t sent =
            send(client->fd, out->bytes + out->start, out->end - out->start, MSG_NOSIGNAL);
        if (sent < 0 && errno == EINTR)
            continue;
        if (sent < 0)
            return errno == EAGAIN || errno == EWOULDBLOCK;
        out->start += (size_t)sent;
    }
    return true;
}

static void
on_writable(struct ev_loop *loop, ev_io *watcher, int events)
{
    (void)events;
    struct cbx_control_client *client = watcher->data;
    if (client->state == CLIENT_DEAD || !client_flush(client)) {
        client_free(client);
        return;
    }
    if (client->out.start < client->out.end)
        return;
    ev_io_stop(loop, watcher);
    if (client->state == CLIENT_FINISHING)
        client_free(client);
}

void
cbx_control_reply(struct cbx_control_client *client, json_t *object)
{
    char *text = object != NULL ? json_dumps(object, JSON_COMPACT) : NULL;
    json_decref(object);
    struct buffer *out = &client->out;
    size_t length = text != NULL ? strlen(text) : 0;
    if (client->state != CLIENT_OPEN) {
        free(text);
        return;
    }
    /* An answer that cannot be given is the end: the command sees a closed connection, not silence.
     */
    if (!text || out->end - out->start + length + 1 > CBX_CONTROL_ANSWER_MAX ||
        !buffer_reserve(out, length + 1)) {
        cbx_log_warn("control: an answer of %zu bytes was dropped with its client", length);
        free(text);
        client_kill(client);
        return;
    }
    memcpy(out->bytes + out->end, text, length);
    out->bytes[out->end + length] = '\n';
    out->end += length + 1;
    free(text);
    ev_io_start(client->clients->loop, &client->writable);
}

void
cbx_control_reply_error(struct cbx_control_client *client, const char *format, ...)
{
    char text[2 * CBX_ERROR_TEXT_MAX];
    va_list arguments;
    va_start(arguments, format);
    (void)vsnprintf(text, sizeof text, format, arguments);
    va_end(arguments);
    json_t *answer = json_pack("{s:b, s:s}", "ok", 0, "error", text);
    if (!answer) /* words that are not UTF-8 */
        answer = json_pack("{s:b, s:s}", "ok", 0, "error", "failed, and the cause is not text");
    cbx_control_reply(client, answer);
}

void
cbx_control_finish(struct cbx_control_client *client)
{
    if (client->state != CLIENT_OPEN)
        return;
    set_state(client, CLIENT_FINISHING);
    ev_io_start(client->clients->loop, &client->writable);
}

void
cbx_control_set_user(struct cbx_control_client *client, void *user)
{
    client->user = user;
}

void *
cbx_control_user(const struct cbx_control_client *client)
{
    return client->user;
}

/* One whole line, without its end. */
static void
client_request(struct cbx_control_client *client, const char *line, size_t length)
{
    json_error_t why;
    json_t *request = json_loadb(line, length, JSON_REJECT_DUPLICATES, &why);
    if (!json_is_object(request) || !json_is_string(json_object_get(request, "cmd"))) {
        cbx_control_reply_error(client, "not a request: %s",
                                !request ? why.text : "an object with \"cmd\" is expected");
        cbx_control_finish(client);
        json_decref(request);
        return;
    }
    int fd = client->passed_fd;
    client->passed_fd = -1;
    client->reported = true;
    client->clients->ops->request(client->clients->arg, client, request, fd);
    json_decref(request);
}

/* Hands over every whole line. */
static void
client_lines(struct cbx_control_client *client)
{
    struct buffer *in = &client->in;
    while (client->state == CLIENT_OPEN && in->start < in->end) {
        char *line = in->bytes + in->start;
        size_t held = in->end - in->start;
        char *newline = memchr(line, '\n', held);
        size_t length = newline != NULL ? (size_t)(newline - line) : held;
        if (length > CBX_CONTROL_LINE_MAX) {
            cbx_control_reply_error(client, "a request of more than %d bytes",
                                    CBX_CONTROL_LINE_MAX);
            cbx_control_finish(client);
            return;
        }
        if (!newline)
            return;
        in->start += length + 1;
        client_request(client, line, length);
    }
}

/* Keeps the one descriptor that may come; false when there are more. */
static bool
take_descriptors(struct cbx_control_client *client, struct msghdr *message)
{
    bool legal = (message->msg_flags & MSG_CTRUNC) == 0;
    for (struct cmsghdr *at = CMSG_FIRSTHDR(message); at != NULL; at = CMSG_NXTHDR(message, at)) {
        if (at->cmsg_level != SOL_SOCKET || at->cmsg_type != SCM_RIGHTS)
            continue;
        size_t count = (at->cmsg_len - CMSG_LEN(0)) / sizeof(int);
        for (size_t i = 0; i < count; i++) {
            int fd;
            memcpy(&fd, CMSG_DATA(at) + i * sizeof fd, sizeof fd);
            if (client->passed_fd < 0 && client->state == CLIENT_OPEN) {
                client->passed_fd = fd;
            } else {
                close(fd);
                legal = false;
            }
        }
    }
    return legal;
}

static ssize_t
client_receive(struct cbx_control_client *client, void *bytes, size_t size)
{
    union {
        char bytes[CMSG_SPACE(sizeof(int) * FDS_MAX)];
        struct cmsghdr align;
    } control;
    struct iovec part = {bytes, size};
    struct msghdr message = {
        .msg_iov = &part,
        .msg_iovlen = 1,
        .msg_control = &control,
        .msg_controllen = sizeof control,
    };
    ssize_t length = recvmsg(client->fd, &message, MSG_CMSG_CLOEXEC | MSG_DONTWAIT);
    if (length < 0)
        return errno == EAGAIN || errno == EWOULDBLOCK || errno == EINTR ? CBX_ERR_AGAIN
                                                                         : CBX_ERR_CLOSED;
    if (!take_descriptors(client, &message))
        return CBX_ERR_FORMAT;
    return length > 0 ? length : CBX_ERR_CLOSED;
}

static void
on_readable(struct ev_loop *loop, ev_io *watcher, int events)
{
    (void)loop;
    (void)events;
    struct cbx_control_client *client = watcher->data;
    char scratch[READ_SIZE];
    ssize_t length = client_receive(client, scratch, sizeof scratch);
    if (length == CBX_ERR_AGAIN)
        return;
    if (length < 0) {
        /* A client may end its direction and still read what was already answered. */
        (void)client_flush(client);
        client_free(client);
        return;
    }
    if (client->state != CLIENT_OPEN)
        return;
    if (!buffer_reserve(&client->in, (size_t)length)) {
        client_free(client);
        return;
    }
    memcpy(client->in.bytes + client->in.end, scratch, (size_t)length);
    client->in.end += (size_t)length;
    client_lines(client);
}

void
cbx_control_client_new(struct cbx_control_clients *clients, int fd)
{
    struct cbx_control_client *client = calloc(1, sizeof *client);
    if (!client) {
        close(fd);
        return;
    }
    client->clients = clients;
    client->fd = fd;
    client->passed_fd = -1;
    client->next = clients->first;
    client->link = &clients->first;
    if (client->next)
        client->next->link = &client->next;
    clients->first = client;
    clients->count++;
    ev_io_init(&client->readable, on_readable, fd, EV_READ);
    ev_io_init(&client->writable, on_writable, fd, EV_WRITE);
    client->readable.data = client;
    client->writable.data = client;
    ev_io_start(clients->loop, &client->readable);
}

uint32_t
cbx_control_clients_promised(const struct cbx_control_clients *clients)
{
    uint32_t count = 0;
    for (const struct cbx_control_client *at = clients->first; at != NULL; at = at->next)
        count += !at->reported;
    return count;
}

void
cbx_control_clients_free(struct cbx_control_clients *clients)
{
    while (clients->first) {
        /* Last words, such as the answer to "down", get one try. */
        (void)client_flush(clients->first);
        client_free(clients->first);
    }
}
