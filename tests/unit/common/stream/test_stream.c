/* SPDX-License-Identifier: MIT */
/* The close table of PROTOCOL.md, row by row. */
#include "stream_fixture.h"

static void
row_1_a_program_ends_its_input(void **state)
{
    (void)state;
    connect_pair();
    target->takes = 0;
    pair_give(&pair, PAIR_DIALER, 20000, true);
    pair_move(&pair);
    assert_int_equal(dialer->stream.write, CBX_WRITE_FIN);
    assert_int_equal(target->frames[CBX_FRAME_FIN], 1);
    assert_int_equal(dialer->stream.out.sent, 20001);
    pair_take(&pair, PAIR_TARGET, UINT64_MAX);
    pair_run(&pair, SECOND);
    assert_int_equal(target->received, 20000);
    assert_int_equal(target->ended, 1);
    /* The read half goes on. */
    assert_int_equal(dialer->over + target->over, 0);
    pair_give(&pair, PAIR_TARGET, 300000, false);
    pair_run(&pair, SECOND);
    assert_int_equal(dialer->received, 300000);
    assert_int_equal(dialer->ended, 0);
}

static void
row_1_an_empty_input_ends_at_offset_0(void **state)
{
    (void)state;
    connect_pair();
    pair_give(&pair, PAIR_DIALER, 0, true);
    pair_move(&pair);
    assert_int_equal(target->ended, 1);
    assert_int_equal(target->received, 0);
    assert_int_equal(dialer->stream.write, CBX_WRITE_DONE);
}

static void
row_1_fin_needs_no_credit(void **state)
{
    (void)state;
    connect_pair();
    target->takes = 0;
    uint64_t fits = 32 * KIB - 8 * CBX_RECORD_COST;
    pair_give(&pair, PAIR_DIALER, fits, false);
    pair_move(&pair);
    assert_int_equal(dialer->stream.out.sent, fits);
    assert_int_equal(cbx_send_wanted(&dialer->stream.out), 0); /* nothing left */
    pair_give(&pair, PAIR_DIALER, 0, true);
    cbx_circuit_data_ready(&dialer->stream.circuit);
    pair_take(&pair, PAIR_TARGET, UINT64_MAX);
    pair_run(&pair, SECOND);
    assert_int_equal(target->ended, 1);
    assert_int_equal(target->received, fits);
}

static void
row_2_the_acknowledgement_of_fin_comes(void **state)
{
    (void)state;
    connect_pair();
    pair_give(&pair, PAIR_DIALER, 1000, true);
    pair_move(&pair);
    assert_int_equal(dialer->stream.write, CBX_WRITE_DONE);
    assert_int_equal(dialer->over, 0);
    pair_give(&pair, PAIR_TARGET, 1000, true);
    pair_move(&pair);
    assert_int_equal(dialer->stream.read, CBX_READ_DONE);
    assert_true(pair_clean(&pair));
}

static void
row_2_an_acknowledgement_of_less_is_not_of_fin(void **state)
{
    (void)state;
    connect_pair();
    target->takes = 400;
    pair_give(&pair, PAIR_DIALER, 1000, true);
    pair_run(&pair, SECOND);
    assert_int_equal(dialer->last_acked, 400);
    assert_int_equal(dialer->stream.write, CBX_WRITE_FIN);
}

static void
row_3_fin_comes_and_nothing_waits(void **state)
{
    (void)state;
    connect_pair();
    pair_give(&pair, PAIR_DIALER, 1000, true);
    pair_move(&pair); /* no time passes: it is acknowledged at once */
    assert_int_equal(target->ended, 1);
    assert_int_equal(target->ended_at, 1000);
    assert_int_equal(target->stream.read, CBX_READ_DONE);
    assert_int_equal(dialer->last_acked, 1001);
    assert_int_equal(target->budget.used, 0);
}

