/* SPDX-License-Identifier: MIT */
/* Tested by sim_rendezvous and sim_moves. */
#include "agent/mesh/direct.h"

#include "agent/mesh/ends.h"
#include "agent/mesh/move.h"
#include "agent/mesh/path.h"
#include "agent/mesh/rendezvous.h"
#include "agent/mesh/stream.h"
#include "agent/mesh/streams.h"
#include "common/base/log.h"
#include "common/link/fields.h"
#include "common/link/rates.h"
#include "common/os/tcp_path.h"

#include <stdlib.h>
#include <string.h>

static const int64_t IDLE_US = 300ll * 1000 * 1000;
/* Suspect for so long a lane is given up where the hub's link can take over; else its own liveness
 * decides. */
static const int64_t SUSPECT_US = 5 * 1000 * 1000;
/* Before its end by silence, which says nothing: at most so long. */
static const int64_t LAST_WORD_US = 1000 * 1000;
static const int64_t SHORT_US = 3600ll * 1000 * 1000;

/* ---- frames ---- */

static int
take_bye(struct mesh_direct *direct, const struct cbx_frame *frame, struct cbx_error *error)
{
    char text[CBX_FRAME_TEXT_MAX + 1];
    cbx_field_copy(text, sizeof text, &frame->field[CBX_BYE_TEXT]);
    direct->bye = cbx_reason_of(frame->field[CBX_BYE_REASON].u, CBX_REASON_LOST);
    return cbx_fail(error, CBX_ERR_CLOSED, "%s", text[0] ? text : cbx_reason_text(direct->bye));
}

/* Nobody but us sees how often the peer opens (rule 24). */
static bool
too_many(struct mesh_direct *direct, const struct cbx_frame *frame, int64_t now)
{
    if (frame->type != CBX_FRAME_OPEN && frame->type != CBX_FRAME_RESUME)
        return false;
    if (cbx_rate_allows(&direct->opens, &CBX_RATE_OPEN, now)) {
        direct->shed -= direct->shed > 0;
        return false;
    }
    direct->shed++;
    return true;
}

static int
shed(struct mesh_direct *direct, struct cbx_link *link, const struct cbx_frame *frame,
     struct cbx_error *error)
{
    if (direct->shed > CBX_RATE_SHED_MAX || cbx_link_take_label(link, frame->label) < 0)
        return cbx_fail(error, CBX_ERR_LIMIT, "too many %s frames, or an invalid label",
                        cbx_frame_name(frame->type));
    mesh_circuit_refuse(direct->mesh, link, frame->label, CBX_REASON_OVERLOADED);
    return 0;
}

/* So many frames for circuits that are gone were not on their way when those ended. */
static int
count_stale(struct mesh_direct *direct, int64_t now, struct cbx_error *error)
{
    direct->shed += !cbx_rate_allows(&direct->stale, &CBX_RATE_STALE, now);
    if (direct->shed <= CBX_RATE_SHED_MAX)
        return 0;
    return cbx_fail(error, CBX_ERR_LIMIT, "too many frames for circuits that are gone");
}

static int
take_circuit(struct mesh_direct *direct, struct cbx_link *link, struct cbx_frame *frame,
             int64_t now, struct cbx_error *error)
{
    const struct mesh *mesh = direct->mesh;
    uint64_t stale = mesh->count.stale;
    int result = mesh_stream_frame(direct->mesh, link, frame, now, error);
    return result == 0 && mesh->count.stale != stale ? count_stale(direct, now, error) : result;
}

static int
take_frame(void *owner, struct cbx_link *link, const struct cbx_frame *borrowed, int64_t now,
           struct cbx_error *error)
{
    struct mesh_direct *direct = owner;
    struct cbx_frame frame = *borrowed;
    if (frame.type == CBX_FRAME_BYE)
        return take_bye(direct, &frame, error);
    if (too_many(direct, &frame, now))
        return shed(direct, link, &frame, error);
    if (cbx_frame_has_label(frame.type))
        return take_circuit(direct, link, &frame, now, error);
    return cbx_fail(error, CBX_ERR_STATE, "unexpected %s on a direct lane",
                    cbx_frame_name(frame.type));
}

static void
on_wake(void *owner, struct cbx_link *link)
{
    (void)link;
    mesh_wake(((struct mesh_direct *)owner)->mesh);
}

static void
on_batch_done(void *owner, struct cbx_link *link, int64_t now)
{
    (void)link;
    cbx_stream_flush(&((struct mesh_direct *)owner)->mesh->env, now);
}

