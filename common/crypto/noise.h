/* SPDX-License-Identifier: MIT */
/*
 * Noise_KK_25519_ChaChaPoly_BLAKE2b, two messages (noiseprotocol.org, revision 34). Sans-I/O; tests
 * pin the ephemeral key. libsodium underneath.
 */
#ifndef COMMON_CRYPTO_NOISE_H
#define COMMON_CRYPTO_NOISE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum {
    CBX_NOISE_OVERHEAD = 48, /* e (32) + tag (16) */
    CBX_NOISE_PAYLOAD_MAX = 512,
};

struct cbx_noise {
    uint8_t hash[64];
    uint8_t chaining_key[64];
    uint8_t key[32];
    uint64_t nonce;
    bool has_key;
    bool initiator;
    uint8_t step; /* 0: before message 1, 1: before message 2, 2: done */
    uint8_t static_secret[32];
    uint8_t static_public[32];
    uint8_t ephemeral_secret[32];
    uint8_t ephemeral_public[32];
    uint8_t remote_static[32];
    uint8_t remote_ephemeral[32];
};

/* Keys are copied. The owner wipes with cbx_noise_wipe in every case. */
void cbx_noise_init(struct cbx_noise *noise, bool initiator, const uint8_t *prologue,
                    size_t prologue_length, const uint8_t static_secret[32],
                    const uint8_t static_public[32], const uint8_t remote_static[32]);

/* Pins the ephemeral key (tests only); without it a random one is drawn at the first write. */
void cbx_noise_set_ephemeral(struct cbx_noise *noise, const uint8_t secret[32]);

/*
 * Write or read the next message. out of write holds payload_length + CBX_NOISE_OVERHEAD; out of
 * read holds length - CBX_NOISE_OVERHEAD. Both return the length written to out, or CBX_ERR_STATE
 * (wrong turn), CBX_ERR_FORMAT (too short or long), CBX_ERR_AUTH (tag, or an all-zero agreement:
 * rule 13). After a failed read the state is dead.
 */
int cbx_noise_write(struct cbx_noise *noise, const uint8_t *payload, size_t payload_length,
                    uint8_t *out);
int cbx_noise_read(struct cbx_noise *noise, const uint8_t *message, size_t length, uint8_t *out);

/* After message 2. send and receive are this side's. hash may be NULL. */
int cbx_noise_split(const struct cbx_noise *noise, uint8_t send[32], uint8_t receive[32],
                    uint8_t hash[64]);

void cbx_noise_wipe(struct cbx_noise *noise);

#endif
