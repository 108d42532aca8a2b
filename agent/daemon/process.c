/* SPDX-License-Identifier: MIT */
/* Tested by test_restart.py. */
#include "agent/daemon/process.h"

#include "agent/mesh/mesh.h"
#include "agent/uplink/uplink.h"
#include "common/base/clock.h"
#include "common/base/log.h"
#include "common/base/log_file.h"
#include "common/base/states.h"

#include <sodium.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

static const double SAVE_AGAIN_S = 5.0;

/* ---- phases ---- */

static const struct cbx_states phases = {
    .what = "agent",
    .state =
        {
            [AGENT_PHASE_START] = {"start",
                                   CBX_STATE(AGENT_PHASE_TRIAL) | CBX_STATE(AGENT_PHASE_JOIN) |
                                       CBX_STATE(AGENT_PHASE_ATTACH) | CBX_STATE(AGENT_PHASE_STOP)},
            [AGENT_PHASE_TRIAL] = {"trial", CBX_STATE(AGENT_PHASE_JOIN) |
                                                CBX_STATE(AGENT_PHASE_ATTACH) |
                                                CBX_STATE(AGENT_PHASE_STOP)},
            [AGENT_PHASE_JOIN] = {"join", CBX_STATE(AGENT_PHASE_TRIAL) |
                                              CBX_STATE(AGENT_PHASE_STORE) |
                                              CBX_STATE(AGENT_PHASE_STOP)},
            [AGENT_PHASE_STORE] = {"store",
                                   CBX_STATE(AGENT_PHASE_ATTACH) | CBX_STATE(AGENT_PHASE_STOP)},
            [AGENT_PHASE_ATTACH] = {"attach", CBX_STATE(AGENT_PHASE_STOP)},
            [AGENT_PHASE_STOP] = {"stop", 0},
        },
};

void
agent_set_phase(struct agent *agent, enum agent_phase phase)
{
    if (cbx_states_allow(&phases, agent->state.joined.peer.slug, agent->phase, phase))
        agent->phase = phase;
}

enum agent_phase
agent_first_phase(const struct agent *agent)
{
    const struct agent_state *state = &agent->state;
    if (!state->has_pending)
        return AGENT_PHASE_ATTACH;
    /* A hub that knows the identity by an older invite would say yes to it in any case. */
    return state->submitted.set && !state->joined.set ? AGENT_PHASE_TRIAL : AGENT_PHASE_JOIN;
}

void
agent_want(struct agent *agent, enum agent_phase phase)
{
    if (agent->phase_wanted && agent->next_phase == AGENT_PHASE_STOP)
        return;
    agent->phase_wanted = true;
    agent->next_phase = phase;
    if (agent->loop)
        ev_idle_start(agent->loop, &agent->awake);
}

void
agent_stop(struct agent *agent, int exit_status, const char *cause)
{
    if (agent->phase == AGENT_PHASE_STOP ||
        (agent->phase_wanted && agent->next_phase == AGENT_PHASE_STOP))
        return;
    agent->exit_status = exit_status;
    agent_want(agent, AGENT_PHASE_STOP);
    if (exit_status != 0) {
        cbx_log_error("%s", cause);
        if (cbx_log_file_end()) { /* who started us hears it, too */
            cbx_log_times(false);
            cbx_log_error("%s", cause);
        }
        agent_report(agent, exit_status == CBX_EXIT_USAGE ? "wrong" : "failed", cause);
    }
}

/* ---- for the engines ---- */

void
agent_wake(void *arg)
{
    struct agent *agent = arg;
    agent->dirty = true;
    ev_idle_start(agent->loop, &agent->awake);
}

int64_t
agent_now_us(void *arg)
{
    (void)arg;
    return cbx_clock_us();
}

int64_t
agent_now_unix(void *arg)
{
    (void)arg;
    return cbx_clock_unix();
}

/* ---- the state on disk ---- */

static void
on_saved(void *arg, int result, const char *text)
{
    struct agent *agent = arg;
    agent->saving--;
    if (result == CBX_OK) {
        agent->save_failing = false;
        /* A write that began before the last change does not speak for it. */
        if (agent->mesh && agent->saving == 0)
            mesh_known_stored(agent->mesh);
        return;
    }
    /* Once, not at each dial that fails over it. */
    if (!agent->save_failing)
        cbx_log_error("cannot save the state, retrying: %s", text);
    agent->save_failing = true;
    if (agent->mesh && agent->saving == 0)
        mesh_known_failed(agent->mesh);
    ev_timer_stop(agent->loop, &agent->save_again);
    ev_timer_set(&agent->save_again, SAVE_AGAIN_S, 0.);
    ev_timer_start(agent->loop, &agent->save_again);
}

int
agent_save(struct agent *agent, cbx_store_done *done)
{
    uint8_t *bytes;
    size_t length;
    struct cbx_error error;
    int result = agent_state_seal(&agent->state, &agent->key, &bytes, &length, &error);
    if (!done)
        agent->saving++;
    if (result == CBX_OK)
        result = cbx_store_put(agent->store, agent->state_path, bytes, length, 0600,
                               done ? done : on_saved, agent);
    if (result != CBX_OK && !done)
        on_saved(agent, result, cbx_err_name(result));
    return result;
}

static void
on_save_again(struct ev_loop *loop, ev_timer *timer, int events)
{
    (void)loop;
    (void)events;
    (void)agent_save(timer->data, NULL);
}

void
agent_process_init(struct agent *agent)
{
    agent->said_kind = -1;
    agent->started_at = cbx_clock_unix();
    ev_init(&agent->save_again, on_save_again);
    agent->save_again.data = agent;
}

/* ---- what people hear ---- */

void
agent_name(const struct agent *agent, char out[AGENT_NAME_MAX])
{
    const struct agent_membership *joined = &agent->state.joined;
    out[0] = '\0';
    if (joined->set)
        (void)snprintf(out, AGENT_NAME_MAX, "%s.%s.cbx", joined->peer.slug, joined->peer.pond);
}

void
agent_report(struct agent *agent, const char *word, const char *text)
{
    if (agent->report_fd < 0)
        return;
    char line[CBX_ERROR_TEXT_MAX + 32];
    int length = snprintf(line, sizeof line, "%s %s\n", word, text);
    if (length >= (int)sizeof line)
        length = (int)sizeof line - 1;
    /* The parent may have gone; nobody waits for it. */
    ssize_t written = write(agent->report_fd, line, (size_t)length);
    (void)written;
    if (strcmp(word, "trouble") == 0 || strcmp(word, "warning") == 0)
        return;
    close(agent->report_fd);
    agent->report_fd = -1;
}

void
agent_say_trouble(struct agent *agent, int kind, const char *text)
{
    (void)snprintf(agent->trouble, sizeof agent->trouble, "%s", text);
    agent_report(agent, "trouble", text);
    if (kind == agent->said_kind)
        return;
    agent->said_kind = kind;
    cbx_log_warn("%s; %s", text, uplink_state(agent->uplink));
}

void
agent_refuse_token(struct agent *agent, const char *cause)
{
    sodium_memzero(&agent->state.pending, sizeof agent->state.pending);
    agent->state.has_pending = false;
    agent->state.submitted.set = false;
    (void)agent_save(agent, NULL);
    agent_stop(agent, 1, cause);
}
