/* SPDX-License-Identifier: MIT */
/* Two pumps over a socket pair and a real loop, and one over a carrier that obeys the test. */
#include "common/link/pump.h"
#include "socket_fixture.h"
#include <string.h>

enum { SECOND = 1000000, KEEPALIVE = 15 * SECOND, GONE = 45 * SECOND };

struct side {
    struct cbx_pump pump;
    bool dirty, dispose_when_over, disposed, answers_with_error, stops_in_frame;
    uint32_t frames;
    struct cbx_frame last;
    char last_text[CBX_FRAME_TEXT_MAX + 1];
    int over, result;
    char text[CBX_ERROR_TEXT_MAX];
    struct cbx_circuit circuit;
    uint32_t records_left, data_frames;
};

static struct side hub, agent;
static int64_t now;

static int64_t
now_us(void *arg)
{
    (void)arg;
    return now;
}

static int
on_frame(void *owner, struct cbx_link *link, const struct cbx_frame *frame, int64_t at,
         struct cbx_error *error)
{
    (void)at;
    struct side *side = owner;
    side->frames++;
    side->data_frames += frame->type == CBX_FRAME_DATA;
    side->last = *frame;
    if (frame->type == CBX_FRAME_BYE) {
        memcpy(side->last_text, frame->field[2].p, frame->field[2].n);
        side->last_text[frame->field[2].n] = '\0';
    }
    if (side->stops_in_frame)
        link->failed = true;
    return side->answers_with_error ? cbx_fail(error, CBX_ERR_STATE, "not now") : 0;
}

static void
on_wake(void *owner, struct cbx_link *link)
{
    (void)link;
    ((struct side *)owner)->dirty = true;
}

static const struct cbx_link_ops ops = {.frame = on_frame, .wake = on_wake};

static void
on_over(void *arg, struct cbx_pump *pump, int result, const char *text)
{
    struct side *side = arg;
    assert_ptr_equal(pump, &side->pump);
    side->over++;
    side->result = result;
    strncpy(side->text, text, sizeof side->text - 1);
    if (side->dispose_when_over) {
        cbx_circuit_remove(&side->circuit);
        cbx_pump_dispose(pump);
        memset(&side->pump, 0x5a, sizeof side->pump); /* as if it were freed */
        side->disposed = true;
    }
}

static int
next_record(struct cbx_circuit *circuit, uint64_t room, int64_t at, struct cbx_slice *out)
{
    (void)room;
    (void)at;
    static uint8_t payload[20000];
    struct side *side = (struct side *)((char *)circuit - offsetof(struct side, circuit));
    if (side->records_left == 0)
        return 0;
    side->records_left--;
    struct cbx_field fields[] = {cbx_field_uint(1), cbx_field_uint(1), cbx_field_uint(1),
                                 cbx_field_bytes(payload, sizeof payload)};
    *out = cbx_frame_slice(CBX_FRAME_DATA, circuit->label, fields, 4);
    assert_non_null(out->slab);
    return 1;
}

static int
no_control(struct cbx_circuit *circuit, int64_t at, struct cbx_slice *out)
{
    (void)circuit;
    (void)at;
    (void)out;
    return 0;
}

static const struct cbx_circuit_ops circuit_ops = {.data = next_record, .control = no_control};

static int
start(struct side *side, bool is_hub, struct cbx_carrier *carrier)
{
    struct cbx_link_config config = {.hub = is_hub, .keepalive_us = KEEPALIVE, .gone_us = GONE};
    if (!carrier)
        return CBX_ERR_NOMEM;
    return cbx_pump_start(&side->pump, carrier, &config, &ops, side, now_us, on_over, side);
}

static int
setup(void **state)
{
    (void)state;
    int fd[2];
    now = SECOND;
    memset(&hub, 0, sizeof hub);
    memset(&agent, 0, sizeof agent);
    if (!socket_pair(fd, 20000))
        return -1;
    return start(&hub, true, cbx_carrier_fd(loop, fd[0], fd[0])) |
           start(&agent, false, cbx_carrier_fd(loop, fd[1], fd[1]));
}

static void
dispose(struct side *side)
{
    if (side->disposed)
        return;
    cbx_circuit_remove(&side->circuit);
    cbx_pump_dispose(&side->pump);
}

static int
teardown(void **state)
{
    (void)state;
    dispose(&hub);
    dispose(&agent);
    cbx_slab_trim();
    return cbx_slab_bytes() != 0;
}

