/* SPDX-License-Identifier: MIT */
/* Frames as PROTOCOL.md has them; the table below is read off that page, not off the engine. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "common/link/frame.h"
#include "skip.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct row {
    const char *name, *kinds;
    unsigned type;
    bool label;
};

static const struct row rows[] = {
    {"HUB_HELLO", "uct", 1, false},
    {"AGENT_HELLO", "ulut", 2, false},
    {"WELCOME", "ssuutc", 3, false},
    {"JOIN_OFFER", "sC", 4, false},
    {"JOIN", "C", 5, false},
    {"JOINED", "", 6, false},
    {"BYE", "cut", 7, false},
    {"PING", "uu", 8, false},
    {"PONG", "uu", 9, false},
    {"ACK", "u", 10, false},
    {"PACE", "u", 11, false},
    {"ALLOW", "uu", 12, false},
    {"ALLOWED", "u", 13, false},
    {"WANT", "u", 14, false},
    {"ADDRESSES", "t", 15, false},
    {"PEER", "scuulhtt", 16, false},
    {"SYNCED", "u", 17, false},
    {"CHAIN_GET", "s", 18, false},
    {"CHAIN", "sCC", 19, false},
    {"HANDSHAKE", "sschhm", 20, false},
    {"CONFIRM", "sslg", 21, false},
    {"NO_HANDSHAKE", "ssc", 22, false},
    {"RENDEZVOUS", "ssluM", 23, false},
    {"LANE_GET", "c", 24, false},
    {"LANE", "lhc", 25, false},
    {"NO_LANE", "ct", 26, false},
    {"SHIFT", "l", 27, false},
    {"LANE_LOST", "", 28, false},
    {"OPEN", "sspliuuuO", 32, true},
    {"DATA", "uuuB", 33, true},
    {"FIN", "uuug", 34, true},
    {"CREDIT", "uuuug", 35, true},
    {"RESET", "uur", 36, true},
    {"EPOCH", "uulr", 37, true},
    {"CLOSE", "c", 38, true},
    {"RESUME", "sspliuuuuug", 39, true},
    {"RESUMED", "uuuuug", 40, true},
};
enum { ROWS = sizeof rows / sizeof rows[0] };

struct limit {
    char kind;
    uint64_t least, most; /* of the value, or of the length in bytes */
};
static const struct limit limits[] = {
    {'u', 0, UINT64_MAX}, {'c', 0, 255}, {'p', 1, 65535}, {'s', 1, 41},     {'t', 0, 1024},
    {'l', 16, 16},        {'h', 32, 32}, {'i', 40, 40},   {'g', 16, 16},    {'r', 16, 64},
    {'O', 16, 256},       {'m', 1, 560}, {'C', 0, 4096},  {'B', 17, 65552}, {'M', 16, 700},
};
enum { LIMITS = sizeof limits / sizeof limits[0] };

static struct cbx_frame_decoder decoder;
static struct cbx_error error;
static uint8_t out[80 * 1024];
static uint8_t letters[70 * 1024];

static int
begin(void **state)
{
    (void)state;
    memset(letters, 'a', sizeof letters);
    return cbx_frame_decoder_init(&decoder);
}

static int
finish(void **state)
{
    (void)state;
    cbx_frame_decoder_dispose(&decoder);
    return 0;
}

static bool
is_number(char kind)
{
    return strchr("ucp", kind) != NULL;
}

static const struct limit *
limit_of(char kind)
{
    for (int i = 0; i < LIMITS; i++) {
        if (limits[i].kind == kind)
            return &limits[i];
    }
    return NULL;
}

static struct cbx_field
field_of(char kind, uint64_t size)
{
    return is_number(kind) ? cbx_field_uint(size) : cbx_field_bytes(letters, (size_t)size);
}

/* The row's frame with every field at its least (most: at its greatest). */
static uint32_t
fields_of(const struct row *row, bool most, struct cbx_field fields[CBX_FRAME_FIELDS_MAX])
{
    uint32_t count = (uint32_t)strlen(row->kinds);
    for (uint32_t i = 0; i < count; i++) {
        const struct limit *limit = limit_of(row->kinds[i]);
        fields[i] = field_of(row->kinds[i], most ? limit->most : limit->least);
    }
    return count;
}

