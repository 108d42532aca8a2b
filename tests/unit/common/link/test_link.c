/* SPDX-License-Identifier: MIT */
/* What a link takes, and when; test_link_out.c has what it says. */
#include "link_fixture.h"

/* ---- the first bytes ---- */

static void
the_hub_speaks_first(void **state)
{
    (void)state;
    static const uint8_t magic[] = {0x00, 0x63, 0x62, 0x78, 0x20, 0x6c, 0x69, 0x6e,
                                    0x6b, 0x20, 0x31, 0x0d, 0x0a, 0x00, 0xff, 0x00};
    uint8_t bytes[64];
    assert_int_equal(take(&agent, bytes, sizeof bytes), 0);
    assert_int_equal(take(&hub, bytes, sizeof bytes), sizeof magic);
    assert_memory_equal(bytes, magic, sizeof magic);
    assert_int_equal(give(&agent, bytes, sizeof magic), 0);
    assert_true(agent.link.magic_seen);
    assert_int_equal(agent.link.junk, 0);
}

static int
give_junk_and_magic(const uint8_t *junk, size_t length, size_t chop)
{
    static uint8_t bytes[16 * 1024];
    memcpy(bytes, junk, length);
    memcpy(bytes + length, cbx_link_magic, 16);
    for (size_t at = 0; at < length + 16; at += chop) {
        size_t n = length + 16 - at < chop ? length + 16 - at : chop;
        int result = give(&agent, bytes + at, n);
        if (result < 0)
            return result;
    }
    return 0;
}

static void
junk_of_8_kib_before_the_magic_is_skipped(void **state)
{
    (void)state;
    static uint8_t junk[8192];
    for (size_t i = 0; i < sizeof junk; i++)
        junk[i] = i % 5 ? (uint8_t) "Welcome to Debian\r\n\0\0c"[i % 22] : 0;
    assert_int_equal(give_junk_and_magic(junk, sizeof junk, 1), 0);
    assert_true(agent.link.magic_seen);
    assert_int_equal(agent.link.junk, 8192);
}

static void
one_byte_of_junk_more_ends_the_link(void **state)
{
    (void)state;
    static uint8_t junk[8193];
    memset(junk, 'x', sizeof junk);
    assert_int_equal(give_junk_and_magic(junk, sizeof junk, 16 * 1024), CBX_ERR_FORMAT);
    assert_true(agent.link.failed);
    assert_non_null(strstr(error.text, "8192"));
}

static void
endless_junk_ends_the_link(void **state)
{
    (void)state;
    uint8_t junk[100];
    memset(junk, 0, sizeof junk);
    int result = 0, rounds = 0;
    while (result == 0 && rounds++ < 1000)
        result = give(&agent, junk, sizeof junk);
    assert_int_equal(result, CBX_ERR_FORMAT);
    assert_int_equal(rounds, 82);
}

/* Whatever part of the magic comes before it, but for its first 15 bytes: those and a NUL are it.
 */
static void
a_piece_of_the_magic_is_junk_too(void **state)
{
    (void)state;
    for (size_t part = 1; part < 15; part++) {
        teardown(NULL);
        setup(NULL);
        assert_int_equal(give_junk_and_magic(cbx_link_magic, part, 1), 0);
        assert_true(agent.link.magic_seen);
        assert_int_equal(agent.link.junk, part);
    }
}

static void
frames_right_behind_the_magic_are_taken(void **state)
{
    (void)state;
    send_number(&hub, CBX_FRAME_SYNCED, 3);
    move(&hub, &agent, 4096);
    assert_int_equal(agent.frames, 1);
    assert_int_equal(agent.last.type, CBX_FRAME_SYNCED);
}

/* ---- input ---- */

static void
frames_chopped_at_every_byte_come_whole(void **state)
{
    (void)state;
    greet();
    no_cap();
    source_init(0, 300, 20);
    source_init(1, 17000, 2);
    uint64_t moved = move(&agent, &hub, 1);
    assert_int_equal(hub.frames, 22);
    assert_int_equal(hub.link.data_received, source[0].sent + source[1].sent);
    assert_int_equal(hub.link.count.bytes_in, moved);
    assert_int_equal(agent.link.count.bytes_out, moved);
}

