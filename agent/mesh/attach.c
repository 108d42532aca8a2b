/* SPDX-License-Identifier: MIT */
/* Tested by sim_rules and sim_hostile_hub. */
#include "agent/mesh/attach.h"

#include "agent/mesh/budget.h"
#include "agent/mesh/direct.h"
#include "agent/mesh/directory.h"
#include "agent/mesh/ends.h"
#include "agent/mesh/handshake.h"
#include "agent/mesh/lane.h"
#include "agent/mesh/move.h"
#include "agent/mesh/plane.h"
#include "agent/mesh/rates.h"
#include "agent/mesh/rendezvous.h"
#include "agent/mesh/streams.h"
#include "agent/mesh/trust.h"
#include "common/base/version.h"
#include "common/link/fields.h"

#include <stdio.h>
#include <string.h>

enum { RETRY_MS_MAX = 3600 * 1000 };

/* As the hub has it for HELLO (--login-grace): also where a link greets anew. */
static const int64_t GREET_US = 10 * 1000 * 1000;

/* ---- frames ---- */

static int
take_hello(struct mesh *mesh, const struct cbx_frame *frame, struct cbx_error *error)
{
    if (mesh->phase != MESH_GREETING)
        return cbx_fail(error, CBX_ERR_STATE, "the hub sent HUB_HELLO twice");
    uint64_t version = frame->field[CBX_HUB_HELLO_VERSION].u;
    if (version != CBX_PROTOCOL_VERSION)
        return cbx_fail(error, CBX_ERR_STATE, "the hub speaks protocol version %llu, this agent %d",
                        (unsigned long long)version, CBX_PROTOCOL_VERSION);
    if (frame->field[CBX_HUB_HELLO_KIND].u != 0)
        return cbx_fail(error, CBX_ERR_STATE, "the hub treats this identity as an invite");
    cbx_field_copy(mesh->hub_software, sizeof mesh->hub_software,
                   &frame->field[CBX_HUB_HELLO_SOFTWARE]);
    mesh_set_phase(mesh, MESH_WAITING);
    mesh->hello_at = mesh_now(mesh);
    char software[sizeof mesh->hub_software];
    (void)snprintf(software, sizeof software, "%.40s%s", mesh->software, CBX_TAKES_ADDRESSES);
    struct cbx_field fields[] = {
        [CBX_AGENT_HELLO_VERSION] = cbx_field_uint(CBX_PROTOCOL_VERSION),
        [CBX_AGENT_HELLO_INCARNATION] =
            cbx_field_bytes(mesh->incarnation, sizeof mesh->incarnation),
        [CBX_AGENT_HELLO_RECEIVE_BUDGET] = cbx_field_uint(mesh->config.receive_budget),
        [CBX_AGENT_HELLO_SOFTWARE] = cbx_field_text(software),
    };
    return cbx_link_send(&mesh->pump.link, CBX_FRAME_AGENT_HELLO, 0, fields, 4);
}

/* Who we are stands in our certificate: the hub cannot rename us (rule 2). */
static int
take_welcome(struct mesh *mesh, const struct cbx_frame *frame, struct cbx_error *error)
{
    if (mesh->phase != MESH_WAITING)
        return cbx_fail(error, CBX_ERR_STATE, "unexpected WELCOME from the hub");
    if (!cbx_field_is(&frame->field[CBX_WELCOME_POND], mesh->config.pond) ||
        !cbx_field_is(&frame->field[CBX_WELCOME_SLUG], mesh->config.slug))
        return cbx_fail(error, CBX_ERR_AUTH,
                        "the hub calls this lease by a name that is not in its certificate");
    mesh->generation = frame->field[CBX_WELCOME_GENERATION].u;
    mesh->welcome_at = mesh_now(mesh);
    mesh_set_allowance(mesh, frame->field[CBX_WELCOME_ALLOWANCE].u);
    cbx_field_copy(mesh->seen_address, sizeof mesh->seen_address,
                   &frame->field[CBX_WELCOME_ADDRESS]);
    mesh->hub_direct = frame->field[CBX_WELCOME_DIRECT].u == 1;
    mesh->addresses_told = false;
    mesh_set_phase(mesh, MESH_SYNCING);
    mesh_peers_begin(mesh);
    return 0;
}

/* Once, before the directory: each may cost a write to disk. */
static int
take_addresses(struct mesh *mesh, const struct cbx_frame *frame, struct cbx_error *error)
{
    const struct cbx_field *field = &frame->field[CBX_ADDRESSES_LIST];
    struct cbx_addresses list;
    if (mesh->addresses_told || mesh->synced)
        return cbx_fail(error, CBX_ERR_STATE, "unexpected ADDRESSES from the hub");
    mesh->addresses_told = true;
    cbx_addresses_read(&list, (const char *)field->p, field->n);
    if (mesh->ops->addresses)
        mesh->ops->addresses(mesh->arg, &list);
    return 0;
}

static int
take_allow(struct mesh *mesh, const struct cbx_frame *frame)
{
    uint64_t allowance = frame->field[CBX_ALLOW_ALLOWANCE].u;
    mesh->allow_denied = allowance == mesh->allowance;
    mesh_set_allowance(mesh, allowance);
    mesh->dial_due = true; /* some may have waited for it */
    struct cbx_field fields[] = {[CBX_ALLOWED_SEQUENCE] =
                                     cbx_field_uint(frame->field[CBX_ALLOW_SEQUENCE].u)};
    return cbx_link_send(&mesh->pump.link, CBX_FRAME_ALLOWED, 0, fields, 1);
}

