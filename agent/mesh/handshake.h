/* SPDX-License-Identifier: MIT */
/*
 * Handshakes with peers (rules 12, 13): HANDSHAKE step 1 asks, step 2 answers, CONFIRM (or a first
 * record) confirms, NO_HANDSHAKE refuses; all of them by way of the hub.
 *
 * We begin: one handshake at a time, anew after `begun_wait` without an answer; what answers an
 * older one is counted and nothing else. We answer: a first message of a peer that is not believed
 * yet waits for its chain; one answered session stays unconfirmed beside the others. Both may be
 * under way with one peer at once.
 */
#ifndef AGENT_MESH_HANDSHAKE_H
#define AGENT_MESH_HANDSHAKE_H

#include "agent/mesh/peer_state.h"

/* The first wait for an answer of the peer or of the hub. */
static const int64_t MESH_HANDSHAKE_RETRY_US = 3 * 1000 * 1000;

/* The session to dial with, or NULL: then one is being made (or the peer is REFUSED). */
struct mesh_session *mesh_peer_session(struct mesh_peer *peer);
/* The chain holds and is on disk: what waited for that goes on. */
void mesh_peer_believed(struct mesh_peer *peer);
/* What the chain says cannot be written to disk: a message that waited for that is refused. */
void mesh_peer_not_stored(struct mesh_peer *peer);
/* No answer is waited for any more. */
void mesh_peer_drop_handshake(struct mesh_peer *peer);

/* The frames. */
void mesh_peer_handshake(struct mesh *mesh, struct cbx_frame *frame);
void mesh_peer_confirm_frame(struct mesh *mesh, struct cbx_frame *frame);
void mesh_peer_no_handshake(struct mesh *mesh, struct cbx_frame *frame);

#endif
