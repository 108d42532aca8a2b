/* SPDX-License-Identifier: MIT */
/* Streams that go on over another path (rules 18, 19). */
#include "slow.h"
#include "stream_fixture.h"

static uint32_t left; /* frames that still come through */

/* What was on its way when the path broke comes to nobody. */
static bool
runs_dry(struct pair *one, int to, struct cbx_frame *frame)
{
    (void)one;
    (void)to;
    (void)frame;
    if (left == 0)
        return false;
    left--;
    return true;
}

static void
connect_movable(void)
{
    connect_pair();
    pair.moves = true;
}

/* The path breaks; the next one carries everything. */
static void
move_on(void)
{
    assert_int_equal(pair_cut(&pair), 0);
    pair.filter = NULL;
    assert_int_equal(pair_resume(&pair), 0);
    pair_move(&pair);
}

static void
assert_moved(void)
{
    assert_int_equal(target->taken, 0);
    assert_int_equal(dialer->resumed, 1);
    assert_int_equal(dialer->over + target->over, 0);
    assert_false(cbx_stream_resuming(&dialer->stream));
    assert_false(dialer->link.failed || target->link.failed);
}

/* Both programs end their input, and everything came once. */
static void
assert_ends_well(void)
{
    pair_give(&pair, PAIR_DIALER, 70000, true);
    pair_give(&pair, PAIR_TARGET, 90000, true);
    pair_take(&pair, PAIR_DIALER, UINT64_MAX);
    pair_take(&pair, PAIR_TARGET, UINT64_MAX);
    pair_run(&pair, 5 * SECOND);
    assert_true(pair_clean(&pair));
}

static void
at_rest(void **state)
{
    (void)state;
    connect_movable();
    move_on();
    assert_moved();
    assert_int_equal(dialer->stranded, 1);
    assert_int_equal(target->stranded, 1);
    assert_true(dialer->stream.send_keys.epoch > 1);
    assert_int_equal(dialer->stream.send_keys.epoch, target->stream.receive_keys.epoch);
    assert_ends_well();
}

static void
what_was_on_its_way_comes_once(void **state)
{
    (void)state;
    connect_movable();
    left = 3;
    pair.filter = runs_dry;
    pair_give(&pair, PAIR_DIALER, 200000, false);
    pair_give(&pair, PAIR_TARGET, 200000, false);
    pair_move(&pair);
    assert_true(target->received + dialer->received < 400000);
    move_on();
    assert_moved();
    assert_ends_well();
}

/* The program has not taken what came: that is not sent again. */
static void
what_waits_for_the_program_stays(void **state)
{
    (void)state;
    connect_movable();
    target->takes = 5000;
    pair_give(&pair, PAIR_DIALER, 25000, false);
    pair_move(&pair);
    uint64_t memory;
    assert_int_equal(pair_queued(&pair, PAIR_TARGET, &memory), 20000);
    uint32_t before = target->frames[CBX_FRAME_DATA];
    move_on();
    assert_moved();
    assert_int_equal(target->frames[CBX_FRAME_DATA], before);
    assert_int_equal(dialer->stream.out.retransmit, 0);
    assert_ends_well();
}

static void
a_fin_that_was_lost(void **state)
{
    (void)state;
    connect_movable();
    left = 0;
    pair.filter = runs_dry;
    pair_give(&pair, PAIR_DIALER, 1000, true);
    pair_move(&pair);
    assert_int_equal(dialer->stream.write, CBX_WRITE_FIN);
    move_on();
    assert_moved();
    pair_run(&pair, SECOND);
    assert_int_equal(target->ended, 1);
    assert_int_equal(target->received, 1000);
    assert_int_equal(dialer->stream.write, CBX_WRITE_DONE);
    pair_give(&pair, PAIR_TARGET, 5000, true);
    pair_run(&pair, SECOND);
    assert_true(pair_clean(&pair));
}

static bool
no_credit(struct pair *one, int to, struct cbx_frame *frame)
{
    (void)one;
    (void)to;
    return frame->type != CBX_FRAME_CREDIT;
}

