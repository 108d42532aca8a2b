/* SPDX-License-Identifier: MIT */
/* Tested by test_damage.py and test_strangers.py. */
#include "hub/login/sshd.h"
#include "common/disk/file.h"
#include "common/disk/vault.h"
#include "hub/host/proc.h"
#include "hub/login/host_key.h"
#include <errno.h>
#include <fcntl.h>
#include <sodium.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

enum { KEYGEN_MS = 20000, CHECK_MS = 10000 };

static int
name_file(char *out, const char *folder, const char *name, struct cbx_error *error)
{
    int length = snprintf(out, SSHD_PATH_MAX, "%s/%s", folder, name);

    if (length < 0 || length >= SSHD_PATH_MAX)
        return cbx_fail(error, CBX_ERR_LIMIT,
                        "the state folder's name is too long: choose a shorter one with --state");
    return 0;
}

int
sshd_files_of(const char *state_dir, struct sshd_files *out, struct cbx_error *error)
{
    for (const char *at = state_dir; *at != '\0'; at++)
        if ((unsigned char)*at < 0x20 || *at == 0x7f || strchr("\"\\", *at) != NULL)
            return cbx_fail(error, CBX_ERR_USAGE,
                            "the state folder's name has a control character, a quote or a "
                            "backslash, which sshd's files cannot contain: choose another with "
                            "--state");
    int result = name_file(out->folder, state_dir, "ssh", error);
    if (result == 0)
        result = name_file(out->config, state_dir, "ssh/sshd_config", error);
    if (result == 0)
        result = name_file(out->host_key, state_dir, "ssh/host_ed25519", error);
    if (result == 0)
        result = name_file(out->authorized_keys, state_dir, "ssh/authorized_keys", error);
    return result;
}

int
sshd_find(const char *option, char out[SSHD_PATH_MAX], struct cbx_error *error)
{
    static const char *const usual[] = {"/usr/sbin/sshd", "/usr/local/sbin/sshd", "/usr/bin/sshd",
                                        "/sbin/sshd"};

    if (option) {
        /* Absolute, since sshd insists on that itself. */
        char *absolute = realpath(option, NULL);
        if (!absolute || access(absolute, X_OK) != 0 || strlen(absolute) >= SSHD_PATH_MAX) {
            free(absolute);
            return cbx_fail(error, CBX_ERR_NOTFOUND, "--sshd %s: not a program that can be run",
                            option);
        }
        (void)snprintf(out, SSHD_PATH_MAX, "%s", absolute);
        free(absolute);
        return 0;
    }
    for (size_t i = 0; i < sizeof usual / sizeof *usual; i++)
        if (access(usual[i], X_OK) == 0) {
            (void)snprintf(out, SSHD_PATH_MAX, "%s", usual[i]);
            return 0;
        }
    return cbx_fail(error, CBX_ERR_NOTFOUND,
                    "no sshd found in the usual places: install openssh-server, or give its path "
                    "with --sshd PATH");
}

/* ssh-keygen stands where the login shell would look for it. */
static const char *
find_keygen(void)
{
    static const char *const usual[] = {"/usr/bin/ssh-keygen", "/usr/local/bin/ssh-keygen",
                                        "/bin/ssh-keygen"};

    for (size_t i = 0; i < sizeof usual / sizeof *usual; i++)
        if (access(usual[i], X_OK) == 0)
            return usual[i];
    return NULL;
}

static int
make_folder(const char *path, struct cbx_error *error)
{
    struct stat status;

    if (mkdir(path, 0700) != 0 && errno != EEXIST)
        return cbx_fail(error, CBX_ERR_IO, "cannot make %s: %s", path, strerror(errno));
    if (lstat(path, &status) != 0 || !S_ISDIR(status.st_mode))
        return cbx_fail(error, CBX_ERR_IO, "%s is not a folder: move it away", path);
    if (status.st_uid != geteuid())
        return cbx_fail(
            error, CBX_ERR_IO,
            "%s is owned by uid %u, not by this account (uid %u): chown it, or use another "
            "--state",
            path, (unsigned)status.st_uid, (unsigned)geteuid());
    if ((status.st_mode & 077) != 0 && chmod(path, 0700) != 0)
        return cbx_fail(error, CBX_ERR_IO, "cannot chmod %s to 0700: %s", path, strerror(errno));
    return 0;
}

/* Keeps the key in place only when it is whole and on disk: a lost host key strands every lease. */
static int
keep_host_key(const char *made, const char *path, struct cbx_error *error)
{
    uint8_t *bytes = NULL;
    size_t length = 0;
    int result = cbx_file_load(made, HOST_KEY_FILE_MAX, &bytes, &length, error);

    if (result == 0)
        result = cbx_file_save(path, bytes, length, 0600, error);
    if (bytes)
        sodium_memzero(bytes, length);
    free(bytes);
    return result;
}

