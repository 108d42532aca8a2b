/* SPDX-License-Identifier: MIT */
/* Two agents and a hub, byte-exact under chopping, delays and stalls. CBX_SEED replays a run. */
#include "hub/core/json.h"
#include "world.h"
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

static void
finish(struct world *world, int64_t limit_us)
{
    assert_true(world_ends_clean(world, limit_us));
    world_run(world, 300000);
    json_t *status = hub_core_status_json(world->hub);
    assert_int_equal(json_integer_value(json_object_get(status, "circuits")), 0);
    assert_int_equal(json_integer_value(json_object_get(status, "queued_bytes")), 0);
    json_decref(status);
    world_free(world);
}

static void
one_stream_carries_bytes_both_ways(void **state)
{
    (void)state;
    struct world *world = world_new(world_seed(), 0);
    world_agent(world, "web", "8080", (struct world_path){0});
    struct world_agent *cli = world_agent(world, "cli", NULL, (struct world_path){0});
    world_dial(cli, "web", 8080, 100000, 3000000);
    finish(world, 60000000);
}

static void
chopped_at_every_byte_nothing_changes(void **state)
{
    (void)state;
    struct world *world = world_new(world_seed(), 0);
    struct world_path path = {.chop = 1};
    world_agent(world, "web", "8080", path);
    struct world_agent *cli = world_agent(world, "cli", NULL, path);
    world_dial(cli, "web", 8080, 3000, 5000);
    finish(world, 600000000);
}

static void
random_chopping_delays_and_stalls(void **state)
{
    (void)state;
    uint64_t base = world_seed();
    for (int round = 0; round < 6; round++) {
        struct world *world = world_new(base + (uint64_t)round, 0);
        struct world_path path = {.chop = 1 + (uint32_t)world_random(world, 40000),
                                  .delay_us = (int64_t)world_random(world, 50000),
                                  .stall_1_in = 2 + (uint32_t)world_random(world, 20),
                                  .buffer = 4096 + (uint32_t)world_random(world, 200000)};
        world_agent(world, "web", "8080", path);
        path.delay_us = (int64_t)world_random(world, 20000);
        struct world_agent *cli = world_agent(world, "cli", NULL, path);
        for (int i = 0; i < 8; i++) {
            struct world_program *program = world_dial(
                cli, "web", 8080, world_random(world, 300000), world_random(world, 300000));
            program->push_chop = world_random(world, 2) ? 5000 : 0;
            program->far->pull_limit = world_random(world, 2) ? 700 : 0;
        }
        finish(world, 600000000);
    }
}

static void
a_slow_reader_stops_only_its_own_stream(void **state)
{
    (void)state;
    struct world *world = world_new(world_seed(), 0);
    world_agent(world, "web", "8080", (struct world_path){0});
    struct world_agent *cli = world_agent(world, "cli", NULL, (struct world_path){0});
    struct world_program *still = world_dial(cli, "web", 8080, 0, 20000000);
    still->paused = true;
    world_run(world, 200000);
    struct world_program *other = world_dial(cli, "web", 8080, 0, 4000000);
    assert_true(world_until(world, 30000000, world_closed, other));
    assert_int_equal(other->received, 4000000);
    assert_int_equal(still->received, 0);
    assert_true(still->far->sent <= 17000000);
    still->paused = false;
    finish(world, 60000000);
}

static void
half_close_leaves_the_other_direction_open(void **state)
{
    (void)state;
    struct world *world = world_new(world_seed(), 0);
    world_agent(world, "web", "8080", (struct world_path){0});
    struct world_agent *cli = world_agent(world, "cli", NULL, (struct world_path){0});
    struct world_program *program = world_dial(cli, "web", 8080, 1000, 100000);
    program->far->pull_limit = 1000;
    program->far->gap_us = 10000;
    world_run(world, 400000);
    assert_true(program->far->ended);
    assert_false(program->closed);
    finish(world, 60000000);
}

static void
a_reset_reaches_the_far_program(void **state)
{
    (void)state;
    struct world *world = world_new(world_seed(), 0);
    world_agent(world, "web", "8080", (struct world_path){0});
    struct world_agent *cli = world_agent(world, "cli", NULL, (struct world_path){0});
    struct world_program *program = world_dial(cli, "web", 8080, 1000, 1000);
    program->reset_at_end = true;
    assert_true(world_until(world, 10000000, world_all_closed, world));
    assert_int_equal(program->far->reason, CBX_REASON_RESET);
    assert_true(program->far->by_target);
    world_free(world);
}

