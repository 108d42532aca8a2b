/* SPDX-License-Identifier: MIT */
/*
 * The life of links: attached, fed frames by phase, swept four times a second, flushed before each
 * sleep of the loop. A turn costs what has something to do, not what is attached. Tested by
 * sim_rules, sim_load and fuzz_hub, as most of the engine.
 */
#include "hub/core/core.h"
#include "common/base/log.h"
#include "common/link/rates.h"
#include "hub/core/budget.h"
#include "hub/core/bye.h"
#include "hub/core/circuit.h"
#include "hub/core/directory.h"
#include "hub/core/edit.h"
#include "hub/core/hello.h"
#include "hub/core/join.h"
#include "hub/core/lane.h"
#include "hub/core/link.h"
#include "hub/core/switch.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { SECOND_US = 1000 * 1000, SWEEP_US = 250 * 1000, UNGREETED_MAX = 3 };
enum { HELLO_DEFAULT_US = 10 * SECOND_US, ALLOWED_DEFAULT_US = 10 * SECOND_US };
static const uint64_t QUEUE_MAX_DEFAULT = UINT64_C(1) << 30;

/* ---- ends ---- */

/* The lane is gone and the SSH connection is not: the agent greets anew over it. */
static void
begin_anew(struct hub_link *link, const char *text)
{
    struct hub_core *core = link->core;
    struct cbx_carrier *carrier = link->pump.left;
    char fingerprint[CBX_FINGERPRINT_TEXT_MAX], address[sizeof link->address];
    uint64_t connection = link->connection;
    memcpy(fingerprint, link->fingerprint, sizeof fingerprint);
    memcpy(address, link->address, sizeof address);
    bool closing = link->phase == HUB_CLOSING;
    core->count.lanes_lost++;
    cbx_log_info("%s lost its lane, falling back to ssh: %s", link->name, text);
    hub_link_free(link);
    if (closing)
        carrier->ops->close(carrier);
    else
        hub_core_attach(core, carrier, fingerprint, connection, address);
}

static void
pump_over(void *arg, struct cbx_pump *pump, int result, const char *text)
{
    struct hub_link *link = arg;
    if (pump->left) {
        begin_anew(link, text);
        return;
    }
    if (link->phase == HUB_READY)
        cbx_log_info("%s left: %s", link->name, text);
    else if (result != CBX_OK && link->phase != HUB_CLOSING)
        cbx_log_info("connection %llu from %s ended before it was attached: %s",
                     (unsigned long long)link->connection, link->address, text);
    if (cbx_pump_breach(result))
        link->core->count.breaches++;
    hub_link_free(link);
}

/* ---- frames ---- */

static int
take_ready_frame(struct hub_link *link, const struct cbx_frame *frame, int64_t now,
                 struct cbx_error *error)
{
    switch (frame->type) {
    case CBX_FRAME_WANT:
        hub_budget_want(link, now);
        return 0;
    case CBX_FRAME_LANE_GET:
        return hub_lane_get(link, frame, now);
    case CBX_FRAME_ALLOWED:
        hub_budget_allowed(link, frame->field[CBX_ALLOWED_SEQUENCE].u);
        return 0;
    case CBX_FRAME_CHAIN_GET:
        if (cbx_rate_allows(&link->peer->rates.chains, &CBX_RATE_CHAIN_GET, now))
            hub_directory_chain(link, frame);
        else
            hub_link_shed(link);
        return 0;
    case CBX_FRAME_HANDSHAKE:
    case CBX_FRAME_CONFIRM:
    case CBX_FRAME_NO_HANDSHAKE:
    case CBX_FRAME_RENDEZVOUS:
        return hub_directory_pass(link, frame, now, error);
    default:
        if (cbx_frame_has_label(frame->type))
            return hub_switch_frame(link, frame, now, error);
        return cbx_fail(error, CBX_ERR_STATE, "%s is not for the hub", cbx_frame_name(frame->type));
    }
}

/* Which frame is legal in which phase; everything else ends the link. */
static int
take_frame(void *owner, struct cbx_link *unused, const struct cbx_frame *frame, int64_t now,
           struct cbx_error *error)
{
    (void)unused;
    struct hub_link *link = owner;
    if (link->phase == HUB_CLOSING)
        return 0;
    if (frame->type == CBX_FRAME_BYE) {
        const struct cbx_field *text = &frame->field[CBX_BYE_TEXT];
        if (frame->field[CBX_BYE_REASON].u == CBX_REASON_PROTOCOL)
            cbx_log_warn("%s reported a protocol error: %.*s", link->name, (int)text->n,
                         (const char *)text->p);
        hub_link_bye(link, CBX_REASON_GOING_AWAY, 0, "goodbye");
        return 0;
    }
    if (link->phase == HUB_HELLO && frame->type == CBX_FRAME_AGENT_HELLO)
        return hub_hello_take(link, frame, error);
    if (link->phase == HUB_HELLO && frame->type == CBX_FRAME_JOIN)
        return hub_join_take(link, frame, error);
    if (link->phase != HUB_READY)
        return cbx_fail(error, CBX_ERR_STATE, "%s before the link is ready",
                        cbx_frame_name(frame->type));
    int result = take_ready_frame(link, frame, now, error);
    if (result == 0 && link->floods)
        return cbx_fail(error, CBX_ERR_LIMIT, "too many frames over the rate limit");
    return result;
}

