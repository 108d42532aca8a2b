/* SPDX-License-Identifier: MIT */
/*
 * A child is freed when it has been let go and the kernel has reported its exit, whichever comes
 * last. It leads a process group: what it started gets the same signals, and what outlives it is
 * killed.
 *
 * All children stand in one list for child_end_all: they are the process's, as is the table that
 * the kernel keeps of them.
 */
#include "agent/uplink/child.h"

#include "agent/uplink/child_log.h"
#include "agent/uplink/spawn.h"
#include "common/base/states.h"

#include <errno.h>
#include <ev.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/queue.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

enum { READS_A_TURN = 16, POLL_MS = 10 };

enum child_state {
    CHILD_RUNNING, /* it has an owner */
    CHILD_EXITED,  /* reaped; the owner has not let go yet */
    CHILD_ENDING,  /* let go: it may end by itself until the timer fires */
    CHILD_TOLD,    /* SIGTERM was sent; SIGKILL when the timer fires */
};

static const struct cbx_states child_states = {
    .what = "child",
    .state =
        {
            [CHILD_RUNNING] = {"running", CBX_STATE(CHILD_EXITED) | CBX_STATE(CHILD_ENDING)},
            [CHILD_EXITED] = {"exited", 0},
            [CHILD_ENDING] = {"ending", CBX_STATE(CHILD_TOLD)},
            [CHILD_TOLD] = {"told to end", 0},
        },
};

struct child {
    LIST_ENTRY(child) entry;
    struct ev_loop *loop;
    void (*exited)(void *arg, int status); /* NULL: nobody waits for it */
    void *arg;
    enum child_state state;
    pid_t pid; /* 0 once it was reaped */
    ev_child exit;
    ev_timer end;
    ev_io errors; /* its standard error; fd -1 once that has ended */
    struct child_log log;
};

static LIST_HEAD(, child) children = LIST_HEAD_INITIALIZER(children);

static void
set_state(struct child *child, enum child_state state)
{
    if (cbx_states_allow_number(&child_states, child->log.name, (uint32_t)child->pid, child->state,
                                state))
        child->state = state;
}

/* ---- standard error ---- */

static void
close_errors(struct child *child)
{
    if (child->errors.fd < 0)
        return;
    ev_io_stop(child->loop, &child->errors);
    (void)close(child->errors.fd);
    child->errors.fd = -1;
}

/* Bounded: a program that never stops talking does not hold up the rest. */
static void
read_errors(struct child *child)
{
    char buffer[4096];
    for (int i = 0; i < READS_A_TURN && child->errors.fd >= 0; i++) {
        ssize_t got = read(child->errors.fd, buffer, sizeof buffer);
        if (got > 0) {
            child_log_take(&child->log, ev_now(child->loop), buffer, (size_t)got);
        } else if (got == 0 || (errno != EAGAIN && errno != EINTR)) {
            child_log_end_line(&child->log, ev_now(child->loop));
            close_errors(child);
        } else {
            return;
        }
    }
}

static void
on_errors(struct ev_loop *loop, ev_io *io, int events)
{
    (void)loop;
    (void)events;
    read_errors(io->data);
}

const char *
child_tail(struct child *child)
{
    read_errors(child);
    child_log_end_line(&child->log, ev_now(child->loop));
    return child_log_tail(&child->log);
}

/* ---- its end ---- */

static void
child_free(struct child *child)
{
    close_errors(child);
    ev_child_stop(child->loop, &child->exit);
    ev_timer_stop(child->loop, &child->end);
    LIST_REMOVE(child, entry);
    free(child);
}

/* Never the group 0, which is our own: a child that was reaped has no number any more. */
static void
kill_group(const struct child *child, int number)
{
    if (child->pid > 0)
        (void)kill(-child->pid, number);
}

/* The leader is gone; the number of the group is not given away while it has members. */
static void
was_reaped(struct child *child)
{
    kill_group(child, SIGKILL);
    child->pid = 0;
}

