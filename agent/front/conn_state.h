/* SPDX-License-Identifier: MIT */
/*
 * What conns are made of, and the setters of their three state machines: the phase, and the half in
 * each direction. What a conn's socket is watched for follows from its state alone.
 */
#ifndef AGENT_FRONT_CONN_STATE_H
#define AGENT_FRONT_CONN_STATE_H

#include "agent/front/share.h"
#include "agent/mesh/mesh.h"
#include "common/base/err.h"
#include "common/base/names.h"
#include <ev.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/queue.h>

struct conn;

enum { CONN_WORDS_MAX = 1024, CONN_REMEDY_MAX = 300 };

/* Why a dial came to nothing. All texts are printable ASCII. */
struct conn_refusal {
    enum cbx_reason reason;
    const char *what;   /* "web.cbx:81" */
    const char *remedy; /* what to do about it, or "" */
};

/* What a conn says to its program about the dial; NULL for conns that only carry bytes. */
struct conn_speech {
    const char *opened; /* static */
    size_t opened_length;
    /* Writes the refusal; returns its length. */
    size_t (*refused)(const struct conn_refusal *refusal, char *out, size_t size);
};

/* Who else wants to know. Called after the batch of events, never inside a call of conn_*. */
struct conn_owner {
    void (*opened)(void *arg);
    /* The last call. remedy as in conn_refusal, "" when it did not fail. */
    void (*closed)(void *arg, enum cbx_reason reason, bool by_target, const char *remedy);
};

struct conn_stats {
    uint64_t dialed, opened, refused;
    uint64_t gave_up; /* the program left before the answer */
    uint64_t reset;   /* streams that were open and did not end cleanly */
};

struct conn_set {
    struct ev_loop *loop;
    struct mesh *mesh; /* NULL before the join */
    char pond[CBX_SLUG_MAX + 1];
    int64_t keepalive_ms;    /* of programs' sockets (common/os/socket.h) */
    struct ev_prepare after; /* never started, only fed: runs last in its batch */
    LIST_HEAD(, conn) all;
    TAILQ_HEAD(, conn) due;
    uint32_t count;
    struct share_set shares; /* of incoming streams: conns and targets */
    struct conn_stats stats;
};

enum conn_phase {
    CONN_DIALING,  /* no answer yet: no pull, no push; the program's bytes wait in its socket */
    CONN_OPEN,     /* bytes flow */
    CONN_REFUSED,  /* ended before OPEN, not settled yet */
    CONN_ENDED,    /* ended after OPEN or given up, not settled yet */
    CONN_FAREWELL, /* the last words leave, then input is thrown away until its end */
    CONN_OVER,     /* freed at the end of the batch */
};
/* From the program. OPEN to ENDED at its end of input; BROKEN by a reset. */
enum conn_input { CONN_INPUT_OPEN, CONN_INPUT_ENDED, CONN_INPUT_BROKEN };
/* To the program. ENDING: ends when the pending words are out. */
enum conn_output { CONN_OUTPUT_OPEN, CONN_OUTPUT_ENDING, CONN_OUTPUT_ENDED, CONN_OUTPUT_BROKEN };

struct conn_state {
    enum conn_phase phase;
    enum conn_input input;
    enum conn_output output;
    bool read_wanted;  /* tell the mesh (or, while dialing, us) when there is input */
    bool write_wanted; /* a push was turned away */
    bool words;        /* words of our own are pending */
};

/* For conn.c and conn_io.c alone. */
struct conn {
    LIST_ENTRY(conn) in_set;
    TAILQ_ENTRY(conn) in_due;
    struct conn_set *set;
    struct mesh_stream *stream;
    struct share *share; /* the place of an incoming one */
    const struct conn_speech *speech;
    const struct conn_owner *owner;
    void *owner_arg;
    struct ev_io reading, writing;
    struct ev_timer patience;
    struct conn_state state;
    int fd;
    char *early; /* freed when taken */
    size_t early_at, early_left;
    const char *words; /* speech->opened or words_owned */
    size_t words_left;
    char *words_owned;
    enum cbx_reason reason; /* why it ended */
    bool by_target;
    bool due;
    bool drained;  /* the last read took all there was: the next would be in vain */
    bool answered; /* opened, and the owner does not know yet */
    char what[CBX_SLUG_MAX + 64];
    char slug[CBX_SLUG_MAX + 1]; /* dialed, else "" */
};

/* EV_READ and EV_WRITE as the state calls for them. Pure. */
int conn_events(const struct conn_state *state);

/* Starts and stops the watchers as conn_events says. */
void conn_watch(struct conn *conn);
/* To be settled at the end of the batch. */
void conn_become_due(struct conn *conn);
void conn_set_phase(struct conn *conn, enum conn_phase phase);
void conn_set_input(struct conn *conn, enum conn_input input);
void conn_set_output(struct conn *conn, enum conn_output output);

#endif
