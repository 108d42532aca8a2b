/* SPDX-License-Identifier: MIT */
/* Credit arithmetic: rules 20 and 21. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "common/base/err.h"
#include "common/stream/window.h"
#include <string.h>

#define KIB ((uint64_t)1024)
#define MIB (1024 * KIB)
enum { MS = 1000, SECOND = 1000 * MS, MANY = 600 };

static struct cbx_budget budget;
static uint64_t peer;
static struct cbx_receive_window window;
static struct cbx_receive_window many[MANY];
static struct cbx_send_window sender;
static uint64_t pool;
static int64_t now;

static int
fresh(void **state)
{
    (void)state;
    budget = (struct cbx_budget){.total = 4 * MIB};
    peer = pool = 0;
    now = SECOND;
    memset(&window, 0, sizeof window);
    memset(many, 0, sizeof many);
    sender = (struct cbx_send_window){.pool_used = &pool, .pool_total = 64 * MIB};
    return 0;
}

static int
open_window(struct cbx_receive_window *one)
{
    int result = cbx_window_open(one, &budget, &peer, now);
    one->told = result == 0; /* as in OPEN */
    return result;
}

/* ---- granting ---- */

static void
a_first_grant_is_32_kib(void **state)
{
    (void)state;
    assert_int_equal(open_window(&window), 0);
    assert_int_equal(window.limit, 32 * KIB);
    assert_int_equal(budget.used, 32 * KIB);
    assert_int_equal(peer, 32 * KIB);
    assert_false(budget.cut);
}

static void
once_a_quarter_is_used_a_first_grant_is_the_minimum(void **state)
{
    (void)state;
    budget.used = 1 * MIB;
    open_window(&window);
    assert_int_equal(window.limit, 4 * KIB);
}

static void
a_grant_beyond_the_minimum_is_a_quarter_of_what_is_free(void **state)
{
    (void)state;
    budget.total = 64 * KIB;
    open_window(&window);
    assert_int_equal(window.limit, 4 * KIB + (64 - 4) * KIB / 4);
    assert_true(budget.cut);
}

static void
the_last_quarter_is_for_minimum_windows_only(void **state)
{
    (void)state;
    budget.used = 3 * MIB;
    open_window(&window);
    window.target = 1 * MIB;
    window.consumed = 4 * KIB;
    cbx_window_announce(&window, now);
    assert_int_equal(window.limit - window.acked, 4 * KIB);
    assert_true(budget.cut);
}

static void
half_at_most_for_the_streams_of_one_peer(void **state)
{
    (void)state;
    uint64_t other = 0;
    struct cbx_receive_window stranger;
    peer = budget.used = 2 * MIB - 8 * KIB;
    open_window(&window);
    window.target = 1 * MIB;
    window.consumed = 1;
    cbx_window_announce(&window, now);
    assert_int_equal(window.limit - window.acked, 8 * KIB);
    assert_int_equal(peer, 2 * MIB);
    cbx_window_open(&stranger, &budget, &other, now);
    stranger.target = 1 * MIB;
    stranger.consumed = 1;
    cbx_window_announce(&stranger, now);
    assert_true(stranger.limit - stranger.acked > 200 * KIB);
    cbx_window_close(&stranger);
}

static void
no_minimum_window_free_is_refused(void **state)
{
    (void)state;
    budget.used = 4 * MIB - 4 * KIB;
    assert_int_equal(open_window(&window), 0);
    assert_int_equal(budget.used, 4 * MIB);
    assert_int_equal(open_window(&many[0]), CBX_ERR_LIMIT);
    assert_true(budget.cut);
    cbx_window_close(&many[0]);
    assert_int_equal(budget.used, 4 * MIB);
}

static void
every_minimum_window_of_a_full_budget_can_be_had(void **state)
{
    (void)state;
    budget.total = 1 * MIB;
    int opened = 0;
    while (opened < MANY && open_window(&many[opened]) == 0) {
        assert_true(budget.used <= budget.total);
        many[opened].consumed = many[opened].limit; /* each asks for all it can get */
        many[opened].target = CBX_WINDOW_MAX;
        cbx_window_announce(&many[opened++], now);
        assert_true(budget.used <= budget.total);
    }
    assert_true(opened > 60);
    for (int i = 0; i < opened; i++)
        cbx_window_close(&many[i]);
    assert_int_equal(budget.used, 0);
    assert_int_equal(peer, 0);
}

