/* SPDX-License-Identifier: MIT */
/*
 * A round goes through the hub's addresses in turn, beginning with the one that worked last, one
 * attempt (attempt.h) at each:
 *
 *     STOPPED ── start ──▶ STARTING ─▶ TRYING ─▶ UP ── lost ──▶ WAITING ─▶ TRYING ...
 *                                       ▲  │
 *                                       └──┴─ no address left: failed(), WAITING
 *
 * The timer is the wait of zero of STARTING (so that uplink_start never calls back inside) and the
 * wait of WAITING. The carrier belongs to the callee of up() and is not known here afterwards.
 *
 * When all addresses failed, the most telling failure is reported: a wrong host key before a
 * refused login before a broken protocol before an unreachable address.
 *
 * A network change starts a waiting uplink at once, unless the hub itself asked for the wait.
 */
#include "agent/uplink/uplink.h"

#include "agent/uplink/attempt.h"
#include "agent/uplink/backoff.h"
#include "common/base/clock.h"
#include "common/base/states.h"
#include "common/os/netwatch.h"

#include <ev.h>
#include <sodium.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { DEFAULT_CONNECT_TIMEOUT_MS = 15000, STABLE_LINK_MS = 10000 };

enum state {
    STOPPED,
    STARTING, /* the round begins at the next turn of the loop */
    TRYING,   /* an attempt runs */
    UP,
    WAITING,
};

static const struct cbx_states states = {
    .what = "uplink to",
    .state =
        {
            [STOPPED] = {"stopped", CBX_STATE(STARTING)},
            [STARTING] = {"starting", CBX_STATE(TRYING) | CBX_STATE(WAITING) | CBX_STATE(STOPPED)},
            [TRYING] = {"trying", CBX_STATE(UP) | CBX_STATE(WAITING) | CBX_STATE(STOPPED)},
            [UP] = {"up", CBX_STATE(WAITING) | CBX_STATE(STOPPED)},
            [WAITING] = {"waiting", CBX_STATE(STARTING) | CBX_STATE(TRYING) | CBX_STATE(STOPPED)},
        },
};

struct uplink {
    struct ev_loop *loop;
    const struct uplink_ops *ops;
    void *arg;
    enum state state;
    ev_timer timer;
    struct attempt *attempt; /* in TRYING */
    struct netwatch *netwatch;
    struct backoff backoff;
    int64_t connect_timeout_ms, keepalive_ms;
    int64_t up_since_us;
    struct places places;
    struct segments *segments;
    uint32_t address; /* tried now, or the one that works */
    uint32_t tried;   /* addresses in this round, the current one included */
    bool by_hub;      /* the wait is the hub's wish */
    bool any_refused; /* in this round */
    bool any_failed;  /* in this round: error and text below hold */
    bool has_key;
    enum uplink_error error;
    struct cbx_error text;
    struct cbx_keypair key;
    uint8_t host_key_sha256[32];
    char *via;
    char *ssh_command, *folder;
    char user[CBX_USER_MAX + 1];
    char waiting_text[32];
};

static void next_address(struct uplink *uplink);

static void
set_state(struct uplink *uplink, enum state state)
{
    if (cbx_states_allow(&states, uplink_address(uplink), uplink->state, state))
        uplink->state = state;
}

static void
set_timer(struct uplink *uplink, int64_t milliseconds)
{
    ev_timer_stop(uplink->loop, &uplink->timer);
    ev_now_update(uplink->loop); /* a handshake's arithmetic may have taken a while */
    ev_timer_set(&uplink->timer, (double)milliseconds / 1000., 0.);
    ev_timer_start(uplink->loop, &uplink->timer);
}

static void
drop_attempt(struct uplink *uplink)
{
    attempt_free(uplink->attempt);
    uplink->attempt = NULL;
    ev_timer_stop(uplink->loop, &uplink->timer);
}

static void
wait_for(struct uplink *uplink, int64_t milliseconds)
{
    set_state(uplink, WAITING);
    (void)snprintf(uplink->waiting_text, sizeof uplink->waiting_text, "waiting %.3g s",
                   (double)milliseconds / 1000.);
    set_timer(uplink, milliseconds);
}

/* ---- the end of one address, and of all ---- */

static unsigned
weight(enum uplink_error error)
{
    static const unsigned weights[] = {
        [UPLINK_UNREACHABLE] = 0,
        [UPLINK_PROTOCOL] = 1,
        [UPLINK_LOGIN_DENIED] = 2,
        [UPLINK_HOST_KEY] = 3,
    };
    return weights[error];
}

