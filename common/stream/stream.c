/* SPDX-License-Identifier: MIT */
#include "common/stream/internal.h"
#include <stdlib.h>
#include <string.h>

enum { SLAB_SMALL = 16 * 1024, SLAB_RECORD = 80 * 1024 };

static struct cbx_stream *
of_circuit(struct cbx_circuit *circuit)
{
    return (struct cbx_stream *)((char *)circuit - offsetof(struct cbx_stream, circuit));
}

int
cbx_stream_init(struct cbx_stream *stream, struct cbx_stream_env *env, bool dialer,
                struct cbx_budget *budget, uint64_t *peer_used, int64_t now)
{
    memset(stream, 0, sizeof *stream);
    STAILQ_INIT(&stream->queue);
    STAILQ_INIT(&stream->again);
    stream->kept.slack = &env->kept_slack;
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
    return in->open ? 0 : cbx_window_open(in, in->link, in->peer_used, now);
}

/* ---- ends ---- */

static void
unblock(struct cbx_stream *stream)
{
    if (stream->blocked)
        TAILQ_REMOVE(&stream->env->blocked, stream, blocked_entry);
    stream->blocked = false;
}

void
cbx_stream_wake_blocked(struct cbx_stream_env *env)
{
    uint64_t left = *env->send_used < env->send_total ? env->send_total - *env->send_used : 0;
    struct cbx_stream *stream, *next;
    for (stream = TAILQ_FIRST(&env->blocked); stream && left > 0; stream = next) {
        next = TAILQ_NEXT(stream, blocked_entry);
        if (cbx_send_room(&stream->out) == 0)
            continue;
        unblock(stream);
        cbx_circuit_data_ready(&stream->circuit);
        left -= left < CBX_WINDOW_MIN ? left : CBX_WINDOW_MIN;
    }
}

static void
give_back(struct cbx_stream *stream)
{
    unblock(stream);
    cbx_send_close(&stream->out);
    cbx_stream_wake_blocked(stream->env);
}

static void
finish(struct cbx_stream *stream)
{
    if (stream->is_finished)
        return;
    stream->is_finished = true;
    cbx_stream_drop_kept(stream);
    cbx_window_close(&stream->in);
    give_back(stream);
    stream->env->ops->finished(stream);
}

/* Tells the program, once. */
static void
tell_over(struct cbx_stream *stream, enum cbx_reason reason, bool by_target)
{
    stream->is_over = true;
    if (stream->program_gone)
        return;
    stream->program_gone = true;
    cbx_stream_drop_queue(stream);
    stream->env->ops->over(stream, reason, by_target);
}

/* Ends both halves from our side: RESET goes out, then the stream is finished. */
static void
send_reset(struct cbx_stream *stream, enum cbx_reason reason)
{
    if (stream->is_finished || stream->reset)
        return;
    stream->is_over = true;
    stream->reset = reason;
    if (stream->circuit.link)
        cbx_circuit_control_ready(&stream->circuit);
    else
        finish(stream);
}

void
cbx_stream_fail(struct cbx_stream *stream, enum cbx_reason reason)
{
    tell_over(stream, reason, false);
    send_reset(stream, reason);
}

bool
cbx_stream_movable(const struct cbx_stream *stream)
{
    return stream->write != CBX_WRITE_WAIT && !stream->accept_due && !stream->is_over &&
           !stream->is_finished && !stream->reset;
}

/* Whether the owner means to find another path; the circuit is left then. */
static bool
strand(struct cbx_stream *stream, enum cbx_reason reason)
{
    if (!cbx_stream_movable(stream) || !stream->env->ops->stranded ||
        !stream->env->ops->stranded(stream, reason))
        return false;
    cbx_circuit_remove(&stream->circuit);
    return true;
}

/* What came does not hold: the path is to blame, or somebody on it (rule 19). */
static void
fail_integrity(struct cbx_stream *stream)
{
    struct cbx_link *link = stream->circuit.link;
    uint32_t label = stream->circuit.label;
    if (!strand(stream, CBX_REASON_INTEGRITY)) {
        cbx_stream_fail(stream, CBX_REASON_INTEGRITY);
        return;
    }
    struct cbx_field field = cbx_field_uint(CBX_REASON_INTEGRITY);
    if (link)
        cbx_link_send(link, CBX_FRAME_CLOSE, label, &field, 1);
}

