/* SPDX-License-Identifier: MIT */
/*
 * A conn is one local socket as the end of one mesh stream: a proxy's client after its request, a
 * descriptor of `cbx-agent dial`, or a connection to an exposed port. All conns of an agent live
 * in one conn_set, which frees them after the batch of events and never inside a mesh call.
 */
#ifndef AGENT_FRONT_CONN_H
#define AGENT_FRONT_CONN_H

#include "agent/mesh/mesh.h"
#include "common/base/err.h"
#include "common/base/names.h"
#include <ev.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/queue.h>

struct conn;

enum { CONN_WORDS_MAX = 1024 };

/* What a conn says to its program about the dial; NULL for conns that only carry bytes. */
struct conn_speech {
    const char *opened; /* static */
    size_t opened_length;
    /* Writes the refusal of what ("web.cbx:81", printable ASCII); returns its length. */
    size_t (*refused)(enum cbx_reason reason, const char *what, char *out, size_t size);
};

/* Who else wants to know. Called after the batch of events, never inside a call of conn_*. */
struct conn_owner {
    void (*opened)(void *arg);
    void (*closed)(void *arg, enum cbx_reason reason, bool by_target); /* the last call */
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
    struct ev_prepare after; /* never started, only fed: runs last in its batch */
    LIST_HEAD(, conn) all;
    TAILQ_HEAD(, conn) due;
    uint32_t count;
    struct conn_stats stats;
};

void conn_set_init(struct conn_set *set, struct ev_loop *loop);
/* Resets every stream with reason and lets the conns end as after a reset from afar; the mesh that
 * they belong to must still live. */
void conn_set_abandon(struct conn_set *set, enum cbx_reason reason);
/* Resets every stream and frees all conns at once; owners are not told. */
void conn_set_clear(struct conn_set *set);

/* NONE and the slug in *out, or UNKNOWN_NAME and in *why a phrase that says what is wrong. */
enum cbx_reason conn_name(const struct conn_set *set, const char *name, size_t length,
                          struct cbx_dial_name *out, const char **why);

/*
 * Takes over fd (-1: no program, only see whether the port accepts). speech is static or NULL.
 * early: what the program sent behind its request, copied. NULL when memory is short, and then fd
 * stays the caller's. Exactly one of dial, accept, refuse, farewell must follow.
 */
struct conn *conn_new(struct conn_set *set, int fd, const struct conn_speech *speech,
                      const void *early, size_t early_length);
void conn_own(struct conn *conn, const struct conn_owner *owner, void *arg);
void conn_dial(struct conn *conn, const char *slug, uint16_t port, int64_t timeout_us);
void conn_accept(struct conn *conn, struct mesh_stream *stream);
/* Ends it as a refused dial; what is for people, as in conn_speech. */
void conn_refuse(struct conn *conn, enum cbx_reason reason, const char *what);
/* Says these last words (copied) and closes without cutting them off. */
void conn_farewell(struct conn *conn, const void *words, size_t length);
/* Resets stream and socket; the owner is not told. Not after closed. */
void conn_drop(struct conn *conn, enum cbx_reason reason);

/* The state machines, open for the test of conn_events. */
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

/* EV_READ and EV_WRITE as the state calls for them. Pure. */
int conn_events(const struct conn_state *state);

#endif
