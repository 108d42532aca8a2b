/* SPDX-License-Identifier: MIT */
#include "common/stream/record.h"
#include "common/base/bytes.h"
#include <sodium.h>
#include <string.h>

enum {
    AD_BASE = 33,
    AD_RESUME = 2 * 8 + 1, /* received, acked, ended */
    AD_MAX =
        AD_BASE + CBX_SESSION_ID_SIZE + CBX_STREAM_ID_SIZE + 2 * (1 + CBX_SLUG_MAX) + AD_RESUME,
    TAG = CBX_AEAD_TAG,
    EPOCH_TEXT = 16
};

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

static uint8_t *
put64(uint8_t *at, uint64_t value)
{
    cbx_put_be64(at, value);
    return at + 8;
}

static uint8_t *
put_bytes(uint8_t *at, const void *bytes, size_t length)
{
    memcpy(at, bytes, length);
    return at + length;
}

static uint8_t *
put_name(uint8_t *at, const char *name, size_t length)
{
    *at++ = (uint8_t)length;
    return put_bytes(at, name, length);
}

/* type || epoch || counter || a || b: every header field but the label, in fixed form. */
static size_t
additional(uint8_t out[AD_MAX], enum cbx_frame_type type, uint64_t epoch, uint64_t counter,
           uint64_t a, uint64_t b)
{
    uint8_t *at = out;
    *at++ = (uint8_t)type;
    at = put64(at, epoch);
    at = put64(at, counter);
    at = put64(at, a);
    at = put64(at, b);
    return (size_t)(at - out);
}

struct cbx_slice
cbx_record_data(struct cbx_aead *aead, struct cbx_record_keys *keys, uint32_t label,
                uint64_t offset, struct cbx_slab *slab, uint32_t n)
{
    uint8_t ad[AD_MAX], head[CBX_RECORD_HEAD];
    uint8_t *text = slab->bytes + CBX_RECORD_HEAD;
    size_t ad_length = additional(ad, CBX_FRAME_DATA, keys->epoch, keys->data_next, offset, 0);
    struct cbx_field fields[] = {cbx_field_uint(keys->epoch),
                                 cbx_field_uint(keys->data_next),
                                 cbx_field_uint(offset),
                                 {.n = n + TAG}};
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
                              .length = (uint32_t)length + n + TAG,
                              .room = (uint32_t)(text - length - slab->bytes)};
}

struct cbx_slice
cbx_record_fin(struct cbx_aead *aead, struct cbx_record_keys *keys, uint32_t label, uint64_t offset)
{
    uint8_t ad[AD_MAX], tag[TAG];
    size_t length = additional(ad, CBX_FRAME_FIN, keys->epoch, keys->data_next, offset, 0);
    if (cbx_aead_seal(aead, keys->cipher, keys->data, keys->data_next, ad, length, tag, 0) < 0)
        return (struct cbx_slice){0};
    struct cbx_field fields[] = {cbx_field_uint(keys->epoch), cbx_field_uint(keys->data_next),
                                 cbx_field_uint(offset), cbx_field_bytes(tag, TAG)};
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
    uint8_t ad[AD_MAX], tag[TAG];
    uint64_t counter = keys->control_next;
    size_t length = additional(ad, CBX_FRAME_CREDIT, keys->epoch, counter, acked, limit);
    if (seal_control(aead, keys, ad, length, tag, 0) < 0)
        return (struct cbx_slice){0};
    struct cbx_field fields[] = {cbx_field_uint(keys->epoch), cbx_field_uint(counter),
                                 cbx_field_uint(acked), cbx_field_uint(limit),
                                 cbx_field_bytes(tag, TAG)};
    return cbx_frame_slice(CBX_FRAME_CREDIT, label, fields, 5);
}

