/* SPDX-License-Identifier: MIT */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "common/base/err.h"
#include "common/crypto/aead_choice.h"
#include "common/session/rendezvous.h"
#include <sodium.h>
#include <stdio.h>
#include <string.h>

static struct cbx_aead *aead;
static struct cbx_frame_decoder decoder;
static struct cbx_session ours, theirs; /* the two ends of one */

static int
setup(void **state)
{
    (void)state;
    if (sodium_init() < 0 || cbx_frame_decoder_init(&decoder) < 0)
        return -1;
    aead = cbx_aead_new();
    ours.cipher = CBX_CIPHER_CHACHA20POLY1305;
    memset(ours.id, 5, sizeof ours.id);
    memset(ours.root_send, 7, 32);
    memset(ours.root_receive, 8, 32);
    theirs = ours;
    memcpy(theirs.root_send, ours.root_receive, 32);
    memcpy(theirs.root_receive, ours.root_send, 32);
    return aead ? 0 : -1;
}

static int
teardown(void **state)
{
    (void)state;
    cbx_aead_free(aead);
    cbx_frame_decoder_dispose(&decoder);
    cbx_slab_trim();
    return 0;
}

static struct cbx_rendezvous
offer(uint32_t count, uint32_t length)
{
    struct cbx_rendezvous rendezvous = {.step = CBX_RENDEZVOUS_OFFER, .count = count};
    memset(rendezvous.id, 0x11, sizeof rendezvous.id);
    memset(rendezvous.mark, 0x22, sizeof rendezvous.mark);
    for (uint32_t i = 0; i < count; i++)
        memset(rendezvous.candidate[i], 'a' + (char)i, length);
    return rendezvous;
}

/* ---- text ---- */

static void
a_message_comes_back_as_it_was(void **state)
{
    (void)state;
    uint8_t text[CBX_RENDEZVOUS_TEXT_MAX];
    for (uint32_t count = 0; count <= CBX_RENDEZVOUS_CANDIDATES_MAX; count++) {
        for (uint32_t length = 1; length <= CBX_RENDEZVOUS_CANDIDATE_MAX; length += 31) {
            struct cbx_rendezvous rendezvous = offer(count, length), out;
            uint32_t n = cbx_rendezvous_write(&rendezvous, text);
            assert_int_equal(n, 34 + count * (1 + length));
            assert_int_equal(cbx_rendezvous_read(text, n, &out), 0);
            assert_memory_equal(&rendezvous, &out, sizeof rendezvous);
        }
    }
    for (int step = CBX_RENDEZVOUS_TURN; step <= CBX_RENDEZVOUS_LOST; step++) {
        struct cbx_rendezvous rendezvous = {.step = (enum cbx_rendezvous_step)step,
                                            .id = {1, 2, 3}},
                              out;
        assert_int_equal(cbx_rendezvous_read(text, cbx_rendezvous_write(&rendezvous, text), &out),
                         0);
        assert_memory_equal(&rendezvous, &out, sizeof rendezvous);
    }
}

static void
a_text_cut_or_longer_is_refused(void **state)
{
    (void)state;
    uint8_t text[CBX_RENDEZVOUS_TEXT_MAX + 1] = {0};
    struct cbx_rendezvous rendezvous = offer(8, 63), out;
    uint32_t n = cbx_rendezvous_write(&rendezvous, text);
    assert_int_equal(n, CBX_RENDEZVOUS_TEXT_MAX);
    for (uint32_t cut = 0; cut < n; cut++)
        assert_int_equal(cbx_rendezvous_read(text, cut, &out), CBX_ERR_FORMAT);
    assert_int_equal(cbx_rendezvous_read(text, n + 1, &out), CBX_ERR_FORMAT);
}

static void
refuse(uint32_t at, uint8_t value)
{
    uint8_t text[CBX_RENDEZVOUS_TEXT_MAX];
    struct cbx_rendezvous rendezvous = offer(2, 9), out;
    uint32_t n = cbx_rendezvous_write(&rendezvous, text);
    text[at] = value;
    if (cbx_rendezvous_read(text, n, &out) != CBX_ERR_FORMAT)
        fail_msg("%u at %u was taken", value, at);
}

