/* SPDX-License-Identifier: MIT */
/*
 * Whole files, read and written with care: to a temporary file in the same folder, fsync, rename,
 * fsync of the folder. Buffers that may hold secrets are wiped.
 */
#ifndef COMMON_DISK_FILE_H
#define COMMON_DISK_FILE_H

#include "common/base/err.h"
#include <stddef.h>
#include <stdint.h>

/*
 * Beside the permission bits of mode: the write succeeds on a full disk, too. A spare of the file's
 * size and more, `PATH.spare`, is kept beside it; where there is no room for a temporary file, the
 * bytes go into the spare, and the two change places. A spare that cannot be had is no error.
 */
enum { CBX_FILE_RESERVED = 1 << 16 };

/* mode: permission bits of the new file. An existing file is replaced. */
int cbx_file_save(const char *path, const uint8_t *bytes, size_t length, unsigned mode,
                  struct cbx_error *error);
/* The same, but never over an existing file: CBX_ERR_EXISTS. */
int cbx_file_create(const char *path, const uint8_t *bytes, size_t length, unsigned mode,
                    struct cbx_error *error);
/* The same as cbx_file_save, but a file that holds these bytes with this mode already is left as it
 * is: that needs no room on the disk. */
int cbx_file_keep(const char *path, const uint8_t *bytes, size_t length, unsigned mode,
                  struct cbx_error *error);
/* Reads at most max bytes; CBX_ERR_LIMIT when longer; CBX_ERR_NOTFOUND. *bytes is malloc'd, with a
 * NUL behind the last byte that *length does not count. Pipes work too. */
int cbx_file_load(const char *path, size_t max, uint8_t **bytes, size_t *length,
                  struct cbx_error *error);

/* The first line of a file that holds a secret (what: "passphrase", for messages), without its end;
 * malloc'd, for the caller to wipe and free, with a NUL behind it. CBX_ERR_FORMAT when it is empty
 * or holds a zero byte, CBX_ERR_LIMIT when it has more than CBX_SECRET_LINE_MAX bytes. */
enum { CBX_SECRET_LINE_MAX = 1024 };
int cbx_file_secret_line(const char *path, const char *what, char **line, size_t *length,
                         struct cbx_error *error);

#endif
