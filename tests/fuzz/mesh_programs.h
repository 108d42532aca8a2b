/* SPDX-License-Identifier: MIT */
/*
 * The programs at the ends of streams between two agents. Each checks what it is told: every byte
 * is the one at its offset, its end comes once and nothing after it, and nobody calls who did not
 * dial.
 */
#ifndef FUZZ_MESH_PROGRAMS_H
#define FUZZ_MESH_PROGRAMS_H

#include "agent/mesh/base.h"
#include "agent/mesh/stream.h"
#include "pond.h"

/* A dial is tried again once, under another name. */
enum { WEB, CLI, SIDES, PROGRAMS = 12, SURPLUS_MAX = 64, DIALED_MAX = 2 };

/* A local program at one end of a stream. */
struct program {
    struct mesh_stream *stream;
    int side;
    bool dialer, opened, ended, closed, slow;
    uint16_t port;
    uint64_t sent, to_send, received;
    uint8_t id[CBX_STREAM_ID_SIZE]; /* of the stream; all zero until there is one */
    uint8_t dialed[DIALED_MAX][CBX_STREAM_ID_SIZE];
    uint32_t dialed_count;
};

static struct mesh *meshes[SIDES];
static struct program programs[PROGRAMS];
static uint32_t program_count;
static struct mesh_stream *surplus[SURPLUS_MAX]; /* came in when there was no program left */
static uint32_t surplus_count;
static struct feed feed;

/* An engine's operations have its place in meshes as their argument. */
static int
side_of(void *arg)
{
    return (int)((struct mesh **)arg - meshes);
}

static uint8_t
byte_at(const struct program *program, bool from_dialer, uint64_t offset)
{
    return (uint8_t)(program->id[39] * 31 + offset * 7 + offset / 251 + from_dialer * 101);
}

static ssize_t
on_pull(void *arg, void *buffer, size_t length)
{
    struct program *program = arg;
    uint8_t *bytes = buffer;
    uint64_t left = program->to_send - program->sent;
    check(!program->closed);
    if (left == 0)
        return program->slow ? CBX_ERR_AGAIN : CBX_ERR_CLOSED;
    memcpy(program->id, program->stream->core.id, sizeof program->id);
    length = length < left ? length : (size_t)left;
    for (size_t i = 0; i < length; i++)
        bytes[i] = byte_at(program, program->dialer, program->sent + i);
    program->sent += length;
    return (ssize_t)length;
}

static ssize_t
on_push(void *arg, const struct iovec *vector, int count)
{
    struct program *program = arg;
    const uint8_t *bytes = vector->iov_base;
    size_t length = vector->iov_len;
    check(count > 0);
    check(!program->closed && !program->ended);
    if (program->slow)
        return CBX_ERR_AGAIN;
    memcpy(program->id, program->stream->core.id, sizeof program->id);
    for (size_t i = 0; i < length; i++)
        check(bytes[i] == byte_at(program, !program->dialer, program->received + i));
    program->received += length;
    return (ssize_t)length;
}

static void
on_push_end(void *arg)
{
    struct program *program = arg;
    check(!program->closed && !program->ended);
    program->ended = true;
}

static void
on_opened(void *arg)
{
    struct program *program = arg;
    check(!program->closed && !program->opened && program->dialer);
    program->opened = true;
}

static void
on_closed(void *arg, enum cbx_reason reason, bool by_target)
{
    struct program *program = arg;
    (void)by_target;
    check(!program->closed && (reason != CBX_REASON_NONE || program->ended));
    program->closed = true;
    program->stream = NULL;
}

static const struct mesh_end program_ops = {.pull = on_pull,
                                            .push = on_push,
                                            .push_end = on_push_end,
                                            .opened = on_opened,
                                            .closed = on_closed};

static struct program *
program_new(int where, uint16_t port)
{
    if (program_count == PROGRAMS)
        return NULL;
    struct program *program = &programs[program_count++];
    uint8_t pick = feed_byte(&feed);
    *program =
        (struct program){.side = where, .port = port, .to_send = pick * 64u, .slow = pick % 8 == 7};
    return program;
}

static void
dial(int from)
{
    uint16_t port = 8080 + feed_byte(&feed) % 3;
    struct program *program = program_new(from, port);
    if (!program)
        return;
    program->dialer = true;
    program->stream =
        mesh_dial(meshes[from], feed_byte(&feed) == 255 ? "nobody" : pond[1 - from].slug, port,
                  &program_ops, program, 0);
    check(program->stream != NULL);
}

/* Before what an engine wrote goes anywhere: the names of streams that its programs dialed. */
static void
note_streams(void)
{
    for (uint32_t i = 0; i < program_count; i++) {
        struct program *program = &programs[i];
        if (!program->dialer || !program->stream || !mesh_stream_has_core(program->stream))
            continue;
        const uint8_t *id = program->stream->core.id;
        uint32_t last = program->dialed_count - 1;
        if (program->dialed_count && memcmp(program->dialed[last], id, CBX_STREAM_ID_SIZE) == 0)
            continue;
        check(program->dialed_count < DIALED_MAX);
        memcpy(program->dialed[program->dialed_count++], id, CBX_STREAM_ID_SIZE);
    }
}

static bool
is_dialed(const struct program *program, const uint8_t *id)
{
    bool found = false;
    for (uint32_t i = 0; i < program->dialed_count; i++)
        found |= memcmp(program->dialed[i], id, CBX_STREAM_ID_SIZE) == 0;
    return found;
}

/* One on the other side has dialed it, wanted this port, and it comes for the first time. */
static void
check_dialed(int where, const struct mesh_stream *stream, uint16_t port)
{
    int dialers = 0;
    for (uint32_t i = 0; i < program_count; i++) {
        const struct program *one = &programs[i];
        dialers += one->side != where && one->port == port && is_dialed(one, stream->core.id);
        check(one->dialer || memcmp(one->id, stream->core.id, CBX_STREAM_ID_SIZE) != 0);
    }
    check(dialers == 1);
}

static void
on_incoming(void *arg, struct mesh_stream *stream, const char *from,
            const struct cbx_expose_item *item)
{
    int where = side_of(arg);
    check(strcmp(from, pond[1 - where].slug) == 0);
    check_dialed(where, stream, item->port);
    struct program *program = program_new(where, item->port);
    if (!program) {
        check(surplus_count < SURPLUS_MAX);
        surplus[surplus_count++] = stream;
        return;
    }
    memcpy(program->id, stream->core.id, sizeof program->id);
    program->stream = stream;
    program->opened = true; /* until it is accepted it has no end */
}

/* Accepts or refuses those that came in: the shell answers each, and never from inside. */
static void
answer_incoming(void)
{
    while (surplus_count)
        mesh_refuse(surplus[--surplus_count], CBX_REASON_OVERLOADED);
    for (uint32_t i = 0; i < program_count; i++) {
        struct program *program = &programs[i];
        if (program->dialer || !program->opened)
            continue;
        program->opened = false;
        if (feed_byte(&feed) % 8 != 7) {
            mesh_accept(program->stream, &program_ops, program);
            continue;
        }
        mesh_refuse(program->stream, CBX_REASON_REFUSED);
        program->closed = true;
        program->stream = NULL;
    }
}

#endif
