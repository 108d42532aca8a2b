/* SPDX-License-Identifier: MIT */
/*
 * The switch: (link, label) to (link, label). It reads offsets and limits, which stand in the clear
 * and which the seal keeps it from changing, polices them (rules 17, 22, 24, 27), and passes frames
 * on: a large one as a slice of the slab it was read into, a small or stalled one as a copy of its
 * own size, so that a slow reader never pins large buffers. What waits is bounded in bytes of
 * memory: text and cost of each record by the receiver's outstanding credit, so all of it by the
 * sum of allowances; what is pinned by an eighth of --queue-max.
 *
 * A circuit ends when both FINs are acknowledged, when one side resets, when the hub says CLOSE, or
 * with a link. What had to be told is drained first; then it is freed from the reap list, never
 * inside a callback of a link.
 */
#include "common/stream/window.h"
#include "hub/core/internal.h"
#include <stdlib.h>
#include <string.h>

enum { COPY_BELOW = 4096, STALLED_ABOVE = 1024 * 1024 };
/* No stream comes so far, and sums of offsets beyond it could run over. */
static const uint64_t OFFSET_MAX = 1ull << 62;

static int half_data(struct cbx_circuit *circuit, uint64_t room, int64_t now,
                     struct cbx_slice *out);
static int half_control(struct cbx_circuit *circuit, int64_t now, struct cbx_slice *out);
static const struct cbx_circuit_ops half_ops = {.data = half_data, .control = half_control};

static struct hub_half *
half_of(struct cbx_circuit *circuit)
{
    return (struct hub_half *)((char *)circuit - offsetof(struct hub_half, circuit));
}

static struct hub_half *
other_half(struct hub_half *half)
{
    struct hub_circuit *circuit = half->owner;
    return half == &circuit->half[0] ? &circuit->half[1] : &circuit->half[0];
}

static struct hub_link *
link_of(const struct hub_half *half)
{
    return half->circuit.link ? half->circuit.link->owner : NULL;
}

/* ---- queues ---- */

static uint64_t
slack(const struct cbx_slice *slice)
{
    return slice->slab->capacity - slice->length;
}

/* The next data frame on its way out, or out of the world. */
static bool
pop_data(struct hub_core *core, struct hub_half *half, struct cbx_slice *out)
{
    struct hub_queued *queued = STAILQ_FIRST(&half->data);
    if (!queued)
        return false;
    STAILQ_REMOVE_HEAD(&half->data, entry);
    hub_allowance_unpin(&core->allowances, slack(&queued->slice));
    core->held -= queued->cost;
    half->data_cost -= queued->cost;
    half->overhead -= queued->cost ? CBX_RECORD_COST : 0;
    half->passed += queued->text;
    *out = queued->slice;
    free(queued);
    return true;
}

static int
push_data(struct hub_core *core, struct hub_half *half, struct cbx_slice slice, uint32_t text,
          uint32_t cost)
{
    struct hub_queued *queued = malloc(sizeof *queued);
    if (!queued) {
        hub_allowance_unpin(&core->allowances, slack(&slice));
        cbx_slice_drop(&slice);
        return CBX_ERR_NOMEM;
    }
    *queued = (struct hub_queued){.slice = slice, .text = text, .cost = cost};
    STAILQ_INSERT_TAIL(&half->data, queued, entry);
    core->held += cost;
    half->data_cost += cost;
    half->overhead += cost ? CBX_RECORD_COST : 0;
    return 0;
}

static bool
pop(struct cbx_queue *queue, struct cbx_slice *out)
{
    struct cbx_queued *queued = STAILQ_FIRST(queue);
    if (!queued)
        return false;
    STAILQ_REMOVE_HEAD(queue, entry);
    *out = queued->slice;
    free(queued);
    return true;
}

static void
drop_data(struct hub_core *core, struct hub_half *half)
{
    struct cbx_slice slice;
    while (pop_data(core, half, &slice))
        cbx_slice_drop(&slice);
}

static bool
drained(const struct hub_half *half)
{
    return !half->circuit.link || (STAILQ_EMPTY(&half->data) && STAILQ_EMPTY(&half->control));
}

