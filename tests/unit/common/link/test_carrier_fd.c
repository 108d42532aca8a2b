/* SPDX-License-Identifier: MIT */
#include "common/link/carrier.h"
#include "socket_fixture.h"
#include <errno.h>
#include <fcntl.h>
#include <string.h>

static struct cbx_carrier *carrier; /* over one end of a socket pair */
static int far_fd;
static int ready_count;
static bool close_when_ready;

static void
on_ready(void *arg)
{
    assert_ptr_equal(arg, &ready_count);
    ready_count++;
    if (close_when_ready) {
        carrier->ops->close(carrier);
        carrier = NULL;
    }
}

static int
setup(void **state)
{
    (void)state;
    int fd[2];
    if (!socket_pair(fd, 0))
        return -1;
    far_fd = fd[1];
    carrier = cbx_carrier_fd(loop, fd[0], fd[0]);
    if (!carrier)
        return -1;
    carrier->ready = on_ready;
    carrier->arg = &ready_count;
    ready_count = 0;
    close_when_ready = false;
    return 0;
}

static int
teardown(void **state)
{
    (void)state;
    if (carrier)
        carrier->ops->close(carrier);
    if (far_fd >= 0)
        close(far_fd);
    return 0;
}

static void
turn(void)
{
    ev_run(loop, EVRUN_NOWAIT);
}

static ssize_t
write_text(const char *text)
{
    struct iovec vector = {.iov_base = (void *)(uintptr_t)text, .iov_len = strlen(text)};
    return carrier->ops->writev(carrier, &vector, 1);
}

static void
bytes_are_read_as_they_came(void **state)
{
    (void)state;
    char bytes[16];
    assert_int_equal(write(far_fd, "hello", 5), 5);
    assert_int_equal(carrier->ops->read(carrier, bytes, 3), 3);
    assert_int_equal(carrier->ops->read(carrier, bytes + 3, 13), 2);
    assert_memory_equal(bytes, "hello", 5);
}

static void
nothing_there_means_again(void **state)
{
    (void)state;
    char byte;
    assert_int_equal(carrier->ops->read(carrier, &byte, 1), CBX_ERR_AGAIN);
}

static void
vectors_are_written_in_order(void **state)
{
    (void)state;
    char a[] = "one ", b[] = "two ", c[] = "three", bytes[16];
    struct iovec vector[] = {{a, 4}, {b, 4}, {c, 5}};
    assert_int_equal(carrier->ops->writev(carrier, vector, 3), 13);
    assert_int_equal(read(far_fd, bytes, sizeof bytes), 13);
    assert_memory_equal(bytes, "one two three", 13);
}

static void
a_full_pipe_means_again_and_never_blocks(void **state)
{
    (void)state;
    static char bytes[65536];
    struct iovec vector = {bytes, sizeof bytes};
    ssize_t written = 1;
    while (written > 0)
        written = carrier->ops->writev(carrier, &vector, 1);
    assert_int_equal(written, CBX_ERR_AGAIN);
}

static void
the_far_ends_close_is_closed(void **state)
{
    (void)state;
    char bytes[8];
    assert_int_equal(write(far_fd, "last", 4), 4);
    close(far_fd);
    far_fd = -1;
    assert_int_equal(carrier->ops->read(carrier, bytes, 8), 4);
    assert_int_equal(carrier->ops->read(carrier, bytes, 8), CBX_ERR_CLOSED);
    assert_int_equal(write_text("x"), CBX_ERR_CLOSED);
}

static void
another_failure_is_an_io_error(void **state)
{
    (void)state;
    char byte;
    int folder = open("/", O_RDONLY | O_DIRECTORY);
    struct cbx_carrier *odd = cbx_carrier_fd(loop, folder, folder);
    assert_non_null(odd);
    assert_int_equal(odd->ops->read(odd, &byte, 1), CBX_ERR_IO);
    odd->ops->close(odd);
}

static void
ready_is_called_only_for_what_is_wanted(void **state)
{
    (void)state;
    assert_int_equal(write(far_fd, "x", 1), 1);
    turn();
    assert_int_equal(ready_count, 0);
    carrier->ops->want(carrier, true, false);
    turn();
    assert_int_equal(ready_count, 1);
    turn();
    assert_int_equal(ready_count, 2); /* as long as it is there */
    carrier->ops->want(carrier, false, false);
    turn();
    assert_int_equal(ready_count, 2);
    carrier->ops->want(carrier, false, true);
    turn();
    assert_int_equal(ready_count, 3);
}

static void
ready_is_never_called_from_inside_an_operation(void **state)
{
    (void)state;
    char byte;
    assert_int_equal(write(far_fd, "x", 1), 1);
    carrier->ops->want(carrier, true, true);
    write_text("y");
    carrier->ops->read(carrier, &byte, 1);
    assert_int_equal(ready_count, 0);
}

static void
it_may_be_closed_inside_ready(void **state)
{
    (void)state;
    assert_int_equal(write(far_fd, "x", 1), 1);
    close_when_ready = true;
    carrier->ops->want(carrier, true, true); /* both are pending in the same turn */
    turn();
    turn();
    assert_int_equal(ready_count, 1);
    char byte;
    assert_true(read(far_fd, &byte, 1) <= 0);
}

static void
a_carrier_without_an_owner_is_quiet(void **state)
{
    (void)state;
    carrier->ready = NULL;
    carrier->ops->want(carrier, true, true);
    turn();
}

/* As sshd has it: one pipe in, one pipe out. */
static void
two_descriptors_are_owned_and_made_non_blocking(void **state)
{
    (void)state;
    int in[2], out[2];
    char bytes[4];
    assert_int_equal(pipe(in) | pipe(out), 0);
    struct cbx_carrier *pipes = cbx_carrier_fd(loop, in[0], out[1]);
    assert_true(fcntl(in[0], F_GETFL) & O_NONBLOCK);
    assert_true(fcntl(out[1], F_GETFL) & O_NONBLOCK);
    assert_int_equal(write(in[1], "abcd", 4), 4);
    assert_int_equal(pipes->ops->read(pipes, bytes, 4), 4);
    struct iovec vector = {bytes, 4};
    assert_int_equal(pipes->ops->writev(pipes, &vector, 1), 4);
    assert_int_equal(read(out[0], bytes, 4), 4);
    pipes->ops->close(pipes);
    assert_int_equal(fcntl(in[0], F_GETFD), -1);
    assert_int_equal(fcntl(out[1], F_GETFD), -1);
    close(in[1]);
    close(out[0]);
}

#define CARRIER_TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int
main(void)
{
    const struct CMUnitTest tests[] = {
        CARRIER_TEST(bytes_are_read_as_they_came),
        CARRIER_TEST(nothing_there_means_again),
        CARRIER_TEST(vectors_are_written_in_order),
        CARRIER_TEST(a_full_pipe_means_again_and_never_blocks),
        CARRIER_TEST(the_far_ends_close_is_closed),
        CARRIER_TEST(another_failure_is_an_io_error),
        CARRIER_TEST(ready_is_called_only_for_what_is_wanted),
        CARRIER_TEST(ready_is_never_called_from_inside_an_operation),
        CARRIER_TEST(it_may_be_closed_inside_ready),
        CARRIER_TEST(a_carrier_without_an_owner_is_quiet),
        CARRIER_TEST(two_descriptors_are_owned_and_made_non_blocking),
    };
    return cmocka_run_group_tests(tests, loop_begin, loop_end);
}
