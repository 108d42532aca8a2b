/* SPDX-License-Identifier: MIT */
/* Numbers as people read them, for tables and status lines. */
#ifndef COMMON_COMMAND_HUMAN_H
#define COMMON_COMMAND_HUMAN_H

#include <stddef.h>
#include <stdint.h>

enum { CBX_HUMAN_MAX = 32 };

/* "3d 4h", "5m", "12s"; less than nothing is "0s". */
void cbx_human_span(int64_t seconds, char *out, size_t size);
/* The span from a moment (Unix seconds) to now; "-" for one that was never set (0 and less): nobody
 * is told a time of 20,000 days. */
void cbx_human_since(int64_t since, int64_t now, char *out, size_t size);
/* "512 B", "1.5 KiB", "12 MiB": powers of 1,024. */
void cbx_human_bytes(uint64_t bytes, char *out, size_t size);
/* "0.31 ms", "12 ms", "1.2 s"; "-" when not above 0. */
void cbx_human_us(int64_t microseconds, char *out, size_t size);

/* "1 lane", "3 lanes". */
void cbx_human_many(int64_t count, const char *thing, char *out, size_t size);

#endif
