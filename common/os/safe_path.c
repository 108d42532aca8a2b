/* SPDX-License-Identifier: MIT */
/* A walk from the root downwards, once more from the root for each link on the way. */
#include "common/os/safe_path.h"
#include "common/os/become.h"

#include <errno.h>
#include <limits.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

enum { LINKS_MAX = 16 };

static long
read_number(const char *path, const char *format)
{
    long number = -1;
    FILE *file = fopen(path, "re");
    if (!file)
        return -1;
    if (fscanf(file, format, &number) != 1)
        number = -1;
    (void)fclose(file);
    return number;
}

/* In a user namespace files of users who have no number there show this one. None of its processes
 * is that user, and the host's can do what they like anyway. */
static bool
is_unmapped(uid_t uid)
{
    bool all_mapped = read_number("/proc/self/uid_map", "%*u %*u %ld") == 4294967295;
    return !all_mapped && (long)uid == read_number("/proc/sys/fs/overflowuid", "%ld");
}

static int
check_owner(const char *folder, const struct stat *status, struct cbx_error *error)
{
    if (status->st_uid == 0 || status->st_uid == geteuid() || is_unmapped(status->st_uid))
        return CBX_OK;
    char owner[CBX_OWNER_TEXT_MAX];
    cbx_owner_text(status->st_uid, owner);
    return cbx_fail(error, CBX_ERR_AUTH,
                    "%s belongs to %s, who could change what lies there: chown it, or choose "
                    "another folder",
                    folder, owner);
}

static int walk(const char *path, int links, struct cbx_error *error);

static int
check_link(const char *link, int links, struct cbx_error *error)
{
    char target[PATH_MAX];
    if (links >= LINKS_MAX)
        return cbx_fail(error, CBX_ERR_IO, "%s: too many symbolic links", link);
    if (!realpath(link, target))
        return errno == ENOENT ? CBX_OK
                               : cbx_fail(error, CBX_ERR_IO, "%s: %s", link, strerror(errno));
    size_t length = strlen(target);
    if (length + 2 >= sizeof target)
        return cbx_fail(error, CBX_ERR_LIMIT, "%s: the path is too long", link);
    memcpy(target + length, "/.", 3); /* where it leads is above path, too */
    return walk(target, links + 1, error);
}

static int
check_folder(const char *folder, int links, struct cbx_error *error)
{
    struct stat status;
    if (lstat(folder, &status) != 0)
        return errno == ENOENT || errno == EACCES
                   ? CBX_OK
                   : cbx_fail(error, CBX_ERR_IO, "%s: %s", folder, strerror(errno));
    int result = check_owner(folder, &status, error);
    if (result != CBX_OK)
        return result;
    if (S_ISLNK(status.st_mode))
        return check_link(folder, links, error);
    if ((status.st_mode & 022) == 0 || (status.st_mode & S_ISVTX) != 0)
        return CBX_OK;
    return cbx_fail(error, CBX_ERR_AUTH,
                    "others may write to %s, and so change what lies there: chmod go-w it, or "
                    "choose another folder",
                    folder);
}

static int
walk(const char *path, int links, struct cbx_error *error)
{
    char folder[PATH_MAX];
    if (path[0] != '/' || strlen(path) >= sizeof folder)
        return cbx_fail(error, CBX_ERR_LIMIT, "%s: not an absolute path, or too long", path);
    int result = check_folder("/", links, error);
    for (const char *at = strchr(path + 1, '/'); at && result == CBX_OK; at = strchr(at + 1, '/')) {
        memcpy(folder, path, (size_t)(at - path));
        folder[at - path] = '\0';
        result = check_folder(folder, links, error);
    }
    return result;
}

int
cbx_safe_path(const char *path, struct cbx_error *error)
{
    return walk(path, 0, error);
}

int
cbx_safe_file(const char *path, struct cbx_error *error)
{
    char here[PATH_MAX] = "", full[PATH_MAX];
    if (path[0] != '/' && !getcwd(here, sizeof here))
        return cbx_fail(error, CBX_ERR_IO, "cannot determine the working folder: %s",
                        strerror(errno));
    if (snprintf(full, sizeof full, "%s%s%s", here, here[0] ? "/" : "", path) >= (int)sizeof full)
        return cbx_fail(error, CBX_ERR_LIMIT, "%s: the path is too long", path);
    int result = cbx_safe_path(full, error);
    return result == CBX_OK ? check_folder(full, 0, error) : result;
}
