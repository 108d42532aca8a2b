/* SPDX-License-Identifier: MIT */
/* The key of the process and the hash under it. */
#include "common/base/hash_table.h"

#include <pthread.h>
#include <sodium.h>
#include <stdint.h>

static uint8_t secret[crypto_shorthash_KEYBYTES];
static pthread_once_t drawn = PTHREAD_ONCE_INIT;

static void
draw(void)
{
    randombytes_buf(secret, sizeof secret);
}

unsigned
cbx_hash(const void *key, size_t length)
{
    uint8_t out[crypto_shorthash_BYTES];
    unsigned value;
    (void)pthread_once(&drawn, draw);
    crypto_shorthash(out, key, length, secret);
    memcpy(&value, out, sizeof value);
    return value;
}
