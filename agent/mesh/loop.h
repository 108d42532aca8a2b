/* SPDX-License-Identifier: MIT */
/*
 * A lease that dials its own name: two ends of one process, joined without a link. Bytes are copied
 * through one buffer for each way; half-close and reset mean what they mean on any stream. Copying
 * happens in mesh_flush only, so no callback runs inside another.
 */
#ifndef AGENT_MESH_LOOP_H
#define AGENT_MESH_LOOP_H

#include "agent/mesh/base.h"

/* Joins the two; false (target freed, dialer told) when memory is short. */
bool mesh_loop_dial(struct mesh_stream *dialer, struct mesh_stream *target);
void mesh_loop_accepted(struct mesh_stream *target);
void mesh_loop_wake(struct mesh_stream *stream);
/* One side gives up, or the target refuses: its own end hears nothing, the other the reason. */
void mesh_loop_leave(struct mesh_stream *stream, enum cbx_reason reason);
/* Copies what can be copied. */
void mesh_loops_run(struct mesh *mesh);
void mesh_loops_free(struct mesh *mesh);

#endif
