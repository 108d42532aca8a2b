/* SPDX-License-Identifier: MIT */
/*
 * Loads. CBX_SEED replays a run. Asserted at every step (world_check_memory):
 *  - the hub: credit outstanding per link <= its allowance; their sum <= queue_max; bytes queued in
 *    circuits, beside the headers of their records, <= that sum;
 *  - each agent: unacknowledged bytes, beside the one of each FIN, <= its send budget; credit that
 *    it granted <= its own budget and <= the allowance that the hub counts for it.
 * Asserted at the end of each load: every byte came once, in order, and every stream ended as it
 * was ended; no circuit, queued byte or granted byte is left; what else each test names.
 */
#include "agent/mesh/base.h"
#include "agent/mesh/session.h"
#include "hub/core/link.h"
#include "world.h"
#include <assert.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

enum { MS = 1000, SECOND = 1000 * 1000, GREEDY = 64, ENDLESS = 1 << 30 };
#define KIB ((uint64_t)1024)
#define MIB (1024 * KIB)

static const struct world_path fast = {0};
static const struct world_path slow = {.rate = 20 * 1000 * 1000 / 8, .delay_us = 10 * MS};

static struct world *
new_world(uint64_t queue_max)
{
    struct world *world = world_new(world_seed(), queue_max);
    world->check = world_check_memory;
    return world;
}

static bool
is_zero(const char *what, const char *whose, uint64_t value)
{
    if (value)
        fprintf(stderr, "%s of %s: %llu\n", what, whose, (unsigned long long)value);
    return value == 0;
}

/* Of what is over; and nobody found a rule broken. */
static bool
nothing_left(struct world *world)
{
    world_run(world, 2 * SECOND);
    bool none = is_zero("circuits", "the hub", world->hub->circuit_count) &&
                is_zero("bytes", "the hub", world->hub->held) &&
                is_zero("breaches", "the hub", world->hub->count.breaches) &&
                is_zero("false streams", "all", world->false_streams);
    for (uint32_t i = 0; i < world->agent_count; i++) {
        const struct world_agent *agent = world->agent[i];
        none = none && is_zero("credit granted", agent->slug, agent->mesh->hub_budget.used) &&
               is_zero("unacknowledged bytes", agent->slug, agent->mesh->send_used) &&
               is_zero("streams", agent->slug, agent->mesh->stream_count) &&
               is_zero("integrity", agent->slug, world_count(agent, "integrity"));
    }
    return none;
}

static void
finish(struct world *world, int64_t limit_us)
{
    assert_true(world_ends_clean(world, limit_us));
    assert_true(nothing_left(world));
    world_free(world);
}

/* ---- shares of one link ---- */

/* The program that takes the bytes of a one-way stream. */
static struct world_program *
sink(struct world_program *dialer, bool up)
{
    return up ? dialer->far : dialer;
}

static double
jain(struct world_program **program, const uint64_t *before, int count, bool up)
{
    double sum = 0, squares = 0;
    for (int i = 0; i < count; i++) {
        double x = (double)(sink(program[i], up)->received - before[i]);
        sum += x;
        squares += x * x;
    }
    return sum * sum / (count * squares);
}

/* Greedy streams over one slow link, `still` of them with a reader that takes nothing. */
static void
share(bool up, int still)
{
    struct world *world = new_world(0);
    world_agent(world, "web", "8080", up ? fast : slow);
    struct world_agent *cli = world_agent(world, "cli", NULL, up ? slow : fast);
    struct world_program *program[GREEDY];
    uint64_t before[GREEDY], total = 0;
    for (int i = 0; i < GREEDY; i++) {
        program[i] = world_dial(cli, "web", 8080, up ? ENDLESS : 0, up ? 0 : ENDLESS);
        sink(program[i], up)->paused = i < still;
    }
    world_run(world, 2 * SECOND);
    for (int i = 0; i < GREEDY; i++)
        before[i] = sink(program[i], up)->received;
    world_run(world, 4 * SECOND);
    for (int i = still; i < GREEDY; i++)
        total += sink(program[i], up)->received - before[i];
    double index = jain(program + still, before + still, GREEDY - still, up);
    double used = (double)total / (4.0 * (double)slow.rate);
    print_message("# %s, %d still: Jain's index %.4f, %.1f %% of the link\n", up ? "up" : "down",
                  still, index, 100 * used);
    assert_true(index >= 0.95);
    assert_true(used >= 0.9);
    for (int i = 0; i < still; i++)
        assert_int_equal(sink(program[i], up)->received, 0);
    world_free(world);
}

