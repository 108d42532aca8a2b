/* SPDX-License-Identifier: MIT */
/* The record ciphers by number, and their sizes. */
#ifndef COMMON_CRYPTO_CIPHER_H
#define COMMON_CRYPTO_CIPHER_H

enum cbx_cipher { /* wire numbers (PROTOCOL.md, "Sessions") */
                  CBX_CIPHER_NONE = 0,
                  CBX_CIPHER_AES256GCM = 1,
                  CBX_CIPHER_CHACHA20POLY1305 = 2,
};

enum { CBX_AEAD_KEY = 32, CBX_AEAD_NONCE = 12, CBX_AEAD_TAG = 16 };

#endif