static void
row_4_fin_comes_and_bytes_wait(void **state)
{
    (void)state;
    connect_pair();
    target->takes = 600;
    pair_give(&pair, PAIR_DIALER, 1000, true);
    pair_run(&pair, SECOND);
    assert_int_equal(target->stream.read, CBX_READ_FIN);
    assert_int_equal(target->ended, 0);
    pair_take(&pair, PAIR_TARGET, 399);
    pair_run(&pair, SECOND);
    assert_int_equal(target->ended, 0);
    pair_take(&pair, PAIR_TARGET, 1);
    pair_move(&pair);
    assert_int_equal(target->ended_at, 1000);
    assert_int_equal(target->stream.read, CBX_READ_DONE);
    assert_int_equal(dialer->stream.write, CBX_WRITE_DONE);
}

static void
row_5_the_dialer_ends_first(void **state)
{
    (void)state;
    connect_pair();
    pair_give(&pair, PAIR_DIALER, 70000, true);
    pair_run(&pair, SECOND);
    assert_int_equal(target->ended, 1);
    pair_give(&pair, PAIR_TARGET, 90000, true);
    pair_run(&pair, SECOND);
    assert_true(pair_clean(&pair));
}

static void
row_5_the_target_ends_first(void **state)
{
    (void)state;
    connect_pair();
    pair_give(&pair, PAIR_TARGET, 70000, true);
    pair_run(&pair, SECOND);
    assert_int_equal(dialer->ended, 1);
    pair_give(&pair, PAIR_DIALER, 90000, true);
    pair_run(&pair, SECOND);
    assert_true(pair_clean(&pair));
}

static void
row_5_both_end_at_once(void **state)
{
    (void)state;
    connect_pair();
    pair_give(&pair, PAIR_DIALER, 1000, true);
    pair_give(&pair, PAIR_TARGET, 1000, true);
    pair_move(&pair);
    assert_true(pair_clean(&pair));
}

static void
row_6_the_program_resets(void **state)
{
    (void)state;
    connect_pair();
    target->takes = 0;
    pair_give(&pair, PAIR_DIALER, 10000, false);
    pair_move(&pair);
    assert_int_equal(pair_queued(&pair, PAIR_TARGET, NULL), 10000);
    dialer->pull_error = CBX_ERR_IO;
    cbx_stream_readable(&dialer->stream);
    pair_move(&pair);
    assert_int_equal(dialer->reason, CBX_REASON_RESET);
    assert_false(dialer->by_target);
    assert_int_equal(target->reason, CBX_REASON_RESET);
    assert_true(target->by_target);
    assert_int_equal(pair_queued(&pair, PAIR_TARGET, NULL), 0);
    assert_int_equal(target->received, 0);
    assert_int_equal(dialer->finished + target->finished, 2);
}

static void
row_6_the_programs_socket_fails(void **state)
{
    (void)state;
    connect_pair();
    target->push_error = CBX_ERR_IO;
    pair_give(&pair, PAIR_DIALER, 10000, false);
    assert_breach(target, CBX_REASON_RESET);
}

static void
row_6_the_socket_fails_with_bytes_waiting_and_after_fin(void **state)
{
    (void)state;
    connect_pair();
    target->takes = 0;
    pair_give(&pair, PAIR_DIALER, 10000, true);
    pair_move(&pair);
    target->push_error = CBX_ERR_IO;
    pair_take(&pair, PAIR_TARGET, UINT64_MAX);
    assert_breach(target, CBX_REASON_RESET);
    assert_int_equal(target->ended, 0);
}

static void
row_6_the_owner_gives_up(void **state)
{
    (void)state;
    connect_pair();
    cbx_stream_abort(&target->stream, CBX_REASON_RESET);
    cbx_stream_abort(&target->stream, CBX_REASON_TIMED_OUT);
    pair_move(&pair);
    assert_int_equal(target->over, 0); /* it knows */
    assert_int_equal(target->finished, 1);
    assert_int_equal(dialer->reason, CBX_REASON_RESET);
}