struct cbx_slice
cbx_record_reset(struct cbx_aead *aead, struct cbx_record_keys *keys, uint32_t label,
                 enum cbx_reason reason)
{
    uint8_t ad[AD_MAX], text[1 + TAG] = {(uint8_t)reason};
    uint64_t counter = keys->control_next;
    size_t length = additional(ad, CBX_FRAME_RESET, keys->epoch, counter, 0, 0);
    if (seal_control(aead, keys, ad, length, text, 1) < 0)
        return (struct cbx_slice){0};
    struct cbx_field fields[] = {cbx_field_uint(keys->epoch), cbx_field_uint(counter),
                                 cbx_field_bytes(text, sizeof text)};
    return cbx_frame_slice(CBX_FRAME_RESET, label, fields, 3);
}

struct cbx_slice
cbx_record_epoch(struct cbx_aead *aead, struct cbx_record_keys *keys, uint32_t label,
                 const uint8_t session[CBX_SESSION_ID_SIZE], uint64_t next, uint64_t offset)
{
    uint8_t ad[AD_MAX], text[EPOCH_TEXT + TAG];
    uint64_t counter = keys->control_next;
    size_t length = additional(ad, CBX_FRAME_EPOCH, keys->epoch, counter, 0, 0);
    put_bytes(ad + length, session, CBX_SESSION_ID_SIZE);
    put64(put64(text, next), offset);
    if (seal_control(aead, keys, ad, length + CBX_SESSION_ID_SIZE, text, EPOCH_TEXT) < 0)
        return (struct cbx_slice){0};
    struct cbx_field fields[] = {cbx_field_uint(keys->epoch), cbx_field_uint(counter),
                                 cbx_field_bytes(session, CBX_SESSION_ID_SIZE),
                                 cbx_field_bytes(text, sizeof text)};
    return cbx_frame_slice(CBX_FRAME_EPOCH, label, fields, 4);
}

/* Fields 0 and 1 of every record are epoch and counter: they must be exactly the next. */
static int
open_sealed(struct cbx_aead *aead, struct cbx_record_keys *keys, bool data,
            const struct cbx_frame *frame, const uint8_t *ad, size_t ad_length,
            struct cbx_field *sealed)
{
    uint64_t *next = data ? &keys->data_next : &keys->control_next;
    if (frame->field[0].u != keys->epoch || frame->field[1].u != *next)
        return CBX_ERR_AUTH;
    int result = cbx_aead_open(aead, keys->cipher, data ? keys->data : keys->control, *next, ad,
                               ad_length, sealed->p, sealed->n);
    if (result < 0)
        return result;
    (*next)++;
    sealed->n -= TAG;
    return 0;
}

int
cbx_record_open(struct cbx_aead *aead, struct cbx_record_keys *keys, struct cbx_frame *frame)
{
    uint8_t ad[AD_MAX];
    bool data = cbx_frame_is_data(frame->type);
    uint64_t b = data ? 0 : frame->field[3].u;
    size_t length =
        additional(ad, frame->type, frame->field[0].u, frame->field[1].u, frame->field[2].u, b);
    return open_sealed(aead, keys, data, frame, ad, length, &frame->field[data ? 3 : 4]);
}

int
cbx_record_open_reset(struct cbx_aead *aead, struct cbx_record_keys *keys, struct cbx_frame *frame,
                      enum cbx_reason *reason)
{
    uint8_t ad[AD_MAX];
    size_t length = additional(ad, CBX_FRAME_RESET, frame->field[0].u, frame->field[1].u, 0, 0);
    int result = open_sealed(aead, keys, false, frame, ad, length, &frame->field[2]);
    if (result < 0 || frame->field[2].n < 1)
        return CBX_ERR_AUTH;
    *reason = cbx_reason_of(frame->field[2].p[0], CBX_REASON_RESET);
    return 0;
}

int
cbx_record_open_epoch(struct cbx_aead *aead, struct cbx_record_keys *keys, struct cbx_frame *frame,
                      uint64_t *next, uint64_t *offset)
{
    uint8_t ad[AD_MAX];
    size_t length = additional(ad, CBX_FRAME_EPOCH, frame->field[0].u, frame->field[1].u, 0, 0);
    put_bytes(ad + length, frame->field[2].p, CBX_SESSION_ID_SIZE);
    int result =
        open_sealed(aead, keys, false, frame, ad, length + CBX_SESSION_ID_SIZE, &frame->field[3]);
    if (result < 0 || frame->field[3].n != EPOCH_TEXT)
        return CBX_ERR_AUTH;
    *next = cbx_get_be64(frame->field[3].p);
    *offset = cbx_get_be64(frame->field[3].p + 8);
    return 0;
}

