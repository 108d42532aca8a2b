/* SPDX-License-Identifier: MIT */
/*
 * A hostile hub against handshakes. CBX_SEED replays a run. Asserted of each attack:
 *  - no session comes of it, and the dial that waited goes on with the next handshake, or fails
 * with the hub's unsealed word; the message is counted by who got it;
 *  - repeats are answered once and take no session's place;
 *  - no byte that was not sent is delivered, none twice, no stream that was not dialed.
 */
#include "agent/mesh/session.h"
#include "hostile.h"
#include <stdlib.h>

static int changed_field;
static struct world_copy *kept;

/* ---- handshakes ---- */

static uint64_t step;

static bool
is_handshake(const struct world_flow *flow, const struct cbx_frame *frame)
{
    return hostile_goes_to(flow, step == 1 ? "web" : "cli", frame, CBX_FRAME_HANDSHAKE, 0) &&
           frame->field[2].u == step;
}

static enum world_verdict
repeat_handshake(struct world_flow *flow, struct cbx_frame *frame)
{
    if (!is_handshake(flow, frame) || !hostile_turn())
        return WORLD_PASS;
    kept = world_keep(flow, frame);
    world_inject_copy(flow, kept, 0);
    world_inject_copy(flow, kept, 0);
    return WORLD_PASS;
}

static enum world_verdict
old_handshake(struct world_flow *flow, struct cbx_frame *frame)
{
    if (!is_handshake(flow, frame) || !hostile_turn())
        return WORLD_PASS;
    world_inject_copy(flow, kept, 0);
    return WORLD_DROP;
}

static void
a_repeated_first_message_is_answered_once(void **state)
{
    (void)state;
    struct world_flow flow;
    step = 1;
    hostile_set(repeat_handshake, 1);
    hostile_dial();
    hostile_run();
    assert_int_equal(world_count(hostile.web, "replayed"), 2);
    hostile_untouched(hostile.victim);
    hostile_untouched(hostile.neighbour);
    assert_true(world_flow_of(hostile.web, true, &flow));
    world_inject_copy(&flow, kept, 0); /* the session is in use */
    world_run(hostile.world, 50000);
    assert_int_equal(world_count(hostile.web, "replayed"), 3);
    hostile_restart(
        hostile.web); /* it cannot know the old one: a session that nobody can use, and that goes
                       */
    assert_true(world_flow_of(hostile.web, true, &flow));
    world_inject_copy(&flow, kept, 0);
    world_run(hostile.world, 100000);
    assert_non_null(world_peer(hostile.web, "cli")->unconfirmed);
    hostile_untouched(hostile_try("web", VICTIM));
    world_run(hostile.world, 12000000);
    assert_null(world_peer(hostile.web, "cli")->unconfirmed);
}

static void
a_repeated_second_message_is_dropped(void **state)
{
    (void)state;
    step = 2;
    hostile_set(repeat_handshake, 1);
    uint64_t stale = world_count(hostile.cli, "stale_frames");
    hostile_untouched(hostile_try("web", VICTIM));
    assert_int_equal(world_count(hostile.cli, "stale_frames"), stale + 2);
    mesh_peer_suspect_sessions(world_peer(hostile.cli, "web")); /* so that it makes another */
    hostile_set(old_handshake, 1);
    hostile_untouched(hostile_try("web", VICTIM)); /* at the second try */
    assert_int_equal(hostile_done, 1);
    assert_int_equal(world_count(hostile.cli, "handshakes_refused"), 1);
}

static enum world_verdict
change_handshake(struct world_flow *flow, struct cbx_frame *frame)
{
    if (!is_handshake(flow, frame) || !hostile_turn())
        return WORLD_PASS;
    struct cbx_field *field = &frame->field[changed_field < 6 ? changed_field : 5];
    if (changed_field < 2)
        *field = cbx_field_text("db");
    else if (changed_field == 2)
        field->u = 3 - field->u;
    else
        field->p[changed_field < 6 ? 0 : changed_field == 6 ? field->n / 2 : field->n - 1] ^= 1;
    return WORLD_CHANGED;
}

