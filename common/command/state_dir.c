/* SPDX-License-Identifier: MIT */
/*
 * The state folder: where it is, its lock, and addresses of the sockets in it. Tested by
 * test_control.
 */

#include "common/command/state_dir.h"
#include "common/os/become.h"
#include "common/os/safe_path.h"
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <pwd.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

/* How long a second process waits for the holder to have written its pid. */
enum { PID_TRIES = 20, PID_PAUSE_MS = 10 };

/* Makes path and what is missing above it. path is scratch space. */
static int
make_folders(char *path, struct cbx_error *error)
{
    for (char *at = path + 1;; at++) {
        if (*at != '/' && *at != '\0')
            continue;
        char keep = *at;
        *at = '\0';
        if (mkdir(path, 0700) != 0 && errno != EEXIST) {
            /* A folder that we may not even look at can still be passed through. */
            struct stat status;
            int cause = errno;
            if (stat(path, &status) != 0)
                return cbx_fail(error, CBX_ERR_IO, "cannot make the folder %s: %s", path,
                                strerror(cause));
        }
        *at = keep;
        if (keep == '\0')
            return CBX_OK;
    }
}

/* One that is there. */
static int
check_folder(const char *state_dir, const struct stat *status, struct cbx_error *error)
{
    if (!S_ISDIR(status->st_mode))
        return cbx_fail(error, CBX_ERR_USAGE, "%s is not a folder: choose another with --state",
                        state_dir);
    char owner[CBX_OWNER_TEXT_MAX];
    cbx_owner_text(status->st_uid, owner);
    if (status->st_uid != geteuid())
        return cbx_fail(error, CBX_ERR_IO,
                        "the state folder %s belongs to %s: run this command as %s, or choose "
                        "another folder with --state",
                        state_dir, owner, owner);
    /* Readable is harmless, all files in it are 0600, and systemd makes its folders 0755. */
    if ((status->st_mode & 022) != 0)
        return cbx_fail(error, CBX_ERR_IO, "others may write to the state folder %s: chmod 700 it",
                        state_dir);
    return CBX_OK;
}

int
cbx_state_look(const char *state_dir, struct cbx_error *error)
{
    struct stat status;
    int result = cbx_safe_path(state_dir, error);
    if (result != CBX_OK || stat(state_dir, &status) != 0)
        return result;
    return check_folder(state_dir, &status, error);
}

static int
make_state_dir(const char *state_dir, struct cbx_error *error)
{
    char path[PATH_MAX];
    size_t length = strlen(state_dir);
    if (length == 0 || length >= sizeof path)
        return cbx_fail(error, CBX_ERR_LIMIT, "the path of the state folder is %s",
                        length == 0 ? "empty" : "too long");
    memcpy(path, state_dir, length + 1);
    int result = cbx_safe_path(state_dir, error);
    if (result == CBX_OK)
        result = make_folders(path, error);
    if (result != CBX_OK)
        return result;
    struct stat status;
    if (stat(state_dir, &status) != 0)
        return cbx_fail(error, CBX_ERR_IO, "cannot look at %s: %s", state_dir, strerror(errno));
    return check_folder(state_dir, &status, error);
}

static long
read_pid(int fd)
{
    char text[32];
    for (int i = 0; i < PID_TRIES; i++) {
        ssize_t length = pread(fd, text, sizeof text - 1, 0);
        if (length > 0) {
            text[length] = '\0';
            long pid = strtol(text, NULL, 10);
            if (pid > 0)
                return pid;
        }
        struct timespec pause = {.tv_nsec = PID_PAUSE_MS * 1000000L};
        (void)nanosleep(&pause, NULL);
    }
    return 0;
}

int
cbx_state_lock(const char *state_dir, long *pid, struct cbx_error *error)
{
    *pid = 0;
    int result = make_state_dir(state_dir, error);
    if (result != CBX_OK)
        return result;
    char path[PATH_MAX];
    if (snprintf(path, sizeof path, "%s/lock", state_dir) >= (int)sizeof path)
        return cbx_fail(error, CBX_ERR_LIMIT, "the path of the state folder is too long");
    int fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);
    if (fd < 0)
        return cbx_fail(error, CBX_ERR_IO, "cannot open %s: %s", path, strerror(errno));
    if (flock(fd, LOCK_EX | LOCK_NB) != 0) {
        int cause = errno;
        if (cause == EWOULDBLOCK)
            *pid = read_pid(fd);
        close(fd);
        if (cause != EWOULDBLOCK)
            return cbx_fail(error, CBX_ERR_IO, "cannot lock %s: %s", path, strerror(cause));
        return cbx_fail(error, CBX_ERR_BUSY, "process %ld already runs with the state folder %s",
                        *pid, state_dir);
    }
    char text[32];
    int length = snprintf(text, sizeof text, "%ld\n", (long)getpid());
    /* First the bytes, then the length: that needs no room on a full disk. */
    if (pwrite(fd, text, (size_t)length, 0) != length || ftruncate(fd, length) != 0) {
        int cause = errno;
        close(fd);
        return cbx_fail(error, CBX_ERR_IO, "cannot write %s: %s", path, strerror(cause));
    }
    return fd;
}

