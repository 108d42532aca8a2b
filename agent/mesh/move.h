/* SPDX-License-Identifier: MIT */
/*
 * Streams that go from one path to another: to a direct lane when one stands, back to the hub when
 * it is gone, and away from a path on which a record did not open (rule 19).
 *
 * The dialer's side acts, the target's waits. A stream is in `moving` from the moment that it has
 * no path or has said RESUME until RESUMED has come (or, at the target, RESUME): no longer than
 * 15 s, then it ends as lost. A direct lane that has no room at the far end, or does not answer,
 * is not waited for while the hub's link stands. The circuit that a stream left in good order the
 * target closes at once, the dialer when the far side has left it too; before that a CLOSE would
 * end the stream there.
 */
#ifndef AGENT_MESH_MOVE_H
#define AGENT_MESH_MOVE_H

#include "agent/mesh/base.h"

/* The link is over: its streams look for another path, or end with the reason. */
void mesh_streams_leave(struct mesh *mesh, const struct cbx_link *link, enum cbx_reason reason);
/* Moves those that may, and looks after those that do. Returns when it is due next. */
int64_t mesh_moves_due(struct mesh *mesh, int64_t now);
/* What the core asks and tells (stream.h: stranded, resumed). */
bool mesh_move_stranded(struct mesh_stream *stream, enum cbx_reason reason);
void mesh_move_done(struct mesh_stream *stream);
/* RESUME. */
void mesh_move_take(struct mesh *mesh, struct cbx_link *link, struct cbx_frame *frame, int64_t now);

#endif
