/* SPDX-License-Identifier: MIT */
/* Chooses what goes next, commits it to the ring of slices, and hands that out as an iovec. */
#include "common/link/link_out.h"
#include "common/link/circuit.h"
#include <stdlib.h>

enum {
    ACK_RIDES_US = 2500, /* this long before it is due an ack goes with data */
    SHORT_FRAME = 1024,
};

static void
put_out(struct cbx_link *link, struct cbx_slice slice)
{
    link->out[(link->out_first + link->out_count++) % CBX_LINK_OUT_SLICES] = slice;
    link->out_bytes += slice.length;
}

/* A frame on a lane takes up to two places of out: fill leaves that many. */
static void
commit(struct cbx_link *link, struct cbx_slice slice)
{
    link->count.frames_out++;
    if (!cbx_link_out_lane(link)) {
        put_out(link, slice);
        return;
    }
    struct cbx_slice sealed[2];
    int count = cbx_lane_seal(link->lane, slice, sealed);
    for (int i = 0; i < count; i++)
        put_out(link, sealed[i]);
    if (count < 0) { /* a frame is missing: nothing sensible can follow */
        link->failed = true;
        link->lane_broken = true;
    }
}

static bool
commit_control(struct cbx_link *link, int64_t now)
{
    struct cbx_slice slice = {0};
    if (!STAILQ_EMPTY(&link->control)) {
        struct cbx_queued *queued = STAILQ_FIRST(&link->control);
        STAILQ_REMOVE_HEAD(&link->control, entry);
        link->control_count--;
        slice = queued->slice;
        free(queued);
    } else {
        struct cbx_circuit *circuit = TAILQ_FIRST(&link->circuit_control);
        if (!circuit)
            return false;
        if (circuit->ops->control(circuit, now, &slice) <= 0) {
            /* The callback may have removed the circuit already. */
            if (TAILQ_FIRST(&link->circuit_control) == circuit)
                cbx_circuit_control_done(circuit);
            return true;
        }
    }
    link->control_credit -= slice.length;
    commit(link, slice);
    return true;
}

/* Control of a circuit goes before its data: an EPOCH must never be overtaken by its records. It is
 * paid from the circuit's own turn, so that a flood of it takes nothing from the others. */
static bool
commit_circuit_control(struct cbx_link *link, struct cbx_circuit *circuit, int64_t now)
{
    struct cbx_slice slice = {0};
    if (circuit->ops->control(circuit, now, &slice) <= 0) {
        cbx_circuit_control_done(circuit);
        return false;
    }
    circuit->deficit -= (int32_t)slice.length;
    commit(link, slice);
    return true;
}

static bool
commit_data(struct cbx_link *link, int64_t now)
{
    uint64_t room = cbx_pace_room(&link->pace);
    struct cbx_circuit *circuit = cbx_circuit_next(link);
    if (!circuit || room == 0)
        return false;
    if (circuit->deficit <= 0) {
        cbx_circuit_rotate(circuit);
        return true;
    }
    circuit->round = link->round; /* it has its turn */
    if (circuit->control_waiting && commit_circuit_control(link, circuit, now))
        return true;
    struct cbx_slice slice = {0};
    int got = circuit->ops->data(circuit, room, now, &slice);
    if (got <= 0) {
        cbx_circuit_rest(circuit);
        return true;
    }
    circuit->deficit -= (int32_t)slice.length;
    circuit->sparse = slice.length <= SHORT_FRAME;
    link->control_credit += slice.length / 3;
    if (link->control_credit > CBX_LINK_CONTROL_CREDIT_MAX)
        link->control_credit = CBX_LINK_CONTROL_CREDIT_MAX;
    uint32_t length = slice.length;
    commit(link, slice);
    cbx_circuit_count_round(link, length);
    cbx_pace_sent(&link->pace, length, now);
    return true;
}

static bool
control_waits(const struct cbx_link *link)
{
    return !STAILQ_EMPTY(&link->control) || !TAILQ_EMPTY(&link->circuit_control);
}

static bool
data_waits(const struct cbx_link *link)
{
    return link->data_circuits && cbx_pace_room(&link->pace) > 0;
}

void
cbx_link_send_ack(struct cbx_link *link)
{
    link->ack_at = 0;
    link->data_acked = link->data_received;
    cbx_link_send(link, CBX_FRAME_ACK, 0, (struct cbx_field[]){cbx_field_uint(link->data_received)},
                  1);
}

/* Tells the neighbour how often to acknowledge when that has moved by half. */
static void
tell_pace(struct cbx_link *link)
{
    uint64_t quarter = cbx_pace_quarter(&link->pace);
    if (quarter < link->pace_told * 2 && quarter > link->pace_told / 2)
        return;
    link->pace_told = quarter;
    cbx_link_send(link, CBX_FRAME_PACE, 0, (struct cbx_field[]){cbx_field_uint(quarter)}, 1);
}

