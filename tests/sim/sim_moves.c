/* SPDX-License-Identifier: MIT */
/*
 * Streams that change their path in the middle of their life: to a direct lane, back to the hub,
 * away from a path on which records are changed. Each is followed byte by byte. CBX_SEED replays a
 * run.
 */
#include "agent/mesh/base.h"
#include "agent/mesh/moving.h"
#include "agent/mesh/path.h"
#include "agent/mesh/peer.h"
#include "filter.h"
#include "hub/core/link.h"
#include "world.h"
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

enum { KIB = 1024, MIB = 1024 * KIB, MS = 1000 };
static const int64_t S = 1000000;
static const struct world_path near_by = {.rate = 20 * 1000 * 1000, .delay_us = 2000};

static struct world *the;
static struct world_agent *cli, *web;

static bool
both_up(void *arg)
{
    (void)arg;
    return mesh_direct_up(world_peer(cli, web->slug)) && mesh_direct_up(world_peer(web, cli->slug));
}

/* Streams of both agents that run on this plane. */
static uint32_t
on_plane(enum mesh_plane plane)
{
    uint32_t count = 0;
    const struct mesh_stream *stream;
    for (int i = 0; i < 2; i++) {
        TAILQ_FOREACH(stream, &(i ? web : cli)->mesh->streams, entry)
            count += stream->path.plane == plane && stream->core.circuit.link &&
                     !cbx_stream_resuming(&stream->core);
    }
    return count;
}

static uint32_t wanted;

static bool
all_direct(void *arg)
{
    (void)arg;
    return on_plane(MESH_PLANE_DIRECT) == wanted;
}

static bool
none_direct(void *arg)
{
    (void)arg;
    return on_plane(MESH_PLANE_DIRECT) == 0 && TAILQ_EMPTY(&cli->mesh->moving) &&
           TAILQ_EMPTY(&web->mesh->moving);
}

static int
begin(void **state)
{
    (void)state;
    the = world_new(world_seed(), 0);
    the->direct = true;
    the->check = world_check_memory;
    return 0;
}

