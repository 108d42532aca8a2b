/* SPDX-License-Identifier: MIT */
/* What a link says, in which order, and how much is in flight. */
#include "link_fixture.h"

/* ---- order and fairness ---- */

static void
circuits_share_by_bytes_whatever_their_record_size(void **state)
{
    (void)state;
    greet();
    no_cap();
    source_init(0, 500, 100000);
    source_init(1, 4096, 100000);
    source_init(2, 20000, 100000);
    source_init(3, 65000, 100000);
    take(&agent, NULL, 16 * 1024 * KIB);
    for (int i = 0; i < 4; i++)
        assert_in_range(source[i].sent, 4 * 1024 * KIB - 140 * KIB, 4 * 1024 * KIB + 140 * KIB);
}

static void
a_newly_active_circuit_is_served_first(void **state)
{
    (void)state;
    greet();
    no_cap();
    source_init(0, 65000, 100000);
    source_init(1, 65000, 100000);
    take(&agent, NULL, 2 * 1024 * KIB);
    source_init(2, 100, 1);
    /* Only what was committed already is before it. */
    struct iovec vector[CBX_LINK_OUT_SLICES];
    uint32_t committed = agent.link.out_count;
    int count = cbx_link_output(&agent.link, vector, CBX_LINK_OUT_SLICES, now);
    assert_true(count > (int)committed);
    assert_int_equal(vector[committed].iov_len, source[2].sent);
    assert_int_equal(source[2].left, 0);
}

/* However many downloads begin at once: a circuit of short frames does not wait for their first. */
static void
short_frames_go_ahead_of_circuits_that_begin(void **state)
{
    (void)state;
    greet();
    no_cap();
    source_init(0, 100, 1);
    take(&agent, NULL, KIB);
    source_init(1, 4000, 10);
    source_init(2, 4000, 10);
    source_init(3, 4000, 10);
    source[0].left = 1;
    cbx_circuit_data_ready(&source[0].circuit);
    struct iovec vector[CBX_LINK_OUT_SLICES];
    assert_true(cbx_link_output(&agent.link, vector, CBX_LINK_OUT_SLICES, now) > 3);
    assert_true(vector[0].iov_len < 200);
    assert_int_equal(source[0].left, 0);
}

/* Being idle saves nothing up: a circuit that was sparse for long gets its share and no more. */
static void
a_sparse_circuit_gathers_no_claim(void **state)
{
    (void)state;
    greet();
    no_cap();
    source_init(0, 4000, 1000000);
    source_init(1, 100, 1);
    for (int i = 0; i < 3000; i++) {
        source[1].left = 1;
        cbx_circuit_data_ready(&source[1].circuit);
        take(&agent, NULL, 20000);
    }
    source[1].size = 4000;
    source[1].left = 1000000;
    cbx_circuit_data_ready(&source[1].circuit);
    uint64_t zero = source[0].sent, one = source[1].sent;
    take(&agent, NULL, 4 * 1024 * KIB);
    assert_in_range(source[1].sent - one, 2 * 1024 * KIB - 100 * KIB, 2 * 1024 * KIB + 300 * KIB);
    assert_in_range(source[0].sent - zero, 2 * 1024 * KIB - 300 * KIB, 2 * 1024 * KIB + 100 * KIB);
}

static void
control_goes_first(void **state)
{
    (void)state;
    greet();
    no_cap();
    source_init(0, 1000, 3);
    source[0].control_left = 2;
    cbx_circuit_control_ready(&source[0].circuit);
    send_number(&agent, CBX_FRAME_WANT, 1);
    move(&agent, &hub, 1 << 16);
    static const uint8_t order[] = {CBX_FRAME_WANT, CBX_FRAME_CREDIT, CBX_FRAME_CREDIT,
                                    CBX_FRAME_DATA, CBX_FRAME_DATA,   CBX_FRAME_DATA};
    assert_int_equal(hub.frames, sizeof order);
    assert_memory_equal(hub.order, order, sizeof order);
}

static void
control_takes_a_quarter_of_a_busy_link_at_most(void **state)
{
    (void)state;
    greet();
    no_cap();
    source_init(0, 4000, 1000000);
    source_init(1, 4000, 0);
    take(&agent, NULL, 1024 * KIB); /* the second has found that it has no data */
    uint64_t before = source[0].sent;
    source[1].control_left = 1000000; /* a flood of credit on one circuit */
    cbx_circuit_control_ready(&source[1].circuit);
    uint64_t taken = take(&agent, NULL, 4 * 1024 * KIB);
    assert_in_range(source[1].control_sent, taken / 5, taken / 4 + 2 * 64 * KIB);
    assert_true(source[0].sent - before > taken / 2);
}

