/* SPDX-License-Identifier: MIT */
/* Key pairs made and wiped, and the blob, line and fingerprint by which OpenSSH knows a key. */
#include "common/trust/identity.h"

#include <sodium.h>
#include <stdio.h>
#include <string.h>

static const char ssh_type[] = "ssh-ed25519";
enum { SSH_TYPE_LENGTH = sizeof ssh_type - 1 };

void
cbx_keypair_from_seed(struct cbx_keypair *pair, const uint8_t seed[32])
{
    (void)crypto_sign_seed_keypair(pair->public_key, pair->secret_key, seed);
}

void
cbx_keypair_random(struct cbx_keypair *pair)
{
    (void)crypto_sign_keypair(pair->public_key, pair->secret_key);
}

void
cbx_keypair_wipe(struct cbx_keypair *pair)
{
    sodium_memzero(pair, sizeof *pair);
}

void
cbx_identity_random(struct cbx_identity *identity)
{
    cbx_keypair_random(&identity->sign);
    (void)crypto_box_keypair(identity->exchange_public, identity->exchange_secret);
}

void
cbx_ssh_blob(const uint8_t public_key[32], uint8_t out[CBX_SSH_BLOB_SIZE])
{
    static const uint8_t type_length[4] = {0, 0, 0, SSH_TYPE_LENGTH};
    static const uint8_t key_length[4] = {0, 0, 0, CBX_KEY_SIZE};
    memcpy(out, type_length, 4);
    memcpy(out + 4, ssh_type, SSH_TYPE_LENGTH);
    memcpy(out + 4 + SSH_TYPE_LENGTH, key_length, 4);
    memcpy(out + 8 + SSH_TYPE_LENGTH, public_key, CBX_KEY_SIZE);
}

void
cbx_ssh_line(const uint8_t public_key[32], char out[84])
{
    uint8_t blob[CBX_SSH_BLOB_SIZE];
    cbx_ssh_blob(public_key, blob);
    memcpy(out, ssh_type, SSH_TYPE_LENGTH);
    out[SSH_TYPE_LENGTH] = ' ';
    (void)sodium_bin2base64(out + SSH_TYPE_LENGTH + 1, 84 - SSH_TYPE_LENGTH - 1, blob, sizeof blob,
                            sodium_base64_VARIANT_ORIGINAL);
}

void
cbx_ssh_fingerprint(const uint8_t public_key[32], char out[CBX_FINGERPRINT_TEXT_MAX])
{
    uint8_t blob[CBX_SSH_BLOB_SIZE];
    uint8_t hash[crypto_hash_sha256_BYTES];
    cbx_ssh_blob(public_key, blob);
    (void)crypto_hash_sha256(hash, blob, sizeof blob);
    cbx_fingerprint_text(hash, out);
}

void
cbx_fingerprint_text(const uint8_t sha256[32], char out[CBX_FINGERPRINT_TEXT_MAX])
{
    memcpy(out, "SHA256:", 7);
    (void)sodium_bin2base64(out + 7, CBX_FINGERPRINT_TEXT_MAX - 7, sha256, 32,
                            sodium_base64_VARIANT_ORIGINAL_NO_PADDING);
}
