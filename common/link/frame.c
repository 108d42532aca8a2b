/* SPDX-License-Identifier: MIT */
/*
 * The table of frame types, and what follows it: writing, scanning, reading fields, changing
 * labels.
 */
#include "common/link/frame.h"
#include "common/base/bytes.h"
#include "common/base/mpscan.h"
#include "common/base/names.h"
#include "common/trust/trust.h"
#include <string.h>

enum {
    PREFIX = 4,
    ELEMENTS_MAX = 16,
    DEPTH_MAX = 2,
    SEALED_OPEN_MAX = 256,
    SEALED_SMALL_MAX = 64,
    SEALED_RENDEZVOUS_MAX = 700,
    MESSAGE_MAX = 560,
    TAG = 16
};

/*
 * Field kinds: u unsigned, c code 0..255, p port, s slug, t text, l 16 bytes, h 32 bytes, i 40
 * bytes, g tag, r small sealed, O sealed half of OPEN, M sealed RENDEZVOUS, m handshake message, C
 * certificate (may be empty), B payload (text of a record and its tag).
 */
struct shape {
    const char *name;
    const char *fields;
    bool label;
};

static const struct shape shapes[CBX_FRAME_TYPE_MAX + 1] = {
    [CBX_FRAME_HUB_HELLO] = {"HUB_HELLO", "uct", false},
    [CBX_FRAME_AGENT_HELLO] = {"AGENT_HELLO", "ulut", false},
    [CBX_FRAME_WELCOME] = {"WELCOME", "ssuutc", false},
    [CBX_FRAME_JOIN_OFFER] = {"JOIN_OFFER", "sC", false},
    [CBX_FRAME_JOIN] = {"JOIN", "C", false},
    [CBX_FRAME_JOINED] = {"JOINED", "", false},
    [CBX_FRAME_BYE] = {"BYE", "cut", false},
    [CBX_FRAME_PING] = {"PING", "uu", false},
    [CBX_FRAME_PONG] = {"PONG", "uu", false},
    [CBX_FRAME_ACK] = {"ACK", "u", false},
    [CBX_FRAME_PACE] = {"PACE", "u", false},
    [CBX_FRAME_ALLOW] = {"ALLOW", "uu", false},
    [CBX_FRAME_ALLOWED] = {"ALLOWED", "u", false},
    [CBX_FRAME_WANT] = {"WANT", "u", false},
    [CBX_FRAME_ADDRESSES] = {"ADDRESSES", "t", false},
    [CBX_FRAME_PEER] = {"PEER", "scuulhtt", false},
    [CBX_FRAME_SYNCED] = {"SYNCED", "u", false},
    [CBX_FRAME_CHAIN_GET] = {"CHAIN_GET", "s", false},
    [CBX_FRAME_CHAIN] = {"CHAIN", "sCC", false},
    [CBX_FRAME_HANDSHAKE] = {"HANDSHAKE", "sschhm", false},
    [CBX_FRAME_CONFIRM] = {"CONFIRM", "sslg", false},
    [CBX_FRAME_NO_HANDSHAKE] = {"NO_HANDSHAKE", "ssc", false},
    [CBX_FRAME_RENDEZVOUS] = {"RENDEZVOUS", "ssluM", false},
    [CBX_FRAME_LANE_GET] = {"LANE_GET", "c", false},
    [CBX_FRAME_LANE] = {"LANE", "lhc", false},
    [CBX_FRAME_NO_LANE] = {"NO_LANE", "ct", false},
    [CBX_FRAME_SHIFT] = {"SHIFT", "l", false},
    [CBX_FRAME_LANE_LOST] = {"LANE_LOST", "", false},
    [CBX_FRAME_OPEN] = {"OPEN", "sspliuuuO", true},
    [CBX_FRAME_DATA] = {"DATA", "uuuB", true},
    [CBX_FRAME_FIN] = {"FIN", "uuug", true},
    [CBX_FRAME_CREDIT] = {"CREDIT", "uuuug", true},
    [CBX_FRAME_RESET] = {"RESET", "uur", true},
    [CBX_FRAME_EPOCH] = {"EPOCH", "uulr", true},
    [CBX_FRAME_CLOSE] = {"CLOSE", "c", true},
    [CBX_FRAME_RESUME] = {"RESUME", "sspliuuuuug", true},
    [CBX_FRAME_RESUMED] = {"RESUMED", "uuuuug", true},
};

