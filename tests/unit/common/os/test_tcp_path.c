/* SPDX-License-Identifier: MIT */
/* What the kernel tells of a connection over loopback, and segments that are kept short. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "common/os/tcp_path.h"
#include "skip.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

struct pair {
    int near, far;
};

static struct pair
connect_pair(int limit)
{
    struct sockaddr_in at = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t length = sizeof at;
    int listener = socket(AF_INET, SOCK_STREAM, 0);
    struct pair pair = {.near = socket(AF_INET, SOCK_STREAM, 0)};
    assert_int_equal(bind(listener, (struct sockaddr *)&at, sizeof at), 0);
    assert_int_equal(listen(listener, 1), 0);
    assert_int_equal(getsockname(listener, (struct sockaddr *)&at, &length), 0);
    cbx_tcp_limit_segments(pair.near, limit);
    assert_int_equal(connect(pair.near, (struct sockaddr *)&at, sizeof at), 0);
    pair.far = accept(listener, NULL, NULL);
    assert_true(pair.far >= 0);
    close(listener);
    return pair;
}

static void
drop_pair(struct pair pair)
{
    close(pair.near);
    close(pair.far);
}

static void
look(int fd, struct cbx_tcp_path *path)
{
    if (!cbx_tcp_path(fd, path))
        skip_because("this system does not tell of a connection's path");
}

static void
bytes_are_counted(void **state)
{
    (void)state;
    struct cbx_tcp_path before, after;
    char bytes[3000] = {0};
    struct pair pair = connect_pair(0);
    look(pair.near, &before);
    assert_int_equal(send(pair.near, bytes, sizeof bytes, 0), sizeof bytes);
    assert_int_equal(recv(pair.far, bytes, sizeof bytes, MSG_WAITALL), sizeof bytes);
    assert_int_equal(send(pair.far, bytes, 7, 0), 7); /* carries the acknowledgement */
    assert_int_equal(recv(pair.near, bytes, 7, MSG_WAITALL), 7);
    look(pair.near, &after);
    assert_int_equal(after.acked - before.acked, sizeof bytes);
    assert_int_equal(after.received - before.received, 7);
    assert_int_equal(after.retransmits, 0);
    assert_true(after.segment > 536);
    drop_pair(pair);
}

static void
both_ends_keep_to_a_limit(void **state)
{
    (void)state;
    struct cbx_tcp_path near, far;
    struct pair pair = connect_pair(CBX_SEGMENT_SHORT);
    look(pair.near, &near);
    look(pair.far, &far);
    assert_in_range(near.segment, CBX_SEGMENT_SHORT - 40, CBX_SEGMENT_SHORT);
    assert_in_range(far.segment, CBX_SEGMENT_SHORT - 40, CBX_SEGMENT_SHORT);
    drop_pair(pair);
}

static void
what_is_no_tcp_has_no_path(void **state)
{
    (void)state;
    struct cbx_tcp_path path;
    int pipes[2];
    assert_int_equal(pipe(pipes), 0);
    assert_false(cbx_tcp_path(pipes[0], &path));
    assert_false(cbx_tcp_path(-1, &path));
    assert_int_equal(path.segment, 0);
    cbx_tcp_limit_segments(pipes[0], 1220);
    close(pipes[0]);
    close(pipes[1]);
    int local[2];
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM, 0, local), 0);
    assert_false(cbx_tcp_path(local[0], &path));
    close(local[0]);
    close(local[1]);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(bytes_are_counted),
        cmocka_unit_test(both_ends_keep_to_a_limit),
        cmocka_unit_test(what_is_no_tcp_has_no_path),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
