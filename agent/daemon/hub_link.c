/* SPDX-License-Identifier: MIT */
/*
 * The way to membership and to the hub (rule 6): phases TRIAL, JOIN, STORE and ATTACH of
 * agent_internal.h. One uplink at a time, logged in with the key of the phase; the carrier that it
 * brings goes to the joiner (JOIN) or to the mesh.
 *
 * Failures that no waiting heals end the process with one line; all others are said once and tried
 * again: the uplink backs off by itself, the mesh keeps its streams' state.
 */
#include "agent/daemon/internal.h"

#include "common/base/clock.h"
#include "common/base/log.h"
#include "common/os/host_mark.h"

#include <sodium.h>
#include <stdio.h>
#include <string.h>

/* Logins that a hub that knows us may refuse by accident, such as while it is set up anew. */
enum { DENIALS_MAX = 3, NAME_TEXT_MAX = 2 * CBX_SLUG_MAX + 8 };

static const char token_refused[] =
    "the hub does not take this token: it was used already, has expired or was withdrawn; ask "
    "the operator for a new one";

/* ---- what people hear ---- */

/* The same kind of trouble is said once, until an attach or a lost link changes the picture. */
static void
say_trouble(struct agent *agent, int kind, const char *text)
{
    (void)snprintf(agent->trouble, sizeof agent->trouble, "%s", text);
    agent_report(agent, "trouble", text);
    if (kind == agent->said_kind)
        return;
    agent->said_kind = kind;
    cbx_log_warn("%s; %s", text, uplink_state(agent->uplink));
}

/* A token that is refused for good is dropped: `run` goes on with the membership that there was. */
static void
refuse_token(struct agent *agent, const char *cause)
{
    sodium_memzero(&agent->state.pending, sizeof agent->state.pending);
    agent->state.has_pending = false;
    agent->state.submitted.set = false;
    (void)agent_save(agent, NULL);
    agent_stop(agent, 1, cause);
}

/* ---- the mesh ---- */

static int64_t
now_us(void *arg)
{
    (void)arg;
    return cbx_clock_us();
}

static int64_t
now_unix(void *arg)
{
    (void)arg;
    return cbx_clock_unix();
}

static void
on_wake(void *arg)
{
    agent_wake(arg);
}

static void
on_incoming(void *arg, struct mesh_stream *stream, const char *from,
            const struct cbx_expose_item *item)
{
    struct agent *agent = arg;
    front_incoming(agent->front, stream, from, item);
}

/* The login with the identity worked: the invite is burned, the membership holds. */
static void
on_attached(void *arg)
{
    struct agent *agent = arg;
    if (agent->phase == AGENT_PHASE_TRIAL) {
        agent->phase = AGENT_PHASE_ATTACH;
        agent->state.joined = agent->state.submitted;
        agent->state.submitted.set = false;
        agent->state.has_pending = false;
        sodium_memzero(&agent->state.pending, sizeof agent->state.pending);
        (void)agent_save(agent, NULL);
    }
    char name[NAME_TEXT_MAX];
    agent_name(agent, name, sizeof name);
    const struct cbx_token *where = &agent->state.joined.where;
    if (agent->start->goal == AGENT_GOAL_RUN)
        cbx_log_info("attached as %s (hub %s)", name,
                     agent->uplink != NULL ? uplink_address(agent->uplink) : where->address[0]);
    agent->denials = 0;
    agent->said_kind = -1;
    agent->trouble[0] = '\0';
    agent->attached_at = cbx_clock_unix();
    if (agent->was_attached)
        return;
    agent->was_attached = true;
    agent_report(agent, "attached", name);
    ev_timer_stop(agent->loop, &agent->give_up);
    if (agent->start->goal == AGENT_GOAL_JOIN) {
        printf("joined as %s\n", name);
        (void)fflush(stdout);
        agent_stop(agent, 0, NULL);
    }
}

