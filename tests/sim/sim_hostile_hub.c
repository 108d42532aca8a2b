/* SPDX-License-Identifier: MIT */
/*
 * A hostile hub against links, the directory, allowances, dials and refusals. CBX_SEED replays a
 * run. Asserted of each attack:
 *  - what it touched is refused with the reason named (the agent's own finding, or the hub's word),
 * or goes on unharmed where the attack could not matter; a counter of mesh_status_json grows;
 *  - no program of a target ever sees a stream that its dialer did not dial, or sees one twice;
 *  - no byte that was not sent is delivered, none twice;
 *  - another peer's stream goes on, and once the hub is honest again everything works.
 */
#include "agent/mesh/directory.h"
#include "agent/mesh/session.h"
#include "hostile.h"
#include <stdlib.h>

/* ---- greetings ---- */

static int twist;

static enum world_verdict
twist_greeting(struct world_flow *flow, struct cbx_frame *frame)
{
    bool hello = hostile_goes_to(flow, "cli", frame, CBX_FRAME_HUB_HELLO, 0);
    bool welcome = hostile_goes_to(flow, "cli", frame, CBX_FRAME_WELCOME, 0);
    if ((twist < 4 && !hello) || (twist >= 4 && !welcome) || !hostile_turn())
        return WORLD_PASS;
    switch (twist) {
    case 0:
        frame->field[0].u = 2;
        break;
    case 1:
        frame->field[1].u = 1;
        break;
    case 2:
        world_inject(flow, frame->type, 0, frame->field, frame->count);
        break;
    case 3:
        world_inject(flow, CBX_FRAME_SYNCED, 0, (struct cbx_field[]){cbx_field_uint(0)}, 1);
        break;
    case 4:
        frame->field[1] = cbx_field_text("web");
        break;
    case 5:
        frame->field[0] = cbx_field_text("otherpond");
        break;
    default:
        world_inject(flow, frame->type, 0, frame->field, frame->count);
        break;
    }
    return WORLD_CHANGED;
}

static void
a_greeting_that_is_not_ours_ends_the_link(void **state)
{
    (void)state;
    static const char *const text[] = {"version", "invite", "twice",     "before WELCOME",
                                       "name",    "name",   "unexpected"};
    for (twist = 0; twist < 7; twist++) {
        world_cut(hostile.cli);
        world_run(hostile.world, 100000);
        hostile_set(twist_greeting, 1);
        world_begin(hostile.cli);
        assert_true(world_until(hostile.world, 10000000, world_attach_is_over, hostile.cli));
        assert_int_equal(hostile_done, 1);
        assert_false(hostile.cli->up);
        assert_int_equal(hostile.cli->lost_reason, CBX_REASON_PROTOCOL);
        if (!strstr(hostile.cli->lost_text, text[twist]))
            fail_msg("'%s' does not say '%s'", hostile.cli->lost_text, text[twist]);
        hostile_set(NULL, 0);
        world_connect(hostile.cli);
        hostile_untouched(hostile_try("web", VICTIM));
    }
}

static const char *address_text;

/* The hub's addresses, before the first peer of the directory, or behind all of it. */
static enum world_verdict
name_addresses(struct world_flow *flow, struct cbx_frame *frame)
{
    struct cbx_field list = cbx_field_text(address_text);
    enum cbx_frame_type before = twist == 2 ? CBX_FRAME_PONG : CBX_FRAME_PEER;
    bool late = twist == 2 && !hostile.cli->up;
    if (!hostile_goes_to(flow, "cli", frame, before, 0) || late || !hostile_turn())
        return WORLD_PASS;
    for (int i = 0; i < (twist == 1 ? 2 : 1); i++)
        world_inject(flow, CBX_FRAME_ADDRESSES, 0, &list, 1);
    return WORLD_PASS;
}

static void
attach_with_addresses(int how, const char *text)
{
    twist = how;
    address_text = text;
    world_cut(hostile.cli);
    world_run(hostile.world, 100000);
    hostile_set(name_addresses, 1);
    world_begin(hostile.cli);
    assert_true(world_until(hostile.world, 10000000, world_attach_is_over, hostile.cli));
}

