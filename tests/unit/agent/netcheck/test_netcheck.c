/* SPDX-License-Identifier: MIT */
/* What needs no hub; the rest is in tests/e2e/test_netcheck.py. */
#include "agent/netcheck/netcheck.h"
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <arpa/inet.h>
#include <cmocka.h>
#include <ev.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

static const char *
field(const json_t *checks, const char *name, const char *key)
{
    size_t index;
    const json_t *check;
    json_array_foreach(checks, index, check) {
        if (strcmp(json_string_value(json_object_get(check, "check")), name) == 0)
            return json_string_value(json_object_get(check, key));
    }
    return "none";
}

static void
texts_are_cleaned(void **state)
{
    (void)state;
    json_t *checks = json_array();
    netcheck_add(checks, "ssh", NETCHECK_FAILED, "look", "%s", "a\x1b[2Jb\xff\n");
    assert_string_equal(field(checks, "ssh", "text"), "a?[2Jb??");
    assert_string_equal(field(checks, "ssh", "result"), "failed");
    assert_string_equal(field(checks, "ssh", "remedy"), "look");
    json_decref(checks);
}

static bool
passes(int hub, int ssh, int login, int link)
{
    static const char *const names[] = {"hub", "ssh", "login", "link"};
    const int results[] = {hub, ssh, login, link};
    json_t *checks = json_array();
    for (size_t i = 0; i < 4; i++) {
        if (results[i] >= 0)
            netcheck_add(checks, names[i], (enum netcheck_result)results[i], "", "%s", "");
    }
    bool passed = netcheck_passed(checks);
    json_decref(checks);
    return passed;
}

static void
a_check_passes_when_the_hub_lets_us_in(void **state)
{
    (void)state;
    enum { OK = NETCHECK_OK, BAD = NETCHECK_FAILED, SKIP = NETCHECK_SKIPPED, NONE = -1 };
    assert_true(passes(OK, OK, OK, NONE));
    assert_true(passes(OK, OK, OK, BAD)); /* the way is free: the agent will come */
    assert_false(passes(BAD, SKIP, SKIP, NONE));
    assert_false(passes(OK, BAD, SKIP, NONE));
    assert_false(passes(OK, OK, BAD, OK));
    assert_true(passes(SKIP, SKIP, SKIP, OK)); /* an ssh-command made the link */
    assert_false(passes(SKIP, SKIP, SKIP, BAD));
    assert_false(passes(SKIP, SKIP, SKIP, NONE));
}

/* ---- against a socket of ours ---- */

static void
on_checks(void *arg, json_t *checks)
{
    *(json_t **)arg = checks;
    ev_break(EV_DEFAULT, EVBREAK_ALL);
}

static json_t *
checked(const struct cbx_token *where, bool try_lane)
{
    static struct cbx_keypair key;
    json_t *checks = NULL;
    const struct netcheck_config config = {
        .where = where, .key = &key, .via = "", .timeout_ms = 500, .try_lane = try_lane};
    struct netcheck *check = netcheck_new(EV_DEFAULT, &config, on_checks, (void *)&checks);
    assert_non_null(check);
    ev_run(EV_DEFAULT, 0);
    netcheck_free(check);
    assert_non_null(checks);
    return checks;
}

static int
listener(struct cbx_token *where, int backlog)
{
    struct sockaddr_in at = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t length = sizeof at;
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    assert_int_equal(bind(fd, (struct sockaddr *)&at, sizeof at), 0);
    if (backlog > 0)
        assert_int_equal(listen(fd, backlog), 0);
    assert_int_equal(getsockname(fd, (struct sockaddr *)&at, &length), 0);
    memset(where, 0, sizeof *where);
    where->address_count = 1;
    (void)snprintf(where->user, sizeof where->user, "cbx");
    (void)snprintf(where->address[0], sizeof where->address[0], "127.0.0.1:%d", ntohs(at.sin_port));
    return fd;
}

static void
a_closed_port_fails_the_hub_and_skips_the_rest(void **state)
{
    (void)state;
    struct cbx_token where;
    int fd = listener(&where, 0);
    json_t *checks = checked(&where, true);
    close(fd);
    assert_string_equal(field(checks, "hub", "result"), "failed");
    assert_non_null(strstr(field(checks, "hub", "text"), "refused"));
    assert_true(strlen(field(checks, "hub", "remedy")) > 0);
    static const char *const skipped[] = {"proxy", "ssh", "login", "delay", "mtu", "lane"};
    for (size_t i = 0; i < sizeof skipped / sizeof skipped[0]; i++)
        assert_string_equal(field(checks, skipped[i], "result"), "skipped");
    assert_false(netcheck_passed(checks));
    json_decref(checks);
}

static void
a_silent_port_fails_ssh_in_its_time(void **state)
{
    (void)state;
    struct cbx_token where;
    int fd = listener(&where, 4);
    json_t *checks = checked(&where, true);
    close(fd);
    assert_string_equal(field(checks, "hub", "result"), "ok");
    assert_string_equal(field(checks, "ssh", "result"), "failed");
    assert_string_equal(field(checks, "login", "result"), "skipped");
    assert_string_equal(field(checks, "lane", "result"), "skipped");
    json_decref(checks);
}

static void
the_best_of_several_addresses_counts(void **state)
{
    (void)state;
    struct cbx_token where, closed;
    int fd = listener(&where, 4), other = listener(&closed, 0);
    memcpy(where.address[1], where.address[0], sizeof where.address[1]);
    memcpy(where.address[0], closed.address[0], sizeof where.address[0]);
    where.address_count = 2;
    json_t *checks = checked(&where, false);
    close(fd);
    close(other);
    assert_string_equal(field(checks, "hub", "result"), "ok");
    assert_string_equal(field(checks, "hub", "address"), where.address[1]);
    assert_string_equal(field(checks, "lane", "result"), "none");
    json_decref(checks);
}

static void
it_may_be_given_up_at_once(void **state)
{
    (void)state;
    struct cbx_token where;
    static struct cbx_keypair key;
    json_t *checks = NULL;
    int fd = listener(&where, 4);
    const struct netcheck_config config = {.where = &where, .key = &key, .via = ""};
    struct netcheck *check = netcheck_new(EV_DEFAULT, &config, on_checks, (void *)&checks);
    ev_run(EV_DEFAULT, EVRUN_NOWAIT);
    netcheck_free(check);
    netcheck_free(netcheck_new(EV_DEFAULT, &config, on_checks, (void *)&checks));
    close(fd);
    assert_null(checks);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(texts_are_cleaned),
        cmocka_unit_test(a_check_passes_when_the_hub_lets_us_in),
        cmocka_unit_test(a_closed_port_fails_the_hub_and_skips_the_rest),
        cmocka_unit_test(a_silent_port_fails_ssh_in_its_time),
        cmocka_unit_test(the_best_of_several_addresses_counts),
        cmocka_unit_test(it_may_be_given_up_at_once),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
