/* SPDX-License-Identifier: MIT */
/* The text of a message written and read, then its seal, then the keys of the lane. */
#include "common/session/rendezvous.h"
#include "common/base/bytes.h"
#include "common/base/names.h"
#include <sodium.h>
#include <string.h>

enum {
    HEAD = 1 + CBX_LANE_ID + CBX_RENDEZVOUS_MARK + 1,
    AD_MAX = 1 + 2 * (1 + CBX_SLUG_MAX) + CBX_SESSION_ID_SIZE + 8,
    SEALED_MAX = CBX_RENDEZVOUS_TEXT_MAX + CBX_AEAD_TAG,
};

/* ---- text ---- */

uint32_t
cbx_rendezvous_write(const struct cbx_rendezvous *rendezvous, uint8_t out[CBX_RENDEZVOUS_TEXT_MAX])
{
    uint8_t *at = out;
    *at++ = (uint8_t)rendezvous->step;
    memcpy(at, rendezvous->id, CBX_LANE_ID);
    memcpy(at + CBX_LANE_ID, rendezvous->mark, CBX_RENDEZVOUS_MARK);
    at += CBX_LANE_ID + CBX_RENDEZVOUS_MARK;
    *at++ = (uint8_t)rendezvous->count;
    for (uint32_t i = 0; i < rendezvous->count; i++) {
        size_t length = strnlen(rendezvous->candidate[i], CBX_RENDEZVOUS_CANDIDATE_MAX);
        *at++ = (uint8_t)length;
        memcpy(at, rendezvous->candidate[i], length);
        at += length;
    }
    return (uint32_t)(at - out);
}

/* One candidate; how many bytes it took, 0 when it is not legal. */
static size_t
read_candidate(const uint8_t *at, size_t left, char out[CBX_RENDEZVOUS_CANDIDATE_MAX + 1])
{
    size_t length = left ? at[0] : 0;
    if (length == 0 || length > CBX_RENDEZVOUS_CANDIDATE_MAX || length >= left)
        return 0;
    for (size_t i = 1; i <= length; i++) {
        if (at[i] <= 0x20 || at[i] > 0x7e)
            return 0;
    }
    memcpy(out, at + 1, length);
    out[length] = '\0';
    return 1 + length;
}

int
cbx_rendezvous_read(const uint8_t *text, size_t length, struct cbx_rendezvous *out)
{
    memset(out, 0, sizeof *out);
    if (length < HEAD || text[0] < CBX_RENDEZVOUS_OFFER || text[0] > CBX_RENDEZVOUS_LOST)
        return CBX_ERR_FORMAT;
    out->step = (enum cbx_rendezvous_step)text[0];
    memcpy(out->id, text + 1, CBX_LANE_ID);
    memcpy(out->mark, text + 1 + CBX_LANE_ID, CBX_RENDEZVOUS_MARK);
    out->count = text[HEAD - 1];
    bool says = out->step <= CBX_RENDEZVOUS_ANSWER;
    if (out->count > CBX_RENDEZVOUS_CANDIDATES_MAX ||
        (!says && (out->count || !sodium_is_zero(out->mark, CBX_RENDEZVOUS_MARK))))
        return CBX_ERR_FORMAT;
    size_t at = HEAD;
    for (uint32_t i = 0; i < out->count; i++) {
        size_t took = read_candidate(text + at, length - at, out->candidate[i]);
        if (took == 0)
            return CBX_ERR_FORMAT;
        at += took;
    }
    return at == length ? 0 : CBX_ERR_FORMAT;
}

/* ---- seal ---- */

static void
derive(const uint8_t root[32], const char *context, const uint8_t *id, uint8_t out[32])
{
    crypto_generichash_state state;
    crypto_generichash_init(&state, root, 32, 32);
    crypto_generichash_update(&state, (const uint8_t *)context, strlen(context));
    if (id)
        crypto_generichash_update(&state, id, CBX_LANE_ID);
    crypto_generichash_final(&state, out, 32);
    sodium_memzero(&state, sizeof state);
}

static uint8_t *
put_name(uint8_t *at, const void *name, size_t length)
{
    *at = (uint8_t)length;
    memcpy(at + 1, name, length);
    return at + 1 + length;
}