static void
a_lowered_budget_grants_nothing_new_and_takes_nothing_back(void **state)
{
    (void)state;
    open_window(&window);
    budget.total = 8 * KIB;
    window.consumed = 16 * KIB;
    cbx_window_announce(&window, now);
    assert_int_equal(window.limit, 32 * KIB);
    window.consumed = 31 * KIB;
    cbx_window_announce(&window, now);
    assert_in_range(window.limit, 35 * KIB, 36 * KIB); /* the minimum, and a quarter of 4 KiB */
    assert_true(budget.used <= budget.total);
}

static void
closing_gives_everything_back_once(void **state)
{
    (void)state;
    open_window(&window);
    open_window(&many[0]);
    cbx_window_close(&window);
    cbx_window_close(&window);
    assert_int_equal(budget.used, 32 * KIB);
    assert_int_equal(peer, 32 * KIB);
    cbx_window_close(&many[0]);
    assert_int_equal(budget.used, 0);
}

static void
what_is_outstanding_is_what_counts(void **state)
{
    (void)state;
    open_window(&window);
    window.consumed = 10 * KIB;
    assert_int_equal(budget.used, 32 * KIB); /* until it is announced */
    cbx_window_announce(&window, now);
    assert_int_equal(budget.used, window.limit - window.acked);
    assert_int_equal(window.acked, 10 * KIB);
    assert_int_equal(window.limit, 42 * KIB);
}

static void
a_limit_never_goes_back(void **state)
{
    (void)state;
    open_window(&window);
    window.target = 4 * KIB;
    window.consumed = 1000;
    cbx_window_announce(&window, now);
    assert_int_equal(window.limit, 32 * KIB);
}

static void
bytes_within_the_limit_are_taken_and_beyond_are_not(void **state)
{
    (void)state;
    open_window(&window);
    assert_true(cbx_window_received(&window, 32 * KIB, now));
    assert_false(cbx_window_received(&window, 32 * KIB + 1, now));
}

static void
credit_is_announced_in_batches_of_a_quarter(void **state)
{
    (void)state;
    open_window(&window);
    assert_false(cbx_window_consumed(&window, 0, now));
    assert_false(cbx_window_consumed(&window, 8 * KIB - 1, now));
    assert_true(cbx_window_consumed(&window, 1, now));
    cbx_window_announce(&window, now);
    assert_false(cbx_window_consumed(&window, 1, now));
}

static void
at_the_minimum_a_quarter_of_it_is_enough(void **state)
{
    (void)state;
    budget.used = 3 * MIB;
    open_window(&window);
    assert_false(cbx_window_consumed(&window, KIB - 1, now));
    assert_true(cbx_window_consumed(&window, 1, now));
}

/* ---- growth ---- */

/* A sender of that rate and a fast program; delay is from a grant to the bytes that it allowed. */
static void
stream_at(uint64_t rate, int64_t delay, int64_t us)
{
    struct grant {
        uint64_t limit;
        int64_t at;
    } grants[4096];
    uint32_t first = 0, count = 0;
    uint64_t limit = window.limit, offset = window.consumed;
    now += delay;
    for (int64_t end = now + us; now < end; now += MS) {
        while (count && grants[first].at <= now) {
            limit = grants[first].limit;
            first = (first + 1) % 4096;
            count--;
        }
        uint64_t part = rate / 1000;
        if (part > limit - offset)
            part = limit - offset;
        offset += part;
        assert_true(cbx_window_received(&window, offset, now));
        if (!cbx_window_consumed(&window, part, now))
            continue;
        cbx_window_announce(&window, now);
        grants[(first + count++) % 4096] = (struct grant){window.limit, now + delay};
    }
}

static void
a_busy_stream_grows_to_twice_its_bandwidth_delay_product(void **state)
{
    (void)state;
    budget.total = 128 * MIB;
    open_window(&window);
    stream_at(10000000, 40 * MS, 3 * SECOND);
    assert_in_range(window.target, 2 * 400000, 2 * 400000 + 600000);
    uint64_t before = window.consumed;
    stream_at(10000000, 40 * MS, 1 * SECOND);
    assert_true(window.consumed - before > 9500000);
}

static void
a_window_is_16_mib_at_most(void **state)
{
    (void)state;
    budget.total = 1024 * MIB;
    open_window(&window);
    stream_at(1000000000, 100 * MS, 3 * SECOND);
    assert_int_equal(window.target, 16 * MIB);
    assert_true(window.limit - window.acked <= 16 * MIB);
}

