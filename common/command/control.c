/* SPDX-License-Identifier: MIT */
/*
 * The listener of control.sock and its clients, on the loop of the process.
 *
 * A client reads until a line is whole, hands the object to the owner, and writes what the owner
 * replied whenever the socket takes it. States: open (reads requests); finishing (writes what is
 * left, reads only to notice the end); dead (nothing any more). Operations only change state and
 * start watchers; a client is freed from its own event callback alone, so the owner may call
 * anything from inside `request` and keeps the pointer until `gone`.
 *
 * Limits: clients (CBX_CONTROL_CLIENTS_MAX, more are closed at once), a request's line
 * (CBX_CONTROL_LINE_MAX), answers waiting for a client that does not read (CBX_CONTROL_ANSWER_MAX).
 * A descriptor belongs to the first request whose line ends after it came; a second one before that
 * ends the client.
 */
#include "common/command/control.h"

#include "common/base/log.h"
#include "common/base/states.h"
#include "common/command/state_dir.h"
#include "common/os/accept.h"

#include <errno.h>
#include <ev.h>
#include <limits.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

enum { READ_SIZE = 16 * 1024, FDS_MAX = 4 };

struct cbx_control {
    struct ev_loop *loop;
    const struct cbx_control_ops *ops;
    void *arg;
    struct cbx_acceptor acceptor;
    char path[PATH_MAX];
    struct cbx_control_client *clients;
    unsigned client_count;
};

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
    struct cbx_control *control;
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
    struct cbx_control *control = client->control;
    ev_io_stop(control->loop, &client->readable);
    ev_io_stop(control->loop, &client->writable);
    *client->link = client->next;
    if (client->next)
        client->next->link = client->link;
    control->client_count--;
    if (client->state != CLIENT_DEAD)
        set_state(client, CLIENT_DEAD); /* whatever the owner still calls is ignored */
    if (client->reported && control->ops->gone)
        control->ops->gone(control->arg, client);
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
    ev_feed_event(client->control->loop, &client->writable, EV_WRITE);
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
    ev_io_start(client->control->loop, &client->writable);
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
    ev_io_start(client->control->loop, &client->writable);
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
    client->control->ops->request(client->control->arg, client, request, fd);
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

static void
client_new(struct cbx_control *control, int fd)
{
    struct cbx_control_client *client = calloc(1, sizeof *client);
    if (!client) {
        close(fd);
        return;
    }
    client->control = control;
    client->fd = fd;
    client->passed_fd = -1;
    client->next = control->clients;
    client->link = &control->clients;
    if (client->next)
        client->next->link = &client->next;
    control->clients = client;
    control->client_count++;
    ev_io_init(&client->readable, on_readable, fd, EV_READ);
    ev_io_init(&client->writable, on_writable, fd, EV_WRITE);
    client->readable.data = client;
    client->writable.data = client;
    ev_io_start(control->loop, &client->readable);
}

/* Descriptors that those without a request yet may bring. */
static uint32_t
promised(void *arg)
{
    const struct cbx_control *control = arg;
    uint32_t count = 1;
    for (const struct cbx_control_client *at = control->clients; at != NULL; at = at->next)
        count += !at->reported;
    return count;
}

static void
take_client(void *arg, int fd, const struct sockaddr *from)
{
    (void)from;
    struct cbx_control *control = arg;
    if (!cbx_peer_is_uid(fd, geteuid())) {
        cbx_log_warn("control: rejected a process of another user");
        close(fd);
    } else if (control->client_count >= CBX_CONTROL_CLIENTS_MAX) {
        cbx_log_warn("control: rejected a command, since more than %d run at once",
                     CBX_CONTROL_CLIENTS_MAX);
        close(fd);
    } else {
        client_new(control, fd);
    }
}

static void
on_paused(void *arg, int cause, bool say)
{
    (void)arg;
    if (say)
        cbx_log_warn("control: cannot accept: %s; commands wait", strerror(cause));
}

static const struct cbx_acceptor_ops acceptor_ops = {
    .use = CBX_DESCRIPTORS_COMMANDS,
    .take = take_client,
    .promised = promised,
    .paused = on_paused,
};

/* A socket that a dead process left is taken away, anything else of that name is not. */
static int
remove_stale(const char *path, struct cbx_error *error)
{
    struct stat status;
    if (lstat(path, &status) != 0)
        return errno == ENOENT
                   ? CBX_OK
                   : cbx_fail(error, CBX_ERR_IO, "cannot look at %s: %s", path, strerror(errno));
    if (!S_ISSOCK(status.st_mode))
        return cbx_fail(error, CBX_ERR_IO, "%s is in the way: remove it", path);
    if (unlink(path) != 0)
        return cbx_fail(error, CBX_ERR_IO, "cannot remove %s: %s", path, strerror(errno));
    return CBX_OK;
}

static int
listen_at(const char *path, struct cbx_error *error)
{
    struct sockaddr_un address;
    int folder;
    int result = cbx_unix_address(path, &address, &folder, error);
    if (result != CBX_OK)
        return result;
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (fd < 0) {
        result = cbx_fail(error, CBX_ERR_IO, "cannot make a socket: %s", strerror(errno));
    } else if (bind(fd, (struct sockaddr *)&address, sizeof address) != 0 ||
               chmod(address.sun_path, 0600) != 0 || listen(fd, CBX_CONTROL_CLIENTS_MAX) != 0) {
        result = cbx_fail(error, CBX_ERR_IO, "cannot listen on %s: %s", path, strerror(errno));
        close(fd);
    }
    if (folder >= 0)
        close(folder);
    return result == CBX_OK ? fd : result;
}

struct cbx_control *
cbx_control_listen(struct ev_loop *loop, const char *state_dir, const struct cbx_control_ops *ops,
                   void *arg, struct cbx_error *error)
{
    struct cbx_control *control = calloc(1, sizeof *control);
    if (!control) {
        cbx_fail(error, CBX_ERR_NOMEM, "out of memory");
        return NULL;
    }
    control->loop = loop;
    control->ops = ops;
    control->arg = arg;
    int used = snprintf(control->path, sizeof control->path, "%s/control.sock", state_dir);
    int result = CBX_OK;
    if (used < 0 || (size_t)used >= sizeof control->path)
        result = cbx_fail(error, CBX_ERR_LIMIT, "the path of the state folder is too long");
    if (result == CBX_OK && mkdir(state_dir, 0700) != 0 && errno != EEXIST)
        result = cbx_fail(error, CBX_ERR_IO, "cannot make %s: %s", state_dir, strerror(errno));
    if (result == CBX_OK)
        result = remove_stale(control->path, error);
    if (result == CBX_OK)
        result = listen_at(control->path, error);
    if (result < 0) {
        free(control);
        return NULL;
    }
    cbx_acceptor_start(&control->acceptor, loop, result, &acceptor_ops, control);
    return control;
}

void
cbx_control_free(struct cbx_control *control)
{
    if (!control)
        return;
    while (control->clients) {
        /* Last words, such as the answer to "down", get one try. */
        (void)client_flush(control->clients);
        client_free(control->clients);
    }
    cbx_acceptor_stop(&control->acceptor);
    (void)unlink(control->path);
    free(control);
}
