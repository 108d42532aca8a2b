/* SPDX-License-Identifier: MIT */
/*
 * Records on their way out. The link asks for them when it has room, and only then is the program
 * asked for bytes: nothing waits sealed. Control (RESUMED, RESET, EPOCH, CREDIT, in this order)
 * goes before data.
 */
#ifndef COMMON_STREAM_SEND_H
#define COMMON_STREAM_SEND_H

#include "common/stream/state.h"

/* What a stream's circuit is added to a link with. */
extern const struct cbx_circuit_ops cbx_stream_circuit_ops;

/* The program has bytes. */
void cbx_stream_readable(struct cbx_stream *stream);
/* An acknowledgement that was delayed is due. */
void cbx_stream_announce(struct cbx_stream *stream, int64_t now);

#endif