/* NULL when the loss is not final. */
static const char *
final_words(enum cbx_reason reason)
{
    switch (reason) {
    case CBX_REASON_SUPERSEDED:
        return "superseded: another process attached to the hub with this identity, so this one "
               "ends; if that was not you, the identity was copied: ask the operator to revoke it";
    case CBX_REASON_REVOKED:
        return "revoked: the operator took this lease out of its pond; run \"cbx-agent up\" with a "
               "new token to come back";
    case CBX_REASON_EXPIRED:
        return "expired: this lease's certificate is past its end; run \"cbx-agent up\" with a new "
               "token";
    case CBX_REASON_DENIED:
        return "denied: the hub does not want this lease";
    default:
        return NULL;
    }
}

static void
on_link_lost(void *arg, enum cbx_reason reason, uint32_t retry_ms, const char *text)
{
    struct agent *agent = arg;
    bool was_up = agent->attached_at != 0;
    agent->attached_at = 0;
    if (agent->phase == AGENT_PHASE_STOP)
        return;
    const char *cause = final_words(reason);
    if (cause != NULL) {
        char line[CBX_ERROR_TEXT_MAX];
        bool more = text != NULL && text[0] != '\0' && reason == CBX_REASON_DENIED;
        (void)snprintf(line, sizeof line, "%s%s%.200s", cause, more ? ": " : "", more ? text : "");
        agent_stop(agent, 1, line);
        return;
    }
    if (agent->uplink == NULL)
        return;
    uplink_lost(agent->uplink, retry_ms);
    (void)snprintf(agent->trouble, sizeof agent->trouble, "lost the link to the hub: %.300s", text);
    agent_report(agent, "trouble", agent->trouble);
    if (was_up || agent->said_kind < 0)
        cbx_log_warn("%s; %s", agent->trouble, uplink_state(agent->uplink));
    agent->said_kind = was_up ? -1 : UPLINK_PROTOCOL;
}

static void
on_known_changed(void *arg, const struct mesh_known *known, size_t count)
{
    struct agent *agent = arg;
    int result = agent_state_set_known(&agent->state, known, count);
    if (result != CBX_OK) {
        cbx_log_error("%zu known peers cannot be kept: %s", count, cbx_err_name(result));
        return;
    }
    (void)agent_save(agent, NULL);
}

static void
on_lane(void *arg, const struct cbx_lane_ticket *ticket)
{
    struct agent *agent = arg;
    if (agent->uplink != NULL)
        agent_lane_promised(agent->lane, uplink_address(agent->uplink), ticket);
}

static void
on_no_lane(void *arg, bool lost, const char *text)
{
    struct agent *agent = arg;
    agent_lane_refused(agent->lane, lost, text);
}

static void
on_lane_trouble(void *arg, char *out, size_t size)
{
    struct agent *agent = arg;
    agent_lane_trouble(agent->lane, out, size);
}

static void
on_candidates(void *arg, const char *seen, struct candidates *out)
{
    struct agent *agent = arg;
    agent_direct_candidates(agent->direct, seen, out);
}

static bool
on_host_mark(void *arg, const uint8_t key[32], uint8_t role, uint8_t out[16])
{
    (void)arg;
    return host_mark(key, role, out);
}

static void
on_direct_expect(void *arg, const struct cbx_lane_ticket *ticket)
{
    struct agent *agent = arg;
    agent_direct_expect(agent->direct, ticket);
}

static void
on_direct_connect(void *arg, const struct cbx_lane_ticket *ticket, const struct candidates *to)
{
    struct agent *agent = arg;
    agent_direct_connect(agent->direct, ticket, to);
}

static void
on_direct_forget(void *arg, const uint8_t id[CBX_LANE_ID])
{
    struct agent *agent = arg;
    agent_direct_forget(agent->direct, id);
}

static const struct mesh_ops mesh_callbacks = {
    .candidates = on_candidates,
    .host_mark = on_host_mark,
    .direct_expect = on_direct_expect,
    .direct_connect = on_direct_connect,
    .direct_forget = on_direct_forget,
    .lane = on_lane,
    .no_lane = on_no_lane,
    .lane_trouble = on_lane_trouble,
    .incoming = on_incoming,
    .link_lost = on_link_lost,
    .attached = on_attached,
    .known_changed = on_known_changed,
    .now_us = now_us,
    .now_unix = now_unix,
    .wake = on_wake,
};