static void
addresses_that_no_token_could_hold_are_left_out(void **state)
{
    (void)state;
    attach_with_addresses(0, "hub.example.org:7000,,nowhere,10.0.0.1:0,[fd00::1]:7001,a b:1,"
                             "hub.example.org:7000,-x:99999");
    assert_true(hostile.cli->up);
    assert_int_equal(hostile.cli->heard_count, 1);
    assert_int_equal(hostile.cli->heard.count, 2);
    assert_string_equal(hostile.cli->heard.text[0], "hub.example.org:7000");
    assert_string_equal(hostile.cli->heard.text[1], "[fd00::1]:7001");
    hostile_untouched(hostile_try("web", VICTIM));
    char many[CBX_ADDRESSES_TEXT_MAX] = "";
    for (int i = 1; i <= 60; i++)
        (void)snprintf(many + strlen(many), sizeof many - strlen(many), "%s10.0.0.%d:7000",
                       i > 1 ? "," : "", i);
    attach_with_addresses(0, many);
    assert_true(hostile.cli->up);
    assert_int_equal(hostile.cli->heard.count, CBX_ADDRESSES_MAX);
}

static void
addresses_are_said_once_and_before_the_directory(void **state)
{
    (void)state;
    for (int how = 1; how <= 2; how++) {
        uint64_t heard = hostile.cli->heard_count;
        attach_with_addresses(how, "10.0.0.1:7000");
        if (how == 2) { /* its next ping comes after a while of silence */
            assert_true(hostile.cli->up);
            world_run(hostile.world, 60000000);
        }
        assert_int_equal(hostile_done, 1);
        assert_int_equal(hostile.cli->lost_reason, CBX_REASON_PROTOCOL);
        assert_non_null(strstr(hostile.cli->lost_text, "unexpected ADDRESSES"));
        assert_int_equal(hostile.cli->heard_count, heard + (how == 1));
        hostile_set(NULL, 0);
        world_connect(hostile.cli);
        hostile_untouched(hostile_try("web", VICTIM));
    }
}

static enum world_verdict
lie_about_acks(struct world_flow *flow, struct cbx_frame *frame)
{
    if (!hostile_goes_to(flow, "cli", frame, CBX_FRAME_ACK, 0) || !hostile_turn())
        return WORLD_PASS;
    frame->field[0].u += 1000000;
    return WORLD_CHANGED;
}

static void
acknowledged_bytes_that_were_never_sent_end_the_link(void **state)
{
    (void)state;
    hostile_set(lie_about_acks, 1);
    hostile_dial();
    assert_true(world_until(hostile.world, 10000000, world_all_closed, hostile.world));
    assert_int_equal(hostile.cli->lost_reason, CBX_REASON_PROTOCOL);
    assert_non_null(strstr(hostile.cli->lost_text, "never sent"));
    assert_int_equal(hostile.victim->reason, CBX_REASON_LOST);
    hostile_set(NULL, 0);
    world_connect(hostile.cli);
    hostile_untouched(hostile_try("web", VICTIM));
}

/* ---- the directory ---- */

static enum world_verdict
lie_about_lives(struct world_flow *flow, struct cbx_frame *frame)
{
    if (!hostile_goes_to(flow, "cli", frame, CBX_FRAME_PEER, 0) ||
        !hostile_names(&frame->field[0], "web"))
        return WORLD_PASS;
    frame->field[4].p[0] ^= 1;
    frame->field[2].u += 1000; /* generation */
    frame->field[3].u += 1000; /* serial */
    hostile_done++;
    return WORLD_CHANGED;
}

static void
a_lie_about_a_life_is_corrected_by_the_peer(void **state)
{
    (void)state;
    hostile_set(lie_about_lives, 0);
    world_cut(hostile.cli);
    world_run(hostile.world, 100000);
    world_connect(hostile.cli); /* a new snapshot */
    assert_true(hostile_done > 0);
    hostile_untouched(hostile_try("web", VICTIM));
    assert_int_equal(world_count(hostile.cli, "directory_mismatches"), 1);
    uint64_t handshakes = world_count(hostile.cli, "handshakes");
    hostile_untouched(hostile_try("web", VICTIM));
    assert_int_equal(world_count(hostile.cli, "handshakes"), handshakes);
    hostile_set(NULL, 0);
    hostile_show(hostile.web);
    hostile_list("web", 1, hostile_life); /* a made-up restart: one more handshake */
    hostile_untouched(hostile_try("web", VICTIM));
    assert_int_equal(world_count(hostile.cli, "directory_mismatches"), 2);
}

