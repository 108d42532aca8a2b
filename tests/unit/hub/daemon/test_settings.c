/* SPDX-License-Identifier: MIT */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "hub/daemon/settings.h"
#include "scratch.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

struct fixture {
    char path[SCRATCH_MAX];
    struct run_config config;
    struct cbx_error error;
};

static int
setup(void **state)
{
    struct fixture *fixture = calloc(1, sizeof *fixture);

    if (fixture == NULL)
        return 1;
    if (!scratch_file("settings", "", 0, fixture->path))
        return 1;
    run_config_defaults(&fixture->config);
    *state = fixture;
    return 0;
}

static int
teardown(void **state)
{
    struct fixture *fixture = *state;

    (void)unlink(fixture->path);
    run_config_free(&fixture->config);
    free(fixture);
    return 0;
}

static int
read_text(struct fixture *fixture, const char *text)
{
    FILE *file = fopen(fixture->path, "w");

    assert_non_null(file);
    assert_true(fputs(text, file) >= 0);
    assert_int_equal(fclose(file), 0);
    return run_config_file(&fixture->config, fixture->path, &fixture->error);
}

/* The error names file and line, and says this. */
static void
assert_error(void **state, const char *text, int line, const char *words)
{
    struct fixture *fixture = *state;
    char where[96];

    assert_int_equal(read_text(fixture, text), CBX_ERR_USAGE);
    (void)snprintf(where, sizeof where, "%s:%d: ", fixture->path, line);
    assert_memory_equal(fixture->error.text, where, strlen(where));
    assert_non_null(strstr(fixture->error.text, words));
}

static void
test_a_file_sets_what_it_names_and_leaves_the_rest(void **state)
{
    struct fixture *fixture = *state;
    int64_t gone_ms = fixture->config.gone_ms;

    assert_true(fixture->config.direct);
    assert_int_equal(read_text(fixture, "# the hub of the lab\n"
                                        "[hub]\n"
                                        "listen = 0.0.0.0:7000\n"
                                        "listen = [::]:7000 ; both\n"
                                        "public = hub.example.org:7000\n"
                                        "proxy-protocol = 10.0.0.7\n"
                                        "proxy-protocol = fd00::/8\n"
                                        "keepalive = 5s\n"
                                        "queue-max = 64M\n"
                                        "direct = off\n"
                                        "user = cbx\n"
                                        "log-times = yes\n"),
                     0);
    assert_int_equal(fixture->config.listen.count, 2);
    assert_string_equal(fixture->config.listen.item[1], "[::]:7000");
    assert_string_equal(fixture->config.public_addresses.item[0], "hub.example.org:7000");
    assert_int_equal(fixture->config.proxies.count, 2);
    assert_string_equal(fixture->config.proxies.item[1], "fd00::/8");
    assert_int_equal(fixture->config.keepalive_ms, 5000);
    assert_int_equal(fixture->config.queue_max, 64 << 20);
    assert_false(fixture->config.direct);
    assert_string_equal(fixture->config.user, "cbx");
    assert_true(fixture->config.log_times);
    assert_int_equal(fixture->config.gone_ms, gone_ms);
}

static void
test_names_before_any_section_count(void **state)
{
    struct fixture *fixture = *state;

    assert_int_equal(read_text(fixture, "gone=90s\n"), 0);
    assert_int_equal(fixture->config.gone_ms, 90000);
}

static void
test_an_unknown_name_is_an_error_with_its_line(void **state)
{
    assert_error(state, "\n\nlisten-on = 127.0.0.1:1\n", 3, "unknown name listen-on");
}

static void
test_an_unknown_section_is_an_error(void **state)
{
    assert_error(state, "[agent]\nlisten = 127.0.0.1:1\n", 2, "[agent]");
}

static void
test_a_line_that_is_no_setting_is_an_error(void **state)
{
    assert_error(state, "keepalive = 5s\nlisten\n", 2, "NAME = VALUE");
}

static void
test_the_first_error_is_told(void **state)
{
    assert_error(state, "keepalive = 5\nlisten\nfoo = 1\n", 1, "duration");
    assert_error(state, "listen\nkeepalive = 5\n", 1, "NAME = VALUE");
}

static void
test_a_setting_stands_there_once(void **state)
{
    assert_error(state, "user = a\nuser = b\n", 2, "twice");
}

static void
test_direct_is_auto_or_off(void **state)
{
    assert_error(state, "direct = 0.0.0.0:4000\n", 1, "not auto or off");
    assert_error(state, "direct = require\n", 1, "not auto or off");
}

static void
test_a_long_line_is_an_error_and_not_two_settings(void **state)
{
    char text[400] = "user = ";

    memset(text + strlen(text), 'x', 300);
    assert_error(state, strcat(text, "\ngone = 90s\n"), 1, "longer than");
}

static void
test_numbers_have_units_and_bounds(void **state)
{
    assert_error(state, "queue-max = 1\n", 1, "not between");
    assert_error(state, "queue-max = 64X\n", 1, "size");
    assert_error(state, "queue-max = 99999999999999999999G\n", 1, "size");
    assert_error(state, "login-grace = 0s\n", 1, "not between");
    assert_error(state, "per-address-max = 1K\n", 1, "whole number");
    assert_error(state, "per-address-max = -1\n", 1, "whole number");
}

static void
test_switches_are_yes_or_no(void **state)
{
    assert_error(state, "as-root = true\n", 1, "yes or no");
}

static void
test_addresses_are_checked(void **state)
{
    assert_error(state, "listen = 7000\n", 1, "ADDR:PORT");
    assert_error(state, "public = hub.example.org\n", 1, "HOST:PORT");
    assert_error(state, "public = hub.example.org:0\n", 1, "HOST:PORT");
    assert_error(state, "proxy-protocol = balancer\n", 1, "ADDR/PREFIX");
    assert_error(state, "proxy-protocol = 10.0.0.7/8\n", 1, "behind its prefix");
}

static void
test_a_missing_file_is_an_error_that_names_it(void **state)
{
    struct fixture *fixture = *state;

    assert_int_equal(run_config_file(&fixture->config, "/nonexistent/hub.ini", &fixture->error),
                     CBX_ERR_USAGE);
    assert_non_null(strstr(fixture->error.text, "/nonexistent/hub.ini"));
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int
main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_a_file_sets_what_it_names_and_leaves_the_rest),
        TEST(test_names_before_any_section_count),
        TEST(test_an_unknown_name_is_an_error_with_its_line),
        TEST(test_an_unknown_section_is_an_error),
        TEST(test_a_line_that_is_no_setting_is_an_error),
        TEST(test_the_first_error_is_told),
        TEST(test_a_setting_stands_there_once),
        TEST(test_direct_is_auto_or_off),
        TEST(test_a_long_line_is_an_error_and_not_two_settings),
        TEST(test_numbers_have_units_and_bounds),
        TEST(test_switches_are_yes_or_no),
        TEST(test_addresses_are_checked),
        TEST(test_a_missing_file_is_an_error_that_names_it),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
