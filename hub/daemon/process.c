/* SPDX-License-Identifier: MIT */
/* Tested by test_restart.py. */
#include "hub/daemon/process.h"
#include "common/base/states.h"
#include "hub/daemon/notify.h"

enum {
    RETRY_MS = 1000,      /* when agents should come back after a shutdown */
    GOODBYE_US = 2500000, /* for the core's links to close */
    DRAIN_US = 700000,    /* after that, for sshd to send what is left */
};

static const struct cbx_states phases = {
    .what = "hub",
    .state = {
        [SERVE_RUNNING] = {"RUNNING", CBX_STATE(SERVE_SAYING_GOODBYE)},
        [SERVE_SAYING_GOODBYE] = {"SAYING_GOODBYE", CBX_STATE(SERVE_DRAINING)},
        [SERVE_DRAINING] = {"DRAINING", 0},
    }};

static void
enter(struct serve *serve, enum serve_phase phase, int64_t at_most_us)
{
    if (!cbx_states_allow(&phases, "phase", serve->phase, phase))
        return;
    serve->phase = phase;
    ev_timer_stop(serve->loop, &serve->phase_end);
    ev_timer_set(&serve->phase_end, (double)at_most_us / 1e6, 0);
    ev_timer_start(serve->loop, &serve->phase_end);
}

void
serve_stop(struct serve *serve)
{
    if (serve->phase != SERVE_RUNNING)
        return;
    enter(serve, SERVE_SAYING_GOODBYE, GOODBYE_US);
    notify_send("STOPPING=1");
    listen_stop(serve->listen);
    hub_core_shutdown(serve->core, RETRY_MS);
}

void
serve_stop_now(struct serve *serve)
{
    if (serve->phase == SERVE_RUNNING)
        serve_stop(serve);
    else
        ev_break(serve->loop, EVBREAK_ALL);
}

static void
on_phase_end(struct ev_loop *loop, ev_timer *watcher, int events)
{
    struct serve *serve = watcher->data;

    (void)events;
    if (serve->phase == SERVE_SAYING_GOODBYE)
        enter(serve, SERVE_DRAINING, DRAIN_US);
    else
        ev_break(loop, EVBREAK_ALL);
}

void
serve_step_phase(struct serve *serve)
{
    if (serve->phase == SERVE_SAYING_GOODBYE && hub_core_idle(serve->core))
        enter(serve, SERVE_DRAINING, DRAIN_US);
    if (serve->phase == SERVE_DRAINING && listen_running(serve->listen) == 0 &&
        commit_idle(serve->commit))
        ev_break(serve->loop, EVBREAK_ALL);
}

void
serve_phases_init(struct serve *serve)
{
    ev_timer_init(&serve->phase_end, on_phase_end, 0, 0);
    serve->phase_end.data = serve;
}
