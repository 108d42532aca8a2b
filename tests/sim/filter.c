/* SPDX-License-Identifier: MIT */
#include "filter.h"
#include "hub/core/link.h"
#include "pipe.h"
#include <assert.h>
#include <stdlib.h>
#include <string.h>

enum { PARTIAL_MAX = 2 * (CBX_FRAME_MAX + 4) };

static uint32_t
find_label(const struct world_pipe *pipe, uint16_t port)
{
    for (uint32_t i = pipe->port_next; i > 0 && i + 256 > pipe->port_next; i--) {
        const struct world_port *at = &pipe->ports[(i - 1) % 256];
        if (at->port == port)
            return at->label;
    }
    return 0;
}

static uint16_t
find_port(const struct world_pipe *pipe, uint32_t label)
{
    for (uint32_t i = 0; label && i < 256; i++) {
        if (pipe->ports[i].label == label)
            return pipe->ports[i].port;
    }
    return 0;
}

/* Something other than what came went on: acknowledgements of it must say what came. */
static void
note_shift(struct world_lane *lane)
{
    int64_t surplus = (int64_t)(lane->data_out - lane->data_in);
    uint32_t last = (lane->shift_next - 1) % 64;
    if (surplus == (lane->shift_next ? lane->shift[last].surplus : 0))
        return;
    lane->shift[lane->shift_next++ % 64] =
        (struct world_shift){.out = lane->data_out, .surplus = surplus};
}

static uint64_t
acknowledged(const struct world_lane *lane, uint64_t out)
{
    int64_t surplus = 0;
    for (uint32_t i = lane->shift_next > 64 ? lane->shift_next - 64 : 0; i < lane->shift_next;
         i++) {
        if (lane->shift[i % 64].out <= out)
            surplus = lane->shift[i % 64].surplus;
    }
    uint64_t in = (int64_t)out > surplus ? (uint64_t)((int64_t)out - surplus) : 0;
    return in < lane->data_in ? in : lane->data_in;
}

static bool
translate(struct world_pipe *pipe, int side, struct cbx_frame *frame)
{
    const struct world_lane *lane = &pipe->lane[1 - side];
    if (lane->shift_next == 0)
        return false;
    if (frame->type == CBX_FRAME_ACK)
        frame->field[0].u = acknowledged(lane, frame->field[0].u);
    else if (frame->type == CBX_FRAME_PING || frame->type == CBX_FRAME_PONG)
        frame->field[1].u = acknowledged(lane, frame->field[1].u);
    else
        return false;
    return true;
}

/*
 * Each side knows which label of the other comes next: whoever drops an OPEN hands out what comes
 * after it under other labels. Filters see the labels of who opened them.
 */
static uint32_t
opened_as(const struct world_pipe *pipe, int side, uint32_t label)
{
    const struct world_labels *dropped = &pipe->dropped[label & 1 ? 0 : 1];
    bool receiver_opened = (label & 1) == (uint32_t)side;
    for (uint32_t i = 0; receiver_opened && i < dropped->count && dropped->label[i] <= label; i++)
        label += 2;
    return label;
}

/* What the receiver knows it as; 0: it never heard of it. */
static uint32_t
known_as(const struct world_pipe *pipe, int side, uint32_t label)
{
    const struct world_labels *dropped = &pipe->dropped[label & 1 ? 0 : 1];
    bool receiver_opened = (label & 1) == (uint32_t)side;
    uint32_t before = 0;
    while (!receiver_opened && before < dropped->count && dropped->label[before] < label)
        before++;
    bool is_dropped = before < dropped->count && dropped->label[before] == label;
    return !receiver_opened && is_dropped ? 0 : label - 2 * before;
}

static void
note_dropped(struct world_pipe *pipe, const struct cbx_frame *frame)
{
    if (frame->type != CBX_FRAME_OPEN && frame->type != CBX_FRAME_RESUME)
        return;
    struct world_labels *dropped = &pipe->dropped[frame->label & 1 ? 0 : 1];
    assert(dropped->count < sizeof dropped->label / sizeof dropped->label[0]);
    dropped->label[dropped->count++] = frame->label;
}

/* label: as its opener knows it, or 0. */
static void
put(struct world_pipe *pipe, int side, uint32_t label, const uint8_t *bytes, size_t length)
{
    static uint8_t copy[CBX_FRAME_MAX + 4];
    uint32_t known = label ? known_as(pipe, side, label) : 0;
    if (label && !known)
        return;
    memcpy(copy, bytes, length);
    if (label)
        cbx_frame_relabel(copy, known);
    /* The type is the sixth byte of a frame. */
    if (cbx_frame_is_data(bytes[5]))
        pipe->lane[side].data_out += length;
    world_pipe_put(pipe, side, copy, length);
}

