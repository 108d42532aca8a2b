/* SPDX-License-Identifier: MIT */
/*
 * Keys of a stream and their changes (rule 18). Each direction has an epoch of its own; a sender
 * starts the next one by EPOCH when the keys were used enough or a newer session exists. Control is
 * in the new epoch at once, data from the offset that EPOCH names; no third epoch begins before the
 * one before last is acknowledged.
 */
#ifndef COMMON_STREAM_EPOCH_H
#define COMMON_STREAM_EPOCH_H

#include "common/stream/state.h"

/* The greatest epoch that has been begun in either direction, as far as is known. */
uint64_t cbx_stream_epoch(const struct cbx_stream *stream);
/* A newer session exists: start the next epoch there soon. */
void cbx_stream_rekey(struct cbx_stream *stream);

/* ---- for the other files of the stream ---- */

/* Keys of both directions in one epoch. */
void cbx_stream_derive(const uint8_t id[CBX_STREAM_ID_SIZE], const struct cbx_session *session,
                       uint64_t epoch, struct cbx_record_keys *send,
                       struct cbx_record_keys *receive);
/* Keys that are there for a while only. */
void cbx_stream_drop_keys(struct cbx_record_keys **keys);
/* The far side keeps two epochs at most: the one before must be delivered before a third begins.
 * Without a session it waits for one: cbx_stream_rekey comes again. */
bool cbx_stream_epoch_may_start(struct cbx_stream *stream);
/* Switches our direction to its next epoch; the record that says so is the old one's last. .slab is
 * NULL when memory is short. */
struct cbx_slice cbx_stream_start_epoch(struct cbx_stream *stream);
/* Their direction goes on in the announced epoch. */
void cbx_stream_enter_epoch(struct cbx_stream *stream);
/* Both directions begin a new epoch together (a resume). */
void cbx_stream_begin_epoch(struct cbx_stream *stream, const struct cbx_record_keys *send,
                            const struct cbx_record_keys *receive);

static inline bool
cbx_stream_epoch_used_up(const struct cbx_stream *stream)
{
    return stream->out.sent - stream->epoch_began >= stream->env->epoch_bytes_max ||
           stream->send_keys.data_next >= stream->env->epoch_records_max ||
           stream->send_keys.control_next >= stream->env->epoch_records_max;
}

/* True when every offset of the epoch before an announced one has arrived. */
static inline bool
cbx_stream_epoch_complete(const struct cbx_stream *stream)
{
    uint64_t arrived = stream->received + (stream->read == CBX_READ_OPEN ? 0 : 1);
    return stream->next_keys && arrived == stream->next_offset;
}

/* Before a data record is opened: an announced epoch begins at its very offset. */
static inline void
cbx_stream_maybe_next_epoch(struct cbx_stream *stream, const struct cbx_frame *frame)
{
    if (cbx_stream_epoch_complete(stream) &&
        frame->field[CBX_SEALED_EPOCH].u == stream->next_keys->epoch)
        cbx_stream_enter_epoch(stream);
}

/* Control of an announced epoch comes under the next keys at once; data follows at its offset. */
static inline struct cbx_record_keys *
cbx_stream_control_keys(struct cbx_stream *stream)
{
    return stream->next_keys ? stream->next_keys : &stream->receive_keys;
}

#endif