static int
write_row(const struct row *row, bool most)
{
    struct cbx_field fields[CBX_FRAME_FIELDS_MAX];
    uint32_t count = fields_of(row, most, fields);
    return cbx_frame_write(out, sizeof out, (enum cbx_frame_type)row->type, row->label ? 7 : 0,
                           fields, count);
}

static int
decode(uint8_t *bytes, size_t length, struct cbx_frame *frame)
{
    struct cbx_slice raw = {.data = bytes, .length = (uint32_t)length};
    return cbx_frame_decode(&decoder, raw, frame, &error);
}

/* ---- msgpack by hand, for what the engine would never write ---- */

static size_t made;

static void
put(const void *bytes, size_t length)
{
    memcpy(out + made, bytes, length);
    made += length;
}

static void
put_head(uint8_t first, uint64_t value, int size)
{
    out[made++] = first;
    for (int i = size - 1; i >= 0; i--)
        out[made++] = (uint8_t)(value >> (8 * i));
}

static void
start(unsigned elements, unsigned type)
{
    made = 4;
    out[made++] = (uint8_t)(0x90 | elements);
    out[made++] = (uint8_t)type;
}

static void
put_kind(char kind, uint64_t size)
{
    if (is_number(kind)) {
        put_head(0xcf, size, 8);
        return;
    }
    put_head(strchr("st", kind) ? 0xdb : 0xc6, size, 4);
    put(letters, (size_t)size);
}

static int
decode_made(struct cbx_frame *frame)
{
    uint32_t body = (uint32_t)(made - 4);
    for (int i = 0; i < 4; i++)
        out[i] = (uint8_t)(body >> (24 - 8 * i));
    return decode(out, made, frame);
}

/* The row with field `changed` of the given size, the others at their least. */
static int
decode_row(const struct row *row, int changed, uint64_t size)
{
    struct cbx_frame frame;
    start((unsigned)strlen(row->kinds) + 1 + row->label, row->type);
    if (row->label)
        put_head(0xce, 7, 4);
    for (int i = 0; row->kinds[i]; i++)
        put_kind(row->kinds[i], i == changed ? size : limit_of(row->kinds[i])->least);
    return decode_made(&frame);
}

/* ---- tests ---- */

static void
every_type_has_its_name_and_label(void **state)
{
    (void)state;
    unsigned known = 0;
    for (unsigned type = 0; type <= 300; type++) {
        const struct row *row = known < ROWS && rows[known].type == type ? &rows[known++] : NULL;
        if (!row) {
            assert_null(cbx_frame_name(type));
            assert_false(cbx_frame_has_label(type));
            continue;
        }
        assert_string_equal(cbx_frame_name(type), row->name);
        assert_int_equal(cbx_frame_has_label(type), row->label);
        assert_int_equal(cbx_frame_is_data(type), type == 33 || type == 34);
    }
    assert_int_equal(known, ROWS);
}

static void
every_type_comes_back_as_it_was(void **state)
{
    (void)state;
    for (int i = 0; i < 2 * ROWS; i++) {
        const struct row *row = &rows[i / 2];
        struct cbx_field fields[CBX_FRAME_FIELDS_MAX];
        uint32_t count = fields_of(row, i % 2, fields);
        int length = write_row(row, i % 2);
        assert_true(length > 0);
        assert_int_equal(cbx_frame_length(out, 4), length);
        struct cbx_frame frame;
        assert_int_equal(decode(out, (size_t)length, &frame), 0);
        assert_int_equal(frame.type, row->type);
        assert_int_equal(frame.label, row->label ? 7 : 0);
        assert_int_equal(frame.count, count);
        for (uint32_t f = 0; f < count; f++) {
            assert_int_equal(frame.field[f].u, fields[f].u);
            assert_int_equal(frame.field[f].n, fields[f].n);
            if (fields[f].n)
                assert_memory_equal(frame.field[f].p, fields[f].p, fields[f].n);
        }
    }
}