void
cbx_stream_check_done(struct cbx_stream *stream)
{
    if (stream->write != CBX_WRITE_DONE || stream->read != CBX_READ_DONE || stream->is_over)
        return;
    tell_over(stream, CBX_REASON_NONE, true);
    finish(stream);
}

void
cbx_stream_abort(struct cbx_stream *stream, enum cbx_reason reason)
{
    stream->program_gone = true;
    cbx_stream_drop_queue(stream);
    send_reset(stream, reason);
}

void
cbx_stream_lost(struct cbx_stream *stream, enum cbx_reason reason)
{
    if (strand(stream, reason))
        return;
    tell_over(stream, reason, false);
    finish(stream);
    cbx_circuit_remove(&stream->circuit);
}

void
cbx_stream_drop_keys(struct cbx_record_keys **keys)
{
    if (*keys)
        cbx_record_keys_wipe(*keys);
    free(*keys);
    *keys = NULL;
}

void
cbx_stream_dispose(struct cbx_stream *stream)
{
    cbx_stream_drop_queue(stream);
    cbx_stream_drop_kept(stream);
    cbx_window_close(&stream->in);
    give_back(stream);
    cbx_circuit_remove(&stream->circuit);
    cbx_record_keys_wipe(&stream->send_keys);
    cbx_record_keys_wipe(&stream->receive_keys);
    cbx_stream_drop_keys(&stream->next_keys);
    cbx_stream_drop_keys(&stream->previous_keys);
}

/* ---- opening ---- */

void
cbx_stream_derive(const uint8_t id[CBX_STREAM_ID_SIZE], const struct cbx_session *session,
                  uint64_t epoch, struct cbx_record_keys *send, struct cbx_record_keys *receive)
{
    cbx_record_keys_derive(send, session->root_send, id, epoch, session->cipher);
    cbx_record_keys_derive(receive, session->root_receive, id, epoch, session->cipher);
}

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
    if (result < 0)
        return result;
    result = cbx_link_send_slice(
        link, cbx_record_dial(stream->env->aead, &stream->send_keys, label, &full));
    if (result < 0)
        cbx_circuit_remove(&stream->circuit);
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
    if (stream->is_over || stream->write != CBX_WRITE_WAIT)
        return;
    stream->write = CBX_WRITE_OPEN;
    stream->accept_due = true;
    cbx_circuit_control_ready(&stream->circuit);
    cbx_circuit_data_ready(&stream->circuit);
}

/* ---- sending ---- */

