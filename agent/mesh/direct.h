/* SPDX-License-Identifier: MIT */
/*
 * Direct lanes: a link of its own between two agents, whose only carrier is the lane. It carries
 * streams and nothing else: sessions, the directory and the next meeting go over the hub. It ends
 * with its carrier, after a record that did not open, when the peer is listed no more, and when no
 * stream was there for a while; its streams go on over the hub (mesh_move.c).
 */
#ifndef AGENT_MESH_DIRECT_H
#define AGENT_MESH_DIRECT_H

#include "common/base/rate.h"
#include "common/link/lane.h"
#include "common/link/pump.h"
#include <stdbool.h>
#include <stdint.h>
#include <sys/queue.h>

struct mesh;
struct mesh_peer;

struct mesh_direct {
    struct cbx_pump pump;
    struct mesh *mesh;
    struct mesh_peer *peer; /* NULL once it is over */
    TAILQ_ENTRY(mesh_direct) entry;
    struct cbx_rate opens;
    uint32_t shed; /* OPENs and RESUMEs beyond that */
    int64_t since_unix;
    int64_t idle_since;  /* 0: a stream is there */
    enum cbx_reason bye; /* what the peer said last */
    char text[96];       /* why it is to be dropped; "": it is not */
};
TAILQ_HEAD(mesh_directs, mesh_direct);

bool mesh_direct_up(const struct mesh_peer *peer);
/* Ends the lane to the peer, if there is one. */
void mesh_direct_drop(struct mesh_peer *peer, const char *why);
/* The same at the next turn: from inside a callback of its link. */
void mesh_direct_doom(struct mesh_peer *peer, const char *why);

/* Timers, writes, and what is over is freed. Returns when it is due next. */
int64_t mesh_directs_flush(struct mesh *mesh, int64_t now);
/* All of them; goodbye: the peers are told that this agent stops. */
void mesh_directs_close(struct mesh *mesh, bool goodbye);
/* Adds what went over those that stand. */
void mesh_directs_count(const struct mesh *mesh, uint64_t *in, uint64_t *out);

#endif
