/* SPDX-License-Identifier: MIT */
/*
 * What the hub may hold, and who may have how much of it (rules 21 and 22). CBX_SEED replays a run.
 * Asserted at every step: world_check_memory, and that what waits in the hub takes no more of its
 * heap than --queue-max, headers and allocator included.
 */
#include "agent/mesh/base.h"
#include "filter.h"
#include "hub/core/circuit.h"
#include "hub/core/link.h"
#include "pipe.h"
#include "world.h"
#include <assert.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

enum { MS = 1000, SECOND = 1000 * 1000, ENDLESS = 1 << 30, MANY = 60 };
#define KIB ((uint64_t)1024)
#define MIB (1024 * KIB)

static const struct world_path fast = {0};
static uint64_t peak, looked_at;

static void
check(struct world *world)
{
    world_check_memory(world);
    if (world->hub->held <= looked_at)
        return; /* a walk through all queues each time that there is more than ever */
    uint64_t bytes = world_hub_memory(world);
    peak = bytes > peak ? bytes : peak;
    looked_at = world->hub->held + world->hub->held / 16;
    assert(bytes <= world->hub->config.queue_max);
}

static struct world *
new_world(uint64_t queue_max)
{
    struct world *world = world_new(world_seed(), queue_max);
    world->check = check;
    peak = looked_at = 0;
    return world;
}

static struct hub_link *
hub_link_of(const struct world_agent *agent)
{
    return world_pipe_of(agent)->end[1].base.arg; /* its pump comes first */
}

/* No data goes to this agent any more, as if it acknowledged none: it all waits in the hub. */
static void
choke(struct world_agent *agent, bool on)
{
    struct hub_link *link = hub_link_of(agent);
    link->pump.link.pace.sent += on ? 1ull << 40 : -(1ull << 40);
    hub_link_wake(link);
}

static void
finish(struct world *world)
{
    assert_true(world_ends_clean(world, 300ll * SECOND));
    world_run(world, SECOND);
    assert_int_equal(world->hub->held, 0);
    assert_int_equal(world->hub->allowances.pinned, 0);
    assert_int_equal(world->hub->count.breaches, 0);
    world_free(world);
}

/* ---- records of any size ---- */

static void
waits_within_queue_max(uint64_t queue_max, uint64_t size)
{
    struct world *world = new_world(queue_max);
    struct world_agent *web = world_agent(world, "web", "8080", fast);
    struct world_agent *cli = world_agent(world, "cli", NULL, fast);
    for (int i = 0; i < MANY; i++)
        world_dial(cli, "web", 8080, size < 100 ? 3000 : 40000, 0)->pull_limit = size;
    choke(web, true);
    world_run(world, 3 * SECOND);
    print_message("# records of %llu bytes: %llu KiB in the hub, most %llu KiB, of %llu KiB\n",
                  (unsigned long long)size, (unsigned long long)(world_hub_memory(world) / KIB),
                  (unsigned long long)(peak / KIB), (unsigned long long)(queue_max / KIB));
    assert_true(peak > queue_max / 8);
    choke(web, false);
    finish(world);
}

static void
records_of_one_byte_wait_within_queue_max(void **state)
{
    (void)state;
    waits_within_queue_max(MIB, 1);
}

static void
records_of_any_size_wait_within_queue_max(void **state)
{
    (void)state;
    static const uint64_t size[] = {300, 3900, 20000};
    for (size_t i = 0; i < sizeof size / sizeof *size; i++)
        waits_within_queue_max(MIB, size[i]);
}

/* ---- hostile members: their frames are made up behind their honest ones ---- */

static const char *mute; /* prefix of slugs that never answer a lowering */

static enum world_verdict
pass(struct world_flow *flow, struct cbx_frame *frame)
{
    bool dropped = mute && !flow->to_agent && frame->type == CBX_FRAME_ALLOWED &&
                   strncmp(flow->agent->slug, mute, strlen(mute)) == 0;
    return dropped ? WORLD_DROP : WORLD_PASS;
}

static uint8_t junk[8192 + 16];

static struct hub_half *
half_of(const struct world_agent *agent, uint16_t port)
{
    struct hub_link *link = hub_link_of(agent);
    struct cbx_circuit *circuit = cbx_circuit_find(&link->pump.link, world_label(agent, port));
    assert_non_null(circuit);
    return (struct hub_half *)((char *)circuit - offsetof(struct hub_half, circuit));
}

static void
say_data(struct world_agent *agent, uint16_t port, uint64_t offset, uint32_t bytes)
{
    struct world_flow flow;
    struct cbx_field fields[] = {cbx_field_uint(1), cbx_field_uint(9), cbx_field_uint(offset),
                                 cbx_field_bytes(junk, bytes + 16)};
    assert_true(world_flow_of(agent, false, &flow));
    world_inject(&flow, CBX_FRAME_DATA, world_label(agent, port), fields, 4);
}

