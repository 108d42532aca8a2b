/* SPDX-License-Identifier: MIT */
/*
 * Bytes for a link of each side, whose owner takes every frame and keeps the last few as a relay
 * does. However they are chopped, the frames are the same. The first byte picks the side and
 * whether the magic stands before the rest, the second how it is chopped.
 */
#include "check.h"
#include "common/link/link.h"

#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

enum { KEPT = 8, SECOND = 1000000 };

struct side {
    struct cbx_link link;
    struct cbx_slice kept[KEPT];
    uint64_t frames;
    uint64_t hash; /* of everything that came */
};

static void
mix(struct side *side, const void *bytes, size_t length)
{
    const uint8_t *at = bytes;
    for (size_t i = 0; i < length; i++)
        side->hash = (side->hash ^ at[i]) * UINT64_C(1099511628211);
}

static int
on_frame(void *owner, struct cbx_link *link, const struct cbx_frame *frame, int64_t now,
         struct cbx_error *error)
{
    (void)link;
    (void)now;
    (void)error;
    struct side *side = owner;
    mix(side, frame->raw.data, frame->raw.length);
    struct cbx_slice *kept = &side->kept[side->frames++ % KEPT];
    cbx_slice_drop(kept);
    *kept = cbx_slice_of(frame->raw.slab, frame->raw.data, frame->raw.length);
    return 0;
}

static void
on_wake(void *owner, struct cbx_link *link)
{
    (void)owner;
    (void)link;
}

static const struct cbx_link_ops ops = {.frame = on_frame, .wake = on_wake};

/* What the link has to say must be frames of its own kind; a slow reader takes a part. */
static void
drain(struct side *side, int64_t now)
{
    struct iovec vector[4];
    int count = cbx_link_output(&side->link, vector, 4, now);
    if (count > 0)
        cbx_link_written(&side->link, vector[0].iov_len > 3 ? 3 : vector[0].iov_len);
    check(count == 0 || !side->link.failed);
}

static int
run(struct side *side, bool hub, const uint8_t *data, size_t size, size_t chop, bool magic)
{
    struct cbx_link_config config = {
        .hub = hub, .keepalive_us = 15 * SECOND, .gone_us = 45 * SECOND};
    struct cbx_error error;
    int64_t now = SECOND;
    memset(side, 0, sizeof *side);
    check(cbx_link_init(&side->link, &config, &ops, side, now) == 0);
    int result = 0;
    if (magic && !hub)
        result = cbx_link_input(&side->link, cbx_link_magic, CBX_LINK_MAGIC_SIZE, now, &error);
    for (size_t at = 0; at < size && result == 0; at += chop) {
        size_t n = size - at < chop ? size - at : chop;
        result = cbx_link_input(&side->link, data + at, n, now, &error);
        drain(side, now);
        check(cbx_link_tick(&side->link, now) == 0 || side->link.failed ||
              side->link.control_count == CBX_LINK_CONTROL_MAX);
        check(!side->link.in || side->link.in->capacity <= 512 * 1024);
    }
    check(result <= 0 && side->link.failed == (result < 0));
    for (int i = 0; i < KEPT; i++)
        cbx_slice_drop(&side->kept[i]);
    cbx_link_dispose(&side->link);
    return result;
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static struct side whole, chopped;
    if (size < 2)
        return 0;
    bool hub = data[0] & 1, magic = data[0] & 2;
    size_t chop = (size_t)1 + data[1] % 64 + size / 64; /* a long one is not worth its time */
    int a = run(&whole, hub, data + 2, size - 2, SIZE_MAX / 2, magic);
    int b = run(&chopped, hub, data + 2, size - 2, chop, magic);
    check(a == b && whole.frames == chopped.frames && whole.hash == chopped.hash);
    check(whole.link.junk <= CBX_LINK_JUNK_MAX || a < 0);
    cbx_slab_trim();
    check(cbx_slab_bytes() == 0);
    return 0;
}
