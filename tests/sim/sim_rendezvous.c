/* SPDX-License-Identifier: MIT */
/*
 * How two agents come to a direct lane (rule 29): who offers, who connects, what is said when none
 * can, how often it is tried; and a hub or a member that forges, repeats, reorders, swallows what
 * they say to each other, or names addresses that are not to be tried. CBX_SEED replays a run.
 */
#include "agent/mesh/base.h"
#include "agent/mesh/direct.h"
#include "agent/mesh/path.h"
#include "agent/mesh/peer.h"
#include "agent/mesh/session.h"
#include "agent/mesh/why.h"
#include "common/session/rendezvous.h"
#include "direct.h"
#include "filter.h"
#include "hub/core/link.h"
#include "world.h"
#include <setjmp.h>
#include <sodium.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static const int64_t S = 1000000;
static const struct world_path near_by = {.delay_us = 2000};

/* cli has a stream to web that stays open; one of the two offers. */
struct pond {
    struct world *world;
    struct world_agent *cli, *web;
    struct world_agent *offerer, *answerer;
    struct world_program *stream;
};

/* What the hub does to the MEETs that pass it; NULL: passes them on. */
static enum world_verdict (*act)(struct world_flow *flow, struct cbx_frame *frame);
static struct world_copy *kept[16];
static int seen;

static enum world_verdict
filter(struct world_flow *flow, struct cbx_frame *frame)
{
    if (frame->type != CBX_FRAME_RENDEZVOUS || !flow->to_agent)
        return WORLD_PASS;
    if (seen < 16)
        kept[seen] = world_keep(flow, frame);
    seen++;
    return act ? act(flow, frame) : WORLD_PASS;
}

static void
order(struct pond *pond)
{
    bool cli =
        memcmp(pond->cli->identity.sign.public_key, pond->web->identity.sign.public_key, 32) < 0;
    pond->offerer = cli ? pond->cli : pond->web;
    pond->answerer = cli ? pond->web : pond->cli;
}

static void
begin(struct pond *pond)
{
    memset(pond, 0, sizeof *pond);
    act = NULL;
    seen = 0;
    pond->world = world_new(world_seed(), 0);
    pond->world->filter = filter;
    pond->world->direct = true;
    pond->web = world_agent(pond->world, "web", "8080", near_by);
    pond->cli = world_agent(pond->world, "cli", NULL, near_by);
    order(pond);
}

static void
dial(struct pond *pond)
{
    pond->stream = world_dial(pond->cli, "web", 8080, 1000, 1000);
    pond->stream->hold_end = true;
}

static void
let_end(struct world_program *program)
{
    assert_false(program->closed);
    program->hold_end = false;
    mesh_stream_readable(program->stream);
}

/* Byte-exact to its end, whatever became of lanes. */
static void
finish(struct pond *pond)
{
    if (pond->stream) {
        let_end(pond->stream);
        bool closed = world_until(pond->world, 60 * S, world_closed, pond->stream);
        assert_true(closed);
        assert_true(world_is_clean(pond->stream));
    }
    assert_int_equal(pond->world->false_streams, 0);
    world_free(pond->world);
}

static bool
is_up(void *arg)
{
    const struct pond *pond = arg;
    return mesh_direct_up(world_peer(pond->cli, pond->web->slug)) &&
           mesh_direct_up(world_peer(pond->web, pond->cli->slug));
}

static const char *
why(const struct world_agent *agent, const struct world_agent *other)
{
    static char text[400];
    mesh_why_not_direct(world_peer(agent, other->slug), text, sizeof text);
    return text;
}

static void
assert_why(const struct world_agent *agent, const struct world_agent *other, const char *part)
{
    if (!strstr(why(agent, other), part))
        fail_msg("\"%s\" is not in \"%s\"", part, why(agent, other));
}

/* Nothing is left of a try, nowhere. */
static void
assert_rest(const struct pond *pond)
{
    assert_null(world_peer(pond->cli, pond->web->slug)->rendezvous.try);
    assert_null(world_peer(pond->web, pond->cli->slug)->rendezvous.try);
    assert_null(pond->world->expected);
    assert_null(pond->world->connecting);
}

static void
assert_no_lane(const struct pond *pond)
{
    assert_int_equal(world_count(pond->cli, "direct_established"), 0);
    assert_int_equal(world_count(pond->web, "direct_established"), 0);
    assert_rest(pond);
}

/* ---- who connects ---- */

