/* SPDX-License-Identifier: MIT */
/*
 * How two agents come to a direct lane (rule 29; PROTOCOL.md, "Meeting"): who offers one, who
 * connects to whom, and when it is tried again. What then runs over the lane is mesh_direct.
 */
#ifndef AGENT_MESH_RENDEZVOUS_H
#define AGENT_MESH_RENDEZVOUS_H

#include "common/base/rate.h"
#include "common/link/lane.h"
#include "common/session/session.h"
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/queue.h>

struct cbx_frame;
struct mesh;
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

/* What each peer keeps. */
struct mesh_rendezvous {
    TAILQ_ENTRY(mesh_peer) entry; /* in mesh.meets while listed */
    bool listed;
    bool refused;  /* it runs with --direct off: not asked again in this life of it */
    bool say_lost; /* LOST is to be said once the hub's link is up */
    enum mesh_rendezvous_state state;
    uint8_t id[CBX_LANE_ID]; /* of the try that goes on, or the lane that stands */
    uint8_t incarnation[CBX_INCARNATION_SIZE]; /* of the peer, as these fields know it */
    struct mesh_try *try;                      /* while one goes on */
    int64_t deadline;                          /* of the try's step */
    int64_t next_at;                           /* no try before */
    int64_t busy_since; /* streams run, in this life of the peer; 0: none do */
    struct cbx_rate rate;
    char trouble[96]; /* what ended the last try or lane, for people; "": nothing */
};
TAILQ_HEAD(mesh_rendezvous_list, mesh_peer);

/* RENDEZVOUS came from the hub. */
void mesh_rendezvous_frame(struct mesh *mesh, struct cbx_frame *frame);
/* A stream with the peer began to run, or ended. Cheap; may offer at once. */
void mesh_rendezvous_streams(struct mesh_peer *peer);
/* Timers of one peer; of all that have streams or a try going. */
void mesh_rendezvous_sweep(struct mesh_peer *peer, int64_t now);
void mesh_rendezvous_sweep_all(struct mesh *mesh, int64_t now);

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

/* Why there is no direct lane: one line. */
void mesh_rendezvous_why(const struct mesh_peer *peer, char *out, size_t size);

#endif
