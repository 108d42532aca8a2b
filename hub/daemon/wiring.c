/* SPDX-License-Identifier: MIT */
/* Tested by test_restart.py and test_lanes.py. */
#include "hub/daemon/wiring.h"
#include "common/base/clock.h"
#include "common/base/log.h"
#include "common/base/version.h"
#include "hub/core/lane.h"
#include "hub/daemon/addresses.h"
#include <unistd.h>

/* ---- core ---- */

static void
core_commit(void *arg, uint64_t ticket)
{
    struct serve *serve = arg;

    commit_want(serve->commit, ticket);
    serve->woken = true;
}

static int64_t
core_now_us(void *arg)
{
    (void)arg;
    return cbx_clock_us();
}

static int64_t
core_now_unix_ms(void *arg)
{
    (void)arg;
    return cbx_clock_unix_ms();
}

static void
core_wake(void *arg)
{
    struct serve *serve = arg;

    serve->woken = true;
}

static const struct hub_core_ops core_ops = {.commit = core_commit,
                                             .now_us = core_now_us,
                                             .now_unix_ms = core_now_unix_ms,
                                             .wake = core_wake};

static void
on_committed(void *arg, uint64_t ticket, int result, const char *text)
{
    struct serve *serve = arg;

    hub_core_committed(serve->core, ticket, result);
    if (serve->control)
        control_server_committed(serve->control, ticket, result, text);
    serve->woken = true;
}

/* ---- logins and lanes ---- */

static void
on_attached(void *arg, uint64_t connection, const char *fingerprint, struct cbx_carrier *carrier)
{
    struct serve *serve = arg;
    const char *address = NULL;

    if (listen_attached(serve->listen, connection, &address) != 0) {
        cbx_log_warn("attach refused: connection %llu is not logging in",
                     (unsigned long long)connection);
        carrier->ops->close(carrier);
        return;
    }
    int result = hub_core_attach(serve->core, carrier, fingerprint, connection, address);
    if (result != 0)
        cbx_log_warn("connection %llu from %s logged in with %s and was rejected: %s",
                     (unsigned long long)connection, address, fingerprint,
                     result == CBX_ERR_NOTFOUND ? "no invite or peer has this key"
                                                : cbx_err_name(result));
}

/* The socket of a connection that began as a lane: the core's from here on. */
static void
on_lane(void *arg, int fd, const uint8_t preface[CBX_LANE_PREFACE])
{
    struct serve *serve = arg;
    struct cbx_carrier *carrier = cbx_carrier_fd(serve->loop, fd, fd);

    if (!carrier)
        (void)close(fd);
    else if (!hub_core_lane(serve->core, carrier, preface))
        cbx_log_info("unexpected lane connection, closed");
}

static void
on_detached(void *arg, uint64_t connection)
{
    struct serve *serve = arg;

    listen_detached(serve->listen, connection);
}

static const struct attach_server_ops attach_ops = {.attached = on_attached,
                                                    .detached = on_detached};

static void
on_sshd_exit(void *arg, uint64_t number, int status)
{
    struct serve *serve = arg;

    (void)status; /* sshd has said why in the log */
    listen_exited(serve->listen, number);
}

static void
on_spawner_lost(void *arg)
{
    struct serve *serve = arg;

    cbx_log_error("the helper that starts sshd has died (killed?): logins are impossible, "
                  "shutting down");
    serve->spawner_lost = true;
    serve_stop(serve);
}

static const struct spawner_ops spawner_ops = {.exited = on_sshd_exit, .lost = on_spawner_lost};

/* ---- making them ---- */

static void
on_shutdown_command(void *arg)
{
    serve_stop(arg);
}

