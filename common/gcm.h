/* SPDX-License-Identifier: MIT */
/*
 * AES-256-GCM with the vector AES of newer CPUs, through Intel's Multi-Buffer Crypto for IPsec
 * library: 2.4 times as fast as OpenSSL 3.0's there. The library is taken where the machine has it
 * (libIPSec_MB.so.1) and never needed: aead.c measures it against libcrypto, the bytes are the
 * same. Lengths fit 32 bits and pointers are valid: then the library cannot fail.
 */
#ifndef CBX_GCM_H
#define CBX_GCM_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum { CBX_GCM_KEY = 32, CBX_GCM_NONCE = 12, CBX_GCM_TAG = 16 };

/* Whether the library is here, is one that this program was built for, and gives the published
 * bytes. Looked for once per process. */
bool cbx_gcm_here(void);

struct cbx_gcm; /* an expanded key */

/* NULL when memory is short or the library is not here. */
struct cbx_gcm *cbx_gcm_new(void);
void cbx_gcm_free(struct cbx_gcm *gcm); /* wipes; NULL is fine */
void cbx_gcm_set_key(struct cbx_gcm *gcm, const uint8_t key[CBX_GCM_KEY]);

/* length bytes of text in place, and the tag. */
void cbx_gcm_seal(struct cbx_gcm *gcm, const uint8_t nonce[CBX_GCM_NONCE],
                  const uint8_t *additional, size_t additional_length, uint8_t *text, size_t length,
                  uint8_t tag[CBX_GCM_TAG]);
/* False when the tag does not hold: the text is then garbage, to be wiped. */
bool cbx_gcm_open(struct cbx_gcm *gcm, const uint8_t nonce[CBX_GCM_NONCE],
                  const uint8_t *additional, size_t additional_length, uint8_t *text, size_t length,
                  const uint8_t tag[CBX_GCM_TAG]);

#endif
