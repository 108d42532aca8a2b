/* SPDX-License-Identifier: MIT */
/* The acceptor on unix sockets, with errors put before accept4 and a clock of the test's own. */
#include "common/base/clock.h"
#include "common/os/accept.h"
#include "loop_fixture.h"
#include "skip.h"
#include "slow.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <sys/un.h>
#include <unistd.h>

enum { SECOND = 1000000, CLIENTS = 200, FILLERS_MAX = 512 };

static int64_t fake_now = SECOND;
static int fail_next[8]; /* what accept4 says first; 0: ends the list */

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

/* The C library's own has a union for its address. */
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wpedantic"
int
accept4(int fd, struct sockaddr *addr, socklen_t *addr_len, int flags)
{
    int code = fail_next[0];
    if (code == 0)
        return (int)syscall(SYS_accept4, fd, addr, addr_len, flags);
    memmove(fail_next, fail_next + 1, sizeof fail_next - sizeof *fail_next);
    errno = code;
    return -1;
}
#pragma GCC diagnostic pop

struct fixture {
    struct ev_loop *loop;
    struct cbx_acceptor acceptor;
    struct sockaddr_un address;
    socklen_t address_size;
    bool full;
    uint32_t promised;
    unsigned taken, turned_away, paused, said;
    int cause; /* of the last pause */
    bool from_seen;
};

static void
on_take(void *arg, int fd, const struct sockaddr *from)
{
    struct fixture *f = arg;
    f->taken++;
    f->from_seen = from->sa_family == AF_UNIX;
    close(fd);
}

static bool
is_full(void *arg)
{
    const struct fixture *f = arg;
    return f->full;
}

static uint32_t
promised(void *arg)
{
    const struct fixture *f = arg;
    return f->promised;
}

static void
on_paused(void *arg, int cause, bool say)
{
    struct fixture *f = arg;
    f->paused++;
    f->cause = cause;
    f->said += say;
}

static void
on_turned_away(void *arg)
{
    struct fixture *f = arg;
    f->turned_away++;
}

static const struct cbx_acceptor_ops waiting_ops = {.use = CBX_DESCRIPTORS_CLIENTS,
                                                    .take = on_take,
                                                    .full = is_full,
                                                    .promised = promised,
                                                    .paused = on_paused};
static const struct cbx_acceptor_ops closing_ops = {.use = CBX_DESCRIPTORS_CLIENTS,
                                                    .take = on_take,
                                                    .paused = on_paused,
                                                    .turned_away = on_turned_away};

/* An abstract address of the system's choice. */
static void
begin(struct fixture *f, const struct cbx_acceptor_ops *ops)
{
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    assert_true(fd >= 0);
    f->address.sun_family = AF_UNIX;
    f->address_size = sizeof f->address;
    assert_int_equal(bind(fd, (struct sockaddr *)&f->address, sizeof(sa_family_t)), 0);
    assert_int_equal(getsockname(fd, (struct sockaddr *)&f->address, &f->address_size), 0);
    assert_int_equal(listen(fd, CLIENTS), 0);
    cbx_acceptor_start(&f->acceptor, f->loop, fd, ops, f);
}

static int
set_up(void **state)
{
    struct fixture *f = test_calloc(1, sizeof *f);
    memset(fail_next, 0, sizeof fail_next);
    f->loop = ev_loop_new(EVFLAG_AUTO);
    *state = f;
    return f->loop ? 0 : -1;
}

static int
tear_down(void **state)
{
    struct fixture *f = *state;
    cbx_acceptor_stop(&f->acceptor);
    cbx_acceptor_stop(&f->acceptor);
    ev_loop_destroy(f->loop);
    test_free(f);
    return 0;
}

static int
client(struct fixture *f)
{
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    assert_true(fd >= 0);
    assert_int_equal(connect(fd, (struct sockaddr *)&f->address, f->address_size), 0);
    return fd;
}

static bool
closed(int fd)
{
    char byte;
    return recv(fd, &byte, 1, MSG_DONTWAIT) == 0;
}

static void
one_turn(struct fixture *f)
{
    (void)ev_run(f->loop, EVRUN_NOWAIT);
}

static void
a_clients_own_fault_holds_up_nobody(void **state)
{
    static const int codes[] = {EINTR,       ECONNABORTED, EPERM,        EPROTO, ENETDOWN,
                                ENETUNREACH, EHOSTDOWN,    EHOSTUNREACH, ENONET, ENOPROTOOPT};
    struct fixture *f = *state;
    begin(f, &waiting_ops);
    for (size_t i = 0; i < sizeof codes / sizeof *codes; i++) {
        int fd = client(f);
        fail_next[0] = fail_next[1] = codes[i];
        one_turn(f);
        assert_int_equal(f->taken, i + 1);
        close(fd);
    }
    assert_true(f->from_seen);
    assert_int_equal(f->paused, 0);
}

static void
exhaustion_pauses_and_is_told_once_a_minute(void **state)
{
    static const int codes[] = {EMFILE, ENFILE, ENOBUFS, ENOMEM};
    struct fixture *f = *state;
    begin(f, &waiting_ops);
    int fd = client(f);
    for (size_t i = 0; i < 4; i++) {
        fail_next[0] = codes[i];
        eventually(f, f->paused == i + 1);
        assert_int_equal(f->cause, codes[i]);
        one_turn(f);
        assert_int_equal(f->paused, i + 1); /* not polled on */
        fake_now += SECOND;
    }
    assert_int_equal(f->said, 1);
    assert_int_equal(f->taken, 0);
    fake_now += 57 * SECOND; /* the minute is over */
    fail_next[0] = EMFILE;
    eventually(f, f->paused == 5);
    assert_int_equal(f->said, 2);
    eventually(f, f->taken == 1);
    close(fd);
}