static void
maybe_reap(struct hub_core *core, struct hub_circuit *circuit)
{
    if (circuit->reaping || !circuit->done || !drained(&circuit->half[0]) ||
        !drained(&circuit->half[1]))
        return;
    circuit->reaping = true;
    TAILQ_INSERT_TAIL(&core->reap, circuit, entry);
}

static int
half_data(struct cbx_circuit *circuit, uint64_t room, int64_t now, struct cbx_slice *out)
{
    (void)room;
    (void)now;
    struct hub_half *half = half_of(circuit);
    struct hub_link *link = link_of(half);
    if (!pop_data(link->core, half, out))
        return 0;
    maybe_reap(link->core, half->owner);
    return 1;
}

static int
half_control(struct cbx_circuit *circuit, int64_t now, struct cbx_slice *out)
{
    (void)now;
    struct hub_half *half = half_of(circuit);
    if (!pop(&half->control, out))
        return 0;
    half->control_count--;
    maybe_reap(link_of(half)->core, half->owner);
    return 1;
}

static int
push(struct cbx_queue *queue, struct cbx_slice slice)
{
    struct cbx_queued *queued = slice.slab ? malloc(sizeof *queued) : NULL;
    if (!queued) {
        cbx_slice_drop(&slice);
        return CBX_ERR_NOMEM;
    }
    queued->slice = slice;
    STAILQ_INSERT_TAIL(queue, queued, entry);
    return 0;
}

static int
push_control(struct hub_half *half, struct cbx_slice slice)
{
    int result = push(&half->control, slice);
    if (result < 0)
        return result;
    half->control_count++;
    cbx_circuit_control_ready(&half->circuit);
    return 0;
}

/* What ends a circuit must be heard, or its link ends. */
static void
push_last(struct hub_half *half, struct cbx_slice slice)
{
    if (push_control(half, slice) < 0)
        cbx_link_starve(half->circuit.link);
}

/* A frame as it may wait: in the buffer that it came in, in one that is used again, or, where
 * those would hold too much beside it, in its own. What it holds is pinned. */
static struct cbx_slice
waiting_slice(struct hub_core *core, const struct cbx_frame *frame, const struct hub_half *to)
{
    const struct cbx_slice *raw = &frame->raw;
    struct hub_allowances *all = &core->allowances;
    struct cbx_slice slice;
    if (raw->length >= COPY_BELOW && to->data_cost <= STALLED_ABOVE &&
        hub_allowance_pin(all, slack(raw))) {
        slice = cbx_slice_of(raw->slab, raw->data, raw->length);
        slice.room = raw->room;
        return slice;
    }
    slice = cbx_slice_copy(raw->data, raw->length);
    if (slice.slab && !hub_allowance_pin(all, slack(&slice))) {
        cbx_slice_drop(&slice);
        slice = cbx_slice_copy_exact(raw->data, raw->length);
    }
    return slice;
}

/* A copy of a control frame with the label of the link that it goes to. */
static struct cbx_slice
relabelled(const struct cbx_frame *frame, const struct hub_half *to)
{
    struct cbx_slice slice = cbx_slice_copy(frame->raw.data, frame->raw.length);
    if (slice.slab)
        cbx_frame_relabel(slice.data, to->circuit.label);
    return slice;
}

/* ---- ends ---- */

/* What an agent had granted on this circuit no longer counts. */
static void
release_credit(struct hub_half *half)
{
    struct hub_link *link = link_of(half);
    if (link)
        hub_allowance_charge(&link->allowance, 0, half->limit - half->acked);
    half->limit = half->acked;
}

static void
leave_link(struct hub_core *core, struct hub_half *half)
{
    struct hub_link *link = link_of(half);
    if (!link)
        return;
    drop_data(core, half);
    release_credit(half);
    struct cbx_slice slice;
    while (pop(&half->control, &slice))
        cbx_slice_drop(&slice);
    link->circuits--;
    cbx_circuit_remove(&half->circuit);
}

/* Ends the circuit in the middle: data is dropped, `last` (may be empty) goes to one half. */
static void
end_circuit(struct hub_core *core, struct hub_circuit *circuit)
{
    circuit->done = true;
    for (int i = 0; i < 2; i++) {
        drop_data(core, &circuit->half[i]);
        release_credit(&circuit->half[i]);
    }
    maybe_reap(core, circuit);
}

