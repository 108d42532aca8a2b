/* SPDX-License-Identifier: MIT */
/*
 * Files and folders of a test's own, below $TMPDIR or /tmp; a name says whose they are. Each test
 * ends what it began: collect.py counts as a failed test what is left.
 */
#ifndef TESTS_LIB_SCRATCH_H
#define TESTS_LIB_SCRATCH_H

#include <stdbool.h>
#include <stddef.h>

/* Room for the path of a scratch folder or file. A socket's address has 108 bytes. */
enum { SCRATCH_MAX = 80 };

/* Makes a folder; false when that cannot be. */
bool scratch_folder(const char *name, char out[SCRATCH_MAX]);
/* Makes a file of these bytes. */
bool scratch_file(const char *name, const void *bytes, size_t length, char out[SCRATCH_MAX]);

/* Removes the folder and the entries named (files or empty folders), as far as they are there, up
 * to a NULL; false when it held anything else. */
bool scratch_end(const char *folder, ...);
/* Removes the folder with all that is in it. */
bool scratch_remove(const char *folder);

#endif