static void
a_slice_holds_the_same_bytes(void **state)
{
    (void)state;
    for (int i = 0; i < ROWS; i++) {
        struct cbx_field fields[CBX_FRAME_FIELDS_MAX];
        uint32_t count = fields_of(&rows[i], true, fields);
        int length = write_row(&rows[i], true);
        struct cbx_slice slice = cbx_frame_slice((enum cbx_frame_type)rows[i].type,
                                                 rows[i].label ? 7 : 0, fields, count);
        assert_non_null(slice.slab);
        assert_int_equal(slice.length, length);
        assert_memory_equal(slice.data, out, slice.length);
        cbx_slice_drop(&slice);
    }
}

static void
example_ping(void **state)
{
    (void)state;
    static const uint8_t bytes[] = {0, 0, 0, 6, 0x93, 8, 1, 0xcd, 0x01, 0x2c};
    struct cbx_field fields[] = {cbx_field_uint(1), cbx_field_uint(300)};
    assert_int_equal(cbx_frame_write(out, sizeof out, CBX_FRAME_PING, 0, fields, 2), sizeof bytes);
    assert_memory_equal(out, bytes, sizeof bytes);
}

static void
example_close_with_its_label(void **state)
{
    (void)state;
    static const uint8_t bytes[] = {0, 0, 0, 8, 0x93, 38, 0xce, 0, 0, 1, 2, 4};
    struct cbx_field field = cbx_field_uint(4);
    assert_int_equal(cbx_frame_write(out, sizeof out, CBX_FRAME_CLOSE, 258, &field, 1),
                     sizeof bytes);
    assert_memory_equal(out, bytes, sizeof bytes);
}

static void
example_chain_get(void **state)
{
    (void)state;
    static const uint8_t bytes[] = {0, 0, 0, 6, 0x92, 18, 0xa3, 'w', 'e', 'b'};
    struct cbx_field field = cbx_field_text("web");
    assert_int_equal(cbx_frame_write(out, sizeof out, CBX_FRAME_CHAIN_GET, 0, &field, 1),
                     sizeof bytes);
    assert_memory_equal(out, bytes, sizeof bytes);
}

/* DATA: label 1, epoch 1, counter 0, offset 65536, and a head for 18 bytes that follow. */
static void
a_payload_without_bytes_writes_its_head_only(void **state)
{
    (void)state;
    static const uint8_t bytes[] = {0, 0, 0, 34,   0x96, 33, 0xce, 0, 0,    0,
                                    1, 1, 0, 0xce, 0,    1,  0,    0, 0xc4, 18};
    struct cbx_field fields[] = {
        cbx_field_uint(1), cbx_field_uint(0), cbx_field_uint(65536), {.n = 18}};
    assert_int_equal(cbx_frame_write(out, sizeof out, CBX_FRAME_DATA, 1, fields, 4), sizeof bytes);
    assert_memory_equal(out, bytes, sizeof bytes);
    assert_int_equal(cbx_frame_length(out, 4), sizeof bytes + 18);
}

static void
the_greatest_frame_fits_the_length_limit(void **state)
{
    (void)state;
    for (int i = 0; i < ROWS; i++)
        assert_true(write_row(&rows[i], true) <= CBX_FRAME_MAX + 4);
}

static void
relabelling_changes_the_label_only(void **state)
{
    (void)state;
    for (int i = 0; i < ROWS; i++) {
        if (!rows[i].label)
            continue;
        int length = write_row(&rows[i], false);
        cbx_frame_relabel(out, 0xfedcba98);
        struct cbx_frame frame;
        assert_int_equal(decode(out, (size_t)length, &frame), 0);
        assert_int_equal(frame.label, 0xfedcba98);
        cbx_frame_relabel(out, 7);
        static uint8_t before[sizeof out];
        memcpy(before, out, (size_t)length);
        write_row(&rows[i], false);
        assert_memory_equal(out, before, (size_t)length);
    }
}

static void
a_length_needs_four_bytes(void **state)
{
    (void)state;
    static const uint8_t bytes[] = {0xff, 0xff, 0xff, 0xff};
    for (size_t n = 0; n < 4; n++)
        assert_int_equal(cbx_frame_length(bytes, n), 0);
    assert_int_equal(cbx_frame_length(bytes, 4), CBX_ERR_LIMIT);
}

