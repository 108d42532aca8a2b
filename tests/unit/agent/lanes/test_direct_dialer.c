/* SPDX-License-Identifier: MIT */
/* The dialer against listening sockets of the test, which answer as they are told. */
#include "agent/lanes/direct_dialer.h"
#include "loop_fixture.h"
#include "skip.h"
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <arpa/inet.h>
#include <cmocka.h>
#include <ev.h>
#include <netinet/in.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

struct fixture {
    struct ev_loop *loop;
    struct direct_dialer *dialer;
    struct candidates to;
    struct cbx_lane_ticket ticket;
    int listener[3];
    unsigned ups, failures;
    int fd; /* of the lane */
    char text[200];
    bool inside; /* direct_dialer_new */
};

static void
on_up(void *arg, int fd, const struct cbx_lane_ticket *ticket)
{
    struct fixture *f = arg;
    assert_false(f->inside);
    assert_memory_equal(ticket, &f->ticket, sizeof *ticket);
    f->ups++;
    f->fd = fd;
    direct_dialer_free(f->dialer);
    f->dialer = NULL;
}

static void
on_failed(void *arg, const char *text)
{
    struct fixture *f = arg;
    assert_false(f->inside);
    f->failures++;
    (void)snprintf(f->text, sizeof f->text, "%s", text);
    direct_dialer_free(f->dialer);
    f->dialer = NULL;
}

static const struct direct_dialer_ops ops = {.up = on_up, .failed = on_failed};

static int
set_up(void **state)
{
    struct fixture *f = test_calloc(1, sizeof *f);
    f->loop = ev_loop_new(EVFLAG_AUTO);
    f->fd = -1;
    memset(f->listener, -1, sizeof f->listener);
    cbx_lane_ticket_make(&f->ticket, CBX_CIPHER_CHACHA20POLY1305);
    *state = f;
    return f->loop ? 0 : -1;
}

static int
tear_down(void **state)
{
    struct fixture *f = *state;
    direct_dialer_free(f->dialer);
    for (size_t i = 0; i < 3; i++) {
        if (f->listener[i] >= 0)
            close(f->listener[i]);
    }
    if (f->fd >= 0)
        close(f->fd);
    ev_loop_destroy(f->loop);
    test_free(f);
    return 0;
}

static void
add(struct fixture *f, const char *text)
{
    assert_true(f->to.count < CANDIDATES_MAX);
    (void)snprintf(f->to.item[f->to.count++], CANDIDATE_TEXT_MAX, "%s", text);
}

/* A listening socket, as a candidate. */
static int
add_listener(struct fixture *f, int index)
{
    struct sockaddr_in at = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t length = sizeof at;
    char text[CANDIDATE_TEXT_MAX];
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    assert_true(fd >= 0);
    assert_int_equal(bind(fd, (struct sockaddr *)&at, sizeof at), 0);
    assert_int_equal(listen(fd, 8), 0);
    assert_int_equal(getsockname(fd, (struct sockaddr *)&at, &length), 0);
    (void)snprintf(text, sizeof text, "127.0.0.1:%u", ntohs(at.sin_port));
    add(f, text);
    return f->listener[index] = fd;
}

/* A port where nobody listens. */
static void
add_closed(struct fixture *f, int index)
{
    close(add_listener(f, index));
    f->listener[index] = -1;
}

static void
begin(struct fixture *f, int64_t timeout_ms)
{
    f->inside = true;
    f->dialer = direct_dialer_new(f->loop, &f->to, &f->ticket, timeout_ms, &ops, f);
    f->inside = false;
    assert_non_null(f->dialer);
}

/* Accepts, and reads the whole preface, which must hold. */
static int
take(struct fixture *f, int listener)
{
    uint8_t preface[CBX_LANE_PREFACE], byte;
    int fd = -1;
    eventually(f, (fd = accept4(listener, NULL, NULL, SOCK_CLOEXEC)) >= 0);
    eventually(f, recv(fd, preface, sizeof preface, MSG_PEEK | MSG_DONTWAIT) == sizeof preface);
    assert_int_equal(recv(fd, preface, sizeof preface, 0), sizeof preface);
    assert_true(cbx_lane_preface_holds(&f->ticket, preface));
    assert_int_equal(recv(fd, &byte, 1, MSG_DONTWAIT), -1); /* nothing behind it */
    return fd;
}

