/* SPDX-License-Identifier: MIT */
/* Tested by test_service.py. */
#include "agent/daemon/log.h"

#include "agent/daemon/process.h"
#include "common/base/log.h"
#include "common/base/log_file.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

enum { LOG_BYTES_MAX = 1024 * 1024 };

const char *
agent_log_path(const struct agent_settings *settings, char path[PATH_MAX])
{
    if (settings->log_file)
        return settings->log_file;
    if (snprintf(path, PATH_MAX, "%s/log", settings->state_dir) >= PATH_MAX)
        return ""; /* never: the lock's name is longer */
    return path;
}

/* The log in the state folder begins anew when it has grown; another one is its owner's business.
 */
static void
limit_log(const struct agent_settings *settings, const char *path)
{
    struct stat status;
    if (!settings->log_file && stat(path, &status) == 0 && S_ISREG(status.st_mode) &&
        status.st_size > LOG_BYTES_MAX && truncate(path, 0) != 0)
        cbx_log_warn("cannot shorten the log %s: %s", path, strerror(errno));
}

int
agent_log_open(const struct agent *agent, struct cbx_error *error)
{
    const struct agent_start *start = agent->start;
    char path[PATH_MAX];
    if (start->goal != AGENT_GOAL_RUN || (!agent->settings->log_file && !start->detached))
        return CBX_OK;
    const char *name = agent_log_path(agent->settings, path);
    limit_log(agent->settings, name);
    int result = cbx_log_file_begin(name, !start->detached, error);
    cbx_log_times(result == CBX_OK && agent->settings->log_times != AGENT_LOG_TIMES_NO);
    return result;
}

/* Never the end: a service manager or logrotate means the log, and a terminal that closes its own.
 */
void
agent_log_on_hangup(struct ev_loop *loop, ev_signal *watcher, int events)
{
    (void)loop;
    (void)watcher;
    (void)events;
    if (cbx_log_file_reopen())
        cbx_log_info("log file opened again");
    else
        cbx_log_info("SIGHUP: no --log-file to open again");
}
