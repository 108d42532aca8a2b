/* SPDX-License-Identifier: MIT */
/*
 * Which of the ciphers and engines of aead.h this machine is faster at. Measured once per process,
 * in about a millisecond each, by sealing a few blocks.
 */
#ifndef COMMON_CRYPTO_AEAD_CHOICE_H
#define COMMON_CRYPTO_AEAD_CHOICE_H

#include "common/crypto/aead.h"

/* The engine of AES-256-GCM that is faster here. */
enum cbx_aes cbx_aes_preferred(void);
/* With the preferred AES. NULL when memory is short or libcrypto refuses. */
struct cbx_aead *cbx_aead_new(void);

/* The cipher to offer first: the one that this CPU was measured to be faster at, once per process
 * (about a millisecond). ChaCha20-Poly1305 where AES is not in hardware. */
enum cbx_cipher cbx_aead_preferred(void);
/* Bytes per second of sealing texts of `length` bytes, the best of at least `samples` samples and
 * of what fits into at_least_us; 0 when memory is short. */
uint64_t cbx_aead_speed(enum cbx_cipher cipher, size_t length, unsigned samples,
                        int64_t at_least_us);

#endif