static void
say_close(struct hub_half *half, enum cbx_reason reason)
{
    if (!half->circuit.link)
        return;
    struct cbx_field field = cbx_field_uint(reason);
    push_last(half, cbx_frame_slice(CBX_FRAME_CLOSE, half->circuit.label, &field, 1));
}

/* The hub's own word to both sides. */
static void
break_circuit(struct hub_core *core, struct hub_circuit *circuit, enum cbx_reason reason)
{
    if (circuit->done)
        return;
    core->count.breaches++;
    say_close(&circuit->half[0], reason);
    say_close(&circuit->half[1], reason);
    end_circuit(core, circuit);
}

static void
free_circuit(struct hub_core *core, struct hub_circuit *circuit)
{
    leave_link(core, &circuit->half[0]);
    leave_link(core, &circuit->half[1]);
    core->circuit_count--;
    free(circuit);
}

void
hub_switch_reap(struct hub_core *core)
{
    struct hub_circuit *circuit;
    while ((circuit = TAILQ_FIRST(&core->reap))) {
        TAILQ_REMOVE(&core->reap, circuit, entry);
        free_circuit(core, circuit);
    }
}

void
hub_switch_link_gone(struct hub_link *link)
{
    struct cbx_circuit *at, *next;
    HASH_ITER(hh, link->pump.link.circuits, at, next) {
        struct hub_half *half = half_of(at), *other = other_half(half);
        struct hub_circuit *circuit = half->owner;
        if (!circuit->done) {
            say_close(other, circuit->answered ? CBX_REASON_LOST : CBX_REASON_PEER_AWAY);
            end_circuit(link->core, circuit);
        }
        leave_link(link->core, half);
        maybe_reap(link->core, circuit);
    }
}

/* ---- opening ---- */

static void
refuse(struct hub_link *link, uint32_t label, enum cbx_reason reason)
{
    struct cbx_field field = cbx_field_uint(reason);
    link->core->count.refused[reason]++;
    cbx_link_send(&link->pump.link, CBX_FRAME_CLOSE, label, &field, 1);
}

