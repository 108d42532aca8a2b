/* SPDX-License-Identifier: MIT */
/* Two of them over loopback; the meshes behind them are the test's own. */
#include "agent/lanes/direct.h"
#include "loop_fixture.h"
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

/* One end: what the real mesh would hold. */
struct mesh {
    struct agent_direct *direct;
    struct cbx_carrier *carrier;
    uint8_t id[CBX_LANE_ID];
    bool listener;
    unsigned lanes, failures;
    int says; /* what mesh_direct_attach answers */
    char text[200];
};

struct fixture {
    struct ev_loop *loop;
    struct mesh a, b;
    struct cbx_lane_ticket ticket;
    struct candidates to_a;
    bool inside; /* a call of the mesh */
};

static struct fixture *current;

int
mesh_direct_attach(struct mesh *mesh, struct cbx_carrier *carrier,
                   const struct cbx_lane_ticket *ticket, bool listener)
{
    assert_false(current->inside);
    mesh->lanes++;
    mesh->listener = listener;
    memcpy(mesh->id, ticket->id, sizeof mesh->id);
    if (mesh->says < 0) {
        carrier->ops->close(carrier);
        return mesh->says;
    }
    assert_null(mesh->carrier);
    mesh->carrier = carrier;
    agent_direct_forget(mesh->direct, ticket->id); /* what a mesh may do from there */
    return 0;
}

void
mesh_direct_failed(struct mesh *mesh, const uint8_t id[CBX_LANE_ID], const char *text)
{
    assert_false(current->inside);
    mesh->failures++;
    memcpy(mesh->id, id, sizeof mesh->id);
    (void)snprintf(mesh->text, sizeof mesh->text, "%s", text);
    agent_direct_forget(mesh->direct, id);
}

static void
begin(struct fixture *f, struct mesh *mesh)
{
    struct cbx_error error = {""};
    mesh->direct = agent_direct_new(f->loop, "127.0.0.1:0", &error);
    assert_non_null(mesh->direct);
    agent_direct_serve(mesh->direct, mesh);
}

static int
set_up(void **state)
{
    struct fixture *f = test_calloc(1, sizeof *f);
    current = f;
    *state = f;
    f->loop = ev_loop_new(EVFLAG_AUTO);
    return f->loop ? 0 : -1;
}

static struct fixture *
begin_both(void **state)
{
    struct fixture *f = *state;
    begin(f, &f->a);
    begin(f, &f->b);
    cbx_lane_ticket_make(&f->ticket, CBX_CIPHER_CHACHA20POLY1305);
    agent_direct_candidates(f->a.direct, "", &f->to_a);
    assert_int_equal(f->to_a.count, 1);
    return f;
}

static void
end(struct mesh *mesh)
{
    agent_direct_free(mesh->direct);
    if (mesh->carrier)
        mesh->carrier->ops->close(mesh->carrier);
}

static int
tear_down(void **state)
{
    struct fixture *f = *state;
    end(&f->a);
    end(&f->b);
    ev_loop_destroy(f->loop);
    test_free(f);
    return 0;
}

static void
expect(struct fixture *f)
{
    f->inside = true;
    agent_direct_expect(f->a.direct, &f->ticket);
    f->inside = false;
}

static void
connect_it(struct fixture *f, const struct candidates *to)
{
    f->inside = true;
    agent_direct_connect(f->b.direct, &f->ticket, to);
    f->inside = false;
}

static long
counter(const struct mesh *mesh, const char *name)
{
    json_t *object = agent_direct_json(mesh->direct);
    assert_non_null(object);
    const json_t *value = json_object_get(object, name);
    assert_true(json_is_integer(value));
    long number = (long)json_integer_value(value);
    json_decref(object);
    return number;
}

static void
pass(struct fixture *f, struct cbx_carrier *from, struct cbx_carrier *to)
{
    char byte = 0;
    struct iovec vector = {.iov_base = (char[]){"x"}, .iov_len = 1};
    assert_int_equal(from->ops->writev(from, &vector, 1), 1);
    eventually(f, to->ops->read(to, &byte, 1) == 1);
    assert_int_equal(byte, 'x');
}

static void
a_lane_stands_at_both_ends(void **state)
{
    struct fixture *f = begin_both(state);
    expect(f);
    connect_it(f, &f->to_a);
    eventually(f, f->a.carrier && f->b.carrier);
    assert_true(f->a.listener);
    assert_false(f->b.listener);
    assert_memory_equal(f->a.id, f->ticket.id, sizeof f->a.id);
    assert_memory_equal(f->b.id, f->ticket.id, sizeof f->b.id);
    pass(f, f->a.carrier, f->b.carrier);
    pass(f, f->b.carrier, f->a.carrier);
    assert_int_equal(counter(&f->a, "proven"), 1);
    assert_int_equal(counter(&f->a, "expected"), 0);
    assert_int_equal(counter(&f->b, "dials"), 1);
    assert_int_equal(counter(&f->b, "dials_failed"), 0);
}

static void
a_ticket_is_good_once(void **state)
{
    struct fixture *f = begin_both(state);
    expect(f);
    connect_it(f, &f->to_a);
    eventually(f, f->a.carrier && f->b.carrier);
    connect_it(f, &f->to_a);
    eventually(f, f->b.failures == 1);
    assert_int_equal(f->a.lanes, 1);
    assert_int_equal(counter(&f->a, "repeated"), 1);
    assert_int_equal(counter(&f->a, "refused"), 0);
}

