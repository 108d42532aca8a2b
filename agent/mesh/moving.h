/* SPDX-License-Identifier: MIT */
/*
 * The list of streams that have no path or are between two, and the circuits that they left. What
 * move.c decides is written down here; ends.c needs no more of it than mesh_move_forget.
 *
 * A circuit in good order that was left is closed, and what was granted there counts on in the
 * budget of the hub's link until that CLOSE is on its way.
 */
#ifndef AGENT_MESH_MOVING_H
#define AGENT_MESH_MOVING_H

#include "agent/mesh/stream.h"

/* Enters the list (or stays in it), to be looked after at that time. */
void mesh_moving_enter(struct mesh_stream *stream, int64_t at);
void mesh_moving_leave(struct mesh_stream *stream);
bool mesh_stream_is_moving(const struct mesh_stream *stream);

/* The circuit that the stream is on now, and what it counts for; before it goes elsewhere. */
struct mesh_circuit_left mesh_circuit_now(const struct mesh_stream *stream);
/* Says CLOSE on a circuit that was left. Its credit must count in the hub's budget. */
void mesh_circuit_close(struct mesh *mesh, const struct mesh_circuit_left *left);
/* The circuit that the stream was on before: the far side has left it, or never will. */
void mesh_left_close(struct mesh_stream *stream);
/* Takes closed circuits out of the budget once their CLOSE is on its way. */
void mesh_left_settle(struct mesh *mesh);

/* The stream is about to be freed. */
void mesh_move_forget(struct mesh_stream *stream);

#endif