/* What is beyond that quarter comes out of the circuit's own share. */
static void
a_flood_of_control_on_a_busy_circuit_costs_its_own_data(void **state)
{
    (void)state;
    greet();
    no_cap();
    source_init(0, 4000, 1000000);
    source_init(1, 4000, 1000000);
    source[1].control_left = 1000000;
    cbx_circuit_control_ready(&source[1].circuit);
    uint64_t taken = take(&agent, NULL, 4 * 1024 * KIB);
    assert_in_range(source[0].sent, taken / 4 * 3 / 2 - 100 * KIB, taken / 2);
}

static void
without_data_control_has_the_whole_link(void **state)
{
    (void)state;
    greet();
    source_init(0, 4000, 0);
    source[0].control_left = 20000;
    cbx_circuit_control_ready(&source[0].circuit);
    take(&agent, NULL, 8 * 1024 * KIB);
    assert_int_equal(source[0].control_left, 0);
}

/* An EPOCH must not be overtaken by the records that it announces. */
static void
a_circuits_control_goes_before_its_data(void **state)
{
    (void)state;
    greet();
    no_cap();
    agent.link.control_credit = -1000; /* used up */
    source_init(0, 1000, 1);
    source[0].control_left = 1;
    cbx_circuit_control_ready(&source[0].circuit);
    move(&agent, &hub, 1 << 16);
    assert_int_equal(hub.order[0], CBX_FRAME_CREDIT);
    assert_int_equal(hub.order[1], CBX_FRAME_DATA);
}

static void
the_control_queue_is_bounded(void **state)
{
    (void)state;
    int sent = 0;
    while (send_number(&agent, CBX_FRAME_WANT, 1) == 0)
        sent++;
    assert_int_equal(sent, CBX_LINK_CONTROL_MAX);
}

static void
little_is_committed_ahead_of_the_carrier(void **state)
{
    (void)state;
    greet();
    no_cap();
    source_init(0, 65000, 1000);
    struct iovec vector[CBX_LINK_OUT_SLICES];
    for (int i = 0; i < 10; i++)
        cbx_link_output(&agent.link, vector, CBX_LINK_OUT_SLICES, now);
    assert_true(agent.link.out_bytes < CBX_LINK_COMMIT_MAX + 65536);
}

static void
a_removed_circuit_sends_nothing_more(void **state)
{
    (void)state;
    greet();
    no_cap();
    source_init(0, 1000, 5);
    source[0].control_left = 5;
    cbx_circuit_control_ready(&source[0].circuit);
    uint32_t label = source[0].circuit.label;
    assert_ptr_equal(cbx_circuit_find(&agent.link, label), &source[0].circuit);
    cbx_circuit_remove(&source[0].circuit);
    cbx_circuit_remove(&source[0].circuit);
    cbx_circuit_data_ready(&source[0].circuit);
    cbx_circuit_control_ready(&source[0].circuit);
    assert_null(cbx_circuit_find(&agent.link, label));
    assert_int_equal(take(&agent, NULL, 10000), 0);
}

/* ---- in flight, acks ---- */

static void
no_more_than_the_cap_is_in_flight(void **state)
{
    (void)state;
    greet();
    source_init(0, 5000, 1000);
    uint64_t sent = take(&agent, NULL, 4 * 1024 * KIB);
    assert_in_range(agent.link.pace.sent, CBX_PACE_START,
                    CBX_PACE_START + 5100); /* the last may pass it */
    assert_true(sent < CBX_PACE_START + 6 * KIB);
    assert_false(cbx_link_has_output(&agent.link));
    assert_int_equal(send_number(&hub, CBX_FRAME_ACK, 50000), 0);
    move(&hub, &agent, 1000);
    assert_true(cbx_link_has_output(&agent.link));
    take(&agent, NULL, 4 * 1024 * KIB);
    assert_true(agent.link.pace.sent - agent.link.pace.acked <= agent.link.pace.cap + 5100);
}

static void
control_is_outside_the_cap(void **state)
{
    (void)state;
    greet();
    source_init(0, 5000, 1000);
    take(&agent, NULL, 4 * 1024 * KIB);
    send_number(&agent, CBX_FRAME_WANT, 1);
    assert_true(cbx_link_has_output(&agent.link));
    assert_true(take(&agent, NULL, 4096) > 0);
}

