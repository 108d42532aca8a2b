/* SPDX-License-Identifier: MIT */
/*
 * Which link leads to a peer: its direct lane while one stands, else the link to the hub once that
 * is up. A lane that did not answer is suspect until something comes over it, or it is given up
 * (direct.c): meanwhile new streams take the hub's link where that is up. A direct lane may be
 * doomed from inside a callback of its link: it stands until the next turn, but nothing new goes
 * there.
 */
#ifndef AGENT_MESH_PATH_H
#define AGENT_MESH_PATH_H

#include "agent/mesh/peer_state.h"

/* The lane itself; direct.c begins and ends it. */
struct mesh_direct {
    struct cbx_pump pump;
    struct mesh *mesh;
    struct mesh_peer *peer; /* NULL once it is over */
    TAILQ_ENTRY(mesh_direct) entry;
    struct cbx_rate opens, opens_out; /* the peer's; rates.c: ours */
    struct cbx_rate stale;
    uint32_t shed; /* frames beyond opens and stale */
    int64_t since_unix;
    int64_t idle_since;  /* 0: a stream is there */
    enum cbx_reason bye; /* what the peer said last */
    char doomed[96];     /* path.c: why it goes at the next turn; "": it stays */
    int64_t suspect_at;  /* path.c: asked then whether it lives; 0, or heard since: it does */
};

/* The link to the hub, while streams may go there; else NULL. */
struct cbx_link *mesh_hub_path(struct mesh *mesh);
/* Where a new stream to the peer goes; NULL: nowhere now. */
struct cbx_link *mesh_path(struct mesh_peer *peer);
bool mesh_link_is_hub(const struct mesh *mesh, const struct cbx_link *link);
/* What is granted over that link counts here. */
struct cbx_budget *mesh_budget_of(struct mesh *mesh, const struct cbx_link *link);
/* Whether the peer may speak on that link. */
bool mesh_link_leads_to(const struct mesh *mesh, const struct cbx_link *link,
                        const struct mesh_peer *peer);
/* A better path to the peer is there: its streams go there at the next turn. */
void mesh_streams_move(struct mesh_peer *peer);

bool mesh_direct_up(const struct mesh_peer *peer);
/* The lane to the peer stands and nothing speaks against it. */
bool mesh_direct_proven(const struct mesh_peer *peer);
/* The lane to the peer was asked for a sign of life and gave none: it serves nothing new until
 * something comes, while the hub's link can. Harmless when there is no lane. */
void mesh_direct_suspect(struct mesh_peer *peer);
/* The lane to the peer, if there is one, ends at the next turn. */
void mesh_direct_doom(struct mesh_peer *peer, const char *why);

/* The most bytes of a segment of the next direct lane to it; 0: as the system has it. */
int mesh_direct_segment_max(const struct mesh_peer *peer);

#endif
