/* SPDX-License-Identifier: MIT */
/* Rule 25 on a model of one path: a bottleneck of some rate, a delay each way, acks that come back.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "common/base/err.h"
#include "common/link/pace.h"
#include <string.h>

enum { MS = 1000, SECOND = 1000 * MS, PIECE = 1000, FLYING_MAX = 65536 };
#define KIB ((uint64_t)1024)

struct piece {
    uint64_t total; /* what its ack will say */
    int64_t back_at;
};

struct path {
    struct cbx_pace pace;
    uint64_t rate; /* bytes/s */
    int64_t delay; /* both ways */
    int64_t jitter;
    bool saw;             /* up to 25 ms are added: acks behind data of the other direction */
    int64_t now, free_at; /* free_at: when the bottleneck has sent all it holds */
    struct piece flying[FLYING_MAX];
    uint32_t first, count;
    uint64_t cap_least, cap_most; /* since mark() */
    uint64_t acked_at_mark;
    uint32_t random;
};

static struct path path;

static void
begin(uint64_t rate, int64_t delay)
{
    memset(&path, 0, sizeof path);
    path.rate = rate;
    path.delay = delay;
    path.now = path.free_at = SECOND;
    path.random = 1;
    cbx_pace_init(&path.pace, path.now);
}

static void
mark(void)
{
    path.cap_least = UINT64_MAX;
    path.cap_most = 0;
    path.acked_at_mark = path.pace.acked;
}

static void
send_piece(void)
{
    cbx_pace_sent(&path.pace, PIECE, path.now);
    if (path.free_at < path.now)
        path.free_at = path.now;
    path.free_at += (int64_t)(PIECE * (uint64_t)SECOND / path.rate);
    path.random = path.random * 1664525 + 1013904223;
    int64_t jitter = path.jitter ? (int64_t)(path.random >> 8) % path.jitter : 0;
    if (path.saw)
        jitter = 25 * MS - path.free_at % (50 * MS) / 2;
    struct piece *piece = &path.flying[(path.first + path.count++) % FLYING_MAX];
    *piece = (struct piece){path.pace.sent, path.free_at + path.delay + jitter};
}

static void
take_acks(void)
{
    while (path.count && path.flying[path.first].back_at <= path.now) {
        assert_int_equal(cbx_pace_acked(&path.pace, path.flying[path.first].total, path.now), 0);
        path.first = (path.first + 1) % FLYING_MAX;
        path.count--;
        if (path.pace.cap < path.cap_least)
            path.cap_least = path.pace.cap;
        if (path.pace.cap > path.cap_most)
            path.cap_most = path.pace.cap;
    }
}

/* A sender that always has more. */
static void
run_full(int64_t us)
{
    for (int64_t end = path.now + us; path.now < end; path.now += 50) {
        take_acks();
        while (cbx_pace_room(&path.pace) > 0)
            send_piece();
    }
}

/* One piece now and then, room left over. */
static void
run_sparse(int64_t us, int64_t gap)
{
    int64_t next = path.now;
    for (int64_t end = path.now + us; path.now < end; path.now += 50) {
        take_acks();
        if (path.now >= next) {
            send_piece();
            cbx_pace_idle(&path.pace);
            next = path.now + gap;
        }
    }
}

static void
assert_near(uint64_t value, uint64_t least, uint64_t most)
{
    assert_in_range(value, least, most);
}

/* ---- tests ---- */

static void
before_anything_is_known_the_cap_has_its_start(void **state)
{
    (void)state;
    begin(1000000, 20 * MS);
    assert_int_equal(cbx_pace_room(&path.pace), CBX_PACE_START);
    assert_int_equal(cbx_pace_quarter(&path.pace), CBX_PACE_START / 4);
    assert_int_equal(cbx_pace_rate(&path.pace), 0);
}

