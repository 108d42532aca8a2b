/* SPDX-License-Identifier: MIT */
/*
 * Streams go: freed once nobody holds on to them, with a tombstone for a RESUME that comes late
 * (rule 27), or back to waiting where a dial was not answered.
 */
#ifndef AGENT_MESH_ENDS_H
#define AGENT_MESH_ENDS_H

#include "agent/mesh/base.h"

/* It has ended: no OPEN or RESUME finds it any more, but its tombstone. */
void mesh_stream_bury(struct mesh_stream *stream);
/* What mesh.reap holds. */
void mesh_streams_free(struct mesh *mesh);
/* Every stream with that peer ends for this reason. */
void mesh_streams_end(struct mesh_peer *peer, enum cbx_reason reason);
/* A dial that was not answered goes back to waiting, once: true then. */
bool mesh_stream_requeue(struct mesh_stream *stream);

#endif
