/* SPDX-License-Identifier: MIT */
#include "common/link/link.h"
#include <stdlib.h>
#include <string.h>

enum {
    READ_SMALL = 16 * 1024,
    READ_MIDDLE = 80 * 1024,
    READ_LARGE = 384 * 1024,
    ACK_DELAY_US = 5000,
    ACK_RIDES_US = 2500, /* this long before it is due an ack goes with data */
    ACK_EVERY_START = 64 * 1024,
    CONTROL_CREDIT_MAX = 64 * 1024,
    PING_LOADED_US = 2 * 1000 * 1000,
    PING_BOTH_US = 100 * 1000,
    SHORT_FRAME = 1024
};

const uint8_t cbx_link_magic[CBX_LINK_MAGIC_SIZE] = "\0cbx link 1\r\n\0\xff";

int
cbx_link_init(struct cbx_link *link, const struct cbx_link_config *config,
              const struct cbx_link_ops *ops, void *owner, int64_t now)
{
    memset(link, 0, sizeof *link);
    link->ops = ops;
    link->owner = owner;
    link->config = *config;
    link->read_size = READ_SMALL;
    link->ack_every = ACK_EVERY_START;
    link->control_credit = CONTROL_CREDIT_MAX;
    link->next_label = config->hub ? 2 : 1;
    link->heard_at = now;
    link->magic_seen = config->hub;
    STAILQ_INIT(&link->control);
    TAILQ_INIT(&link->circuit_control);
    TAILQ_INIT(&link->quick);
    TAILQ_INIT(&link->fresh);
    TAILQ_INIT(&link->waiting);
    cbx_pace_init(&link->pace, now);
    link->lane = config->lane;
    if (link->lane) {
        link->shift_in = link->shift_out = CBX_SHIFT_DONE;
        link->magic_seen = true;
        link->moved_at = now;
    }
    int result = cbx_frame_decoder_init(&link->decoder);
    if (result < 0)
        return result;
    if (!config->hub || link->lane)
        return 0;
    return cbx_link_send_slice(link, cbx_slice_copy(cbx_link_magic, CBX_LINK_MAGIC_SIZE));
}

void
cbx_link_dispose(struct cbx_link *link)
{
    while (!STAILQ_EMPTY(&link->control)) {
        struct cbx_queued *queued = STAILQ_FIRST(&link->control);
        STAILQ_REMOVE_HEAD(&link->control, entry);
        cbx_slice_drop(&queued->slice);
        free(queued);
    }
    for (uint32_t i = 0; i < link->out_count; i++)
        cbx_slice_drop(&link->out[(link->out_first + i) % CBX_LINK_OUT_SLICES]);
    link->out_count = 0;
    link->out_bytes = 0;
    cbx_slab_unref(link->in);
    link->in = NULL;
    cbx_lane_free(link->lane);
    link->lane = NULL;
    cbx_frame_decoder_dispose(&link->decoder);
    link->failed = true;
}

static void
wake(struct cbx_link *link)
{
    link->ops->wake(link->owner, link);
}

/* ---- input ---- */

/* A new slab that begins with the unparsed bytes and has room for the whole frame they begin. */
static int
renew_input(struct cbx_link *link, uint32_t wanted)
{
    uint32_t left = link->in_end - link->in_begin;
    uint32_t capacity = link->read_size;
    if (capacity < wanted)
        capacity = wanted <= READ_MIDDLE ? READ_MIDDLE : READ_LARGE;
    struct cbx_slab *slab = cbx_slab_new(capacity);
    if (!slab)
        return CBX_ERR_NOMEM;
    if (left && link->in)
        memcpy(slab->bytes, link->in->bytes + link->in_begin, left);
    link->count.copied += left;
    cbx_slab_unref(link->in);
    link->in = slab;
    link->in_begin = 0;
    link->in_end = left;
    return 0;
}

/* The whole length of the frame that the unparsed bytes begin, as far as they tell. */
static uint32_t
wanted_length(const struct cbx_link *link)
{
    if (cbx_link_in_lane(link))
        return CBX_LANE_BLOCK + (link->head_length ? link->body : 0);
    uint32_t left = link->in ? link->in_end - link->in_begin : 0;
    int frame = left ? cbx_frame_length(link->in->bytes + link->in_begin, left) : 0;
    return frame > 0 ? (uint32_t)frame : 4;
}

