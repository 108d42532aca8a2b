/* SPDX-License-Identifier: MIT */
/* The checks of the running agent, one function each; the probes are agent/netcheck's, what is
 * printed is agent/cmd's. Tested by test_netcheck.py. */
#include "agent/daemon/netcheck.h"

#include "agent/daemon/addresses.h"
#include "agent/daemon/process.h"
#include "agent/lanes/direct.h"
#include "agent/mesh/mesh.h"
#include "agent/netcheck/netcheck.h"
#include "agent/uplink/uplink.h"
#include "common/base/clock.h"
#include "common/command/human.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Certificates are given 300 s of grace: this leaves time to act. */
enum { SKEW_MAX_MS = 60 * 1000 };

struct agent_netcheck {
    struct agent *agent;
    struct netcheck *check;
    void (*done)(void *arg, json_t *document);
    void *arg;
};

static json_int_t
number_of(const json_t *object, const char *key)
{
    return json_integer_value(json_object_get(object, key));
}

static const char *
text_of(const json_t *object, const char *key)
{
    const char *text = json_string_value(json_object_get(object, key));
    return text != NULL ? text : "";
}

static void
check_link(const struct agent *agent, const json_t *mesh, json_t *checks)
{
    char trip[CBX_HUMAN_MAX], span[CBX_HUMAN_MAX];
    if (agent->attached_at == 0) {
        (void)netcheck_add(checks, "link", NETCHECK_FAILED,
                           "wait for the next try, or see the agent's log",
                           "the running agent is not attached: %s%s%s",
                           agent->uplink != NULL ? uplink_state(agent->uplink) : "no uplink",
                           agent->trouble[0] != '\0' ? "; " : "", agent->trouble);
        return;
    }
    cbx_human_us(number_of(mesh, "round_trip_us"), trip, sizeof trip);
    cbx_human_since(agent->attached_at, cbx_clock_unix(), span, sizeof span);
    json_t *link =
        netcheck_add(checks, "link", NETCHECK_OK, "",
                     "the running agent has been attached for %s, round trip %s", span, trip);
    json_object_set_new(link, "since", json_integer(agent->attached_at));
    json_object_set_new(link, "round_trip_us", json_integer(number_of(mesh, "round_trip_us")));
}

static void
check_lane(const struct agent *agent, const json_t *mesh, json_t *checks)
{
    const char *plane = text_of(mesh, "plane"), *reason = text_of(mesh, "plane_reason");
    char span[CBX_HUMAN_MAX];
    cbx_human_since(number_of(mesh, "plane_since"), cbx_clock_unix(), span, sizeof span);
    json_t *lane;
    if (agent->attached_at == 0 && agent->settings->lanes != CBX_LANES_REQUIRE)
        lane =
            netcheck_add(checks, "lane", NETCHECK_SKIPPED, "", "there is no link to add a lane to");
    else if (strcmp(plane, "relay") == 0)
        lane = netcheck_add(checks, "lane", NETCHECK_OK, "", "the link has been on a lane for %s",
                            span);
    else if (agent->settings->lanes == CBX_LANES_OFF)
        lane = netcheck_add(checks, "lane", NETCHECK_SKIPPED, "", "%s", reason);
    else
        lane = netcheck_add(checks, "lane", NETCHECK_FAILED,
                            "the link continues over SSH, which is slower; for speed, allow "
                            "protocols other than SSH through to the hub's port, and run the hub "
                            "with --lanes auto",
                            "%s", reason);
    json_object_set_new(lane, "plane", json_string(plane));
}

/* What the peers' list says about direct lanes: those that stand, and peers with streams but
 * without one. */
struct direct_found {
    json_t *lanes, *without;
    char with[CBX_ERROR_TEXT_MAX / 2]; /* "web (it connected), db (we connected)" */
    char why[CBX_ERROR_TEXT_MAX / 2];  /* of the first one without */
    bool forbidden;                    /* by somebody's --direct off: nothing to repair */
};

