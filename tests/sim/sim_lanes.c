/* SPDX-License-Identifier: MIT */
/*
 * Lanes to the hub (rule 28): a link moves while streams run, in order, nothing lost or doubled; a
 * lane that is cut or tampered with is given up at once, nothing false is delivered, and the agent
 * is back over its first carrier without a new login. CBX_SEED replays a run.
 */
#include "hub/core/link.h"
#include "world.h"
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

static const struct world_path fast = {0};

static struct world *
lanes_world(void)
{
    struct world *world = world_new(world_seed(), 0);
    world->lanes = CBX_LANES_AUTO;
    return world;
}

static void
finish(struct world *world, int64_t limit_us)
{
    assert_true(world_ends_clean(world, limit_us));
    world_free(world);
}

static bool
is_back(void *arg)
{
    const struct world_agent *agent = arg;
    return agent->up && agent->lanes_lost > 0;
}

static void
a_link_moves_to_its_lane_and_streams_open_there(void **state)
{
    (void)state;
    struct world *world = lanes_world();
    struct world_agent *web = world_agent(world, "web", "8080", fast);
    struct world_agent *cli = world_agent(world, "cli", NULL, fast);
    world_lane_up(web);
    world_lane_up(cli);
    world_dial(cli, "web", 8080, 3000000, 5000000);
    finish(world, 60000000);
}

/* Streams run both ways while each direction of both links moves at some moment of its own. */
static void
a_link_moves_in_the_middle_of_streams(void **state)
{
    (void)state;
    uint64_t base = world_seed();
    for (int round = 0; round < 8; round++) {
        struct world *world = world_new(base + (uint64_t)round, 0);
        struct world_path path = {.chop = 1 + (uint32_t)world_random(world, 30000),
                                  .delay_us = (int64_t)world_random(world, 30000),
                                  .stall_1_in = 2 + (uint32_t)world_random(world, 20),
                                  .rate = 2000000};
        struct world_path lane = {.chop = 1 + (uint32_t)world_random(world, 30000),
                                  .delay_us = (int64_t)world_random(world, 30000)};
        world->lanes = CBX_LANES_AUTO;
        world->lanes_fail = true;
        world->lane_path = &lane;
        struct world_agent *web = world_agent(world, "web", "8080", path);
        struct world_agent *cli = world_agent(world, "cli", NULL, path);
        for (int i = 0; i < 6; i++)
            world_dial(cli, "web", 8080, world_random(world, 1000000),
                       world_random(world, 1000000));
        world_run(world, (int64_t)world_random(world, 600000));
        world->lanes_fail = false;
        mesh_lane_ask(web->mesh);
        world_run(world, (int64_t)world_random(world, 300000));
        mesh_lane_ask(cli->mesh);
        world_lane_up(web);
        world_lane_up(cli);
        assert_int_equal(web->lanes_lost + cli->lanes_lost, 0);
        finish(world, 600000000);
    }
}

static void
one_side_on_a_lane_and_one_on_ssh(void **state)
{
    (void)state;
    struct world *world = lanes_world();
    struct world_agent *web = world_agent(world, "web", "8080", fast);
    world_lane_up(web);
    world->lanes = CBX_LANES_OFF;
    struct world_agent *cli = world_agent(world, "cli", NULL, fast);
    world_dial(cli, "web", 8080, 2000000, 2000000);
    finish(world, 60000000);
}

static void
a_lane_that_cannot_be_had_changes_nothing(void **state)
{
    (void)state;
    struct world *world = lanes_world();
    world->lanes_fail = true;
    world_agent(world, "web", "8080", fast);
    struct world_agent *cli = world_agent(world, "cli", NULL, fast);
    world_dial(cli, "web", 8080, 500000, 500000);
    world_run(world, 40000000); /* past the promise's end */
    assert_false(mesh_lane_up(cli->mesh));
    finish(world, 60000000);
}

static void
a_cut_lane_falls_back_to_the_first_carrier(void **state)
{
    (void)state;
    struct world *world = lanes_world();
    struct world_agent *web = world_agent(world, "web", "8080", fast);
    struct world_agent *cli = world_agent(world, "cli", NULL, fast);
    world_lane_up(web);
    world_lane_up(cli);
    struct world_program *program = world_dial(cli, "web", 8080, 1000, 400000000);
    world_run(world, 200000);
    world_cut_lane(cli);
    assert_true(world_until(world, 5000000, is_back, cli));
    assert_int_equal(cli->lost_count, 0); /* no new login */
    assert_true(program->closed);
    assert_false(program->corrupt);
    assert_int_equal(web->lanes_lost, 0);
    /* And it comes to have a lane again, and works. */
    mesh_lane_ask(cli->mesh);
    world_lane_up(cli);
    struct world_program *again = world_dial(cli, "web", 8080, 100000, 100000);
    assert_true(world_until(world, 10000000, world_closed, again));
    assert_true(world_is_clean(again));
    world_free(world);
}

static void
the_end_of_the_first_carrier_leaves_a_link_on_its_lane(void **state)
{
    (void)state;
    struct world *world = lanes_world();
    struct world_agent *web = world_agent(world, "web", "8080", fast);
    struct world_agent *cli = world_agent(world, "cli", NULL, fast);
    world_lane_up(web);
    world_lane_up(cli);
    struct world_program *program = world_dial(cli, "web", 8080, 3000000, 3000000);
    world_run(world, 5000);
    world_cut(cli);
    world_cut(web);
    assert_true(world_until(world, 30000000, world_closed, program));
    assert_true(world_is_clean(program));
    assert_int_equal(cli->lost_count, 0);
    assert_int_equal(web->lost_count, 0);
    /* Without a way back the end of the lane is the end of the link. */
    world_cut_lane(cli);
    world_run(world, 200000);
    assert_int_equal(cli->lost_count, 1);
    assert_int_equal(web->lost_count, 0);
    world_free(world);
}

