/* SPDX-License-Identifier: MIT */
/* Links of agents: from the key that sshd checked to an attached peer, and to its end. */
#include "common/base/log.h"
#include "hub/core/internal.h"
#include <stdlib.h>
#include <string.h>

enum { PROTOCOL_VERSION = 1, SWEEP_US = 250 * 1000 };

static void link_free(struct hub_link *link);

int64_t
hub_now(const struct hub_core *core)
{
    return core->ops->now_us(core->arg);
}

void
hub_link_wake(struct hub_link *link)
{
    if (link->dirty)
        return;
    link->dirty = true;
    TAILQ_INSERT_TAIL(&link->core->dirty, link, dirty_entry);
    link->core->ops->wake(link->core->arg);
}

void
hub_link_shed(struct hub_link *link)
{
    link->shed++;
    link->core->count.shed++;
}

struct hub_link *
hub_peer_link(const struct reg_peer *peer)
{
    struct hub_link *link = peer->live;
    return link && link->phase == HUB_READY ? link : NULL;
}

uint64_t
hub_core_commit(struct hub_core *core)
{
    core->ops->commit(core->arg, ++core->ticket);
    return core->ticket;
}

/* ---- ends ---- */

/* Parts the link from its peer; its circuits go, the pond hears of it. */
static void
detach(struct hub_link *link)
{
    struct reg_peer *peer = link->peer;
    hub_lane_forget(link);
    hub_switch_link_gone(link);
    hub_allowance_leave(&link->core->allowances, &link->allowance);
    link->peer = NULL;
    if (!peer || peer->live != link)
        return;
    peer->live = NULL;
    hub_directory_tell(link->core, peer, false);
}

void
hub_link_bye(struct hub_link *link, enum cbx_reason reason, uint32_t retry_ms, const char *text)
{
    if (link->phase == HUB_CLOSING)
        return;
    struct cbx_field fields[] = {cbx_field_uint(reason), cbx_field_uint(retry_ms),
                                 cbx_field_text(text)};
    cbx_link_send(&link->pump.link, CBX_FRAME_BYE, 0, fields, 3);
    link->phase = HUB_CLOSING;
    link->deadline = hub_now(link->core) + HUB_CLOSING_US;
    detach(link);
    cbx_pump_close_soon(&link->pump);
    hub_link_wake(link);
}

static void
link_free(struct hub_link *link)
{
    struct hub_core *core = link->core;
    detach(link);
    if (link->dirty)
        TAILQ_REMOVE(&core->dirty, link, dirty_entry);
    if (link->ack_waits)
        TAILQ_REMOVE(&core->acks, link, ack_entry);
    TAILQ_REMOVE(&core->links, link, entry);
    hub_plane_link_over(link);
    cbx_pump_dispose(&link->pump);
    free(link);
}

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
    cbx_log_info("%s.%s.cbx lost its lane, back to ssh: %s", link->slug, link->pond, text);
    link_free(link);
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
        cbx_log_info("%s.%s.cbx left: %s", link->slug, link->pond, text);
    else if (result != CBX_OK && link->phase != HUB_CLOSING)
        cbx_log_info("connection %llu from %s ended before it was attached: %s",
                     (unsigned long long)link->connection, link->address, text);
    if (cbx_pump_breach(result))
        link->core->count.breaches++;
    link_free(link);
}

/* ---- attaching ---- */

/* The new generation ends the old one at once (rule 7). */
static void
evict(struct hub_core *core, struct reg_peer *peer, const uint8_t incarnation[CBX_INCARNATION_SIZE])
{
    struct hub_link *old = peer->live;
    if (!old)
        return;
    bool same = memcmp(old->incarnation, incarnation, CBX_INCARNATION_SIZE) == 0;
    core->count.evicted++;
    if (same) {
        hub_link_bye(old, CBX_REASON_LOST, 0, "replaced by a newer connection of this agent");
        return;
    }
    cbx_log_warn("%s.%s.cbx: another process attached with this identity, the older one was told",
                 peer->slug, peer->pond);
    hub_link_bye(old, CBX_REASON_SUPERSEDED, 0,
                 "another process attached with this identity (a copy of the state folder?)");
}