static void
row_7_reset_comes(void **state)
{
    (void)state;
    connect_pair();
    dialer->takes = 0;
    pair_give(&pair, PAIR_TARGET, 5000, false);
    pair_move(&pair);
    cbx_stream_abort(&target->stream, CBX_REASON_RESET);
    pair_give(&pair, PAIR_DIALER, 5000, true);
    pair_move(&pair);
    assert_int_equal(dialer->over, 1);
    assert_int_equal(dialer->reason, CBX_REASON_RESET);
    assert_true(dialer->by_target);
    assert_int_equal(dialer->ended, 0);
    pair_take(&pair, PAIR_DIALER, UINT64_MAX);
    pair_run(&pair, SECOND);
    assert_int_equal(dialer->received, 0);
    assert_int_equal(target->frames[CBX_FRAME_RESET], 0); /* nothing is sent back */
}

static void
row_7_reset_comes_after_fin(void **state)
{
    (void)state;
    connect_pair();
    pair_give(&pair, PAIR_DIALER, 5000, true);
    pair_move(&pair);
    assert_int_equal(dialer->stream.write, CBX_WRITE_DONE);
    cbx_stream_abort(&target->stream, CBX_REASON_RESET);
    pair_move(&pair);
    assert_int_equal(dialer->reason, CBX_REASON_RESET);
    assert_int_equal(dialer->finished, 1);
}

static void
row_8_the_target_refuses(void **state)
{
    (void)state;
    pair.holds_answer = true;
    dial_pair();
    assert_int_equal(dialer->over, 0);
    cbx_stream_abort(&target->stream, CBX_REASON_REFUSED);
    pair_move(&pair);
    assert_int_equal(dialer->opened, 0);
    assert_int_equal(dialer->over, 1);
    assert_int_equal(dialer->reason, CBX_REASON_REFUSED);
    assert_true(dialer->by_target);
}

static void
row_9_the_hub_refuses(void **state)
{
    (void)state;
    dialer->session[0].root_send[0] ^= 1; /* the target cannot open the OPEN */
    assert_int_equal(pair_dial(&pair), 0);
    pair_move(&pair);
    assert_int_equal(target->taken, CBX_ERR_AUTH);
    assert_int_equal(dialer->opened, 0);
    assert_int_equal(dialer->over, 1);
    assert_int_equal(dialer->reason, CBX_REASON_NO_SESSION);
    assert_false(dialer->by_target);
    assert_int_equal(dialer->finished, 1);
}

static void
send_close(uint64_t reason)
{
    struct cbx_field field = cbx_field_uint(reason);
    cbx_link_send(&target->link, CBX_FRAME_CLOSE, dialer->stream.circuit.label, &field, 1);
    pair_move(&pair);
}

static void
row_10_close_comes_on_an_open_stream(void **state)
{
    (void)state;
    connect_pair();
    dialer->takes = 0;
    pair_give(&pair, PAIR_TARGET, 5000, false);
    pair_move(&pair);
    send_close(CBX_REASON_LOST);
    assert_int_equal(dialer->reason, CBX_REASON_LOST);
    assert_false(dialer->by_target);
    assert_int_equal(dialer->ended, 0); /* never an end of input */
    assert_int_equal(dialer->finished, 1);
    assert_int_equal(target->frames[CBX_FRAME_RESET], 0);
}

static void
row_10_close_after_both_fins_were_sent_is_still_a_loss(void **state)
{
    (void)state;
    connect_pair();
    target->takes = 0;
    pair_give(&pair, PAIR_TARGET, 100, true);
    pair_give(&pair, PAIR_DIALER, 100, true);
    pair_move(&pair);
    assert_int_equal(dialer->ended, 1);
    send_close(CBX_REASON_LOST);
    assert_int_equal(dialer->reason, CBX_REASON_LOST);
}

static void
row_10_an_unknown_reason_is_a_loss(void **state)
{
    (void)state;
    connect_pair();
    send_close(200);
    assert_int_equal(dialer->reason, CBX_REASON_LOST);
}