static void
a_quarter_of_the_cap_is_acknowledged_at_once(void **state)
{
    (void)state;
    greet();
    no_cap();
    source_init(0, 1000, 64); /* 64 KiB before a PACE came */
    agent.link.pace_told = agent.link.pace.cap / 4;
    move(&agent, &hub, 4096);
    assert_true(hub.link.ack_at && hub.link.ack_at > now);
    source[0].left = 2;
    cbx_circuit_data_ready(&source[0].circuit);
    move(&agent, &hub, 4096);
    assert_int_equal(hub.link.ack_at, now);
    move(&hub, &agent, 1000);
    assert_int_equal(agent.link.pace.acked, agent.link.pace.sent);
    assert_int_equal(hub.link.ack_at, 0);
}

static void
less_is_acknowledged_after_5_ms(void **state)
{
    (void)state;
    greet();
    source_init(0, 100, 1);
    move(&agent, &hub, 4096);
    assert_int_equal(cbx_link_deadline(&hub.link), now + 5 * MS);
    now += 5 * MS - 1;
    cbx_link_tick(&hub.link, now);
    move(&hub, &agent, 1000);
    assert_int_equal(agent.link.pace.acked, 0);
    now += 1;
    cbx_link_tick(&hub.link, now);
    move(&hub, &agent, 1000);
    assert_int_equal(agent.link.pace.acked, agent.link.pace.sent);
}

/* Of messages that go to and fro each would bring its own ack: it waits for one that leaves late.
 */
static void
an_ack_goes_with_data_when_half_its_time_is_over(void **state)
{
    (void)state;
    greet();
    source_init(0, 100, 1);
    source_init(1, 100, 0);
    cbx_circuit_remove(&source[1].circuit);
    assert_int_equal(cbx_circuit_add(&hub.link, &source[1].circuit, 2, &source_ops), 0);
    move(&agent, &hub, 4096);
    for (int i = 0; i < 3; i++) {
        static const int64_t wait[] = {0, 5 * MS / 2 - 1, 1};
        now += wait[i];
        source[1].left = 1;
        cbx_circuit_data_ready(&source[1].circuit);
        move(&hub, &agent, 4096);
        assert_int_equal(agent.link.pace.acked == agent.link.pace.sent, i == 2);
    }
    assert_int_equal(hub.link.ack_at, 0);
}

static void
pace_says_how_often_to_acknowledge(void **state)
{
    (void)state;
    greet();
    source_init(0, 100, 1);
    move(&agent, &hub, 4096);
    assert_int_equal(hub.link.ack_every, CBX_PACE_START / 4);
    send_number(&agent, CBX_FRAME_PACE, 5000);
    move(&agent, &hub, 4096);
    assert_int_equal(hub.link.ack_every, 5000);
    send_number(&agent, CBX_FRAME_PACE, 0); /* an ack per byte is not to be had */
    move(&agent, &hub, 4096);
    assert_int_equal(hub.link.ack_every, 1024);
}

static void
an_ack_of_what_was_never_sent_ends_the_link(void **state)
{
    (void)state;
    greet();
    source_init(0, 100, 1);
    move(&agent, &hub, 4096);
    send_number(&hub, CBX_FRAME_ACK, agent.link.pace.sent + 1);
    uint8_t bytes[100];
    size_t n = take(&hub, bytes, sizeof bytes);
    assert_int_equal(give(&agent, bytes, n), CBX_ERR_FORMAT);
    assert_true(agent.link.failed);
    assert_string_equal(error.text, "link: acknowledged bytes that were never sent");
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        LINK_TEST(circuits_share_by_bytes_whatever_their_record_size),
        LINK_TEST(a_newly_active_circuit_is_served_first),
        LINK_TEST(short_frames_go_ahead_of_circuits_that_begin),
        LINK_TEST(a_sparse_circuit_gathers_no_claim),
        LINK_TEST(control_goes_first),
        LINK_TEST(control_takes_a_quarter_of_a_busy_link_at_most),
        LINK_TEST(a_flood_of_control_on_a_busy_circuit_costs_its_own_data),
        LINK_TEST(without_data_control_has_the_whole_link),
        LINK_TEST(a_circuits_control_goes_before_its_data),
        LINK_TEST(the_control_queue_is_bounded),
        LINK_TEST(little_is_committed_ahead_of_the_carrier),
        LINK_TEST(a_removed_circuit_sends_nothing_more),
        LINK_TEST(no_more_than_the_cap_is_in_flight),
        LINK_TEST(control_is_outside_the_cap),
        LINK_TEST(a_quarter_of_the_cap_is_acknowledged_at_once),
        LINK_TEST(less_is_acknowledged_after_5_ms),
        LINK_TEST(an_ack_goes_with_data_when_half_its_time_is_over),
        LINK_TEST(pace_says_how_often_to_acknowledge),
        LINK_TEST(an_ack_of_what_was_never_sent_ends_the_link),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
