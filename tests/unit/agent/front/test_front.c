/* SPDX-License-Identifier: MIT */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "agent/front/front.h"
#include "agent/front/target.h"
#include "fake_mesh.h"
#include "loop_fixture.h"
#include <arpa/inet.h>
#include <errno.h>
#include <ev.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

struct fixture {
    struct ev_loop *loop;
    struct front *front;
    uint16_t port;
    char heard[8];
    enum cbx_reason reason;
};

static void
begin(struct fixture *f, const struct front_config *config)
{
    struct cbx_error error = {""};
    front_free(f->front);
    f->front = front_new(f->loop, config, &error);
    assert_non_null(f->front);
    const char *colon = strrchr(front_proxy_address(f->front), ':');
    f->port = colon != NULL ? (uint16_t)atoi(colon + 1) : 0;
    front_set_mesh(f->front, &fake_mesh, "demo");
}

static int
set_up(void **state)
{
    struct fixture *f = calloc(1, sizeof *f);
    fake_begin();
    f->loop = ev_loop_new(EVFLAG_AUTO);
    begin(f, &(struct front_config){.proxy = "127.0.0.1:0", .proxy_required = true});
    *state = f;
    return 0;
}

static int
tear_down(void **state)
{
    struct fixture *f = *state;
    front_free(f->front);
    ev_loop_destroy(f->loop);
    free(f);
    return 0;
}

static int
client_new(const struct fixture *f)
{
    struct sockaddr_in address = {
        .sin_family = AF_INET, .sin_port = htons(f->port), .sin_addr = {htonl(INADDR_LOOPBACK)}};
    int on = 1;
    int fd = socket(AF_INET, SOCK_STREAM, 0);
    assert_int_equal(setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on), 0);
    assert_int_equal(connect(fd, (struct sockaddr *)&address, sizeof address), 0);
    return fd;
}

static void
client_sends(struct fixture *f, int fd, const void *bytes, size_t length)
{
    assert_int_equal(send(fd, bytes, length, MSG_NOSIGNAL), length);
    turn(f->loop);
}

static void
client_hears(int fd, const void *bytes, size_t length)
{
    char buffer[1024];
    assert_int_equal(recv(fd, buffer, sizeof buffer, MSG_DONTWAIT), length);
    assert_memory_equal(buffer, bytes, length);
}

static void
client_hears_nothing(int fd)
{
    char byte;
    assert_int_equal(recv(fd, &byte, 1, MSG_DONTWAIT), -1);
    assert_int_equal(errno, EAGAIN);
}

