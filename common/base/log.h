/* SPDX-License-Identifier: MIT */
/*
 * Log lines to standard error: "cbx-hub: text". Secrets never go through here. Text from outside is
 * printed with control bytes escaped. With cbx_log_times(true) lines begin with a UTC time stamp.
 */
#ifndef COMMON_BASE_LOG_H
#define COMMON_BASE_LOG_H

#include <stdbool.h>

enum cbx_log_level { CBX_LOG_ERROR = 0, CBX_LOG_WARN = 1, CBX_LOG_INFO = 2, CBX_LOG_DEBUG = 3 };

/* name is kept, not copied. Level defaults to CBX_LOG_INFO. */
void cbx_log_init(const char *name, enum cbx_log_level level);
/* "error", "warn", "info", "debug"; NULL and others: otherwise. */
enum cbx_log_level cbx_log_level_of(const char *name, enum cbx_log_level otherwise);
void cbx_log_times(bool on);
/* Whether lines of a long-running process need times by themselves: standard error is kept (a file,
 * a pipe) and not by the system's journal, which adds its own. */
bool cbx_log_wants_times(void);
void cbx_log(enum cbx_log_level level, const char *format, ...)
    __attribute__((format(printf, 2, 3)));
/* Whether a line of that level is written: for callers that would have to prepare it. */
bool cbx_log_wants(enum cbx_log_level level);

#define cbx_log_error(...) cbx_log(CBX_LOG_ERROR, __VA_ARGS__)
#define cbx_log_warn(...) cbx_log(CBX_LOG_WARN, __VA_ARGS__)
#define cbx_log_info(...) cbx_log(CBX_LOG_INFO, __VA_ARGS__)
#define cbx_log_debug(...) cbx_log(CBX_LOG_DEBUG, __VA_ARGS__)

#endif
