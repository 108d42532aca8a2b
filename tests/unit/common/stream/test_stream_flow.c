/* SPDX-License-Identifier: MIT */
/* Streams while they live: bytes, credit, memory, epochs. The ends are in test_stream.c. */
#include "slow.h"
#include "stream_fixture.h"
#include <string.h>

static void
clean_after(int64_t us)
{
    pair_run(&pair, us);
    assert_true(pair_clean(&pair));
}

/* ---- bytes ---- */

static void
a_dial_is_answered(void **state)
{
    (void)state;
    pair.holds_answer = true;
    dial_pair();
    assert_int_equal(target->frames[CBX_FRAME_OPEN], 1);
    assert_int_equal(dialer->opened, 0);
    pair_give(&pair, PAIR_DIALER, 100, false);
    pair_move(&pair);
    assert_int_equal(dialer->sent, 0); /* nothing before the answer */
    cbx_stream_accept(&target->stream);
    pair_move(&pair);
    assert_int_equal(dialer->opened, 1);
    assert_int_equal(target->opened, 0);
    assert_int_equal(target->received, 100);
}

static void
bytes_go_both_ways_at_once(void **state)
{
    (void)state;
    connect_pair();
    pair_give(&pair, PAIR_DIALER, 3 * MIB, true);
    pair_give(&pair, PAIR_TARGET, 2 * MIB, true);
    clean_after(20 * SECOND);
}

static void
both_ciphers_carry_a_stream(void **state)
{
    (void)state;
    for (int i = 0; i < 2; i++) {
        pair_dispose(&pair);
        assert_int_equal(pair_init(&pair, i ? CBX_CIPHER_AES256GCM : CBX_CIPHER_CHACHA20POLY1305),
                         0);
        connect_pair();
        pair_give(&pair, PAIR_DIALER, 100000, true);
        pair_give(&pair, PAIR_TARGET, 100000, true);
        clean_after(5 * SECOND);
    }
}

static void
chopped_at_every_byte_nothing_changes(void **state)
{
    (void)state;
    pair.chop = 1;
    connect_pair();
    pair_give(&pair, PAIR_DIALER, 70000, true);
    pair_give(&pair, PAIR_TARGET, 50000, true);
    clean_after(5 * SECOND);
}

/* n bytes in records of size each, come but not given yet; the next offset. */
static uint64_t
come(uint64_t offset, uint32_t n, uint32_t size)
{
    for (uint32_t at = 0; at < n; at += size)
        assert_true(
            pair_inject_only(&pair, PAIR_TARGET, pair_data(&pair, PAIR_DIALER, offset + at, size)));
    return offset + n;
}

static void
what_one_read_brings_is_given_at_once(void **state)
{
    (void)state;
    connect_pair();
    (void)come(0, 500, 100);
    assert_int_equal(target->received, 0);
    cbx_stream_flush(&target->env, pair.now);
    assert_int_equal(target->received, 500);
    assert_int_equal(target->pieces, 5);
    (void)come(500, 2000, 100); /* more than are gathered */
    assert_int_equal(target->received, 500 + CBX_STREAM_GATHER * 100);
    cbx_stream_flush(&target->env, pair.now);
    assert_int_equal(target->received, 2500);
    assert_false(target->corrupt);
}

/* The program takes part of what it is given: the rest waits, and what comes then waits behind. */
static void
what_is_taken_in_part_stays_in_order(void **state)
{
    (void)state;
    static const uint64_t takes[] = {0, 1, 299, 300, 301, 800, 1499, 1500, 1600};
    uint64_t offset = 0;
    connect_pair();
    for (size_t i = 0; i < sizeof takes / sizeof *takes; i++) {
        target->takes = takes[i];
        uint64_t before = offset;
        offset = come(offset, 1500, 300);
        cbx_stream_flush(&target->env, pair.now);
        assert_int_equal(target->received - before, takes[i] < 1500 ? takes[i] : 1500);
        offset = come(offset, 300, 300);
        pair_take(&pair, PAIR_TARGET, UINT64_MAX);
        cbx_stream_flush(&target->env, pair.now);
        assert_int_equal(target->received, offset);
    }
    assert_false(target->corrupt);
}