static void
say_credit(struct world_agent *agent, uint16_t port, uint64_t acked, uint64_t limit)
{
    struct world_flow flow;
    struct cbx_field fields[] = {cbx_field_uint(1), cbx_field_uint(9), cbx_field_uint(acked),
                                 cbx_field_uint(limit), cbx_field_bytes(junk, 16)};
    assert_true(world_flow_of(agent, false, &flow));
    world_inject(&flow, CBX_FRAME_CREDIT, world_label(agent, port), fields, 5);
}

/* cli has a circuit to web that rests; web reads nothing any more. */
static struct world *
hostile_world(struct world_agent **web, struct world_agent **cli)
{
    struct world *world = new_world(MIB);
    world->filter = pass;
    mute = NULL;
    *web = world_agent(world, "web", "8080", fast);
    *cli = world_agent(world, "cli", NULL, fast);
    world_dial(*cli, "web", 8080, 1, 0)->hold_end = true;
    world_run(world, SECOND);
    choke(*web, true);
    return world;
}

static void
a_hostile_sender_of_small_records_is_stopped_at_its_credit(void **state)
{
    (void)state;
    struct world_agent *web, *cli;
    struct world *world = hostile_world(&web, &cli);
    uint64_t limit = half_of(web, 8080)->limit;
    uint64_t legal = (limit - 1) / (1 + CBX_RECORD_COST);
    for (uint64_t i = 0; i < legal; i++) {
        say_data(cli, 8080, 1 + i, 1);
        world_step(world);
    }
    world_run(world, SECOND);
    assert_int_equal(world->hub->count.breaches, 0);
    say_data(cli, 8080, 1 + legal, 1);
    world_run(world, SECOND);
    assert_int_equal(world->hub->count.breaches, 1);
    assert_int_equal(world->hub->held, 0);
    world_free(world);
}

/* It would have room again for what the hub still holds. */
static void
acknowledging_what_waits_in_the_hub_ends_the_circuit(void **state)
{
    (void)state;
    struct world_agent *web, *cli;
    struct world *world = hostile_world(&web, &cli);
    for (uint64_t i = 0; i < 4; i++)
        say_data(cli, 8080, 1 + i * 4000, 4000);
    world_run(world, 100 * MS);
    const struct hub_half *half = half_of(web, 8080);
    assert_int_equal(half->passed, 1);
    say_credit(web, 8080, half->passed + 1, half->limit + 1);
    world_run(world, 100 * MS);
    assert_int_equal(world->hub->count.breaches, 1);
    world_free(world);
}

/* ---- small records are not slow ---- */

static void
an_interactive_stream_on_a_long_path_never_waits(void **state)
{
    (void)state;
    struct world *world = new_world(0);
    struct world_path far = {.delay_us = 50 * MS};
    world_agent(world, "web", "22", far);
    struct world_agent *cli = world_agent(world, "cli", NULL, far);
    struct world_program *key = world_dial(cli, "web", 22, 48 * 2000, 48 * 2000);
    key->pull_limit = key->far->pull_limit = 48;
    key->gap_us = key->far->gap_us = 10 * MS;
    world_run(world, 10 * SECOND);
    print_message("# 100 records a second each way, 100 ms: at most %.1f and %.1f ms\n",
                  (double)key->late_us / MS, (double)key->far->late_us / MS);
    assert_in_range(key->late_us, 100 * MS, 112 * MS);
    assert_in_range(key->far->late_us, 100 * MS, 112 * MS);
    finish(world);
}

static void
tiny_records_flow_on_a_fast_link(void **state)
{
    (void)state;
    struct world *world = new_world(0);
    world_agent(world, "web", "8080", fast);
    struct world_agent *cli = world_agent(world, "cli", NULL, fast);
    struct world_program *program = world_dial(cli, "web", 8080, ENDLESS, 0);
    program->pull_limit = 1;
    world_run(world, SECOND);
    uint64_t before = program->far->received;
    world_run(world, SECOND);
    uint64_t records = program->far->received - before;
    print_message("# %llu records of one byte a second\n", (unsigned long long)records);
    assert_true(records > 20000); /* a step of the world takes 35 us */
    world_free(world);
}

/* ---- asking for more ---- */

enum { BURST = 300 };

