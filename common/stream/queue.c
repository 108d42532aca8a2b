/* SPDX-License-Identifier: MIT */
/* Tested by test_stream_flow and test_resume. */
#include "common/stream/queue.h"
#include <stdlib.h>

void
cbx_stream_drop_first(struct cbx_stream *stream)
{
    struct cbx_queued *queued = STAILQ_FIRST(&stream->queue);
    STAILQ_REMOVE_HEAD(&stream->queue, entry);
    if (STAILQ_EMPTY(&stream->queue))
        stream->queue_tail = NULL;
    cbx_slice_drop(&queued->slice);
    free(queued);
}

void
cbx_stream_drop_queue(struct cbx_stream *stream)
{
    struct cbx_stream_env *env = stream->env;
    for (uint32_t i = 0; i < env->gathered_count; i++) {
        if (env->gathered[i].stream == stream)
            env->gathered[i].stream = NULL;
    }
    while (!STAILQ_EMPTY(&stream->queue))
        cbx_stream_drop_first(stream);
}

void
cbx_stream_drop_retransmit_first(struct cbx_stream *stream)
{
    struct cbx_queued *queued = STAILQ_FIRST(&stream->retransmit);
    STAILQ_REMOVE_HEAD(&stream->retransmit, entry);
    cbx_slice_drop(&queued->slice);
    free(queued);
}

void
cbx_stream_drop_unacked(struct cbx_stream *stream)
{
    while (!STAILQ_EMPTY(&stream->retransmit))
        cbx_stream_drop_retransmit_first(stream);
    cbx_unacked_clear(&stream->unacked);
}
