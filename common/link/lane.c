/* SPDX-License-Identifier: MIT */
/* Tickets, the preface's two proofs, and sealing and opening of frame heads and bodies. */
#include "common/link/lane.h"
#include "common/base/err.h"
#include "common/crypto/aead_choice.h"
#include "common/link/frame.h"
#include <sodium.h>
#include <stdlib.h>
#include <string.h>

enum { HEADS_SLAB = 16 * 1024, PREFIX = 4, TYPE_AT = 5 };

const uint8_t cbx_lane_magic[CBX_LANE_MAGIC] = "\0cbx lane 1\r\n\0\xff";

const char *const cbx_lanes_names[] = {"auto", "off", "require", NULL};

void
cbx_lane_ticket_make(struct cbx_lane_ticket *ticket, enum cbx_cipher cipher)
{
    randombytes_buf(ticket->id, sizeof ticket->id);
    randombytes_buf(ticket->secret, sizeof ticket->secret);
    ticket->cipher = cipher;
}

/* BLAKE2b-256(key = secret; context || id). */
static void
derive(const struct cbx_lane_ticket *ticket, const char *context, uint8_t out[32])
{
    crypto_generichash_state state;
    crypto_generichash_init(&state, ticket->secret, sizeof ticket->secret, 32);
    crypto_generichash_update(&state, (const uint8_t *)context, strlen(context));
    crypto_generichash_update(&state, ticket->id, sizeof ticket->id);
    crypto_generichash_final(&state, out, 32);
    sodium_memzero(&state, sizeof state);
}

void
cbx_lane_preface(const struct cbx_lane_ticket *ticket, uint8_t out[CBX_LANE_PREFACE])
{
    memcpy(out, cbx_lane_magic, CBX_LANE_MAGIC);
    memcpy(out + CBX_LANE_MAGIC, ticket->id, CBX_LANE_ID);
    derive(ticket, "cbx lane 1 dialer", out + CBX_LANE_MAGIC + CBX_LANE_ID);
}

bool
cbx_lane_preface_holds(const struct cbx_lane_ticket *ticket,
                       const uint8_t preface[CBX_LANE_PREFACE])
{
    uint8_t expected[CBX_LANE_PREFACE];
    cbx_lane_preface(ticket, expected);
    return sodium_memcmp(expected, preface, sizeof expected) == 0;
}

void
cbx_lane_answer(const struct cbx_lane_ticket *ticket, uint8_t out[CBX_LANE_MAC])
{
    derive(ticket, "cbx lane 1 listener", out);
}

bool
cbx_lane_answer_holds(const struct cbx_lane_ticket *ticket, const uint8_t answer[CBX_LANE_MAC])
{
    uint8_t expected[CBX_LANE_MAC];
    cbx_lane_answer(ticket, expected);
    return sodium_memcmp(expected, answer, sizeof expected) == 0;
}

struct cbx_lane *
cbx_lane_new(const struct cbx_lane_ticket *ticket, bool listener)
{
    struct cbx_lane *lane = calloc(1, sizeof *lane);
    struct cbx_aead *aead = cbx_aead_new();
    if (!lane || !aead) {
        free(lane);
        cbx_aead_free(aead);
        return NULL;
    }
    memcpy(lane->id, ticket->id, sizeof lane->id);
    lane->cipher = ticket->cipher;
    lane->aead = aead;
    derive(ticket, "cbx lane 1 up", listener ? lane->in.key : lane->out.key);
    derive(ticket, "cbx lane 1 down", listener ? lane->out.key : lane->in.key);
    return lane;
}

void
cbx_lane_free(struct cbx_lane *lane)
{
    if (!lane)
        return;
    cbx_slab_unref(lane->heads);
    cbx_aead_free(lane->aead);
    sodium_memzero(lane, sizeof *lane);
    free(lane);
}

/* ---- out ---- */

static int
seal(struct cbx_lane *lane, uint8_t *text, size_t length)
{
    return cbx_aead_seal(lane->aead, lane->cipher, lane->out.key, lane->out.next++, NULL, 0, text,
                         length);
}

/* Room for one block, out of a slab shared by many: a reference of its own in *out. */
static int
block_place(struct cbx_lane *lane, struct cbx_slice *out)
{
    if (!lane->heads || lane->heads_used + CBX_LANE_BLOCK > HEADS_SLAB) {
        struct cbx_slab *slab = cbx_slab_new(HEADS_SLAB);
        if (!slab)
            return CBX_ERR_NOMEM;
        cbx_slab_unref(lane->heads);
        lane->heads = slab;
        lane->heads_used = 0;
    }
    *out = cbx_slice_of(lane->heads, lane->heads->bytes + lane->heads_used, CBX_LANE_BLOCK);
    lane->heads_used += CBX_LANE_BLOCK;
    return 0;
}

