/* SPDX-License-Identifier: MIT */
/*
 * Programs at the ends of streams. Each byte is a function of the program's key and its offset, so
 * the far side knows what must come: one changed, missing or repeated byte is `corrupt`.
 */
#include "agent/mesh/stream.h"
#include "world.h"
#include <assert.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static void
fill(uint64_t key, uint64_t offset, uint8_t *out, size_t length)
{
    while (length) {
        uint64_t z = key + offset / 8 * 0x9e3779b97f4a7c15ull;
        z = (z ^ (z >> 29)) * 0xbf58476d1ce4e5b9ull;
        z ^= z >> 32;
        size_t skip = offset % 8, n = 8 - skip < length ? 8 - skip : length;
        memcpy(out, (uint8_t *)&z + skip, n);
        out += n;
        offset += n;
        length -= n;
    }
}

static bool
matches(uint64_t key, uint64_t offset, const uint8_t *bytes, size_t length)
{
    uint8_t wanted[4096];
    while (length) {
        size_t n = length < sizeof wanted ? length : sizeof wanted;
        fill(key, offset, wanted, n);
        if (memcmp(wanted, bytes, n) != 0)
            return false;
        bytes += n;
        offset += n;
        length -= n;
    }
    return true;
}

static ssize_t
nothing_now(struct world_program *program)
{
    program->blocked_out = true;
    return CBX_ERR_AGAIN;
}

static ssize_t
program_pull(void *arg, void *buffer, size_t length)
{
    struct world_program *program = arg;
    int64_t now = program->world->now;
    uint64_t left = program->to_send - program->sent;
    if (left == 0) {
        if (program->hold_end)
            return nothing_now(program);
        return program->reset_at_end ? CBX_ERR_IO : CBX_ERR_CLOSED;
    }
    if (program->gap_us && now < program->next_pull)
        return nothing_now(program);
    if (program->pull_limit && left > program->pull_limit)
        left = program->pull_limit;
    size_t n = left < length ? (size_t)left : length;
    fill(program->key, program->sent, buffer, n);
    program->sent += n;
    if (program->gap_us) {
        /* The wait for the link counts too: a keystroke is due when it was typed. */
        int64_t typed = program->next_pull ? program->next_pull : now;
        program->stamp[program->stamp_in++ % 256] = typed;
        program->next_pull = typed + (int64_t)program->gap_us;
    }
    return (ssize_t)n;
}

static void
note_late(struct world_program *far, int64_t now)
{
    if (!far || !far->gap_us || far->stamp_out == far->stamp_in)
        return;
    int64_t late = now - far->stamp[far->stamp_out++ % 256];
    if (late > far->late_us)
        far->late_us = late;
}

static ssize_t
program_push(void *arg, const struct iovec *vector, int count)
{
    const void *buffer = vector->iov_base;
    size_t length = vector->iov_len;
    assert(count > 0);
    struct world_program *program = arg;
    if (program->closed || program->ended)
        program->corrupt = true; /* bytes after the end */
    if (program->paused) {
        program->blocked_in = true;
        return CBX_ERR_AGAIN;
    }
    size_t n = length;
    if (program->push_chop) {
        size_t most = 1 + world_random(program->world, program->push_chop);
        n = n < most ? n : most;
        if (world_random(program->world, 3) == 0) {
            program->blocked_in = true;
            return CBX_ERR_AGAIN;
        }
    }
    if (!matches(program->far_key, program->received, buffer, n))
        program->corrupt = true;
    program->received += n;
    if (program->received > program->expected)
        program->corrupt = true;
    note_late(program->far, program->world->now);
    return (ssize_t)n;
}

static void
program_push_end(void *arg)
{
    struct world_program *program = arg;
    if (program->received != program->expected || program->ended)
        program->corrupt = true; /* cut short, or ended twice */
    program->ended = true;
}

static void
program_opened(void *arg)
{
    struct world_program *program = arg;
    program->opened = true;
    program->opened_at = program->world->now;
}

static void
program_closed(void *arg, enum cbx_reason reason, bool by_target)
{
    struct world_program *program = arg;
    assert(!program->closed);
    program->closed = true;
    program->closed_at = program->world->now;
    program->reason = reason;
    program->by_target = by_target;
    program->stream = NULL;
}

static const struct mesh_end program_end = {.pull = program_pull,
                                            .push = program_push,
                                            .push_end = program_push_end,
                                            .opened = program_opened,
                                            .closed = program_closed};

/* Both lists are left when they are walked next: a program may end in the middle of a walk. */
static void
enter_open(struct world_program *program)
{
    if (program->in_open)
        return;
    program->in_open = true;
    program->next_open = program->world->open;
    program->world->open = program;
}

static void
enter_running(struct world_program *program)
{
    if (program->in_running)
        return;
    struct world_program **at = &program->world->running;
    while (*at && (*at)->number < program->number)
        at = &(*at)->next_running;
    program->in_running = true;
    program->next_running = *at;
    *at = program;
}

static struct world_program *
program_new(struct world *world)
{
    struct world_program *program = calloc(1, sizeof *program);
    assert(program);
    program->world = world;
    program->number = world->last_program ? world->last_program->number + 1 : 0;
    enter_open(program);
    if (world->last_program)
        world->last_program->next = program;
    else
        world->programs = program;
    world->last_program = program;
    return program;
}

