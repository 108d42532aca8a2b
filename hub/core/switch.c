/* SPDX-License-Identifier: MIT */
/*
 * It reads offsets and limits, which stand in the clear and which the seal keeps it from changing,
 * and polices them (rules 17, 22, 24, 27): who breaks a circuit's rules loses the circuit, who
 * breaks the link's (labels, allowance) loses the link. Tested by sim_streams, sim_allowance,
 * sim_moves and fuzz_hub.
 */
#include "hub/core/switch.h"
#include "common/link/rates.h"
#include "common/stream/window.h"
#include "hub/core/circuit.h"
#include "hub/core/lane.h"
#include <string.h>

/* OPEN and RESUME a second of one link, and at once. */
/* No stream comes so far, and sums of offsets beyond it could run over. */
static const uint64_t OFFSET_MAX = 1ull << 62;

/* What RESUME and RESUMED both claim, one after the other. */
enum { CLAIM_RECEIVED, CLAIM_ACKNOWLEDGED, CLAIM_LIMIT, CLAIM_ENDED };
_Static_assert((int)CBX_RESUME_ENDED - (int)CBX_RESUME_RECEIVED == CLAIM_ENDED, "RESUME");
_Static_assert((int)CBX_RESUMED_ENDED - (int)CBX_RESUMED_RECEIVED == CLAIM_ENDED, "RESUMED");
/* What is read of either of two types by the name of the first. */
_Static_assert((int)CBX_OPEN_PORT == (int)CBX_RESUME_PORT, "RESUME begins as OPEN does");
_Static_assert((int)CBX_DATA_OFFSET == (int)CBX_FIN_OFFSET, "FIN begins as DATA does");

/* ---- opening ---- */

static void
refuse(struct hub_link *link, uint32_t label, enum cbx_reason reason)
{
    const struct cbx_field fields[] = {[CBX_CLOSE_REASON] = cbx_field_uint(reason)};
    link->core->count.refused[reason]++;
    cbx_link_send(&link->pump.link, CBX_FRAME_CLOSE, label, fields, 1);
}

/* The link that an OPEN leads to, or NULL with the reason. */
static struct hub_link *
find_target(struct hub_link *link, const struct cbx_frame *frame, enum cbx_reason *reason)
{
    char slug[CBX_SLUG_MAX + 1];
    cbx_field_copy(slug, sizeof slug, &frame->field[CBX_OPEN_TARGET]);
    /* Who dials is what sshd checked, never what the frame says. */
    if (!cbx_field_is(&frame->field[CBX_OPEN_DIALER], link->slug)) {
        *reason = CBX_REASON_DENIED;
        return NULL;
    }
    if (link->core->shutting_down) {
        *reason = CBX_REASON_GOING_AWAY;
        return NULL;
    }
    struct reg_peer *peer = registry_peer(link->core->registry, link->pond, slug);
    struct hub_link *target = peer ? hub_peer_link(peer) : NULL;
    if (!peer)
        *reason = CBX_REASON_UNKNOWN_NAME;
    else if (!reg_peer_exposes(peer, (uint16_t)frame->field[CBX_OPEN_PORT].u))
        *reason = CBX_REASON_NOT_EXPOSED;
    else if (!target || !hub_lane_allows(target) || !hub_lane_allows(link))
        *reason = CBX_REASON_PEER_AWAY;
    else if (target->pump.link.control_count > CBX_LINK_CONTROL_MAX / 2)
        *reason = CBX_REASON_OVERLOADED;
    else
        return target;
    return NULL;
}

/* What an agent says that it has when a stream goes on here (PROTOCOL.md, "Going on over another
 * path"). */
struct claims {
    uint64_t received, acked, limit;
    bool ended;
};

/* first: where they begin in the frame. False when they cannot be true. */
static bool
read_claims(const struct cbx_frame *frame, uint32_t first, struct claims *out)
{
    const struct cbx_field *claim = frame->field + first;
    *out = (struct claims){.received = claim[CLAIM_RECEIVED].u,
                           .acked = claim[CLAIM_ACKNOWLEDGED].u,
                           .limit = claim[CLAIM_LIMIT].u,
                           .ended = claim[CLAIM_ENDED].u != 0};
    bool legal = out->acked <= out->received && out->acked <= out->limit &&
                 out->received <= OFFSET_MAX && out->limit <= OFFSET_MAX;
    if (out->ended && out->acked == out->received)
        out->limit = out->acked; /* nothing more will come there */
    return legal;
}

/* Offsets do not begin at 0 here. */
static void
note_claims(struct hub_half *half, const struct claims *claims)
{
    struct hub_half *far = hub_half_other(half);
    half->passed = far->sent = claims->received;
    half->acked = claims->acked;
    half->limit = claims->limit;
    far->fin = claims->ended;
}

/* The circuit of an OPEN or RESUME to its target, or NULL with the reason; *result < 0: the link
 * broke a rule. Credit is charged before there is a circuit: the target would hear of the end of
 * one that it never saw. */
