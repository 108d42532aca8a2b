/* SPDX-License-Identifier: MIT */
/* The agent's link to the hub: greeting, directory, allowance, and the turn of the engine. */
#include "agent/mesh/internal.h"
#include "common/base/log.h"
#include "common/crypto/aead_choice.h"
#include <sodium.h>
#include <stdlib.h>
#include <string.h>

enum { PROTOCOL_VERSION = 1, SWEEP_US = 500 * 1000, WANT_EVERY_US = 50 * 1000 };

int64_t
mesh_now(const struct mesh *mesh)
{
    return mesh->ops->now_us(mesh->arg);
}

void
mesh_wake(struct mesh *mesh)
{
    mesh->ops->wake(mesh->arg);
}

static uint64_t
or_default(uint64_t value, uint64_t fallback)
{
    return value ? value : fallback;
}

static void
set_defaults(struct mesh_config *config)
{
    config->keepalive_us = (int64_t)or_default((uint64_t)config->keepalive_us, 15 * 1000 * 1000);
    config->gone_us = (int64_t)or_default((uint64_t)config->gone_us, 45 * 1000 * 1000);
    config->dial_timeout_us =
        (int64_t)or_default((uint64_t)config->dial_timeout_us, 30 * 1000 * 1000);
    config->receive_budget = or_default(config->receive_budget, 128ull << 20);
    config->send_budget = or_default(config->send_budget, 64ull << 20);
}

static int
copy_known(struct mesh *mesh, const struct mesh_known *known, size_t count)
{
    mesh->known_room = count + 16;
    mesh->known = calloc(mesh->known_room, sizeof *mesh->known);
    if (!mesh->known)
        return CBX_ERR_NOMEM;
    if (count)
        memcpy(mesh->known, known, count * sizeof *known);
    mesh->known_count = count;
    return 0;
}

struct mesh *
mesh_new(const struct mesh_config *config, const struct mesh_known *known, size_t known_count,
         const struct mesh_ops *ops, void *arg)
{
    struct mesh *mesh = calloc(1, sizeof *mesh);
    if (!mesh)
        return NULL;
    mesh->config = *config;
    set_defaults(&mesh->config);
    mesh->ops = ops;
    mesh->arg = arg;
    mesh->invite_cert = *config->invite_cert;
    mesh->peer_cert = *config->peer_cert;
    cbx_chain_hash(&mesh->invite_cert, &mesh->peer_cert, mesh->chain_hash);
    randombytes_buf(mesh->incarnation, sizeof mesh->incarnation);
    TAILQ_INIT(&mesh->streams);
    TAILQ_INIT(&mesh->waiting);
    TAILQ_INIT(&mesh->opening);
    TAILQ_INIT(&mesh->parked);
    TAILQ_INIT(&mesh->delayed_acks);
    TAILQ_INIT(&mesh->reap);
    TAILQ_INIT(&mesh->loops);
    TAILQ_INIT(&mesh->rendezvous);
    TAILQ_INIT(&mesh->moving);
    TAILQ_INIT(&mesh->directs);
    mesh->next_counter = 1;
    mesh->aead = cbx_aead_new();
    mesh->software = strdup(config->software ? config->software : "cbx-agent");
    mesh->swept_at = mesh_now(mesh);
    struct cbx_invite_cert *own = calloc(1, sizeof *own);
    if (own && cbx_invite_cert_open(mesh->invite_cert.bytes, mesh->invite_cert.length,
                                    config->pond_public, own, NULL) == 0)
        mesh->own_serial = own->serial;
    if (!own || !mesh->aead || !mesh->software || copy_known(mesh, known, known_count) < 0) {
        free(own);
        mesh_free(mesh);
        return NULL;
    }
    free(own);
    mesh->env = (struct cbx_stream_env){.ops = &mesh_stream_ops,
                                        .aead = mesh->aead,
                                        .send_used = &mesh->send_used,
                                        .send_total = mesh->config.send_budget,
                                        .epoch_bytes_max = 64ull << 30,
                                        .epoch_records_max = 1ull << 32};
    return mesh;
}

void
mesh_free(struct mesh *mesh)
{
    if (!mesh)
        return;
    mesh->closing = true;
    mesh_directs_close(mesh, false);
    mesh_streams_leave(mesh, &mesh->pump.link, CBX_REASON_GOING_AWAY);
    mesh_streams_leave(mesh, NULL, CBX_REASON_GOING_AWAY);
    mesh_streams_refuse_waiting(mesh, NULL, CBX_REASON_GOING_AWAY);
    mesh_loops_free(mesh);
    mesh_streams_free(mesh);
    if (mesh->has_pump)
        cbx_pump_dispose(&mesh->pump);
    struct mesh_peer *peer, *next;
    HASH_ITER(hh, mesh->peers, peer, next)
        mesh_peer_free(peer);
    cbx_aead_free(mesh->aead);
    free(mesh->known);
    free(mesh->software);
    sodium_memzero(mesh, sizeof *mesh);
    free(mesh);
}