static void
flush(struct side *side)
{
    if (side->dirty && !side->disposed) {
        side->dirty = false;
        cbx_pump_flush(&side->pump);
    }
}

/* The loop as the programs run it: events, then what they made dirty. */
static void
turns(int count)
{
    for (int i = 0; i < count; i++) {
        ev_run(loop, EVRUN_NOWAIT);
        flush(&hub);
        flush(&agent);
    }
}

static void
say(struct side *side, uint64_t number)
{
    struct cbx_field field = cbx_field_uint(number);
    assert_int_equal(cbx_link_send(&side->pump.link, CBX_FRAME_WANT, 0, &field, 1), 0);
}

static void
stream_from(struct side *side, uint32_t records)
{
    struct cbx_link *link = &side->pump.link;
    assert_int_equal(cbx_circuit_add(link, &side->circuit, cbx_link_label(link), &circuit_ops), 0);
    side->records_left = records;
    cbx_circuit_data_ready(&side->circuit);
}

/* ---- over a socket pair ---- */

static void
frames_cross(void **state)
{
    (void)state;
    turns(3);
    assert_true(agent.pump.link.magic_seen);
    say(&agent, 7);
    turns(3);
    assert_int_equal(hub.frames, 1);
    assert_int_equal(hub.last.field[0].u, 7);
}

static void
both_directions_go_on_while_both_are_full(void **state)
{
    (void)state;
    turns(3);
    stream_from(&agent, 200);
    stream_from(&hub, 200);
    for (int i = 0; i < 2000 && (hub.data_frames < 200 || agent.data_frames < 200); i++) {
        now += 100;
        agent.dirty = hub.dirty = true;
        turns(1);
    }
    assert_int_equal(hub.data_frames, 200);
    assert_int_equal(agent.data_frames, 200);
    assert_int_equal(hub.over + agent.over, 0);
}

static void
the_far_ends_end_is_told_once(void **state)
{
    (void)state;
    turns(3);
    cbx_pump_dispose(&agent.pump);
    turns(3);
    assert_int_equal(agent.over, 0); /* who disposes knows */
    assert_int_equal(hub.over, 1);
    assert_int_equal(hub.result, CBX_ERR_CLOSED);
    assert_string_equal(hub.text, "the connection was closed");
    assert_false(cbx_pump_flush(&hub.pump));
    assert_int_equal(hub.over, 1);
}

static void
the_owner_may_dispose_inside_over(void **state)
{
    (void)state;
    turns(3);
    hub.dispose_when_over = true;
    cbx_pump_dispose(&agent.pump);
    turns(3);
    assert_true(hub.disposed);
    assert_int_equal(hub.over, 1);
}

static void
a_breach_ends_the_link_and_is_told_to_its_author(void **state)
{
    (void)state;
    turns(3);
    hub.answers_with_error = true;
    hub.dispose_when_over = true;
    say(&agent, 1);
    turns(5);
    assert_int_equal(hub.over, 1);
    assert_int_equal(hub.result, CBX_ERR_STATE);
    assert_string_equal(hub.text, "not now");
    assert_int_equal(agent.last.type, CBX_FRAME_BYE);
    assert_int_equal(agent.last.field[0].u, CBX_REASON_PROTOCOL);
    assert_string_equal(agent.last_text, "not now");
    assert_int_equal(agent.over, 1);
    assert_int_equal(agent.result, CBX_ERR_CLOSED);
}

static void
a_starved_link_ends_behind_what_is_queued(void **state)
{
    (void)state;
    turns(3);
    say(&hub, 7);
    cbx_link_starve(&hub.pump.link);
    turns(5);
    assert_int_equal(hub.over, 1);
    assert_int_equal(hub.result, CBX_ERR_NOMEM);
    assert_string_equal(hub.text, "out of memory");
    assert_int_equal(agent.frames, 1);
    assert_int_equal(agent.last.field[0].u, 7);
    assert_int_equal(agent.over, 1);
    assert_int_equal(agent.result, CBX_ERR_CLOSED);
}

static void
closing_soon_sends_what_is_queued_first(void **state)
{
    (void)state;
    turns(3);
    for (uint64_t i = 0; i < 5000; i++)
        say(&hub, i);
    cbx_pump_close_soon(&hub.pump);
    turns(50);
    assert_int_equal(hub.over, 1);
    assert_int_equal(hub.result, CBX_OK);
    assert_int_equal(agent.frames, 5000);
    assert_int_equal(agent.last.field[0].u, 4999);
    assert_int_equal(agent.result, CBX_ERR_CLOSED);
}