struct world_program *
world_dial(struct world_agent *agent, const char *slug, uint16_t port, uint64_t up, uint64_t down)
{
    struct world *world = agent->world;
    struct world_program *here = program_new(world), *there = program_new(world);
    here->key = world_random(world, 0);
    there->key = world_random(world, 0);
    here->far_key = there->key;
    there->far_key = here->key;
    here->to_send = there->expected = up;
    there->to_send = here->expected = down;
    here->far = there;
    there->far = here;
    there->is_target = true;
    here->mesh = agent->mesh;
    here->stream = mesh_dial(agent->mesh, slug, port, &program_end, here, 0);
    assert(here->stream);
    enter_running(here);
    return here;
}

void
world_reset(struct world_program *program)
{
    struct mesh_stream *stream = program->stream;
    if (program->closed || !stream)
        return;
    program_closed(program, CBX_REASON_RESET, false);
    mesh_stream_reset(stream, CBX_REASON_RESET);
}

static bool
same_stream(const struct mesh_stream *dialed, const struct mesh_stream *incoming)
{
    if (incoming->loop)
        return dialed->loop == incoming->loop;
    return memcmp(dialed->core.id, incoming->core.id, CBX_STREAM_ID_SIZE) == 0;
}

/* An incoming stream belongs to the dial of the same stream identity, once. */
void
world_program_incoming(struct world_agent *agent, struct mesh_stream *stream)
{
    struct world *world = agent->world;
    struct world_program *program = world->programs;
    for (; program; program = program->next) {
        if (!program->is_target)
            continue;
        if (!stream->loop && memcmp(program->id, stream->core.id, CBX_STREAM_ID_SIZE) == 0)
            world->false_streams++;
        /* A dial that lost its lane before the answer comes once more. */
        if (!program->far->stream || program->far->opened ||
            (program->mesh && !program->far->stream->retried))
            continue;
        if (same_stream(program->far->stream, stream))
            break;
    }
    if (!program) {
        mesh_refuse(stream, CBX_REASON_REFUSED); /* its dialer has given up meanwhile */
        return;
    }
    if (program->stream)
        mesh_stream_reset(program->stream, CBX_REASON_RESET); /* nobody heard of the first */
    program->sent = program->received = 0;
    program->mesh = agent->mesh;
    program->stream = stream;
    program->opened = true;
    program->closed = program->ended = program->corrupt = false;
    enter_running(program);
    enter_open(program);
    program->blocked_in = program->blocked_out = false;
    program->reason = CBX_REASON_NONE;
    program->opened_at = world->now;
    memcpy(program->id, stream->core.id, CBX_STREAM_ID_SIZE);
    mesh_accept(stream, &program_end, program);
}

/* Wakes streams whose program said AGAIN and would not now; returns when the next one is due. */
int64_t
world_programs_wake(struct world *world)
{
    int64_t next = INT64_MAX;
    struct world_program **at = &world->running, *program;
    while ((program = *at)) {
        if (!program->stream) {
            program->in_running = false;
            *at = program->next_running;
            continue;
        }
        at = &program->next_running;
        bool empty = program->sent == program->to_send && program->hold_end;
        if (program->blocked_out && !empty) {
            if (!program->gap_us || program->next_pull <= world->now) {
                program->blocked_out = false;
                mesh_stream_readable(program->stream);
            } else if (program->next_pull < next) {
                next = program->next_pull;
            }
        }
        if (program->stream && program->blocked_in && !program->paused) {
            program->blocked_in = false;
            mesh_stream_writable(program->stream);
            if (program->blocked_in)
                next = world->now;
        }
    }
    return next;
}

bool
world_closed(void *arg)
{
    const struct world_program *program = arg;
    return program->closed;
}

bool
world_all_closed(void *arg)
{
    struct world *world = arg;
    while (world->open && world->open->closed) {
        world->open->in_open = false;
        world->open = world->open->next_open;
    }
    return !world->open;
}

bool
world_is_clean(const struct world_program *program)
{
    if (program->closed && program->reason == CBX_REASON_NONE && !program->corrupt &&
        program->received == program->expected && program->ended)
        return true;
    fprintf(stderr,
            "program %s: opened %d closed %d reason %s sent %llu/%llu received %llu/%llu ended %d "
            "corrupt %d\n",
            program->is_target ? "target" : "dialer", program->opened, program->closed,
            cbx_reason_text(program->reason), (unsigned long long)program->sent,
            (unsigned long long)program->to_send, (unsigned long long)program->received,
            (unsigned long long)program->expected, program->ended, program->corrupt);
    return false;
}

bool
world_all_clean(struct world *world)
{
    for (struct world_program *program = world->programs; program; program = program->next) {
        if (!world_is_clean(program))
            return false;
    }
    return true;
}

bool
world_ends_clean(struct world *world, int64_t limit_us)
{
    bool closed = world_until(world, limit_us, world_all_closed, world);
    return world_all_clean(world) && closed; /* in this order: what is not clean is printed */
}
