/* SPDX-License-Identifier: MIT */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "agent/front/conn.h"
#include "fake_mesh.h"
#include "loop_fixture.h"
#include <errno.h>
#include <netinet/in.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

struct fixture {
    struct ev_loop *loop;
    struct conn_set set;
    struct conn *conn;
    struct mesh_stream *stream;
    int program; /* the program's end of the socket */
    /* What the owner heard, in order: "oc" is opened, then closed. */
    char heard[8];
    enum cbx_reason reason;
    bool by_target, drop_when_opened;
};

static void
hear(struct fixture *f, char what)
{
    size_t length = strlen(f->heard);
    assert_true(length + 1 < sizeof f->heard);
    f->heard[length] = what;
}

static void
owner_opened(void *arg)
{
    struct fixture *f = arg;
    assert_int_equal(fake_inside, 0);
    hear(f, 'o');
    if (f->drop_when_opened)
        conn_drop(f->conn, CBX_REASON_RESET);
}

static void
owner_closed(void *arg, enum cbx_reason reason, bool by_target, const char *remedy)
{
    (void)remedy;
    struct fixture *f = arg;
    assert_int_equal(fake_inside, 0);
    hear(f, 'c');
    f->reason = reason;
    f->by_target = by_target;
}

static const struct conn_owner owner = {owner_opened, owner_closed};

static size_t
say_no(const struct conn_refusal *refusal, char *out, size_t size)
{
    return (size_t)snprintf(out, size, "no: %s: %s", refusal->what,
                            cbx_reason_text(refusal->reason));
}

static const struct conn_speech speech = {"hello", 5, say_no};

static int
set_up(void **state)
{
    struct fixture *f = calloc(1, sizeof *f);
    fake_begin();
    f->loop = ev_loop_new(EVFLAG_AUTO);
    conn_set_init(&f->set, f->loop);
    f->set.mesh = &fake_mesh;
    f->program = -1;
    *state = f;
    return 0;
}

static int
tear_down(void **state)
{
    struct fixture *f = *state;
    conn_set_clear(&f->set);
    if (f->program >= 0)
        close(f->program);
    ev_loop_destroy(f->loop);
    free(f);
    return 0;
}

static void
unix_pair(int fds[2])
{
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, fds), 0);
}

/* RST exists only in TCP. */
static void
tcp_pair(int fds[2])
{
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr = {htonl(INADDR_LOOPBACK)}};
    socklen_t size = sizeof address;
    int listener = socket(AF_INET, SOCK_STREAM, 0);
    assert_int_equal(bind(listener, (struct sockaddr *)&address, size), 0);
    assert_int_equal(listen(listener, 1), 0);
    assert_int_equal(getsockname(listener, (struct sockaddr *)&address, &size), 0);
    fds[1] = socket(AF_INET, SOCK_STREAM, 0);
    assert_int_equal(connect(fds[1], (struct sockaddr *)&address, size), 0);
    fds[0] = accept(listener, NULL, NULL);
    assert_true(fds[0] >= 0);
    close(listener);
}

static void
dial(struct fixture *f, bool tcp, const struct conn_speech *says, const char *early)
{
    int fds[2];
    if (tcp)
        tcp_pair(fds);
    else
        unix_pair(fds);
    f->program = fds[1];
    f->conn = conn_new(&f->set, fds[0], says, early, strlen(early));
    assert_non_null(f->conn);
    conn_own(f->conn, &owner, f);
    conn_dial(f->conn, "web", 8080, 5000);
    f->stream = &fake_streams[0];
    assert_string_equal(f->stream->slug, "web");
    assert_int_equal(f->stream->port, 8080);
    assert_int_equal(f->stream->timeout_us, 5000);
}

static void
dial_open(struct fixture *f, bool tcp)
{
    dial(f, tcp, NULL, "");
    fake_opened(f->stream);
    turn(f->loop);
    assert_string_equal(f->heard, "o");
}

static void
program_sends(struct fixture *f, const char *text)
{
    assert_int_equal(send(f->program, text, strlen(text), MSG_NOSIGNAL), strlen(text));
}

