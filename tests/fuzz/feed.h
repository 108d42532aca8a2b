/* SPDX-License-Identifier: MIT */
/* The input as a list of decisions; it is zero behind its end. And frames made of it that are legal
 * in form: what is in their fields is either likely or anything. */
#ifndef FUZZ_FEED_H
#define FUZZ_FEED_H

#include "check.h"
#include "common/base/names.h"
#include "common/link/frame.h"

#include <string.h>

struct feed {
    const uint8_t *at, *end;
};

static inline bool
feed_left(const struct feed *feed)
{
    return feed->at < feed->end;
}

static inline uint8_t
feed_byte(struct feed *feed)
{
    return feed_left(feed) ? *feed->at++ : 0;
}

/* At most so many bytes of the input, as they are. */
static inline size_t
feed_bytes(struct feed *feed, size_t most, const uint8_t **bytes)
{
    size_t left = (size_t)(feed->end - feed->at);
    *bytes = feed->at;
    most = most < left ? most : left;
    feed->at += most;
    return most;
}

/* Small, near a power of two, or any. */
static inline uint64_t
feed_number(struct feed *feed)
{
    uint8_t kind = feed_byte(feed);
    uint64_t value = 0;
    if (kind < 192)
        return kind;
    if (kind < 224)
        return (UINT64_C(1) << kind % 64) + feed_byte(feed) - 128;
    for (int i = 0; i < (kind < 240 ? 2 : 8); i++)
        value = value << 8 | feed_byte(feed);
    return value;
}

/* Fields that are worth trying, of any kind: the target fills them in. */
enum { FEED_LIKELY_MAX = 32 };
struct feed_likely {
    struct cbx_field field[FEED_LIKELY_MAX];
    uint32_t count;
};

static inline void
feed_likely_add(struct feed_likely *likely, const void *bytes, size_t length)
{
    check(likely->count < FEED_LIKELY_MAX);
    likely->field[likely->count++] = cbx_field_bytes(bytes, length);
}

/* The fields of PROTOCOL.md, "Frames", by type; '-' where there is no such frame. */
static inline const char *
feed_kinds(unsigned type)
{
    static const char *const kinds[] = {
        "-",   "uct",  "ulut",   "ssuutc",      "sC",    "C",         "",     "cut",      "uu",
        "uu",  "u",    "u",      "uu",          "u",     "u",         "-",    "scuulhtt", "u",
        "s",   "sCC",  "sschhm", "sslg",        "ssc",   "ssluM",     "-",    "-",        "-",
        "-",   "-",    "-",      "-",           "-",     "sspliuuuO", "uuuB", "uuug",     "uuuug",
        "uur", "uulr", "c",      "sspliuuuuug", "uuuuug"};
    return type < sizeof kinds / sizeof *kinds ? kinds[type] : "-";
}

static inline void
feed_bounds(char kind, uint32_t *least, uint32_t *most)
{
    static const struct {
        char kind;
        uint32_t least, most;
    } bounds[] = {{'s', 1, 41},  {'t', 0, 64},  {'l', 16, 16},   {'h', 32, 32},
                  {'i', 40, 40}, {'g', 16, 16}, {'r', 16, 64},   {'O', 16, 64},
                  {'m', 1, 200}, {'C', 0, 64},  {'B', 17, 2000}, {'M', 16, 64}};
    *least = *most = 0;
    for (size_t i = 0; i < sizeof bounds / sizeof *bounds; i++) {
        if (bounds[i].kind != kind)
            continue;
        *least = bounds[i].least;
        *most = bounds[i].most;
    }
}

/* One that is likely and of a legal length, or bytes of the input, repeated up to a legal length.
 * place holds them. */
static inline struct cbx_field
feed_field(struct feed *feed, char kind, const struct feed_likely *likely, uint8_t place[2000])
{
    uint32_t least, most;
    uint8_t pick = feed_byte(feed);
    if (kind == 'u' || kind == 'c' || kind == 'p') {
        uint64_t value = feed_number(feed);
        return cbx_field_uint(kind == 'u' ? value : kind == 'c' ? value % 256 : 8080 + value % 3);
    }
    feed_bounds(kind, &least, &most);
    for (uint32_t i = 0; pick < 224 && i < likely->count; i++) {
        const struct cbx_field *field = &likely->field[(pick + i) % likely->count];
        bool text = field->n > 0 && field->n < 16;
        if (text == (kind == 's' || kind == 't') && field->n >= least &&
            (field->n <= most || kind == 'C' || kind == 'm'))
            return *field;
    }
    const uint8_t *bytes;
    uint32_t length = least + (uint32_t)(feed_byte(feed) * (most - least) / 255);
    size_t got = feed_bytes(feed, length < 16 ? length : 16, &bytes);
    for (uint32_t i = 0; i < length; i++)
        place[i] = got ? bytes[i % got] : 'a';
    return cbx_field_bytes(place, length);
}

/* .slab is NULL where there is no such frame. */
static inline struct cbx_slice
feed_frame(struct feed *feed, unsigned type, uint32_t label, const struct feed_likely *likely)
{
    static uint8_t place[CBX_FRAME_FIELDS_MAX][2000];
    struct cbx_field fields[CBX_FRAME_FIELDS_MAX];
    const char *kinds = feed_kinds(type);
    uint32_t count = 0;
    if (*kinds == '-')
        return (struct cbx_slice){0};
    for (; kinds[count]; count++)
        fields[count] = feed_field(feed, kinds[count], likely, place[count]);
    return cbx_frame_slice((enum cbx_frame_type)type, label, fields, count);
}

#endif
