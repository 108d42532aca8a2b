/* SPDX-License-Identifier: MIT */
/*
 * A hostile hub against circuits: records that it makes up, ends and labels that it invents.
 * CBX_SEED replays a run. Asserted of each attack:
 *  - the touched stream ends on both sides with the reason named, found by one and told the other
 *    under seal, and the finder's counter grows by one;
 *  - no byte that was not sent is delivered, none twice, and no end of input that was not sent;
 *  - another stream in the same session and one to another peer go on, byte-exact.
 *  - links stay up, except where the hub breaks the link's own rules: then only that link ends,
 * with the reason `protocol error`, and it works again once attached anew.
 */
#include "hostile.h"

static struct hostile all;

static int
begin(void **state)
{
    (void)state;
    hostile_begin(&all);
    return 0;
}

static int
end(void **state)
{
    (void)state;
    hostile_end(&all);
    return 0;
}

static uint8_t junk[64];

/* ---- made up ---- */

static enum world_verdict (*made_up)(struct world_flow *flow, struct cbx_frame *frame);

/* After the third DATA to web, made_up says what else goes there, knowing epoch, counter, offset.
 */
static enum world_verdict
behind_data(struct world_flow *flow, struct cbx_frame *frame)
{
    if (hostile_goes_to(flow, "web", frame, CBX_FRAME_DATA, VICTIM) && hostile_touch.skip-- == 0 &&
        hostile_turn())
        return made_up(flow, frame);
    return WORLD_PASS;
}

static void make_up(enum world_verdict (*what)(struct world_flow *flow, struct cbx_frame *frame))
{
    made_up = what;
    hostile_touch.skip = 3;
    hostile_set(behind_data, 1);
    hostile_dial(&all);
}

static enum world_verdict
fin_in_place_of_data(struct world_flow *flow, struct cbx_frame *frame)
{
    struct cbx_field fields[] = {frame->field[0], frame->field[1], frame->field[2],
                                 cbx_field_bytes(junk, 16)};
    world_inject(flow, CBX_FRAME_FIN, frame->label, fields, 4);
    return WORLD_DROP;
}

static enum world_verdict
reset_with_reason(struct world_flow *flow, struct cbx_frame *frame)
{
    struct cbx_field fields[] = {frame->field[0], cbx_field_uint(0), cbx_field_bytes(junk, 17)};
    world_inject(flow, CBX_FRAME_RESET, frame->label, fields, 3);
    return WORLD_PASS;
}

static enum world_verdict
credit_without_end(struct world_flow *flow, struct cbx_frame *frame)
{
    struct cbx_field fields[] = {frame->field[0], cbx_field_uint(0), cbx_field_uint(0),
                                 cbx_field_uint(UINT64_MAX / 2), cbx_field_bytes(junk, 16)};
    world_inject(flow, CBX_FRAME_CREDIT, frame->label, fields, 5);
    return WORLD_PASS;
}

static enum world_verdict
epoch_of_no_session(struct world_flow *flow, struct cbx_frame *frame)
{
    struct cbx_field fields[] = {frame->field[0], cbx_field_uint(0), cbx_field_bytes(junk, 16),
                                 cbx_field_bytes(junk, 32)};
    world_inject(flow, CBX_FRAME_EPOCH, frame->label, fields, 4);
    return WORLD_PASS;
}

static enum world_verdict
reset_from_credit(struct world_flow *flow, struct cbx_frame *frame)
{
    /* A true tag under another type. */
    struct cbx_field fields[] = {frame->field[0], frame->field[1],
                                 cbx_field_bytes(frame->field[3].p, 17)};
    world_inject(flow, CBX_FRAME_RESET, frame->label, fields, 3);
    return WORLD_DROP;
}

static void
a_forged_fin_is_no_end_of_input(void **state)
{
    (void)state;
    make_up(fin_in_place_of_data);
    hostile_found_by(&all, all.web);
    assert_false(all.victim->far->ended);
}

