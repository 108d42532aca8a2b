/* SPDX-License-Identifier: MIT */
/*
 * The key that is offered to an ssh client: what is signed and what never is, and a socket whose
 * other end is not to be trusted.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "agent/uplink/ssh_agent_socket.h"
#include "scratch.h"

#include <errno.h>
#include <ev.h>
#include <poll.h>
#include <signal.h>
#include <sodium.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

static const char hostbound[] = "publickey-hostbound-v00@openssh.com";
static const uint8_t host_key[] = "what the hub shows";

static struct ssh_agent agent;
static uint8_t reply[SSH_AGENT_REPLY_MAX];

/* ---- messages ---- */

struct message {
    size_t used;
    uint8_t bytes[SSH_AGENT_REQUEST_MAX + 64];
};

static void
put_byte(struct message *message, uint8_t byte)
{
    message->bytes[message->used++] = byte;
}

static void
put_number(struct message *message, uint32_t number)
{
    for (int shift = 24; shift >= 0; shift -= 8)
        put_byte(message, (uint8_t)(number >> shift));
}

static void
put_bytes(struct message *message, const void *bytes, size_t length)
{
    put_number(message, (uint32_t)length);
    memcpy(message->bytes + message->used, bytes, length);
    message->used += length;
}

static void
put_text(struct message *message, const char *text)
{
    put_bytes(message, text, strlen(text));
}

/* A login's data as ssh would have it signed; each field can be another one. */
struct login {
    size_t session;
    const char *user, *service, *method, *algorithm;
    const uint8_t *key; /* NULL: ours */
    const char *host;   /* NULL: the pinned one; only for hostbound */
    uint8_t type, has_signature;
    bool trailing;
};
static const struct login good = {
    .session = 32,
    .type = 50,
    .user = "cbx",
    .service = "ssh-connection",
    .method = "publickey",
    .algorithm = "ssh-ed25519",
    .has_signature = 1,
};

static struct message
login_data(const struct login *login)
{
    struct message data = {0};
    uint8_t blob[CBX_SSH_BLOB_SIZE], session[128];
    memset(session, 7, sizeof session);
    cbx_ssh_blob(agent.key.public_key, blob);
    put_bytes(&data, session, login->session);
    put_byte(&data, login->type);
    put_text(&data, login->user);
    put_text(&data, login->service);
    put_text(&data, login->method);
    put_byte(&data, login->has_signature);
    put_text(&data, login->algorithm);
    put_bytes(&data, login->key != NULL ? login->key : blob, sizeof blob);
    if (strcmp(login->method, hostbound) == 0 && login->host != NULL)
        put_text(&data, login->host);
    else if (strcmp(login->method, hostbound) == 0)
        put_bytes(&data, host_key, sizeof host_key);
    if (login->trailing)
        put_byte(&data, 0);
    return data;
}

static struct message
sign_request(const uint8_t blob[CBX_SSH_BLOB_SIZE], const void *data, size_t length)
{
    struct message request = {0};
    uint8_t own[CBX_SSH_BLOB_SIZE];
    cbx_ssh_blob(agent.key.public_key, own);
    put_byte(&request, SSH_AGENT_REQUEST_SIGNATURE);
    put_bytes(&request, blob != NULL ? blob : own, CBX_SSH_BLOB_SIZE);
    put_bytes(&request, data, length);
    put_number(&request, 0);
    return request;
}

static uint8_t
ask(const struct message *request)
{
    memset(reply, 0xee, sizeof reply);
    size_t length = ssh_agent_answer(&agent, request->bytes, request->used, reply);
    assert_in_range(length, 1, sizeof reply);
    return reply[0];
}

static uint8_t
ask_login(const struct login *login)
{
    struct message data = login_data(login);
    struct message request = sign_request(NULL, data.bytes, data.used);
    return ask(&request);
}

static struct message
show_request(const void *key, size_t length)
{
    struct message request = {0};
    put_byte(&request, SSH_AGENT_EXTENSION);
    put_text(&request, SSH_AGENT_HOST_KEY);
    put_bytes(&request, key, length);
    return request;
}

static uint8_t
show(const void *key, size_t length)
{
    struct message request = show_request(key, length);
    return ask(&request);
}

static int
setup(void **state)
{
    (void)state;
    agent = (struct ssh_agent){0};
    cbx_keypair_random(&agent.key);
    (void)crypto_hash_sha256(agent.host_key_sha256, host_key, sizeof host_key);
    memcpy(agent.user, "cbx", 4);
    return 0;
}

