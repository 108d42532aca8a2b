/* SPDX-License-Identifier: MIT */
/* One check per function: login shell, nologin, groups, /run/sshd, expiry, then sshd itself. */
#include "hub/host/preflight.h"
#include "common/base/clock.h"
#include "common/base/log.h"
#include "common/os/safe_path.h"
#include "hub/host/proc.h"
#include <errno.h>
#include <linux/capability.h>
#include <pwd.h>
#include <shadow.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

enum { SHELL_SLOW_MS = 100, SHELL_GIVE_UP_MS = 3000, SSHD_GIVE_UP_MS = 5000, DAY_S = 86400 };

static int
check_shell(const struct account *account, struct cbx_error *error)
{
    const char *name = strrchr(account->shell, '/');
    struct stat status;

    name = name != NULL ? name + 1 : account->shell;
    if (strcmp(name, "nologin") == 0 || strcmp(name, "false") == 0)
        return cbx_fail(error, CBX_ERR_STATE,
                        "the login shell of %s is %s, which rejects every login: "
                        "chsh -s /bin/sh %s (its keys allow nothing but cbx)",
                        account->name, account->shell, account->name);
    if (stat(account->shell, &status) != 0 || !S_ISREG(status.st_mode) ||
        access(account->shell, X_OK) != 0)
        return cbx_fail(error, CBX_ERR_STATE,
                        "the login shell of %s, %s, is missing or cannot be run: "
                        "chsh -s /bin/sh %s",
                        account->name, account->shell, account->name);
    return 0;
}

static int
check_nologin(const struct account *account, struct cbx_error *error)
{
    if (account->uid != 0 && access("/etc/nologin", F_OK) == 0)
        return cbx_fail(error, CBX_ERR_STATE,
                        "/etc/nologin exists, so sshd rejects everyone but root: remove it");
    return 0;
}

/* A user namespace that may not call setgroups, as `unshare -r` makes it. */
static int
check_setgroups(struct cbx_error *error)
{
    char text[16] = "";
    FILE *file = fopen("/proc/self/setgroups", "re");

    if (!file)
        return 0;
    bool denied = fgets(text, sizeof text, file) != NULL && strncmp(text, "deny", 4) == 0;
    (void)fclose(file);
    if (denied)
        return cbx_fail(error, CBX_ERR_STATE,
                        "root of a user namespace without setgroups, where sshd cannot log "
                        "anyone in: map the user itself (unshare --map-current-user)");
    return 0;
}

static int
check_privileges(struct cbx_error *error)
{
    static const struct {
        int number;
        const char *name;
    } needed[] = {
        {CAP_SETUID, "CAP_SETUID"}, {CAP_SETGID, "CAP_SETGID"}, {CAP_SYS_CHROOT, "CAP_SYS_CHROOT"}};

    for (size_t i = 0; i < sizeof needed / sizeof *needed; i++)
        if (prctl(PR_CAPBSET_READ, (unsigned long)needed[i].number, 0, 0, 0) == 0)
            return cbx_fail(
                error, CBX_ERR_STATE,
                "running as root without %s, which sshd needs: add the capability, or run the "
                "hub as an ordinary user",
                needed[i].name);
    return 0;
}

/* sshd as root parts itself into a jail there. */
static int
check_run_sshd(struct cbx_error *error)
{
    struct stat status;

    if (stat("/run/sshd", &status) != 0) {
        if (access("/run", W_OK | X_OK) != 0)
            return cbx_fail(error, CBX_ERR_IO,
                            "/run/sshd is missing and cannot be created (%s): "
                            "mkdir -m 755 /run/sshd",
                            strerror(errno));
    } else if (!S_ISDIR(status.st_mode) || status.st_uid != 0 || (status.st_mode & 022) != 0) {
        return cbx_fail(error, CBX_ERR_STATE,
                        "/run/sshd must be owned by root and writable by nobody else: "
                        "chown root /run/sshd && chmod 755 /run/sshd");
    }
    if (!getpwnam("sshd"))
        return cbx_fail(error, CBX_ERR_STATE,
                        "the account sshd is missing, and sshd as root needs it: useradd --system "
                        "--home /run/sshd --shell /usr/sbin/nologin sshd");
    return 0;
}

/* Only root can read the shadow file, and only sshd as root reads it. */
static int
check_shadow(const struct account *account, struct cbx_error *error)
{
    const struct spwd *entry = getspnam(account->name);

    if (!entry)
        return 0;
    if (entry->sp_pwdp && entry->sp_pwdp[0] == '!')
        return cbx_fail(error, CBX_ERR_STATE,
                        "the account %s is locked (! in /etc/shadow), and sshd rejects it even "
                        "with a key: usermod -p '*' %s (then keys work, passwords do not)",
                        account->name, account->name);
    if (entry->sp_expire >= 0 && entry->sp_expire < cbx_clock_unix() / DAY_S)
        return cbx_fail(error, CBX_ERR_STATE, "the account %s has expired: chage -E -1 %s",
                        account->name, account->name);
    return 0;
}

