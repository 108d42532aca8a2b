/* SPDX-License-Identifier: MIT */
/*
 * How a stream ends, and the setters of its state machines. Ground for the other files: nothing
 * here calls them, but what the owner was told (over, finished, stranded) may call back.
 */
#ifndef COMMON_STREAM_END_H
#define COMMON_STREAM_END_H

#include "common/stream/state.h"

/* Our side gives up: RESET goes out where there is a circuit. over is not called. */
void cbx_stream_abort(struct cbx_stream *stream, enum cbx_reason reason);
/* The path is gone, or the hub ended the circuit: the stream is stranded or over; nothing is sent.
 */
void cbx_stream_lost(struct cbx_stream *stream, enum cbx_reason reason);
/* Answered, and neither end has given up: it may go on over another path. */
bool cbx_stream_movable(const struct cbx_stream *stream);

/* ---- for the other files of the stream ---- */

/* The only writers of `write` and `read`: refuse what state.h does not allow. `phase` is written
 * here alone. */
void cbx_stream_set_write(struct cbx_stream *stream, enum cbx_write_state state);
void cbx_stream_set_read(struct cbx_stream *stream, enum cbx_read_state state);

/* Tells the program and the far side. */
void cbx_stream_fail(struct cbx_stream *stream, enum cbx_reason reason);
/* What came does not hold: the path is to blame, or somebody on it (rule 19). */
void cbx_stream_fail_integrity(struct cbx_stream *stream);
/* Tells the program, once. */
void cbx_stream_tell_over(struct cbx_stream *stream, enum cbx_reason reason, bool by_target);
/* Nothing more will be sent: gives back all that is counted and tells the owner, once. */
void cbx_stream_finish(struct cbx_stream *stream);
/* Both directions may have come to their end. */
void cbx_stream_check_done(struct cbx_stream *stream);
/* It waits for the send budget no longer. */
void cbx_stream_unblock(struct cbx_stream *stream);
/* What it held of the send budget is free; others are woken. */
void cbx_stream_give_back(struct cbx_stream *stream);
/* The send budget got room: as many of those who wait as may share it look again. */
void cbx_stream_wake_blocked(struct cbx_stream_env *env);

#endif
