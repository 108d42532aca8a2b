/* SPDX-License-Identifier: MIT */
/* Paths that are hard to fill: full in both directions, holding small writes together, distant. */
#include "agent/mesh/handshake.h"
#include "world.h"
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

enum { MS = 1000, SECOND = 1000 * 1000, STREAMS_MAX = 8, ENDLESS = 1 << 30 };

static const struct world_path fast = {0};
static const struct world_path slow = {.rate = 20 * 1000 * 1000 / 8, .delay_us = 10 * MS};

static uint64_t
received(struct world_program *const *program, int count, bool up)
{
    uint64_t sum = 0;
    for (int i = 0; i < count; i++)
        sum += up ? program[i]->far->received : program[i]->received;
    return sum;
}

/* What streams that send both ways bring, in hundredths of the path's rate. */
static void
both_ways(struct world_path path, int streams, double *up, double *down)
{
    struct world *world = world_new(world_seed(), 0);
    world_agent(world, "web", "22,8080", fast);
    struct world_agent *cli = world_agent(world, "cli", NULL, path);
    struct world_program *program[STREAMS_MAX];
    for (int i = 0; i < streams; i++)
        program[i] = world_dial(cli, "web", 8080, ENDLESS, ENDLESS);
    world_run(world, 3 * SECOND);
    struct world_program *key = world_dial(cli, "web", 22, 64 * 600, 0);
    key->gap_us = 50 * MS;
    key->pull_limit = 64;
    uint64_t before_up = received(program, streams, true);
    uint64_t before_down = received(program, streams, false);
    world_run(world, 24 * SECOND); /* more than two windows of the least delay */
    double most = 24.0 * (double)path.rate / 100;
    *up = (double)(received(program, streams, true) - before_up) / most;
    *down = (double)(received(program, streams, false) - before_down) / most;
    print_message("# %d both ways, %llu bytes/s, %lld ms: %.1f %% up, %.1f %% down, a keystroke at "
                  "most %.1f ms\n",
                  streams, (unsigned long long)path.rate, (long long)path.delay_us * 2 / MS, *up,
                  *down, (double)key->late_us / MS);
    world_free(world);
}

static void
both_directions_of_a_slow_link_are_used(void **state)
{
    (void)state;
    static const struct world_path far = {.rate = 1000000, .delay_us = 25 * MS};
    for (int i = 0; i < 4; i++) {
        double up, down;
        both_ways(i % 2 ? far : slow, i < 2 ? 1 : 8, &up, &down);
        assert_true(up >= 70 && down >= 70);
        assert_true(up + down >= 160);
    }
}

/* A ping in rest sees half a millisecond, data see 40 (count_pinched). */
static void
a_link_that_holds_small_writes_together_is_used(void **state)
{
    (void)state;
    static const struct world_path held = {.rate = 1000000, .delay_us = 250, .hold_us = 40 * MS};
    for (int up = 0; up < 2; up++) {
        struct world *world = world_new(world_seed(), 0);
        world_agent(world, "web", "8080", fast);
        struct world_agent *cli = world_agent(world, "cli", NULL, held);
        world_run(world, SECOND);
        struct world_program *bulk[STREAMS_MAX]; /* one alone is held back by its window too */
        for (int i = 0; i < STREAMS_MAX; i++)
            bulk[i] = world_dial(cli, "web", 8080, up ? ENDLESS : 0, up ? 0 : ENDLESS);
        world_run(world, 1500 * MS);
        uint64_t begin = received(bulk, STREAMS_MAX, up), before = begin, least = UINT64_MAX;
        for (int i = 0; i < 25; i++) { /* the least delay is measured anew twice */
            world_run(world, SECOND);
            uint64_t now = received(bulk, STREAMS_MAX, up);
            least = now - before < least ? now - before : least;
            before = now;
        }
        print_message("# held together, %s: %llu KB/s, in the worst second %llu\n",
                      up ? "up" : "down", (unsigned long long)((before - begin) / 25000),
                      (unsigned long long)(least / 1000));
        assert_true(before - begin >= held.rate / 100 * 80 * 25);
        assert_true(least >= held.rate / 5);
        world_free(world);
    }
}

/* An answer that takes longer than MESH_HANDSHAKE_RETRY_US still finds its handshake. */
static void
a_dial_over_four_seconds_of_delay_comes_through(void **state)
{
    (void)state;
    static const struct world_path distant = {.delay_us = 2 * SECOND};
    struct world *world = world_new(world_seed(), 0);
    world_agent(world, "web", "8080", distant);
    struct world_agent *cli = world_agent(world, "cli", NULL, fast);
    world_run(world, 10 * SECOND);
    world_dial(cli, "web", 8080, 1000, 1000);
    assert_true(world_ends_clean(world, 60 * SECOND));
    world_free(world);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(both_directions_of_a_slow_link_are_used),
        cmocka_unit_test(a_link_that_holds_small_writes_together_is_used),
        cmocka_unit_test(a_dial_over_four_seconds_of_delay_comes_through),
    };
    return WORLD_RUN(tests);
}