static void
look(struct world_pipe *pipe, int side, struct cbx_slice raw)
{
    struct cbx_frame frame;
    struct cbx_error error = {""};
    int result = cbx_frame_decode(&pipe->decoder, raw, &frame, &error);
    assert(result == 0);
    if (frame.label)
        frame.label = opened_as(pipe, side, frame.label);
    if (frame.type == CBX_FRAME_OPEN)
        pipe->ports[pipe->port_next++ % 256] =
            (struct world_port){.label = frame.label, .port = (uint16_t)frame.field[2].u};
    struct world_flow flow = {.world = pipe->world,
                              .agent = pipe->owner,
                              .pipe = pipe,
                              .to_agent = side == 1,
                              .join = pipe->join,
                              .port = find_port(pipe, frame.label)};
    struct world_lane *lane = &pipe->lane[side];
    bool changed = translate(pipe, side, &frame);
    enum world_verdict verdict = pipe->world->filter(&flow, &frame);
    if (verdict == WORLD_PASS && !changed)
        put(pipe, side, frame.label, raw.data, raw.length);
    else if (verdict == WORLD_PASS || verdict == WORLD_CHANGED)
        world_inject(&flow, frame.type, frame.label, frame.field, frame.count);
    else if (verdict == WORLD_DROP)
        note_dropped(pipe, &frame);
    if (cbx_frame_is_data(raw.data[5]))
        lane->data_in += raw.length;
    note_shift(lane);
}

static size_t
pass_magic(struct world_pipe *pipe, int side, const uint8_t *bytes, size_t length)
{
    struct world_lane *lane = &pipe->lane[side];
    size_t n = length < lane->magic_left ? length : lane->magic_left;
    world_pipe_put(pipe, side, bytes, n);
    lane->magic_left -= (uint32_t)n;
    return n;
}

void
world_filter_feed(struct world_pipe *pipe, int side, const uint8_t *bytes, size_t length)
{
    struct world_lane *lane = &pipe->lane[side];
    size_t done = pass_magic(pipe, side, bytes, length);
    if (!lane->partial)
        lane->partial = malloc(PARTIAL_MAX);
    assert(lane->partial);
    while (done < length) {
        size_t n = length - done, room = PARTIAL_MAX - lane->partial_length;
        n = n < room ? n : room;
        memcpy(lane->partial + lane->partial_length, bytes + done, n);
        lane->partial_length += (uint32_t)n;
        done += n;
        uint32_t used = 0;
        for (;;) {
            uint32_t left = lane->partial_length - used;
            int frame = cbx_frame_length(lane->partial + used, left);
            assert(frame >= 0);
            if (frame == 0 || (uint32_t)frame > left)
                break;
            look(pipe, side,
                 (struct cbx_slice){.data = lane->partial + used, .length = (uint32_t)frame});
            used += (uint32_t)frame;
        }
        lane->partial_length -= used;
        memmove(lane->partial, lane->partial + used, lane->partial_length);
    }
}

/* ---- for tests ---- */

struct world_copy *
world_keep(const struct world_flow *flow, const struct cbx_frame *frame)
{
    struct world_copy *copy = malloc(sizeof *copy + frame->raw.length);
    assert(copy);
    copy->port = flow->port;
    copy->label = frame->label;
    copy->length = frame->raw.length;
    memcpy(copy->bytes, frame->raw.data, copy->length);
    copy->next = flow->world->copies;
    flow->world->copies = copy;
    return copy;
}

bool
world_flow_of(struct world_agent *agent, bool to_agent, struct world_flow *flow)
{
    struct world_pipe *pipe = world_pipe_of(agent);
    *flow = (struct world_flow){.world = agent->world,
                                .agent = agent,
                                .pipe = pipe,
                                .to_agent = to_agent,
                                .join = pipe && pipe->join};
    return pipe != NULL;
}

void
world_inject(struct world_flow *flow, enum cbx_frame_type type, uint32_t label,
             const struct cbx_field *fields, uint32_t count)
{
    struct cbx_slice slice = cbx_frame_slice(type, label, fields, count);
    assert(slice.slab);
    put(flow->pipe, flow->to_agent ? 1 : 0, label, slice.data, slice.length);
    note_shift(&flow->pipe->lane[flow->to_agent ? 1 : 0]);
    cbx_slice_drop(&slice);
}

void
world_inject_copy(struct world_flow *flow, struct world_copy *copy, uint32_t label)
{
    put(flow->pipe, flow->to_agent ? 1 : 0, label ? label : copy->label, copy->bytes, copy->length);
    note_shift(&flow->pipe->lane[flow->to_agent ? 1 : 0]);
}

uint32_t
world_label(const struct world_agent *agent, uint16_t port)
{
    const struct world_pipe *pipe = world_pipe_of(agent);
    return pipe ? find_label(pipe, port) : 0;
}

uint32_t
world_take_label(struct world_agent *agent)
{
    struct hub_link *link;
    TAILQ_FOREACH(link, &agent->world->hub->links, entry) {
        if (link->phase == HUB_READY && strcmp(link->slug, agent->slug) == 0)
            return cbx_link_label(&link->pump.link);
    }
    return 0;
}
