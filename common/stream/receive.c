/* SPDX-License-Identifier: MIT */
/* Tested by test_stream_flow and sim_hostile_records. */
#include "common/stream/receive.h"
#include "common/stream/end.h"
#include "common/stream/epoch.h"
#include "common/stream/push.h"
#include <stdlib.h>

void
cbx_stream_take_data(struct cbx_stream *stream, struct cbx_frame *frame, int64_t now)
{
    cbx_stream_maybe_next_epoch(stream, frame);
    if (stream->write == CBX_WRITE_WAIT || stream->read != CBX_READ_OPEN ||
        frame->field[CBX_DATA_OFFSET].u != stream->received ||
        cbx_record_open(stream->env->aead, &stream->receive_keys, frame) < 0) {
        cbx_stream_flush(stream->env, now);
        cbx_stream_fail_integrity(stream);
        return;
    }
    struct cbx_field *text = &frame->field[CBX_DATA_PAYLOAD];
    stream->received += text->n;
    if (!cbx_window_received(&stream->in, stream->received, now)) {
        cbx_stream_flush(stream->env, now);
        cbx_stream_fail(stream, CBX_REASON_FLOW);
    } else if (text->n > 0) {
        cbx_stream_gather(stream, frame->raw.slab, text->p, text->n, now);
    }
}

void
cbx_stream_take_fin(struct cbx_stream *stream, struct cbx_frame *frame)
{
    cbx_stream_maybe_next_epoch(stream, frame);
    if (stream->write == CBX_WRITE_WAIT || stream->read != CBX_READ_OPEN ||
        frame->field[CBX_FIN_OFFSET].u != stream->received ||
        cbx_record_open(stream->env->aead, &stream->receive_keys, frame) < 0) {
        cbx_stream_fail_integrity(stream);
        return;
    }
    cbx_stream_set_read(stream, CBX_READ_FIN);
    cbx_stream_end_input(stream);
}

void
cbx_stream_take_credit(struct cbx_stream *stream, struct cbx_frame *frame, int64_t now)
{
    if (cbx_record_open(stream->env->aead, cbx_stream_control_keys(stream), frame) < 0) {
        cbx_stream_fail_integrity(stream);
        return;
    }
    if (cbx_send_credit(&stream->out, frame->field[CBX_CREDIT_ACKNOWLEDGED].u,
                        frame->field[CBX_CREDIT_LIMIT].u, now) < 0) {
        cbx_stream_fail(stream, CBX_REASON_FLOW);
        return;
    }
    cbx_unacked_forget(&stream->unacked, stream->out.acked);
    if (stream->out.acked >= stream->epoch_began)
        cbx_stream_drop_keys(&stream->previous_keys); /* nothing unacknowledged needs them */
    cbx_stream_wake_blocked(stream->env);
    if (stream->write == CBX_WRITE_WAIT) {
        if (!stream->dialer) {
            cbx_stream_fail(stream, CBX_REASON_PROTOCOL);
            return;
        }
        cbx_stream_set_write(stream, CBX_WRITE_OPEN);
        stream->env->ops->opened(stream);
    }
    if (stream->due & CBX_DUE_EPOCH)
        cbx_circuit_control_ready(&stream->circuit);
    if (stream->write == CBX_WRITE_FIN && stream->out.acked == stream->out.sent) {
        cbx_stream_set_write(stream, CBX_WRITE_DONE);
        cbx_stream_check_done(stream);
    } else if (stream->write == CBX_WRITE_OPEN || stream->write == CBX_WRITE_EOF) {
        cbx_circuit_data_ready(&stream->circuit);
    }
}

void
cbx_stream_take_reset(struct cbx_stream *stream, struct cbx_frame *frame)
{
    enum cbx_reason reason;
    if (cbx_record_open_reset(stream->env->aead, cbx_stream_control_keys(stream), frame, &reason) <
        0) {
        cbx_stream_fail_integrity(stream);
        return;
    }
    cbx_stream_tell_over(stream, reason, true);
    cbx_stream_finish(stream);
}

void
cbx_stream_take_epoch(struct cbx_stream *stream, struct cbx_frame *frame)
{
    uint64_t next, offset;
    if (cbx_stream_epoch_complete(stream))
        cbx_stream_enter_epoch(stream);
    struct cbx_record_keys *keys = cbx_stream_control_keys(stream);
    const struct cbx_session *session =
        stream->env->ops->session(stream, frame->field[CBX_EPOCH_SESSION].p);
    if (cbx_record_open_epoch(stream->env->aead, keys, frame, &next, &offset) < 0 || !session ||
        stream->next_keys || next != keys->epoch + 1 || offset < stream->received) {
        cbx_stream_fail_integrity(stream);
        return;
    }
    stream->next_keys = malloc(sizeof *stream->next_keys);
    if (!stream->next_keys) {
        cbx_stream_fail(stream, CBX_REASON_INTERNAL);
        return;
    }
    cbx_record_keys_derive(stream->next_keys, session->root_receive, stream->id, next,
                           session->cipher);
    stream->next_offset = offset;
}