static void
on_exit_of_child(struct ev_loop *loop, ev_child *watcher, int events)
{
    (void)events;
    struct child *child = watcher->data;
    ev_child_stop(loop, watcher);
    bool let_go = child->state != CHILD_RUNNING;
    if (!let_go)
        set_state(child, CHILD_EXITED);
    was_reaped(child);
    if (let_go) {
        child_free(child);
        return;
    }
    if (child->exited)
        child->exited(child->arg, watcher->rstatus);
}

static void
set_end_timer(struct child *child, int milliseconds)
{
    ev_now_update(child->loop);
    ev_timer_stop(child->loop, &child->end);
    ev_timer_set(&child->end, milliseconds / 1e3, 0.);
    ev_timer_start(child->loop, &child->end);
}

static void
on_end(struct ev_loop *loop, ev_timer *timer, int events)
{
    (void)loop;
    (void)events;
    struct child *child = timer->data;
    kill_group(child, child->state == CHILD_TOLD ? SIGKILL : SIGTERM);
    if (child->state == CHILD_TOLD)
        return;
    set_end_timer(child, CHILD_KILL_MS);
    set_state(child, CHILD_TOLD);
}

void
child_end(struct child *child)
{
    if (!child)
        return;
    if (child->pid == 0) {
        child_free(child);
        return;
    }
    set_state(child, CHILD_ENDING);
    close_errors(child);
    set_end_timer(child, CHILD_END_MS);
}

/* True once none is left. */
static bool
reap_all(int wait_ms)
{
    const struct timespec pause = {.tv_nsec = POLL_MS * 1000000L};
    for (;; wait_ms -= POLL_MS) {
        struct child *child, *next;
        bool some = false;
        for (child = LIST_FIRST(&children); child != NULL; child = next) {
            next = LIST_NEXT(child, entry);
            if (child->pid == 0)
                continue; /* reaped, and not let go: its owner frees it */
            pid_t gone = waitpid(child->pid, NULL, WNOHANG);
            if (gone == 0 || (gone < 0 && errno == EINTR)) {
                some = true;
                continue;
            }
            was_reaped(child);
            child_free(child);
        }
        if (!some || wait_ms <= 0)
            return !some;
        (void)nanosleep(&pause, NULL);
    }
}

static void
signal_all(int number)
{
    struct child *child;
    LIST_FOREACH(child, &children, entry)
        kill_group(child, number);
}

void
child_end_all(void)
{
    if (reap_all(CHILD_END_MS))
        return;
    signal_all(SIGTERM);
    if (reap_all(CHILD_KILL_MS))
        return;
    signal_all(SIGKILL);
    (void)reap_all(CHILD_KILL_MS);
}

void
child_status_text(int status, char *out, size_t size)
{
    if (WIFSIGNALED(status))
        (void)snprintf(out, size, "was killed by signal %d", WTERMSIG(status));
    else
        (void)snprintf(out, size, "ended with status %d", WEXITSTATUS(status));
}

/* ---- its start ---- */

struct child *
child_start(struct ev_loop *loop, char *const *argv, const char *name, const char *value,
            const char *name_in_log, int *input, int *output, struct cbx_error *error)
{
    int ours[3] = {-1, -1, -1};
    struct child *child = calloc(1, sizeof *child);
    if (!child) {
        cbx_fail(error, CBX_ERR_NOMEM, "out of memory");
        return NULL;
    }
    if (spawn_piped(argv, name, value, &child->pid, ours, error) != CBX_OK) {
        free(child);
        return NULL;
    }
    *input = ours[0];
    *output = ours[1];
    child->loop = loop;
    child->log.name = name_in_log;
    ev_child_init(&child->exit, on_exit_of_child, child->pid, 0);
    ev_init(&child->end, on_end);
    ev_io_init(&child->errors, on_errors, ours[2], EV_READ);
    child->exit.data = child->end.data = child->errors.data = child;
    ev_child_start(loop, &child->exit);
    ev_io_start(loop, &child->errors);
    LIST_INSERT_HEAD(&children, child, entry);
    return child;
}

void
child_watch(struct child *child, void (*exited)(void *arg, int status), void *arg)
{
    child->exited = exited;
    child->arg = arg;
}

pid_t
child_pid(const struct child *child)
{
    return child->pid;
}