/* ---- the answers ---- */

static void
a_login_at_the_pinned_host_is_signed(void **state)
{
    (void)state;
    const char *const methods[] = {"publickey", hostbound};
    assert_int_equal(show(host_key, sizeof host_key), SSH_AGENT_SUCCESS);
    assert_true(agent.host_key_right);
    for (size_t i = 0; i < 2; i++) {
        struct login login = good;
        login.method = methods[i];
        struct message data = login_data(&login);
        struct message request = sign_request(NULL, data.bytes, data.used);
        static const uint8_t head[] = "\0\0\0\x53\0\0\0\x0bssh-ed25519\0\0\0\x40";
        assert_int_equal(ask(&request), SSH_AGENT_SIGNATURE);
        assert_memory_equal(reply + 1, head, sizeof head - 1);
        assert_int_equal(crypto_sign_verify_detached(reply + sizeof head, data.bytes, data.used,
                                                     agent.key.public_key),
                         0);
    }
    assert_true(agent.signed_once);
    assert_int_equal(agent.refused, 0);
}

static void
the_key_is_listed_once_the_host_key_was_shown(void **state)
{
    (void)state;
    struct message list = {.used = 1, .bytes = {SSH_AGENT_REQUEST_IDENTITIES}};
    uint8_t blob[CBX_SSH_BLOB_SIZE];
    cbx_ssh_blob(agent.key.public_key, blob);
    assert_int_equal(ask(&list), SSH_AGENT_IDENTITIES);
    assert_memory_equal(reply + 1, "\0\0\0\0", 4);
    assert_false(agent.listed);
    assert_int_equal(show(host_key, sizeof host_key), SSH_AGENT_SUCCESS);
    assert_int_equal(ask(&list), SSH_AGENT_IDENTITIES);
    assert_memory_equal(reply + 1, "\0\0\0\1\0\0\0\x33", 8);
    assert_memory_equal(reply + 9, blob, sizeof blob);
    assert_memory_equal(reply + 9 + sizeof blob, "\0\0\0\3cbx", 7);
    assert_true(agent.listed);
}

static void
nothing_is_signed_before_the_host_key_was_shown(void **state)
{
    (void)state;
    assert_int_equal(ask_login(&good), SSH_AGENT_FAILURE);
    assert_false(agent.signed_once);
    assert_int_equal(agent.refused, 1);
}

static void
a_wrong_host_key_spoils_the_login_for_good(void **state)
{
    (void)state;
    uint8_t digest[32];
    assert_int_equal(show("another", 7), SSH_AGENT_EXTENSION_FAILURE);
    (void)crypto_hash_sha256(digest, (const uint8_t *)"another", 7);
    assert_memory_equal(agent.host_key_seen, digest, sizeof digest);
    assert_int_equal(show(host_key, sizeof host_key), SSH_AGENT_EXTENSION_FAILURE);
    assert_true(agent.host_key_wrong && !agent.host_key_right);
    assert_int_equal(ask_login(&good), SSH_AGENT_FAILURE);
}

/* The identity also signs certificates: a signature of anything else here could forge one. */
static void
only_our_login_is_signed(void **state)
{
    (void)state;
    uint8_t stranger[CBX_SSH_BLOB_SIZE] = {0};
    struct login cases[16];
    size_t count = 0;
    for (size_t i = 0; i < 16; i++)
        cases[i] = good;
    cases[count++].session = 19;
    cases[count++].session = 65;
    cases[count++].session = 0;
    cases[count++].type = 51;
    cases[count++].user = "root";
    cases[count++].user = "";
    cases[count++].user = "cbx2";
    cases[count++].service = "ssh-userauth";
    cases[count++].method = "hostbased";
    cases[count++].method = "";
    cases[count++].algorithm = "ssh-rsa";
    cases[count++].has_signature = 0;
    cases[count++].key = stranger;
    cases[count++].trailing = true;
    cases[count].method = hostbound;
    cases[count++].host = "another host's key";
    cases[count].method = hostbound;
    cases[count++].host = "";
    assert_int_equal(show(host_key, sizeof host_key), SSH_AGENT_SUCCESS);
    for (size_t i = 0; i < count; i++) {
        if (ask_login(&cases[i]) != SSH_AGENT_FAILURE)
            fail_msg("case %zu was signed", i);
    }
    struct message data = login_data(&good);
    struct message other_key = sign_request(stranger, data.bytes, data.used);
    assert_int_equal(ask(&other_key), SSH_AGENT_FAILURE);
    struct message nothing = sign_request(NULL, "", 0);
    assert_int_equal(ask(&nothing), SSH_AGENT_FAILURE);
    struct message trailing = sign_request(NULL, data.bytes, data.used);
    put_byte(&trailing, 0);
    assert_int_equal(ask(&trailing), SSH_AGENT_FAILURE);
    assert_false(agent.signed_once);
    assert_int_equal(agent.refused, count + 3);
    assert_int_equal(ask_login(&good), SSH_AGENT_SIGNATURE);
}

