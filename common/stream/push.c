/* SPDX-License-Identifier: MIT */
/* Tested by test_stream_flow. */
#include "common/stream/push.h"
#include "common/stream/end.h"
#include "common/stream/queue.h"
#include <stdlib.h>
#include <string.h>

enum { TAIL_ROOM = 4096, VECTORS = CBX_STREAM_GATHER };

static void
consumed(struct cbx_stream *stream, uint64_t bytes, int64_t now)
{
    stream->bytes_in += bytes;
    if (cbx_window_consumed(&stream->in, bytes, now)) {
        cbx_stream_control_due(stream, CBX_DUE_CREDIT);
    } else {
        stream->env->ops->ack_delayed(stream);
    }
}

/* Leaves in the vectors what was not taken; returns the first of them that is not empty. */
static int
advance(struct iovec *vector, int at, int count, size_t taken)
{
    while (at < count && taken >= vector[at].iov_len) {
        taken -= vector[at].iov_len;
        vector[at++].iov_len = 0;
    }
    if (at < count) {
        vector[at].iov_base = (uint8_t *)vector[at].iov_base + taken;
        vector[at].iov_len -= taken;
    }
    return at;
}

/* Pushes as far as the program takes it and leaves the rest in the vectors. False: the program is
 * gone, and so is the stream. */
static bool
push(struct cbx_stream *stream, struct iovec *vector, int count, int64_t now)
{
    uint64_t done = 0;
    int at = 0;
    while (at < count) {
        ssize_t taken = stream->env->ops->push(stream, vector + at, count - at);
        if (taken == CBX_ERR_AGAIN)
            break;
        if (taken <= 0) {
            cbx_stream_fail(stream, CBX_REASON_RESET);
            return false;
        }
        done += (uint64_t)taken;
        at = advance(vector, at, count, (size_t)taken);
    }
    if (done > 0)
        consumed(stream, done, now);
    return true;
}

/* Small pieces are put together, so that a stalled stream holds little more than its bytes; a large
 * piece of a slab that others share is copied into one of its own size. */
static int
enqueue(struct cbx_stream *stream, struct cbx_slab *slab, uint8_t *bytes, uint32_t n)
{
    struct cbx_queued *tail = stream->queue_tail;
    if (tail && tail->slice.slab->refs == 1 && n < TAIL_ROOM) {
        uint8_t *end = tail->slice.data + tail->slice.length;
        if (n <= (size_t)(tail->slice.slab->bytes + tail->slice.slab->capacity - end)) {
            memcpy(end, bytes, n);
            tail->slice.length += n;
            return 0;
        }
    }
    struct cbx_queued *queued = calloc(1, sizeof *queued);
    if (!queued)
        return CBX_ERR_NOMEM;
    if (n >= slab->capacity / 2) {
        queued->slice = cbx_slice_of(slab, bytes, n);
    } else {
        struct cbx_slab *own = cbx_slab_new(n < TAIL_ROOM ? TAIL_ROOM : n);
        if (own) {
            memcpy(own->bytes, bytes, n);
            queued->slice = (struct cbx_slice){.slab = own, .data = own->bytes, .length = n};
        }
    }
    if (!queued->slice.slab) {
        free(queued);
        return CBX_ERR_NOMEM;
    }
    STAILQ_INSERT_TAIL(&stream->queue, queued, entry);
    stream->queue_tail = queued;
    return 0;
}

/* ---- what one read brought ---- */

/* All gathered pieces of the stream whose first one is at begin, in their order. */
static void
give(struct cbx_stream_env *env, uint32_t begin, int64_t now)
{
    struct cbx_stream *stream = env->gathered[begin].stream;
    struct iovec vector[VECTORS];
    uint32_t piece[VECTORS];
    int count = 0;
    for (uint32_t i = begin; i < env->gathered_count; i++) {
        if (env->gathered[i].stream != stream)
            continue;
        struct cbx_slice *slice = &env->gathered[i].slice;
        vector[count] = (struct iovec){.iov_base = slice->data, .iov_len = slice->length};
        piece[count++] = i;
        env->gathered[i].stream = NULL;
    }
    if (!push(stream, vector, count, now))
        return;
    for (int i = 0; i < count; i++) {
        if (vector[i].iov_len == 0)
            continue;
        if (enqueue(stream, env->gathered[piece[i]].slice.slab, vector[i].iov_base,
                    (uint32_t)vector[i].iov_len) < 0) {
            cbx_stream_fail(stream, CBX_REASON_OVERLOADED);
            return;
        }
    }
}

void
cbx_stream_flush(struct cbx_stream_env *env, int64_t now)
{
    if (env->flushing)
        return; /* called by what this one does */
    env->flushing = true;
    for (uint32_t i = 0; i < env->gathered_count; i++) {
        if (env->gathered[i].stream)
            give(env, i, now);
    }
    env->flushing = false;
    for (uint32_t i = 0; i < env->gathered_count; i++)
        cbx_slice_drop(&env->gathered[i].slice);
    env->gathered_count = 0;
}

void
cbx_stream_gather(struct cbx_stream *stream, struct cbx_slab *slab, uint8_t *bytes, uint32_t n,
                  int64_t now)
{
    struct cbx_stream_env *env = stream->env;
    if (!STAILQ_EMPTY(&stream->queue)) {
        if (enqueue(stream, slab, bytes, n) < 0)
            cbx_stream_fail(stream, CBX_REASON_OVERLOADED);
        return;
    }
    env->gathered[env->gathered_count].stream = stream;
    env->gathered[env->gathered_count++].slice = cbx_slice_of(slab, bytes, n);
    if (env->gathered_count == CBX_STREAM_GATHER)
        cbx_stream_flush(env, now);
}

/* ---- later ---- */

void
cbx_stream_end_input(struct cbx_stream *stream)
{
    if (stream->read != CBX_READ_FIN || !STAILQ_EMPTY(&stream->queue))
        return;
    cbx_stream_set_read(stream, CBX_READ_ENDED);
    stream->env->ops->push_end(stream);
    cbx_stream_control_due(stream, CBX_DUE_CREDIT);
}

void
cbx_stream_writable(struct cbx_stream *stream, int64_t now)
{
    while (!cbx_stream_is_over(stream) && !STAILQ_EMPTY(&stream->queue)) {
        struct iovec vector[VECTORS];
        int count = 0;
        struct cbx_queued *queued;
        STAILQ_FOREACH(queued, &stream->queue, entry) {
            if (count == VECTORS)
                break;
            vector[count++] =
                (struct iovec){.iov_base = queued->slice.data, .iov_len = queued->slice.length};
        }
        if (!push(stream, vector, count, now))
            return;
        for (int i = 0; i < count; i++) {
            queued = STAILQ_FIRST(&stream->queue);
            if (vector[i].iov_len > 0) {
                queued->slice.data = vector[i].iov_base;
                queued->slice.length = (uint32_t)vector[i].iov_len;
                return;
            }
            cbx_stream_drop_first(stream);
        }
    }
    if (!cbx_stream_is_over(stream))
        cbx_stream_end_input(stream);
}
