/* SPDX-License-Identifier: MIT */
/* Tested by test_commands.py. */
#include "hub/host/account.h"
#include "common/os/become.h"
#include <errno.h>
#include <fcntl.h>
#include <pwd.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static bool
name_is_plain(const char *name)
{
    size_t length = strlen(name);

    return length > 0 && length <= CBX_USER_MAX && name[0] != '-' &&
           strspn(name, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789._-") ==
               length;
}

static int
fill(const struct passwd *entry, struct account *out, struct cbx_error *error)
{
    const char *shell =
        entry->pw_shell != NULL && entry->pw_shell[0] != '\0' ? entry->pw_shell : "/bin/sh";
    const char *home = entry->pw_dir != NULL ? entry->pw_dir : "/";

    *out = (struct account){.uid = entry->pw_uid, .gid = entry->pw_gid};
    if (!name_is_plain(entry->pw_name))
        return cbx_fail(error, CBX_ERR_FORMAT,
                        "the account's name (uid %u) has more than %d characters or other than "
                        "letters, digits, dot, dash and underscore: run the hub as another account",
                        (unsigned)entry->pw_uid, CBX_USER_MAX);
    if (strlen(shell) >= sizeof out->shell || strlen(home) >= sizeof out->home)
        return cbx_fail(error, CBX_ERR_LIMIT, "the shell or home of %s has too long a name",
                        entry->pw_name);
    (void)snprintf(out->name, sizeof out->name, "%s", entry->pw_name);
    (void)snprintf(out->shell, sizeof out->shell, "%s", shell);
    (void)snprintf(out->home, sizeof out->home, "%s", home);
    return 0;
}

int
account_self(struct account *out, struct cbx_error *error)
{
    const struct passwd *entry = getpwuid(geteuid());

    if (!entry)
        return cbx_fail(error, CBX_ERR_NOTFOUND,
                        "uid %u has no entry in /etc/passwd, and sshd rejects logins without one: "
                        "add the entry, or run the hub as an account that has one",
                        (unsigned)geteuid());
    return fill(entry, out, error);
}

static int
lookup(const char *name, struct account *out, struct cbx_error *error)
{
    const struct passwd *entry = getpwnam(name);

    if (!entry)
        return cbx_fail(error, CBX_ERR_USAGE,
                        "--user %s: no such account (useradd --system --shell /bin/sh %s)", name,
                        name);
    return fill(entry, out, error);
}

int
account_become(const char *name, struct cbx_error *error)
{
    struct account account = {0};
    int result = lookup(name, &account, error);

    if (result != 0)
        return result;
    if (geteuid() == account.uid && account.uid != 0)
        return 0;
    if (account.uid == 0)
        return cbx_fail(error, CBX_ERR_USAGE,
                        "--user %s is root: use --as-root if that is intended", name);
    if (geteuid() != 0)
        return cbx_fail(error, CBX_ERR_USAGE,
                        "--user %s: only root can switch to another account; omit it", name);
    return cbx_become(account.uid, account.gid, getpwuid(account.uid), error);
}

int
account_give_folder(const char *path, const char *name, struct cbx_error *error)
{
    struct account account = {0};
    struct stat status;

    if (geteuid() != 0)
        return 0;
    int result = lookup(name, &account, error);
    if (result != 0)
        return result;
    /* A folder that is there, or whose parents are not, is the account's own affair. */
    if (mkdir(path, 0700) != 0)
        return 0;
    int fd = open(path, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    bool given = fd >= 0 && fstat(fd, &status) == 0 && status.st_uid == 0 &&
                 fchown(fd, account.uid, account.gid) == 0;
    int code = errno;
    if (fd >= 0)
        (void)close(fd);
    if (!given)
        return cbx_fail(error, CBX_ERR_IO, "cannot change the owner of %s to %s: %s", path, name,
                        strerror(code));
    return 0;
}