static void
on_wake(void *owner, struct cbx_link *unused)
{
    (void)unused;
    hub_link_wake(owner);
}

static const struct cbx_link_ops link_ops = {.frame = take_frame, .wake = on_wake};

/* ---- the core ---- */

static struct hub_core_config
with_defaults(const struct hub_core_config *config)
{
    struct hub_core_config out = *config;
    out.keepalive_us = out.keepalive_us ? out.keepalive_us : CBX_LINK_KEEPALIVE_US;
    out.gone_us = out.gone_us ? out.gone_us : CBX_LINK_GONE_US;
    out.hello_us = out.hello_us ? out.hello_us : HELLO_DEFAULT_US;
    out.allowed_us = out.allowed_us ? out.allowed_us : ALLOWED_DEFAULT_US;
    out.queue_max = out.queue_max ? out.queue_max : QUEUE_MAX_DEFAULT;
    out.software = out.software ? out.software : "cbx-hub";
    return out;
}

struct hub_core *
hub_core_new(const struct hub_core_config *config, struct registry *registry,
             const struct hub_core_ops *ops, void *arg)
{
    struct hub_core *core = calloc(1, sizeof *core);
    if (!core)
        return NULL;
    core->config = with_defaults(config);
    core->registry = registry;
    core->ops = ops;
    core->arg = arg;
    core->allowances.total = core->config.queue_max;
    core->least_wanted = UINT64_MAX;
    core->started_unix = hub_now_unix(core);
    TAILQ_INIT(&core->links);
    TAILQ_INIT(&core->dirty);
    TAILQ_INIT(&core->acks);
    TAILQ_INIT(&core->unanswered);
    TAILQ_INIT(&core->reap);
    core->swept_at = hub_now(core);
    return core;
}

void
hub_core_free(struct hub_core *core)
{
    if (!core)
        return;
    while (!TAILQ_EMPTY(&core->links)) {
        hub_link_free(TAILQ_FIRST(&core->links));
        hub_circuits_reap(core);
    }
    hub_circuits_reap(core);
    free(core);
}

/* A link in HELLO, in the core's list; its pump has not started. NULL when memory is short. */
static struct hub_link *
link_new(struct hub_core *core, const struct reg_login *login, const char *fingerprint,
         uint64_t connection, const char *address)
{
    struct hub_link *link = calloc(1, sizeof *link);
    if (!link)
        return NULL;
    const char *pond = login->peer ? login->peer->pond : login->invite->pond;
    const char *slug = login->peer ? login->peer->slug : login->invite->slug;
    link->core = core;
    link->kind = login->kind;
    link->connection = connection;
    link->phase = HUB_HELLO;
    link->began = hub_now(core);
    link->deadline = link->began + core->config.hello_us;
    memcpy(link->pond, pond, strlen(pond) + 1);
    memcpy(link->slug, slug, strlen(slug) + 1);
    (void)snprintf(link->name, sizeof link->name, "%s.%s.cbx", slug, pond);
    strncpy(link->fingerprint, fingerprint, sizeof link->fingerprint - 1);
    strncpy(link->address, address, sizeof link->address - 1);
    TAILQ_INSERT_TAIL(&core->links, link, entry);
    return link;
}

/* Each login that has not greeted yet holds two processes: the oldest of too many of one key goes,
 * since the newest is most likely the one that somebody waits for. */
static void
make_room(struct hub_core *core, const char *fingerprint)
{
    struct hub_link *link, *oldest = NULL;
    uint32_t count = 0;
    TAILQ_FOREACH(link, &core->links, entry) {
        if (link->phase != HUB_HELLO || strcmp(link->fingerprint, fingerprint) != 0)
            continue;
        oldest = oldest ? oldest : link;
        count++;
    }
    if (count >= UNGREETED_MAX)
        hub_link_bye(oldest, CBX_REASON_OVERLOADED, 0, "this key has logged in again and again");
}

int
hub_core_attach(struct hub_core *core, struct cbx_carrier *carrier, const char *fingerprint,
                uint64_t connection, const char *address)
{
    struct reg_login login = registry_login(core->registry, fingerprint);
    bool known = login.kind != REG_LOGIN_NONE;
    if (known)
        make_room(core, fingerprint);
    struct hub_link *link = known ? link_new(core, &login, fingerprint, connection, address) : NULL;
    if (!link) {
        core->count.unknown_logins += !known;
        carrier->ops->close(carrier);
        return known ? CBX_ERR_NOMEM : CBX_ERR_NOTFOUND;
    }
    struct cbx_link_config config = {
        .hub = true, .keepalive_us = core->config.keepalive_us, .gone_us = core->config.gone_us};
    int result = cbx_pump_start(&link->pump, carrier, &config, &link_ops, link, core->ops->now_us,
                                pump_over, link);
    if (result < 0) {
        hub_link_free(link);
        return result;
    }
    if (core->shutting_down)
        hub_link_bye(link, CBX_REASON_GOING_AWAY, 2000, "the hub is shutting down");
    else
        hub_hello_say(link, &login);
    hub_link_wake(link);
    return 0;
}

