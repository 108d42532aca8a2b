/* SPDX-License-Identifier: MIT */
/*
 * The run command up to the loop. Checks come before effects: whom we run as, whether that account
 * can, whether sshd is one and whether the key is there is looked at first; then ports are bound,
 * root is given up, and only then the first file is made. The spawner is forked before keys are
 * opened and threads started. Tested by test_commands.py, test_operation.py and test_damage.py.
 */
#include "common/base/log.h"
#include "common/base/log_file.h"
#include "common/command/state_dir.h"
#include "common/crypto/aead_choice.h"
#include "common/os/descriptors.h"
#include "hub/cmd/cmd.h"
#include "hub/daemon/addresses.h"
#include "hub/daemon/serve.h"
#include "hub/host/account.h"
#include "hub/host/preflight.h"
#include "hub/login/bind.h"
#include "hub/login/listen.h"
#include <errno.h>
#include <signal.h>
#include <sodium.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

struct run {
    const struct cbx_args *args;
    struct run_config config;
    struct account account;
    char state_dir[CMD_STATE_MAX];
    char program[SSHD_PATH_MAX];
    char sshd[SSHD_PATH_MAX];
    struct sshd_files files;
    uint8_t host_key_sha256[32];
    struct cbx_vault_key key;
    bool key_open;
    int bound[LISTEN_ADDRESSES_MAX]; /* the first bound_count of --listen */
    uint32_t bound_count;
    struct registry *registry;
    char registry_path[CMD_STATE_MAX + 16];
    char key_path[CMD_STATE_MAX + 16];
};

/* ---- who we are and what we need: looked at, nothing made ---- */

static int
own_path(struct run *run, struct cbx_error *error)
{
    ssize_t length = readlink("/proc/self/exe", run->program, sizeof run->program - 1);

    if (length <= 0 || (size_t)length >= sizeof run->program - 1)
        return cbx_fail(error, CBX_ERR_IO, "cannot read /proc/self/exe: %s",
                        length < 0 ? strerror(errno) : "its name is too long");
    run->program[length] = '\0';
    return 0;
}

/* Root says what it wants to be, or nothing happens. */
static int
settle_names(struct run *run, struct cbx_error *error)
{
    if (geteuid() == 0 && !run->config.user && !run->config.as_root)
        return cbx_fail(error, CBX_ERR_USAGE,
                        "running as root: use --user NAME to run as that account, or --as-root to "
                        "stay root");
    int result = account_choose(run->config.user, &run->account, error);
    if (result == 0)
        result = own_path(run, error);
    if (result == 0)
        result = cbx_state_dir(cbx_arg(run->args, "state"), "hub", run->state_dir,
                               sizeof run->state_dir, error);
    if (result == 0)
        result = sshd_files_of(run->state_dir, &run->files, error);
    if (result == 0 && sshd_find(run->config.sshd, run->sshd, error) != 0)
        result = run->config.sshd ? CBX_ERR_USAGE : CBX_ERR_STATE; /* that one was named */
    (void)snprintf(run->registry_path, sizeof run->registry_path, "%s/registry", run->state_dir);
    (void)snprintf(run->key_path, sizeof run->key_path, "%s/key", run->state_dir);
    return result;
}

/* A key that was named must be there; our own is made where there is none. */
static int
check_key(const struct run *run, struct cbx_error *error)
{
    struct cbx_vault_key key;

    if (!run->config.key_file && !run->config.passphrase_file)
        return 0;
    int result =
        cbx_vault_key_init(&key, run->config.passphrase_file, run->config.key_file, NULL, 0, error);
    cbx_vault_key_wipe(&key);
    return result;
}

/* As the account that will run the hub, in a process that is gone afterwards: no key stays in the
 * memory that the helper is forked from. */
static int
look_ahead(void *arg, struct cbx_error *error)
{
    const struct run *run = arg;

    if (access(run->program, X_OK) != 0)
        return cbx_fail(error, CBX_ERR_IO, "%s cannot be run by %s, and sshd must run it: %s",
                        run->program, run->account.name, strerror(errno));
    int result = cbx_state_look(run->state_dir, error);
    if (result == 0 && run->config.log_file)
        result = cbx_log_file_look(run->config.log_file, run->state_dir, error);
    if (result == 0)
        result = preflight_check(&run->account, error);
    if (result == 0)
        result = preflight_shell_runs(&run->account, error);
    if (result != 0)
        return result;
    result = preflight_sshd(run->sshd, error);
    /* One that was named is the command line's fault. */
    if (result != 0)
        return run->config.sshd ? CBX_ERR_USAGE : result;
    return check_key(run, error);
}

/* ---- what is made ---- */

static int
already_running(const struct run *run, long pid, struct cbx_error *error)
{
    return cbx_fail(error, CBX_ERR_BUSY, "a hub is already running on %s (pid %ld)", run->state_dir,
                    pid);
}

/* Before root is given up: a port below 1024 is root's to give, and 443 is what company proxies
 * let through. Before the first file: a port that is taken is the most frequent of all errors. */
static int
bind_ports(struct run *run, struct cbx_error *error)
{
    const struct run_list *listen = &run->config.listen;

    while (run->bound_count < listen->count) {
        int fd = listen_bind(listen->item[run->bound_count], error);
        long pid = fd == CBX_ERR_IO ? cbx_state_holder(run->state_dir) : 0;
        if (fd < 0)
            return pid > 0 ? already_running(run, pid, error) : fd;
        run->bound[run->bound_count++] = fd;
    }
    return addresses_look(run->bound, run->bound_count, run->config.public_addresses.count, error);
}