/* The certificate's list, less what the agent's own settings leave out. */
static struct cbx_expose
narrowed(const struct agent_settings *settings, const struct cbx_expose *granted)
{
    struct cbx_expose list = {0};
    for (uint32_t i = 0; i < granted->count; i++) {
        const struct cbx_expose_item *item = &granted->item[i];
        const struct cbx_expose_item *own = cbx_expose_find(&settings->expose, item->port);
        bool same = own != NULL && own->target_port == item->target_port &&
                    strcmp(own->target, item->target) == 0;
        if (!settings->expose_set || same)
            list.item[list.count++] = *item;
    }
    if (settings->expose_set && !cbx_expose_within(&settings->expose, granted)) {
        char text[CBX_EXPOSE_TEXT_MAX];
        if (cbx_expose_format(granted, text, sizeof text) >= 0)
            cbx_log_warn("--expose names what the certificate does not allow; left out (allowed: "
                         "%s)",
                         text[0] != '\0' ? text : "nothing");
    }
    return list;
}

static void
end_mesh(struct agent *agent)
{
    if (agent->front != NULL)
        front_set_mesh(agent->front, NULL, NULL);
    agent_lane_serve(agent->lane, NULL);
    if (agent->direct != NULL)
        agent_direct_serve(agent->direct, NULL);
    mesh_free(agent->mesh);
    agent->mesh = NULL;
    agent->attached_at = 0;
}

static bool
begin_mesh(struct agent *agent, const struct agent_membership *membership)
{
    const struct agent_settings *settings = agent->settings;
    agent->exposed = narrowed(settings, &membership->peer.expose);
    struct mesh_config config = {
        .identity = &agent->state.identity,
        .invite_cert = &membership->invite_cert,
        .peer_cert = &membership->peer_cert,
        .expose = agent->exposed,
        .keepalive_us = settings->keepalive_ms * 1000,
        .gone_us = settings->gone_ms * 1000,
        .dial_timeout_us = settings->dial_timeout_ms * 1000,
        .receive_budget = settings->receive_budget,
        .send_budget = settings->send_budget,
        .software = "cbx-agent 0.1",
        .lanes = settings->lanes,
        .direct = agent->direct != NULL,
    };
    memcpy(config.pond_public, membership->where.pond_public, sizeof config.pond_public);
    memcpy(config.pond, membership->peer.pond, sizeof config.pond);
    memcpy(config.slug, membership->peer.slug, sizeof config.slug);
    agent->mesh =
        mesh_new(&config, agent->state.known, agent->state.known_count, &mesh_callbacks, agent);
    if (agent->mesh == NULL)
        return false;
    agent_lane_serve(agent->lane, agent->mesh);
    if (agent->direct != NULL)
        agent_direct_serve(agent->direct, agent->mesh);
    front_set_mesh(agent->front, agent->mesh, membership->peer.pond);
    agent_wake(agent);
    return true;
}

/* ---- the join ---- */

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
        cbx_log_error("the join's certificate is not stored: %s", error.text);
    return failed;
}

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
                   "joined, but the state cannot be stored: %.250s; make room and run \"cbx-agent "
                   "up\" again",
                   text);
    agent_stop(agent, 1, cause);
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
        (void)snprintf(cause, sizeof cause, "the hub's answer does not hold: %.300s", error.text);
        refuse_token(agent, cause);
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
    if (!begin_mesh(agent, &agent->state.submitted)) {
        agent_stop(agent, 1, "out of memory");
        return;
    }
    agent->phase = AGENT_PHASE_TRIAL;
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
        refuse_token(agent, "this token was used already, by another machine: ask the operator for "
                            "a new one, and say so, as the old one may have leaked");
        return;
    case CBX_REASON_EXPIRED:
        refuse_token(agent, "this token has expired: ask the operator for a new one");
        return;
    case CBX_REASON_DENIED:
    case CBX_REASON_PROTOCOL:
        (void)snprintf(cause, sizeof cause, "the join was refused: %.300s", text);
        refuse_token(agent, cause);
        return;
    default:
        /* The joiner is freed when the next link begins. */
        uplink_lost(agent->uplink, 0);
        say_trouble(agent, UPLINK_PROTOCOL, text);
        try_identity(agent);
    }
}

