/* SPDX-License-Identifier: MIT */
#include "hub/daemon/serve.h"
#include "common/base/clock.h"
#include "common/base/log.h"
#include "common/base/version.h"
#include "hub/core/core.h"
#include "hub/core/edit.h"
#include "hub/core/lane.h"
#include "hub/daemon/addresses.h"
#include "hub/daemon/commit.h"
#include "hub/daemon/control.h"
#include "hub/daemon/notify.h"
#include "hub/login/attach_server.h"
#include "hub/login/listen.h"
#include "hub/login/recent_logins.h"
#include <ev.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum {
    EXPIRE_S = 60,
    RETRY_MS = 1000,      /* when agents should come back after a shutdown */
    GOODBYE_US = 2500000, /* for the core's links to close */
    DRAIN_US = 700000,    /* after that, for sshd to send what is left */
    HELPER_MS = 1500,     /* for the helper to end what is left */
    PASSES = 4,           /* of flush and commit before one sleep */
    SIGNALS = 3,
};

enum phase { RUNNING, SAYING_GOODBYE, DRAINING };

struct serve {
    const struct serve_config *config;
    struct ev_loop *loop;
    struct spawner *spawner;
    struct cbx_store *store;
    struct commit *commit;
    struct hub_core *core;
    struct listen *listen;
    struct recent_logins *recent_logins;
    struct attach_server *attach;
    struct control_server *control;
    ev_prepare before_sleep;
    ev_timer core_due, expire, phase_end;
    ev_signal signals[SIGNALS];
    enum phase phase;
    bool woken;
    bool spawner_lost;
};

/* ---- stopping ---- */

static void
enter_draining(struct serve *serve)
{
    serve->phase = DRAINING;
    ev_timer_stop(serve->loop, &serve->phase_end);
    ev_timer_set(&serve->phase_end, DRAIN_US / 1e6, 0);
    ev_timer_start(serve->loop, &serve->phase_end);
}

static void
begin_stop(struct serve *serve)
{
    if (serve->phase != RUNNING) {
        ev_break(serve->loop, EVBREAK_ALL); /* told twice: at once */
        return;
    }
    serve->phase = SAYING_GOODBYE;
    notify_send("STOPPING=1");
    listen_stop(serve->listen);
    hub_core_shutdown(serve->core, RETRY_MS);
    ev_timer_set(&serve->phase_end, GOODBYE_US / 1e6, 0);
    ev_timer_start(serve->loop, &serve->phase_end);
}

static void
on_phase_end(struct ev_loop *loop, ev_timer *watcher, int events)
{
    struct serve *serve = watcher->data;

    (void)events;
    if (serve->phase == SAYING_GOODBYE)
        enter_draining(serve);
    else
        ev_break(loop, EVBREAK_ALL);
}

/* Goes on as soon as there is nothing to wait for. */
static void
step_stop(struct serve *serve)
{
    if (serve->phase == SAYING_GOODBYE && hub_core_idle(serve->core))
        enter_draining(serve);
    if (serve->phase == DRAINING && listen_running(serve->listen) == 0 &&
        commit_idle(serve->commit))
        ev_break(serve->loop, EVBREAK_ALL);
}

static void
on_signal(struct ev_loop *loop, ev_signal *watcher, int events)
{
    (void)loop;
    (void)events;
    begin_stop(watcher->data);
}

static void
on_shutdown_command(void *arg)
{
    struct serve *serve = arg;

    if (serve->phase == RUNNING)
        begin_stop(serve);
}

/* ---- the loop ---- */

static void
on_before_sleep(struct ev_loop *loop, ev_prepare *watcher, int events)
{
    struct serve *serve = watcher->data;
    int64_t due_us = 0;

    (void)events;
    serve->woken = true;
    for (int pass = 0; pass < PASSES && serve->woken; pass++) {
        serve->woken = false;
        due_us = hub_core_flush(serve->core);
        commit_step(serve->commit);
    }
    if (serve->woken)
        due_us = 0;
    ev_timer_stop(loop, &serve->core_due);
    if (due_us >= 0) {
        ev_timer_set(&serve->core_due, (double)due_us / 1e6, 0);
        ev_timer_start(loop, &serve->core_due);
    }
    step_stop(serve);
}

