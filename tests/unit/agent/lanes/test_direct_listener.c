/* SPDX-License-Identifier: MIT */
/* The listener with real sockets of 127.0.0.0/8 and a clock of the test's own. */
#include "agent/lanes/direct_listener.h"
#include "common/base/clock.h"
#include "loop_fixture.h"
#include "skip.h"
#include "slow.h"
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <arpa/inet.h>
#include <cmocka.h>
#include <errno.h>
#include <ev.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

enum { SECOND = 1000000, FILLERS_MAX = 4096 };
static const double TICK_S = 0.3; /* real time, long enough for one tick of the listener */

static int64_t fake_now = SECOND;

int64_t
cbx_clock_us(void)
{
    return fake_now;
}

/* The whole of clock.c is replaced, or the linker would take it for the log's sake. */
int64_t
cbx_clock_unix_ms(void)
{
    return fake_now / 1000;
}

int64_t
cbx_clock_unix(void)
{
    return fake_now / SECOND;
}

struct fixture {
    struct ev_loop *loop;
    struct direct_listener *listener;
    enum direct_verdict verdict;
    unsigned taken;
    int taken_fd; /* kept open when keep */
    bool keep;
    uint8_t preface[CBX_LANE_PREFACE], seen[CBX_LANE_PREFACE];
};

static enum direct_verdict
on_took(void *arg, int fd, const uint8_t preface[CBX_LANE_PREFACE])
{
    struct fixture *f = arg;
    f->taken++;
    memcpy(f->seen, preface, sizeof f->seen);
    if (f->keep)
        f->taken_fd = fd;
    else
        close(fd);
    return f->verdict;
}

static void
begin(struct fixture *f, const char *where)
{
    struct cbx_error error = {""};
    f->listener = direct_listener_new(f->loop, where, on_took, f, &error);
    assert_non_null(f->listener);
}

static int
set_up(void **state)
{
    struct fixture *f = test_calloc(1, sizeof *f);
    struct cbx_lane_ticket ticket;
    f->loop = ev_loop_new(EVFLAG_AUTO);
    f->verdict = DIRECT_PROVEN;
    f->taken_fd = -1;
    cbx_lane_ticket_make(&ticket, CBX_CIPHER_CHACHA20POLY1305);
    cbx_lane_preface(&ticket, f->preface);
    *state = f;
    return f->loop ? 0 : -1;
}

static int
tear_down(void **state)
{
    struct fixture *f = *state;
    direct_listener_free(f->listener);
    if (f->taken_fd >= 0)
        close(f->taken_fd);
    ev_loop_destroy(f->loop);
    test_free(f);
    return 0;
}

static long
counter(struct fixture *f, const char *name)
{
    json_t *object = direct_listener_json(f->listener);
    assert_non_null(object);
    const json_t *value = json_object_get(object, name);
    assert_true(json_is_integer(value));
    long number = (long)json_integer_value(value);
    json_decref(object);
    return number;
}

static int
socket_of(uint8_t last)
{
    struct sockaddr_in from = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(0x7f000000U + last)};
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    assert_true(fd >= 0);
    assert_int_equal(bind(fd, (struct sockaddr *)&from, sizeof from), 0);
    assert_int_equal(setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &(int){1}, sizeof(int)), 0);
    return fd;
}

