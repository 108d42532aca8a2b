/* SPDX-License-Identifier: MIT */
/* Sealed records; what stands under the seal is made here once more, as PROTOCOL.md has it. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "common/crypto/aead_choice.h"
#include "common/stream/open.h"
#include "common/stream/record.h"
#include <string.h>

enum { TEXT = 1000, KINDS = 7, EPOCH = 3, LABEL = 9 };

static struct cbx_aead *aead;
static struct cbx_frame_decoder decoder;
static struct cbx_session near_end, far_end;
static struct cbx_record_keys sealing, opening;
static struct cbx_open dial;
static const uint8_t root[32] = "the root of one direction";
static uint8_t stream_id[CBX_STREAM_ID_SIZE] = "an incarnation, another, a counter";

static int
begin(void **state)
{
    (void)state;
    aead = cbx_aead_new();
    return aead == NULL || cbx_frame_decoder_init(&decoder) < 0;
}

static int
finish(void **state)
{
    (void)state;
    cbx_frame_decoder_dispose(&decoder);
    cbx_aead_free(aead);
    cbx_slab_trim();
    return cbx_slab_bytes() != 0;
}

static int
fresh(void **state)
{
    (void)state;
    cbx_record_keys_derive(&sealing, root, stream_id, EPOCH, CBX_CIPHER_AES256GCM);
    opening = sealing;
    dial = (struct cbx_open){
        .source = "cli", .target = "web", .port = 8080, .epoch = EPOCH, .limit = 32768};
    memset(dial.session, 5, sizeof dial.session);
    memcpy(dial.stream_id, stream_id, sizeof stream_id);
    memset(&near_end, 0, sizeof near_end);
    memset(near_end.id, 5, sizeof near_end.id);
    memcpy(near_end.root_send, root, 32);
    near_end.cipher = CBX_CIPHER_AES256GCM;
    far_end = near_end;
    memset(far_end.root_send, 0, 32);
    memcpy(far_end.root_receive, root, 32);
    return 0;
}

static struct cbx_slice
seal_data(uint32_t n)
{
    struct cbx_slab *slab = cbx_slab_new(CBX_RECORD_HEAD + n + CBX_AEAD_TAG);
    assert_non_null(slab);
    memset(slab->bytes + CBX_RECORD_HEAD, 'd', n);
    return cbx_record_data(aead, &sealing, LABEL, 12345, slab, n);
}

/* One record of each kind, from `sealing`. */
static struct cbx_slice
seal_any(int kind)
{
    switch (kind) {
    case 0:
        return seal_data(TEXT);
    case 1:
        return cbx_record_fin(aead, &sealing, LABEL, 12345);
    case 2:
        return cbx_record_credit(aead, &sealing, LABEL, 1000, 33768);
    case 3:
        return cbx_record_reset(aead, &sealing, LABEL, CBX_REASON_REFUSED);
    case 4:
        return cbx_record_epoch(aead, &sealing, LABEL, dial.session, EPOCH + 1, 777);
    case 5:
        return cbx_record_dial(aead, &sealing, LABEL, &dial);
    default:
        return cbx_record_confirm(aead, &near_end, "cli", "web");
    }
}

static struct cbx_slice
seal(int kind)
{
    struct cbx_slice slice = seal_any(kind);
    assert_non_null(slice.slab);
    return slice;
}

static enum cbx_reason got_reason;
static uint64_t got_next, got_offset;

static int
open_frame(struct cbx_record_keys *keys, struct cbx_frame *frame)
{
    struct cbx_open open;
    switch (frame->type) {
    case CBX_FRAME_RESET:
        return cbx_record_open_reset(aead, keys, frame, &got_reason);
    case CBX_FRAME_EPOCH:
        return cbx_record_open_epoch(aead, keys, frame, &got_next, &got_offset);
    case CBX_FRAME_OPEN:
        cbx_open_read(frame, &open);
        return cbx_record_open_dial(aead, keys, frame, &open);
    case CBX_FRAME_CONFIRM:
        return cbx_record_open_confirm(aead, &far_end, frame);
    default:
        return cbx_record_open(aead, keys, frame);
    }
}

