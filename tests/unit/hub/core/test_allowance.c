/* SPDX-License-Identifier: MIT */
/* Rule 22: the sum of what agents may have outstanding never passes queue_max. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "hub/core/allowance.h"
#include <string.h>

#define KIB ((uint64_t)1024)
#define MIB (1024 * KIB)

static struct hub_allowances all;
static struct hub_allowance link_a, link_b;

static int
fresh(void **state)
{
    (void)state;
    all = (struct hub_allowances){.total = 1024 * MIB};
    memset(&link_a, 0, sizeof link_a);
    memset(&link_b, 0, sizeof link_b);
    return 0;
}

static void
a_new_link_gets_four_mebibytes(void **state)
{
    (void)state;
    assert_true(hub_allowance_join(&all, &link_a));
    assert_int_equal(link_a.value, 4 * MIB);
    assert_int_equal(all.sum, 4 * MIB);
    assert_int_equal(all.links, 1);
}

static void
a_small_hub_shares_half_among_its_links(void **state)
{
    (void)state;
    all.total = 4 * MIB;
    assert_true(hub_allowance_join(&all, &link_a));
    assert_int_equal(link_a.value, 2 * MIB);
    assert_true(hub_allowance_join(&all, &link_b));
    assert_int_equal(link_b.value, 1 * MIB);
}

static void
a_link_gets_no_more_than_is_left(void **state)
{
    (void)state;
    all.total = 4 * MIB;
    all.sum = 4 * MIB - 100 * KIB;
    assert_true(hub_allowance_join(&all, &link_a));
    assert_int_equal(link_a.value, 100 * KIB);
    assert_int_equal(all.sum, all.total);
}

static void
below_the_least_a_link_is_refused(void **state)
{
    (void)state;
    all.total = 4 * MIB;
    all.sum = 4 * MIB - 32 * KIB + 1;
    assert_false(hub_allowance_join(&all, &link_a));
    assert_int_equal(link_a.value, 0);
    assert_int_equal(all.links, 0);
    hub_allowance_leave(&all, &link_a);
    assert_int_equal(all.sum, 4 * MIB - 32 * KIB + 1);
    all.sum--;
    assert_true(hub_allowance_join(&all, &link_a));
    assert_int_equal(link_a.value, 32 * KIB);
}

static void
a_link_that_leaves_gives_all_back_once(void **state)
{
    (void)state;
    hub_allowance_join(&all, &link_a);
    hub_allowance_join(&all, &link_b);
    hub_allowance_leave(&all, &link_a);
    hub_allowance_leave(&all, &link_a);
    assert_int_equal(all.sum, 4 * MIB);
    assert_int_equal(all.links, 1);
}

static void
wanting_more_doubles(void **state)
{
    (void)state;
    hub_allowance_join(&all, &link_a);
    assert_true(hub_allowance_want(&all, &link_a));
    assert_int_equal(link_a.value, 8 * MIB);
    assert_int_equal(link_a.sequence, 1);
    assert_int_equal(all.sum, 8 * MIB);
}

static void
it_stops_at_the_most(void **state)
{
    (void)state;
    hub_allowance_join(&all, &link_a);
    while (hub_allowance_want(&all, &link_a))
        ;
    assert_int_equal(link_a.value, 128 * MIB);
    link_a.value = 100 * MIB;
    all.sum = 100 * MIB;
    assert_true(hub_allowance_want(&all, &link_a));
    assert_int_equal(link_a.value, 128 * MIB);
    assert_int_equal(all.sum, 128 * MIB);
}

static void
no_room_is_remembered_as_a_wish(void **state)
{
    (void)state;
    all.total = 8 * MIB;
    hub_allowance_join(&all, &link_a);
    hub_allowance_join(&all, &link_b);
    all.total = 9 * MIB;
    assert_false(hub_allowance_want(&all, &link_a));
    assert_true(link_a.wants);
    assert_int_equal(link_a.value, 4 * MIB);
    hub_allowance_leave(&all, &link_b);
    assert_true(hub_allowance_want(&all, &link_a));
    assert_false(link_a.wants);
}

static void
the_sum_never_passes_the_total(void **state)
{
    (void)state;
    static struct hub_allowance many[200];
    all.total = 64 * MIB;
    for (int round = 0; round < 20; round++) {
        for (int i = 0; i < 200; i++) {
            if (many[i].value == 0)
                hub_allowance_join(&all, &many[i]);
            else if (i % 7 == round % 7)
                hub_allowance_leave(&all, &many[i]);
            else
                hub_allowance_want(&all, &many[i]);
            assert_true(all.sum <= all.total);
        }
    }
    uint64_t sum = 0;
    for (int i = 0; i < 200; i++)
        sum += many[i].value;
    assert_int_equal(sum, all.sum);
}

static void
an_idle_link_is_asked_for_half(void **state)
{
    (void)state;
    hub_allowance_join(&all, &link_a);
    hub_allowance_charge(&link_a, MIB, 0);
    assert_true(hub_allowance_reclaim(&link_a));
    assert_int_equal(link_a.asked, 2 * MIB);
    assert_false(hub_allowance_reclaim(&link_a)); /* asked already */
}

