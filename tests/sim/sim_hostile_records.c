/* SPDX-License-Identifier: MIT */
/*
 * A hostile hub against the records of running streams. CBX_SEED replays a run. Asserted of each
 * attack:
 *  - the touched stream ends on both sides with the reason named, found by one and told the other
 *    under seal, and the finder's counter grows by one;
 *  - no byte that was not sent is delivered, none twice, and no end of input that was not sent;
 *  - another stream in the same session and one to another peer go on, byte-exact.
 */
#include "hostile.h"
#include <stdlib.h>

/* ---- header fields ---- */

static enum world_verdict
change_field(struct world_flow *flow, struct cbx_frame *frame)
{
    struct cbx_field *field = &frame->field[hostile_touch.field];
    if (!hostile_touched(flow, frame))
        return WORLD_PASS;
    if (field->p) {
        size_t at = hostile_touch.how == 0   ? 0
                    : hostile_touch.how == 1 ? field->n / 2
                                             : field->n - 1;
        field->p[at] ^= 1;
        return WORLD_PASS;
    }
    if (hostile_touch.how == 0)
        field->u ^= 1;
    else
        field->u = hostile_touch.how == 1 ? !field->u : UINT64_MAX;
    return WORLD_CHANGED;
}

static void
change_each_field(enum cbx_frame_type type, uint32_t fields, int skip, struct world_agent *to)
{
    for (uint32_t field = 0; field < fields; field++) {
        for (int how = 0; how < 3; how++) {
            hostile_touch.type = type;
            hostile_touch.field = field;
            hostile_touch.how = how;
            hostile_touch.skip = skip;
            hostile_touch.to = to->slug;
            hostile_set(change_field, 1);
            hostile_dial();
            if (type == CBX_FRAME_RESET)
                (to == hostile.web ? hostile.victim : hostile.victim->far)->reset_at_end = true;
            if (type != CBX_FRAME_RESET) {
                hostile_found_by(to);
                continue;
            }
            hostile_run();
            assert_int_equal(hostile_done, 1);
            assert_int_equal(hostile.victim->reason, CBX_REASON_INTEGRITY);
            assert_false(hostile.victim->by_target);
            assert_int_equal(world_count(hostile.cli, "integrity"), hostile.integrity_cli + 1);
            hostile_untouched(hostile.neighbour);
            hostile_untouched(hostile.bystander);
        }
    }
}

static void
a_changed_field_of_data_is_found(void **state)
{
    (void)state;
    change_each_field(CBX_FRAME_DATA, 4, 3, hostile.web);
    change_each_field(CBX_FRAME_DATA, 4, 0, hostile.cli);
}

static void
a_changed_field_of_credit_is_found(void **state)
{
    (void)state;
    change_each_field(CBX_FRAME_CREDIT, 5, 0, hostile.cli); /* the answer itself */
    change_each_field(CBX_FRAME_CREDIT, 5, 2, hostile.cli);
    change_each_field(CBX_FRAME_CREDIT, 5, 1, hostile.web);
}

static void
a_changed_field_of_fin_is_found(void **state)
{
    (void)state;
    change_each_field(CBX_FRAME_FIN, 4, 0, hostile.web);
    change_each_field(CBX_FRAME_FIN, 4, 0, hostile.cli);
}

static void
a_changed_field_of_reset_is_found(void **state)
{
    (void)state;
    change_each_field(CBX_FRAME_RESET, 3, 0, hostile.cli);
}

static void
a_changed_field_of_epoch_is_found(void **state)
{
    (void)state;
    hostile.cli->mesh->env.epoch_bytes_max = 20000;
    change_each_field(CBX_FRAME_EPOCH, 4, 0, hostile.web);
    change_each_field(CBX_FRAME_EPOCH, 4, 1, hostile.web);
}

/* ---- payloads ---- */

static int cut_by;

