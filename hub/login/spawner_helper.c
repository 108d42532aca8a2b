/* SPDX-License-Identifier: MIT */
/*
 * The helper: one loop over the hub's socket, its children and their standard error. A child is
 * RUNNING, then ENDING (SIGTERM sent, SIGKILL when its timer fires), and is freed when the kernel
 * reports its exit; only then does the hub hear of it. The helper ignores the signals of a terminal
 * and of a service manager: it ends when its socket to the hub does.
 */
#include "common/base/clock.h"
#include "common/base/log.h"
#include "common/base/rate.h"
#include "hub/login/spawner.h"
#include <errno.h>
#include <ev.h>
#include <fcntl.h>
#include <limits.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

enum {
    LINE_MAX_BYTES = 480, /* longer ones are cut */
    CHILD_LINES_PER_S = 2,
    CHILD_LINES_BURST = 20,
    LINES_PER_S = 20,
    LINES_BURST = 50,
    KILL_AFTER_S = 2,
    END_AFTER_S = 1, /* when the hub is gone */
};

struct child {
    struct helper *helper;
    uint64_t number;
    pid_t pid;
    ev_child exit;
    ev_io errors; /* its standard error */
    ev_timer kill;
    struct cbx_rate lines;
    size_t length;
    char line[LINE_MAX_BYTES];
    struct child *next, *previous;
};

struct helper {
    struct ev_loop *loop;
    int hub; /* -1 once it is gone */
    ev_io requests;
    ev_timer end;
    struct child *children;
    struct cbx_rate lines;
    unsigned long unsaid; /* lines over the limit since the last one that was printed */
    const struct spawner_config *config;
    struct rlimit files; /* as found: sshd gets this one */
};

static void
say_line(struct child *child)
{
    struct helper *helper = child->helper;
    int64_t now = cbx_clock_us();

    if (!cbx_rate_take(&child->lines, CHILD_LINES_PER_S, CHILD_LINES_BURST, now) ||
        !cbx_rate_take(&helper->lines, LINES_PER_S, LINES_BURST, now)) {
        helper->unsaid++;
    } else {
        if (helper->unsaid > 0)
            cbx_log_warn("sshd: %lu lines over the limit were not logged", helper->unsaid);
        helper->unsaid = 0;
        cbx_log_info("sshd[%llu]: %.*s", (unsigned long long)child->number, (int)child->length,
                     child->line);
    }
    child->length = 0;
}

static void
take_bytes(struct child *child, const char *bytes, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        if (bytes[i] == '\n')
            say_line(child);
        else if (bytes[i] != '\r' && child->length < sizeof child->line)
            child->line[child->length++] = bytes[i];
    }
}

/* False when the pipe has ended. */
static bool
drain_errors(struct child *child)
{
    char buffer[4096];

    /* Bounded: one talkative sshd does not hold up the rest. */
    for (int i = 0; i < 16; i++) {
        ssize_t got = read(child->errors.fd, buffer, sizeof buffer);

        if (got > 0)
            take_bytes(child, buffer, (size_t)got);
        else
            return got < 0 && (errno == EAGAIN || errno == EINTR);
    }
    return true;
}

static void
on_errors(struct ev_loop *loop, ev_io *watcher, int events)
{
    (void)events;
    if (!drain_errors(watcher->data))
        ev_io_stop(loop, watcher);
}

static void
signal_child(const struct child *child, int number)
{
    if (kill(-child->pid, number) != 0)
        (void)kill(child->pid, number);
}

static void
on_kill_timer(struct ev_loop *loop, ev_timer *watcher, int events)
{
    (void)loop;
    (void)events;
    signal_child(watcher->data, SIGKILL);
}

static void
end_child(struct child *child, double kill_after_s)
{
    if (ev_is_active(&child->kill))
        return;
    signal_child(child, SIGTERM);
    ev_timer_set(&child->kill, kill_after_s, 0);
    ev_timer_start(child->helper->loop, &child->kill);
}

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
child_free(struct child *child)
{
    struct helper *helper = child->helper;

    if (child->next != NULL)
        child->next->previous = child->previous;
    if (child->previous != NULL)
        child->previous->next = child->next;
    else
        helper->children = child->next;
    ev_io_stop(helper->loop, &child->errors);
    ev_timer_stop(helper->loop, &child->kill);
    ev_child_stop(helper->loop, &child->exit);
    (void)close(child->errors.fd);
    free(child);
    if (helper->hub < 0 && helper->children == NULL)
        ev_break(helper->loop, EVBREAK_ALL);
}

static void
on_exit_of_child(struct ev_loop *loop, ev_child *watcher, int events)
{
    struct child *child = watcher->data;

    (void)loop;
    (void)events;
    (void)drain_errors(child);
    if (child->length > 0)
        say_line(child);
    report_exit(child->helper, child->number, watcher->rstatus);
    child_free(child);
}

