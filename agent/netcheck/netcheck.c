/* SPDX-License-Identifier: MIT */
/*
 * All addresses are probed at once; when the last probe is over a lane's first bytes are sent to
 * the one that went furthest, in full segments and, where those do not arrive, in shorter ones;
 * then the checks are written down and done is called.
 */
#include "agent/netcheck/netcheck.h"

#include "agent/netcheck/lane.h"
#include "agent/netcheck/probe.h"
#include "agent/uplink/proxy_choice.h"
#include "agent/uplink/segments.h"
#include "common/command/human.h"

#include <ctype.h>
#include <ev.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { LANE_MS = 5000 };
static const char ask_operator[] = "ask the operator whether cbx-hub runs there, and for a new "
                                   "invite if its address has changed while this agent was away";

struct netcheck {
    struct ev_loop *loop;
    struct netcheck_config config;
    void (*done)(void *arg, json_t *checks);
    void *arg;
    struct cbx_token where;
    struct places places;
    struct cbx_keypair key;
    struct netcheck_probe *probe[PLACES_MAX];
    uint32_t waiting; /* probes that are not over */
    struct netcheck_lane *lane;
    int limit; /* of its segments; 0: as the system has it */
    int segment,
        short_segment; /* full ones, 0: not known; shorter ones that arrived, 0: none did */
    bool lane_tried, lane_answered;
    char lane_trouble[CBX_ERROR_TEXT_MAX]; /* of the last try; "": it arrived */
    ev_timer first; /* begins the probes: done is never called inside netcheck_new */
    bool short_of_memory;
};

/* ---- one check ---- */

json_t *
netcheck_add(json_t *checks, const char *name, enum netcheck_result result, const char *remedy,
             const char *format, ...)
{
    static const char *const words[] = {"ok", "failed", "skipped"};
    char text[CBX_ERROR_TEXT_MAX + 200];
    va_list arguments;
    va_start(arguments, format);
    (void)vsnprintf(text, sizeof text, format, arguments);
    va_end(arguments);
    for (char *at = text; *at != '\0'; at++) {
        if ((unsigned char)*at < 0x20 || (unsigned char)*at > 0x7e)
            *at = '?';
    }
    json_t *check = json_pack("{s:s, s:s, s:s, s:s}", "check", name, "result", words[result],
                              "text", text, "remedy", remedy);
    return json_array_append_new(checks, check) == 0 ? check : NULL;
}

static const char *
result_of(const json_t *checks, const char *name)
{
    size_t index;
    const json_t *check;
    json_array_foreach(checks, index, check) {
        if (strcmp(json_string_value(json_object_get(check, "check")), name) == 0)
            return json_string_value(json_object_get(check, "result"));
    }
    return "skipped";
}

bool
netcheck_passed(const json_t *checks)
{
    static const char *const needed[] = {"hub", "ssh", "login"};
    for (size_t i = 0; i < sizeof needed / sizeof needed[0]; i++) {
        if (strcmp(result_of(checks, needed[i]), "failed") == 0)
            return false;
    }
    return strcmp(result_of(checks, "login"), "ok") == 0 ||
           strcmp(result_of(checks, "link"), "ok") == 0;
}

/* ---- the checks ---- */

static const struct netcheck_found *
found_at(const struct netcheck *check, uint32_t index)
{
    return netcheck_probe_found(check->probe[index]);
}

/* The address that went furthest; among equals the first. */
static uint32_t
best_address(const struct netcheck *check)
{
    uint32_t best = 0;
    unsigned best_score = 0;
    for (uint32_t i = 0; i < check->places.count; i++) {
        const struct netcheck_found *found = found_at(check, i);
        unsigned score =
            (found->connected ? 1u : 0) + (found->greeted ? 1u : 0) + (found->logged_in ? 1u : 0);
        /* A wrong key says more than a machine that speaks no SSH. */
        score = 2 * score + (found->connected && found->error == SSH_HOST_KEY ? 1u : 0);
        if (i == 0 || score > best_score) {
            best = i;
            best_score = score;
        }
    }
    return best;
}

/* Whether what was connected to is the proxy; no_proxy may have excepted the hub. */
static bool
went_through(const struct proxy_choice *proxy, const struct netcheck_found *found)
{
    const char *port = strrchr(found->peer, ':');
    return proxy->name[0] != '\0' && port != NULL && strtoul(port + 1, NULL, 10) == proxy->port;
}