static const struct cbx_link_ops link_ops = {
    .frame = take_frame, .wake = on_wake, .batch_done = on_batch_done};

/* ---- its life ---- */

/* Where long packets are lost and nobody says so, a lane stands still with its first full segment.
 * Nobody can tell that from a path that is down; shorter segments cost little. */
static void
stood_still(struct mesh_direct *direct)
{
    struct mesh_peer *peer = direct->peer;
    if (!peer)
        return;
    peer->short_until = mesh_now(direct->mesh) + SHORT_US;
    cbx_log_info("direct lane to %s stood still: the next ones have segments of %d bytes",
                 peer->slug, CBX_SEGMENT_SHORT);
}

/* The streams leave it first, while the peer is still known to be without a lane. */
static void
leave(struct mesh_direct *direct, const char *why)
{
    struct mesh *mesh = direct->mesh;
    struct mesh_peer *peer = direct->peer;
    bool stops = direct->bye == CBX_REASON_GOING_AWAY;
    direct->peer = NULL;
    peer->direct = NULL;
    direct->pump.link.failed = true;
    mesh->count.directs_lost++;
    mesh->link_bytes[MESH_PLANE_DIRECT].in += direct->pump.link.count.bytes_in;
    mesh->link_bytes[MESH_PLANE_DIRECT].out += direct->pump.link.count.bytes_out;
    mesh_streams_leave(mesh, &direct->pump.link, stops ? CBX_REASON_GOING_AWAY : CBX_REASON_LOST);
    mesh_rendezvous_lost(peer, why);
    mesh_wake(mesh);
}

static void
over(struct mesh_direct *direct, const char *why)
{
    if (!direct->peer)
        return;
    cbx_log_info("direct lane to %s closed: %s", direct->peer->slug, why);
    leave(direct, why);
}

/* For as long as ends a link; soon: or almost, if the ping before that had its time. */
static bool
silent(const struct mesh_direct *direct, bool soon)
{
    const struct cbx_link *link = &direct->pump.link;
    int64_t spare = (link->config.gone_us - link->config.keepalive_us) / 8;
    int64_t early = !soon ? 0 : spare < LAST_WORD_US ? spare : LAST_WORD_US;
    return mesh_now(direct->mesh) - link->heard_at >= link->config.gone_us - early;
}

static void
pump_over(void *arg, struct cbx_pump *pump, int result, const char *text)
{
    (void)pump;
    struct mesh_direct *direct = arg;
    if (direct->bye == CBX_REASON_TIMED_OUT || silent(direct, false))
        stood_still(direct);
    if (cbx_pump_breach(result) && direct->peer)
        cbx_log_warn("direct lane to %s: %s", direct->peer->slug, text);
    over(direct, text);
}

static int64_t
pump_now(void *arg)
{
    return mesh_now(((struct mesh_direct *)arg)->mesh);
}

static void
dispose(struct mesh_direct *direct)
{
    TAILQ_REMOVE(&direct->mesh->directs, direct, entry);
    cbx_pump_dispose(&direct->pump);
    free(direct);
}

int
mesh_direct_attach(struct mesh *mesh, struct cbx_carrier *carrier,
                   const struct cbx_lane_ticket *ticket, bool listener)
{
    struct mesh_peer *peer = NULL;
    if (!mesh_rendezvous_claim(mesh, ticket->id, &peer) || peer->direct) {
        carrier->ops->close(carrier);
        return CBX_ERR_STATE;
    }
    struct mesh_direct *direct = calloc(1, sizeof *direct);
    struct cbx_link_config config = {.hub = listener,
                                     .keepalive_us = mesh->config.keepalive_us,
                                     .gone_us = mesh->config.gone_us,
                                     .lane = direct ? cbx_lane_new(ticket, listener) : NULL};
    if (!config.lane) {
        free(direct);
        carrier->ops->close(carrier);
        return CBX_ERR_NOMEM;
    }
    direct->mesh = mesh;
    direct->peer = peer;
    direct->since_unix = mesh->ops->now_unix(mesh->arg);
    int result = cbx_pump_start(&direct->pump, carrier, &config, &link_ops, direct, pump_now,
                                pump_over, direct);
    if (result < 0) {
        free(direct);
        return result;
    }
    TAILQ_INSERT_TAIL(&mesh->directs, direct, entry);
    peer->direct = direct;
    mesh->count.directs++;
    cbx_log_info("direct lane to %s is up", peer->slug);
    cbx_link_ping(&direct->pump.link, mesh_now(mesh));
    mesh_streams_move(peer);
    mesh_wake(mesh);
    return 0;
}