static void
a_busy_link_is_not_asked(void **state)
{
    (void)state;
    hub_allowance_join(&all, &link_a);
    hub_allowance_charge(&link_a, MIB + 1, 0);
    assert_false(hub_allowance_reclaim(&link_a));
}

static void
nobody_is_asked_below_the_least(void **state)
{
    (void)state;
    hub_allowance_join(&all, &link_a);
    link_a.value = 40 * KIB;
    assert_true(hub_allowance_reclaim(&link_a));
    assert_int_equal(link_a.asked, 32 * KIB);
    link_a.asked = 0;
    link_a.value = 32 * KIB;
    assert_false(hub_allowance_reclaim(&link_a));
}

static void
lowering_counts_only_once_confirmed(void **state)
{
    (void)state;
    hub_allowance_join(&all, &link_a);
    hub_allowance_reclaim(&link_a);
    assert_int_equal(link_a.value, 4 * MIB);
    assert_int_equal(all.sum, 4 * MIB);
    assert_true(hub_allowance_charge(&link_a, 4 * MIB, 0)); /* still legal */
    hub_allowance_charge(&link_a, 0, 4 * MIB);
    assert_true(hub_allowance_confirm(&all, &link_a, link_a.sequence, 0));
    assert_int_equal(link_a.value, 2 * MIB);
    assert_int_equal(all.sum, 2 * MIB);
}

static void
a_stale_or_unasked_confirmation_changes_nothing(void **state)
{
    (void)state;
    hub_allowance_join(&all, &link_a);
    assert_false(hub_allowance_confirm(&all, &link_a, 0, 0));
    hub_allowance_reclaim(&link_a);
    assert_false(hub_allowance_confirm(&all, &link_a, link_a.sequence + 1, 0));
    assert_true(hub_allowance_confirm(&all, &link_a, link_a.sequence, 0));
    assert_false(hub_allowance_confirm(&all, &link_a, link_a.sequence, 0));
    assert_int_equal(all.sum, 2 * MIB);
}

static void
nothing_is_granted_while_a_lowering_is_open(void **state)
{
    (void)state;
    hub_allowance_join(&all, &link_a);
    hub_allowance_reclaim(&link_a);
    assert_false(hub_allowance_want(&all, &link_a));
    assert_int_equal(link_a.value, 4 * MIB);
}

static void
credit_past_the_allowance_is_told(void **state)
{
    (void)state;
    hub_allowance_join(&all, &link_a);
    assert_true(hub_allowance_charge(&link_a, 4 * MIB, 0));
    assert_true(hub_allowance_charge(&link_a, MIB, MIB));
    assert_false(hub_allowance_charge(&link_a, 1, 0));
}

static void
a_release_never_goes_below_nothing(void **state)
{
    (void)state;
    hub_allowance_join(&all, &link_a);
    hub_allowance_charge(&link_a, 10, 0);
    assert_true(hub_allowance_charge(&link_a, 0, 11));
    assert_int_equal(link_a.granted, 0);
}

