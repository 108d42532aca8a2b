/* SPDX-License-Identifier: MIT */
/* Tested by test_black_hole.py. */
#include "agent/daemon/path_watch.h"

#include "agent/daemon/addresses.h"
#include "agent/daemon/process.h"
#include "agent/mesh/mesh.h"
#include "agent/netcheck/lane.h"
#include "agent/uplink/segments.h"
#include "agent/uplink/stall.h"
#include "agent/uplink/uplink.h"
#include "common/base/clock.h"
#include "common/base/log.h"

#include <ev.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { TRIES = 3, TRY_MS = 4000, LONGEST_MS = 2 * TRY_MS, HEADERS = 40 };
static const double TICK_S = 1.;
static const int64_t QUIET_US = 3 * 1000 * 1000; /* after some traffic, before it is asked about */
static const int64_t STILL_US = 5 * 1000 * 1000; /* before something is tried */
static const int64_t AGAIN_US = 8 * 1000 * 1000; /* between the first tries; later twice that */
static const int64_t LONG_US = 10 * 1000 * 1000; /* of a link that is lost for it */
static const int64_t SPARE_US = 8 * 1000 * 1000; /* see one_way */

struct path_watch;
struct one_try {
    struct path_watch *watch;
    struct netcheck_lane *lane; /* NULL: over, or none */
    int limit;
    bool arrived;
};

struct path_watch {
    struct agent *agent;
    ev_timer tick;
    int socket; /* that stall is about; -1: none */
    struct stall stall;
    int64_t still_us; /* at the last tick */
    int64_t next_try, wait;
    bool full_arrived;  /* on another connection, while this one stood still */
    int64_t reached_us; /* for how long the link stood still when the hub first answered; 0: not */
    uint64_t frames;    /* of the link, when it was asked last */
    unsigned waiting;
    struct one_try tries[TRIES];
};

static void
drop_tries(struct path_watch *watch)
{
    for (int i = 0; i < TRIES; i++) {
        netcheck_lane_free(watch->tries[i].lane);
        watch->tries[i] = (struct one_try){.watch = watch};
    }
    watch->waiting = 0;
}

/* It moves, or there is none. */
static void
reset(struct path_watch *watch)
{
    drop_tries(watch);
    watch->still_us = watch->reached_us = 0;
    watch->full_arrived = false;
    watch->wait = AGAIN_US;
}

/* What leads there is connected with short segments from now on. */
static void
keep_to(struct path_watch *watch, const char *how, int limit, char *text, size_t size)
{
    struct agent *agent = watch->agent;
    const char *address = uplink_address(agent->uplink);
    segments_set(&agent->segments, address, limit, SEGMENTS_FOUND_US, cbx_clock_us());
    (void)snprintf(text, size,
                   "packets of more than %d bytes %s lost on the way to %s: continuing with "
                   "segments of %d bytes",
                   limit + HEADERS, how, address, limit);
}

static int
shorter_now(const struct path_watch *watch)
{
    return segments_shorter(agent_segment_max(watch->agent));
}

static void
give_up(struct path_watch *watch, const char *how, int limit)
{
    char text[CBX_ERROR_TEXT_MAX];
    if (limit == 0 || !watch->agent->mesh)
        return;
    keep_to(watch, how, limit, text, sizeof text);
    reset(watch);
    mesh_hub_give_up(watch->agent->mesh, text);
}

/* What is sent again in vain, though as long segments arrive on other connections: it is this
 * connection that is dead, at any length (a NAT that has forgotten it). */
static bool
dead_at_any_length(const struct path_watch *watch)
{
    return watch->stall.out_since != 0 && watch->full_arrived;
}

/*
 * What we say arrives, the hub answers others, and this link hears nothing. The hub sends again
 * after twice as long each time, so after as long again as the path was not known to be up it has
 * done so on a path that is: that was lost for its length.
 */
static bool
one_way(const struct path_watch *watch)
{
    return watch->reached_us > 0 && watch->waiting == 0 && watch->stall.out_since == 0 &&
           watch->still_us >= 2 * watch->reached_us + SPARE_US;
}

/* ---- tries ---- */

static void
conclude(struct path_watch *watch)
{
    int limit = 0;
    for (int i = 1; i < TRIES && limit == 0; i++)
        limit = watch->tries[i].arrived ? watch->tries[i].limit : 0;
    watch->full_arrived = watch->tries[0].arrived;
    drop_tries(watch);
    if (!watch->full_arrived && limit > 0)
        give_up(watch, "are", limit);
}