/* All of the frame that is not sealed. */
static size_t
additional(uint8_t out[AD_MAX], const struct cbx_field *from, const struct cbx_field *to,
           const uint8_t session[CBX_SESSION_ID_SIZE], uint64_t counter)
{
    uint8_t *at = out;
    *at++ = CBX_FRAME_RENDEZVOUS;
    at = put_name(at, from->p, from->n);
    at = put_name(at, to->p, to->n);
    memcpy(at, session, CBX_SESSION_ID_SIZE);
    at += CBX_SESSION_ID_SIZE;
    cbx_put_be64(at, counter);
    return (size_t)(at + 8 - out);
}

struct cbx_slice
cbx_rendezvous_seal(struct cbx_aead *aead, const struct cbx_session *session, const char *from,
                    const char *to, uint64_t counter, const struct cbx_rendezvous *rendezvous)
{
    uint8_t ad[AD_MAX], key[CBX_AEAD_KEY], text[SEALED_MAX];
    struct cbx_field fields[] = {
        [CBX_RENDEZVOUS_FROM] = cbx_field_text(from),
        [CBX_RENDEZVOUS_TO] = cbx_field_text(to),
        [CBX_RENDEZVOUS_SESSION] = cbx_field_bytes(session->id, sizeof session->id),
        [CBX_RENDEZVOUS_COUNTER] = cbx_field_uint(counter),
        [CBX_RENDEZVOUS_SEALED] = cbx_field_bytes(text, 0),
    };
    size_t ad_length = additional(ad, &fields[CBX_RENDEZVOUS_FROM], &fields[CBX_RENDEZVOUS_TO],
                                  session->id, counter);
    uint32_t length = cbx_rendezvous_write(rendezvous, text);
    derive(session->root_send, "cbx meet 1", NULL, key);
    int result = cbx_aead_seal(aead, session->cipher, key, counter, ad, ad_length, text, length);
    sodium_memzero(key, sizeof key);
    if (result < 0)
        return (struct cbx_slice){0};
    fields[CBX_RENDEZVOUS_SEALED].n = length + CBX_AEAD_TAG;
    return cbx_frame_slice(CBX_FRAME_RENDEZVOUS, 0, fields, CBX_RENDEZVOUS_SEALED + 1);
}

int
cbx_rendezvous_open(struct cbx_aead *aead, const struct cbx_session *session,
                    const struct cbx_frame *frame, struct cbx_rendezvous *out)
{
    uint8_t ad[AD_MAX], key[CBX_AEAD_KEY], text[SEALED_MAX];
    const struct cbx_field *field = frame->field, *sealed = &field[CBX_RENDEZVOUS_SEALED];
    uint64_t counter = field[CBX_RENDEZVOUS_COUNTER].u;
    memset(out, 0, sizeof *out);
    if (sealed->n < CBX_AEAD_TAG || sealed->n > sizeof text)
        return CBX_ERR_FORMAT;
    memcpy(text, sealed->p, sealed->n);
    size_t ad_length = additional(ad, &field[CBX_RENDEZVOUS_FROM], &field[CBX_RENDEZVOUS_TO],
                                  field[CBX_RENDEZVOUS_SESSION].p, counter);
    derive(session->root_receive, "cbx meet 1", NULL, key);
    int result = cbx_aead_open(aead, session->cipher, key, counter, ad, ad_length, text, sealed->n);
    sodium_memzero(key, sizeof key);
    return result < 0 ? result : cbx_rendezvous_read(text, sealed->n - CBX_AEAD_TAG, out);
}

/* ---- what the lane needs ---- */

void
cbx_rendezvous_ticket(const struct cbx_session *session, bool we_listen,
                      const uint8_t id[CBX_LANE_ID], struct cbx_lane_ticket *out)
{
    memcpy(out->id, id, CBX_LANE_ID);
    out->cipher = session->cipher;
    derive(we_listen ? session->root_send : session->root_receive, "cbx direct 1", id, out->secret);
}

void
cbx_rendezvous_mark_key(const struct cbx_session *session, bool ours, uint8_t out[32])
{
    derive(ours ? session->root_send : session->root_receive, "cbx host 1", NULL, out);
}