static void
a_length_out_of_bounds_ends_the_link_and_allocates_nothing(void **state)
{
    (void)state;
    static const uint8_t lengths[][4] = {
        {0xff, 0xff, 0xff, 0xff}, {0, 1, 2, 0x11}, {0, 0, 0, 1}, {0, 0, 0, 0}};
    for (int i = 0; i < 4; i++) {
        teardown(NULL);
        setup(NULL);
        give(&hub, lengths[i], 3);
        size_t before = cbx_slab_bytes();
        assert_int_equal(give(&hub, lengths[i] + 3, 1), CBX_ERR_FORMAT);
        assert_int_equal(cbx_slab_bytes(), before);
        assert_true(hub.link.failed);
    }
}

static void
a_failed_link_takes_and_says_nothing_more(void **state)
{
    (void)state;
    greet();
    send_number(&hub, CBX_FRAME_SYNCED, 3);
    assert_int_equal(give(&hub, "\0\0\0\2\x91\x1d", 6), CBX_ERR_NOTFOUND);
    struct iovec vector[4];
    assert_int_equal(cbx_link_output(&hub.link, vector, 4, now), 0);
    assert_false(cbx_link_has_output(&hub.link));
    assert_int_equal(send_number(&hub, CBX_FRAME_SYNCED, 3), CBX_ERR_LIMIT);
    give(&hub, "\0\0\0\2\x91\x06", 6);
    assert_int_equal(hub.frames, 0);
}

static void
the_owners_refusal_ends_the_link_at_that_frame(void **state)
{
    (void)state;
    hub.answer = CBX_ERR_STATE;
    assert_int_equal(give(&hub, "\0\0\0\2\x91\x06\0\0\0\2\x91\x06", 12), CBX_ERR_STATE);
    assert_string_equal(error.text, "the owner said so");
    assert_int_equal(hub.frames, 1);
    assert_true(hub.link.failed);
}

static void
a_kept_frame_outlives_the_links_buffer(void **state)
{
    (void)state;
    greet();
    no_cap();
    hub.keep = true;
    source_init(0, 3000, 40);
    move(&agent, &hub, 10000);
    struct cbx_frame_decoder decoder;
    assert_int_equal(cbx_frame_decoder_init(&decoder), 0);
    for (int i = 0; i < 40; i++) {
        struct cbx_frame frame;
        assert_int_equal(cbx_frame_decode(&decoder, hub.kept[i], &frame, NULL), 0);
        assert_int_equal(frame.field[3].n, 3000);
    }
    cbx_frame_decoder_dispose(&decoder);
}

/* As a relay: frames are kept by reference, reads are as large as they come. */
static void
large_frames_are_not_copied(void **state)
{
    (void)state;
    static uint8_t bytes[512 * 1024];
    greet();
    no_cap();
    hub.keep = true;
    for (int i = 0; i < 3; i++)
        source_init(i, (uint32_t)(65000 - i * 1111), 1000);
    source_init(3, 300, 1000);
    for (int i = 0; i < 200; i++) {
        uint8_t *at;
        size_t room;
        if (i == 20)
            hub.link.count.copied = 0; /* by then the buffer has grown */
        assert_int_equal(cbx_link_space(&hub.link, &at, &room), 0);
        size_t n = take(&agent, bytes, room);
        assert_true(n > 0);
        memcpy(at, bytes, n);
        assert_int_equal(cbx_link_received(&hub.link, n, now, &error), 0);
    }
    assert_true(hub.link.count.bytes_in > 10 * 1024 * KIB);
    assert_in_range(hub.link.count.copied, 0, 1000);
}

static void
a_link_at_rest_keeps_no_buffer(void **state)
{
    (void)state;
    greet();
    no_cap();
    source_init(0, 65000, 40);
    move(&agent, &hub, 300 * KIB);
    assert_int_equal(hub.frames, 40);
    for (int i = 0; i < 3; i++) {
        send_ping(&agent, 1, 0);
        move(&agent, &hub, 1000);
    }
    assert_null(hub.link.in);
    assert_null(agent.link.in);
}

/* ---- time ---- */

static void
a_ping_is_answered_with_its_nonce_and_what_was_received(void **state)
{
    (void)state;
    greet();
    source_init(0, 100, 1);
    move(&agent, &hub, 4096);
    agent.link.ping_nonce = 77;
    agent.link.ping_sent_at = now;
    send_ping(&agent, 77, 0);
    move(&agent, &hub, 4096);
    now += 30 * MS;
    move(&hub, &agent, 4096);
    assert_int_equal(agent.link.delay_us, 30 * MS);
    assert_int_equal(agent.link.pace.acked, agent.link.pace.sent);
    assert_int_equal(agent.frames + hub.frames, 1); /* the owner sees none of it */
}