/* The response up to its end, NUL-terminated. */
static void
client_reads_all(int fd, char *out, size_t size)
{
    ssize_t got = recv(fd, out, size - 1, MSG_DONTWAIT);
    assert_true(got >= 0);
    out[got] = '\0';
    char byte;
    assert_int_equal(recv(fd, &byte, 1, MSG_DONTWAIT), 0);
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

static const char socks_request[] = "\5\1\0"
                                    "\5\1\0\3\7web.cbx\0\x50";
enum { SOCKS_REQUEST_LENGTH = sizeof socks_request - 1 };
static const char http_request[] = "CONNECT web.demo.cbx:80 HTTP/1.1\r\n\r\n";
enum { HTTP_REQUEST_LENGTH = sizeof http_request - 1 };

static void
socks_client_is_connected(void **state)
{
    struct fixture *f = *state;
    int fd = client_new(f);
    client_sends(f, fd, socks_request, 3);
    client_hears(fd, "\5\0", 2);
    client_sends(f, fd, socks_request + 3, SOCKS_REQUEST_LENGTH - 3);
    client_hears_nothing(fd);
    assert_int_equal(fake_mesh.dials, 1);
    assert_string_equal(fake_streams[0].slug, "web");
    assert_int_equal(fake_streams[0].port, 80);
    fake_opened(&fake_streams[0]);
    client_hears(fd, "\5\0\0\1\0\0\0\0\0\0", 10);
    close(fd);
}

static void
http_client_is_connected_and_its_early_bytes_go_first(void **state)
{
    struct fixture *f = *state;
    char buffer[16];
    int fd = client_new(f);
    client_sends(f, fd, "CONNECT web.demo.cbx:80 HTTP/1.1\r\n\r\nearly", HTTP_REQUEST_LENGTH + 5);
    client_sends(f, fd, "later", 5);
    client_hears_nothing(fd);
    fake_opened(&fake_streams[0]);
    client_hears(fd, "HTTP/1.1 200 Connection established\r\n\r\n", 39);
    assert_int_equal(fake_pull(&fake_streams[0], buffer, sizeof buffer), 5);
    assert_int_equal(fake_pull(&fake_streams[0], buffer + 5, 5), 5);
    assert_memory_equal(buffer, "earlylater", 10);
    close(fd);
}

static void
requests_may_come_byte_by_byte(void **state)
{
    struct fixture *f = *state;
    int socks = client_new(f), http = client_new(f);
    for (size_t i = 0; i < SOCKS_REQUEST_LENGTH; i++)
        client_sends(f, socks, socks_request + i, 1);
    for (size_t i = 0; i < HTTP_REQUEST_LENGTH; i++)
        client_sends(f, http, http_request + i, 1);
    assert_int_equal(fake_mesh.dials, 2);
    close(socks);
    close(http);
}

static void
refusals_are_told_in_each_dialect(void **state)
{
    struct fixture *f = *state;
    char text[1024];
    int socks = client_new(f), http = client_new(f);
    client_sends(f, socks, socks_request, SOCKS_REQUEST_LENGTH);
    client_sends(f, http, http_request, HTTP_REQUEST_LENGTH);
    fake_closed(&fake_streams[0], CBX_REASON_NOT_EXPOSED, true);
    fake_closed(&fake_streams[1], CBX_REASON_NOT_EXPOSED, true);
    turn(f->loop);
    client_hears(socks, "\5\0\5\2\0\1\0\0\0\0\0\0", 12);
    client_reads_all(http, text, sizeof text);
    assert_memory_equal(text, "HTTP/1.1 403 Forbidden\r\n", 24);
    assert_non_null(strstr(
        text,
        "\r\n\r\ncbx: web.cbx:80: port not exposed; invite that lease again with --expose\n"));
    close(socks);
    close(http);
    turn(f->loop);
    assert_int_equal(counter(f, "connections"), 0);
    assert_int_equal(counter(f, "refused"), 2);
}

static void
names_beyond_cbx_are_unknown(void **state)
{
    struct fixture *f = *state;
    char text[1024];
    int http = client_new(f), socks = client_new(f), pond = client_new(f);
    client_sends(f, http, "CONNECT example.org:443 HTTP/1.1\r\n\r\n", 36);
    client_reads_all(http, text, sizeof text);
    assert_memory_equal(text, "HTTP/1.1 502 ", 13);
    assert_non_null(
        strstr(text, "only names that end in .cbx can be reached here: unknown name; "));
    client_sends(f, socks, "\5\1\0\5\1\0\1\x7f\0\0\1\0\x50", 13);
    client_hears(socks, "\5\0\5\4\0\1\0\0\0\0\0\0", 12);
    client_sends(f, pond, "CONNECT web.other.cbx:443 HTTP/1.1\r\n\r\n", 38);
    client_reads_all(pond, text, sizeof text);
    assert_non_null(strstr(text, "belongs to another pond"));
    assert_int_equal(fake_mesh.dials, 0);
    close(http);
    close(socks);
    close(pond);
}

static void
socks4_is_answered_in_its_own_form(void **state)
{
    struct fixture *f = *state;
    int address = client_new(f), name = client_new(f);
    client_sends(f, address, "\4\1\0\x50\x7f\0\0\1user\0", 13);
    char text[16];
    client_reads_all(address, text, sizeof text);
    assert_memory_equal(text, "\0\x5b\0\0\0\0\0\0", 8);
    client_sends(f, name, "\4\1\0\x50\0\0\0\1user\0web.cbx\0", 21);
    assert_int_equal(fake_mesh.dials, 1);
    fake_opened(&fake_streams[0]);
    client_hears(name, "\0\x5a\0\0\0\0\0\0", 8);
    assert_int_equal(counter(f, "unknown_protocol"), 0);
    close(address);
    close(name);
}

static void
other_first_bytes_are_closed_and_counted(void **state)
{
    struct fixture *f = *state;
    int fd = client_new(f);
    client_sends(f, fd, "\026\003\001", 3);
    char byte;
    assert_int_equal(recv(fd, &byte, 1, MSG_DONTWAIT), 0);
    assert_int_equal(counter(f, "unknown_protocol"), 1);
    assert_int_equal(counter(f, "connections"), 0);
    close(fd);
}

static void
bad_requests_are_answered_and_counted(void **state)
{
    struct fixture *f = *state;
    char text[1024];
    int bind = client_new(f), get = client_new(f);
    client_sends(f, bind, "\5\1\0\5\2\0\1\x7f\0\0\1\0\x50", 13);
    client_hears(bind, "\5\0\5\7\0\1\0\0\0\0\0\0", 12);
    client_sends(f, get, "GET http://web.cbx/ HTTP/1.1\r\n\r\n", 32); /* no Host */
    client_reads_all(get, text, sizeof text);
    assert_memory_equal(text, "HTTP/1.1 400 ", 13);
    assert_int_equal(counter(f, "bad_requests"), 2);
    close(bind);
    close(get);
}

static void
silent_and_slow_clients_are_closed(void **state)
{
    struct fixture *f = *state;
    char text[1024];
    begin(f, &(struct front_config){.proxy = "127.0.0.1:0", .handshake_timeout_ms = 100});
    int silent = client_new(f), slow = client_new(f);
    client_sends(f, slow, "CONNECT web.cbx", 15);
    pass_time(f->loop, 0.25);
    assert_int_equal(recv(silent, text, 1, MSG_DONTWAIT), 0);
    client_reads_all(slow, text, sizeof text);
    assert_memory_equal(text, "HTTP/1.1 408 ", 13);
    assert_int_equal(counter(f, "handshake_timeouts"), 2);
    close(silent);
    close(slow);
}

static void
clients_that_leave_are_forgotten(void **state)
{
    struct fixture *f = *state;
    int early = client_new(f), late = client_new(f);
    client_sends(f, early, "\5\1", 2);
    client_sends(f, late, socks_request, SOCKS_REQUEST_LENGTH);
    close(early);
    close(late);
    turn(f->loop);
    assert_int_equal(counter(f, "gave_up"), 2);
    assert_int_equal(counter(f, "connections"), 0);
    assert_true(fake_streams[0].was_reset);
}

static void
clients_beyond_the_limit_are_refused_in_their_dialect(void **state)
{
    struct fixture *f = *state;
    char text[1024];
    begin(f, &(struct front_config){.proxy = "127.0.0.1:0", .connections_max = 1});
    int first = client_new(f);
    client_sends(f, first, socks_request, SOCKS_REQUEST_LENGTH);
    int socks = client_new(f), http = client_new(f);
    client_sends(f, socks, socks_request, SOCKS_REQUEST_LENGTH);
    client_hears(socks, "\5\0\5\1\0\1\0\0\0\0\0\0", 12);
    client_sends(f, http, http_request, HTTP_REQUEST_LENGTH);
    client_reads_all(http, text, sizeof text);
    assert_memory_equal(text, "HTTP/1.1 503 ", 13);
    assert_non_null(strstr(text, "as many local connections as it may: overloaded"));
    assert_int_equal(fake_mesh.dials, 1);
    assert_int_equal(counter(f, "refused_at_limit"), 2);
    close(first);
    close(socks);
    close(http);
    turn(f->loop);
    assert_int_equal(counter(f, "connections"), 0);
    int later = client_new(f);
    client_sends(f, later, socks_request, SOCKS_REQUEST_LENGTH);
    assert_int_equal(fake_mesh.dials, 2);
    close(later);
}

static void
listener_pauses_when_too_many_are_refused_and_resumes(void **state)
{
    struct fixture *f = *state;
    enum { BEYOND = 256 };
    begin(f, &(struct front_config){.proxy = "127.0.0.1:0", .connections_max = 2});
    int fds[2 + BEYOND + 1];
    for (int i = 0; i < 2 + BEYOND + 1; i++)
        fds[i] = client_new(f);
    for (int i = 0; i < 100; i++)
        turn(f->loop);
    assert_int_equal(counter(f, "accepted"), 2 + BEYOND);
    assert_true(counter(f, "paused_at_limit") > 0);
    close(fds[0]);
    pass_time(f->loop, 0.3);
    assert_int_equal(counter(f, "accepted"), 2 + BEYOND + 1);
    for (int i = 1; i < 2 + BEYOND + 1; i++)
        close(fds[i]);
}

static void
listener_survives_a_lack_of_descriptors(void **state)
{
    struct fixture *f = *state;
    int fd = client_new(f);
    struct rlimit before, none;
    assert_int_equal(getrlimit(RLIMIT_NOFILE, &before), 0);
    none = before;
    int next = dup(0);
    close(next);
    none.rlim_cur = (rlim_t)next;
    assert_int_equal(setrlimit(RLIMIT_NOFILE, &none), 0);
    turn(f->loop);
    assert_int_equal(counter(f, "accepted"), 0);
    assert_int_equal(counter(f, "paused_by_system"), 1);
    assert_int_equal(setrlimit(RLIMIT_NOFILE, &before), 0);
    pass_time(f->loop, 0.3);
    assert_int_equal(counter(f, "accepted"), 1);
    close(fd);
}

static void
taken_port_is_an_error_only_when_asked_for(void **state)
{
    struct fixture *f = *state;
    struct cbx_error error = {""};
    struct front_config config = {.proxy = front_proxy_address(f->front), .proxy_required = true};
    assert_null(front_new(f->loop, &config, &error));
    assert_non_null(strstr(error.text, front_proxy_address(f->front)));
    assert_non_null(strstr(error.text, "in use"));
    config.proxy_required = false;
    struct front *second = front_new(f->loop, &config, &error);
    assert_non_null(second);
    assert_string_equal(front_proxy_address(second), "");
    front_free(second);
}

static void
nonsense_for_an_address_is_an_error(void **state)
{
    struct fixture *f = *state;
    static const char *const texts[] = {"1080", "web.cbx:1080", "127.0.0.1", "127.0.0.1:99999"};
    for (size_t i = 0; i < sizeof texts / sizeof texts[0]; i++) {
        struct cbx_error error = {""};
        assert_null(front_new(f->loop, &(struct front_config){.proxy = texts[i]}, &error));
        assert_non_null(strstr(error.text, texts[i]));
    }
}

static void
hear(struct fixture *f, char what)
{
    size_t length = strlen(f->heard);
    assert_true(length + 1 < sizeof f->heard);
    f->heard[length] = what;
}

static void
dial_opened(void *arg)
{
    assert_int_equal(fake_inside, 0);
    hear(arg, 'o');
}

static void
dial_closed(void *arg, enum cbx_reason reason, bool by_target, const char *remedy)
{
    struct fixture *f = arg;
    (void)by_target;
    (void)remedy;
    assert_int_equal(fake_inside, 0);
    hear(f, 'c');
    f->reason = reason;
}

static const struct front_dial_ops dial_ops = {dial_opened, dial_closed};

static void
dial_is_told_what_came_of_it(void **state)
{
    struct fixture *f = *state;
    int fds[2];
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM, 0, fds), 0);
    assert_non_null(front_dial(f->front, "WEB.cbx", 22, fds[0], 1500, &dial_ops, f));
    assert_int_equal(fake_streams[0].timeout_us, 1500 * 1000);
    fake_opened(&fake_streams[0]);
    assert_string_equal(f->heard, "");
    turn(f->loop);
    assert_string_equal(f->heard, "o");
    fake_closed(&fake_streams[0], CBX_REASON_NONE, false);
    turn(f->loop);
    assert_string_equal(f->heard, "oc");
    char byte;
    assert_int_equal(recv(fds[1], &byte, 1, MSG_DONTWAIT), 0);
    close(fds[1]);
}