static bool
epoch_used_up(const struct cbx_stream *stream)
{
    return stream->out.sent - stream->epoch_began >= stream->env->epoch_bytes_max ||
           stream->send_keys.data_next >= stream->env->epoch_records_max ||
           stream->send_keys.control_next >= stream->env->epoch_records_max;
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
static bool
epoch_may_start(struct cbx_stream *stream)
{
    return stream->epoch_due && !stream->resuming && stream->out.acked >= stream->epoch_began &&
           stream->env->ops->newest(stream) != NULL;
}

/* Switches our direction to its next epoch; the record that says so is the old one's last. */
static struct cbx_slice
start_epoch(struct cbx_stream *stream)
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

static struct cbx_slice
build_credit(struct cbx_stream *stream, int64_t now)
{
    stream->accept_due = stream->credit_due = false;
    bool fin = stream->read == CBX_READ_ENDED;
    cbx_window_announce(&stream->in, now);
    struct cbx_slice slice =
        cbx_record_credit(stream->env->aead, &stream->send_keys, stream->circuit.label,
                          stream->in.acked + (fin ? 1 : 0), stream->in.limit);
    if (fin) {
        stream->read = CBX_READ_DONE;
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
    if (stream->is_finished)
        return 0;
    if (stream->resumed_due) {
        *out = cbx_stream_build_resumed(stream, now); /* the far side knows no key before */
    } else if (stream->reset) {
        *out =
            cbx_record_reset(stream->env->aead, &stream->send_keys, circuit->label, stream->reset);
        finish(stream);
    } else if (epoch_may_start(stream)) {
        *out = start_epoch(stream);
    } else if ((stream->accept_due || stream->credit_due) && !stream->resuming) {
        *out = build_credit(stream, now);
    } else {
        return 0;
    }
    if (out->slab)
        return 1;
    if (!stream->is_finished)
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
    stream->write = CBX_WRITE_FIN;
    return 1;
}

/* What went out once already comes first, then what the program has. */
static ssize_t
pull_text(struct cbx_stream *stream, uint8_t *to, size_t size)
{
    size_t again = cbx_stream_pull_again(stream, to, size);
    return again ? (ssize_t)again : stream->env->ops->pull(stream, to, size);
}

static int
keep(struct cbx_stream *stream, const struct cbx_slice *slice, uint64_t epoch, uint64_t counter,
     uint32_t n)
{
    uint8_t *text = slice->slab->bytes + CBX_RECORD_HEAD;
    return cbx_kept_add(&stream->kept, (struct cbx_kept_record){.slab = slice->slab,
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
    bool again = stream->out.again > 0;
    ssize_t got = pull_text(stream, slab->bytes + CBX_RECORD_HEAD, (size_t)size);
    if (got <= 0) {
        cbx_slab_unref(slab);
        if (got == CBX_ERR_AGAIN)
            return 0;
        if (got == CBX_ERR_CLOSED) {
            stream->write = CBX_WRITE_EOF;
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
    stream->bytes_out += again ? 0 : (uint64_t)got;
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
    if (stream->is_over || stream->write == CBX_WRITE_WAIT || stream->resuming)
        return 0;
    int result = 0;
    if (stream->write == CBX_WRITE_EOF && stream->out.again == 0) {
        result = send_fin(stream, out);
    } else if (stream->write == CBX_WRITE_OPEN || stream->write == CBX_WRITE_EOF) {
        if (epoch_used_up(stream)) {
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
        stream->epoch_due = true;
    bool epoch = stream->epoch_due;
    int result = next_control(circuit, now, out);
    if (result > 0 && epoch && !stream->epoch_due)
        cbx_circuit_data_ready(circuit);
    return result;
}

const struct cbx_circuit_ops cbx_stream_circuit_ops = {.data = next_data,
                                                       .control = control_then_data};

void
cbx_stream_readable(struct cbx_stream *stream)
{
    if (stream->is_over || stream->write != CBX_WRITE_OPEN)
        return;
    if (cbx_send_room(&stream->out) > 0)
        cbx_circuit_data_ready(&stream->circuit);
    else
        wait_for_room(stream);
}

/* ---- receiving ---- */

void
cbx_stream_announce(struct cbx_stream *stream, int64_t now)
{
    (void)now;
    if (stream->is_over || stream->read == CBX_READ_DONE || stream->write == CBX_WRITE_WAIT ||
        stream->in.consumed == stream->in.acked)
        return;
    stream->credit_due = true;
    cbx_circuit_control_ready(&stream->circuit);
}

/* True when every offset of the epoch before an announced one has arrived. */
static bool
epoch_complete(const struct cbx_stream *stream)
{
    uint64_t arrived = stream->received + (stream->read == CBX_READ_OPEN ? 0 : 1);
    return stream->next_keys && arrived == stream->next_offset;
}

static void
enter_epoch(struct cbx_stream *stream)
{
    stream->receive_keys = *stream->next_keys; /* no data was opened under them yet: counter 0 */
    cbx_stream_drop_keys(&stream->next_keys);
}

/* The keys that a data record must open under: an announced epoch begins at its very offset. */
static void
maybe_next_epoch(struct cbx_stream *stream, const struct cbx_frame *frame)
{
    if (epoch_complete(stream) && frame->field[0].u == stream->next_keys->epoch)
        enter_epoch(stream);
}

static void
take_data(struct cbx_stream *stream, struct cbx_frame *frame, int64_t now)
{
    maybe_next_epoch(stream, frame);
    if (stream->write == CBX_WRITE_WAIT || stream->read != CBX_READ_OPEN ||
        frame->field[2].u != stream->received ||
        cbx_record_open(stream->env->aead, &stream->receive_keys, frame) < 0) {
        cbx_stream_flush(stream->env, now);
        fail_integrity(stream);
        return;
    }
    struct cbx_field *text = &frame->field[3];
    stream->received += text->n;
    if (!cbx_window_received(&stream->in, stream->received, now)) {
        cbx_stream_flush(stream->env, now);
        cbx_stream_fail(stream, CBX_REASON_FLOW);
    } else if (text->n > 0) {
        cbx_stream_gather(stream, frame->raw.slab, text->p, text->n, now);
    }
}

static void
take_fin(struct cbx_stream *stream, struct cbx_frame *frame)
{
    maybe_next_epoch(stream, frame);
    if (stream->write == CBX_WRITE_WAIT || stream->read != CBX_READ_OPEN ||
        frame->field[2].u != stream->received ||
        cbx_record_open(stream->env->aead, &stream->receive_keys, frame) < 0) {
        fail_integrity(stream);
        return;
    }
    stream->read = CBX_READ_FIN;
    stream->fin_offset = stream->received;
    cbx_stream_end_input(stream);
}

/* Control of an announced epoch comes under the next keys at once; data follows at its offset. */
static struct cbx_record_keys *
control_keys(struct cbx_stream *stream)
{
    return stream->next_keys ? stream->next_keys : &stream->receive_keys;
}

static void
take_credit(struct cbx_stream *stream, struct cbx_frame *frame, int64_t now)
{
    if (cbx_record_open(stream->env->aead, control_keys(stream), frame) < 0) {
        fail_integrity(stream);
        return;
    }
    if (cbx_send_credit(&stream->out, frame->field[2].u, frame->field[3].u, now) < 0) {
        cbx_stream_fail(stream, CBX_REASON_FLOW);
        return;
    }
    cbx_kept_forget(&stream->kept, stream->out.acked);
    if (stream->out.acked >= stream->epoch_began)
        cbx_stream_drop_keys(&stream->previous_keys); /* nothing is kept that needs them */
    cbx_stream_wake_blocked(stream->env);
    if (stream->write == CBX_WRITE_WAIT) {
        if (!stream->dialer) {
            cbx_stream_fail(stream, CBX_REASON_PROTOCOL);
            return;
        }
        stream->write = CBX_WRITE_OPEN;
        stream->env->ops->opened(stream);
    }
    if (stream->epoch_due)
        cbx_circuit_control_ready(&stream->circuit);
    if (stream->write == CBX_WRITE_FIN && stream->out.acked == stream->out.sent) {
        stream->write = CBX_WRITE_DONE;
        cbx_stream_check_done(stream);
    } else if (stream->write == CBX_WRITE_OPEN || stream->write == CBX_WRITE_EOF) {
        cbx_circuit_data_ready(&stream->circuit);
    }
}

static void
take_reset(struct cbx_stream *stream, struct cbx_frame *frame)
{
    enum cbx_reason reason;
    if (cbx_record_open_reset(stream->env->aead, control_keys(stream), frame, &reason) < 0) {
        fail_integrity(stream);
        return;
    }
    tell_over(stream, reason, true);
    finish(stream);
}

static void
take_epoch(struct cbx_stream *stream, struct cbx_frame *frame)
{
    uint64_t next, offset;
    if (epoch_complete(stream))
        enter_epoch(stream);
    struct cbx_record_keys *keys = control_keys(stream);
    const struct cbx_session *session = stream->env->ops->session(stream, frame->field[2].p);
    if (cbx_record_open_epoch(stream->env->aead, keys, frame, &next, &offset) < 0 || !session ||
        stream->next_keys || next != keys->epoch + 1 || offset < stream->received) {
        fail_integrity(stream);
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

void
cbx_stream_frame(struct cbx_stream *stream, struct cbx_frame *frame, int64_t now)
{
    /* What came before is delivered before what may be the end. */
    if (frame->type != CBX_FRAME_DATA)
        cbx_stream_flush(stream->env, now);
    if (stream->is_finished || stream->reset)
        return; /* crossed on the way */
    switch (frame->type) {
    case CBX_FRAME_DATA:
        take_data(stream, frame, now);
        break;
    case CBX_FRAME_FIN:
        take_fin(stream, frame);
        break;
    case CBX_FRAME_CREDIT:
        take_credit(stream, frame, now);
        break;
    case CBX_FRAME_RESET:
        take_reset(stream, frame);
        break;
    case CBX_FRAME_EPOCH:
        take_epoch(stream, frame);
        break;
    case CBX_FRAME_RESUMED:
        cbx_stream_take_resumed(stream, frame, now);
        break;
    case CBX_FRAME_CLOSE:
        cbx_stream_lost(stream, cbx_reason_of(frame->field[0].u, CBX_REASON_LOST));
        break;
    default:
        cbx_stream_fail(stream, CBX_REASON_PROTOCOL);
        break;
    }
}