static void
note_failure(struct uplink *uplink, enum uplink_error error, const char *text)
{
    if (uplink->any_failed && weight(error) < weight(uplink->error))
        return;
    uplink->any_failed = true;
    uplink->error = error;
    cbx_fail(&uplink->text, 0, "%s", text);
}

/* The last thing that its callers do: the callee may stop or free the uplink. */
static void
round_failed(struct uplink *uplink)
{
    enum backoff_kind kind = uplink->any_refused ? BACKOFF_REFUSED : BACKOFF_OTHER;
    int64_t retry_ms = backoff_next(&uplink->backoff, kind, randombytes_uniform);
    /* No restart heals a wrong key: a steady, slow pace. */
    if (uplink->error == UPLINK_HOST_KEY)
        retry_ms = uplink->backoff.max_ms;
    uplink->by_hub = false;
    wait_for(uplink, retry_ms);
    struct cbx_error text = uplink->text;
    if (uplink->places.count > 1)
        cbx_fail(&text, 0, "%s (%u addresses tried)", uplink->text.text, uplink->places.count);
    uplink->ops->failed(uplink->arg, uplink->error, retry_ms, text.text);
}

static void
on_attempt_failed(void *arg, enum uplink_error error, bool refused, const char *text)
{
    struct uplink *uplink = arg;
    uplink->any_refused = uplink->any_refused || refused;
    note_failure(uplink, error, text);
    drop_attempt(uplink);
    next_address(uplink);
}

static void
on_attempt_up(void *arg, struct cbx_carrier *carrier)
{
    struct uplink *uplink = arg;
    drop_attempt(uplink);
    uplink->up_since_us = cbx_clock_us();
    uplink->places.first = uplink->address;
    set_state(uplink, UP);
    uplink->ops->up(uplink->arg, carrier);
}

static const struct attempt_ops attempt_ops = {.up = on_attempt_up, .failed = on_attempt_failed};

/* ---- the round ---- */

/* False: memory is short. */
static bool
begin_attempt(struct uplink *uplink)
{
    const struct attempt_config config = {
        .to =
            {
                .address = uplink_address(uplink),
                .user = uplink->user,
                .host_key_sha256 = uplink->host_key_sha256,
                .key = &uplink->key,
                .keepalive_ms = uplink->keepalive_ms,
            },
        .via = uplink->via,
        .ssh_command = uplink->ssh_command,
        .folder = uplink->folder,
        .segment_max = uplink->segments ? segments_limit(uplink->segments, uplink_address(uplink),
                                                         cbx_clock_us())
                                        : 0,
        .timeout_ms = uplink->connect_timeout_ms,
    };
    uplink->attempt = attempt_new(uplink->loop, &config, &attempt_ops, uplink);
    return uplink->attempt != NULL;
}

/* The one that worked last, then the others in their order. */
static uint32_t
place_in_turn(const struct places *places, uint32_t turn)
{
    if (turn == 0)
        return places->first;
    return turn <= places->first ? turn - 1 : turn;
}

static void
next_address(struct uplink *uplink)
{
    while (uplink->tried < uplink->places.count) {
        uplink->address = place_in_turn(&uplink->places, uplink->tried++);
        if (begin_attempt(uplink))
            return;
        note_failure(uplink, UPLINK_UNREACHABLE, "out of memory");
    }
    round_failed(uplink);
}

static void
on_timer(struct ev_loop *loop, ev_timer *timer, int events)
{
    (void)loop;
    (void)events;
    struct uplink *uplink = timer->data;
    set_state(uplink, TRYING);
    uplink->tried = 0;
    uplink->any_refused = false;
    uplink->any_failed = false;
    uplink->error = UPLINK_PROTOCOL;
    cbx_fail(&uplink->text, 0, "no address of the hub, or no key to log in with");
    if (!uplink->has_key)
        uplink->tried = uplink->places.count;
    next_address(uplink);
}

static void
network_changed(void *arg)
{
    struct uplink *uplink = arg;
    if (uplink->state == WAITING && !uplink->by_hub)
        uplink_start(uplink);
}

/* ---- what the header promises ---- */

/* By turns: full ones, shorter ones, the least. */
void
uplink_stood_still(struct uplink *uplink)
{
    int64_t now = cbx_clock_us();
    if (!uplink->segments)
        return;
    const char *address = uplink_address(uplink);
    int limit = segments_shorter(segments_limit(uplink->segments, address, now));
    segments_set(uplink->segments, address, limit, SEGMENTS_GUESSED_US, now);
}