/*
 * A large slab keeps its last 80 KiB for the frame that straddles the rest: reading stops exactly
 * at that frame's end, so that a new slab begins at a frame and nothing is copied.
 */
static uint32_t
read_end(const struct cbx_link *link)
{
    uint32_t capacity = link->in->capacity;
    uint32_t soft = capacity == READ_LARGE ? READ_LARGE - READ_MIDDLE : capacity;
    return link->in_end < soft ? soft : link->in_begin + wanted_length(link);
}

int
cbx_link_space(struct cbx_link *link, uint8_t **at, size_t *room)
{
    uint32_t left = link->in ? link->in_end - link->in_begin : 0;
    uint32_t wanted = wanted_length(link);
    if (link->in && left == 0 && link->in->refs == 1 && link->in->capacity >= link->read_size)
        link->in_begin = link->in_end = 0;
    if (!link->in || link->in_begin + wanted > link->in->capacity ||
        (left == 0 && link->in->capacity < link->read_size)) {
        int result = renew_input(link, wanted);
        if (result < 0)
            return result;
    }
    uint32_t end = read_end(link);
    if (end <= link->in_end) { /* a whole frame is never left unparsed; fewer than 4 bytes may be */
        int result = renew_input(link, wanted);
        if (result < 0)
            return result;
        end = read_end(link);
    }
    *at = link->in->bytes + link->in_end;
    *room = end - link->in_end;
    return 0;
}

static void
adapt_read_size(struct cbx_link *link, size_t bytes, size_t room)
{
    if (bytes >= room && link->read_size < READ_LARGE)
        link->read_size = link->read_size == READ_SMALL ? READ_MIDDLE : READ_LARGE;
    else if (bytes < READ_SMALL / 4 && link->read_size > READ_SMALL && room > READ_SMALL)
        link->read_size = link->read_size == READ_LARGE ? READ_MIDDLE : READ_SMALL;
}

/* How much of the magic the bytes end with after `matched` of it and then another byte. */
static uint32_t
restart(uint32_t matched, uint8_t byte)
{
    /* The only beginning that comes again within the magic is its NUL. */
    if (matched && cbx_link_magic[matched - 1] == cbx_link_magic[0] && byte == cbx_link_magic[1])
        return 2;
    return byte == cbx_link_magic[0] ? 1 : 0;
}

static int
skip_to_magic(struct cbx_link *link, struct cbx_error *error)
{
    while (link->in_begin < link->in_end && !link->magic_seen) {
        uint8_t byte = link->in->bytes[link->in_begin++];
        if (byte == cbx_link_magic[link->magic_matched]) {
            link->magic_matched++;
        } else {
            link->junk += link->magic_matched + 1;
            link->magic_matched = restart(link->magic_matched, byte);
            link->junk -= link->magic_matched;
        }
        link->magic_seen = link->magic_matched == CBX_LINK_MAGIC_SIZE;
    }
    if (link->junk > CBX_LINK_JUNK_MAX)
        return cbx_fail(error, CBX_ERR_FORMAT,
                        "the hub's account printed over %d bytes before cbx could speak: make its "
                        "shell start files quiet",
                        CBX_LINK_JUNK_MAX);
    return 0;
}

static void
note_data(struct cbx_link *link, uint32_t length, int64_t now)
{
    link->data_received += length;
    uint64_t pending = link->data_received - link->data_acked;
    if (pending >= link->ack_every)
        link->ack_at = now;
    else if (link->ack_at == 0)
        link->ack_at = now + ACK_DELAY_US;
    wake(link);
}

static void
note_moved(struct cbx_link *link, int64_t now)
{
    if (cbx_link_moved(link))
        link->moved_at = now;
}

/* The neighbour's last frame on this carrier: nothing may follow it here. */
static int
take_shift(struct cbx_link *link, const uint8_t id[CBX_LANE_ID], int64_t now,
           struct cbx_error *error)
{
    if (!link->lane_expected || link->shift_in != CBX_SHIFT_NONE ||
        memcmp(id, link->lane_id, CBX_LANE_ID) != 0)
        return cbx_fail(error, CBX_ERR_STATE, "link: SHIFT to a lane that was not agreed on");
    if (link->in_begin < link->in_end)
        return cbx_fail(error, CBX_ERR_FORMAT, "link: bytes after SHIFT");
    link->shift_in = link->lane ? CBX_SHIFT_DONE : CBX_SHIFT_MARKED;
    link->count.first_in = link->count.bytes_in;
    note_moved(link, now);
    return 0;
}