static enum world_verdict
cut_payload(struct world_flow *flow, struct cbx_frame *frame)
{
    struct cbx_field *payload = &frame->field[3];
    if (!hostile_touched(flow, frame))
        return WORLD_PASS;
    if (cut_by > 0)
        payload->n = cut_by < (int)payload->n - 17 ? payload->n - (uint32_t)cut_by : 17;
    else
        payload->n += (uint32_t)-cut_by; /* what follows in the buffer */
    return WORLD_CHANGED;
}

static void
a_cut_or_longer_payload_is_found(void **state)
{
    (void)state;
    static const int by[] = {1, 16, 1000, 1000000, -1};
    for (size_t i = 0; i < sizeof by / sizeof by[0]; i++) {
        cut_by = by[i];
        hostile_touch.type = CBX_FRAME_DATA;
        hostile_touch.skip = 2;
        hostile_touch.to = i % 2 ? "web" : "cli";
        hostile_set(cut_payload, 1);
        hostile_dial();
        hostile_found_by(i % 2 ? hostile.web : hostile.cli);
    }
}

static enum world_verdict
repeat_frame(struct world_flow *flow, struct cbx_frame *frame)
{
    if (hostile_touched(flow, frame))
        world_inject_copy(flow, world_keep(flow, frame), 0);
    return WORLD_PASS;
}

static void
a_repeated_record_is_found(void **state)
{
    (void)state;
    static const struct {
        enum cbx_frame_type type;
        int skip;
    } each[] = {{CBX_FRAME_DATA, 0}, {CBX_FRAME_DATA, 5}, {CBX_FRAME_CREDIT, 1}};
    for (size_t i = 0; i < sizeof each / sizeof each[0]; i++) {
        hostile_touch.type = each[i].type;
        hostile_touch.skip = each[i].skip;
        hostile_touch.to = "web";
        hostile_set(repeat_frame, 1);
        hostile_dial();
        hostile_found_by(hostile.web);
        hostile_touch.skip = each[i].skip;
        hostile_touch.to = "cli";
        hostile_set(repeat_frame, 1);
        hostile_dial();
        hostile_found_by(hostile.cli);
    }
}

static struct world_copy *held;

static enum world_verdict
swap_frames(struct world_flow *flow, struct cbx_frame *frame)
{
    if (!hostile_goes_to(flow, "web", frame, CBX_FRAME_DATA, VICTIM) || hostile_touch.skip-- > 0)
        return WORLD_PASS;
    if (!held && hostile_turn()) {
        held = world_keep(flow, frame);
        return WORLD_DROP;
    }
    if (held && held->length) { /* the one behind it goes first */
        struct world_copy *first = world_keep(flow, frame);
        world_inject_copy(flow, first, 0);
        world_inject_copy(flow, held, 0);
        held->length = 0;
        return WORLD_DROP;
    }
    return WORLD_PASS;
}

static void
reordered_data_is_found(void **state)
{
    (void)state;
    held = NULL;
    hostile_touch.skip = 3;
    hostile_set(swap_frames, 1);
    hostile_dial();
    hostile_found_by(hostile.web);
}

static enum world_verdict
drop_frame(struct world_flow *flow, struct cbx_frame *frame)
{
    return hostile_touched(flow, frame) ? WORLD_DROP : WORLD_PASS;
}

static void
missing_data_is_found_by_what_follows(void **state)
{
    (void)state;
    hostile_touch.type = CBX_FRAME_DATA;
    hostile_touch.skip = 2;
    hostile_touch.to = "web";
    hostile_set(drop_frame, 1);
    hostile_dial();
    hostile_found_by(hostile.web);
}

static void
a_missing_credit_is_found_by_what_follows(void **state)
{
    (void)state;
    hostile_touch.type = CBX_FRAME_CREDIT;
    hostile_touch.skip = 1;
    hostile_touch.to = "cli";
    hostile_set(drop_frame, 1);
    hostile_dial();
    hostile_found_by(hostile.cli);
}

