/* SPDX-License-Identifier: MIT */
/*
 * Who we run as. The hub is an ordinary account, or root that becomes one (--user), or, outspoken,
 * root (--as-root). Commands that root calls become the account that owns the state folder
 * (cbx_become_owner), so that nothing in it ends up as root's.
 */
#ifndef HUB_HOST_ACCOUNT_H
#define HUB_HOST_ACCOUNT_H

#include "common/base/err.h"
#include "common/trust/token.h"
#include <stdbool.h>
#include <sys/types.h>

enum { ACCOUNT_SHELL_MAX = 256, ACCOUNT_HOME_MAX = 1024 };

struct account {
    uid_t uid;
    gid_t gid;
    char name[CBX_USER_MAX + 1];
    char shell[ACCOUNT_SHELL_MAX]; /* /bin/sh when the entry has none */
    char home[ACCOUNT_HOME_MAX];
};

/* Our own entry. CBX_ERR_NOTFOUND with the remedy when the uid has none, CBX_ERR_FORMAT for a name
 * that a token or sshd's configuration cannot carry. */
int account_self(struct account *out, struct cbx_error *error);

/* Whom to run as: the account of that name, or NULL for our own. HOME, USER, LOGNAME and SHELL
 * become that account's, nothing else yet. CBX_ERR_USAGE when the name will not do, or when only
 * root could become it. */
int account_choose(const char *name, struct account *out, struct cbx_error *error);

/* Becomes the account for good: groups, gid, uid. No effect when we are it already. */
int account_become(const struct account *account, struct cbx_error *error);

/* Runs check(arg, error) in a process of its own that is the account already, and returns what it
 * returned: what the account may not do is known before anything is made for it. Not beside
 * threads. */
typedef int account_check(void *arg, struct cbx_error *error);
int account_try(const struct account *account, account_check *check, void *arg,
                struct cbx_error *error);

/* As root: makes the last part of a state folder that is missing, for the account to use. */
int account_give_folder(const char *path, const struct account *account, struct cbx_error *error);

#endif
