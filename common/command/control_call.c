/* SPDX-License-Identifier: MIT */
/*
 * The command's side of control.sock: blocking calls of short-lived processes. Tested by
 * test_control.
 */
#include "common/command/control_call.h"
#include "common/base/clock.h"
#include "common/command/control.h"
#include "common/command/state_dir.h"
#include "common/command/values.h"
#include "common/os/become.h"

#include <errno.h>
#include <limits.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/time.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

/* Connecting waits while the other's queue is full, sending while its buffer is. */
enum { RETRY_MS = 25, READ_MIN = 16 * 1024, CONNECT_S = 10 };

struct cbx_call {
    int fd;
    char *bytes;
    size_t start, end, size;
};

static int
explain_connect(const char *state_dir, int cause, struct cbx_error *error)
{
    struct stat status;
    char owner[CBX_OWNER_TEXT_MAX];
    if (cause == ENOENT || cause == ECONNREFUSED || cause == ENOTDIR)
        return cbx_fail(error, CBX_ERR_NOTFOUND, "nothing runs with the state folder %s",
                        state_dir);
    if (cause == EAGAIN)
        return cbx_fail(error, CBX_ERR_AGAIN,
                        "the process with the state folder %s took no connection within %ds: is "
                        "it stopped or overloaded?",
                        state_dir, CONNECT_S);
    if (cause != EACCES || stat(state_dir, &status) != 0 || status.st_uid == geteuid())
        return cbx_fail(error, CBX_ERR_IO, "cannot connect to %s/control.sock: %s", state_dir,
                        strerror(cause));
    cbx_owner_text(status.st_uid, owner);
    return cbx_fail(error, CBX_ERR_IO, "the state folder %s belongs to %s: run this command as %s",
                    state_dir, owner, owner);
}

/* One try. CBX_ERR_NOTFOUND: nobody listens there. */
static int
connect_once(const char *state_dir, struct cbx_error *error)
{
    char path[PATH_MAX];
    int used = snprintf(path, sizeof path, "%s/control.sock", state_dir);
    if (used < 0 || (size_t)used >= sizeof path)
        return cbx_fail(error, CBX_ERR_LIMIT, "the path of the state folder is too long");
    struct sockaddr_un address;
    int folder;
    int result = cbx_unix_address(path, &address, &folder, error);
    if (result == CBX_ERR_NOTFOUND)
        return cbx_fail(error, CBX_ERR_NOTFOUND, "nothing runs with the state folder %s",
                        state_dir);
    if (result != CBX_OK)
        return result;
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    const struct timeval limit = {.tv_sec = CONNECT_S};
    if (fd < 0)
        result = cbx_fail(error, CBX_ERR_IO, "cannot make a socket: %s", strerror(errno));
    else if (setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &limit, sizeof limit) != 0 ||
             connect(fd, (struct sockaddr *)&address, sizeof address) != 0) {
        result = explain_connect(state_dir, errno, error);
        close(fd);
    }
    if (folder >= 0)
        close(folder);
    return result == CBX_OK ? fd : result;
}

int
cbx_call_open(struct cbx_call **call, const char *state_dir, int64_t wait_ms,
              struct cbx_error *error)
{
    int64_t deadline = cbx_clock_us() + wait_ms * 1000;
    int fd = connect_once(state_dir, error);
    while (fd == CBX_ERR_NOTFOUND && cbx_clock_us() < deadline) {
        struct timespec pause = {.tv_nsec = RETRY_MS * 1000000L};
        (void)nanosleep(&pause, NULL);
        fd = connect_once(state_dir, error);
    }
    if (fd < 0)
        return fd;
    *call = calloc(1, sizeof **call);
    if (!*call) {
        close(fd);
        return cbx_fail(error, CBX_ERR_NOMEM, "out of memory");
    }
    (*call)->fd = fd;
    return CBX_OK;
}

/* The descriptor travels with the first byte, so that it is there when the line is whole. */
static ssize_t
send_part(int socket_fd, const char *bytes, size_t length, int fd)
{
    union {
        char bytes[CMSG_SPACE(sizeof(int))];
        struct cmsghdr align;
    } control = {{0}};
    struct iovec part = {(void *)(uintptr_t)bytes, length};
    struct msghdr message = {.msg_iov = &part, .msg_iovlen = 1};
    if (fd >= 0) {
        message.msg_control = &control;
        message.msg_controllen = sizeof control;
        struct cmsghdr *header = CMSG_FIRSTHDR(&message);
        header->cmsg_level = SOL_SOCKET;
        header->cmsg_type = SCM_RIGHTS;
        header->cmsg_len = CMSG_LEN(sizeof fd);
        memcpy(CMSG_DATA(header), &fd, sizeof fd);
    }
    return sendmsg(socket_fd, &message, MSG_NOSIGNAL);
}

