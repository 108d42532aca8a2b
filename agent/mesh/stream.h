/* SPDX-License-Identifier: MIT */
/*
 * A stream's state and the lists that it is in, for the files that begin, run and end streams.
 *
 * Which list belongs to which state: WAITING mesh.waiting; OPENING mesh.opening and, as all that
 * have a core from here on, mesh.streams; PARKED mesh.parked. A stream that is to be freed is in
 * mesh.reap until ends.c does that.
 */
#ifndef AGENT_MESH_STREAM_H
#define AGENT_MESH_STREAM_H

#include "agent/mesh/base.h"
#include <stddef.h>

static inline struct mesh_stream *
mesh_stream_of(struct cbx_stream *core)
{
    return (struct mesh_stream *)((char *)core - offsetof(struct mesh_stream, core));
}

/* It has, or had, a circuit. */
static inline bool
mesh_stream_has_core(const struct mesh_stream *stream)
{
    return stream->peer != NULL;
}

/* The state alone. */
void mesh_stream_set_state(struct mesh_stream *stream, enum mesh_stream_state state);

/* Whatever it waited for, it waits no more: out of the list of its state; RUNNING. */
void mesh_stream_settle(struct mesh_stream *stream);
/* Out of mesh.parked, to INCOMING. */
void mesh_stream_unpark(struct mesh_stream *stream);
void mesh_stream_leave_delayed_acks(struct mesh_stream *stream);

/* The program's last call, unless it has heard that or gave up. */
void mesh_stream_tell_closed(struct mesh_stream *stream, enum cbx_reason reason, bool by_target);
/* To be freed at the next turn; while the shell holds it, nothing happens. */
void mesh_stream_reap(struct mesh_stream *stream);
/* Both. */
void mesh_stream_over(struct mesh_stream *stream, enum cbx_reason reason, bool by_target);

/* A dial that never got a circuit. */
void mesh_stream_refuse_waiting(struct mesh_stream *stream, enum cbx_reason reason);
/* All of them to that name; NULL: to any. */
void mesh_streams_refuse_waiting(struct mesh *mesh, const char *slug, enum cbx_reason reason);

/* The peer has a newer session: its streams go there in epochs of their own. */
void mesh_streams_rekey(struct mesh_peer *peer);
/* An OPEN or RESUME on that label is not taken: CLOSE. */
void mesh_circuit_refuse(struct mesh *mesh, struct cbx_link *link, uint32_t label,
                         enum cbx_reason reason);

#endif
