/* SPDX-License-Identifier: MIT */
/*
 * One agent of the pond speaks as it likes: what it can make the hub hold and do, and that it costs
 * nobody else anything (rule 24). CBX_SEED replays a run.
 */
#include "agent/mesh/peer.h"
#include "common/link/rates.h"
#include "filter.h"
#include "hub/core/circuit.h"
#include "hub/core/link.h"
#include "pipe.h"
#include "world.h"
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

enum { MS = 1000, SECOND = 1000 * MS, MIB = 1024 * 1024, MUTE_PORT = 7070 };
static const struct world_path near = {.delay_us = 2 * MS};
static const uint8_t junk[64];

static struct world *the;
static struct world_agent *web, *cli, *mute, *evil;

static bool evil_is_deaf;
static uint32_t told; /* how often cli heard of a peer */

/* The mute agent never hears of a dial, and so never answers. The honest engine that evil is made
 * of would end the link over answers to what it did not say. */
static enum world_verdict
filter(struct world_flow *flow, struct cbx_frame *frame)
{
    told += frame->type == CBX_FRAME_PEER && flow->to_agent && flow->agent == cli;
    bool dial = frame->type == CBX_FRAME_OPEN && flow->to_agent && flow->agent == mute;
    bool answer = frame->label && flow->to_agent && flow->agent == evil && evil_is_deaf;
    return dial || answer ? WORLD_DROP : WORLD_PASS;
}

static int
begin(void **state)
{
    (void)state;
    evil_is_deaf = false;
    the = world_new(world_seed(), 0);
    the->filter = filter;
    the->check = world_check_memory;
    web = world_agent(the, "web", "8080", near);
    cli = world_agent(the, "cli", "9090", near);
    mute = world_agent(the, "mute", "7070", near);
    evil = world_agent(the, "evil", "6060", near);
    return 0;
}

static int
end(void **state)
{
    (void)state;
    world_free(the);
    return 0;
}

static struct hub_link *
hub_link_of(const struct world_agent *agent)
{
    return world_pipe_of(agent)->end[1].base.arg; /* its pump comes first */
}

static bool
is_cut_off(void *arg)
{
    const struct world_agent *agent = arg;
    return agent->lost_count > 0;
}

static uint32_t
next_label(const struct world_agent *agent)
{
    return hub_link_of(agent)->pump.link.neighbour_label;
}

/* An OPEN of evil's to the mute agent that grants nothing. */
static void
say_open(uint32_t label)
{
    struct world_flow flow;
    struct cbx_field fields[] = {
        cbx_field_text("evil"),    cbx_field_text("mute"),    cbx_field_uint(MUTE_PORT),
        cbx_field_bytes(junk, 16), cbx_field_bytes(junk, 40), cbx_field_uint(1),
        cbx_field_uint(0),         cbx_field_uint(0),         cbx_field_bytes(junk, 64)};
    assert_true(world_flow_of(evil, false, &flow));
    world_inject(&flow, CBX_FRAME_OPEN, label, fields, 9);
}

/* How many it could open, one after the other, within its rate. */
static uint32_t
open_many(uint32_t count)
{
    uint32_t label = next_label(evil);
    evil_is_deaf = true;
    for (uint32_t i = 0; i < count && world_pipe_of(evil); i++, label += 2) {
        say_open(label);
        if (i % 100 == 99)
            world_run(the, 60 * MS);
    }
    world_run(the, SECOND);
    return world_pipe_of(evil) ? hub_link_of(evil)->opened : 0;
}

