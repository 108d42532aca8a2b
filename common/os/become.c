/* SPDX-License-Identifier: MIT */
/* Tested by test_commands.py and test_command_limits.py: it takes root. */
#include "common/os/become.h"

#include <errno.h>
#include <grp.h>
#include <pwd.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

int
cbx_become_environment(const struct passwd *entry)
{
    const char *home = entry->pw_dir != NULL ? entry->pw_dir : "/";
    const char *shell =
        entry->pw_shell != NULL && entry->pw_shell[0] != '\0' ? entry->pw_shell : "/bin/sh";
    /* Root's own folders are none of the account's business. */
    return unsetenv("XDG_STATE_HOME") | unsetenv("XDG_RUNTIME_DIR") | unsetenv("XDG_CONFIG_HOME") |
           setenv("HOME", home, 1) | setenv("USER", entry->pw_name, 1) |
           setenv("LOGNAME", entry->pw_name, 1) | setenv("SHELL", shell, 1);
}

int
cbx_become(uid_t uid, gid_t gid, const struct passwd *entry, struct cbx_error *error)
{
    char name[CBX_OWNER_TEXT_MAX];
    cbx_owner_text(uid, name);
    if ((entry ? initgroups(entry->pw_name, gid) : setgroups(0, NULL)) != 0 ||
        setresgid(gid, gid, gid) != 0 || setresuid(uid, uid, uid) != 0)
        return cbx_fail(error, CBX_ERR_IO, "cannot become %s: %s", name, strerror(errno));
    if (setresuid(0, 0, 0) == 0 || geteuid() != uid || getegid() != gid)
        return cbx_fail(error, CBX_ERR_IO, "cannot drop root privileges for %s", name);
    if (entry && cbx_become_environment(entry) != 0)
        return cbx_fail(error, CBX_ERR_NOMEM, "out of memory");
    return CBX_OK;
}

int
cbx_become_owner(const char *path, struct cbx_error *error)
{
    struct stat status;
    if (geteuid() != 0 || stat(path, &status) != 0 || status.st_uid == 0)
        return CBX_OK;
    const struct passwd *entry = getpwuid(status.st_uid);
    return cbx_become(status.st_uid, entry ? entry->pw_gid : status.st_gid, entry, error);
}

void
cbx_owner_text(uid_t uid, char out[CBX_OWNER_TEXT_MAX])
{
    const struct passwd *entry = getpwuid(uid);
    if (entry && strlen(entry->pw_name) < CBX_OWNER_TEXT_MAX)
        (void)snprintf(out, CBX_OWNER_TEXT_MAX, "%s", entry->pw_name);
    else
        (void)snprintf(out, CBX_OWNER_TEXT_MAX, "uid %lu", (unsigned long)uid);
}