static int
take_bye(struct mesh *mesh, const struct cbx_frame *frame, struct cbx_error *error)
{
    uint64_t retry_ms = frame->field[CBX_BYE_RETRY_MS].u;
    mesh->bye = cbx_reason_of(frame->field[CBX_BYE_REASON].u, CBX_REASON_LOST);
    mesh->bye_retry_ms = retry_ms < RETRY_MS_MAX ? (uint32_t)retry_ms : RETRY_MS_MAX;
    cbx_field_copy(mesh->bye_text, sizeof mesh->bye_text, &frame->field[CBX_BYE_TEXT]);
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
    mesh_set_phase(mesh, MESH_UP);
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
        return cbx_fail(error, CBX_ERR_STATE, "unexpected %s from the hub before WELCOME",
                        cbx_frame_name(frame.type));
    switch (frame.type) {
    case CBX_FRAME_ALLOW:
        return take_allow(mesh, &frame);
    case CBX_FRAME_ADDRESSES:
        return take_addresses(mesh, &frame, error);
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
        return cbx_fail(error, CBX_ERR_STATE, "unexpected %s from the hub",
                        cbx_frame_name(frame.type));
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
    mesh_set_phase(mesh, MESH_DOWN);
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
    mesh_set_phase(mesh, MESH_GREETING);
    mesh_rates_begin(mesh);
    mesh->greet_by = mesh_now(mesh) + GREET_US;
    mesh->hub_budget.total = 0; /* streams between two paths may still count there */
    mesh->hub_budget.cut = false;
    struct cbx_link_config config = {
        .hub = false, .keepalive_us = mesh->config.keepalive_us, .gone_us = mesh->config.gone_us};
    int result =
        cbx_pump_start(&mesh->pump, carrier, &config, &link_ops, mesh, pump_now, pump_over, mesh);
    mesh->has_pump = result == 0;
    if (result < 0)
        mesh_set_phase(mesh, MESH_DOWN);
    mesh_wake(mesh);
    return result;
}

void
mesh_shutdown(struct mesh *mesh)
{
    mesh_directs_close(mesh, true);
    if (!mesh->has_pump)
        return;
    struct cbx_field fields[] = {
        [CBX_BYE_REASON] = cbx_field_uint(CBX_REASON_GOING_AWAY),
        [CBX_BYE_RETRY_MS] = cbx_field_uint(0),
        [CBX_BYE_TEXT] = cbx_field_text("the agent is stopping"),
    };
    cbx_link_send(&mesh->pump.link, CBX_FRAME_BYE, 0, fields, 3);
    mesh->bye = CBX_REASON_GOING_AWAY;
    cbx_pump_close_soon(&mesh->pump);
    mesh_wake(mesh);
}

void
mesh_link_flush(struct mesh *mesh, int64_t now)
{
    if (!mesh->has_pump)
        return;
    mesh_ask_for_more(mesh, now);
    if (mesh->phase == MESH_GREETING && now >= mesh->greet_by)
        cbx_pump_give_up(&mesh->pump, "the hub did not greet in time");
    else if (cbx_pump_flush(&mesh->pump))
        come_up(mesh);
}

int64_t
mesh_link_deadline(const struct mesh *mesh)
{
    if (!mesh->has_pump)
        return INT64_MAX;
    int64_t due = cbx_link_deadline(&mesh->pump.link);
    if (mesh->phase == MESH_GREETING && mesh->greet_by < due)
        due = mesh->greet_by;
    return mesh->hub_budget.cut && mesh->want_at < due ? mesh->want_at : due;
}

/* ---- what is asked of it ---- */

void
mesh_hub_look(const struct mesh *mesh, struct mesh_hub_look *out)
{
    const struct cbx_link *link = &mesh->pump.link;
    *out = (struct mesh_hub_look){.socket = -1};
    if (!mesh->has_pump || mesh->phase < MESH_WAITING)
        return;
    *out =
        (struct mesh_hub_look){.socket = cbx_pump_socket(&mesh->pump),
                               .answer_due = link->ping_sent_at != 0 || mesh->phase == MESH_WAITING,
                               .heard_at = link->heard_at,
                               .frames = link->count.frames_in};
}

void
mesh_hub_ping(struct mesh *mesh)
{
    if (mesh->has_pump && mesh->phase >= MESH_WAITING)
        (void)cbx_link_ping(&mesh->pump.link, mesh_now(mesh));
}

void
mesh_hub_give_up(struct mesh *mesh, const char *text)
{
    if (mesh->has_pump)
        cbx_pump_give_up(&mesh->pump, text);
}

bool
mesh_attached(const struct mesh *mesh)
{
    return mesh->phase == MESH_UP;
}

int64_t
mesh_round_trip_us(const struct mesh *mesh)
{
    return mesh->has_pump ? mesh->pump.link.delay_us : 0;
}

bool
mesh_attach_times(const struct mesh *mesh, struct mesh_attach_times *out)
{
    *out = (struct mesh_attach_times){
        .hello_us = mesh->hello_at, .welcome_us = mesh->welcome_at, .generation = mesh->generation};
    return mesh->welcome_at >= mesh->hello_at && mesh->generation > 0;
}