/* Records were gathered when the stream ended: the program gets those that came before. */
static void
what_came_before_a_reset_is_given(void **state)
{
    (void)state;
    connect_pair();
    (void)come(0, 3000, 1000);
    assert_true(
        pair_inject(&pair, PAIR_TARGET,
                    cbx_record_reset(pair.aead, &dialer->stream.send_keys, 1, CBX_REASON_RESET)));
    assert_int_equal(target->received, 3000);
    assert_int_equal(target->over, 1);
    assert_false(target->late);
}

static void
what_came_before_a_breach_is_given(void **state)
{
    (void)state;
    connect_pair();
    (void)come(0, 3000, 1000);
    assert_true(
        pair_inject(&pair, PAIR_TARGET,
                    cbx_record_credit(pair.aead, &dialer->stream.send_keys, 1, 1000000, 2000000)));
    assert_int_equal(target->received, 3000);
    assert_int_equal(target->over, 1);
    assert_int_equal(target->reason, CBX_REASON_FLOW);
    assert_false(target->late);
}

/* The program gave up with records gathered: they go nowhere. */
static void
what_came_for_a_program_that_left_is_dropped(void **state)
{
    (void)state;
    connect_pair();
    (void)come(0, 3000, 1000);
    cbx_stream_abort(&target->stream, CBX_REASON_RESET);
    cbx_stream_flush(&target->env, pair.now);
    assert_int_equal(target->received, 0);
    assert_false(target->late);
}

static void
a_program_that_takes_a_little_at_a_time_gets_all(void **state)
{
    (void)state;
    connect_pair();
    target->takes = 0;
    pair_give(&pair, PAIR_DIALER, 200000, true);
    pair_give(&pair, PAIR_TARGET, 0, true);
    for (uint64_t i = 0; target->received < 200000 && i < 3000; i++) {
        pair_take(&pair, PAIR_TARGET, 1 + i * 7 % 311);
        pair_run(&pair, 10 * MS);
    }
    clean_after(SECOND);
}

static void
many_small_writes_come_in_order(void **state)
{
    (void)state;
    connect_pair();
    for (uint64_t i = 0; i < 3000; i++) {
        pair_give(&pair, PAIR_DIALER, 1 + i % 5, false);
        pair_run(&pair, MS);
    }
    pair_give(&pair, PAIR_DIALER, 0, true);
    cbx_circuit_data_ready(&dialer->stream.circuit);
    pair_give(&pair, PAIR_TARGET, 0, true);
    clean_after(SECOND);
}

/* ---- credit ---- */

static void
the_open_and_the_answer_bring_the_first_credit(void **state)
{
    (void)state;
    connect_pair();
    assert_int_equal(dialer->stream.out.limit, 32 * KIB);
    assert_int_equal(target->stream.out.limit, 32 * KIB);
    assert_int_equal(dialer->budget.used, 32 * KIB);
    assert_int_equal(target->budget.used, 32 * KIB);
}

static void
no_minimum_window_free_is_refused_as_a_limit(void **state)
{
    (void)state;
    dialer->budget.used = dialer->budget.total;
    assert_int_equal(pair_dial(&pair), CBX_ERR_LIMIT);
    cbx_stream_dispose(&dialer->stream);
    dialer->budget.used = 0;
    assert_int_equal(dialer->peer_used, 0);
}

static void
an_acknowledgement_says_what_the_program_took(void **state)
{
    (void)state;
    connect_pair();
    target->takes = 9000;
    pair_give(&pair, PAIR_DIALER, 30000, false);
    pair_run(&pair, SECOND);
    assert_int_equal(target->stream.received, 30000);
    assert_int_equal(dialer->stream.out.acked, 9000);
    assert_int_equal(dialer->send_used, 21000);
    pair_take(&pair, PAIR_TARGET, 1000);
    pair_run(&pair, SECOND);
    assert_int_equal(dialer->stream.out.acked, 10000);
}

static void
a_quarter_of_the_window_is_announced_at_once(void **state)
{
    (void)state;
    connect_pair();
    pair_give(&pair, PAIR_DIALER, 9000, false);
    pair_move(&pair);
    assert_true(dialer->stream.out.acked >= 8 * KIB);
}