static int
make_host_key(const struct sshd_files *files, const char *keygen, struct cbx_error *error)
{
    char made[SSHD_PATH_MAX + 8], public_half[SSHD_PATH_MAX + 16];
    struct proc_result said;

    (void)snprintf(made, sizeof made, "%s.new", files->host_key);
    (void)snprintf(public_half, sizeof public_half, "%s.pub", made);
    (void)unlink(made); /* of a start that was cut off */
    (void)unlink(public_half);
    const char *argv[] = {keygen, "-q",      "-t", "ed25519", "-N", "",
                          "-C",   "cbx-hub", "-f", made,      NULL};
    int result = proc_run(argv, NULL, KEYGEN_MS, &said, error);
    if (result == 0 && said.status != 0)
        result = cbx_fail(error, CBX_ERR_IO, "ssh-keygen could not make %s: %s", made,
                          proc_first_line(&said));
    if (result == 0)
        result = keep_host_key(made, files->host_key, error);
    (void)unlink(made);
    (void)unlink(public_half);
    return result;
}

static int
check_host_key_file(const char *path, struct cbx_error *error)
{
    struct stat status;

    if (lstat(path, &status) != 0)
        return cbx_fail(error, CBX_ERR_IO, "cannot stat the host key %s: %s", path,
                        strerror(errno));
    if (!S_ISREG(status.st_mode))
        return cbx_fail(error, CBX_ERR_FORMAT,
                        "the host key %s is not a regular file: move it away", path);
    if (status.st_size > HOST_KEY_FILE_MAX)
        return cbx_fail(error, CBX_ERR_LIMIT,
                        "the host key %s is longer than a key can be: restore it from a backup",
                        path);
    if (status.st_uid != geteuid())
        return cbx_fail(
            error, CBX_ERR_IO,
            "the host key %s is owned by uid %u, not by this account (uid %u): chown it", path,
            (unsigned)status.st_uid, (unsigned)geteuid());
    if ((status.st_mode & 077) != 0)
        return cbx_fail(error, CBX_ERR_AUTH,
                        "the host key %s can be read by others, and sshd refuses such a key: "
                        "chmod 600 it, or better replace it if others had the time to read it",
                        path);
    return 0;
}

/* "ssh-ed25519 AAAA... comment" to the SHA-256 of the blob. */
static int
hash_public_line(char *line, const char *path, uint8_t sha256[32], struct cbx_error *error)
{
    uint8_t blob[256];
    size_t length = 0;
    char *save = NULL;
    const char *type = strtok_r(line, " \n", &save);
    const char *text = strtok_r(NULL, " \n", &save);

    if (!type || !text || strcmp(type, "ssh-ed25519") != 0 ||
        sodium_base642bin(blob, sizeof blob, text, strlen(text), NULL, &length, NULL,
                          sodium_base64_VARIANT_ORIGINAL) != 0)
        return cbx_fail(error, CBX_ERR_FORMAT,
                        "the host key %s is not an Ed25519 key: restore it from a backup, or "
                        "remove it and make new invites for all leases",
                        path);
    (void)crypto_hash_sha256(sha256, blob, length);
    return 0;
}

static int
damaged(const char *path, const char *what, struct cbx_error *error)
{
    return cbx_fail(error, CBX_ERR_FORMAT,
                    "the host key %s cannot be read (%s): restore it from a backup, or remove it "
                    "and make new invites for all leases",
                    path, what);
}

/* ssh-keygen reads the public half only. */
static int
check_halves(const char *path, struct cbx_error *error)
{
    uint8_t *bytes = NULL;
    size_t length = 0;
    int result = cbx_file_load(path, HOST_KEY_FILE_MAX, &bytes, &length, error);

    if (result == 0 && host_key_check((const char *)bytes, length) != 0)
        result = damaged(path, "its private and its public half do not match", error);
    if (bytes)
        sodium_memzero(bytes, length);
    free(bytes);
    return result;
}