static void
connect_it(struct fixture *f, int fd)
{
    struct sockaddr_in to = {.sin_family = AF_INET,
                             .sin_port = htons(direct_listener_port(f->listener)),
                             .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    assert_int_equal(connect(fd, (struct sockaddr *)&to, sizeof to), 0);
}

/* From 127.0.0.LAST. */
static int
client(struct fixture *f, uint8_t last)
{
    int fd = socket_of(last);
    connect_it(f, fd);
    return fd;
}

static void
say(int fd, const void *bytes, size_t length)
{
    assert_int_equal(send(fd, bytes, length, MSG_NOSIGNAL), length);
}

/* Whether it was closed; in any case not a byte was said. */
static bool
closed(int fd)
{
    uint8_t byte;
    ssize_t got = recv(fd, &byte, 1, MSG_DONTWAIT);
    assert_true(got <= 0);
    assert_true(got == 0 || errno == EAGAIN || errno == ECONNRESET);
    return got == 0 || errno == ECONNRESET;
}

static void
a_whole_preface_is_handed_out(void **state)
{
    struct fixture *f = *state;
    char byte = 0;
    begin(f, "127.0.0.1:0");
    f->keep = true;
    int fd = client(f, 1);
    say(fd, f->preface, sizeof f->preface);
    say(fd, "x", 1); /* what comes behind it stays in the socket */
    eventually(f, f->taken == 1);
    assert_memory_equal(f->seen, f->preface, sizeof f->seen);
    assert_int_equal(recv(f->taken_fd, &byte, 1, MSG_DONTWAIT), 1);
    assert_int_equal(byte, 'x');
    assert_false(closed(fd));
    assert_int_equal(counter(f, "proven"), 1);
    assert_int_equal(counter(f, "waiting"), 0);
    close(fd);
}

static void
a_preface_in_pieces_is_put_together(void **state)
{
    struct fixture *f = *state;
    begin(f, "127.0.0.1:0");
    int fd = client(f, 1);
    for (size_t i = 0; i < sizeof f->preface; i++) {
        assert_int_equal(f->taken, 0);
        say(fd, f->preface + i, 1);
        turn(f->loop);
    }
    eventually(f, f->taken == 1);
    assert_memory_equal(f->seen, f->preface, sizeof f->seen);
    close(fd);
}

static void
verdicts_are_counted(void **state)
{
    static const char *const names[] = {"proven", "repeated", "refused"};
    struct fixture *f = *state;
    begin(f, "127.0.0.1:0");
    for (int i = 0; i < 3; i++) {
        f->verdict = (enum direct_verdict)i;
        int fd = client(f, 1);
        say(fd, f->preface, sizeof f->preface);
        eventually(f, closed(fd));
        close(fd);
    }
    for (int i = 0; i < 3; i++)
        assert_int_equal(counter(f, names[i]), 1);
    assert_int_equal(counter(f, "accepted"), 3);
}

static void
what_is_no_preface_is_closed_without_a_word(void **state)
{
    static const char *const words[] = {"GET / HTTP/1.1\r\n\r\n", "SSH-2.0-x\r\n", "\x16\x03\x01"};
    struct fixture *f = *state;
    begin(f, "127.0.0.1:0");
    for (size_t i = 0; i < sizeof words / sizeof words[0]; i++) {
        int fd = client(f, 1);
        say(fd, words[i], strlen(words[i]));
        eventually(f, closed(fd));
        close(fd);
    }
    /* The same while it waits: once 64 bytes are there. */
    uint8_t junk[CBX_LANE_PREFACE] = {1};
    int fd = client(f, 1);
    turn(f->loop);
    say(fd, junk, sizeof junk);
    eventually(f, closed(fd));
    close(fd);
    assert_int_equal(counter(f, "refused"), 4);
    assert_int_equal(f->taken, 0);
}

static void
an_early_end_is_refused(void **state)
{
    struct fixture *f = *state;
    begin(f, "127.0.0.1:0");
    for (size_t length = 0; length < sizeof f->preface; length += 21) {
        int fd = client(f, 1);
        turn(f->loop);
        if (length > 0)
            say(fd, f->preface, length);
        close(fd);
        turn(f->loop);
    }
    eventually(f, counter(f, "refused") == 4);
    assert_int_equal(counter(f, "waiting"), 0);
    assert_int_equal(f->taken, 0);
}

static void
silence_ends_after_3_seconds(void **state)
{
    struct fixture *f = *state;
    begin(f, "127.0.0.1:0");
    int silent = client(f, 1), slow = client(f, 2);
    say(slow, f->preface, 40);
    eventually(f, counter(f, "waiting") == 2);
    fake_now += 3 * SECOND - 1;
    pass_time(f->loop, TICK_S);
    assert_int_equal(counter(f, "waiting"), 2);
    fake_now += 1;
    pass_time(f->loop, TICK_S);
    assert_true(closed(silent));
    assert_true(closed(slow));
    assert_int_equal(counter(f, "silent"), 2);
    assert_int_equal(counter(f, "waiting"), 0);
    close(silent);
    close(slow);
}

static void
one_address_has_8_places_and_the_oldest_goes(void **state)
{
    struct fixture *f = *state;
    int fd[DIRECT_WAITING_PER_ADDRESS + 2];
    begin(f, "127.0.0.1:0");
    int bystander = client(f, 9);
    eventually(f, counter(f, "waiting") == 1);
    for (int i = 0; i < DIRECT_WAITING_PER_ADDRESS + 2; i++) {
        fd[i] = client(f, 1);
        turn(f->loop);
    }
    eventually(f, closed(fd[0]) && closed(fd[1]));
    for (int i = 2; i < DIRECT_WAITING_PER_ADDRESS + 2; i++)
        assert_false(closed(fd[i]));
    assert_false(closed(bystander));
    assert_int_equal(counter(f, "crowded"), 2);
    assert_int_equal(counter(f, "waiting"), DIRECT_WAITING_PER_ADDRESS + 1);
    for (int i = 0; i < DIRECT_WAITING_PER_ADDRESS + 2; i++)
        close(fd[i]);
    close(bystander);
}

static void
all_have_64_places_and_the_oldest_goes(void **state)
{
    struct fixture *f = *state;
    int fd[DIRECT_WAITING_MAX + 1];
    begin(f, "127.0.0.1:0");
    for (int i = 0; i <= DIRECT_WAITING_MAX; i++) {
        fd[i] = client(f, (uint8_t)(1 + i % 16));
        turn(f->loop);
    }
    eventually(f, closed(fd[0]));
    for (int i = 1; i <= DIRECT_WAITING_MAX; i++)
        assert_false(closed(fd[i]));
    assert_int_equal(counter(f, "waiting"), DIRECT_WAITING_MAX);
    assert_int_equal(counter(f, "crowded"), 1);
    /* A peer's preface comes with its first packet: it needs no place, and nobody goes for it. */
    int peer = client(f, 1);
    say(peer, f->preface, sizeof f->preface);
    eventually(f, f->taken == 1);
    assert_int_equal(counter(f, "crowded"), 1);
    close(peer);
    for (int i = 0; i <= DIRECT_WAITING_MAX; i++)
        close(fd[i]);
}

static void
strangers_leave_nothing_behind(void **state)
{
    struct fixture *f = *state;
    begin(f, "127.0.0.1:0");
    turn(f->loop);
    unsigned before = open_descriptors();
    for (int i = 0; i < 500; i++) {
        uint8_t noise[100];
        for (size_t at = 0; at < sizeof noise; at++)
            noise[at] = (uint8_t)(i * 31 + (int)at * 7);
        int fd = client(f, (uint8_t)(1 + i % 3));
        if (i % 5 > 0)
            say(fd, noise, (size_t)(i % 5) * 25);
        if (i % 2)
            turn(f->loop);
        close(fd);
    }
    eventually(f, counter(f, "accepted") == 500);
    fake_now += 4 * SECOND;
    pass_time(f->loop, TICK_S);
    assert_int_equal(open_descriptors(), before);
    assert_int_equal(counter(f, "accepted"), 500);
    assert_int_equal(counter(f, "refused") + counter(f, "crowded") + counter(f, "silent"), 500);
    assert_int_equal(f->taken, 0);
}

/* Uses up all descriptors; how many those were. */
static size_t
fill(int fd, int *filler)
{
    size_t count = 0;
    while (count < FILLERS_MAX && (filler[count] = dup(fd)) >= 0)
        count++;
    assert_true(count < FILLERS_MAX);
    return count;
}

static void
without_a_free_descriptor_strangers_are_closed_and_peers_come_later(void **state)
{
    static int filler[FILLERS_MAX];
    struct fixture *f = *state;
    struct rlimit limit, low;
    if (runs_slowly())
        skip_because("valgrind has limits of descriptors of its own");
    begin(f, "127.0.0.1:0");
    int early = socket_of(1), late = socket_of(1);
    assert_int_equal(getrlimit(RLIMIT_NOFILE, &limit), 0);
    low = (struct rlimit){.rlim_cur = 256, .rlim_max = limit.rlim_max};
    assert_int_equal(setrlimit(RLIMIT_NOFILE, &low), 0);
    turn(f->loop);
    size_t filled = fill(early, filler);
    connect_it(f, early);
    eventually(f, counter(f, "exhausted") == 1);
    bool was_closed = closed(early);
    while (filled > 0)
        close(filler[--filled]);
    assert_int_equal(setrlimit(RLIMIT_NOFILE, &limit), 0);
    assert_true(was_closed);
    assert_int_equal(counter(f, "exhausted"), 1);
    assert_int_equal(counter(f, "accepted"), 0);
    connect_it(f, late);
    say(late, f->preface, sizeof f->preface);
    pass_time(f->loop, TICK_S);
    assert_int_equal(f->taken, 1);
    close(early);
    close(late);
}

static void
the_last_descriptors_are_not_for_strangers(void **state)
{
    static int filler[FILLERS_MAX];
    struct fixture *f = *state;
    struct rlimit limit, low;
    if (runs_slowly())
        skip_because("valgrind has limits of descriptors of its own");
    begin(f, "127.0.0.1:0");
    int fd = socket_of(1);
    assert_int_equal(getrlimit(RLIMIT_NOFILE, &limit), 0);
    low = (struct rlimit){.rlim_cur = 256, .rlim_max = limit.rlim_max};
    assert_int_equal(setrlimit(RLIMIT_NOFILE, &low), 0);
    turn(f->loop);
    size_t filled = fill(fd, filler);
    for (int i = 0; i < 16; i++)
        close(filler[--filled]); /* of the 32 that are kept back */
    connect_it(f, fd);
    eventually(f, counter(f, "exhausted") == 1);
    bool was_closed = closed(fd);
    while (filled > 0)
        close(filler[--filled]);
    assert_int_equal(setrlimit(RLIMIT_NOFILE, &limit), 0);
    assert_true(was_closed);
    assert_int_equal(counter(f, "exhausted"), 1);
    close(fd);
}

static void
auto_listens_on_every_address(void **state)
{
    struct fixture *f = *state;
    begin(f, "auto");
    assert_in_range(direct_listener_port(f->listener), 1024, 65535);
    bool six = strcmp(direct_listener_bound(f->listener), "::") == 0;
    assert_true(six || strcmp(direct_listener_bound(f->listener), "0.0.0.0") == 0);
    int fd = client(f, 1);
    say(fd, f->preface, sizeof f->preface);
    eventually(f, f->taken == 1);
    close(fd);
    struct sockaddr_in6 to = {.sin6_family = AF_INET6,
                              .sin6_port = htons(direct_listener_port(f->listener)),
                              .sin6_addr = IN6ADDR_LOOPBACK_INIT};
    fd = six ? socket(AF_INET6, SOCK_STREAM | SOCK_CLOEXEC, 0) : -1;
    if (fd >= 0 && connect(fd, (struct sockaddr *)&to, sizeof to) == 0) {
        say(fd, f->preface, sizeof f->preface);
        eventually(f, f->taken == 2);
    }
    if (fd >= 0)
        close(fd);
}

static void
an_address_that_cannot_be_had_is_an_error(void **state)
{
    static const char *const wrong[] = {
        "127.0.0.1", "localhost:4000", "192.0.2.1:4000", "[2001:db8::77]:4000", "on", ""};
    struct fixture *f = *state;
    char taken[32];
    struct cbx_error error = {""};
    begin(f, "127.0.0.1:0");
    assert_true(snprintf(taken, sizeof taken, "127.0.0.1:%u", direct_listener_port(f->listener)) >
                0);
    assert_null(direct_listener_new(f->loop, taken, on_took, f, &error));
    assert_non_null(strstr(error.text, "--direct"));
    for (size_t i = 0; i < sizeof wrong / sizeof wrong[0]; i++) {
        error.text[0] = '\0';
        assert_null(direct_listener_new(f->loop, wrong[i], on_took, f, &error));
        assert_non_null(strstr(error.text, "--direct"));
    }
}

#define WITH(test) cmocka_unit_test_setup_teardown(test, set_up, tear_down)

int
main(void)
{
    const struct CMUnitTest tests[] = {
        WITH(a_whole_preface_is_handed_out),
        WITH(a_preface_in_pieces_is_put_together),
        WITH(verdicts_are_counted),
        WITH(what_is_no_preface_is_closed_without_a_word),
        WITH(an_early_end_is_refused),
        WITH(silence_ends_after_3_seconds),
        WITH(one_address_has_8_places_and_the_oldest_goes),
        WITH(all_have_64_places_and_the_oldest_goes),
        WITH(strangers_leave_nothing_behind),
        WITH(without_a_free_descriptor_strangers_are_closed_and_peers_come_later),
        WITH(the_last_descriptors_are_not_for_strangers),
        WITH(auto_listens_on_every_address),
        WITH(an_address_that_cannot_be_had_is_an_error),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