long
cbx_state_holder(const char *state_dir)
{
    char path[PATH_MAX];
    if (snprintf(path, sizeof path, "%s/lock", state_dir) >= (int)sizeof path)
        return 0;
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK);
    if (fd < 0)
        return 0;
    long pid = flock(fd, LOCK_SH | LOCK_NB) != 0 && errno == EWOULDBLOCK ? read_pid(fd) : 0;
    close(fd);
    return pid;
}

/* An environment variable that is set and not empty. */
static const char *
environment(const char *name)
{
    const char *value = getenv(name);
    return value != NULL && value[0] != '\0' ? value : NULL;
}

/* Folder, its end and kind into out; relative folders start at the working folder. */
static int
compose(const char *folder, size_t length, const char *middle, const char *kind, char *out,
        size_t size, struct cbx_error *error)
{
    char here[PATH_MAX] = "";
    bool relative = folder[0] != '/';
    if (relative && !getcwd(here, sizeof here))
        return cbx_fail(error, CBX_ERR_IO, "cannot determine the working folder: %s",
                        strerror(errno));
    while (length > 1 && folder[length - 1] == '/')
        length--;
    int used = snprintf(out, size, "%s%s%.*s%s%s", here, relative ? "/" : "", (int)length, folder,
                        middle, kind);
    if (used < 0 || (size_t)used >= size)
        return cbx_fail(error, CBX_ERR_LIMIT, "the path of the state folder is too long");
    return CBX_OK;
}

int
cbx_state_dir(const char *option, const char *kind, char *out, size_t size, struct cbx_error *error)
{
    if (option && option[0] == '\0')
        return cbx_fail(error, CBX_ERR_USAGE, "--state: the name is empty; name a folder");
    const char *folder = option != NULL ? option : environment("CBX_STATE");
    if (folder)
        return compose(folder, strlen(folder), "", "", out, size, error);
    /* systemd: several folders are separated by colons; the first is ours. */
    folder = environment("STATE_DIRECTORY");
    if (folder && strcspn(folder, ":") > 0)
        return compose(folder, strcspn(folder, ":"), "", "", out, size, error);
    folder = environment("XDG_STATE_HOME");
    if (folder && folder[0] == '/') /* a relative one is to be ignored, says XDG */
        return compose(folder, strlen(folder), "/cbx/", kind, out, size, error);
    folder = environment("HOME");
    if (!folder) {
        const struct passwd *user = getpwuid(geteuid());
        folder = user != NULL ? user->pw_dir : NULL;
    }
    if (!folder || folder[0] != '/')
        return cbx_fail(error, CBX_ERR_USAGE,
                        "no home folder to keep state in: name a folder with --state");
    return compose(folder, strlen(folder), "/.local/state/cbx/", kind, out, size, error);
}

int
cbx_unix_address(const char *path, struct sockaddr_un *address, int *folder,
                 struct cbx_error *error)
{
    *folder = -1;
    *address = (struct sockaddr_un){.sun_family = AF_UNIX};
    size_t length = strlen(path);
    if (length < sizeof address->sun_path) {
        memcpy(address->sun_path, path, length + 1);
        return CBX_OK;
    }
    const char *slash = strrchr(path, '/');
    char parent[PATH_MAX];
    if (!slash || (size_t)(slash - path) >= sizeof parent)
        return cbx_fail(error, CBX_ERR_LIMIT, "the path of the socket is too long: %s", path);
    memcpy(parent, path, (size_t)(slash - path));
    parent[slash - path] = '\0';
    int fd = open(parent, O_PATH | O_DIRECTORY | O_CLOEXEC);
    if (fd < 0)
        return cbx_fail(error, errno == ENOENT ? CBX_ERR_NOTFOUND : CBX_ERR_IO,
                        "cannot open %s: %s", parent, strerror(errno));
    int used =
        snprintf(address->sun_path, sizeof address->sun_path, "/proc/self/fd/%d%s", fd, slash);
    if (used < 0 || (size_t)used >= sizeof address->sun_path) {
        close(fd);
        return cbx_fail(error, CBX_ERR_LIMIT, "the name of the socket is too long: %s", path);
    }
    *folder = fd;
    return CBX_OK;
}

bool
cbx_peer_is_uid(int fd, uid_t uid)
{
    struct ucred peer;
    socklen_t length = sizeof peer;
    return getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &peer, &length) == 0 && length == sizeof peer &&
           peer.uid == uid;
}
