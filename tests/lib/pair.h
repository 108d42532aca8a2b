/* SPDX-License-Identifier: MIT */
/*
 * Two streams joined back to back: two links with memory between them, a stream on each, and at
 * each end a program that gives and takes bytes that can be checked. For tests and fuzzers of the
 * stream; it asserts nothing itself, the caller looks at what the ends were told.
 */
#ifndef TESTS_PAIR_H
#define TESTS_PAIR_H

#include "common/stream/stream.h"
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum { PAIR_DIALER = 0, PAIR_TARGET = 1 };

struct pair;

struct pair_end {
    struct pair *pair;
    struct cbx_link link;
    struct cbx_stream stream;
    bool has_stream;
    struct cbx_stream_env env;
    struct cbx_budget budget, *resume_budget; /* of the path that a resume goes to */
    struct cbx_budget spare;                  /* of another path; a test's own */
    uint64_t peer_used, send_used;
    struct cbx_session session[2];
    int sessions; /* known; the last is the newest */
    int taken;    /* target: what cbx_stream_take said */

    /* The program. */
    uint64_t to_send, sent;
    bool ends;          /* its input ends behind to_send */
    ssize_t pull_error; /* said behind to_send instead, when not 0 */
    uint64_t takes;     /* so many bytes more, then CBX_ERR_AGAIN */
    ssize_t push_error;
    int pieces; /* the most that it was given at once */
    uint64_t received;
    bool corrupt; /* a byte was not the one at its offset */
    bool late;    /* called after over */

    /* What it was told. */
    int opened, ended, over, finished, stranded, resumed;
    uint64_t ended_at; /* bytes received before */
    enum cbx_reason reason;
    bool by_target;

    int64_t delayed_ack_at;                  /* 0: none is due */
    uint32_t frames[CBX_FRAME_TYPE_MAX + 1]; /* that came, by type */
    uint64_t last_acked, last_limit;         /* of the last CREDIT that came */
};

struct pair {
    int64_t now;
    struct cbx_aead *aead;
    struct pair_end end[2];
    bool moves;        /* a stream whose path is lost waits for another */
    bool holds_answer; /* the target does not accept by itself */
    size_t chop;       /* bytes moved at once; 0: all */
    int64_t step;      /* of pair_run; 0: a millisecond */
    /* Sees each circuit frame before its stream does; false drops it. */
    bool (*filter)(struct pair *pair, int to, struct cbx_frame *frame);
    void *arg;
};

int pair_init(struct pair *pair, enum cbx_cipher cipher);
void pair_dispose(struct pair *pair);

/* The OPEN that pair_dial sends; a test may change it first and dial by itself. */
struct cbx_open pair_open(void);
int pair_dial(struct pair *pair);

/* The link is lost with all that is on it; another one is there at once, or CBX_ERR_NOMEM. */
int pair_cut(struct pair *pair);
/* The dialer goes on over the link that there is now. */
int pair_resume(struct pair *pair);

/* Gives the program of one end more bytes to send, and says whether its input ends behind them. */
void pair_give(struct pair *pair, int which, uint64_t bytes, bool ends);
/* The program of one end takes so many bytes more (UINT64_MAX: all). */
void pair_take(struct pair *pair, int which, uint64_t bytes);

/* Moves until nothing moves any more, without time passing. */
void pair_move(struct pair *pair);
/* The same while time passes, in steps. */
void pair_run(struct pair *pair, int64_t us);

/* Hands a frame to one end's stream, past the links; takes the slice. False: it does not decode. */
bool pair_inject(struct pair *pair, int to, struct cbx_slice slice);
/* The same, with what it brought not yet given to the program. */
bool pair_inject_only(struct pair *pair, int to, struct cbx_slice slice);
/* A sealed DATA record made of n bytes with the keys of one end, at that offset. */
struct cbx_slice pair_data(struct pair *pair, int from, uint64_t offset, uint32_t n);

/* Both programs were told a clean end, after exactly the bytes that the other gave. */
bool pair_clean(const struct pair *pair);
/* Bytes and memory that wait for the program of one end. */
uint64_t pair_queued(const struct pair *pair, int which, uint64_t *memory);
uint8_t pair_byte(int end, uint64_t offset);

#endif