bool
mesh_attached(const struct mesh *mesh)
{
    return mesh->phase == MESH_UP;
}

/* ---- allowance (rule 22) ---- */

/* Where lanes to peers may be made, a quarter of the budget is theirs in any case. */
static uint64_t
hub_share(const struct mesh *mesh)
{
    uint64_t all = mesh->config.receive_budget;
    return mesh->config.direct ? all - all / 4 : all;
}

static void
set_allowance(struct mesh *mesh, uint64_t value)
{
    mesh->allowance = value;
    mesh->budget.total = value < hub_share(mesh) ? value : hub_share(mesh);
    mesh->direct_budget.total = mesh->config.receive_budget - mesh->budget.total;
}

bool
mesh_may_grow(const struct mesh *mesh)
{
    return mesh->phase == MESH_UP && mesh->allowance < hub_share(mesh);
}

static void
ask_for_more(struct mesh *mesh, int64_t now)
{
    if (!mesh_may_grow(mesh))
        mesh->budget.cut = false;
    if (!mesh->budget.cut || now < mesh->want_at)
        return;
    mesh->budget.cut = false;
    mesh->want_at = now + WANT_EVERY_US;
    struct cbx_field field = cbx_field_uint(2 * mesh->allowance);
    cbx_link_send(&mesh->pump.link, CBX_FRAME_WANT, 0, &field, 1);
}

/* ---- frames ---- */

static int
take_hello(struct mesh *mesh, const struct cbx_frame *frame, struct cbx_error *error)
{
    if (mesh->phase != MESH_GREETING)
        return cbx_fail(error, CBX_ERR_STATE, "the hub greeted twice");
    if (frame->field[0].u != PROTOCOL_VERSION)
        return cbx_fail(error, CBX_ERR_STATE, "the hub speaks protocol version %llu, this agent %d",
                        (unsigned long long)frame->field[0].u, PROTOCOL_VERSION);
    if (frame->field[1].u != 0)
        return cbx_fail(error, CBX_ERR_STATE, "the hub takes this identity for an invite");
    cbx_field_copy(mesh->hub_software, sizeof mesh->hub_software, &frame->field[2]);
    mesh->phase = MESH_WAITING;
    mesh->hello_at = mesh_now(mesh);
    struct cbx_field fields[] = {cbx_field_uint(PROTOCOL_VERSION),
                                 cbx_field_bytes(mesh->incarnation, sizeof mesh->incarnation),
                                 cbx_field_uint(mesh->config.receive_budget),
                                 cbx_field_text(mesh->software)};
    return cbx_link_send(&mesh->pump.link, CBX_FRAME_AGENT_HELLO, 0, fields, 4);
}

/* Who we are stands in our certificate: the hub cannot rename us (rule 2). */
static int
take_welcome(struct mesh *mesh, const struct cbx_frame *frame, struct cbx_error *error)
{
    if (mesh->phase != MESH_WAITING)
        return cbx_fail(error, CBX_ERR_STATE, "WELCOME out of turn");
    if (!cbx_field_is(&frame->field[0], mesh->config.pond) ||
        !cbx_field_is(&frame->field[1], mesh->config.slug))
        return cbx_fail(error, CBX_ERR_AUTH,
                        "the hub calls this lease by a name that is not in its "
                        "certificate");
    mesh->generation = frame->field[2].u;
    mesh->welcome_at = mesh_now(mesh);
    set_allowance(mesh, frame->field[3].u);
    cbx_field_copy(mesh->seen_address, sizeof mesh->seen_address, &frame->field[4]);
    mesh->hub_direct = frame->field[5].u == 1;
    mesh->phase = MESH_SYNCING;
    struct mesh_peer *peer, *next;
    HASH_ITER(hh, mesh->peers, peer, next)
        peer->seen = false;
    return 0;
}

static int
take_allow(struct mesh *mesh, const struct cbx_frame *frame)
{
    mesh->allow_denied = frame->field[1].u == mesh->allowance;
    set_allowance(mesh, frame->field[1].u);
    mesh->dial_due = true; /* some may have waited for it */
    struct cbx_field field = cbx_field_uint(frame->field[0].u);
    return cbx_link_send(&mesh->pump.link, CBX_FRAME_ALLOWED, 0, &field, 1);
}

