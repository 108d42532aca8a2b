/* SPDX-License-Identifier: MIT */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "agent/front/proxy_password.h"
#include <string.h>

static bool
basic(const struct proxy_password *password, const char *value)
{
    return proxy_password_is_basic(password, value, strlen(value));
}

static void
without_one_all_are_taken(void **state)
{
    (void)state;
    struct proxy_password none;
    proxy_password_init(&none, NULL);
    assert_true(proxy_password_is(&none, "any", 3));
    assert_true(proxy_password_is_basic(&none, NULL, 0));
    assert_true(basic(&none, "Basic !"));
}

static void
only_the_one_is_taken(void **state)
{
    (void)state;
    struct proxy_password password;
    proxy_password_init(&password, "se:cret");
    assert_true(proxy_password_is(&password, "se:cret", 7));
    assert_false(proxy_password_is(&password, "se:cret", 6));
    assert_false(proxy_password_is(&password, "", 0));
    assert_true(basic(&password, "Basic dTpzZTpjcmV0")); /* u:se:cret */
    assert_true(basic(&password, "basic OnNlOmNyZXQ=")); /* :se:cret */
    assert_false(basic(&password, "Basic dTp4"));
    assert_false(basic(&password, "Basic c2U6Y3JldA==")); /* se:cret, the user is se */
    assert_false(basic(&password, "Basic dTpzZTpjcmV0!"));
    assert_false(basic(&password, "Bearer dTpzZTpjcmV0"));
    assert_false(basic(&password, "Basic "));
    assert_false(proxy_password_is_basic(&password, NULL, 0));
}

static void
long_values_are_refused(void **state)
{
    (void)state;
    struct proxy_password password;
    char value[8000];
    proxy_password_init(&password, "x");
    memset(value, 'A', sizeof value);
    memcpy(value, "Basic ", 6);
    assert_false(proxy_password_is_basic(&password, value, sizeof value));
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(without_one_all_are_taken),
        cmocka_unit_test(only_the_one_is_taken),
        cmocka_unit_test(long_values_are_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
