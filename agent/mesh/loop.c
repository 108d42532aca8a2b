/* SPDX-License-Identifier: MIT */
/* Tested by sim_streams and sim_load. */
#include "agent/mesh/loop.h"

#include "agent/mesh/stream.h"

#include <stdlib.h>

enum { BUFFER = 64 * 1024, TURN_MAX = 1024 * 1024 };

/* From side[i] to side[1 - i]. */
struct way {
    uint8_t bytes[BUFFER];
    uint32_t begin, end;
    bool ended, end_told;
};

struct mesh_loop {
    TAILQ_ENTRY(mesh_loop) entry;
    struct mesh_stream *side[2]; /* the dialer's, the target's; NULL once told */
    struct way way[2];
    bool running; /* the target has accepted */
    bool opened_told;
    bool due; /* something may be copied */
};

static void
end_side(struct mesh_loop *loop, int side, enum cbx_reason reason)
{
    struct mesh_stream *stream = loop->side[side];
    if (!stream)
        return;
    loop->side[side] = NULL;
    stream->loop = NULL;
    mesh_stream_set_state(stream, MESH_STREAM_ENDED);
    if (!stream->held)
        mesh_stream_over(stream, reason, true);
}

static void
loop_free(struct mesh *mesh, struct mesh_loop *loop, enum cbx_reason reason)
{
    end_side(loop, 0, reason);
    end_side(loop, 1, reason);
    TAILQ_REMOVE(&mesh->loops, loop, entry);
    free(loop);
}

bool
mesh_loop_dial(struct mesh_stream *dialer, struct mesh_stream *target)
{
    struct mesh_loop *loop = calloc(1, sizeof *loop);
    if (!loop) {
        mesh_stream_set_state(dialer, MESH_STREAM_ENDED);
        mesh_stream_over(dialer, CBX_REASON_OVERLOADED, false);
        free(target);
        return false;
    }
    struct mesh *mesh = dialer->mesh;
    loop->side[0] = dialer;
    loop->side[1] = target;
    dialer->loop = target->loop = loop;
    mesh_stream_set_state(dialer, MESH_STREAM_OPENING);
    target->state = MESH_STREAM_INCOMING; /* that is how it begins */
    target->held = true;
    mesh->stream_count++;
    TAILQ_INSERT_TAIL(&mesh->loops, loop, entry);
    return true;
}

void
mesh_loop_accepted(struct mesh_stream *target)
{
    struct mesh_loop *loop = target->loop;
    loop->running = loop->due = true;
    mesh_stream_set_state(loop->side[0], MESH_STREAM_RUNNING);
    mesh_stream_set_state(target, MESH_STREAM_RUNNING);
    mesh_wake(target->mesh);
}

void
mesh_loop_wake(struct mesh_stream *stream)
{
    stream->loop->due = true;
    mesh_wake(stream->mesh);
}

void
mesh_loop_leave(struct mesh_stream *stream, enum cbx_reason reason)
{
    struct mesh_loop *loop = stream->loop;
    stream->end = NULL;
    loop_free(stream->mesh, loop, reason);
}

/* Moves what it can; false when an end failed. */
static bool
move(struct mesh_loop *loop, int from)
{
    struct way *way = &loop->way[from];
    struct mesh_stream *in = loop->side[from], *out = loop->side[1 - from];
    for (size_t moved = 0; moved < TURN_MAX;) {
        if (way->begin == way->end) {
            if (way->ended)
                break;
            ssize_t got = in->end->pull(in->arg, way->bytes, sizeof way->bytes);
            if (got == CBX_ERR_AGAIN)
                return true;
            if (got == CBX_ERR_CLOSED) {
                way->ended = true;
                break;
            }
            if (got <= 0)
                return false;
            way->begin = 0;
            way->end = (uint32_t)got;
        }
        struct iovec rest = {.iov_base = way->bytes + way->begin, .iov_len = way->end - way->begin};
        ssize_t put = out->end->push(out->arg, &rest, 1);
        if (put == CBX_ERR_AGAIN)
            return true;
        if (put <= 0)
            return false;
        way->begin += (uint32_t)put;
        moved += (size_t)put;
    }
    if (way->ended && !way->end_told) {
        way->end_told = true;
        out->end->push_end(out->arg);
    } else if (!way->ended) {
        loop->due = true; /* others get their turn first */
    }
    return true;
}

static void
run(struct mesh *mesh, struct mesh_loop *loop)
{
    loop->due = false;
    if (!loop->opened_told) {
        loop->opened_told = true;
        loop->side[0]->end->opened(loop->side[0]->arg);
    }
    if (!move(loop, 0) || !move(loop, 1))
        loop_free(mesh, loop, CBX_REASON_RESET);
    else if (loop->way[0].end_told && loop->way[1].end_told)
        loop_free(mesh, loop, CBX_REASON_NONE);
    else if (loop->due)
        mesh_wake(mesh);
}

void
mesh_loops_run(struct mesh *mesh)
{
    struct mesh_loop *loop, *next;
    for (loop = TAILQ_FIRST(&mesh->loops); loop; loop = next) {
        next = TAILQ_NEXT(loop, entry);
        if (loop->running && loop->due)
            run(mesh, loop);
    }
}

void
mesh_loops_free(struct mesh *mesh)
{
    while (!TAILQ_EMPTY(&mesh->loops))
        loop_free(mesh, TAILQ_FIRST(&mesh->loops), CBX_REASON_GOING_AWAY);
}