static void
dial_of_an_unknown_name_is_told_later(void **state)
{
    struct fixture *f = *state;
    assert_non_null(front_dial(f->front, "web", 22, -1, 0, &dial_ops, f));
    assert_string_equal(f->heard, "");
    turn(f->loop);
    assert_string_equal(f->heard, "c");
    assert_int_equal(f->reason, CBX_REASON_UNKNOWN_NAME);
}

static void
cancelled_dial_is_reset_and_silent(void **state)
{
    struct fixture *f = *state;
    struct front_dial *dial = front_dial(f->front, "web.cbx", 22, -1, 0, &dial_ops, f);
    assert_non_null(dial);
    front_dial_cancel(dial);
    turn(f->loop);
    assert_string_equal(f->heard, "");
    assert_true(fake_streams[0].was_reset);
    assert_int_equal(counter(f, "connections"), 0);
}

/* A listening socket of an exposed program. */
static int
program_new(struct cbx_expose_item *item)
{
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr = {htonl(INADDR_LOOPBACK)}};
    socklen_t size = sizeof address;
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0);
    assert_int_equal(bind(fd, (struct sockaddr *)&address, size), 0);
    assert_int_equal(listen(fd, 4), 0);
    assert_int_equal(getsockname(fd, (struct sockaddr *)&address, &size), 0);
    *item = (struct cbx_expose_item){
        .port = 80, .target_port = ntohs(address.sin_port), .target = "127.0.0.1"};
    return fd;
}

