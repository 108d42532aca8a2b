/* SPDX-License-Identifier: MIT */
/*
 * Whether somebody else could put another file or folder in the place of one of ours: whoever may
 * write to a folder above it may rename what is in there. What OpenSSH's StrictModes asks of a home
 * folder, asked of every folder on the way.
 */
#ifndef COMMON_OS_SAFE_PATH_H
#define COMMON_OS_SAFE_PATH_H

#include "common/base/err.h"

/* Every folder above path, an absolute one, as far as they are there, belongs to root or to this
 * user (by effective uid), and others may not write there, or only under the sticky bit, as in
 * /tmp. Links are followed, and where they lead is looked at in the same way. What path names
 * itself is not looked at. CBX_ERR_AUTH with the folder named, or CBX_ERR_IO. */
int cbx_safe_path(const char *path, struct cbx_error *error);
/* The same of a file that may be named from the working folder, and of the file itself: it is
 * root's or this user's, and others may not write it. */
int cbx_safe_file(const char *path, struct cbx_error *error);

#endif