static void
sixty_four_greedy_uploads_share_a_link_evenly(void **state)
{
    (void)state;
    share(true, 0);
}

static void
sixty_four_greedy_downloads_share_a_link_evenly(void **state)
{
    (void)state;
    share(false, 0);
}

static void
a_still_reader_holds_up_none_of_63(void **state)
{
    (void)state;
    share(true, 1);
    share(false, 1);
}

/* ---- keystrokes ---- */

/* The longest way of a keystroke while bulk streams begin, and once they run. */
static void
keystrokes(bool up, int bulk, int64_t *begin, int64_t *run)
{
    struct world *world = new_world(0);
    world_agent(world, "web", "22,8080", up ? fast : slow);
    struct world_agent *cli = world_agent(world, "cli", NULL, up ? slow : fast);
    struct world_program *key = world_dial(cli, "web", 22, up ? 64 * 200 : 0, up ? 0 : 64 * 200);
    struct world_program *typist = up ? key : key->far;
    typist->gap_us = 50 * MS;
    typist->pull_limit = 64;
    world_run(world, SECOND);
    for (int i = 0; i < bulk; i++)
        world_dial(cli, "web", 8080, up ? ENDLESS : 0, up ? 0 : ENDLESS);
    world_run(world, 500 * MS);
    *begin = typist->late_us;
    typist->late_us = 0;
    world_run(world, 8 * SECOND);
    *run = typist->late_us;
    assert_true(sink(key, up)->received >= 64 * 180);
    print_message("# %s beside %d: at most %.1f ms, %.1f ms while they begin\n", up ? "up" : "down",
                  bulk, (double)*run / MS, (double)*begin / MS);
    world_free(world);
}

static void
a_keystroke_waits_at_most_100_ms_beside_bulk(void **state)
{
    (void)state;
    static const int bulk[] = {1, 8, 64};
    for (int i = 0; i < 6; i++) {
        int64_t begin, run;
        keystrokes(i % 2, bulk[i / 2], &begin, &run);
        assert_in_range(run, 1, 100 * MS);
        assert_in_range(begin, 1, 100 * MS);
    }
}

/* ---- memory ---- */

static void
a_thousand_stalled_streams_stay_within_the_budgets(void **state)
{
    (void)state;
    enum { STALLED = 1000 };
    struct world *world = new_world(32 * MIB);
    struct world_agent *web = world_agent(world, "web", "8080", fast);
    world_agent(world, "db", "5432", fast);
    struct world_agent *cli = world_agent(world, "cli", NULL, fast);
    cli->mesh->config.send_budget = cli->mesh->env.send_total = 8 * MIB;
    size_t before = cbx_slab_bytes();
    struct world_program *program[STALLED];
    for (int i = 0; i < STALLED; i++) {
        program[i] = world_dial(cli, "web", 8080, 64 * KIB, 0);
        program[i]->far->paused = true;
        if (i % 50 == 49)
            world_run(world, 100 * MS); /* time to ask for more allowance */
    }
    world_run(world, 5 * SECOND);
    assert_true(cli->mesh->send_used <= cli->mesh->config.send_budget);
    uint64_t granted = web->mesh->hub_budget.used, held = cbx_slab_bytes() - before;
    print_message("# granted %llu KiB, unacknowledged %llu KiB, in buffers %llu KiB\n",
                  (unsigned long long)(granted / KIB),
                  (unsigned long long)(cli->mesh->send_used / KIB),
                  (unsigned long long)(held / KIB));
    assert_true(granted >= STALLED * 4 * KIB); /* each has its floor */
    /* The sender keeps what is not acknowledged, in buffers that hold little beside it. */
    assert_true(held <= 2 * granted + 8 * MIB + cli->mesh->send_used + 2 * MIB);
    struct world_program *other = world_dial(cli, "db", 5432, 2 * MIB, 2 * MIB);
    assert_true(world_until(world, 30 * SECOND, world_closed, other));
    for (int i = 0; i < STALLED; i++) {
        assert_int_equal(program[i]->far->received, 0);
        program[i]->far->paused = false;
    }
    finish(world, 300 * SECOND);
}