static void
a_fin_whose_acknowledgement_was_lost(void **state)
{
    (void)state;
    connect_movable();
    pair.filter = no_credit;
    pair_give(&pair, PAIR_DIALER, 1000, true);
    pair_move(&pair);
    assert_int_equal(target->ended, 1);
    assert_int_equal(dialer->stream.write, CBX_WRITE_FIN);
    move_on();
    assert_moved();
    assert_int_equal(target->frames[CBX_FRAME_FIN], 1);
    assert_int_equal(dialer->stream.write, CBX_WRITE_DONE);
    pair_give(&pair, PAIR_TARGET, 5000, true);
    pair_run(&pair, SECOND);
    assert_true(pair_clean(&pair));
}

/* An attempt that comes to nothing is followed by one in a greater epoch. */
static void
a_resume_that_is_lost(void **state)
{
    (void)state;
    connect_movable();
    pair_give(&pair, PAIR_DIALER, 200000, false);
    left = 2;
    pair.filter = runs_dry;
    pair_move(&pair);
    for (int i = 0; i < 4; i++) {
        uint64_t epoch = dialer->stream.send_keys.epoch;
        assert_int_equal(pair_cut(&pair), 0);
        assert_int_equal(pair_resume(&pair), 0);
        left = (uint32_t)i; /* of RESUME, RESUMED and what follows */
        pair_move(&pair);
        assert_true(dialer->stream.send_keys.epoch > epoch);
    }
    move_on();
    assert_int_equal(target->taken, 0);
    assert_ends_well();
}

/* The new path may be granted less: then the limit goes back, and what is sent again is cut smaller
 * than it was. */
static void
a_smaller_budget(void **state)
{
    (void)state;
    static struct cbx_budget small;
    connect_movable();
    pair_give(&pair, PAIR_DIALER, 4 * MIB, false);
    pair_run(&pair, SECOND);
    target->takes = 0;
    left = 0;
    pair.filter = runs_dry;
    pair_give(&pair, PAIR_DIALER, 4 * MIB, false);
    pair_move(&pair);
    uint64_t limit = dialer->stream.out.limit;
    small = (struct cbx_budget){.total = 20 * KIB};
    target->resume_budget = &small;
    move_on();
    assert_moved();
    assert_true(dialer->stream.out.limit < limit);
    assert_true(small.used > 0 && small.used <= small.total);
    assert_int_equal(target->budget.used, 0);
    assert_true(dialer->stream.out.retransmit > 0);
    assert_ends_well();
    assert_int_equal(small.used, 0);
}

static void
no_room_where_it_would_go(void **state)
{
    (void)state;
    static struct cbx_budget none;
    connect_movable();
    none = (struct cbx_budget){.total = 1000};
    dialer->resume_budget = &none;
    assert_int_equal(pair_cut(&pair), 0);
    assert_int_equal(pair_resume(&pair), CBX_ERR_LIMIT);
    dialer->resume_budget = &dialer->budget;
    target->resume_budget = &none;
    assert_int_equal(pair_resume(&pair), 0);
    pair_move(&pair);
    assert_int_equal(target->taken, CBX_ERR_LIMIT);
    assert_int_equal(dialer->stranded, 2); /* told by CLOSE */
    target->resume_budget = &target->budget;
    move_on();
    assert_ends_well();
}

static int changes; /* which field of RESUME or RESUMED */
static enum cbx_frame_type changed;

static bool
tampers(struct pair *one, int to, struct cbx_frame *frame)
{
    (void)one;
    (void)to;
    if (frame->type != changed)
        return true;
    struct cbx_field *field = &frame->field[changes];
    if (field->p)
        field->p[0] ^= 1;
    else
        field->u ^= 1;
    return true;
}

static void
a_resume_that_was_changed(void **state)
{
    (void)state;
    connect_movable();
    for (changes = CBX_RESUME_PORT; changes <= CBX_RESUME_TAG; changes++) {
        assert_int_equal(pair_cut(&pair), 0);
        pair.filter = tampers;
        changed = CBX_FRAME_RESUME;
        assert_int_equal(pair_resume(&pair), 0);
        pair_move(&pair);
        assert_true(target->taken < 0);
        assert_int_equal(dialer->resumed, 0);
    }
    move_on();
    assert_moved();
    assert_ends_well();
}

static void
a_resumed_that_was_changed(void **state)
{
    (void)state;
    for (changes = CBX_RESUMED_EPOCH; changes <= CBX_RESUMED_TAG; changes++) {
        connect_movable();
        assert_int_equal(pair_cut(&pair), 0);
        pair.filter = tampers;
        changed = CBX_FRAME_RESUMED;
        assert_int_equal(pair_resume(&pair), 0);
        pair_move(&pair);
        assert_int_equal(dialer->resumed, 0);
        assert_int_equal(dialer->reason, CBX_REASON_INTEGRITY);
        assert_int_equal(teardown(NULL), 0);
        assert_int_equal(setup(NULL), 0);
    }
}