static struct mesh_stream *
incoming(struct fixture *f, const struct cbx_expose_item *item)
{
    struct mesh_stream *stream = fake_stream();
    fake_inside++; /* no answer inside */
    front_incoming(f->front, stream, "cli", item);
    fake_inside--;
    return stream;
}

static void
incoming_stream_reaches_the_program(void **state)
{
    struct fixture *f = *state;
    struct cbx_expose_item item;
    int listener = program_new(&item);
    struct mesh_stream *stream = incoming(f, &item);
    turn(f->loop);
    assert_non_null(stream->end);
    int program = accept(listener, NULL, NULL);
    assert_true(program >= 0);
    assert_int_equal(fake_push(stream, "hello", 5), 5);
    client_hears(program, "hello", 5);
    assert_int_equal(counter(f, "incoming_accepted"), 1);
    close(program);
    close(listener);
}

static void
incoming_stream_to_a_closed_port_is_refused(void **state)
{
    struct fixture *f = *state;
    struct cbx_expose_item item;
    close(program_new(&item));
    struct mesh_stream *stream = incoming(f, &item);
    turn(f->loop);
    assert_true(stream->was_refused);
    assert_int_equal(stream->reason, CBX_REASON_REFUSED);
    assert_int_equal(counter(f, "connections"), 0);
}