static const struct joiner_ops joiner_callbacks = {
    .submitting = on_submitting,
    .joined = on_joined,
    .failed = on_join_failed,
    .now_us = now_us,
    .now_unix = now_unix,
    .wake = on_wake,
};

static void
begin_join(struct agent *agent, struct cbx_carrier *carrier)
{
    joiner_free(agent->joiner);
    const struct agent_settings *settings = agent->settings;
    agent->joiner = joiner_new(
        carrier, agent->state.pending.pond_public, &agent->signing, &agent->state.identity,
        settings->expose_set ? &settings->expose : NULL, &joiner_callbacks, agent);
    if (agent->joiner == NULL)
        agent_stop(agent, 1, "out of memory");
    agent_wake(agent);
}

/* ---- the uplink ---- */

static void
on_up(void *arg, struct cbx_carrier *carrier)
{
    struct agent *agent = arg;
    if (agent->phase == AGENT_PHASE_JOIN) {
        begin_join(agent, carrier);
        return;
    }
    if (agent->mesh == NULL || agent->phase == AGENT_PHASE_STOP) {
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
        refuse_token(agent, token_refused);
    } else if (agent->phase == AGENT_PHASE_TRIAL && agent->joiner != NULL) {
        end_mesh(agent); /* the join of this run never came there: again, after the uplink's wait */
        agent->phase = AGENT_PHASE_JOIN;
        uplink_login(agent->uplink, &agent->login);
    } else if (agent->phase == AGENT_PHASE_TRIAL) {
        uplink_stop(agent->uplink);
        agent_want(agent, AGENT_PHASE_JOIN);
    } else if (++agent->denials >= DENIALS_MAX) {
        agent_stop(agent, 1,
                   "the hub does not know this key any more (revoked, expired, or another hub): "
                   "run \"cbx-agent up\" with a new token");
    } else {
        say_trouble(agent, UPLINK_LOGIN_DENIED, text);
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
        refuse_token(agent, text);
    else
        say_trouble(agent, (int)error, text);
}

static const struct uplink_ops uplink_callbacks = {.up = on_up, .failed = on_uplink_failed};

static bool
begin_uplink(struct agent *agent, const struct cbx_token *where, const struct cbx_keypair *key)
{
    struct uplink_config config = {
        .where = where,
        .via = agent->settings->via,
        .ssh_command = agent->settings->ssh_command,
        .folder = agent->settings->state_dir,
    };
    agent->uplink = uplink_new(agent->loop, &config, &uplink_callbacks, agent);
    if (agent->uplink == NULL)
        return false;
    uplink_login(agent->uplink, key);
    uplink_start(agent->uplink);
    return true;
}

/* ---- the phases ---- */

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
agent_link_end(struct agent *agent)
{
    joiner_free(agent->joiner);
    agent->joiner = NULL;
    uplink_free(agent->uplink);
    agent->uplink = NULL;
    if (agent->mesh != NULL)
        end_mesh(agent);
    cbx_keypair_wipe(&agent->login);
    cbx_keypair_wipe(&agent->signing);
}

void
agent_link_begin(struct agent *agent, enum agent_phase phase)
{
    struct agent_state *state = &agent->state;
    bool begun = true;
    agent_link_end(agent);
    agent->phase = phase;
    agent->denials = 0;
    agent->said_kind = -1;
    switch (phase) {
    case AGENT_PHASE_TRIAL:
        begun = begin_mesh(agent, &state->submitted) &&
                begin_uplink(agent, &state->pending, &state->identity.sign);
        break;
    case AGENT_PHASE_JOIN:
        cbx_invite_keys(state->pending.secret, &agent->login, &agent->signing);
        begun = begin_uplink(agent, &state->pending, &agent->login);
        break;
    case AGENT_PHASE_STORE:
        if (agent_save(agent, on_stored) != CBX_OK)
            agent_stop(agent, 1, "joined, but the state cannot be stored");
        break;
    case AGENT_PHASE_ATTACH:
        begun = begin_mesh(agent, &state->joined) &&
                begin_uplink(agent, &state->joined.where, &state->identity.sign);
        break;
    case AGENT_PHASE_STOP:
        break;
    }
    if (!begun)
        agent_stop(agent, 1, "out of memory");
}
