/* SPDX-License-Identifier: MIT */
/*
 * dial and wait. A dial makes a socket pair and gives one end to the running agent, which joins it
 * to a stream; this process copies between the other end and its standard input and output. Two
 * threads, one for each direction, so that neither ever waits for the other: standard input and
 * output may be shared with other programs and cannot be made non-blocking.
 *
 * The end: the agent's word on the control socket decides the exit status, after every byte that
 * is left in the socket was written. Any end of this process before that resets the stream.
 * Tested by test_ssh.py, test_halfclose.py and test_refusals.py.
 */
#include "agent/cmd/commands.h"

#include "common/base/log.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

enum {
    COPY_SIZE = 256 * 1024,
    SOCKET_BUFFER = 1024 * 1024,
    WAIT_GRACE_MS = 5000,
    FIRST_WORD_MS = 5000
};

struct dial {
    const struct agent_address *to;
    struct cbx_call *call;
    int socket;
    bool ended;  /* the socket gave its last byte */
    bool closed; /* the agent said how the stream ended */
    int status;
};

static int
fail(const struct agent_address *to, const char *what, const char *cause)
{
    cbx_log_error("%s %s: %s", what, to->text, cause);
    return CBX_EXIT_FAILURE;
}

static void
wait_until(int fd, short events)
{
    struct pollfd event = {.fd = fd, .events = events};
    (void)poll(&event, 1, -1);
}

/* Standard input to the socket, in a thread of its own, until either ends. */
static void *
copy_input(void *arg)
{
    const struct dial *dial = arg;
    static char bytes[COPY_SIZE];
    for (;;) {
        ssize_t length = read(STDIN_FILENO, bytes, sizeof bytes);
        if (length < 0 && (errno == EAGAIN || errno == EINTR)) {
            if (errno == EAGAIN)
                wait_until(STDIN_FILENO, POLLIN);
            continue;
        }
        if (length < 0 && errno != EBADF) {
            /* Not an end of input: the far side must not take it for one. */
            (void)fail(dial->to, "dial", strerror(errno));
            _exit(CBX_EXIT_FAILURE);
        }
        if (length <= 0)
            break;
        for (ssize_t sent = 0; sent < length;) {
            ssize_t part = send(dial->socket, bytes + sent, (size_t)(length - sent), MSG_NOSIGNAL);
            if (part < 0 && errno != EINTR)
                return NULL; /* the agent will say why */
            sent += part > 0 ? part : 0;
        }
    }
    (void)shutdown(dial->socket, SHUT_WR);
    return NULL;
}

static bool
write_all(const char *bytes, size_t length)
{
    while (length > 0) {
        ssize_t part = write(STDOUT_FILENO, bytes, length);
        if (part < 0 && errno == EAGAIN)
            wait_until(STDOUT_FILENO, POLLOUT);
        else if (part < 0 && errno != EINTR)
            return false;
        bytes += part > 0 ? part : 0;
        length -= part > 0 ? (size_t)part : 0;
    }
    return true;
}

/* The far side has no more: so has the reader of our output. */
static void
end_output(struct dial *dial)
{
    dial->ended = true;
    int nothing = open("/dev/null", O_WRONLY | O_CLOEXEC);
    if (nothing < 0 || dup2(nothing, STDOUT_FILENO) < 0)
        (void)close(STDOUT_FILENO);
    if (nothing >= 0)
        close(nothing);
}

/* False when nobody takes our output any more. */
static bool
copy_output(struct dial *dial)
{
    static char bytes[COPY_SIZE];
    ssize_t length = recv(dial->socket, bytes, sizeof bytes, MSG_DONTWAIT);
    if (length < 0 && (errno == EAGAIN || errno == EINTR))
        return true;
    if (length <= 0) {
        end_output(dial);
        return true;
    }
    if (write_all(bytes, (size_t)length))
        return true;
    if (errno != EPIPE)
        (void)fail(dial->to, "dial", strerror(errno));
    return false;
}

/* The agent's last word. */
static void
hear_agent(struct dial *dial)
{
    struct cbx_error error;
    int result = cbx_call_next(dial->call, 0, NULL, &error);
    if (result == CBX_ERR_AGAIN)
        return;
    dial->closed = true;
    dial->status = result == CBX_OK ? CBX_EXIT_OK : fail(dial->to, "dial", error.text);
}