static void
fill(struct cbx_link *link, int64_t now)
{
    /* An ack that is due soon travels with data that leaves now. Sooner it would only double the
     * work of each message of those that go to and fro. */
    if (link->ack_at &&
        (now >= link->ack_at || (now >= link->ack_at - ACK_RIDES_US && data_waits(link))))
        cbx_link_send_ack(link);
    if (link->pace.sent > 0)
        tell_pace(link);
    while (link->out_bytes < CBX_LINK_COMMIT_MAX && link->out_count + 1 < CBX_LINK_OUT_SLICES &&
           !link->failed) {
        bool data = data_waits(link), control = control_waits(link);
        if (control && (!data || link->control_credit > 0))
            commit_control(link, now);
        else if (!data || !commit_data(link, now))
            break;
    }
    if (link->data_circuits == 0 && cbx_pace_room(&link->pace) > 0)
        cbx_pace_idle(&link->pace);
}

/* The path is another one: what is known of its rate and delay says nothing. */
static void
shift_out(struct cbx_link *link, int64_t now)
{
    if (link->shift_out == CBX_SHIFT_WANTED) {
        struct cbx_field id = cbx_field_bytes(link->lane->id, CBX_LANE_ID);
        struct cbx_slice slice = cbx_frame_slice(CBX_FRAME_SHIFT, 0, &id, 1);
        if (!slice.slab)
            return; /* at the next turn */
        commit(link, slice);
        cbx_link_set_shift_out(link, CBX_SHIFT_MARKED);
    }
    if (link->shift_out == CBX_SHIFT_MARKED && link->out_count == 0) {
        cbx_link_set_shift_out(link, CBX_SHIFT_DONE);
        link->count.first_out = link->count.bytes_out;
        cbx_link_note_moved(link, now);
        cbx_pace_restart(&link->pace, now);
    }
}

int
cbx_link_output(struct cbx_link *link, struct iovec *vector, int max, int64_t now)
{
    if (link->failed)
        return 0;
    if (link->shift_out == CBX_SHIFT_WANTED || link->shift_out == CBX_SHIFT_MARKED)
        shift_out(link, now);
    if (link->shift_out != CBX_SHIFT_MARKED)
        fill(link, now);
    int count = 0;
    for (uint32_t i = 0; i < link->out_count && count < max; i++, count++) {
        struct cbx_slice *slice = &link->out[(link->out_first + i) % CBX_LINK_OUT_SLICES];
        vector[count] = (struct iovec){.iov_base = slice->data, .iov_len = slice->length};
    }
    return count;
}

void
cbx_link_written(struct cbx_link *link, size_t bytes)
{
    link->count.bytes_out += bytes;
    link->out_bytes -= bytes;
    while (bytes) {
        struct cbx_slice *slice = &link->out[link->out_first];
        if (bytes < slice->length) {
            slice->data += bytes;
            slice->length -= (uint32_t)bytes;
            return;
        }
        bytes -= slice->length;
        cbx_slice_drop(slice);
        link->out_first = (link->out_first + 1) % CBX_LINK_OUT_SLICES;
        link->out_count--;
    }
}

bool
cbx_link_has_output(const struct cbx_link *link)
{
    return !link->failed && (link->out_count || control_waits(link) || data_waits(link) ||
                             link->shift_out == CBX_SHIFT_WANTED);
}

int
cbx_link_send_slice(struct cbx_link *link, struct cbx_slice slice)
{
    if (!slice.slab)
        return CBX_ERR_NOMEM;
    struct cbx_queued *queued = NULL;
    int result = CBX_ERR_LIMIT;
    if (!link->failed && link->control_count < CBX_LINK_CONTROL_MAX) {
        queued = malloc(sizeof *queued);
        result = CBX_ERR_NOMEM;
    }
    if (!queued) {
        cbx_slice_drop(&slice);
        return result;
    }
    queued->slice = slice;
    STAILQ_INSERT_TAIL(&link->control, queued, entry);
    link->control_count++;
    cbx_link_wake(link);
    return 0;
}

int
cbx_link_send(struct cbx_link *link, enum cbx_frame_type type, uint32_t label,
              const struct cbx_field *fields, uint32_t count)
{
    int result = cbx_link_send_slice(link, cbx_frame_slice(type, label, fields, count));
    if (result == CBX_ERR_NOMEM)
        cbx_link_starve(link);
    return result;
}

void
cbx_link_starve(struct cbx_link *link)
{
    link->starved = true;
    cbx_link_wake(link);
}
