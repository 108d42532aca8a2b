/* SPDX-License-Identifier: MIT */
/* What goes out anew, what each end says it has, and the checks of what the other says. */
#include "common/stream/resume.h"
#include "common/stream/end.h"
#include "common/stream/epoch.h"
#include "common/stream/push.h"
#include "common/stream/queue.h"
#include <stdlib.h>
#include <string.h>

/* Epochs of an attempt stand far apart: between two of them each side may count on by itself. */
enum { EPOCH_SHIFT = 16 };

/* ---- what goes out anew ---- */

/* Takes up to size bytes from the front; to: where they go, or NULL. */
static size_t
take_retransmit(struct cbx_stream *stream, uint8_t *to, size_t size)
{
    size_t done = 0;
    while (done < size && !STAILQ_EMPTY(&stream->retransmit)) {
        struct cbx_slice *slice = &STAILQ_FIRST(&stream->retransmit)->slice;
        size_t part = slice->length < size - done ? slice->length : size - done;
        if (to)
            memcpy(to + done, slice->data, part);
        done += part;
        slice->data += part;
        slice->length -= (uint32_t)part;
        if (slice->length == 0)
            cbx_stream_drop_retransmit_first(stream);
    }
    stream->retransmit_begin += done;
    return done;
}

size_t
cbx_stream_pull_retransmit(struct cbx_stream *stream, uint8_t *to, size_t size)
{
    return stream->out.retransmit ? take_retransmit(stream, to, size) : 0;
}

static const struct cbx_record_keys *
keys_of(const struct cbx_stream *stream, uint64_t epoch)
{
    if (stream->send_keys.epoch == epoch)
        return &stream->send_keys;
    const struct cbx_record_keys *previous = stream->previous_keys;
    return previous && previous->epoch == epoch ? previous : NULL;
}

/* One unacknowledged record, opened, before everything else that goes out anew. The bytes may still
 * wait in the link that they were sent over: then a copy is opened, for nobody must read them
 * there. */
static int
reopen(struct cbx_stream *stream, const struct cbx_unacked_record *record)
{
    const struct cbx_record_keys *keys = keys_of(stream, record->epoch);
    struct cbx_queued *queued = calloc(1, sizeof *queued);
    if (!queued)
        return CBX_ERR_NOMEM;
    if (record->slab->refs == 1)
        queued->slice = cbx_slice_of(record->slab, record->text, record->n);
    else
        queued->slice = cbx_slice_copy_exact(record->text, record->n + CBX_AEAD_TAG);
    if (!queued->slice.slab || !keys ||
        cbx_record_reopen(stream->env->aead, keys, record->counter, record->offset,
                          queued->slice.data, record->n) < 0) {
        cbx_slice_drop(&queued->slice);
        free(queued);
        return keys ? CBX_ERR_NOMEM : CBX_ERR_STATE;
    }
    queued->slice.length = record->n;
    STAILQ_INSERT_HEAD(&stream->retransmit, queued, entry);
    return 0;
}

/* The first offset that can be sent again: what lies before it the far side has said it has. */
static uint64_t
first_unacked(const struct cbx_stream *stream)
{
    if (stream->unacked.count)
        return cbx_unacked_at(&stream->unacked, 0)->offset;
    if (!STAILQ_EMPTY(&stream->retransmit))
        return stream->retransmit_begin;
    return stream->out.sent - (stream->write >= CBX_WRITE_FIN ? 1 : 0);
}

/* Opens everything unacknowledged: to be done while the keys that it was sealed with are there. */
static int
reopen_unacked(struct cbx_stream *stream)
{
    struct cbx_unacked *unacked = &stream->unacked;
    stream->retransmit_begin = first_unacked(stream);
    for (uint32_t i = unacked->count; i-- > 0;) {
        int result = reopen(stream, cbx_unacked_at(unacked, i));
        if (result < 0)
            return result;
    }
    cbx_unacked_clear(unacked);
    return 0;
}

/* ---- the new epoch ---- */

