/* SPDX-License-Identifier: MIT */
/* Places of an agent, shared out to peers. */
#include "agent/front/share.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

enum { PLACES = 1024 };

/* How many one peer gets that asks for all; they are in held. */
static uint32_t
take_all(struct share_set *set, const char *peer, struct share *held[PLACES])
{
    uint32_t count = 0;
    struct share *share;
    while (count < PLACES && (share = share_take(set, peer)))
        held[count++] = share;
    return count;
}

static void
drop_all(struct share_set *set, struct share *held[PLACES], uint32_t count)
{
    for (uint32_t i = 0; i < count; i++)
        share_drop(set, held[i]);
}

static void
whoever_takes_what_it_can_leaves_as_much(void **state)
{
    (void)state;
    static struct share *first[PLACES], *second[PLACES], *third[PLACES];
    struct share_set set = {.max = PLACES};
    uint32_t a = take_all(&set, "a", first), b = take_all(&set, "b", second);
    uint32_t c = take_all(&set, "c", third);
    if (a == 0)
        fail(); /* no memory */
    assert_int_equal(a, PLACES / 2);
    assert_int_equal(b, PLACES / 4);
    assert_int_equal(c, PLACES / 8);
    drop_all(&set, first, a);
    drop_all(&set, third, c);
    assert_int_equal(set.total, b);
    a = take_all(&set, "a", first);
    assert_int_equal(a, (PLACES - b) / 2); /* once more, of what is free then */
    drop_all(&set, first, a);
    drop_all(&set, second, b);
    assert_int_equal(set.total, 0);
    assert_null(set.shares);
}

static void
everybody_gets_a_few_while_there_are_any(void **state)
{
    (void)state;
    static struct share *held[PLACES / SHARE_LEAST][PLACES];
    struct share_set set = {.max = PLACES};
    uint32_t count[PLACES / SHARE_LEAST];
    for (uint32_t i = 0; i < PLACES / SHARE_LEAST; i++) {
        char peer[16];
        (void)snprintf(peer, sizeof peer, "peer%u", i);
        count[i] = take_all(&set, peer, held[i]);
    }
    assert_int_equal(set.total, PLACES);
    assert_null(share_take(&set, "late"));
    for (uint32_t i = 0; i < PLACES / SHARE_LEAST; i++)
        drop_all(&set, held[i], count[i]);
    assert_null(set.shares);
}

static void
without_places_there_is_none(void **state)
{
    (void)state;
    struct share_set set = {0};
    assert_null(share_take(&set, "a"));
    share_drop(&set, NULL);
    assert_null(set.shares);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(whoever_takes_what_it_can_leaves_as_much),
        cmocka_unit_test(everybody_gets_a_few_while_there_are_any),
        cmocka_unit_test(without_places_there_is_none),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
