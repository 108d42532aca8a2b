/* SPDX-License-Identifier: MIT */
#include "pipe.h"
#include "filter.h"
#include <assert.h>
#include <stdlib.h>
#include <string.h>

enum { BUFFER = 256 * 1024, PACKET = 2896, SEGMENT = 1448 };

static uint32_t
buffer_of(const struct world_pipe *pipe)
{
    return pipe->path.buffer ? pipe->path.buffer : BUFFER;
}

static size_t
chop(struct world_pipe *pipe, size_t length)
{
    if (!pipe->path.chop || length == 0)
        return length;
    size_t most = 1 + world_random(pipe->world, pipe->path.chop);
    return length < most ? length : most;
}

static ssize_t
mem_read(struct cbx_carrier *base, void *buffer, size_t length)
{
    struct world_end *end = (struct world_end *)base;
    struct world_pipe *pipe = end->pipe;
    struct world_lane *lane = &pipe->lane[1 - end->side];
    struct world_chunk *chunk = lane->first;
    if (pipe->path.stall_1_in && world_random(pipe->world, pipe->path.stall_1_in) == 0)
        return CBX_ERR_AGAIN;
    if (!chunk)
        return pipe->cut || pipe->end[1 - end->side].closed ? CBX_ERR_CLOSED : CBX_ERR_AGAIN;
    if (chunk->at > pipe->world->now)
        return CBX_ERR_AGAIN;
    size_t n = chunk->length - chunk->taken;
    n = chop(pipe, n < length ? n : length);
    memcpy(buffer, chunk->bytes + chunk->taken, n);
    chunk->taken += (uint32_t)n;
    lane->held -= (uint32_t)n;
    if (chunk->taken == chunk->length) {
        if (lane->filling == chunk)
            lane->filling = NULL;
        lane->first = chunk->next;
        if (!lane->first)
            lane->last = NULL;
        free(chunk);
    }
    return (ssize_t)n;
}

static struct world_chunk *
chunk_new(size_t length)
{
    struct world_chunk *chunk = malloc(sizeof *chunk + (length < SEGMENT ? SEGMENT : length));
    assert(chunk);
    chunk->next = NULL;
    chunk->length = (uint32_t)length;
    chunk->taken = 0;
    return chunk;
}

static void
pass_on(struct world_pipe *pipe, struct world_lane *lane, struct world_chunk *chunk)
{
    int64_t now = pipe->world->now;
    lane->sent_at = now;
    lane->free_at = lane->free_at > now ? lane->free_at : now;
    if (pipe->path.rate)
        lane->free_at += (int64_t)(chunk->length * 1000000ull / pipe->path.rate);
    chunk->at = lane->free_at + pipe->path.delay_us;
}

static void
send_chunk(struct world_pipe *pipe, int side, struct world_chunk *chunk)
{
    struct world_lane *lane = &pipe->lane[side];
    pass_on(pipe, lane, chunk);
    if (lane->last)
        lane->last->next = chunk;
    else
        lane->first = chunk;
    lane->last = chunk;
    lane->held += chunk->length;
}

/* Nagle's rule before a receiver that delays its acks: as much as still fits joins the packet that
 * waits; what does not fill one waits itself, unless the road was at rest. */
static size_t
hold(struct world_pipe *pipe, int side, const uint8_t *bytes, size_t length)
{
    struct world_lane *lane = &pipe->lane[side];
    struct world_chunk *chunk = lane->filling;
    if (!chunk || chunk->at - pipe->path.delay_us <= pipe->world->now) {
        chunk = chunk_new(0);
        bool rest = pipe->world->now - lane->sent_at > pipe->path.hold_us;
        send_chunk(pipe, side, chunk);
        chunk->at += rest ? 0 : pipe->path.hold_us;
        lane->sent_at = pipe->world->now;
        lane->filling = rest ? NULL : chunk;
    }
    size_t n = SEGMENT - chunk->length;
    if (n > length)
        n = length;
    memcpy(chunk->bytes + chunk->length, bytes, n);
    chunk->length += (uint32_t)n;
    lane->held += (uint32_t)n;
    if (chunk->length == SEGMENT) {
        pass_on(pipe, lane, chunk);
        lane->filling = NULL;
    }
    return n;
}

