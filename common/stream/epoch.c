/* SPDX-License-Identifier: MIT */
#include "common/stream/epoch.h"
#include <stdlib.h>

void
cbx_stream_drop_keys(struct cbx_record_keys **keys)
{
    if (*keys)
        cbx_record_keys_wipe(*keys);
    free(*keys);
    *keys = NULL;
}

void
cbx_stream_derive(const uint8_t id[CBX_STREAM_ID_SIZE], const struct cbx_session *session,
                  uint64_t epoch, struct cbx_record_keys *send, struct cbx_record_keys *receive)
{
    cbx_record_keys_derive(send, session->root_send, id, epoch, session->cipher);
    cbx_record_keys_derive(receive, session->root_receive, id, epoch, session->cipher);
}

void
cbx_stream_rekey(struct cbx_stream *stream)
{
    if (stream->is_over || stream->write == CBX_WRITE_WAIT)
        return;
    stream->epoch_due = true;
    cbx_circuit_control_ready(&stream->circuit);
}

/* The far side keeps two epochs at most: the one before must be delivered before a third begins.
 * Without a session it waits for one: cbx_stream_rekey comes again. */
bool
cbx_stream_epoch_may_start(struct cbx_stream *stream)
{
    return stream->epoch_due && !cbx_stream_resuming(stream) &&
           stream->out.acked >= stream->epoch_began && stream->env->ops->newest(stream) != NULL;
}

/* Switches our direction to its next epoch; the record that says so is the old one's last. */
struct cbx_slice
cbx_stream_start_epoch(struct cbx_stream *stream)
{
    stream->epoch_due = false;
    const struct cbx_session *session = stream->env->ops->newest(stream);
    struct cbx_record_keys next, *old = malloc(sizeof *old);
    if (!old)
        return (struct cbx_slice){0};
    cbx_record_keys_derive(&next, session->root_send, stream->id, stream->send_keys.epoch + 1,
                           session->cipher);
    struct cbx_slice slice =
        cbx_record_epoch(stream->env->aead, &stream->send_keys, stream->circuit.label, session->id,
                         next.epoch, stream->out.sent);
    if (slice.slab) {
        *old = stream->send_keys;
        stream->send_keys = next;
        cbx_stream_drop_keys(&stream->previous_keys);
        stream->previous_keys = old;
        stream->epoch_began = stream->out.sent;
    } else {
        free(old);
    }
    cbx_record_keys_wipe(&next);
    return slice;
}

void
cbx_stream_enter_epoch(struct cbx_stream *stream)
{
    stream->receive_keys = *stream->next_keys; /* no data was opened under them yet: counter 0 */
    cbx_stream_drop_keys(&stream->next_keys);
}

/* The keys that a data record must open under: an announced epoch begins at its very offset. */
void
cbx_stream_maybe_next_epoch(struct cbx_stream *stream, const struct cbx_frame *frame)
{
    if (cbx_stream_epoch_complete(stream) &&
        frame->field[CBX_SEALED_EPOCH].u == stream->next_keys->epoch)
        cbx_stream_enter_epoch(stream);
}

uint64_t
cbx_stream_epoch(const struct cbx_stream *stream)
{
    uint64_t epoch = stream->send_keys.epoch;
    if (stream->receive_keys.epoch > epoch)
        epoch = stream->receive_keys.epoch;
    if (stream->next_keys && stream->next_keys->epoch > epoch)
        epoch = stream->next_keys->epoch;
    return epoch;
}

void
cbx_stream_begin_epoch(struct cbx_stream *stream, const struct cbx_record_keys *send,
                       const struct cbx_record_keys *receive)
{
    stream->send_keys = *send;
    stream->receive_keys = *receive;
    cbx_stream_drop_keys(&stream->next_keys);
    cbx_stream_drop_keys(&stream->previous_keys);
    stream->epoch_due = false;
    stream->accept_due = stream->credit_due = false;
}