static void
row_11_the_link_is_lost(void **state)
{
    (void)state;
    connect_pair();
    dialer->takes = 0;
    pair_give(&pair, PAIR_TARGET, 5000, true);
    pair_move(&pair);
    cbx_stream_lost(&dialer->stream, CBX_REASON_LOST);
    cbx_stream_lost(&dialer->stream, CBX_REASON_LOST);
    assert_int_equal(dialer->over, 1);
    assert_int_equal(dialer->reason, CBX_REASON_LOST);
    assert_int_equal(dialer->ended, 0);
    assert_int_equal(dialer->finished, 1);
    pair_move(&pair);
    assert_int_equal(target->frames[CBX_FRAME_RESET], 0);
}

static void
row_11_the_link_is_lost_before_the_answer(void **state)
{
    (void)state;
    pair.holds_answer = true;
    dial_pair();
    cbx_stream_lost(&dialer->stream, CBX_REASON_LOST);
    cbx_stream_lost(&target->stream, CBX_REASON_LOST);
    cbx_stream_accept(&target->stream); /* the shell connected meanwhile */
    pair_move(&pair);
    assert_int_equal(dialer->opened, 0);
    assert_int_equal(dialer->reason, CBX_REASON_LOST);
    assert_int_equal(target->finished, 1);
}

/* A FIN came, and the sealed word of the same sender goes on. */
static void
after_fin(void)
{
    connect_pair();
    target->takes = 0; /* the target keeps bytes and FIN, so that nothing is acknowledged */
    pair_give(&pair, PAIR_DIALER, 1000, true);
    pair_move(&pair);
    assert_int_equal(target->stream.read, CBX_READ_FIN);
}

static void
row_12_data_after_fin(void **state)
{
    (void)state;
    after_fin();
    assert_true(pair_inject(&pair, PAIR_TARGET, pair_data(&pair, PAIR_DIALER, 1000, 10)));
    assert_breach(target, CBX_REASON_INTEGRITY);
    assert_int_equal(target->ended, 0);
}

static void
row_12_data_behind_fins_offset(void **state)
{
    (void)state;
    after_fin();
    assert_true(pair_inject(&pair, PAIR_TARGET, pair_data(&pair, PAIR_DIALER, 1001, 10)));
    assert_breach(target, CBX_REASON_INTEGRITY);
}

static void
row_12_fin_after_fin(void **state)
{
    (void)state;
    after_fin();
    assert_true(pair_inject(
        &pair, PAIR_TARGET,
        cbx_record_fin(pair.aead, &dialer->stream.send_keys, dialer->stream.circuit.label, 1000)));
    assert_breach(target, CBX_REASON_INTEGRITY);
}

static void
row_12_an_offset_that_is_not_the_next(void **state)
{
    (void)state;
    for (int skip = -1; skip <= 1; skip += 2) {
        if (skip > 0) {
            assert_int_equal(teardown(NULL), 0);
            assert_int_equal(setup(NULL), 0);
        }
        connect_pair();
        pair_give(&pair, PAIR_DIALER, 1000, false);
        pair_move(&pair);
        uint64_t offset = 1000 + (uint64_t)skip;
        assert_true(pair_inject(&pair, PAIR_TARGET, pair_data(&pair, PAIR_DIALER, offset, 10)));
        assert_breach(target, CBX_REASON_INTEGRITY);
        assert_int_equal(target->received, 1000);
    }
}

static void
row_12_a_fin_at_another_offset(void **state)
{
    (void)state;
    connect_pair();
    assert_true(pair_inject(&pair, PAIR_TARGET,
                            cbx_record_fin(pair.aead, &dialer->stream.send_keys, 1, 1)));
    assert_breach(target, CBX_REASON_INTEGRITY);
    assert_int_equal(target->ended, 0);
}

static void
row_12_a_counter_that_is_not_the_next(void **state)
{
    (void)state;
    connect_pair();
    dialer->stream.send_keys.data_next++;
    pair_give(&pair, PAIR_DIALER, 1000, false);
    assert_breach(target, CBX_REASON_INTEGRITY);
    assert_int_equal(target->received, 0);
}

