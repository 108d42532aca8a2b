/* SPDX-License-Identifier: MIT */
/* Root that becomes another account, for good. */
#ifndef COMMON_OS_BECOME_H
#define COMMON_OS_BECOME_H

#include "common/base/err.h"
#include <stddef.h>
#include <sys/types.h>

struct passwd;

/* Takes groups, gid and uid of the account, and its HOME, USER, LOGNAME and SHELL; root's own
 * folders (XDG_...) leave the environment. entry: its name, NULL where /etc/passwd has none: then
 * it has no other groups and the environment stays. CBX_ERR_IO, CBX_ERR_NOMEM. */
int cbx_become(uid_t uid, gid_t gid, const struct passwd *entry, struct cbx_error *error);

/* HOME, USER, LOGNAME and SHELL of the account, and no XDG_... of ours: what folders are named by
 * before it is become. Other than 0 when memory is short. */
int cbx_become_environment(const struct passwd *entry);

/* As root, when path belongs to another account: becomes that one. Else nothing. */
int cbx_become_owner(const char *path, struct cbx_error *error);

enum { CBX_OWNER_TEXT_MAX = 64 };
/* "alice", or "uid 1234" where /etc/passwd has no entry. */
void cbx_owner_text(uid_t uid, char out[CBX_OWNER_TEXT_MAX]);

#endif