static void
program_hears(struct fixture *f, const char *text)
{
    char buffer[400];
    ssize_t got = recv(f->program, buffer, sizeof buffer, MSG_DONTWAIT);
    assert_int_equal(got, strlen(text));
    assert_memory_equal(buffer, text, strlen(text));
}

static void
program_hears_end(struct fixture *f)
{
    char byte;
    assert_int_equal(recv(f->program, &byte, 1, MSG_DONTWAIT), 0);
}

static void
program_resets(struct fixture *f)
{
    const struct linger at_once = {1, 0};
    assert_int_equal(setsockopt(f->program, SOL_SOCKET, SO_LINGER, &at_once, sizeof at_once), 0);
    close(f->program);
    f->program = -1;
}

static void
far_hears(struct fixture *f, const char *text)
{
    char buffer[400];
    assert_int_equal(fake_pull(f->stream, buffer, sizeof buffer), strlen(text));
    assert_memory_equal(buffer, text, strlen(text));
}

static void
far_hears_code(struct fixture *f, int code)
{
    char byte;
    assert_int_equal(fake_pull(f->stream, &byte, 1), code);
}

/* After a read that took less than it might have there is nothing to read until the loop says so.
 */
static void
far_waits(struct fixture *f)
{
    f->stream->may_pull = false;
    far_hears_code(f, CBX_ERR_AGAIN);
    turn(f->loop);
    assert_true(f->stream->may_pull);
}

static void
check_over(struct fixture *f, const char *heard, enum cbx_reason reason)
{
    turn(f->loop);
    assert_int_equal(f->set.count, 0);
    assert_string_equal(f->heard, heard);
    assert_int_equal(f->reason, reason);
}

static void
events_follow_from_state(void **state)
{
    (void)state;
    static const struct {
        struct conn_state state;
        int events;
    } cases[] = {
        {{CONN_DIALING, CONN_INPUT_OPEN, CONN_OUTPUT_OPEN, true, false, false}, EV_READ},
        {{CONN_DIALING, CONN_INPUT_OPEN, CONN_OUTPUT_OPEN, false, false, false}, 0},
        {{CONN_OPEN, CONN_INPUT_OPEN, CONN_OUTPUT_OPEN, true, true, false}, EV_READ | EV_WRITE},
        {{CONN_OPEN, CONN_INPUT_OPEN, CONN_OUTPUT_OPEN, false, false, true}, EV_WRITE},
        {{CONN_OPEN, CONN_INPUT_ENDED, CONN_OUTPUT_OPEN, true, true, false}, EV_WRITE},
        {{CONN_OPEN, CONN_INPUT_OPEN, CONN_OUTPUT_ENDING, false, true, true}, EV_WRITE},
        {{CONN_OPEN, CONN_INPUT_OPEN, CONN_OUTPUT_ENDED, true, true, false}, EV_READ},
        {{CONN_OPEN, CONN_INPUT_BROKEN, CONN_OUTPUT_BROKEN, true, true, false}, 0},
        {{CONN_FAREWELL, CONN_INPUT_OPEN, CONN_OUTPUT_ENDING, true, false, true}, EV_WRITE},
        {{CONN_FAREWELL, CONN_INPUT_OPEN, CONN_OUTPUT_ENDED, true, false, false}, EV_READ},
        {{CONN_REFUSED, CONN_INPUT_OPEN, CONN_OUTPUT_OPEN, true, true, true}, 0},
        {{CONN_ENDED, CONN_INPUT_OPEN, CONN_OUTPUT_OPEN, true, true, true}, 0},
        {{CONN_OVER, CONN_INPUT_OPEN, CONN_OUTPUT_OPEN, true, true, true}, 0},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++)
        assert_int_equal(conn_events(&cases[i].state), cases[i].events);
}

static void
bytes_flow_both_ways(void **state)
{
    struct fixture *f = *state;
    dial_open(f, false);
    far_hears_code(f, CBX_ERR_AGAIN);
    program_sends(f, "ping");
    assert_false(f->stream->may_pull);
    turn(f->loop);
    assert_true(f->stream->may_pull);
    far_hears(f, "ping");
    assert_int_equal(fake_push(f->stream, "pong", 4), 4);
    program_hears(f, "pong");
}