static void
say_bye(struct mesh_direct *direct, enum cbx_reason reason, const char *why)
{
    struct cbx_field fields[] = {
        [CBX_BYE_REASON] = cbx_field_uint(reason),
        [CBX_BYE_RETRY_MS] = cbx_field_uint(0),
        [CBX_BYE_TEXT] = cbx_field_text(why),
    };
    cbx_link_send(&direct->pump.link, CBX_FRAME_BYE, 0, fields, 3);
    (void)cbx_pump_flush(&direct->pump); /* as far as it can be said at once */
}

void
mesh_direct_drop(struct mesh_peer *peer, const char *why)
{
    struct mesh_direct *direct = peer->direct;
    if (!direct)
        return;
    say_bye(direct, CBX_REASON_LOST, why);
    over(direct, why);
}

static void
drop_still(struct mesh_direct *direct, const char *why)
{
    say_bye(direct, CBX_REASON_TIMED_OUT, why);
    if (!direct->peer) /* that broke it */
        return;
    stood_still(direct);
    over(direct, why);
}

/* ---- time ---- */

static void
look_after(struct mesh_direct *direct, int64_t now)
{
    struct mesh_peer *peer = direct->peer;
    struct mesh *mesh = direct->mesh;
    char why[sizeof direct->doomed];
    memcpy(why, direct->doomed, sizeof why);
    if (peer->stream_count)
        direct->idle_since = 0;
    else if (direct->idle_since == 0)
        direct->idle_since = now;
    if (why[0])
        mesh_direct_drop(peer, why);
    else if (silent(direct, true)) /* the other direction may be up: there they hear why */
        drop_still(direct, "it has been silent for too long");
    else if (mesh->phase == MESH_UP && !peer->seen)
        mesh_direct_drop(peer, "the peer is no longer listed");
    else if (mesh->ops->now_unix(mesh->arg) > peer->ends + CBX_CLOCK_GRACE_S)
        mesh_direct_drop(peer, "the peer's certificate has expired");
    else if (mesh_hub_path(mesh) && !mesh_direct_proven(peer) &&
             now - direct->suspect_at >= SUSPECT_US)
        drop_still(direct, "it does not answer");
    else if (direct->idle_since && now - direct->idle_since >= IDLE_US)
        mesh_direct_drop(peer, "no stream has used it for 5 minutes");
}

int64_t
mesh_directs_flush(struct mesh *mesh, int64_t now)
{
    struct mesh_direct *direct, *next;
    int64_t due = INT64_MAX;
    for (direct = TAILQ_FIRST(&mesh->directs); direct; direct = next) {
        next = TAILQ_NEXT(direct, entry);
        if (direct->peer)
            look_after(direct, now);
        if (direct->peer && cbx_pump_flush(&direct->pump)) {
            int64_t at = cbx_link_deadline(&direct->pump.link);
            due = at < due ? at : due;
        }
    }
    mesh_streams_free(mesh); /* no circuit is left on a link that goes */
    for (direct = TAILQ_FIRST(&mesh->directs); direct; direct = next) {
        next = TAILQ_NEXT(direct, entry);
        if (!direct->peer)
            dispose(direct);
    }
    return due;
}

void
mesh_directs_close(struct mesh *mesh, bool goodbye)
{
    struct mesh_direct *direct;
    TAILQ_FOREACH(direct, &mesh->directs, entry) {
        if (!direct->peer)
            continue;
        if (goodbye)
            say_bye(direct, CBX_REASON_GOING_AWAY, "the agent is stopping");
        if (!direct->peer) /* that broke it */
            continue;
        cbx_log_debug("direct lane to %s closed: this agent is stopping", direct->peer->slug);
        leave(direct, "this agent is stopping");
    }
    mesh_streams_free(mesh);
    while ((direct = TAILQ_FIRST(&mesh->directs)))
        dispose(direct);
}

void
mesh_directs_count(const struct mesh *mesh, struct mesh_plane_bytes *bytes)
{
    const struct mesh_direct *direct;
    TAILQ_FOREACH(direct, &mesh->directs, entry) {
        bytes->in += direct->pump.link.count.bytes_in;
        bytes->out += direct->pump.link.count.bytes_out;
    }
}