static void
a_directory_that_loses_a_peer_does_not_touch_its_streams(void **state)
{
    (void)state;
    static const struct {
        uint64_t state;
        enum cbx_reason reason;
    } each[] = {{0, CBX_REASON_PEER_AWAY}, {2, CBX_REASON_UNKNOWN_NAME}};
    for (size_t i = 0; i < 2; i++) {
        hostile_dial();
        hostile.victim->gap_us = hostile.victim->far->gap_us = 3000;
        hostile.victim->pull_limit = hostile.victim->far->pull_limit = 2000;
        world_run(hostile.world, 40000);
        hostile_show(hostile.web);
        hostile_list("web", each[i].state, hostile_life);
        assert_false(hostile.victim->closed);
        hostile_refused(hostile_try("web", NEIGHBOUR), each[i].reason);
        hostile_run();
        hostile_untouched(hostile.victim);
        hostile_untouched(hostile.bystander);
        hostile_works();
    }
}

static void
a_directory_without_end_ends_the_link(void **state)
{
    (void)state;
    struct world_flow flow;
    assert_true(world_flow_of(hostile.cli, true, &flow));
    uint8_t hash[32] = {1};
    for (int i = 0; i < 2 * MESH_PEERS_MAX; i++) {
        char slug[16];
        snprintf(slug, sizeof slug, "ghost%d", i);
        struct cbx_field fields[] = {cbx_field_text(slug),
                                     cbx_field_uint(1),
                                     cbx_field_uint(1),
                                     cbx_field_uint(1),
                                     cbx_field_bytes(hostile_life, CBX_INCARNATION_SIZE),
                                     cbx_field_bytes(hash, 32),
                                     cbx_field_text(""),
                                     cbx_field_text("")};
        world_inject(&flow, CBX_FRAME_PEER, 0, fields, 8);
    }
    hostile.cli->up = false;
    assert_true(world_until(hostile.world, 10000000, world_attach_is_over, hostile.cli));
    assert_int_equal(hostile.cli->lost_reason, CBX_REASON_PROTOCOL);
    assert_true(HASH_COUNT(hostile.cli->mesh->peers) <= MESH_PEERS_MAX);
    world_connect(hostile.cli); /* the snapshot of the new link drops them */
    assert_int_equal(HASH_COUNT(hostile.cli->mesh->peers), 3);
    hostile_untouched(hostile_try("web", VICTIM));
}

/* ---- allowances ---- */

static enum world_verdict
drop_allow(struct world_flow *flow, struct cbx_frame *frame)
{
    return hostile_goes_to(flow, "cli", frame, CBX_FRAME_ALLOW, 0) ? WORLD_DROP : WORLD_PASS;
}

static void
allow(uint64_t sequence, uint64_t value)
{
    struct world_flow flow;
    struct cbx_field fields[] = {cbx_field_uint(sequence), cbx_field_uint(value)};
    assert_true(world_flow_of(hostile.cli, true, &flow));
    world_inject(&flow, CBX_FRAME_ALLOW, 0, fields, 2);
    world_run(hostile.world, 20000);
}

static void
a_lie_about_the_allowance_bounds_memory_and_nothing_else(void **state)
{
    (void)state;
    struct mesh *mesh = hostile.cli->mesh;
    mesh->config.receive_budget = 100000;
    hostile_set(drop_allow, 0); /* what its honest part answers */
    hostile_dial();
    hostile.victim->pull_limit = hostile.victim->far->pull_limit = 1000;
    hostile.victim->gap_us = hostile.victim->far->gap_us = 2000;
    allow(1, UINT64_MAX); /* its own budget stands */
    assert_true(mesh->hub_budget.total <= 100000 && mesh->hub_budget.used <= 100000);
    allow(2, 0); /* nothing new; what runs goes on at its floor */
    hostile_refused(hostile_try("web", VICTIM), CBX_REASON_OVERLOADED);
    hostile_run();
    hostile_untouched(hostile.victim);
    hostile_untouched(hostile.neighbour);
    hostile_untouched(hostile.bystander);
    assert_int_equal(mesh->hub_budget.used, 0);
    allow(3, 1); /* below one floor */
    hostile_refused(hostile_try("web", VICTIM), CBX_REASON_OVERLOADED);
    allow(4, 1 << 20);
    hostile_untouched(hostile_try("web", VICTIM));
}

