/* SPDX-License-Identifier: MIT */
/*
 * Whose clock calls a certificate expired, for people. The end of a certificate is checked by one's
 * own clock alone (rule 3); the hub's, estimated from the generation that it drew at the attach, is
 * only named here, and decides nothing.
 */
#ifndef AGENT_MESH_CLOCKS_H
#define AGENT_MESH_CLOCKS_H

#include "agent/mesh/base.h"
#include <stddef.h>
#include <stdint.h>

/* Whether a certificate with this end has expired by our clock, with its grace. */
bool mesh_is_past(const struct mesh *mesh, int64_t ends);
/* What to say behind "this box's clock": "is 60 days ahead of the hub's"; "" before any attach.
 * True when it differs by more than certificates forgive. */
bool mesh_clock_text(const struct mesh *mesh, char *out, size_t size);
/* "ended 31 days ago by this box's clock, which is 60 days ahead of the hub's". */
void mesh_past_text(const struct mesh *mesh, int64_t ends, char *out, size_t size);

#endif
