/* SPDX-License-Identifier: MIT */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "agent/front/front.h"
#include "fake_mesh.h"
#include "loop_fixture.h"
#include <arpa/inet.h>
#include <errno.h>
#include <ev.h>
#include <netinet/in.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

struct fixture {
    struct ev_loop *loop;
    struct front *front;
    int fd; /* a client of the proxy */
};

static int
client_new(const struct fixture *f)
{
    const char *colon = strrchr(front_proxy_address(f->front), ':');
    struct sockaddr_in address = {.sin_family = AF_INET,
                                  .sin_port = htons((uint16_t)atoi(colon + 1)),
                                  .sin_addr = {htonl(INADDR_LOOPBACK)}};
    int fd = socket(AF_INET, SOCK_STREAM, 0);
    assert_int_equal(connect(fd, (struct sockaddr *)&address, sizeof address), 0);
    return fd;
}

static void
begin(struct fixture *f, const struct front_config *config)
{
    struct cbx_error error = {""};
    if (f->fd >= 0)
        close(f->fd);
    front_free(f->front);
    f->front = front_new(f->loop, config, &error);
    assert_non_null(f->front);
    front_set_mesh(f->front, &fake_mesh, "demo");
    f->fd = client_new(f);
}

static int
set_up(void **state)
{
    struct fixture *f = calloc(1, sizeof *f);
    fake_begin();
    f->fd = -1;
    f->loop = ev_loop_new(EVFLAG_AUTO);
    begin(f, &(struct front_config){.proxy = "127.0.0.1:0", .handshake_timeout_ms = 200});
    *state = f;
    return 0;
}

static int
tear_down(void **state)
{
    struct fixture *f = *state;
    close(f->fd);
    front_free(f->front);
    ev_loop_destroy(f->loop);
    free(f);
    return 0;
}

static void
says(struct fixture *f, const char *text)
{
    assert_int_equal(send(f->fd, text, strlen(text), MSG_NOSIGNAL), strlen(text));
    turn(f->loop);
}

/* What came so far; "" for an end, "reset", "-" for nothing. */
static const char *
heard(const struct fixture *f)
{
    static char text[4096];
    ssize_t got = recv(f->fd, text, sizeof text - 1, MSG_DONTWAIT);
    if (got < 0)
        got = snprintf(text, sizeof text, "%s", errno == EAGAIN ? "-" : "reset");
    text[got] = '\0';
    return text;
}

/* The server's side of the newest stream. */
static struct mesh_stream *
stream(void)
{
    assert_true(fake_count > 0);
    return &fake_streams[fake_count - 1];
}

/* The same, which must not have ended. */
static struct mesh_stream *
live(void)
{
    assert_false(stream()->over);
    return stream();
}

/* After AGAIN it waits until there is more, as the mesh does. */
static ssize_t
pull(struct fixture *f, void *buffer, size_t size)
{
    ssize_t got = fake_pull(live(), buffer, size);
    turn(f->loop);
    return got == CBX_ERR_AGAIN && stream()->may_pull ? fake_pull(live(), buffer, size) : got;
}

static void
server_heard(struct fixture *f, const char *wanted)
{
    char text[4096];
    ssize_t got = pull(f, text, sizeof text - 1);
    assert_true(got >= 0);
    text[got] = '\0';
    assert_string_equal(text, wanted);
}

static void
server_says(struct fixture *f, const char *text)
{
    assert_int_equal(fake_push(live(), text, strlen(text)), strlen(text));
    turn(f->loop);
}

static int64_t
counter(const struct fixture *f, const char *name)
{
    json_t *status = front_status_json(f->front);
    assert_true(json_is_integer(json_object_get(status, name)));
    int64_t value = json_integer_value(json_object_get(status, name));
    json_decref(status);
    return value;
}

static const char get[] = "GET http://web.cbx:81/x HTTP/1.1\r\nHost: web.cbx:81\r\n\r\n";
static const char got[] = "GET /x HTTP/1.1\r\nHost: web.cbx:81\r\nVia: 1.1 cbx\r\n\r\n";
static const char answer[] = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";
static const char answered[] = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\nVia: 1.1 cbx\r\n\r\nok";

/* One exchange on a stream that may be the last one's. */
static void
exchange(struct fixture *f)
{
    says(f, get);
    if (fake_count == 1 && counter(f, "opened") == 0) {
        fake_opened(live());
        turn(f->loop);
    }
    server_heard(f, got);
    server_says(f, answer);
    assert_string_equal(heard(f), answered);
}

static void
requests_share_a_stream(void **state)
{
    struct fixture *f = *state;
    exchange(f);
    exchange(f);
    exchange(f);
    assert_int_equal(fake_mesh.dials, 1);
    assert_string_equal(stream()->slug, "web");
    assert_int_equal(stream()->port, 81);
    assert_int_equal(counter(f, "http_requests"), 3);
    assert_int_equal(counter(f, "connections"), 1);
}