/* Of several connections to one listener the first is answered, the others count as repeated. */
static void
a_race_to_one_listener_makes_one_lane(void **state)
{
    struct fixture *f = begin_both(state);
    f->to_a.count = 3;
    memcpy(f->to_a.item[1], f->to_a.item[0], CANDIDATE_TEXT_MAX);
    memcpy(f->to_a.item[2], f->to_a.item[0], CANDIDATE_TEXT_MAX);
    expect(f);
    connect_it(f, &f->to_a);
    eventually(f, f->a.carrier && f->b.carrier);
    eventually(f, counter(&f->a, "repeated") + counter(&f->a, "refused") == 2);
    assert_int_equal(f->a.lanes, 1);
    assert_int_equal(f->b.failures, 0);
}

static void
nobody_is_let_in_unexpected(void **state)
{
    struct fixture *f = begin_both(state);
    connect_it(f, &f->to_a);
    eventually(f, f->b.failures == 1);
    assert_memory_equal(f->b.id, f->ticket.id, sizeof f->b.id);
    assert_int_equal(f->a.lanes, 0);
    assert_int_equal(counter(&f->a, "refused"), 1);
    assert_int_equal(counter(&f->b, "dials_failed"), 1);
}

/* Struck out before the proof is looked at: one guess. */
static void
a_wrong_proof_spends_the_ticket(void **state)
{
    struct fixture *f = begin_both(state);
    expect(f);
    f->ticket.secret[0] ^= 1;
    connect_it(f, &f->to_a);
    eventually(f, f->b.failures == 1);
    f->ticket.secret[0] ^= 1;
    connect_it(f, &f->to_a);
    eventually(f, f->b.failures == 2);
    assert_int_equal(f->a.lanes + f->b.lanes, 0);
    assert_int_equal(counter(&f->a, "refused"), 2);
    assert_int_equal(counter(&f->a, "expected"), 0);
}

static void
what_is_forgotten_is_not_expected(void **state)
{
    struct fixture *f = begin_both(state);
    expect(f);
    assert_int_equal(counter(&f->a, "expected"), 1);
    agent_direct_forget(f->a.direct, f->ticket.id);
    assert_int_equal(counter(&f->a, "expected"), 0);
    connect_it(f, &f->to_a);
    eventually(f, f->b.failures == 1);
    assert_int_equal(f->a.lanes, 0);
}

static void
a_forgotten_try_says_nothing(void **state)
{
    struct fixture *f = begin_both(state);
    connect_it(f, &f->to_a);
    agent_direct_forget(f->b.direct, f->ticket.id);
    for (int i = 0; i < 50; i++) {
        (void)ev_run(f->loop, EVRUN_NOWAIT);
        (void)usleep(1000);
    }
    assert_int_equal(f->b.failures + f->b.lanes, 0);
}

static void
a_try_that_cannot_begin_is_told_from_the_loop(void **state)
{
    struct fixture *f = begin_both(state);
    struct candidates none = {0};
    connect_it(f, &none);
    assert_int_equal(f->b.failures, 0);
    eventually(f, f->b.failures == 1);
    assert_memory_equal(f->b.id, f->ticket.id, sizeof f->b.id);
}

static void
of_many_tries_at_once_the_last_are_refused(void **state)
{
    struct fixture *f = begin_both(state);
    for (int i = 0; i < 40; i++) {
        cbx_lane_ticket_make(&f->ticket, CBX_CIPHER_CHACHA20POLY1305);
        connect_it(f, &f->to_a);
    }
    eventually(f, f->b.failures == 40);
    assert_int_equal(counter(&f->b, "dials"), 40);
    assert_int_equal(counter(&f->a, "accepted"), 32);
}

static void
a_mesh_that_waits_no_more_costs_the_lane_only(void **state)
{
    struct fixture *f = begin_both(state);
    f->a.says = f->b.says = CBX_ERR_STATE;
    expect(f);
    connect_it(f, &f->to_a);
    eventually(f, f->a.lanes == 1 && f->b.lanes == 1);
    assert_int_equal(f->b.failures, 0);
}

static void
without_a_mesh_nothing_is_expected_or_tried(void **state)
{
    struct fixture *f = begin_both(state);
    expect(f);
    connect_it(f, &f->to_a);
    agent_direct_serve(f->a.direct, NULL);
    agent_direct_serve(f->b.direct, NULL);
    for (int i = 0; i < 50; i++) {
        (void)ev_run(f->loop, EVRUN_NOWAIT);
        (void)usleep(1000);
    }
    assert_int_equal(f->a.lanes + f->b.lanes + f->b.failures, 0);
    assert_int_equal(counter(&f->a, "expected"), 0);
}

static void
an_address_asked_for_must_be_there(void **state)
{
    struct fixture *f = begin_both(state);
    struct cbx_error error = {""};
    assert_null(agent_direct_new(f->loop, f->to_a.item[0], &error));
    assert_non_null(strstr(error.text, "--direct"));
    json_t *off = agent_direct_json(NULL);
    assert_non_null(off);
    assert_string_equal(json_string_value(json_object_get(off, "mode")), "off");
    json_decref(off);
}

#define WITH(test) cmocka_unit_test_setup_teardown(test, set_up, tear_down)

int
main(void)
{
    const struct CMUnitTest tests[] = {
        WITH(a_lane_stands_at_both_ends),
        WITH(a_ticket_is_good_once),
        WITH(a_race_to_one_listener_makes_one_lane),
        WITH(nobody_is_let_in_unexpected),
        WITH(a_wrong_proof_spends_the_ticket),
        WITH(what_is_forgotten_is_not_expected),
        WITH(a_forgotten_try_says_nothing),
        WITH(a_try_that_cannot_begin_is_told_from_the_loop),
        WITH(of_many_tries_at_once_the_last_are_refused),
        WITH(a_mesh_that_waits_no_more_costs_the_lane_only),
        WITH(without_a_mesh_nothing_is_expected_or_tried),
        WITH(an_address_asked_for_must_be_there),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
