/* SPDX-License-Identifier: MIT */
/*
 * RUNNING, with an owner, until child_end; then ENDING: SIGTERM when the timer fires, SIGKILL when
 * it fires again. A child is freed when it has been let go and the kernel has reported its exit,
 * whichever comes last. It leads a process group: what it started gets the same signals, and what
 * outlives it is killed.
 *
 * All children stand in one list for child_end_all: they are the process's, as is the table that
 * the kernel keeps of them.
 */
#include "agent/uplink/child.h"

#include "common/base/log.h"

#include <errno.h>
#include <ev.h>
#include <fcntl.h>
#include <signal.h>
#include <spawn.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/queue.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

enum { READS_A_TURN = 16, POLL_MS = 10 };

struct child {
    LIST_ENTRY(child) entry;
    struct ev_loop *loop;
    void (*exited)(void *arg, int status); /* NULL: nobody waits for it */
    void *arg;
    const char *name_in_log;
    pid_t pid; /* 0 once it was reaped */
    bool let_go;
    bool told_to_end; /* SIGTERM was sent */
    ev_child exit;
    ev_timer end;
    ev_io errors; /* its standard error; fd -1 once that has ended */
    size_t length;
    char line[CHILD_LINE_MAX + 1];
    unsigned lines; /* ever; line n stands in tail[n % CHILD_TAIL_LINES] */
    char tail[CHILD_TAIL_LINES][CHILD_LINE_MAX + 1];
    char tail_text[CHILD_TAIL_LINES * (CHILD_LINE_MAX + 4)];
};

static LIST_HEAD(, child) children = LIST_HEAD_INITIALIZER(children);

/* ---- standard error ---- */

/* One allowance for all children: each try to reach the hub is another one. */
static bool
may_log(ev_tstamp now, unsigned *unsaid)
{
    static double tokens = CHILD_LOG_BURST;
    static ev_tstamp last;
    static unsigned dropped;
    double earned = (now - last) / CHILD_LOG_PERIOD_S;
    last = now;
    tokens = tokens + earned > CHILD_LOG_BURST ? CHILD_LOG_BURST : tokens + earned;
    if (tokens < 1) {
        dropped++;
        return false;
    }
    tokens -= 1;
    *unsaid = dropped;
    dropped = 0;
    return true;
}

static void
end_line(struct child *child)
{
    unsigned unsaid;
    if (child->length == 0)
        return;
    child->line[child->length] = '\0';
    if (may_log(ev_now(child->loop), &unsaid)) {
        if (unsaid > 0)
            cbx_log_info("%s: %u lines over the limit were not logged", child->name_in_log, unsaid);
        cbx_log_info("%s: %s", child->name_in_log, child->line);
    }
    memcpy(child->tail[child->lines++ % CHILD_TAIL_LINES], child->line, child->length + 1);
    child->length = 0;
}

/* The text goes to terminals and into JSON: what is not printable becomes a '?'. */
static void
take_bytes(struct child *child, const char *bytes, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        char c = bytes[i];
        if (c == '\n')
            end_line(child);
        else if (c != '\r' && child->length < CHILD_LINE_MAX)
            child->line[child->length++] = (char)(c >= 0x20 && c < 0x7f ? c : '?');
    }
}

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
            take_bytes(child, buffer, (size_t)got);
        } else if (got == 0 || (errno != EAGAIN && errno != EINTR)) {
            end_line(child);
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
    size_t used = 0;
    child->tail_text[0] = '\0';
    read_errors(child);
    end_line(child);
    unsigned first = child->lines > CHILD_TAIL_LINES ? child->lines - CHILD_TAIL_LINES : 0;
    for (unsigned i = first; i < child->lines; i++)
        used += (size_t)snprintf(child->tail_text + used, sizeof child->tail_text - used, "%s%s",
                                 i > first ? " / " : "", child->tail[i % CHILD_TAIL_LINES]);
    return child->tail_text;
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
    was_reaped(child);
    if (child->let_go) {
        child_free(child);
        return;
    }
    if (child->exited != NULL)
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
    kill_group(child, child->told_to_end ? SIGKILL : SIGTERM);
    if (!child->told_to_end)
        set_end_timer(child, CHILD_KILL_MS);
    child->told_to_end = true;
}

