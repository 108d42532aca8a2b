/* SPDX-License-Identifier: MIT */
/* Counts, head by head, how many elements are still to come: a number in place of a stack. */
#include "common/base/mpscan.h"

#include "common/base/err.h"

enum kind { PLAIN, ARRAY, REFUSED };

/* One object's head: how many bytes it has, and how many bytes or elements follow it. */
struct head {
    enum kind kind;
    uint8_t size;        /* first byte and fixed-size rest */
    uint8_t length_size; /* of which the last bytes are a length: 0, 1, 2 or 4 */
    uint8_t fixed;       /* the count, when the first byte itself holds it */
};

static struct head
head_of(uint8_t first)
{
    if (first < 0x80 || first >= 0xe0)
        return (struct head){PLAIN, 1, 0, 0};
    if (first < 0x90)
        return (struct head){REFUSED, 0, 0, 0};
    if (first < 0xa0)
        return (struct head){ARRAY, 1, 0, first & 0x0f};
    if (first < 0xc0)
        return (struct head){PLAIN, 1, 0, first & 0x1f};
    switch (first) {
    case 0xc0: /* nil, false, true */
    case 0xc2:
    case 0xc3:
        return (struct head){PLAIN, 1, 0, 0};
    case 0xc4: /* bin 8, str 8 */
    case 0xd9:
        return (struct head){PLAIN, 2, 1, 0};
    case 0xc5: /* bin 16, str 16 */
    case 0xda:
        return (struct head){PLAIN, 3, 2, 0};
    case 0xc6: /* bin 32, str 32 */
    case 0xdb:
        return (struct head){PLAIN, 5, 4, 0};
    case 0xcc: /* uint 8, int 8 */
    case 0xd0:
        return (struct head){PLAIN, 2, 0, 0};
    case 0xcd: /* uint 16, int 16 */
    case 0xd1:
        return (struct head){PLAIN, 3, 0, 0};
    case 0xca: /* float 32, uint 32, int 32 */
    case 0xce:
    case 0xd2:
        return (struct head){PLAIN, 5, 0, 0};
    case 0xcb: /* float 64, uint 64, int 64 */
    case 0xcf:
    case 0xd3:
        return (struct head){PLAIN, 9, 0, 0};
    case 0xdc: /* array 16, array 32 */
        return (struct head){ARRAY, 3, 2, 0};
    case 0xdd:
        return (struct head){ARRAY, 5, 4, 0};
    default: /* maps, ext types, 0xc1 */
        return (struct head){REFUSED, 0, 0, 0};
    }
}

int
cbx_mpscan(const uint8_t *bytes, size_t length, unsigned max_elements, unsigned max_depth,
           size_t *used)
{
    uint32_t left[CBX_MPSCAN_DEPTH_MAX + 1]; /* elements still to come, by depth */
    unsigned depth = 0;
    size_t at = 0;
    if (max_depth > CBX_MPSCAN_DEPTH_MAX)
        max_depth = CBX_MPSCAN_DEPTH_MAX;
    left[0] = 1;
    for (;;) {
        while (left[depth] == 0) {
            if (depth == 0) {
                *used = at;
                return 0;
            }
            depth--;
        }
        left[depth]--;
        if (at >= length)
            return CBX_ERR_FORMAT;
        struct head head = head_of(bytes[at]);
        if (head.kind == REFUSED || head.size > length - at)
            return CBX_ERR_FORMAT;
        at += head.size;
        uint32_t count = head.fixed;
        for (size_t i = at - head.length_size; i < at; i++)
            count = count << 8 | bytes[i];
        if (head.kind == PLAIN) {
            if (count > length - at)
                return CBX_ERR_FORMAT;
            at += count;
            continue;
        }
        if (count > max_elements || depth >= max_depth)
            return CBX_ERR_LIMIT;
        if (count > length - at) /* each element has a byte at least */
            return CBX_ERR_FORMAT;
        left[++depth] = count;
    }
}