static void
lengths_are_2_to_66064(void **state)
{
    (void)state;
    assert_int_equal(cbx_frame_length((uint8_t[]){0, 0, 0, 0}, 4), CBX_ERR_FORMAT);
    assert_int_equal(cbx_frame_length((uint8_t[]){0, 0, 0, 1}, 4), CBX_ERR_FORMAT);
    assert_int_equal(cbx_frame_length((uint8_t[]){0, 0, 0, 2}, 4), 6);
    assert_int_equal(cbx_frame_length((uint8_t[]){0, 1, 0x02, 0x10}, 4), 66068);
    assert_int_equal(cbx_frame_length((uint8_t[]){0, 1, 0x02, 0x11}, 4), CBX_ERR_LIMIT);
}

/* The prefix says what is there, the array says more. */
static void
a_frame_cut_at_any_byte_is_refused(void **state)
{
    (void)state;
    for (int i = 0; i < ROWS; i++) {
        int length = write_row(&rows[i], false);
        for (int cut = 4; cut < length; cut++) {
            uint8_t *part = malloc((size_t)cut); /* its own, so that ASan sees a read behind it */
            memcpy(part, out, (size_t)cut);
            struct cbx_frame frame;
            assert_int_equal(decode(part, (size_t)cut, &frame), CBX_ERR_FORMAT);
            free(part);
        }
    }
}

static void
bytes_behind_the_array_are_refused(void **state)
{
    (void)state;
    struct cbx_frame frame;
    for (int i = 0; i < ROWS; i++) {
        int length = write_row(&rows[i], false);
        out[length] = 0;
        assert_int_equal(decode(out, (size_t)length + 1, &frame), CBX_ERR_FORMAT);
    }
}

static void
every_field_is_held_to_its_limits_when_read(void **state)
{
    (void)state;
    for (int i = 0; i < ROWS; i++) {
        for (int f = 0; rows[i].kinds[f]; f++) {
            const struct limit *limit = limit_of(rows[i].kinds[f]);
            assert_int_equal(decode_row(&rows[i], f, limit->least), 0);
            assert_int_equal(decode_row(&rows[i], f, limit->most), 0);
            if (limit->least > 0)
                assert_int_equal(decode_row(&rows[i], f, limit->least - 1), CBX_ERR_FORMAT);
            if (limit->most < UINT64_MAX)
                assert_int_equal(decode_row(&rows[i], f, limit->most + 1), CBX_ERR_FORMAT);
        }
    }
}

static void
every_field_is_held_to_its_limits_when_written(void **state)
{
    (void)state;
    for (int i = 0; i < ROWS; i++) {
        struct cbx_field fields[CBX_FRAME_FIELDS_MAX];
        uint32_t count = fields_of(&rows[i], false, fields);
        for (uint32_t f = 0; f < count; f++) {
            const struct limit *limit = limit_of(rows[i].kinds[f]);
            struct cbx_field good = fields[f];
            for (int over = 0; over < 2; over++) {
                if (over ? limit->most == UINT64_MAX : limit->least == 0)
                    continue;
                fields[f] = field_of(rows[i].kinds[f], over ? limit->most + 1 : limit->least - 1);
                assert_true(cbx_frame_write(out, sizeof out, (enum cbx_frame_type)rows[i].type, 7,
                                            fields, count) < 0);
            }
            fields[f] = good;
        }
    }
}

static void
texts_are_printable_and_slugs_are_slugs(void **state)
{
    (void)state;
    struct cbx_frame frame;
    for (unsigned byte = 0; byte < 256; byte++) {
        start(3 + 1, CBX_FRAME_BYE);
        put_kind('c', 1);
        put_kind('u', 0);
        put((uint8_t[]){0xa1, (uint8_t)byte}, 2);
        assert_int_equal(decode_made(&frame), byte >= 0x20 && byte <= 0x7e ? 0 : CBX_ERR_FORMAT);
        start(2, CBX_FRAME_CHAIN_GET);
        put((uint8_t[]){0xa1, (uint8_t)byte}, 2);
        bool slug = (byte >= 'a' && byte <= 'z') || (byte >= '0' && byte <= '9');
        assert_int_equal(decode_made(&frame), slug ? 0 : CBX_ERR_FORMAT);
    }
}