/* What we have, to be said in the frame that goes out now. The acknowledgement of a FIN follows in
 * a CREDIT of its own, which is known to have been sent. */
static struct cbx_resume
what_we_have(struct cbx_stream *stream, int64_t now)
{
    if (stream->in.open)
        cbx_window_announce(&stream->in, now);
    struct cbx_resume have = {.ended = stream->read != CBX_READ_OPEN, .limit = stream->in.limit};
    have.received = stream->received + (have.ended ? 1 : 0);
    have.acked = stream->in.acked + (stream->read == CBX_READ_DONE ? 1 : 0);
    if (have.limit < have.acked)
        have.limit = have.acked;
    if (have.limit < stream->received)
        have.limit = stream->received;
    return have;
}

struct cbx_slice
cbx_stream_build_resumed(struct cbx_stream *stream, int64_t now)
{
    struct cbx_resume have = what_we_have(stream, now);
    stream->resume = CBX_RESUME_NONE;
    return cbx_record_resumed(stream->env->aead, &stream->send_keys, stream->circuit.label, &have);
}

/* In the link's own queue, as OPEN: labels are taken in the order of what goes out there. */
static int
say_resume(struct cbx_stream *stream, const struct cbx_open *open, int64_t now)
{
    struct cbx_resume have = what_we_have(stream, now);
    return cbx_link_send_slice(stream->circuit.link,
                               cbx_record_resume(stream->env->aead, &stream->send_keys,
                                                 stream->circuit.label, open, &have));
}

/* Whether the far side may have and lack what it says. */
static bool
plausible(const struct cbx_stream *stream, const struct cbx_resume *theirs)
{
    const struct cbx_send_window *out = &stream->out;
    bool fin = stream->write >= CBX_WRITE_FIN;
    return theirs->received >= out->acked && theirs->received <= out->sent &&
           theirs->acked >= out->acked && theirs->acked <= theirs->received &&
           theirs->limit >= theirs->acked && theirs->received >= first_unacked(stream) &&
           theirs->ended == (fin && theirs->received == out->sent);
}

/* Goes on from what the far side has. What it may lack was opened before. */
static void
go_on(struct cbx_stream *stream, const struct cbx_resume *theirs, int64_t now)
{
    if (stream->write == CBX_WRITE_FIN && !theirs->ended) {
        cbx_send_take_back_fin(&stream->out);
        cbx_stream_set_write(stream, CBX_WRITE_EOF);
    }
    if (cbx_send_rewind(&stream->out, theirs->received, theirs->acked, theirs->limit, now) < 0) {
        cbx_stream_fail(stream, CBX_REASON_INTEGRITY);
        return;
    }
    if (theirs->received > stream->retransmit_begin)
        (void)take_retransmit(stream, NULL, theirs->received - stream->retransmit_begin);
    cbx_stream_wake_blocked(stream->env); /* what came is acknowledged with this */
    stream->epoch_began = stream->out.sent;
    if (stream->read == CBX_READ_ENDED)
        stream->due |= CBX_DUE_CREDIT;
    if (stream->due & CBX_DUE_CREDIT) /* also what the program took since RESUME */
        cbx_circuit_control_ready(&stream->circuit);
    if (stream->write == CBX_WRITE_FIN && stream->out.acked == stream->out.sent)
        cbx_stream_set_write(stream, CBX_WRITE_DONE);
    cbx_circuit_data_ready(&stream->circuit);
    cbx_stream_check_done(stream);
}

/* ---- dialer ---- */

