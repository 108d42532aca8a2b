/* SPDX-License-Identifier: MIT */
#include "common/stream/unacked.h"
#include "common/base/err.h"
#include "common/crypto/aead.h"
#include <stdlib.h>

enum { ROOM_FIRST = 4, SLACK_MAX = 1024 * 1024 };

struct cbx_kept_record *
cbx_kept_at(const struct cbx_kept *kept, uint32_t index)
{
    return &kept->ring[(kept->first + index) & (kept->room - 1)];
}

static int
grow(struct cbx_kept *kept)
{
    uint32_t room = kept->room ? 2 * kept->room : ROOM_FIRST;
    struct cbx_kept_record *ring = calloc(room, sizeof *ring);
    if (!ring)
        return CBX_ERR_NOMEM;
    for (uint32_t i = 0; i < kept->count; i++)
        ring[i] = *cbx_kept_at(kept, i);
    free(kept->ring);
    kept->ring = ring;
    kept->room = room;
    kept->first = 0;
    return 0;
}

static uint32_t
sealed_length(const struct cbx_kept_record *record)
{
    return record->n + CBX_AEAD_TAG;
}

/* What a small record holds beside itself; nothing is gained by copying a large one. */
static uint32_t
slack(const struct cbx_kept_record *record)
{
    uint32_t length = sealed_length(record), capacity = record->slab->capacity;
    return length < capacity / 2 ? capacity - length : 0;
}

int
cbx_kept_add(struct cbx_kept *kept, struct cbx_kept_record record)
{
    if (kept->count == kept->room && grow(kept) < 0)
        return CBX_ERR_NOMEM;
    if (slack(&record) + *kept->slack > SLACK_MAX) {
        struct cbx_slice copy = cbx_slice_copy_exact(record.text, sealed_length(&record));
        if (!copy.slab)
            return CBX_ERR_NOMEM;
        record.slab = copy.slab;
        record.text = copy.data;
    } else {
        cbx_slab_ref(record.slab);
    }
    *kept->slack += slack(&record);
    *cbx_kept_at(kept, kept->count++) = record;
    return 0;
}

static void
forget_first(struct cbx_kept *kept)
{
    struct cbx_kept_record *record = cbx_kept_at(kept, 0);
    *kept->slack -= slack(record);
    cbx_slab_unref(record->slab);
    kept->first = (kept->first + 1) & (kept->room - 1);
    kept->count--;
}

void
cbx_kept_forget(struct cbx_kept *kept, uint64_t offset)
{
    while (kept->count && cbx_kept_at(kept, 0)->offset + cbx_kept_at(kept, 0)->n <= offset)
        forget_first(kept);
    if (kept->count == 0)
        cbx_kept_clear(kept); /* a stream at rest is small */
}

void
cbx_kept_clear(struct cbx_kept *kept)
{
    while (kept->count)
        forget_first(kept);
    free(kept->ring);
    kept->ring = NULL;
    kept->first = kept->room = 0;
}