/* The timer only ends the sleep; the next prepare does the work. */
static void
on_core_due(struct ev_loop *loop, ev_timer *watcher, int events)
{
    (void)loop;
    (void)watcher;
    (void)events;
}

static void
on_expire(struct ev_loop *loop, ev_timer *watcher, int events)
{
    struct serve *serve = watcher->data;

    (void)loop;
    (void)events;
    hub_core_expire(serve->core);
    commit_retry(serve->commit);
    recent_logins_step(serve->recent_logins);
}

/* ---- between the parts ---- */

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
    if (serve->control != NULL)
        control_server_committed(serve->control, ticket, result, text);
    serve->woken = true;
}

static void
on_attached(void *arg, uint64_t connection, const char *fingerprint, struct cbx_carrier *carrier)
{
    struct serve *serve = arg;
    const char *address = NULL;

    if (listen_attached(serve->listen, connection, &address) != 0) {
        cbx_log_warn("attach refused: connection %llu is not one that is logging in",
                     (unsigned long long)connection);
        carrier->ops->close(carrier);
        return;
    }
    int result = hub_core_attach(serve->core, carrier, fingerprint, connection, address);
    if (result != 0)
        cbx_log_warn("connection %llu from %s logged in with %s and was rejected: %s",
                     (unsigned long long)connection, address, fingerprint,
                     result == CBX_ERR_NOTFOUND ? "no invite and no peer has this key"
                                                : cbx_err_name(result));
}

/* The socket of a connection that began as a lane: the core's from here on. */
static void
on_lane(void *arg, int fd, const uint8_t preface[CBX_LANE_PREFACE])
{
    struct serve *serve = arg;
    struct cbx_carrier *carrier = cbx_carrier_fd(serve->loop, fd, fd);

    if (carrier == NULL)
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

    cbx_log_error("the helper that starts sshd is gone (killed?): nobody can log in any more, so "
                  "the hub stops");
    serve->spawner_lost = true;
    if (serve->phase == RUNNING)
        begin_stop(serve);
}

static const struct spawner_ops spawner_ops = {.exited = on_sshd_exit, .lost = on_spawner_lost};

/* ---- start and end ---- */