static int
take_ack(struct cbx_link *link, uint64_t total, int64_t now, struct cbx_error *error)
{
    if (cbx_pace_acked(&link->pace, total, now) < 0)
        return cbx_fail(error, CBX_ERR_FORMAT, "link: acknowledged bytes that were never sent");
    wake(link);
    return 0;
}

/* The link's own frames. 1 when it was one. */
static int
take_own(struct cbx_link *link, const struct cbx_frame *frame, int64_t now, struct cbx_error *error)
{
    int result = 0;
    switch (frame->type) {
    case CBX_FRAME_PING:
        cbx_pace_way(&link->pace, (uint64_t)now - frame->field[0].u, now);
        result = take_ack(link, frame->field[1].u, now, error);
        if (result == 0)
            result = cbx_link_send(link, CBX_FRAME_PONG, 0,
                                   (struct cbx_field[]){cbx_field_uint(frame->field[0].u),
                                                        cbx_field_uint(link->data_received)},
                                   2);
        break;
    case CBX_FRAME_PONG:
        result = take_ack(link, frame->field[1].u, now, error);
        if (frame->field[0].u == link->ping_nonce && link->ping_sent_at) {
            link->delay_us = now - link->ping_sent_at;
            link->ping_sent_at = 0;
            cbx_pace_delay(&link->pace, link->delay_us, now);
        }
        break;
    case CBX_FRAME_ACK:
        result = take_ack(link, frame->field[0].u, now, error);
        break;
    case CBX_FRAME_PACE:
        link->ack_every = frame->field[0].u < 1024 ? 1024 : frame->field[0].u;
        break;
    case CBX_FRAME_SHIFT:
        result = take_shift(link, frame->field[0].p, now, error);
        break;
    case CBX_FRAME_LANE_LOST: /* the neighbour began anew as we did */
        break;
    default:
        return 0;
    }
    return result < 0 ? result : 1;
}

static int
take_frame(struct cbx_link *link, struct cbx_slice raw, int64_t now, struct cbx_error *error)
{
    struct cbx_frame frame;
    int result = cbx_frame_decode(&link->decoder, raw, &frame, error);
    if (result < 0)
        return result;
    link->count.frames_in++;
    if (cbx_frame_is_data(frame.type))
        note_data(link, raw.length, now);
    result = take_own(link, &frame, now, error);
    if (result != 0)
        return result < 0 ? result : 0;
    return link->ops->frame(link->owner, link, &frame, now, error);
}

/* The next whole frame of plain bytes: 1, or 0 when more must come. */
static int
next_plain(struct cbx_link *link, struct cbx_slice *raw, struct cbx_error *error)
{
    uint8_t *at = link->in->bytes + link->in_begin;
    uint32_t left = link->in_end - link->in_begin;
    int length = cbx_frame_length(at, left);
    if (length < 0)
        return cbx_fail(error, CBX_ERR_FORMAT, "link: a frame's length is out of bounds");
    if (length == 0 || (uint32_t)length > left)
        return 0;
    *raw = (struct cbx_slice){.slab = link->in, .data = at, .length = (uint32_t)length};
    link->in_begin += (uint32_t)length;
    return 1;
}

static int
lane_broken(struct cbx_link *link, struct cbx_error *error)
{
    link->lane_broken = true;
    return cbx_fail(error, CBX_ERR_AUTH, "lane: a block does not open");
}

/* The next whole frame of a lane. Its head is moved to stand before its payload. */
static int
next_sealed(struct cbx_link *link, struct cbx_slice *raw, struct cbx_error *error)
{
    uint8_t *block = link->in->bytes + link->in_begin, *head;
    uint32_t left = link->in_end - link->in_begin;
    if (left < CBX_LANE_BLOCK)
        return 0;
    if (!link->head_length && cbx_lane_open_head(link->lane, block, &head, &link->head_length,
                                                 &link->body, &link->body_sealed) < 0)
        return lane_broken(link, error);
    uint8_t *body = block + CBX_LANE_BLOCK;
    if (left < CBX_LANE_BLOCK + link->body)
        return 0;
    uint32_t length = link->head_length + link->body;
    if (link->body_sealed) {
        if (cbx_lane_open_body(link->lane, body, link->body) < 0)
            return lane_broken(link, error);
        length -= CBX_AEAD_TAG;
    }
    *raw = (struct cbx_slice){.slab = link->in,
                              .data = body - link->head_length,
                              .length = length,
                              .room = CBX_LANE_BLOCK - link->head_length};
    link->in_begin += CBX_LANE_BLOCK + link->body;
    link->head_length = 0;
    return 1;
}

