/* SPDX-License-Identifier: MIT */
/*
 * AES-256-GCM with the vector AES of newer CPUs, through Intel's Multi-Buffer Crypto for IPsec
 * library: 2.4 times as fast as OpenSSL 3.0's there. The library is taken where the machine has it
 * (libIPSec_MB.so.1) and never needed: aead_choice.c measures it against libcrypto, the bytes are
 * the same. Lengths fit 32 bits and pointers are valid: then the library cannot fail.
 */
#ifndef COMMON_CRYPTO_GCM_H
#define COMMON_CRYPTO_GCM_H

#include "common/crypto/cipher.h"
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct cbx_gcm; /* an expanded key */

/* NULL when memory is short, or the library is not here, is not one that this program was built for
 * or does not give the published bytes: looked for once per process. */
struct cbx_gcm *cbx_gcm_new(void);
void cbx_gcm_free(struct cbx_gcm *gcm); /* wipes; NULL is fine */
void cbx_gcm_set_key(struct cbx_gcm *gcm, const uint8_t key[CBX_AEAD_KEY]);

/* length bytes of text in place, and the tag. */
void cbx_gcm_seal(struct cbx_gcm *gcm, const uint8_t nonce[CBX_AEAD_NONCE],
                  const uint8_t *additional, size_t additional_length, uint8_t *text, size_t length,
                  uint8_t tag[CBX_AEAD_TAG]);
/* False when the tag does not hold: the text is then garbage, to be wiped. */
bool cbx_gcm_open(struct cbx_gcm *gcm, const uint8_t nonce[CBX_AEAD_NONCE],
                  const uint8_t *additional, size_t additional_length, uint8_t *text, size_t length,
                  const uint8_t tag[CBX_AEAD_TAG]);

#endif
