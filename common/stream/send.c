/* SPDX-License-Identifier: MIT */
/* Tested by test_stream_flow and sim_load. */
#include "common/stream/send.h"
#include "common/stream/end.h"
#include "common/stream/epoch.h"
#include "common/stream/resume.h"
#include <stddef.h>

enum { SLAB_SMALL = 16 * 1024, SLAB_RECORD = 80 * 1024 };

static struct cbx_stream *
of_circuit(struct cbx_circuit *circuit)
{
    return (struct cbx_stream *)((char *)circuit - offsetof(struct cbx_stream, circuit));
}

static struct cbx_slice
build_credit(struct cbx_stream *stream, int64_t now)
{
    stream->due &= ~(uint32_t)(CBX_DUE_ANSWER | CBX_DUE_CREDIT);
    bool fin = stream->read == CBX_READ_ENDED;
    cbx_window_announce(&stream->in, now);
    struct cbx_slice slice =
        cbx_record_credit(stream->env->aead, &stream->send_keys, stream->circuit.label,
                          stream->in.acked + (fin ? 1 : 0), stream->in.limit);
    if (fin) {
        cbx_stream_set_read(stream, CBX_READ_DONE);
        cbx_window_close(&stream->in);
        cbx_stream_check_done(stream);
    }
    return slice;
}

static int
next_control(struct cbx_circuit *circuit, int64_t now, struct cbx_slice *out)
{
    struct cbx_stream *stream = of_circuit(circuit);
    struct cbx_link *link = circuit->link;
    if (stream->phase == CBX_STREAM_FINISHED)
        return 0;
    if (stream->resume == CBX_RESUME_DUE) {
        *out = cbx_stream_build_resumed(stream, now); /* the far side knows no key before */
    } else if (stream->phase == CBX_STREAM_RESETTING) {
        *out = cbx_record_reset(stream->env->aead, &stream->send_keys, circuit->label,
                                stream->reset_reason);
        cbx_stream_finish(stream);
    } else if (cbx_stream_epoch_may_start(stream)) {
        *out = cbx_stream_start_epoch(stream);
    } else if ((stream->due & (CBX_DUE_ANSWER | CBX_DUE_CREDIT)) && !cbx_stream_resuming(stream)) {
        *out = build_credit(stream, now);
    } else {
        return 0;
    }
    if (out->slab)
        return 1;
    if (stream->phase != CBX_STREAM_FINISHED)
        cbx_stream_lost(stream, CBX_REASON_INTERNAL);
    cbx_link_starve(link); /* the far side cannot be told by less than that */
    return 0;
}

static int
send_fin(struct cbx_stream *stream, struct cbx_slice *out)
{
    *out = cbx_record_fin(stream->env->aead, &stream->send_keys, stream->circuit.label,
                          stream->out.sent);
    if (!out->slab)
        return CBX_ERR_NOMEM;
    cbx_send_sent(&stream->out, 1);
    cbx_stream_set_write(stream, CBX_WRITE_FIN);
    return 1;
}

/* What went out once already comes first, then what the program has. */
static ssize_t
pull_text(struct cbx_stream *stream, uint8_t *to, size_t size)
{
    size_t retransmit = cbx_stream_pull_retransmit(stream, to, size);
    return retransmit ? (ssize_t)retransmit : stream->env->ops->pull(stream, to, size);
}

static int
keep(struct cbx_stream *stream, const struct cbx_slice *slice, uint64_t epoch, uint64_t counter,
     uint32_t n)
{
    uint8_t *text = slice->slab->bytes + CBX_RECORD_HEAD;
    return cbx_unacked_add(&stream->unacked, (struct cbx_unacked_record){.slab = slice->slab,
                                                                         .text = text,
                                                                         .offset = stream->out.sent,
                                                                         .counter = counter,
                                                                         .epoch = epoch,
                                                                         .n = n});
}