/* ---- dials ---- */

static enum world_verdict
another_port(struct world_flow *flow, struct cbx_frame *frame)
{
    if (!hostile_goes_to(flow, "web", frame, CBX_FRAME_OPEN, VICTIM) || !hostile_turn())
        return WORLD_PASS;
    frame->field[2].u = NEIGHBOUR;
    return WORLD_CHANGED;
}

static void
a_dial_sent_to_another_port_is_refused(void **state)
{
    (void)state;
    hostile_set(another_port, 1);
    hostile_dial();
    hostile_run();
    assert_int_equal(hostile_done, 1);
    hostile_refused(hostile.victim, CBX_REASON_INTEGRITY);
    assert_int_equal(world_count(hostile.web, "integrity"), 1);
    hostile_untouched(hostile.neighbour);
    hostile_untouched(hostile.bystander);
}

static int changed_field;

static enum world_verdict
change_open(struct world_flow *flow, struct cbx_frame *frame)
{
    if (!hostile_goes_to(flow, "web", frame, CBX_FRAME_OPEN, VICTIM) || !hostile_turn())
        return WORLD_PASS;
    struct cbx_field *field = &frame->field[changed_field % 9];
    if (changed_field % 9 < 2)
        *field = cbx_field_text("db");
    else if (field->p)
        field->p[changed_field < 9 ? field->n - 1 : 0] ^= 1;
    else
        field->u += changed_field < 9 ? 1 : UINT64_MAX;
    return WORLD_CHANGED;
}

/* Where the target does not even know the session the dialer asks for a new one and dials again. */
static void
a_changed_field_of_open_is_refused(void **state)
{
    (void)state;
    for (changed_field = 0; changed_field < 18; changed_field++) {
        uint64_t refused = world_count(hostile.web, "refused");
        hostile_set(change_open, -1);
        hostile_dial();
        hostile_run();
        assert_true(hostile_done > 0);
        enum cbx_reason reason = hostile_done == 2 ? CBX_REASON_NO_SESSION : CBX_REASON_INTEGRITY;
        hostile_refused(hostile.victim, reason);
        assert_int_equal(world_count(hostile.web, "refused"), refused + (uint64_t)hostile_done);
        hostile_untouched(hostile.neighbour);
        hostile_untouched(hostile.bystander);
    }
}

static enum world_verdict
another_peer(struct world_flow *flow, struct cbx_frame *frame)
{
    if (!hostile_comes_from(flow, "cli", frame, CBX_FRAME_OPEN, VICTIM) || !hostile_turn())
        return WORLD_PASS;
    frame->field[1] = cbx_field_text("db"); /* the honest part of this hub leads it there */
    return WORLD_CHANGED;
}

static enum world_verdict
another_peer_unchanged(struct world_flow *flow, struct cbx_frame *frame)
{
    struct world_flow wrong;
    if (!hostile_goes_to(flow, "web", frame, CBX_FRAME_OPEN, VICTIM) || !hostile_turn() ||
        !world_flow_of(hostile.db, true, &wrong))
        return WORLD_PASS;
    world_inject_copy(&wrong, world_keep(flow, frame), world_take_label(hostile.db));
    return WORLD_PASS;
}

static void
a_dial_sent_to_another_peer_is_refused(void **state)
{
    (void)state;
    hostile_untouched(hostile_try("db", VICTIM)); /* the port is open there too */
    hostile_set(another_peer, 2);
    hostile_dial();
    hostile_run();
    assert_int_equal(hostile_done, 2);
    hostile_refused(hostile.victim, CBX_REASON_NO_SESSION);
    assert_int_equal(world_count(hostile.db, "refused"), 2);
    hostile_untouched(hostile.neighbour);
    hostile_untouched(hostile.bystander);
    hostile_set(another_peer, 1); /* once: the second try reaches web */
    hostile_untouched(hostile_try("web", VICTIM));
    hostile_set(another_peer_unchanged, 1);
    hostile_untouched(hostile_try("web", VICTIM));
    assert_int_equal(hostile_done, 1);
    assert_int_equal(world_count(hostile.db, "refused"), 4);
}