static void
what_is_sent_takes_room_and_what_is_acked_gives_it_back(void **state)
{
    (void)state;
    begin(1000000, 20 * MS);
    cbx_pace_sent(&path.pace, CBX_PACE_START - 56 * KIB, path.now);
    assert_int_equal(cbx_pace_room(&path.pace), 56 * KIB);
    cbx_pace_sent(&path.pace, 100 * KIB, path.now); /* a record may pass the cap */
    assert_int_equal(cbx_pace_room(&path.pace), 0);
    path.pace.rate_known = false;
    assert_int_equal(cbx_pace_acked(&path.pace, CBX_PACE_START + 44 * KIB, path.now + 100 * MS), 0);
    assert_true(cbx_pace_room(&path.pace) > 0);
}

static void
an_ack_beyond_what_was_sent_is_refused(void **state)
{
    (void)state;
    begin(1000000, 20 * MS);
    assert_int_equal(cbx_pace_acked(&path.pace, 1, path.now), CBX_ERR_LIMIT);
    cbx_pace_sent(&path.pace, 5000, path.now);
    assert_int_equal(cbx_pace_acked(&path.pace, 5001, path.now), CBX_ERR_LIMIT);
    assert_int_equal(cbx_pace_acked(&path.pace, UINT64_MAX, path.now), CBX_ERR_LIMIT);
    assert_int_equal(path.pace.acked, 0);
    assert_int_equal(cbx_pace_acked(&path.pace, 5000, path.now), 0);
}

static void
an_older_ack_changes_nothing(void **state)
{
    (void)state;
    begin(1000000, 20 * MS);
    cbx_pace_sent(&path.pace, 5000, path.now);
    cbx_pace_acked(&path.pace, 4000, path.now + 20 * MS);
    struct cbx_pace before = path.pace;
    assert_int_equal(cbx_pace_acked(&path.pace, 3000, path.now + 30 * MS), 0);
    assert_int_equal(cbx_pace_acked(&path.pace, 4000, path.now + 30 * MS), 0);
    assert_memory_equal(&before, &path.pace, sizeof before);
}

static void
twenty_megabits_and_20_ms_give_112_kilobytes(void **state)
{
    (void)state;
    begin(2500000, 20 * MS);
    run_full(3 * SECOND);
    mark();
    run_full(2 * SECOND);
    assert_near(path.cap_least, 108000, 118000);
    assert_near(cbx_pace_rate(&path.pace), 2450000, 2600000);
    /* What waits in the path beyond its own 50 KB is about 25 ms of its rate. */
    uint64_t queue = path.cap_least - 2500000 / 1000 * 20;
    assert_near(queue * 1000 / 2500000, 20, 30);
}

static void
one_round_trip_in_eight_probes_with_a_quarter_more(void **state)
{
    (void)state;
    begin(2500000, 20 * MS);
    run_full(3 * SECOND);
    mark();
    run_full(2 * SECOND);
    assert_near(path.cap_most * 100 / path.cap_least, 122, 132);
    int changes = 0, rounds = 0, probed = 0;
    uint32_t round = path.pace.round;
    for (int i = 0; i < 4000; i++) {
        run_full(1 * MS);
        if (path.pace.round != round) {
            rounds++;
            round = path.pace.round;
            bool probes = round % 8 == 7;
            probed += probes;
            changes += probes == (path.pace.cap > path.cap_least * 115 / 100);
        }
    }
    assert_true(rounds > 40);
    assert_near((uint64_t)probed * 8, (uint64_t)rounds - 8, (uint64_t)rounds + 8);
    assert_int_equal(changes, rounds);
}

static void
a_path_that_got_faster_is_found(void **state)
{
    (void)state;
    begin(2500000, 20 * MS);
    run_full(3 * SECOND);
    path.rate *= 4;
    run_full(9 * SECOND);
    assert_near(cbx_pace_rate(&path.pace), 9500000, 10400000);
}

static void
a_path_that_got_slower_is_found(void **state)
{
    (void)state;
    begin(10000000, 20 * MS);
    run_full(3 * SECOND);
    path.rate /= 4;
    run_full(4 * SECOND);
    assert_near(cbx_pace_rate(&path.pace), 2450000, 2600000);
    assert_true(path.pace.cap < 160000);
}