static void
an_answer_to_no_ping_measures_nothing(void **state)
{
    (void)state;
    greet();
    struct cbx_field fields[] = {cbx_field_uint(5), cbx_field_uint(0)};
    cbx_link_send(&hub.link, CBX_FRAME_PONG, 0, fields, 2);
    move(&hub, &agent, 100);
    assert_int_equal(agent.link.delay_us, 0);
}

static void
a_ping_goes_out_after_the_keepalive(void **state)
{
    (void)state;
    greet();
    int64_t heard = now - 1; /* the magic */
    assert_int_equal(cbx_link_deadline(&agent.link), heard + KEEPALIVE);
    now = heard + KEEPALIVE - 1;
    assert_int_equal(cbx_link_tick(&agent.link, now), 0);
    assert_false(cbx_link_has_output(&agent.link));
    now++;
    assert_int_equal(cbx_link_tick(&agent.link, now), 0);
    assert_true(cbx_link_has_output(&agent.link));
    assert_int_equal(cbx_link_deadline(&agent.link), now + KEEPALIVE);
    take(&agent, NULL, 1000);
    cbx_link_tick(&agent.link, now + 1);
    assert_false(cbx_link_has_output(&agent.link)); /* one is enough */
}

static void
silence_for_too_long_is_the_end(void **state)
{
    (void)state;
    greet();
    int64_t heard = now - 1;
    for (now = heard; now < heard + GONE; now = cbx_link_deadline(&agent.link)) {
        assert_int_equal(cbx_link_tick(&agent.link, now), 0);
        assert_true(cbx_link_deadline(&agent.link) > now); /* it never spins */
    }
    assert_int_equal(now, heard + GONE);
    assert_int_equal(cbx_link_tick(&agent.link, now), CBX_ERR_CLOSED);
}

static void
any_byte_counts_as_life(void **state)
{
    (void)state;
    greet();
    now = agent.link.heard_at;
    for (int i = 0; i < 4; i++) { /* four bytes of one length prefix */
        now += GONE - 1;
        assert_int_equal(cbx_link_tick(&agent.link, now), 0);
        give(&agent, i < 3 ? "\0" : "\6", 1);
    }
    assert_false(agent.link.failed);
    assert_int_equal(agent.link.heard_at, now);
}

/* Nothing may be sent before the magic: no ping, and no timer that fires again and again for it. */
static void
before_the_magic_only_the_end_is_waited_for(void **state)
{
    (void)state;
    int64_t start = now;
    for (; now < start + GONE; now = cbx_link_deadline(&agent.link)) {
        assert_int_equal(cbx_link_tick(&agent.link, now), 0);
        assert_false(cbx_link_has_output(&agent.link));
        assert_true(cbx_link_deadline(&agent.link) > now);
    }
    assert_int_equal(cbx_link_tick(&agent.link, now), CBX_ERR_CLOSED);
}

/* ---- labels ---- */

static void
each_side_opens_labels_of_its_own_parity(void **state)
{
    (void)state;
    assert_int_equal(cbx_link_label(&agent.link), 1);
    assert_int_equal(cbx_link_label(&agent.link), 3);
    assert_int_equal(cbx_link_label(&hub.link), 2);
    assert_int_equal(cbx_link_label(&hub.link), 4);
}

static void
labels_are_exactly_the_next_one(void **state)
{
    (void)state;
    assert_int_equal(cbx_link_take_label(&hub.link, 2), CBX_ERR_FORMAT);
    assert_int_equal(cbx_link_take_label(&hub.link, 3), CBX_ERR_FORMAT);
    assert_int_equal(cbx_link_take_label(&hub.link, 1), 0);
    assert_int_equal(cbx_link_take_label(&hub.link, 1), CBX_ERR_FORMAT);
    assert_int_equal(cbx_link_take_label(&hub.link, 5), CBX_ERR_FORMAT);
    assert_int_equal(cbx_link_take_label(&hub.link, 3), 0);
    assert_int_equal(cbx_link_take_label(&agent.link, 0), CBX_ERR_FORMAT);
    assert_int_equal(cbx_link_take_label(&agent.link, 1), CBX_ERR_FORMAT);
    assert_int_equal(cbx_link_take_label(&agent.link, 4), CBX_ERR_FORMAT);
    assert_int_equal(cbx_link_take_label(&agent.link, 2), 0);
    hub.link.neighbour_label = UINT32_MAX;
    assert_int_equal(cbx_link_take_label(&hub.link, UINT32_MAX), CBX_ERR_FORMAT);
}

