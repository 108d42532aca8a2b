/* SPDX-License-Identifier: MIT */
/*
 * A world in one process: a hub and many agents, the real engines, over memory carriers with a
 * rate, a delay, chopping and stalls, under a fake clock and one seed. The same seed replays the
 * same run (but for keys, which are random). Engines are flushed when they woke or a timer of
 * theirs is due, and programs wake streams only after AGAIN, as the real shells do: a lost wake-up
 * shows as a stand-still.
 */
#ifndef SIM_WORLD_H
#define SIM_WORLD_H

#include "agent/mesh/joiner.h"
#include "agent/mesh/mesh.h"
#include "common/session/session.h"
#include "hub/core/core.h"
#include "hub/registry/registry.h"
#include <stdbool.h>
#include <stdint.h>

enum { WORLD_AGENTS_MAX = 1024, WORLD_TICKETS_MAX = 2048 };

struct world_path {
    uint64_t rate;       /* bytes per second each way; 0: no limit */
    int64_t delay_us;    /* one way */
    uint32_t buffer;     /* bytes that may be on the way; 0: 256 KiB */
    uint32_t chop;       /* reads and writes take at most 1..chop bytes; 0: all */
    int64_t hold_us;     /* behind others an unfilled packet waits so long for more; 0: never */
    uint32_t stall_1_in; /* a read comes up empty this often; 0: never */
};

struct world_pipe;
struct world_program;
struct world_flow;
struct world_copy;
struct world_expected;
struct world_connect;
struct cbx_frame;

/* What a filter says of the frame that it was shown (filter.h). */
enum world_verdict {
    WORLD_PASS,    /* as it came, with what was changed in place in its bytes */
    WORLD_CHANGED, /* encoded anew from its label and fields */
    WORLD_DROP,
    WORLD_DONE, /* the filter has sent what takes its place */
};

struct world_agent {
    struct world *world;
    char slug[CBX_SLUG_MAX + 1], pond[CBX_SLUG_MAX + 1];
    struct cbx_identity identity;
    struct cbx_keypair login, signing;
    struct joiner_result joined;
    int64_t clock_s; /* its clock is ahead by so much */
    bool has_joined, up, lost_final;
    bool store_due;  /* known_changed was called and not answered */
    bool disk_waits; /* nothing of it comes to disk */
    bool disk_full;  /* and that is said */
    enum cbx_reason lost_reason;
    uint32_t lost_retry_ms;
    char lost_text[400];
    struct cbx_addresses heard; /* of the hub, as it said last */
    uint64_t heard_count;
    struct joiner *joiner;
    struct mesh *mesh;
    struct world_pipe *pipe;       /* the newest one, while an end has it */
    struct world_pipe *lane;       /* the newest lane, the same way */
    struct cbx_lane_ticket ticket; /* promised, to be connected to in the next step */
    bool lane_promised;
    bool lane_awaited; /* connected: the hub's answer is on its way */
    uint64_t lanes_lost;
    struct world_pipe *direct; /* the newest direct lane that it connected, while an end has it */
    bool unreachable;          /* nobody reaches its direct listener */
    uint32_t host;             /* agents of one host reach each other by loopback; 0: alone */
    uint64_t connects;         /* how often it was asked to connect to a peer */
    int64_t due;               /* when mesh and joiner are flushed next */
    struct world_path path;
    uint64_t lost_count;
};

struct world {
    uint64_t seed, random;
    int64_t now;
    int64_t unix_base, hub_clock_s; /* the hub's clock is ahead by so much */
    bool hub_disk_waits;            /* nothing of the hub comes to disk */
    struct hub_core *hub;
    int64_t hub_due;
    struct registry *registry;
    struct cbx_keypair pond_key;
    const char *pond; /* of the next agents: "demo" */
    uint64_t serial;
    struct world_agent *agent[WORLD_AGENTS_MAX];
    uint32_t agent_count;
    struct world_pipe *pipes;
    struct world_program *programs, *last_program;
    /* Few of many: those that may have a stream, in their order; those that may not be closed. */
    struct world_program *running, *open;
    struct world_copy *copies;
    uint64_t ticket_due[WORLD_TICKETS_MAX];
    uint32_t tickets;
    uint64_t steps;
    enum cbx_lanes lanes;             /* of the agents that start from here on */
    bool lanes_fail;                  /* connections for lanes come to nothing */
    struct world_path *lane_path;     /* NULL: as the agent's */
    bool direct;                      /* of the agents that start from here on */
    struct world_path *direct_path;   /* NULL: as the agent's who connects */
    struct world_expected *expected;  /* direct.c: by listeners */
    struct world_connect *connecting; /* and to them */
    uint64_t false_streams;           /* incoming ones that nobody dialed, or dialed once */
    /* Called after every step: invariants. */
    void (*check)(struct world *world);
    /* A hostile hub (filter.h); NULL: an honest one. */
    enum world_verdict (*filter)(struct world_flow *flow, struct cbx_frame *frame);
    void *filter_arg;
};

struct world *world_new(uint64_t seed, uint64_t hub_queue_max);
void world_free(struct world *world);
uint64_t world_random(struct world *world, uint64_t below);
/* 1, or CBX_SEED, or the time where that says "random"; printed. */
uint64_t world_seed(void);