static void
what_is_not_legal_is_refused(void **state)
{
    (void)state;
    refuse(0, 0);
    refuse(0, 7);
    refuse(33, 1);  /* fewer candidates than there are */
    refuse(33, 3);  /* more */
    refuse(33, 9);  /* too many */
    refuse(34, 0);  /* an empty one */
    refuse(34, 8);  /* the next one's length is a letter */
    refuse(34, 64); /* too long */
    refuse(34, 255);
    refuse(36, ' ');
    refuse(36, '\0');
    refuse(36, '\n');
    refuse(36, 0x7f);
    refuse(36, 0xc3);
    for (int step = CBX_RENDEZVOUS_TURN; step <= CBX_RENDEZVOUS_LOST; step++) {
        uint8_t text[CBX_RENDEZVOUS_TEXT_MAX];
        struct cbx_rendezvous rendezvous = offer(0, 0), out;
        uint32_t n = cbx_rendezvous_write(&rendezvous, text);
        text[0] = (uint8_t)step; /* and a mark */
        assert_int_equal(cbx_rendezvous_read(text, n, &out), CBX_ERR_FORMAT);
        refuse(0, (uint8_t)step);
    }
}

/* ---- seal ---- */

static void
decode(struct cbx_slice slice, struct cbx_frame *frame)
{
    struct cbx_error error;
    assert_non_null(slice.slab);
    assert_int_equal(cbx_frame_decode(&decoder, slice, frame, &error), 0);
}

static void
a_sealed_message_opens_at_the_other_end_only(void **state)
{
    (void)state;
    struct cbx_rendezvous rendezvous = offer(8, 63), out;
    struct cbx_frame frame;
    struct cbx_slice slice = cbx_rendezvous_seal(aead, &ours, "cli", "web", 3, &rendezvous);
    decode(slice, &frame);
    assert_int_equal(frame.field[3].u, 3);
    assert_int_equal(frame.field[4].n, CBX_RENDEZVOUS_TEXT_MAX + CBX_AEAD_TAG);
    assert_int_equal(cbx_rendezvous_open(aead, &theirs, &frame, &out), 0);
    assert_memory_equal(&rendezvous, &out, sizeof rendezvous);
    assert_int_equal(cbx_rendezvous_open(aead, &ours, &frame, &out), CBX_ERR_AUTH);
    struct cbx_session other = theirs;
    other.root_receive[31] ^= 1;
    assert_int_equal(cbx_rendezvous_open(aead, &other, &frame, &out), CBX_ERR_AUTH);
    assert_int_equal(cbx_rendezvous_open(aead, &theirs, &frame, &out), 0); /* nothing was changed */
    cbx_slice_drop(&slice);
}

static void
each_changed_bit_is_found(void **state)
{
    (void)state;
    struct cbx_rendezvous rendezvous = offer(2, 14), out;
    struct cbx_frame frame;
    struct cbx_slice slice = cbx_rendezvous_seal(aead, &ours, "cli", "web", 3, &rendezvous);
    decode(slice, &frame);
    for (uint32_t i = 0; i < 5; i++) {
        struct cbx_field *field = &frame.field[i];
        for (uint32_t bit = 0; bit < (i == 3 ? 64 : 8 * field->n); bit++) {
            field->u ^= i == 3 ? UINT64_C(1) << bit : 0;
            if (i != 3)
                field->p[bit / 8] ^= (uint8_t)(1 << bit % 8);
            assert_int_equal(cbx_rendezvous_open(aead, &theirs, &frame, &out), CBX_ERR_AUTH);
            assert_true(sodium_is_zero((uint8_t *)&out, sizeof out));
            field->u ^= i == 3 ? UINT64_C(1) << bit : 0;
            if (i != 3)
                field->p[bit / 8] ^= (uint8_t)(1 << bit % 8);
        }
    }
    assert_int_equal(cbx_rendezvous_open(aead, &theirs, &frame, &out), 0);
    cbx_slice_drop(&slice);
}