static struct cbx_slice copy;

static bool
copies(struct pair *one, int to, struct cbx_frame *frame)
{
    (void)one;
    (void)to;
    if (frame->type == CBX_FRAME_RESUME && !copy.slab)
        copy = cbx_slice_copy(frame->raw.data, frame->raw.length);
    return true;
}

/* A hub that says an old RESUME again changes nothing. */
static void
a_resume_that_comes_again(void **state)
{
    (void)state;
    connect_movable();
    assert_int_equal(pair_cut(&pair), 0);
    pair.filter = copies;
    assert_int_equal(pair_resume(&pair), 0);
    pair_move(&pair);
    assert_moved();
    pair.filter = NULL;
    assert_non_null(copy.data);
    cbx_frame_relabel(copy.data, dialer->link.next_label);
    dialer->link.next_label += 2;
    assert_int_equal(cbx_link_send_slice(&dialer->link, copy), 0);
    copy = (struct cbx_slice){0};
    pair_move(&pair);
    assert_int_equal(target->taken, CBX_ERR_AUTH);
    assert_int_equal(target->over, 0);
    target->taken = 0;
    assert_ends_well();
}

static int broken_at; /* offset from which a record does not open, once */

static bool
breaks_a_record(struct pair *one, int to, struct cbx_frame *frame)
{
    (void)one;
    if (frame->type == CBX_FRAME_DATA && to == PAIR_TARGET && broken_at &&
        frame->field[CBX_DATA_OFFSET].u >= (uint64_t)broken_at) {
        frame->field[CBX_DATA_PAYLOAD].p[0] ^= 1;
        broken_at = 0;
    }
    return true;
}

/* Nothing of a broken record comes to the program, and the stream goes on elsewhere. */
static void
a_record_that_does_not_open(void **state)
{
    (void)state;
    connect_movable();
    broken_at = 20000;
    pair.filter = breaks_a_record;
    pair_give(&pair, PAIR_DIALER, 500000, false);
    pair_run(&pair, SECOND);
    assert_int_equal(target->stranded, 1);
    assert_int_equal(target->reason, CBX_REASON_INTEGRITY);
    assert_int_equal(dialer->stranded, 1);
    assert_int_equal(dialer->reason, CBX_REASON_INTEGRITY); /* told by CLOSE */
    assert_false(target->corrupt);
    assert_int_equal(pair_resume(&pair), 0); /* the links stand */
    pair_move(&pair);
    assert_moved();
    assert_ends_well();
}

static void
a_newer_session(void **state)
{
    (void)state;
    connect_movable();
    pair_give(&pair, PAIR_DIALER, 100000, false);
    left = 2;
    pair.filter = runs_dry;
    pair_move(&pair);
    dialer->sessions = target->sessions = 2;
    move_on();
    assert_moved();
    assert_ends_well();
}

/* Records of two epochs are kept when the path breaks right after a change of keys. */
static void
unacked_records_of_two_epochs(void **state)
{
    (void)state;
    connect_movable();
    target->takes = 0;
    pair_give(&pair, PAIR_DIALER, 10000, false);
    pair_move(&pair);
    dialer->sessions = target->sessions = 2;
    cbx_stream_rekey(&dialer->stream);
    pair_move(&pair);
    assert_int_equal(target->frames[CBX_FRAME_EPOCH], 1);
    left = 0;
    pair.filter = runs_dry;
    pair_give(&pair, PAIR_DIALER, 10000, false);
    pair_move(&pair);
    assert_true(dialer->stream.unacked.count >= 2);
    move_on();
    assert_moved();
    assert_ends_well();
}

static void
the_program_gives_up_between_two_paths(void **state)
{
    (void)state;
    connect_movable();
    assert_int_equal(pair_cut(&pair), 0);
    cbx_stream_abort(&dialer->stream, CBX_REASON_RESET);
    assert_int_equal(dialer->finished, 1);
    assert_int_equal(pair_resume(&pair), CBX_ERR_STATE);
    pair.moves = false;
    cbx_stream_lost(&target->stream, CBX_REASON_LOST);
    assert_int_equal(target->over, 1);
    assert_int_equal(target->finished, 1);
}

