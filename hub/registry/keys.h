/* SPDX-License-Identifier: MIT */
/* The login keys, as sshd reads them. */
#ifndef HUB_REGISTRY_KEYS_H
#define HUB_REGISTRY_KEYS_H

#include <stdint.h>

struct registry;

/* The authorized_keys text for sshd (malloc'd): one line per live login key, with
 * restrict,command="exec ... attach --key FINGERPRINT" and expiry-time (rule 9). program and
 * state_dir are absolute; quoting is done here. */
int registry_authorized_keys(const struct registry *registry, const char *program,
                             const char *state_dir, int64_t now_unix, char **text);

#endif
