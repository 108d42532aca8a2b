/* SPDX-License-Identifier: MIT */
/*
 * Looks into a host key file of OpenSSH, unencrypted and Ed25519, for what ssh-keygen does not
 * tell: whether its secret half still belongs to its public half. With a flipped bit there sshd
 * starts, and no client can log in. Pure.
 */
#ifndef HUB_LOGIN_HOST_KEY_H
#define HUB_LOGIN_HOST_KEY_H

#include "common/base/err.h"
#include <stddef.h>

enum { HOST_KEY_FILE_MAX = 4096 };

/* text: the whole file. 0, or CBX_ERR_FORMAT when it is not such a key or its halves differ. */
int host_key_check(const char *text, size_t length);

#endif