static void
a_short_read_is_not_tried_again(void **state)
{
    struct fixture *f = *state;
    dial_open(f, false);
    program_sends(f, "one");
    far_hears(f, "one");
    program_sends(f, "two");
    far_waits(f);
    far_hears(f, "two");
    f->stream->may_pull = false;
    far_hears_code(f, CBX_ERR_AGAIN);
    turn(f->loop);
    assert_false(f->stream->may_pull);
}

static void
one_pull_takes_what_one_packet_of_loopback_carries(void **state)
{
    struct fixture *f = *state;
    static char bytes[128 * 1024];
    int size = 4 * (int)sizeof bytes;
    dial_open(f, false);
    assert_int_equal(setsockopt(f->program, SOL_SOCKET, SO_SNDBUF, &size, sizeof size), 0);
    assert_int_equal(send(f->program, bytes, sizeof bytes, MSG_NOSIGNAL), sizeof bytes);
    assert_int_equal(fake_pull(f->stream, bytes, sizeof bytes), 65344);
    assert_int_equal(fake_pull(f->stream, bytes, 1000), 1000);
    assert_int_equal(fake_pull(f->stream, bytes, 65536), sizeof bytes - 65344 - 1000);
    far_hears_code(f, CBX_ERR_AGAIN);
}

static void
success_is_said_only_after_the_answer(void **state)
{
    struct fixture *f = *state;
    char byte;
    dial(f, false, &speech, "");
    turn(f->loop);
    assert_int_equal(recv(f->program, &byte, 1, MSG_DONTWAIT), -1);
    fake_opened(f->stream);
    assert_int_equal(fake_push(f->stream, " you", 4), 4);
    program_hears(f, "hello you");
}

static void
early_bytes_come_first(void **state)
{
    struct fixture *f = *state;
    dial(f, false, &speech, "early ");
    program_sends(f, "late");
    turn(f->loop);
    f->stream->may_pull = false;
    fake_opened(f->stream);
    turn(f->loop);
    assert_true(f->stream->may_pull);
    char buffer[4];
    assert_int_equal(fake_pull(f->stream, buffer, 4), 4);
    assert_memory_equal(buffer, "earl", 4);
    far_hears(f, "y ");
    far_hears(f, "late");
}

static void
program_half_closes_first(void **state)
{
    struct fixture *f = *state;
    dial_open(f, false);
    program_sends(f, "request");
    shutdown(f->program, SHUT_WR);
    turn(f->loop);
    far_hears(f, "request");
    far_waits(f);
    far_hears_code(f, CBX_ERR_CLOSED);
    far_hears_code(f, CBX_ERR_CLOSED);
    turn(f->loop);
    assert_int_equal(fake_push(f->stream, "answer", 6), 6);
    fake_push_end(f->stream);
    program_hears(f, "answer");
    program_hears_end(f);
    fake_closed(f->stream, CBX_REASON_NONE, false);
    assert_int_equal(f->set.count, 1); /* nothing is freed inside */
    check_over(f, "oc", CBX_REASON_NONE);
}

static void
far_half_closes_first(void **state)
{
    struct fixture *f = *state;
    dial_open(f, false);
    fake_push_end(f->stream);
    program_hears_end(f);
    program_sends(f, "still here");
    turn(f->loop);
    far_hears(f, "still here");
    assert_int_equal(fake_push(f->stream, "x", 1), CBX_ERR_IO);
    shutdown(f->program, SHUT_WR);
    far_waits(f);
    far_hears_code(f, CBX_ERR_CLOSED);
    fake_closed(f->stream, CBX_REASON_NONE, true);
    check_over(f, "oc", CBX_REASON_NONE);
}

static void
program_reset_seen_by_reading(void **state)
{
    struct fixture *f = *state;
    dial_open(f, true);
    far_hears_code(f, CBX_ERR_AGAIN);
    program_resets(f);
    turn(f->loop);
    assert_true(f->stream->may_pull);
    far_hears_code(f, CBX_ERR_IO);
    check_over(f, "oc", CBX_REASON_RESET);
    assert_true(f->stream->was_reset);
    assert_int_equal(f->stream->reason, CBX_REASON_RESET);
}

