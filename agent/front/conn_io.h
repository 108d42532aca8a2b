/* SPDX-License-Identifier: MIT */
/* A conn's socket and the mesh's callbacks, for conn.c alone. */
#ifndef AGENT_FRONT_CONN_IO_H
#define AGENT_FRONT_CONN_IO_H

#include "agent/front/conn_state.h"

/* What the mesh calls. */
extern const struct mesh_end conn_end;

/* Initializes the watchers of a conn whose set and fd stand. */
void conn_io_init(struct conn *conn);
/* Writes what it can of our own words; true when none are left and the output still stands. */
bool conn_say(struct conn *conn);
void conn_drop_early(struct conn *conn);
/* The stream is no more; what is left is to settle. */
void conn_end_stream(struct conn *conn, enum conn_phase phase, enum cbx_reason reason,
                     bool by_target);
/* The same, of our own accord: the far side sees a reset. */
void conn_give_up(struct conn *conn, enum conn_phase phase, enum cbx_reason reason);

#endif
