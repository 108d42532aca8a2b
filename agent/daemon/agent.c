/* SPDX-License-Identifier: MIT */
/*
 * The process. Before the loop runs: the state folder's lock, the sealed state, and what a given
 * token changes in it (rule 6: identity and token are on disk before anything is sent). Then the
 * loop: a prepare watcher begins the phase that was asked for and flushes the engines before each
 * sleep. Everything is freed in one place, agent_dispose. Tested by test_restart.py and
 * test_trust.py.
 */
#include "agent/daemon/agent.h"

#include "agent/daemon/control.h"
#include "agent/daemon/hub_link.h"
#include "agent/daemon/log.h"
#include "agent/daemon/path_watch.h"
#include "agent/daemon/process.h"
#include "agent/front/front.h"
#include "agent/front/proxy_password.h"
#include "agent/lanes/direct.h"
#include "agent/lanes/hub_lane.h"
#include "agent/mesh/joiner.h"
#include "agent/mesh/mesh.h"
#include "agent/uplink/child.h"
#include "agent/uplink/proxy_choice.h"
#include "agent/uplink/uplink.h"
#include "common/base/log.h"
#include "common/base/log_file.h"
#include "common/command/control.h"
#include "common/command/state_dir.h"
#include "common/crypto/aead_choice.h"
#include "common/disk/file.h"
#include "common/os/descriptors.h"

#include <errno.h>
#include <limits.h>
#include <signal.h>
#include <sodium.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { FLUSH_ROUNDS = 8 };
static const double GOODBYE_S = 1.0;

/* ---- the loop ---- */

static void
begin_stop(struct agent *agent)
{
    agent_set_phase(agent, AGENT_PHASE_STOP);
    if (agent->uplink)
        uplink_stop(agent->uplink);
    agent_control_abandon(agent);
    front_free(agent->front);
    agent->front = NULL;
    ev_timer_stop(agent->loop, &agent->give_up);
    if (!agent->mesh || !mesh_attached(agent->mesh)) {
        ev_break(agent->loop, EVBREAK_ALL);
        return;
    }
    mesh_shutdown(agent->mesh);
    agent_wake(agent);
    ev_timer_set(&agent->give_up, GOODBYE_S, 0.);
    ev_timer_start(agent->loop, &agent->give_up);
}

static int64_t
earlier(int64_t a, int64_t b)
{
    return a < 0 ? b : b < 0 || a < b ? a : b;
}

static int64_t
flush_engines(struct agent *agent)
{
    int64_t next = -1;
    for (int i = 0; i < FLUSH_ROUNDS && agent->dirty; i++) {
        agent->dirty = false;
        next = agent->mesh != NULL ? mesh_flush(agent->mesh) : -1;
        if (agent->joiner)
            next = earlier(next, joiner_flush(agent->joiner));
    }
    return agent->dirty ? 0 : next;
}

/* Runs before each sleep, with no part's callback on the stack. What it and the callbacks after it
 * cause keeps the loop awake for one more turn (agent_wake). */
static void
on_before_sleep(struct ev_loop *loop, ev_prepare *watcher, int events)
{
    (void)events;
    struct agent *agent = watcher->data;
    while (agent->phase_wanted) {
        agent->phase_wanted = false;
        if (agent->next_phase == AGENT_PHASE_STOP)
            begin_stop(agent);
        else
            agent_link_begin(agent, agent->next_phase);
    }
    if (agent->dirty) {
        int64_t next = flush_engines(agent);
        ev_timer_stop(loop, &agent->engine_due);
        if (next >= 0) {
            ev_timer_set(&agent->engine_due, (double)next / 1e6, 0.);
            ev_timer_start(loop, &agent->engine_due);
        }
    }
    if (agent->phase == AGENT_PHASE_STOP && (!agent->mesh || !mesh_attached(agent->mesh)))
        ev_break(loop, EVBREAK_ALL);
    if (!agent->dirty && !agent->phase_wanted)
        ev_idle_stop(loop, &agent->awake);
}

static void
on_awake(struct ev_loop *loop, ev_idle *watcher, int events)
{
    (void)loop;
    (void)watcher;
    (void)events;
}

static void
on_engine_due(struct ev_loop *loop, ev_timer *timer, int events)
{
    (void)loop;
    (void)events;
    agent_wake(timer->data);
}

