/* SPDX-License-Identifier: MIT */
/* Tested by test_record, test_resume and sim_moves. */
#include "common/stream/open.h"
#include "common/stream/additional.h"
#include <sodium.h>
#include <string.h>

static size_t
open_additional(uint8_t out[CBX_AD_MAX], enum cbx_frame_type type, const struct cbx_open *open,
                uint64_t counter)
{
    uint8_t *at = out + cbx_ad_begin(out, type, open->epoch, counter, open->limit, open->port);
    at = cbx_ad_put_bytes(at, open->session, sizeof open->session);
    at = cbx_ad_put_bytes(at, open->stream_id, sizeof open->stream_id);
    at = cbx_ad_put_name(at, open->source, strlen(open->source));
    at = cbx_ad_put_name(at, open->target, strlen(open->target));
    return (size_t)(at - out);
}

/* The sealed half: dialer, target, port, and the length of early data (reserved, 0). */
static size_t
open_text(uint8_t out[CBX_OPEN_TEXT_MAX + CBX_AEAD_TAG], const struct cbx_open *open)
{
    uint8_t *at = cbx_ad_put_name(out, open->source, strlen(open->source));
    at = cbx_ad_put_name(at, open->target, strlen(open->target));
    *at++ = (uint8_t)(open->port >> 8);
    *at++ = (uint8_t)open->port;
    memset(at, 0, 4);
    return (size_t)(at + 4 - out);
}

/* What OPEN and RESUME begin with, which are the same fields. */
_Static_assert((int)CBX_RESUME_DIALER == (int)CBX_OPEN_DIALER &&
                   (int)CBX_RESUME_EPOCH == (int)CBX_OPEN_EPOCH,
               "OPEN and RESUME are read alike");

static void
put_open(struct cbx_field *fields, const struct cbx_open *open)
{
    fields[CBX_OPEN_DIALER] = cbx_field_text(open->source);
    fields[CBX_OPEN_TARGET] = cbx_field_text(open->target);
    fields[CBX_OPEN_PORT] = cbx_field_uint(open->port);
    fields[CBX_OPEN_SESSION] = cbx_field_bytes(open->session, sizeof open->session);
    fields[CBX_OPEN_STREAM_ID] = cbx_field_bytes(open->stream_id, sizeof open->stream_id);
    fields[CBX_OPEN_EPOCH] = cbx_field_uint(open->epoch);
}

static void
read_open(const struct cbx_frame *frame, struct cbx_open *open)
{
    cbx_field_copy(open->source, sizeof open->source, &frame->field[CBX_OPEN_DIALER]);
    cbx_field_copy(open->target, sizeof open->target, &frame->field[CBX_OPEN_TARGET]);
    open->port = (uint16_t)frame->field[CBX_OPEN_PORT].u;
    memcpy(open->session, frame->field[CBX_OPEN_SESSION].p, sizeof open->session);
    memcpy(open->stream_id, frame->field[CBX_OPEN_STREAM_ID].p, sizeof open->stream_id);
    open->epoch = frame->field[CBX_OPEN_EPOCH].u;
}

struct cbx_slice
cbx_record_dial(struct cbx_aead *aead, struct cbx_record_keys *keys, uint32_t label,
                const struct cbx_open *open)
{
    uint8_t ad[CBX_AD_MAX], text[CBX_OPEN_TEXT_MAX + CBX_AEAD_TAG];
    uint64_t counter = keys->data_next;
    size_t ad_length = open_additional(ad, CBX_FRAME_OPEN, open, counter);
    size_t n = open_text(text, open);
    if (cbx_aead_seal(aead, keys->cipher, keys->data, counter, ad, ad_length, text, n) < 0)
        return (struct cbx_slice){0};
    keys->data_next++;
    struct cbx_field fields[CBX_OPEN_SEALED + 1];
    put_open(fields, open);
    fields[CBX_OPEN_COUNTER] = cbx_field_uint(counter);
    fields[CBX_OPEN_LIMIT] = cbx_field_uint(open->limit);
    fields[CBX_OPEN_SEALED] = cbx_field_bytes(text, n + CBX_AEAD_TAG);
    return cbx_frame_slice(CBX_FRAME_OPEN, label, fields, CBX_OPEN_SEALED + 1);
}

void
cbx_open_read(const struct cbx_frame *frame, struct cbx_open *open)
{
    read_open(frame, open);
    open->limit = frame->field[CBX_OPEN_LIMIT].u;
}

