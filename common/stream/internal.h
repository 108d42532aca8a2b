/* SPDX-License-Identifier: MIT */
/* What stream.c, stream_push.c and stream_resume.c share. */
#ifndef COMMON_STREAM_INTERNAL_H
#define COMMON_STREAM_INTERNAL_H

#include "common/stream/stream.h"

/* stream.c */
extern const struct cbx_circuit_ops cbx_stream_circuit_ops;
/* Tells the program and the far side. */
void cbx_stream_fail(struct cbx_stream *stream, enum cbx_reason reason);
/* The send budget got room: as many of those who wait as may share it look again. */
void cbx_stream_wake_blocked(struct cbx_stream_env *env);
/* Both directions may have come to their end. */
void cbx_stream_check_done(struct cbx_stream *stream);

/* Keys of both directions in one epoch. */
void cbx_stream_derive(const uint8_t id[CBX_STREAM_ID_SIZE], const struct cbx_session *session,
                       uint64_t epoch, struct cbx_record_keys *send,
                       struct cbx_record_keys *receive);
/* Keys that are there for a while only. */
void cbx_stream_drop_keys(struct cbx_record_keys **keys);

/* stream_push.c */
/* n bytes of a slab for the program: given at the next flush, or queued behind what waits. */
void cbx_stream_gather(struct cbx_stream *stream, struct cbx_slab *slab, uint8_t *bytes, uint32_t n,
                       int64_t now);
/* Tells the program the end of its input once it has taken all before. */
void cbx_stream_end_input(struct cbx_stream *stream);
/* Throws away what the program has not taken. */
void cbx_stream_drop_queue(struct cbx_stream *stream);

/* stream_resume.c */
/* RESUMED, which is due; its slab is NULL when memory is short. */
struct cbx_slice cbx_stream_build_resumed(struct cbx_stream *stream, int64_t now);
void cbx_stream_take_resumed(struct cbx_stream *stream, struct cbx_frame *frame, int64_t now);
/* Bytes that go out anew: how many were copied, 0 when there are none. */
size_t cbx_stream_pull_again(struct cbx_stream *stream, uint8_t *to, size_t size);
void cbx_stream_drop_kept(struct cbx_stream *stream);

#endif