/* Flipped, lost, repeated, reordered and cut bytes, at many places, in both directions. */
static void
harm(enum world_harm kind)
{
    uint64_t base = world_seed();
    for (int round = 0; round < 12; round++) {
        struct world *world = world_new(base + (uint64_t)round, 0);
        world->lanes = CBX_LANES_AUTO;
        struct world_agent *web = world_agent(world, "web", "8080", fast);
        struct world_agent *cli = world_agent(world, "cli", NULL, fast);
        struct world_agent *other = world_agent(world, "other", NULL, fast);
        world_lane_up(web);
        world_lane_up(cli);
        world_lane_up(other);
        struct world_program *bystander = world_dial(other, "web", 8080, 900000, 900000);
        struct world_program *program = world_dial(cli, "web", 8080, 3000000, 3000000);
        world_run(world, 3000);
        world_harm_lane(cli, round & 1, kind, world_random(world, 400000));
        assert_true(world_until(world, 120000000, world_closed, program));
        assert_true(world_until(world, 120000000, world_closed, bystander));
        assert_false(program->corrupt);
        assert_false(program->far && program->far->corrupt);
        assert_false(world_is_clean(program)); /* never a clean end on false bytes */
        assert_true(world_is_clean(bystander));
        if (!cli->up)
            assert_true(world_until(world, 60000000, is_back, cli));
        world_free(world);
    }
}

static void
flipped_bytes_are_found(void **state)
{
    (void)state;
    harm(WORLD_FLIP);
}

static void
lost_bytes_are_found(void **state)
{
    (void)state;
    harm(WORLD_LOSE);
}

static void
repeated_bytes_are_found(void **state)
{
    (void)state;
    harm(WORLD_REPEAT);
}

static void
reordered_bytes_are_found(void **state)
{
    (void)state;
    harm(WORLD_SWAP);
}

static void
a_lane_cut_anywhere_is_found(void **state)
{
    (void)state;
    harm(WORLD_END);
}

/* A preface is good once and for its own link; a forged one gets no answer. */
static void
a_forged_late_or_replayed_preface_is_refused(void **state)
{
    (void)state;
    struct world *world = lanes_world();
    world->lanes_fail = true;
    struct world_agent *cli = world_agent(world, "cli", NULL, fast);
    world_run(world, 100000);
    uint8_t preface[CBX_LANE_PREFACE];
    for (int attempt = 0; attempt < 4; attempt++) {
        mesh_lane_ask(cli->mesh);
        world_run(world, 600000);
        cbx_lane_preface(&cli->ticket, preface);
        if (attempt == 0)
            preface[CBX_LANE_PREFACE - 1] ^= 1; /* forged: and it strikes the id out */
        else if (attempt == 1)
            preface[CBX_LANE_MAGIC] ^= 1; /* an id that nobody has */
        else if (attempt == 2)
            world_run(world, 31000000); /* too late */
        for (int twice = 0; twice < 2; twice++) {
            bool taken = world_offer_lane(cli, preface);
            assert_int_equal(taken, attempt == 3 && twice == 0);
        }
        if (attempt == 0) {
            cbx_lane_preface(&cli->ticket, preface);
            assert_false(world_offer_lane(cli, preface));
        }
    }
    assert_int_equal(world->hub->count.prefaces_refused, 8);
    world_free(world);
}

static void
with_lanes_required_nothing_is_dialed_before(void **state)
{
    (void)state;
    struct world *world = world_new(world_seed(), 0);
    world_agent(world, "web", "8080", fast);
    world->lanes = CBX_LANES_REQUIRE;
    world->lanes_fail = true;
    struct world_agent *cli = world_invite(world, "cli", NULL, fast);
    world_join(cli);
    world_start(cli);
    world_begin(cli);
    struct world_program *program = world_dial(cli, "web", 8080, 1000, 1000);
    world_run(world, 3000000);
    assert_false(cli->up);
    assert_false(program->opened);
    world->lanes_fail = false;
    mesh_lane_ask(cli->mesh);
    world_lane_up(cli);
    assert_true(world_until(world, 10000000, world_closed, program));
    assert_true(world_is_clean(program));
    world_free(world);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_link_moves_to_its_lane_and_streams_open_there),
        cmocka_unit_test(a_link_moves_in_the_middle_of_streams),
        cmocka_unit_test(one_side_on_a_lane_and_one_on_ssh),
        cmocka_unit_test(a_lane_that_cannot_be_had_changes_nothing),
        cmocka_unit_test(a_cut_lane_falls_back_to_the_first_carrier),
        cmocka_unit_test(the_end_of_the_first_carrier_leaves_a_link_on_its_lane),
        cmocka_unit_test(flipped_bytes_are_found),
        cmocka_unit_test(lost_bytes_are_found),
        cmocka_unit_test(repeated_bytes_are_found),
        cmocka_unit_test(reordered_bytes_are_found),
        cmocka_unit_test(a_lane_cut_anywhere_is_found),
        cmocka_unit_test(a_forged_late_or_replayed_preface_is_refused),
        cmocka_unit_test(with_lanes_required_nothing_is_dialed_before),
    };
    return WORLD_RUN(tests);
}