static void
other_requests_are_refused(void **state)
{
    (void)state;
    assert_int_equal(show(host_key, sizeof host_key), SSH_AGENT_SUCCESS);
    for (unsigned type = 0; type < 256; type++) {
        struct message request = {.used = 1, .bytes = {(uint8_t)type}};
        if (type != SSH_AGENT_REQUEST_IDENTITIES)
            assert_int_equal(ask(&request), SSH_AGENT_FAILURE);
    }
    struct message bind = {0};
    put_byte(&bind, SSH_AGENT_EXTENSION);
    put_text(&bind, "session-bind@openssh.com");
    put_bytes(&bind, host_key, sizeof host_key);
    assert_int_equal(ask(&bind), SSH_AGENT_FAILURE);
    struct message half = {0};
    put_byte(&half, SSH_AGENT_EXTENSION);
    put_text(&half, SSH_AGENT_HOST_KEY);
    assert_int_equal(ask(&half), SSH_AGENT_EXTENSION_FAILURE);
    assert_true(agent.host_key_right);
}

/* Every cut and every changed byte of a good request, read to the last byte under the sanitizers.
 */
static void
damaged_requests_are_refused(void **state)
{
    (void)state;
    struct message data = login_data(&good);
    struct message whole = sign_request(NULL, data.bytes, data.used);
    assert_int_equal(show(host_key, sizeof host_key), SSH_AGENT_SUCCESS);
    for (size_t cut = 0; cut < whole.used; cut++) {
        uint8_t *exact = malloc(cut + 1);
        assert_non_null(exact);
        memcpy(exact, whole.bytes, cut);
        assert_int_equal(ssh_agent_answer(&agent, exact, cut, reply), 1);
        assert_int_equal(reply[0], SSH_AGENT_FAILURE);
        free(exact);
    }
    size_t flags = whole.used - 4, session = 1 + 4 + CBX_SSH_BLOB_SIZE + 4 + 4;
    for (size_t at = 0; at < whole.used; at++) {
        struct message changed = whole;
        changed.bytes[at] ^= 0x81;
        bool free_choice = at >= flags || (at >= session && at < session + 32);
        assert_int_equal(ask(&changed) == SSH_AGENT_SIGNATURE, free_choice);
    }
}

static void
random_requests_do_no_harm(void **state)
{
    (void)state;
    struct message request;
    assert_int_equal(show(host_key, sizeof host_key), SSH_AGENT_SUCCESS);
    for (int i = 0; i < 20000; i++) {
        request.used = randombytes_uniform(200);
        randombytes_buf(request.bytes, request.used);
        static const uint8_t types[] = {11, 13, 27, 1};
        request.bytes[0] = types[i % 4];
        /* Lengths that are plausible now and then. */
        for (size_t at = 1; at + 4 < request.used; at += 24)
            memcpy(request.bytes + at, "\0\0\0", 3);
        uint8_t type = ask(&request);
        assert_true(type == SSH_AGENT_FAILURE || type == SSH_AGENT_EXTENSION_FAILURE ||
                    type == SSH_AGENT_IDENTITIES);
    }
    assert_false(agent.signed_once);
}

/* ---- the socket ---- */

static struct ev_loop *loop;
static struct ssh_agent_socket *listener;
static char folder[SCRATCH_MAX];

static int
listen_setup(void **state)
{
    struct cbx_error error;
    (void)setup(state);
    loop = ev_loop_new(EVFLAG_AUTO);
    if (loop == NULL || !scratch_folder("ssh-agent", folder))
        return -1;
    listener = ssh_agent_listen(loop, folder, &agent, &error);
    return listener == NULL;
}

static int
listen_teardown(void **state)
{
    (void)state;
    ssh_agent_close(listener);
    ev_loop_destroy(loop);
    return scratch_end(folder, NULL) ? 0 : -1; /* fails when the socket is left */
}

static int
connect_at(const char *path)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    memcpy(address.sun_path, path, strlen(path) + 1);
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    assert_true(fd >= 0);
    assert_int_equal(connect(fd, (struct sockaddr *)&address, sizeof address), 0);
    return fd;
}

