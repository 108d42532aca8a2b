/* SPDX-License-Identifier: MIT */
/* Looks whether a log file can be had, puts it in the place of standard error, opens it again. */
#include "common/base/log_file.h"

#include "common/base/log.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static char name[PATH_MAX]; /* absolute; "": none */
static int before = -1;     /* what standard error was */

static int
open_by_name(void)
{
    /* O_NONBLOCK: a FIFO that nobody reads is an error and does not wait. */
    return open(name, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC | O_NOCTTY | O_NONBLOCK, 0600);
}

static int
cannot_open(const char *path, int cause, struct cbx_error *error)
{
    return cbx_fail(error, CBX_ERR_USAGE, "cannot open the log file %s: %s", path, strerror(cause));
}

/* The folder that path names a file in. */
static int
parent_of(const char *path, char out[PATH_MAX])
{
    const char *slash = strrchr(path, '/');
    size_t length = slash ? (size_t)(slash - path) : 0;
    if (length >= PATH_MAX)
        return -1;
    if (!slash)
        return snprintf(out, PATH_MAX, ".");
    return snprintf(out, PATH_MAX, "%.*s", length > 0 ? (int)length : 1, path);
}

int
cbx_log_file_look(const char *path, const char *folder, struct cbx_error *error)
{
    char parent[PATH_MAX];
    struct stat status;
    if (path[0] == '\0')
        return cbx_fail(error, CBX_ERR_USAGE, "the name of the log file is empty");
    if (stat(path, &status) == 0) {
        if (S_ISDIR(status.st_mode))
            return cannot_open(path, EISDIR, error);
        if (S_ISFIFO(status.st_mode) || S_ISSOCK(status.st_mode))
            return cannot_open(path, ENXIO, error);
        return access(path, W_OK) == 0 ? CBX_OK : cannot_open(path, errno, error);
    }
    if (errno != ENOENT || parent_of(path, parent) < 0)
        return cannot_open(path, errno, error);
    if (folder && strcmp(parent, folder) == 0 && access(parent, F_OK) != 0)
        return CBX_OK;
    return access(parent, W_OK | X_OK) == 0 ? CBX_OK : cannot_open(path, errno, error);
}

static int
set_name(const char *path, struct cbx_error *error)
{
    char here[PATH_MAX] = "";
    bool relative = path[0] != '/';
    if (relative && !getcwd(here, sizeof here))
        return cbx_fail(error, CBX_ERR_IO, "cannot determine the working folder: %s",
                        strerror(errno));
    int length = snprintf(name, sizeof name, "%s%s%s", here, relative ? "/" : "", path);
    if (length >= 0 && (size_t)length < sizeof name)
        return CBX_OK;
    name[0] = '\0';
    return cbx_fail(error, CBX_ERR_USAGE, "the name of the log file is too long");
}

int
cbx_log_file_begin(const char *path, bool keep, struct cbx_error *error)
{
    int result = set_name(path, error);
    int fd = result == CBX_OK ? open_by_name() : -1;
    int cause = errno;
    if (keep && fd >= 0)
        before = fcntl(STDERR_FILENO, F_DUPFD_CLOEXEC, STDERR_FILENO + 1);
    if (result == CBX_OK && (fd < 0 || dup2(fd, STDERR_FILENO) < 0)) {
        result = cannot_open(path, cause, error);
        (void)cbx_log_file_end();
        name[0] = '\0';
    }
    if (fd >= 0)
        (void)close(fd);
    if (result == CBX_OK)
        cbx_log_times(true);
    return result;
}

bool
cbx_log_file_used(void)
{
    return name[0] != '\0';
}

bool
cbx_log_file_reopen(void)
{
    if (!cbx_log_file_used())
        return false;
    int fd = open_by_name();
    if (fd < 0 || dup2(fd, STDERR_FILENO) < 0)
        cbx_log_error("cannot open the log file %s again: %s; it goes on in the one there was",
                      name, strerror(errno));
    if (fd >= 0)
        (void)close(fd);
    return true;
}

bool
cbx_log_file_end(void)
{
    if (!cbx_log_file_used() || before < 0)
        return false;
    (void)dup2(before, STDERR_FILENO);
    (void)close(before);
    before = -1;
    name[0] = '\0';
    return true;
}