/* The far side has to know the new keys before it can be told. */
static void
the_program_gives_up_while_resuming(void **state)
{
    (void)state;
    connect_movable();
    assert_int_equal(pair_cut(&pair), 0);
    assert_int_equal(pair_resume(&pair), 0);
    cbx_stream_abort(&dialer->stream, CBX_REASON_RESET);
    pair_move(&pair);
    assert_int_equal(target->frames[CBX_FRAME_RESUME], 1);
    assert_int_equal(target->over, 1);
    assert_int_equal(target->reason, CBX_REASON_RESET);
    assert_true(target->by_target);
    assert_int_equal(dialer->finished, 1);
}

static void
only_an_answered_stream_of_the_dialer_moves(void **state)
{
    (void)state;
    pair.holds_answer = pair.moves = true;
    dial_pair();
    assert_false(cbx_stream_movable(&dialer->stream));
    assert_int_equal(pair_resume(&pair), CBX_ERR_STATE);
    assert_int_equal(pair_cut(&pair), 0);
    assert_int_equal(dialer->over, 1);
    assert_int_equal(dialer->stranded + target->stranded, 0);
}

static uint32_t seed;

static uint32_t
draw(uint32_t below)
{
    seed = seed * 1664525 + 1013904223;
    return (seed >> 8) % below;
}

/* Cut at any moment, again and again, with programs that take as they like: each byte comes once.
 */
static void
one_life(void)
{
    pair.chop = draw(3) ? 0 : 1 + draw(3000);
    connect_movable();
    for (uint32_t i = 0, cuts = 1 + draw(12); i < cuts; i++) {
        for (int end = 0; end < 2; end++) {
            if (!pair.end[end].ends)
                pair_give(&pair, end, draw(3) ? draw(200000) : 0, draw(8) == 0);
        }
        dialer->takes = draw(4) ? UINT64_MAX : draw(50000);
        target->takes = draw(4) ? UINT64_MAX : draw(50000);
        if (draw(6) == 0)
            cbx_stream_rekey(&dialer->stream);
        if (draw(6) == 0)
            cbx_stream_rekey(&target->stream);
        left = draw(40);
        pair.filter = runs_dry;
        pair_run(&pair, draw(20) * MS);
        assert_int_equal(pair_cut(&pair), 0);
        if (dialer->finished || target->finished)
            return; /* that is for tombstones */
        assert_int_equal(pair_resume(&pair), 0);
    }
    pair.filter = NULL;
    pair_move(&pair);
    pair_take(&pair, PAIR_DIALER, UINT64_MAX);
    pair_take(&pair, PAIR_TARGET, UINT64_MAX);
    pair_give(&pair, PAIR_DIALER, 0, true);
    pair_give(&pair, PAIR_TARGET, 0, true);
    pair_run(&pair, 20 * SECOND);
    if (!pair_clean(&pair))
        fail_msg("seed %u", seed);
}

static void
cut_anywhere(void **state)
{
    (void)state;
    const uint32_t incarnations = runs_slowly() ? 40 : 400;
    for (uint32_t i = 0; i < incarnations; i++) {
        seed = i * 7919 + 1;
        one_life();
        assert_int_equal(teardown(NULL), 0);
        assert_int_equal(setup(NULL), 0);
    }
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        STREAM_TEST(at_rest),
        STREAM_TEST(what_was_on_its_way_comes_once),
        STREAM_TEST(what_waits_for_the_program_stays),
        STREAM_TEST(a_fin_that_was_lost),
        STREAM_TEST(a_fin_whose_acknowledgement_was_lost),
        STREAM_TEST(a_resume_that_is_lost),
        STREAM_TEST(a_smaller_budget),
        STREAM_TEST(no_room_where_it_would_go),
        STREAM_TEST(a_resume_that_was_changed),
        STREAM_TEST(a_resumed_that_was_changed),
        STREAM_TEST(a_resume_that_comes_again),
        STREAM_TEST(a_record_that_does_not_open),
        STREAM_TEST(a_newer_session),
        STREAM_TEST(unacked_records_of_two_epochs),
        STREAM_TEST(the_program_gives_up_between_two_paths),
        STREAM_TEST(the_program_gives_up_while_resuming),
        STREAM_TEST(only_an_answered_stream_of_the_dialer_moves),
        STREAM_TEST(cut_anywhere),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