int
cbx_call_send(struct cbx_call *call, json_t *request, int fd, struct cbx_error *error)
{
    char *text = request != NULL ? json_dumps(request, JSON_COMPACT) : NULL;
    json_decref(request);
    if (!text)
        return cbx_fail(error, CBX_ERR_NOMEM, "the request cannot be put together");
    size_t length = strlen(text);
    int result = CBX_OK;
    if (length > CBX_CONTROL_LINE_MAX)
        result = cbx_fail(error, CBX_ERR_LIMIT, "the request is longer than %d bytes",
                          CBX_CONTROL_LINE_MAX);
    text[length] = '\n'; /* a line needs no terminator */
    for (size_t sent = 0; result == CBX_OK && sent <= length;) {
        ssize_t part = send_part(call->fd, text + sent, length + 1 - sent, sent == 0 ? fd : -1);
        if (part > 0)
            sent += (size_t)part;
        else if (errno != EINTR)
            result = cbx_fail(error, CBX_ERR_CLOSED, "the running process does not listen: %s",
                              strerror(errno));
    }
    free(text);
    return result;
}

/* The process that made the listening socket; 0 when the system does not say. */
static long
listener_pid(int fd)
{
    struct ucred peer = {0};
    socklen_t length = sizeof peer;
    return getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &peer, &length) == 0 ? (long)peer.pid : 0;
}

static int
silent(int fd, int64_t waited_ms, struct cbx_error *error)
{
    char limit[CBX_VALUE_TEXT_MAX];
    cbx_value_write_duration(waited_ms, limit);
    return cbx_fail(error, CBX_ERR_AGAIN,
                    "process %ld did not answer within %s: is it stopped or overloaded?",
                    listener_pid(fd), limit);
}

static int
wait_readable(int fd, int64_t deadline_us, int64_t timeout_ms, struct cbx_error *error)
{
    for (;;) {
        int64_t left = deadline_us < 0 ? -1 : (deadline_us - cbx_clock_us() + 999) / 1000;
        if (deadline_us >= 0 && left < 0)
            left = 0;
        struct pollfd event = {.fd = fd, .events = POLLIN};
        int ready = poll(&event, 1, left > INT_MAX ? INT_MAX : (int)left);
        if (ready > 0)
            return CBX_OK;
        if (ready == 0)
            return silent(fd, timeout_ms, error);
        if (errno != EINTR)
            return cbx_fail(error, CBX_ERR_IO, "poll: %s", strerror(errno));
    }
}

/* Reads what is there behind what is held. */
static int
receive_more(struct cbx_call *call, struct cbx_error *error)
{
    memmove(call->bytes, call->bytes + call->start, call->end - call->start);
    call->end -= call->start;
    call->start = 0;
    if (call->end > CBX_CONTROL_ANSWER_MAX)
        return cbx_fail(error, CBX_ERR_LIMIT, "the answer is longer than %d bytes",
                        CBX_CONTROL_ANSWER_MAX);
    ssize_t length = recv(call->fd, call->bytes + call->end, call->size - call->end, 0);
    if (length == 0 || (length < 0 && errno == ECONNRESET))
        return cbx_fail(error, CBX_ERR_CLOSED, "the running process ended before it answered");
    if (length < 0 && errno != EINTR)
        return cbx_fail(error, CBX_ERR_IO, "cannot read the answer: %s", strerror(errno));
    call->end += length > 0 ? (size_t)length : 0;
    return CBX_OK;
}

static int
make_room(struct cbx_call *call, struct cbx_error *error)
{
    if (call->size - (call->end - call->start) >= READ_MIN)
        return CBX_OK;
    size_t size = call->size == 0 ? 4 * READ_MIN : 2 * call->size;
    char *bytes = realloc(call->bytes, size);
    if (!bytes)
        return cbx_fail(error, CBX_ERR_NOMEM, "out of memory");
    call->bytes = bytes;
    call->size = size;
    return CBX_OK;
}

static int
read_answer(const char *line, size_t length, json_t **answer, struct cbx_error *error)
{
    json_error_t why;
    json_t *object = json_loadb(line, length, JSON_REJECT_DUPLICATES, &why);
    const json_t *ok = json_object_get(object, "ok");
    int result = CBX_OK;
    if (!json_is_boolean(ok)) {
        json_decref(object);
        return cbx_fail(error, CBX_ERR_FORMAT, "the running process answered something else");
    }
    if (!json_is_true(ok)) {
        const char *text = json_string_value(json_object_get(object, "error"));
        result = cbx_fail(error, CBX_ERR_STATE, "%s", text != NULL ? text : "failed");
    }
    if (answer)
        *answer = object;
    else
        json_decref(object);
    return result;
}

int
cbx_call_next(struct cbx_call *call, int64_t timeout_ms, json_t **answer, struct cbx_error *error)
{
    if (answer)
        *answer = NULL;
    int64_t deadline = timeout_ms < 0 ? -1 : cbx_clock_us() + timeout_ms * 1000;
    size_t searched = 0;
    for (;;) {
        size_t held = call->end - call->start;
        char *line = held > 0 ? call->bytes + call->start : NULL;
        char *newline = held > searched ? memchr(line + searched, '\n', held - searched) : NULL;
        if (newline) {
            call->start += (size_t)(newline - line) + 1;
            return read_answer(line, (size_t)(newline - line), answer, error);
        }
        searched = held;
        int result = make_room(call, error);
        if (result == CBX_OK)
            result = wait_readable(call->fd, deadline, timeout_ms, error);
        if (result == CBX_OK)
            result = receive_more(call, error);
        if (result != CBX_OK)
            return result;
    }
}

int
cbx_call_fd(const struct cbx_call *call)
{
    return call->fd;
}

void
cbx_call_close(struct cbx_call *call)
{
    if (!call)
        return;
    close(call->fd);
    free(call->bytes);
    free(call);
}
