/* SPDX-License-Identifier: MIT */
/*
 * What waits in a half is, of a large frame, a slice of the slab it was read into; of a small or
 * stalled one, a copy of its own size, so that a slow reader never pins large buffers. Tested by
 * sim_streams, sim_allowance and sim_load.
 */
#include "hub/core/circuit.h"
#include "common/base/states.h"
#include "common/stream/window.h"
#include <stdlib.h>

enum { COPY_BELOW = 4096, STALLED_ABOVE = 1024 * 1024 };

static const struct cbx_states states = {
    .what = "circuit",
    .state = {
        [HUB_CIRCUIT_OPENING] = {"OPENING",
                                 CBX_STATE(HUB_CIRCUIT_ANSWERED) | CBX_STATE(HUB_CIRCUIT_DONE)},
        [HUB_CIRCUIT_RESUMING] = {"RESUMING",
                                  CBX_STATE(HUB_CIRCUIT_ANSWERED) | CBX_STATE(HUB_CIRCUIT_DONE)},
        [HUB_CIRCUIT_ANSWERED] = {"ANSWERED", CBX_STATE(HUB_CIRCUIT_DONE)},
        [HUB_CIRCUIT_DONE] = {"DONE", CBX_STATE(HUB_CIRCUIT_REAPING)},
        [HUB_CIRCUIT_REAPING] = {"REAPING", 0},
    }};

static bool
is_unanswered(const struct hub_circuit *circuit)
{
    return circuit->state == HUB_CIRCUIT_OPENING || circuit->state == HUB_CIRCUIT_RESUMING;
}

void
hub_circuit_enter(struct hub_circuit *circuit, enum hub_circuit_state state)
{
    if (!cbx_states_allow_number(&states, "label", circuit->half[0].circuit.label, circuit->state,
                                 state))
        return;
    if (is_unanswered(circuit))
        TAILQ_REMOVE(&circuit->core->unanswered, circuit, entry);
    circuit->state = state;
    if (state == HUB_CIRCUIT_REAPING)
        TAILQ_INSERT_TAIL(&circuit->core->reap, circuit, entry);
}

/* ---- what waits ---- */

/* What a slice keeps of its buffer beside itself. */
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

void
hub_half_drop_data(struct hub_core *core, struct hub_half *half)
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
maybe_reap(struct hub_circuit *circuit)
{
    if (circuit->state != HUB_CIRCUIT_DONE || !drained(&circuit->half[0]) ||
        !drained(&circuit->half[1]))
        return;
    hub_circuit_enter(circuit, HUB_CIRCUIT_REAPING);
}

static int
half_data(struct cbx_circuit *circuit, uint64_t room, int64_t now, struct cbx_slice *out)
{
    (void)room;
    (void)now;
    struct hub_half *half = hub_half_of(circuit);
    struct hub_link *link = hub_half_link(half);
    if (!pop_data(link->core, half, out))
        return 0;
    maybe_reap(half->owner);
    return 1;
}

static int
half_control(struct cbx_circuit *circuit, int64_t now, struct cbx_slice *out)
{
    (void)now;
    struct hub_half *half = hub_half_of(circuit);
    if (!pop(&half->control, out))
        return 0;
    half->control_count--;
    maybe_reap(half->owner);
    return 1;
}

static const struct cbx_circuit_ops half_ops = {.data = half_data, .control = half_control};

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

struct cbx_slice
hub_half_relabelled(const struct cbx_frame *frame, const struct hub_half *to)
{
    struct cbx_slice slice = cbx_slice_copy(frame->raw.data, frame->raw.length);
    if (slice.slab)
        cbx_frame_relabel(slice.data, to->circuit.label);
    return slice;
}

int
hub_half_put_data(struct hub_core *core, struct hub_half *to, const struct cbx_frame *frame,
                  uint32_t text, uint32_t cost)
{
    struct cbx_slice slice = waiting_slice(core, frame, to);
    if (!slice.slab || push_data(core, to, slice, text, cost) < 0)
        return CBX_ERR_NOMEM;
    cbx_frame_relabel(slice.data, to->circuit.label);
    cbx_circuit_data_ready(&to->circuit);
    return 0;
}

int
hub_half_put_control(struct hub_half *to, const struct cbx_frame *frame)
{
    return push_control(to, hub_half_relabelled(frame, to));
}

void
hub_half_put_last(struct hub_half *to, const struct cbx_frame *frame)
{
    push_last(to, hub_half_relabelled(frame, to));
}

void
hub_half_put_close(struct hub_half *to, enum cbx_reason reason)
{
    if (!to->circuit.link)
        return;
    const struct cbx_field fields[] = {[CBX_CLOSE_REASON] = cbx_field_uint(reason)};
    push_last(to, cbx_frame_slice(CBX_FRAME_CLOSE, to->circuit.label, fields, 1));
}

/* ---- ends ---- */

/* What an agent had granted on this circuit no longer counts. */
static void
release_credit(struct hub_half *half)
{
    struct hub_link *link = hub_half_link(half);
    if (link)
        hub_allowance_charge(&link->allowance, 0, half->limit - half->acked);
    half->limit = half->acked;
}

