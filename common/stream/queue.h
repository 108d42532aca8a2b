/* SPDX-License-Identifier: MIT */
/*
 * What a stream holds for somebody: bytes that its program has not taken (`queue`), and text that
 * goes out anew after a resume (`retransmit`). Here is how they are let go.
 */
#ifndef COMMON_STREAM_QUEUE_H
#define COMMON_STREAM_QUEUE_H

#include "common/stream/state.h"

/* The first of what the program has not taken: it has now. */
void cbx_stream_drop_first(struct cbx_stream *stream);
/* Throws away what the program has not taken. */
void cbx_stream_drop_queue(struct cbx_stream *stream);
void cbx_stream_drop_retransmit_first(struct cbx_stream *stream);
/* Forgets all that was sent: nothing goes out anew. */
void cbx_stream_drop_unacked(struct cbx_stream *stream);

#endif