static void
the_answerer_connects_at_once(void **state)
{
    (void)state;
    struct pond pond;
    begin(&pond);
    world_run(pond.world, 5 * S);
    assert_int_equal(seen, 0); /* not before there is a stream */
    dial(&pond);
    assert_true(world_until(pond.world, S, is_up, &pond));
    assert_int_equal(pond.answerer->connects, 1);
    assert_int_equal(pond.offerer->connects, 0);
    assert_int_equal(seen, 2); /* OFFER, ANSWER */
    assert_rest(&pond);
    world_run(pond.world, 300 * S);
    assert_int_equal(seen, 2);
    assert_true(is_up(&pond));
    finish(&pond);
}

static void
the_offerer_connects_when_it_is_not_reachable_itself(void **state)
{
    (void)state;
    struct pond pond;
    begin(&pond);
    pond.offerer->unreachable = true;
    dial(&pond);
    assert_true(world_until(pond.world, 5 * S, is_up, &pond));
    assert_int_equal(pond.answerer->connects, 1);
    assert_int_equal(pond.offerer->connects, 1);
    assert_int_equal(seen, 3); /* OFFER, ANSWER, TURN */
    assert_rest(&pond);
    finish(&pond);
}

static void
when_neither_can_it_is_tried_once_a_minute(void **state)
{
    (void)state;
    struct pond pond;
    begin(&pond);
    pond.offerer->unreachable = pond.answerer->unreachable = true;
    dial(&pond);
    world_run(pond.world, 10 * S);
    assert_int_equal(seen, 4); /* OFFER, ANSWER, TURN, FAIL */
    assert_why(pond.cli, pond.web, "neither side can reach the other directly; next try in 5");
    assert_why(pond.web, pond.cli, "neither side can reach the other directly; next try in 5");
    world_run(pond.world, 240 * S);
    assert_int_equal(world_count(pond.offerer, "rendezvous"), 5);
    assert_int_equal(pond.offerer->connects, 5);
    assert_int_equal(pond.answerer->connects, 5);
    assert_no_lane(&pond);
    /* And the next one holds, once the road is open. */
    pond.answerer->unreachable = false;
    assert_true(world_until(pond.world, 70 * S, is_up, &pond));
    finish(&pond);
}

static void
loopback_is_tried_on_the_same_host_only(void **state)
{
    (void)state;
    for (uint32_t host = 1; host <= 2; host++) {
        struct pond pond;
        begin(&pond);
        pond.cli->unreachable = pond.web->unreachable = true;
        pond.cli->host = 1;
        pond.web->host = host;
        dial(&pond);
        assert_int_equal(world_until(pond.world, 20 * S, is_up, &pond), host == 1);
        assert_rest(&pond);
        finish(&pond);
    }
}

/* ---- who may not ---- */

static void
an_agent_with_direct_off_refuses(void **state)
{
    (void)state;
    struct pond pond;
    begin(&pond);
    pond.answerer->mesh->config.direct = false;
    dial(&pond);
    world_run(pond.world, 200 * S);
    assert_int_equal(seen, 2); /* OFFER, REFUSE: never again */
    assert_why(pond.offerer, pond.answerer, "its agent runs with --direct off");
    assert_why(pond.answerer, pond.offerer, "direct lanes are off here (--direct off)");
    assert_int_equal(pond.answerer->connects + pond.offerer->connects, 0);
    assert_no_lane(&pond);
    finish(&pond);
}

static void
an_agent_with_direct_off_never_offers(void **state)
{
    (void)state;
    struct pond pond;
    begin(&pond);
    pond.offerer->mesh->config.direct = false;
    dial(&pond);
    world_run(pond.world, 5 * S);
    assert_why(pond.answerer, pond.offerer, "its agent has not offered a direct lane yet");
    world_run(pond.world, 95 * S);
    assert_int_equal(seen, 0);
    assert_why(pond.answerer, pond.offerer, "does it run with --direct off?");
    finish(&pond);
}