static void
on_give_up(struct ev_loop *loop, ev_timer *timer, int events)
{
    (void)events;
    struct agent *agent = timer->data;
    if (agent->phase == AGENT_PHASE_STOP) {
        ev_break(loop, EVBREAK_ALL);
        return;
    }
    char cause[CBX_ERROR_TEXT_MAX];
    (void)snprintf(cause, sizeof cause, "not attached after %lld s: %.300s",
                   (long long)(agent->start->timeout_ms / 1000),
                   agent->trouble[0] != '\0' ? agent->trouble : "the hub has not answered yet");
    agent_stop(agent, 1, cause);
}

/* A second one waits for nothing. */
static void
on_signal(struct ev_loop *loop, ev_signal *watcher, int events)
{
    (void)events;
    struct agent *agent = watcher->data;
    if (agent->phase == AGENT_PHASE_STOP)
        ev_break(loop, EVBREAK_ALL);
    else
        agent_stop(agent, 0, NULL);
}

static void
watch(struct agent *agent)
{
    static const int stops[] = {SIGTERM, SIGINT, SIGHUP};
    for (size_t i = 0; i < sizeof stops / sizeof stops[0]; i++) {
        bool hangup = stops[i] == SIGHUP && agent->start->goal == AGENT_GOAL_RUN;
        struct sigaction now;
        ev_signal_init(&agent->signals[i], hangup ? agent_log_on_hangup : on_signal, stops[i]);
        /* Scripts that put us in the background mean it. */
        if (stops[i] == SIGINT && sigaction(SIGINT, NULL, &now) == 0 && now.sa_handler == SIG_IGN)
            continue;
        agent->signals[i].data = agent;
        ev_signal_start(agent->loop, &agent->signals[i]);
    }
    (void)cbx_log_file_reopen(); /* it may have been renamed while nobody watched */
    ev_prepare_start(agent->loop, &agent->before_sleep);
    if (agent->start->timeout_ms > 0) {
        ev_timer_set(&agent->give_up, (double)agent->start->timeout_ms / 1e3, 0.);
        ev_timer_start(agent->loop, &agent->give_up);
    }
}

/* ---- before the loop ---- */

static int
not_joined(const struct agent_start *start, struct cbx_error *error)
{
    return cbx_fail(error, start->token_missing != NULL ? CBX_ERR_USAGE : CBX_ERR_STATE,
                    "not joined yet: %s",
                    start->token_missing != NULL
                        ? start->token_missing
                        : "ask the operator for a token, then run \"cbx-agent up @FILE\"");
}

static int
check_key(const struct agent_settings *settings, struct cbx_error *error)
{
    struct cbx_vault_key key;
    if (!settings->passphrase_file && !settings->key_file)
        return CBX_OK;
    int result =
        cbx_vault_key_init(&key, settings->passphrase_file, settings->key_file, NULL, 0, error);
    cbx_vault_key_wipe(&key);
    return result;
}

int
agent_look_ahead(const struct agent_start *start, struct cbx_error *error)
{
    char path[PATH_MAX];
    const char *folder = start->settings->state_dir;
    int result = cbx_state_look(folder, error);
    if (result == CBX_OK)
        result = check_key(start->settings, error);
    if (result == CBX_OK && start->settings->log_file && start->goal == AGENT_GOAL_RUN)
        result = cbx_log_file_look(start->settings->log_file, folder, error);
    if (result != CBX_OK)
        return result;
    if (snprintf(path, sizeof path, "%s/agent", folder) >= (int)sizeof path)
        return cbx_fail(error, CBX_ERR_LIMIT, "the path of the state folder is too long");
    if (!start->token && access(path, F_OK) != 0 && errno == ENOENT)
        return not_joined(start, error);
    return CBX_OK;
}

/* What a token changes in the state. *changed: it must be saved. */
static int
adopt_token(struct agent *agent, bool *changed, struct cbx_error *error)
{
    struct agent_state *state = &agent->state;
    struct cbx_token *token = agent->start->token;
    if (!token) {
        if (state->joined.set || state->has_pending)
            return CBX_OK;
        return not_joined(agent->start, error);
    }
    *changed = true;
    if (agent_membership_is_of(&state->joined, token)) {
        /* Scripts say "up @token" each time: the invite of the membership asks for nothing. */
        cbx_token_wipe(token);
        *changed = state->has_pending;
        sodium_memzero(&state->pending, sizeof state->pending);
        state->has_pending = false;
        return CBX_OK;
    }
    if (!state->has_pending || !agent_membership_is_of(&state->submitted, token))
        state->submitted.set = false;
    state->pending = *token;
    cbx_token_wipe(token);
    state->has_pending = true;
    if (!state->has_identity) {
        cbx_identity_random(&state->identity);
        state->has_identity = true;
    }
    return CBX_OK;
}

