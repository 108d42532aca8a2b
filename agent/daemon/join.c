/* SPDX-License-Identifier: MIT */
/* Tested by test_rules.py and test_trust.py. */
#include "agent/daemon/join.h"

#include "agent/daemon/engine.h"
#include "agent/mesh/joiner.h"
#include "agent/uplink/uplink.h"
#include "common/base/clock.h"
#include "common/base/log.h"

#include <sodium.h>
#include <stdio.h>
#include <string.h>

/* A join takes two round trips and a write to the hub's disk. */
static const int64_t SLOW_US = 5 * 1000 * 1000;

/* The chain must be on disk before the hub may have recorded it. The disk is waited for: nothing
 * else happens in an agent that has not joined. */
static int
on_submitting(void *arg, const struct joiner_result *result)
{
    struct agent *agent = arg;
    struct agent_state *state = &agent->state;
    struct cbx_error error;
    int failed = agent_membership_set(&state->submitted, &state->pending, &result->invite_cert,
                                      &result->peer_cert, &error);
    if (failed == CBX_OK)
        failed = agent_state_save(state, &agent->key, agent->state_path, &error);
    if (failed != CBX_OK)
        cbx_log_error("cannot save the join's certificate: %s", error.text);
    return failed;
}

static void
on_joined(void *arg, const struct joiner_result *result)
{
    struct agent *agent = arg;
    struct agent_state *state = &agent->state;
    struct agent_membership made = {0};
    struct cbx_error error;
    if (agent_membership_set(&made, &state->pending, &result->invite_cert, &result->peer_cert,
                             &error) != CBX_OK) {
        char cause[CBX_ERROR_TEXT_MAX];
        (void)snprintf(cause, sizeof cause,
                       "the certificate that the hub recorded is not valid: %.300s", error.text);
        agent_refuse_token(agent, cause);
        return;
    }
    /* What was believed in one pond says nothing in another. */
    if (!state->joined.set || memcmp(state->joined.where.pond_public, made.where.pond_public,
                                     sizeof made.where.pond_public) != 0)
        (void)agent_state_set_known(state, NULL, 0);
    state->joined = made;
    state->submitted.set = false;
    state->has_pending = false;
    sodium_memzero(&state->pending, sizeof state->pending);
    /* The signing key is wiped with the joiner that borrows it. */
    agent_want(agent, AGENT_PHASE_STORE);
}

/* The hub may have recorded what was submitted: the identity is tried before the invite is again.
 * The uplink stays, and so do its waits. */
static void
try_identity(struct agent *agent)
{
    if (agent_first_phase(agent) != AGENT_PHASE_TRIAL)
        return;
    if (!agent_engine_begin(agent, &agent->state.submitted)) {
        agent_stop(agent, 1, "out of memory");
        return;
    }
    agent_set_phase(agent, AGENT_PHASE_TRIAL);
    uplink_login(agent->uplink, &agent->state.identity.sign);
}

static void
on_join_failed(void *arg, enum cbx_reason reason, const char *text)
{
    struct agent *agent = arg;
    char cause[CBX_ERROR_TEXT_MAX];
    if (agent->phase != AGENT_PHASE_JOIN)
        return; /* it was late, and now its link is gone, too */
    switch (reason) {
    case CBX_REASON_USED:
        agent_refuse_token(agent,
                           "this token was used already, by another machine: ask the operator for "
                           "a new one, and report it, as the old one may have leaked");
        return;
    case CBX_REASON_EXPIRED:
        agent_refuse_token(agent, "this token has expired: ask the operator for a new one");
        return;
    case CBX_REASON_DENIED:
    case CBX_REASON_PROTOCOL:
        (void)snprintf(cause, sizeof cause, "join rejected: %.300s", text);
        agent_refuse_token(agent, cause);
        return;
    default:
        if (cbx_clock_us() - agent->join_began_us >= SLOW_US)
            uplink_stood_still(agent->uplink);
        /* The joiner is freed when the next link begins. */
        uplink_lost(agent->uplink, 0);
        agent_say_trouble(agent, UPLINK_PROTOCOL, text);
        try_identity(agent);
    }
}

static const struct joiner_ops joiner_callbacks = {
    .submitting = on_submitting,
    .joined = on_joined,
    .failed = on_join_failed,
    .now_us = agent_now_us,
    .now_unix = agent_now_unix,
    .wake = agent_wake,
};

void
agent_join_begin(struct agent *agent, struct cbx_carrier *carrier)
{
    joiner_free(agent->joiner);
    agent->join_began_us = cbx_clock_us();
    const struct agent_settings *settings = agent->settings;
    agent->joiner = joiner_new(
        carrier, agent->state.pending.pond_public, &agent->signing, &agent->state.identity,
        settings->expose_set ? &settings->expose : NULL, &joiner_callbacks, agent);
    if (!agent->joiner)
        agent_stop(agent, 1, "out of memory");
    agent_wake(agent);
}

/* ---- STORE ---- */

static void
on_stored(void *arg, int result, const char *text)
{
    struct agent *agent = arg;
    if (agent->phase != AGENT_PHASE_STORE)
        return;
    if (result == CBX_OK) {
        agent_want(agent, AGENT_PHASE_ATTACH);
        return;
    }
    char cause[CBX_ERROR_TEXT_MAX];
    (void)snprintf(cause, sizeof cause,
                   "joined, but the state cannot be saved: %.250s; free disk space and run "
                   "\"cbx-agent up\" again",
                   text);
    agent_stop(agent, 1, cause);
}

void
agent_join_store(struct agent *agent)
{
    if (agent_save(agent, on_stored) != CBX_OK)
        agent_stop(agent, 1, "joined, but the state cannot be saved: out of memory");
}
