/* SPDX-License-Identifier: MIT */
/*
 * Where streams meet the rest: frames of their circuits, what their cores ask and tell, what the
 * shell does to them (mesh.h: mesh_stream_readable, _writable, _reset), and their timers.
 */
#ifndef AGENT_MESH_STREAMS_H
#define AGENT_MESH_STREAMS_H

#include "agent/mesh/base.h"

extern const struct cbx_stream_ops mesh_stream_ops;

/* A frame with a label. A breach of the link's rules is an error; a stream's ends the stream. */
int mesh_stream_frame(struct mesh *mesh, struct cbx_link *link, struct cbx_frame *frame,
                      int64_t now, struct cbx_error *error);
/* Acknowledgements that were delayed; dials and parked streams, where something has changed. */
void mesh_streams_due(struct mesh *mesh, int64_t now);
/* When that is due next. */
int64_t mesh_streams_deadline(const struct mesh *mesh);

#endif