/* Streams that were fast and then stop keep what they were granted; others still get their share of
 * the send budget. */
static void
stalled_streams_never_use_up_the_send_budget(void **state)
{
    (void)state;
    enum { STALLED = 12 };
    struct world *world = new_world(0);
    world_agent(world, "web", "8080", fast);
    world_agent(world, "db", "5432", fast);
    struct world_path far = {.delay_us = 20 * MS};
    struct world_agent *cli = world_agent(world, "cli", NULL, far);
    cli->mesh->config.send_budget = cli->mesh->env.send_total = 1 * MIB;
    struct world_program *program[STALLED];
    for (int i = 0; i < STALLED; i++)
        program[i] = world_dial(cli, "web", 8080, 4 * MIB, 0);
    world_run(world, 2 * SECOND);
    for (int i = 0; i < STALLED; i++)
        program[i]->far->paused = true;
    world_run(world, 2 * SECOND);
    struct world_program *other = world_dial(cli, "db", 5432, 256 * KIB, 0);
    print_message("# unacknowledged %llu of %llu KiB\n",
                  (unsigned long long)(cli->mesh->send_used / KIB),
                  (unsigned long long)(cli->mesh->env.send_total / KIB));
    assert_true(world_until(world, 30 * SECOND, world_closed, other));
    for (int i = 0; i < STALLED; i++)
        program[i]->far->paused = false;
    finish(world, 300 * SECOND);
}

enum { LINKS = 500, BUSY = 20, TURNS = 3, PONDS = 10 };

static uint64_t
allowances(struct world_agent **agent)
{
    uint64_t sum = 0;
    for (int i = 0; i < BUSY; i++)
        sum += agent[i]->mesh->allowance;
    return sum;
}

/* Half of the queue is enough for all when idle; 20 at a time want far more than the other half. */
static void
five_hundred_links_share_a_small_queue(void **state)
{
    (void)state;
    struct world *world = world_new(world_seed(), 34 * MIB);
    struct world_path path = {.delay_us = 20 * MS};
    struct world_agent *agent[LINKS];
    char pond[16];
    for (int i = 0; i < LINKS; i++) {
        char slug[16];
        snprintf(slug, sizeof slug, "a%d", i);
        snprintf(pond, sizeof pond, "pond%d", i * PONDS / LINKS); /* smaller directories */
        world->pond = pond;
        agent[i] = world_agent(world, slug, "8080", path);
        world_check_memory(world);
    }
    world->check = world_check_memory;
    world_run(world, 10 * SECOND);
    assert_int_equal(world->hub->allowances.links, LINKS);
    uint64_t peak[TURNS];
    for (int turn = 0; turn < TURNS; turn++) {
        struct world_agent **busy = agent + turn * 100;
        uint64_t idle = allowances(busy);
        struct world_program *program[BUSY];
        for (int i = 0; i < BUSY; i++)
            program[i] = world_dial(busy[BUSY + i], busy[i]->slug, 8080, 2 * MIB, 0);
        for (int i = 0; i < BUSY; i++)
            assert_true(world_until(world, 60 * SECOND, world_closed, program[i]));
        peak[turn] = allowances(busy);
        print_message("# turn %d: allowances of %d busy links %llu KiB, %llu KiB before\n", turn,
                      BUSY, (unsigned long long)(peak[turn] / KIB),
                      (unsigned long long)(idle / KIB));
        assert_true(peak[turn] >= 4 * idle);
    }
    assert_true(allowances(agent) < peak[0]); /* given back to those of later turns */
    finish(world, 60 * SECOND);
}