static void
note_peer(struct direct_found *found, const json_t *peer)
{
    const char *slug = text_of(peer, "slug"), *reason = text_of(peer, "plane_reason");
    size_t used = strlen(found->with);
    if (strcmp(text_of(peer, "plane"), "direct") == 0) {
        const char *by = text_of(peer, "connected_by");
        (void)snprintf(found->with + used, sizeof found->with - used, "%s%s (%s connected)",
                       used > 0 ? ", " : "", slug, strcmp(by, "here") == 0 ? "we" : "it");
        json_array_append_new(found->lanes,
                              json_pack("{s:s, s:s}", "slug", slug, "connected_by", by));
        return;
    }
    if (number_of(peer, "streams") == 0 || json_is_true(json_object_get(peer, "self")))
        return;
    if (json_array_size(found->without) == 0) {
        (void)snprintf(found->why, sizeof found->why, "%s: %s", slug, reason);
        found->forbidden = strstr(reason, "--direct off") != NULL;
    }
    json_array_append_new(found->without, json_pack("{s:s, s:s}", "slug", slug, "reason", reason));
}

static json_t *
add_direct(const struct direct_found *found, const char *listening, const char *trouble,
           json_t *checks)
{
    static const char let_in[] =
        "streams go through the hub, which is slower; for speed, allow incoming TCP to one of the "
        "two: give it a fixed port with --direct ADDR:PORT and open it in firewall and NAT";
    if (found->with[0] != '\0')
        return netcheck_add(checks, "direct", NETCHECK_OK, "", "lanes with %s; listening on %s",
                            found->with, listening[0] != '\0' ? listening : "nothing");
    if (listening[0] == '\0')
        return netcheck_add(checks, "direct", NETCHECK_FAILED,
                            "name a free port with --direct ADDR:PORT; until then lanes are only "
                            "opened from here",
                            "not listening: %s", trouble);
    if (found->why[0] == '\0')
        return netcheck_add(checks, "direct", NETCHECK_SKIPPED, "",
                            "listening on %s; there is no stream to make a lane for", listening);
    if (found->forbidden)
        return netcheck_add(checks, "direct", NETCHECK_SKIPPED, "", "%s", found->why);
    return netcheck_add(checks, "direct", NETCHECK_FAILED, let_in, "%s; listening on %s",
                        found->why, listening);
}

/* What peers are told of where to connect to. */
static json_t *
own_candidates(const struct agent *agent, const json_t *mesh)
{
    struct candidates own = {0};
    json_t *list = json_array();
    if (agent->direct)
        agent_direct_candidates(agent->direct, text_of(mesh, "seen_address"), &own);
    for (uint32_t i = 0; i < own.count; i++)
        json_array_append_new(list, json_string(own.item[i]));
    return list;
}

static void
check_direct(const struct agent *agent, const json_t *mesh, json_t *checks)
{
    struct direct_found found = {.lanes = json_array(), .without = json_array()};
    json_t *direct = agent_direct_json(agent->direct);
    json_t *document = agent->mesh != NULL ? mesh_peers_json(agent->mesh) : NULL;
    size_t index;
    const json_t *peer;
    json_array_foreach(json_object_get(document, "peers"), index, peer) {
        note_peer(&found, peer);
    }
    json_t *check =
        agent->direct != NULL
            ? add_direct(&found, text_of(direct, "listening"), text_of(direct, "trouble"), checks)
            : netcheck_add(checks, "direct", NETCHECK_SKIPPED, "",
                           "direct lanes are off here (--direct off%s)",
                           agent->settings->ssh_command != NULL ? ", the default beside "
                                                                  "--ssh-command"
                                                                : "");
    json_object_set_new(check, "listening", json_string(text_of(direct, "listening")));
    json_object_set_new(check, "candidates", own_candidates(agent, mesh));
    json_object_set_new(check, "lanes", found.lanes);
    json_object_set_new(check, "without", found.without);
    json_decref(document);
    json_decref(direct);
}

