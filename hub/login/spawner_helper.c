/* SPDX-License-Identifier: MIT */
/*
 * One loop over the hub's socket and the sshd processes. The hub hears of an sshd's exit when the
 * kernel has reported it. The helper ignores the signals of a terminal and of a service manager,
 * but that SIGHUP opens the log file again: it ends when its socket to the hub does, after every
 * sshd. Tested by test_strangers.py and test_restart.py.
 */
#include "hub/login/spawner_helper.h"
#include "common/base/log.h"
#include "common/base/log_file.h"
#include "common/os/descriptors.h"
#include "hub/login/sshd_children.h"
#include <errno.h>
#include <ev.h>
#include <fcntl.h>
#include <limits.h>
#include <signal.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <unistd.h>

enum {
    KILL_AFTER_S = 2,
    END_AFTER_S = 1, /* when the hub is gone */
};

struct helper {
    struct ev_loop *loop;
    int hub; /* -1 once it is gone */
    ev_io requests;
    ev_timer end;
    ev_signal hangup;
    struct sshd_children children;
};

/* Blocking: the hub always reads, and its death is an error here. */
static void
report_exit(const struct helper *helper, uint64_t number, int status)
{
    struct spawner_message message = {.op = SPAWNER_EXITED, .status = status, .number = number};

    if (helper->hub < 0)
        return;
    while (send(helper->hub, &message, sizeof message, MSG_NOSIGNAL) < 0 && errno == EINTR)
        continue;
}

static void
on_exited(void *arg, uint64_t number, int status)
{
    struct helper *helper = arg;

    report_exit(helper, number, status);
    if (helper->hub < 0 && !helper->children.first)
        ev_break(helper->loop, EVBREAK_ALL);
}

static void
launch(struct helper *helper, uint64_t number, int socket)
{
    if (sshd_children_start(&helper->children, number, socket) == 0)
        return;
    cbx_log_error("sshd[%llu]: cannot be started: %s", (unsigned long long)number, strerror(errno));
    report_exit(helper, number, -1);
}

static void
hub_gone(struct helper *helper)
{
    ev_io_stop(helper->loop, &helper->requests);
    (void)close(helper->hub);
    helper->hub = -1;
    sshd_children_end_all(&helper->children, END_AFTER_S);
    ev_timer_start(helper->loop, &helper->end);
    if (!helper->children.first)
        ev_break(helper->loop, EVBREAK_ALL);
}

/* The one descriptor of a message, or -1. The hub is trusted not to send more than one. */
static int
descriptor_of(struct msghdr *header)
{
    int fd = -1;

    for (struct cmsghdr *cmsg = CMSG_FIRSTHDR(header); cmsg != NULL;
         cmsg = CMSG_NXTHDR(header, cmsg))
        if (cmsg->cmsg_level == SOL_SOCKET && cmsg->cmsg_type == SCM_RIGHTS)
            memcpy(&fd, CMSG_DATA(cmsg), sizeof fd);
    return fd;
}

static void
handle(struct helper *helper, const struct spawner_message *message, int fd)
{
    if (message->op == SPAWNER_LAUNCH && fd >= 0) {
        launch(helper, message->number, fd);
    } else if (message->op == SPAWNER_LAUNCH) {
        /* No descriptor was free to receive it into. */
        report_exit(helper, message->number, -1);
    } else if (message->op == SPAWNER_KILL) {
        sshd_children_end(&helper->children, message->number, KILL_AFTER_S);
    }
}

static void
on_request(struct ev_loop *loop, ev_io *watcher, int events)
{
    struct helper *helper = watcher->data;

    (void)loop;
    (void)events;
    for (;;) {
        struct spawner_message message;
        struct iovec vector = {.iov_base = &message, .iov_len = sizeof message};
        union {
            struct cmsghdr align;
            char bytes[CMSG_SPACE(sizeof(int))];
        } control;
        struct msghdr header = {.msg_iov = &vector,
                                .msg_iovlen = 1,
                                .msg_control = control.bytes,
                                .msg_controllen = sizeof control.bytes};
        ssize_t got = recvmsg(helper->hub, &header, MSG_DONTWAIT | MSG_CMSG_CLOEXEC);

        if (got < 0 && errno == EINTR)
            continue;
        if (got < 0 && errno == EAGAIN)
            return;
        if (got != (ssize_t)sizeof message) {
            hub_gone(helper);
            return;
        }
        int fd = descriptor_of(&header);
        handle(helper, &message, fd);
        if (fd >= 0)
            (void)close(fd);
    }
}

static void
on_end(struct ev_loop *loop, ev_timer *watcher, int events)
{
    (void)watcher;
    (void)events;
    ev_break(loop, EVBREAK_ALL);
}

static void
on_hangup(struct ev_loop *loop, ev_signal *watcher, int events)
{
    (void)loop;
    (void)watcher;
    (void)events;
    (void)cbx_log_file_reopen();
}

/* Only standard error and the hub's socket stay; the hub's standard output is not held open. */
static void
leave_the_hub(int fd)
{
    int null = open("/dev/null", O_RDWR);

    if (null >= 0) {
        (void)dup2(null, 0);
        (void)dup2(null, 1);
    }
    if (fd > 3)
        (void)close_range(3, (unsigned)fd - 1, 0);
    (void)close_range((unsigned)fd + 1, UINT_MAX, 0);
    (void)setsid();
    (void)prctl(PR_SET_NAME, "cbx-hub-spawn");
    /* sshd's own children outlive it now and then: they come to us, whose loop reaps every child,
     * and not to a PID 1 that may not. */
    (void)prctl(PR_SET_CHILD_SUBREAPER, 1);
    (void)signal(SIGINT, SIG_IGN);
    (void)signal(SIGTERM, SIG_IGN);
    (void)signal(SIGHUP, SIG_IGN);
    (void)signal(SIGPIPE, SIG_IGN);
}

void
spawner_helper(int fd, const struct spawner_config *config)
{
    struct helper helper = {.hub = fd};
    struct sshd_children *children = &helper.children;

    leave_the_hub(fd);
    (void)getrlimit(RLIMIT_NOFILE, &children->files);
    cbx_descriptors_raise();
    helper.loop = ev_default_loop(EVFLAG_AUTO);
    if (!helper.loop) {
        cbx_log_error("the helper that starts sshd has no event loop");
        _exit(1);
    }
    children->loop = helper.loop;
    children->sshd = config->sshd;
    children->config = config->config;
    children->exited = on_exited;
    children->arg = &helper;
    ev_io_init(&helper.requests, on_request, fd, EV_READ);
    /* A little after every child's SIGKILL. */
    ev_timer_init(&helper.end, on_end, END_AFTER_S + 0.2, 0);
    helper.requests.data = &helper;
    ev_io_start(helper.loop, &helper.requests);
    ev_signal_init(&helper.hangup, on_hangup, SIGHUP);
    ev_signal_start(helper.loop, &helper.hangup);
    (void)ev_run(helper.loop, 0);
    _exit(0);
}