static void
decode(struct cbx_slice slice, struct cbx_frame *frame)
{
    assert_non_null(slice.slab);
    assert_int_equal(cbx_frame_decode(&decoder, slice, frame, NULL), 0);
}

/* ---- tests ---- */

static void
every_record_opens_and_says_what_was_sealed(void **state)
{
    (void)state;
    for (int kind = 0; kind < KINDS; kind++) {
        struct cbx_slice slice = seal(kind);
        struct cbx_frame frame;
        decode(slice, &frame);
        assert_int_equal(frame.label, kind == 6 ? 0 : LABEL);
        assert_int_equal(open_frame(&opening, &frame), 0);
        assert_int_equal(opening.data_next, sealing.data_next);
        assert_int_equal(opening.control_next, sealing.control_next);
        if (kind == 0) {
            assert_int_equal(frame.field[CBX_DATA_OFFSET].u, 12345);
            assert_int_equal(frame.field[CBX_DATA_PAYLOAD].n, TEXT);
            assert_int_equal(frame.field[CBX_DATA_PAYLOAD].p[0], 'd');
            assert_int_equal(frame.field[CBX_DATA_PAYLOAD].p[TEXT - 1], 'd');
        }
        cbx_slice_drop(&slice);
    }
    assert_int_equal(got_reason, CBX_REASON_REFUSED);
    assert_int_equal(got_next, EPOCH + 1);
    assert_int_equal(got_offset, 777);
    assert_int_equal(sealing.data_next, 3);
    assert_int_equal(sealing.control_next, 3);
}

static void
both_ciphers_work(void **state)
{
    (void)state;
    cbx_record_keys_derive(&sealing, root, stream_id, EPOCH, CBX_CIPHER_CHACHA20POLY1305);
    opening = sealing;
    for (int kind = 0; kind < KINDS; kind++) {
        struct cbx_slice slice = seal(kind);
        struct cbx_frame frame;
        decode(slice, &frame);
        assert_int_equal(open_frame(&opening, &frame), 0);
        cbx_slice_drop(&slice);
    }
}

/* A relay changes the label and nothing else. */
static void
the_label_is_not_sealed(void **state)
{
    (void)state;
    for (int kind = 0; kind < KINDS - 1; kind++) {
        struct cbx_slice slice = seal(kind);
        struct cbx_frame frame;
        cbx_frame_relabel(slice.data, 0xabcdef01);
        decode(slice, &frame);
        assert_int_equal(frame.label, 0xabcdef01);
        assert_int_equal(open_frame(&opening, &frame), 0);
        cbx_slice_drop(&slice);
    }
}

/* Opens a copy of the record with one bit of one field changed: -1 when there is no such bit. */
static int
open_changed(struct cbx_slice record, uint32_t field, uint32_t bit)
{
    struct cbx_slice copy = cbx_slice_copy(record.data, record.length);
    struct cbx_record_keys keys = opening;
    struct cbx_frame frame;
    decode(copy, &frame);
    struct cbx_field *changed = &frame.field[field];
    bool port = frame.type == CBX_FRAME_OPEN && field == CBX_OPEN_PORT;
    int result = -1;
    if (changed->p ? bit < changed->n * 8 : bit < (port ? 16 : 64)) {
        if (changed->p)
            changed->p[bit / 8] ^= (uint8_t)(1 << bit % 8);
        else
            changed->u ^= UINT64_C(1) << bit;
        result = open_frame(&keys, &frame);
        assert_true(result <= -2 || result == 0);
        if (result < 0) { /* nothing was counted */
            assert_int_equal(keys.data_next, opening.data_next);
            assert_int_equal(keys.control_next, opening.control_next);
        }
    }
    cbx_slice_drop(&copy);
    return result;
}

