/* SPDX-License-Identifier: MIT */
/* Tested by test_link, test_pump and fuzz_link. */
#include "common/link/link_in.h"
#include "common/link/link_out.h"
#include <string.h>

enum {
    READ_MIDDLE = 80 * 1024,
    READ_LARGE = 384 * 1024,
    ACK_DELAY_US = 5000,
    ACK_EVERY_MIN = 1024,
    /* A frame costs whoever takes it something, however small it is: a batch of so many whose
     * average is so small is not to take longer than one of large frames. */
    FRAMES_MANY = 256,
    FRAME_SMALL = 128,
};

const uint8_t cbx_link_magic[CBX_LINK_MAGIC_SIZE] = "\0cbx link 1\r\n\0\xff";

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

/* How much may be read at once. */
static size_t
room_of(const struct cbx_link *link)
{
    size_t room = read_end(link) - link->in_end;
    return link->small_frames && room > CBX_LINK_READ_SMALL ? CBX_LINK_READ_SMALL : room;
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
    /* A whole frame is never left unparsed; fewer than 4 bytes may be. */
    if (read_end(link) <= link->in_end) {
        int result = renew_input(link, wanted);
        if (result < 0)
            return result;
    }
    *at = link->in->bytes + link->in_end;
    *room = room_of(link);
    return 0;
}

static void
adapt_read_size(struct cbx_link *link, size_t bytes, size_t room)
{
    if (bytes >= room && !link->small_frames && link->read_size < READ_LARGE)
        link->read_size = link->read_size == CBX_LINK_READ_SMALL ? READ_MIDDLE : READ_LARGE;
    else if (bytes < CBX_LINK_READ_SMALL / 4 && link->read_size > CBX_LINK_READ_SMALL &&
             room > CBX_LINK_READ_SMALL)
        link->read_size = link->read_size == READ_LARGE ? READ_MIDDLE : CBX_LINK_READ_SMALL;
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
    cbx_link_wake(link);
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
    cbx_link_set_shift_in(link, link->lane ? CBX_SHIFT_DONE : CBX_SHIFT_MARKED);
    link->count.first_in = link->count.bytes_in;
    cbx_link_note_moved(link, now);
    return 0;
}

static int
take_ack(struct cbx_link *link, uint64_t total, int64_t now, struct cbx_error *error)
{
    if (cbx_pace_acked(&link->pace, total, now) < 0)
        return cbx_fail(error, CBX_ERR_FORMAT, "link: acknowledged bytes that were never sent");
    cbx_link_wake(link);
    return 0;
}

/* The link's own frames. 1 when it was one. */
static int
take_own(struct cbx_link *link, const struct cbx_frame *frame, int64_t now, struct cbx_error *error)
{
    const struct cbx_field *field = frame->field;
    int result = 0;
    switch (frame->type) {
    case CBX_FRAME_PING:
        cbx_pace_one_way_delay(&link->pace, (uint64_t)now - field[CBX_PING_NONCE].u, now);
        result = take_ack(link, field[CBX_PING_RECEIVED].u, now, error);
        if (result == 0)
            result = cbx_link_send(
                link, CBX_FRAME_PONG, 0,
                (struct cbx_field[]){[CBX_PONG_NONCE] = field[CBX_PING_NONCE],
                                     [CBX_PONG_RECEIVED] = cbx_field_uint(link->data_received)},
                2);
        break;
    case CBX_FRAME_PONG:
        result = take_ack(link, field[CBX_PONG_RECEIVED].u, now, error);
        if (field[CBX_PONG_NONCE].u == link->ping_nonce && link->ping_sent_at) {
            link->delay_us = now - link->ping_sent_at;
            link->ping_sent_at = 0;
            cbx_pace_delay(&link->pace, link->delay_us, now);
        }
        break;
    case CBX_FRAME_ACK:
        result = take_ack(link, field[CBX_ACK_RECEIVED].u, now, error);
        break;
    case CBX_FRAME_PACE:
        link->ack_every =
            field[CBX_PACE_EVERY].u < ACK_EVERY_MIN ? ACK_EVERY_MIN : field[CBX_PACE_EVERY].u;
        break;
    case CBX_FRAME_SHIFT:
        result = take_shift(link, field[CBX_SHIFT_LANE_ID].p, now, error);
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
    return cbx_fail(error, CBX_ERR_AUTH, "lane: a block failed authentication");
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
    size_t room = room_of(link);
    uint64_t frames = link->count.frames_in;
    link->in_end += (uint32_t)bytes;
    link->count.bytes_in += bytes;
    link->heard_at = now;
    adapt_read_size(link, bytes, room);
    int result = 0;
    if (!link->magic_seen)
        result = skip_to_magic(link, error);
    if (result == 0 && link->magic_seen)
        result = parse(link, now, error);
    frames = link->count.frames_in - frames;
    link->small_frames = frames > FRAMES_MANY && bytes / frames < FRAME_SMALL;
    if (link->ops->batch_done)
        link->ops->batch_done(link->owner, link, now);
    if (result < 0) {
        link->failed = true;
        return result;
    }
    if (link->in && link->in_begin == link->in_end) { /* at rest a link keeps no buffer */
        if (link->in->refs > 1 || link->in->capacity != link->read_size ||
            link->read_size == CBX_LINK_READ_SMALL) {
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
