/* SPDX-License-Identifier: MIT */
/* The hub's end of attach, with everything that a message can have wrong. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "hub/login/attach.h"
#include "hub/login/attach_carrier.h"
#include "hub/login/attach_server.h"
#include "loop_fixture.h"
#include "scratch.h"
#include <ev.h>
#include <fcntl.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

struct fixture {
    char folder[SCRATCH_MAX];
    struct ev_loop *loop;
    struct attach_server *server;
    struct cbx_carrier *carrier; /* of the last log-in */
    uint64_t connection;
    char fingerprint[CBX_FINGERPRINT_TEXT_MAX];
    unsigned attached, detached;
    int to_hub[2], from_hub[2]; /* as sshd makes them */
    int socket;
};

static void
on_attached(void *arg, uint64_t connection, const char *fingerprint, struct cbx_carrier *carrier)
{
    struct fixture *fixture = arg;

    fixture->attached++;
    fixture->connection = connection;
    fixture->carrier = carrier;
    (void)snprintf(fixture->fingerprint, sizeof fixture->fingerprint, "%s", fingerprint);
}

static void
on_detached(void *arg, uint64_t connection)
{
    struct fixture *fixture = arg;

    assert_int_equal(connection, fixture->connection);
    fixture->detached++;
}

static const struct attach_server_ops ops = {.attached = on_attached, .detached = on_detached};

static int
connect_socket(const struct fixture *fixture)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    int fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0);

    assert_true(fd >= 0);
    (void)snprintf(address.sun_path, sizeof address.sun_path, "%s/attach.sock", fixture->folder);
    assert_int_equal(connect(fd, (const struct sockaddr *)(const void *)&address, sizeof address),
                     0);
    return fd;
}

static int
setup(void **state)
{
    struct fixture *fixture = calloc(1, sizeof *fixture);

    if (fixture == NULL)
        return 1;
    fixture->loop = ev_loop_new(EVFLAG_AUTO);
    if (!scratch_folder("attach", fixture->folder) || fixture->loop == NULL)
        return 1;
    fixture->server = attach_server_new(fixture->loop, fixture->folder, &ops, fixture, NULL);
    if (fixture->server == NULL || pipe2(fixture->to_hub, O_CLOEXEC) != 0 ||
        pipe2(fixture->from_hub, O_CLOEXEC) != 0)
        return 1;
    fixture->socket = connect_socket(fixture);
    *state = fixture;
    return 0;
}

static int
teardown(void **state)
{
    struct fixture *fixture = *state;

    if (fixture->carrier != NULL)
        fixture->carrier->ops->close(fixture->carrier);
    attach_server_free(fixture->server);
    for (int i = 0; i < 2; i++) {
        (void)close(fixture->to_hub[i]);
        (void)close(fixture->from_hub[i]);
    }
    if (fixture->socket >= 0)
        (void)close(fixture->socket);
    ev_loop_destroy(fixture->loop);
    assert_true(scratch_end(fixture->folder, NULL)); /* nothing is left in there */
    free(fixture);
    return 0;
}

static struct attach_message
sound_message(void)
{
    struct attach_message message = {
        .magic = ATTACH_MAGIC,
        .connection = 42,
        .fingerprint = "SHA256:AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA",
    };

    return message;
}

static void
send_with(struct fixture *fixture, const void *bytes, size_t length, const int *fds, size_t count)
{
    struct iovec vector = {.iov_base = (void *)(uintptr_t)bytes, .iov_len = length};
    union {
        struct cmsghdr align;
        char bytes[CMSG_SPACE(16 * sizeof(int))];
    } control = {.bytes = {0}};
    struct msghdr header = {.msg_iov = &vector, .msg_iovlen = 1};

    if (count > 0) {
        header.msg_control = control.bytes;
        header.msg_controllen = CMSG_SPACE(count * sizeof(int));
        struct cmsghdr *cmsg = CMSG_FIRSTHDR(&header);
        cmsg->cmsg_level = SOL_SOCKET;
        cmsg->cmsg_type = SCM_RIGHTS;
        cmsg->cmsg_len = CMSG_LEN(count * sizeof(int));
        memcpy(CMSG_DATA(cmsg), fds, count * sizeof(int));
    }
    assert_int_equal(sendmsg(fixture->socket, &header, MSG_NOSIGNAL), length);
    turn(fixture->loop);
}

static void
send_sound(struct fixture *fixture)
{
    struct attach_message message = sound_message();
    const int fds[2] = {fixture->to_hub[0], fixture->from_hub[1]};

    send_with(fixture, &message, sizeof message, fds, 2);
}

