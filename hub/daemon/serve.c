/* SPDX-License-Identifier: MIT */
/* Tested by test_commands.py and test_restart.py. */
#include "hub/daemon/serve.h"
#include "common/base/log.h"
#include "common/base/log_file.h"
#include "hub/core/edit.h"
#include "hub/daemon/notify.h"
#include "hub/daemon/wiring.h"
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>

enum {
    MINUTE_S = 60,
    HELPER_MS = 1500, /* for the helper to end what is left */
    PASSES = 4,       /* of flush and commit before one sleep */
};

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
    serve_step_phase(serve);
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
on_minute(struct ev_loop *loop, ev_timer *watcher, int events)
{
    struct serve *serve = watcher->data;

    (void)loop;
    (void)events;
    commit_retry(serve->commit);
    recent_logins_step(serve->recent_logins);
}

/* ---- start and end ---- */

static void
on_signal(struct ev_loop *loop, ev_signal *watcher, int events)
{
    (void)loop;
    (void)events;
    serve_stop_now(watcher->data);
}

/* Never the end: a service manager or logrotate means the log, and a terminal that closes its own.
 */
static void
on_hangup(struct ev_loop *loop, ev_signal *watcher, int events)
{
    struct serve *serve = watcher->data;

    (void)loop;
    (void)events;
    if (!cbx_log_file_reopen()) {
        cbx_log_info("SIGHUP: no --log-file to open again");
        return;
    }
    spawner_reopen_log(serve->spawner);
    cbx_log_info("log file opened again");
}

static void
watch_signals(struct serve *serve)
{
    static const int numbers[SERVE_SIGNALS] = {SIGTERM, SIGINT, SIGHUP};

    for (int i = 0; i < SERVE_SIGNALS; i++) {
        struct sigaction now;

        ev_signal_init(&serve->signals[i], numbers[i] == SIGHUP ? on_hangup : on_signal,
                       numbers[i]);
        serve->signals[i].data = serve;
        /* Scripts that put us in the background mean it. */
        if (numbers[i] == SIGINT && sigaction(numbers[i], NULL, &now) == 0 &&
            now.sa_handler == SIG_IGN)
            continue;
        ev_signal_start(serve->loop, &serve->signals[i]);
    }
    (void)signal(SIGPIPE, SIG_IGN);
    /* It may have been renamed while nobody watched. */
    if (cbx_log_file_reopen())
        spawner_reopen_log(serve->spawner);
}

static void
watch_loop(struct serve *serve)
{
    ev_prepare_init(&serve->before_sleep, on_before_sleep);
    ev_timer_init(&serve->core_due, on_core_due, 0, 0);
    ev_timer_init(&serve->minute, on_minute, MINUTE_S, MINUTE_S);
    serve_phases_init(serve);
    serve->before_sleep.data = serve->core_due.data = serve;
    serve->minute.data = serve;
    ev_prepare_start(serve->loop, &serve->before_sleep);
    ev_timer_start(serve->loop, &serve->minute);
    wiring_watch_spawner(serve);
    watch_signals(serve);
}

static int
build(struct serve *serve, struct cbx_error *error)
{
    /* Not the default loop: that one would reap the helper, whose end we wait for ourselves. */
    serve->loop = ev_loop_new(EVFLAG_AUTO);
    if (!serve->loop)
        return cbx_fail(error, CBX_ERR_IO, "cannot create an event loop");
    serve->store = cbx_store_new(serve->loop);
    if (!serve->store)
        return cbx_fail(error, CBX_ERR_NOMEM, "cannot start the thread that writes files");
    int result = wiring_make(serve, error);
    if (result == 0)
        watch_loop(serve);
    return result;
}

int
serve_new(struct serve **out, const struct serve_config *config, struct spawner *spawner,
          struct cbx_error *error)
{
    struct serve *serve = calloc(1, sizeof *serve);

    if (!serve) {
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
    if (!serve)
        return;
    /* Links first: closing them ends attach and lets sshd finish; then who started sshd. */
    if (serve->core)
        hub_core_free(serve->core);
    attach_server_free(serve->attach);
    if (serve->commit)
        commit_flush(serve->commit);
    if (serve->recent_logins)
        recent_logins_step(serve->recent_logins);
    if (serve->store)
        cbx_store_free(serve->store);
    commit_free(serve->commit);
    spawner_stop(serve->spawner, HELPER_MS);
    recent_logins_free(serve->recent_logins);
    listen_free(serve->listen);
    control_server_free(serve->control);
    if (serve->loop) {
        for (int i = 0; i < SERVE_SIGNALS; i++) {
            ev_signal_stop(serve->loop, &serve->signals[i]);
            (void)signal(serve->signals[i].signum, SIG_IGN); /* nothing is left to end */
        }
        ev_loop_destroy(serve->loop);
    }
    free(serve);
}
