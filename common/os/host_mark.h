/* SPDX-License-Identifier: MIT */
/*
 * What tells that two agents share a machine and a network namespace, so that loopback leads from
 * one to the other: boot id and namespace, hashed under a key of their session so that it tells
 * nobody else (rule 29). The Linux-only part of it; elsewhere there is no mark.
 */
#ifndef COMMON_OS_HOST_MARK_H
#define COMMON_OS_HOST_MARK_H

#include <stdbool.h>
#include <stdint.h>

enum { HOST_MARK_SIZE = 16 };

/* role: which end of the session shows it, so that nobody can echo it. False when this system has
 * no mark. */
bool host_mark(const uint8_t key[32], uint8_t role, uint8_t out[HOST_MARK_SIZE]);

#endif