static int
open_door(struct serve *serve, struct cbx_error *error)
{
    const struct run_config *run = serve->config->run;
    struct admission_config admission = {
        .total = (uint32_t)run->unauthenticated_max,
        .per_address = (uint32_t)run->per_address_max,
        .sshd = (uint32_t)run->login_processes,
        .silent_us = run->login_grace_ms * 1000,
        /* sshd ends a slow log-in itself and says so; this is for those that log in and stay. */
        .login_us = run->login_grace_ms * 1000 + 1000000,
        .recent_us = 86400 * (int64_t)1000000,
    };
    struct addresses addresses;
    int result = 0;

    serve->listen = listen_new(serve->loop, &admission, serve->spawner);
    if (serve->listen == NULL)
        return cbx_fail(error, CBX_ERR_NOMEM, "out of memory");
    listen_lanes(serve->listen, on_lane, serve);
    serve->recent_logins =
        recent_logins_new(serve->config->state_dir, listen_admission(serve->listen), serve->store);
    if (serve->recent_logins == NULL)
        return cbx_fail(error, CBX_ERR_NOMEM, "out of memory");
    for (uint32_t i = 0; i < run->listen.count && result == 0; i++)
        result = listen_add(serve->listen, run->listen.item[i], error);
    if (result != 0)
        return result;
    return addresses_of(serve->listen, (const char *const *)run->public_addresses.item,
                        run->public_addresses.count, &addresses, error);
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
    const struct hub_core_config core = {.keepalive_us = config->run->keepalive_ms * 1000,
                                         .gone_us = config->run->gone_ms * 1000,
                                         .hello_us = config->run->login_grace_ms * 1000,
                                         .allowed_us = config->run->allowance_grace_ms * 1000,
                                         .queue_max = config->run->queue_max,
                                         .lanes = config->run->lanes,
                                         .direct = config->run->direct,
                                         .software = "cbx-hub " CBX_VERSION};

    serve->commit = commit_new(&commit, on_committed, serve);
    serve->core =
        serve->commit != NULL ? hub_core_new(&core, config->registry, &core_ops, serve) : NULL;
    if (serve->core == NULL)
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

static void
watch_signals(struct serve *serve)
{
    static const int numbers[SIGNALS] = {SIGTERM, SIGINT, SIGHUP};

    for (int i = 0; i < SIGNALS; i++) {
        struct sigaction now;

        ev_signal_init(&serve->signals[i], on_signal, numbers[i]);
        serve->signals[i].data = serve;
        /* nohup and scripts that put us in the background mean it. */
        if (numbers[i] != SIGTERM && sigaction(numbers[i], NULL, &now) == 0 &&
            now.sa_handler == SIG_IGN)
            continue;
        ev_signal_start(serve->loop, &serve->signals[i]);
    }
    (void)signal(SIGPIPE, SIG_IGN);
}

static void
watch_loop(struct serve *serve)
{
    ev_prepare_init(&serve->before_sleep, on_before_sleep);
    ev_timer_init(&serve->core_due, on_core_due, 0, 0);
    ev_timer_init(&serve->expire, on_expire, EXPIRE_S, EXPIRE_S);
    ev_timer_init(&serve->phase_end, on_phase_end, 0, 0);
    serve->before_sleep.data = serve->core_due.data = serve;
    serve->expire.data = serve->phase_end.data = serve;
    ev_prepare_start(serve->loop, &serve->before_sleep);
    ev_timer_start(serve->loop, &serve->expire);
    spawner_watch(serve->spawner, serve->loop, &spawner_ops, serve);
    watch_signals(serve);
}

static int
build(struct serve *serve, struct cbx_error *error)
{
    /* Not the default loop: that one would reap the helper, whose end we wait for ourselves. */
    serve->loop = ev_loop_new(EVFLAG_AUTO);
    if (serve->loop == NULL)
        return cbx_fail(error, CBX_ERR_IO, "no event loop can be made");
    serve->store = cbx_store_new(serve->loop);
    if (serve->store == NULL)
        return cbx_fail(error, CBX_ERR_NOMEM, "the thread that writes files cannot be started");
    int result = make_core(serve, error);
    if (result == 0) {
        serve->attach =
            attach_server_new(serve->loop, serve->config->state_dir, &attach_ops, serve, error);
        result = serve->attach != NULL ? 0 : CBX_ERR_IO;
    }
    if (result == 0)
        result = open_door(serve, error);
    if (result == 0)
        result = make_control(serve, error);
    if (result == 0)
        watch_loop(serve);
    return result;
}

int
serve_new(struct serve **out, const struct serve_config *config, struct spawner *spawner,
          struct cbx_error *error)
{
    struct serve *serve = calloc(1, sizeof *serve);

    if (serve == NULL) {
        spawner_stop(spawner, HELPER_MS);
        return cbx_fail(error, CBX_ERR_NOMEM, "out of memory");
    }
    serve->config = config;
    serve->spawner = spawner;
    int result = build(serve, error);
    if (result != 0) {
        serve_free(serve);
        return result;
    }
    for (uint32_t i = 0; i < listen_count(serve->listen); i++)
        (void)printf("listening %s\n", listen_text(serve->listen, i));
    (void)fflush(stdout);
    notify_send("READY=1");
    *out = serve;
    return 0;
}

int
serve_run(struct serve *serve)
{
    (void)ev_run(serve->loop, 0);
    return serve->spawner_lost ? 1 : 0;
}

void
serve_free(struct serve *serve)
{
    if (serve == NULL)
        return;
    /* Links first: closing them ends attach and lets sshd finish; then who started sshd. */
    if (serve->core != NULL)
        hub_core_free(serve->core);
    attach_server_free(serve->attach);
    if (serve->commit != NULL)
        commit_flush(serve->commit);
    if (serve->recent_logins != NULL)
        recent_logins_step(serve->recent_logins);
    if (serve->store != NULL)
        cbx_store_free(serve->store);
    commit_free(serve->commit);
    spawner_stop(serve->spawner, HELPER_MS);
    recent_logins_free(serve->recent_logins);
    listen_free(serve->listen);
    control_server_free(serve->control);
    if (serve->loop != NULL) {
        for (int i = 0; i < SIGNALS; i++)
            ev_signal_stop(serve->loop, &serve->signals[i]);
        ev_loop_destroy(serve->loop);
    }
    free(serve);
}
