/* SPDX-License-Identifier: MIT */
/*
 * What a link is made of: the objects that its files share, each of which writes its own part.
 *
 *   link.c      life, lanes, time          circuit.c   labels, and whose turn it is to send data
 *   link_in.c   from bytes to frames       link_out.c  from queues to bytes
 *   link_state.c  which shifts to a lane are legal
 *
 * Owners read `count`, `pace`, `delay_us`, `failed`, `starved`, `lane_broken` and `moved_at`; all
 * else is the link's own. The contracts are in link.h and the headers that it includes.
 */
#ifndef COMMON_LINK_LINK_STATE_H
#define COMMON_LINK_LINK_STATE_H

#include "common/base/err.h"
#include "common/base/hash_table.h"
#include "common/base/slab.h"
#include "common/link/frame.h"
#include "common/link/lane.h"
#include "common/link/pace.h"
#include <stdbool.h>
#include <stdint.h>
#include <sys/queue.h>

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

/* Where a circuit stands that has data (RFC 8290: sparse, new and old flows; see circuit.h). */
enum cbx_circuit_list {
    CBX_CIRCUIT_IDLE, /* it has none */
    CBX_CIRCUIT_SPARSE,
    CBX_CIRCUIT_NEW,
    CBX_CIRCUIT_OLD
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
    bool sparse; /* its last data frame was a short one */
    bool control_waiting;
};

TAILQ_HEAD(cbx_circuits, cbx_circuit);

/* A control frame that waits to be sent. */
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
    void (*batch_done)(void *owner, struct cbx_link *link, int64_t now);
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
    struct cbx_circuits circuit_control, sparse_flows, new_flows, old_flows;
    uint32_t data_circuits; /* in the three lists of flows */
    uint32_t round;         /* counts turns of a quantum for each of them */
    int64_t round_left;     /* bytes until the next one */
    int64_t control_credit; /* bytes that control may send before data */
    struct cbx_slice out[CBX_LINK_OUT_SLICES];
    uint32_t out_first, out_count;
    uint64_t out_bytes;

    struct cbx_pace pace;
    bool small_frames;      /* what came last was many of them: it is read in small pieces */
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
    struct cbx_circuit *found;    /* the last one, for most frames follow one of their own */
    uint32_t next_label;          /* our next one */
    uint32_t neighbour_label;     /* the neighbour's next one */
    struct cbx_link_count count;
};

/* The setters of shift_in and shift_out: an illegal change is refused and logged. */
void cbx_link_set_shift_in(struct cbx_link *link, enum cbx_link_shift shift);
void cbx_link_set_shift_out(struct cbx_link *link, enum cbx_link_shift shift);

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

/* The owner's callback: something waits to be sent, or an earlier deadline was set. */
static inline void
cbx_link_wake(struct cbx_link *link)
{
    link->ops->wake(link->owner, link);
}

/* One direction has moved to the lane just now. */
static inline void
cbx_link_note_moved(struct cbx_link *link, int64_t now)
{
    if (cbx_link_moved(link))
        link->moved_at = now;
}

#endif
