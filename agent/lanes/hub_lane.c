/* SPDX-License-Identifier: MIT */
/* Tested by test_lanes.py. */
#include "agent/lanes/hub_lane.h"
#include "agent/lanes/hub_lane_dialer.h"
#include "agent/uplink/backoff.h"
#include "common/base/log.h"
#include <ev.h>
#include <sodium.h>
#include <stdio.h>
#include <stdlib.h>

enum { CONNECT_MS = 10000, RETRY_MIN_MS = 500, RETRY_MAX_MS = 60000, STABLE_S = 60 };

struct agent_lane {
    struct ev_loop *loop;
    const char *via;
    struct mesh *mesh;
    struct lane_dialer *dialer;
    struct backoff backoff;
    ev_timer retry;
    ev_tstamp up_at; /* 0: not up */
    bool said;       /* this trouble, in the log */
    char trouble[CBX_ERROR_TEXT_MAX];
};

static void
on_retry(struct ev_loop *loop, ev_timer *timer, int events)
{
    (void)loop;
    (void)events;
    struct agent_lane *lane = timer->data;
    if (lane->mesh)
        mesh_lane_ask(lane->mesh);
}

/* Asking before the link is attached has no effect: the mesh asks by itself then. */
static void
ask_later(struct agent_lane *lane)
{
    int64_t wait = backoff_next(&lane->backoff, BACKOFF_OTHER, randombytes_uniform);
    ev_timer_stop(lane->loop, &lane->retry);
    ev_timer_set(&lane->retry, (double)wait / 1000., 0.);
    ev_timer_start(lane->loop, &lane->retry);
}

static void
trouble(struct agent_lane *lane, const char *text)
{
    (void)snprintf(lane->trouble, sizeof lane->trouble, "%s", text);
    if (!lane->said)
        cbx_log_info("no lane to the hub, continuing over SSH: %s", text);
    lane->said = true;
    ask_later(lane);
}

static void
on_up(void *arg, struct cbx_carrier *carrier, const struct cbx_lane_ticket *ticket)
{
    struct agent_lane *lane = arg;
    int result = lane->mesh != NULL ? mesh_lane_attach(lane->mesh, carrier, ticket) : CBX_ERR_STATE;
    if (!lane->mesh)
        carrier->ops->close(carrier);
    lane_dialer_free(lane->dialer);
    lane->dialer = NULL;
    if (result < 0) {
        trouble(lane, "the link that the lane was for has ended");
        return;
    }
    lane->trouble[0] = '\0';
    lane->said = false;
    lane->up_at = ev_now(lane->loop);
}

static void
on_failed(void *arg, const char *text)
{
    struct agent_lane *lane = arg;
    lane_dialer_free(lane->dialer);
    lane->dialer = NULL;
    trouble(lane, text);
}

static const struct lane_dialer_ops dialer_ops = {.up = on_up, .failed = on_failed};

struct agent_lane *
agent_lane_new(struct ev_loop *loop, const char *via)
{
    struct agent_lane *lane = calloc(1, sizeof *lane);
    if (!lane)
        return NULL;
    lane->loop = loop;
    lane->via = via;
    backoff_init(&lane->backoff, RETRY_MIN_MS, 0, RETRY_MAX_MS);
    ev_init(&lane->retry, on_retry);
    lane->retry.data = lane;
    return lane;
}

void
agent_lane_serve(struct agent_lane *lane, struct mesh *mesh)
{
    lane_dialer_free(lane->dialer);
    lane->dialer = NULL;
    ev_timer_stop(lane->loop, &lane->retry);
    lane->mesh = mesh;
    lane->up_at = 0;
    lane->trouble[0] = '\0';
}

void
agent_lane_free(struct agent_lane *lane)
{
    if (!lane)
        return;
    agent_lane_serve(lane, NULL);
    free(lane);
}

void
agent_lane_promised(struct agent_lane *lane, const char *address, int segment_max,
                    const struct cbx_lane_ticket *ticket)
{
    lane_dialer_free(lane->dialer);
    lane->dialer = lane_dialer_new(lane->loop, address, lane->via, ticket, CONNECT_MS, segment_max,
                                   &dialer_ops, lane);
    if (!lane->dialer)
        trouble(lane, "out of memory");
}

void
agent_lane_refused(struct agent_lane *lane, bool lost, const char *text)
{
    if (lost && lane->up_at > 0 && ev_now(lane->loop) - lane->up_at > STABLE_S)
        backoff_reset(&lane->backoff);
    lane->up_at = 0;
    trouble(lane, text);
}

void
agent_lane_trouble(const struct agent_lane *lane, char *out, size_t size)
{
    double wait = ev_is_active(&lane->retry)
                      ? ev_timer_remaining(lane->loop, (ev_timer *)(uintptr_t)&lane->retry)
                      : 0;
    if (lane->trouble[0] == '\0' || lane->up_at > 0)
        (void)snprintf(out, size, "%s", "");
    else if (wait > 0)
        (void)snprintf(out, size, "%s; next try in %.1f s", lane->trouble, wait);
    else
        (void)snprintf(out, size, "%s; trying again now", lane->trouble);
}