static void
a_hub_that_forbids_it_is_obeyed_and_drops_meets(void **state)
{
    (void)state;
    struct pond pond;
    memset(&pond, 0, sizeof pond);
    act = NULL;
    seen = 0;
    pond.world = world_new(world_seed(), 0);
    pond.world->hub->config.direct = false;
    pond.world->filter = filter;
    pond.world->direct = true;
    pond.web = world_agent(pond.world, "web", "8080", near_by);
    pond.cli = world_agent(pond.world, "cli", NULL, near_by);
    order(&pond);
    dial(&pond);
    world_run(pond.world, 100 * S);
    assert_why(pond.cli, pond.web, "the hub does not allow direct lanes (--direct off)");
    assert_int_equal(pond.world->hub->count.rendezvous_dropped, 0);
    pond.offerer->mesh->hub_direct = true; /* one that does not obey */
    world_run(pond.world, 20 * S);
    assert_int_equal(seen, 0);
    assert_int_equal(pond.world->hub->count.rendezvous_dropped, 1);
    assert_int_equal(pond.world->hub->count.rendezvous, 0);
    assert_why(pond.offerer, pond.answerer, "its agent did not answer; next try in");
    finish(&pond);
}

/* ---- lanes that are lost ---- */

static void
a_lost_lane_is_tried_again_a_minute_after_the_last_try(void **state)
{
    (void)state;
    struct pond pond;
    begin(&pond);
    dial(&pond);
    assert_true(world_until(pond.world, S, is_up, &pond));
    int64_t first = pond.world->now;
    world_run(pond.world, 5 * S);
    mesh_direct_drop(world_peer(pond.cli, pond.web->slug), "tried");
    world_run(pond.world, S);
    assert_false(mesh_direct_up(world_peer(pond.cli, pond.web->slug)));
    assert_false(mesh_direct_up(world_peer(pond.web, pond.cli->slug))); /* it was told */
    assert_why(pond.cli, pond.web, "; next try in");
    assert_why(pond.web, pond.cli, "; next try in");
    assert_true(world_until(pond.world, 70 * S, is_up, &pond));
    assert_true(pond.world->now - first > 55 * S);
    /* One that stood for longer is tried again at once. */
    world_run(pond.world, 70 * S);
    mesh_direct_drop(world_peer(pond.web, pond.cli->slug), "tried");
    assert_true(world_until(pond.world, 2 * S, is_up, &pond));
    finish(&pond);
}

/* Both dial at once: there are two sessions, and each end hears of them in another order. */
static void
crossed_handshakes_keep_nobody_apart(void **state)
{
    (void)state;
    struct pond pond;
    memset(&pond, 0, sizeof pond);
    act = NULL;
    pond.world = world_new(world_seed(), 0);
    pond.world->direct = true;
    pond.web = world_agent(pond.world, "web", "8080", near_by);
    pond.cli = world_agent(pond.world, "cli", "9090", near_by);
    order(&pond);
    dial(&pond);
    struct world_program *other = world_dial(pond.web, "cli", 9090, 1000, 1000);
    other->hold_end = true;
    assert_true(world_until(pond.world, S, is_up, &pond));
    assert_int_equal(world_count(pond.cli, "handshakes"), 1);
    assert_int_equal(world_count(pond.web, "handshakes"), 1);
    world_run(pond.world, 5 * S);
    mesh_direct_drop(world_peer(pond.cli, pond.web->slug), "tried");
    world_run(pond.world, 90 * S); /* past the time of a session that is not the newest */
    assert_true(is_up(&pond));
    mesh_direct_drop(world_peer(pond.web, pond.cli->slug), "tried");
    assert_true(world_until(pond.world, 70 * S, is_up, &pond));
    let_end(other);
    finish(&pond);
}

static void
a_lane_that_one_side_does_not_know_to_be_dead_is_replaced(void **state)
{
    (void)state;
    struct pond pond;
    begin(&pond);
    dial(&pond);
    assert_true(world_until(pond.world, S, is_up, &pond));
    world_run(pond.world, 70 * S);
    world_peer(pond.offerer, pond.answerer->slug)->rendezvous.state =
        MESH_RENDEZVOUS_REST; /* LOST never came */
    struct mesh_peer *peer = world_peer(pond.answerer, pond.offerer->slug);
    uint8_t old[CBX_LANE_ID];
    memcpy(old, peer->rendezvous.id, sizeof old);
    world_run(pond.world, 5 * S);
    assert_int_equal(peer->rendezvous.state, MESH_RENDEZVOUS_UP);
    assert_memory_not_equal(old, peer->rendezvous.id, sizeof old);
    assert_true(is_up(&pond));
    finish(&pond);
}