static void
less_is_announced_after_100_ms(void **state)
{
    (void)state;
    connect_pair();
    pair_give(&pair, PAIR_DIALER, 100, false);
    pair_run(&pair, 99 * MS);
    assert_int_equal(target->received, 100);
    assert_int_equal(dialer->stream.out.acked, 0);
    pair_run(&pair, 1 * MS);
    assert_int_equal(dialer->stream.out.acked, 100);
    uint32_t credits = dialer->frames[CBX_FRAME_CREDIT];
    pair_run(&pair, SECOND);
    assert_int_equal(dialer->frames[CBX_FRAME_CREDIT], credits); /* once is enough */
}

static void
credit_comes_in_batches(void **state)
{
    (void)state;
    connect_pair();
    for (int i = 0; i < 2000; i++) {
        pair_give(&pair, PAIR_DIALER, 1, false);
        pair_run(&pair, MS);
    }
    assert_in_range(dialer->frames[CBX_FRAME_CREDIT], 18, 150);
}

static void
a_stalled_program_holds_what_was_granted_and_no_more(void **state)
{
    (void)state;
    connect_pair();
    target->takes = 0;
    pair_give(&pair, PAIR_DIALER, 100 * MIB, false);
    pair_run(&pair, 2 * SECOND);
    uint64_t memory, bytes = pair_queued(&pair, PAIR_TARGET, &memory);
    assert_in_range(bytes, 32 * KIB - 9 * CBX_RECORD_COST, 32 * KIB);
    assert_true(memory <= 2 * bytes);
    assert_int_equal(dialer->stream.out.sent, bytes);
    assert_int_equal(dialer->send_used, bytes);
}

static void
a_program_that_stalls_at_full_speed_holds_its_window(void **state)
{
    (void)state;
    connect_pair();
    uint64_t before = (runs_slowly() ? 4 : 40) * MIB;
    target->takes = before;
    pair_give(&pair, PAIR_DIALER, before + 30 * MIB, false);
    pair_run(&pair, 2 * SECOND);
    assert_int_equal(target->received, before);
    uint64_t memory, bytes = pair_queued(&pair, PAIR_TARGET, &memory);
    assert_true(bytes <= target->stream.in.limit - target->stream.in.acked);
    assert_int_equal(target->budget.used, target->stream.in.limit - target->stream.in.acked);
    assert_true(bytes > 0 && memory <= 2 * bytes + 200 * KIB);
    pair_take(&pair, PAIR_TARGET, before);
    pair_run(&pair, 100 * MS);
    assert_true(target->received > before);
    assert_false(target->corrupt);
}

static void
small_pieces_that_wait_are_gathered(void **state)
{
    (void)state;
    connect_pair();
    target->takes = 0;
    for (uint64_t i = 0; i < 1000; i++) {
        pair_give(&pair, PAIR_DIALER, 1 + i % 7, false);
        pair_run(&pair, MS);
    }
    assert_in_range(target->frames[CBX_FRAME_DATA], 190, 204); /* what 32 KiB pay for */
    uint64_t memory, bytes = pair_queued(&pair, PAIR_TARGET, &memory);
    assert_int_equal(bytes, dialer->stream.out.sent);
    assert_true(memory <= bytes + 8 * KIB);
    pair_take(&pair, PAIR_TARGET, UINT64_MAX);
    pair_run(&pair, SECOND);
    assert_int_equal(target->received, dialer->to_send);
    assert_false(target->corrupt);
}

/* Large and small by turns, with a bit taken now and then: never much more memory than bytes. */
static void
mixed_pieces_that_wait_cost_little(void **state)
{
    (void)state;
    connect_pair();
    for (uint64_t i = 0; i < 400; i++) {
        target->takes = 0;
        pair_give(&pair, PAIR_DIALER, i % 3 ? 1 : 3000 + i * 37 % 6000, false);
        pair_run(&pair, MS);
        if (i % 16 == 15)
            pair_take(&pair, PAIR_TARGET, 15000 + i);
        uint64_t memory, bytes = pair_queued(&pair, PAIR_TARGET, &memory);
        assert_true(memory <= 3 * bytes + 100 * KIB);
    }
    pair_take(&pair, PAIR_TARGET, UINT64_MAX);
    pair_run(&pair, SECOND);
    assert_int_equal(target->received, dialer->to_send);
    assert_false(target->corrupt);
}