static void
program_reset_seen_by_writing(void **state)
{
    struct fixture *f = *state;
    dial_open(f, true);
    program_resets(f);
    assert_int_equal(fake_push(f->stream, "x", 1), CBX_ERR_IO);
    check_over(f, "oc", CBX_REASON_RESET);
    assert_true(f->stream->was_reset);
}

static void
program_reset_that_the_mesh_closes_itself(void **state)
{
    struct fixture *f = *state;
    dial_open(f, true);
    program_resets(f);
    far_hears_code(f, CBX_ERR_IO);
    fake_closed(f->stream, CBX_REASON_RESET, false);
    check_over(f, "oc", CBX_REASON_RESET);
    assert_false(f->stream->was_reset);
}

static void
far_reset_reaches_the_program_as_rst(void **state)
{
    struct fixture *f = *state;
    char byte;
    dial_open(f, true);
    fake_closed(f->stream, CBX_REASON_RESET, true);
    check_over(f, "oc", CBX_REASON_RESET);
    assert_true(f->by_target);
    assert_int_equal(recv(f->program, &byte, 1, 0), -1);
    assert_int_equal(errno, ECONNRESET);
}

static void
slow_reader_holds_the_far_side_back(void **state)
{
    struct fixture *f = *state;
    static char block[65536];
    dial_open(f, false);
    size_t pushed = 0, read = 0;
    ssize_t taken;
    while ((taken = fake_push(f->stream, block, sizeof block)) > 0)
        pushed += (size_t)taken;
    assert_int_equal(taken, CBX_ERR_AGAIN);
    turn(f->loop);
    assert_false(f->stream->may_push);
    while ((taken = recv(f->program, block, sizeof block, MSG_DONTWAIT)) > 0)
        read += (size_t)taken;
    assert_int_equal(read, pushed);
    turn(f->loop);
    assert_true(f->stream->may_push);
}

static void
input_waits_in_the_socket_without_spinning(void **state)
{
    struct fixture *f = *state;
    dial_open(f, false);
    program_sends(f, "x");
    turn(f->loop); /* the mesh is told once, and takes its time */
    f->stream->may_pull = false;
    turn(f->loop);
    assert_false(f->stream->may_pull);
    far_hears(f, "x");
}

static void
refusal_is_said_and_not_cut_off(void **state)
{
    struct fixture *f = *state;
    dial(f, true, &speech, "early");
    program_sends(f, "never read");
    turn(f->loop);
    fake_closed(f->stream, CBX_REASON_NOT_EXPOSED, true);
    turn(f->loop);
    assert_string_equal(f->heard, "c");
    assert_int_equal(f->set.count, 1);
    program_hears(f, "no: web.cbx:8080: port not exposed");
    program_hears_end(f);
    close(f->program);
    f->program = -1;
    check_over(f, "c", CBX_REASON_NOT_EXPOSED);
    assert_int_equal(f->set.stats.refused, 1);
}

static void
refused_program_that_stays_is_closed_after_a_while(void **state)
{
    struct fixture *f = *state;
    dial(f, true, &speech, "");
    fake_closed(f->stream, CBX_REASON_TIMED_OUT, false);
    turn(f->loop);
    assert_int_equal(f->set.count, 1);
    ev_run(f->loop, 0); /* until nothing is waited for */
    check_over(f, "c", CBX_REASON_TIMED_OUT);
}

static void
refusal_without_words_resets(void **state)
{
    struct fixture *f = *state;
    char byte;
    dial(f, true, NULL, "");
    fake_closed(f->stream, CBX_REASON_REFUSED, true);
    check_over(f, "c", CBX_REASON_REFUSED);
    assert_int_equal(recv(f->program, &byte, 1, 0), -1);
}