static void
silence_ends_it(void **state)
{
    (void)state;
    turns(3);
    now += GONE - 1;
    assert_true(cbx_pump_flush(&hub.pump));
    now += 1;
    hub.dispose_when_over = true;
    assert_false(cbx_pump_flush(&hub.pump));
    assert_int_equal(hub.over, 1);
    assert_int_equal(hub.result, CBX_ERR_CLOSED);
    assert_non_null(strstr(hub.text, "silent"));
}

static void
only_a_breach_is_one(void **state)
{
    (void)state;
    assert_true(cbx_pump_breach(CBX_ERR_FORMAT));
    assert_true(cbx_pump_breach(CBX_ERR_STATE));
    assert_false(cbx_pump_breach(CBX_ERR_CLOSED));
    assert_false(cbx_pump_breach(CBX_ERR_IO));
    assert_false(cbx_pump_breach(CBX_ERR_NOMEM));
    assert_false(cbx_pump_breach(CBX_OK));
}

/* ---- over a carrier that obeys ---- */

static struct {
    struct cbx_carrier base;
    ssize_t read_result, write_result; /* when not positive */
    size_t read_left, write_left, read_taken;
    bool want_read, want_write;
    int closed;
} tame;

static ssize_t
tame_read(struct cbx_carrier *carrier, void *buffer, size_t length)
{
    (void)carrier;
    static const uint8_t frame[] = {0, 0, 0, 3, 0x92, 14, 1};
    if (tame.read_left == 0)
        return tame.read_result;
    size_t n = length < tame.read_left ? length : tame.read_left;
    for (size_t i = 0; i < n; i++) /* WANT(1), again and again */
        ((uint8_t *)buffer)[i] = frame[(tame.read_taken + i) % sizeof frame];
    tame.read_left -= n;
    tame.read_taken += n;
    return (ssize_t)n;
}

static ssize_t
tame_writev(struct cbx_carrier *carrier, const struct iovec *vector, int count)
{
    (void)carrier;
    size_t n = 0;
    for (int i = 0; i < count; i++)
        n += vector[i].iov_len;
    if (tame.write_left == 0)
        return tame.write_result;
    n = n < tame.write_left ? n : tame.write_left;
    tame.write_left -= n;
    return (ssize_t)n;
}

static void
tame_want(struct cbx_carrier *carrier, bool want_read, bool want_write)
{
    (void)carrier;
    tame.want_read = want_read;
    tame.want_write = want_write;
}

static void
tame_close(struct cbx_carrier *carrier)
{
    (void)carrier;
    tame.closed++;
}

static const struct cbx_carrier_ops tame_ops = {
    .read = tame_read, .writev = tame_writev, .want = tame_want, .close = tame_close};

static int
setup_tame(void **state)
{
    (void)state;
    now = SECOND;
    memset(&hub, 0, sizeof hub);
    memset(&agent, 0, sizeof agent);
    memset(&tame, 0, sizeof tame);
    agent.disposed = true;
    tame.base.ops = &tame_ops;
    tame.read_result = tame.write_result = CBX_ERR_AGAIN;
    tame.write_left = SIZE_MAX;
    return start(&hub, true, &tame.base);
}

static void
ready(void)
{
    tame.base.ready(tame.base.arg);
}

static void
nothing_is_called_back_while_starting(void **state)
{
    (void)state;
    assert_int_equal(hub.over + (int)hub.frames, 0);
    assert_true(tame.want_read);
    assert_int_equal(tame.write_left, SIZE_MAX);
}

static void
a_pending_write_is_waited_for_and_reading_goes_on(void **state)
{
    (void)state;
    tame.write_left = 10; /* not even the magic */
    assert_true(cbx_pump_flush(&hub.pump));
    assert_true(tame.want_read && tame.want_write);
    tame.read_left = 700;
    ready();
    assert_int_equal(hub.frames, 100);
    assert_true(tame.want_read && tame.want_write);
    tame.write_left = SIZE_MAX;
    ready();
    assert_true(tame.want_read && !tame.want_write);
    assert_int_equal(hub.pump.link.out_count, 0);
}

