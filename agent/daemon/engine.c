/* SPDX-License-Identifier: MIT */
/* Tested by test_rules.py and test_restart.py. */
#include "agent/daemon/engine.h"

#include "agent/daemon/addresses.h"
#include "agent/daemon/path_watch.h"
#include "agent/daemon/status.h"
#include "agent/front/front.h"
#include "agent/lanes/direct.h"
#include "agent/lanes/hub_lane.h"
#include "agent/mesh/mesh.h"
#include "agent/uplink/uplink.h"
#include "common/base/clock.h"
#include "common/base/log.h"
#include "common/base/version.h"
#include "common/os/host_mark.h"

#include <sodium.h>
#include <stdio.h>
#include <string.h>

/* ---- the link to the hub ---- */

/* The login with the identity worked: the invite is burned, the membership holds. */
static void
on_attached(void *arg)
{
    struct agent *agent = arg;
    if (agent->phase == AGENT_PHASE_TRIAL) {
        agent_set_phase(agent, AGENT_PHASE_ATTACH);
        agent->state.joined = agent->state.submitted;
        agent->state.submitted.set = false;
        agent->state.has_pending = false;
        sodium_memzero(&agent->state.pending, sizeof agent->state.pending);
        (void)agent_save(agent, NULL);
    }
    char name[AGENT_NAME_MAX];
    agent_name(agent, name);
    if (agent->start->goal == AGENT_GOAL_RUN)
        cbx_log_info("attached as %s (hub %s)", name, uplink_address(agent->uplink));
    agent_addresses_attached(agent);
    agent->denials = 0;
    agent->said_kind = -1;
    agent->trouble[0] = '\0';
    agent->attached_at = cbx_clock_unix();
    if (agent->was_attached)
        return;
    agent->was_attached = true;
    const char *warnings[AGENT_WARNINGS_MAX];
    size_t count = agent_warnings(agent, warnings);
    for (size_t i = 0; i < count; i++)
        agent_report(agent, "warning", warnings[i]);
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
               "exits; if that was not you, the identity was copied: ask the operator to revoke it";
    case CBX_REASON_REVOKED:
        return "revoked: the operator revoked this lease; run \"cbx-agent up\" with a new token to "
               "join again";
    case CBX_REASON_EXPIRED:
        return "expired: this lease's certificate has expired; run \"cbx-agent up\" with a new "
               "token";
    case CBX_REASON_DENIED:
        return "denied: the hub rejected this lease";
    default:
        return NULL;
    }
}

static void
on_addresses(void *arg, const struct cbx_addresses *list)
{
    agent_addresses_heard(arg, list);
}

static void
on_link_lost(void *arg, enum cbx_reason reason, uint32_t retry_ms, const char *text)
{
    struct agent *agent = arg;
    bool was_up = agent->attached_at != 0;
    agent->attached_at = 0;
    if (agent->phase == AGENT_PHASE_STOP)
        return;
    path_watch_lost(agent->path_watch);
    const char *cause = final_words(reason);
    if (cause) {
        char line[CBX_ERROR_TEXT_MAX];
        bool more = text != NULL && text[0] != '\0' && reason == CBX_REASON_DENIED;
        (void)snprintf(line, sizeof line, "%s%s%.200s", cause, more ? ": " : "", more ? text : "");
        agent_stop(agent, 1, line);
        return;
    }
    if (!agent->uplink)
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
        cbx_log_error("cannot save %zu known peers: %s", count, cbx_err_name(result));
        mesh_known_failed(agent->mesh);
        return;
    }
    (void)agent_save(agent, NULL);
}

/* ---- what else the mesh asks for ---- */

static void
on_incoming(void *arg, struct mesh_stream *stream, const char *from,
            const struct cbx_expose_item *item)
{
    struct agent *agent = arg;
    front_incoming(agent->front, stream, from, item);
}

static void
on_lane(void *arg, const struct cbx_lane_ticket *ticket)
{
    struct agent *agent = arg;
    if (agent->uplink)
        agent_lane_promised(agent->lane, uplink_address(agent->uplink), agent_segment_max(agent),
                            ticket);
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
    .addresses = on_addresses,
    .lane = on_lane,
    .no_lane = on_no_lane,
    .lane_trouble = on_lane_trouble,
    .incoming = on_incoming,
    .link_lost = on_link_lost,
    .attached = on_attached,
    .known_changed = on_known_changed,
    .now_us = agent_now_us,
    .now_unix = agent_now_unix,
    .wake = agent_wake,
};

/* ---- begin and end ---- */

/* The certificate's list, less what the agent's own settings leave out. */
static struct cbx_expose
narrowed(struct agent *agent, const struct cbx_expose *granted)
{
    const struct agent_settings *settings = agent->settings;
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
        if (cbx_expose_format(granted, text, sizeof text) < 0)
            return list;
        (void)cbx_fail(&agent->expose_warning, CBX_OK,
                       "--expose lists ports that the certificate does not allow, ignored "
                       "(allowed: %s)",
                       text[0] != '\0' ? text : "nothing");
        cbx_log_warn("%s", agent->expose_warning.text);
    }
    return list;
}

void
agent_engine_end(struct agent *agent)
{
    if (agent->front)
        front_set_mesh(agent->front, NULL, NULL);
    agent_lane_serve(agent->lane, NULL);
    if (agent->direct)
        agent_direct_serve(agent->direct, NULL);
    mesh_free(agent->mesh);
    agent->mesh = NULL;
    agent->attached_at = 0;
}

bool
agent_engine_begin(struct agent *agent, const struct agent_membership *membership)
{
    const struct agent_settings *settings = agent->settings;
    agent->exposed = narrowed(agent, &membership->peer.expose);
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
        .software = "cbx-agent " CBX_VERSION,
        .lanes = settings->lanes,
        .direct = agent->direct != NULL,
    };
    memcpy(config.pond_public, membership->where.pond_public, sizeof config.pond_public);
    memcpy(config.pond, membership->peer.pond, sizeof config.pond);
    memcpy(config.slug, membership->peer.slug, sizeof config.slug);
    agent->mesh =
        mesh_new(&config, agent->state.known, agent->state.known_count, &mesh_callbacks, agent);
    if (!agent->mesh)
        return false;
    agent_lane_serve(agent->lane, agent->mesh);
    if (agent->direct)
        agent_direct_serve(agent->direct, agent->mesh);
    front_set_mesh(agent->front, agent->mesh, membership->peer.pond);
    agent_wake(agent);
    return true;
}
