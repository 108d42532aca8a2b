/* SPDX-License-Identifier: MIT */
/*
 * How two agents come to a direct lane (rule 29; PROTOCOL.md, "Rendezvous"): who offers one, who
 * connects to whom, and when it is tried again. What then runs over the lane is direct.c's.
 *
 * The peer with the smaller identity key offers, once a stream runs, at most once a minute;
 * messages go through the hub, sealed under the session.
 *
 *   offerer   REST -> OFFERED (OFFER sent; our listener expects the peer) -> AWAITS (ANSWER came)
 *             -> TURNED (TURN came: we connect) -> UP, or REST with FAIL
 *   answerer  REST -> TRIES (OFFER came, ANSWER sent: we connect) -> EXPECTS (that failed, TURN
 *             sent: our listener expects the peer) -> UP, or REST
 *
 * A lane that was proven ends the try in any of these steps (UP); a deadline ends each step, since
 * the hub may drop what it likes. LOST ends a lane at both ends, so that both move back together.
 * A message is believed when it opens, is newer than the last, names the try that goes on and fits
 * its step; anything else is counted and changes nothing. What a peer says can make us connect to 8
 * addresses once a minute (three times after a rest, for agents that are restarted), and we never
 * tell it what came of each.
 */
#ifndef AGENT_MESH_RENDEZVOUS_H
#define AGENT_MESH_RENDEZVOUS_H

#include "agent/mesh/peer_state.h"

/* RENDEZVOUS came from the hub. */
void mesh_rendezvous_frame(struct mesh *mesh, struct cbx_frame *frame);
/* A stream with the peer began to run, or ended. Cheap; may offer at once. */
void mesh_rendezvous_streams(struct mesh_peer *peer);
/* Timers of all that have streams or a try going. */
void mesh_rendezvous_sweep(struct mesh *mesh, int64_t now);

/* A lane with this id was proven: whose is it? True once; the try is then over, and the lane
 * stands. */
bool mesh_rendezvous_claim(struct mesh *mesh, const uint8_t id[CBX_LANE_ID],
                           struct mesh_peer **peer);
/* Our lane to the peer died: it is told. */
void mesh_rendezvous_lost(struct mesh_peer *peer, const char *why);

/* A try ends without a word: its session is gone; the link to the hub is; the peer is freed. */
void mesh_rendezvous_drop_try(struct mesh_peer *peer);
void mesh_rendezvous_link_lost(struct mesh *mesh);
void mesh_rendezvous_free(struct mesh_peer *peer);

#endif