/* Refused: told nobody, counted, closed. */
static void
assert_refused(struct fixture *fixture)
{
    char byte;

    assert_int_equal(fixture->attached, 0);
    assert_int_equal(attach_server_refused(fixture->server), 1);
    assert_int_equal(recv(fixture->socket, &byte, 1, MSG_DONTWAIT), 0);
}

static void
refuse_message(void **state, const struct attach_message *message)
{
    struct fixture *fixture = *state;
    const int fds[2] = {fixture->to_hub[0], fixture->from_hub[1]};

    send_with(fixture, message, sizeof *message, fds, 2);
    assert_refused(fixture);
}

static void
refuse_descriptors(void **state, const int *fds, size_t count)
{
    struct fixture *fixture = *state;
    struct attach_message message = sound_message();

    send_with(fixture, &message, sizeof message, fds, count);
    assert_refused(fixture);
}

static void
test_a_sound_message_becomes_a_carrier(void **state)
{
    struct fixture *fixture = *state;
    char bytes[8];
    struct iovec vector = {.iov_base = (char[]){"pong"}, .iov_len = 4};

    send_sound(fixture);
    assert_int_equal(fixture->attached, 1);
    assert_int_equal(fixture->connection, 42);
    assert_string_equal(fixture->fingerprint, sound_message().fingerprint);
    struct cbx_carrier *carrier = fixture->carrier;
    assert_int_equal(carrier->ops->read(carrier, bytes, sizeof bytes), CBX_ERR_AGAIN);
    assert_int_equal(write(fixture->to_hub[1], "ping", 4), 4);
    assert_int_equal(carrier->ops->read(carrier, bytes, sizeof bytes), 4);
    assert_memory_equal(bytes, "ping", 4);
    assert_int_equal(carrier->ops->writev(carrier, &vector, 1), 4);
    assert_int_equal(read(fixture->from_hub[0], bytes, sizeof bytes), 4);
    assert_memory_equal(bytes, "pong", 4);
}

static void
test_closing_the_carrier_ends_attach_and_is_reported(void **state)
{
    struct fixture *fixture = *state;
    char byte;

    send_sound(fixture);
    assert_non_null(fixture->carrier);
    fixture->carrier->ops->close(fixture->carrier);
    fixture->carrier = NULL;
    assert_int_equal(fixture->detached, 1);
    assert_int_equal(recv(fixture->socket, &byte, 1, MSG_DONTWAIT), 0);
}

static void
test_a_carrier_outlives_its_server(void **state)
{
    struct fixture *fixture = *state;

    send_sound(fixture);
    attach_server_free(fixture->server);
    fixture->server = NULL;
    assert_non_null(fixture->carrier);
    fixture->carrier->ops->close(fixture->carrier);
    fixture->carrier = NULL;
    assert_int_equal(fixture->detached, 0);
}

static void
test_another_magic_is_refused(void **state)
{
    struct attach_message message = sound_message();

    message.magic[6] = '2';
    refuse_message(state, &message);
}

static void
test_connection_zero_is_refused(void **state)
{
    struct attach_message message = sound_message();

    message.connection = 0;
    refuse_message(state, &message);
}

static void
test_a_fingerprint_without_an_end_is_refused(void **state)
{
    struct attach_message message = sound_message();

    memset(message.fingerprint + 7, 'A', sizeof message.fingerprint - 7);
    refuse_message(state, &message);
}

static void
test_bytes_behind_the_fingerprint_are_refused(void **state)
{
    struct attach_message message = sound_message();

    message.fingerprint[sizeof message.fingerprint - 1] = 'x';
    refuse_message(state, &message);
}

static void
test_another_kind_of_fingerprint_is_refused(void **state)
{
    struct attach_message message = sound_message();

    memcpy(message.fingerprint, "MD5:aa:", 7);
    refuse_message(state, &message);
}

static void
test_a_short_message_is_refused(void **state)
{
    struct fixture *fixture = *state;
    struct attach_message message = sound_message();
    const int fds[2] = {fixture->to_hub[0], fixture->from_hub[1]};

    send_with(fixture, &message, sizeof message - 1, fds, 2);
    assert_refused(fixture);
}

static void
test_a_long_message_is_refused(void **state)
{
    struct fixture *fixture = *state;
    char bytes[sizeof(struct attach_message) + 1] = {0};
    struct attach_message message = sound_message();
    const int fds[2] = {fixture->to_hub[0], fixture->from_hub[1]};

    memcpy(bytes, &message, sizeof message);
    send_with(fixture, bytes, sizeof bytes, fds, 2);
    assert_refused(fixture);
}