static void
incoming_stream_that_nobody_answers_times_out(void **state)
{
    struct fixture *f = *state;
    struct cbx_expose_item item;
    begin(f, &(struct front_config){.connect_timeout_ms = 100});
    int listener = program_new(&item);
    assert_int_equal(listen(listener, 0), 0);
    f->port = item.target_port;
    int first = client_new(f); /* fills the queue; the next SYN is dropped */
    struct mesh_stream *stream = incoming(f, &item);
    pass_time(f->loop, 0.3);
    assert_true(stream->was_refused);
    assert_int_equal(stream->reason, CBX_REASON_TIMED_OUT);
    close(first);
    close(listener);
}

static void
incoming_streams_above_the_limit_are_refused_later(void **state)
{
    struct fixture *f = *state;
    struct cbx_expose_item item;
    int listener = program_new(&item);
    begin(f, &(struct front_config){.connections_max = 1});
    (void)incoming(f, &item);
    for (int i = 0; i < 200; i++)
        (void)incoming(f, &item);
    assert_false(fake_streams[200].was_refused);
    turn(f->loop);
    assert_non_null(fake_streams[0].end);
    for (int i = 1; i <= 200; i++)
        assert_int_equal(fake_streams[i].reason, CBX_REASON_OVERLOADED);
    close(listener);
}

/* A peer that holds what it can get leaves places to others, and to this box's own programs. */
static void
one_peer_does_not_get_all_places(void **state)
{
    struct fixture *f = *state;
    struct cbx_expose_item item;
    int listener = program_new(&item);
    enum { PLACES = 256, OF_ONE = PLACES * 3 / 4 / 2 };
    begin(f, &(struct front_config){.proxy = "127.0.0.1:0", .connections_max = PLACES});
    for (int i = 0; i < 2 * PLACES; i++)
        (void)incoming(f, &item);
    turn(f->loop);
    int taken = 0;
    for (int i = 0; i < 2 * PLACES; i++)
        taken += !fake_streams[i].was_refused;
    assert_int_equal(taken, OF_ONE);
    int client = client_new(f);
    turn(f->loop);
    client_hears_nothing(client);
    close(client);
    close(listener);
}

static void
incoming_without_descriptors_is_overloaded(void **state)
{
    struct fixture *f = *state;
    struct cbx_expose_item item;
    int listener = program_new(&item);
    struct rlimit before, none;
    assert_int_equal(getrlimit(RLIMIT_NOFILE, &before), 0);
    none = before;
    int next = dup(0);
    close(next);
    none.rlim_cur = (rlim_t)next;
    assert_int_equal(setrlimit(RLIMIT_NOFILE, &none), 0);
    struct mesh_stream *stream = incoming(f, &item);
    assert_int_equal(setrlimit(RLIMIT_NOFILE, &before), 0);
    turn(f->loop);
    assert_int_equal(stream->reason, CBX_REASON_OVERLOADED);
    close(listener);
}