static void
a_full_owner_lets_clients_wait(void **state)
{
    struct fixture *f = *state;
    begin(f, &waiting_ops);
    f->full = true;
    int fd = client(f);
    one_turn(f);
    assert_int_equal(f->paused, 1);
    assert_int_equal(f->cause, CBX_ACCEPT_FULL);
    assert_int_equal(f->said, 1);
    assert_false(closed(fd));
    f->full = false;
    fail_next[0] = EMFILE; /* another cause is told by itself */
    eventually(f, f->taken == 1);
    assert_int_equal(f->said, 2);
    close(fd);
}

static void
what_is_promised_counts_as_used(void **state)
{
    struct fixture *f = *state;
    begin(f, &waiting_ops);
    f->promised = UINT32_MAX;
    int fd = client(f);
    one_turn(f);
    assert_int_equal(f->cause, EMFILE);
    assert_int_equal(f->taken, 0);
    f->promised = 0;
    eventually(f, f->taken == 1);
    close(fd);
}

static void
a_flood_leaves_others_their_turn(void **state)
{
    static int fds[CLIENTS];
    struct fixture *f = *state;
    begin(f, &waiting_ops);
    for (int i = 0; i < CLIENTS; i++)
        fds[i] = client(f);
    one_turn(f);
    assert_in_range(f->taken, 1, CLIENTS / 2);
    eventually(f, f->taken == CLIENTS);
    for (int i = 0; i < CLIENTS; i++)
        close(fds[i]);
}

static void
who_is_not_to_wait_is_closed_even_without_a_descriptor(void **state)
{
    static int filler[FILLERS_MAX];
    struct fixture *f = *state;
    struct rlimit limit;
    size_t filled = 0;
    if (runs_slowly())
        skip_because("valgrind has limits of descriptors of its own");
    begin(f, &closing_ops);
    one_turn(f);
    int fd = client(f);
    assert_int_equal(getrlimit(RLIMIT_NOFILE, &limit), 0);
    struct rlimit low = {.rlim_cur = 256, .rlim_max = limit.rlim_max};
    assert_int_equal(setrlimit(RLIMIT_NOFILE, &low), 0);
    while (filled < FILLERS_MAX && (filler[filled] = dup(fd)) >= 0)
        filled++;
    one_turn(f);
    bool last = closed(fd);
    unsigned at_last = f->turned_away;
    for (int i = 0; i < 8; i++)
        close(filler[--filled]); /* of those that are kept back */
    close(fd);
    fd = client(f);
    eventually(f, closed(fd)); /* it paused, since it cannot see that nobody else waits */
    while (filled > 0)
        close(filler[--filled]);
    assert_int_equal(setrlimit(RLIMIT_NOFILE, &limit), 0);
    assert_true(last);
    assert_int_equal(at_last, 1);
    assert_int_equal(f->turned_away, 2);
    assert_int_equal(f->taken, 0);
    close(fd);
}

static void
when_even_the_spare_does_not_help_accepting_pauses(void **state)
{
    struct fixture *f = *state;
    begin(f, &closing_ops);
    int fd = client(f);
    fail_next[0] = fail_next[1] = ENFILE;
    one_turn(f);
    assert_int_equal(f->turned_away, 0);
    assert_int_equal(f->paused, 1);
    eventually(f, f->taken == 1);
    close(fd);
}

static void
stopping_leaves_nothing_open(void **state)
{
    struct fixture *f = *state;
    one_turn(f);
    unsigned before = open_descriptors();
    begin(f, &closing_ops);
    one_turn(f);
    cbx_acceptor_stop(&f->acceptor);
    assert_int_equal(open_descriptors(), before);
    begin(f, &waiting_ops);
    fail_next[0] = EMFILE;
    int fd = client(f);
    one_turn(f);
    cbx_acceptor_stop(&f->acceptor); /* while it pauses */
    close(fd);
    assert_int_equal(open_descriptors(), before);
}

static void
without_a_socket_there_is_nothing_to_do(void **state)
{
    struct fixture *f = *state;
    cbx_acceptor_start(&f->acceptor, f->loop, -1, &closing_ops, f);
    one_turn(f);
    assert_int_equal(f->taken + f->paused, 0);
}

#define WITH(test) cmocka_unit_test_setup_teardown(test, set_up, tear_down)

int
main(void)
{
    const struct CMUnitTest tests[] = {
        WITH(a_clients_own_fault_holds_up_nobody),
        WITH(exhaustion_pauses_and_is_told_once_a_minute),
        WITH(a_full_owner_lets_clients_wait),
        WITH(what_is_promised_counts_as_used),
        WITH(a_flood_leaves_others_their_turn),
        WITH(who_is_not_to_wait_is_closed_even_without_a_descriptor),
        WITH(when_even_the_spare_does_not_help_accepting_pauses),
        WITH(stopping_leaves_nothing_open),
        WITH(without_a_socket_there_is_nothing_to_do),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