static void
a_burst_of_dials_waits_for_more_allowance(void **state)
{
    (void)state;
    struct world *world = new_world(64 * MIB);
    world->hub->allowances.links = 1023; /* as if: the first allowance is the least */
    struct world_path path = {.delay_us = 10 * MS};
    struct world_agent *web = world_agent(world, "web", "8080", path);
    world->hub->allowances.links = 1023;
    struct world_agent *cli = world_agent(world, "cli", NULL, path);
    world->hub->allowances.links = 2;
    assert_int_equal(web->mesh->allowance, 32 * KIB);
    assert_int_equal(cli->mesh->allowance, 32 * KIB);
    for (int i = 0; i < BURST; i++)
        world_dial(cli, "web", 8080, 3000, 3000);
    int64_t began = world->now;
    assert_true(world_until(world, 30 * SECOND, world_all_closed, world));
    print_message("# %d dials took %.0f ms; allowances %llu and %llu KiB\n", BURST,
                  (double)(world->now - began) / MS,
                  (unsigned long long)(cli->mesh->allowance / KIB),
                  (unsigned long long)(web->mesh->allowance / KIB));
    finish(world);
}

/* The other end of it: the hub has none, says so, and the dial fails at once. */
static void
where_the_hub_has_no_more_a_dial_is_refused_within_a_second(void **state)
{
    (void)state;
    struct world *world = new_world(64 * KIB);
    struct world_agent *web = world_agent(world, "web", "8080", fast);
    world->hub->allowances.links = 0;
    struct world_agent *cli = world_agent(world, "cli", NULL, fast);
    world->hub->allowances.links = 2;
    struct world_program *program[12];
    for (int i = 0; i < 12; i++) {
        program[i] = world_dial(cli, "web", 8080, 100, 100);
        program[i]->hold_end = program[i]->far->hold_end = true;
    }
    world_run(world, 1200 * MS);
    int refused = 0;
    for (int i = 0; i < 12; i++) {
        refused += program[i]->closed;
        assert_true(!program[i]->closed || program[i]->reason == CBX_REASON_OVERLOADED);
    }
    print_message("# allowances %llu and %llu: %d of 12 dials refused\n",
                  (unsigned long long)web->mesh->allowance,
                  (unsigned long long)cli->mesh->allowance, refused);
    assert_in_range(refused, 4, 7); /* 16 floors in all, and some had more */
    assert_true(world->hub->count.allowances_refused > 0);
    world_free(world);
}

/* ---- giving back ---- */

enum { HOLDERS = 9 };

static uint64_t
held_by(struct world_agent **agent, int count)
{
    uint64_t sum = 0;
    for (int i = 0; i < count; i++) {
        if (agent[i]->up && world_pipe_of(agent[i]))
            sum += hub_link_of(agent[i])->allowance.value;
    }
    return sum;
}

static void
hoard(struct world_agent *agent)
{
    for (int i = 0; i < 12; i++) {
        struct world_flow flow;
        struct cbx_field field = cbx_field_uint(1 << 30);
        assert_true(world_flow_of(agent, false, &flow));
        world_inject(&flow, CBX_FRAME_WANT, 0, &field, 1);
    }
}

static void
members_that_never_answer_a_lowering_lose_their_link(void **state)
{
    (void)state;
    struct world *world = new_world(64 * MIB);
    world->filter = pass;
    mute = "evil";
    struct world_agent *evil[HOLDERS];
    for (int i = 0; i < HOLDERS; i++) {
        char slug[8];
        snprintf(slug, sizeof slug, "evil%d", i);
        evil[i] = world_agent(world, slug, NULL, fast);
    }
    for (int i = 0; i < HOLDERS; i++)
        hoard(evil[i]);
    world_run(world, 100 * MS);
    uint64_t hoarded = held_by(evil, HOLDERS);
    struct world_agent *web = world_agent(world, "web", "8080", fast);
    struct world_agent *cli = world_agent(world, "cli", NULL, fast);
    struct world_program *program = world_dial(cli, "web", 8080, 1000, 0);
    world_run(world, 9 * SECOND);
    assert_true(program->closed && !program->reason); /* room was kept for them */
    uint64_t before = held_by(evil, HOLDERS);
    world_run(world, 3 * SECOND);
    uint64_t after = held_by(evil, HOLDERS);
    print_message("# %d members hold %llu %% of queue-max, %llu %% after 9 s, %llu %% after 12 s\n",
                  HOLDERS, (unsigned long long)(100 * hoarded / (64 * MIB)),
                  (unsigned long long)(100 * before / (64 * MIB)),
                  (unsigned long long)(100 * after / (64 * MIB)));
    assert_true(after <= 32 * MIB);
    assert_true(world->hub->count.allowances_kept > 0);
    int lost = 0;
    for (int i = 0; i < HOLDERS; i++) {
        lost += !evil[i]->up;
        assert_true(evil[i]->up || evil[i]->lost_reason == CBX_REASON_TIMED_OUT);
    }
    assert_int_equal(lost, world->hub->count.allowances_kept);
    assert_true(web->up && cli->up);
    world_free(world);
}