static int
take_agent_hello(struct hub_link *link, const struct cbx_frame *frame, struct cbx_error *error)
{
    struct hub_core *core = link->core;
    if (link->kind != REG_LOGIN_PEER)
        return cbx_fail(error, CBX_ERR_STATE, "a link with an invite's key may only join");
    if (frame->field[0].u != PROTOCOL_VERSION) {
        hub_link_bye(link, CBX_REASON_PROTOCOL, 0, "this hub speaks protocol version 1");
        return 0;
    }
    struct reg_login login = registry_login(core->registry, link->fingerprint);
    if (login.kind != REG_LOGIN_PEER) {
        hub_link_bye(link, CBX_REASON_REVOKED, 0, "this identity is not registered here any more");
        return 0;
    }
    memcpy(link->incarnation, frame->field[1].p, CBX_INCARNATION_SIZE);
    cbx_field_copy(link->software, sizeof link->software, &frame->field[3]);
    if (!hub_allowance_join(&core->allowances, &link->allowance)) {
        hub_link_bye(link, CBX_REASON_OVERLOADED, 5000,
                     "the hub's --queue-max is used up by the links it has");
        return 0;
    }
    evict(core, login.peer, link->incarnation);
    link->peer = login.peer;
    link->peer->live = link;
    registry_next_generation(core->registry, login.peer, core->ops->now_unix_ms(core->arg));
    registry_burn(core->registry, login.peer);
    link->phase = HUB_COMMITTING;
    link->deadline = 0;
    link->ticket = hub_core_commit(core);
    return 0;
}

static void
welcome(struct hub_link *link)
{
    struct hub_core *core = link->core;
    struct cbx_field fields[] = {cbx_field_text(link->pond),
                                 cbx_field_text(link->slug),
                                 cbx_field_uint(link->peer->generation),
                                 cbx_field_uint(link->allowance.value),
                                 cbx_field_text(link->address),
                                 cbx_field_uint(core->config.direct)};
    link->phase = HUB_READY;
    link->since_unix = core->ops->now_unix_ms(core->arg) / 1000;
    core->count.attached++;
    cbx_link_send(&link->pump.link, CBX_FRAME_WELCOME, 0, fields, 6);
    cbx_link_ping(&link->pump.link, hub_now(core));
    hub_directory_snapshot(link);
    if (link->phase != HUB_READY)
        return;
    hub_directory_tell(core, link->peer, false);
    cbx_log_info("%s.%s.cbx attached from %s", link->slug, link->pond, link->address);
}

/* ---- frames ---- */

