/* SPDX-License-Identifier: MIT */
/* What each peer keeps of the direct lane that it and we agree on; rendezvous_try.c writes it, the
 * steps stand in rendezvous.h. */
#ifndef AGENT_MESH_RENDEZVOUS_STATE_H
#define AGENT_MESH_RENDEZVOUS_STATE_H

#include "common/base/rate.h"
#include "common/link/lane.h"
#include "common/session/session.h"
#include <stdbool.h>
#include <stdint.h>
#include <sys/queue.h>

struct mesh_peer;
struct mesh_try;

enum mesh_rendezvous_state {
    MESH_RENDEZVOUS_REST,
    /* Who offered: */
    MESH_RENDEZVOUS_OFFERED, /* no answer yet; the peer may connect */
    MESH_RENDEZVOUS_AWAITS,  /* ANSWER came; the peer may connect */
    MESH_RENDEZVOUS_TURNED,  /* TURN came; we connect */
    /* Who answered: */
    MESH_RENDEZVOUS_TRIES,   /* we connect */
    MESH_RENDEZVOUS_EXPECTS, /* TURN was sent; the peer may connect */

    MESH_RENDEZVOUS_UP, /* the lane stands, as far as we know */
};

struct mesh_rendezvous {
    TAILQ_ENTRY(mesh_peer) entry; /* in mesh.rendezvous while listed */
    bool listed;
    bool refused;  /* it runs with --direct off: not asked again in this incarnation of it */
    bool say_lost; /* LOST is to be said once the hub's link is up */
    enum mesh_rendezvous_state state; /* mesh_rendezvous_set_state sets it */
    uint8_t id[CBX_LANE_ID];          /* of the try that goes on, or the lane that stands */
    uint8_t incarnation[CBX_INCARNATION_SIZE]; /* of the peer, as these fields know it */
    struct mesh_try *try;                      /* while one goes on */
    int64_t deadline;                          /* of the try's step */
    int64_t next_at;                           /* no try before */
    int64_t busy_since; /* streams run, in this incarnation of the peer; 0: none do */
    struct cbx_rate rate;
    char trouble[96]; /* what ended the last try or lane, for people; "": nothing */
};

#endif