static void
a_slow_stream_gives_back(void **state)
{
    (void)state;
    budget.total = 128 * MIB;
    open_window(&window);
    stream_at(10000000, 40 * MS, 3 * SECOND);
    uint64_t before = budget.used;
    stream_at(100000, 40 * MS, 30 * SECOND);
    assert_true(window.target <= CBX_WINDOW_SMALL);
    assert_true(budget.used < before / 4);
}

static void
a_target_never_shrinks_below_the_minimum(void **state)
{
    (void)state;
    open_window(&window);
    for (int i = 1; i <= 600; i++) {
        now += 200 * MS;
        assert_true(cbx_window_received(&window, (uint64_t)i * 10, now));
        if (cbx_window_consumed(&window, 10, now))
            cbx_window_announce(&window, now);
    }
    assert_int_equal(window.target, 4 * KIB);
}

/* Twice the delay and 20 ms of 161 bytes a millisecond; and no more than 128 KiB for their sake. */
static void
many_small_records_are_given_room(void **state)
{
    (void)state;
    open_window(&window);
    stream_at(1000, 40 * MS, 60 * SECOND);
    assert_in_range(window.target, 16 * KIB, 24 * KIB);
    stream_at(1000, 900 * MS, 60 * SECOND);
    assert_in_range(window.target, 16 * KIB, CBX_WINDOW_SMALL);
}

static void
small_records_are_acknowledged_by_their_cost(void **state)
{
    (void)state;
    open_window(&window);
    int records = 0;
    do
        assert_true(cbx_window_received(&window, (uint64_t)++records, now));
    while (!cbx_window_consumed(&window, 1, now));
    assert_int_equal(records, 8 * KIB / 161 + 1);
    cbx_window_announce(&window, now);
    assert_true(cbx_window_received(&window, (uint64_t)records + 1, now));
    assert_false(cbx_window_consumed(&window, 1, now));
}

/* A target's first grant goes out with its answer, maybe long after it was made. */
static void
a_grant_that_nobody_heard_of_follows_the_budget(void **state)
{
    (void)state;
    assert_int_equal(cbx_window_open(&window, &budget, &peer, now), 0);
    budget.total = 8 * KIB;
    cbx_window_announce(&window, now);
    assert_in_range(window.limit, 4 * KIB, 6 * KIB);
    uint64_t limit = window.limit;
    budget.total = 0;
    cbx_window_announce(&window, now);
    assert_int_equal(window.limit, limit);
}

static void
a_small_budget_is_asked_to_grow(void **state)
{
    (void)state;
    budget.total = 256 * KIB;
    open_window(&window);
    budget.cut = false;
    stream_at(10000000, 40 * MS, 2 * SECOND);
    assert_true(budget.cut);
    assert_true(budget.used <= budget.total);
}

/* ---- sending ---- */

static void
credit_is_what_may_be_sent(void **state)
{
    (void)state;
    assert_int_equal(cbx_send_room(&sender), 0);
    assert_int_equal(cbx_send_credit(&sender, 0, 10000, now), 0);
    assert_int_equal(cbx_send_room(&sender), 10000 - 160);
    cbx_send_sent(&sender, 4000);
    assert_int_equal(cbx_send_room(&sender), 6000 - 2 * 160);
    assert_int_equal(pool, 4000);
    assert_int_equal(cbx_send_credit(&sender, 4000, 14000, now), 0);
    assert_int_equal(cbx_send_room(&sender), 10000 - 160);
    assert_int_equal(pool, 0);
}

static void
credit_that_breaks_a_rule_is_refused_and_changes_nothing(void **state)
{
    (void)state;
    cbx_send_credit(&sender, 0, 10000, now);
    cbx_send_sent(&sender, 5000);
    cbx_send_credit(&sender, 2000, 10000, now);
    struct cbx_send_window before = sender;
    assert_int_equal(cbx_send_credit(&sender, 5001, 10000, now), CBX_ERR_LIMIT); /* never sent */
    assert_int_equal(cbx_send_credit(&sender, 1999, 10000, now), CBX_ERR_LIMIT); /* back */
    assert_int_equal(cbx_send_credit(&sender, 2000, 9999, now), CBX_ERR_LIMIT);  /* back */
    assert_memory_equal(&before, &sender, sizeof before);
    assert_int_equal(cbx_send_credit(&sender, 2000, 10000, now), 0);
}