static void
forged_control_is_found(void **state)
{
    (void)state;
    enum world_verdict (*const each[])(struct world_flow *, struct cbx_frame *) = {
        reset_with_reason, credit_without_end, epoch_of_no_session, reset_from_credit};
    for (size_t i = 0; i < sizeof each / sizeof each[0]; i++) {
        make_up(each[i]);
        hostile_found_by(&all, all.web);
    }
}

static enum world_verdict
data_ahead_of_the_answer(struct world_flow *flow, struct cbx_frame *frame)
{
    if (hostile_goes_to(flow, "cli", frame, CBX_FRAME_CREDIT, VICTIM) && hostile_turn()) {
        struct cbx_field fields[] = {cbx_field_uint(1), cbx_field_uint(0), cbx_field_uint(0),
                                     cbx_field_bytes(junk, 40)};
        world_inject(flow, CBX_FRAME_DATA, frame->label, fields, 4);
    }
    return WORLD_PASS;
}

static void
data_before_the_answer_is_refused(void **state)
{
    (void)state;
    hostile_set(data_ahead_of_the_answer, 1);
    hostile_dial(&all);
    hostile_found_by(&all, all.cli);
    assert_false(all.victim->opened);
    assert_int_equal(all.victim->received, 0);
}

/* ---- circuits closed ---- */

static enum cbx_reason close_reason;

static enum world_verdict
close_both(struct world_flow *flow, struct cbx_frame *frame)
{
    struct world_flow other;
    struct cbx_field field = cbx_field_uint(close_reason);
    if (!hostile_touched(flow, frame) || !world_flow_of(all.cli, true, &other))
        return WORLD_PASS;
    world_inject(flow, CBX_FRAME_CLOSE, frame->label, &field, 1);
    world_inject(&other, CBX_FRAME_CLOSE, world_label(all.cli, VICTIM), &field, 1);
    return WORLD_PASS;
}

/* Also when every byte had come: without the sealed FIN it was cut off. */
static void
a_closed_circuit_is_a_lost_path_never_an_end(void **state)
{
    (void)state;
    static const uint64_t reason[] = {0, CBX_REASON_LOST, CBX_REASON_NO_SESSION, 255};
    for (int i = 0; i < 8; i++) {
        uint64_t stale = world_count(all.web, "stale_frames");
        close_reason = (enum cbx_reason)reason[i / 2];
        hostile_touch.type = i % 2 ? CBX_FRAME_FIN : CBX_FRAME_DATA;
        hostile_touch.skip = i % 2 ? 0 : 4;
        hostile_touch.to = "web";
        hostile_set(close_both, 1);
        hostile_dial(&all);
        all.victim->far->hold_end = true;
        hostile_run(&all);
        enum cbx_reason expected = i / 2 == 2 ? CBX_REASON_NO_SESSION : CBX_REASON_LOST;
        for (int side = 0; side < 2; side++) {
            struct world_program *program = side ? all.victim : all.victim->far;
            assert_int_equal(program->reason, expected);
            assert_false(program->by_target);
            assert_false(program->ended);
        }
        assert_true(world_count(all.web, "stale_frames") > stale); /* what came after it */
        hostile_untouched(all.neighbour);
        hostile_untouched(all.bystander);
    }
}

/* ---- labels ---- */

static enum world_verdict
label_never_opened(struct world_flow *flow, struct cbx_frame *frame)
{
    if (!hostile_touched(flow, frame))
        return WORLD_PASS;
    frame->label += 1000;
    return WORLD_CHANGED;
}

static enum world_verdict
open_under_a_used_label(struct world_flow *flow, struct cbx_frame *frame)
{
    if (hostile_goes_to(flow, "web", frame, CBX_FRAME_OPEN, VICTIM) && hostile_turn()) {
        frame->label = hostile_touch.field ? 1 : 2;
        return WORLD_CHANGED;
    }
    return WORLD_PASS;
}