int
sshd_host_key(const struct sshd_files *files, uint8_t sha256[32], struct cbx_error *error)
{
    struct proc_result said;
    const char *keygen = find_keygen();
    int result = make_folder(files->folder, error);

    if (result != 0)
        return result;
    if (!keygen)
        return cbx_fail(error, CBX_ERR_NOTFOUND,
                        "no ssh-keygen found in /usr/bin: install openssh-client");
    if (access(files->host_key, F_OK) != 0 && errno == ENOENT)
        result = make_host_key(files, keygen, error);
    if (result == 0)
        result = check_host_key_file(files->host_key, error);
    if (result != 0)
        return result;
    /* -P "": a key under a passphrase is an error, not a prompt. */
    const char *argv[] = {keygen, "-y", "-P", "", "-f", files->host_key, NULL};
    result = proc_run(argv, NULL, KEYGEN_MS, &said, error);
    if (result != 0)
        return result;
    if (said.status != 0)
        return damaged(files->host_key, proc_first_line(&said), error);
    result = hash_public_line(said.output, files->host_key, sha256, error);
    return result != 0 ? result : check_halves(files->host_key, error);
}

/* AuthorizedKeysFile expands %, HostKey does not. */
static void
double_percent(const char *path, char *out, size_t size)
{
    size_t used = 0;

    for (; *path != '\0' && used + 3 < size; path++) {
        out[used++] = *path;
        if (*path == '%')
            out[used++] = '%';
    }
    out[used] = '\0';
}

/* The first value counts in sshd_config, and nothing else is read but what stands here. */
static const char config_template[] =
    "# Written by cbx-hub at each start: edits are lost.\n"
    "HostKey \"%s\"\n"
    "AuthorizedKeysFile \"%s\"\n"
    "PidFile none\n"
    "\n"
    "# One account, by key only, and every key has a forced command.\n"
    "AllowUsers %s\n"
    "PermitRootLogin %s\n"
    "AuthenticationMethods publickey\n"
    "PubkeyAuthentication yes\n"
    "PasswordAuthentication no\n"
    "KbdInteractiveAuthentication no\n"
    "HostbasedAuthentication no\n"
    "GSSAPIAuthentication no\n"
    "KerberosAuthentication no\n"
    "UsePAM no\n"
    "StrictModes no\n" /* the state folder is 0700 and ours, but may lie under a home 0775 */
    "PubkeyAcceptedAlgorithms ssh-ed25519\n"
    "HostKeyAlgorithms ssh-ed25519\n"
    "MaxAuthTries 3\n"
    "LoginGraceTime %lld\n"
    "\n"
    "# One session, no forwarding, nothing of the client's environment.\n"
    "MaxSessions 1\n"
    "DisableForwarding yes\n"
    "PermitTTY no\n"
    "PermitUserRC no\n"
    "PermitUserEnvironment no\n"
    "PermitTunnel no\n"
    "PrintMotd no\n"
    "PrintLastLog no\n"
    "Banner none\n"
    "\n"
    "# The link on top pings; the client chooses its first cipher among these.\n"
    "ClientAliveInterval 0\n"
    "TCPKeepAlive yes\n"
    "UseDNS no\n"
    "IPQoS none\n" /* the default marks such sessions as less than best effort */
    "Compression no\n"
    "KexAlgorithms curve25519-sha256,curve25519-sha256@libssh.org\n"
    "Ciphers chacha20-poly1305@openssh.com,aes128-gcm@openssh.com,aes256-gcm@openssh.com,"
    "aes128-ctr,aes256-ctr\n"
    "MACs hmac-sha2-256-etm@openssh.com,hmac-sha2-512-etm@openssh.com,hmac-sha2-256,"
    "hmac-sha2-512\n"
    "LogLevel INFO\n";

static int
check_config(const char *sshd, const char *config, struct cbx_error *error)
{
    struct proc_result said;
    const char *argv[] = {sshd, "-t", "-f", config, NULL};
    int result = proc_run(argv, NULL, CHECK_MS, &said, error);

    if (result != 0 || said.status == 0)
        return result;
    return cbx_fail(error, CBX_ERR_IO, "%s rejects %s: %s", sshd, config, proc_first_line(&said));
}

int
sshd_configure(const struct sshd_files *files, const char *sshd, const char *user, bool root,
               int64_t login_ms, struct cbx_error *error)
{
    char keys[2 * SSHD_PATH_MAX];
    size_t size = sizeof config_template + 4 * SSHD_PATH_MAX;
    char *text = malloc(size);

    if (!text)
        return cbx_fail(error, CBX_ERR_NOMEM, "out of memory");
    double_percent(files->authorized_keys, keys, sizeof keys);
    int length = snprintf(text, size, config_template, files->host_key, keys, user,
                          root ? "prohibit-password" : "no", (long long)(login_ms + 999) / 1000);
    int result =
        length > 0 && (size_t)length < size
            ? cbx_file_keep(files->config, (const uint8_t *)text, (size_t)length, 0600, error)
            : cbx_fail(error, CBX_ERR_LIMIT, "the state folder's name is too long");
    free(text);
    return result != 0 ? result : check_config(sshd, files->config, error);
}
