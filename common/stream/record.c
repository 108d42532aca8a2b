/* SPDX-License-Identifier: MIT */
/* Builds DATA, FIN, CREDIT, RESET and EPOCH in place, and opens what is sealed in them. */
#include "common/stream/record.h"
#include "common/stream/additional.h"
#include <sodium.h>

enum { EPOCH_TEXT = 16 };

void
cbx_record_keys_derive(struct cbx_record_keys *keys, const uint8_t root[32],
                       const uint8_t stream_id[CBX_STREAM_ID_SIZE], uint64_t epoch,
                       enum cbx_cipher cipher)
{
    memset(keys, 0, sizeof *keys);
    keys->epoch = epoch;
    keys->cipher = cipher;
    cbx_record_key(root, stream_id, epoch, CBX_CLASS_DATA, keys->data);
    cbx_record_key(root, stream_id, epoch, CBX_CLASS_CONTROL, keys->control);
}

void
cbx_record_keys_wipe(struct cbx_record_keys *keys)
{
    sodium_memzero(keys, sizeof *keys);
}

struct cbx_slice
cbx_record_data(struct cbx_aead *aead, struct cbx_record_keys *keys, uint32_t label,
                uint64_t offset, struct cbx_slab *slab, uint32_t n)
{
    uint8_t ad[CBX_AD_MAX], head[CBX_RECORD_HEAD];
    uint8_t *text = slab->bytes + CBX_RECORD_HEAD;
    size_t ad_length = cbx_ad_begin(ad, CBX_FRAME_DATA, keys->epoch, keys->data_next, offset, 0);
    struct cbx_field fields[] = {
        [CBX_DATA_EPOCH] = cbx_field_uint(keys->epoch),
        [CBX_DATA_COUNTER] = cbx_field_uint(keys->data_next),
        [CBX_DATA_OFFSET] = cbx_field_uint(offset),
        [CBX_DATA_PAYLOAD] = {.n = n + CBX_AEAD_TAG},
    };
    int length = cbx_frame_write(head, sizeof head, CBX_FRAME_DATA, label, fields, 4);
    if (length < 0 || cbx_aead_seal(aead, keys->cipher, keys->data, keys->data_next, ad, ad_length,
                                    text, n) < 0) {
        cbx_slab_unref(slab);
        return (struct cbx_slice){0};
    }
    keys->data_next++;
    memcpy(text - length, head, (size_t)length);
    return (struct cbx_slice){.slab = slab,
                              .data = text - length,
                              .length = (uint32_t)length + n + CBX_AEAD_TAG,
                              .room = (uint32_t)(text - length - slab->bytes)};
}

struct cbx_slice
cbx_record_fin(struct cbx_aead *aead, struct cbx_record_keys *keys, uint32_t label, uint64_t offset)
{
    uint8_t ad[CBX_AD_MAX], tag[CBX_AEAD_TAG];
    size_t length = cbx_ad_begin(ad, CBX_FRAME_FIN, keys->epoch, keys->data_next, offset, 0);
    if (cbx_aead_seal(aead, keys->cipher, keys->data, keys->data_next, ad, length, tag, 0) < 0)
        return (struct cbx_slice){0};
    struct cbx_field fields[] = {
        [CBX_FIN_EPOCH] = cbx_field_uint(keys->epoch),
        [CBX_FIN_COUNTER] = cbx_field_uint(keys->data_next),
        [CBX_FIN_OFFSET] = cbx_field_uint(offset),
        [CBX_FIN_TAG] = cbx_field_bytes(tag, CBX_AEAD_TAG),
    };
    keys->data_next++;
    return cbx_frame_slice(CBX_FRAME_FIN, label, fields, 4);
}

static int
seal_control(struct cbx_aead *aead, struct cbx_record_keys *keys, const uint8_t *ad, size_t length,
             uint8_t *text, size_t n)
{
    int result =
        cbx_aead_seal(aead, keys->cipher, keys->control, keys->control_next, ad, length, text, n);
    keys->control_next++;
    return result;
}