/* The sealed state; a new key is made only where there is nothing that an older one sealed. */
static int
open_state(struct agent *agent, struct cbx_error *error)
{
    const struct agent_settings *settings = agent->settings;
    char key_path[PATH_MAX];
    if (asprintf(&agent->state_path, "%s/agent", settings->state_dir) < 0)
        agent->state_path = NULL;
    agent->learned_path = agent_learned_path(settings->state_dir);
    if (!agent->state_path || !agent->learned_path)
        return cbx_fail(error, CBX_ERR_NOMEM, "out of memory");
    if (snprintf(key_path, sizeof key_path, "%s/key", settings->state_dir) >= (int)sizeof key_path)
        return cbx_fail(error, CBX_ERR_LIMIT, "the path of the state folder is too long");
    int create = access(agent->state_path, F_OK) != 0;
    int result = cbx_vault_key_init(&agent->key, settings->passphrase_file, settings->key_file,
                                    key_path, create, error);
    if (result == CBX_OK)
        result = agent_state_load(&agent->state, &agent->key, agent->state_path, error);
    bool changed = false;
    if (result == CBX_OK)
        result = adopt_token(agent, &changed, error);
    if (result == CBX_OK && changed)
        result = agent_state_save(&agent->state, &agent->key, agent->state_path, error);
    return result;
}

/* A shell that was set up to use this agent may start it, too. */
static void
pass_over_own_proxy(const struct agent_settings *settings)
{
    struct proxy_choice choice;
    proxy_choice_own(settings->proxy);
    proxy_choose(settings->via, &choice);
    if (choice.own)
        cbx_log_info("%s names this agent's own proxy %s: not used on the way to the hub",
                     choice.own, settings->proxy);
}

static int
open_direct(struct agent *agent, struct cbx_error *error)
{
    if (agent->start->goal != AGENT_GOAL_RUN || strcmp(agent->settings->direct, "off") == 0)
        return CBX_OK;
    agent->direct = agent_direct_new(agent->loop, agent->settings->direct, error);
    return agent->direct != NULL ? CBX_OK : CBX_ERR_IO;
}

static int
open_front(struct agent *agent, struct cbx_error *error)
{
    const struct agent_settings *settings = agent->settings;
    char *password = NULL;
    size_t length = 0;
    struct front_config config = {
        .proxy = agent->start->goal == AGENT_GOAL_RUN ? settings->proxy : NULL,
        .proxy_required = settings->proxy_required,
        .tcp_keepalive_ms = settings->tcp_keepalive_ms,
    };
    if (config.proxy && settings->proxy_password_file &&
        cbx_file_secret_line(settings->proxy_password_file, "password", &password, &length,
                             error) != CBX_OK)
        return CBX_ERR_USAGE; /* it was named */
    config.proxy_password = password;
    int result = CBX_OK;
    if (length > PROXY_PASSWORD_MAX)
        result = cbx_fail(error, CBX_ERR_USAGE, "%s: the password is longer than %d bytes",
                          settings->proxy_password_file, PROXY_PASSWORD_MAX);
    else if (!(agent->front = front_new(agent->loop, &config, error)))
        result = CBX_ERR_IO;
    if (password)
        sodium_memzero(password, length);
    free(password);
    return result;
}

/* Where programs and peers come in. A port that is taken is the most frequent of all errors, so
 * before the first file. Again: no effect. */
static int
open_ports(struct agent *agent, struct cbx_error *error)
{
    if (agent->front)
        return CBX_OK;
    if (open_direct(agent, error) != CBX_OK)
        return CBX_ERR_IO;
    return open_front(agent, error);
}

static int
open_parts(struct agent *agent, struct cbx_error *error)
{
    agent->store = cbx_store_new(agent->loop);
    if (!agent->store)
        return cbx_fail(error, CBX_ERR_NOMEM, "cannot start the thread that writes files");
    pass_over_own_proxy(agent->settings);
    agent->lane = agent_lane_new(agent->loop, agent->settings->via);
    agent->path_watch = path_watch_new(agent);
    if (!agent->lane || !agent->path_watch)
        return cbx_fail(error, CBX_ERR_NOMEM, "out of memory");
    return agent->start->goal == AGENT_GOAL_RUN ? agent_control_start(agent, error) : CBX_OK;
}

static void
init_watchers(struct agent *agent)
{
    ev_prepare_init(&agent->before_sleep, on_before_sleep);
    ev_idle_init(&agent->awake, on_awake);
    ev_init(&agent->engine_due, on_engine_due);
    ev_init(&agent->give_up, on_give_up);
    agent->before_sleep.data = agent->engine_due.data = agent;
    agent->give_up.data = agent;
}

