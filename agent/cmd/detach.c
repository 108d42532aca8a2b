/* SPDX-License-Identifier: MIT */
/*
 * `up --detach`: a child in a session of its own runs the agent; the parent waits at the other end
 * of the report pipe (start.h) until the agent is attached, has failed, or takes too long. Tested
 * by test_restart.py.
 */
#include "agent/cmd/commands.h"
#include "agent/daemon/log.h"

#include "common/base/clock.h"
#include "common/base/log.h"
#include "common/command/state_dir.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

/* The child gives up by itself when the time is over; the parent gives it this much more. */
enum { PARENT_GRACE_MS = 5000 };

/* All three lead nowhere; the log is opened once there is a folder for it. */
static int
redirect(struct cbx_error *error)
{
    int nothing = open("/dev/null", O_RDWR | O_CLOEXEC);
    for (int fd = STDIN_FILENO; fd <= STDERR_FILENO; fd++)
        if (nothing < 0 || dup2(nothing, fd) < 0)
            return cbx_fail(error, CBX_ERR_IO, "cannot open /dev/null: %s", strerror(errno));
    if (nothing > STDERR_FILENO)
        close(nothing);
    return CBX_OK;
}

static int
run_child(struct agent_start *start)
{
    (void)setsid();
    (void)umask(077);
    /* No file system is held busy; all paths in the settings are absolute. */
    struct cbx_error error;
    int result = chdir("/") == 0 ? redirect(&error)
                                 : cbx_fail(&error, CBX_ERR_IO, "chdir /: %s", strerror(errno));
    if (result != CBX_OK) {
        cbx_log_error("%s", error.text);
        return cbx_exit_of(result);
    }
    start->detached = true;
    return agent_run(start);
}

/* One line of the report. True when it was the last word; *status is then set. */
static bool
hear_line(const char *line, struct cbx_error *trouble, pid_t child, int *status)
{
    if (strncmp(line, "trouble ", 8) == 0) {
        cbx_fail(trouble, 0, "%s", line + 8);
        return false;
    }
    if (strncmp(line, "warning ", 8) == 0) {
        cbx_log_warn("warning: %s", line + 8);
        return false;
    }
    if (strncmp(line, "attached ", 9) == 0) {
        printf("attached as %s (pid %ld)\n", line + 9, (long)child);
        *status = fflush(stdout) == 0 ? CBX_EXIT_OK : CBX_EXIT_FAILURE;
        return true;
    }
    bool wrong = strncmp(line, "wrong ", 6) == 0;
    *status = wrong ? CBX_EXIT_USAGE : CBX_EXIT_FAILURE;
    cbx_log_error("%s", wrong ? line + 6 : strncmp(line, "failed ", 7) == 0 ? line + 7 : line);
    return true;
}

/* Reads lines until the last word, the end, or the deadline. True when there was a last word. */
static bool
hear(int fd, int64_t deadline_us, struct cbx_error *trouble, pid_t child, int *status)
{
    char text[2 * CBX_ERROR_TEXT_MAX];
    size_t used = 0;
    for (;;) {
        int64_t left = (deadline_us - cbx_clock_us()) / 1000;
        struct pollfd event = {.fd = fd, .events = POLLIN};
        int ready =
            deadline_us == 0 ? poll(&event, 1, -1) : poll(&event, 1, left > 0 ? (int)left : 0);
        if (ready < 0 && errno == EINTR)
            continue;
        if (ready <= 0)
            return false;
        ssize_t part = read(fd, text + used, sizeof text - 1 - used);
        if (part <= 0)
            return false;
        used += (size_t)part;
        text[used] = '\0';
        char *line = text;
        for (char *end; (end = strchr(line, '\n')) != NULL; line = end + 1) {
            *end = '\0';
            if (hear_line(line, trouble, child, status))
                return true;
        }
        used -= (size_t)(line - text);
        memmove(text, line, used);
        if (used == sizeof text - 1)
            used = 0; /* never: lines are shorter */
    }
}

static int
wait_for_child(const struct agent_start *start, int fd, pid_t child)
{
    struct cbx_error trouble = {""};
    int status = CBX_EXIT_FAILURE;
    int64_t deadline =
        start->timeout_ms > 0 ? cbx_clock_us() + (start->timeout_ms + PARENT_GRACE_MS) * 1000 : 0;
    if (hear(fd, deadline, &trouble, child, &status))
        return status;
    (void)kill(child, SIGTERM);
    (void)waitpid(child, NULL, 0);
    char path[PATH_MAX];
    cbx_log_error("the agent failed to start%s%s; its log is %s",
                  trouble.text[0] != '\0' ? ": " : "", trouble.text,
                  agent_log_path(start->settings, path));
    return CBX_EXIT_FAILURE;
}

int
agent_detach(struct agent_start *start)
{
    /* What can be told now is told now: a running agent, a folder that cannot be used. */
    struct cbx_error error;
    long pid;
    int lock = agent_look_ahead(start, &error);
    if (lock == CBX_OK && cbx_state_holder(start->settings->state_dir) > 0)
        lock = cbx_state_lock(start->settings->state_dir, &pid, &error);
    if (lock < 0) {
        cbx_log_error("%s", error.text);
        return cbx_exit_of(lock);
    }
    if (lock > 0)
        close(lock);
    int report[2];
    if (pipe2(report, O_CLOEXEC) != 0) {
        cbx_log_error("pipe: %s", strerror(errno));
        return CBX_EXIT_FAILURE;
    }
    pid_t child = fork();
    if (child == 0) {
        close(report[0]);
        start->report_fd = report[1];
        return run_child(start);
    }
    close(report[1]);
    int status = CBX_EXIT_FAILURE;
    if (child < 0)
        cbx_log_error("fork: %s", strerror(errno));
    else
        status = wait_for_child(start, report[0], child);
    close(report[0]);
    return status;
}