static void
one_bit_changed_anywhere_is_refused(void **state)
{
    (void)state;
    for (int kind = 0; kind < KINDS; kind++) {
        fresh(NULL);
        struct cbx_slice slice = seal(kind);
        struct cbx_frame frame;
        decode(slice, &frame);
        uint32_t bits = 0;
        for (uint32_t field = 0; field < frame.count; field++) {
            int result;
            for (uint32_t bit = 0; (result = open_changed(slice, field, bit)) != -1; bit++) {
                assert_int_equal(result, CBX_ERR_AUTH);
                bits++;
            }
        }
        assert_true(bits > 128);
        decode(slice, &frame);
        assert_int_equal(open_frame(&opening, &frame), 0);
        cbx_slice_drop(&slice);
    }
}

static void
a_record_cut_short_is_refused(void **state)
{
    (void)state;
    struct cbx_slice slice = seal(0);
    struct cbx_frame frame;
    decode(slice, &frame);
    frame.field[CBX_DATA_PAYLOAD].n--;
    assert_int_equal(open_frame(&opening, &frame), CBX_ERR_AUTH);
    cbx_slice_drop(&slice);
}

static void
a_record_opens_once(void **state)
{
    (void)state;
    for (int kind = 0; kind < KINDS - 1; kind++) {
        struct cbx_slice slice = seal(kind), again = cbx_slice_copy(slice.data, slice.length);
        struct cbx_frame frame;
        decode(slice, &frame);
        assert_int_equal(open_frame(&opening, &frame), 0);
        decode(again, &frame);
        assert_int_equal(open_frame(&opening, &frame), CBX_ERR_AUTH);
        cbx_slice_drop(&slice);
        cbx_slice_drop(&again);
    }
}

static void
a_record_out_of_order_is_refused(void **state)
{
    (void)state;
    for (int kind = 0; kind < KINDS - 1; kind++) {
        fresh(NULL);
        struct cbx_slice first = seal(kind), second = seal(kind);
        struct cbx_frame frame;
        decode(second, &frame);
        assert_int_equal(open_frame(&opening, &frame), CBX_ERR_AUTH);
        decode(first, &frame);
        assert_int_equal(open_frame(&opening, &frame), 0);
        cbx_slice_drop(&first);
        cbx_slice_drop(&second);
    }
}

static void
a_record_under_other_keys_is_refused(void **state)
{
    (void)state;
    uint8_t other_root[32] = "another root";
    uint8_t other_id[CBX_STREAM_ID_SIZE] = "another stream";
    struct cbx_record_keys others[5];
    cbx_record_keys_derive(&others[0], other_root, stream_id, EPOCH, CBX_CIPHER_AES256GCM);
    cbx_record_keys_derive(&others[1], root, other_id, EPOCH, CBX_CIPHER_AES256GCM);
    cbx_record_keys_derive(&others[2], root, stream_id, EPOCH + 1, CBX_CIPHER_AES256GCM);
    cbx_record_keys_derive(&others[3], root, stream_id, EPOCH, CBX_CIPHER_CHACHA20POLY1305);
    /* The keys of another epoch under this one's number. */
    others[4] = others[2];
    others[4].epoch = EPOCH;
    for (int kind = 0; kind < KINDS - 1; kind++) {
        for (int i = 0; i < 5; i++) {
            fresh(NULL);
            struct cbx_slice slice = seal(kind);
            struct cbx_frame frame;
            struct cbx_record_keys keys = others[i];
            decode(slice, &frame);
            assert_int_equal(open_frame(&keys, &frame), CBX_ERR_AUTH);
            cbx_slice_drop(&slice);
        }
    }
}

static void
the_classes_have_keys_of_their_own(void **state)
{
    (void)state;
    assert_memory_not_equal(sealing.data, sealing.control, CBX_AEAD_KEY);
    for (int kind = 0; kind < KINDS - 1; kind++) {
        fresh(NULL);
        memcpy(opening.data, sealing.control, CBX_AEAD_KEY);
        memcpy(opening.control, sealing.data, CBX_AEAD_KEY);
        struct cbx_slice slice = seal(kind);
        struct cbx_frame frame;
        decode(slice, &frame);
        assert_int_equal(open_frame(&opening, &frame), CBX_ERR_AUTH);
        cbx_slice_drop(&slice);
    }
}