/* Invites, joins over a join link, attaches; asserts that it worked. */
struct world_agent *world_agent(struct world *world, const char *slug, const char *expose,
                                struct world_path path);
/* The parts of it: an agent that is invited; its join, which may fail (has_joined or lost_final
 * is set then); its engine. */
struct world_agent *world_invite(struct world *world, const char *slug, const char *expose,
                                 struct world_path path);
void world_join(struct world_agent *agent);
void world_join_begin(struct world_agent *agent); /* without waiting for the outcome */
void world_start(struct world_agent *agent);
/* A fresh link; comes back as the hub says while that refuses politely. */
void world_connect(struct world_agent *agent);
/* The same without waiting for the outcome. */
void world_begin(struct world_agent *agent);
bool world_attach_is_over(void *agent); /* for world_until, after world_begin */
/* Ends the current link without a word. */
void world_cut(struct world_agent *agent);
/* The same of its lane. */
void world_cut_lane(struct world_agent *agent);
/* The same of the direct lane that it connected. */
void world_cut_direct(struct world_agent *agent);
/* Waits until the link is on a lane; asserts that it comes to be. */
void world_lane_up(struct world_agent *agent);
/* Somebody connects with this preface: true when the hub took it for a lane. */
bool world_offer_lane(struct world_agent *agent, const uint8_t preface[CBX_LANE_PREFACE]);
/* Once so many bytes more have passed the lane in that direction, something happens to the next. */
enum world_harm { WORLD_FLIP = 1, WORLD_LOSE, WORLD_REPEAT, WORLD_SWAP, WORLD_END };
void world_harm_lane(struct world_agent *agent, bool to_agent, enum world_harm harm,
                     uint64_t after);
/* The same of the direct lane that this agent connected; away: of what it says there. */
void world_harm_direct(struct world_agent *agent, bool away, enum world_harm harm, uint64_t after);

/* One program pair per stream: bytes both ways, checked byte by byte against the seed. */
struct world_program {
    struct world *world;
    struct world_program *next;
    struct world_program *next_running, *next_open; /* in the lists of the world, while in_... */
    bool in_running, in_open;
    uint64_t number; /* in the order of their dials */
    struct mesh *mesh;
    struct mesh_stream *stream;
    uint8_t id[CBX_STREAM_ID_SIZE]; /* of the stream, once the target has it */
    uint64_t key;                   /* what its bytes are made of */
    uint64_t to_send, sent;
    uint64_t expected, received;
    uint64_t far_key;    /* what the far side's bytes are made of */
    uint64_t pull_limit; /* most bytes of one pull; 0: all */
    uint64_t gap_us;     /* between pulls */
    int64_t next_pull;
    bool paused; /* takes nothing */
    uint64_t push_chop;
    bool opened, ended, closed, corrupt, hold_end, reset_at_end;
    bool blocked_in;  /* push said AGAIN */
    bool blocked_out; /* pull said AGAIN */
    bool is_target;
    enum cbx_reason reason;
    bool by_target;
    struct world_program *far;
    int64_t opened_at, closed_at;
    int64_t late_us; /* keystrokes: greatest time from pull to push */
    int64_t stamp[256];
    uint32_t stamp_in, stamp_out;
};

/* Dials from agent; up and down are the bytes of each direction. The target's program comes with
 * the incoming stream. */
struct world_program *world_dial(struct world_agent *agent, const char *slug, uint16_t port,
                                 uint64_t up, uint64_t down);
/* Gives up: the far side sees a reset. */
void world_reset(struct world_program *program);
/* For world.c: an incoming stream, and what programs wait for. */
void world_program_incoming(struct world_agent *agent, struct mesh_stream *stream);
int64_t world_programs_wake(struct world *world);

/* Lets the world go on: to its next event, at most 10 ms. */
void world_step(struct world *world);
/* Until cond holds or the fake time passes: true when it holds. */
bool world_until(struct world *world, int64_t limit_us, bool (*cond)(void *arg), void *arg);
void world_run(struct world *world, int64_t us);
/* This program closed cleanly and saw exactly its bytes; prints when it did not. */
bool world_is_clean(const struct world_program *program);
/* The same of every program. */
bool world_all_clean(struct world *world);
bool world_all_closed(void *world);
bool world_closed(void *program);

/* Whether every program closes within the fake time, cleanly; prints which did not. */
bool world_ends_clean(struct world *world, int64_t limit_us);

/* What this agent knows of another one; asserts that it knows it. */
struct mesh_peer *world_peer(const struct world_agent *agent, const char *slug);
/* A counter of mesh_status_json, by name. */
uint64_t world_count(const struct world_agent *agent, const char *name);
/* Heap bytes of all records that wait in the hub's circuits. */
uint64_t world_hub_memory(const struct world *world);
/* Budgets hold, on the hub and on every agent; asserts (a check). */
void world_check_memory(struct world *world);

/* A program's tests, or those that CBX_ONLY holds (a pattern of names). */
#define WORLD_RUN(tests)                                                                           \
    (cmocka_set_test_filter(getenv("CBX_ONLY")), cmocka_run_group_tests(tests, NULL, NULL))

#endif