int
cbx_record_open_dial(struct cbx_aead *aead, struct cbx_record_keys *keys, struct cbx_frame *frame,
                     const struct cbx_open *open)
{
    uint8_t ad[CBX_AD_MAX], text[CBX_OPEN_TEXT_MAX + CBX_AEAD_TAG];
    struct cbx_field *sealed = &frame->field[CBX_OPEN_SEALED];
    if (open->epoch != keys->epoch || frame->field[CBX_OPEN_COUNTER].u != keys->data_next)
        return CBX_ERR_AUTH;
    size_t ad_length = open_additional(ad, CBX_FRAME_OPEN, open, keys->data_next);
    int result = cbx_aead_open(aead, keys->cipher, keys->data, keys->data_next, ad, ad_length,
                               sealed->p, sealed->n);
    if (result < 0)
        return result;
    keys->data_next++;
    size_t n = open_text(text, open);
    if (sealed->n - CBX_AEAD_TAG != n || memcmp(sealed->p, text, n) != 0)
        return CBX_ERR_AUTH;
    return 0;
}

static uint8_t *
put_resume(uint8_t *at, const struct cbx_resume *resume)
{
    at = cbx_ad_put64(cbx_ad_put64(at, resume->received), resume->acked);
    *at++ = resume->ended;
    return at;
}

static size_t
resume_additional(uint8_t out[CBX_AD_MAX], const struct cbx_open *open,
                  const struct cbx_resume *resume)
{
    struct cbx_open full = *open;
    full.limit = resume->limit;
    size_t length = open_additional(out, CBX_FRAME_RESUME, &full, 0);
    return (size_t)(put_resume(out + length, resume) - out);
}

static size_t
resumed_additional(uint8_t out[CBX_AD_MAX], uint64_t epoch, const struct cbx_resume *resume)
{
    size_t length = cbx_ad_begin(out, CBX_FRAME_RESUMED, epoch, 0, resume->limit, 0);
    return (size_t)(put_resume(out + length, resume) - out);
}

/* The claims and the tag: the last fields of both frames, in this order. */
enum claim { RECEIVED, ACKNOWLEDGED, LIMIT, ENDED, CLAIMS_TAG };
_Static_assert((int)CBX_RESUME_TAG - (int)CBX_RESUME_RECEIVED == (int)CLAIMS_TAG &&
                   (int)CBX_RESUMED_TAG - (int)CBX_RESUMED_RECEIVED == (int)CLAIMS_TAG,
               "RESUME and RESUMED end alike");

static void
put_claims(struct cbx_field *claims, const struct cbx_resume *resume,
           const uint8_t tag[CBX_AEAD_TAG])
{
    claims[RECEIVED] = cbx_field_uint(resume->received);
    claims[ACKNOWLEDGED] = cbx_field_uint(resume->acked);
    claims[LIMIT] = cbx_field_uint(resume->limit);
    claims[ENDED] = cbx_field_uint(resume->ended);
    claims[CLAIMS_TAG] = cbx_field_bytes(tag, CBX_AEAD_TAG);
}

static struct cbx_resume
read_claims(const struct cbx_field *claims)
{
    return (struct cbx_resume){.received = claims[RECEIVED].u,
                               .acked = claims[ACKNOWLEDGED].u,
                               .limit = claims[LIMIT].u,
                               .ended = claims[ENDED].u != 0};
}

/* Both are record 0 of their epoch. */
static int
seal_tag(struct cbx_aead *aead, struct cbx_record_keys *keys, const uint8_t *ad, size_t length,
         uint8_t tag[CBX_AEAD_TAG])
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
    uint8_t ad[CBX_AD_MAX], tag[CBX_AEAD_TAG];
    size_t length = resume_additional(ad, open, resume);
    if (seal_tag(aead, keys, ad, length, tag) < 0)
        return (struct cbx_slice){0};
    struct cbx_field fields[CBX_RESUME_TAG + 1];
    put_open(fields, open);
    put_claims(fields + CBX_RESUME_RECEIVED, resume, tag);
    return cbx_frame_slice(CBX_FRAME_RESUME, label, fields, CBX_RESUME_TAG + 1);
}

void
cbx_resume_read(const struct cbx_frame *frame, struct cbx_open *open, struct cbx_resume *resume)
{
    read_open(frame, open);
    open->limit = 0;
    *resume = read_claims(frame->field + CBX_RESUME_RECEIVED);
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
    uint8_t ad[CBX_AD_MAX];
    if (open->epoch != keys->epoch)
        return CBX_ERR_AUTH;
    return open_tag(aead, keys, ad, resume_additional(ad, open, resume),
                    &frame->field[CBX_RESUME_TAG]);
}