static int
take_bye(struct mesh *mesh, const struct cbx_frame *frame, struct cbx_error *error)
{
    mesh->bye = cbx_reason_of(frame->field[0].u, CBX_REASON_LOST);
    mesh->bye_retry_ms = frame->field[1].u < 3600000 ? (uint32_t)frame->field[1].u : 3600000;
    cbx_field_copy(mesh->bye_text, sizeof mesh->bye_text, &frame->field[2]);
    if (!mesh->bye_text[0])
        strcpy(mesh->bye_text, cbx_reason_text(mesh->bye)); /* people are told a cause */
    return cbx_fail(error, CBX_ERR_CLOSED, "%s", mesh->bye_text);
}

/* Once the directory is complete and the link is on what it has to be on. */
static void
come_up(struct mesh *mesh)
{
    if (!mesh->lane_since_unix && mesh_lane_up(mesh)) {
        mesh->lane_since_unix = mesh->ops->now_unix(mesh->arg);
        mesh_plane_settle(mesh);
    }
    if (mesh->phase != MESH_SYNCING || !mesh->synced || !mesh_lane_allows(mesh))
        return;
    mesh->phase = MESH_UP;
    mesh->dial_due = true;
    mesh->ops->attached(mesh->arg);
}

static int
take_directory(struct mesh *mesh, struct cbx_frame *frame, struct cbx_error *error)
{
    if (frame->type == CBX_FRAME_PEER) {
        int result = mesh_peer_listed(mesh, frame, error);
        mesh->dial_due = true;
        return result;
    }
    if (mesh->synced)
        return 0;
    mesh->synced = true;
    mesh->attached_unix = mesh->ops->now_unix(mesh->arg);
    mesh->count.attaches++;
    mesh_peers_synced(mesh);
    cbx_link_ping(&mesh->pump.link, mesh_now(mesh));
    if (mesh->config.lanes != CBX_LANES_OFF)
        mesh_lane_ask(mesh);
    come_up(mesh);
    return 0;
}

/* Which frame is legal in which phase; everything else ends the link. */
static int
take_frame(void *owner, struct cbx_link *link, const struct cbx_frame *borrowed, int64_t now,
           struct cbx_error *error)
{
    struct mesh *mesh = owner;
    struct cbx_frame frame = *borrowed;
    if (frame.type == CBX_FRAME_HUB_HELLO)
        return take_hello(mesh, &frame, error);
    if (frame.type == CBX_FRAME_WELCOME)
        return take_welcome(mesh, &frame, error);
    if (frame.type == CBX_FRAME_BYE)
        return take_bye(mesh, &frame, error);
    if (mesh->phase < MESH_SYNCING)
        return cbx_fail(error, CBX_ERR_STATE, "%s before WELCOME", cbx_frame_name(frame.type));
    switch (frame.type) {
    case CBX_FRAME_ALLOW:
        return take_allow(mesh, &frame);
    case CBX_FRAME_PEER:
    case CBX_FRAME_SYNCED:
        return take_directory(mesh, &frame, error);
    case CBX_FRAME_LANE:
        return mesh_lane_promised(mesh, &frame, error);
    case CBX_FRAME_NO_LANE:
        return mesh_lane_refused(mesh, &frame, error);
    case CBX_FRAME_CHAIN:
        mesh_peer_chain(mesh, &frame);
        return 0;
    case CBX_FRAME_HANDSHAKE:
        mesh_peer_handshake(mesh, &frame);
        return 0;
    case CBX_FRAME_CONFIRM:
        mesh_peer_confirm_frame(mesh, &frame);
        return 0;
    case CBX_FRAME_NO_HANDSHAKE:
        mesh_peer_no_handshake(mesh, &frame);
        return 0;
    case CBX_FRAME_RENDEZVOUS:
        mesh_rendezvous_frame(mesh, &frame);
        return 0;
    default:
        if (cbx_frame_has_label(frame.type))
            return mesh_stream_frame(mesh, link, &frame, now, error);
        return cbx_fail(error, CBX_ERR_STATE, "%s is not for an agent", cbx_frame_name(frame.type));
    }
}

static void
on_wake(void *owner, struct cbx_link *link)
{
    (void)link;
    mesh_wake(owner);
}

static void
on_batch_done(void *owner, struct cbx_link *link, int64_t now)
{
    (void)link;
    cbx_stream_flush(&((struct mesh *)owner)->env, now);
}

static const struct cbx_link_ops link_ops = {
    .frame = take_frame, .wake = on_wake, .batch_done = on_batch_done};

/* ---- the link's life ---- */

