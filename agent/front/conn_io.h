/* SPDX-License-Identifier: MIT */
/* Shared by conn.c (its life) and conn_io.c (its socket and the mesh's callbacks), and no other. */
#ifndef AGENT_FRONT_CONN_IO_H
#define AGENT_FRONT_CONN_IO_H

#include "agent/front/conn.h"

struct conn {
    LIST_ENTRY(conn) in_set;
    TAILQ_ENTRY(conn) in_due;
    struct conn_set *set;
    struct mesh_stream *stream;
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
};

/* What the mesh calls. */
extern const struct mesh_end conn_end;

/* Initializes the watchers of a conn whose set and fd stand. */
void conn_io_init(struct conn *conn);
/* Starts and stops the watchers as conn_events says. */
void conn_watch(struct conn *conn);
void conn_set_phase(struct conn *conn, enum conn_phase phase);
void conn_set_output(struct conn *conn, enum conn_output output);
/* Writes what it can of our own words; true when none are left and the output still stands. */
bool conn_say(struct conn *conn);
void conn_drop_early(struct conn *conn);
/* The stream is no more; what is left is to settle. */
void conn_end_stream(struct conn *conn, enum conn_phase phase, enum cbx_reason reason,
                     bool by_target);
/* The same, of our own accord: the far side sees a reset. */
void conn_give_up(struct conn *conn, enum conn_phase phase, enum cbx_reason reason);

#endif