static int
take_ready_frame(struct hub_link *link, const struct cbx_frame *frame, int64_t now,
                 struct cbx_error *error)
{
    switch (frame->type) {
    case CBX_FRAME_WANT:
        hub_core_want(link, now);
        return 0;
    case CBX_FRAME_LANE_GET:
        return hub_lane_get(link, frame, now);
    case CBX_FRAME_ALLOWED:
        hub_core_allowed(link, frame->field[0].u);
        return 0;
    case CBX_FRAME_CHAIN_GET:
        if (cbx_rate_take(&link->chains, 500, 10000, now))
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
        if (frame->field[0].u == CBX_REASON_PROTOCOL)
            cbx_log_warn("%s.%s.cbx breaks off: %.*s", link->slug, link->pond,
                         (int)frame->field[2].n, (const char *)frame->field[2].p);
        hub_link_bye(link, CBX_REASON_GOING_AWAY, 0, "goodbye");
        return 0;
    }
    if (link->phase == HUB_HELLO && frame->type == CBX_FRAME_AGENT_HELLO)
        return take_agent_hello(link, frame, error);
    if (link->phase == HUB_HELLO && frame->type == CBX_FRAME_JOIN)
        return hub_join_take(link, frame, error);
    if (link->phase != HUB_READY)
        return cbx_fail(error, CBX_ERR_STATE, "%s before the link is ready",
                        cbx_frame_name(frame->type));
    int result = take_ready_frame(link, frame, now, error);
    if (result == 0 && link->shed > HUB_SHED_MAX)
        return cbx_fail(error, CBX_ERR_LIMIT, "too many frames beyond their rate");
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

struct hub_core *
hub_core_new(const struct hub_core_config *config, struct registry *registry,
             const struct hub_core_ops *ops, void *arg)
{
    struct hub_core *core = calloc(1, sizeof *core);
    if (!core)
        return NULL;
    core->config = *config;
    if (!core->config.keepalive_us)
        core->config.keepalive_us = 15 * 1000 * 1000;
    if (!core->config.gone_us)
        core->config.gone_us = 45 * 1000 * 1000;
    if (!core->config.hello_us)
        core->config.hello_us = 10 * 1000 * 1000;
    if (!core->config.allowed_us)
        core->config.allowed_us = 10 * 1000 * 1000;
    if (!core->config.queue_max)
        core->config.queue_max = 1ull << 30;
    core->registry = registry;
    core->ops = ops;
    core->arg = arg;
    core->allowances.total = core->config.queue_max;
    core->least_wanted = UINT64_MAX;
    core->started_unix = ops->now_unix_ms(arg) / 1000;
    TAILQ_INIT(&core->links);
    TAILQ_INIT(&core->dirty);
    TAILQ_INIT(&core->acks);
    TAILQ_INIT(&core->reap);
    core->swept_at = ops->now_us(arg);
    return core;
}

void
hub_core_free(struct hub_core *core)
{
    if (!core)
        return;
    while (!TAILQ_EMPTY(&core->links)) {
        link_free(TAILQ_FIRST(&core->links));
        hub_switch_reap(core);
    }
    hub_switch_reap(core);
    free(core);
}

static void
greet(struct hub_link *link, const struct reg_login *login)
{
    struct cbx_field hello[] = {
        cbx_field_uint(PROTOCOL_VERSION), cbx_field_uint(login->kind == REG_LOGIN_INVITE),
        cbx_field_text(link->core->config.software ? link->core->config.software : "cbx-hub")};
    cbx_link_send(&link->pump.link, CBX_FRAME_HUB_HELLO, 0, hello, 3);
    if (login->kind != REG_LOGIN_INVITE)
        return;
    struct cbx_field offer[] = {
        cbx_field_text(login->invite->slug),
        cbx_field_bytes(login->invite->cert.bytes, login->invite->cert.length)};
    cbx_link_send(&link->pump.link, CBX_FRAME_JOIN_OFFER, 0, offer, 2);
}

int
hub_core_attach(struct hub_core *core, struct cbx_carrier *carrier, const char *fingerprint,
                uint64_t connection, const char *address)
{
    struct reg_login login = registry_login(core->registry, fingerprint);
    struct hub_link *link = login.kind == REG_LOGIN_NONE ? NULL : calloc(1, sizeof *link);
    if (!link) {
        core->count.unknown_logins += login.kind == REG_LOGIN_NONE;
        carrier->ops->close(carrier);
        return login.kind == REG_LOGIN_NONE ? CBX_ERR_NOTFOUND : CBX_ERR_NOMEM;
    }
    link->core = core;
    link->kind = login.kind;
    link->connection = connection;
    link->phase = HUB_HELLO;
    link->began = hub_now(core);
    link->deadline = link->began + core->config.hello_us;
    const char *pond = login.peer ? login.peer->pond : login.invite->pond;
    const char *slug = login.peer ? login.peer->slug : login.invite->slug;
    memcpy(link->pond, pond, strlen(pond) + 1);
    memcpy(link->slug, slug, strlen(slug) + 1);
    strncpy(link->fingerprint, fingerprint, sizeof link->fingerprint - 1);
    strncpy(link->address, address, sizeof link->address - 1);
    TAILQ_INSERT_TAIL(&core->links, link, entry);
    struct cbx_link_config config = {
        .hub = true, .keepalive_us = core->config.keepalive_us, .gone_us = core->config.gone_us};
    int result = cbx_pump_start(&link->pump, carrier, &config, &link_ops, link, core->ops->now_us,
                                pump_over, link);
    if (result < 0) {
        link_free(link);
        return result;
    }
    if (core->shutting_down)
        hub_link_bye(link, CBX_REASON_GOING_AWAY, 2000, "the hub is shutting down");
    else
        greet(link, &login);
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
            welcome(link);
    }
}

