/* SPDX-License-Identifier: MIT */
/*
 * What makes sshd close a connection without a word, looked at before the first one comes. Each
 * finding is one line with its remedy.
 */
#ifndef HUB_HOST_PREFLIGHT_H
#define HUB_HOST_PREFLIGHT_H

#include "common/base/err.h"
#include "hub/host/account.h"

/* As the account that will run sshd. Looks only. */
int preflight_check(const struct account *account, struct cbx_error *error);

/* Whether that program is an sshd that understands what we tell it. Runs it. */
int preflight_sshd(const char *sshd, struct cbx_error *error);

/* Makes /run/sshd when root lacks it. */
int preflight_make(const struct account *account, struct cbx_error *error);

/* Whether the login shell runs a command, as sshd will have it do for every login. Runs it. */
int preflight_shell_runs(const struct account *account, struct cbx_error *error);
/* Runs it, and warns when it prints or is slow. */
void preflight_shell(const struct account *account);

#endif