static void
a_field_of_another_msgpack_type_is_refused(void **state)
{
    (void)state;
    static const uint8_t others[][6] = {
        {1, 0xc0},             /* nil */
        {1, 0xc2},             /* false */
        {1, 0xff},             /* -1 */
        {2, 0xd0, 0x80},       /* int 8 */
        {5, 0xca, 0, 0, 0, 0}, /* float */
        {1, 0x90},             /* an empty array */
        {2, 0x91, 0x90},       /* a nested one */
        {1, 0x80},             /* a map */
        {3, 0xd4, 1, 1},       /* an ext */
        {1, 0xc1},
    };
    struct cbx_frame frame;
    for (int i = 0; i < ROWS; i++) {
        size_t count = strlen(rows[i].kinds);
        for (size_t f = 0; f < count; f++) {
            for (size_t o = 0; o < sizeof others / sizeof others[0] + 2; o++) {
                start((unsigned)count + 1 + rows[i].label, rows[i].type);
                if (rows[i].label)
                    put_head(0xce, 7, 4);
                for (size_t k = 0; k < count; k++) {
                    char kind = rows[i].kinds[k];
                    if (k != f)
                        put_kind(kind, limit_of(kind)->least);
                    else if (o < sizeof others / sizeof others[0])
                        put(others[o] + 1, others[o][0]);
                    else if (o == sizeof others / sizeof others[0]) /* str for bin, bin for str */
                        put_kind(strchr("st", kind) ? 'C' : 't', 16);
                    else if (is_number(kind))
                        put_kind('t', 1);
                    else
                        put_kind('u', 1);
                }
                assert_int_equal(decode_made(&frame), CBX_ERR_FORMAT);
            }
        }
    }
}

static void
a_wrong_number_of_elements_is_refused(void **state)
{
    (void)state;
    struct cbx_frame frame;
    for (int i = 0; i < ROWS; i++) {
        unsigned right = (unsigned)strlen(rows[i].kinds) + 1 + rows[i].label;
        for (unsigned n = 1; n < 16; n++) {
            if (n == right)
                continue;
            start(n, rows[i].type);
            if (rows[i].label && n > 1)
                put_head(0xce, 7, 4);
            for (unsigned k = rows[i].label ? 2 : 1; k < n; k++)
                put_kind(k - 1 - rows[i].label < strlen(rows[i].kinds)
                             ? rows[i].kinds[k - 1 - rows[i].label]
                             : 'u',
                         16);
            assert_int_equal(decode_made(&frame), CBX_ERR_FORMAT);
        }
    }
}

static void
a_label_in_a_shorter_or_longer_form_is_refused(void **state)
{
    (void)state;
    static const struct {
        uint8_t first;
        int size;
    } forms[] = {{7, 0}, {0xcc, 1}, {0xcd, 2}, {0xcf, 8}, {0xd2, 4}, {0xca, 4}};
    struct cbx_frame frame;
    for (size_t i = 0; i < sizeof forms / sizeof forms[0]; i++) {
        start(3, CBX_FRAME_CLOSE);
        put_head(forms[i].first, 7, forms[i].size);
        put_kind('c', 1);
        assert_int_equal(decode_made(&frame), CBX_ERR_FORMAT);
    }
}

static void
a_type_that_is_no_small_number_is_refused(void **state)
{
    (void)state;
    struct cbx_frame frame;
    static const uint8_t cases[][8] = {
        {3, 0x91, 0xcc, 6}, /* JOINED's number in two bytes */
        {2, 0x91, 0xff},    /* -1 */
        {2, 0x91, 0x90},    /* an array */
        {3, 0x91, 0xa1, 6}, /* a text */
        {1, 0x90},          /* nothing at all */
        {4, 0xdc, 0, 1, 6}, /* the array in its three-byte form */
        {2, 6, 6},          /* no array */
        {3, 0x81, 6, 6},    /* a map */
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        made = 4;
        put(cases[i] + 1, cases[i][0]);
        assert_int_equal(decode_made(&frame), CBX_ERR_FORMAT);
    }
}

