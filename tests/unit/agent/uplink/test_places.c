/* SPDX-License-Identifier: MIT */
/* Where the hub is looked for, and where first. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "agent/uplink/places.h"

#include <stdio.h>
#include <string.h>

static const struct cbx_token token = {.address_count = 2, .address = {"a:1", "b:1"}};

static void
check(const struct places *places, const char *wanted, uint32_t first)
{
    char text[512] = "";
    for (uint32_t i = 0; i < places->count; i++)
        (void)snprintf(text + strlen(text), sizeof text - strlen(text), "%s%s/%s", i > 0 ? " " : "",
                       places->item[i].address, place_from_text(places->item[i].from));
    assert_string_equal(text, wanted);
    assert_int_equal(places->first, first);
}

static void
the_tokens_come_first_then_what_the_hub_said(void **state)
{
    (void)state;
    const struct cbx_addresses learned = {.count = 3, .text = {"c:1", "a:1", "d:1"}};
    struct places places;
    places_set(&places, &token, NULL, NULL);
    check(&places, "a:1/token b:1/token", 0);
    places_set(&places, &token, &learned, "");
    check(&places, "a:1/token b:1/token c:1/hub d:1/hub", 0);
    assert_int_equal(places_find(&places, "d:1"), 3);
    assert_int_equal(places_find(&places, "e:1"), 4);
}

static void
what_worked_last_is_tried_first(void **state)
{
    (void)state;
    const struct cbx_addresses learned = {.count = 1, .text = {"c:1"}};
    struct places places;
    places_set(&places, &token, &learned, "c:1");
    check(&places, "a:1/token b:1/token c:1/hub", 2);
    places_set(&places, &token, &learned, "b:1");
    check(&places, "a:1/token b:1/token c:1/hub", 1);
    places_set(&places, &token, &learned, "gone:1");
    check(&places, "a:1/token b:1/token c:1/hub gone:1/hub", 3);
}

static void
there_is_room_for_all(void **state)
{
    (void)state;
    struct cbx_token where = {.address_count = CBX_TOKEN_ADDRESSES_MAX};
    struct cbx_addresses learned = {.count = CBX_ADDRESSES_MAX};
    struct places places;
    for (int i = 0; i < 8; i++) {
        (void)snprintf(where.address[i], sizeof where.address[i], "a%d:1", i);
        (void)snprintf(learned.text[i], sizeof learned.text[i], "b%d:1", i);
    }
    places_set(&places, &where, &learned, "c:1");
    assert_int_equal(places.count, PLACES_MAX);
    assert_string_equal(places.item[places.first].address, "c:1");
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_tokens_come_first_then_what_the_hub_said),
        cmocka_unit_test(what_worked_last_is_tried_first),
        cmocka_unit_test(there_is_room_for_all),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