static void
a_small_send_budget_only_slows(void **state)
{
    (void)state;
    dialer->env.send_total = 10000;
    connect_pair();
    pair_give(&pair, PAIR_DIALER, 200000, true);
    pair_give(&pair, PAIR_TARGET, 0, true);
    for (int i = 0; i < 200; i++) {
        pair_run(&pair, 50 * MS);
        assert_true(dialer->send_used <= 10001);
    }
    assert_true(pair_clean(&pair));
}

/* Another stream spends it all and gives it back: the one that waited has no CREDIT to wake it. */
static void
a_spent_send_budget_stalls_no_stream_for_good(void **state)
{
    (void)state;
    struct cbx_stream hog;
    connect_pair();
    assert_int_equal(
        cbx_stream_init(&hog, &dialer->env, true, &dialer->budget, &dialer->peer_used, pair.now),
        0);
    cbx_send_sent(&hog.out, dialer->env.send_total);
    pair_give(&pair, PAIR_DIALER, 20000, true);
    pair_give(&pair, PAIR_TARGET, 0, true);
    pair_run(&pair, SECOND);
    assert_int_equal(dialer->sent, 0);
    cbx_stream_dispose(&hog);
    clean_after(5 * SECOND);
}

/* One stream with a stalled reader holds all that it may: others still get through. */
static void
a_stalled_stream_leaves_minimum_windows_for_the_others(void **state)
{
    (void)state;
    struct cbx_stream hog;
    dialer->env.send_total = 100000;
    connect_pair();
    assert_int_equal(
        cbx_stream_init(&hog, &dialer->env, true, &dialer->budget, &dialer->peer_used, pair.now),
        0);
    hog.out.limit = UINT64_MAX;
    assert_int_equal(cbx_send_room(&hog.out), 75000);
    cbx_send_sent(&hog.out, 75000);
    pair_give(&pair, PAIR_DIALER, 200000, true);
    pair_give(&pair, PAIR_TARGET, 0, true);
    pair_run(&pair, 20 * SECOND);
    assert_int_equal(target->received, 200000);
    cbx_stream_dispose(&hog);
    assert_true(pair_clean(&pair));
}

/* ---- opening ---- */

static void
an_open_whose_halves_differ_is_not_taken(void **state)
{
    (void)state;
    dialer->session[0].root_send[0] ^= 1;
    assert_int_equal(pair_dial(&pair), 0);
    pair_move(&pair);
    assert_int_equal(target->taken, CBX_ERR_AUTH);
    assert_null(cbx_circuit_find(&target->link, 1));
    assert_int_equal(target->budget.used, 0);
}

static void
credit_from_the_dialer_before_the_answer_is_refused(void **state)
{
    (void)state;
    pair.holds_answer = true;
    dial_pair();
    pair_inject(&pair, PAIR_TARGET,
                cbx_record_credit(pair.aead, &dialer->stream.send_keys, 1, 0, 100000));
    pair_move(&pair);
    assert_int_equal(target->reason, CBX_REASON_PROTOCOL);
    assert_int_equal(dialer->reason, CBX_REASON_PROTOCOL);
}

static void
a_second_open_on_a_circuit_ends_the_stream(void **state)
{
    (void)state;
    connect_pair();
    struct cbx_open open = pair_open();
    pair_inject(&pair, PAIR_TARGET,
                cbx_record_dial(pair.aead, &dialer->stream.send_keys, 1, &open));
    assert_breach(target, CBX_REASON_PROTOCOL);
}

/* ---- order ---- */

/* Each class has its own counter: a credit that was sealed last may come first. */
static void
control_may_pass_data(void **state)
{
    (void)state;
    connect_pair();
    uint64_t limit = target->stream.out.limit;
    struct cbx_slice first = pair_data(&pair, PAIR_DIALER, 0, 100);
    struct cbx_slice second = pair_data(&pair, PAIR_DIALER, 100, 50);
    struct cbx_slice credit =
        cbx_record_credit(pair.aead, &dialer->stream.send_keys, 1, 0, limit + 1000);
    assert_true(pair_inject(&pair, PAIR_TARGET, credit));
    assert_int_equal(target->stream.out.limit, limit + 1000);
    assert_true(pair_inject(&pair, PAIR_TARGET, first));
    assert_true(pair_inject(&pair, PAIR_TARGET, second));
    assert_int_equal(target->received, 150);
    assert_int_equal(target->over, 0);
}

/* ---- epochs ---- */