static void
add_addresses(const struct netcheck *check, json_t *hub)
{
    json_t *list = json_array();
    for (uint32_t i = 0; i < check->places.count; i++) {
        const struct netcheck_found *found = found_at(check, i);
        const char *text = found->logged_in ? "" : found->text.text;
        const struct place *place = &check->places.item[i];
        json_t *one = json_pack("{s:s, s:s, s:b, s:I, s:s}", "address", place->address, "from",
                                place_from_text(place->from), "connected", found->connected,
                                "connect_us", (json_int_t)found->connect_us, "peer", found->peer);
        json_object_set_new(one, "trouble", json_string(text));
        json_array_append_new(list, one);
    }
    json_object_set_new(hub, "addresses", list);
}

static void
check_hub(const struct netcheck *check, json_t *checks, uint32_t best)
{
    const struct netcheck_found *found = found_at(check, best);
    struct proxy_choice proxy;
    char took[CBX_HUMAN_MAX];
    proxy_choose(check->config.via, &proxy);
    bool through = went_through(&proxy, found);
    cbx_human_us(found->connect_us, took, sizeof took);
    json_t *hub;
    if (found->connected)
        hub = netcheck_add(checks, "hub", NETCHECK_OK, "", "%s%s%s answered in %s",
                           check->places.item[best].address, through ? " through the proxy " : "",
                           through ? proxy.name : "", took);
    else
        hub = netcheck_add(checks, "hub", NETCHECK_FAILED,
                           proxy.name[0] != '\0' ? "check --via, https_proxy and ALL_PROXY; "
                                                   "the proxy must let CONNECT through to that port"
                           : found->refused      ? ask_operator
                                                 : "let TCP out to that address, or name a proxy "
                                                   "with --via URL or https_proxy",
                           "%s", found->text.text);
    json_object_set_new(hub, "address", json_string(check->places.item[best].address));
    add_addresses(check, hub);
    if (proxy.name[0] == '\0') {
        (void)netcheck_add(checks, "proxy", NETCHECK_SKIPPED, "", "%s%s",
                           proxy.own != NULL ? proxy.own : "none is set",
                           proxy.own != NULL ? " names this agent's own proxy: not used" : "");
        return;
    }
    const char *text = !found->connected ? ", and the hub was not reached"
                       : through         ? ""
                                         : ", not used: no_proxy excepts the hub";
    json_t *one = netcheck_add(checks, "proxy", found->connected ? NETCHECK_OK : NETCHECK_FAILED,
                               found->connected ? "" : "the check above says what is wrong with it",
                               "%s from %s%s", proxy.name, proxy.from, text);
    json_object_set_new(one, "url", json_string(proxy.name));
    json_object_set_new(one, "from", json_string(proxy.from));
    json_object_set_new(one, "used", json_boolean(through));
}

static const char *
ssh_remedy(enum ssh_error error)
{
    switch (error) {
    case SSH_HOST_KEY:
        return "do not log in there; ask the operator whether the hub was set up anew, and for a "
               "new invite if so";
    case SSH_CLOSED:
        return "try again in a moment; the hub's log says why it closes connections";
    default:
        return "make sure that the address is the hub's and that nothing between changes SSH";
    }
}

static void
check_ssh(const struct netcheck *check, json_t *checks, uint32_t best)
{
    const struct netcheck_found *found = found_at(check, best);
    char pinned[CBX_FINGERPRINT_TEXT_MAX], took[CBX_HUMAN_MAX];
    cbx_fingerprint_text(check->where.host_key_sha256, pinned);
    cbx_human_us(found->ssh_us, took, sizeof took);
    json_t *ssh;
    if (!found->connected)
        ssh = netcheck_add(checks, "ssh", NETCHECK_SKIPPED, "", "the hub was not reached");
    else if (found->greeted)
        ssh = netcheck_add(checks, "ssh", NETCHECK_OK, "", "%s with the pinned host key %s",
                           found->banner, pinned);
    else
        ssh = netcheck_add(checks, "ssh", NETCHECK_FAILED, ssh_remedy(found->error), "%s",
                           found->text.text);
    json_object_set_new(ssh, "host_key", json_string(pinned));
    if (!found->greeted) {
        (void)netcheck_add(checks, "login", NETCHECK_SKIPPED, "",
                           "not attempted: nothing is signed for a host that is not verified");
        return;
    }
    json_t *login = found->logged_in
                        ? netcheck_add(checks, "login", NETCHECK_OK, "", "accepted as %s in %s",
                                       check->where.user, took)
                        : netcheck_add(checks, "login", NETCHECK_FAILED,
                                       "ask the operator for a new invite", "%s", found->text.text);
    json_object_set_new(login, "user", json_string(check->where.user));
    json_object_set_new(login, "login_us", json_integer(found->ssh_us));
}

