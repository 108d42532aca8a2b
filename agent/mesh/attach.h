/* SPDX-License-Identifier: MIT */
/*
 * The link to the hub: greeting, welcome, directory, then every frame that is not a stream's goes
 * to the file that takes it; when the lane of the link is lost, the link begins anew over the
 * carrier that is left. mesh.h has what the shell calls: mesh_attach, mesh_shutdown.
 */
#ifndef AGENT_MESH_ATTACH_H
#define AGENT_MESH_ATTACH_H

#include "agent/mesh/base.h"

/* Writes what is pending on the link, where there is one, and asks for more allowance. */
void mesh_link_flush(struct mesh *mesh, int64_t now);
/* When that is due next. */
int64_t mesh_link_deadline(const struct mesh *mesh);

#endif