/* A turn of the hub looks at what has something to do: a link that woke, once; one that owes an
 * ack, before and after. All links of this test have owed acks once. */
static void
links_at_rest_cost_a_turn_nothing(void **state)
{
    (void)state;
    enum { AT_REST = 200, LOOKS_MAX = 6 };
    struct world *world = world_new(world_seed(), 1024 * MIB);
    struct world_agent *agent[AT_REST];
    for (int i = 0; i < AT_REST; i++) {
        char slug[16], pond[16];
        snprintf(slug, sizeof slug, "a%d", i);
        snprintf(pond, sizeof pond, "pond%d", i / 20);
        world->pond = pond;
        agent[i] = world_agent(world, slug, "8080", fast);
        if (i % 2)
            world_dial(agent[i], agent[i - 1]->slug, 8080, 1000, 1000);
    }
    assert_true(world_until(world, 60 * SECOND, world_all_closed, world));
    world_run(world, SECOND);
    uint64_t looked = world->hub->looked, steps = world->steps;
    struct world_program *busy = world_dial(agent[1], agent[0]->slug, 8080, 8 * MIB, 8 * MIB);
    assert_true(world_until(world, 60 * SECOND, world_closed, busy));
    looked = world->hub->looked - looked;
    steps = world->steps - steps;
    print_message("# %llu looks at links in %llu steps, %d links\n", (unsigned long long)looked,
                  (unsigned long long)steps, AT_REST);
    assert_true(looked > 0 && looked <= LOOKS_MAX * steps);
    finish(world, 60 * SECOND);
}

/* ---- no deadlock ---- */

static void
both_directions_blocked_writing_come_free(void **state)
{
    (void)state;
    struct world *world = new_world(0);
    struct world_path tight = {.buffer = 4096};
    world_agent(world, "web", "8080", tight);
    struct world_agent *cli = world_agent(world, "cli", NULL, tight);
    struct world_program *program[16];
    for (int i = 0; i < 16; i++) {
        program[i] = world_dial(cli, "web", 8080, 200000, 200000);
        program[i]->paused = program[i]->far->paused = true;
    }
    world_run(world, 2 * SECOND);
    for (int i = 0; i < 16; i++)
        program[i]->paused = program[i]->far->paused = false;
    finish(world, 120 * SECOND);
}

static struct world_path
random_path(struct world *world)
{
    return (struct world_path){
        .rate = world_random(world, 2) ? 0 : 20000 + world_random(world, 4000000),
        .delay_us = (int64_t)world_random(world, 60 * MS),
        .buffer = 4096 + (uint32_t)world_random(world, 300000),
        .chop = world_random(world, 2) ? 0 : 1 + (uint32_t)world_random(world, 20000),
        .stall_1_in = world_random(world, 2) ? 0 : 2 + (uint32_t)world_random(world, 20),
    };
}

static uint64_t
random_size(struct world *world)
{
    static const uint64_t most[] = {1, 100, 5000, 70000, 300000};
    return world_random(world, most[world_random(world, 5)] + 1);
}

static void
random_program(struct world *world, struct world_program *program)
{
    if (world_random(world, 4) == 0)
        program->push_chop = 1 + world_random(world, 9000);
    if (world_random(world, 4) == 0)
        program->pull_limit = 20 + world_random(world, 5000); /* a byte at a time is too slow */
    if (program->pull_limit > 500 && world_random(world, 2))
        program->gap_us = world_random(world, 20 * MS);
    program->paused = world_random(world, 5) == 0;
}