static void
answer(struct fixture *f, int fd)
{
    uint8_t bytes[CBX_LANE_MAC];
    cbx_lane_answer(&f->ticket, bytes);
    assert_int_equal(send(fd, bytes, sizeof bytes, MSG_NOSIGNAL), sizeof bytes);
}

static bool
closed(int fd)
{
    uint8_t byte;
    return recv(fd, &byte, 1, MSG_DONTWAIT) == 0;
}

static void
an_answer_that_holds_is_a_lane(void **state)
{
    struct fixture *f = *state;
    add_listener(f, 0);
    begin(f, 3000);
    int fd = take(f, f->listener[0]);
    answer(f, fd);
    eventually(f, f->ups == 1);
    char byte = 0;
    assert_int_equal(send(fd, "x", 1, MSG_NOSIGNAL), 1);
    eventually(f, recv(f->fd, &byte, 1, MSG_DONTWAIT) == 1);
    assert_int_equal(byte, 'x');
    assert_int_equal(f->failures, 0);
    close(fd);
}

static void
an_answer_in_pieces_with_bytes_behind_it(void **state)
{
    struct fixture *f = *state;
    uint8_t bytes[CBX_LANE_MAC + 5];
    char rest[8];
    add_listener(f, 0);
    begin(f, 3000);
    int fd = take(f, f->listener[0]);
    cbx_lane_answer(&f->ticket, bytes);
    memcpy(bytes + CBX_LANE_MAC, "frame", 5);
    assert_int_equal(send(fd, bytes, 7, MSG_NOSIGNAL), 7);
    for (int i = 0; i < 20; i++)
        (void)ev_run(f->loop, EVRUN_NOWAIT);
    assert_int_equal(f->ups, 0);
    assert_int_equal(send(fd, bytes + 7, sizeof bytes - 7, MSG_NOSIGNAL), sizeof bytes - 7);
    eventually(f, f->ups == 1);
    assert_int_equal(recv(f->fd, rest, sizeof rest, MSG_DONTWAIT), 5);
    assert_memory_equal(rest, "frame", 5);
    close(fd);
}

static void
the_first_that_proves_wins_and_the_others_are_closed(void **state)
{
    struct fixture *f = *state;
    add_closed(f, 0);
    add_listener(f, 1);
    add_listener(f, 2);
    begin(f, 3000);
    int silent = take(f, f->listener[1]), fd = take(f, f->listener[2]);
    answer(f, fd);
    eventually(f, f->ups == 1);
    eventually(f, closed(silent));
    assert_false(closed(fd));
    assert_int_equal(f->failures, 0);
    close(silent);
    close(fd);
}

static void
a_wrong_answer_does_not_end_the_race(void **state)
{
    struct fixture *f = *state;
    uint8_t wrong[CBX_LANE_MAC] = {1, 2, 3};
    add_listener(f, 0);
    add_listener(f, 1);
    begin(f, 3000);
    int liar = take(f, f->listener[0]), fd = take(f, f->listener[1]);
    assert_int_equal(send(liar, wrong, sizeof wrong, MSG_NOSIGNAL), sizeof wrong);
    eventually(f, closed(liar));
    assert_int_equal(f->failures + f->ups, 0);
    answer(f, fd);
    eventually(f, f->ups == 1);
    close(liar);
    close(fd);
}

static void
a_wrong_answer_alone_fails(void **state)
{
    struct fixture *f = *state;
    struct cbx_lane_ticket other = f->ticket;
    uint8_t bytes[CBX_LANE_MAC];
    add_listener(f, 0);
    begin(f, 3000);
    int fd = take(f, f->listener[0]);
    other.secret[31] ^= 1;
    cbx_lane_answer(&other, bytes);
    assert_int_equal(send(fd, bytes, sizeof bytes, MSG_NOSIGNAL), sizeof bytes);
    eventually(f, f->failures == 1);
    assert_non_null(strstr(f->text, "secret"));
    close(fd);
}