/* The same counter, the same key, the same fields: the type is under the seal too. */
static void
a_record_of_one_type_is_not_another(void **state)
{
    (void)state;
    struct cbx_slice slice = seal(1);
    struct cbx_frame frame;
    decode(slice, &frame);
    frame.type = CBX_FRAME_DATA;
    assert_int_equal(cbx_record_open(aead, &opening, &frame), CBX_ERR_AUTH);
    cbx_slice_drop(&slice);
    slice = seal(3);
    decode(slice, &frame);
    frame.type = CBX_FRAME_CREDIT;
    frame.field[CBX_CREDIT_TAG] = frame.field[CBX_RESET_SEALED];
    frame.field[CBX_CREDIT_ACKNOWLEDGED] = frame.field[CBX_CREDIT_LIMIT] = cbx_field_uint(0);
    assert_int_equal(cbx_record_open(aead, &opening, &frame), CBX_ERR_AUTH);
    cbx_slice_drop(&slice);
}

static void
a_record_holds_64_kib_and_not_nothing(void **state)
{
    (void)state;
    struct cbx_slice slice = seal_data(CBX_RECORD_MAX);
    struct cbx_frame frame;
    decode(slice, &frame);
    assert_int_equal(open_frame(&opening, &frame), 0);
    assert_int_equal(frame.field[CBX_DATA_PAYLOAD].n, CBX_RECORD_MAX);
    cbx_slice_drop(&slice);
    uint64_t before = sealing.data_next;
    assert_null(seal_data(0).slab);
    assert_null(seal_data(CBX_RECORD_MAX + 1).slab);
    assert_int_equal(sealing.data_next, before);
}

static void
the_header_fits_its_room_at_every_size_of_number(void **state)
{
    (void)state;
    sealing.epoch = opening.epoch = UINT64_MAX;
    sealing.data_next = opening.data_next = UINT64_MAX - 1;
    struct cbx_slab *slab = cbx_slab_new(CBX_RECORD_HEAD + CBX_RECORD_MAX + CBX_AEAD_TAG);
    assert_non_null(slab);
    memset(slab->bytes, 0, CBX_RECORD_HEAD + CBX_RECORD_MAX);
    struct cbx_slice slice =
        cbx_record_data(aead, &sealing, UINT32_MAX, UINT64_MAX, slab, CBX_RECORD_MAX);
    struct cbx_frame frame;
    decode(slice, &frame);
    assert_true(slice.data >= slab->bytes);
    assert_int_equal(open_frame(&opening, &frame), 0);
    cbx_slice_drop(&slice);
}

static void
an_unknown_reset_reason_is_a_reset(void **state)
{
    (void)state;
    static const unsigned codes[] = {0, CBX_REASON_MAX + 1, 255};
    for (int i = 0; i < 3; i++) {
        struct cbx_slice slice = cbx_record_reset(aead, &sealing, 1, (enum cbx_reason)codes[i]);
        struct cbx_frame frame;
        decode(slice, &frame);
        assert_int_equal(open_frame(&opening, &frame), 0);
        assert_int_equal(got_reason, CBX_REASON_RESET);
        cbx_slice_drop(&slice);
    }
}

static void
wiped_keys_are_gone(void **state)
{
    (void)state;
    static const struct cbx_record_keys none;
    cbx_record_keys_wipe(&sealing);
    assert_memory_equal(&sealing, &none, sizeof none);
}

/* ---- as the page has it ---- */

static uint8_t ad[256];
static size_t ad_length;

static void
ad_uint(uint64_t value, int bytes)
{
    for (int i = bytes - 1; i >= 0; i--)
        ad[ad_length++] = (uint8_t)(value >> (8 * i));
}

static void
ad_bytes(const void *bytes, size_t length)
{
    memcpy(ad + ad_length, bytes, length);
    ad_length += length;
}

static void
ad_name(const char *name)
{
    ad_uint(strlen(name), 1);
    ad_bytes(name, strlen(name));
}