static void
on_try_over(void *arg, const struct netcheck_lane_result *result)
{
    struct one_try *one = arg;
    struct path_watch *watch = one->watch;
    one->arrived = result->trouble[0] == '\0';
    if (result->answered && watch->reached_us == 0)
        watch->reached_us = watch->still_us;
    netcheck_lane_free(one->lane);
    one->lane = NULL;
    if (--watch->waiting == 0)
        conclude(watch);
}

/* The length that the connection has, and all shorter ones, at once. The first has more time, lest
 * a slow path be taken for one that loses it. */
static void
begin_tries(struct path_watch *watch, int64_t now)
{
    struct agent *agent = watch->agent;
    const char *address = uplink_address(agent->uplink);
    int limit = segments_limit(&agent->segments, address, now);
    watch->next_try = now + watch->wait;
    watch->wait *= 2;
    for (int i = 0; i < TRIES; i++) {
        const struct netcheck_lane_config config = {.address = address,
                                                    .via = agent->settings->via,
                                                    .timeout_ms = i == 0 ? LONGEST_MS : TRY_MS,
                                                    .segment_max = limit};
        struct one_try *one = &watch->tries[i];
        one->limit = limit;
        one->lane = netcheck_lane_new(agent->loop, &config, on_try_over, one);
        if (!one->lane) {
            drop_tries(watch); /* without the first the others prove nothing */
            return;
        }
        watch->waiting++;
        limit = segments_shorter(limit);
        if (limit == 0)
            break;
    }
}

/* ---- once a second ---- */

/* One ping behind each piece of traffic: what is lost of it shows soon. The pong is a frame, too.
 */
static void
ask(struct path_watch *watch, const struct mesh_hub_look *look, int64_t now)
{
    if (look->answer_due || look->frames <= watch->frames + 1 || now - look->heard_at < QUIET_US)
        return;
    watch->frames = look->frames;
    mesh_hub_ping(watch->agent->mesh);
}

static void
look_at(struct path_watch *watch, const struct mesh_hub_look *look, int64_t now)
{
    struct cbx_tcp_path path;
    if (look->socket != watch->socket) {
        watch->stall = (struct stall){0};
        watch->frames = 0;
    }
    watch->socket = look->socket;
    if (look->socket < 0 || !cbx_tcp_path(look->socket, &path)) {
        reset(watch);
        return;
    }
    watch->still_us = stall_look(&watch->stall, &path, look->answer_due, now);
    if (watch->still_us == 0)
        reset(watch);
    else if (one_way(watch))
        give_up(watch, "seem to be", shorter_now(watch));
    else if (watch->still_us >= STILL_US && watch->waiting == 0 && now >= watch->next_try)
        begin_tries(watch, now);
}

static void
on_tick(struct ev_loop *loop, ev_timer *timer, int events)
{
    (void)loop;
    (void)events;
    struct path_watch *watch = timer->data;
    const struct agent *agent = watch->agent;
    struct mesh_hub_look look = {.socket = -1};
    int64_t now = cbx_clock_us();
    if (agent->mesh && agent->uplink && agent->phase != AGENT_PHASE_STOP)
        mesh_hub_look(agent->mesh, &look);
    look_at(watch, &look, now);
    if (look.socket >= 0)
        ask(watch, &look, now);
}

/* ---- for its owner ---- */

void
path_watch_lost(struct path_watch *watch)
{
    struct agent *agent = watch->agent;
    char text[CBX_ERROR_TEXT_MAX];
    if (agent->uplink && watch->still_us >= LONG_US && watch->reached_us > 0 &&
        !dead_at_any_length(watch) && shorter_now(watch) > 0) {
        keep_to(watch, "seem to be", shorter_now(watch), text, sizeof text);
        cbx_log_warn("%s", text);
    }
    watch->socket = -1;
    reset(watch);
}

struct path_watch *
path_watch_new(struct agent *agent)
{
    struct path_watch *watch = calloc(1, sizeof *watch);
    if (!watch)
        return NULL;
    watch->agent = agent;
    watch->socket = -1;
    reset(watch);
    ev_timer_init(&watch->tick, on_tick, TICK_S, TICK_S);
    watch->tick.data = watch;
    ev_timer_start(agent->loop, &watch->tick);
    return watch;
}

void
path_watch_free(struct path_watch *watch)
{
    if (!watch)
        return;
    ev_timer_stop(watch->agent->loop, &watch->tick);
    drop_tries(watch);
    free(watch);
}
