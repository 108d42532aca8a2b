/* SPDX-License-Identifier: MIT */
/* Tested by test_strangers.py and test_restart.py. */
#include "hub/login/sshd_children.h"
#include "common/base/clock.h"
#include "common/base/log.h"
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/prctl.h>
#include <unistd.h>

enum {
    LINE_MAX_BYTES = 480, /* longer ones are cut */
    CHILD_LINES_PER_S = 2,
    CHILD_LINES_BURST = 20,
    LINES_PER_S = 20,
    LINES_BURST = 50,
};

struct child {
    struct sshd_children *set;
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

/* ---- what it says ---- */

static void
say_line(struct child *child)
{
    struct sshd_children *set = child->set;
    int64_t now = cbx_clock_us();

    if (!cbx_rate_take(&child->lines, CHILD_LINES_PER_S, CHILD_LINES_BURST, now) ||
        !cbx_rate_take(&set->lines, LINES_PER_S, LINES_BURST, now)) {
        set->unsaid++;
    } else {
        if (set->unsaid > 0)
            cbx_log_warn("sshd: %lu lines over the limit were not logged", set->unsaid);
        set->unsaid = 0;
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

/* ---- its end ---- */

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
    ev_timer_start(child->set->loop, &child->kill);
}

static void
child_free(struct child *child)
{
    struct sshd_children *set = child->set;

    if (child->next)
        child->next->previous = child->previous;
    if (child->previous)
        child->previous->next = child->next;
    else
        set->first = child->next;
    ev_io_stop(set->loop, &child->errors);
    ev_timer_stop(set->loop, &child->kill);
    ev_child_stop(set->loop, &child->exit);
    (void)close(child->errors.fd);
    free(child);
}

static void
on_exit_of_child(struct ev_loop *loop, ev_child *watcher, int events)
{
    struct child *child = watcher->data;
    struct sshd_children *set = child->set;
    int status = watcher->rstatus;

    (void)loop;
    (void)events;
    (void)drain_errors(child);
    if (child->length > 0)
        say_line(child);
    uint64_t number = child->number;
    child_free(child);
    set->exited(set->arg, number, status);
}

/* ---- its start ---- */

/* In the child, between fork and exec. */
static _Noreturn void
become_sshd(const struct sshd_children *set, uint64_t number, int socket, int errors)
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
    (void)setrlimit(RLIMIT_NOFILE, &set->files);
    (void)fcntl(socket, F_SETFL, fcntl(socket, F_GETFL) & ~O_NONBLOCK);
    if (dup2(socket, 0) < 0 || dup2(socket, 1) < 0 || dup2(errors, 2) < 0)
        _exit(126);
    /* PATH is for the login shell's sake; sshd needs nothing else from us. */
    char *const environ_clean[] = {"PATH=/usr/local/bin:/usr/bin:/bin:/usr/sbin:/sbin", NULL};
    const char *argv[] = {set->sshd, "-i", "-e", "-f", set->config, "-o", environment, NULL};
    (void)execve(set->sshd, (char *const *)(uintptr_t)argv, environ_clean);
    (void)dprintf(2, "cannot run %s: %s\n", set->sshd, strerror(errno));
    _exit(127);
}

static int
fork_sshd(struct child *child, int socket)
{
    struct sshd_children *set = child->set;
    int pipe_fd[2];

    if (pipe2(pipe_fd, O_CLOEXEC | O_NONBLOCK) != 0)
        return -1;
    child->pid = fork();
    if (child->pid == 0) {
        (void)fcntl(pipe_fd[1], F_SETFL, fcntl(pipe_fd[1], F_GETFL) & ~O_NONBLOCK);
        become_sshd(set, child->number, socket, pipe_fd[1]);
    }
    (void)close(pipe_fd[1]);
    if (child->pid < 0) {
        (void)close(pipe_fd[0]);
        return -1;
    }
    ev_io_init(&child->errors, on_errors, pipe_fd[0], EV_READ);
    ev_child_init(&child->exit, on_exit_of_child, child->pid, 0);
    ev_timer_init(&child->kill, on_kill_timer, 0, 0);
    child->errors.data = child->exit.data = child->kill.data = child;
    ev_io_start(set->loop, &child->errors);
    ev_child_start(set->loop, &child->exit);
    return 0;
}

int
sshd_children_start(struct sshd_children *set, uint64_t number, int socket)
{
    struct child *child = calloc(1, sizeof *child);

    if (!child)
        return -1;
    child->set = set;
    child->number = number;
    if (fork_sshd(child, socket) != 0) {
        free(child);
        return -1;
    }
    child->next = set->first;
    if (child->next)
        child->next->previous = child;
    set->first = child;
    return 0;
}

void
sshd_children_end(struct sshd_children *set, uint64_t number, double kill_after_s)
{
    for (struct child *child = set->first; child != NULL; child = child->next)
        if (child->number == number)
            end_child(child, kill_after_s);
}

void
sshd_children_end_all(struct sshd_children *set, double kill_after_s)
{
    for (struct child *child = set->first; child != NULL; child = child->next)
        end_child(child, kill_after_s);
}