static void
row_12_a_record_that_comes_twice(void **state)
{
    (void)state;
    connect_pair();
    struct cbx_slice slice = pair_data(&pair, PAIR_DIALER, 0, 100);
    assert_non_null(slice.slab);
    struct cbx_slice again = cbx_slice_copy(slice.data, slice.length);
    assert_true(pair_inject(&pair, PAIR_TARGET, slice));
    assert_int_equal(target->received, 100);
    assert_true(pair_inject(&pair, PAIR_TARGET, again));
    assert_breach(target, CBX_REASON_INTEGRITY);
    assert_int_equal(target->received, 100);
}

/* Which type the filter harms, once. */
static unsigned harmed_type;

static bool
harm(struct pair *it, int to, struct cbx_frame *frame)
{
    (void)it;
    (void)to;
    if (frame->type != harmed_type)
        return true;
    harmed_type = 0;
    struct cbx_field *last = &frame->field[frame->count - 1];
    last->p[last->n - 1] ^= 1;
    return true;
}

static void
row_12_a_broken_seal_of_data(void **state)
{
    (void)state;
    connect_pair();
    pair.filter = harm;
    harmed_type = CBX_FRAME_DATA;
    pair_give(&pair, PAIR_DIALER, 20000, true);
    assert_breach(target, CBX_REASON_INTEGRITY);
    assert_int_equal(target->received, 0);
}

static void
row_12_a_broken_seal_of_fin(void **state)
{
    (void)state;
    connect_pair();
    pair.filter = harm;
    harmed_type = CBX_FRAME_FIN;
    pair_give(&pair, PAIR_DIALER, 1000, true);
    assert_breach(target, CBX_REASON_INTEGRITY);
    assert_int_equal(target->ended, 0);
}

static void
row_12_a_broken_seal_of_credit(void **state)
{
    (void)state;
    connect_pair();
    pair.filter = harm;
    harmed_type = CBX_FRAME_CREDIT;
    pair_give(&pair, PAIR_DIALER, 30000, false);
    assert_breach(dialer, CBX_REASON_INTEGRITY);
}

static void
row_12_a_broken_seal_of_epoch(void **state)
{
    (void)state;
    connect_pair();
    pair.filter = harm;
    harmed_type = CBX_FRAME_EPOCH;
    cbx_stream_rekey(&dialer->stream);
    assert_breach(target, CBX_REASON_INTEGRITY);
}

static void
row_12_a_broken_seal_of_reset(void **state)
{
    (void)state;
    connect_pair();
    pair.filter = harm;
    harmed_type = CBX_FRAME_RESET;
    cbx_stream_abort(&dialer->stream, CBX_REASON_REFUSED);
    pair_move(&pair);
    assert_int_equal(target->reason, CBX_REASON_INTEGRITY);
    assert_int_equal(dialer->over, 0);
}

static void
row_12_a_dropped_record(void **state)
{
    (void)state;
    connect_pair();
    dialer->stream.out.sent += 100; /* as if a relay had swallowed 100 bytes */
    dialer->send_used += 100;
    pair_give(&pair, PAIR_DIALER, 1000, false);
    assert_breach(target, CBX_REASON_INTEGRITY);
}

static void
row_13_data_beyond_the_limit(void **state)
{
    (void)state;
    connect_pair();
    target->takes = 0;
    dialer->stream.out.limit += 4 * KIB;
    pair_give(&pair, PAIR_DIALER, 1000000, false);
    assert_breach(target, CBX_REASON_FLOW);
    assert_int_equal(target->received, 0);
}

static void
inject_credit(uint64_t acked, uint64_t limit)
{
    assert_true(pair_inject(&pair, PAIR_DIALER,
                            cbx_record_credit(pair.aead, &target->stream.send_keys,
                                              dialer->stream.circuit.label, acked, limit)));
}