static int64_t
sweep(struct hub_core *core, int64_t now)
{
    core->swept_at = now;
    cbx_slab_tick();
    struct hub_link *link, *next;
    for (link = TAILQ_FIRST(&core->links); link; link = next) {
        next = TAILQ_NEXT(link, entry);
        link->shed -= (link->shed + 63) / 64; /* forgiven within about a minute */
        if (link->deadline && now >= link->deadline && link->phase == HUB_CLOSING) {
            link_free(link);
        } else if (link->deadline && now >= link->deadline) {
            core->count.never_spoke++;
            cbx_log_info("connection %llu from %s logged in and then said nothing, closed",
                         (unsigned long long)link->connection, link->address);
            hub_link_bye(link, CBX_REASON_TIMED_OUT, 0, "you logged in and then said nothing");
        } else if (hub_core_keeps_allowance(link, now)) {
            core->count.allowances_kept++;
            cbx_log_warn("%s.%s.cbx does not answer that its allowance is lowered, closed",
                         link->slug, link->pond);
            hub_link_bye(link, CBX_REASON_TIMED_OUT, 0,
                         "you did not answer that your allowance is lowered");
        } else if (cbx_link_deadline(&link->pump.link) <= now) {
            hub_link_wake(link);
        }
    }
    hub_core_look_for_room(core, now);
    return now + SWEEP_US;
}

/* A turn costs what has something to do, not what is attached: a link that comes to owe an ack
 * wakes, and from then on it is here until it owes none. Returns the earliest of what is not due
 * yet, or `due`. */
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
    TAILQ_REMOVE(&core->dirty, link, dirty_entry);
    link->dirty = false;
    core->looked++;
    if (!cbx_pump_flush(&link->pump))
        return; /* freed */
    if (link->pump.link.ack_at && !link->ack_waits) {
        TAILQ_INSERT_TAIL(&core->acks, link, ack_entry);
        link->ack_waits = true;
    }
    hub_switch_reap(core);
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
    hub_switch_reap(core);
    due = look_at_acks(core, now, due);
    if (TAILQ_EMPTY(&core->links))
        return -1;
    return due > now ? due - now : 0;
}

/* ---- commands ---- */

int
hub_core_add_invite(struct hub_core *core, const uint8_t pond_public[32], const uint8_t *cert,
                    size_t length, const uint8_t login_key[32], struct reg_invite **out,
                    uint64_t *ticket, struct cbx_error *error)
{
    int result = registry_add_invite(core->registry, pond_public, cert, length, login_key,
                                     core->ops->now_unix_ms(core->arg) / 1000, out, error);
    if (result == 0)
        *ticket = hub_core_commit(core);
    return result;
}

int
hub_core_drop_invite(struct hub_core *core, const char *id, uint64_t *ticket,
                     struct cbx_error *error)
{
    int result = registry_drop_invite(core->registry, id, error);
    if (result == 0)
        *ticket = hub_core_commit(core);
    return result;
}

int
hub_core_revoke(struct hub_core *core, const char *pond, const char *slug, uint64_t *ticket,
                struct cbx_error *error)
{
    struct reg_peer *peer = registry_remove_peer(core->registry, pond, slug);
    if (!peer)
        return cbx_fail(error, CBX_ERR_NOTFOUND, "no peer %s in pond %s (see cbx-hub peers)", slug,
                        pond);
    struct hub_link *link = peer->live;
    peer->live = NULL;
    if (link) {
        link->peer = NULL;
        hub_link_bye(link, CBX_REASON_REVOKED, 0, "this lease was revoked by the operator");
    }
    hub_directory_tell(core, peer, true);
    core->count.revoked++;
    reg_peer_free(peer);
    *ticket = hub_core_commit(core);
    return 0;
}

void
hub_core_expire(struct hub_core *core)
{
    if (registry_expire(core->registry, core->ops->now_unix_ms(core->arg) / 1000))
        hub_core_commit(core);
}

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