static int
seal_block(struct cbx_lane *lane, uint8_t *block, const uint8_t *head, uint32_t length)
{
    uint8_t text[CBX_LANE_HEAD_TEXT] = {(uint8_t)length};
    memcpy(text + 1, head, length);
    memcpy(block, text, sizeof text);
    return seal(lane, block, sizeof text);
}

/* DATA whose slab has room before the head: the block is made there and all is one piece. */
static int
seal_in_place(struct cbx_lane *lane, struct cbx_slice *frame, uint32_t head)
{
    uint32_t more = CBX_LANE_BLOCK - head;
    uint8_t *block = frame->data - more;
    int result = seal_block(lane, block, frame->data, head);
    frame->data = block;
    frame->length += more;
    frame->room -= more;
    return result;
}

static int
seal_data(struct cbx_lane *lane, struct cbx_slice *frame, uint32_t head, struct cbx_slice out[2])
{
    if (frame->room >= CBX_LANE_BLOCK - head) {
        int result = seal_in_place(lane, frame, head);
        out[0] = *frame;
        *frame = (struct cbx_slice){0};
        return result < 0 ? result : 1;
    }
    int result = block_place(lane, &out[0]);
    if (result == 0)
        result = seal_block(lane, out[0].data, frame->data, head);
    if (result < 0)
        return result;
    out[1] = *frame;
    out[1].data += head;
    out[1].length -= head;
    *frame = (struct cbx_slice){0};
    return 2;
}

static int
seal_control(struct cbx_lane *lane, const struct cbx_slice *frame, struct cbx_slice out[2])
{
    uint32_t head = frame->length < CBX_LANE_HEAD_MAX ? frame->length : CBX_LANE_HEAD_MAX;
    uint32_t rest = frame->length - head;
    int result = 0;
    if (rest == 0) {
        result = block_place(lane, &out[0]);
    } else {
        struct cbx_slab *slab = cbx_slab_new(CBX_LANE_BLOCK + rest + CBX_AEAD_TAG);
        if (!slab)
            return CBX_ERR_NOMEM;
        out[0] = (struct cbx_slice){.slab = slab, .data = slab->bytes, .length = slab->capacity};
        memcpy(slab->bytes + CBX_LANE_BLOCK, frame->data + head, rest);
    }
    if (result == 0)
        result = seal_block(lane, out[0].data, frame->data, head);
    if (result == 0 && rest)
        result = seal(lane, out[0].data + CBX_LANE_BLOCK, rest);
    return result < 0 ? result : 1;
}

int
cbx_lane_seal(struct cbx_lane *lane, struct cbx_slice frame, struct cbx_slice out[2])
{
    out[0] = out[1] = (struct cbx_slice){0};
    int head = cbx_frame_payload_at(frame.data, frame.length);
    int result =
        head > 0 ? seal_data(lane, &frame, (uint32_t)head, out) : seal_control(lane, &frame, out);
    cbx_slice_drop(&frame);
    if (result < 0) {
        cbx_slice_drop(&out[0]);
        cbx_slice_drop(&out[1]);
    }
    return result;
}

/* ---- in ---- */

static int
unseal(struct cbx_lane *lane, uint8_t *text, size_t length)
{
    return cbx_aead_open(lane->aead, lane->cipher, lane->in.key, lane->in.next++, NULL, 0, text,
                         length);
}

int
cbx_lane_open_head(struct cbx_lane *lane, uint8_t *block, uint8_t **head, uint32_t *head_length,
                   uint32_t *body, bool *sealed)
{
    int result = unseal(lane, block, CBX_LANE_BLOCK);
    if (result < 0)
        return result;
    uint32_t length = block[0];
    int frame = length > TYPE_AT && length <= CBX_LANE_HEAD_MAX
                    ? cbx_frame_length(block + 1, length)
                    : CBX_ERR_FORMAT;
    if (frame < (int)length)
        return CBX_ERR_FORMAT;
    *body = (uint32_t)frame - length;
    *sealed = *body && block[1 + TYPE_AT] != CBX_FRAME_DATA;
    if (*sealed)
        *body += CBX_AEAD_TAG;
    *head = block + CBX_LANE_BLOCK - length;
    *head_length = length;
    memmove(*head, block + 1, length);
    return 0;
}

int
cbx_lane_open_body(struct cbx_lane *lane, uint8_t *body, uint32_t length)
{
    return unseal(lane, body, length);
}