static void
idle_samples_do_not_lower_the_rate(void **state)
{
    (void)state;
    begin(2500000, 20 * MS);
    run_full(3 * SECOND);
    uint64_t rate = cbx_pace_rate(&path.pace);
    run_sparse(9 * SECOND, 100 * MS);
    assert_int_equal(cbx_pace_rate(&path.pace), rate);
}

static void
idle_samples_make_no_rate_known(void **state)
{
    (void)state;
    begin(2500000, 20 * MS);
    run_sparse(5 * SECOND, 50 * MS);
    assert_int_equal(path.pace.cap, CBX_PACE_START);
}

static void
a_rest_is_not_taken_for_a_slow_path(void **state)
{
    (void)state;
    begin(2500000, 20 * MS);
    run_full(3 * SECOND);
    cbx_pace_idle(&path.pace);
    while (path.count) {
        path.now += 50;
        take_acks();
    }
    path.now += 5 * SECOND;
    run_full(1 * SECOND);
    assert_near(cbx_pace_rate(&path.pace), 2400000, 2700000);
}

static void
the_cap_is_two_records_at_least(void **state)
{
    (void)state;
    begin(1000000, 20 * MS);
    path.pace.rate[0] = 1000;
    path.pace.rate_known = true;
    path.pace.delay_us = 1 * MS;
    path.pace.delay_at = path.now;
    cbx_pace_sent(&path.pace, 1, path.now);
    cbx_pace_acked(&path.pace, 1, path.now + SECOND);
    assert_int_equal(path.pace.cap, 2 * 4096);
}

static void
the_cap_has_an_upper_bound(void **state)
{
    (void)state;
    begin(1000000, 20 * MS);
    path.pace.rate[0] = UINT64_MAX / 2;
    path.pace.rate_known = true;
    path.pace.delay_us = 60 * SECOND;
    path.pace.delay_at = path.now;
    cbx_pace_sent(&path.pace, 1000, path.now);
    cbx_pace_acked(&path.pace, 1000, path.now + 1);
    assert_int_equal(path.pace.cap, CBX_PACE_CAP_MAX);
}

static void
the_delay_is_the_least_of_ten_seconds(void **state)
{
    (void)state;
    begin(1000000, 20 * MS);
    cbx_pace_delay(&path.pace, 30 * MS, path.now);
    cbx_pace_delay(&path.pace, 20 * MS, path.now + SECOND);
    assert_int_equal(path.pace.delay_us, 20 * MS);
    cbx_pace_delay(&path.pace, 40 * MS, path.now + 11 * SECOND);
    assert_int_equal(path.pace.delay_us, 20 * MS);
    assert_int_equal(path.pace.drain_until, 0);
    /* Older than that it is measured anew, with little in flight. */
    cbx_pace_delay(&path.pace, 40 * MS, path.now + 12 * SECOND);
    assert_true(path.pace.drain_until > path.now + 12 * SECOND);
    assert_int_equal(path.pace.delay_us, 20 * MS);
    cbx_pace_delay(&path.pace, 35 * MS, path.now + 13 * SECOND);
    assert_int_equal(path.pace.delay_us, 35 * MS);
}

static void
a_delay_of_nothing_counts_as_a_microsecond(void **state)
{
    (void)state;
    begin(1000000, 20 * MS);
    cbx_pace_delay(&path.pace, 0, path.now);
    assert_int_equal(path.pace.delay_us, 1);
}

/* The least was met again early in the drain; what comes later is a little above it. */
static void
a_drain_ends_at_its_time(void **state)
{
    (void)state;
    begin(1000000, 20 * MS);
    run_full(2 * SECOND);
    int64_t least = path.pace.delay_us, now = path.now + 15 * SECOND;
    cbx_pace_delay(&path.pace, 2 * least, now);
    assert_true(path.pace.drain_until > now);
    cbx_pace_delay(&path.pace, least - 1, now + MS);
    uint64_t total = path.pace.sent;
    cbx_pace_acked(&path.pace, total, now + 2 * MS);
    assert_true(path.pace.cap < 20000);
    now = path.pace.drain_until + MS;
    cbx_pace_sent(&path.pace, PIECE, now);
    cbx_pace_acked(&path.pace, total + PIECE, now + least + MS);
    assert_int_equal(path.pace.drain_until, 0);
    assert_true(path.pace.cap > 40000);
}

