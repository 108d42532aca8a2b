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
 * once. The close table in PROTOCOL.md has a row for each case; tests/unit/test_stream.c a test for
 * each.
 *
 * A stream may leave its circuit for one on another link, or on the same one after a record that
 * did not open (RESUME, stream_resume.c): a new epoch begins, both ends say what they have, and
 * what the far side lacks is opened and sealed anew. Only the dialer begins that; between circuits
 * the stream is stranded: nothing of it moves, and it takes what its program does.
 *
 * Callbacks never free the stream; `over` and `finished` only mark, the owner frees later.
 */
#ifndef COMMON_STREAM_STREAM_H
#define COMMON_STREAM_STREAM_H

#include "common/link/link.h"
#include "common/stream/record.h"
#include "common/stream/unacked.h"
#include "common/stream/window.h"

struct cbx_stream;

enum cbx_write_state {
    CBX_WRITE_WAIT,
    CBX_WRITE_OPEN,
    CBX_WRITE_EOF,
    CBX_WRITE_FIN,
    CBX_WRITE_DONE
};
enum cbx_read_state { CBX_READ_OPEN, CBX_READ_FIN, CBX_READ_ENDED, CBX_READ_DONE };

struct cbx_stream_ops {
    /* As in mesh_end; results are the same. */
    ssize_t (*pull)(struct cbx_stream *stream, void *buffer, size_t length);
    ssize_t (*push)(struct cbx_stream *stream, const struct iovec *vector, int count);
    void (*push_end)(struct cbx_stream *stream);
    void (*opened)(struct cbx_stream *stream);
    /* Nothing more will be pulled or pushed. Once. */
    void (*over)(struct cbx_stream *stream, enum cbx_reason reason, bool by_target);
    /* Nothing more will be sent: may be freed after the event. Once, after over. */
    void (*finished)(struct cbx_stream *stream);
    /* Bytes were consumed and not announced: call cbx_stream_announce within 100 ms. */
    void (*delayed_acks)(struct cbx_stream *stream);
    /* The session of this id with the stream's peer, or NULL. */
    const struct cbx_session *(*session)(struct cbx_stream *stream, const uint8_t *id);
    /* The session that a next epoch of ours should use. */
    const struct cbx_session *(*newest)(struct cbx_stream *stream);
    /* The path failed the stream; INTEGRITY: what came on it did not open. True: the stream waits
     * for another path (cbx_stream_resume, never from inside); false: it is over. May be NULL. */
    bool (*stranded)(struct cbx_stream *stream, enum cbx_reason reason);
    /* The far side has answered RESUME: the stream runs on its new path. */
    void (*resumed)(struct cbx_stream *stream);
};

/* Streams that only the send budget keeps from sending, longest first. */
TAILQ_HEAD(cbx_stream_list, cbx_stream);

enum { CBX_STREAM_GATHER = 16 }; /* records */

/* What all streams of an agent share. */
struct cbx_stream_env {
    /* Came by the read that is going on (stream_push.c); stream NULL: not wanted any more. */
    struct {
        struct cbx_stream *stream;
        struct cbx_slice slice;
    } gathered[CBX_STREAM_GATHER];
    uint32_t gathered_count;
    bool giving;
    struct cbx_stream_list blocked; /* the streams' own: begins as zeros */
    const struct cbx_stream_ops *ops;
    struct cbx_aead *aead;
    uint64_t *send_used;
    uint64_t send_total;
    uint64_t kept_slack;        /* the streams' own: begins as 0 */
    uint64_t epoch_bytes_max;   /* 64 GiB */
    uint64_t epoch_records_max; /* 2^32 */
};

struct cbx_stream {
    struct cbx_circuit circuit;
    struct cbx_stream_env *env;
    TAILQ_ENTRY(cbx_stream) blocked_entry;
    bool blocked;
    enum cbx_write_state write;
    enum cbx_read_state read;
    bool dialer;
    bool is_over, is_finished;
    bool program_gone; /* over was told: no more pull or push */
    bool accept_due;   /* target: the first CREDIT, which is the answer */
    bool credit_due;
    bool epoch_due;
    enum cbx_reason reset; /* to be sent; NONE: none */
    uint8_t id[CBX_STREAM_ID_SIZE];

    struct cbx_record_keys send_keys, receive_keys;
    struct cbx_record_keys *next_keys; /* receive: announced by EPOCH, from next_offset on */
    uint64_t next_offset;
    uint64_t epoch_began; /* send offset at which this epoch began */

    struct cbx_kept kept;                  /* sent and not acknowledged */
    struct cbx_record_keys *previous_keys; /* under which the older of these are sealed, or NULL */
    struct cbx_queue again;                /* text to be sent anew before anything else ... */
    uint64_t again_begin;                  /* ... and its first offset */
    bool resuming;                         /* RESUMED has not come yet: no data goes out */
    bool resumed_due;

    struct cbx_send_window out;
    struct cbx_receive_window in;
    uint64_t received;             /* next offset expected */
    uint64_t fin_offset;           /* of the far side's FIN */
    struct cbx_queue queue;        /* received, not yet taken by the program */
    struct cbx_queued *queue_tail; /* its last, NULL when empty */
    uint64_t bytes_in, bytes_out;
};

/* A stream without a circuit yet. budget of the link that it goes to and peer_used as in window.h.
 * CBX_ERR_LIMIT: no floor is free; a target's may wait for one, unanswered, until cbx_stream_grant
 * has found it. */
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
 * must follow before the loop goes on (struct cbx_link_ops, given). Breaches end the stream, never
 * the link. */
void cbx_stream_frame(struct cbx_stream *stream, struct cbx_frame *frame, int64_t now);

/* Gives to the programs what has come for them. */
void cbx_stream_flush(struct cbx_stream_env *env, int64_t now);

void cbx_stream_readable(struct cbx_stream *stream);
void cbx_stream_writable(struct cbx_stream *stream, int64_t now);
void cbx_stream_announce(struct cbx_stream *stream, int64_t now);
/* Our side gives up: RESET goes out where there is a circuit. over is not called. */
void cbx_stream_abort(struct cbx_stream *stream, enum cbx_reason reason);
/* The path is gone, or the hub ended the circuit: the stream is stranded or over; nothing is sent.
 */
void cbx_stream_lost(struct cbx_stream *stream, enum cbx_reason reason);

/* The greatest epoch that has been begun in either direction, as far as is known. */
uint64_t cbx_stream_epoch(const struct cbx_stream *stream);
/* Answered, and neither end has given up: it may go on over another path. */
bool cbx_stream_movable(const struct cbx_stream *stream);
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
/* A newer session exists: start the next epoch there soon. */
void cbx_stream_rekey(struct cbx_stream *stream);

/* Frees what it holds and leaves its circuit. */
void cbx_stream_dispose(struct cbx_stream *stream);

#endif
