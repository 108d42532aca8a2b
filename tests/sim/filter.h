/* SPDX-License-Identifier: MIT */
/*
 * A hostile hub: every frame on its way can be seen, changed, dropped, repeated, held back or made
 * up, in both directions of every link. Set world->filter before the first agent is made.
 */
#ifndef SIM_FILTER_H
#define SIM_FILTER_H

#include "common/link/frame.h"
#include "world.h"

/* One direction of one agent's link, for the time of a call. */
struct world_flow {
    struct world *world;
    struct world_agent *agent;
    struct world_pipe *pipe;
    bool to_agent; /* what the hub says; else what the agent says */
    bool join;     /* a join link */
    uint16_t port; /* of the frame's circuit, as its OPEN said; 0: none */
};

/* A frame kept for later; lives as long as the world. */
struct world_copy {
    struct world_copy *next;
    uint16_t port;
    uint32_t label;
    uint32_t length;
    uint8_t bytes[];
};

struct world_copy *world_keep(const struct world_flow *flow, const struct cbx_frame *frame);

/* The agent's live link in one direction; false when there is none. */
bool world_flow_of(struct world_agent *agent, bool to_agent, struct world_flow *flow);
/* Sends a frame there now: before the one that a filter is looking at. */
void world_inject(struct world_flow *flow, enum cbx_frame_type type, uint32_t label,
                  const struct cbx_field *fields, uint32_t count);
/* The same for a kept one, under another label when that is not 0. */
void world_inject_copy(struct world_flow *flow, struct world_copy *copy, uint32_t label);
/* The label of the agent's circuit to or from that port; 0: none was opened. */
uint32_t world_label(const struct world_agent *agent, uint16_t port);
/* A label that the hub has not used yet on the agent's link; the hub will not use it either. */
uint32_t world_take_label(struct world_agent *agent);

/* For pipe.c: bytes of a filtered pipe. */
void world_filter_feed(struct world_pipe *pipe, int side, const uint8_t *bytes, size_t length);

#endif