void
hub_core_committed(struct hub_core *core, uint64_t ticket, int result)
{
    if (ticket > core->committed)
        core->committed = ticket;
    struct hub_link *link, *next;
    for (link = TAILQ_FIRST(&core->links); link; link = next) {
        next = TAILQ_NEXT(link, entry);
        if (link->phase != HUB_COMMITTING || link->ticket > ticket)
            continue;
        if (result < 0)
            hub_link_bye(link, CBX_REASON_INTERNAL, 5000, "the hub cannot write its registry");
        else if (link->kind == REG_LOGIN_INVITE)
            hub_join_done(link);
        else if (link->peer)
            hub_hello_welcome(link);
    }
}

/* ---- turns ---- */

/* What a link's clocks say; may free it. */
static void
sweep_link(struct hub_link *link, int64_t now)
{
    struct hub_core *core = link->core;
    if (link->deadline && now >= link->deadline && link->phase == HUB_CLOSING) {
        hub_link_free(link);
    } else if (link->deadline && now >= link->deadline) {
        core->count.never_spoke++;
        cbx_log_info("connection %llu from %s logged in and sent no HELLO or JOIN in time, closed",
                     (unsigned long long)link->connection, link->address);
        hub_link_bye(link, CBX_REASON_TIMED_OUT, 0,
                     "no HELLO or JOIN came in time after the login");
    } else if (hub_budget_overdue(link, now)) {
        core->count.allowances_kept++;
        cbx_log_warn("%s did not confirm its lowered allowance in time, closed", link->name);
        hub_link_bye(link, CBX_REASON_TIMED_OUT, 0,
                     "the lowered allowance was not confirmed in time");
    } else if (cbx_link_deadline(&link->pump.link) <= now) {
        hub_link_wake(link);
    }
}

static int64_t
sweep(struct hub_core *core, int64_t now)
{
    core->swept_at = now;
    cbx_slab_tick();
    if (now - core->expired_at >= SECOND_US) {
        core->expired_at = now;
        hub_core_expire(core);
    }
    struct hub_link *link, *next;
    for (link = TAILQ_FIRST(&core->links); link; link = next) {
        next = TAILQ_NEXT(link, entry);
        sweep_link(link, now);
    }
    hub_directory_tell_due(core, now);
    hub_circuits_sweep(core, now);
    hub_budget_sweep(core, now);
    return now + SWEEP_US;
}

/* A link that comes to owe an ack wakes, and from then on it is here until it owes none. Returns
 * the earliest of what is not due yet, or `due`. */
static int64_t
look_at_acks(struct hub_core *core, int64_t now, int64_t due)
{
    struct hub_link *link, *next;
    for (link = TAILQ_FIRST(&core->acks); link; link = next) {
        next = TAILQ_NEXT(link, ack_entry);
        int64_t ack = link->pump.link.ack_at;
        core->looked++;
        if (!ack) {
            TAILQ_REMOVE(&core->acks, link, ack_entry);
            link->ack_waits = false;
        } else if (ack <= now) {
            hub_link_wake(link);
        } else if (ack < due) {
            due = ack;
        }
    }
    return due;
}

static void
flush_link(struct hub_link *link)
{
    struct hub_core *core = link->core;
    if (link->behind && link->phase == HUB_READY)
        hub_link_bye(link, CBX_REASON_OVERLOADED, 1000,
                     "the link is too slow to receive the directory of its pond");
    TAILQ_REMOVE(&core->dirty, link, dirty_entry);
    link->dirty = false;
    core->looked++;
    if (!cbx_pump_flush(&link->pump))
        return; /* freed */
    if (link->pump.link.ack_at && !link->ack_waits) {
        TAILQ_INSERT_TAIL(&core->acks, link, ack_entry);
        link->ack_waits = true;
    }
    hub_circuits_reap(core);
}

int64_t
hub_core_flush(struct hub_core *core)
{
    int64_t now = hub_now(core), due = core->swept_at + SWEEP_US;
    if (now >= due)
        due = sweep(core, now);
    look_at_acks(core, now, due);
    struct hub_link *link;
    while ((link = TAILQ_FIRST(&core->dirty)))
        flush_link(link);
    hub_circuits_reap(core);
    due = look_at_acks(core, now, due);
    if (TAILQ_EMPTY(&core->links))
        return -1;
    return due > now ? due - now : 0;
}

/* ---- the end ---- */

void
hub_core_shutdown(struct hub_core *core, uint32_t retry_ms)
{
    core->shutting_down = true;
    struct hub_link *link, *next;
    for (link = TAILQ_FIRST(&core->links); link; link = next) {
        next = TAILQ_NEXT(link, entry);
        hub_link_bye(link, CBX_REASON_GOING_AWAY, retry_ms, "the hub is shutting down");
    }
}

bool
hub_core_idle(const struct hub_core *core)
{
    return TAILQ_EMPTY(&core->links);
}
