/* SPDX-License-Identifier: MIT */
/* Tested by test_preflight. */
#include "hub/host/proc.h"
#include "common/base/clock.h"
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

static _Noreturn void
become(const char *const argv[], const char *const environment[], int output)
{
    int null = open("/dev/null", O_RDONLY);

    if (null < 0 || dup2(null, 0) < 0 || dup2(output, 1) < 0 || dup2(output, 2) < 0)
        _exit(127);
    (void)setsid(); /* so that a timeout ends its children too */
    (void)execve(argv[0], (char *const *)(uintptr_t)argv,
                 environment != NULL ? (char *const *)(uintptr_t)environment : environ);
    (void)dprintf(2, "%s: %s\n", argv[0], strerror(errno));
    _exit(127);
}

static void
keep(struct proc_result *result, const char *bytes, size_t count)
{
    size_t room = sizeof result->output - 1 - result->length;

    if (count > room)
        count = room;
    memcpy(result->output + result->length, bytes, count);
    result->length += count;
}

/* True at the end of the output, false when time was over first. */
static bool
collect(int fd, int64_t deadline_us, struct proc_result *result)
{
    char buffer[1024];

    for (;;) {
        int64_t left_ms = (deadline_us - cbx_clock_us()) / 1000;
        struct pollfd wait = {.fd = fd, .events = POLLIN};

        if (left_ms <= 0)
            return false;
        if (poll(&wait, 1, (int)left_ms) <= 0)
            continue;
        ssize_t got = read(fd, buffer, sizeof buffer);
        if (got > 0)
            keep(result, buffer, (size_t)got);
        else if (got == 0 || errno != EINTR)
            return true;
    }
}

int
proc_run(const char *const argv[], const char *const environment[], int64_t timeout_ms,
         struct proc_result *result, struct cbx_error *error)
{
    int pair[2];
    int64_t start_us = cbx_clock_us();

    *result = (struct proc_result){0};
    if (pipe2(pair, O_CLOEXEC) != 0)
        return cbx_fail(error, CBX_ERR_IO, "cannot make a pipe: %s", strerror(errno));
    pid_t pid = fork();
    if (pid == 0)
        become(argv, environment, pair[1]);
    (void)close(pair[1]);
    if (pid < 0) {
        (void)close(pair[0]);
        return cbx_fail(error, CBX_ERR_IO, "cannot fork to run %s: %s", argv[0], strerror(errno));
    }
    bool ended = collect(pair[0], start_us + timeout_ms * 1000, result);
    if (!ended && kill(-pid, SIGKILL) != 0)
        (void)kill(pid, SIGKILL);
    (void)close(pair[0]);
    while (waitpid(pid, &result->status, 0) < 0 && errno == EINTR)
        continue;
    result->run_us = cbx_clock_us() - start_us;
    if (!ended)
        return cbx_fail(error, CBX_ERR_EXPIRED, "%s did not end within %lld ms", argv[0],
                        (long long)timeout_ms);
    return 0;
}

const char *
proc_first_line(struct proc_result *result)
{
    char *line = result->output + strspn(result->output, " \t\r\n");

    line[strcspn(line, "\r\n")] = '\0';
    return line[0] != '\0' ? line : "no output";
}
