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

/* mode: permission bits of the new file. An existing file is replaced. */
int cbx_file_save(const char *path, const uint8_t *bytes, size_t length, unsigned mode,
                  struct cbx_error *error);
/* The same, but never over an existing file: CBX_ERR_EXISTS. */
int cbx_file_create(const char *path, const uint8_t *bytes, size_t length, unsigned mode,
                    struct cbx_error *error);
/* Reads at most max bytes; CBX_ERR_LIMIT when longer; CBX_ERR_NOTFOUND. *bytes is malloc'd, with a
 * NUL behind the last byte that *length does not count. Pipes work too. */
int cbx_file_load(const char *path, size_t max, uint8_t **bytes, size_t *length,
                  struct cbx_error *error);

#endif
