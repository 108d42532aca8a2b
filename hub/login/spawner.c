/* SPDX-License-Identifier: MIT */
/* Tested by test_strangers.py and test_restart.py. */
#include "hub/login/spawner.h"
#include "common/base/clock.h"
#include <errno.h>
#include <ev.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

struct spawner {
    int fd; /* -1 once the helper is gone */
    pid_t pid;
    struct ev_loop *loop; /* NULL before spawner_watch */
    ev_io readable;
    const struct spawner_ops *ops;
    void *arg;
};

int
spawner_start(struct spawner **out, const struct spawner_config *config, struct cbx_error *error)
{
    int pair[2];
    struct spawner *spawner = calloc(1, sizeof *spawner);

    if (!spawner)
        return cbx_fail(error, CBX_ERR_NOMEM, "out of memory");
    if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair) != 0) {
        free(spawner);
        return cbx_fail(error, CBX_ERR_IO, "cannot make a socket pair: %s", strerror(errno));
    }
    (void)fflush(NULL); /* nothing buffered may be written twice */
    spawner->pid = fork();
    if (spawner->pid < 0) {
        int code = errno;

        (void)close(pair[0]);
        (void)close(pair[1]);
        free(spawner);
        return cbx_fail(error, CBX_ERR_IO, "cannot fork the helper that starts sshd: %s",
                        strerror(code));
    }
    if (spawner->pid == 0) {
        (void)close(pair[0]);
        spawner_helper(pair[1], config);
    }
    (void)close(pair[1]);
    spawner->fd = pair[0];
    *out = spawner;
    return 0;
}

static void
helper_gone(struct spawner *spawner)
{
    ev_io_stop(spawner->loop, &spawner->readable);
    (void)close(spawner->fd);
    spawner->fd = -1;
    spawner->ops->lost(spawner->arg);
}

static void
on_readable(struct ev_loop *loop, ev_io *watcher, int events)
{
    struct spawner *spawner = watcher->data;
    struct spawner_message message;

    (void)loop;
    (void)events;
    while (spawner->fd >= 0) {
        ssize_t got = recv(spawner->fd, &message, sizeof message, MSG_DONTWAIT);

        if (got < 0 && errno == EINTR)
            continue;
        if (got < 0 && errno == EAGAIN)
            return;
        if (got <= 0) {
            helper_gone(spawner);
            return;
        }
        if (got == (ssize_t)sizeof message && message.op == SPAWNER_EXITED)
            spawner->ops->exited(spawner->arg, message.number, message.status);
    }
}

void
spawner_watch(struct spawner *spawner, struct ev_loop *loop, const struct spawner_ops *ops,
              void *arg)
{
    spawner->loop = loop;
    spawner->ops = ops;
    spawner->arg = arg;
    ev_io_init(&spawner->readable, on_readable, spawner->fd, EV_READ);
    spawner->readable.data = spawner;
    ev_io_start(loop, &spawner->readable);
}

static int
tell(const struct spawner *spawner, enum spawner_op op, uint64_t number, int fd)
{
    struct spawner_message message = {.op = op, .number = number};
    struct iovec vector = {.iov_base = &message, .iov_len = sizeof message};
    union {
        struct cmsghdr align;
        char bytes[CMSG_SPACE(sizeof(int))];
    } control = {.bytes = {0}};
    struct msghdr header = {.msg_iov = &vector, .msg_iovlen = 1};

    if (spawner->fd < 0)
        return CBX_ERR_CLOSED;
    if (fd >= 0) {
        header.msg_control = control.bytes;
        header.msg_controllen = sizeof control.bytes;
        struct cmsghdr *cmsg = CMSG_FIRSTHDR(&header);
        cmsg->cmsg_level = SOL_SOCKET;
        cmsg->cmsg_type = SCM_RIGHTS;
        cmsg->cmsg_len = CMSG_LEN(sizeof(int));
        memcpy(CMSG_DATA(cmsg), &fd, sizeof fd);
    }
    for (;;) {
        if (sendmsg(spawner->fd, &header, MSG_DONTWAIT | MSG_NOSIGNAL) >= 0)
            return 0;
        if (errno == EINTR)
            continue;
        /* ETOOMANYREFS: too many sockets on their way; it passes as the helper takes them. */
        if (errno == EAGAIN || errno == ENOBUFS || errno == ENOMEM || errno == ETOOMANYREFS)
            return CBX_ERR_AGAIN;
        return CBX_ERR_CLOSED;
    }
}

int
spawner_launch(struct spawner *spawner, uint64_t number, int fd)
{
    return tell(spawner, SPAWNER_LAUNCH, number, fd);
}

int
spawner_kill(struct spawner *spawner, uint64_t number)
{
    return tell(spawner, SPAWNER_KILL, number, -1);
}

void
spawner_reopen_log(const struct spawner *spawner)
{
    if (spawner->fd >= 0)
        (void)kill(spawner->pid, SIGHUP);
}

void
spawner_stop(struct spawner *spawner, int64_t wait_ms)
{
    if (!spawner)
        return;
    int64_t deadline = cbx_clock_us() + wait_ms * 1000;

    if (spawner->fd >= 0) {
        if (spawner->loop)
            ev_io_stop(spawner->loop, &spawner->readable);
        (void)close(spawner->fd);
    }
    while (waitpid(spawner->pid, NULL, WNOHANG) == 0 && cbx_clock_us() < deadline)
        (void)poll(NULL, 0, 10);
    free(spawner);
}
