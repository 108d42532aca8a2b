/* SPDX-License-Identifier: MIT */
/*
 * What is said to a peer about direct lanes, sealed under the newest session and sent by way of the
 * hub, and what the peer's addresses are worth.
 */
#ifndef AGENT_MESH_RENDEZVOUS_SAY_H
#define AGENT_MESH_RENDEZVOUS_SAY_H

#include "agent/mesh/peer_state.h"
#include "common/session/rendezvous.h"

enum mesh_rendezvous_role { MESH_ROLE_OFFERER = 1, MESH_ROLE_ANSWERER = 2 };

/* The session to speak in, while there is anybody to hear it. */
struct mesh_session *mesh_rendezvous_session(struct mesh_peer *peer);
/* A message that is its step and id alone. False: it was not sent. */
bool mesh_rendezvous_say(struct mesh_peer *peer, enum cbx_rendezvous_step step,
                         const uint8_t id[CBX_LANE_ID]);
/* OFFER or ANSWER: who we are to the peer's candidates, and where we are. */
bool mesh_rendezvous_say_where(struct mesh_peer *peer, enum cbx_rendezvous_step step);
/* Keeps, for the try, what of the addresses that a peer in that role named is worth a try. */
void mesh_rendezvous_take_candidates(struct mesh_peer *peer, const struct cbx_session *keys,
                                     const struct cbx_rendezvous *said,
                                     enum mesh_rendezvous_role role);

#endif