/*
 * No frame tells the hub's time, but a generation is max(last + 1, the hub's Unix milliseconds),
 * drawn between our AGENT_HELLO and its WELCOME. Right unless the hub's own clock was set back.
 */
static void
check_clock(const struct agent *agent, json_t *checks)
{
    struct mesh_attach_times times;
    if (!agent->mesh || !mesh_attach_times(agent->mesh, &times)) {
        (void)netcheck_add(checks, "clock", NETCHECK_SKIPPED, "",
                           "the hub's clock is estimated from an attach, and there was none");
        return;
    }
    int64_t offset_ms = cbx_clock_unix_ms() - cbx_clock_us() / 1000;
    int64_t middle_ms = (times.hello_us + times.welcome_us) / 2000 + offset_ms;
    int64_t within_ms = (times.welcome_us - times.hello_us) / 2000 + 1;
    int64_t ahead_ms = middle_ms - (int64_t)times.generation;
    bool far = ahead_ms > SKEW_MAX_MS || ahead_ms < -SKEW_MAX_MS;
    json_t *clock = netcheck_add(
        checks, "clock", far ? NETCHECK_FAILED : NETCHECK_OK,
        far ? "set this machine's clock (NTP), or the hub's: certificates expire by it" : "",
        "%.3f s %s the hub's, +/- %lld ms (estimated from the generation that the hub assigned at "
        "the attach)",
        (double)(ahead_ms < 0 ? -ahead_ms : ahead_ms) / 1000., ahead_ms < 0 ? "behind" : "ahead of",
        (long long)within_ms);
    json_object_set_new(clock, "ahead_ms", json_integer(ahead_ms));
    json_object_set_new(clock, "within_ms", json_integer(within_ms));
}

static void
on_checks(void *arg, json_t *checks)
{
    struct agent_netcheck *check = arg;
    const struct agent *agent = check->agent;
    json_t *document = NULL;
    if (checks) {
        json_t *mesh = agent->mesh != NULL ? mesh_status_json(agent->mesh) : json_object();
        check_link(agent, mesh, checks);
        check_lane(agent, mesh, checks);
        check_direct(agent, mesh, checks);
        check_clock(agent, checks);
        json_decref(mesh);
        document = json_pack("{s:s, s:o}", "agent", "running", "checks", checks);
    }
    check->done(check->arg, document);
}

struct agent_netcheck *
agent_netcheck_new(struct agent *agent, int64_t timeout_ms,
                   void (*done)(void *arg, json_t *document), void *arg)
{
    const struct agent_state *state = &agent->state;
    const struct cbx_token *where = agent_where(agent);
    struct places places;
    struct agent_netcheck *check = where->address_count > 0 ? calloc(1, sizeof *check) : NULL;
    if (!check)
        return NULL;
    agent_addresses_list(agent, &places);
    if (agent->uplink)
        places = *uplink_places(agent->uplink);
    const struct netcheck_config config = {
        .where = where,
        .places = &places,
        .key = agent->phase == AGENT_PHASE_JOIN ? &agent->login : &state->identity.sign,
        .via = agent->settings->via,
        .ssh_command = agent->settings->ssh_command,
        .timeout_ms = timeout_ms,
        .segment_max = agent_segment_max(agent),
        .round_trip_us = agent->mesh != NULL ? mesh_round_trip_us(agent->mesh) : 0,
    };
    check->agent = agent;
    check->done = done;
    check->arg = arg;
    check->check = netcheck_new(agent->loop, &config, on_checks, check);
    if (!check->check) {
        free(check);
        return NULL;
    }
    return check;
}

void
agent_netcheck_free(struct agent_netcheck *check)
{
    if (!check)
        return;
    netcheck_free(check->check);
    free(check);
}
