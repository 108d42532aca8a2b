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
#include <stdlib.h>

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
    hostile_dial();
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
    hostile_found_by(hostile.web);
    assert_false(hostile.victim->far->ended);
}

static void
forged_control_is_found(void **state)
{
    (void)state;
    enum world_verdict (*const each[])(struct world_flow *, struct cbx_frame *) = {
        reset_with_reason, credit_without_end, epoch_of_no_session, reset_from_credit};
    for (size_t i = 0; i < sizeof each / sizeof each[0]; i++) {
        make_up(each[i]);
        hostile_found_by(hostile.web);
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
    hostile_dial();
    hostile_found_by(hostile.cli);
    assert_false(hostile.victim->opened);
    assert_int_equal(hostile.victim->received, 0);
}

/* ---- circuits closed ---- */

static enum cbx_reason close_reason;

static enum world_verdict
close_both(struct world_flow *flow, struct cbx_frame *frame)
{
    struct world_flow other;
    struct cbx_field field = cbx_field_uint(close_reason);
    if (!hostile_touched(flow, frame) || !world_flow_of(hostile.cli, true, &other))
        return WORLD_PASS;
    world_inject(flow, CBX_FRAME_CLOSE, frame->label, &field, 1);
    world_inject(&other, CBX_FRAME_CLOSE, world_label(hostile.cli, VICTIM), &field, 1);
    return WORLD_PASS;
}

/* Also when every byte had come: without the sealed FIN it was cut off. */
static void
a_closed_circuit_is_a_lost_path_never_an_end(void **state)
{
    (void)state;
    static const uint64_t reason[] = {0, CBX_REASON_LOST, CBX_REASON_NO_SESSION, 255};
    for (int i = 0; i < 8; i++) {
        uint64_t stale = world_count(hostile.web, "stale_frames");
        close_reason = (enum cbx_reason)reason[i / 2];
        hostile_touch.type = i % 2 ? CBX_FRAME_FIN : CBX_FRAME_DATA;
        hostile_touch.skip = i % 2 ? 0 : 4;
        hostile_touch.to = "web";
        hostile_set(close_both, 1);
        hostile_dial();
        hostile.victim->far->hold_end = true;
        hostile_run();
        enum cbx_reason expected = i / 2 == 2 ? CBX_REASON_NO_SESSION : CBX_REASON_LOST;
        for (int side = 0; side < 2; side++) {
            struct world_program *program = side ? hostile.victim : hostile.victim->far;
            assert_int_equal(program->reason, expected);
            assert_false(program->by_target);
            assert_false(program->ended);
        }
        assert_true(world_count(hostile.web, "stale_frames") > stale); /* what came after it */
        hostile_untouched(hostile.neighbour);
        hostile_untouched(hostile.bystander);
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
    struct world_program *other =
        world_dial(hostile.cli, "db", BYSTANDER, STREAM_BYTES, STREAM_BYTES);
    hostile_run();
    assert_int_equal(hostile.web->lost_reason, CBX_REASON_PROTOCOL);
    assert_true(strstr(hostile.web->lost_text, "label") != NULL);
    assert_int_not_equal(hostile.victim->reason, CBX_REASON_NONE);
    hostile_untouched(hostile.bystander);
    hostile_wait(other);
    hostile_untouched(other);
    hostile_set(NULL, 0);
    world_connect(hostile.web);
    hostile_untouched(hostile_try("web", VICTIM));
}

static void
a_label_that_was_never_opened_ends_the_link(void **state)
{
    (void)state;
    hostile_touch.type = CBX_FRAME_DATA;
    hostile_touch.skip = 2;
    hostile_touch.to = "web";
    hostile_set(label_never_opened, 1);
    hostile_dial();
    link_ends();
}

static void
an_open_under_a_used_label_ends_the_link(void **state)
{
    (void)state;
    hostile_untouched(hostile_try("web", VICTIM));
    hostile_touch.field = 0;
    hostile_set(open_under_a_used_label, 1);
    hostile_dial();
    link_ends();
}

static void
an_open_under_a_label_of_ours_ends_the_link(void **state)
{
    (void)state;
    hostile_touch.field = 1;
    hostile_set(open_under_a_used_label, 1);
    hostile_dial();
    link_ends();
}

static void
records_of_a_finished_circuit_are_dropped_and_counted(void **state)
{
    (void)state;
    hostile_dial();
    hostile_run();
    hostile_untouched(hostile.victim);
    uint64_t stale = world_count(hostile.web, "stale_frames");
    struct world_flow flow;
    assert_true(world_flow_of(hostile.web, true, &flow));
    uint32_t label = world_label(hostile.web, VICTIM);
    struct cbx_field fields[] = {cbx_field_uint(1), cbx_field_uint(2), cbx_field_uint(4096),
                                 cbx_field_bytes(junk, 40)};
    world_inject(&flow, CBX_FRAME_DATA, label, fields, 4);
    world_run(hostile.world, 100000);
    assert_int_equal(world_count(hostile.web, "stale_frames"), stale + 1);
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
    hostile.cli->mesh->env.epoch_bytes_max = hostile.web->mesh->env.epoch_bytes_max = 8000;
    struct world_program *running = world_dial(hostile.cli, "web", NEIGHBOUR, 300000, 300000);
    running->pull_limit = running->far->pull_limit = 1000;
    running->gap_us = running->far->gap_us = 1000;
    world_run(hostile.world, 100000);
    hostile_set(deny_sessions, 1);
    hostile_dial();
    hostile_run();
    assert_int_equal(hostile_done, 1);
    hostile_untouched(hostile.victim); /* dialed once more */
    hostile_untouched(hostile.bystander);
    hostile_wait(running);
    hostile_untouched(running);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        HOSTILE_TEST(a_forged_fin_is_no_end_of_input),
        HOSTILE_TEST(forged_control_is_found),
        HOSTILE_TEST(data_before_the_answer_is_refused),
        HOSTILE_TEST(a_closed_circuit_is_a_lost_path_never_an_end),
        HOSTILE_TEST(a_label_that_was_never_opened_ends_the_link),
        HOSTILE_TEST(an_open_under_a_used_label_ends_the_link),
        HOSTILE_TEST(an_open_under_a_label_of_ours_ends_the_link),
        HOSTILE_TEST(records_of_a_finished_circuit_are_dropped_and_counted),
        HOSTILE_TEST(a_denied_session_does_not_touch_the_streams_it_has),
    };
    return WORLD_RUN(tests);
}
