/* SPDX-License-Identifier: MIT */
/*
 * A stream goes on over another circuit (rules 18, 19; PROTOCOL.md, "Going on over another path").
 *
 *   dialer: leaves its circuit, says RESUME (new epoch, what it has), sends no data until RESUMED
 *   target: takes RESUME, leaves its old circuit, answers RESUMED (what it has), sends at once
 *
 * What was sent and not acknowledged is opened when the new epoch begins, and each end drops what
 * the other says it has; the rest goes out before any new byte. An attempt that is lost is followed
 * by one in a greater epoch: what was opened stays so.
 */
#ifndef COMMON_STREAM_RESUME_H
#define COMMON_STREAM_RESUME_H

#include "common/stream/state.h"

/*
 * The dialer goes on over link, whose budget is given: says RESUME there in a new epoch of session.
 * open: source, target and port. The circuit that it was on is left, without a word to the far
 * side. CBX_ERR_LIMIT: no room in the budget, or no label; nothing has changed then. CBX_ERR_STATE:
 * it cannot move. CBX_ERR_NOMEM: the stream is over.
 */
int cbx_stream_resume(struct cbx_stream *stream, struct cbx_link *link, struct cbx_budget *budget,
                      const struct cbx_session *session, const struct cbx_open *open, int64_t now);
/* The target takes a RESUME of its stream on that link: CBX_ERR_AUTH when it does not hold or is of
 * an epoch that is past, CBX_ERR_STATE and CBX_ERR_LIMIT as above: nothing has changed then, and
 * the label is not in use. */
int cbx_stream_take_resume(struct cbx_stream *stream, struct cbx_link *link,
                           struct cbx_budget *budget, const struct cbx_session *session,
                           struct cbx_frame *frame, int64_t now);

/* ---- for the other files of the stream ---- */

/* RESUMED, which is due; its slab is NULL when memory is short. */
struct cbx_slice cbx_stream_build_resumed(struct cbx_stream *stream, int64_t now);
void cbx_stream_take_resumed(struct cbx_stream *stream, struct cbx_frame *frame, int64_t now);
/* Bytes that go out anew: how many were copied, 0 when there are none. */
size_t cbx_stream_pull_retransmit(struct cbx_stream *stream, uint8_t *to, size_t size);

#endif