static void
a_restarted_agent_meets_again_at_once(void **state)
{
    (void)state;
    struct pond pond;
    begin(&pond);
    dial(&pond);
    assert_true(world_until(pond.world, S, is_up, &pond));
    mesh_free(pond.web->mesh);
    world_start(pond.web);
    pond.web->up = false;
    world_connect(pond.web);
    world_run(pond.world, S);
    dial(&pond);
    assert_true(world_until(pond.world, 5 * S, is_up, &pond));
    finish(&pond);
}

static void
a_try_ends_with_the_link_to_the_hub(void **state)
{
    (void)state;
    struct pond pond;
    begin(&pond);
    pond.offerer->unreachable = true;
    dial(&pond);
    world_run(pond.world, S); /* the answerer connects, to nobody */
    assert_non_null(pond.world->connecting);
    assert_int_equal(world_direct_expects(pond.offerer), 1);
    pond.stream = NULL; /* its link is lost */
    world_cut(pond.cli);
    world_cut(pond.web);
    world_run(pond.world, 100000);
    assert_no_lane(&pond);
    world_connect(pond.cli);
    world_connect(pond.web);
    finish(&pond);
}

/* ---- a hostile hub ---- */

static int changed_field;

static enum world_verdict
change(struct world_flow *flow, struct cbx_frame *frame)
{
    (void)flow;
    struct cbx_field *field = &frame->field[changed_field];
    if (changed_field == 3)
        field->u += 1;
    else
        field->p[field->n / 2] ^= 1;
    return WORLD_CHANGED;
}

static uint64_t
not_believed(const struct world_agent *agent)
{
    return world_count(agent, "rendezvous_refused") + world_count(agent, "stale_frames") +
           world_count(agent, "replayed");
}

static void
a_changed_message_is_not_believed(void **state)
{
    (void)state;
    for (changed_field = 0; changed_field < 5; changed_field++) {
        struct pond pond;
        begin(&pond);
        act = change;
        dial(&pond);
        world_run(pond.world, 20 * S);
        assert_int_equal(seen, 1);
        assert_int_equal(not_believed(pond.answerer), 1);
        assert_why(pond.offerer, pond.answerer, "its agent did not answer");
        assert_int_equal(pond.answerer->connects, 0);
        assert_no_lane(&pond);
        act = NULL;
        assert_true(world_until(pond.world, 70 * S, is_up, &pond));
        finish(&pond);
    }
}

static enum world_verdict
swallow(struct world_flow *flow, struct cbx_frame *frame)
{
    (void)flow;
    (void)frame;
    return WORLD_DROP;
}

static void
a_hub_that_swallows_them_costs_one_message_a_minute(void **state)
{
    (void)state;
    struct pond pond;
    begin(&pond);
    act = swallow;
    dial(&pond);
    world_run(pond.world, 195 * S);
    assert_int_equal(seen, 4);
    assert_why(pond.offerer, pond.answerer, "its agent did not answer");
    assert_no_lane(&pond);
    finish(&pond);
}

static void
send_kept(struct pond *pond, struct world_agent *to, int which)
{
    struct world_flow flow;
    assert_true(world_flow_of(to, true, &flow));
    world_inject_copy(&flow, kept[which], 0);
    world_run(pond->world, 100000);
}

static void
a_repeated_message_changes_nothing(void **state)
{
    (void)state;
    struct pond pond;
    begin(&pond);
    pond.offerer->unreachable = pond.answerer->unreachable = true;
    dial(&pond);
    world_run(pond.world, 20 * S);
    assert_int_equal(seen, 4);
    uint64_t connects = pond.offerer->connects + pond.answerer->connects;
    for (int i = 0; i < 4; i++) {
        bool to_answerer = i == 0 || i == 3; /* OFFER, FAIL */
        struct world_agent *to = to_answerer ? pond.answerer : pond.offerer;
        uint64_t before = world_count(to, "replayed");
        send_kept(&pond, to, i);
        assert_int_equal(world_count(to, "replayed"), before + 1);
        /* And to the one who said it. */
        struct world_agent *back = to_answerer ? pond.offerer : pond.answerer;
        before = not_believed(back);
        send_kept(&pond, back, i);
        assert_int_equal(not_believed(back), before + 1);
    }
    assert_int_equal(pond.offerer->connects + pond.answerer->connects, connects);
    assert_no_lane(&pond);
    finish(&pond);
}