/* A breach of the link's rules: it ends, everything on it is lost, and nothing else. */
static void
link_ends(void)
{
    struct world_program *other = world_dial(all.cli, "db", BYSTANDER, STREAM_BYTES, STREAM_BYTES);
    hostile_run(&all);
    assert_int_equal(all.web->lost_reason, CBX_REASON_PROTOCOL);
    assert_true(strstr(all.web->lost_text, "label") != NULL);
    assert_int_not_equal(all.victim->reason, CBX_REASON_NONE);
    hostile_untouched(all.bystander);
    hostile_wait(&all, other);
    hostile_untouched(other);
    hostile_set(NULL, 0);
    world_connect(all.web);
    hostile_untouched(hostile_try(&all, "web", VICTIM));
}

static void
a_label_that_was_never_opened_ends_the_link(void **state)
{
    (void)state;
    hostile_touch.type = CBX_FRAME_DATA;
    hostile_touch.skip = 2;
    hostile_touch.to = "web";
    hostile_set(label_never_opened, 1);
    hostile_dial(&all);
    link_ends();
}

static void
an_open_under_a_used_label_ends_the_link(void **state)
{
    (void)state;
    hostile_untouched(hostile_try(&all, "web", VICTIM));
    hostile_touch.field = 0;
    hostile_set(open_under_a_used_label, 1);
    hostile_dial(&all);
    link_ends();
}

static void
an_open_under_a_label_of_ours_ends_the_link(void **state)
{
    (void)state;
    hostile_touch.field = 1;
    hostile_set(open_under_a_used_label, 1);
    hostile_dial(&all);
    link_ends();
}

static void
records_of_a_finished_circuit_are_dropped_and_counted(void **state)
{
    (void)state;
    hostile_dial(&all);
    hostile_run(&all);
    hostile_untouched(all.victim);
    uint64_t stale = world_count(all.web, "stale_frames");
    struct world_flow flow;
    assert_true(world_flow_of(all.web, true, &flow));
    uint32_t label = world_label(all.web, VICTIM);
    struct cbx_field fields[] = {cbx_field_uint(1), cbx_field_uint(2), cbx_field_uint(4096),
                                 cbx_field_bytes(junk, 40)};
    world_inject(&flow, CBX_FRAME_DATA, label, fields, 4);
    world_run(all.world, 100000);
    assert_int_equal(world_count(all.web, "stale_frames"), stale + 1);
}

/* An epoch is due while the hub says of another dial that its session is unknown: not our stream's
 * business. */
static enum world_verdict
deny_sessions(struct world_flow *flow, struct cbx_frame *frame)
{
    struct world_flow back;
    struct cbx_field field = cbx_field_uint(CBX_REASON_NO_SESSION);
    if (!hostile_comes_from(flow, "cli", frame, CBX_FRAME_OPEN, VICTIM) || !hostile_turn() ||
        !world_flow_of(flow->agent, true, &back))
        return WORLD_PASS;
    world_inject(&back, CBX_FRAME_CLOSE, frame->label, &field, 1);
    return WORLD_DROP;
}

static void
a_denied_session_does_not_touch_the_streams_it_has(void **state)
{
    (void)state;
    all.cli->mesh->env.epoch_bytes_max = all.web->mesh->env.epoch_bytes_max = 8000;
    struct world_program *running = world_dial(all.cli, "web", NEIGHBOUR, 300000, 300000);
    running->pull_limit = running->far->pull_limit = 1000;
    running->gap_us = running->far->gap_us = 1000;
    world_run(all.world, 100000);
    hostile_set(deny_sessions, 1);
    hostile_dial(&all);
    hostile_run(&all);
    assert_int_equal(hostile_done, 1);
    hostile_untouched(all.victim); /* dialed once more */
    hostile_untouched(all.bystander);
    hostile_wait(&all, running);
    hostile_untouched(running);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, begin, end)

int
main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(a_forged_fin_is_no_end_of_input),
        TEST(forged_control_is_found),
        TEST(data_before_the_answer_is_refused),
        TEST(a_closed_circuit_is_a_lost_path_never_an_end),
        TEST(a_label_that_was_never_opened_ends_the_link),
        TEST(an_open_under_a_used_label_ends_the_link),
        TEST(an_open_under_a_label_of_ours_ends_the_link),
        TEST(records_of_a_finished_circuit_are_dropped_and_counted),
        TEST(a_denied_session_does_not_touch_the_streams_it_has),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