/* Seconds of the next `count` in which the path was used for less than 70 %. */
static int
poor_seconds(int count)
{
    int poor = 0;
    for (int i = 0; i < count; i++) {
        mark();
        run_full(SECOND);
        poor += path.pace.acked - path.acked_at_mark < path.rate / 10 * 7;
    }
    return poor;
}

static void
measuring_the_delay_costs_little(void **state)
{
    (void)state;
    begin(2500000, 20 * MS);
    run_full(2 * SECOND);
    assert_int_equal(poor_seconds(40), 0);
    assert_near((uint64_t)path.pace.delay_us, 20 * MS, 22 * MS);
}

/* As above where no two round trips are alike. */
static void
measuring_the_delay_costs_little_on_a_path_with_jitter(void **state)
{
    (void)state;
    begin(2500000, 20 * MS);
    path.jitter = 3 * MS;
    run_full(2 * SECOND);
    assert_int_equal(poor_seconds(40), 0);
    assert_int_equal(path.pace.drain_until != 0 && path.pace.drain_until < path.now - SECOND, 0);
}

static void
a_longer_path_is_noticed(void **state)
{
    (void)state;
    begin(2500000, 20 * MS);
    run_full(2 * SECOND);
    path.delay = 60 * MS;
    run_full(25 * SECOND);
    assert_near((uint64_t)path.pace.delay_us, 60 * MS, 66 * MS);
    assert_int_equal(poor_seconds(5), 0);
}

/* An ack that was held up for long and the next, which was not: 95 KB in 25 ms, sent in 95. */
static void
acks_in_clumps_tell_no_rate_that_was_not_sent(void **state)
{
    (void)state;
    begin(1000000, 20 * MS);
    for (int64_t at = 1; at <= 165; at++) {
        if (at <= 145)
            cbx_pace_sent(&path.pace, PIECE, path.now + at * MS);
        if (at == 140)
            cbx_pace_acked(&path.pace, 50 * PIECE, path.now + at * MS);
    }
    cbx_pace_acked(&path.pace, 145 * PIECE, path.now + 165 * MS);
    assert_near(cbx_pace_rate(&path.pace), 900000, 1100000);
}

static void
what_acks_wait_for_is_added_to_the_cap(void **state)
{
    (void)state;
    begin(2500000, 20 * MS);
    run_full(3 * SECOND);
    for (int i = 0; i < 30; i++) { /* clocks differ by anything, even more than they can say */
        cbx_pace_one_way_delay(&path.pace, UINT64_MAX - 2 + (i ? 15 * MS : 0), path.now);
        run_full(20 * MS);
    }
    mark();
    run_full(200 * MS);
    assert_near(path.cap_least, 146000, 156000);
    run_full(2 * SECOND); /* no ping comes any more */
    mark();
    run_full(SECOND);
    assert_near(path.cap_least, 108000, 118000);
}

/* 5 ms of a path this fast are megabytes that nothing can overtake; it stays full with less. */
static void
a_fast_path_keeps_no_more_than_256_kib_ahead(void **state)
{
    (void)state;
    begin(500 * 1000 * 1000, MS / 5);
    run_full(SECOND / 2);
    mark();
    run_full(SECOND / 2);
    assert_near(cbx_pace_rate(&path.pace), 490000000, 560000000);
    uint64_t round_trips = 2 * 500 * 1000 / 5;
    assert_near(path.cap_least, round_trips + 256 * KIB - 10000, round_trips * 2 + 256 * KIB);
    for (int i = 0; i < 10; i++) { /* what acks wait for is part of it */
        cbx_pace_one_way_delay(&path.pace, i ? 4 * MS : 0, path.now);
        run_full(20 * MS);
    }
    mark();
    run_full(100 * MS);
    assert_near(path.cap_least, round_trips + 256 * KIB - 10000, round_trips * 2 + 256 * KIB);
    assert_near(path.pace.acked - path.acked_at_mark, 49000000, 51000000);
}