static int
parse(struct cbx_link *link, int64_t now, struct cbx_error *error)
{
    while (!link->failed && link->in_begin < link->in_end) {
        struct cbx_slice raw = {0};
        int result =
            cbx_link_in_lane(link) ? next_sealed(link, &raw, error) : next_plain(link, &raw, error);
        if (result <= 0)
            return result;
        /* Held while the owner looks at it: it may drop the link's own reference. */
        cbx_slab_ref(raw.slab);
        result = take_frame(link, raw, now, error);
        cbx_slab_unref(raw.slab);
        if (result < 0)
            return result;
    }
    return 0;
}

int
cbx_link_received(struct cbx_link *link, size_t bytes, int64_t now, struct cbx_error *error)
{
    size_t room = read_end(link) - link->in_end;
    link->in_end += (uint32_t)bytes;
    link->count.bytes_in += bytes;
    link->heard_at = now;
    adapt_read_size(link, bytes, room);
    int result = 0;
    if (!link->magic_seen)
        result = skip_to_magic(link, error);
    if (result == 0 && link->magic_seen)
        result = parse(link, now, error);
    if (link->ops->given)
        link->ops->given(link->owner, link, now);
    if (result < 0) {
        link->failed = true;
        return result;
    }
    if (link->in && link->in_begin == link->in_end) { /* at rest a link keeps no buffer */
        if (link->in->refs > 1 || link->in->capacity != link->read_size ||
            link->read_size == READ_SMALL) {
            cbx_slab_unref(link->in);
            link->in = NULL;
        }
        link->in_begin = link->in_end = 0;
    }
    return 0;
}

int
cbx_link_input(struct cbx_link *link, const uint8_t *bytes, size_t length, int64_t now,
               struct cbx_error *error)
{
    while (length && !link->failed) {
        uint8_t *at;
        size_t room;
        int result = cbx_link_space(link, &at, &room);
        if (result < 0)
            return cbx_fail(error, result, "link: out of memory");
        size_t part = length < room ? length : room;
        memcpy(at, bytes, part);
        bytes += part;
        length -= part;
        result = cbx_link_received(link, part, now, error);
        if (result < 0)
            return result;
    }
    return 0;
}

/* ---- output ---- */

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
            if (TAILQ_FIRST(&link->circuit_control) == circuit) {
                TAILQ_REMOVE(&link->circuit_control, circuit, control_entry);
                circuit->control_waiting = false;
            }
            return true;
        }
    }
    link->control_credit -= slice.length;
    commit(link, slice);
    return true;
}

static struct cbx_circuits *
list_of(struct cbx_link *link, enum cbx_circuit_list list)
{
    if (list == CBX_CIRCUIT_WAITING)
        return &link->waiting;
    return list == CBX_CIRCUIT_QUICK ? &link->quick : &link->fresh;
}

static void
data_join(struct cbx_circuit *circuit, enum cbx_circuit_list list)
{
    struct cbx_link *link = circuit->link;
    TAILQ_INSERT_TAIL(list_of(link, list), circuit, data_entry);
    circuit->data_list = list;
    link->data_circuits++;
}

static void
data_leave(struct cbx_circuit *circuit)
{
    struct cbx_link *link = circuit->link;
    if (!circuit->data_list)
        return;
    TAILQ_REMOVE(list_of(link, circuit->data_list), circuit, data_entry);
    circuit->data_list = CBX_CIRCUIT_RESTS;
    link->data_circuits--;
}

/* A circuit that has used its turn goes to the end of the waiting list. */
static void
data_rotate(struct cbx_circuit *circuit)
{
    data_leave(circuit);
    circuit->deficit += CBX_LINK_QUANTUM;
    data_join(circuit, CBX_CIRCUIT_WAITING);
}

