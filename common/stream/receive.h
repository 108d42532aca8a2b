/* SPDX-License-Identifier: MIT */
/*
 * Records that came, each opened under the keys of its class and epoch before anything of it
 * counts. What does not open, or is out of order, is the fault of the path
 * (cbx_stream_fail_integrity); what opens and breaks a rule ends the stream.
 */
#ifndef COMMON_STREAM_RECEIVE_H
#define COMMON_STREAM_RECEIVE_H

#include "common/stream/state.h"

void cbx_stream_take_data(struct cbx_stream *stream, struct cbx_frame *frame, int64_t now);
void cbx_stream_take_fin(struct cbx_stream *stream, struct cbx_frame *frame);
void cbx_stream_take_credit(struct cbx_stream *stream, struct cbx_frame *frame, int64_t now);
void cbx_stream_take_reset(struct cbx_stream *stream, struct cbx_frame *frame);
void cbx_stream_take_epoch(struct cbx_stream *stream, struct cbx_frame *frame);

#endif