static void
ad_head(unsigned type, uint64_t epoch, uint64_t counter, uint64_t a, uint64_t b)
{
    ad_length = 0;
    ad_uint(type, 1);
    ad_uint(epoch, 8);
    ad_uint(counter, 8);
    ad_uint(a, 8);
    ad_uint(b, 8);
}

/* Opens field `sealed` of the record with the additional data that was put together. */
static void
opens_by_the_page(int kind, uint32_t field, const uint8_t *key, const char *text, size_t length)
{
    struct cbx_slice slice = seal(kind);
    struct cbx_frame frame;
    decode(slice, &frame);
    struct cbx_field *sealed = &frame.field[field];
    assert_int_equal(sealed->n, length + 16);
    assert_int_equal(
        cbx_aead_open(aead, CBX_CIPHER_AES256GCM, key, 0, ad, ad_length, sealed->p, sealed->n), 0);
    if (text)
        assert_memory_equal(sealed->p, text, length);
    cbx_slice_drop(&slice);
}

static void
data_is_sealed_as_the_page_says(void **state)
{
    (void)state;
    ad_head(33, EPOCH, 0, 12345, 0);
    opens_by_the_page(0, CBX_DATA_PAYLOAD, sealing.data, NULL, TEXT);
}

static void
fin_is_sealed_as_the_page_says(void **state)
{
    (void)state;
    ad_head(34, EPOCH, 0, 12345, 0);
    opens_by_the_page(1, CBX_FIN_TAG, sealing.data, NULL, 0);
}

static void
credit_is_sealed_as_the_page_says(void **state)
{
    (void)state;
    ad_head(35, EPOCH, 0, 1000, 33768);
    opens_by_the_page(2, CBX_CREDIT_TAG, sealing.control, NULL, 0);
}

static void
reset_is_sealed_as_the_page_says(void **state)
{
    (void)state;
    ad_head(36, EPOCH, 0, 0, 0);
    opens_by_the_page(3, CBX_RESET_SEALED, sealing.control, "\4", 1);
}

static void
epoch_is_sealed_as_the_page_says(void **state)
{
    (void)state;
    ad_head(37, EPOCH, 0, 0, 0);
    ad_bytes(dial.session, 16);
    opens_by_the_page(4, CBX_EPOCH_SEALED, sealing.control, "\0\0\0\0\0\0\0\4\0\0\0\0\0\0\3\11",
                      16);
}

static void
open_is_sealed_as_the_page_says(void **state)
{
    (void)state;
    ad_head(32, EPOCH, 0, 32768, 8080);
    ad_bytes(dial.session, 16);
    ad_bytes(stream_id, 40);
    ad_name("cli");
    ad_name("web");
    opens_by_the_page(5, CBX_OPEN_SEALED, sealing.data, "\3cli\3web\x1f\x90\0\0\0\0", 14);
}

static void
confirm_is_sealed_as_the_page_says(void **state)
{
    (void)state;
    static const uint8_t zeros[CBX_STREAM_ID_SIZE];
    uint8_t key[32];
    cbx_record_key(root, zeros, 0, CBX_CLASS_CONTROL, key);
    ad_head(21, 0, 0, 0, 0);
    ad_bytes(near_end.id, 16);
    ad_name("cli");
    ad_name("web");
    opens_by_the_page(6, CBX_CONFIRM_TAG, key, NULL, 0);
}

/* ---- OPEN's two halves (rule 17) ---- */

/* Seals an OPEN as a dialer gone bad would: any text under the right key. */
static int
open_with_text(const char *text, size_t length)
{
    uint8_t sealed[64] = {0};
    memcpy(sealed, text, length);
    ad_head(32, EPOCH, 0, dial.limit, dial.port);
    ad_bytes(dial.session, 16);
    ad_bytes(stream_id, 40);
    ad_name(dial.source);
    ad_name(dial.target);
    cbx_aead_seal(aead, CBX_CIPHER_AES256GCM, sealing.data, 0, ad, ad_length, sealed, length);
    struct cbx_field fields[] = {cbx_field_text(dial.source),
                                 cbx_field_text(dial.target),
                                 cbx_field_uint(dial.port),
                                 cbx_field_bytes(dial.session, 16),
                                 cbx_field_bytes(stream_id, 40),
                                 cbx_field_uint(EPOCH),
                                 cbx_field_uint(0),
                                 cbx_field_uint(dial.limit),
                                 cbx_field_bytes(sealed, length + 16)};
    struct cbx_slice slice = cbx_frame_slice(CBX_FRAME_OPEN, LABEL, fields, 9);
    struct cbx_frame frame;
    struct cbx_record_keys keys = opening;
    decode(slice, &frame);
    int result = open_frame(&keys, &frame);
    cbx_slice_drop(&slice);
    return result;
}

