/* SPDX-License-Identifier: MIT */
/* down and leave. Tested by test_restart.py. */
#include "agent/cmd/commands.h"

#include "common/base/clock.h"
#include "common/base/log.h"
#include "common/command/state_dir.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

/* An agent says goodbye for a second and stores what is left; then something is wrong with it. */
enum { STOP_MAX_MS = 15 * 1000, PAUSE_MS = 20 };

/* The lock is free once the process is gone. Returns its descriptor, or CBX_ERR_*. */
static int
wait_for_lock(const char *state_dir)
{
    struct cbx_error error;
    long pid;
    int64_t deadline = cbx_clock_us() + (int64_t)STOP_MAX_MS * 1000;
    for (;;) {
        int lock = cbx_state_lock(state_dir, &pid, &error);
        if (lock >= 0)
            return lock;
        if (lock != CBX_ERR_BUSY || cbx_clock_us() > deadline) {
            cbx_log_error("%s", lock == CBX_ERR_BUSY
                                    ? "the agent was told to stop and is still running"
                                    : error.text);
            return lock;
        }
        struct timespec pause = {.tv_nsec = PAUSE_MS * 1000000L};
        (void)nanosleep(&pause, NULL);
    }
}

/* Stops the agent, if one runs. *lock is the folder's lock, or -1 when there was none to stop and
 * no folder either. */
static int
stop_agent(const char *state_dir, bool *was_running, int *lock)
{
    struct cbx_error error;
    struct cbx_call *call;
    *lock = -1;
    *was_running = false;
    int result = cbx_call_open(&call, state_dir, 0, &error);
    if (result == CBX_OK) {
        *was_running = true;
        result = cbx_call_send(call, json_pack("{s:s}", "cmd", "down"), -1, &error);
        if (result == CBX_OK)
            result = cbx_call_next(call, STOP_MAX_MS, NULL, &error);
        cbx_call_close(call);
        /* It may be on its way out already. */
        if (result == CBX_ERR_CLOSED)
            result = CBX_OK;
    } else if (result == CBX_ERR_NOTFOUND) {
        if (access(state_dir, F_OK) != 0)
            return CBX_EXIT_OK;
        result = CBX_OK;
    }
    if (result != CBX_OK) {
        cbx_log_error("%s", error.text);
        return CBX_EXIT_FAILURE;
    }
    *lock = wait_for_lock(state_dir);
    return *lock >= 0 ? CBX_EXIT_OK : CBX_EXIT_FAILURE;
}

int
agent_cmd_down(const struct cbx_command *command, void *parsed)
{
    (void)command;
    char state_dir[PATH_MAX];
    int status = agent_find_state(parsed, state_dir);
    if (status != CBX_EXIT_OK)
        return status;
    bool was_running;
    int lock;
    status = stop_agent(state_dir, &was_running, &lock);
    if (lock >= 0)
        close(lock);
    if (status == CBX_EXIT_OK && !was_running)
        cbx_log_info("no agent was running with the state folder %s", state_dir);
    return status;
}

/* Only what this program makes: a folder may hold other things. */
static int
remove_state(const char *state_dir)
{
    static const char *const names[] = {"agent", "addresses", "key", "log", "control.sock", "lock"};
    int status = CBX_EXIT_OK;
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++) {
        char path[PATH_MAX + 16];
        (void)snprintf(path, sizeof path, "%s/%s", state_dir, names[i]);
        if (unlink(path) != 0 && errno != ENOENT) {
            cbx_log_error("cannot remove %s: %s", path, strerror(errno));
            status = CBX_EXIT_FAILURE;
        }
    }
    (void)rmdir(state_dir);
    return status;
}

int
agent_cmd_leave(const struct cbx_command *command, void *parsed)
{
    (void)command;
    char state_dir[PATH_MAX];
    int status = agent_find_state(parsed, state_dir);
    if (status != CBX_EXIT_OK)
        return status;
    bool was_running;
    int lock;
    status = stop_agent(state_dir, &was_running, &lock);
    if (status == CBX_EXIT_OK && lock < 0)
        cbx_log_info("there is nothing in %s", state_dir);
    if (lock >= 0) {
        status = remove_state(state_dir);
        close(lock);
    }
    return status;
}