/* As a listener does that does not expect the ticket. */
static void
an_end_instead_of_an_answer_fails(void **state)
{
    struct fixture *f = *state;
    add_listener(f, 0);
    begin(f, 3000);
    close(take(f, f->listener[0]));
    eventually(f, f->failures == 1);
    assert_non_null(strstr(f->text, "closed"));
}

static void
refused_connections_fail_at_once(void **state)
{
    struct fixture *f = *state;
    add_closed(f, 0);
    add_closed(f, 1);
    begin(f, 60000);
    eventually(f, f->failures == 1);
    assert_non_null(strstr(f->text, "refused"));
}

static void
silence_fails_when_the_time_is_over(void **state)
{
    struct fixture *f = *state;
    add_listener(f, 0);
    begin(f, 100);
    int fd = take(f, f->listener[0]);
    eventually(f, f->failures == 1);
    assert_non_null(strstr(f->text, "in time"));
    eventually(f, closed(fd));
    close(fd);
}

static void
nothing_to_try_fails_from_the_loop(void **state)
{
    struct fixture *f = *state;
    begin(f, 60000);
    assert_int_equal(f->failures, 0);
    eventually(f, f->failures == 1);
    add(f, "not an address");
    begin(f, 60000);
    eventually(f, f->failures == 2);
}

static void
freed_in_the_middle_it_says_nothing_more(void **state)
{
    struct fixture *f = *state;
    add_listener(f, 0);
    add_listener(f, 1);
    unsigned before = open_descriptors();
    begin(f, 50);
    int fd = take(f, f->listener[0]);
    direct_dialer_free(f->dialer);
    f->dialer = NULL;
    close(fd);
    assert_int_equal(open_descriptors(), before);
    usleep(60000);
    for (int i = 0; i < 20; i++)
        (void)ev_run(f->loop, EVRUN_NOWAIT);
    assert_int_equal(f->ups + f->failures, 0);
}

static void
ipv6_is_tried_too(void **state)
{
    struct fixture *f = *state;
    struct sockaddr_in6 at = {.sin6_family = AF_INET6, .sin6_addr = IN6ADDR_LOOPBACK_INIT};
    socklen_t length = sizeof at;
    char text[CANDIDATE_TEXT_MAX];
    int fd = socket(AF_INET6, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (fd < 0 || bind(fd, (struct sockaddr *)&at, sizeof at) != 0) {
        if (fd >= 0)
            close(fd);
        skip_because("no IPv6 here");
    }
    f->listener[0] = fd;
    assert_int_equal(listen(fd, 8), 0);
    assert_int_equal(getsockname(fd, (struct sockaddr *)&at, &length), 0);
    (void)snprintf(text, sizeof text, "[::1]:%u", ntohs(at.sin6_port));
    add(f, text);
    begin(f, 3000);
    int peer = take(f, fd);
    answer(f, peer);
    eventually(f, f->ups == 1);
    close(peer);
}

#define WITH(test) cmocka_unit_test_setup_teardown(test, set_up, tear_down)

int
main(void)
{
    const struct CMUnitTest tests[] = {
        WITH(an_answer_that_holds_is_a_lane),
        WITH(an_answer_in_pieces_with_bytes_behind_it),
        WITH(the_first_that_proves_wins_and_the_others_are_closed),
        WITH(a_wrong_answer_does_not_end_the_race),
        WITH(a_wrong_answer_alone_fails),
        WITH(an_end_instead_of_an_answer_fails),
        WITH(refused_connections_fail_at_once),
        WITH(silence_fails_when_the_time_is_over),
        WITH(nothing_to_try_fails_from_the_loop),
        WITH(freed_in_the_middle_it_says_nothing_more),
        WITH(ipv6_is_tried_too),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