/* A round is over when each active circuit could have sent a quantum. */
static void
count_round(struct cbx_link *link, uint32_t bytes)
{
    link->round_left -= bytes;
    if (link->round_left > 0)
        return;
    link->round++;
    link->round_left = (int64_t)link->data_circuits * CBX_LINK_QUANTUM;
}

/* A quantum for each round that it was not there; no more than AHEAD comes of it. */
static void
top_up(struct cbx_circuit *circuit)
{
    uint32_t rounds = circuit->link->round - circuit->round;
    int64_t deficit = circuit->deficit + (int64_t)rounds * CBX_LINK_QUANTUM;
    circuit->round = circuit->link->round;
    if (circuit->deficit < CBX_LINK_AHEAD)
        circuit->deficit = deficit < CBX_LINK_AHEAD ? (int32_t)deficit : CBX_LINK_AHEAD;
}

/* Control of a circuit goes before its data: an EPOCH must never be overtaken by its records. It is
 * paid from the circuit's own turn, so that a flood of it takes nothing from the others. */
static bool
commit_circuit_control(struct cbx_link *link, struct cbx_circuit *circuit, int64_t now)
{
    struct cbx_slice slice = {0};
    if (circuit->ops->control(circuit, now, &slice) <= 0) {
        if (circuit->control_waiting)
            TAILQ_REMOVE(&link->circuit_control, circuit, control_entry);
        circuit->control_waiting = false;
        return false;
    }
    circuit->deficit -= (int32_t)slice.length;
    commit(link, slice);
    return true;
}

static struct cbx_circuit *
next_circuit(const struct cbx_link *link)
{
    struct cbx_circuit *circuit = TAILQ_FIRST(&link->quick);
    if (!circuit)
        circuit = TAILQ_FIRST(&link->fresh);
    return circuit ? circuit : TAILQ_FIRST(&link->waiting);
}

static bool
commit_data(struct cbx_link *link, int64_t now)
{
    uint64_t room = cbx_pace_room(&link->pace);
    struct cbx_circuit *circuit = next_circuit(link);
    if (!circuit || room == 0)
        return false;
    if (circuit->deficit <= 0) {
        data_rotate(circuit);
        return true;
    }
    circuit->round = link->round; /* it has its turn */
    if (circuit->control_waiting && commit_circuit_control(link, circuit, now))
        return true;
    struct cbx_slice slice = {0};
    int got = circuit->ops->data(circuit, room, now, &slice);
    if (got <= 0) {
        data_leave(circuit);
        return true;
    }
    circuit->deficit -= (int32_t)slice.length;
    circuit->terse = slice.length <= SHORT_FRAME;
    link->control_credit += slice.length / 3;
    if (link->control_credit > CONTROL_CREDIT_MAX)
        link->control_credit = CONTROL_CREDIT_MAX;
    uint32_t length = slice.length;
    commit(link, slice);
    count_round(link, length);
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

static void
send_ack(struct cbx_link *link)
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
        send_ack(link);
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
        link->shift_out = CBX_SHIFT_MARKED;
    }
    if (link->shift_out == CBX_SHIFT_MARKED && link->out_count == 0) {
        link->shift_out = CBX_SHIFT_DONE;
        link->count.first_out = link->count.bytes_out;
        note_moved(link, now);
        cbx_pace_restart(&link->pace, now);
    }
}

void
cbx_link_expect_lane(struct cbx_link *link, const uint8_t id[CBX_LANE_ID])
{
    memcpy(link->lane_id, id, CBX_LANE_ID);
    link->lane_expected = true;
}

int
cbx_link_lane(struct cbx_link *link, struct cbx_lane *lane)
{
    if (link->lane || link->failed) {
        cbx_lane_free(lane);
        return CBX_ERR_STATE;
    }
    link->lane = lane;
    link->shift_out = CBX_SHIFT_WANTED;
    if (link->shift_in == CBX_SHIFT_MARKED)
        link->shift_in = CBX_SHIFT_DONE;
    wake(link);
    return 0;
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
    wake(link);
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
    wake(link);
}

/* ---- time ---- */

int64_t
cbx_link_deadline(const struct cbx_link *link)
{
    int64_t deadline = link->heard_at + link->config.keepalive_us;
    if (link->ping_at > link->heard_at)
        deadline = link->ping_at + link->config.keepalive_us;
    int64_t gone = link->heard_at + link->config.gone_us;
    if (gone < deadline || !link->magic_seen) /* before the magic nothing may be sent */
        deadline = gone;
    if (link->ack_at && link->ack_at < deadline)
        deadline = link->ack_at;
    return deadline;
}