static void
row_14_an_acknowledgement_of_what_was_not_sent(void **state)
{
    (void)state;
    connect_pair();
    pair_give(&pair, PAIR_DIALER, 1000, false);
    pair_run(&pair, SECOND);
    inject_credit(1001, 100000);
    assert_breach(dialer, CBX_REASON_FLOW);
}

static void
row_14_a_limit_that_goes_back(void **state)
{
    (void)state;
    connect_pair();
    inject_credit(0, dialer->stream.out.limit - 1);
    assert_breach(dialer, CBX_REASON_FLOW);
}

static void
row_14_an_acknowledgement_that_goes_back(void **state)
{
    (void)state;
    connect_pair();
    pair_give(&pair, PAIR_DIALER, 1000, false);
    pair_run(&pair, SECOND);
    assert_int_equal(dialer->stream.out.acked, 1000);
    inject_credit(999, 100000);
    assert_breach(dialer, CBX_REASON_FLOW);
}

static void
row_15_the_program_gives_up_before_the_answer(void **state)
{
    (void)state;
    pair.holds_answer = true;
    dial_pair();
    cbx_stream_accept(&target->stream);
    struct iovec vector[8];
    assert_int_equal(cbx_link_output(&target->link, vector, 8, pair.now), 1); /* it is on its way */
    cbx_stream_abort(&dialer->stream, CBX_REASON_RESET);
    pair_move(&pair);
    assert_int_equal(dialer->frames[CBX_FRAME_CREDIT], 1);
    assert_int_equal(dialer->opened, 0);
    assert_int_equal(dialer->over, 0);
    assert_int_equal(dialer->finished, 1);
    assert_int_equal(target->reason, CBX_REASON_RESET);
    assert_true(target->by_target);
}

/* RESET never overtakes its OPEN. */
static void
row_15_gives_up_in_the_same_breath(void **state)
{
    (void)state;
    pair.holds_answer = true;
    pair_dial(&pair);
    cbx_stream_abort(&dialer->stream, CBX_REASON_RESET);
    pair_move(&pair);
    assert_int_equal(target->taken, 0);
    assert_int_equal(target->reason, CBX_REASON_RESET);
    assert_int_equal(target->finished, 1);
}

static void
row_16_data_before_the_answer(void **state)
{
    (void)state;
    pair.holds_answer = true;
    dial_pair();
    assert_true(pair_inject(&pair, PAIR_TARGET, pair_data(&pair, PAIR_DIALER, 0, 10)));
    assert_breach(target, CBX_REASON_INTEGRITY);
    assert_int_equal(target->received, 0);
    assert_int_equal(dialer->opened, 0);
}

static void
row_16_fin_before_the_answer(void **state)
{
    (void)state;
    pair.holds_answer = true;
    dial_pair();
    assert_true(pair_inject(&pair, PAIR_TARGET,
                            cbx_record_fin(pair.aead, &dialer->stream.send_keys, 1, 0)));
    assert_breach(target, CBX_REASON_INTEGRITY);
    assert_int_equal(target->ended, 0);
}

static void
row_16_the_target_sends_data_before_its_answer(void **state)
{
    (void)state;
    pair.holds_answer = true;
    dial_pair();
    assert_true(pair_inject(&pair, PAIR_DIALER, pair_data(&pair, PAIR_TARGET, 0, 10)));
    assert_breach(dialer, CBX_REASON_INTEGRITY);
    assert_int_equal(dialer->received, 0);
}