static void
drop_link(struct mesh *mesh)
{
    mesh->phase = MESH_DOWN;
    mesh->synced = mesh->lane_asked = false;
    mesh->lane_since_unix = 0;
    mesh_streams_leave(mesh, &mesh->pump.link, CBX_REASON_LOST);
    mesh_peers_link_lost(mesh);
    mesh_streams_free(mesh);
    mesh_plane_link_over(mesh);
    cbx_pump_dispose(&mesh->pump);
    mesh->has_pump = false;
}

static void
pump_over(void *arg, struct cbx_pump *pump, int result, const char *text)
{
    struct mesh *mesh = arg;
    struct cbx_carrier *left = pump->left;
    if (left) { /* the SSH connection stands: greet anew over it */
        mesh->count.lanes_lost++;
        drop_link(mesh);
        mesh->ops->no_lane(mesh->arg, true, text);
        if (mesh_attach(mesh, left) < 0)
            mesh->ops->link_lost(mesh->arg, CBX_REASON_LOST, 0, "out of memory");
        return;
    }
    enum cbx_reason reason = mesh->bye ? mesh->bye : CBX_REASON_LOST;
    if (!mesh->bye && cbx_pump_breach(result))
        reason = CBX_REASON_PROTOCOL;
    char line[CBX_ERROR_TEXT_MAX];
    strncpy(line, text, sizeof line - 1);
    line[sizeof line - 1] = '\0';
    uint32_t retry = mesh->bye_retry_ms;
    drop_link(mesh);
    mesh->ops->link_lost(mesh->arg, reason, retry, line);
}

static int64_t
pump_now(void *arg)
{
    return mesh_now(arg);
}

int
mesh_attach(struct mesh *mesh, struct cbx_carrier *carrier)
{
    if (mesh->has_pump)
        drop_link(mesh);
    mesh->bye = CBX_REASON_NONE;
    mesh->bye_retry_ms = 0;
    mesh->phase = MESH_GREETING;
    mesh->budget.total = 0; /* streams between two paths may still count there */
    mesh->budget.cut = false;
    struct cbx_link_config config = {
        .hub = false, .keepalive_us = mesh->config.keepalive_us, .gone_us = mesh->config.gone_us};
    int result =
        cbx_pump_start(&mesh->pump, carrier, &config, &link_ops, mesh, pump_now, pump_over, mesh);
    mesh->has_pump = result == 0;
    if (result < 0)
        mesh->phase = MESH_DOWN;
    mesh_wake(mesh);
    return result;
}

void
mesh_shutdown(struct mesh *mesh)
{
    mesh_directs_close(mesh, true);
    if (!mesh->has_pump)
        return;
    struct cbx_field fields[] = {cbx_field_uint(CBX_REASON_GOING_AWAY), cbx_field_uint(0),
                                 cbx_field_text("the agent stops")};
    cbx_link_send(&mesh->pump.link, CBX_FRAME_BYE, 0, fields, 3);
    mesh->bye = CBX_REASON_GOING_AWAY;
    cbx_pump_close_soon(&mesh->pump);
    mesh_wake(mesh);
}

void
mesh_known_stored(struct mesh *mesh)
{
    mesh->stored_version = mesh->asked_version;
    mesh_peers_stored(mesh);
    mesh->dial_due = true;
    mesh_wake(mesh);
}

int64_t
mesh_flush(struct mesh *mesh)
{
    int64_t now = mesh_now(mesh);
    if (now - mesh->swept_at >= SWEEP_US) {
        mesh->swept_at = now;
        cbx_slab_tick();
        mesh_peers_sweep(mesh, now);
        mesh_rendezvous_sweep_all(mesh, now);
    }
    mesh_streams_due(mesh, now);
    int64_t due = mesh_moves_due(mesh, now);
    mesh_loops_run(mesh);
    int64_t direct = mesh_directs_flush(mesh, now);
    due = direct < due ? direct : due;
    if (mesh->has_pump) {
        ask_for_more(mesh, now);
        if (cbx_pump_flush(&mesh->pump))
            come_up(mesh);
    }
    mesh_streams_free(mesh);
    now = mesh_now(mesh);
    int64_t streams = mesh_streams_deadline(mesh);
    if (streams >= 0 && streams < due)
        due = streams;
    if (mesh->swept_at + SWEEP_US < due)
        due = mesh->swept_at + SWEEP_US;
    if (mesh->has_pump) {
        int64_t link = cbx_link_deadline(&mesh->pump.link);
        if (link < due)
            due = link;
        if (mesh->budget.cut && mesh->want_at < due)
            due = mesh->want_at;
    }
    return due > now ? due - now : 0;
}