static void
epochs_follow_each_other_by_bytes(void **state)
{
    (void)state;
    dialer->env.epoch_bytes_max = 10000;
    target->env.epoch_bytes_max = 33333;
    connect_pair();
    pair_give(&pair, PAIR_DIALER, 1 * MIB, true);
    pair_give(&pair, PAIR_TARGET, 1 * MIB, true);
    clean_after(60 * SECOND);
    assert_true(target->frames[CBX_FRAME_EPOCH] > 8);
    assert_true(dialer->frames[CBX_FRAME_EPOCH] > 8);
    assert_int_equal(dialer->stream.send_keys.epoch, 1 + target->frames[CBX_FRAME_EPOCH]);
}

static void
epochs_follow_each_other_by_records(void **state)
{
    (void)state;
    dialer->env.epoch_records_max = target->env.epoch_records_max = 4;
    connect_pair();
    pair_give(&pair, PAIR_DIALER, 300000, true);
    pair_give(&pair, PAIR_TARGET, 300000, true);
    clean_after(60 * SECOND);
    assert_true(target->frames[CBX_FRAME_EPOCH] > 8);
}

/* A stream that only receives sends control records without end. */
static void
a_direction_without_data_changes_its_epoch_too(void **state)
{
    (void)state;
    target->env.epoch_records_max = 10;
    connect_pair();
    pair_give(&pair, PAIR_DIALER, 2 * MIB, false);
    pair_run(&pair, 10 * SECOND);
    assert_int_equal(target->received, 2 * MIB);
    assert_true(dialer->frames[CBX_FRAME_CREDIT] > 20);
    assert_true(target->stream.send_keys.control_next <= 11);
    assert_true(dialer->frames[CBX_FRAME_EPOCH] >= dialer->frames[CBX_FRAME_CREDIT] / 10);
}

static void
rekeying_at_rest_again_and_again(void **state)
{
    (void)state;
    connect_pair();
    for (int i = 0; i < 20; i++) {
        cbx_stream_rekey(&dialer->stream);
        cbx_stream_rekey(&dialer->stream);
        pair_move(&pair);
        if (i % 3 == 0)
            pair_give(&pair, PAIR_DIALER, 500, false);
        pair_run(&pair, 200 * MS);
    }
    assert_int_equal(target->frames[CBX_FRAME_EPOCH], 20);
    assert_int_equal(dialer->stream.send_keys.epoch, 21);
    pair_give(&pair, PAIR_DIALER, 1000, true);
    pair_give(&pair, PAIR_TARGET, 1000, true);
    clean_after(SECOND);
}

/* The one after next begins only when all before the last switch is acknowledged. */
static void
a_third_epoch_waits_for_the_acknowledgement_of_the_first(void **state)
{
    (void)state;
    connect_pair();
    target->takes = 0;
    pair_give(&pair, PAIR_DIALER, 5000, false);
    pair_move(&pair);
    cbx_stream_rekey(&dialer->stream);
    pair_move(&pair);
    cbx_stream_rekey(&dialer->stream);
    pair_run(&pair, SECOND);
    assert_int_equal(dialer->stream.send_keys.epoch, 2);
    pair_take(&pair, PAIR_TARGET, UINT64_MAX);
    pair_run(&pair, SECOND);
    assert_int_equal(dialer->stream.send_keys.epoch, 3);
    assert_int_equal(target->over, 0);
}

static void
an_epoch_moves_to_the_newer_session(void **state)
{
    (void)state;
    connect_pair();
    pair_give(&pair, PAIR_DIALER, 5000, false);
    pair_run(&pair, SECOND);
    dialer->sessions = target->sessions = 2;
    cbx_stream_rekey(&dialer->stream);
    cbx_stream_rekey(&target->stream);
    pair_move(&pair);
    struct cbx_record_keys keys;
    cbx_record_keys_derive(&keys, dialer->session[1].root_send, dialer->stream.id, 2,
                           dialer->session[1].cipher);
    assert_memory_equal(keys.data, dialer->stream.send_keys.data, CBX_AEAD_KEY);
    pair_give(&pair, PAIR_DIALER, 5000, true);
    pair_give(&pair, PAIR_TARGET, 5000, true);
    clean_after(SECOND);
}

