/* SPDX-License-Identifier: MIT */
/*
 * Streams that peers open: an OPEN is checked against its session, the replay window and the expose
 * list; then the shell connects, and accepts or refuses. One for which no minimum window is free is
 * parked, unanswered, while the hub may allow more.
 */
#ifndef AGENT_MESH_INCOMING_H
#define AGENT_MESH_INCOMING_H

#include "agent/mesh/base.h"

/* OPEN, on a label that was taken. */
void mesh_incoming_take(struct mesh *mesh, struct cbx_link *link, struct cbx_frame *frame,
                        int64_t now);
/* The first come first; no minimum window for one means none for the others. */
void mesh_parked_try(struct mesh *mesh, int64_t now);

#endif
