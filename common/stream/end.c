/* SPDX-License-Identifier: MIT */
/* Tested by test_stream and test_resume. */
#include "common/stream/end.h"
#include "common/base/states.h"
#include "common/stream/queue.h"

static const struct cbx_states write_states = {
    .what = "stream, write half",
    .state =
        {
            [CBX_WRITE_WAIT] = {"waits", CBX_STATE(CBX_WRITE_OPEN)},
            [CBX_WRITE_OPEN] = {"open", CBX_STATE(CBX_WRITE_EOF)},
            [CBX_WRITE_EOF] = {"end of input", CBX_STATE(CBX_WRITE_FIN)},
            /* Back: a FIN that the far side lacks after a resume goes out anew. */
            [CBX_WRITE_FIN] = {"fin sent", CBX_STATE(CBX_WRITE_DONE) | CBX_STATE(CBX_WRITE_EOF)},
            [CBX_WRITE_DONE] = {"fin acknowledged", 0},
        },
};

static const struct cbx_states read_states = {
    .what = "stream, read half",
    .state =
        {
            [CBX_READ_OPEN] = {"open", CBX_STATE(CBX_READ_FIN)},
            [CBX_READ_FIN] = {"fin received", CBX_STATE(CBX_READ_ENDED)},
            [CBX_READ_ENDED] = {"program told", CBX_STATE(CBX_READ_DONE)},
            [CBX_READ_DONE] = {"fin acknowledged", 0},
        },
};

static const struct cbx_states phases = {
    .what = "stream",
    .state =
        {
            [CBX_STREAM_RUNNING] = {"running", CBX_STATE(CBX_STREAM_OVER)},
            [CBX_STREAM_OVER] = {"over",
                                 CBX_STATE(CBX_STREAM_RESETTING) | CBX_STATE(CBX_STREAM_FINISHED)},
            [CBX_STREAM_RESETTING] = {"resetting", CBX_STATE(CBX_STREAM_FINISHED)},
            [CBX_STREAM_FINISHED] = {"finished", 0},
        },
};

static const char *
side(const struct cbx_stream *stream)
{
    return stream->dialer ? "dialer" : "target";
}

void
cbx_stream_set_write(struct cbx_stream *stream, enum cbx_write_state state)
{
    if (cbx_states_allow_number(&write_states, side(stream), stream->circuit.label, stream->write,
                                state))
        stream->write = state;
}

void
cbx_stream_set_read(struct cbx_stream *stream, enum cbx_read_state state)
{
    if (cbx_states_allow_number(&read_states, side(stream), stream->circuit.label, stream->read,
                                state))
        stream->read = state;
}

static void
set_phase(struct cbx_stream *stream, enum cbx_stream_phase phase)
{
    if (cbx_states_allow_number(&phases, side(stream), stream->circuit.label, stream->phase, phase))
        stream->phase = phase;
}

void
cbx_stream_unblock(struct cbx_stream *stream)
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
        cbx_stream_unblock(stream);
        cbx_circuit_data_ready(&stream->circuit);
        left -= left < CBX_WINDOW_MIN ? left : CBX_WINDOW_MIN;
    }
}

void
cbx_stream_give_back(struct cbx_stream *stream)
{
    cbx_stream_unblock(stream);
    cbx_send_close(&stream->out);
    cbx_stream_wake_blocked(stream->env);
}

void
cbx_stream_finish(struct cbx_stream *stream)
{
    if (stream->phase == CBX_STREAM_FINISHED)
        return;
    set_phase(stream, CBX_STREAM_FINISHED);
    cbx_stream_drop_unacked(stream);
    cbx_window_close(&stream->in);
    cbx_stream_give_back(stream);
    stream->env->ops->finished(stream);
}

void
cbx_stream_tell_over(struct cbx_stream *stream, enum cbx_reason reason, bool by_target)
{
    if (cbx_stream_is_over(stream))
        return;
    set_phase(stream, CBX_STREAM_OVER);
    cbx_stream_drop_queue(stream);
    stream->env->ops->over(stream, reason, by_target);
}

/* Ends both halves from our side: RESET goes out, then the stream is finished. */
static void
send_reset(struct cbx_stream *stream, enum cbx_reason reason)
{
    if (stream->phase >= CBX_STREAM_RESETTING)
        return;
    set_phase(stream, CBX_STREAM_RESETTING);
    stream->reset_reason = reason;
    if (stream->circuit.link)
        cbx_circuit_control_ready(&stream->circuit);
    else
        cbx_stream_finish(stream);
}

void
cbx_stream_fail(struct cbx_stream *stream, enum cbx_reason reason)
{
    cbx_stream_tell_over(stream, reason, false);
    send_reset(stream, reason);
}

bool
cbx_stream_movable(const struct cbx_stream *stream)
{
    return stream->write != CBX_WRITE_WAIT && !(stream->due & CBX_DUE_ANSWER) &&
           !cbx_stream_is_over(stream);
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

void
cbx_stream_fail_integrity(struct cbx_stream *stream)
{
    struct cbx_link *link = stream->circuit.link;
    uint32_t label = stream->circuit.label;
    if (!strand(stream, CBX_REASON_INTEGRITY)) {
        cbx_stream_fail(stream, CBX_REASON_INTEGRITY);
        return;
    }
    struct cbx_field fields[] = {[CBX_CLOSE_REASON] = cbx_field_uint(CBX_REASON_INTEGRITY)};
    if (link)
        cbx_link_send(link, CBX_FRAME_CLOSE, label, fields, 1);
}

void
cbx_stream_check_done(struct cbx_stream *stream)
{
    if (stream->write != CBX_WRITE_DONE || stream->read != CBX_READ_DONE ||
        cbx_stream_is_over(stream))
        return;
    cbx_stream_tell_over(stream, CBX_REASON_NONE, true);
    cbx_stream_finish(stream);
}

void
cbx_stream_abort(struct cbx_stream *stream, enum cbx_reason reason)
{
    if (!cbx_stream_is_over(stream))
        set_phase(stream, CBX_STREAM_OVER);
    cbx_stream_drop_queue(stream);
    send_reset(stream, reason);
}

void
cbx_stream_lost(struct cbx_stream *stream, enum cbx_reason reason)
{
    if (strand(stream, reason))
        return;
    cbx_stream_tell_over(stream, reason, false);
    cbx_stream_finish(stream);
    cbx_circuit_remove(&stream->circuit);
}