static struct hub_circuit *
open_circuit(struct hub_link *link, const struct cbx_frame *frame, const struct claims *claims,
             enum cbx_reason *reason, int *result)
{
    uint64_t credit = claims->limit - claims->acked;
    struct hub_link *target = find_target(link, frame, reason);
    if (!target)
        return NULL;
    if (!hub_allowance_charge(&link->allowance, credit, 0)) {
        *result = CBX_ERR_LIMIT;
        return NULL;
    }
    struct hub_circuit *circuit =
        hub_circuit_new(link, frame->label, target, frame->type == CBX_FRAME_RESUME);
    if (!circuit)
        hub_allowance_charge(&link->allowance, 0, credit);
    return circuit;
}

/* OPEN, or RESUME: a stream that was on another path goes on here. */
static int
take_open(struct hub_link *link, const struct cbx_frame *frame, int64_t now,
          struct cbx_error *error)
{
    enum cbx_reason reason = CBX_REASON_OVERLOADED;
    bool resume = frame->type == CBX_FRAME_RESUME;
    struct claims claims = {.limit = resume ? 0 : frame->field[CBX_OPEN_LIMIT].u};
    struct hub_circuit *circuit = NULL;
    int result = 0;
    if (cbx_link_take_label(&link->pump.link, frame->label) < 0)
        return cbx_fail(error, CBX_ERR_FORMAT, "%s: label %u is not the next one",
                        cbx_frame_name(frame->type), frame->label);
    if (resume && !read_claims(frame, CBX_RESUME_RECEIVED, &claims))
        return cbx_fail(error, CBX_ERR_FORMAT, "RESUME: contradictory offsets");
    if (!cbx_rate_allows(&link->peer->rates.opens, &CBX_RATE_OPEN, now))
        hub_link_shed(link);
    else if (hub_circuit_allowed(link))
        circuit = open_circuit(link, frame, &claims, &reason, &result);
    if (result < 0)
        return cbx_fail(error, result, "%s: credit beyond the allowance",
                        cbx_frame_name(frame->type));
    if (!circuit) {
        refuse(link, frame->label, reason);
        return 0;
    }
    note_claims(&circuit->half[0], &claims);
    struct hub_half *to = &circuit->half[1];
    if (cbx_link_send_slice(to->circuit.link, hub_half_relabelled(frame, to)) < 0)
        hub_circuit_unsent(link->core, circuit, CBX_REASON_OVERLOADED);
    return 0;
}

/* ---- passing on ---- */

static bool
both_ended(const struct hub_circuit *circuit)
{
    for (int i = 0; i < 2; i++) {
        const struct hub_half *half = &circuit->half[i], *other = &circuit->half[1 - i];
        if (!half->fin || other->acked != half->sent)
            return false;
    }
    return true;
}

static void
take_data(struct hub_link *link, struct hub_half *from, const struct cbx_frame *frame)
{
    struct hub_half *to = hub_half_other(from);
    struct hub_circuit *circuit = from->owner;
    struct hub_core *core = link->core;
    bool fin = frame->type == CBX_FRAME_FIN;
    uint32_t bytes = fin ? 1 : frame->field[CBX_DATA_PAYLOAD].n - CBX_AEAD_TAG;
    uint32_t cost = fin ? 0 : bytes + CBX_RECORD_COST; /* a FIN needs no credit */
    if (circuit->state != HUB_CIRCUIT_ANSWERED || from->fin ||
        frame->field[CBX_DATA_OFFSET].u != from->sent) {
        hub_circuit_break(core, circuit, CBX_REASON_PROTOCOL);
        return;
    }
    /* Never more waits here than the receiver has credit outstanding for. */
    if (!fin && from->sent + to->overhead + cost > to->limit) {
        hub_circuit_break(core, circuit, CBX_REASON_FLOW);
        return;
    }
    from->sent += bytes;
    from->fin = fin;
    if (hub_half_put_data(core, to, frame, bytes, cost) < 0) {
        hub_circuit_break(core, circuit, CBX_REASON_OVERLOADED);
        return;
    }
    core->count.relayed_frames++;
    core->count.relayed_bytes += bytes;
    link->bytes_from += bytes;
    hub_half_link(to)->bytes_to += bytes;
}

/* Values of a CREDIT never go back and never acknowledge what has not gone out to its sender: it
 * would free credit that still covers what waits here. */
static bool
credit_legal(const struct hub_half *from, const struct cbx_frame *frame)
{
    const struct hub_circuit *circuit = from->owner;
    uint64_t acked = frame->field[CBX_CREDIT_ACKNOWLEDGED].u,
             limit = frame->field[CBX_CREDIT_LIMIT].u;
    bool answers = circuit->state == HUB_CIRCUIT_OPENING && from == &circuit->half[1];
    return acked >= from->acked && acked <= from->passed && limit >= from->limit &&
           (circuit->state == HUB_CIRCUIT_ANSWERED || answers);
}

/* What says how far each side has come goes to the other; that may have been the last of it. */
static int
pass_control(struct hub_link *link, struct hub_half *from, struct hub_half *to,
             const struct cbx_frame *frame)
{
    if (hub_half_put_control(to, frame) < 0)
        hub_circuit_break(link->core, from->owner, CBX_REASON_OVERLOADED);
    else if (both_ended(from->owner))
        hub_circuit_finish(from->owner);
    return 0;
}