static void
pipelined_request_waits_for_the_answer(void **state)
{
    struct fixture *f = *state;
    char both[200];
    (void)snprintf(both, sizeof both, "%s%s", get, get);
    says(f, both);
    fake_opened(live());
    turn(f->loop);
    server_heard(f, got);
    char byte;
    assert_int_equal(pull(f, &byte, 1), CBX_ERR_AGAIN);
    server_says(f, answer);
    assert_string_equal(heard(f), answered);
    server_heard(f, got);
    server_says(f, answer);
    assert_string_equal(heard(f), answered);
}

static void
refused_dial_is_a_response(void **state)
{
    struct fixture *f = *state;
    says(f, get);
    fake_closed(live(), CBX_REASON_REFUSED, true);
    turn(f->loop);
    const char *text = heard(f);
    assert_memory_equal(text, "HTTP/1.1 502 ", 13);
    assert_non_null(strstr(text, "\r\n\r\ncbx: web.cbx:81: connection refused; nothing listens"));
    assert_string_equal(heard(f), "");
    assert_int_equal(counter(f, "refused"), 1);
}

static void
client_that_leaves_while_dialing_ends_the_dial(void **state)
{
    struct fixture *f = *state;
    struct linger reset = {.l_onoff = 1};
    says(f, get);
    assert_int_equal(setsockopt(f->fd, SOL_SOCKET, SO_LINGER, &reset, sizeof reset), 0);
    close(f->fd);
    turn(f->loop);
    assert_true(stream()->was_reset);
    assert_int_equal(counter(f, "connections"), 0);
    f->fd = client_new(f);
}

static void
kept_stream_that_ends_unanswered_resets_the_client(void **state)
{
    struct fixture *f = *state;
    exchange(f);
    says(f, get);
    server_heard(f, got);
    fake_closed(live(), CBX_REASON_RESET, true);
    turn(f->loop);
    assert_string_equal(heard(f), "reset");
}

static void
kept_stream_that_ended_is_dialed_anew(void **state)
{
    struct fixture *f = *state;
    exchange(f);
    fake_push_end(live());
    turn(f->loop);
    char byte;
    assert_int_equal(pull(f, &byte, 1), CBX_ERR_CLOSED);
    fake_closed(live(), CBX_REASON_NONE, false);
    turn(f->loop);
    says(f, get);
    assert_int_equal(fake_mesh.dials, 2);
}

static void
cut_response_is_a_reset(void **state)
{
    struct fixture *f = *state;
    says(f, get);
    fake_opened(live());
    turn(f->loop);
    server_heard(f, got);
    server_says(f, "HTTP/1.1 200 OK\r\nConnection: close\r\n\r\nhalf");
    assert_string_equal(heard(f),
                        "HTTP/1.1 200 OK\r\nVia: 1.1 cbx\r\nConnection: close\r\n\r\nhalf");
    fake_closed(live(), CBX_REASON_LOST, false);
    turn(f->loop);
    assert_string_equal(heard(f), "reset");
}

static void
response_to_the_end_is_whole_after_a_clean_one(void **state)
{
    struct fixture *f = *state;
    says(f, get);
    fake_opened(live());
    turn(f->loop);
    server_heard(f, got);
    server_says(f, "HTTP/1.1 200 OK\r\n\r\nall");
    fake_push_end(live());
    turn(f->loop);
    assert_string_equal(heard(f),
                        "HTTP/1.1 200 OK\r\nVia: 1.1 cbx\r\nConnection: close\r\n\r\nall");
    assert_string_equal(heard(f), "");
}

static void
early_answer_closes_the_connection(void **state)
{
    struct fixture *f = *state;
    says(f, "POST http://web.cbx:81/x HTTP/1.1\r\nHost: x\r\nContent-Length: 9\r\n\r\nabc");
    fake_opened(live());
    turn(f->loop);
    server_says(f, "HTTP/1.1 413 Large\r\nContent-Length: 0\r\n\r\n");
    assert_string_equal(heard(f), "HTTP/1.1 413 Large\r\nContent-Length: 0\r\nVia: 1.1 "
                                  "cbx\r\nConnection: close\r\n\r\n");
    assert_string_equal(heard(f), "");
    assert_true(stream()->was_reset); /* half a body must not look whole */
}

