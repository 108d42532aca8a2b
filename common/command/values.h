/* SPDX-License-Identifier: MIT */
/*
 * The values of settings, the same in options and in files of both programs: choices, counts,
 * durations and sizes with their bounds. An error repeats the value and says what would do, bounds
 * with units; whoever reads an option or a line puts its name before that.
 */
#ifndef COMMON_COMMAND_VALUES_H
#define COMMON_COMMAND_VALUES_H

#include "common/base/err.h"
#include <stddef.h>
#include <stdint.h>

enum { CBX_VALUE_TEXT_MAX = 32 };

/* One of the names (the last entry is NULL): its index. All return 0 or CBX_ERR_USAGE and leave
 * the result alone then. */
int cbx_value_choice(const char *text, const char *const names[], size_t *index,
                     struct cbx_error *error);
/* A whole number without a unit. */
int cbx_value_count(const char *text, uint64_t least, uint64_t most, uint64_t *count,
                    struct cbx_error *error);
/* "500ms", "15s": in milliseconds. */
int cbx_value_duration(const char *text, int64_t least_ms, int64_t most_ms, int64_t *ms,
                       struct cbx_error *error);
/* "64K", "1G": in bytes. */
int cbx_value_size(const char *text, uint64_t least, uint64_t most, uint64_t *bytes,
                   struct cbx_error *error);

/* As people type them, exactly: 90000 ms is "90s", 3600000 "1h"; 1536 bytes are "1536", 1 << 20
 * "1M". */
void cbx_value_write_duration(int64_t ms, char out[CBX_VALUE_TEXT_MAX]);
void cbx_value_write_size(uint64_t bytes, char out[CBX_VALUE_TEXT_MAX]);

#endif