int
preflight_check(const struct account *account, struct cbx_error *error)
{
    int result = check_shell(account, error);

    if (result == 0)
        result = check_nologin(account, error);
    if (result != 0 || account->uid != 0)
        return result;
    result = check_setgroups(error);
    if (result == 0)
        result = check_privileges(error);
    if (result == 0)
        result = check_run_sshd(error);
    return result != 0 ? result : check_shadow(account, error);
}

int
preflight_make(const struct account *account, struct cbx_error *error)
{
    if (account->uid != 0 || access("/run/sshd", F_OK) == 0)
        return 0;
    /* chmod, since our umask leaves nothing to others. */
    if (mkdir("/run/sshd", 0755) != 0 || chmod("/run/sshd", 0755) != 0)
        return cbx_fail(error, CBX_ERR_IO,
                        "/run/sshd is missing and cannot be created (%s): mkdir -m 755 /run/sshd",
                        strerror(errno));
    return 0;
}

int
preflight_sshd(const char *sshd, struct cbx_error *error)
{
    struct proc_result said;
    const char *argv[] = {sshd, "-V", NULL};
    int result = cbx_safe_file(sshd, error);

    if (result != 0)
        return result;
    result = proc_run(argv, NULL, SSHD_GIVE_UP_MS, &said, error);
    if (result != 0)
        return cbx_fail(error, CBX_ERR_STATE, "%s -V does not end: is it OpenSSH's sshd?", sshd);
    /* Older ones do not know -V: they say their version beside that. */
    if (!strstr(said.output, "OpenSSH_"))
        return cbx_fail(error, CBX_ERR_STATE,
                        "%s is not OpenSSH's sshd (%s -V says: %.80s): install openssh-server, or "
                        "give its path with --sshd",
                        sshd, sshd, proc_first_line(&said));
    return 0;
}

/* The environment of a login, with what makes bash believe that it is one over the network. */
static int
run_shell(const struct account *account, struct proc_result *said, struct cbx_error *error)
{
    char home[ACCOUNT_HOME_MAX + 8], user[64], logname[64], shell[ACCOUNT_SHELL_MAX + 8];

    (void)snprintf(home, sizeof home, "HOME=%s", account->home);
    (void)snprintf(user, sizeof user, "USER=%s", account->name);
    (void)snprintf(logname, sizeof logname, "LOGNAME=%s", account->name);
    (void)snprintf(shell, sizeof shell, "SHELL=%s", account->shell);
    const char *environment[] = {home,
                                 user,
                                 logname,
                                 shell,
                                 "PATH=/usr/local/bin:/usr/bin:/bin:/usr/games",
                                 "SSH_CLIENT=127.0.0.1 1 1",
                                 "SSH_CONNECTION=127.0.0.1 1 127.0.0.1 1",
                                 "SHLVL=9",
                                 "ZDOTDIR=/nonexistent",
                                 NULL};
    const char *argv[] = {account->shell, "-c", "exec true", NULL};
    return proc_run(argv, environment, SHELL_GIVE_UP_MS, said, error);
}

int
preflight_shell_runs(const struct account *account, struct cbx_error *error)
{
    struct proc_result said;
    struct cbx_error cause;

    if (run_shell(account, &said, &cause) != 0)
        return cbx_fail(error, CBX_ERR_STATE,
                        "the login shell of %s does not run its command (%s): agents cannot log "
                        "in; chsh -s /bin/sh %s",
                        account->name, cause.text, account->name);
    if (said.status == 0)
        return 0;
    bool exited = WIFEXITED(said.status);
    return cbx_fail(error, CBX_ERR_STATE,
                    "the login shell of %s, %s, fails at `exec true` (%s %d): agents cannot log "
                    "in; chsh -s /bin/sh %s",
                    account->name, account->shell, exited ? "exit status" : "signal",
                    exited ? WEXITSTATUS(said.status) : WTERMSIG(said.status), account->name);
}

void
preflight_shell(const struct account *account)
{
    struct proc_result said;
    struct cbx_error error;

    if (run_shell(account, &said, &error) != 0)
        return; /* it did a moment ago */
    if (said.length > 0)
        cbx_log_warn("the login shell of %s prints \"%.80s\" before its command: agents skip some "
                     "of that, but clean up its start files or chsh -s /bin/sh %s",
                     account->name, proc_first_line(&said), account->name);
    if (said.run_us > SHELL_SLOW_MS * 1000)
        cbx_log_warn("the login shell of %s takes %lld ms to start, at every login: "
                     "chsh -s /bin/sh %s",
                     account->name, (long long)(said.run_us / 1000), account->name);
}