static void
turns(int count)
{
    for (int i = 0; i < count; i++)
        ev_run(loop, EVRUN_NOWAIT);
}

/* The next reply's bytes, or -1 when the connection was ended. */
static ssize_t
receive(int fd)
{
    struct pollfd event = {.fd = fd, .events = POLLIN};
    for (int i = 0; i < 200 && poll(&event, 1, 0) == 0; i++)
        turns(1);
    uint8_t length[4];
    if (recv(fd, length, 4, MSG_DONTWAIT) != 4)
        return -1;
    assert_memory_equal(length, "\0\0\0", 3);
    assert_true(length[3] <= sizeof reply);
    return recv(fd, reply, length[3], MSG_DONTWAIT);
}

static void
transmit(int fd, const struct message *request)
{
    struct message framed = {0};
    put_bytes(&framed, request->bytes, request->used);
    assert_int_equal(send(fd, framed.bytes, framed.used, MSG_NOSIGNAL), framed.used);
}

static void
the_socket_answers_and_is_closed_to_others(void **state)
{
    (void)state;
    struct stat status;
    assert_int_equal(stat(ssh_agent_path(listener), &status), 0);
    assert_int_equal(status.st_mode & 0777, 0600);
    struct message request = show_request(host_key, sizeof host_key);
    int fd = connect_at(ssh_agent_path(listener));
    transmit(fd, &request);
    assert_int_equal(receive(fd), 1);
    assert_int_equal(reply[0], SSH_AGENT_SUCCESS);
    close(fd);
}

static void
requests_may_come_in_pieces_and_together(void **state)
{
    (void)state;
    struct message request = show_request(host_key, sizeof host_key), framed = {0};
    put_bytes(&framed, request.bytes, request.used);
    int fd = connect_at(ssh_agent_path(listener));
    for (size_t i = 0; i < framed.used; i++) {
        assert_int_equal(send(fd, framed.bytes + i, 1, MSG_NOSIGNAL), 1);
        turns(2);
    }
    assert_int_equal(receive(fd), 1);
    for (int i = 0; i < 20; i++)
        transmit(fd, &request);
    for (int i = 0; i < 20; i++) {
        assert_int_equal(receive(fd), 1);
        assert_int_equal(reply[0], SSH_AGENT_SUCCESS);
    }
    close(fd);
}

static void
impossible_lengths_end_that_client_alone(void **state)
{
    (void)state;
    static const uint8_t lengths[][4] = {
        {0, 0, 0, 0}, {0xff, 0xff, 0xff, 0xff}, {0, 0, 0x20, 1}, {0x80, 0, 0, 0}};
    int bystander = connect_at(ssh_agent_path(listener));
    for (size_t i = 0; i < sizeof lengths / sizeof lengths[0]; i++) {
        int fd = connect_at(ssh_agent_path(listener));
        assert_int_equal(send(fd, lengths[i], 4, MSG_NOSIGNAL), 4);
        assert_int_equal(receive(fd), -1);
        close(fd);
    }
    struct message request = show_request(host_key, sizeof host_key);
    transmit(bystander, &request);
    assert_int_equal(receive(bystander), 1);
    close(bystander);
}

static void
the_longest_request_is_read(void **state)
{
    (void)state;
    static struct message request;
    request = (struct message){.used = SSH_AGENT_REQUEST_MAX, .bytes = {1}};
    int fd = connect_at(ssh_agent_path(listener));
    transmit(fd, &request);
    assert_int_equal(receive(fd), 1);
    assert_int_equal(reply[0], SSH_AGENT_FAILURE);
    close(fd);
}

/* A client that asks and never reads is not read any more; the others are served. */
static void
a_client_that_does_not_read_costs_one_buffer(void **state)
{
    (void)state;
    struct message request = show_request(host_key, sizeof host_key), framed = {0};
    put_bytes(&framed, request.bytes, request.used);
    int silent = connect_at(ssh_agent_path(listener)), other;
    int stuck = 0;
    for (int i = 0; i < 1000000 && stuck < 100; i++) {
        ssize_t sent = send(silent, framed.bytes, framed.used, MSG_NOSIGNAL | MSG_DONTWAIT);
        stuck = sent < 0 ? stuck + 1 : 0;
        turns(2);
    }
    assert_int_equal(stuck, 100);
    other = connect_at(ssh_agent_path(listener));
    transmit(other, &request);
    assert_int_equal(receive(other), 1);
    close(silent);
    close(other);
}

