/* SPDX-License-Identifier: MIT */
/*
 * A link: frames over one carrier to one neighbour. Sans-I/O: bytes and time go in, frames come
 * out at the owner's callback, bytes to write come out as an iovec.
 *
 * Sending has three sources, each bounded:
 *   control   frames of the link itself and of opens, first in first out;
 *   circuits' control (CREDIT, RESET, EPOCH, CLOSE), one list of circuits;
 *   circuits' data (DATA, FIN), deficit round robin, held to the limit in flight (pace). A circuit
 *             that becomes active goes ahead of those that wait (as in fq_codel, RFC 8290), with
 *             little, and that once a round: so a keystroke passes any number of downloads each
 *             time, and nobody gets more than its quantum of a round by coming and going. One
 *             whose last frame was short goes ahead of these too: else a keystroke would wait for
 *             the first records of however many downloads begin.
 * Control goes first but takes at most a quarter while data waits. What was committed to `out`
 * cannot be reordered any more, so little is committed at a time.
 *
 * States: MAGIC (agent side: junk of at most 8 KiB before the hub's magic is skipped), OPEN,
 * FAILED (nothing more goes in or out; the owner closes).
 * A link may move from the carrier it began on to a lane, each direction for itself: SHIFT is the
 * last frame on the old carrier, everything after it comes over the lane, sealed. The owner of both
 * carriers asks in which of them the next bytes belong.
 *
 * Liveness: silence is measured on the arrival of any byte; ping after keepalive, dead after gone.
 */
#ifndef COMMON_LINK_LINK_H
#define COMMON_LINK_LINK_H

#include "common/base/err.h"
#include "common/base/slab.h"
#include "common/link/frame.h"
#include "common/link/lane.h"
#include "common/link/pace.h"
#include <stdbool.h>
#include <stdint.h>
#include <sys/queue.h>
#include <sys/uio.h>

#define HASH_NONFATAL_OOM 1
#include <uthash.h>

enum {
    CBX_LINK_JUNK_MAX = 8192,
    CBX_LINK_OUT_SLICES = 64,
    CBX_LINK_COMMIT_MAX = 256 * 1024, /* bytes committed ahead of the carrier */
    CBX_LINK_CONTROL_MAX = 16384,     /* frames waiting in the control queue */
    CBX_LINK_QUANTUM = 16 * 1024,
    CBX_LINK_AHEAD = 4096, /* of a round's quantum, what may go ahead of others */
    CBX_LINK_MAGIC_SIZE = 16,
};
extern const uint8_t cbx_link_magic[CBX_LINK_MAGIC_SIZE];

struct cbx_link;
struct cbx_circuit;

struct cbx_circuit_ops {
    /* The next data frame into *out (reference passes over): 1, 0 when there is none now, or a
     * negative cbx_err. room: bytes that may be in flight, a hint. */
    int (*data)(struct cbx_circuit *circuit, uint64_t room, int64_t now, struct cbx_slice *out);
    /* The next control frame: same results. */
    int (*control)(struct cbx_circuit *circuit, int64_t now, struct cbx_slice *out);
};

enum cbx_circuit_list {
    CBX_CIRCUIT_RESTS,
    CBX_CIRCUIT_QUICK,
    CBX_CIRCUIT_FRESH,
    CBX_CIRCUIT_WAITING
};

/* A circuit as one link sees it; embedded in its owner's object. */
struct cbx_circuit {
    const struct cbx_circuit_ops *ops;
    struct cbx_link *link;
    UT_hash_handle hh;
    TAILQ_ENTRY(cbx_circuit) data_entry, control_entry;
    uint32_t label;
    uint32_t round; /* of the link, when deficit was last topped up */
    int32_t deficit;
    enum cbx_circuit_list data_list;
    bool terse; /* its last data frame was a short one */
    bool control_waiting;
};
TAILQ_HEAD(cbx_circuits, cbx_circuit);

struct cbx_queued {
    STAILQ_ENTRY(cbx_queued) entry;
    struct cbx_slice slice;
};
STAILQ_HEAD(cbx_queue, cbx_queued);