static void
test_no_descriptors_are_refused(void **state)
{
    refuse_descriptors(state, NULL, 0);
}

static void
test_one_descriptor_is_refused(void **state)
{
    struct fixture *fixture = *state;

    refuse_descriptors(state, &fixture->to_hub[0], 1);
}

static void
test_three_descriptors_are_refused(void **state)
{
    struct fixture *fixture = *state;
    const int fds[3] = {fixture->to_hub[0], fixture->from_hub[1], fixture->to_hub[0]};

    refuse_descriptors(state, fds, 3);
}

static void
test_more_descriptors_than_are_read_are_refused_and_closed(void **state)
{
    struct fixture *fixture = *state;
    int fds[16];

    for (int i = 0; i < 16; i++)
        fds[i] = fixture->to_hub[0];
    refuse_descriptors(state, fds, 16);
}

static void
test_pipes_the_wrong_way_round_are_refused(void **state)
{
    struct fixture *fixture = *state;
    const int fds[2] = {fixture->from_hub[1], fixture->to_hub[0]};

    refuse_descriptors(state, fds, 2);
}

static void
test_both_ends_of_one_pipe_are_refused(void **state)
{
    struct fixture *fixture = *state;

    refuse_descriptors(state, fixture->to_hub, 2);
}

static void
test_sockets_are_refused(void **state)
{
    int pair[2];

    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM, 0, pair), 0);
    refuse_descriptors(state, pair, 2);
    (void)close(pair[0]);
    (void)close(pair[1]);
}

static void
test_one_that_leaves_without_a_message_is_refused(void **state)
{
    struct fixture *fixture = *state;

    turn(fixture->loop);
    (void)close(fixture->socket);
    fixture->socket = -1;
    turn(fixture->loop);
    assert_int_equal(fixture->attached, 0);
    assert_int_equal(attach_server_refused(fixture->server), 1);
}

static void
test_only_so_many_may_wait(void **state)
{
    struct fixture *fixture = *state;
    int fds[ATTACH_WAITING_MAX];

    for (int i = 0; i < ATTACH_WAITING_MAX; i++) {
        fds[i] = connect_socket(fixture);
        if (i % 16 == 0)
            turn(fixture->loop);
    }
    turn(fixture->loop);
    assert_int_equal(attach_server_refused(fixture->server), 1);
    for (int i = 0; i < ATTACH_WAITING_MAX; i++)
        (void)close(fds[i]);
}

static void
test_a_busy_pipe_is_enlarged(void **state)
{
    struct fixture *fixture = *state;
    static char bytes[16384];

    send_sound(fixture);
    assert_non_null(fixture->carrier);
    for (int i = 0; i < 80; i++) {
        assert_int_equal(write(fixture->to_hub[1], bytes, sizeof bytes), sizeof bytes);
        assert_int_equal(fixture->carrier->ops->read(fixture->carrier, bytes, sizeof bytes),
                         sizeof bytes);
    }
    /* An account that holds many pipes may be refused: then it is as it was. */
    int size = fcntl(fixture->to_hub[1], F_GETPIPE_SZ);
    assert_true(size == ATTACH_PIPE_BYTES || size <= 65536);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int
main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_a_sound_message_becomes_a_carrier),
        TEST(test_closing_the_carrier_ends_attach_and_is_reported),
        TEST(test_a_carrier_outlives_its_server),
        TEST(test_another_magic_is_refused),
        TEST(test_connection_zero_is_refused),
        TEST(test_a_fingerprint_without_an_end_is_refused),
        TEST(test_bytes_behind_the_fingerprint_are_refused),
        TEST(test_another_kind_of_fingerprint_is_refused),
        TEST(test_a_short_message_is_refused),
        TEST(test_a_long_message_is_refused),
        TEST(test_no_descriptors_are_refused),
        TEST(test_one_descriptor_is_refused),
        TEST(test_three_descriptors_are_refused),
        TEST(test_more_descriptors_than_are_read_are_refused_and_closed),
        TEST(test_pipes_the_wrong_way_round_are_refused),
        TEST(test_both_ends_of_one_pipe_are_refused),
        TEST(test_sockets_are_refused),
        TEST(test_one_that_leaves_without_a_message_is_refused),
        TEST(test_only_so_many_may_wait),
        TEST(test_a_busy_pipe_is_enlarged),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