int
cbx_link_ping(struct cbx_link *link, int64_t now)
{
    link->ping_at = link->ping_sent_at = now;
    link->ping_data = link->data_received;
    link->ping_nonce = (uint64_t)now > link->ping_nonce ? (uint64_t)now : link->ping_nonce + 1;
    return cbx_link_send(
        link, CBX_FRAME_PING, 0,
        (struct cbx_field[]){cbx_field_uint(link->ping_nonce), cbx_field_uint(link->data_received)},
        2);
}

/* Under load the delay of acks says little about the path: ask it now and then. Where data goes
 * both ways the neighbour is told more often how its acks fare. */
static bool
loaded(const struct cbx_link *link, int64_t now)
{
    bool both = link->data_received != link->ping_data && link->ping_sent_at == 0;
    return link->pace.sent != link->pace.acked &&
           now - link->ping_at >= (both ? PING_BOTH_US : PING_LOADED_US);
}

int
cbx_link_tick(struct cbx_link *link, int64_t now)
{
    if (now - link->heard_at >= link->config.gone_us)
        return CBX_ERR_CLOSED;
    if (link->ack_at && now >= link->ack_at)
        send_ack(link);
    int64_t quiet_since = link->ping_at > link->heard_at ? link->ping_at : link->heard_at;
    bool quiet = now - quiet_since >= link->config.keepalive_us;
    if ((quiet || loaded(link, now)) && link->magic_seen)
        return cbx_link_ping(link, now);
    return 0;
}

/* ---- circuits ---- */

uint32_t
cbx_link_label(struct cbx_link *link)
{
    uint32_t label = link->next_label;
    if (label == 0 || label > UINT32_MAX - 2)
        return 0;
    link->next_label += 2;
    return label;
}

int
cbx_circuit_add(struct cbx_link *link, struct cbx_circuit *circuit, uint32_t label,
                const struct cbx_circuit_ops *ops)
{
    memset(circuit, 0, sizeof *circuit);
    circuit->ops = ops;
    circuit->link = link;
    circuit->label = label;
    circuit->round = link->round;
    circuit->deficit = CBX_LINK_AHEAD;
    HASH_ADD(hh, link->circuits, label, sizeof circuit->label, circuit);
    if (!circuit->hh.tbl) {
        circuit->link = NULL;
        return CBX_ERR_NOMEM;
    }
    return 0;
}

void
cbx_circuit_remove(struct cbx_circuit *circuit)
{
    struct cbx_link *link = circuit->link;
    if (!link)
        return;
    data_leave(circuit);
    if (circuit->control_waiting)
        TAILQ_REMOVE(&link->circuit_control, circuit, control_entry);
    circuit->control_waiting = false;
    HASH_DELETE(hh, link->circuits, circuit);
    circuit->link = NULL;
}

struct cbx_circuit *
cbx_circuit_find(struct cbx_link *link, uint32_t label)
{
    struct cbx_circuit *circuit = NULL;
    HASH_FIND(hh, link->circuits, &label, sizeof label, circuit);
    return circuit;
}

int
cbx_link_take_label(struct cbx_link *link, uint32_t label)
{
    bool odd = label & 1;
    if (odd != link->config.hub || label <= link->last_seen)
        return CBX_ERR_FORMAT;
    link->last_seen = label;
    return 0;
}

void
cbx_circuit_data_ready(struct cbx_circuit *circuit)
{
    struct cbx_link *link = circuit->link;
    if (!link || circuit->data_list)
        return;
    top_up(circuit);
    if (circuit->deficit > 0)
        data_join(circuit, circuit->terse ? CBX_CIRCUIT_QUICK : CBX_CIRCUIT_FRESH);
    else
        data_rotate(circuit);
    wake(link);
}

void
cbx_circuit_control_ready(struct cbx_circuit *circuit)
{
    struct cbx_link *link = circuit->link;
    if (!link || circuit->control_waiting)
        return;
    TAILQ_INSERT_TAIL(&link->circuit_control, circuit, control_entry);
    circuit->control_waiting = true;
    wake(link);
}