struct cbx_link_ops {
    /* One frame that is not the link's own. A negative result ends the link; text in error. */
    int (*frame)(void *owner, struct cbx_link *link, const struct cbx_frame *frame, int64_t now,
                 struct cbx_error *error);
    /* Something waits to be sent, or an earlier deadline was set. */
    void (*wake)(void *owner, struct cbx_link *link);
    /* All frames that one read brought were told: what was put off until then may be done. NULL:
     * nothing is. */
    void (*given)(void *owner, struct cbx_link *link, int64_t now);
};

struct cbx_link_config {
    bool hub; /* this end is the hub: sends the magic, opens even labels */
    int64_t keepalive_us;
    int64_t gone_us;
    /* The link begins on this lane, taken over also on failure, and never leaves it: no magic.
     * NULL: it begins on a plain carrier. hub: this end took the connection. */
    struct cbx_lane *lane;
};

struct cbx_link_count {
    uint64_t bytes_in, bytes_out, frames_in, frames_out, copied;
    uint64_t first_in, first_out; /* what bytes_in, bytes_out were when that direction moved */
};

enum cbx_link_shift {
    CBX_SHIFT_NONE,
    CBX_SHIFT_WANTED, /* out only: SHIFT goes next */
    CBX_SHIFT_MARKED, /* out: SHIFT is being written; in: it came, the lane is not there yet */
    CBX_SHIFT_DONE,
};

struct cbx_link {
    const struct cbx_link_ops *ops;
    void *owner;
    struct cbx_link_config config;
    bool failed;
    bool starved; /* cbx_link_starve: its owner ends it */

    struct cbx_frame_decoder decoder;
    struct cbx_slab *in;
    uint32_t in_begin, in_end; /* unparsed bytes of in */
    uint32_t read_size;        /* capacity of the next slab: follows the traffic */
    uint32_t junk;             /* bytes skipped before the magic */
    uint32_t magic_matched;
    bool magic_seen;

    struct cbx_lane *lane; /* owned; NULL before there is one */
    uint8_t lane_id[CBX_LANE_ID];
    bool lane_expected; /* lane_id was agreed on: SHIFT may come */
    bool lane_broken;   /* what ended the link was the lane, not the neighbour */
    enum cbx_link_shift shift_in, shift_out;
    uint32_t head_length, body; /* of the frame whose block was opened; head_length 0: none */
    bool body_sealed;

    struct cbx_queue control;
    uint32_t control_count;
    struct cbx_circuits circuit_control, quick, fresh, waiting;
    uint32_t data_circuits; /* in quick, fresh and waiting */
    uint32_t round;         /* counts turns of a quantum for each of them */
    int64_t round_left;     /* bytes until the next one */
    int64_t control_credit; /* bytes that control may send before data */
    struct cbx_slice out[CBX_LINK_OUT_SLICES];
    uint32_t out_first, out_count;
    uint64_t out_bytes;

    struct cbx_pace pace;
    uint64_t data_received; /* bytes of data frames, what acks count */
    uint64_t data_acked;    /* last told */
    uint64_t ack_every;     /* the neighbour's wish (PACE) */
    uint64_t pace_told;
    int64_t ack_at; /* 0: no ack due */
    int64_t heard_at, ping_at, ping_sent_at;
    uint64_t ping_nonce; /* our clock when it was sent */
    uint64_t ping_data;  /* data_received then */
    int64_t delay_us;    /* last measured round trip */
    int64_t moved_at;    /* when the second direction had moved to the lane; 0: not yet */

    struct cbx_circuit *circuits; /* by label */
    uint32_t next_label;          /* our next one */
    uint32_t last_seen;           /* greatest label that the neighbour opened */
    struct cbx_link_count count;
};

int cbx_link_init(struct cbx_link *link, const struct cbx_link_config *config,
                  const struct cbx_link_ops *ops, void *owner, int64_t now);
/* Drops queues and buffers; circuits must have been removed. */
void cbx_link_dispose(struct cbx_link *link);