/* In the child, between fork and exec. */
static _Noreturn void
become_sshd(const struct helper *helper, uint64_t number, int socket, int errors)
{
    char environment[128];
    sigset_t none;

    (void)snprintf(environment, sizeof environment,
                   "SetEnv=CBX_CONN=%llu SHLVL=9 ZDOTDIR=/nonexistent", (unsigned long long)number);
    (void)setsid();
    (void)prctl(PR_SET_PDEATHSIG, SIGTERM);
    for (int i = 1; i < NSIG; i++)
        (void)signal(i, SIG_DFL);
    (void)sigemptyset(&none);
    (void)sigprocmask(SIG_SETMASK, &none, NULL);
    (void)setrlimit(RLIMIT_NOFILE, &helper->files);
    (void)fcntl(socket, F_SETFL, fcntl(socket, F_GETFL) & ~O_NONBLOCK);
    if (dup2(socket, 0) < 0 || dup2(socket, 1) < 0 || dup2(errors, 2) < 0)
        _exit(126);
    /* PATH is for the login shell's sake; sshd needs nothing else from us. */
    char *const environ_clean[] = {"PATH=/usr/local/bin:/usr/bin:/bin:/usr/sbin:/sbin", NULL};
    const char *argv[] = {helper->config->sshd,   "-i", "-e",        "-f",
                          helper->config->config, "-o", environment, NULL};
    (void)execve(helper->config->sshd, (char *const *)(uintptr_t)argv, environ_clean);
    (void)dprintf(2, "cannot run %s: %s\n", helper->config->sshd, strerror(errno));
    _exit(127);
}

static int
fork_sshd(struct child *child, int socket)
{
    struct helper *helper = child->helper;
    int pipe_fd[2];

    if (pipe2(pipe_fd, O_CLOEXEC | O_NONBLOCK) != 0)
        return -1;
    child->pid = fork();
    if (child->pid == 0) {
        (void)fcntl(pipe_fd[1], F_SETFL, fcntl(pipe_fd[1], F_GETFL) & ~O_NONBLOCK);
        become_sshd(helper, child->number, socket, pipe_fd[1]);
    }
    (void)close(pipe_fd[1]);
    if (child->pid < 0) {
        (void)close(pipe_fd[0]);
        return -1;
    }
    ev_io_init(&child->errors, on_errors, pipe_fd[0], EV_READ);
    ev_child_init(&child->exit, on_exit_of_child, child->pid, 0);
    ev_timer_init(&child->kill, on_kill_timer, KILL_AFTER_S, 0);
    child->errors.data = child->exit.data = child->kill.data = child;
    ev_io_start(helper->loop, &child->errors);
    ev_child_start(helper->loop, &child->exit);
    return 0;
}

static void
launch(struct helper *helper, uint64_t number, int socket)
{
    struct child *child = calloc(1, sizeof *child);

    if (child != NULL) {
        child->helper = helper;
        child->number = number;
    }
    if (child == NULL || fork_sshd(child, socket) != 0) {
        cbx_log_error("sshd[%llu]: cannot be started: %s", (unsigned long long)number,
                      strerror(errno));
        free(child);
        report_exit(helper, number, -1);
        return;
    }
    child->next = helper->children;
    if (child->next != NULL)
        child->next->previous = child;
    helper->children = child;
}

static void
hub_gone(struct helper *helper)
{
    ev_io_stop(helper->loop, &helper->requests);
    (void)close(helper->hub);
    helper->hub = -1;
    for (struct child *child = helper->children; child != NULL; child = child->next)
        end_child(child, END_AFTER_S);
    ev_timer_start(helper->loop, &helper->end);
    if (helper->children == NULL)
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
        for (struct child *child = helper->children; child != NULL; child = child->next)
            if (child->number == message->number)
                end_child(child, KILL_AFTER_S);
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
    (void)signal(SIGINT, SIG_IGN);
    (void)signal(SIGTERM, SIG_IGN);
    (void)signal(SIGHUP, SIG_IGN);
    (void)signal(SIGPIPE, SIG_IGN);
}

void
spawner_helper(int fd, const struct spawner_config *config)
{
    struct helper helper = {.hub = fd, .config = config};

    leave_the_hub(fd);
    (void)getrlimit(RLIMIT_NOFILE, &helper.files);
    struct rlimit most = {.rlim_cur = helper.files.rlim_max, .rlim_max = helper.files.rlim_max};
    (void)setrlimit(RLIMIT_NOFILE, &most);
    helper.loop = ev_default_loop(EVFLAG_AUTO);
    if (helper.loop == NULL) {
        cbx_log_error("the helper that starts sshd has no event loop");
        _exit(1);
    }
    ev_io_init(&helper.requests, on_request, fd, EV_READ);
    /* A little after every child's SIGKILL. */
    ev_timer_init(&helper.end, on_end, END_AFTER_S + 0.2, 0);
    helper.requests.data = &helper;
    ev_io_start(helper.loop, &helper.requests);
    (void)ev_run(helper.loop, 0);
    _exit(0);
}