static const char let_icmp[] =
    "let ICMP through, or lower the MTU of this machine's interface to what the path carries; a "
    "running agent goes over to short segments by itself, once a link has stood still";

/* What the interface says is only said beside what has arrived. */
static json_t *
add_mtu(const struct netcheck *check, const struct netcheck_found *found, json_t *checks)
{
    bool arrived = check->lane_tried && check->lane_trouble[0] == '\0';
    if (arrived && check->segment == 0)
        return netcheck_add(checks, "mtu", NETCHECK_SKIPPED, "", "not available on this system");
    if (arrived && check->limit == 0 && check->config.segment_max > 0)
        return netcheck_add(checks, "mtu", NETCHECK_FAILED, let_icmp,
                            "segments of %d bytes arrive at %s, but such from there seem to be "
                            "lost: the running agent keeps to %d",
                            check->segment, found->peer, check->config.segment_max);
    if (arrived && check->limit == 0)
        return netcheck_add(checks, "mtu", NETCHECK_OK, "",
                            "about %d: segments of %d bytes arrive at %s", found->mtu,
                            check->segment, found->peer);
    if (arrived)
        return netcheck_add(checks, "mtu", NETCHECK_FAILED, let_icmp,
                            "segments of %d bytes do not arrive at %s, though the interface has an "
                            "MTU of about %d; those of %d bytes do",
                            check->segment, found->peer, found->mtu, check->short_segment);
    return netcheck_add(checks, "mtu", NETCHECK_SKIPPED, "", "%s%s",
                        check->lane_tried ? "not found out: "
                                          : "there is no login to try it beside",
                        check->lane_tried ? check->lane_trouble : "");
}

static void
check_path(const struct netcheck *check, json_t *checks, uint32_t best)
{
    const struct netcheck_found *found = found_at(check, best);
    char connect[CBX_HUMAN_MAX], tcp[CBX_HUMAN_MAX], trip[CBX_HUMAN_MAX];
    if (!found->connected) {
        (void)netcheck_add(checks, "delay", NETCHECK_SKIPPED, "", "the hub was not reached");
        (void)netcheck_add(checks, "mtu", NETCHECK_SKIPPED, "", "the hub was not reached");
        return;
    }
    cbx_human_us(found->connect_us, connect, sizeof connect);
    cbx_human_us(found->tcp_us, tcp, sizeof tcp);
    cbx_human_us(check->config.round_trip_us, trip, sizeof trip);
    json_t *delay = netcheck_add(checks, "delay", NETCHECK_OK, "",
                                 "connected in %s, TCP round trip %s, link's round trip %s",
                                 connect, tcp, trip);
    json_object_set_new(delay, "connect_us", json_integer(found->connect_us));
    json_object_set_new(delay, "tcp_us", json_integer(found->tcp_us));
    json_object_set_new(delay, "round_trip_us", json_integer(check->config.round_trip_us));
    json_t *mtu = add_mtu(check, found, checks);
    bool full = check->lane_tried && check->lane_trouble[0] == '\0' && check->limit == 0;
    json_object_set_new(mtu, "mtu", json_integer(found->mtu));
    json_object_set_new(mtu, "mss", json_integer(found->mss));
    json_object_set_new(mtu, "passed", json_integer(full ? check->segment : check->short_segment));
}

static void
check_nothing(const struct netcheck *check, json_t *checks)
{
    static const char *const names[] = {"hub", "proxy", "ssh", "login", "delay", "mtu"};
    (void)check;
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++)
        (void)netcheck_add(checks, names[i], NETCHECK_SKIPPED, "",
                           "the program of --ssh-command makes the connection");
}

static void
check_lanes(const struct netcheck *check, json_t *checks)
{
    if (!check->config.try_lane)
        return;
    if (!check->lane_tried)
        (void)netcheck_add(checks, "lane", NETCHECK_SKIPPED, "",
                           "there is no login to add a lane to");
    else if (check->lane_trouble[0] == '\0')
        (void)netcheck_add(checks, "lane", NETCHECK_OK, "",
                           "a lane's first bytes reach the hub; whether it grants lanes shows once "
                           "an agent runs");
    else
        (void)netcheck_add(checks, "lane", NETCHECK_FAILED,
                           "optional, as SSH carries everything; for speed, allow protocols other "
                           "than SSH through to the hub's port",
                           "%s", check->lane_trouble);
}

