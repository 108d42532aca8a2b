/* SPDX-License-Identifier: MIT */
/*
 * A mesh for tests of what stands in front of it: the test plays the far side by hand. Checks the
 * contract of mesh.h: no call into the mesh from inside a callback, none on a stream that is over.
 * Defines mesh_* functions, so it is included once in a program that does not link the real one.
 */
#ifndef TESTS_FAKE_MESH_H
#define TESTS_FAKE_MESH_H

#include "agent/mesh/mesh.h"
#include <stdio.h>
#include <string.h>

struct mesh {
    uint32_t dials;
};

struct mesh_stream {
    const struct mesh_end *end;
    void *arg;
    char slug[CBX_SLUG_MAX + 1];
    uint16_t port;
    int64_t timeout_us;
    bool may_pull, may_push; /* no AGAIN since the last word of readiness */
    bool over;               /* closed was called, or reset, or refused */
    bool was_reset, was_refused;
    enum cbx_reason reason; /* of the reset or the refusal */
};

enum { FAKE_STREAMS_MAX = 512 };

static struct mesh fake_mesh;
static struct mesh_stream fake_streams[FAKE_STREAMS_MAX];
static size_t fake_count;
static int fake_inside;

static inline void
fake_begin(void)
{
    memset(&fake_mesh, 0, sizeof fake_mesh);
    memset(fake_streams, 0, sizeof fake_streams);
    fake_count = 0;
    fake_inside = 0;
}

static inline struct mesh_stream *
fake_stream(void)
{
    assert_true(fake_count < FAKE_STREAMS_MAX);
    struct mesh_stream *stream = &fake_streams[fake_count++];
    stream->may_pull = stream->may_push = true;
    return stream;
}

static inline void
fake_check(const struct mesh_stream *stream)
{
    assert_int_equal(fake_inside, 0);
    assert_false(stream->over);
}

struct mesh_stream *
mesh_dial(struct mesh *mesh, const char *slug, uint16_t port, const struct mesh_end *end, void *arg,
          int64_t timeout_us)
{
    assert_int_equal(fake_inside, 0);
    struct mesh_stream *stream = fake_stream();
    mesh->dials++;
    stream->end = end;
    stream->arg = arg;
    stream->port = port;
    stream->timeout_us = timeout_us;
    (void)snprintf(stream->slug, sizeof stream->slug, "%s", slug);
    return stream;
}

void
mesh_accept(struct mesh_stream *stream, const struct mesh_end *end, void *arg)
{
    fake_check(stream);
    assert_null(stream->end);
    stream->end = end;
    stream->arg = arg;
}

void
mesh_refuse(struct mesh_stream *stream, enum cbx_reason reason)
{
    fake_check(stream);
    assert_null(stream->end);
    stream->over = stream->was_refused = true;
    stream->reason = reason;
}

void
mesh_remedy(struct mesh *mesh, const char *slug, enum cbx_reason reason, char *out, size_t size)
{
    (void)mesh;
    (void)slug;
    (void)snprintf(out, size, "%s", cbx_reason_remedy(reason));
}

void
mesh_stream_readable(struct mesh_stream *stream)
{
    fake_check(stream);
    stream->may_pull = true;
}

void
mesh_stream_writable(struct mesh_stream *stream)
{
    fake_check(stream);
    stream->may_push = true;
}

void
mesh_stream_reset(struct mesh_stream *stream, enum cbx_reason reason)
{
    fake_check(stream);
    stream->over = stream->was_reset = true;
    stream->reason = reason;
}

/* The mesh's calls. */

static inline ssize_t
fake_pull(struct mesh_stream *stream, void *buffer, size_t length)
{
    assert_non_null(stream->end);
    fake_inside++;
    ssize_t got = stream->end->pull(stream->arg, buffer, length);
    fake_inside--;
    if (got == CBX_ERR_AGAIN)
        stream->may_pull = false;
    return got;
}

static inline ssize_t
fake_push(struct mesh_stream *stream, const void *buffer, size_t length)
{
    assert_non_null(stream->end);
    fake_inside++;
    /* In two pieces, as records come. */
    struct iovec vector[] = {
        {.iov_base = (void *)(uintptr_t)buffer, .iov_len = length / 2},
        {.iov_base = (uint8_t *)(uintptr_t)buffer + length / 2, .iov_len = length - length / 2}};
    ssize_t taken = stream->end->push(stream->arg, vector, 2);
    fake_inside--;
    if (taken == CBX_ERR_AGAIN)
        stream->may_push = false;
    return taken;
}

static inline void
fake_push_end(struct mesh_stream *stream)
{
    assert_non_null(stream->end);
    fake_inside++;
    stream->end->push_end(stream->arg);
    fake_inside--;
}

static inline void
fake_opened(struct mesh_stream *stream)
{
    assert_non_null(stream->end);
    fake_inside++;
    stream->end->opened(stream->arg);
    fake_inside--;
}

static inline void
fake_closed(struct mesh_stream *stream, enum cbx_reason reason, bool by_target)
{
    assert_non_null(stream->end);
    fake_inside++;
    stream->over = true;
    stream->end->closed(stream->arg, reason, by_target);
    fake_inside--;
}

#endif