static int
open_door(struct serve *serve, struct cbx_error *error)
{
    const struct run_config *run = serve->config->run;
    struct admission_config admission = {
        .total = (uint32_t)run->unauthenticated_max,
        .per_address = (uint32_t)run->per_address_max,
        .sshd = (uint32_t)run->login_processes,
        .silent_us = run->login_grace_ms * 1000,
        /* sshd ends a slow login itself and says so; this is for those that log in and stay. */
        .login_us = run->login_grace_ms * 1000 + 1000000,
        .recent_us = 86400 * (int64_t)1000000,
    };
    struct addresses addresses;
    int result = 0;

    serve->listen = listen_new(serve->loop, &admission, serve->spawner);
    if (!serve->listen)
        return cbx_fail(error, CBX_ERR_NOMEM, "out of memory");
    listen_lanes(serve->listen, on_lane, serve);
    serve->recent_logins =
        recent_logins_new(serve->config->state_dir, listen_admission(serve->listen), serve->store);
    if (!serve->recent_logins)
        return cbx_fail(error, CBX_ERR_NOMEM, "out of memory");
    for (uint32_t i = 0; i < run->proxies.count && result == 0; i++) {
        struct proxy_prefix prefix;
        result = proxy_prefix_parse(run->proxies.item[i], &prefix, error);
        (void)(result == 0 && listen_proxy(serve->listen, &prefix)); /* no more than fit */
    }
    const struct serve_config *config = serve->config;
    for (uint32_t i = 0; i < config->bound_count && result == 0; i++)
        result = listen_add(serve->listen, config->bound[i], error);
    if (result != 0)
        return result;
    return addresses_of(serve->listen, (const char *const *)run->public_addresses.item,
                        run->public_addresses.count, &addresses, error);
}

static void
write_public(const struct run_config *run, char out[CBX_ADDRESSES_TEXT_MAX])
{
    struct cbx_addresses list = {0};

    for (uint32_t i = 0; i < run->public_addresses.count; i++)
        (void)cbx_addresses_add(&list, run->public_addresses.item[i]);
    cbx_addresses_write(&list, out);
}

static int
make_core(struct serve *serve, struct cbx_error *error)
{
    const struct serve_config *config = serve->config;
    const struct commit_config commit = {.registry = config->registry,
                                         .store = serve->store,
                                         .program = config->program,
                                         .state_dir = config->state_dir,
                                         .authorized_keys = config->files->authorized_keys};
    struct hub_core_config core = {.keepalive_us = config->run->keepalive_ms * 1000,
                                   .gone_us = config->run->gone_ms * 1000,
                                   .hello_us = config->run->login_grace_ms * 1000,
                                   .allowed_us = config->run->allowance_grace_ms * 1000,
                                   .queue_max = config->run->queue_max,
                                   .lanes = config->run->lanes,
                                   .direct = config->run->direct,
                                   .software = "cbx-hub " CBX_VERSION};

    write_public(config->run, core.addresses);
    serve->commit = commit_new(&commit, on_committed, serve);
    serve->core =
        serve->commit != NULL ? hub_core_new(&core, config->registry, &core_ops, serve) : NULL;
    if (!serve->core)
        return cbx_fail(error, CBX_ERR_NOMEM, "out of memory");
    return commit_first_keys(serve->commit, error);
}

static int
make_control(struct serve *serve, struct cbx_error *error)
{
    const struct serve_config *config = serve->config;
    const struct control_server_config control = {
        .state_dir = config->state_dir,
        .user = config->user,
        .host_key_sha256 = config->host_key_sha256,
        .public_addresses = (const char *const *)config->run->public_addresses.item,
        .public_count = config->run->public_addresses.count,
        .core = serve->core,
        .listen = serve->listen,
        .attach = serve->attach,
        .shutdown = on_shutdown_command,
        .arg = serve};

    serve->control = control_server_new(serve->loop, &control, error);
    return serve->control != NULL ? 0 : CBX_ERR_IO;
}

static int
make_attach(struct serve *serve, struct cbx_error *error)
{
    serve->attach =
        attach_server_new(serve->loop, serve->config->state_dir, &attach_ops, serve, error);
    return serve->attach != NULL ? 0 : CBX_ERR_IO;
}

int
wiring_make(struct serve *serve, struct cbx_error *error)
{
    int result = make_core(serve, error);
    if (result == 0)
        result = make_attach(serve, error);
    if (result == 0)
        result = open_door(serve, error);
    if (result == 0)
        result = make_control(serve, error);
    return result;
}

void
wiring_watch_spawner(struct serve *serve)
{
    spawner_watch(serve->spawner, serve->loop, &spawner_ops, serve);
}