static void
interim_responses_come_before_the_final_one(void **state)
{
    struct fixture *f = *state;
    says(f, "POST http://web.cbx:81/x HTTP/1.1\r\nHost: x\r\nExpect: 100-continue\r\n"
            "Content-Length: 3\r\n\r\n");
    fake_opened(live());
    turn(f->loop);
    server_heard(f, "POST /x HTTP/1.1\r\nHost: web.cbx:81\r\nExpect: 100-continue\r\n"
                    "Content-Length: 3\r\nVia: 1.1 cbx\r\n\r\n");
    server_says(f, "HTTP/1.1 100 Continue\r\n\r\n");
    assert_string_equal(heard(f), "HTTP/1.1 100 Continue\r\nVia: 1.1 cbx\r\n\r\n");
    says(f, "abc");
    server_heard(f, "abc");
    server_says(f, answer);
    assert_string_equal(heard(f), answered);
}

static void
garbage_from_a_server_is_a_502(void **state)
{
    struct fixture *f = *state;
    says(f, get);
    fake_opened(live());
    turn(f->loop);
    server_says(f, "SSH-2.0-x\r\n\r\n");
    const char *text = heard(f);
    assert_memory_equal(text, "HTTP/1.1 502 ", 13);
    assert_non_null(strstr(text, "error=http_protocol_error"));
    assert_true(stream()->was_reset);
}

static void
unasked_change_of_protocol_is_a_502(void **state)
{
    struct fixture *f = *state;
    says(f, get);
    fake_opened(live());
    turn(f->loop);
    server_says(f, "HTTP/1.1 101 X\r\nConnection: Upgrade\r\nUpgrade: x\r\n\r\n");
    assert_memory_equal(heard(f), "HTTP/1.1 502 ", 13);
}

static void
password_is_asked_for_and_stays_here(void **state)
{
    struct fixture *f = *state;
    begin(f, &(struct front_config){.proxy = "127.0.0.1:0", .proxy_password = "secret"});
    says(f, get);
    const char *text = heard(f);
    assert_memory_equal(text, "HTTP/1.1 407 ", 13);
    assert_non_null(strstr(text, "Proxy-Authenticate: Basic"));
    close(f->fd);
    f->fd = client_new(f);
    says(f, "CONNECT web.cbx:1 HTTP/1.1\r\nProxy-Authorization: Basic dTp4\r\n\r\n");
    assert_memory_equal(heard(f), "HTTP/1.1 407 ", 13);
    assert_int_equal(fake_mesh.dials, 0);
    close(f->fd);
    f->fd = client_new(f);
    says(f, "GET http://web.cbx:81/x HTTP/1.1\r\nHost: web.cbx:81\r\n"
            "Proxy-Authorization: Basic dTpzZWNyZXQ=\r\n\r\n"); /* u:secret */
    fake_opened(live());
    turn(f->loop);
    server_heard(f, got);
}

static void
slow_head_is_a_408_and_a_silent_client_is_closed(void **state)
{
    struct fixture *f = *state;
    says(f, "GET http://web");
    pass_time(f->loop, 0.4);
    assert_memory_equal(heard(f), "HTTP/1.1 408 ", 13);
    assert_int_equal(counter(f, "handshake_timeouts"), 1);
}

/* As some send behind a body: the time for a head is not that of an idle connection. */
static void
empty_line_begins_no_request(void **state)
{
    struct fixture *f = *state;
    exchange(f);
    says(f, "\r\n");
    pass_time(f->loop, 0.4);
    exchange(f);
    says(f, "\r\nG");
    pass_time(f->loop, 0.4);
    assert_memory_equal(heard(f), "HTTP/1.1 408 ", 13);
}

static void
exchanges_have_no_deadline(void **state)
{
    struct fixture *f = *state;
    says(f, get);
    fake_opened(live());
    pass_time(f->loop, 0.4);
    server_heard(f, got);
    server_says(f, answer);
    assert_string_equal(heard(f), answered);
}

static void
free_ends_an_exchange_as_an_error(void **state)
{
    struct fixture *f = *state;
    says(f, get);
    fake_opened(live());
    turn(f->loop);
    front_free(f->front);
    f->front = NULL;
    assert_true(stream()->was_reset);
    assert_string_equal(heard(f), "reset");
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int
main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(requests_share_a_stream),
        TEST(pipelined_request_waits_for_the_answer),
        TEST(refused_dial_is_a_response),
        TEST(client_that_leaves_while_dialing_ends_the_dial),
        TEST(kept_stream_that_ends_unanswered_resets_the_client),
        TEST(kept_stream_that_ended_is_dialed_anew),
        TEST(cut_response_is_a_reset),
        TEST(response_to_the_end_is_whole_after_a_clean_one),
        TEST(early_answer_closes_the_connection),
        TEST(interim_responses_come_before_the_final_one),
        TEST(garbage_from_a_server_is_a_502),
        TEST(unasked_change_of_protocol_is_a_502),
        TEST(password_is_asked_for_and_stays_here),
        TEST(slow_head_is_a_408_and_a_silent_client_is_closed),
        TEST(empty_line_begins_no_request),
        TEST(exchanges_have_no_deadline),
        TEST(free_ends_an_exchange_as_an_error),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
