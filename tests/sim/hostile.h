/* SPDX-License-Identifier: MIT */
/*
 * A pond for a hostile hub: cli dials web:8080 (the victim), web:8081 (its neighbour in the same
 * session) and db:5432 (the bystander). An attack is one function that sees every frame.
 */
#ifndef SIM_HOSTILE_H
#define SIM_HOSTILE_H

#include "agent/mesh/base.h"
#include "filter.h"
#include "world.h"
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

enum { VICTIM = 8080, NEIGHBOUR = 8081, BYSTANDER = 5432, STREAM_BYTES = 60000 };

/* What the hub does to a frame. NULL: it is honest. */
extern enum world_verdict (*hostile_act)(struct world_flow *flow, struct cbx_frame *frame);
extern int hostile_left; /* how often it still does it; set with hostile_set */
extern int hostile_done; /* how often it has done it */

struct hostile {
    struct world *world;
    struct world_agent *web, *db, *cli;
    struct world_program *victim, *neighbour, *bystander;
    uint64_t integrity_web, integrity_cli; /* counters when it dialed last */
    struct cbx_cert invite, peer;          /* what the hub shows as the chain of slug */
    const char *slug;
};
extern struct hostile hostile; /* from the begin of a test to its end */

/* A frame that an attack is about: of the victim's circuit, after `skip` of its kind. */
struct hostile_touch {
    enum cbx_frame_type type;
    const char *to; /* on its way to this agent */
    int skip;
    uint32_t field;
    int how; /* a test's own variants */
};
extern struct hostile_touch hostile_touch;
extern const uint8_t hostile_life[CBX_INCARNATION_SIZE]; /* nobody's */

int hostile_begin(void **state);
int hostile_end(void **state);
#define HOSTILE_TEST(name) cmocka_unit_test_setup_teardown(name, hostile_begin, hostile_end)
void hostile_set(enum world_verdict (*act)(struct world_flow *flow, struct cbx_frame *frame),
                 int times);
/* True, and counted, while the attack has tries left. */
bool hostile_turn(void);
/* The frame goes to this agent (or comes from it), is of this type and of this port's circuit. */
bool hostile_goes_to(const struct world_flow *flow, const char *slug, const struct cbx_frame *frame,
                     enum cbx_frame_type type, uint16_t port);
bool hostile_comes_from(const struct world_flow *flow, const char *slug,
                        const struct cbx_frame *frame, enum cbx_frame_type type, uint16_t port);
bool hostile_names(const struct cbx_field *field, const char *text);

/* This is the frame: taken from the attack's tries. */
bool hostile_touched(const struct world_flow *flow, const struct cbx_frame *frame);

/* The hub shows the chain of this agent as web's (hostile.invite, hostile.peer: change them). */
void hostile_show(const struct world_agent *agent);
/* Tells cli of a peer in this state; its chain has the hash of the one shown. */
void hostile_list(const char *slug, uint64_t state,
                  const uint8_t incarnation[CBX_INCARNATION_SIZE]);
/* The directory as it is; and a dial, to see that all works. */
void hostile_honest(void);
void hostile_works(void);
/* Another process of it: no session, no window of what it has seen. */
void hostile_restart(struct world_agent *agent);

/* Dials all three, STREAM_BYTES each way; runs until all are closed. */
void hostile_dial(void);
void hostile_run(void);
/* Runs until both its ends are closed. */
void hostile_wait(struct world_program *program);
/* One dial from cli until it is over. */
struct world_program *hostile_try(const char *slug, uint16_t port);

/* The dial failed with this reason, as the hub's word or ours, and no target program ever ran. */
void hostile_refused(const struct world_program *program, enum cbx_reason reason);
/* Both ends of the victim saw the attack: `here` found it, the other heard of it under seal. */
void hostile_found(const struct world_program *here, enum cbx_reason reason);
/* Runs; the victim ended as `integrity`, found and counted by finder; the others went on. */
void hostile_found_by(const struct world_agent *finder);
/* A stream that nobody touched. */
void hostile_untouched(const struct world_program *program);
/* No byte that was not sent, none twice, no stream that was not dialed, links still up. */
void hostile_nothing_false(void);

#endif
