/* SPDX-License-Identifier: MIT */
/*
 * What came, on its way to the program. What one read of a link brought is gathered and given to
 * each program in one call: a write per record would wake it for each. What a program does not take
 * waits in its stream's queue, which the stream's credit bounds.
 */
#ifndef COMMON_STREAM_PUSH_H
#define COMMON_STREAM_PUSH_H

#include "common/stream/state.h"

/* Gives to the programs what has come for them. */
void cbx_stream_flush(struct cbx_stream_env *env, int64_t now);
/* The program may take more. */
void cbx_stream_writable(struct cbx_stream *stream, int64_t now);

/* ---- for the other files of the stream ---- */

/* n bytes of a slab for the program: given at the next flush, or queued behind what waits. */
void cbx_stream_gather(struct cbx_stream *stream, struct cbx_slab *slab, uint8_t *bytes, uint32_t n,
                       int64_t now);
/* Tells the program the end of its input once it has taken all before. */
void cbx_stream_end_input(struct cbx_stream *stream);

#endif