static void
too_many_clients_are_turned_away_and_places_come_back(void **state)
{
    (void)state;
    int fd[SSH_AGENT_CLIENTS_MAX];
    for (size_t i = 0; i < SSH_AGENT_CLIENTS_MAX; i++) {
        fd[i] = connect_at(ssh_agent_path(listener));
        turns(2);
    }
    int extra = connect_at(ssh_agent_path(listener));
    assert_int_equal(receive(extra), -1);
    close(extra);
    close(fd[3]);
    turns(4);
    struct message request = show_request(host_key, sizeof host_key);
    fd[3] = connect_at(ssh_agent_path(listener));
    transmit(fd[3], &request);
    assert_int_equal(receive(fd[3]), 1);
    for (size_t i = 0; i < SSH_AGENT_CLIENTS_MAX; i++)
        close(fd[i]);
}

static void
a_stale_socket_is_replaced_and_a_file_in_the_way_is_not(void **state)
{
    (void)state;
    struct cbx_error error = {""};
    char path[128];
    /* The first one's end must not take the second one's socket away: it ends before in the
     * program, so here it is made stale by hand. */
    (void)snprintf(path, sizeof path, "%s/ssh-agent.sock", folder);
    ssh_agent_close(listener);
    int stale = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    memcpy(address.sun_path, path, strlen(path) + 1);
    assert_int_equal(bind(stale, (struct sockaddr *)&address, sizeof address), 0);
    close(stale);
    listener = ssh_agent_listen(loop, folder, &agent, &error);
    assert_non_null(listener);
    close(connect_at(path));
    ssh_agent_close(listener);
    FILE *file = fopen(path, "w");
    assert_non_null(file);
    assert_int_equal(fclose(file), 0);
    listener = ssh_agent_listen(loop, folder, &agent, &error);
    assert_null(listener);
    assert_non_null(strstr(error.text, "is not a socket"));
    assert_int_equal(unlink(path), 0);
}

static void
a_long_folder_has_a_short_path(void **state)
{
    (void)state;
    char deep[256];
    struct cbx_error error = {""};
    (void)snprintf(deep, sizeof deep, "%s/%0120d", folder, 0);
    assert_int_equal(mkdir(deep, 0700), 0);
    struct ssh_agent_socket *second = ssh_agent_listen(loop, deep, &agent, &error);
    assert_string_equal(error.text, "");
    assert_non_null(second);
    assert_true(strlen(ssh_agent_path(second)) < SSH_AGENT_PATH_MAX);
    close(connect_at(ssh_agent_path(second)));
    ssh_agent_close(second);
    assert_int_equal(rmdir(deep), 0);
}

int
main(void)
{
    if (sodium_init() < 0)
        return 1;
    (void)signal(SIGPIPE, SIG_IGN);
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup(a_login_at_the_pinned_host_is_signed, setup),
        cmocka_unit_test_setup(the_key_is_listed_once_the_host_key_was_shown, setup),
        cmocka_unit_test_setup(nothing_is_signed_before_the_host_key_was_shown, setup),
        cmocka_unit_test_setup(a_wrong_host_key_spoils_the_login_for_good, setup),
        cmocka_unit_test_setup(only_our_login_is_signed, setup),
        cmocka_unit_test_setup(other_requests_are_refused, setup),
        cmocka_unit_test_setup(damaged_requests_are_refused, setup),
        cmocka_unit_test_setup(random_requests_do_no_harm, setup),
        cmocka_unit_test_setup_teardown(the_socket_answers_and_is_closed_to_others, listen_setup,
                                        listen_teardown),
        cmocka_unit_test_setup_teardown(requests_may_come_in_pieces_and_together, listen_setup,
                                        listen_teardown),
        cmocka_unit_test_setup_teardown(impossible_lengths_end_that_client_alone, listen_setup,
                                        listen_teardown),
        cmocka_unit_test_setup_teardown(the_longest_request_is_read, listen_setup, listen_teardown),
        cmocka_unit_test_setup_teardown(a_client_that_does_not_read_costs_one_buffer, listen_setup,
                                        listen_teardown),
        cmocka_unit_test_setup_teardown(too_many_clients_are_turned_away_and_places_come_back,
                                        listen_setup, listen_teardown),
        cmocka_unit_test_setup_teardown(a_stale_socket_is_replaced_and_a_file_in_the_way_is_not,
                                        listen_setup, listen_teardown),
        cmocka_unit_test_setup_teardown(a_long_folder_has_a_short_path, listen_setup,
                                        listen_teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