struct cbx_slice
cbx_record_credit(struct cbx_aead *aead, struct cbx_record_keys *keys, uint32_t label,
                  uint64_t acked, uint64_t limit)
{
    uint8_t ad[CBX_AD_MAX], tag[CBX_AEAD_TAG];
    uint64_t counter = keys->control_next;
    size_t length = cbx_ad_begin(ad, CBX_FRAME_CREDIT, keys->epoch, counter, acked, limit);
    if (seal_control(aead, keys, ad, length, tag, 0) < 0)
        return (struct cbx_slice){0};
    struct cbx_field fields[] = {
        [CBX_CREDIT_EPOCH] = cbx_field_uint(keys->epoch),
        [CBX_CREDIT_COUNTER] = cbx_field_uint(counter),
        [CBX_CREDIT_ACKNOWLEDGED] = cbx_field_uint(acked),
        [CBX_CREDIT_LIMIT] = cbx_field_uint(limit),
        [CBX_CREDIT_TAG] = cbx_field_bytes(tag, CBX_AEAD_TAG),
    };
    return cbx_frame_slice(CBX_FRAME_CREDIT, label, fields, 5);
}

struct cbx_slice
cbx_record_reset(struct cbx_aead *aead, struct cbx_record_keys *keys, uint32_t label,
                 enum cbx_reason reason)
{
    uint8_t ad[CBX_AD_MAX], text[1 + CBX_AEAD_TAG] = {(uint8_t)reason};
    uint64_t counter = keys->control_next;
    size_t length = cbx_ad_begin(ad, CBX_FRAME_RESET, keys->epoch, counter, 0, 0);
    if (seal_control(aead, keys, ad, length, text, 1) < 0)
        return (struct cbx_slice){0};
    struct cbx_field fields[] = {
        [CBX_RESET_EPOCH] = cbx_field_uint(keys->epoch),
        [CBX_RESET_COUNTER] = cbx_field_uint(counter),
        [CBX_RESET_SEALED] = cbx_field_bytes(text, sizeof text),
    };
    return cbx_frame_slice(CBX_FRAME_RESET, label, fields, 3);
}

struct cbx_slice
cbx_record_epoch(struct cbx_aead *aead, struct cbx_record_keys *keys, uint32_t label,
                 const uint8_t session[CBX_SESSION_ID_SIZE], uint64_t next, uint64_t offset)
{
    uint8_t ad[CBX_AD_MAX], text[EPOCH_TEXT + CBX_AEAD_TAG];
    uint64_t counter = keys->control_next;
    size_t length = cbx_ad_begin(ad, CBX_FRAME_EPOCH, keys->epoch, counter, 0, 0);
    cbx_ad_put_bytes(ad + length, session, CBX_SESSION_ID_SIZE);
    cbx_ad_put64(cbx_ad_put64(text, next), offset);
    if (seal_control(aead, keys, ad, length + CBX_SESSION_ID_SIZE, text, EPOCH_TEXT) < 0)
        return (struct cbx_slice){0};
    struct cbx_field fields[] = {
        [CBX_EPOCH_EPOCH] = cbx_field_uint(keys->epoch),
        [CBX_EPOCH_COUNTER] = cbx_field_uint(counter),
        [CBX_EPOCH_SESSION] = cbx_field_bytes(session, CBX_SESSION_ID_SIZE),
        [CBX_EPOCH_SEALED] = cbx_field_bytes(text, sizeof text),
    };
    return cbx_frame_slice(CBX_FRAME_EPOCH, label, fields, 4);
}