static void
refusals_have_their_reasons(void **state)
{
    (void)state;
    struct world *world = world_new(world_seed(), 0);
    struct world_agent *web = world_agent(world, "web", "8080", (struct world_path){0});
    struct world_agent *cli = world_agent(world, "cli", NULL, (struct world_path){0});
    struct world_program *unknown = world_dial(cli, "nobody", 8080, 0, 0);
    struct world_program *closed = world_dial(cli, "web", 81, 0, 0);
    world_until(world, 5000000, world_closed, unknown);
    world_until(world, 5000000, world_closed, closed);
    assert_int_equal(unknown->reason, CBX_REASON_UNKNOWN_NAME);
    assert_int_equal(closed->reason, CBX_REASON_NOT_EXPOSED);
    world_cut(web);
    world_run(world, 1000000);
    struct world_program *away = world_dial(cli, "web", 8080, 0, 0);
    world_until(world, 5000000, world_closed, away);
    assert_int_equal(away->reason, CBX_REASON_PEER_AWAY);
    world_free(world);
}

static void
a_lost_link_ends_its_streams_and_new_dials_work(void **state)
{
    (void)state;
    struct world *world = world_new(world_seed(), 0);
    struct world_agent *web = world_agent(world, "web", "8080", (struct world_path){0});
    struct world_agent *cli = world_agent(world, "cli", NULL, (struct world_path){0});
    struct world_program *first = world_dial(cli, "web", 8080, 100, 100);
    first->hold_end = first->far->hold_end = true;
    world_run(world, 500000);
    assert_true(first->opened);
    world_cut(web);
    assert_true(world_until(world, 5000000, world_closed, first));
    assert_int_equal(first->reason, CBX_REASON_LOST);
    web->up = false;
    world_connect(web);
    struct world_program *second = world_dial(cli, "web", 8080, 5000, 5000);
    assert_true(world_until(world, 5000000, world_closed, second));
    assert_int_equal(second->reason, CBX_REASON_NONE);
    assert_int_equal(second->received, 5000);
    world_free(world);
}

/* Windows and what is in flight grow with the measured delay: the same path, short and long. */
static void
one_stream_fills_its_path_at_each_delay(void **state)
{
    (void)state;
    static const int64_t round_trip_ms[] = {0, 20, 100};
    for (int i = 0; i < 6; i++) {
        struct world *world = world_new(world_seed(), 0);
        int64_t delay_us = round_trip_ms[i / 2] * 1000 / 2;
        struct world_path path = {.rate = 12500000, .delay_us = delay_us, .buffer = 4 << 20};
        bool up = i % 2;
        world_agent(world, "web", "8080", (struct world_path){0});
        struct world_agent *cli = world_agent(world, "cli", NULL, path);
        struct world_program *program =
            world_dial(cli, "web", 8080, up ? 1 << 30 : 0, up ? 0 : 1 << 30);
        struct world_program *sink = up ? program->far : program;
        world_run(world, 5000000);
        uint64_t before = sink->received;
        world_run(world, 5000000);
        double used = (double)(sink->received - before) / (5.0 * (double)path.rate);
        print_message("# %lld ms, %s: %.1f %% of the path\n", (long long)round_trip_ms[i / 2],
                      up ? "up" : "down", 100 * used);
        assert_true(used >= 0.85);
        world_free(world);
    }
}

static void
a_lease_dials_its_own_name(void **state)
{
    (void)state;
    struct world *world = world_new(world_seed(), 0);
    struct world_agent *web = world_agent(world, "web", "8080", (struct world_path){0});
    struct world_program *program = world_dial(web, "web", 8080, 300000, 500000);
    program->push_chop = 3000;
    struct world_program *closed = world_dial(web, "web", 81, 0, 0);
    assert_true(world_until(world, 5000000, world_closed, closed));
    assert_int_equal(closed->reason, CBX_REASON_NOT_EXPOSED);
    closed->reason = CBX_REASON_NONE;
    closed->ended = closed->far->closed = closed->far->ended = true;
    finish(world, 60000000);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(one_stream_carries_bytes_both_ways),
        cmocka_unit_test(chopped_at_every_byte_nothing_changes),
        cmocka_unit_test(random_chopping_delays_and_stalls),
        cmocka_unit_test(a_slow_reader_stops_only_its_own_stream),
        cmocka_unit_test(half_close_leaves_the_other_direction_open),
        cmocka_unit_test(a_reset_reaches_the_far_program),
        cmocka_unit_test(refusals_have_their_reasons),
        cmocka_unit_test(one_stream_fills_its_path_at_each_delay),
        cmocka_unit_test(a_lease_dials_its_own_name),
        cmocka_unit_test(a_lost_link_ends_its_streams_and_new_dials_work),
    };
    return WORLD_RUN(tests);
}