static void
a_label_that_was_not_used_comes_again(void **state)
{
    (void)state;
    assert_int_equal(cbx_link_label(&agent.link), 1);
    uint32_t label = cbx_link_label(&agent.link);
    cbx_link_label_unused(&agent.link, 1); /* not the last one */
    assert_int_equal(cbx_link_label(&agent.link), label + 2);
    cbx_link_label_unused(&agent.link, label + 2);
    assert_int_equal(cbx_link_label(&agent.link), label + 2);
}

static void
labels_of_both_sides_are_known_once_opened(void **state)
{
    (void)state;
    assert_false(cbx_link_label_known(&hub.link, 1) || cbx_link_label_known(&hub.link, 2));
    assert_int_equal(cbx_link_take_label(&hub.link, 1), 0);
    assert_true(cbx_link_label_known(&hub.link, 1));
    assert_false(cbx_link_label_known(&hub.link, 2) || cbx_link_label_known(&hub.link, 3));
    assert_int_equal(cbx_link_label(&hub.link), 2);
    assert_true(cbx_link_label_known(&hub.link, 2));
    assert_false(cbx_link_label_known(&hub.link, 4));
}

/* However many bytes wait: who sends small frames has fewer of them read before others. */
static void
many_small_frames_are_read_in_small_pieces(void **state)
{
    (void)state;
    struct cbx_field every[] = {[CBX_PACE_EVERY] = cbx_field_uint(65536)};
    struct cbx_slice small = cbx_frame_slice(CBX_FRAME_PACE, 0, every, 1);
    assert_non_null(small.slab);
    uint8_t *at;
    size_t room, last = 0;
    for (int turn = 0; turn < 40; turn++) {
        assert_int_equal(cbx_link_space(&hub.link, &at, &room), 0);
        size_t n = room / small.length * small.length;
        for (size_t i = 0; i < n; i += small.length)
            memcpy(at + i, small.data, small.length);
        assert_int_equal(cbx_link_received(&hub.link, n, now, &error), 0);
        last = room;
    }
    assert_true(hub.link.small_frames);
    assert_true(last <= CBX_LINK_READ_SMALL);
    cbx_slice_drop(&small);
}

static void
labels_run_out_and_never_wrap(void **state)
{
    (void)state;
    agent.link.next_label = UINT32_MAX - 4;
    uint32_t last = 0, label;
    while ((label = cbx_link_label(&agent.link)) != 0) {
        assert_true(label > last);
        last = label;
    }
    assert_true(last > UINT32_MAX - 5);
    assert_int_equal(cbx_link_label(&agent.link), 0);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        LINK_TEST(the_hub_speaks_first),
        LINK_TEST(junk_of_8_kib_before_the_magic_is_skipped),
        LINK_TEST(one_byte_of_junk_more_ends_the_link),
        LINK_TEST(endless_junk_ends_the_link),
        LINK_TEST(a_piece_of_the_magic_is_junk_too),
        LINK_TEST(frames_right_behind_the_magic_are_taken),
        LINK_TEST(frames_chopped_at_every_byte_come_whole),
        LINK_TEST(a_length_out_of_bounds_ends_the_link_and_allocates_nothing),
        LINK_TEST(a_failed_link_takes_and_says_nothing_more),
        LINK_TEST(the_owners_refusal_ends_the_link_at_that_frame),
        LINK_TEST(a_kept_frame_outlives_the_links_buffer),
        LINK_TEST(large_frames_are_not_copied),
        LINK_TEST(a_link_at_rest_keeps_no_buffer),
        LINK_TEST(a_ping_is_answered_with_its_nonce_and_what_was_received),
        LINK_TEST(an_answer_to_no_ping_measures_nothing),
        LINK_TEST(a_ping_goes_out_after_the_keepalive),
        LINK_TEST(silence_for_too_long_is_the_end),
        LINK_TEST(any_byte_counts_as_life),
        LINK_TEST(before_the_magic_only_the_end_is_waited_for),
        LINK_TEST(each_side_opens_labels_of_its_own_parity),
        LINK_TEST(labels_are_exactly_the_next_one),
        LINK_TEST(a_label_that_was_not_used_comes_again),
        LINK_TEST(labels_of_both_sides_are_known_once_opened),
        LINK_TEST(many_small_frames_are_read_in_small_pieces),
        LINK_TEST(labels_run_out_and_never_wrap),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
