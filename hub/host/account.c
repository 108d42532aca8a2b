/* SPDX-License-Identifier: MIT */
/* Tested by test_commands.py and test_operation.py. */
#include "hub/host/account.h"
#include "common/os/become.h"
#include <errno.h>
#include <fcntl.h>
#include <pwd.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
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

    if (name[0] == '\0')
        return cbx_fail(error, CBX_ERR_USAGE, "--user: the name is empty; name an account");
    if (!entry)
        return cbx_fail(error, CBX_ERR_USAGE,
                        "--user %s: no such account (useradd --system --shell /bin/sh %s)", name,
                        name);
    return fill(entry, out, error);
}

int
account_choose(const char *name, struct account *out, struct cbx_error *error)
{
    if (!name)
        return account_self(out, error);
    int result = lookup(name, out, error);
    if (result != 0 || (geteuid() == out->uid && out->uid != 0))
        return result;
    if (out->uid == 0)
        return cbx_fail(error, CBX_ERR_USAGE,
                        "--user %s is root: use --as-root if that is intended", name);
    if (geteuid() != 0)
        return cbx_fail(error, CBX_ERR_USAGE,
                        "--user %s: only root can switch to another account; omit it", name);
    const struct passwd *entry = getpwuid(out->uid);
    return entry && cbx_become_environment(entry) == 0
               ? 0
               : cbx_fail(error, CBX_ERR_NOMEM, "out of memory");
}

int
account_become(const struct account *account, struct cbx_error *error)
{
    if (geteuid() == account->uid)
        return 0;
    return cbx_become(account->uid, account->gid, getpwuid(account->uid), error);
}

/* What the checking process says at its end, in one piece. */
struct verdict {
    int result;
    struct cbx_error error;
};

static _Noreturn void
check_and_tell(const struct account *account, account_check *check, void *arg, int fd)
{
    struct verdict verdict = {0};

    verdict.result = account_become(account, &verdict.error);
    if (verdict.result == 0)
        verdict.result = check(arg, &verdict.error);
    _exit(write(fd, &verdict, sizeof verdict) == (ssize_t)sizeof verdict ? 0 : 1);
}

int
account_try(const struct account *account, account_check *check, void *arg, struct cbx_error *error)
{
    struct verdict verdict;
    int ends[2];

    if (pipe2(ends, O_CLOEXEC) != 0)
        return cbx_fail(error, CBX_ERR_IO, "cannot make a pipe: %s", strerror(errno));
    (void)fflush(NULL); /* nothing buffered may be written twice */
    pid_t child = fork();
    if (child == 0)
        check_and_tell(account, check, arg, ends[1]);
    int code = errno;
    (void)close(ends[1]);
    ssize_t got = child > 0 ? read(ends[0], &verdict, sizeof verdict) : -1;
    (void)close(ends[0]);
    if (child < 0)
        return cbx_fail(error, CBX_ERR_IO, "cannot fork: %s", strerror(code));
    while (waitpid(child, NULL, 0) < 0 && errno == EINTR)
        continue;
    if (got != (ssize_t)sizeof verdict)
        return cbx_fail(error, CBX_ERR_IO, "the process that looked whether %s can run a hub died",
                        account->name);
    return verdict.result == 0 ? 0 : cbx_fail(error, verdict.result, "%s", verdict.error.text);
}

int
account_give_folder(const char *path, const struct account *account, struct cbx_error *error)
{
    struct stat status;

    if (geteuid() != 0 || account->uid == 0)
        return 0;
    /* A folder that is there, or whose parents are not, is the account's own affair. */
    if (mkdir(path, 0700) != 0)
        return 0;
    int fd = open(path, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    bool given = fd >= 0 && fstat(fd, &status) == 0 && status.st_uid == 0 &&
                 fchown(fd, account->uid, account->gid) == 0;
    int code = errno;
    if (fd >= 0)
        (void)close(fd);
    if (!given)
        return cbx_fail(error, CBX_ERR_IO, "cannot change the owner of %s to %s: %s", path,
                        account->name, strerror(code));
    return 0;
}