static void
connect_errors_have_their_reasons(void **state)
{
    (void)state;
    assert_int_equal(target_reason(ECONNREFUSED), CBX_REASON_REFUSED);
    assert_int_equal(target_reason(ENETUNREACH), CBX_REASON_UNREACHABLE);
    assert_int_equal(target_reason(EHOSTUNREACH), CBX_REASON_UNREACHABLE);
    assert_int_equal(target_reason(ETIMEDOUT), CBX_REASON_TIMED_OUT);
    assert_int_equal(target_reason(EMFILE), CBX_REASON_OVERLOADED);
    assert_int_equal(target_reason(EBADF), CBX_REASON_INTERNAL);
}

static void
another_mesh_ends_what_the_first_carried(void **state)
{
    struct fixture *f = *state;
    struct cbx_expose_item item;
    int listener = program_new(&item);
    assert_non_null(front_dial(f->front, "web.cbx", 22, -1, 0, &dial_ops, f));
    struct mesh_stream *stream = incoming(f, &item);
    front_set_mesh(f->front, NULL, NULL);
    assert_true(fake_streams[0].was_reset);
    assert_true(stream->was_refused);
    turn(f->loop);
    assert_string_equal(f->heard, "c");
    assert_int_equal(f->reason, CBX_REASON_GOING_AWAY);
    close(listener);
}

static void
free_ends_everything(void **state)
{
    struct fixture *f = *state;
    struct cbx_expose_item item;
    int listener = program_new(&item);
    int half = client_new(f), whole = client_new(f), refused = client_new(f);
    client_sends(f, half, "\5", 1);
    client_sends(f, whole, socks_request, SOCKS_REQUEST_LENGTH);
    client_sends(f, refused, "GET / HTTP/1.1\r\n\r\n", 18);
    assert_non_null(front_dial(f->front, "web.cbx", 22, -1, 0, &dial_ops, f));
    fake_opened(&fake_streams[1]);
    struct mesh_stream *stream = incoming(f, &item);
    front_free(f->front);
    f->front = NULL;
    assert_true(fake_streams[0].was_reset);
    assert_true(fake_streams[1].was_reset);
    assert_true(stream->was_refused);
    assert_string_equal(f->heard, "");
    turn(f->loop);
    close(half);
    close(whole);
    close(refused);
    close(listener);
}

#define front_test(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int
main(void)
{
    const struct CMUnitTest tests[] = {
        front_test(socks_client_is_connected),
        front_test(http_client_is_connected_and_its_early_bytes_go_first),
        front_test(requests_may_come_byte_by_byte),
        front_test(refusals_are_told_in_each_dialect),
        front_test(names_beyond_cbx_are_unknown),
        front_test(socks4_is_answered_in_its_own_form),
        front_test(other_first_bytes_are_closed_and_counted),
        front_test(bad_requests_are_answered_and_counted),
        front_test(silent_and_slow_clients_are_closed),
        front_test(clients_that_leave_are_forgotten),
        front_test(clients_beyond_the_limit_are_refused_in_their_dialect),
        front_test(listener_pauses_when_too_many_are_refused_and_resumes),
        front_test(listener_survives_a_lack_of_descriptors),
        front_test(taken_port_is_an_error_only_when_asked_for),
        front_test(nonsense_for_an_address_is_an_error),
        front_test(dial_is_told_what_came_of_it),
        front_test(dial_of_an_unknown_name_is_told_later),
        front_test(cancelled_dial_is_reset_and_silent),
        front_test(incoming_stream_reaches_the_program),
        front_test(incoming_stream_to_a_closed_port_is_refused),
        front_test(incoming_stream_that_nobody_answers_times_out),
        front_test(incoming_streams_above_the_limit_are_refused_later),
        front_test(one_peer_does_not_get_all_places),
        front_test(incoming_without_descriptors_is_overloaded),
        cmocka_unit_test(connect_errors_have_their_reasons),
        front_test(another_mesh_ends_what_the_first_carried),
        front_test(free_ends_everything),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