/* On a link with a rate in packets, so that bytes arrive as they are sent, not all at the end. */
void
world_pipe_put(struct world_pipe *pipe, int side, const uint8_t *bytes, size_t length)
{
    while (pipe->path.hold_us && length) {
        size_t n = hold(pipe, side, bytes, length);
        bytes += n;
        length -= n;
    }
    while (length) {
        size_t n = pipe->path.rate && length > PACKET ? PACKET : length;
        struct world_chunk *chunk = chunk_new(n);
        memcpy(chunk->bytes, bytes, n);
        send_chunk(pipe, side, chunk);
        bytes += n;
        length -= n;
    }
}

/* What a middlebox or an attacker does to the eight bytes at that place. */
static void
do_harm(struct world_pipe *pipe, int side, const uint8_t *bytes, size_t length)
{
    uint8_t changed[64];
    size_t n = length < sizeof changed / 2 ? length : sizeof changed / 2;
    memcpy(changed, bytes, n);
    enum world_harm harm = pipe->lane[side].harm;
    pipe->lane[side].harm = 0;
    if (harm == WORLD_END) {
        pipe->cut = true;
        return;
    }
    if (harm == WORLD_FLIP)
        changed[0] ^= 1;
    if (harm == WORLD_SWAP)
        for (size_t i = 0; i < n; i++)
            changed[i] = bytes[n - 1 - i];
    if (harm == WORLD_REPEAT)
        world_pipe_put(pipe, side, bytes, n);
    if (harm != WORLD_LOSE)
        world_pipe_put(pipe, side, changed, n);
    if (length > n)
        world_pipe_put(pipe, side, bytes + n, length - n);
}

static void
harm_and_put(struct world_pipe *pipe, int side, const uint8_t *bytes, size_t length)
{
    struct world_lane *lane = &pipe->lane[side];
    size_t before = lane->harm_after < length ? (size_t)lane->harm_after : length;
    lane->harm_after -= before;
    world_pipe_put(pipe, side, bytes, before);
    if (before < length)
        do_harm(pipe, side, bytes + before, length - before);
}

static ssize_t
mem_writev(struct cbx_carrier *base, const struct iovec *vector, int count)
{
    struct world_end *end = (struct world_end *)base;
    struct world_pipe *pipe = end->pipe;
    struct world_lane *lane = &pipe->lane[end->side];
    if (pipe->cut || pipe->end[1 - end->side].closed)
        return CBX_ERR_CLOSED;
    size_t total = 0, done = 0,
           room = buffer_of(pipe) > lane->held ? buffer_of(pipe) - lane->held : 0;
    for (int i = 0; i < count; i++)
        total += vector[i].iov_len;
    total = chop(pipe, total < room ? total : room);
    if (total == 0)
        return CBX_ERR_AGAIN;
    for (int i = 0; i < count && done < total; i++) {
        size_t n = vector[i].iov_len;
        if (n > total - done)
            n = total - done;
        if (pipe->lane[end->side].harm)
            harm_and_put(pipe, end->side, vector[i].iov_base, n);
        else if (pipe->filtered)
            world_filter_feed(pipe, end->side, vector[i].iov_base, n);
        else
            world_pipe_put(pipe, end->side, vector[i].iov_base, n);
        done += n;
    }
    return (ssize_t)total;
}

static void
mem_want(struct cbx_carrier *base, bool read, bool write)
{
    struct world_end *end = (struct world_end *)base;
    end->want_read = read;
    end->want_write = write;
}

static void
mem_close(struct cbx_carrier *base)
{
    struct world_end *end = (struct world_end *)base;
    end->closed = true;
    end->base.ready = NULL;
}

static const struct cbx_carrier_ops mem_ops = {
    .read = mem_read, .writev = mem_writev, .want = mem_want, .close = mem_close};

static struct world_pipe *
make(struct world_agent *owner)
{
    struct world *world = owner->world;
    struct world_pipe *pipe = calloc(1, sizeof *pipe);
    assert(pipe);
    pipe->world = world;
    pipe->owner = owner;
    pipe->path = owner->path;
    for (int side = 0; side < 2; side++)
        pipe->end[side] = (struct world_end){.base.ops = &mem_ops, .pipe = pipe, .side = side};
    pipe->next = world->pipes;
    world->pipes = pipe;
    return pipe;
}