static void
row_17_frames_after_our_reset_are_dropped(void **state)
{
    (void)state;
    connect_pair();
    cbx_stream_abort(&dialer->stream, CBX_REASON_RESET);
    /* All of these crossed it on the way. */
    pair_inject(&pair, PAIR_DIALER, pair_data(&pair, PAIR_TARGET, 0, 10));
    pair_inject(&pair, PAIR_DIALER, pair_data(&pair, PAIR_TARGET, 500, 10));
    inject_credit(77, 0);
    pair_inject(&pair, PAIR_DIALER, cbx_record_fin(pair.aead, &target->stream.send_keys, 1, 10));
    pair_inject(&pair, PAIR_DIALER,
                cbx_record_reset(pair.aead, &target->stream.send_keys, 1, CBX_REASON_REFUSED));
    pair_move(&pair);
    assert_int_equal(dialer->over, 0);
    assert_int_equal(dialer->received, 0);
    assert_int_equal(dialer->finished, 1);
    assert_int_equal(target->reason, CBX_REASON_RESET);
    /* And after it was sent. */
    pair_inject(&pair, PAIR_DIALER, pair_data(&pair, PAIR_TARGET, 10, 10));
    pair_move(&pair);
    assert_int_equal(dialer->over, 0);
    assert_int_equal(dialer->received, 0);
    assert_int_equal(target->frames[CBX_FRAME_RESET], 1);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        STREAM_TEST(row_1_a_program_ends_its_input),
        STREAM_TEST(row_1_an_empty_input_ends_at_offset_0),
        STREAM_TEST(row_1_fin_needs_no_credit),
        STREAM_TEST(row_2_the_acknowledgement_of_fin_comes),
        STREAM_TEST(row_2_an_acknowledgement_of_less_is_not_of_fin),
        STREAM_TEST(row_3_fin_comes_and_nothing_waits),
        STREAM_TEST(row_4_fin_comes_and_bytes_wait),
        STREAM_TEST(row_5_the_dialer_ends_first),
        STREAM_TEST(row_5_the_target_ends_first),
        STREAM_TEST(row_5_both_end_at_once),
        STREAM_TEST(row_6_the_program_resets),
        STREAM_TEST(row_6_the_programs_socket_fails),
        STREAM_TEST(row_6_the_socket_fails_with_bytes_waiting_and_after_fin),
        STREAM_TEST(row_6_the_owner_gives_up),
        STREAM_TEST(row_7_reset_comes),
        STREAM_TEST(row_7_reset_comes_after_fin),
        STREAM_TEST(row_8_the_target_refuses),
        STREAM_TEST(row_9_the_hub_refuses),
        STREAM_TEST(row_10_close_comes_on_an_open_stream),
        STREAM_TEST(row_10_close_after_both_fins_were_sent_is_still_a_loss),
        STREAM_TEST(row_10_an_unknown_reason_is_a_loss),
        STREAM_TEST(row_11_the_link_is_lost),
        STREAM_TEST(row_11_the_link_is_lost_before_the_answer),
        STREAM_TEST(row_12_data_after_fin),
        STREAM_TEST(row_12_data_behind_fins_offset),
        STREAM_TEST(row_12_fin_after_fin),
        STREAM_TEST(row_12_an_offset_that_is_not_the_next),
        STREAM_TEST(row_12_a_fin_at_another_offset),
        STREAM_TEST(row_12_a_counter_that_is_not_the_next),
        STREAM_TEST(row_12_a_record_that_comes_twice),
        STREAM_TEST(row_12_a_broken_seal_of_data),
        STREAM_TEST(row_12_a_broken_seal_of_fin),
        STREAM_TEST(row_12_a_broken_seal_of_credit),
        STREAM_TEST(row_12_a_broken_seal_of_epoch),
        STREAM_TEST(row_12_a_broken_seal_of_reset),
        STREAM_TEST(row_12_a_dropped_record),
        STREAM_TEST(row_13_data_beyond_the_limit),
        STREAM_TEST(row_14_an_acknowledgement_of_what_was_not_sent),
        STREAM_TEST(row_14_a_limit_that_goes_back),
        STREAM_TEST(row_14_an_acknowledgement_that_goes_back),
        STREAM_TEST(row_15_the_program_gives_up_before_the_answer),
        STREAM_TEST(row_15_gives_up_in_the_same_breath),
        STREAM_TEST(row_16_data_before_the_answer),
        STREAM_TEST(row_16_fin_before_the_answer),
        STREAM_TEST(row_16_the_target_sends_data_before_its_answer),
        STREAM_TEST(row_17_frames_after_our_reset_are_dropped),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
