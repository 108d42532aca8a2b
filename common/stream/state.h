/* SPDX-License-Identifier: MIT */
/*
 * What a stream is made of: the objects that the files of this folder share. Owners read `id`,
 * `write`, `read`, `dialer`, `in`, `out`, `bytes_in`, `bytes_out` and the circuit; all else is the
 * stream's own. stream.h has the theory and the contracts.
 *
 *   end      how it ends, and the states       epoch    keys and their changes
 *   queue    what is held for somebody         push     what came, to the program
 *   resume   going on over another path        send     credit and records out
 *   receive  records in                        stream   opening, and which frame goes where
 *
 * Below them: record and open (sealed records), window (credit), unacked (what was sent).
 */
#ifndef COMMON_STREAM_STATE_H
#define COMMON_STREAM_STATE_H

#include "common/link/link.h"
#include "common/stream/open.h"
#include "common/stream/record.h"
#include "common/stream/unacked.h"
#include "common/stream/window.h"

struct cbx_stream;

/* WAIT -> OPEN -> EOF -> FIN -> DONE, and back from FIN to EOF when a resume shows that the far
 * side lacks the FIN. */
enum cbx_write_state {
    CBX_WRITE_WAIT, /* no answer yet: nothing may be sent */
    CBX_WRITE_OPEN,
    CBX_WRITE_EOF, /* the program ended its input: FIN is due */
    CBX_WRITE_FIN, /* sent */
    CBX_WRITE_DONE /* acknowledged */
};
/* OPEN -> FIN -> ENDED -> DONE. */
enum cbx_read_state {
    CBX_READ_OPEN,
    CBX_READ_FIN,   /* it came; bytes before it may still wait for the program */
    CBX_READ_ENDED, /* the program was told */
    CBX_READ_DONE   /* our acknowledgement of it went out */
};
/* RUNNING -> OVER -> RESETTING -> FINISHED; OVER -> FINISHED where nothing is to be said. */
enum cbx_stream_phase {
    CBX_STREAM_RUNNING,
    CBX_STREAM_OVER,      /* the program was told or gave up: no more pull or push */
    CBX_STREAM_RESETTING, /* our RESET is due: what comes does not count any more */
    CBX_STREAM_FINISHED   /* nothing more is sent */
};
/* Whether the stream is on its way to another path (resume.h). */
enum cbx_resume_state {
    CBX_RESUME_NONE,
    CBX_RESUME_SENT, /* dialer: RESUMED has not come yet, no data goes out */
    CBX_RESUME_DUE   /* target: RESUMED goes out before anything else */
};
/* Control that is due beside RESUMED and RESET, which go first; bits. */
enum cbx_due {
    CBX_DUE_EPOCH = 1,  /* ours is used up, or a newer session exists */
    CBX_DUE_ANSWER = 2, /* target: the first CREDIT */
    CBX_DUE_CREDIT = 4
};

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
    /* Bytes were consumed and are not acknowledged: call cbx_stream_announce within 100 ms. */
    void (*ack_delayed)(struct cbx_stream *stream);
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
    /* Came by the read that is going on (push.h); stream NULL: not wanted any more. */
    struct {
        struct cbx_stream *stream;
        struct cbx_slice slice;
    } gathered[CBX_STREAM_GATHER];
    uint32_t gathered_count;
    bool flushing;
    struct cbx_stream_list blocked; /* the streams' own: begins as zeros */
    const struct cbx_stream_ops *ops;
    struct cbx_aead *aead;
    uint64_t *send_used;
    uint64_t send_total;
    uint64_t unacked_slack;     /* the streams' own: begins as 0 */
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
    enum cbx_stream_phase phase;
    enum cbx_resume_state resume;
    uint32_t due;                 /* enum cbx_due */
    enum cbx_reason reset_reason; /* RESETTING: what RESET says */
    bool dialer;
    uint8_t id[CBX_STREAM_ID_SIZE];

    struct cbx_record_keys send_keys, receive_keys;
    struct cbx_record_keys *next_keys; /* receive: announced by EPOCH, from next_offset on */
    uint64_t next_offset;
    uint64_t epoch_began; /* send offset at which this epoch began */

    struct cbx_unacked unacked;            /* sent and not acknowledged */
    struct cbx_record_keys *previous_keys; /* under which the older of these are sealed, or NULL */
    struct cbx_queue retransmit;           /* text to be sent anew before anything else ... */
    uint64_t retransmit_begin;             /* ... and its first offset */

    struct cbx_send_window out;
    struct cbx_receive_window in;
    uint64_t received;             /* next offset expected */
    struct cbx_queue queue;        /* received, not yet taken by the program */
    struct cbx_queued *queue_tail; /* its last, NULL when empty */
    uint64_t bytes_in, bytes_out;
};

/* Nothing will be pulled or pushed any more. */
static inline bool
cbx_stream_is_over(const struct cbx_stream *stream)
{
    return stream->phase != CBX_STREAM_RUNNING;
}

/* RESUME was sent and not answered. */
static inline bool
cbx_stream_resuming(const struct cbx_stream *stream)
{
    return stream->resume == CBX_RESUME_SENT;
}

/* ---- for the other files of the stream ---- */

/* Control goes out when the circuit's turn comes; without a circuit it stays due. */
static inline void
cbx_stream_control_due(struct cbx_stream *stream, enum cbx_due due)
{
    stream->due |= (uint32_t)due;
    cbx_circuit_control_ready(&stream->circuit);
}

#endif
