/* SPDX-License-Identifier: MIT */
/*
 * One try at a direct lane: its state, its id, and its tickets and addresses, which are wiped with
 * it. Which peers have streams or a try going is a list, so that timers look at few.
 */
#ifndef AGENT_MESH_RENDEZVOUS_TRY_H
#define AGENT_MESH_RENDEZVOUS_TRY_H

#include "agent/mesh/peer_state.h"

struct mesh_try {
    struct cbx_lane_ticket ours, theirs; /* we listen; the peer listens */
    struct candidates to;                /* where the peer may be connected to */
};

void mesh_rendezvous_set_state(struct mesh_peer *peer, enum mesh_rendezvous_state state);
bool mesh_try_going(const struct mesh_peer *peer);
/* We are the one of the two who offers: the smaller identity key. */
bool mesh_try_is_ours_to_offer(const struct mesh_peer *peer);
/* Whose try has this id; NULL: nobody's. */
struct mesh_peer *mesh_try_find(const struct mesh *mesh, const uint8_t id[CBX_LANE_ID]);

/* Among those that timers look at. */
void mesh_rendezvous_list(struct mesh_peer *peer);
void mesh_rendezvous_unlist(struct mesh_peer *peer);

/* At most once a minute, three times after a rest; true counts. */
bool mesh_try_may_begin(struct mesh_peer *peer, int64_t now);
/* Tickets for both sides' listeners, of one id. False: no memory. The state is the caller's. */
bool mesh_try_begin(struct mesh_peer *peer, const struct cbx_session *keys,
                    const uint8_t id[CBX_LANE_ID]);
/* The next step, and its deadline. */
void mesh_try_enter(struct mesh_peer *peer, enum mesh_rendezvous_state state);
/* The lane was proven: the try is over, and well. */
void mesh_try_won(struct mesh_peer *peer);
/* The try, if one is going, came to nothing. */
void mesh_try_over(struct mesh_peer *peer, const char *trouble);

#endif