struct world_pipe *
world_pipe_new(struct world_agent *owner, bool join)
{
    struct world_pipe *pipe = make(owner);
    pipe->join = join;
    pipe->filtered = owner->world->filter != NULL;
    pipe->lane[1].magic_left = 16;
    int result = pipe->filtered ? cbx_frame_decoder_init(&pipe->decoder) : 0;
    assert(result == 0);
    owner->pipe = pipe;
    return pipe;
}

struct world_pipe *
world_lane_new(struct world_agent *owner)
{
    struct world_pipe *pipe = make(owner);
    pipe->is_lane = true;
    if (owner->world->lane_path)
        pipe->path = *owner->world->lane_path;
    owner->lane = pipe;
    return pipe;
}

struct world_pipe *
world_direct_new(struct world_agent *owner)
{
    struct world_pipe *pipe = make(owner);
    pipe->is_lane = true;
    if (owner->world->direct_path)
        pipe->path = *owner->world->direct_path;
    owner->direct = pipe;
    return pipe;
}

struct world_pipe *
world_pipe_of(const struct world_agent *agent)
{
    struct world_pipe *pipe = agent->pipe;
    return pipe && !pipe->cut && !pipe->end[0].closed && !pipe->end[1].closed ? pipe : NULL;
}

static void
pipe_free(struct world_pipe *pipe)
{
    for (int side = 0; side < 2; side++) {
        struct world_lane *lane = &pipe->lane[side];
        while (lane->first) {
            struct world_chunk *chunk = lane->first;
            lane->first = chunk->next;
            free(chunk);
        }
        free(lane->partial);
    }
    if (pipe->filtered)
        cbx_frame_decoder_dispose(&pipe->decoder);
    free(pipe);
}

static bool
is_ready(const struct world_end *end)
{
    const struct world_pipe *pipe = end->pipe;
    const struct world_chunk *in = pipe->lane[1 - end->side].first;
    bool gone = pipe->cut || pipe->end[1 - end->side].closed;
    if (end->closed || !end->base.ready)
        return false;
    if (end->want_read && ((in && in->at <= pipe->world->now) || (!in && gone)))
        return true;
    return end->want_write && (gone || pipe->lane[end->side].held < buffer_of(pipe));
}

static bool
call_ready(struct world_pipe *pipe)
{
    bool moved = false;
    for (int side = 0; side < 2; side++) {
        struct world_end *end = &pipe->end[side];
        if (!is_ready(end))
            continue;
        moved = true;
        end->base.ready(end->base.arg);
    }
    return moved;
}

/* Nobody points at a pipe that both ends have closed. */
static void
drop_closed(struct world *world)
{
    struct world_pipe **at = &world->pipes;
    while (*at) {
        struct world_pipe *pipe = *at;
        if (!pipe->end[0].closed || !pipe->end[1].closed) {
            at = &pipe->next;
            continue;
        }
        *at = pipe->next;
        if (pipe->owner->pipe == pipe)
            pipe->owner->pipe = NULL;
        if (pipe->owner->lane == pipe)
            pipe->owner->lane = NULL;
        if (pipe->owner->direct == pipe)
            pipe->owner->direct = NULL;
        pipe_free(pipe);
    }
}

/* In one turn of an event loop what is ready comes in any order: each pipe by chance in the first
 * or in the second round. New ones come before the first, and have their turn next time. */
bool
world_pipes_deliver(struct world *world)
{
    bool moved = false;
    uint64_t later = world_random(world, UINT64_MAX);
    struct world_pipe *first = world->pipes;
    for (uint32_t round = 0; round < 2; round++) {
        uint32_t place = 0;
        for (struct world_pipe *pipe = first; pipe; pipe = pipe->next, place++) {
            if (((later >> place % 64) & 1) == round)
                moved = call_ready(pipe) || moved;
        }
    }
    drop_closed(world);
    return moved;
}

int64_t
world_pipes_next(const struct world *world)
{
    int64_t next = INT64_MAX;
    for (const struct world_pipe *pipe = world->pipes; pipe; pipe = pipe->next) {
        for (int side = 0; side < 2; side++) {
            const struct world_chunk *in = pipe->lane[1 - side].first;
            if (is_ready(&pipe->end[side]))
                return world->now;
            if (!pipe->end[side].closed && in && in->at < next)
                next = in->at;
        }
    }
    return next;
}

void
world_pipes_free(struct world *world)
{
    while (world->pipes) {
        struct world_pipe *pipe = world->pipes;
        world->pipes = pipe->next;
        pipe_free(pipe);
    }
}
