/* SPDX-License-Identifier: MIT */
/* Lanes: proofs, blocks, and what happens to those that were touched (rule 28). */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "common/link/frame.h"
#include "common/link/lane.h"
#include <sodium.h>
#include <string.h>

static struct cbx_lane_ticket ticket;
static struct cbx_lane *dialer, *listener;
static uint8_t wire[256 * 1024];

static int
setup(void **state)
{
    (void)state;
    if (sodium_init() < 0)
        return -1;
    memset(ticket.id, 7, sizeof ticket.id);
    memset(ticket.secret, 9, sizeof ticket.secret);
    ticket.cipher = CBX_CIPHER_CHACHA20POLY1305;
    dialer = cbx_lane_new(&ticket, false);
    listener = cbx_lane_new(&ticket, true);
    return !dialer || !listener;
}

static int
teardown(void **state)
{
    (void)state;
    cbx_lane_free(dialer);
    cbx_lane_free(listener);
    cbx_slab_trim();
    return cbx_slab_bytes() != 0;
}

static struct cbx_slice
data_frame(uint32_t payload)
{
    static uint8_t bytes[CBX_PAYLOAD_MAX];
    memset(bytes, 0xab, payload);
    struct cbx_field fields[] = {cbx_field_uint(1), cbx_field_uint(300), cbx_field_uint(70000),
                                 cbx_field_bytes(bytes, payload)};
    struct cbx_slice frame = cbx_frame_slice(CBX_FRAME_DATA, 5, fields, 4);
    assert_non_null(frame.slab);
    return frame;
}

static struct cbx_slice
text_frame(uint32_t length)
{
    static char text[CBX_FRAME_TEXT_MAX + 1];
    memset(text, 't', length);
    text[length] = '\0';
    struct cbx_field fields[] = {cbx_field_uint(6), cbx_field_uint(0), cbx_field_text(text)};
    struct cbx_slice frame = cbx_frame_slice(CBX_FRAME_BYE, 0, fields, 3);
    assert_non_null(frame.slab);
    return frame;
}

/* What goes over the wire for a frame, in `wire`; how much. */
static uint32_t
sealed(struct cbx_slice frame)
{
    struct cbx_slice out[2];
    int count = cbx_lane_seal(dialer, frame, out);
    assert_true(count == 1 || count == 2);
    uint32_t length = 0;
    for (int i = 0; i < count; i++) {
        memcpy(wire + length, out[i].data, out[i].length);
        length += out[i].length;
        cbx_slice_drop(&out[i]);
    }
    return length;
}

/* Opens what is in wire; the frame's bytes, or NULL. */
static const uint8_t *
opened(uint32_t length, uint32_t *frame_length)
{
    uint8_t *head = NULL;
    uint32_t head_length = 0, body = 0;
    bool is_sealed = false;
    if (cbx_lane_open_head(listener, wire, &head, &head_length, &body, &is_sealed) < 0)
        return NULL;
    assert_int_equal(CBX_LANE_BLOCK + body, length);
    if (is_sealed && cbx_lane_open_body(listener, wire + CBX_LANE_BLOCK, body) < 0)
        return NULL;
    *frame_length = head_length + body - (is_sealed ? CBX_AEAD_TAG : 0);
    return head;
}

static void
comes_back(struct cbx_slice frame)
{
    assert_non_null(frame.slab);
    static uint8_t copy[CBX_FRAME_MAX + 4];
    uint32_t length = frame.length, got = 0;
    memcpy(copy, frame.data, length);
    const uint8_t *bytes = opened(sealed(frame), &got);
    assert_non_null(bytes);
    assert_int_equal(got, length);
    assert_memory_equal(bytes, copy, length);
}

static void
frames_of_every_size_come_back(void **state)
{
    (void)state;
    static const uint32_t payloads[] = {17, 18, 255, 256, 4096 + 16, 65535, 65536, CBX_PAYLOAD_MAX};
    for (size_t i = 0; i < sizeof payloads / sizeof payloads[0]; i++)
        comes_back(data_frame(payloads[i]));
    for (uint32_t length = 0; length <= 200; length++)
        comes_back(text_frame(length));
    comes_back(text_frame(CBX_FRAME_TEXT_MAX));
    comes_back(cbx_frame_slice(CBX_FRAME_JOINED, 0, NULL, 0));
}

static void
a_payload_passes_as_it_is_and_nothing_else_does(void **state)
{
    (void)state;
    uint32_t length = sealed(data_frame(1000));
    assert_int_equal(length, CBX_LANE_BLOCK + 1000);
    for (uint32_t i = CBX_LANE_BLOCK; i < length; i++)
        assert_int_equal(wire[i], 0xab);
    length = sealed(text_frame(500));
    assert_null(memmem(wire, length, "tttttttt", 8));
}

/* The block stands where the plain head was: one piece, nothing copied. */
static void
a_record_with_room_before_it_is_sealed_in_place(void **state)
{
    (void)state;
    struct cbx_slab *slab = cbx_slab_new(16 * 1024);
    struct cbx_slice plain = data_frame(200), out[2];
    assert_non_null(slab);
    struct cbx_slice frame = {
        .slab = slab, .data = slab->bytes + 96, .length = plain.length, .room = 96};
    memcpy(frame.data, plain.data, plain.length);
    cbx_slice_drop(&plain);
    uint8_t *payload = frame.data + frame.length - 200;
    assert_int_equal(cbx_lane_seal(dialer, frame, out), 1);
    assert_ptr_equal(out[0].data + CBX_LANE_BLOCK, payload);
    assert_int_equal(out[0].length, CBX_LANE_BLOCK + 200);
    memcpy(wire, out[0].data, out[0].length);
    uint32_t got;
    assert_non_null(opened(out[0].length, &got));
    cbx_slice_drop(&out[0]);
}