static int
take_credit(struct hub_link *link, struct hub_half *from, const struct cbx_frame *frame,
            struct cbx_error *error)
{
    struct hub_half *to = hub_half_other(from);
    if (!credit_legal(from, frame)) {
        hub_circuit_break(link->core, from->owner, CBX_REASON_FLOW);
        return 0;
    }
    uint64_t acked = frame->field[CBX_CREDIT_ACKNOWLEDGED].u,
             limit = frame->field[CBX_CREDIT_LIMIT].u;
    /* The FIN's acknowledgement ends the direction: what was granted beyond it is free. */
    bool ended = to->fin && acked == to->sent;
    uint64_t before = from->limit > from->acked ? from->limit - from->acked : 0;
    from->acked = acked;
    from->limit = limit;
    if (ended || from->limit < acked)
        from->limit = acked;
    if (from->owner->state == HUB_CIRCUIT_OPENING)
        hub_circuit_enter(from->owner, HUB_CIRCUIT_ANSWERED);
    if (!hub_allowance_charge(&link->allowance, from->limit - acked, before))
        return cbx_fail(error, CBX_ERR_LIMIT, "CREDIT: beyond the allowance");
    return pass_control(link, from, to, frame);
}

/* The target goes on with a stream that was resumed: where each direction stands is known now. */
static int
take_resumed(struct hub_link *link, struct hub_half *from, const struct cbx_frame *frame,
             struct cbx_error *error)
{
    struct hub_half *to = hub_half_other(from);
    struct hub_circuit *circuit = from->owner;
    struct claims claims;
    if (from == &circuit->half[0] || circuit->state != HUB_CIRCUIT_RESUMING ||
        !read_claims(frame, CBX_RESUMED_RECEIVED, &claims)) {
        hub_circuit_break(link->core, circuit, CBX_REASON_PROTOCOL);
        return 0;
    }
    note_claims(from, &claims);
    hub_circuit_enter(circuit, HUB_CIRCUIT_ANSWERED);
    if (!hub_allowance_charge(&link->allowance, claims.limit - claims.acked, 0))
        return cbx_fail(error, CBX_ERR_LIMIT, "RESUMED: credit beyond the allowance");
    return pass_control(link, from, to, frame);
}

static void
take_epoch(struct hub_link *link, struct hub_half *from, const struct cbx_frame *frame)
{
    if (hub_half_put_control(hub_half_other(from), frame) < 0)
        hub_circuit_break(link->core, from->owner, CBX_REASON_OVERLOADED);
}

/* RESET, or an agent's CLOSE of an OPEN that it cannot even open: nothing comes after it. */
static void
take_end(struct hub_link *link, struct hub_half *from, const struct cbx_frame *frame)
{
    struct hub_half *to = hub_half_other(from);
    hub_half_drop_data(link->core, to);
    hub_half_put_last(to, frame);
    hub_circuit_end(link->core, from->owner);
}

/* It may have been on its way when its circuit ended; so many have not. */
static void
note_stale(struct hub_link *link, int64_t now)
{
    link->core->count.stale++;
    if (!cbx_rate_allows(&link->peer->rates.stale, &CBX_RATE_STALE, now))
        hub_link_shed(link);
}

/* A label that is not in use: a late frame of a finished circuit, or a breach. */
static int
take_stray(struct hub_link *link, const struct cbx_frame *frame, int64_t now,
           struct cbx_error *error)
{
    if (!cbx_link_label_known(&link->pump.link, frame->label))
        return cbx_fail(error, CBX_ERR_FORMAT, "%s: label %u was never opened",
                        cbx_frame_name(frame->type), frame->label);
    note_stale(link, now);
    return 0;
}

int
hub_switch_frame(struct hub_link *link, const struct cbx_frame *frame, int64_t now,
                 struct cbx_error *error)
{
    if (frame->type == CBX_FRAME_OPEN || frame->type == CBX_FRAME_RESUME)
        return take_open(link, frame, now, error);
    struct cbx_circuit *circuit = cbx_circuit_find(&link->pump.link, frame->label);
    if (!circuit)
        return take_stray(link, frame, now, error);
    struct hub_half *from = hub_half_of(circuit), *to = hub_half_other(from);
    if (from->owner->state >= HUB_CIRCUIT_DONE || !to->circuit.link) {
        note_stale(link, now);
        return 0;
    }
    if (to->control_count >= HUB_CIRCUIT_CONTROL_MAX)
        return cbx_fail(error, CBX_ERR_LIMIT, "too many control frames on label %u", frame->label);
    switch (frame->type) {
    case CBX_FRAME_DATA:
    case CBX_FRAME_FIN:
        take_data(link, from, frame);
        return 0;
    case CBX_FRAME_CREDIT:
        return take_credit(link, from, frame, error);
    case CBX_FRAME_RESUMED:
        return take_resumed(link, from, frame, error);
    case CBX_FRAME_EPOCH:
        take_epoch(link, from, frame);
        return 0;
    default:
        take_end(link, from, frame);
        return 0;
    }
}