static const struct shape *
shape_of(unsigned type)
{
    return type <= CBX_FRAME_TYPE_MAX && shapes[type].name ? &shapes[type] : NULL;
}

const char *
cbx_frame_name(unsigned type)
{
    const struct shape *shape = shape_of(type);
    return shape ? shape->name : NULL;
}

bool
cbx_frame_has_label(unsigned type)
{
    const struct shape *shape = shape_of(type);
    return shape && shape->label;
}

struct cbx_field
cbx_field_text(const char *text)
{
    return (struct cbx_field){.p = (uint8_t *)(uintptr_t)text, .n = (uint32_t)strlen(text)};
}

struct cbx_field
cbx_field_bytes(const uint8_t *bytes, size_t length)
{
    return (struct cbx_field){.p = (uint8_t *)(uintptr_t)bytes, .n = (uint32_t)length};
}

bool
cbx_field_is(const struct cbx_field *field, const char *text)
{
    return field->n == strlen(text) && memcmp(field->p, text, field->n) == 0;
}

void
cbx_field_copy(char *out, size_t size, const struct cbx_field *field)
{
    size_t n = field->n < size - 1 ? field->n : size - 1;
    memcpy(out, field->p, n);
    out[n] = '\0';
}

static bool
text_valid(const uint8_t *text, uint32_t length)
{
    if (length > CBX_FRAME_TEXT_MAX)
        return false;
    for (uint32_t i = 0; i < length; i++) {
        if (text[i] < 0x20 || text[i] > 0x7e)
            return false;
    }
    return true;
}

/* The one place that says what a field of each kind may hold. */
static bool
field_valid(char kind, const struct cbx_field *field)
{
    switch (kind) {
    case 'u':
        return true;
    case 'c':
        return field->u <= 255;
    case 'p':
        return field->u >= 1 && field->u <= 65535;
    case 's':
        return cbx_slug_valid((const char *)field->p, field->n);
    case 't':
        return text_valid(field->p, field->n);
    case 'l':
        return field->n == 16;
    case 'h':
        return field->n == 32;
    case 'i':
        return field->n == 40;
    case 'g':
        return field->n == TAG;
    case 'r':
        return field->n >= TAG && field->n <= SEALED_SMALL_MAX;
    case 'O':
        return field->n >= TAG && field->n <= SEALED_OPEN_MAX;
    case 'M':
        return field->n >= TAG && field->n <= SEALED_RENDEZVOUS_MAX;
    case 'm':
        return field->n >= 1 && field->n <= MESSAGE_MAX;
    case 'C':
        return field->n <= CBX_CERT_MAX;
    case 'B':
        return field->n > TAG && field->n <= CBX_PAYLOAD_MAX;
    default:
        return false;
    }
}

static bool
kind_is_integer(char kind)
{
    return kind == 'u' || kind == 'c' || kind == 'p';
}

static bool
kind_is_text(char kind)
{
    return kind == 's' || kind == 't';
}

struct out {
    uint8_t *at, *end;
    bool full;
};

static int
out_write(void *data, const char *bytes, size_t length)
{
    struct out *out = data;
    if (length > (size_t)(out->end - out->at)) {
        out->full = true;
        return -1;
    }
    if (length)
        memcpy(out->at, bytes, length);
    out->at += length;
    return 0;
}

static void
pack_field(msgpack_packer *packer, char kind, const struct cbx_field *field)
{
    if (kind_is_integer(kind)) {
        msgpack_pack_uint64(packer, field->u);
    } else if (kind_is_text(kind)) {
        msgpack_pack_str(packer, field->n);
        msgpack_pack_str_body(packer, field->p, field->n);
    } else {
        msgpack_pack_bin(packer, field->n);
        if (field->p)
            msgpack_pack_bin_body(packer, field->p, field->n);
    }
}