/* Where the next bytes belong, and how many fit; CBX_ERR_NOMEM. Then say how many came. */
int cbx_link_space(struct cbx_link *link, uint8_t **at, size_t *room);
int cbx_link_received(struct cbx_link *link, size_t bytes, int64_t now, struct cbx_error *error);
/* Bytes from elsewhere (tests): copies. */
int cbx_link_input(struct cbx_link *link, const uint8_t *bytes, size_t length, int64_t now,
                   struct cbx_error *error);

/* What to write now: at most max vectors. 0: nothing. Then say how much was written. */
int cbx_link_output(struct cbx_link *link, struct iovec *vector, int max, int64_t now);
void cbx_link_written(struct cbx_link *link, size_t bytes);
bool cbx_link_has_output(const struct cbx_link *link);

/* A lane of this id was agreed on: the neighbour may say SHIFT from now on. */
void cbx_link_expect_lane(struct cbx_link *link, const uint8_t id[CBX_LANE_ID]);
/* The lane is there (taken over): what goes out moves to it, what comes in once the neighbour says
 * so. CBX_ERR_STATE when there is one already (the lane is then freed). */
int cbx_link_lane(struct cbx_link *link, struct cbx_lane *lane);
/* Where the next bytes come from and go to. */
static inline bool
cbx_link_in_lane(const struct cbx_link *link)
{
    return link->shift_in != CBX_SHIFT_NONE;
}
static inline bool
cbx_link_out_lane(const struct cbx_link *link)
{
    return link->shift_out == CBX_SHIFT_DONE;
}

/* Both directions are there. */
static inline bool
cbx_link_moved(const struct cbx_link *link)
{
    return link->shift_in == CBX_SHIFT_DONE && link->shift_out == CBX_SHIFT_DONE;
}

/* What went over the first carrier; the rest of count went over the lane. */
static inline uint64_t
cbx_link_first_in(const struct cbx_link *link)
{
    return cbx_link_in_lane(link) ? link->count.first_in : link->count.bytes_in;
}
static inline uint64_t
cbx_link_first_out(const struct cbx_link *link)
{
    return cbx_link_out_lane(link) ? link->count.first_out : link->count.bytes_out;
}

/* Queues a control frame of the link (no label) or a CLOSE. CBX_ERR_LIMIT when the queue is full;
 * without memory CBX_ERR_NOMEM, and the link starves. */
int cbx_link_send(struct cbx_link *link, enum cbx_frame_type type, uint32_t label,
                  const struct cbx_field *fields, uint32_t count);
/* The same with a frame that may be given up; takes the reference. */
int cbx_link_send_slice(struct cbx_link *link, struct cbx_slice slice);
/* There was no memory for what the neighbour must hear: the link ends, or it waits in vain. */
void cbx_link_starve(struct cbx_link *link);

/* When cbx_link_tick is due next. */
int64_t cbx_link_deadline(const struct cbx_link *link);
/* Measures the round trip now. */
int cbx_link_ping(struct cbx_link *link, int64_t now);
/* Acks, pings; CBX_ERR_CLOSED when the neighbour has been silent for too long. */
int cbx_link_tick(struct cbx_link *link, int64_t now);

/* ---- circuits ---- */

/* A label of our own for a new circuit; 0 when the space is used up. */
uint32_t cbx_link_label(struct cbx_link *link);
/* Puts a circuit under its label. CBX_ERR_NOMEM. */
int cbx_circuit_add(struct cbx_link *link, struct cbx_circuit *circuit, uint32_t label,
                    const struct cbx_circuit_ops *ops);
void cbx_circuit_remove(struct cbx_circuit *circuit); /* harmless when not added */
struct cbx_circuit *cbx_circuit_find(struct cbx_link *link, uint32_t label);
/* A label that the neighbour opens: of its parity and greater than all before, or
 * CBX_ERR_FORMAT. */
int cbx_link_take_label(struct cbx_link *link, uint32_t label);
/* The circuit has data, control to send. */
void cbx_circuit_data_ready(struct cbx_circuit *circuit);
void cbx_circuit_control_ready(struct cbx_circuit *circuit);

#endif
