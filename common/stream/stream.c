/* SPDX-License-Identifier: MIT */
/* A stream's begin and end, and which file a frame that came for it belongs to. */
#include "common/stream/stream.h"
#include "common/stream/queue.h"
#include "common/stream/receive.h"
#include <string.h>

int
cbx_stream_init(struct cbx_stream *stream, struct cbx_stream_env *env, bool dialer,
                struct cbx_budget *budget, uint64_t *peer_used, int64_t now)
{
    memset(stream, 0, sizeof *stream);
    STAILQ_INIT(&stream->queue);
    STAILQ_INIT(&stream->retransmit);
    stream->unacked.slack = &env->unacked_slack;
    stream->env = env;
    if (!env->blocked.tqh_last)
        TAILQ_INIT(&env->blocked);
    stream->dialer = dialer;
    stream->write = CBX_WRITE_WAIT;
    stream->out.pool_used = env->send_used;
    stream->out.pool_total = env->send_total;
    stream->out.meter_began = now;
    return cbx_window_open(&stream->in, budget, peer_used, now);
}

int
cbx_stream_grant(struct cbx_stream *stream, int64_t now)
{
    struct cbx_receive_window *in = &stream->in;
    return in->open ? 0 : cbx_window_open(in, in->budget, in->peer_used, now);
}

void
cbx_stream_dispose(struct cbx_stream *stream)
{
    cbx_stream_drop_queue(stream);
    cbx_stream_drop_unacked(stream);
    cbx_window_close(&stream->in);
    cbx_stream_give_back(stream);
    cbx_circuit_remove(&stream->circuit);
    cbx_record_keys_wipe(&stream->send_keys);
    cbx_record_keys_wipe(&stream->receive_keys);
    cbx_stream_drop_keys(&stream->next_keys);
    cbx_stream_drop_keys(&stream->previous_keys);
}

/* ---- opening ---- */

int
cbx_stream_dial(struct cbx_stream *stream, struct cbx_link *link, const struct cbx_session *session,
                const struct cbx_open *open)
{
    uint32_t label = cbx_link_label(link);
    if (label == 0)
        return CBX_ERR_LIMIT;
    memcpy(stream->id, open->stream_id, sizeof stream->id);
    cbx_stream_derive(stream->id, session, open->epoch, &stream->send_keys, &stream->receive_keys);
    struct cbx_open full = *open;
    full.limit = stream->in.limit;
    stream->in.told = true;
    int result = cbx_circuit_add(link, &stream->circuit, label, &cbx_stream_circuit_ops);
    if (result == 0)
        result = cbx_link_send_slice(
            link, cbx_record_dial(stream->env->aead, &stream->send_keys, label, &full));
    if (result < 0) {
        cbx_circuit_remove(&stream->circuit);
        cbx_link_label_unused(link, label);
    }
    return result;
}

int
cbx_stream_take(struct cbx_stream *stream, struct cbx_link *link, const struct cbx_session *session,
                struct cbx_frame *frame, const struct cbx_open *open, int64_t now)
{
    memcpy(stream->id, open->stream_id, sizeof stream->id);
    cbx_stream_derive(stream->id, session, open->epoch, &stream->send_keys, &stream->receive_keys);
    int result = cbx_record_open_dial(stream->env->aead, &stream->receive_keys, frame, open);
    if (result < 0)
        return result;
    result = cbx_send_credit(&stream->out, 0, open->limit, now);
    if (result < 0)
        return result;
    return cbx_circuit_add(link, &stream->circuit, frame->label, &cbx_stream_circuit_ops);
}

void
cbx_stream_accept(struct cbx_stream *stream)
{
    if (cbx_stream_is_over(stream) || stream->write != CBX_WRITE_WAIT)
        return;
    cbx_stream_set_write(stream, CBX_WRITE_OPEN);
    cbx_stream_control_due(stream, CBX_DUE_ANSWER);
    cbx_circuit_data_ready(&stream->circuit);
}

/* ---- receiving ---- */

void
cbx_stream_frame(struct cbx_stream *stream, struct cbx_frame *frame, int64_t now)
{
    /* What came before is delivered before what may be the end. */
    if (frame->type != CBX_FRAME_DATA)
        cbx_stream_flush(stream->env, now);
    if (stream->phase >= CBX_STREAM_RESETTING)
        return; /* crossed on the way */
    switch (frame->type) {
    case CBX_FRAME_DATA:
        cbx_stream_take_data(stream, frame, now);
        break;
    case CBX_FRAME_FIN:
        cbx_stream_take_fin(stream, frame);
        break;
    case CBX_FRAME_CREDIT:
        cbx_stream_take_credit(stream, frame, now);
        break;
    case CBX_FRAME_RESET:
        cbx_stream_take_reset(stream, frame);
        break;
    case CBX_FRAME_EPOCH:
        cbx_stream_take_epoch(stream, frame);
        break;
    case CBX_FRAME_RESUMED:
        cbx_stream_take_resumed(stream, frame, now);
        break;
    case CBX_FRAME_CLOSE:
        cbx_stream_lost(stream, cbx_reason_of(frame->field[CBX_CLOSE_REASON].u, CBX_REASON_LOST));
        break;
    default:
        cbx_stream_fail(stream, CBX_REASON_PROTOCOL);
        break;
    }
}