static size_t
open_additional(uint8_t out[AD_MAX], enum cbx_frame_type type, const struct cbx_open *open,
                uint64_t counter)
{
    uint8_t *at = out + additional(out, type, open->epoch, counter, open->limit, open->port);
    at = put_bytes(at, open->session, sizeof open->session);
    at = put_bytes(at, open->stream_id, sizeof open->stream_id);
    at = put_name(at, open->source, strlen(open->source));
    at = put_name(at, open->target, strlen(open->target));
    return (size_t)(at - out);
}

/* The sealed half: dialer, target, port, and the length of early data (reserved, 0). */
static size_t
open_text(uint8_t out[CBX_OPEN_TEXT_MAX + TAG], const struct cbx_open *open)
{
    uint8_t *at = put_name(out, open->source, strlen(open->source));
    at = put_name(at, open->target, strlen(open->target));
    *at++ = (uint8_t)(open->port >> 8);
    *at++ = (uint8_t)open->port;
    memset(at, 0, 4);
    return (size_t)(at + 4 - out);
}

/* What OPEN and RESUME begin with: fields 0 to 5. */
static void
put_open(struct cbx_field fields[6], const struct cbx_open *open)
{
    fields[0] = cbx_field_text(open->source);
    fields[1] = cbx_field_text(open->target);
    fields[2] = cbx_field_uint(open->port);
    fields[3] = cbx_field_bytes(open->session, sizeof open->session);
    fields[4] = cbx_field_bytes(open->stream_id, sizeof open->stream_id);
    fields[5] = cbx_field_uint(open->epoch);
}

static void
read_open(const struct cbx_frame *frame, struct cbx_open *open)
{
    cbx_field_copy(open->source, sizeof open->source, &frame->field[0]);
    cbx_field_copy(open->target, sizeof open->target, &frame->field[1]);
    open->port = (uint16_t)frame->field[2].u;
    memcpy(open->session, frame->field[3].p, sizeof open->session);
    memcpy(open->stream_id, frame->field[4].p, sizeof open->stream_id);
    open->epoch = frame->field[5].u;
}

struct cbx_slice
cbx_record_dial(struct cbx_aead *aead, struct cbx_record_keys *keys, uint32_t label,
                const struct cbx_open *open)
{
    uint8_t ad[AD_MAX], text[CBX_OPEN_TEXT_MAX + TAG];
    uint64_t counter = keys->data_next;
    size_t ad_length = open_additional(ad, CBX_FRAME_OPEN, open, counter);
    size_t n = open_text(text, open);
    if (cbx_aead_seal(aead, keys->cipher, keys->data, counter, ad, ad_length, text, n) < 0)
        return (struct cbx_slice){0};
    keys->data_next++;
    struct cbx_field fields[9];
    put_open(fields, open);
    fields[6] = cbx_field_uint(counter);
    fields[7] = cbx_field_uint(open->limit);
    fields[8] = cbx_field_bytes(text, n + TAG);
    return cbx_frame_slice(CBX_FRAME_OPEN, label, fields, 9);
}

void
cbx_open_read(const struct cbx_frame *frame, struct cbx_open *open)
{
    read_open(frame, open);
    open->limit = frame->field[7].u;
}

int
cbx_record_open_dial(struct cbx_aead *aead, struct cbx_record_keys *keys, struct cbx_frame *frame,
                     const struct cbx_open *open)
{
    uint8_t ad[AD_MAX], text[CBX_OPEN_TEXT_MAX + TAG];
    struct cbx_field *sealed = &frame->field[8];
    if (open->epoch != keys->epoch || frame->field[6].u != keys->data_next)
        return CBX_ERR_AUTH;
    size_t ad_length = open_additional(ad, CBX_FRAME_OPEN, open, keys->data_next);
    int result = cbx_aead_open(aead, keys->cipher, keys->data, keys->data_next, ad, ad_length,
                               sealed->p, sealed->n);
    if (result < 0)
        return result;
    keys->data_next++;
    size_t n = open_text(text, open);
    if (sealed->n - TAG != n || memcmp(sealed->p, text, n) != 0)
        return CBX_ERR_AUTH;
    return 0;
}

