/* SPDX-License-Identifier: MIT */
/*
 * The records that a stream has sent and whose bytes the far program has not all taken: kept as
 * sealed, so that they can go out anew over another path (rule 18). What is kept of a record is its
 * text and tag; the head in front is the link's to overwrite. A large record keeps the buffer that
 * it was built in; small ones are copied once their buffers hold too much beside them, counted over
 * all streams of an agent.
 */
#ifndef COMMON_STREAM_UNACKED_H
#define COMMON_STREAM_UNACKED_H

#include "common/base/slab.h"
#include <stdint.h>

struct cbx_unacked_record {
    struct cbx_slab *slab;
    uint8_t *text;    /* n bytes, sealed, and the tag */
    uint64_t offset;  /* of the first byte in its stream */
    uint64_t counter; /* under which it was sealed */
    uint64_t epoch;
    uint32_t n;
};

/* In the order of offsets, without gaps. Zeroed memory but for slack is the empty list. */
struct cbx_unacked {
    uint64_t *slack; /* bytes held beside small records, in all lists that share this; borrowed */
    struct cbx_unacked_record *ring;
    uint32_t first, count, room; /* room: a power of two, 0 when empty */
};

/* Takes a reference of its own. CBX_ERR_NOMEM. */
int cbx_unacked_add(struct cbx_unacked *unacked, struct cbx_unacked_record record);
struct cbx_unacked_record *cbx_unacked_at(const struct cbx_unacked *unacked, uint32_t index);
/* Forgets the records that end at or before this offset. */
void cbx_unacked_forget(struct cbx_unacked *unacked, uint64_t offset);
void cbx_unacked_clear(struct cbx_unacked *unacked);

#endif