static void
agents(void)
{
    web = world_agent(the, "web", "8080", near_by);
    cli = world_agent(the, "cli", "9090", near_by);
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
cut_direct(void)
{
    struct world_agent *connected = cli->direct ? cli : web;
    assert_non_null(connected->direct);
    world_cut_direct(connected);
}

static void
assert_all_clean(void)
{
    assert_true(world_ends_clean(the, 300 * S));
    world_run(the, S);
    assert_int_equal(the->hub->circuit_count, 0);
    for (int i = 0; i < 2; i++) {
        const struct mesh *mesh = (i ? web : cli)->mesh;
        assert_int_equal(mesh->hub_budget.used + mesh->direct_budget.used + mesh->send_used, 0);
        assert_true(TAILQ_EMPTY(&mesh->streams) && TAILQ_EMPTY(&mesh->moving));
        assert_int_equal(mesh->env.unacked_slack, 0);
        assert_int_equal(HASH_COUNT(mesh->incoming), 0);
    }
    assert_int_equal(the->false_streams, 0);
}

/* ---- to and fro ---- */

static void
a_stream_moves_and_the_hub_forgets_it(void **state)
{
    (void)state;
    agents();
    struct world_program *program = world_dial(cli, "web", 8080, 30 * MIB, 20 * MIB);
    wanted = 2;
    assert_true(world_until(the, 10 * S, all_direct, NULL));
    assert_true(program->received < 20 * MIB);
    world_run(the, 500 * MS);
    assert_int_equal(the->hub->circuit_count, 0);
    uint64_t relayed = the->hub->count.relayed_bytes;
    assert_all_clean();
    assert_int_equal(the->hub->count.relayed_bytes, relayed);
    assert_int_equal(world_count(cli, "moves") + world_count(web, "moves"), 2);
}

static void
back_when_the_lane_dies_and_there_again(void **state)
{
    (void)state;
    agents();
    world_dial(cli, "web", 8080, 400 * MIB, 400 * MIB);
    world_dial(web, "cli", 9090, 400 * MIB, 400 * MIB);
    for (struct world_program *at = the->programs; at; at = at->next) {
        at->pull_limit = 1 + world_random(the, 20000);
        at->gap_us = 5 * MS + world_random(the, 20 * MS);
    }
    wanted = 4;
    for (int i = 0; i < 3; i++) {
        assert_true(world_until(the, 70 * S, all_direct, NULL));
        world_run(the, (100 + (int64_t)world_random(the, 900)) * MS);
        cut_direct();
        assert_true(world_until(the, 10 * S, none_direct, NULL));
        assert_false(world_all_closed(the));
    }
    for (struct world_program *at = the->programs; at; at = at->next) {
        uint64_t rest = 2 * MIB; /* enough was seen */
        at->to_send = at->to_send > at->sent + rest ? at->sent + rest : at->to_send;
        at->far->expected = at->to_send;
        at->gap_us = 0; /* and slow programs are not the question any more */
    }
    assert_all_clean();
}

static void
streams_of_every_age_move_together(void **state)
{
    (void)state;
    agents();
    enum { STREAMS = 200 };
    struct world_program *idle[STREAMS];
    for (int i = 0; i < STREAMS; i++) {
        idle[i] = world_dial(i % 2 ? cli : web, i % 2 ? "web" : "cli", i % 2 ? 8080 : 9090,
                             world_random(the, 20000), world_random(the, 20000));
        idle[i]->hold_end = i % 3 != 0;
        idle[i]->pull_limit = 1 + world_random(the, 3000);
        idle[i]->gap_us = world_random(the, 20000);
        if (i % 40 == 0)
            world_run(the, 30 * MS);
    }
    for (int round = 0; round < 3; round++) {
        assert_true(world_until(the, 70 * S, both_up, NULL));
        world_run(the, (int64_t)world_random(the, 300) * MS);
        cut_direct();
        world_run(the, (int64_t)(1 + world_random(the, 100)) * MS); /* they notice */
    }
    for (int i = 0; i < STREAMS; i++) {
        idle[i]->hold_end = false;
        if (!idle[i]->closed)
            mesh_stream_readable(idle[i]->stream);
    }
    assert_all_clean();
}

/* The hub counts what was granted on a circuit until it hears that it was left: an agent that gave
 * that credit to others at once would lose its link. */
static void
credit_of_a_circuit_that_was_left_is_not_given_twice(void **state)
{
    (void)state;
    world_free(the);
    the = world_new(world_seed(), 2 * MIB);
    static struct world_path slow = {.rate = 20 * 1000 * 1000, .delay_us = 150 * MS};
    the->direct = true;
    the->direct_path = &slow; /* RESUMED takes long */
    web = world_agent(the, "web", "8080", near_by);
    cli = world_agent(the, "cli", "9090", near_by);
    world_agent(the, "db", "5432", near_by)->unreachable = true;
    world_agent(the, "mq", "5672", near_by)->unreachable = true;
    for (int i = 0; i < 8; i++)
        world_dial(cli, "web", 8080, 0, 30 * MIB);
    assert_true(world_until(the, 20 * S, both_up, NULL));
    for (int i = 0; i < 8; i++) {
        world_dial(cli, "db", 5432, 0, 15 * MIB);
        world_dial(cli, "mq", 5672, 0, 15 * MIB);
    }
    world_run(the, 10 * S);
    assert_int_equal(cli->lost_count + web->lost_count, 0);
    assert_all_clean();
}

/* What a program does not take stays where it is, and its stream moves all the same. */
static void
a_stalled_stream_moves(void **state)
{
    (void)state;
    agents();
    struct world_program *program = world_dial(cli, "web", 8080, 10 * MIB, 0);
    program->far->paused = true;
    wanted = 2;
    assert_true(world_until(the, 10 * S, all_direct, NULL));
    world_run(the, S);
    cut_direct();
    assert_true(world_until(the, 10 * S, none_direct, NULL));
    assert_int_equal(program->far->received, 0);
    program->far->paused = false;
    assert_all_clean();
}

/* A stream that has not ended when its paths change: 20 MiB each way, 16 KiB at a time. */
static struct world_program *
trickle(uint64_t gap_us)
{
    struct world_program *program = world_dial(cli, "web", 8080, 20 * MIB, 20 * MIB);
    program->gap_us = program->far->gap_us = gap_us;
    program->pull_limit = program->far->pull_limit = 16 * KIB;
    return program;
}

/* A member says that it is the same incarnation as cli, and dials with the identity of cli's
 * stream: it has a stream of its own, and cli's is found all the same. */
static void
another_members_stream_of_the_same_identity_is_another(void **state)
{
    (void)state;
    agents();
    struct world_agent *evil = world_agent(the, "evil", "7070", near_by);
    struct world_program *program = trickle(2 * MS);
    wanted = 2;
    assert_true(world_until(the, 10 * S, all_direct, NULL));
    memcpy(evil->mesh->incarnation, cli->mesh->incarnation, sizeof evil->mesh->incarnation);
    evil->mesh->next_counter = program->stream->counter;
    struct world_program *other = world_dial(evil, "web", 8080, 1000, 1000);
    other->hold_end = true;
    world_run(the, S);
    assert_true(other->opened);
    assert_memory_equal(other->stream->core.id, program->stream->core.id, CBX_STREAM_ID_SIZE);
    cut_direct();
    assert_true(world_until(the, 10 * S, none_direct, NULL));
    assert_false(program->closed || other->closed);
    assert_int_equal(the->false_streams, 1); /* as meant */
    the->false_streams = 0;
    other->hold_end = false;
    mesh_stream_readable(other->stream);
    assert_all_clean();
}

/* The far end has no room on its direct lanes: over the hub the stream goes on. */
static void
no_room_at_the_far_end_of_the_lane(void **state)
{
    (void)state;
    agents();
    struct world_program *program = trickle(2 * MS);
    web->mesh->direct_budget.used += 1024 * MIB; /* of others */
    assert_true(world_until(the, 10 * S, both_up, NULL));
    world_run(the, 2 * S);
    assert_false(program->closed);
    assert_int_equal(program->stream->path.plane, MESH_PLANE_SSH);
    assert_false(mesh_stream_is_moving(program->stream));
    web->mesh->direct_budget.used -= 1024 * MIB;
    assert_all_clean();
}

/* The lane stands and says nothing: what was just moving to it is not given up with it. */
static void
a_lane_that_falls_silent_is_left(void **state)
{
    (void)state;
    static struct world_path silent = {.rate = 20 * 1000 * 1000, .delay_us = 300ll * 1000 * 1000};
    agents();
    the->direct_path = &silent;
    struct world_program *program = trickle(20 * MS);
    assert_true(world_until(the, 10 * S, both_up, NULL));
    world_run(the, 4 * S);
    assert_true(mesh_stream_is_moving(program->stream));
    world_run(the, 2 * S);
    assert_false(mesh_stream_is_moving(program->stream));
    assert_int_equal(program->stream->path.plane, MESH_PLANE_SSH);
    assert_false(both_up(NULL));
    assert_all_clean();
}

/* New dials do not overtake the RESUMEs that wait before them: labels only grow. */
static void
dials_while_streams_come_back(void **state)
{
    (void)state;
    static const struct world_path narrow = {.rate = 400 * 1000, .delay_us = 5000, .buffer = 8192};
    static struct world_path wide = {.rate = 20 * 1000 * 1000, .delay_us = 2000};
    the->direct_path = &wide;
    web = world_agent(the, "web", "8080", narrow);
    cli = world_agent(the, "cli", "9090", narrow);
    world_agent(the, "db", "5432", narrow)->unreachable = true;
    for (int i = 0; i < 800; i++)
        world_dial(cli, "web", 8080, 100, 100)->hold_end = true;
    wanted = 1600;
    assert_true(world_until(the, 20 * S, all_direct, NULL));
    for (int i = 0; i < 4; i++)
        world_dial(cli, "db", 5432, 200 * KIB, 200 * KIB);
    world_run(the, 300 * MS);
    cut_direct();
    for (int i = 0; i < 40; i++) {
        world_dial(cli, "db", 5432, 1000, 1000);
        world_step(the);
    }
    assert_true(world_until(the, 14 * S, none_direct, NULL));
    assert_int_equal(cli->lost_count + web->lost_count, 0);
    for (struct world_program *at = the->programs; at; at = at->next) {
        at->hold_end = false;
        if (at->stream)
            mesh_stream_readable(at->stream);
    }
    assert_all_clean();
}

/* Credit that is due while RESUMED is on its way waits for it: the hub takes none before. */
static void
the_dialers_program_takes_bytes_while_its_stream_moves(void **state)
{
    (void)state;
    static const struct world_path far_off = {.rate = 20 * 1000 * 1000, .delay_us = 50000};
    web = world_agent(the, "web", "8080", far_off);
    cli = world_agent(the, "cli", "9090", far_off);
    struct world_program *program = world_dial(cli, "web", 8080, 0, 10 * MIB);
    program->paused = true;
    wanted = 2;
    assert_true(world_until(the, 10 * S, all_direct, NULL));
    world_run(the, 2 * S);
    cut_direct();
    while (program->stream->path.plane == MESH_PLANE_DIRECT &&
           !cbx_stream_resuming(&program->stream->core))
        world_step(the);
    world_run(the, 20 * MS);
    assert_true(cbx_stream_resuming(&program->stream->core));
    program->paused = false;
    assert_true(world_until(the, 10 * S, none_direct, NULL));
    assert_false(program->closed);
    assert_all_clean();
}

/* On its lane a member opens as fast as it can: refused, then the lane ends, and nothing else. */
static void
a_flood_of_opens_ends_the_lane_alone(void **state)
{
    (void)state;
    agents();
    struct world_program *program = trickle(20 * MS);
    wanted = 2;
    assert_true(world_until(the, 10 * S, all_direct, NULL));
    static uint8_t bytes[64];
    uint64_t refused = world_count(web, "refused");
    for (int i = 0; i < 60000 && world_peer(cli, web->slug)->direct; i++) {
        struct cbx_link *link = &world_peer(cli, web->slug)->direct->pump.link;
        struct cbx_field open[] = {
            cbx_field_text("cli"),      cbx_field_text("web"),      cbx_field_uint(8080),
            cbx_field_bytes(bytes, 16), cbx_field_bytes(bytes, 40), cbx_field_uint(1),
            cbx_field_uint(0),          cbx_field_uint(4096),       cbx_field_bytes(bytes, 64)};
        (void)cbx_link_send(link, CBX_FRAME_OPEN, cbx_link_label(link), open, 9);
        if (i % 400 == 0)
            world_run(the, 20 * MS);
    }
    world_run(the, S);
    assert_false(both_up(NULL));
    assert_true(world_count(web, "refused") - refused > 20000);
    assert_int_equal(cli->lost_count + web->lost_count, 0);
    assert_false(program->closed);
    assert_all_clean();
}

/* ---- the hub's link goes ---- */

static void
a_direct_stream_does_not_need_the_hub(void **state)
{
    (void)state;
    agents();
    world_dial(cli, "web", 8080, 200 * MIB, 0);
    wanted = 2;
    assert_true(world_until(the, 10 * S, all_direct, NULL));
    world_cut(cli);
    world_run(the, 2 * S);
    world_cut(web);
    world_run(the, S);
    world_connect(cli);
    world_connect(web);
    assert_int_equal(on_plane(MESH_PLANE_DIRECT), 2);
    assert_all_clean();
}

/* It was still on the hub, for want of a moment, when that link broke. */
static void
a_lost_link_leaves_the_direct_path(void **state)
{
    (void)state;
    agents();
    struct world_program *program = world_dial(cli, "web", 8080, 200 * MIB, 0);
    assert_true(world_until(the, 10 * S, both_up, NULL));
    world_cut(cli);
    world_run(the, 100 * MS);
    wanted = 2;
    assert_true(world_until(the, 5 * S, all_direct, NULL));
    world_connect(cli);
    assert_false(program->closed);
    assert_all_clean();
}

static void
without_any_path_it_is_lost(void **state)
{
    (void)state;
    agents();
    struct world_program *program = world_dial(cli, "web", 8080, 200 * MIB, 0);
    wanted = 2;
    assert_true(world_until(the, 10 * S, all_direct, NULL));
    world_cut(cli);
    world_run(the, 100 * MS);
    cut_direct();
    assert_true(world_until(the, S, world_closed, program));
    assert_int_equal(program->reason, CBX_REASON_LOST);
    assert_true(world_until(the, 60 * S, world_closed, program->far));
    assert_int_equal(program->far->reason, CBX_REASON_LOST);
    world_connect(cli);
}

/* ---- the far agent goes ---- */

static void
an_agent_that_stops_ends_its_streams_at_once(void **state)
{
    (void)state;
    agents();
    struct world_program *program = world_dial(cli, "web", 8080, 200 * MIB, 0);
    wanted = 2;
    assert_true(world_until(the, 10 * S, all_direct, NULL));
    mesh_shutdown(web->mesh);
    assert_true(world_until(the, S, world_closed, program));
    assert_int_not_equal(program->reason, CBX_REASON_NONE);
}

static void
a_dial_while_the_lane_dies(void **state)
{
    (void)state;
    agents();
    struct world_program *first = world_dial(cli, "web", 8080, 1000, 1000);
    first->hold_end = true;
    assert_true(world_until(the, 10 * S, both_up, NULL));
    for (int i = 0; i < 20; i++) {
        if (i % 4 == 0 && both_up(NULL))
            cut_direct();
        world_dial(cli, "web", 8080, 5000, 5000);
        world_run(the, (int64_t)world_random(the, 5000));
    }
    first->hold_end = false;
    mesh_stream_readable(first->stream);
    assert_all_clean();
}

/* ---- what does not open (rule 19) ---- */

static void
harmed(enum world_harm harm)
{
    agents();
    world_dial(cli, "web", 8080, 60 * MIB, 60 * MIB);
    wanted = 2;
    assert_true(world_until(the, 10 * S, all_direct, NULL));
    struct world_agent *connected = cli->direct ? cli : web;
    world_harm_direct(connected, harm % 2, harm, 100000 + world_random(the, 500000));
    assert_true(world_until(the, 60 * S, none_direct, NULL));
    assert_all_clean();
}

static void
a_direct_lane_that_changes_bytes(void **state)
{
    (void)state;
    harmed(WORLD_FLIP);
}

static void
a_direct_lane_that_loses_bytes(void **state)
{
    (void)state;
    harmed(WORLD_LOSE);
}

static void
a_direct_lane_that_repeats_bytes(void **state)
{
    (void)state;
    harmed(WORLD_REPEAT);
}

static void
a_direct_lane_that_reorders_bytes(void **state)
{
    (void)state;
    harmed(WORLD_SWAP);
}

static uint32_t spoil; /* DATA of the hub to spoil still */

static enum world_verdict
spoils(struct world_flow *flow, struct cbx_frame *frame)
{
    if (!flow->to_agent || frame->type != CBX_FRAME_DATA || spoil == 0)
        return WORLD_PASS;
    spoil--;
    frame->field[3].p[frame->field[3].n / 2] ^= 4;
    return WORLD_PASS;
}

static bool
is_late(void *arg)
{
    const struct world_program *program = arg;
    return program->received + program->far->received > MIB;
}

static struct world_program *resting;

/* A direct lane stands, and beside it a stream runs over the hub: as one does in the moment before
 * it is moved. */
static struct world_program *
one_on_the_hub(uint64_t up, uint64_t down)
{
    resting = world_dial(cli, "web", 8080, 1000, 1000);
    resting->hold_end = true;
    wanted = 2;
    assert_true(world_until(the, 10 * S, all_direct, NULL));
    struct mesh_peer *peer = world_peer(cli, web->slug);
    struct mesh_direct *direct = peer->direct;
    peer->direct = NULL;
    struct world_program *program = world_dial(cli, "web", 8080, up, down);
    assert_true(world_until(the, 10 * S, is_late, program));
    peer->direct = direct;
    assert_int_equal(program->stream->path.plane, MESH_PLANE_SSH);
    return program;
}

static void
end_resting(void)
{
    resting->hold_end = false;
    mesh_stream_readable(resting->stream);
}

/* A lane that goes at the next turn still stands, but a dial of this turn goes by the hub at once.
 */
static void
a_doomed_lane_takes_no_dial(void **state)
{
    (void)state;
    agents();
    resting = world_dial(cli, "web", 8080, 1000, 1000);
    resting->hold_end = true;
    wanted = 1;
    assert_true(world_until(the, 10 * S, all_direct, NULL));
    mesh_direct_doom(world_peer(cli, web->slug), "tried");
    assert_true(mesh_direct_up(world_peer(cli, web->slug)));
    struct world_program *program = world_dial(cli, "web", 8080, MIB, MIB);
    assert_true(world_until(the, 10 * S, is_late, program));
    assert_false(program->stream->retried);
    assert_int_equal(program->stream->path.plane, MESH_PLANE_SSH);
    assert_false(mesh_direct_up(world_peer(cli, web->slug)));
    end_resting();
    assert_all_clean();
}

/* A hub that changes a record is found out at once; where another path stands the stream takes it,
 * and nothing of the record was delivered. */
static void
a_hub_that_changes_bytes_with_a_lane_beside_it(void **state)
{
    (void)state;
    the->filter = spoils;
    agents();
    one_on_the_hub(20 * MIB, 20 * MIB);
    spoil = 1;
    wanted = 4;
    assert_true(world_until(the, 10 * S, all_direct, NULL));
    assert_int_equal(spoil, 0);
    end_resting();
    assert_all_clean();
    assert_true(world_count(cli, "integrity") + world_count(web, "integrity") >= 1);
}

static void
a_second_broken_record_ends_the_stream(void **state)
{
    (void)state;
    the->filter = spoils;
    agents();
    struct world_program *program = one_on_the_hub(20 * MIB, 20 * MIB);
    program->stream->move.broken = true; /* that was the first */
    program->far->stream->move.broken = true;
    spoil = 1;
    assert_true(world_until(the, 10 * S, world_closed, program));
    assert_true(world_until(the, 10 * S, world_closed, program->far));
    assert_int_equal(program->reason, CBX_REASON_INTEGRITY);
    assert_int_equal(program->far->reason, CBX_REASON_INTEGRITY);
    assert_false(program->corrupt || program->far->corrupt);
    end_resting();
    assert_true(world_until(the, 10 * S, world_closed, resting));
    assert_true(world_is_clean(resting));
}

/* ---- a hub that meddles with moves ---- */

enum meddle { CHANGES = 1, DROPS, REPEATS, HOLDS };
static struct {
    enum meddle how;
    enum cbx_frame_type type;
    uint32_t times;
    struct world_copy *held;
} meddles;

static enum world_verdict
meddle(struct world_flow *flow, struct cbx_frame *frame)
{
    if (!flow->to_agent || frame->type != meddles.type || meddles.how == 0)
        return WORLD_PASS;
    meddles.times++;
    bool resume = frame->type == CBX_FRAME_RESUME;
    struct world_copy *held;
    switch (meddles.how) {
    case CHANGES:
        frame->field[resume ? 6 : 1].u++;
        return WORLD_CHANGED;
    case REPEATS:
        world_inject(flow, frame->type, frame->label, frame->field, frame->count);
        world_inject_copy(flow, world_keep(flow, frame),
                          resume ? world_take_label(flow->agent) : frame->label);
        return WORLD_DONE;
    case HOLDS: /* and says each one to the stream that asked before */
        held = meddles.held;
        meddles.held = world_keep(flow, frame);
        if (held)
            world_inject_copy(flow, held, frame->label);
        return held ? WORLD_DONE : WORLD_DROP;
    default:
        return WORLD_DROP;
    }
}

/* Whatever it does to the words with which streams move: some end, none waits for ever, no byte is
 * false, lost or doubled, and what never came its way goes on. */
static void
meddle_with(enum meddle how, enum cbx_frame_type type)
{
    the->filter = meddle;
    memset(&meddles, 0, sizeof meddles);
    agents();
    world_agent(the, "db", "5432", near_by)->unreachable = true;
    struct world_program *moving[3];
    for (int i = 0; i < 3; i++)
        moving[i] = trickle(5 * MS);
    wanted = 6;
    assert_true(world_until(the, 10 * S, all_direct, NULL));
    struct world_program *other = world_dial(cli, "db", 5432, MIB, MIB);
    meddles.how = how;
    meddles.type = type;
    cut_direct();
    assert_true(world_until(the, 40 * S, world_all_closed, the));
    assert_true(meddles.times > 0);
    assert_true(world_is_clean(other));
    for (int i = 0; i < 3; i++) {
        assert_false(moving[i]->corrupt || moving[i]->far->corrupt);
        assert_true(moving[i]->reason || world_is_clean(moving[i]));
        if (how == REPEATS && type == CBX_FRAME_RESUME)
            assert_true(world_is_clean(moving[i]) && world_is_clean(moving[i]->far));
    }
    assert_int_equal(cli->lost_count + web->lost_count, 0);
    meddles.how = 0;
    world_run(the, S);
    assert_int_equal(cli->mesh->hub_budget.used + web->mesh->hub_budget.used, 0);
    assert_int_equal(cli->mesh->send_used + web->mesh->send_used, 0);
    assert_int_equal(the->false_streams, 0);
}

#define MEDDLE(name, how, type)                                                                    \
    static void name(void **state)                                                                 \
    {                                                                                              \
        (void)state;                                                                               \
        meddle_with(how, type);                                                                    \
    }
MEDDLE(a_resume_that_the_hub_changes, CHANGES, CBX_FRAME_RESUME)
MEDDLE(a_resume_that_the_hub_drops, DROPS, CBX_FRAME_RESUME)
MEDDLE(a_resume_that_the_hub_repeats, REPEATS, CBX_FRAME_RESUME)
MEDDLE(resumes_that_the_hub_crosses, HOLDS, CBX_FRAME_RESUME)
MEDDLE(a_resumed_that_the_hub_changes, CHANGES, CBX_FRAME_RESUMED)
MEDDLE(a_resumed_that_the_hub_drops, DROPS, CBX_FRAME_RESUMED)
MEDDLE(a_resumed_that_the_hub_repeats, REPEATS, CBX_FRAME_RESUMED)
MEDDLE(resumeds_that_the_hub_crosses, HOLDS, CBX_FRAME_RESUMED)

static bool deaf; /* cli hears no CREDIT */

static enum world_verdict
swallows(struct world_flow *flow, struct cbx_frame *frame)
{
    bool its = flow->to_agent && flow->agent == cli && frame->type == CBX_FRAME_CREDIT;
    return its && deaf ? WORLD_DROP : WORLD_PASS;
}

/* The target's stream had its clean end; the dialer lacks only the word of it, and its path is
 * lost. */
static void
a_tombstone_says_the_last_word_again(void **state)
{
    (void)state;
    the->filter = swallows;
    deaf = false;
    agents();
    struct world_program *program = one_on_the_hub(2 * MIB, MIB);
    while (program->sent < program->to_send)
        world_step(the);
    deaf = true;
    assert_true(world_until(the, 10 * S, world_closed, program->far));
    assert_true(world_is_clean(program->far));
    world_run(the, S);
    assert_false(program->closed);
    world_cut(cli);
    assert_true(world_until(the, 2 * S, world_closed, program));
    assert_true(world_is_clean(program));
    deaf = false;
    world_connect(cli);
    end_resting();
    assert_all_clean();
}

/* The target's stream ends, over the hub, in the same turn in which the dialer's RESUME comes over
 * the new lane: it had its clean end, and says so. */
static void
a_stream_that_ends_while_it_moves(void **state)
{
    (void)state;
    agents();
    enum { STREAMS = 16 };
    for (int round = 0; round < 20; round++) {
        struct world_program *program[STREAMS];
        for (int i = 0; i < STREAMS; i++) {
            program[i] = world_dial(cli, "web", 8080, world_random(the, 2000), 4);
            world_run(the, (int64_t)world_random(the, 1500));
        }
        assert_true(world_until(the, 30 * S, world_all_closed, the));
        for (int i = 0; i < STREAMS; i++)
            assert_true(world_is_clean(program[i]) && world_is_clean(program[i]->far));
        world_run(the, S);
        if (both_up(NULL))
            cut_direct();
        world_run(the, 61 * S);
    }
}

static void
a_hub_that_changes_bytes_alone(void **state)
{
    (void)state;
    the->filter = spoils;
    agents();
    web->unreachable = cli->unreachable = true;
    struct world_program *program = world_dial(cli, "web", 8080, 20 * MIB, 20 * MIB);
    world_run(the, 500 * MS);
    spoil = 1;
    assert_true(world_until(the, 60 * S, world_all_closed, the));
    assert_int_equal(program->reason, CBX_REASON_INTEGRITY);
    assert_false(program->corrupt || program->far->corrupt);
    assert_int_equal(world_count(cli, "integrity") + world_count(web, "integrity"), 1);
}

int
main(void)
{
#define T(name) cmocka_unit_test_setup_teardown(name, begin, end)
    const struct CMUnitTest tests[] = {
        T(a_stream_moves_and_the_hub_forgets_it),
        T(back_when_the_lane_dies_and_there_again),
        T(streams_of_every_age_move_together),
        T(credit_of_a_circuit_that_was_left_is_not_given_twice),
        T(a_stalled_stream_moves),
        T(another_members_stream_of_the_same_identity_is_another),
        T(no_room_at_the_far_end_of_the_lane),
        T(a_lane_that_falls_silent_is_left),
        T(a_flood_of_opens_ends_the_lane_alone),
        T(dials_while_streams_come_back),
        T(the_dialers_program_takes_bytes_while_its_stream_moves),
        T(a_direct_stream_does_not_need_the_hub),
        T(a_lost_link_leaves_the_direct_path),
        T(without_any_path_it_is_lost),
        T(an_agent_that_stops_ends_its_streams_at_once),
        T(a_dial_while_the_lane_dies),
        T(a_direct_lane_that_changes_bytes),
        T(a_direct_lane_that_loses_bytes),
        T(a_direct_lane_that_repeats_bytes),
        T(a_direct_lane_that_reorders_bytes),
        T(a_doomed_lane_takes_no_dial),
        T(a_hub_that_changes_bytes_with_a_lane_beside_it),
        T(a_hub_that_changes_bytes_alone),
        T(a_second_broken_record_ends_the_stream),
        T(a_resume_that_the_hub_changes),
        T(a_resume_that_the_hub_drops),
        T(a_resume_that_the_hub_repeats),
        T(resumes_that_the_hub_crosses),
        T(a_resumed_that_the_hub_changes),
        T(a_resumed_that_the_hub_drops),
        T(a_resumed_that_the_hub_repeats),
        T(resumeds_that_the_hub_crosses),
        T(a_tombstone_says_the_last_word_again),
        T(a_stream_that_ends_while_it_moves),
    };
    return WORLD_RUN(tests);
}
