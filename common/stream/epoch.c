/* SPDX-License-Identifier: MIT */
/* Tested by test_resume and sim_load. */
#include "common/stream/epoch.h"
#include "common/base/log.h"
#include <inttypes.h>
#include <stdlib.h>

/* One line for each change, as the setters of states have it. */
static void
log_epoch(const struct cbx_stream *stream, const char *what, uint64_t epoch)
{
    cbx_log_debug("stream %s %" PRIu32 ": %s epoch %" PRIu64, stream->dialer ? "dialer" : "target",
                  stream->circuit.label, what, epoch);
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
cbx_stream_derive(const uint8_t id[CBX_STREAM_ID_SIZE], const struct cbx_session *session,
                  uint64_t epoch, struct cbx_record_keys *send, struct cbx_record_keys *receive)
{
    cbx_record_keys_derive(send, session->root_send, id, epoch, session->cipher);
    cbx_record_keys_derive(receive, session->root_receive, id, epoch, session->cipher);
}

void
cbx_stream_rekey(struct cbx_stream *stream)
{
    if (!cbx_stream_is_over(stream) && stream->write != CBX_WRITE_WAIT)
        cbx_stream_control_due(stream, CBX_DUE_EPOCH);
}

bool
cbx_stream_epoch_may_start(struct cbx_stream *stream)
{
    return (stream->due & CBX_DUE_EPOCH) && !cbx_stream_resuming(stream) &&
           stream->out.acked >= stream->epoch_began && stream->env->ops->newest(stream) != NULL;
}

struct cbx_slice
cbx_stream_start_epoch(struct cbx_stream *stream)
{
    stream->due &= ~(uint32_t)CBX_DUE_EPOCH;
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
        log_epoch(stream, "sends in", next.epoch);
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
    log_epoch(stream, "receives in", stream->receive_keys.epoch);
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
    stream->due = 0;
    log_epoch(stream, "resumes in", send->epoch);
}