static uint64_t
handshake_counts(void)
{
    static const char *const name[] = {"integrity", "handshakes_refused", "stale_frames",
                                       "replayed"};
    uint64_t sum = 0;
    for (size_t i = 0; i < sizeof name / sizeof name[0]; i++)
        sum += world_count(hostile.web, name[i]) + world_count(hostile.cli, name[i]);
    return sum;
}

static void
a_changed_handshake_makes_no_session(void **state)
{
    (void)state;
    hostile_untouched(hostile_try("web", VICTIM));
    for (int i = 0; i < 16; i++) {
        step = i < 8 ? 1 : 2;
        changed_field = i % 8;
        uint64_t before = handshake_counts();
        mesh_peer_suspect_sessions(world_peer(hostile.cli, "web"));
        world_run(hostile.world, 1000000); /* five first messages a second at most */
        hostile_set(change_handshake, 1);
        struct world_program *program = hostile_try("web", VICTIM);
        assert_int_equal(hostile_done, 1);
        if (handshake_counts() == before)
            fail_msg("field %d of message %d: not counted", changed_field, (int)step);
        /* An unsealed refusal may have failed the dial; else the next handshake carried it. */
        if (program->reason)
            hostile_refused(program, CBX_REASON_DENIED);
        else
            hostile_untouched(program);
        hostile_set(NULL, 0);
        hostile_untouched(hostile_try("web", NEIGHBOUR));
    }
}

static enum world_verdict
change_confirm(struct world_flow *flow, struct cbx_frame *frame)
{
    if (!hostile_goes_to(flow, "web", frame, CBX_FRAME_CONFIRM, 0) || !hostile_turn())
        return WORLD_PASS;
    frame->field[changed_field].p[0] ^= 1;
    return WORLD_PASS;
}

static void
a_changed_confirmation_confirms_nothing(void **state)
{
    (void)state;
    hostile_untouched(hostile_try("web", VICTIM));
    for (changed_field = 2; changed_field < 4; changed_field++) {
        uint64_t before = handshake_counts();
        mesh_peer_suspect_sessions(world_peer(hostile.cli, "web"));
        hostile_set(change_confirm, 1);
        hostile_untouched(hostile_try("web", VICTIM)); /* its OPEN confirms */
        assert_int_equal(hostile_done, 1);
        assert_true(handshake_counts() > before);
    }
}

static enum world_verdict
reflect_handshake(struct world_flow *flow, struct cbx_frame *frame)
{
    struct world_flow back;
    if (!hostile_comes_from(flow, "cli", frame, CBX_FRAME_HANDSHAKE, 0) || !hostile_turn() ||
        !world_flow_of(hostile.cli, true, &back))
        return WORLD_PASS;
    struct cbx_field fields[] = {frame->field[1], frame->field[0], cbx_field_uint(1),
                                 frame->field[4], frame->field[3], frame->field[5]};
    world_inject(&back, CBX_FRAME_HANDSHAKE, 0, fields, 6);
    fields[2].u = 2;
    world_inject(&back, CBX_FRAME_HANDSHAKE, 0, fields, 6);
    return WORLD_DROP;
}

static void
its_own_handshake_sent_back_makes_no_session(void **state)
{
    (void)state;
    hostile_set(reflect_handshake, 1);
    hostile_untouched(hostile_try("web", VICTIM));
    assert_int_equal(hostile_done, 1);
    assert_true(world_count(hostile.cli, "handshakes_refused") >= 2);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        HOSTILE_TEST(a_repeated_first_message_is_answered_once),
        HOSTILE_TEST(a_repeated_second_message_is_dropped),
        HOSTILE_TEST(a_changed_handshake_makes_no_session),
        HOSTILE_TEST(a_changed_confirmation_confirms_nothing),
        HOSTILE_TEST(its_own_handshake_sent_back_makes_no_session),
    };
    return WORLD_RUN(tests);
}