/* Many frames in one packet. */
static void
say_credits(uint32_t label, uint32_t count)
{
    struct cbx_field fields[] = {cbx_field_uint(1), cbx_field_uint(9), cbx_field_uint(0),
                                 cbx_field_uint(0), cbx_field_bytes(junk, 16)};
    struct cbx_slice one = cbx_frame_slice(CBX_FRAME_CREDIT, label, fields, 5);
    uint8_t *all = calloc(count, one.length);
    assert_non_null(all);
    for (uint32_t i = 0; i < count; i++)
        memcpy(all + (size_t)i * one.length, one.data, one.length);
    if (world_pipe_of(evil))
        world_pipe_put(world_pipe_of(evil), 0, all, (size_t)count * one.length);
    cbx_slice_drop(&one);
    free(all);
}

static void
a_label_ahead_of_its_turn_ends_the_link(void **state)
{
    (void)state;
    struct world_program *bystander = world_dial(cli, "web", 8080, MIB, MIB);
    world_run(the, 50 * MS);
    say_open(next_label(evil) + 2);
    assert_true(world_until(the, SECOND, is_cut_off, evil));
    assert_true(world_until(the, 20 * SECOND, world_closed, bystander));
    assert_true(world_is_clean(bystander));
}

/* Labels that were open once are no place for an endless stream of frames. */
static void
a_flood_of_frames_for_circuits_that_are_gone_ends_the_link(void **state)
{
    (void)state;
    struct world_program *gone = world_dial(evil, "web", 8080, 10, 10);
    assert_true(world_until(the, 20 * SECOND, world_closed, gone));
    world_run(the, 100 * MS);
    struct world_program *bystander = world_dial(cli, "web", 8080, 20 * MIB, 20 * MIB);
    bystander->gap_us = 100 * MS; /* it is there for as long as the flood */
    uint64_t stale = the->hub->count.stale, shed = the->hub->count.shed;
    uint32_t label = world_label(evil, 8080);
    for (int i = 0; i < 600 && !is_cut_off(evil); i++) {
        say_credits(label, 1000);
        world_run(the, MS);
    }
    assert_true(is_cut_off(evil));
    assert_true(the->hub->count.shed - shed > CBX_RATE_SHED_MAX);
    assert_true(the->hub->count.stale - stale < 400000);
    bystander->gap_us = 0;
    assert_true(world_until(the, 60 * SECOND, world_closed, bystander));
    assert_true(world_is_clean(bystander));
}

/* A few that crossed the end of their circuit are nothing to be shed for. */
static void
frames_that_crossed_the_end_of_their_circuit_cost_nothing(void **state)
{
    (void)state;
    uint64_t shed = the->hub->count.shed;
    for (int i = 0; i < 50; i++) {
        struct world_program *program = world_dial(cli, "web", 8080, 4 * MIB, 4 * MIB);
        world_run(the, 30 * MS);
        world_reset(i % 2 ? program : program->far ? program->far : program);
    }
    world_run(the, SECOND);
    assert_int_equal(the->hub->count.shed, shed);
    assert_int_equal(cli->lost_count + web->lost_count, 0);
}

static void
circuits_that_grant_nothing_have_a_cap(void **state)
{
    (void)state;
    uint64_t refused = the->hub->count.refused[CBX_REASON_OVERLOADED];
    uint32_t open = open_many(HUB_CIRCUITS_MOST + 2000);
    assert_int_equal(open, HUB_CIRCUITS_MOST);
    assert_int_equal(the->hub->count.refused[CBX_REASON_OVERLOADED] - refused, 2000);
    struct world_program *bystander = world_dial(cli, "web", 8080, MIB, MIB);
    assert_true(world_until(the, 20 * SECOND, world_closed, bystander));
    assert_true(world_is_clean(bystander));
    world_cut(evil);
    world_run(the, SECOND);
    assert_int_equal(the->hub->circuit_count, 0);
}

