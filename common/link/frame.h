/* SPDX-License-Identifier: MIT */
/*
 * Frames: a 32-bit big-endian length, then one msgpack array whose first element is the type
 * (PROTOCOL.md, "Frames"). One table describes the fields of every type; encoding and decoding
 * both follow it. Input is bounded by a pre-scan before msgpack-c sees it (rule 25). Sans-I/O.
 */
#ifndef COMMON_LINK_FRAME_H
#define COMMON_LINK_FRAME_H

#include "common/base/err.h"
#include "common/base/slab.h"
#include "common/link/fields.h"
#include <msgpack.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum {
    CBX_RECORD_MAX = 65536,                /* plaintext of one record */
    CBX_PAYLOAD_MAX = CBX_RECORD_MAX + 16, /* with its tag */
    CBX_FRAME_MAX = CBX_PAYLOAD_MAX + 512, /* what the length prefix may say */
    CBX_FRAME_FIELDS_MAX = 12,
    CBX_FRAME_TEXT_MAX = 1024,
};

enum cbx_frame_type { /* wire numbers */
                      CBX_FRAME_HUB_HELLO = 1,
                      CBX_FRAME_AGENT_HELLO = 2,
                      CBX_FRAME_WELCOME = 3,
                      CBX_FRAME_JOIN_OFFER = 4,
                      CBX_FRAME_JOIN = 5,
                      CBX_FRAME_JOINED = 6,
                      CBX_FRAME_BYE = 7,
                      CBX_FRAME_PING = 8,
                      CBX_FRAME_PONG = 9,
                      CBX_FRAME_ACK = 10,
                      CBX_FRAME_PACE = 11,
                      CBX_FRAME_ALLOW = 12,
                      CBX_FRAME_ALLOWED = 13,
                      CBX_FRAME_WANT = 14,
                      CBX_FRAME_ADDRESSES = 15,
                      CBX_FRAME_PEER = 16,
                      CBX_FRAME_SYNCED = 17,
                      CBX_FRAME_CHAIN_GET = 18,
                      CBX_FRAME_CHAIN = 19,
                      CBX_FRAME_HANDSHAKE = 20,
                      CBX_FRAME_CONFIRM = 21,
                      CBX_FRAME_NO_HANDSHAKE = 22,
                      CBX_FRAME_RENDEZVOUS = 23,
                      CBX_FRAME_LANE_GET = 24,
                      CBX_FRAME_LANE = 25,
                      CBX_FRAME_NO_LANE = 26,
                      CBX_FRAME_SHIFT = 27,
                      CBX_FRAME_LANE_LOST = 28,
                      CBX_FRAME_OPEN = 32,
                      CBX_FRAME_DATA = 33,
                      CBX_FRAME_FIN = 34,
                      CBX_FRAME_CREDIT = 35,
                      CBX_FRAME_RESET = 36,
                      CBX_FRAME_EPOCH = 37,
                      CBX_FRAME_CLOSE = 38,
                      CBX_FRAME_RESUME = 39,
                      CBX_FRAME_RESUMED = 40,
                      CBX_FRAME_TYPE_MAX = 40,
};

/* One field: an integer in u, or bytes in p and n (borrowed; texts have no NUL behind them). */
struct cbx_field {
    uint64_t u;
    uint8_t *p;
    uint32_t n;
};

struct cbx_frame {
    enum cbx_frame_type type;
    uint32_t label;                               /* circuit frames; else 0 */
    uint32_t count;                               /* fields behind type and label */
    struct cbx_field field[CBX_FRAME_FIELDS_MAX]; /* in the order of PROTOCOL.md */
    struct cbx_slice raw;                         /* borrowed: the frame with its prefix */
};

/* The name of a type for logs and tests ("DATA"), or NULL for an unknown one. */
const char *cbx_frame_name(unsigned type);
/* Frames that belong to a circuit carry a label as their second element, always in the five-byte
 * form, so that a relay can change it in place. */
bool cbx_frame_has_label(unsigned type);
/* Sent in the order of their stream and counted against the limit in flight: DATA and FIN. */
static inline bool
cbx_frame_is_data(unsigned type)
{
    return type == CBX_FRAME_DATA || type == CBX_FRAME_FIN;
}

static inline struct cbx_field
cbx_field_uint(uint64_t value)
{
    return (struct cbx_field){.u = value};
}
struct cbx_field cbx_field_text(const char *text);
struct cbx_field cbx_field_bytes(const uint8_t *bytes, size_t length);
bool cbx_field_is(const struct cbx_field *field, const char *text);
/* As NUL-terminated text, cut to size. */
void cbx_field_copy(char *out, size_t size, const struct cbx_field *field);

/*
 * Encodes prefix, type, label and fields into bytes. fields must match the type's table. When the
 * last field is a payload whose p is NULL only its header is written: the caller puts n bytes
 * behind. Returns the bytes written, or CBX_ERR_LIMIT (size too small),
 * CBX_ERR_FORMAT (field count).
 */
int cbx_frame_write(uint8_t *bytes, size_t size, enum cbx_frame_type type, uint32_t label,
                    const struct cbx_field *fields, uint32_t count);

/* As above in a slab of its own; .slab is NULL on failure. */
struct cbx_slice cbx_frame_slice(enum cbx_frame_type type, uint32_t label,
                                 const struct cbx_field *fields, uint32_t count);

/* A zone kept per link, so that decoding allocates nothing per frame. */
struct cbx_frame_decoder {
    msgpack_zone zone;
    bool ready;
};
int cbx_frame_decoder_init(struct cbx_frame_decoder *decoder);
void cbx_frame_decoder_dispose(struct cbx_frame_decoder *decoder);

/*
 * The length of the frame that begins at bytes, prefix included; 0 when fewer than 4 bytes are
 * there; CBX_ERR_LIMIT when the prefix says more than CBX_FRAME_MAX, CBX_ERR_FORMAT when less
 * than 2.
 */
int cbx_frame_length(const uint8_t *bytes, size_t length);

/* Decodes one whole frame; *out borrows from raw. 0 or CBX_ERR_FORMAT with the cause in error.
 * A type that is not in the table is CBX_ERR_NOTFOUND. */
int cbx_frame_decode(struct cbx_frame_decoder *decoder, struct cbx_slice raw, struct cbx_frame *out,
                     struct cbx_error *error);

/* Where the payload of an encoded DATA frame begins; 0 for every other frame. */
int cbx_frame_payload_at(const uint8_t *frame, uint32_t length);

/* Changes the label of an encoded circuit frame in place. */
void cbx_frame_relabel(uint8_t *frame, uint32_t label);

#endif
