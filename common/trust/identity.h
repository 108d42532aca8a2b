/* SPDX-License-Identifier: MIT */
/* Keys: the lease's Ed25519 identity with its X25519 key, and SSH's view of an Ed25519 key. */
#ifndef COMMON_TRUST_IDENTITY_H
#define COMMON_TRUST_IDENTITY_H

#include <stddef.h>
#include <stdint.h>

enum {
    CBX_KEY_SIZE = 32,
    CBX_SIGNATURE_SIZE = 64,
    CBX_FINGERPRINT_TEXT_MAX = 52, /* "SHA256:" + 43 characters + NUL, rounded up */
    CBX_SSH_BLOB_SIZE = 51         /* ssh-ed25519 public key blob (RFC 8709) */
};

/* An Ed25519 key pair. The owner wipes it with cbx_keypair_wipe. */
struct cbx_keypair {
    uint8_t public_key[32];
    uint8_t secret_key[64]; /* libsodium form: seed then public key */
};

struct cbx_identity {
    struct cbx_keypair sign;     /* Ed25519: who this lease is, and its SSH login key */
    uint8_t exchange_secret[32]; /* X25519: Noise KK */
    uint8_t exchange_public[32];
};

void cbx_keypair_from_seed(struct cbx_keypair *pair, const uint8_t seed[32]);
void cbx_keypair_random(struct cbx_keypair *pair);
void cbx_keypair_wipe(struct cbx_keypair *pair);

void cbx_identity_random(struct cbx_identity *identity);

/* RFC 4253 blob of an ssh-ed25519 public key. */
void cbx_ssh_blob(const uint8_t public_key[32], uint8_t out[CBX_SSH_BLOB_SIZE]);
/* "ssh-ed25519 AAAA..." without a comment; out holds at least 84 bytes. */
void cbx_ssh_line(const uint8_t public_key[32], char out[84]);
/* OpenSSH's "SHA256:..." of a public key, or of any host key blob's SHA-256. */
void cbx_ssh_fingerprint(const uint8_t public_key[32], char out[CBX_FINGERPRINT_TEXT_MAX]);
void cbx_fingerprint_text(const uint8_t sha256[32], char out[CBX_FINGERPRINT_TEXT_MAX]);

#endif
