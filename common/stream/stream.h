/* SPDX-License-Identifier: MIT */
/*
 * A stream between two agents: offsets, credit, half-close, all sealed. Sans-I/O: it is fed frames
 * and time, asks its owner for bytes when the link has room (pull), gives the owner bytes as they
 * come (push), and builds its records when the link asks for them, so nothing waits sealed.
 *
 * Write half (bytes from our program):  WAIT -> OPEN -> EOF -> FIN -> DONE
 *   WAIT: dialed, not answered; nothing may be sent. EOF: the program ended its input, FIN is due.
 *   FIN: sent at offset N. DONE: the far side acknowledged N + 1.
 * Read half (bytes for our program):    OPEN -> FIN -> ENDED -> DONE
 *   FIN: came, bytes before it may still wait for the program. ENDED: the program was told.
 *   DONE: our acknowledgement of it went out.
 * Both DONE is the clean end. RESET (ours or theirs), CLOSE and a lost link end both halves at
 * once. The close table in PROTOCOL.md has a row for each case, and
 * tests/unit/common/stream/test_stream.c a test for each row.
 *
 * A stream may leave its circuit for one on another link, or on the same one after a record that
 * did not open (RESUME, resume.h): a new epoch begins, both ends say what they have, and what the
 * far side lacks is opened and sealed anew. Only the dialer begins that; between circuits the
 * stream is stranded: nothing of it moves, and it takes what its program does.
 *
 * Callbacks never free the stream; `over` and `finished` only mark, the owner frees later.
 */
#ifndef COMMON_STREAM_STREAM_H
#define COMMON_STREAM_STREAM_H

#include "common/stream/end.h"
#include "common/stream/epoch.h"
#include "common/stream/push.h"
#include "common/stream/resume.h"
#include "common/stream/send.h"
#include "common/stream/state.h"

/* A stream without a circuit yet. budget of the link that it goes to and peer_used as in window.h.
 * CBX_ERR_LIMIT: no minimum window is free; a target's may wait for one, unanswered, until
 * cbx_stream_grant has found it. */
int cbx_stream_init(struct cbx_stream *stream, struct cbx_stream_env *env, bool dialer,
                    struct cbx_budget *budget, uint64_t *peer_used, int64_t now);
int cbx_stream_grant(struct cbx_stream *stream, int64_t now);

/*
 * Dials: derives the keys of epoch 1 in session, takes a label of link and queues OPEN.
 * CBX_ERR_LIMIT, CBX_ERR_NOMEM.
 */
int cbx_stream_dial(struct cbx_stream *stream, struct cbx_link *link,
                    const struct cbx_session *session, const struct cbx_open *open);

/*
 * A target takes an OPEN on its label: checks the sealed half. CBX_ERR_AUTH when it does not hold
 * (the circuit is not added then).
 */
int cbx_stream_take(struct cbx_stream *stream, struct cbx_link *link,
                    const struct cbx_session *session, struct cbx_frame *frame,
                    const struct cbx_open *open, int64_t now);
/* The target's program is there: the answer goes out. */
void cbx_stream_accept(struct cbx_stream *stream);

/* A frame of the stream's circuit. What a DATA frame brought may wait for cbx_stream_flush, which
 * must follow before the loop goes on (struct cbx_link_ops, batch_done). Breaches end the stream,
 * never the link. */
void cbx_stream_frame(struct cbx_stream *stream, struct cbx_frame *frame, int64_t now);

/* Frees what it holds and leaves its circuit. */
void cbx_stream_dispose(struct cbx_stream *stream);

#endif