static void
copy_token(struct uplink *uplink, const struct cbx_token *where)
{
    memcpy(uplink->host_key_sha256, where->host_key_sha256, sizeof uplink->host_key_sha256);
    memcpy(uplink->user, where->user, sizeof uplink->user);
}

struct uplink *
uplink_new(struct ev_loop *loop, const struct uplink_config *config, const struct uplink_ops *ops,
           void *arg)
{
    struct uplink *uplink = calloc(1, sizeof *uplink);
    if (!uplink || sodium_init() < 0) {
        free(uplink);
        return NULL;
    }
    uplink->loop = loop;
    uplink->ops = ops;
    uplink->arg = arg;
    uplink->keepalive_ms = config->keepalive_ms;
    uplink->segments = config->segments;
    uplink->connect_timeout_ms =
        config->connect_timeout_ms > 0 ? config->connect_timeout_ms : DEFAULT_CONNECT_TIMEOUT_MS;
    backoff_init(&uplink->backoff, config->backoff_min_ms, config->backoff_refused_max_ms,
                 config->backoff_max_ms);
    copy_token(uplink, config->where);
    places_set(&uplink->places, config->where, NULL, NULL);
    if (config->places)
        uplink->places = *config->places;
    uplink->address = uplink->places.first;
    ev_init(&uplink->timer, on_timer);
    uplink->timer.data = uplink;
    uplink->via = config->via != NULL ? strdup(config->via) : NULL;
    uplink->netwatch = netwatch_new(loop, 0, network_changed, uplink);
    bool whole = uplink->netwatch != NULL && (!config->via || uplink->via != NULL);
    if (config->ssh_command) {
        uplink->ssh_command = strdup(config->ssh_command);
        uplink->folder = strdup(config->folder);
        whole = whole && uplink->ssh_command != NULL && uplink->folder != NULL;
    }
    if (!whole) {
        uplink_free(uplink);
        return NULL;
    }
    return uplink;
}

void
uplink_login(struct uplink *uplink, const struct cbx_keypair *key)
{
    uplink->key = *key;
    uplink->has_key = true;
}

void
uplink_start(struct uplink *uplink)
{
    if (uplink->state != STOPPED && uplink->state != WAITING)
        return;
    set_state(uplink, STARTING);
    set_timer(uplink, 0);
}

void
uplink_lost(struct uplink *uplink, int64_t retry_ms)
{
    if (uplink->state != UP)
        return;
    if (cbx_clock_us() - uplink->up_since_us >= (int64_t)STABLE_LINK_MS * 1000)
        backoff_reset(&uplink->backoff);
    uplink->by_hub = retry_ms > 0;
    if (retry_ms <= 0)
        retry_ms = backoff_next(&uplink->backoff, BACKOFF_OTHER, randombytes_uniform);
    wait_for(uplink, retry_ms);
}

void
uplink_stop(struct uplink *uplink)
{
    drop_attempt(uplink);
    if (uplink->state != STOPPED)
        set_state(uplink, STOPPED);
}

void
uplink_free(struct uplink *uplink)
{
    if (!uplink)
        return;
    drop_attempt(uplink);
    netwatch_free(uplink->netwatch);
    if (uplink->via)
        sodium_memzero(uplink->via, strlen(uplink->via)); /* it may hold a password */
    free(uplink->via);
    free(uplink->ssh_command);
    free(uplink->folder);
    sodium_memzero(&uplink->key, sizeof uplink->key);
    free(uplink);
}

const char *
uplink_state(const struct uplink *uplink)
{
    switch (uplink->state) {
    case STOPPED:
        return "stopped";
    case STARTING:
        return "connecting";
    case TRYING:
        return attempt_state(uplink->attempt);
    case UP:
        return "up";
    case WAITING:
        break;
    }
    return uplink->waiting_text;
}

const char *
uplink_address(const struct uplink *uplink)
{
    return uplink->places.item[uplink->address].address;
}

void
uplink_move(struct uplink *uplink, const struct places *places)
{
    uint32_t now = places_find(places, uplink_address(uplink));
    uplink->places = *places;
    uplink->address = now < places->count ? now : places->first;
}

const struct places *
uplink_places(const struct uplink *uplink)
{
    return &uplink->places;
}