static void
what_the_hub_was_told_must_be_what_was_sealed(void **state)
{
    (void)state;
    assert_int_equal(open_with_text("\3cli\3web\x1f\x90\0\0\0\0", 14), 0);
    assert_int_equal(open_with_text("\3cli\3www\x1f\x90\0\0\0\0", 14), CBX_ERR_AUTH);
    assert_int_equal(open_with_text("\3foo\3web\x1f\x90\0\0\0\0", 14), CBX_ERR_AUTH);
    assert_int_equal(open_with_text("\3cli\3web\x1f\x91\0\0\0\0", 14), CBX_ERR_AUTH);
    assert_int_equal(open_with_text("\3cli\3web\x1f\x90\0\0\0\1", 14), CBX_ERR_AUTH);
    assert_int_equal(open_with_text("\3cli\3web\x1f\x90\0\0\0", 13), CBX_ERR_AUTH);
    assert_int_equal(open_with_text("\3cli\3web\x1f\x90\0\0\0\0x", 15), CBX_ERR_AUTH);
    assert_int_equal(open_with_text("", 0), CBX_ERR_AUTH);
}

static void
the_longest_names_fit(void **state)
{
    (void)state;
    memset(dial.source, 'a', CBX_SLUG_MAX);
    memset(dial.target, 'b', CBX_SLUG_MAX);
    struct cbx_slice slice = seal(5);
    struct cbx_frame frame;
    decode(slice, &frame);
    assert_int_equal(open_frame(&opening, &frame), 0);
    struct cbx_open read = {.port = 0};
    cbx_open_read(&frame, &read);
    assert_memory_equal(&read, &dial, sizeof dial);
    cbx_slice_drop(&slice);
}

#define RECORD_TEST(name) cmocka_unit_test_setup(name, fresh)

int
main(void)
{
    const struct CMUnitTest tests[] = {
        RECORD_TEST(every_record_opens_and_says_what_was_sealed),
        RECORD_TEST(both_ciphers_work),
        RECORD_TEST(the_label_is_not_sealed),
        RECORD_TEST(one_bit_changed_anywhere_is_refused),
        RECORD_TEST(a_record_cut_short_is_refused),
        RECORD_TEST(a_record_opens_once),
        RECORD_TEST(a_record_out_of_order_is_refused),
        RECORD_TEST(a_record_under_other_keys_is_refused),
        RECORD_TEST(the_classes_have_keys_of_their_own),
        RECORD_TEST(a_record_of_one_type_is_not_another),
        RECORD_TEST(a_record_holds_64_kib_and_not_nothing),
        RECORD_TEST(the_header_fits_its_room_at_every_size_of_number),
        RECORD_TEST(an_unknown_reset_reason_is_a_reset),
        RECORD_TEST(wiped_keys_are_gone),
        RECORD_TEST(data_is_sealed_as_the_page_says),
        RECORD_TEST(fin_is_sealed_as_the_page_says),
        RECORD_TEST(credit_is_sealed_as_the_page_says),
        RECORD_TEST(reset_is_sealed_as_the_page_says),
        RECORD_TEST(epoch_is_sealed_as_the_page_says),
        RECORD_TEST(open_is_sealed_as_the_page_says),
        RECORD_TEST(confirm_is_sealed_as_the_page_says),
        RECORD_TEST(what_the_hub_was_told_must_be_what_was_sealed),
        RECORD_TEST(the_longest_names_fit),
    };
    return cmocka_run_group_tests(tests, begin, finish);
}