/* Epoch and counter must be exactly the next. */
static int
open_sealed(struct cbx_aead *aead, struct cbx_record_keys *keys, bool data,
            const struct cbx_frame *frame, const uint8_t *ad, size_t ad_length,
            struct cbx_field *sealed)
{
    uint64_t *next = data ? &keys->data_next : &keys->control_next;
    if (frame->field[CBX_SEALED_EPOCH].u != keys->epoch ||
        frame->field[CBX_SEALED_COUNTER].u != *next)
        return CBX_ERR_AUTH;
    int result = cbx_aead_open(aead, keys->cipher, data ? keys->data : keys->control, *next, ad,
                               ad_length, sealed->p, sealed->n);
    if (result < 0)
        return result;
    (*next)++;
    sealed->n -= CBX_AEAD_TAG;
    return 0;
}

static size_t
additional_of(const struct cbx_frame *frame, uint64_t a, uint64_t b, uint8_t out[CBX_AD_MAX])
{
    return cbx_ad_begin(out, frame->type, frame->field[CBX_SEALED_EPOCH].u,
                        frame->field[CBX_SEALED_COUNTER].u, a, b);
}

int
cbx_record_open(struct cbx_aead *aead, struct cbx_record_keys *keys, struct cbx_frame *frame)
{
    _Static_assert((int)CBX_DATA_OFFSET == (int)CBX_FIN_OFFSET &&
                       (int)CBX_DATA_PAYLOAD == (int)CBX_FIN_TAG,
                   "DATA and FIN are opened alike");
    uint8_t ad[CBX_AD_MAX];
    struct cbx_field *field = frame->field;
    if (cbx_frame_is_data(frame->type))
        return open_sealed(aead, keys, true, frame, ad,
                           additional_of(frame, field[CBX_DATA_OFFSET].u, 0, ad),
                           &field[CBX_DATA_PAYLOAD]);
    size_t length =
        additional_of(frame, field[CBX_CREDIT_ACKNOWLEDGED].u, field[CBX_CREDIT_LIMIT].u, ad);
    return open_sealed(aead, keys, false, frame, ad, length, &field[CBX_CREDIT_TAG]);
}

int
cbx_record_open_reset(struct cbx_aead *aead, struct cbx_record_keys *keys, struct cbx_frame *frame,
                      enum cbx_reason *reason)
{
    uint8_t ad[CBX_AD_MAX];
    size_t length = additional_of(frame, 0, 0, ad);
    int result = open_sealed(aead, keys, false, frame, ad, length, &frame->field[CBX_RESET_SEALED]);
    if (result < 0 || frame->field[CBX_RESET_SEALED].n < 1)
        return CBX_ERR_AUTH;
    *reason = cbx_reason_of(frame->field[CBX_RESET_SEALED].p[0], CBX_REASON_RESET);
    return 0;
}

int
cbx_record_open_epoch(struct cbx_aead *aead, struct cbx_record_keys *keys, struct cbx_frame *frame,
                      uint64_t *next, uint64_t *offset)
{
    uint8_t ad[CBX_AD_MAX];
    size_t length = additional_of(frame, 0, 0, ad);
    cbx_ad_put_bytes(ad + length, frame->field[CBX_EPOCH_SESSION].p, CBX_SESSION_ID_SIZE);
    int result = open_sealed(aead, keys, false, frame, ad, length + CBX_SESSION_ID_SIZE,
                             &frame->field[CBX_EPOCH_SEALED]);
    if (result < 0 || frame->field[CBX_EPOCH_SEALED].n != EPOCH_TEXT)
        return CBX_ERR_AUTH;
    *next = cbx_get_be64(frame->field[CBX_EPOCH_SEALED].p);
    *offset = cbx_get_be64(frame->field[CBX_EPOCH_SEALED].p + 8);
    return 0;
}

int
cbx_record_reopen(struct cbx_aead *aead, const struct cbx_record_keys *keys, uint64_t counter,
                  uint64_t offset, uint8_t *text, uint32_t n)
{
    uint8_t ad[CBX_AD_MAX];
    size_t length = cbx_ad_begin(ad, CBX_FRAME_DATA, keys->epoch, counter, offset, 0);
    return cbx_aead_open(aead, keys->cipher, keys->data, counter, ad, length, text,
                         n + CBX_AEAD_TAG);
}
