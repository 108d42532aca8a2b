/* SPDX-License-Identifier: MIT */
/*
 * Busy programs on honest agents (rule 24): what is beyond a rate of the protocol waits at the
 * sender, so that no neighbour ever sheds a frame of it, refuses it for its rate or ends a link.
 */
#include "agent/mesh/base.h"
#include "hub/core/link.h"
#include "world.h"
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

enum { MS = 1000, S = 1000 * MS };

static struct world *the;
static struct world_agent *web, *cli;

static int
begin(void **state)
{
    (void)state;
    the = world_new(world_seed(), 0);
    return 0;
}

static int
end(void **state)
{
    (void)state;
    world_free(the);
    the = NULL;
    return 0;
}

static void
agents(void)
{
    web = world_agent(the, "web", "8080", (struct world_path){.delay_us = MS});
    cli = world_agent(the, "cli", NULL, (struct world_path){.delay_us = MS});
}

static void
assert_nothing_was_shed(void)
{
    assert_int_equal(the->hub->count.shed, 0);
    assert_int_equal(the->hub->count.breaches, 0);
    for (uint32_t i = 0; i < the->agent_count; i++)
        assert_int_equal(the->agent[i]->lost_count, 0);
}

static void
dials_beyond_the_rate_wait_their_turn(void **state)
{
    (void)state;
    enum { DIALS = 4600 };
    agents();
    int64_t began = the->now;
    for (int i = 0; i < DIALS; i++)
        assert_non_null(world_dial(cli, "web", 8080, 10, 10));
    assert_true(world_ends_clean(the, 25 * S));
    /* Half of a burst at once, the rest a tenth slower than the hub would have it. */
    assert_true(the->now - began >= (int64_t)(DIALS - 4096) * S / 1800);
    assert_nothing_was_shed();
    assert_true(world_count(cli, "paced_frames") > 0);
}

static int refused;

/* As a program that dials again the moment that it is refused. */
static void
dial_again_for(int64_t us, const char *slug, uint16_t port)
{
    enum { BUSY = 12 };
    struct world_program *busy[BUSY] = {0};
    int64_t until = the->now + us;
    refused = 0;
    while (the->now < until) {
        for (int i = 0; i < BUSY; i++) {
            if (busy[i] && !busy[i]->closed)
                continue;
            refused += busy[i] != NULL;
            busy[i] = world_dial(cli, slug, port, 1, 1);
        }
        world_step(the);
    }
    for (int i = 0; i < BUSY; i++)
        assert_true(world_until(the, 10 * S, world_closed, busy[i]));
}

static void
refused_dials_that_come_again_at_once_cost_no_link(void **state)
{
    (void)state;
    agents();
    dial_again_for(6 * S, "web", 81);
    assert_true(refused > 10000);
    assert_nothing_was_shed();
    assert_int_equal(world_count(cli, "lanes_lost"), 0);
    struct world_program *good = world_dial(cli, "web", 8080, 1000, 1000);
    assert_true(world_until(the, 10 * S, world_closed, good));
    assert_true(world_is_clean(good));
}

static bool
is_direct(void *arg)
{
    (void)arg;
    return cli->mesh->count.directs > 0;
}

static void
the_same_over_a_direct_lane(void **state)
{
    (void)state;
    the->direct = true;
    agents();
    struct world_program *stays = world_dial(cli, "web", 8080, 10, 10);
    stays->hold_end = true;
    assert_true(world_until(the, 10 * S, is_direct, NULL));
    uint64_t opened = the->hub->count.opened;
    for (int i = 0; i < 4600; i++)
        world_dial(cli, "web", 8080, 1, 1);
    world_run(the, 10 * S);
    assert_int_equal(world_count(cli, "direct_lanes_lost"), 0);
    assert_int_equal(world_count(web, "direct_lanes_lost"), 0);
    assert_true(the->hub->count.opened - opened < 100); /* they went over the lane */
    stays->hold_end = false;
    mesh_stream_readable(stays->stream);
    assert_true(world_ends_clean(the, 30 * S));
    assert_nothing_was_shed();
}

/* Each dials at the same moment: one agent has as many handshakes to answer, and chains to fetch.
 */
static void
many_peers_at_once_are_answered_within_the_rate(void **state)
{
    (void)state;
    enum { PEERS = 450 };
    struct world_agent *peer[PEERS];
    char slug[16];
    web = world_agent(the, "web", "8080", (struct world_path){.delay_us = MS});
    for (int i = 0; i < PEERS; i++) {
        snprintf(slug, sizeof slug, "p%d", i);
        peer[i] = world_agent(the, slug, NULL, (struct world_path){.delay_us = MS});
    }
    for (int i = 0; i < PEERS; i++)
        world_dial(peer[i], "web", 8080, 100, 100);
    assert_true(world_ends_clean(the, 29 * S));
    assert_nothing_was_shed();
    assert_true(world_count(web, "paced_frames") > 0);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(dials_beyond_the_rate_wait_their_turn, begin, end),
        cmocka_unit_test_setup_teardown(refused_dials_that_come_again_at_once_cost_no_link, begin,
                                        end),
        cmocka_unit_test_setup_teardown(the_same_over_a_direct_lane, begin, end),
        cmocka_unit_test_setup_teardown(many_peers_at_once_are_answered_within_the_rate, begin,
                                        end),
    };
    return WORLD_RUN(tests);
}
