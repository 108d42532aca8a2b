/* SPDX-License-Identifier: MIT */
/*
 * How much may be in flight on one carrier (rule 25). What a carrier has swallowed cannot be
 * overtaken, so a link sends no more than the path's rate and delay call for:
 *
 *   cap = rate x (2 x least delay + 5 ms), at least two records, 64 KiB before anything is known.
 *
 * What it has beyond the two round trips is at most 256 KiB: more than that a path that is this
 * fast does not need, as acks come by the quarter there, and all of it would lie before a
 * keystroke.
 *
 * The rate is the greatest of recent delivery samples (as in BBR, draft-cardwell-iccrg-bbr);
 * samples taken while there was nothing to send can raise it and never lower it. The least delay is
 * the minimum of 10 s; when it is that old, one round trip with little in flight measures it anew.
 * When the cap was the limit for a whole round trip, one round trip in eight probes with 1.25 x.
 *
 * Acks come back behind the neighbour's own data. Its pings bring its clock along: what they wait
 * for above the least of that is added to the round trip, or one of two directions would starve.
 * Where the cap stays at its least, the delay that data see may be another than that of pings: see
 * count_pinched.
 * Pure: bytes and microseconds in, a number out.
 */
#ifndef COMMON_LINK_PACE_H
#define COMMON_LINK_PACE_H

#include <stdbool.h>
#include <stdint.h>

enum {
    CBX_PACE_MARKS = 64,
    CBX_PACE_START = 64 * 1024,
    CBX_PACE_SLACK_US = 5000,
    CBX_PACE_DELAY_WINDOW_US = 10 * 1000 * 1000,
};
static const uint64_t CBX_PACE_CAP_MIN = 2 * 4096;
static const uint64_t CBX_PACE_SLACK_MAX = 256 * 1024;
static const uint64_t CBX_PACE_CAP_MAX = 64 * 1024 * 1024;

/* When a certain byte was sent, and what had been acknowledged then. */
struct cbx_pace_mark {
    uint64_t offset;
    int64_t sent_at;
    uint64_t acked_then;
    int64_t acked_then_at;
    uint64_t from_offset; /* the last byte whose ack had come then, and when it was sent */
    int64_t from_at;
    bool busy; /* the limit was nearly reached: the sample tells what the path can do */
};

struct cbx_pace {
    uint64_t sent, acked; /* bytes since the link began */
    int64_t acked_at;
    uint64_t from_offset; /* of the newest mark that is acknowledged */
    int64_t from_at;
    uint64_t cap;
    uint64_t rate[2]; /* bytes/s: greatest of this span and of the one before */
    int64_t rate_span_began;
    bool rate_known;  /* a sample of a busy path was seen */
    int64_t delay_us; /* least round trip; 0: unknown */
    int64_t delay_at;
    int64_t drain_until; /* measuring the delay anew; 0: not */
    int64_t drain_least_us;
    /* The neighbour's way to us: its clock against ours, the least of this window and the one
     * before, and what it takes above that. */
    uint64_t one_way_least[2];
    int64_t one_way_began, one_way_delay_us, one_way_at;
    uint32_t pinched; /* limited round trips in succession with the least cap */
    uint32_t trial_rounds;
    uint64_t pinched_from; /* acked when these rounds, or those of the trial, began */
    int64_t pinched_at, pinched_most_us, trial_delay_us, trial_after;
    double trial_speed;
    uint64_t round_end;  /* acked at which this round trip is over */
    bool round_limited;  /* the cap was the limit throughout */
    uint32_t round;      /* counts limited round trips, for the probe */
    uint64_t idle_until; /* samples up to this offset are idle ones */
    struct cbx_pace_mark mark[CBX_PACE_MARKS];
    uint32_t first, count;
};

void cbx_pace_init(struct cbx_pace *pace, int64_t now);

/* The path is another one from here on: rate, delay and cap are unknown again, the counts go on. */
void cbx_pace_restart(struct cbx_pace *pace, int64_t now);

/* Bytes that may be sent now. */
uint64_t cbx_pace_room(const struct cbx_pace *pace);

/* bytes went out. */
void cbx_pace_sent(struct cbx_pace *pace, uint64_t bytes, int64_t now);
/* There was room, and nothing more to send. */
void cbx_pace_idle(struct cbx_pace *pace);

/* The neighbour has received `total` bytes. CBX_ERR_LIMIT when that was never sent; an older or
 * equal total changes nothing. */
int cbx_pace_acked(struct cbx_pace *pace, uint64_t total, int64_t now);

/* A round trip measured by a ping. */
void cbx_pace_delay(struct cbx_pace *pace, int64_t delay_us, int64_t now);

/* A ping of the neighbour came: our clock less its own. */
void cbx_pace_one_way_delay(struct cbx_pace *pace, uint64_t apart, int64_t now);

/* What the neighbour should acknowledge at once: a quarter of the cap. */
uint64_t cbx_pace_quarter(const struct cbx_pace *pace);

/* bytes/s, 0 while unknown. */
uint64_t cbx_pace_rate(const struct cbx_pace *pace);

#endif
