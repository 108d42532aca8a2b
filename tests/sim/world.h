/* SPDX-License-Identifier: MIT */
/*
 * A world in one process: a hub and many agents, the real engines, over memory carriers with a rate,
 * a delay, chopping and stalls, under a fake clock and one seed. The same seed replays the same run.
 */
#ifndef SIM_WORLD_H
#define SIM_WORLD_H

#include "core.h"
#include "joiner.h"
#include "mesh.h"
#include "registry.h"
#include <stdbool.h>
#include <stdint.h>

enum { WORLD_AGENTS_MAX = 1024 };

struct world_path {
    uint64_t rate;        /* bytes per second each way; 0: no limit */
    int64_t delay_us;     /* one way */
    uint32_t buffer;      /* bytes that may be on the way; 0: 256 KiB */
    uint32_t chop;        /* reads and writes take at most 1..chop bytes; 0: all */
    uint32_t stall_1_in;  /* a read comes up empty this often; 0: never */
};

struct world_pipe;
struct world_program;

struct world_agent {
    struct world *world;
    char slug[CBX_SLUG_MAX + 1];
    struct cbx_identity identity;
    struct cbx_keypair login, signing;
    struct joiner_result joined;
    bool has_joined, up, lost_final;
    enum cbx_reason lost_reason;
    char lost_text[256];
    struct joiner *joiner;
    struct mesh *mesh;
    struct world_path path;
    uint64_t lost_count;
};

struct world {
    uint64_t seed, random;
    int64_t now;
    int64_t unix_base;
    struct hub_core *hub;
    struct registry *registry;
    struct cbx_keypair pond_key;
    uint64_t serial;
    struct world_agent *agent[WORLD_AGENTS_MAX];
    uint32_t agent_count;
    struct world_pipe *pipes;
    struct world_program *programs;
    uint64_t ticket_due[64];
    uint32_t tickets;
    uint64_t hub_queue_max;
    uint64_t steps;
    /* Called after every step: invariants. */
    void (*check)(struct world *world);
    /* Looks at and may change bytes on their way (a hostile path); NULL: none. */
    void (*tamper)(struct world *world, bool to_hub, uint8_t *bytes, size_t length);
};

struct world *world_new(uint64_t seed, uint64_t hub_queue_max);
void world_free(struct world *world);
uint64_t world_random(struct world *world, uint64_t below);

/* Invites, joins over a join link, attaches; asserts that it worked. */
struct world_agent *world_agent(struct world *world, const char *slug, const char *expose,
                                struct world_path path);
/* A fresh link; cut ends the current one without a word. */
void world_connect(struct world_agent *agent);
void world_cut(struct world_agent *agent);

/* One program pair per stream: bytes both ways, checked byte by byte against the seed. */
struct world_program {
    struct world *world;
    struct world_program *next;
    struct mesh *mesh;
    struct mesh_stream *stream;
    uint64_t key;             /* what its bytes are made of */
    uint64_t to_send, sent;
    uint64_t expected, received;
    uint64_t far_key;         /* what the far side's bytes are made of */
    uint64_t pull_limit;      /* most bytes of one pull; 0: all */
    uint64_t gap_us;          /* between pulls */
    int64_t next_pull;
    bool paused;              /* takes nothing */
    uint64_t push_chop;
    bool opened, ended, closed, corrupt, hold_end, reset_at_end;
    bool blocked_in;          /* push said AGAIN */
    bool is_target;
    enum cbx_reason reason;
    bool by_target;
    struct world_program *far;
    int64_t opened_at, closed_at;
    int64_t late_us;          /* keystrokes: greatest time from pull to push */
    int64_t stamp[256];
    uint32_t stamp_in, stamp_out;
};

/* Dials from agent; up and down are the bytes of each direction. The target's program comes with
 * the incoming stream (port = a number that finds this dial). */
struct world_program *world_dial(struct world_agent *agent, const char *slug, uint16_t port,
                                 uint64_t up, uint64_t down);
/* Lets the world go on. */
void world_step(struct world *world);
/* Until cond holds or the fake time passes: true when it holds. */
bool world_until(struct world *world, int64_t limit_us, bool (*cond)(void *arg), void *arg);
void world_run(struct world *world, int64_t us);
/* Every program closed cleanly and saw exactly its bytes; prints the first that did not. */
bool world_all_clean(struct world *world);
bool world_all_closed(void *world);

#endif