int
cbx_stream_resume(struct cbx_stream *stream, struct cbx_link *link, struct cbx_budget *budget,
                  const struct cbx_session *session, const struct cbx_open *open, int64_t now)
{
    cbx_stream_flush(stream->env, now);
    if (!stream->dialer || !cbx_stream_movable(stream))
        return CBX_ERR_STATE;
    uint32_t label = link->control_count < CBX_LINK_CONTROL_MAX ? cbx_link_label(link) : 0;
    if (label == 0)
        return CBX_ERR_LIMIT;
    if (cbx_window_move(&stream->in, budget, stream->received, now) < 0) {
        cbx_link_label_unused(link, label);
        return CBX_ERR_LIMIT;
    }
    const struct cbx_circuit_ops *ops = stream->circuit.ops;
    cbx_circuit_remove(&stream->circuit);
    struct cbx_open resume = *open;
    memcpy(resume.stream_id, stream->id, sizeof resume.stream_id);
    memcpy(resume.session, session->id, sizeof resume.session);
    resume.epoch = ((cbx_stream_epoch(stream) >> EPOCH_SHIFT) + 1) << EPOCH_SHIFT;
    struct cbx_record_keys send, receive;
    cbx_stream_derive(stream->id, session, resume.epoch, &send, &receive);
    int result = reopen_unacked(stream);
    cbx_stream_begin_epoch(stream, &send, &receive);
    cbx_record_keys_wipe(&send);
    cbx_record_keys_wipe(&receive);
    stream->resume = CBX_RESUME_SENT;
    if (result == 0)
        result = cbx_circuit_add(link, &stream->circuit, label, ops);
    if (result == 0)
        result = say_resume(stream, &resume, now);
    if (result == 0)
        return 0;
    cbx_circuit_remove(&stream->circuit); /* the far side has no key for a word on it */
    cbx_link_label_unused(link, label);
    cbx_stream_fail(stream, CBX_REASON_INTERNAL);
    return CBX_ERR_NOMEM;
}

void
cbx_stream_take_resumed(struct cbx_stream *stream, struct cbx_frame *frame, int64_t now)
{
    struct cbx_resume theirs;
    if (!cbx_stream_resuming(stream) ||
        cbx_record_open_resumed(stream->env->aead, &stream->receive_keys, frame, &theirs) < 0 ||
        !plausible(stream, &theirs)) {
        cbx_stream_fail(stream, CBX_REASON_INTEGRITY);
        return;
    }
    stream->resume = CBX_RESUME_NONE;
    go_on(stream, &theirs, now);
    stream->env->ops->resumed(stream);
}

/* ---- target ---- */

int
cbx_stream_take_resume(struct cbx_stream *stream, struct cbx_link *link, struct cbx_budget *budget,
                       const struct cbx_session *session, struct cbx_frame *frame, int64_t now)
{
    struct cbx_open open;
    struct cbx_resume theirs;
    struct cbx_record_keys send, receive;
    cbx_resume_read(frame, &open, &theirs);
    cbx_stream_flush(stream->env, now);
    if (stream->dialer || !cbx_stream_movable(stream))
        return CBX_ERR_STATE;
    if (open.epoch <= cbx_stream_epoch(stream))
        return CBX_ERR_AUTH;
    cbx_stream_derive(stream->id, session, open.epoch, &send, &receive);
    int result = cbx_record_open_resume(stream->env->aead, &receive, frame, &open, &theirs);
    if (result == 0 && !plausible(stream, &theirs))
        result = CBX_ERR_AUTH;
    if (result == 0)
        result = cbx_window_move(&stream->in, budget, stream->received, now);
    if (result == 0) {
        const struct cbx_circuit_ops *ops = stream->circuit.ops;
        cbx_circuit_remove(&stream->circuit);
        cbx_unacked_forget(&stream->unacked, theirs.received);
        result = reopen_unacked(stream);
        cbx_stream_begin_epoch(stream, &send, &receive);
        if (result == 0)
            result = cbx_circuit_add(link, &stream->circuit, frame->label, ops);
        if (result < 0) {
            cbx_stream_lost(stream, CBX_REASON_INTERNAL);
            result = CBX_ERR_NOMEM;
        }
    }
    cbx_record_keys_wipe(&send);
    cbx_record_keys_wipe(&receive);
    if (result < 0)
        return result;
    stream->resume = CBX_RESUME_DUE;
    cbx_circuit_control_ready(&stream->circuit);
    go_on(stream, &theirs, now);
    return 0;
}