static void
an_unknown_type_is_told_apart(void **state)
{
    (void)state;
    struct cbx_frame frame;
    for (unsigned type = 0; type < 128; type++) {
        start(1, type);
        int result = decode_made(&frame);
        if (cbx_frame_name(type))
            assert_int_equal(result, type == CBX_FRAME_JOINED || type == CBX_FRAME_LANE_LOST
                                         ? 0
                                         : CBX_ERR_FORMAT);
        else
            assert_int_equal(result, CBX_ERR_NOTFOUND);
    }
}

/* What the neighbour left empty is copied and compared like any other text. */
static void
empty_fields_have_an_address(void **state)
{
    (void)state;
    struct cbx_frame frame = {0};
    for (int i = 0; i < ROWS; i++) {
        int length = write_row(&rows[i], false);
        assert_true(length > 0 && decode(out, (size_t)length, &frame) == 0);
        for (uint32_t j = 0; j < frame.count; j++)
            assert_true(is_number(rows[i].kinds[j]) || frame.field[j].p != NULL);
    }
}

static void
hostile_lengths_cost_nothing(void **state)
{
    (void)state;
    static const uint8_t cases[][9] = {
        {6, 0x91, 0xdd, 0xff, 0xff, 0xff, 0xff}, /* an array of 4 G elements */
        {6, 0x91, 0xdb, 0xff, 0xff, 0xff, 0xff}, /* a text of 4 GB */
        {6, 0x91, 0xc6, 0xff, 0xff, 0xff, 0xff},
        {6, 0x91, 0xdf, 0xff, 0xff, 0xff, 0xff}, /* a map */
        {5, 0xdd, 0xff, 0xff, 0xff, 0xff},
        {4, 0x92, 33, 0x91, 0x91}, /* deeper than anything legal */
    };
    struct cbx_frame frame;
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        made = 4;
        put(cases[i] + 1, cases[i][0]);
        assert_int_equal(decode_made(&frame), CBX_ERR_FORMAT);
    }
    made = 4;
    memset(out + 4, 0x91, 60000); /* nested 60,000 times */
    made += 60000;
    assert_int_equal(decode_made(&frame), CBX_ERR_FORMAT);
}

/* The sanitizer's allocator tells who asks; without it there is nobody to ask. */
typedef void malloc_hook(const volatile void *, size_t);
typedef void free_hook(const volatile void *);
extern int __sanitizer_install_malloc_and_free_hooks(malloc_hook *, free_hook *)
    __attribute__((weak));
static uint64_t allocations;
static size_t greatest;

static void
count_malloc(const volatile void *at, size_t size)
{
    (void)at;
    allocations++;
    greatest = size > greatest ? size : greatest;
}

static void
count_nothing(const volatile void *at)
{
    (void)at;
}

/* The decoder's zone is kept, and payloads stay where they are; 5 bytes that speak of 4 GB get none
 * of it. */
static void
a_decoded_frame_costs_no_allocation(void **state)
{
    (void)state;
    struct cbx_frame frame;
    if (!__sanitizer_install_malloc_and_free_hooks) {
        skip_because("only a sanitizer tells of allocations");
        return;
    }
    assert_true(__sanitizer_install_malloc_and_free_hooks(count_malloc, count_nothing) > 0);
    allocations = greatest = 0;
    for (int round = 0; round < 50; round++) {
        for (int i = 0; i < ROWS; i++) {
            int length = write_row(&rows[i], round % 2);
            assert_int_equal(decode(out, (size_t)length, &frame), 0);
        }
        if (round == 1)
            allocations = greatest = 0;
    }
    assert_int_equal(allocations, 0);
    static const uint8_t hostile[] = {0xdd, 0xff, 0xff, 0xff, 0xff};
    made = 4;
    put(hostile, sizeof hostile);
    assert_int_equal(decode_made(&frame), CBX_ERR_FORMAT);
    assert_true(greatest < 4096);
    struct cbx_slice slice = cbx_frame_slice(CBX_FRAME_JOINED, 0, NULL, 0);
    assert_true(allocations > 0); /* it does count */
    cbx_slice_drop(&slice);
    cbx_slab_trim();
}