static bool
never_ends(void *arg)
{
    struct world_program *program = arg;
    return program->closed || program->ended;
}

/* The end of a direction that never came is no end: the stream waits, until it is given up. */
static void
a_missing_fin_is_never_an_end_of_input(void **state)
{
    (void)state;
    hostile_touch.type = CBX_FRAME_FIN;
    hostile_touch.skip = 0;
    hostile_touch.to = "web";
    hostile_set(drop_frame, 1);
    hostile_dial();
    assert_false(world_until(hostile.world, 5000000, never_ends, hostile.victim->far));
    assert_int_equal(hostile.victim->far->received, STREAM_BYTES);
    assert_true(hostile.neighbour->closed && hostile.bystander->closed);
    world_reset(hostile.victim);
    hostile_run();
    assert_int_equal(hostile.victim->far->reason, CBX_REASON_RESET);
    assert_false(hostile.victim->far->ended);
}

static enum world_verdict
swap_circuits(struct world_flow *flow, struct cbx_frame *frame)
{
    if (!hostile_touched(flow, frame))
        return WORLD_PASS;
    frame->label = world_label(flow->agent, NEIGHBOUR);
    return WORLD_CHANGED;
}

/* Both streams were touched: one got a record that is not its own, the other misses one. */
static void
data_of_another_circuit_is_found_by_both(void **state)
{
    (void)state;
    hostile_touch.type = CBX_FRAME_DATA;
    hostile_touch.skip = 4;
    hostile_touch.to = "web";
    hostile_set(swap_circuits, 1);
    hostile_dial();
    hostile_run();
    hostile_found(hostile.victim->far, CBX_REASON_INTEGRITY);
    hostile_found(hostile.neighbour->far, CBX_REASON_INTEGRITY);
    assert_int_equal(world_count(hostile.web, "integrity"), hostile.integrity_web + 2);
    hostile_untouched(hostile.bystander);
}

static enum world_verdict
reflect(struct world_flow *flow, struct cbx_frame *frame)
{
    struct world_flow back;
    if (hostile_comes_from(flow, "cli", frame, hostile_touch.type, VICTIM) &&
        hostile_touch.skip-- <= 0 && hostile_turn() && world_flow_of(flow->agent, true, &back))
        world_inject_copy(&back, world_keep(flow, frame), 0);
    return WORLD_PASS;
}

static void
its_own_records_sent_back_are_found(void **state)
{
    (void)state;
    static const enum cbx_frame_type each[] = {CBX_FRAME_DATA, CBX_FRAME_CREDIT, CBX_FRAME_FIN};
    for (size_t i = 0; i < 3; i++) {
        hostile_touch.type = each[i];
        hostile_touch.skip = 0;
        hostile_set(reflect, 1);
        hostile_dial();
        hostile.victim->far->gap_us = 2000; /* so that the stream is still open */
        hostile.victim->far->pull_limit = 1000;
        hostile_found_by(hostile.cli);
    }
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        HOSTILE_TEST(a_changed_field_of_data_is_found),
        HOSTILE_TEST(a_changed_field_of_credit_is_found),
        HOSTILE_TEST(a_changed_field_of_fin_is_found),
        HOSTILE_TEST(a_changed_field_of_reset_is_found),
        HOSTILE_TEST(a_changed_field_of_epoch_is_found),
        HOSTILE_TEST(a_cut_or_longer_payload_is_found),
        HOSTILE_TEST(a_repeated_record_is_found),
        HOSTILE_TEST(reordered_data_is_found),
        HOSTILE_TEST(missing_data_is_found_by_what_follows),
        HOSTILE_TEST(a_missing_credit_is_found_by_what_follows),
        HOSTILE_TEST(a_missing_fin_is_never_an_end_of_input),
        HOSTILE_TEST(data_of_another_circuit_is_found_by_both),
        HOSTILE_TEST(its_own_records_sent_back_are_found),
    };
    return WORLD_RUN(tests);
}