/* The hub turns the names around: what we said comes back to us as if the peer had said it. */
static enum world_verdict
reflect(struct world_flow *flow, struct cbx_frame *frame)
{
    struct pond *pond = flow->world->filter_arg;
    struct world_flow back;
    struct cbx_field fields[5];
    memcpy(fields, frame->field, sizeof fields);
    fields[0] = frame->field[1];
    fields[1] = frame->field[0];
    if (world_flow_of(pond->offerer, true, &back))
        world_inject(&back, CBX_FRAME_RENDEZVOUS, 0, fields, 5);
    return WORLD_DROP;
}

static void
a_reflected_message_is_not_believed(void **state)
{
    (void)state;
    struct pond pond;
    begin(&pond);
    pond.world->filter_arg = &pond;
    act = reflect;
    dial(&pond);
    world_run(pond.world, 20 * S);
    assert_int_equal(world_count(pond.offerer, "rendezvous_refused"), 1);
    assert_int_equal(pond.offerer->connects + pond.answerer->connects, 0);
    assert_no_lane(&pond);
    finish(&pond);
}

/* ANSWER is held back until TURN has passed. */
static enum world_verdict
hold_answer(struct world_flow *flow, struct cbx_frame *frame)
{
    (void)frame;
    if (seen == 2)
        return WORLD_DROP;
    if (seen == 3) {
        world_inject(flow, frame->type, 0, frame->field, frame->count);
        world_inject_copy(flow, kept[1], 0);
        return WORLD_DROP;
    }
    return WORLD_PASS;
}

static void
reordered_messages_end_the_try_and_no_more(void **state)
{
    (void)state;
    struct pond pond;
    begin(&pond);
    pond.offerer->unreachable = true;
    act = hold_answer;
    dial(&pond);
    world_run(pond.world, 40 * S);
    assert_int_equal(world_count(pond.offerer, "replayed"), 1);
    assert_int_equal(world_count(pond.offerer, "rendezvous_refused"), 1);
    assert_int_equal(pond.offerer->connects, 0);
    assert_no_lane(&pond);
    act = NULL;
    assert_true(world_until(pond.world, 70 * S, is_up, &pond));
    finish(&pond);
}

/* ---- a hostile member ---- */

/* As the offerer would say it, with the keys of its session. */
static void
say(struct pond *pond, struct world_agent *from, const struct cbx_rendezvous *rendezvous)
{
    struct world_agent *to = from == pond->cli ? pond->web : pond->cli;
    struct mesh_session *session = mesh_peer_newest(world_peer(from, to->slug));
    struct world_flow flow;
    struct cbx_frame frame;
    struct cbx_frame_decoder decoder;
    struct cbx_error error;
    assert_non_null(session);
    assert_true(world_flow_of(to, true, &flow));
    struct cbx_slice slice = cbx_rendezvous_seal(from->mesh->aead, &session->keys, from->slug,
                                                 to->slug, ++session->rendezvous_sent, rendezvous);
    assert_non_null(slice.slab);
    assert_int_equal(cbx_frame_decoder_init(&decoder), 0);
    assert_int_equal(cbx_frame_decode(&decoder, slice, &frame, &error), 0);
    world_inject(&flow, CBX_FRAME_RENDEZVOUS, 0, frame.field, frame.count);
    cbx_frame_decoder_dispose(&decoder);
    cbx_slice_drop(&slice);
    world_run(pond->world, 100000);
}

static void
addresses_that_are_not_to_be_tried_are_not(void **state)
{
    (void)state;
    static const char *const bad[] = {"127.0.0.1:7000", "[::1]:7000",       "169.254.1.1:7000",
                                      "[fe80::1]:7000", "224.0.0.1:7000",   "0.0.0.0:7000",
                                      "10.0.0.1:22",    "name.example:7000"};
    struct pond pond;
    begin(&pond);
    act = swallow; /* the offerer's own */
    dial(&pond);
    world_run(pond.world, 5 * S);
    act = NULL;
    struct cbx_rendezvous rendezvous = {
        .step = CBX_RENDEZVOUS_OFFER, .id = "an id of its own", .count = 8};
    for (int i = 0; i < 8; i++)
        strcpy(rendezvous.candidate[i], bad[i]);
    seen = 0;
    say(&pond, pond.offerer, &rendezvous);
    assert_int_equal(pond.answerer->connects, 0);
    assert_int_equal(world_count(pond.answerer, "rendezvous_refused"), 6); /* not loopback */
    assert_int_equal(seen, 2); /* ANSWER, and TURN at once */
    world_run(pond.world, 20 * S);
    assert_no_lane(&pond);
    finish(&pond);
}