/* Random bytes, and legal frames with a few bytes changed: any answer, no crash. */
static void
random_bytes_are_answered(void **state)
{
    (void)state;
    uint32_t random = 1;
    struct cbx_frame frame;
    for (int round = 0; round < 20000; round++) {
        int length = 4 + round % 60;
        if (round % 2)
            length = write_row(&rows[round / 2 % ROWS], false);
        for (int i = round % 2 ? length - 1 : 4; i < length; i++) {
            random = random * 1664525 + 1013904223;
            if (round % 2)
                out[4 + random % (uint32_t)(length - 4)] = (uint8_t)(random >> 24);
            else
                out[i] = (uint8_t)(random >> 24);
        }
        int result = decode(out, (size_t)length, &frame);
        assert_true(result == 0 || result == CBX_ERR_FORMAT || result == CBX_ERR_NOTFOUND);
    }
}

static void
a_small_buffer_is_never_passed(void **state)
{
    (void)state;
    for (int i = 0; i < ROWS; i++) {
        struct cbx_field fields[CBX_FRAME_FIELDS_MAX];
        uint32_t count = fields_of(&rows[i], false, fields);
        int length = write_row(&rows[i], false);
        for (int size = 0; size < length; size++) {
            uint8_t *small = malloc((size_t)size + 1);
            assert_int_equal(cbx_frame_write(small, (size_t)size, (enum cbx_frame_type)rows[i].type,
                                             7, fields, count),
                             CBX_ERR_LIMIT);
            free(small);
        }
    }
}

static void
a_wrong_field_count_or_type_is_not_written(void **state)
{
    (void)state;
    struct cbx_field fields[3] = {cbx_field_uint(1), cbx_field_uint(1), cbx_field_uint(1)};
    assert_int_equal(cbx_frame_write(out, sizeof out, CBX_FRAME_PING, 0, fields, 1),
                     CBX_ERR_FORMAT);
    assert_int_equal(cbx_frame_write(out, sizeof out, CBX_FRAME_PING, 0, fields, 3),
                     CBX_ERR_FORMAT);
    assert_int_equal(cbx_frame_write(out, sizeof out, (enum cbx_frame_type)29, 0, fields, 1),
                     CBX_ERR_FORMAT);
    assert_int_equal(cbx_frame_write(out, sizeof out, (enum cbx_frame_type)200, 0, fields, 1),
                     CBX_ERR_FORMAT);
    assert_null(cbx_frame_slice(CBX_FRAME_PING, 0, fields, 1).slab);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_type_has_its_name_and_label),
        cmocka_unit_test(every_type_comes_back_as_it_was),
        cmocka_unit_test(a_slice_holds_the_same_bytes),
        cmocka_unit_test(example_ping),
        cmocka_unit_test(example_close_with_its_label),
        cmocka_unit_test(example_chain_get),
        cmocka_unit_test(a_payload_without_bytes_writes_its_head_only),
        cmocka_unit_test(the_greatest_frame_fits_the_length_limit),
        cmocka_unit_test(relabelling_changes_the_label_only),
        cmocka_unit_test(a_length_needs_four_bytes),
        cmocka_unit_test(lengths_are_2_to_66064),
        cmocka_unit_test(a_frame_cut_at_any_byte_is_refused),
        cmocka_unit_test(bytes_behind_the_array_are_refused),
        cmocka_unit_test(every_field_is_held_to_its_limits_when_read),
        cmocka_unit_test(every_field_is_held_to_its_limits_when_written),
        cmocka_unit_test(texts_are_printable_and_slugs_are_slugs),
        cmocka_unit_test(a_field_of_another_msgpack_type_is_refused),
        cmocka_unit_test(a_wrong_number_of_elements_is_refused),
        cmocka_unit_test(a_label_in_a_shorter_or_longer_form_is_refused),
        cmocka_unit_test(a_type_that_is_no_small_number_is_refused),
        cmocka_unit_test(an_unknown_type_is_told_apart),
        cmocka_unit_test(empty_fields_have_an_address),
        cmocka_unit_test(hostile_lengths_cost_nothing),
        cmocka_unit_test(a_decoded_frame_costs_no_allocation),
        cmocka_unit_test(random_bytes_are_answered),
        cmocka_unit_test(a_small_buffer_is_never_passed),
        cmocka_unit_test(a_wrong_field_count_or_type_is_not_written),
    };
    return cmocka_run_group_tests(tests, begin, finish);
}