static void
client_that_leaves_before_the_answer_resets(void **state)
{
    struct fixture *f = *state;
    dial(f, true, &speech, "");
    close(f->program);
    f->program = -1;
    check_over(f, "c", CBX_REASON_RESET);
    assert_true(f->stream->was_reset);
    assert_int_equal(f->set.stats.gave_up, 1);
    assert_int_equal(f->set.stats.reset, 0);
}

static void
client_that_resets_before_the_answer_resets(void **state)
{
    struct fixture *f = *state;
    dial(f, true, &speech, "early");
    program_resets(f);
    check_over(f, "c", CBX_REASON_RESET);
    assert_true(f->stream->was_reset);
}

static void
half_close_behind_early_bytes_is_kept(void **state)
{
    struct fixture *f = *state;
    dial(f, true, &speech, "early");
    shutdown(f->program, SHUT_WR);
    turn(f->loop);
    assert_false(f->stream->was_reset);
    fake_opened(f->stream);
    far_hears(f, "early");
    far_hears_code(f, CBX_ERR_CLOSED);
}

static void
half_close_of_a_dial_before_the_answer_is_kept(void **state)
{
    struct fixture *f = *state;
    dial(f, false, NULL, "");
    program_sends(f, "all of it");
    shutdown(f->program, SHUT_WR);
    turn(f->loop);
    assert_false(f->stream->was_reset);
    fake_opened(f->stream);
    far_hears(f, "all of it");
    far_waits(f);
    far_hears_code(f, CBX_ERR_CLOSED);
}

static void
opened_and_closed_in_one_batch_are_told_in_order(void **state)
{
    struct fixture *f = *state;
    dial(f, false, NULL, "");
    fake_opened(f->stream);
    fake_closed(f->stream, CBX_REASON_LOST, false);
    assert_string_equal(f->heard, "");
    check_over(f, "oc", CBX_REASON_LOST);
}

static void
owner_may_drop_inside_opened(void **state)
{
    struct fixture *f = *state;
    dial(f, false, NULL, "");
    f->drop_when_opened = true;
    fake_opened(f->stream);
    check_over(f, "o", CBX_REASON_NONE);
    assert_true(f->stream->was_reset);
}

static void
drop_resets_stream_and_socket(void **state)
{
    struct fixture *f = *state;
    char byte;
    dial_open(f, true);
    conn_drop(f->conn, CBX_REASON_GOING_AWAY);
    check_over(f, "o", CBX_REASON_NONE);
    assert_int_equal(f->stream->reason, CBX_REASON_GOING_AWAY);
    assert_int_equal(recv(f->program, &byte, 1, 0), -1);
}

static void
probe_says_opened_and_ends(void **state)
{
    struct fixture *f = *state;
    f->conn = conn_new(&f->set, -1, NULL, NULL, 0);
    assert_non_null(f->conn);
    conn_own(f->conn, &owner, f);
    conn_dial(f->conn, "web", 22, 0);
    f->stream = &fake_streams[0];
    fake_opened(f->stream);
    assert_int_equal(fake_push(f->stream, "SSH-2.0", 7), 7);
    turn(f->loop);
    assert_string_equal(f->heard, "o");
    far_hears_code(f, CBX_ERR_CLOSED);
    fake_push_end(f->stream);
    fake_closed(f->stream, CBX_REASON_NONE, false);
    check_over(f, "oc", CBX_REASON_NONE);
}

static void
probe_does_not_wait_for_the_far_program(void **state)
{
    struct fixture *f = *state;
    f->conn = conn_new(&f->set, -1, NULL, NULL, 0);
    assert_non_null(f->conn);
    conn_own(f->conn, &owner, f);
    conn_dial(f->conn, "web", 22, 0);
    f->stream = &fake_streams[0];
    fake_opened(f->stream);
    ev_run(f->loop, 0);
    check_over(f, "oc", CBX_REASON_NONE);
    assert_true(f->stream->was_reset);
}

