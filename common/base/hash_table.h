/* SPDX-License-Identifier: MIT */
/*
 * uthash for tables whose keys others choose: with a hash under a key of this process (SipHash-2-4,
 * Aumasson and Bernstein 2012), so that nobody can find keys that collide; and without the end of
 * the process when memory is short: a failed add leaves hh.tbl NULL. Nothing includes <uthash.h>
 * but this file.
 */
#ifndef COMMON_BASE_HASH_TABLE_H
#define COMMON_BASE_HASH_TABLE_H

#ifdef UTHASH_H
#error "common/base/hash_table.h must come before uthash.h"
#endif

#include <stddef.h>
#include <string.h>

/* The low bits of the key's hash; the same for the life of the process. */
unsigned cbx_hash(const void *key, size_t length);

#define HASH_NONFATAL_OOM 1
#define HASH_FUNCTION(key, length, value) ((value) = cbx_hash((key), (length)))
#include <uthash.h>

#endif