static int
settle_account(struct run *run, struct cbx_error *error)
{
    const char *folder = cbx_arg(run->args, "state");
    int result = bind_ports(run, error);

    if (!folder)
        folder = getenv("CBX_STATE");
    if (result == 0 && folder)
        result = account_give_folder(run->state_dir, &run->account, error);
    return result != 0 ? result : account_become(&run->account, error);
}

static int
lock_state(const struct run *run, struct cbx_error *error)
{
    long pid = 0;
    int fd = cbx_state_lock(run->state_dir, &pid, error);

    if (fd == CBX_ERR_BUSY)
        return already_running(run, pid, error);
    return fd < 0 ? fd : 0; /* kept open until the process ends */
}

static int
prepare_sshd(struct run *run, struct cbx_error *error)
{
    int result = preflight_make(&run->account, error);

    if (result == 0)
        result = sshd_host_key(&run->files, run->host_key_sha256, error);
    if (result == 0)
        result = sshd_configure(&run->files, run->sshd, run->account.name, run->account.uid == 0,
                                run->config.login_grace_ms, error);
    if (result == 0)
        preflight_shell(&run->account);
    return result;
}

static int
open_registry(struct run *run, struct cbx_error *error)
{
    /* A new key beside an old registry could only fail to open it. */
    bool fresh = access(run->registry_path, F_OK) != 0 && errno == ENOENT;
    int result = cbx_vault_key_init(&run->key, run->config.passphrase_file, run->config.key_file,
                                    run->key_path, fresh, error);

    if (result == CBX_ERR_NOTFOUND && !run->config.key_file && !run->config.passphrase_file)
        return cbx_fail(error, result,
                        "no key for %s: restore the key file, or give what it was sealed with "
                        "(--key-file, --passphrase-file)",
                        run->registry_path);
    if (result != 0)
        return result;
    run->key_open = true;
    run->registry = registry_new(run->registry_path, &run->key);
    if (!run->registry)
        return cbx_fail(error, CBX_ERR_NOMEM, "out of memory");
    return registry_load(run->registry, error);
}

static int
prepare(struct run *run, struct cbx_error *error)
{
    int result = prepare_sshd(run, error);

    if (result == 0)
        result = open_registry(run, error);
    cbx_descriptors_raise();    /* three an agent; sshd gets its own limit back */
    (void)cbx_aead_preferred(); /* measured now, while nothing waits */
    return result;
}

/* Returns an exit status, or a negative code with its text. */
static int
run_hub(struct run *run, struct cbx_error *error)
{
    const struct spawner_config helper = {.sshd = run->sshd, .config = run->files.config};
    const struct serve_config config = {.run = &run->config,
                                        .state_dir = run->state_dir,
                                        .program = run->program,
                                        .user = run->account.name,
                                        .files = &run->files,
                                        .host_key_sha256 = run->host_key_sha256};
    struct serve_config with_registry = config;
    struct spawner *spawner = NULL;
    struct serve *serve = NULL;

    int result = lock_state(run, error);
    /* Before the helper, which writes what sshd says into it. */
    if (result == 0 && run->config.log_file)
        result = cbx_log_file_begin(run->config.log_file, true, error);
    if (result == 0)
        result = spawner_start(&spawner, &helper, error);
    if (result != 0)
        return result;
    result = prepare(run, error);
    if (result != 0) {
        spawner_stop(spawner, 500);
        return result;
    }
    with_registry.registry = run->registry;
    memcpy(with_registry.bound, run->bound, sizeof run->bound);
    with_registry.bound_count = run->bound_count;
    result = serve_new(&serve, &with_registry, spawner, error);
    if (result != 0)
        return result;
    result = serve_run(serve);
    serve_free(serve);
    return result;
}

static void
run_free(struct run *run)
{
    if (run->registry)
        registry_free(run->registry);
    if (run->key_open)
        cbx_vault_key_wipe(&run->key);
    run_config_free(&run->config);
    free(run);
}

int
cmd_run(const struct cbx_command *command, void *parsed)
{
    struct run *run = calloc(1, sizeof *run);
    struct cbx_error error;

    if (!run || sodium_init() < 0)
        return cmd_fail(command, !run ? "out of memory" : "libsodium cannot start");
    run->args = parsed;
    (void)umask(077);
    (void)signal(SIGHUP, SIG_IGN); /* until the loop watches for it */
    int result = run_config_read(&run->config, run->args, &error);
    if (result == 0) {
        cbx_log_times(run->config.log_times || cbx_log_wants_times());
        result = settle_names(run, &error);
    }
    if (result == 0)
        result = account_try(&run->account, look_ahead, run, &error);
    if (result == 0)
        result = settle_account(run, &error);
    if (result == 0)
        result = run_hub(run, &error);
    /* Both who reads the log and who started us hear it. */
    if (result < 0 && cbx_log_file_used()) {
        cbx_log_error("%s", error.text);
        (void)cbx_log_file_end();
    }
    int status = result < 0 ? cmd_exit(command, run->args, result, error.text) : result;
    run_free(run);
    return status;
}