static void
the_agents_send_budget_holds_whatever_is_granted(void **state)
{
    (void)state;
    sender.pool_total = 1 * MIB;
    pool = 700 * KIB;
    cbx_send_credit(&sender, 0, 1024 * MIB, now);
    assert_int_equal(cbx_send_room(&sender), 68 * KIB);
    assert_int_equal(cbx_send_wanted(&sender), 16 * MIB);
    cbx_send_sent(&sender, 68 * KIB);
    assert_int_equal(cbx_send_room(&sender), 0);
    cbx_send_credit(&sender, 60, 1024 * MIB, now);
    assert_int_equal(cbx_send_room(&sender), 60);
}

/* A few streams whose readers stall must not stop all the others. */
static void
the_last_quarter_of_the_send_budget_is_for_minimum_windows(void **state)
{
    (void)state;
    sender.pool_total = 1 * MIB;
    pool = 1 * MIB - 6 * KIB;
    cbx_send_credit(&sender, 0, 1024 * MIB, now);
    assert_int_equal(cbx_send_room(&sender), 4 * KIB);
    cbx_send_sent(&sender, 3 * KIB);
    assert_int_equal(cbx_send_room(&sender), 1 * KIB);
    cbx_send_sent(&sender, 1 * KIB);
    assert_int_equal(cbx_send_room(&sender), 0);
    cbx_send_credit(&sender, 4 * KIB, 1024 * MIB, now);
    pool = 1 * MIB - 100; /* and never more than there is */
    assert_int_equal(cbx_send_room(&sender), 100);
}

static void
a_stream_keeps_16_mib_at_most(void **state)
{
    (void)state;
    cbx_send_credit(&sender, 0, UINT64_MAX, now);
    assert_int_equal(cbx_send_room(&sender), 16 * MIB);
    cbx_send_sent(&sender, 16 * MIB);
    assert_int_equal(cbx_send_room(&sender), 0);
}

static void
each_record_costs_160_bytes_of_its_credit(void **state)
{
    (void)state;
    cbx_send_credit(&sender, 0, 16100 + 159, now);
    int sent = 0;
    while (cbx_send_room(&sender) > 0 && sent < 5000) {
        cbx_send_sent(&sender, 1);
        sent++;
    }
    assert_in_range(sent, 98, 100); /* the very end of a window is left */
    cbx_send_credit(&sender, (uint64_t)sent, 16400 + (uint64_t)sent, now);
    assert_int_equal(cbx_send_room(&sender), 16400 - 160);
}

/* Acknowledged here and there: what may wait in a relay is always covered, few credits are wasted,
 * and it is never stuck. */
static void
records_are_counted_across_partial_acks(void **state)
{
    (void)state;
    enum { WINDOW = 65536, FITS = WINDOW / 161 };
    uint64_t least = FITS;
    cbx_send_credit(&sender, 0, WINDOW, now);
    for (int round = 0; round < 500; round++) {
        while (cbx_send_room(&sender) > 0)
            cbx_send_sent(&sender, 1);
        uint64_t flying = sender.sent - sender.acked; /* as many records */
        assert_true(sender.sent + flying * 160 <= sender.limit);
        least = flying < least ? flying : least;
        uint64_t acked = sender.acked + 1 + (flying - 1) * (uint64_t)(round % 7) / 6;
        assert_int_equal(cbx_send_credit(&sender, acked, acked + WINDOW, now), 0);
    }
    assert_true(least >= FITS * 2 / 3);
    cbx_send_credit(&sender, sender.sent, sender.sent + WINDOW, now);
    assert_int_equal(cbx_send_room(&sender), WINDOW - 160);
}

/* Otherwise bulk would end each window with a record of a few bytes. */
static void
the_end_of_a_window_is_not_worth_a_record(void **state)
{
    (void)state;
    cbx_send_credit(&sender, 0, 161, now);
    assert_int_equal(cbx_send_room(&sender), 1); /* where nothing is on its way, any will do */
    cbx_send_credit(&sender, 0, 4096, now);
    assert_int_equal(cbx_send_room(&sender), 4096 - 160);
    cbx_send_sent(&sender, 4096 - 3 * 160 + 1);
    assert_int_equal(cbx_send_room(&sender), 0);
}

static void
records_follow_the_acknowledged_rate(void **state)
{
    (void)state;
    assert_int_equal(cbx_send_record_size(&sender), 4096);
    cbx_send_credit(&sender, 0, 64 * MIB, now);
    for (int i = 0; i < 100; i++) { /* 2 MB/s: 20 KB are 10 ms of it */
        cbx_send_sent(&sender, 20000);
        now += 10 * MS;
        cbx_send_credit(&sender, sender.sent, 64 * MIB, now);
    }
    assert_in_range(cbx_send_record_size(&sender), 19000, 21000);
    for (int i = 0; i < 100; i++) {
        cbx_send_sent(&sender, 1000000);
        now += 10 * MS;
        cbx_send_credit(&sender, sender.sent, UINT64_MAX, now);
    }
    assert_int_equal(cbx_send_record_size(&sender), 65536);
}