int
cbx_record_reopen(struct cbx_aead *aead, const struct cbx_record_keys *keys, uint64_t counter,
                  uint64_t offset, uint8_t *text, uint32_t n)
{
    uint8_t ad[AD_MAX];
    size_t length = additional(ad, CBX_FRAME_DATA, keys->epoch, counter, offset, 0);
    return cbx_aead_open(aead, keys->cipher, keys->data, counter, ad, length, text, n + TAG);
}

/* ---- going on over another path ---- */

static uint8_t *
put_resume(uint8_t *at, const struct cbx_resume *resume)
{
    at = put64(put64(at, resume->received), resume->acked);
    *at++ = resume->ended;
    return at;
}

static size_t
resume_additional(uint8_t out[AD_MAX], const struct cbx_open *open, const struct cbx_resume *resume)
{
    struct cbx_open full = *open;
    full.limit = resume->limit;
    size_t length = open_additional(out, CBX_FRAME_RESUME, &full, 0);
    return (size_t)(put_resume(out + length, resume) - out);
}

static size_t
resumed_additional(uint8_t out[AD_MAX], uint64_t epoch, const struct cbx_resume *resume)
{
    size_t length = additional(out, CBX_FRAME_RESUMED, epoch, 0, resume->limit, 0);
    return (size_t)(put_resume(out + length, resume) - out);
}

/* The four claims as fields, in both frames, and the tag that ends them. */
static void
put_claims(struct cbx_field fields[5], const struct cbx_resume *resume, const uint8_t tag[TAG])
{
    fields[0] = cbx_field_uint(resume->received);
    fields[1] = cbx_field_uint(resume->acked);
    fields[2] = cbx_field_uint(resume->limit);
    fields[3] = cbx_field_uint(resume->ended);
    fields[4] = cbx_field_bytes(tag, TAG);
}

static struct cbx_resume
read_claims(const struct cbx_field fields[4])
{
    return (struct cbx_resume){.received = fields[0].u,
                               .acked = fields[1].u,
                               .limit = fields[2].u,
                               .ended = fields[3].u != 0};
}

/* Both are record 0 of their epoch. */
static int
seal_tag(struct cbx_aead *aead, struct cbx_record_keys *keys, const uint8_t *ad, size_t length,
         uint8_t tag[TAG])
{
    if (keys->data_next != 0)
        return CBX_ERR_STATE;
    int result = cbx_aead_seal(aead, keys->cipher, keys->data, 0, ad, length, tag, 0);
    keys->data_next += result == 0;
    return result;
}

struct cbx_slice
cbx_record_resume(struct cbx_aead *aead, struct cbx_record_keys *keys, uint32_t label,
                  const struct cbx_open *open, const struct cbx_resume *resume)
{
    uint8_t ad[AD_MAX], tag[TAG];
    size_t length = resume_additional(ad, open, resume);
    if (seal_tag(aead, keys, ad, length, tag) < 0)
        return (struct cbx_slice){0};
    struct cbx_field fields[11];
    put_open(fields, open);
    put_claims(fields + 6, resume, tag);
    return cbx_frame_slice(CBX_FRAME_RESUME, label, fields, 11);
}

void
cbx_resume_read(const struct cbx_frame *frame, struct cbx_open *open, struct cbx_resume *resume)
{
    read_open(frame, open);
    open->limit = 0;
    *resume = read_claims(frame->field + 6);
}

static int
open_tag(struct cbx_aead *aead, struct cbx_record_keys *keys, const uint8_t *ad, size_t length,
         struct cbx_field *tag)
{
    if (keys->data_next != 0)
        return CBX_ERR_AUTH;
    int result = cbx_aead_open(aead, keys->cipher, keys->data, 0, ad, length, tag->p, tag->n);
    if (result == 0)
        keys->data_next++;
    return result;
}