static void
random_event(struct world *world, struct world_program *const *dialed, int count)
{
    struct world_program *program = dialed[world_random(world, (uint64_t)count)];
    if (world_random(world, 2))
        program = program->far;
    switch (world_random(world, 8)) {
    case 0:
        world_reset(program);
        break;
    case 1:
    case 2:
        program->paused = true;
        break;
    default:
        program->paused = false;
        break;
    }
}

/* Everything may end early but nothing may stand still, or bring a wrong byte. */
static void
random_round(uint64_t seed, bool cuts)
{
    enum { DIALS = 24 };
    struct world *world =
        world_new(seed, (1 + world_random(&(struct world){.random = seed}, 8)) * MIB);
    world->check = world_check_memory;
    uint32_t agents = 2 + (uint32_t)world_random(world, 5);
    struct world_agent *agent[8];
    struct world_program *dialed[DIALS];
    for (uint32_t i = 0; i < agents; i++) {
        char slug[8];
        snprintf(slug, sizeof slug, "a%u", i);
        agent[i] = world_agent(world, slug, "8080", random_path(world));
        if (world_random(world, 3) == 0)
            agent[i]->mesh->env.epoch_bytes_max = 1000 + world_random(world, 50000);
        if (world_random(world, 3) == 0)
            agent[i]->mesh->env.send_total = agent[i]->mesh->config.send_budget =
                20000 + world_random(world, 100000);
    }
    world_run(world, SECOND); /* the slowest has heard of the last */
    for (int i = 0; i < DIALS; i++) {
        char slug[8];
        snprintf(slug, sizeof slug, "a%u", (uint32_t)world_random(world, agents));
        dialed[i] = world_dial(agent[world_random(world, agents)], slug, 8080, random_size(world),
                               random_size(world));
        random_program(world, dialed[i]);
        random_program(world, dialed[i]->far);
        world_run(world, (int64_t)world_random(world, 30 * MS));
        random_event(world, dialed, i + 1);
        struct world_agent *victim = agent[world_random(world, agents)];
        if (cuts && world_random(world, 6) == 0 && victim->up) {
            world_cut(victim);
            world_run(world, (int64_t)world_random(world, 300 * MS));
            victim->up = false;
            world_connect(victim);
        }
    }
    for (int i = 0; i < DIALS; i++)
        dialed[i]->paused = dialed[i]->far->paused = false;
    bool over = false;
    for (int64_t end = world->now + 1200ll * SECOND; !over && world->now < end;) {
        world_run(world, SECOND);
        over = true;
        for (int i = 0; i < DIALS; i++)
            over = over && dialed[i]->closed && (dialed[i]->far->closed || !dialed[i]->far->mesh);
    }
    fprintf(stderr, "%s", over ? "" : "something stands still\n");
    for (struct world_program *at = world->programs; at; at = at->next) {
        /* A dial may be refused for want of memory; without cuts nothing else fails. */
        bool ended = at->closed || !at->mesh;
        bool legal = !at->reason || cuts || at->reason == CBX_REASON_RESET ||
                     at->reason == CBX_REASON_OVERLOADED;
        if (ended && legal && !at->corrupt && (at->reason || !at->mesh || world_is_clean(at)))
            continue;
        world_is_clean(at);
        fail_msg("CBX_SEED=%llu", (unsigned long long)seed);
    }
    assert_true(over);
    if (!nothing_left(world))
        fail_msg("CBX_SEED=%llu", (unsigned long long)seed);
    world_free(world);
}

static int
rounds(void)
{
    const char *text = getenv("CBX_ROUNDS");
    return text ? atoi(text) : 60;
}

static void
random_schedules_come_to_their_end(void **state)
{
    (void)state;
    for (int i = 0; i < rounds(); i++)
        random_round(world_seed() + (uint64_t)i, false);
}

