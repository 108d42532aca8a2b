/* SPDX-License-Identifier: MIT */
/* The count of references, and free lists of the three sizes that come and go at full speed. */
#include "common/base/slab.h"
#ifdef __GLIBC__
#include <malloc.h>
#endif
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

/* The sizes that come and go at full speed; everything else goes to malloc each time. */
static const uint32_t pooled[] = {16 * 1024, 80 * 1024, 384 * 1024};
enum { POOLS = sizeof pooled / sizeof pooled[0], GIVE_BACK_MIN = 256 * 1024 };

static struct cbx_slab *kept[POOLS];
static uint32_t kept_count[POOLS], kept_least[POOLS]; /* least: since the last tick */
static size_t total;

static int
pool_of(uint32_t capacity)
{
    for (int i = 0; i < POOLS; i++) {
        if (pooled[i] == capacity)
            return i;
    }
    return -1;
}

struct cbx_slab *
cbx_slab_new(uint32_t capacity)
{
    int pool = pool_of(capacity);
    struct cbx_slab *slab;
    if (pool >= 0 && kept[pool]) {
        slab = kept[pool];
        kept[pool] = slab->next_free;
        if (--kept_count[pool] < kept_least[pool])
            kept_least[pool] = kept_count[pool];
    } else {
        slab = malloc(sizeof *slab + capacity);
        if (!slab)
            return NULL;
        slab->capacity = capacity;
        total += capacity;
    }
    slab->refs = 1;
    slab->next_free = NULL;
    return slab;
}

struct cbx_slab *
cbx_slab_ref(struct cbx_slab *slab)
{
    slab->refs++;
    return slab;
}

void
cbx_slab_unref(struct cbx_slab *slab)
{
    if (!slab || --slab->refs > 0)
        return;
    int pool = pool_of(slab->capacity);
    if (pool >= 0 && kept_count[pool] < CBX_SLAB_KEEP_MAX) {
        slab->next_free = kept[pool];
        kept[pool] = slab;
        kept_count[pool]++;
        return;
    }
    total -= slab->capacity;
    free(slab);
}

struct cbx_slice
cbx_slice_of(struct cbx_slab *slab, uint8_t *data, uint32_t length)
{
    return (struct cbx_slice){.slab = cbx_slab_ref(slab), .data = data, .length = length};
}

static struct cbx_slice
copy_into(uint32_t capacity, const uint8_t *data, uint32_t length)
{
    struct cbx_slab *slab = cbx_slab_new(capacity);
    if (!slab)
        return (struct cbx_slice){0};
    memcpy(slab->bytes, data, length);
    return (struct cbx_slice){.slab = slab, .data = slab->bytes, .length = length};
}

struct cbx_slice
cbx_slice_copy_exact(const uint8_t *data, uint32_t length)
{
    return copy_into(length, data, length);
}

struct cbx_slice
cbx_slice_copy(const uint8_t *data, uint32_t length)
{
    /* A full record is worth a pooled slab; smaller ones take exactly what they need. */
    bool full = length > pooled[1] / 2 && length <= pooled[1];
    return copy_into(full ? pooled[1] : length, data, length);
}

void
cbx_slice_drop(struct cbx_slice *slice)
{
    cbx_slab_unref(slice->slab);
    *slice = (struct cbx_slice){0};
}

size_t
cbx_slab_bytes(void)
{
    return total;
}

/* Returns how many bytes went. */
static size_t
free_kept(int pool, uint32_t count)
{
    for (uint32_t i = 0; i < count; i++) {
        struct cbx_slab *slab = kept[pool];
        kept[pool] = slab->next_free;
        free(slab);
    }
    kept_count[pool] -= count;
    kept_least[pool] = kept_count[pool];
    total -= (size_t)count * pooled[pool];
    return (size_t)count * pooled[pool];
}

void
cbx_slab_trim(void)
{
    for (int i = 0; i < POOLS; i++)
        (void)free_kept(i, kept_count[i]);
}

/* The C library keeps what was freed between blocks that are in use: it is asked to give that back
 * where it can be asked. */
static void
give_back(void)
{
#ifdef __GLIBC__
    (void)malloc_trim(0);
#endif
}

void
cbx_slab_tick(void)
{
    size_t freed = 0;
    for (int i = 0; i < POOLS; i++)
        freed += free_kept(i, kept_least[i]);
    if (freed >= GIVE_BACK_MIN)
        give_back();
}