static void
every_flipped_bit_of_a_block_is_found(void **state)
{
    (void)state;
    uint8_t good[CBX_LANE_BLOCK];
    uint32_t length = sealed(text_frame(3)), got;
    memcpy(good, wire, sizeof good);
    for (uint32_t bit = 0; bit < 8 * length; bit++) {
        memcpy(wire, good, sizeof good);
        wire[bit / 8] ^= (uint8_t)(1u << (bit % 8));
        listener->in.next = 0;
        assert_null(opened(length, &got));
    }
    memcpy(wire, good, sizeof good);
    listener->in.next = 0;
    assert_non_null(opened(length, &got));
}

static void
a_repeated_or_skipped_block_does_not_open(void **state)
{
    (void)state;
    uint8_t first[CBX_LANE_BLOCK];
    uint32_t got, length = sealed(text_frame(1));
    memcpy(first, wire, length);
    assert_non_null(opened(length, &got));
    memcpy(wire, first, length);
    assert_null(opened(length, &got)); /* again */
    listener->in.next = 1;
    (void)sealed(text_frame(2));
    length = sealed(text_frame(3));
    assert_null(opened(length, &got)); /* the one between is missing */
}

static void
a_block_of_the_other_direction_does_not_open(void **state)
{
    (void)state;
    struct cbx_slice out[2];
    uint32_t got;
    assert_int_equal(cbx_lane_seal(listener, text_frame(3), out), 1);
    memcpy(wire, out[0].data, out[0].length);
    assert_null(opened(out[0].length, &got));
    cbx_slice_drop(&out[0]);
}

/* A neighbour that seals nonsense: lengths that do not fit each other are refused. */
static void
lengths_that_lie_are_refused(void **state)
{
    (void)state;
    static const uint8_t text[][8] = {{0},
                                      {5, 0, 0, 0, 2, 0x91, 6},
                                      {72, 0, 0, 0, 80, 0x91, 6},
                                      {255, 0, 0, 0, 80, 0x91, 6},
                                      {6, 0, 0, 0, 0, 0x91, 6},
                                      {6, 0xff, 0xff, 0xff, 0xff, 0x91, 6},
                                      {6, 0, 1, 0x02, 0x11, 0x91},
                                      {7, 0, 0, 0, 2, 0x91, 6}};
    for (size_t i = 0; i < sizeof text / sizeof text[0]; i++) {
        uint8_t *head;
        uint32_t head_length, body;
        bool is_sealed;
        memset(wire, 0, CBX_LANE_BLOCK);
        memcpy(wire, text[i], sizeof text[i]);
        assert_int_equal(cbx_aead_seal(dialer->aead, dialer->cipher, dialer->out.key, i, NULL, 0,
                                       wire, CBX_LANE_HEAD_TEXT),
                         0);
        assert_int_equal(cbx_lane_open_head(listener, wire, &head, &head_length, &body, &is_sealed),
                         CBX_ERR_FORMAT);
    }
}

static void
proofs_hold_for_their_ticket_and_role_only(void **state)
{
    (void)state;
    uint8_t preface[CBX_LANE_PREFACE], answer[CBX_LANE_MAC];
    cbx_lane_preface(&ticket, preface);
    cbx_lane_answer(&ticket, answer);
    assert_memory_equal(preface, cbx_lane_magic, CBX_LANE_MAGIC);
    assert_true(cbx_lane_preface_holds(&ticket, preface));
    assert_true(cbx_lane_answer_holds(&ticket, answer));
    assert_false(cbx_lane_answer_holds(&ticket, preface + CBX_LANE_MAGIC + CBX_LANE_ID));
    for (size_t i = 0; i < sizeof preface; i++) {
        preface[i] ^= 1;
        assert_false(cbx_lane_preface_holds(&ticket, preface));
        preface[i] ^= 1;
    }
    struct cbx_lane_ticket other = ticket;
    other.secret[0] ^= 1;
    assert_false(cbx_lane_preface_holds(&other, preface));
    assert_false(cbx_lane_answer_holds(&other, answer));
}

static void
tickets_are_never_alike(void **state)
{
    (void)state;
    struct cbx_lane_ticket a, b;
    cbx_lane_ticket_make(&a, CBX_CIPHER_AES256GCM);
    cbx_lane_ticket_make(&b, CBX_CIPHER_AES256GCM);
    assert_memory_not_equal(a.id, b.id, sizeof a.id);
    assert_memory_not_equal(a.secret, b.secret, sizeof a.secret);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int
main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(frames_of_every_size_come_back),
        TEST(a_payload_passes_as_it_is_and_nothing_else_does),
        TEST(a_record_with_room_before_it_is_sealed_in_place),
        TEST(every_flipped_bit_of_a_block_is_found),
        TEST(a_repeated_or_skipped_block_does_not_open),
        TEST(a_block_of_the_other_direction_does_not_open),
        TEST(lengths_that_lie_are_refused),
        TEST(proofs_hold_for_their_ticket_and_role_only),
        TEST(tickets_are_never_alike),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