static void
random_schedules_with_lost_links_come_to_their_end(void **state)
{
    (void)state;
    for (int i = 0; i < rounds(); i++)
        random_round(world_seed() + 1000000 + (uint64_t)i, true);
}

/* ---- epochs ---- */

static void
age_sessions(struct world_agent *agent)
{
    struct mesh_peer *peer, *next;
    HASH_ITER(hh, agent->mesh->peers, peer, next) {
        struct mesh_session *session = TAILQ_FIRST(&peer->sessions);
        if (session)
            session->born -= 2 * MESH_RENEW_US;
    }
}

static void
epochs_change_in_mid_transfer(void **state)
{
    (void)state;
    struct world *world = new_world(0);
    struct world_path path = {.delay_us = 5 * MS, .chop = 3000, .stall_1_in = 9};
    struct world_agent *web = world_agent(world, "web", "8080", path);
    struct world_agent *cli = world_agent(world, "cli", NULL, path);
    web->mesh->env.epoch_bytes_max = 9000;
    cli->mesh->env.epoch_records_max = 5;
    for (int i = 0; i < 6; i++) {
        struct world_program *program = world_dial(cli, "web", 8080, 400000, 400000);
        program->far->push_chop = i % 2 ? 3000 : 0;
        program->gap_us = i % 3 ? 0 : 60 * MS;
        program->pull_limit = i % 3 ? 0 : 4000;
    }
    for (int i = 0; i < 8; i++) { /* and newer sessions on top */
        world_run(world, 600 * MS);
        age_sessions(i % 2 ? web : cli);
    }
    assert_true(world_count(cli, "handshakes") >= 3);
    assert_true(world_count(web, "handshakes") >= 3);
    finish(world, 300 * SECOND);
}

/* A direction that only ends or only acknowledges changes its epoch too. */
static void
epochs_change_around_the_end_of_a_direction(void **state)
{
    (void)state;
    struct world *world = new_world(0);
    struct world_path path = {.delay_us = 5 * MS};
    struct world_agent *web = world_agent(world, "web", "8080", path);
    struct world_agent *cli = world_agent(world, "cli", NULL, path);
    web->mesh->env.epoch_bytes_max = 9000;
    for (int i = 0; i < 4; i++) {
        struct world_program *program = world_dial(cli, "web", 8080, i < 2 ? 0 : 5, 200000);
        program->far->pull_limit = 2000;
        program->far->gap_us = 20 * MS;
        program->hold_end = i % 2;
    }
    for (int i = 0; i < 4; i++) {
        world_run(world, 400 * MS);
        age_sessions(web);
        age_sessions(cli);
    }
    for (struct world_program *at = world->programs; at; at = at->next) {
        at->hold_end = false;
        at->blocked_out = true;
    }
    finish(world, 300 * SECOND);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(sixty_four_greedy_uploads_share_a_link_evenly),
        cmocka_unit_test(sixty_four_greedy_downloads_share_a_link_evenly),
        cmocka_unit_test(a_still_reader_holds_up_none_of_63),
        cmocka_unit_test(a_keystroke_waits_at_most_100_ms_beside_bulk),
        cmocka_unit_test(a_thousand_stalled_streams_stay_within_the_budgets),
        cmocka_unit_test(stalled_streams_never_use_up_the_send_budget),
        cmocka_unit_test(five_hundred_links_share_a_small_queue),
        cmocka_unit_test(links_at_rest_cost_a_turn_nothing),
        cmocka_unit_test(both_directions_blocked_writing_come_free),
        cmocka_unit_test(random_schedules_come_to_their_end),
        cmocka_unit_test(random_schedules_with_lost_links_come_to_their_end),
        cmocka_unit_test(epochs_change_in_mid_transfer),
        cmocka_unit_test(epochs_change_around_the_end_of_a_direction),
    };
    return WORLD_RUN(tests);
}
