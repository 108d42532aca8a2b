/* SPDX-License-Identifier: MIT */
/* Memory carriers between an agent and the hub, with a rate, a delay, chopping and stalls. */
#ifndef SIM_PIPE_H
#define SIM_PIPE_H

#include "common/link/carrier.h"
#include "common/link/frame.h"
#include "world.h"

struct world_chunk {
    struct world_chunk *next;
    int64_t at; /* when it arrives */
    uint32_t length, taken;
    uint8_t bytes[];
};

/* From this byte that went on, so many more than came. */
struct world_shift {
    uint64_t out;
    int64_t surplus;
};

/* One direction: what is on the way, and the part of a frame that the filter has not seen whole. */
struct world_lane {
    struct world_chunk *first, *last;
    uint32_t held;
    int64_t free_at;
    int64_t sent_at;             /* when something last went on its way */
    struct world_chunk *filling; /* the last, while it waits for more */
    uint8_t *partial;
    uint32_t partial_length, magic_left;
    /* Bytes of data frames that came and that went on: a hostile hub keeps its books straight. */
    uint64_t data_in, data_out;
    struct world_shift shift[64];
    uint32_t shift_next;
    enum world_harm harm; /* once harm_after bytes more have passed */
    uint64_t harm_after;
};

struct world_end {
    struct cbx_carrier base;
    struct world_pipe *pipe;
    int side; /* 0: agent, 1: hub, or the agent who listened */
    bool want_read, want_write, closed;
};

/* What the OPEN of a label said, for the filter. */
struct world_port {
    uint32_t label;
    uint16_t port;
};

/* In the order of their numbers. */
struct world_labels {
    uint32_t label[20000];
    uint32_t count;
};

/* lane[0] carries what the agent says, lane[1] what the hub says. */
struct world_pipe {
    struct world_pipe *next;
    struct world *world;
    struct world_agent *owner;
    bool join; /* logged in with an invite's key */
    bool is_lane;
    bool cut;      /* ended without a word */
    bool filtered; /* from its first byte on, or never */
    struct world_path path;
    struct world_end end[2];
    struct world_lane lane[2];
    struct world_port ports[256];
    uint32_t port_next;
    /* Labels of OPENs and RESUMEs that the filter dropped: opened by the agent, by the hub. */
    struct world_labels dropped[2];
    struct cbx_frame_decoder decoder;
};

struct world_pipe *world_pipe_new(struct world_agent *owner, bool join);
struct world_pipe *world_lane_new(struct world_agent *owner);
/* Between two agents: end 1 is the listener's. */
struct world_pipe *world_direct_new(struct world_agent *owner);
/* The agent's live link, or NULL. */
struct world_pipe *world_pipe_of(const struct world_agent *agent);
/* Bytes of one side go on their way. */
void world_pipe_put(struct world_pipe *pipe, int side, const uint8_t *bytes, size_t length);
/* Calls what is ready; true when something was. */
bool world_pipes_deliver(struct world *world);
/* When the next byte arrives; INT64_MAX: none is on its way. */
int64_t world_pipes_next(const struct world *world);
void world_pipes_free(struct world *world);

#endif