static void
leave_link(struct hub_core *core, struct hub_half *half)
{
    struct hub_link *link = hub_half_link(half);
    if (!link)
        return;
    hub_half_drop_data(core, half);
    release_credit(half);
    struct cbx_slice slice;
    while (pop(&half->control, &slice))
        cbx_slice_drop(&slice);
    link->circuits--;
    link->opened -= half == &half->owner->half[0];
    cbx_circuit_remove(&half->circuit);
}

void
hub_circuit_finish(struct hub_circuit *circuit)
{
    hub_circuit_enter(circuit, HUB_CIRCUIT_DONE);
    maybe_reap(circuit);
}

void
hub_circuit_end(struct hub_core *core, struct hub_circuit *circuit)
{
    for (int i = 0; i < 2; i++) {
        hub_half_drop_data(core, &circuit->half[i]);
        release_credit(&circuit->half[i]);
    }
    hub_circuit_finish(circuit);
}

void
hub_circuit_unsent(struct hub_core *core, struct hub_circuit *circuit, enum cbx_reason reason)
{
    struct hub_half *to = &circuit->half[1];
    struct cbx_link *link = to->circuit.link;
    uint32_t label = to->circuit.label;
    leave_link(core, to);
    cbx_link_label_unused(link, label);
    hub_half_put_close(&circuit->half[0], reason);
    hub_circuit_end(core, circuit);
}

void
hub_circuits_sweep(struct hub_core *core, int64_t now)
{
    struct hub_circuit *circuit;
    while ((circuit = TAILQ_FIRST(&core->unanswered)) &&
           now - circuit->began >= HUB_ANSWER_MAX_US) {
        hub_half_put_close(&circuit->half[0], CBX_REASON_TIMED_OUT);
        hub_half_put_close(&circuit->half[1], CBX_REASON_TIMED_OUT);
        hub_circuit_end(core, circuit);
    }
}

void
hub_circuit_break(struct hub_core *core, struct hub_circuit *circuit, enum cbx_reason reason)
{
    if (circuit->state >= HUB_CIRCUIT_DONE)
        return;
    core->count.breaches++;
    hub_half_put_close(&circuit->half[0], reason);
    hub_half_put_close(&circuit->half[1], reason);
    hub_circuit_end(core, circuit);
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
hub_circuits_reap(struct hub_core *core)
{
    struct hub_circuit *circuit;
    while ((circuit = TAILQ_FIRST(&core->reap))) {
        TAILQ_REMOVE(&core->reap, circuit, entry);
        free_circuit(core, circuit);
    }
}

void
hub_circuits_link_gone(struct hub_link *link)
{
    struct cbx_circuit *at, *next;
    HASH_ITER(hh, link->pump.link.circuits, at, next) {
        struct hub_half *half = hub_half_of(at), *other = hub_half_other(half);
        struct hub_circuit *circuit = half->owner;
        if (circuit->state < HUB_CIRCUIT_DONE) {
            bool answered = circuit->state == HUB_CIRCUIT_ANSWERED;
            hub_half_put_close(other, answered ? CBX_REASON_LOST : CBX_REASON_PEER_AWAY);
            hub_circuit_end(link->core, circuit);
        }
        leave_link(link->core, half);
        maybe_reap(circuit);
    }
}

/* ---- the whole ---- */

static void
init_half(struct hub_circuit *circuit, int side)
{
    struct hub_half *half = &circuit->half[side];
    half->owner = circuit;
    STAILQ_INIT(&half->data);
    STAILQ_INIT(&half->control);
}

bool
hub_circuit_allowed(const struct hub_link *link)
{
    const struct hub_core *core = link->core;
    uint64_t all = core->allowances.total / HUB_CIRCUITS_SHARE / HUB_CIRCUIT_COST;
    uint64_t left = all > core->circuit_count ? all - core->circuit_count : 0;
    return link->opened < HUB_CIRCUITS_LEAST ||
           (link->opened < HUB_CIRCUITS_MOST && link->opened < left);
}

/* Under both its labels, or CBX_ERR_NOMEM and nowhere. */
static int
join_links(struct hub_circuit *circuit, struct hub_link *from, uint32_t label, struct hub_link *to)
{
    struct cbx_circuit *in = &circuit->half[0].circuit, *out = &circuit->half[1].circuit;
    uint32_t own = cbx_link_label(&to->pump.link);
    if (own == 0)
        return CBX_ERR_LIMIT;
    int result = cbx_circuit_add(&from->pump.link, in, label, &half_ops);
    if (result == 0)
        result = cbx_circuit_add(&to->pump.link, out, own, &half_ops);
    if (result < 0) {
        cbx_circuit_remove(in);
        cbx_link_label_unused(&to->pump.link, own);
    }
    return result;
}

struct hub_circuit *
hub_circuit_new(struct hub_link *from, uint32_t label, struct hub_link *to, bool resume)
{
    struct hub_core *core = from->core;
    struct hub_circuit *circuit = calloc(1, sizeof *circuit);
    if (!circuit)
        return NULL;
    circuit->core = core;
    circuit->began = hub_now(core);
    circuit->state = resume ? HUB_CIRCUIT_RESUMING : HUB_CIRCUIT_OPENING;
    init_half(circuit, 0);
    init_half(circuit, 1);
    if (join_links(circuit, from, label, to) < 0) {
        free(circuit);
        return NULL;
    }
    TAILQ_INSERT_TAIL(&core->unanswered, circuit, entry);
    from->circuits++;
    from->opened++;
    to->circuits++;
    core->circuit_count++;
    core->count.opened++;
    return circuit;
}
