/* SPDX-License-Identifier: MIT */
/*
 * Standard error as a file of a name, so that it can be rotated: by copying and truncating, since
 * each line is appended; or by renaming, when the file is opened again by its name. One a process.
 */
#ifndef COMMON_BASE_LOG_FILE_H
#define COMMON_BASE_LOG_FILE_H

#include "common/base/err.h"
#include <stdbool.h>

/* What cbx_log_file_begin would say of it, as far as can be told. Makes nothing. folder: one that
 * is going to be made, or NULL. */
int cbx_log_file_look(const char *path, const char *folder, struct cbx_error *error);

/* From here on standard error is that file (0600 when it is new), and lines have times. keep: what
 * it was is kept for cbx_log_file_end. CBX_ERR_USAGE when it cannot be opened for writing. */
int cbx_log_file_begin(const char *path, bool keep, struct cbx_error *error);
/* Whether lines go to a file of ours. */
bool cbx_log_file_used(void);
/* Opens it again by its name, for this process. Where that fails, it goes on in the one that it has
 * and says so there. False: there is none. */
bool cbx_log_file_reopen(void);
/* Standard error is what it was, for the last word of a command that fails. False: it is the same
 * that it has been. */
bool cbx_log_file_end(void);

#endif