static void
a_fin_needs_no_credit_and_is_acknowledged_like_a_byte(void **state)
{
    (void)state;
    cbx_send_credit(&sender, 0, 10, now);
    cbx_send_sent(&sender, 10);
    cbx_send_sent(&sender, 1);
    assert_int_equal(cbx_send_room(&sender), 0);
    assert_int_equal(cbx_send_credit(&sender, 11, 10, now), 0);
    assert_int_equal(sender.acked, sender.sent);
    assert_int_equal(pool, 0);
}

static void
closing_frees_the_send_budget_once(void **state)
{
    (void)state;
    pool = 500;
    cbx_send_credit(&sender, 0, 10000, now);
    cbx_send_sent(&sender, 700);
    cbx_send_close(&sender);
    cbx_send_close(&sender);
    assert_int_equal(pool, 500);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup(a_first_grant_is_32_kib, fresh),
        cmocka_unit_test_setup(once_a_quarter_is_used_a_first_grant_is_the_minimum, fresh),
        cmocka_unit_test_setup(a_grant_beyond_the_minimum_is_a_quarter_of_what_is_free, fresh),
        cmocka_unit_test_setup(the_last_quarter_is_for_minimum_windows_only, fresh),
        cmocka_unit_test_setup(half_at_most_for_the_streams_of_one_peer, fresh),
        cmocka_unit_test_setup(no_minimum_window_free_is_refused, fresh),
        cmocka_unit_test_setup(every_minimum_window_of_a_full_budget_can_be_had, fresh),
        cmocka_unit_test_setup(a_lowered_budget_grants_nothing_new_and_takes_nothing_back, fresh),
        cmocka_unit_test_setup(closing_gives_everything_back_once, fresh),
        cmocka_unit_test_setup(what_is_outstanding_is_what_counts, fresh),
        cmocka_unit_test_setup(a_limit_never_goes_back, fresh),
        cmocka_unit_test_setup(bytes_within_the_limit_are_taken_and_beyond_are_not, fresh),
        cmocka_unit_test_setup(credit_is_announced_in_batches_of_a_quarter, fresh),
        cmocka_unit_test_setup(at_the_minimum_a_quarter_of_it_is_enough, fresh),
        cmocka_unit_test_setup(a_busy_stream_grows_to_twice_its_bandwidth_delay_product, fresh),
        cmocka_unit_test_setup(a_window_is_16_mib_at_most, fresh),
        cmocka_unit_test_setup(a_slow_stream_gives_back, fresh),
        cmocka_unit_test_setup(a_target_never_shrinks_below_the_minimum, fresh),
        cmocka_unit_test_setup(many_small_records_are_given_room, fresh),
        cmocka_unit_test_setup(small_records_are_acknowledged_by_their_cost, fresh),
        cmocka_unit_test_setup(a_grant_that_nobody_heard_of_follows_the_budget, fresh),
        cmocka_unit_test_setup(a_small_budget_is_asked_to_grow, fresh),
        cmocka_unit_test_setup(credit_is_what_may_be_sent, fresh),
        cmocka_unit_test_setup(credit_that_breaks_a_rule_is_refused_and_changes_nothing, fresh),
        cmocka_unit_test_setup(the_agents_send_budget_holds_whatever_is_granted, fresh),
        cmocka_unit_test_setup(the_last_quarter_of_the_send_budget_is_for_minimum_windows, fresh),
        cmocka_unit_test_setup(a_stream_keeps_16_mib_at_most, fresh),
        cmocka_unit_test_setup(each_record_costs_160_bytes_of_its_credit, fresh),
        cmocka_unit_test_setup(the_end_of_a_window_is_not_worth_a_record, fresh),
        cmocka_unit_test_setup(records_are_counted_across_partial_acks, fresh),
        cmocka_unit_test_setup(records_follow_the_acknowledged_rate, fresh),
        cmocka_unit_test_setup(a_fin_needs_no_credit_and_is_acknowledged_like_a_byte, fresh),
        cmocka_unit_test_setup(closing_frees_the_send_budget_once, fresh),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