/* All that a link may have is granted on streams whose readers take little or nothing. */
static struct world *
crowded_world(struct world_agent **big, struct world_agent **from, struct world_program **program)
{
    struct world *world = new_world(16 * MIB);
    struct world_path path = {.delay_us = 40 * MS};
    *big = world_agent(world, "big", "8080", path);
    *from = world_agent(world, "from", NULL, path);
    for (int i = 0; i < 8; i++)
        program[i] = world_dial(*from, "big", 8080, 16 * MIB, 0);
    world_run(world, 3 * SECOND);
    for (int i = 0; i < 8; i++)
        program[i]->far->paused = true;
    world_run(world, 2 * SECOND);
    return world;
}

enum { SMALL = 10 };

/* Small links that want more than is left. Returns how much the least of them has at last. */
static uint64_t
small_ones_want(struct world *world, struct world_agent **small, struct world_program **program)
{
    struct world_path path = {.delay_us = 40 * MS};
    for (int i = 0; i < SMALL; i++) {
        char slug[8];
        snprintf(slug, sizeof slug, "s%d", i);
        small[i] = world_agent(world, slug, "8080", path);
    }
    for (int i = 0; i < SMALL; i++)
        program[i] = world_dial(small[(i + 1) % SMALL], small[i]->slug, 8080, ENDLESS, 0);
    world_run(world, 8 * SECOND);
    uint64_t least = UINT64_MAX;
    for (int i = 0; i < SMALL; i++) {
        uint64_t value = hub_link_of(small[i])->allowance.value;
        least = value < least ? value : least;
    }
    return least;
}

static void
a_busy_link_gives_way_to_small_ones_as_its_readers_take(void **state)
{
    (void)state;
    struct world_agent *big, *from, *small[SMALL];
    struct world_program *program[8], *other[SMALL];
    struct world *world = crowded_world(&big, &from, program);
    uint64_t before = hub_link_of(big)->allowance.value;
    for (int i = 0; i < 8; i++) {
        program[i]->far->paused = false;
        program[i]->gap_us = 0;
        program[i]->far->push_chop = 20000;
    }
    uint64_t least = small_ones_want(world, small, other);
    uint64_t after = hub_link_of(big)->allowance.value;
    print_message("# busy link: %llu KiB before, %llu KiB after; the least of %d others %llu KiB\n",
                  (unsigned long long)(before / KIB), (unsigned long long)(after / KIB), SMALL,
                  (unsigned long long)(least / KIB));
    assert_true(after <= before / 2);
    assert_true(least >= after / 4);
    assert_true(big->up && big->lost_count == 0);
    assert_int_equal(world->hub->count.allowances_kept, 0);
    assert_int_equal(world->hub->count.breaches, 0);
    world_free(world);
}

/* An honest agent cannot take back what its programs do not read: it answers all the same. */
static void
a_link_whose_readers_take_nothing_stays(void **state)
{
    (void)state;
    struct world_agent *big, *from, *small[SMALL];
    struct world_program *program[8], *other[SMALL];
    struct world *world = crowded_world(&big, &from, program);
    uint64_t granted = hub_link_of(big)->allowance.granted;
    small_ones_want(world, small, other);
    const struct hub_allowance *one = &hub_link_of(big)->allowance;
    print_message("# granted %llu KiB and not taken; allowance %llu KiB, granted %llu KiB\n",
                  (unsigned long long)(granted / KIB), (unsigned long long)(one->value / KIB),
                  (unsigned long long)(one->granted / KIB));
    assert_true(big->up && big->lost_count == 0);
    assert_int_equal(world->hub->count.allowances_kept, 0);
    assert_int_equal(world->hub->count.breaches, 0);
    uint64_t received[8];
    for (int i = 0; i < 8; i++) {
        received[i] = program[i]->far->received;
        program[i]->far->paused = false;
    }
    world_run(world, SECOND);
    for (int i = 0; i < 8; i++)
        assert_true(program[i]->far->received > received[i] + 64 * KIB && !program[i]->closed);
    world_free(world);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(records_of_one_byte_wait_within_queue_max),
        cmocka_unit_test(records_of_any_size_wait_within_queue_max),
        cmocka_unit_test(a_hostile_sender_of_small_records_is_stopped_at_its_credit),
        cmocka_unit_test(acknowledging_what_waits_in_the_hub_ends_the_circuit),
        cmocka_unit_test(an_interactive_stream_on_a_long_path_never_waits),
        cmocka_unit_test(tiny_records_flow_on_a_fast_link),
        cmocka_unit_test(a_burst_of_dials_waits_for_more_allowance),
        cmocka_unit_test(where_the_hub_has_no_more_a_dial_is_refused_within_a_second),
        cmocka_unit_test(members_that_never_answer_a_lowering_lose_their_link),
        cmocka_unit_test(a_busy_link_gives_way_to_small_ones_as_its_readers_take),
        cmocka_unit_test(a_link_whose_readers_take_nothing_stays),
    };
    return WORLD_RUN(tests);
}