/* What is granted cannot be taken back: the value sinks as it is used up, and stops at the goal. */
static void
a_busy_link_goes_down_as_its_credit_is_used_up(void **state)
{
    (void)state;
    hub_allowance_join(&all, &link_a);
    hub_allowance_charge(&link_a, 3 * MIB, 0);
    assert_false(hub_allowance_reclaim(&link_a));
    assert_true(hub_allowance_lower(&link_a));
    assert_true(hub_allowance_confirm(&all, &link_a, link_a.sequence, 16 * KIB));
    assert_int_equal(link_a.value, 3 * MIB + 16 * KIB);
    assert_false(hub_allowance_lower(&link_a)); /* on its way */
    assert_true(hub_allowance_charge(&link_a, 16 * KIB, 0));
    hub_allowance_charge(&link_a, 0, MIB + 16 * KIB + 1);
    assert_true(hub_allowance_settle(&all, &link_a, 16 * KIB));
    assert_int_equal(link_a.value, 2 * MIB + 16 * KIB - 1);
    assert_int_equal(all.sum, link_a.value);
    hub_allowance_charge(&link_a, 0, MIB);
    assert_true(hub_allowance_settle(&all, &link_a, 16 * KIB));
    assert_int_equal(link_a.value, 2 * MIB);
    assert_false(hub_allowance_settle(&all, &link_a, 0));
    assert_int_equal(all.sum, 2 * MIB);
}

static void
granting_more_on_the_way_down_is_caught(void **state)
{
    (void)state;
    hub_allowance_join(&all, &link_a);
    hub_allowance_charge(&link_a, 3 * MIB, 0);
    hub_allowance_lower(&link_a);
    hub_allowance_confirm(&all, &link_a, link_a.sequence, 0);
    assert_false(hub_allowance_charge(&link_a, 1, 0));
}

static void
who_has_its_share_leaves_a_reserve(void **state)
{
    (void)state;
    all.total = 16 * MIB;
    hub_allowance_join(&all, &link_a);
    hub_allowance_join(&all, &link_b); /* 4 MiB each, which is their share */
    all.sum = 11 * MIB + 512 * KIB;
    assert_false(hub_allowance_want(&all, &link_a)); /* half a MiB would be left */
    link_b.value = 4 * MIB - 1;
    assert_true(hub_allowance_want(&all, &link_b));
    link_a.wants = false;
    all.sum = 11 * MIB;
    assert_true(hub_allowance_want(&all, &link_a));
    assert_int_equal(hub_allowance_left(&all), MIB);
}

static void
shared_buffers_take_an_eighth_and_what_is_left_at_most(void **state)
{
    (void)state;
    all.total = 8 * MIB;
    hub_allowance_join(&all, &link_a);
    assert_true(hub_allowance_pin(&all, MIB));
    assert_false(hub_allowance_pin(&all, 1));
    assert_int_equal(hub_allowance_left(&all), 3 * MIB);
    assert_false(hub_allowance_want(&all, &link_a));
    hub_allowance_unpin(&all, MIB);
    all.sum = all.total - 10;
    assert_false(hub_allowance_pin(&all, 11));
    assert_true(hub_allowance_pin(&all, 10));
    assert_false(hub_allowance_join(&all, &link_b));
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup(a_new_link_gets_four_mebibytes, fresh),
        cmocka_unit_test_setup(a_small_hub_shares_half_among_its_links, fresh),
        cmocka_unit_test_setup(a_link_gets_no_more_than_is_left, fresh),
        cmocka_unit_test_setup(below_the_least_a_link_is_refused, fresh),
        cmocka_unit_test_setup(a_link_that_leaves_gives_all_back_once, fresh),
        cmocka_unit_test_setup(wanting_more_doubles, fresh),
        cmocka_unit_test_setup(it_stops_at_the_most, fresh),
        cmocka_unit_test_setup(no_room_is_remembered_as_a_wish, fresh),
        cmocka_unit_test_setup(the_sum_never_passes_the_total, fresh),
        cmocka_unit_test_setup(an_idle_link_is_asked_for_half, fresh),
        cmocka_unit_test_setup(a_busy_link_is_not_asked, fresh),
        cmocka_unit_test_setup(nobody_is_asked_below_the_least, fresh),
        cmocka_unit_test_setup(lowering_counts_only_once_confirmed, fresh),
        cmocka_unit_test_setup(a_stale_or_unasked_confirmation_changes_nothing, fresh),
        cmocka_unit_test_setup(nothing_is_granted_while_a_lowering_is_open, fresh),
        cmocka_unit_test_setup(credit_past_the_allowance_is_told, fresh),
        cmocka_unit_test_setup(a_release_never_goes_below_nothing, fresh),
        cmocka_unit_test_setup(a_busy_link_goes_down_as_its_credit_is_used_up, fresh),
        cmocka_unit_test_setup(granting_more_on_the_way_down_is_caught, fresh),
        cmocka_unit_test_setup(who_has_its_share_leaves_a_reserve, fresh),
        cmocka_unit_test_setup(shared_buffers_take_an_eighth_and_what_is_left_at_most, fresh),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
