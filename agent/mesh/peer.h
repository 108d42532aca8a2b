/* SPDX-License-Identifier: MIT */
/*
 * A peer, for all that deal with peers: found by name, its belief, and which stream identities of
 * its were seen (rule 15). Who is listed is the directory's business, keys are the session's.
 */
#ifndef AGENT_MESH_PEER_H
#define AGENT_MESH_PEER_H

#include "agent/mesh/peer_state.h"

struct mesh_peer *mesh_peer_find(struct mesh *mesh, const char *slug, size_t length);
/* The same of a frame's field. */
struct mesh_peer *mesh_peer_named(struct mesh *mesh, const struct cbx_field *slug);

void mesh_peer_set_trust(struct mesh_peer *peer, enum mesh_trust trust);
const char *mesh_trust_name(enum mesh_trust trust);
/* Asks the hub for the peer's chain. */
void mesh_peer_fetch(struct mesh_peer *peer);
/* Belief is refused: dials fail with the reason until the directory shows another chain. */
void mesh_peer_refuse(struct mesh_peer *peer, enum cbx_reason reason, const char *text);
/* The same for a certificate whose end our clock has passed; taken back by mesh_peer_reconsider. */
void mesh_peer_expired(struct mesh_peer *peer, int64_t ends);
/* Asks anew about a peer that was refused as expired by a clock that has been set since. */
void mesh_peer_reconsider(struct mesh_peer *peer);
/* A first message that waits for the chain is not answered. */
void mesh_peer_drop_pending(struct mesh_peer *peer);

#endif
