/* SPDX-License-Identifier: MIT */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "common/os/socket.h"
#include "skip.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <string.h>
#include <unistd.h>

union address {
    struct sockaddr any;
    struct sockaddr_in four;
    struct sockaddr_in6 six;
};

static union address
address_of(int family, const char *text)
{
    union address address;
    memset(&address, 0, sizeof address);
    address.any.sa_family = (sa_family_t)family;
    void *bytes = family == AF_INET ? (void *)&address.four.sin_addr : &address.six.sin6_addr;
    assert_int_equal(inet_pton(family, text, bytes), 1);
    return address;
}

static void
assert_loopback(int family, const char *text, bool expected)
{
    union address address = address_of(family, text);
    if (cbx_socket_is_loopback(&address.any) != expected)
        fail_msg("%s", text);
}

static void
loopback_is_told_from_everything_else(void **state)
{
    (void)state;
    assert_loopback(AF_INET, "127.0.0.1", true);
    assert_loopback(AF_INET, "127.83.255.254", true);
    assert_loopback(AF_INET6, "::1", true);
    assert_loopback(AF_INET6, "::ffff:127.0.0.1", true);
    assert_loopback(AF_INET, "0.0.0.0", false);
    assert_loopback(AF_INET, "126.255.255.255", false);
    assert_loopback(AF_INET, "128.0.0.1", false);
    assert_loopback(AF_INET, "10.127.0.1", false);
    assert_loopback(AF_INET6, "::", false);
    assert_loopback(AF_INET6, "::2", false);
    assert_loopback(AF_INET6, "::127.0.0.1", false);
    assert_loopback(AF_INET6, "::ffff:10.0.0.1", false);
    assert_loopback(AF_INET6, "fe80::1", false);
    struct sockaddr local = {.sa_family = AF_UNIX};
    assert_false(cbx_socket_is_loopback(&local));
}

/* What the socket has, and whether it was possible to make it pace. */
static bool
pace(int fd)
{
    return setsockopt(fd, IPPROTO_TCP, TCP_CONGESTION, "bbr", 3) == 0;
}

static void
assert_control(int fd, const char *expected)
{
    char name[16] = "";
    socklen_t length = sizeof name;
    assert_int_equal(getsockopt(fd, IPPROTO_TCP, TCP_CONGESTION, name, &length), 0);
    assert_string_equal(name, expected);
}

static void
only_loopback_is_eased(void **state)
{
    (void)state;
    union address here = address_of(AF_INET, "127.0.0.1"), there = address_of(AF_INET, "10.0.0.1");
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    assert_true(fd >= 0);
    assert_int_equal(setsockopt(fd, IPPROTO_TCP, TCP_CONGESTION, "reno", 4), 0);
    cbx_socket_unpace(fd, &here.any);
    assert_control(fd, "reno");
    if (!pace(fd)) { /* this kernel has no bbr for us: there is nothing to ease */
        close(fd);
        skip_because("this kernel has no bbr");
    }
    cbx_socket_unpace(fd, &there.any);
    assert_control(fd, "bbr");
    cbx_socket_unpace(fd, &here.any);
    assert_control(fd, "reno");
    close(fd);
}

static void
what_a_listener_accepts_inherits_it(void **state)
{
    (void)state;
    union address address = address_of(AF_INET, "127.0.0.1");
    socklen_t length = sizeof address.four;
    int listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    int client = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    assert_true(listener >= 0 && client >= 0);
    bool can = pace(listener);
    if (can) {
        cbx_socket_unpace(listener, &address.any);
        assert_int_equal(bind(listener, &address.any, length), 0);
        assert_int_equal(listen(listener, 1), 0);
        assert_int_equal(getsockname(listener, &address.any, &length), 0);
        assert_int_equal(connect(client, &address.any, length), 0);
        int accepted = accept(listener, NULL, NULL);
        assert_true(accepted >= 0);
        assert_control(accepted, "reno");
        close(accepted);
    }
    close(client);
    close(listener);
    if (!can)
        skip_because("this kernel has no bbr");
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(loopback_is_told_from_everything_else),
        cmocka_unit_test(only_loopback_is_eased),
        cmocka_unit_test(what_a_listener_accepts_inherits_it),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