static void
dial_before_the_join_is_refused(void **state)
{
    struct fixture *f = *state;
    int fds[2];
    unix_pair(fds);
    f->program = fds[1];
    f->set.mesh = NULL;
    f->conn = conn_new(&f->set, fds[0], &speech, NULL, 0);
    assert_non_null(f->conn);
    conn_own(f->conn, &owner, f);
    conn_dial(f->conn, "web", 80, 0);
    assert_string_equal(f->heard, "");
    turn(f->loop);
    program_hears(f, "no: this agent has not joined a pond yet: peer away");
    close(f->program);
    f->program = -1;
    check_over(f, "c", CBX_REASON_PEER_AWAY);
}

static void
accepted_stream_flows_and_ends(void **state)
{
    struct fixture *f = *state;
    int fds[2];
    unix_pair(fds);
    f->program = fds[1];
    f->conn = conn_new(&f->set, fds[0], NULL, NULL, 0);
    assert_non_null(f->conn);
    f->stream = fake_stream();
    conn_accept(f->conn, f->stream, NULL);
    program_sends(f, "220 ready");
    turn(f->loop);
    far_hears(f, "220 ready");
    fake_closed(f->stream, CBX_REASON_NONE, false);
    check_over(f, "", CBX_REASON_NONE);
    program_hears_end(f);
}

static void
abandon_resets_all_and_tells_owners(void **state)
{
    struct fixture *f = *state;
    dial_open(f, true);
    conn_set_abandon(&f->set, CBX_REASON_GOING_AWAY);
    assert_true(f->stream->was_reset);
    check_over(f, "oc", CBX_REASON_GOING_AWAY);
}

static void
names_of_other_ponds_and_worlds_are_unknown(void **state)
{
    struct fixture *f = *state;
    memcpy(f->set.pond, "demo", 5);
    static const struct {
        const char *name;
        enum cbx_reason reason;
    } cases[] = {
        {"web.cbx", CBX_REASON_NONE},
        {"WEB.demo.CBX.", CBX_REASON_NONE},
        {"web.other.cbx", CBX_REASON_UNKNOWN_NAME},
        {"example.org", CBX_REASON_UNKNOWN_NAME},
        {"-web.cbx", CBX_REASON_UNKNOWN_NAME},
        {"127.0.0.1", CBX_REASON_UNKNOWN_NAME},
        {"", CBX_REASON_UNKNOWN_NAME},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct cbx_dial_name name;
        const char *why;
        assert_int_equal(conn_name(&f->set, cases[i].name, strlen(cases[i].name), &name, &why),
                         cases[i].reason);
        assert_int_equal(why[0] == '\0', cases[i].reason == CBX_REASON_NONE);
    }
}

/* Two conns whose streams are joined: what one pulls is pushed into the other. */
struct pipe {
    struct mesh_stream *from, *to;
    int writer, reader; /* the programs */
    uint64_t total, written, read;
    char carried[16384];
    size_t at, left;
    bool ended, told_end, hung_up, heard_end;
};

static uint8_t
byte_at(uint64_t offset)
{
    return (uint8_t)((offset * 2654435761u) >> 11 ^ offset >> 20);
}

static void
pump_program_writes(struct pipe *p)
{
    uint8_t block[30011];
    size_t length = sizeof block;
    if (p->total - p->written < length)
        length = (size_t)(p->total - p->written);
    for (size_t i = 0; i < length; i++)
        block[i] = byte_at(p->written + i);
    ssize_t sent = length > 0 ? send(p->writer, block, length, MSG_DONTWAIT) : 0;
    if (sent > 0)
        p->written += (uint64_t)sent;
    if (p->written == p->total && !p->hung_up) {
        p->hung_up = true;
        shutdown(p->writer, SHUT_WR);
    }
}

static void
pump_program_reads(struct pipe *p)
{
    uint8_t block[20021];
    ssize_t got = recv(p->reader, block, sizeof block, MSG_DONTWAIT);
    for (ssize_t i = 0; i < got; i++) {
        if (block[i] != byte_at(p->read + (uint64_t)i))
            fail_msg("byte %llu is wrong", (unsigned long long)p->read + (unsigned long long)i);
    }
    if (got > 0)
        p->read += (uint64_t)got;
    p->heard_end |= got == 0;
}