struct cbx_slice
cbx_record_resumed(struct cbx_aead *aead, struct cbx_record_keys *keys, uint32_t label,
                   const struct cbx_resume *resume)
{
    uint8_t ad[CBX_AD_MAX], tag[CBX_AEAD_TAG];
    size_t length = resumed_additional(ad, keys->epoch, resume);
    if (seal_tag(aead, keys, ad, length, tag) < 0)
        return (struct cbx_slice){0};
    struct cbx_field fields[CBX_RESUMED_TAG + 1] = {[CBX_RESUMED_EPOCH] =
                                                        cbx_field_uint(keys->epoch)};
    put_claims(fields + CBX_RESUMED_RECEIVED, resume, tag);
    return cbx_frame_slice(CBX_FRAME_RESUMED, label, fields, CBX_RESUMED_TAG + 1);
}

int
cbx_record_open_resumed(struct cbx_aead *aead, struct cbx_record_keys *keys,
                        struct cbx_frame *frame, struct cbx_resume *resume)
{
    uint8_t ad[CBX_AD_MAX];
    *resume = read_claims(frame->field + CBX_RESUMED_RECEIVED);
    if (frame->field[CBX_RESUMED_EPOCH].u != keys->epoch)
        return CBX_ERR_AUTH;
    return open_tag(aead, keys, ad, resumed_additional(ad, keys->epoch, resume),
                    &frame->field[CBX_RESUMED_TAG]);
}

/* A record of no stream: identity of zeros, epoch 0, control class, counter 0. */
static size_t
confirm_additional(uint8_t out[CBX_AD_MAX], const struct cbx_session *session, const char *source,
                   size_t source_length, const char *target, size_t target_length)
{
    uint8_t *at = out + cbx_ad_begin(out, CBX_FRAME_CONFIRM, 0, 0, 0, 0);
    at = cbx_ad_put_bytes(at, session->id, sizeof session->id);
    at = cbx_ad_put_name(at, source, source_length);
    at = cbx_ad_put_name(at, target, target_length);
    return (size_t)(at - out);
}

struct cbx_slice
cbx_record_confirm(struct cbx_aead *aead, const struct cbx_session *session, const char *source,
                   const char *target)
{
    static const uint8_t no_stream[CBX_STREAM_ID_SIZE];
    uint8_t ad[CBX_AD_MAX], tag[CBX_AEAD_TAG], key[CBX_AEAD_KEY];
    size_t length = confirm_additional(ad, session, source, strlen(source), target, strlen(target));
    cbx_record_key(session->root_send, no_stream, 0, CBX_CLASS_CONTROL, key);
    int result = cbx_aead_seal(aead, session->cipher, key, 0, ad, length, tag, 0);
    sodium_memzero(key, sizeof key);
    if (result < 0)
        return (struct cbx_slice){0};
    struct cbx_field fields[] = {
        [CBX_CONFIRM_FROM] = cbx_field_text(source),
        [CBX_CONFIRM_TO] = cbx_field_text(target),
        [CBX_CONFIRM_SESSION] = cbx_field_bytes(session->id, sizeof session->id),
        [CBX_CONFIRM_TAG] = cbx_field_bytes(tag, CBX_AEAD_TAG),
    };
    return cbx_frame_slice(CBX_FRAME_CONFIRM, 0, fields, 4);
}

int
cbx_record_open_confirm(struct cbx_aead *aead, const struct cbx_session *session,
                        struct cbx_frame *frame)
{
    static const uint8_t no_stream[CBX_STREAM_ID_SIZE];
    uint8_t ad[CBX_AD_MAX], key[CBX_AEAD_KEY];
    const struct cbx_field *from = &frame->field[CBX_CONFIRM_FROM];
    const struct cbx_field *to = &frame->field[CBX_CONFIRM_TO];
    struct cbx_field *tag = &frame->field[CBX_CONFIRM_TAG];
    if (memcmp(frame->field[CBX_CONFIRM_SESSION].p, session->id, sizeof session->id) != 0)
        return CBX_ERR_AUTH;
    size_t length =
        confirm_additional(ad, session, (const char *)from->p, from->n, (const char *)to->p, to->n);
    cbx_record_key(session->root_receive, no_stream, 0, CBX_CLASS_CONTROL, key);
    int result = cbx_aead_open(aead, session->cipher, key, 0, ad, length, tag->p, tag->n);
    sodium_memzero(key, sizeof key);
    return result;
}
