/* SPDX-License-Identifier: MIT */
/* Big-endian integers in bytes, as they stand on the wire and in files. */
#ifndef COMMON_BASE_BYTES_H
#define COMMON_BASE_BYTES_H

#include <stdint.h>

static inline void
cbx_put_be32(uint8_t at[4], uint32_t value)
{
    at[0] = (uint8_t)(value >> 24);
    at[1] = (uint8_t)(value >> 16);
    at[2] = (uint8_t)(value >> 8);
    at[3] = (uint8_t)value;
}

static inline uint32_t
cbx_get_be32(const uint8_t at[4])
{
    return (uint32_t)at[0] << 24 | (uint32_t)at[1] << 16 | (uint32_t)at[2] << 8 | at[3];
}

static inline void
cbx_put_be64(uint8_t at[8], uint64_t value)
{
    cbx_put_be32(at, (uint32_t)(value >> 32));
    cbx_put_be32(at + 4, (uint32_t)value);
}

static inline uint64_t
cbx_get_be64(const uint8_t at[8])
{
    return (uint64_t)cbx_get_be32(at) << 32 | cbx_get_be32(at + 4);
}

#endif