static void
rekeying_while_data_flows(void **state)
{
    (void)state;
    connect_pair();
    dialer->sessions = target->sessions = 2;
    pair.chop = 777;
    for (int i = 0; i < 400; i++) {
        cbx_stream_rekey(i % 2 ? &dialer->stream : &target->stream);
        pair_take(&pair, PAIR_TARGET, i % 3 ? UINT64_MAX : 0);
        pair_give(&pair, PAIR_DIALER, 6000, false);
        pair_give(&pair, PAIR_TARGET, 5000, false);
        pair_run(&pair, MS);
    }
    pair_take(&pair, PAIR_TARGET, UINT64_MAX);
    pair_give(&pair, PAIR_DIALER, 1, true);
    pair_give(&pair, PAIR_TARGET, 1, true);
    clean_after(30 * SECOND);
    assert_true(dialer->frames[CBX_FRAME_EPOCH] > 50);
    assert_true(target->frames[CBX_FRAME_EPOCH] > 50);
}

/* One direction has ended; its credit for the other goes on, and so do its epochs. */
static void
a_half_closed_stream_still_changes_its_control_keys(void **state)
{
    (void)state;
    connect_pair();
    target->takes = 0;
    pair_give(&pair, PAIR_DIALER, 1000, true);
    pair_move(&pair);
    cbx_stream_rekey(&dialer->stream); /* FIN came, its bytes wait */
    pair_move(&pair);
    pair_give(&pair, PAIR_TARGET, 200000, false);
    pair_run(&pair, SECOND);
    pair_take(&pair, PAIR_TARGET, UINT64_MAX);
    pair_run(&pair, SECOND);
    cbx_stream_rekey(&dialer->stream); /* and once more after the program was told */
    pair_give(&pair, PAIR_TARGET, 200000, true);
    clean_after(5 * SECOND);
    assert_int_equal(dialer->stream.send_keys.epoch, 3);
}

static void
nothing_is_rekeyed_before_the_answer(void **state)
{
    (void)state;
    pair.holds_answer = true;
    pair_dial(&pair);
    cbx_stream_rekey(&dialer->stream);
    pair_move(&pair);
    cbx_stream_rekey(&target->stream);
    cbx_stream_accept(&target->stream);
    pair_move(&pair);
    assert_int_equal(target->frames[CBX_FRAME_EPOCH] + dialer->frames[CBX_FRAME_EPOCH], 0);
    assert_int_equal(dialer->opened, 1);
}

static void
inject_epoch(const uint8_t *session, uint64_t next, uint64_t offset)
{
    assert_true(pair_inject(
        &pair, PAIR_TARGET,
        cbx_record_epoch(pair.aead, &dialer->stream.send_keys, 1, session, next, offset)));
}

static void
an_epoch_of_an_unknown_session_is_refused(void **state)
{
    (void)state;
    connect_pair();
    inject_epoch(dialer->session[1].id, 2, 0);
    assert_breach(target, CBX_REASON_INTEGRITY);
}

static void
an_epoch_that_is_not_the_next_is_refused(void **state)
{
    (void)state;
    connect_pair();
    inject_epoch(dialer->session[0].id, 3, 0);
    assert_breach(target, CBX_REASON_INTEGRITY);
}

static void
an_epoch_that_began_in_the_past_is_refused(void **state)
{
    (void)state;
    connect_pair();
    pair_give(&pair, PAIR_DIALER, 1000, false);
    pair_run(&pair, SECOND);
    inject_epoch(dialer->session[0].id, 2, 999);
    assert_breach(target, CBX_REASON_INTEGRITY);
}

static void
a_second_epoch_before_the_first_began_is_refused(void **state)
{
    (void)state;
    connect_pair();
    inject_epoch(dialer->session[0].id, 2, 5000); /* its bytes up to 5000 have not come */
    struct cbx_record_keys keys;
    cbx_record_keys_derive(&keys, dialer->session[0].root_send, dialer->stream.id, 2,
                           dialer->session[0].cipher);
    assert_true(pair_inject(&pair, PAIR_TARGET,
                            cbx_record_epoch(pair.aead, &keys, 1, dialer->session[0].id, 3, 5000)));
    assert_breach(target, CBX_REASON_INTEGRITY);
}