static struct world_copy *kept;

static enum world_verdict
keep_open(struct world_flow *flow, struct cbx_frame *frame)
{
    if (hostile_goes_to(flow, "web", frame, CBX_FRAME_OPEN, VICTIM) && hostile_turn())
        kept = world_keep(flow, frame);
    return WORLD_PASS;
}

static void
repeat_open(void)
{
    struct world_flow flow;
    assert_true(world_flow_of(hostile.web, true, &flow));
    world_inject_copy(&flow, kept, world_take_label(hostile.web));
    world_run(hostile.world, 20000);
}

static void
a_repeated_open_is_taken_once(void **state)
{
    (void)state;
    hostile_set(keep_open, 1);
    hostile_dial();
    hostile.victim->gap_us = 2000;
    hostile.victim->pull_limit = 1000;
    world_run(hostile.world, 30000);
    assert_true(hostile.victim->opened && !hostile.victim->closed);
    repeat_open(); /* while it runs */
    repeat_open();
    assert_int_equal(world_count(hostile.web, "replayed"), 2);
    hostile_run();
    hostile_untouched(hostile.victim);
    hostile_untouched(hostile.neighbour);
    hostile_untouched(hostile.bystander);
    repeat_open(); /* after its end */
    assert_int_equal(world_count(hostile.web, "replayed"), 3);
    world_cut(hostile.web);
    world_run(hostile.world, 100000);
    world_connect(hostile.web);
    repeat_open(); /* on another link */
    assert_int_equal(world_count(hostile.web, "replayed"), 4);
    hostile_restart(hostile.web);
    repeat_open(); /* to another incarnation: its session is gone */
    assert_int_equal(world_count(hostile.web, "refused"), 1);
    assert_int_equal(world_count(hostile.web, "accepted"), 0);
    hostile_untouched(hostile_try("web", VICTIM));
}

/* Sessions and the window of an incarnation go together: one that still opens what was recorded has
 * one. */
static void
a_repeated_open_of_an_earlier_incarnation_is_taken_once(void **state)
{
    (void)state;
    hostile_set(keep_open, 1);
    hostile_untouched(hostile_try("web", VICTIM));
    for (int restart = 1; restart < MESH_SESSIONS_MAX; restart++) {
        hostile_restart(hostile.cli);
        hostile_untouched(hostile_try("web", NEIGHBOUR));
    }
    uint64_t accepted = world_count(hostile.web, "accepted");
    repeat_open();
    assert_int_equal(world_count(hostile.web, "replayed"), 1);
    hostile_restart(hostile.cli);
    hostile_untouched(hostile_try("web", NEIGHBOUR));
    repeat_open(); /* its session is gone */
    assert_int_equal(world_count(hostile.web, "replayed"), 1);
    assert_int_equal(world_count(hostile.web, "accepted"), accepted + 1);
}

/* ---- refusals ---- */

static enum world_verdict
keep_refusal(struct world_flow *flow, struct cbx_frame *frame)
{
    if (hostile_goes_to(flow, "cli", frame, CBX_FRAME_RESET, NEIGHBOUR) && hostile_turn())
        kept = world_keep(flow, frame);
    return WORLD_PASS;
}

static enum world_verdict
refuse_with_kept(struct world_flow *flow, struct cbx_frame *frame)
{
    if (!hostile_goes_to(flow, "cli", frame, CBX_FRAME_CREDIT, NEIGHBOUR) || !hostile_turn())
        return WORLD_PASS;
    world_inject_copy(flow, kept, frame->label);
    return WORLD_PASS;
}

