/* SPDX-License-Identifier: MIT */
/*
 * The sshd behind our port: its folder <state>/ssh with the host key (made once, kept for good:
 * tokens pin it), the generated configuration (written at each start that changes it) and
 * authorized_keys. Blocking; used before the loop runs.
 */
#ifndef HUB_LOGIN_SSHD_H
#define HUB_LOGIN_SSHD_H

#include "common/base/err.h"
#include <stdbool.h>
#include <stdint.h>

enum { SSHD_PATH_MAX = 4096 };

struct sshd_files {
    char folder[SSHD_PATH_MAX];          /* <state>/ssh */
    char config[SSHD_PATH_MAX];          /* sshd_config */
    char host_key[SSHD_PATH_MAX];        /* host_ed25519 */
    char authorized_keys[SSHD_PATH_MAX]; /* authorized_keys */
};

/* Names the files. CBX_ERR_LIMIT when the folder's name is too long, CBX_ERR_USAGE when it has a
 * character that a line of sshd's files cannot carry. */
int sshd_files_of(const char *state_dir, struct sshd_files *out, struct cbx_error *error);

/* The sshd to run: option if not NULL, else the usual places. CBX_ERR_NOTFOUND with the remedy. */
int sshd_find(const char *option, char out[SSHD_PATH_MAX], struct cbx_error *error);

/* Makes the folder (0700) and, when it is missing, the host key; refuses one that is damaged or
 * that others can read. sha256 gets the hash of its public blob, which tokens carry. */
int sshd_host_key(const struct sshd_files *files, uint8_t sha256[32], struct cbx_error *error);

/* Writes the configuration and lets sshd read it (`sshd -t`). user is the one account that may log
 * in; root says that it is root. */
int sshd_configure(const struct sshd_files *files, const char *sshd, const char *user, bool root,
                   int64_t login_ms, struct cbx_error *error);

#endif
