/* SPDX-License-Identifier: MIT */
/*
 * Counted buffers. A slab is one allocation with a reference count; a slice is a view into it that
 * holds one reference. A frame read into a slab is relayed as a slice, so its bytes are never
 * copied in user space. Not thread-safe: slabs belong to the event loop's thread.
 */
#ifndef COMMON_BASE_SLAB_H
#define COMMON_BASE_SLAB_H

#include <stddef.h>
#include <stdint.h>

enum { CBX_SLAB_KEEP_MAX = 16 }; /* freed slabs kept per pooled size */

struct cbx_slab {
    uint32_t refs;
    uint32_t capacity;
    struct cbx_slab *next_free;
    uint8_t bytes[];
};

struct cbx_slice {
    struct cbx_slab *slab; /* NULL: no memory behind it */
    uint8_t *data;
    uint32_t length;
    uint32_t room; /* bytes before data that are this slice's alone to overwrite */
};

/* One reference, contents undefined. NULL when memory is short. */
struct cbx_slab *cbx_slab_new(uint32_t capacity);
struct cbx_slab *cbx_slab_ref(struct cbx_slab *slab);
void cbx_slab_unref(struct cbx_slab *slab); /* NULL is fine */

/* A slice of a slab: takes a new reference. */
struct cbx_slice cbx_slice_of(struct cbx_slab *slab, uint8_t *data, uint32_t length);
/* A copy in a slab of exactly that size, or in a pooled one where that fits a full record; .slab is
 * NULL when memory is short. */
struct cbx_slice cbx_slice_copy_exact(const uint8_t *data, uint32_t length);
struct cbx_slice cbx_slice_copy(const uint8_t *data, uint32_t length);
/* Drops the reference and empties the slice. */
void cbx_slice_drop(struct cbx_slice *slice);

/* Bytes in slabs now, kept ones included: for tests and status. */
size_t cbx_slab_bytes(void);
/* Called twice a second or so: frees the kept ones that nobody needed since the last call. */
void cbx_slab_tick(void);
/* Frees the kept ones. */
void cbx_slab_trim(void);

#endif