static void
a_repeated_refusal_refuses_nothing_else(void **state)
{
    (void)state;
    struct world_flow flow;
    struct cbx_expose all_ports = hostile.web->mesh->config.expose;
    struct cbx_expose *expose = &hostile.web->mesh->config.expose;
    memset(expose, 0, sizeof *expose); /* narrowed by its own configuration: only it knows */
    assert_int_equal(cbx_expose_add(expose, "8080", NULL), 0);
    hostile_set(keep_refusal, 1);
    struct world_program *refused = hostile_try("web", NEIGHBOUR);
    assert_int_equal(refused->reason, CBX_REASON_NOT_EXPOSED);
    assert_true(refused->by_target);
    uint64_t stale = world_count(hostile.cli, "stale_frames");
    assert_true(world_flow_of(hostile.cli, true, &flow));
    world_inject_copy(&flow, kept, 0); /* on its own label: that is over */
    world_run(hostile.world, 20000);
    assert_int_equal(world_count(hostile.cli, "stale_frames"), stale + 1);
    *expose = all_ports;
    hostile_set(refuse_with_kept, 1);
    hostile_dial();
    hostile_run();
    hostile_found(hostile.neighbour, CBX_REASON_INTEGRITY);
    assert_int_equal(world_count(hostile.cli, "integrity"), 1);
    hostile_untouched(hostile.victim);
    hostile_untouched(hostile.bystander);
}

static uint64_t word;

static enum world_verdict
refuse_handshake(struct world_flow *flow, struct cbx_frame *frame)
{
    struct world_flow back;
    if (!hostile_comes_from(flow, "cli", frame, CBX_FRAME_HANDSHAKE, 0) ||
        !hostile_names(&frame->field[1], "web") || !hostile_turn() ||
        !world_flow_of(hostile.cli, true, &back))
        return WORLD_PASS;
    struct cbx_field fields[] = {cbx_field_text("web"), cbx_field_text("cli"),
                                 cbx_field_uint(word)};
    for (int i = 0; i < 3; i++) /* repeated, too */
        world_inject(&back, CBX_FRAME_NO_HANDSHAKE, 0, fields, 3);
    return WORLD_DROP;
}

static void
a_refused_handshake_is_the_hubs_word(void **state)
{
    (void)state;
    static const struct {
        uint64_t word;
        enum cbx_reason reason;
    } each[] = {{CBX_REASON_PEER_AWAY, CBX_REASON_PEER_AWAY},
                {0, CBX_REASON_DENIED},
                {255, CBX_REASON_DENIED}};
    for (size_t i = 0; i < sizeof each / sizeof each[0]; i++) {
        uint64_t stale = world_count(hostile.cli, "stale_frames");
        word = each[i].word;
        hostile_set(refuse_handshake, 1);
        hostile_refused(hostile_try("web", VICTIM), each[i].reason);
        assert_int_equal(world_count(hostile.cli, "handshakes_refused"), i + 1);
        assert_int_equal(world_count(hostile.cli, "stale_frames"), stale + 2);
    }
    word = CBX_REASON_RESTARTED; /* then the chain is asked for anew */
    hostile_set(refuse_handshake, 1);
    hostile_untouched(hostile_try("web", VICTIM));
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        HOSTILE_TEST(a_greeting_that_is_not_ours_ends_the_link),
        HOSTILE_TEST(addresses_that_no_token_could_hold_are_left_out),
        HOSTILE_TEST(addresses_are_said_once_and_before_the_directory),
        HOSTILE_TEST(acknowledged_bytes_that_were_never_sent_end_the_link),
        HOSTILE_TEST(a_lie_about_a_life_is_corrected_by_the_peer),
        HOSTILE_TEST(a_directory_that_loses_a_peer_does_not_touch_its_streams),
        HOSTILE_TEST(a_directory_without_end_ends_the_link),
        HOSTILE_TEST(a_lie_about_the_allowance_bounds_memory_and_nothing_else),
        HOSTILE_TEST(a_dial_sent_to_another_port_is_refused),
        HOSTILE_TEST(a_changed_field_of_open_is_refused),
        HOSTILE_TEST(a_dial_sent_to_another_peer_is_refused),
        HOSTILE_TEST(a_repeated_open_is_taken_once),
        HOSTILE_TEST(a_repeated_open_of_an_earlier_incarnation_is_taken_once),
        HOSTILE_TEST(a_repeated_refusal_refuses_nothing_else),
        HOSTILE_TEST(a_refused_handshake_is_the_hubs_word),
    };
    return WORLD_RUN(tests);
}