/* As the mesh does: only while the end has not said AGAIN. */
static void
pump_mesh(struct pipe *p)
{
    if (p->left == 0 && !p->ended && p->from->may_pull) {
        ssize_t got = fake_pull(p->from, p->carried, 1 + (size_t)rand() % sizeof p->carried);
        p->ended = got == CBX_ERR_CLOSED;
        assert_true(got > 0 || got == CBX_ERR_AGAIN || p->ended);
        p->at = 0;
        p->left = got > 0 ? (size_t)got : 0;
    }
    if (p->left > 0 && p->to->may_push) {
        ssize_t taken = fake_push(p->to, p->carried + p->at, p->left);
        assert_true(taken > 0 || taken == CBX_ERR_AGAIN);
        if (taken > 0) {
            p->at += (size_t)taken;
            p->left -= (size_t)taken;
        }
    }
    if (p->left == 0 && p->ended && !p->told_end) {
        p->told_end = true;
        fake_push_end(p->to);
    }
}

static void
sixty_four_mib_pass_byte_exact(void **state)
{
    struct fixture *f = *state;
    int near[2], far[2];
    dial_open(f, true);
    near[1] = f->program;
    tcp_pair(far);
    struct mesh_stream *other = fake_stream();
    struct conn *taker = conn_new(&f->set, far[0], NULL, NULL, 0);
    assert_non_null(taker);
    conn_accept(taker, other, NULL);
    static struct pipe there, back;
    there = (struct pipe){f->stream, other, near[1], far[1], .total = 64 << 20};
    back = (struct pipe){other, f->stream, far[1], near[1], .total = 9 << 20};
    for (uint32_t idle = 0; !there.heard_end || !back.heard_end; idle++) {
        uint64_t before = there.read + back.read;
        pump_program_writes(&there);
        pump_program_writes(&back);
        ev_run(f->loop, EVRUN_NOWAIT);
        pump_mesh(&there);
        pump_mesh(&back);
        pump_program_reads(&there);
        pump_program_reads(&back);
        if (there.read + back.read != before)
            idle = 0;
        assert_true(idle < 100000);
    }
    assert_int_equal(there.read, there.total);
    assert_int_equal(back.read, back.total);
    fake_closed(f->stream, CBX_REASON_NONE, false);
    fake_closed(other, CBX_REASON_NONE, false);
    check_over(f, "oc", CBX_REASON_NONE);
    close(far[1]);
}

#define conn_test(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(events_follow_from_state),
        conn_test(bytes_flow_both_ways),
        conn_test(a_short_read_is_not_tried_again),
        conn_test(one_pull_takes_what_one_packet_of_loopback_carries),
        conn_test(success_is_said_only_after_the_answer),
        conn_test(early_bytes_come_first),
        conn_test(program_half_closes_first),
        conn_test(far_half_closes_first),
        conn_test(program_reset_seen_by_reading),
        conn_test(program_reset_seen_by_writing),
        conn_test(program_reset_that_the_mesh_closes_itself),
        conn_test(far_reset_reaches_the_program_as_rst),
        conn_test(slow_reader_holds_the_far_side_back),
        conn_test(input_waits_in_the_socket_without_spinning),
        conn_test(refusal_is_said_and_not_cut_off),
        conn_test(refused_program_that_stays_is_closed_after_a_while),
        conn_test(refusal_without_words_resets),
        conn_test(client_that_leaves_before_the_answer_resets),
        conn_test(client_that_resets_before_the_answer_resets),
        conn_test(half_close_behind_early_bytes_is_kept),
        conn_test(half_close_of_a_dial_before_the_answer_is_kept),
        conn_test(opened_and_closed_in_one_batch_are_told_in_order),
        conn_test(owner_may_drop_inside_opened),
        conn_test(drop_resets_stream_and_socket),
        conn_test(probe_says_opened_and_ends),
        conn_test(probe_does_not_wait_for_the_far_program),
        conn_test(dial_before_the_join_is_refused),
        conn_test(accepted_stream_flows_and_ends),
        conn_test(abandon_resets_all_and_tells_owners),
        conn_test(names_of_other_ponds_and_worlds_are_unknown),
        conn_test(sixty_four_mib_pass_byte_exact),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
