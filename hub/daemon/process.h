/* SPDX-License-Identifier: MIT */
/*
 * The running hub as its parts see it: what they share, and its phases.
 *
 *   RUNNING         until a signal, the shutdown command or the loss of the spawner
 *   SAYING_GOODBYE  nobody new; every agent is told, and their links close    (at most 2.5 s)
 *   DRAINING        sshd sends what is left, the last changes go to the disk  (at most 0.7 s)
 *
 * After that the loop ends. A second signal ends it at once.
 */
#ifndef HUB_DAEMON_PROCESS_H
#define HUB_DAEMON_PROCESS_H

#include "common/disk/store.h"
#include "hub/core/core.h"
#include "hub/daemon/commit.h"
#include "hub/daemon/control.h"
#include "hub/daemon/settings.h"
#include "hub/login/attach_server.h"
#include "hub/login/listen.h"
#include "hub/login/recent_logins.h"
#include "hub/login/spawner.h"
#include "hub/login/sshd.h"
#include "hub/registry/registry.h"
#include <ev.h>
#include <stdbool.h>
#include <stdint.h>

/* All borrowed. */
struct serve_config {
    const struct run_config *run;
    const char *state_dir;
    const char *program; /* absolute */
    const char *user;
    const struct sshd_files *files;
    const uint8_t *host_key_sha256;
    struct registry *registry; /* loaded */
    /* What --listen names, bound while that was allowed; taken over. */
    int bound[LISTEN_ADDRESSES_MAX];
    uint32_t bound_count;
};

enum serve_phase { SERVE_RUNNING, SERVE_SAYING_GOODBYE, SERVE_DRAINING };

enum { SERVE_SIGNALS = 3 };

/* NULL: not made yet. */
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
    ev_timer core_due, minute, phase_end;
    ev_signal signals[SERVE_SIGNALS];
    enum serve_phase phase;
    bool woken; /* the core or the disk has something to do before the loop sleeps */
    bool spawner_lost;
};

/* phase_end is ready to be started. */
void serve_phases_init(struct serve *serve);
/* RUNNING to SAYING_GOODBYE. No effect when the hub is stopping already. */
void serve_stop(struct serve *serve);
/* The same; when it is stopping already, the loop ends at once. */
void serve_stop_now(struct serve *serve);
/* Before the loop sleeps: the next phase, as soon as there is nothing to wait for. */
void serve_step_phase(struct serve *serve);

#endif