static void
a_neighbours_false_clock_adds_a_bounded_part(void **state)
{
    (void)state;
    begin(2500000, 20 * MS);
    run_full(3 * SECOND);
    mark();
    for (uint64_t i = 0; i < 300; i++) {
        cbx_pace_one_way_delay(&path.pace, i * i * 0x9e3779b97f4a7c15ull, path.now);
        run_full(10 * MS);
    }
    assert_true(path.cap_least >= 108000);
    assert_true(path.cap_most <= 118000 * 7 / 4 * 5 / 4);
}

/* Where a drain cannot tell the delay from the neighbour's queue the least delay stays. */
static void
the_delay_does_not_grow_by_the_neighbours_data(void **state)
{
    (void)state;
    begin(2500000, 20 * MS);
    run_full(SECOND);
    path.saw = true;
    for (int i = 0; i < 400; i++) {
        cbx_pace_one_way_delay(&path.pace, i % 2 ? 25 * MS : 0, path.now);
        run_full(100 * MS);
    }
    assert_near((uint64_t)path.pace.delay_us, 20 * MS, 22 * MS);
}

/* A ping in rest saw half a millisecond; data never do (count_pinched). */
static void
a_delay_that_only_pings_have_is_given_up(void **state)
{
    (void)state;
    begin(1000000, 48 * MS);
    cbx_pace_delay(&path.pace, 500, path.now);
    run_full(1500 * MS);
    assert_near((uint64_t)path.pace.delay_us, 48 * MS, 60 * MS);
    mark();
    run_full(SECOND);
    assert_true(path.pace.acked - path.acked_at_mark >= 900000);
}

static void
a_path_that_is_only_slow_keeps_its_delay_and_cap(void **state)
{
    (void)state;
    begin(50000, 1 * MS);
    cbx_pace_delay(&path.pace, 1 * MS, path.now);
    run_full(9 * SECOND);
    assert_int_equal(path.pace.delay_us, 1 * MS);
    assert_int_equal(path.pace.cap, 8 * KIB);
    assert_true(path.pace.trial_after > path.now);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(before_anything_is_known_the_cap_has_its_start),
        cmocka_unit_test(what_is_sent_takes_room_and_what_is_acked_gives_it_back),
        cmocka_unit_test(an_ack_beyond_what_was_sent_is_refused),
        cmocka_unit_test(an_older_ack_changes_nothing),
        cmocka_unit_test(twenty_megabits_and_20_ms_give_112_kilobytes),
        cmocka_unit_test(one_round_trip_in_eight_probes_with_a_quarter_more),
        cmocka_unit_test(a_path_that_got_faster_is_found),
        cmocka_unit_test(a_path_that_got_slower_is_found),
        cmocka_unit_test(idle_samples_do_not_lower_the_rate),
        cmocka_unit_test(idle_samples_make_no_rate_known),
        cmocka_unit_test(a_rest_is_not_taken_for_a_slow_path),
        cmocka_unit_test(the_cap_is_two_records_at_least),
        cmocka_unit_test(the_cap_has_an_upper_bound),
        cmocka_unit_test(the_delay_is_the_least_of_ten_seconds),
        cmocka_unit_test(a_delay_of_nothing_counts_as_a_microsecond),
        cmocka_unit_test(a_drain_ends_at_its_time),
        cmocka_unit_test(measuring_the_delay_costs_little),
        cmocka_unit_test(measuring_the_delay_costs_little_on_a_path_with_jitter),
        cmocka_unit_test(a_longer_path_is_noticed),
        cmocka_unit_test(acks_in_clumps_tell_no_rate_that_was_not_sent),
        cmocka_unit_test(what_acks_wait_for_is_added_to_the_cap),
        cmocka_unit_test(a_fast_path_keeps_no_more_than_256_kib_ahead),
        cmocka_unit_test(a_neighbours_false_clock_adds_a_bounded_part),
        cmocka_unit_test(the_delay_does_not_grow_by_the_neighbours_data),
        cmocka_unit_test(a_delay_that_only_pings_have_is_given_up),
        cmocka_unit_test(a_path_that_is_only_slow_keeps_its_delay_and_cap),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