static void
finish(struct netcheck *check)
{
    json_t *checks = check->short_of_memory ? NULL : json_array();
    if (checks && check->config.ssh_command) {
        check_nothing(check, checks);
    } else if (checks) {
        uint32_t best = best_address(check);
        check_hub(check, checks, best);
        check_ssh(check, checks, best);
        check_path(check, checks, best);
    }
    if (checks)
        check_lanes(check, checks);
    check->done(check->arg, checks);
}

/* ---- how it goes ---- */

static void lane_done(void *arg, const struct netcheck_lane_result *result);

static bool
begin_lane(struct netcheck *check)
{
    const struct netcheck_lane_config config = {
        .address = check->places.item[best_address(check)].address,
        .via = check->config.via,
        .timeout_ms = check->config.timeout_ms < LANE_MS ? check->config.timeout_ms : LANE_MS,
        .segment_max = check->limit,
    };
    check->lane = netcheck_lane_new(check->loop, &config, lane_done, check);
    check->lane_tried = check->lane_tried || check->lane != NULL;
    return check->lane != NULL;
}

/* Shorter ones are worth a try where nothing at all came back. */
static void
lane_done(void *arg, const struct netcheck_lane_result *result)
{
    struct netcheck *check = arg;
    bool arrived = result->trouble[0] == '\0';
    if (check->limit == 0)
        check->segment = result->segment;
    else if (arrived)
        check->short_segment = result->segment;
    /* Where none arrives, what became of the full ones is what is said. */
    if (arrived || check->limit == 0)
        (void)snprintf(check->lane_trouble, sizeof check->lane_trouble, "%s", result->trouble);
    int shorter = segments_shorter(check->limit);
    bool again = !arrived && !result->answered && result->segment > 0 && shorter > 0;
    netcheck_lane_free(check->lane);
    check->lane = NULL;
    if (again)
        check->limit = shorter;
    if (!again || !begin_lane(check))
        finish(check);
}

static void
probe_done(void *arg)
{
    struct netcheck *check = arg;
    if (--check->waiting > 0)
        return;
    if (!found_at(check, best_address(check))->logged_in || !begin_lane(check))
        finish(check);
}

static void
drop_probes(struct netcheck *check)
{
    for (uint32_t i = 0; i < PLACES_MAX; i++) {
        netcheck_probe_free(check->probe[i]);
        check->probe[i] = NULL;
    }
}

static void
on_first(struct ev_loop *loop, ev_timer *timer, int events)
{
    (void)events;
    struct netcheck *check = timer->data;
    uint32_t count = check->config.ssh_command != NULL ? 0 : check->places.count;
    for (uint32_t i = 0; i < count && !check->short_of_memory; i++) {
        const struct netcheck_probe_config config = {
            .address = check->places.item[i].address,
            .via = check->config.via,
            .user = check->where.user,
            .host_key_sha256 = check->where.host_key_sha256,
            .key = &check->key,
            .timeout_ms = check->config.timeout_ms,
        };
        check->probe[i] = netcheck_probe_new(loop, &config, probe_done, check);
        check->short_of_memory = !check->probe[i];
    }
    check->waiting = count;
    if (check->short_of_memory)
        drop_probes(check);
    if (count == 0 || check->short_of_memory)
        finish(check);
}

struct netcheck *
netcheck_new(struct ev_loop *loop, const struct netcheck_config *config,
             void (*done)(void *arg, json_t *checks), void *arg)
{
    struct netcheck *check = calloc(1, sizeof *check);
    if (!check)
        return NULL;
    check->loop = loop;
    check->config = *config;
    if (check->config.timeout_ms <= 0)
        check->config.timeout_ms = NETCHECK_TIMEOUT_MS;
    check->where = *config->where;
    places_set(&check->places, config->where, NULL, NULL);
    if (config->places)
        check->places = *config->places;
    check->key = *config->key;
    check->config.where = NULL;
    check->config.key = NULL;
    check->done = done;
    check->arg = arg;
    ev_timer_init(&check->first, on_first, 0., 0.);
    check->first.data = check;
    ev_timer_start(loop, &check->first);
    return check;
}

void
netcheck_free(struct netcheck *check)
{
    if (!check)
        return;
    ev_timer_stop(check->loop, &check->first);
    drop_probes(check);
    netcheck_lane_free(check->lane);
    cbx_keypair_wipe(&check->key);
    cbx_token_wipe(&check->where);
    free(check);
}