int
cbx_frame_write(uint8_t *bytes, size_t size, enum cbx_frame_type type, uint32_t label,
                const struct cbx_field *fields, uint32_t count)
{
    const struct shape *shape = shape_of(type);
    if (!shape || strlen(shape->fields) != count)
        return CBX_ERR_FORMAT;
    if (size < PREFIX + 8)
        return CBX_ERR_LIMIT;
    struct out out = {.at = bytes + PREFIX, .end = bytes + size};
    msgpack_packer packer;
    msgpack_packer_init(&packer, &out, out_write);
    msgpack_pack_array(&packer, (shape->label ? 2u : 1u) + count);
    msgpack_pack_uint8(&packer, (uint8_t)type);
    if (shape->label) {
        uint8_t encoded[5] = {0xce};
        cbx_put_be32(encoded + 1, label);
        out_write(&out, (const char *)encoded, sizeof encoded);
    }
    size_t behind = 0;
    for (uint32_t i = 0; i < count; i++) {
        if (!field_valid(shape->fields[i], &fields[i]))
            return CBX_ERR_FORMAT;
        pack_field(&packer, shape->fields[i], &fields[i]);
        if (!kind_is_integer(shape->fields[i]) && !fields[i].p)
            behind = fields[i].n;
    }
    if (out.full)
        return CBX_ERR_LIMIT;
    size_t length = (size_t)(out.at - bytes);
    cbx_put_be32(bytes, (uint32_t)(length - PREFIX + behind));
    return (int)length;
}

struct cbx_slice
cbx_frame_slice(enum cbx_frame_type type, uint32_t label, const struct cbx_field *fields,
                uint32_t count)
{
    size_t room = 64;
    for (uint32_t i = 0; i < count; i++)
        room += 9 + fields[i].n;
    struct cbx_slab *slab = cbx_slab_new((uint32_t)room);
    if (!slab)
        return (struct cbx_slice){0};
    int length = cbx_frame_write(slab->bytes, room, type, label, fields, count);
    if (length < 0) {
        cbx_slab_unref(slab);
        return (struct cbx_slice){0};
    }
    return (struct cbx_slice){.slab = slab, .data = slab->bytes, .length = (uint32_t)length};
}

int
cbx_frame_decoder_init(struct cbx_frame_decoder *decoder)
{
    decoder->ready = msgpack_zone_init(&decoder->zone, 1024);
    return decoder->ready ? 0 : CBX_ERR_NOMEM;
}

void
cbx_frame_decoder_dispose(struct cbx_frame_decoder *decoder)
{
    if (decoder->ready)
        msgpack_zone_destroy(&decoder->zone);
    decoder->ready = false;
}

int
cbx_frame_length(const uint8_t *bytes, size_t length)
{
    if (length < PREFIX)
        return 0;
    uint32_t body = cbx_get_be32(bytes);
    if (body > CBX_FRAME_MAX)
        return CBX_ERR_LIMIT;
    if (body < 2)
        return CBX_ERR_FORMAT;
    return (int)body + PREFIX;
}

static bool
take_field(char kind, const msgpack_object *object, struct cbx_field *out)
{
    if (kind_is_integer(kind)) {
        if (object->type != MSGPACK_OBJECT_POSITIVE_INTEGER)
            return false;
        out->u = object->via.u64;
    } else if (kind_is_text(kind)) {
        if (object->type != MSGPACK_OBJECT_STR)
            return false;
        *out = cbx_field_bytes((const uint8_t *)object->via.str.ptr, object->via.str.size);
    } else {
        if (object->type != MSGPACK_OBJECT_BIN)
            return false;
        *out = cbx_field_bytes((const uint8_t *)object->via.bin.ptr, object->via.bin.size);
    }
    return field_valid(kind, out);
}

