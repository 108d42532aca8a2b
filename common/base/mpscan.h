/* SPDX-License-Identifier: MIT */
/*
 * The check that stands before msgpack-c: it believes lengths and allocates for them, so five
 * hostile bytes cost it gigabytes. This walks one object without allocating or recursing. Pure.
 */
#ifndef COMMON_BASE_MPSCAN_H
#define COMMON_BASE_MPSCAN_H

#include <stddef.h>
#include <stdint.h>

enum { CBX_MPSCAN_DEPTH_MAX = 8 };

/*
 * Walks exactly one msgpack object at the start of bytes; *used gets its length (bytes may follow).
 * 0, or CBX_ERR_FORMAT (empty input, a length beyond the input, a map, an ext type, 0xc1), or
 * CBX_ERR_LIMIT (an array of more than max_elements, arrays nested deeper than max_depth, where the
 * outermost is depth 1 and CBX_MPSCAN_DEPTH_MAX bounds max_depth itself).
 */
int cbx_mpscan(const uint8_t *bytes, size_t length, unsigned max_elements, unsigned max_depth,
               size_t *used);

#endif
