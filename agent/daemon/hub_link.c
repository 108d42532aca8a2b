/* SPDX-License-Identifier: MIT */
/*
 * One uplink at a time, logged in with the key of the phase; the carrier that it brings goes to the
 * joiner (JOIN) or to the mesh.
 *
 * Failures that no waiting heals end the process with one line; all others are logged once and
 * tried again: the uplink backs off by itself, the mesh keeps its streams' state. Tested by
 * test_restart.py and test_trust.py.
 */
#include "agent/daemon/hub_link.h"

#include "agent/daemon/addresses.h"
#include "agent/daemon/engine.h"
#include "agent/daemon/join.h"
#include "agent/mesh/joiner.h"
#include "agent/mesh/mesh.h"
#include "agent/uplink/uplink.h"

/* Logins that a hub that knows us may refuse by accident, such as while it is set up anew. */
enum { DENIALS_MAX = 3 };

static const char TOKEN_REFUSED[] =
    "token rejected by the hub: it was used already, has expired or was withdrawn; ask the "
    "operator for a new one";

/* ---- the uplink ---- */

static void
on_up(void *arg, struct cbx_carrier *carrier)
{
    struct agent *agent = arg;
    if (agent->phase == AGENT_PHASE_JOIN) {
        agent_join_begin(agent, carrier);
        return;
    }
    if (!agent->mesh || agent->phase == AGENT_PHASE_STOP) {
        carrier->ops->close(carrier);
        return;
    }
    joiner_free(agent->joiner);
    agent->joiner = NULL;
    if (mesh_attach(agent->mesh, carrier) != CBX_OK)
        uplink_lost(agent->uplink, 0);
    agent_wake(agent);
}

static void
on_denied(struct agent *agent, const char *text)
{
    if (agent->phase == AGENT_PHASE_JOIN) {
        agent_refuse_token(agent, TOKEN_REFUSED);
    } else if (agent->phase == AGENT_PHASE_TRIAL && agent->joiner) {
        agent_engine_end(
            agent); /* the join of this run never came there: again, after the uplink's wait */
        agent_set_phase(agent, AGENT_PHASE_JOIN);
        uplink_login(agent->uplink, &agent->login);
    } else if (agent->phase == AGENT_PHASE_TRIAL) {
        uplink_stop(agent->uplink);
        agent_want(agent, AGENT_PHASE_JOIN);
    } else if (++agent->denials >= DENIALS_MAX) {
        agent_stop(agent, 1,
                   "the hub no longer accepts this key (revoked, expired, or another hub): "
                   "run \"cbx-agent up\" with a new token");
    } else {
        agent_say_trouble(agent, UPLINK_LOGIN_DENIED, text);
    }
}

static void
on_uplink_failed(void *arg, enum uplink_error error, int64_t retry_ms, const char *text)
{
    struct agent *agent = arg;
    (void)retry_ms; /* uplink_state says it */
    if (error == UPLINK_LOGIN_DENIED) {
        on_denied(agent, text);
        return;
    }
    agent->denials = 0;
    /* Before the join nothing is lost by stopping, and the token may be a forged one. */
    if (error == UPLINK_HOST_KEY && agent->phase != AGENT_PHASE_ATTACH)
        agent_refuse_token(agent, text);
    else
        agent_say_trouble(agent, (int)error, text);
}

static const struct uplink_ops uplink_callbacks = {.up = on_up, .failed = on_uplink_failed};

static bool
begin_uplink(struct agent *agent, const struct cbx_token *where, const struct cbx_keypair *key)
{
    struct places places;
    agent_addresses_begin(agent, where);
    agent_addresses_list(agent, &places);
    struct uplink_config config = {
        .where = where,
        .places = &places,
        .segments = &agent->segments,
        .via = agent->settings->via,
        .ssh_command = agent->settings->ssh_command,
        .folder = agent->settings->state_dir,
        .keepalive_ms = agent->settings->keepalive_ms,
    };
    agent->uplink = uplink_new(agent->loop, &config, &uplink_callbacks, agent);
    if (!agent->uplink)
        return false;
    uplink_login(agent->uplink, key);
    uplink_start(agent->uplink);
    return true;
}

/* ---- the phases ---- */

void
agent_link_end(struct agent *agent)
{
    joiner_free(agent->joiner);
    agent->joiner = NULL;
    uplink_free(agent->uplink);
    agent->uplink = NULL;
    if (agent->mesh)
        agent_engine_end(agent);
    cbx_keypair_wipe(&agent->login);
    cbx_keypair_wipe(&agent->signing);
}

void
agent_link_begin(struct agent *agent, enum agent_phase phase)
{
    struct agent_state *state = &agent->state;
    bool begun = true;
    agent_link_end(agent);
    agent_set_phase(agent, phase);
    agent->denials = 0;
    agent->said_kind = -1;
    switch (phase) {
    case AGENT_PHASE_TRIAL:
        begun = agent_engine_begin(agent, &state->submitted) &&
                begin_uplink(agent, &state->pending, &state->identity.sign);
        break;
    case AGENT_PHASE_JOIN:
        cbx_invite_keys(state->pending.secret, &agent->login, &agent->signing);
        begun = begin_uplink(agent, &state->pending, &agent->login);
        break;
    case AGENT_PHASE_STORE:
        agent_join_store(agent);
        break;
    case AGENT_PHASE_ATTACH:
        begun = agent_engine_begin(agent, &state->joined) &&
                begin_uplink(agent, &state->joined.where, &state->identity.sign);
        break;
    case AGENT_PHASE_START:
    case AGENT_PHASE_STOP:
        break;
    }
    if (!begun)
        agent_stop(agent, 1, "out of memory");
}