static void
one_turn_reads_a_bounded_share(void **state)
{
    (void)state;
    tame.read_left = 50 * 1024 * 1024;
    for (int turn = 0; turn < 5; turn++) {
        size_t before = tame.read_taken;
        uint32_t frames = hub.frames;
        ready();
        assert_true(tame.read_taken > before);
        assert_true(tame.read_taken - before <= CBX_PUMP_TURN_MAX + 400 * 1024);
        /* And of frames that are all small: a batch beyond their number. */
        assert_in_range(hub.frames - frames, CBX_PUMP_TURN_FRAMES,
                        CBX_PUMP_TURN_FRAMES + CBX_LINK_READ_SMALL / 7);
    }
}

static void
a_failed_write_ends_it(void **state)
{
    (void)state;
    tame.write_left = 0;
    tame.write_result = CBX_ERR_IO;
    assert_false(cbx_pump_flush(&hub.pump));
    assert_int_equal(hub.over, 1);
    assert_int_equal(hub.result, CBX_ERR_IO);
    assert_int_equal(tame.closed, 1);
}

static void
a_failed_read_ends_it(void **state)
{
    (void)state;
    tame.read_result = CBX_ERR_IO;
    ready();
    assert_int_equal(hub.over, 1);
    assert_int_equal(hub.result, CBX_ERR_IO);
    assert_int_equal(tame.closed, 1);
}

static void
what_came_before_the_end_is_taken_first(void **state)
{
    (void)state;
    tame.read_left = 70;
    tame.read_result = CBX_ERR_CLOSED;
    ready();
    if (hub.over == 0) /* a short read ends the turn */
        ready();
    assert_int_equal(hub.frames, 10);
    assert_int_equal(hub.over, 1);
}

static void
an_owner_that_fails_the_link_ends_it(void **state)
{
    (void)state;
    hub.stops_in_frame = true;
    tame.read_left = 70;
    ready();
    assert_int_equal(hub.frames, 1);
    assert_int_equal(hub.over, 1);
    assert_int_equal(tame.closed, 1);
}

static void
a_deaf_author_of_a_breach_is_not_waited_for(void **state)
{
    (void)state;
    tame.write_left = 3;
    hub.answers_with_error = true;
    tame.read_left = 7;
    ready();
    assert_int_equal(hub.over, 1);
    assert_int_equal(tame.closed, 1);
}

static void
closing_soon_waits_for_a_blocked_carrier(void **state)
{
    (void)state;
    tame.write_left = 0;
    say(&hub, 1);
    cbx_pump_close_soon(&hub.pump);
    assert_true(cbx_pump_flush(&hub.pump));
    assert_int_equal(hub.over, 0);
    tame.write_left = SIZE_MAX;
    ready();
    assert_int_equal(hub.over, 1);
    assert_int_equal(hub.result, CBX_OK);
}

static void
disposing_twice_is_harmless(void **state)
{
    (void)state;
    cbx_pump_dispose(&hub.pump);
    cbx_pump_dispose(&hub.pump);
    assert_int_equal(tame.closed, 1);
    assert_int_equal(hub.over, 0);
    assert_false(cbx_pump_flush(&hub.pump));
}

#define PUMP_TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
#define TAME_TEST(name) cmocka_unit_test_setup_teardown(name, setup_tame, teardown)

int
main(void)
{
    const struct CMUnitTest tests[] = {
        PUMP_TEST(frames_cross),
        PUMP_TEST(both_directions_go_on_while_both_are_full),
        PUMP_TEST(the_far_ends_end_is_told_once),
        PUMP_TEST(the_owner_may_dispose_inside_over),
        PUMP_TEST(a_breach_ends_the_link_and_is_told_to_its_author),
        PUMP_TEST(a_starved_link_ends_behind_what_is_queued),
        PUMP_TEST(closing_soon_sends_what_is_queued_first),
        PUMP_TEST(silence_ends_it),
        cmocka_unit_test(only_a_breach_is_one),
        TAME_TEST(nothing_is_called_back_while_starting),
        TAME_TEST(a_pending_write_is_waited_for_and_reading_goes_on),
        TAME_TEST(one_turn_reads_a_bounded_share),
        TAME_TEST(a_failed_write_ends_it),
        TAME_TEST(a_failed_read_ends_it),
        TAME_TEST(what_came_before_the_end_is_taken_first),
        TAME_TEST(an_owner_that_fails_the_link_ends_it),
        TAME_TEST(a_deaf_author_of_a_breach_is_not_waited_for),
        TAME_TEST(closing_soon_waits_for_a_blocked_carrier),
        TAME_TEST(disposing_twice_is_harmless),
    };
    return cmocka_run_group_tests(tests, loop_begin, loop_end);
}