/* The link that an OPEN leads to, or NULL with the reason. */
static struct hub_link *
find_target(struct hub_link *link, const struct cbx_frame *frame, enum cbx_reason *reason)
{
    char slug[CBX_SLUG_MAX + 1];
    cbx_field_copy(slug, sizeof slug, &frame->field[1]);
    /* Who dials is what sshd checked, never what the frame says. */
    if (!cbx_field_is(&frame->field[0], link->slug)) {
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
    else if (!reg_peer_exposes(peer, (uint16_t)frame->field[2].u))
        *reason = CBX_REASON_NOT_EXPOSED;
    else if (!target || !hub_lane_allows(target) || !hub_lane_allows(link))
        *reason = CBX_REASON_PEER_AWAY;
    else if (target->pump.link.control_count > CBX_LINK_CONTROL_MAX / 2)
        *reason = CBX_REASON_OVERLOADED;
    else
        return target;
    return NULL;
}

static void
init_half(struct hub_circuit *circuit, int side)
{
    struct hub_half *half = &circuit->half[side];
    half->owner = circuit;
    STAILQ_INIT(&half->data);
    STAILQ_INIT(&half->control);
}

static struct hub_circuit *
new_circuit(struct hub_link *from, uint32_t label, struct hub_link *to)
{
    uint32_t out = cbx_link_label(&to->pump.link);
    struct hub_circuit *circuit = out ? calloc(1, sizeof *circuit) : NULL;
    if (!circuit)
        return NULL;
    init_half(circuit, 0);
    init_half(circuit, 1);
    if (cbx_circuit_add(&from->pump.link, &circuit->half[0].circuit, label, &half_ops) < 0) {
        free(circuit);
        return NULL;
    }
    if (cbx_circuit_add(&to->pump.link, &circuit->half[1].circuit, out, &half_ops) < 0) {
        cbx_circuit_remove(&circuit->half[0].circuit);
        free(circuit);
        return NULL;
    }
    from->circuits++;
    to->circuits++;
    from->core->circuit_count++;
    from->core->count.opened++;
    return circuit;
}

/* What an agent says that it has when a stream goes on here (PROTOCOL.md, "Going on elsewhere"). */
struct claims {
    uint64_t received, acked, limit;
    bool ended;
};

/* Of RESUME or RESUMED: fields first to first + 3. False when they cannot be true. */
static bool
read_claims(const struct cbx_frame *frame, uint32_t first, struct claims *out)
{
    const struct cbx_field *field = frame->field + first;
    *out = (struct claims){
        .received = field[0].u, .acked = field[1].u, .limit = field[2].u, .ended = field[3].u != 0};
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
    struct hub_half *far = other_half(half);
    half->passed = far->sent = claims->received;
    half->acked = claims->acked;
    half->limit = claims->limit;
    far->fin = claims->ended;
}

/* OPEN, or RESUME: a stream that was on another path goes on here. */
static int
take_open(struct hub_link *link, const struct cbx_frame *frame, int64_t now,
          struct cbx_error *error)
{
    enum cbx_reason reason = CBX_REASON_OVERLOADED;
    bool resume = frame->type == CBX_FRAME_RESUME;
    struct claims claims = {.limit = resume ? 0 : frame->field[7].u};
    if (cbx_link_take_label(&link->pump.link, frame->label) < 0)
        return cbx_fail(error, CBX_ERR_FORMAT, "%s: label %u is not a new one of yours",
                        cbx_frame_name(frame->type), frame->label);
    if (resume && !read_claims(frame, 6, &claims))
        return cbx_fail(error, CBX_ERR_FORMAT, "RESUME: claims that cannot be true");
    if (!cbx_rate_take(&link->opens, 2000, 8192, now)) {
        hub_link_shed(link);
        refuse(link, frame->label, reason);
        return 0;
    }
    uint64_t credit = claims.limit - claims.acked;
    struct hub_link *target = find_target(link, frame, &reason);
    /* Before there is a circuit: the target would hear of the end of one that it never saw. */
    if (target && !hub_allowance_charge(&link->allowance, credit, 0))
        return cbx_fail(error, CBX_ERR_LIMIT, "%s: credit beyond the allowance",
                        cbx_frame_name(frame->type));
    struct hub_circuit *circuit = target ? new_circuit(link, frame->label, target) : NULL;
    if (!circuit) {
        hub_allowance_charge(&link->allowance, 0, target ? credit : 0);
        refuse(link, frame->label, reason);
        return 0;
    }
    circuit->resuming = resume;
    note_claims(&circuit->half[0], &claims);
    if (cbx_link_send_slice(&target->pump.link, relabelled(frame, &circuit->half[1])) < 0) {
        say_close(&circuit->half[0], CBX_REASON_OVERLOADED);
        end_circuit(link->core, circuit);
    }
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
    struct hub_half *to = other_half(from);
    struct hub_core *core = link->core;
    bool fin = frame->type == CBX_FRAME_FIN;
    uint32_t bytes = fin ? 1 : frame->field[3].n - CBX_AEAD_TAG;
    uint32_t cost = fin ? 0 : bytes + CBX_RECORD_COST; /* a FIN needs no credit */
    if (!from->owner->answered || from->fin || frame->field[2].u != from->sent) {
        break_circuit(core, from->owner, CBX_REASON_PROTOCOL);
        return;
    }
    /* Never more waits here than the receiver has credit outstanding for. */
    if (!fin && from->sent + to->overhead + cost > to->limit) {
        break_circuit(core, from->owner, CBX_REASON_FLOW);
        return;
    }
    from->sent += bytes;
    from->fin = fin;
    struct cbx_slice slice = waiting_slice(core, frame, to);
    if (!slice.slab || push_data(core, to, slice, bytes, cost) < 0) {
        break_circuit(core, from->owner, CBX_REASON_OVERLOADED);
        return;
    }
    cbx_frame_relabel(slice.data, to->circuit.label);
    core->count.relayed_frames++;
    core->count.relayed_bytes += bytes;
    link->bytes_from += bytes;
    link_of(to)->bytes_to += bytes;
    cbx_circuit_data_ready(&to->circuit);
}

/* Values of a CREDIT never go back and never acknowledge what has not gone out to its sender: it
 * would free credit that still covers what waits here. */
static bool
credit_legal(const struct hub_half *from, const struct cbx_frame *frame)
{
    const struct hub_circuit *circuit = from->owner;
    uint64_t acked = frame->field[2].u, limit = frame->field[3].u;
    return acked >= from->acked && acked <= from->passed && limit >= from->limit &&
           (circuit->answered || (from == &circuit->half[1] && !circuit->resuming));
}

/* What says how far each side has come goes to the other; that may have been the last of it. */
static int
pass_control(struct hub_link *link, struct hub_half *from, struct hub_half *to,
             const struct cbx_frame *frame)
{
    if (push_control(to, relabelled(frame, to)) < 0) {
        break_circuit(link->core, from->owner, CBX_REASON_OVERLOADED);
        return 0;
    }
    if (both_ended(from->owner)) {
        from->owner->done = true;
        maybe_reap(link->core, from->owner);
    }
    return 0;
}

static int
take_credit(struct hub_link *link, struct hub_half *from, const struct cbx_frame *frame,
            struct cbx_error *error)
{
    struct hub_half *to = other_half(from);
    if (!credit_legal(from, frame)) {
        break_circuit(link->core, from->owner, CBX_REASON_FLOW);
        return 0;
    }
    uint64_t acked = frame->field[2].u, limit = frame->field[3].u;
    /* The FIN's acknowledgement ends the direction: what was granted beyond it is free. */
    bool ended = to->fin && acked == to->sent;
    uint64_t before = from->limit > from->acked ? from->limit - from->acked : 0;
    from->acked = acked;
    from->limit = limit;
    if (ended || from->limit < acked)
        from->limit = acked;
    from->owner->answered = true;
    if (!hub_allowance_charge(&link->allowance, from->limit - acked, before))
        return cbx_fail(error, CBX_ERR_LIMIT, "CREDIT: beyond the allowance");
    return pass_control(link, from, to, frame);
}

/* The target goes on with a stream that was resumed: where each direction stands is known now. */
static int
take_resumed(struct hub_link *link, struct hub_half *from, const struct cbx_frame *frame,
             struct cbx_error *error)
{
    struct hub_half *to = other_half(from);
    struct hub_circuit *circuit = from->owner;
    struct claims claims;
    if (from == &circuit->half[0] || !circuit->resuming || circuit->answered ||
        !read_claims(frame, 1, &claims)) {
        break_circuit(link->core, circuit, CBX_REASON_PROTOCOL);
        return 0;
    }
    note_claims(from, &claims);
    circuit->answered = true;
    if (!hub_allowance_charge(&link->allowance, claims.limit - claims.acked, 0))
        return cbx_fail(error, CBX_ERR_LIMIT, "RESUMED: credit beyond the allowance");
    return pass_control(link, from, to, frame);
}

/* RESET, or an agent's CLOSE of an OPEN that it cannot even open: nothing comes after it. */
static void
take_end(struct hub_link *link, struct hub_half *from, const struct cbx_frame *frame)
{
    struct hub_half *to = other_half(from);
    drop_data(link->core, to);
    push_last(to, relabelled(frame, to));
    end_circuit(link->core, from->owner);
}

/* A label that is not in use: a late frame of a finished circuit, or a breach. */
static int
take_stray(struct hub_link *link, const struct cbx_frame *frame, struct cbx_error *error)
{
    const struct cbx_link *pump = &link->pump.link;
    bool known =
        frame->label & 1 ? frame->label <= pump->last_seen : frame->label < pump->next_label;
    if (!known)
        return cbx_fail(error, CBX_ERR_FORMAT, "%s: label %u was never opened",
                        cbx_frame_name(frame->type), frame->label);
    link->core->count.stale++;
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
        return take_stray(link, frame, error);
    struct hub_half *from = half_of(circuit), *to = other_half(from);
    if (from->owner->done || !to->circuit.link) {
        link->core->count.stale++;
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
        if (push_control(to, relabelled(frame, to)) < 0)
            break_circuit(link->core, from->owner, CBX_REASON_OVERLOADED);
        return 0;
    default:
        take_end(link, from, frame);
        return 0;
    }
}