void
child_end(struct child *child)
{
    if (child == NULL)
        return;
    if (child->pid == 0) {
        child_free(child);
        return;
    }
    child->let_go = true;
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

/* The environment with name=value in it, in one piece of memory. */
static char **
environment_with(const char *name, const char *value)
{
    size_t count = 0, length = name != NULL ? strlen(name) + strlen(value) + 2 : 0;
    while (environ[count] != NULL)
        count++;
    char **made = malloc((count + 2) * sizeof *made + length);
    if (made == NULL)
        return NULL;
    char *added = (char *)(made + count + 2);
    size_t used = 0, name_length = name != NULL ? strlen(name) : 0;
    for (size_t i = 0; i < count; i++) {
        bool same = name != NULL && strncmp(environ[i], name, name_length) == 0 &&
                    environ[i][name_length] == '=';
        if (!same)
            made[used++] = environ[i];
    }
    if (name != NULL) {
        (void)snprintf(added, length, "%s=%s", name, value);
        made[used++] = added;
    }
    made[used] = NULL;
    return made;
}

/* What the agent ignores (SIGPIPE) an ssh client must not, nor what a thread may have blocked. */
static int
spawn(pid_t *pid, char *const *argv, char *const *environment, const int far[3])
{
    posix_spawn_file_actions_t actions;
    posix_spawnattr_t attributes;
    sigset_t none, usual;
    (void)sigemptyset(&none);
    (void)sigemptyset(&usual);
    (void)sigaddset(&usual, SIGPIPE);
    int failed = posix_spawn_file_actions_init(&actions);
    if (failed != 0)
        return failed;
    failed = posix_spawnattr_init(&attributes);
    if (failed == 0) {
        for (int i = 0; i < 3 && failed == 0; i++)
            failed = posix_spawn_file_actions_adddup2(&actions, far[i], i);
        (void)posix_spawnattr_setflags(&attributes, POSIX_SPAWN_SETSID | POSIX_SPAWN_SETSIGDEF |
                                                        POSIX_SPAWN_SETSIGMASK);
        (void)posix_spawnattr_setsigmask(&attributes, &none);
        (void)posix_spawnattr_setsigdefault(&attributes, &usual);
        if (failed == 0)
            failed = posix_spawnp(pid, argv[0], &actions, &attributes, argv, environment);
        (void)posix_spawnattr_destroy(&attributes);
    }
    (void)posix_spawn_file_actions_destroy(&actions);
    return failed;
}

static void
close_both(int pair[2])
{
    for (int i = 0; i < 2; i++) {
        if (pair[i] >= 0)
            (void)close(pair[i]);
        pair[i] = -1;
    }
}

/* Runs the program; on success ours holds our ends: to its input, from its output and errors. */
static int
start(char *const *argv, const char *name, const char *value, pid_t *pid, int ours[3],
      struct cbx_error *error)
{
    int pipes[3][2] = {{-1, -1}, {-1, -1}, {-1, -1}};
    int failed = 0;
    for (int i = 0; i < 3 && failed == 0; i++)
        failed = pipe2(pipes[i], O_CLOEXEC) == 0 ? 0 : errno;
    char **environment = failed == 0 ? environment_with(name, value) : NULL;
    if (failed == 0 && environment == NULL)
        failed = ENOMEM;
    if (failed == 0) {
        const int far[3] = {pipes[0][0], pipes[1][1], pipes[2][1]};
        failed = spawn(pid, argv, environment, far);
    }
    free(environment);
    for (int i = 0; i < 3 && failed == 0; i++) {
        int *end = &pipes[i][i == 0 ? 1 : 0];
        ours[i] = *end;
        *end = -1;
        (void)fcntl(ours[i], F_SETFL, O_NONBLOCK); /* nothing else is set on a new pipe */
    }
    for (int i = 0; i < 3; i++)
        close_both(pipes[i]);
    if (failed != 0)
        return cbx_fail(error, CBX_ERR_IO, "%s cannot be run: %s", argv[0], strerror(failed));
    return CBX_OK;
}

struct child *
child_start(struct ev_loop *loop, char *const *argv, const char *name, const char *value,
            const char *name_in_log, int *input, int *output, struct cbx_error *error)
{
    int ours[3] = {-1, -1, -1};
    struct child *child = calloc(1, sizeof *child);
    if (child == NULL) {
        cbx_fail(error, CBX_ERR_NOMEM, "out of memory");
        return NULL;
    }
    if (start(argv, name, value, &child->pid, ours, error) != CBX_OK) {
        free(child);
        return NULL;
    }
    *input = ours[0];
    *output = ours[1];
    child->loop = loop;
    child->name_in_log = name_in_log;
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