/* Where --queue-max is small, one member leaves as many to others as it has. */
static void
one_member_never_takes_the_last_circuit(void **state)
{
    (void)state;
    end(NULL);
    enum { QUEUE_MAX = 16 * MIB };
    the = world_new(world_seed(), QUEUE_MAX);
    the->filter = filter;
    web = world_agent(the, "web", "8080", near);
    cli = world_agent(the, "cli", "9090", near);
    mute = world_agent(the, "mute", "7070", near);
    evil = world_agent(the, "evil", "6060", near);
    uint32_t all = QUEUE_MAX / HUB_CIRCUITS_SHARE / HUB_CIRCUIT_COST;
    assert_int_equal(open_many(all), all / 2);
    struct world_program *bystander = world_dial(cli, "web", 8080, MIB, MIB);
    assert_true(world_until(the, 20 * SECOND, world_closed, bystander));
    assert_true(world_is_clean(bystander));
}

static void
what_nobody_answers_ends(void **state)
{
    (void)state;
    assert_int_equal(open_many(50), 50);
    world_run(the, HUB_ANSWER_MAX_US - 10 * SECOND);
    assert_int_equal(the->hub->circuit_count, 50);
    world_run(the, 12 * SECOND);
    assert_int_equal(the->hub->circuit_count, 0);
    assert_int_equal(evil->lost_count + mute->lost_count, 0);
}

static void
whoever_comes_and_goes_all_the_time_is_slowed_down(void **state)
{
    (void)state;
    struct world_program *bystander = world_dial(cli, "web", 8080, MIB, MIB);
    uint64_t attached = the->hub->count.attached;
    int64_t began = the->now;
    told = 0;
    for (int i = 0; i < 400; i++) {
        if (world_pipe_of(evil))
            world_cut(evil);
        world_run(the, 5 * MS);
        world_begin(evil);
        world_until(the, 50 * MS, world_attach_is_over, evil);
    }
    int64_t seconds = (the->now - began) / SECOND + 1;
    assert_true(seconds < 60);
    assert_in_range(the->hub->count.attached - attached, 100, 120 + seconds);
    assert_true(told <= 60 + 5 * (uint32_t)seconds);
    assert_true(world_until(the, 20 * SECOND, world_closed, bystander));
    assert_true(world_is_clean(bystander));
    if (world_pipe_of(evil))
        world_cut(evil);
    world_run(the, 12 * SECOND); /* as it was told to wait */
    world_connect(evil);
    world_run(the, 2 * SECOND);
    assert_true(world_peer(cli, "evil")->ready);
    assert_memory_equal(world_peer(cli, "evil")->incarnation, evil->mesh->incarnation,
                        CBX_INCARNATION_SIZE);
}

/* What one link used up is not there for the next one of the same lease. */
static void
rates_outlive_the_link(void **state)
{
    (void)state;
    uint64_t refused = the->hub->count.refused[CBX_REASON_OVERLOADED];
    uint64_t shed = the->hub->count.shed;
    for (int link = 0; link < 3; link++) {
        uint32_t label = next_label(evil);
        evil_is_deaf = true;
        for (uint32_t i = 0; i < 5000; i++, label += 2)
            say_open(label);
        world_run(the, 200 * MS);
        world_cut(evil);
        world_run(the, 20 * MS);
        world_connect(evil);
    }
    assert_true(the->hub->count.shed - shed > 15000 - 8192 - 2500);
    assert_true(the->hub->count.refused[CBX_REASON_OVERLOADED] - refused > 4000);
}

int
main(void)
{
#define T(name) cmocka_unit_test_setup_teardown(name, begin, end)
    const struct CMUnitTest tests[] = {
        T(a_label_ahead_of_its_turn_ends_the_link),
        T(a_flood_of_frames_for_circuits_that_are_gone_ends_the_link),
        T(frames_that_crossed_the_end_of_their_circuit_cost_nothing),
        T(circuits_that_grant_nothing_have_a_cap),
        T(one_member_never_takes_the_last_circuit),
        T(what_nobody_answers_ends),
        T(whoever_comes_and_goes_all_the_time_is_slowed_down),
        T(rates_outlive_the_link),
    };
    return WORLD_RUN(tests);
}