/* Up to here nothing is made. That another agent runs is said before its ports are. */
static int
look_and_bind(struct agent *agent, struct cbx_error *error)
{
    int result = agent_look_ahead(agent->start, error);
    if (result != CBX_OK)
        return result;
    agent->loop = ev_default_loop(EVFLAG_AUTO);
    if (!agent->loop)
        return cbx_fail(error, CBX_ERR_IO, "libev found no usable event backend");
    return cbx_state_holder(agent->settings->state_dir) > 0 ? CBX_OK : open_ports(agent, error);
}

static int
agent_open(struct agent *agent, struct cbx_error *error)
{
    long pid;
    int result = look_and_bind(agent, error);
    if (result == CBX_OK)
        result = cbx_state_lock(agent->settings->state_dir, &pid, error);
    if (result < 0)
        return result;
    agent->lock_fd = result;
    result = agent_log_open(agent, error);
    if (result == CBX_OK)
        result = open_ports(agent, error);
    if (result == CBX_OK)
        result = open_state(agent, error);
    if (result == CBX_OK)
        result = open_parts(agent, error);
    return result;
}

static void
stop_watchers(struct agent *agent)
{
    ev_prepare_stop(agent->loop, &agent->before_sleep);
    ev_idle_stop(agent->loop, &agent->awake);
    ev_timer_stop(agent->loop, &agent->engine_due);
    ev_timer_stop(agent->loop, &agent->save_again);
    ev_timer_stop(agent->loop, &agent->give_up);
    for (size_t i = 0; i < sizeof agent->signals / sizeof agent->signals[0]; i++) {
        if (agent->signals[i].signum == 0)
            continue;
        ev_signal_stop(agent->loop, &agent->signals[i]);
        /* The end is near by itself, and has things to do. */
        (void)signal(agent->signals[i].signum, SIG_IGN);
    }
}

/* The order matters: streams end before their mesh, callbacks of the store before what they call,
 * and the lock is given back when nothing is written any more. */
static void
agent_dispose(struct agent *agent)
{
    if (agent->loop)
        stop_watchers(agent);
    front_free(agent->front);
    path_watch_free(agent->path_watch);
    agent_link_end(agent);
    child_end_all();
    agent_lane_free(agent->lane);
    agent_direct_free(agent->direct);
    if (agent->store)
        cbx_store_free(agent->store);
    agent_state_wipe(&agent->state);
    cbx_vault_key_wipe(&agent->key);
    cbx_keypair_wipe(&agent->login);
    cbx_keypair_wipe(&agent->signing);
    /* A command that waits for the end sees its connection close, then takes the lock. */
    cbx_control_free(agent->control);
    free(agent->state_path);
    free(agent->learned_path);
    if (agent->report_fd >= 0)
        close(agent->report_fd);
    if (agent->lock_fd >= 0)
        close(agent->lock_fd);
}

static void
say_first_words(const struct agent *agent)
{
    const char *warnings[] = {front_warning(agent->front), agent_direct_warning(agent->direct)};
    for (size_t i = 0; i < sizeof warnings / sizeof *warnings; i++) {
        if (warnings[i][0] != '\0')
            cbx_log_warn("%s", warnings[i]);
    }
    if (geteuid() == 0 && agent->start->goal == AGENT_GOAL_RUN)
        cbx_log_info("running as root is not needed: any user will do");
}

int
agent_run(const struct agent_start *start)
{
    struct agent *agent = calloc(1, sizeof *agent);
    if (!agent) {
        cbx_log_error("out of memory");
        return CBX_EXIT_FAILURE;
    }
    agent->start = start;
    agent->settings = start->settings;
    agent->lock_fd = -1;
    agent->report_fd = start->report_fd;
    agent_process_init(agent);
    if (start->goal == AGENT_GOAL_RUN)
        (void)signal(SIGHUP, SIG_IGN); /* until the loop watches for it */
    LIST_INIT(&agent->requests);
    init_watchers(agent);
    cbx_descriptors_raise();
    (void)cbx_aead_preferred(); /* measured now, while nothing waits */
    struct cbx_error error;
    int result = agent_open(agent, &error);
    if (result == CBX_OK) {
        say_first_words(agent);
        watch(agent);
        agent_want(agent, agent_first_phase(agent));
        ev_run(agent->loop, 0);
    } else {
        if (agent->report_fd < 0 && !cbx_log_file_used())
            cbx_log_times(false); /* the command's answer, not a line of a log */
        agent_stop(agent, cbx_exit_of(result), error.text);
    }
    int status = agent->exit_status;
    agent_dispose(agent);
    free(agent);
    return status;
}
