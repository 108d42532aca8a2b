/* SPDX-License-Identifier: MIT */
/*
 * The record ciphers: AES-256-GCM and ChaCha20-Poly1305 (RFC 8439) through libcrypto or, for AES
 * where it is faster, Intel's IPSec_MB (gcm.h): key 32 bytes, nonce = 32 zero bits || 64-bit
 * big-endian counter, tag 16 bytes. One cipher context per owner and direction, keyed anew when the
 * key changes, so a stream at rest keeps none.
 */
#ifndef COMMON_CRYPTO_AEAD_H
#define COMMON_CRYPTO_AEAD_H

#include "common/crypto/cipher.h"
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Who does AES-256-GCM; both give the same bytes. */
enum cbx_aes { CBX_AES_LIBCRYPTO, CBX_AES_IPSEC_MB };
const char *cbx_aes_name(enum cbx_aes aes); /* "libcrypto" */

struct cbx_aead; /* shared contexts */

/* With this one; NULL also where it is not on this machine. */
struct cbx_aead *cbx_aead_new_with(enum cbx_aes aes);
void cbx_aead_free(struct cbx_aead *aead); /* NULL is fine */

const char *cbx_cipher_name(enum cbx_cipher cipher);

/*
 * Seals length bytes of text in place and writes the tag behind them: text must have room for
 * length + CBX_AEAD_TAG. 0, or CBX_ERR_FORMAT for an unknown cipher, CBX_ERR_NOMEM else.
 */
int cbx_aead_seal(struct cbx_aead *aead, enum cbx_cipher cipher, const uint8_t key[CBX_AEAD_KEY],
                  uint64_t counter, const uint8_t *additional, size_t additional_length,
                  uint8_t *text, size_t length);

/*
 * Opens length bytes (tag included) in place; the text is the first length - CBX_AEAD_TAG bytes.
 * CBX_ERR_AUTH when the tag does not match: the bytes are then garbage and are zeroed.
 */
int cbx_aead_open(struct cbx_aead *aead, enum cbx_cipher cipher, const uint8_t key[CBX_AEAD_KEY],
                  uint64_t counter, const uint8_t *additional, size_t additional_length,
                  uint8_t *text, size_t length);

#endif