int
cbx_record_open_resume(struct cbx_aead *aead, struct cbx_record_keys *keys, struct cbx_frame *frame,
                       const struct cbx_open *open, const struct cbx_resume *resume)
{
    uint8_t ad[AD_MAX];
    if (open->epoch != keys->epoch)
        return CBX_ERR_AUTH;
    return open_tag(aead, keys, ad, resume_additional(ad, open, resume), &frame->field[10]);
}

struct cbx_slice
cbx_record_resumed(struct cbx_aead *aead, struct cbx_record_keys *keys, uint32_t label,
                   const struct cbx_resume *resume)
{
    uint8_t ad[AD_MAX], tag[TAG];
    size_t length = resumed_additional(ad, keys->epoch, resume);
    if (seal_tag(aead, keys, ad, length, tag) < 0)
        return (struct cbx_slice){0};
    struct cbx_field fields[6] = {cbx_field_uint(keys->epoch)};
    put_claims(fields + 1, resume, tag);
    return cbx_frame_slice(CBX_FRAME_RESUMED, label, fields, 6);
}

int
cbx_record_open_resumed(struct cbx_aead *aead, struct cbx_record_keys *keys,
                        struct cbx_frame *frame, struct cbx_resume *resume)
{
    uint8_t ad[AD_MAX];
    *resume = read_claims(frame->field + 1);
    if (frame->field[0].u != keys->epoch)
        return CBX_ERR_AUTH;
    return open_tag(aead, keys, ad, resumed_additional(ad, keys->epoch, resume), &frame->field[5]);
}

/* A record of no stream: identity of zeros, epoch 0, control class, counter 0. */
static size_t
confirm_additional(uint8_t out[AD_MAX], const struct cbx_session *session, const char *source,
                   size_t source_length, const char *target, size_t target_length)
{
    uint8_t *at = out + additional(out, CBX_FRAME_CONFIRM, 0, 0, 0, 0);
    at = put_bytes(at, session->id, sizeof session->id);
    at = put_name(at, source, source_length);
    at = put_name(at, target, target_length);
    return (size_t)(at - out);
}

struct cbx_slice
cbx_record_confirm(struct cbx_aead *aead, const struct cbx_session *session, const char *source,
                   const char *target)
{
    static const uint8_t no_stream[CBX_STREAM_ID_SIZE];
    uint8_t ad[AD_MAX], tag[TAG], key[CBX_AEAD_KEY];
    size_t length = confirm_additional(ad, session, source, strlen(source), target, strlen(target));
    cbx_record_key(session->root_send, no_stream, 0, CBX_CLASS_CONTROL, key);
    int result = cbx_aead_seal(aead, session->cipher, key, 0, ad, length, tag, 0);
    sodium_memzero(key, sizeof key);
    if (result < 0)
        return (struct cbx_slice){0};
    struct cbx_field fields[] = {cbx_field_text(source), cbx_field_text(target),
                                 cbx_field_bytes(session->id, sizeof session->id),
                                 cbx_field_bytes(tag, TAG)};
    return cbx_frame_slice(CBX_FRAME_CONFIRM, 0, fields, 4);
}

int
cbx_record_open_confirm(struct cbx_aead *aead, const struct cbx_session *session,
                        struct cbx_frame *frame)
{
    static const uint8_t no_stream[CBX_STREAM_ID_SIZE];
    uint8_t ad[AD_MAX], key[CBX_AEAD_KEY];
    if (memcmp(frame->field[2].p, session->id, sizeof session->id) != 0)
        return CBX_ERR_AUTH;
    size_t length =
        confirm_additional(ad, session, (const char *)frame->field[0].p, frame->field[0].n,
                           (const char *)frame->field[1].p, frame->field[1].n);
    cbx_record_key(session->root_receive, no_stream, 0, CBX_CLASS_CONTROL, key);
    int result = cbx_aead_open(aead, session->cipher, key, 0, ad, length, frame->field[3].p,
                               frame->field[3].n);
    sodium_memzero(key, sizeof key);
    return result;
}