static void
data_of_the_next_epoch_before_its_offset_is_refused(void **state)
{
    (void)state;
    connect_pair();
    inject_epoch(dialer->session[0].id, 2, 5000);
    cbx_record_keys_derive(&dialer->stream.send_keys, dialer->session[0].root_send,
                           dialer->stream.id, 2, dialer->session[0].cipher);
    assert_true(pair_inject(&pair, PAIR_TARGET, pair_data(&pair, PAIR_DIALER, 0, 100)));
    pair_move(&pair);
    assert_int_equal(target->reason, CBX_REASON_INTEGRITY);
    assert_int_equal(target->received, 0);
}

static void
without_a_session_the_next_epoch_waits_for_one(void **state)
{
    (void)state;
    dialer->env.epoch_bytes_max = 10000;
    connect_pair();
    dialer->sessions = 0;
    pair_give(&pair, PAIR_DIALER, 50000, true);
    pair_give(&pair, PAIR_TARGET, 50000, true);
    pair_run(&pair, SECOND);
    assert_int_equal(dialer->over, 0);
    assert_int_equal(dialer->stream.send_keys.epoch, 1);
    assert_int_equal(dialer->received, 50000);
    dialer->sessions = 2;
    target->sessions = 2;
    cbx_stream_rekey(&dialer->stream);
    clean_after(SECOND);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        STREAM_TEST(a_dial_is_answered),
        STREAM_TEST(bytes_go_both_ways_at_once),
        STREAM_TEST(both_ciphers_carry_a_stream),
        STREAM_TEST(chopped_at_every_byte_nothing_changes),
        STREAM_TEST(what_one_read_brings_is_given_at_once),
        STREAM_TEST(what_is_taken_in_part_stays_in_order),
        STREAM_TEST(what_came_before_a_reset_is_given),
        STREAM_TEST(what_came_before_a_breach_is_given),
        STREAM_TEST(what_came_for_a_program_that_left_is_dropped),
        STREAM_TEST(a_program_that_takes_a_little_at_a_time_gets_all),
        STREAM_TEST(many_small_writes_come_in_order),
        STREAM_TEST(the_open_and_the_answer_bring_the_first_credit),
        STREAM_TEST(no_minimum_window_free_is_refused_as_a_limit),
        STREAM_TEST(an_acknowledgement_says_what_the_program_took),
        STREAM_TEST(a_quarter_of_the_window_is_announced_at_once),
        STREAM_TEST(less_is_announced_after_100_ms),
        STREAM_TEST(credit_comes_in_batches),
        STREAM_TEST(a_stalled_program_holds_what_was_granted_and_no_more),
        STREAM_TEST(a_program_that_stalls_at_full_speed_holds_its_window),
        STREAM_TEST(small_pieces_that_wait_are_gathered),
        STREAM_TEST(mixed_pieces_that_wait_cost_little),
        STREAM_TEST(a_small_send_budget_only_slows),
        STREAM_TEST(a_spent_send_budget_stalls_no_stream_for_good),
        STREAM_TEST(a_stalled_stream_leaves_minimum_windows_for_the_others),
        STREAM_TEST(an_open_whose_halves_differ_is_not_taken),
        STREAM_TEST(credit_from_the_dialer_before_the_answer_is_refused),
        STREAM_TEST(a_second_open_on_a_circuit_ends_the_stream),
        STREAM_TEST(control_may_pass_data),
        STREAM_TEST(epochs_follow_each_other_by_bytes),
        STREAM_TEST(epochs_follow_each_other_by_records),
        STREAM_TEST(a_direction_without_data_changes_its_epoch_too),
        STREAM_TEST(rekeying_at_rest_again_and_again),
        STREAM_TEST(a_third_epoch_waits_for_the_acknowledgement_of_the_first),
        STREAM_TEST(an_epoch_moves_to_the_newer_session),
        STREAM_TEST(rekeying_while_data_flows),
        STREAM_TEST(a_half_closed_stream_still_changes_its_control_keys),
        STREAM_TEST(nothing_is_rekeyed_before_the_answer),
        STREAM_TEST(an_epoch_of_an_unknown_session_is_refused),
        STREAM_TEST(an_epoch_that_is_not_the_next_is_refused),
        STREAM_TEST(an_epoch_that_began_in_the_past_is_refused),
        STREAM_TEST(a_second_epoch_before_the_first_began_is_refused),
        STREAM_TEST(data_of_the_next_epoch_before_its_offset_is_refused),
        STREAM_TEST(without_a_session_the_next_epoch_waits_for_one),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
