/* SPDX-License-Identifier: MIT */
/* Tested by test_stream_flow and sim_streams. */
#include "common/stream/unacked.h"
#include "common/base/err.h"
#include "common/crypto/aead.h"
#include <stdlib.h>

enum { ROOM_FIRST = 4, SLACK_MAX = 1024 * 1024 };

struct cbx_unacked_record *
cbx_unacked_at(const struct cbx_unacked *unacked, uint32_t index)
{
    return &unacked->ring[(unacked->first + index) & (unacked->room - 1)];
}

static int
grow(struct cbx_unacked *unacked)
{
    uint32_t room = unacked->room ? 2 * unacked->room : ROOM_FIRST;
    struct cbx_unacked_record *ring = calloc(room, sizeof *ring);
    if (!ring)
        return CBX_ERR_NOMEM;
    for (uint32_t i = 0; i < unacked->count; i++)
        ring[i] = *cbx_unacked_at(unacked, i);
    free(unacked->ring);
    unacked->ring = ring;
    unacked->room = room;
    unacked->first = 0;
    return 0;
}

static uint32_t
sealed_length(const struct cbx_unacked_record *record)
{
    return record->n + CBX_AEAD_TAG;
}

/* What a small record holds beside itself; nothing is gained by copying a large one. */
static uint32_t
slack(const struct cbx_unacked_record *record)
{
    uint32_t length = sealed_length(record), capacity = record->slab->capacity;
    return length < capacity / 2 ? capacity - length : 0;
}

int
cbx_unacked_add(struct cbx_unacked *unacked, struct cbx_unacked_record record)
{
    if (unacked->count == unacked->room && grow(unacked) < 0)
        return CBX_ERR_NOMEM;
    if (slack(&record) + *unacked->slack > SLACK_MAX) {
        struct cbx_slice copy = cbx_slice_copy_exact(record.text, sealed_length(&record));
        if (!copy.slab)
            return CBX_ERR_NOMEM;
        record.slab = copy.slab;
        record.text = copy.data;
    } else {
        cbx_slab_ref(record.slab);
    }
    *unacked->slack += slack(&record);
    *cbx_unacked_at(unacked, unacked->count++) = record;
    return 0;
}

static void
forget_first(struct cbx_unacked *unacked)
{
    struct cbx_unacked_record *record = cbx_unacked_at(unacked, 0);
    *unacked->slack -= slack(record);
    cbx_slab_unref(record->slab);
    unacked->first = (unacked->first + 1) & (unacked->room - 1);
    unacked->count--;
}

void
cbx_unacked_forget(struct cbx_unacked *unacked, uint64_t offset)
{
    while (unacked->count &&
           cbx_unacked_at(unacked, 0)->offset + cbx_unacked_at(unacked, 0)->n <= offset)
        forget_first(unacked);
    if (unacked->count == 0)
        cbx_unacked_clear(unacked); /* a stream at rest is small */
}

void
cbx_unacked_clear(struct cbx_unacked *unacked)
{
    while (unacked->count)
        forget_first(unacked);
    free(unacked->ring);
    unacked->ring = NULL;
    unacked->first = unacked->room = 0;
}