static void
a_seal_of_another_length_is_refused(void **state)
{
    (void)state;
    static uint8_t bytes[700];
    struct cbx_frame frame = {.type = CBX_FRAME_RENDEZVOUS, .count = 5};
    struct cbx_rendezvous out;
    frame.field[0] = cbx_field_text("cli");
    frame.field[1] = cbx_field_text("web");
    frame.field[2] = cbx_field_bytes(ours.id, sizeof ours.id);
    for (uint32_t length = 0; length <= sizeof bytes; length++) {
        frame.field[4] = cbx_field_bytes(bytes, length);
        assert_true(cbx_rendezvous_open(aead, &theirs, &frame, &out) < 0);
    }
}

/* ---- what the lane needs ---- */

static void
both_ends_make_the_same_tickets(void **state)
{
    (void)state;
    uint8_t id[CBX_LANE_ID] = "an id of a lane";
    struct cbx_lane_ticket here, there, turned;
    cbx_rendezvous_ticket(&ours, true, id, &here);
    cbx_rendezvous_ticket(&theirs, false, id, &there);
    assert_memory_equal(here.id, id, sizeof id);
    assert_int_equal(here.cipher, ours.cipher);
    assert_memory_equal(here.secret, there.secret, sizeof here.secret);
    /* The other way round it is another one: a preface cannot be sent back. */
    cbx_rendezvous_ticket(&ours, false, id, &turned);
    cbx_rendezvous_ticket(&theirs, true, id, &there);
    assert_memory_equal(turned.secret, there.secret, sizeof there.secret);
    assert_memory_not_equal(turned.secret, here.secret, sizeof here.secret);
    id[0] ^= 1;
    cbx_rendezvous_ticket(&ours, true, id, &there);
    assert_memory_not_equal(here.secret, there.secret, sizeof here.secret);
}

static void
a_ticket_is_the_hash_that_the_protocol_names(void **state)
{
    (void)state;
    uint8_t text[12 + CBX_LANE_ID] = "cbx direct 1", want[32], key[32];
    struct cbx_lane_ticket ticket;
    memset(text + 12, 9, CBX_LANE_ID);
    crypto_generichash(want, 32, text, sizeof text, ours.root_send, 32);
    cbx_rendezvous_ticket(&ours, true, text + 12, &ticket);
    assert_memory_equal(ticket.secret, want, 32);
    crypto_generichash(want, 32, (const uint8_t *)"cbx host 1", 10, ours.root_receive, 32);
    cbx_rendezvous_mark_key(&ours, false, key);
    assert_memory_equal(key, want, 32);
}

static void
marks_of_the_two_ends_have_keys_of_their_own(void **state)
{
    (void)state;
    uint8_t mine[32], known[32], peers[32];
    cbx_rendezvous_mark_key(&ours, true, mine);
    cbx_rendezvous_mark_key(&theirs, false, known);
    cbx_rendezvous_mark_key(&ours, false, peers);
    assert_memory_equal(mine, known, 32);
    assert_memory_not_equal(mine, peers, 32);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_message_comes_back_as_it_was),
        cmocka_unit_test(a_text_cut_or_longer_is_refused),
        cmocka_unit_test(what_is_not_legal_is_refused),
        cmocka_unit_test(a_sealed_message_opens_at_the_other_end_only),
        cmocka_unit_test(each_changed_bit_is_found),
        cmocka_unit_test(a_seal_of_another_length_is_refused),
        cmocka_unit_test(both_ends_make_the_same_tickets),
        cmocka_unit_test(a_ticket_is_the_hash_that_the_protocol_names),
        cmocka_unit_test(marks_of_the_two_ends_have_keys_of_their_own),
    };
    return cmocka_run_group_tests(tests, setup, teardown);
}