/* Until the stream is over in both directions and the agent has said how. */
static int
copy(struct dial *dial)
{
    pthread_t input;
    if (pthread_create(&input, NULL, copy_input, dial) != 0)
        return fail(dial->to, "dial", "cannot start a thread");
    (void)pthread_detach(input);
    hear_agent(dial); /* its word may have come with the first one */
    while (!dial->ended || !dial->closed) {
        struct pollfd events[] = {
            {.fd = dial->ended ? -1 : dial->socket, .events = POLLIN},
            {.fd = dial->closed ? -1 : cbx_call_fd(dial->call), .events = POLLIN},
            {.fd = dial->ended ? -1 : STDOUT_FILENO, .events = 0},
        };
        if (poll(events, 3, -1) < 0 && errno != EINTR)
            return fail(dial->to, "dial", strerror(errno));
        if (events[0].revents != 0 && !copy_output(dial))
            return CBX_EXIT_FAILURE;
        if (events[1].revents != 0)
            hear_agent(dial);
        /* The reader of our output left: what still comes has nowhere to go. */
        if (!dial->ended && (events[2].revents & (POLLERR | POLLHUP | POLLNVAL)) != 0)
            return CBX_EXIT_FAILURE;
    }
    return dial->status;
}

static json_t *
request_for(const char *command, const struct agent_address *to)
{
    return json_pack("{s:s, s:s, s:i}", "cmd", command, "name", to->name, "port", (int)to->port);
}

/* The agent ends a dial by its own time (--dial-timeout), however long: what is asked here is
 * whether it is there to do so. CBX_OK, or an error that was said where error->text is empty. */
static int
first_word(struct dial *dial, const struct cbx_args *args, struct cbx_error *error)
{
    for (;;) {
        json_t *answer;
        int result = cbx_call_next(dial->call, FIRST_WORD_MS, NULL, error);
        if (result != CBX_ERR_AGAIN)
            return result;
        int status = agent_ask(args, json_pack("{s:s}", "cmd", "status"), &answer);
        json_decref(answer);
        error->text[0] = '\0';
        if (status != CBX_EXIT_OK)
            return result;
    }
}

/* Hands one end of a pair to the agent and waits for its first word. */
static int
open_dial(struct dial *dial, const struct cbx_args *args)
{
    int pair[2];
    if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair) != 0)
        return fail(dial->to, "dial", strerror(errno));
    for (int i = 0; i < 2; i++) {
        int size = SOCKET_BUFFER; /* cut to what the system allows */
        (void)setsockopt(pair[i], SOL_SOCKET, SO_SNDBUF, &size, sizeof size);
    }
    struct cbx_error error;
    int result = cbx_call_send(dial->call, request_for("dial", dial->to), pair[1], &error);
    close(pair[1]);
    dial->socket = pair[0];
    if (result == CBX_OK)
        result = first_word(dial, args, &error);
    if (result == CBX_OK)
        return CBX_EXIT_OK;
    return error.text[0] != '\0' ? fail(dial->to, "dial", error.text) : CBX_EXIT_FAILURE;
}

int
agent_cmd_dial(const struct cbx_command *command, void *parsed)
{
    (void)command;
    struct agent_address to;
    int status = agent_read_address(parsed, &to);
    if (status != CBX_EXIT_OK)
        return status;
    (void)signal(SIGPIPE, SIG_IGN);
    struct dial dial = {.to = &to, .socket = -1};
    status = agent_call(parsed, 0, &dial.call);
    if (status != CBX_EXIT_OK)
        return status;
    status = open_dial(&dial, parsed);
    if (status == CBX_EXIT_OK)
        status = copy(&dial);
    /* The other thread may still wait for input: the process ends under it. */
    _exit(status);
}

int
agent_cmd_wait(const struct cbx_command *command, void *parsed)
{
    (void)command;
    struct agent_address to;
    int64_t timeout_ms = 60 * 1000;
    int status = agent_read_address(parsed, &to);
    if (status == CBX_EXIT_OK)
        status = agent_read_timeout(parsed, &timeout_ms);
    if (status != CBX_EXIT_OK)
        return status;
    struct cbx_call *call;
    status = agent_call(parsed, timeout_ms, &call);
    if (status != CBX_EXIT_OK)
        return status;
    json_t *request = request_for("wait", &to);
    struct cbx_error error;
    int result = CBX_ERR_NOMEM;
    if (json_object_set_new(request, "timeout_ms", json_integer(timeout_ms)) == 0)
        result = cbx_call_send(call, request, -1, &error);
    else
        json_decref(request);
    if (result == CBX_OK)
        result = cbx_call_next(call, timeout_ms + WAIT_GRACE_MS, NULL, &error);
    else if (result == CBX_ERR_NOMEM)
        cbx_fail(&error, result, "out of memory");
    if (result != CBX_OK)
        status = fail(&to, "wait", error.text);
    cbx_call_close(call);
    return status;
}