static void
a_flood_of_offers_costs_three_tries(void **state)
{
    (void)state;
    struct pond pond;
    begin(&pond);
    act = swallow;
    dial(&pond);
    world_run(pond.world, 5 * S);
    act = NULL;
    struct cbx_rendezvous rendezvous = {.step = CBX_RENDEZVOUS_OFFER, .count = 1};
    strcpy(rendezvous.candidate[0], "203.0.113.9:7000");
    for (int i = 0; i < 100; i++) {
        memset(rendezvous.id, i + 1, sizeof rendezvous.id);
        say(&pond, pond.offerer, &rendezvous);
    }
    assert_int_equal(pond.answerer->connects, 3);
    assert_int_equal(world_count(pond.answerer, "rendezvous_refused"), 97);
    world_run(pond.world, 40 * S);
    assert_no_lane(&pond);
    finish(&pond);
}

static void
messages_out_of_their_step_change_nothing(void **state)
{
    (void)state;
    struct pond pond;
    begin(&pond);
    dial(&pond);
    assert_true(world_until(pond.world, S, is_up, &pond));
    world_run(pond.world, S);
    struct cbx_rendezvous rendezvous = {.id = "nobody's lane is"};
    for (int step = CBX_RENDEZVOUS_ANSWER; step <= CBX_RENDEZVOUS_LOST; step++) {
        rendezvous.step = (enum cbx_rendezvous_step)step;
        say(&pond, pond.cli, &rendezvous);
        say(&pond, pond.web, &rendezvous);
    }
    /* Who answers does not offer. */
    rendezvous.step = CBX_RENDEZVOUS_OFFER;
    say(&pond, pond.answerer, &rendezvous);
    assert_int_equal(world_count(pond.offerer, "rendezvous_refused"), 6);
    assert_int_equal(world_count(pond.answerer, "rendezvous_refused"), 5);
    assert_true(is_up(&pond));
    /* The lane's own id, but no step of it. */
    memcpy(rendezvous.id, world_peer(pond.cli, pond.web->slug)->rendezvous.id,
           sizeof rendezvous.id);
    for (int step = CBX_RENDEZVOUS_ANSWER; step < CBX_RENDEZVOUS_LOST; step++) {
        rendezvous.step = (enum cbx_rendezvous_step)step;
        say(&pond, pond.cli, &rendezvous);
        say(&pond, pond.web, &rendezvous);
    }
    assert_true(is_up(&pond));
    assert_int_equal(pond.answerer->connects + pond.offerer->connects, 1);
    rendezvous.step = CBX_RENDEZVOUS_LOST;
    say(&pond, pond.cli, &rendezvous);
    assert_false(mesh_direct_up(world_peer(pond.web, pond.cli->slug)));
    finish(&pond);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_answerer_connects_at_once),
        cmocka_unit_test(the_offerer_connects_when_it_is_not_reachable_itself),
        cmocka_unit_test(when_neither_can_it_is_tried_once_a_minute),
        cmocka_unit_test(loopback_is_tried_on_the_same_host_only),
        cmocka_unit_test(an_agent_with_direct_off_refuses),
        cmocka_unit_test(an_agent_with_direct_off_never_offers),
        cmocka_unit_test(a_hub_that_forbids_it_is_obeyed_and_drops_meets),
        cmocka_unit_test(a_lost_lane_is_tried_again_a_minute_after_the_last_try),
        cmocka_unit_test(crossed_handshakes_keep_nobody_apart),
        cmocka_unit_test(a_lane_that_one_side_does_not_know_to_be_dead_is_replaced),
        cmocka_unit_test(a_restarted_agent_meets_again_at_once),
        cmocka_unit_test(a_try_ends_with_the_link_to_the_hub),
        cmocka_unit_test(a_changed_message_is_not_believed),
        cmocka_unit_test(a_hub_that_swallows_them_costs_one_message_a_minute),
        cmocka_unit_test(a_repeated_message_changes_nothing),
        cmocka_unit_test(a_reflected_message_is_not_believed),
        cmocka_unit_test(reordered_messages_end_the_try_and_no_more),
        cmocka_unit_test(addresses_that_are_not_to_be_tried_are_not),
        cmocka_unit_test(a_flood_of_offers_costs_three_tries),
        cmocka_unit_test(messages_out_of_their_step_change_nothing),
    };
    return WORLD_RUN(tests);
}
