/* SPDX-License-Identifier: MIT */
/*
 * Dials: they wait for link, directory, session and allowance, then say OPEN on the peer's path; no
 * more than 4,096 go unanswered (rule 15). Our own name is joined without a link (loop.h). A dial
 * that waited or went unanswered for too long is refused.
 */
#ifndef AGENT_MESH_DIAL_H
#define AGENT_MESH_DIAL_H

#include "agent/mesh/base.h"

enum { MESH_UNANSWERED_MAX = 4096 };

/* Refuses those whose time is over. */
void mesh_dials_expire(struct mesh *mesh, int64_t now);
/* Opens what can be opened now. */
void mesh_dials_try(struct mesh *mesh);
/* CLOSE with that reason came: true when the dial is tried once more, and the stream has left its
 * circuit. */
bool mesh_dial_again(struct mesh_stream *stream, uint64_t reason);

#endif