/* The program's bytes are read into the record's own place, at the moment the link can send it. */
static int
pull_record(struct cbx_stream *stream, uint64_t room, struct cbx_slice *out)
{
    uint64_t size = cbx_send_record_size(&stream->out);
    if (size > room)
        size = room;
    uint32_t needed = (uint32_t)size + CBX_RECORD_HEAD + CBX_AEAD_TAG;
    struct cbx_slab *slab = cbx_slab_new(needed <= SLAB_SMALL ? SLAB_SMALL : SLAB_RECORD);
    if (!slab)
        return CBX_ERR_NOMEM;
    bool retransmit = stream->out.retransmit > 0;
    ssize_t got = pull_text(stream, slab->bytes + CBX_RECORD_HEAD, (size_t)size);
    if (got <= 0) {
        cbx_slab_unref(slab);
        if (got == CBX_ERR_AGAIN)
            return 0;
        if (got == CBX_ERR_CLOSED) {
            cbx_stream_set_write(stream, CBX_WRITE_EOF);
            return send_fin(stream, out);
        }
        cbx_stream_fail(stream, CBX_REASON_RESET);
        return 0;
    }
    uint64_t counter = stream->send_keys.data_next;
    *out = cbx_record_data(stream->env->aead, &stream->send_keys, stream->circuit.label,
                           stream->out.sent, slab, (uint32_t)got);
    if (!out->slab)
        return CBX_ERR_NOMEM;
    if (keep(stream, out, stream->send_keys.epoch, counter, (uint32_t)got) < 0) {
        cbx_slice_drop(out);
        return CBX_ERR_NOMEM;
    }
    cbx_send_sent(&stream->out, (uint64_t)got);
    stream->bytes_out += retransmit ? 0 : (uint64_t)got;
    return 1;
}

/* A CREDIT wakes it; where only the budget is in the way, also the CREDIT of another stream. */
static void
wait_for_room(struct cbx_stream *stream)
{
    if (stream->blocked || cbx_send_wanted(&stream->out) == 0)
        return;
    TAILQ_INSERT_TAIL(&stream->env->blocked, stream, blocked_entry);
    stream->blocked = true;
}

static int
next_data(struct cbx_circuit *circuit, uint64_t room, int64_t now, struct cbx_slice *out)
{
    (void)room;
    (void)now;
    struct cbx_stream *stream = of_circuit(circuit);
    if (cbx_stream_is_over(stream) || stream->write == CBX_WRITE_WAIT ||
        cbx_stream_resuming(stream))
        return 0;
    int result = 0;
    if (stream->write == CBX_WRITE_EOF && stream->out.retransmit == 0) {
        result = send_fin(stream, out);
    } else if (stream->write == CBX_WRITE_OPEN || stream->write == CBX_WRITE_EOF) {
        if (cbx_stream_epoch_used_up(stream)) {
            cbx_stream_rekey(stream);
            return 0; /* data_ready follows once the epoch has begun */
        }
        uint64_t credit = cbx_send_room(&stream->out);
        if (credit == 0) {
            wait_for_room(stream);
            return 0;
        }
        result = pull_record(stream, credit, out);
    }
    if (result < 0) {
        cbx_stream_fail(stream, CBX_REASON_INTERNAL);
        return 0;
    }
    return result;
}

static int
control_then_data(struct cbx_circuit *circuit, int64_t now, struct cbx_slice *out)
{
    struct cbx_stream *stream = of_circuit(circuit);
    /* A stream that only receives has no data whose turn would tell. */
    if (stream->write != CBX_WRITE_WAIT &&
        stream->send_keys.control_next >= stream->env->epoch_records_max)
        stream->due |= CBX_DUE_EPOCH;
    uint64_t epoch = stream->send_keys.epoch;
    int result = next_control(circuit, now, out);
    if (result > 0 && stream->send_keys.epoch != epoch)
        cbx_circuit_data_ready(circuit); /* it may have waited for that */
    return result;
}

const struct cbx_circuit_ops cbx_stream_circuit_ops = {.data = next_data,
                                                       .control = control_then_data};

void
cbx_stream_readable(struct cbx_stream *stream)
{
    if (cbx_stream_is_over(stream) || stream->write != CBX_WRITE_OPEN)
        return;
    if (cbx_send_room(&stream->out) > 0)
        cbx_circuit_data_ready(&stream->circuit);
    else
        wait_for_room(stream);
}

void
cbx_stream_announce(struct cbx_stream *stream, int64_t now)
{
    (void)now;
    if (cbx_stream_is_over(stream) || stream->read == CBX_READ_DONE ||
        stream->write == CBX_WRITE_WAIT || stream->in.consumed == stream->in.acked)
        return;
    cbx_stream_control_due(stream, CBX_DUE_CREDIT);
}