static int
take_fields(const msgpack_object *array, const uint8_t *body, struct cbx_frame *out,
            struct cbx_error *error)
{
    if (array->type != MSGPACK_OBJECT_ARRAY || array->via.array.size < 1)
        return cbx_fail(error, CBX_ERR_FORMAT, "frame: not an array");
    const msgpack_object *element = array->via.array.ptr;
    uint32_t size = array->via.array.size;
    if (element->type != MSGPACK_OBJECT_POSITIVE_INTEGER)
        return cbx_fail(error, CBX_ERR_FORMAT, "frame: the type is not a number");
    const struct shape *shape =
        element->via.u64 <= CBX_FRAME_TYPE_MAX ? shape_of((unsigned)element->via.u64) : NULL;
    if (!shape)
        return cbx_fail(error, CBX_ERR_NOTFOUND, "frame: unknown type %llu",
                        (unsigned long long)element->via.u64);
    out->type = (enum cbx_frame_type)element->via.u64;
    uint32_t skip = shape->label ? 2 : 1;
    uint32_t count = (uint32_t)strlen(shape->fields);
    if (size != skip + count)
        return cbx_fail(error, CBX_ERR_FORMAT, "frame %s: %u elements instead of %u", shape->name,
                        size, skip + count);
    if (shape->label) {
        /* The type is one byte, the array's head one byte (at most 15 elements follow it). */
        if (element[1].type != MSGPACK_OBJECT_POSITIVE_INTEGER || body[2] != 0xce)
            return cbx_fail(error, CBX_ERR_FORMAT, "frame %s: the label is not a five-byte integer",
                            shape->name);
        out->label = (uint32_t)element[1].via.u64;
    }
    out->count = count;
    for (uint32_t i = 0; i < count; i++) {
        if (!take_field(shape->fields[i], &element[skip + i], &out->field[i]))
            return cbx_fail(error, CBX_ERR_FORMAT, "frame %s: field %u is not legal", shape->name,
                            i);
        /* msgpack-c gives no address for no bytes; who copies them needs one all the same. */
        if (!kind_is_integer(shape->fields[i]) && !out->field[i].p)
            out->field[i].p = (uint8_t *)(uintptr_t)body;
    }
    return 0;
}

int
cbx_frame_decode(struct cbx_frame_decoder *decoder, struct cbx_slice raw, struct cbx_frame *out,
                 struct cbx_error *error)
{
    memset(out, 0, sizeof *out);
    out->raw = raw;
    const uint8_t *body = raw.data + PREFIX;
    size_t length = raw.length - PREFIX, used = 0;
    int result = cbx_mpscan(body, length, ELEMENTS_MAX, DEPTH_MAX, &used);
    if (result < 0 || used != length)
        return cbx_fail(error, CBX_ERR_FORMAT, "frame: not one bounded msgpack array");
    /* Anything that is not a small array of few elements would move the label away. */
    if ((body[0] & 0xf0) != 0x90)
        return cbx_fail(error, CBX_ERR_FORMAT, "frame: not a short array");
    if (length < 2 || body[1] > 0x7f)
        return cbx_fail(error, CBX_ERR_FORMAT, "frame: the type is not a small integer");
    msgpack_zone_clear(&decoder->zone);
    msgpack_object object;
    size_t offset = 0;
    msgpack_unpack_return got =
        msgpack_unpack((const char *)body, length, &offset, &decoder->zone, &object);
    if (got == MSGPACK_UNPACK_NOMEM_ERROR)
        return cbx_fail(error, CBX_ERR_NOMEM, "frame: out of memory");
    if (got != MSGPACK_UNPACK_SUCCESS)
        return cbx_fail(error, CBX_ERR_FORMAT, "frame: msgpack does not decode");
    return take_fields(&object, body, out, error);
}

void
cbx_frame_relabel(uint8_t *frame, uint32_t label)
{
    cbx_put_be32(frame + PREFIX + 3, label);
}

/* Bytes of the msgpack unsigned integer or bin head that begins with `first`; 0 for others. */
static uint32_t
element_head(uint8_t first)
{
    switch (first) {
    case 0xc4:
    case 0xcc:
        return 2;
    case 0xc5:
    case 0xcd:
        return 3;
    case 0xc6:
    case 0xce:
        return 5;
    case 0xcf:
        return 9;
    default:
        return first < 0x80 ? 1 : 0;
    }
}

int
cbx_frame_payload_at(const uint8_t *frame, uint32_t length)
{
    enum { TYPE_AT = PREFIX + 1, EPOCH_AT = TYPE_AT + 1 + 5, ELEMENTS = 4 };
    uint32_t at = EPOCH_AT;
    if (length <= EPOCH_AT || frame[TYPE_AT] != CBX_FRAME_DATA)
        return 0;
    for (int i = 0; i < ELEMENTS; i++) {
        uint32_t size = at < length ? element_head(frame[at]) : 0;
        if (size == 0)
            return 0;
        at += size;
    }
    return at < length ? (int)at : 0;
}
