/* SPDX-License-Identifier: MIT */
/*
 * Which record cipher this CPU is faster at. Asked for once per process, answered by sealing a few
 * blocks of each: the best block counts, since whatever else runs can only slow one down. Tested
 * by test_aead.
 */
#include "common/crypto/aead_choice.h"
#include "common/crypto/cpu.h"
#include <stdlib.h>
#include <time.h>

enum { BLOCK = 16 * 1024, SAMPLES = 8, WARM_UP = 2 };

/* A block takes a few microseconds: the clock of the loop is too coarse. */
static int64_t
now_ns(void)
{
    struct timespec now;
    (void)clock_gettime(CLOCK_MONOTONIC, &now);
    return (int64_t)now.tv_sec * 1000000000 + now.tv_nsec;
}

/* Nanoseconds of the fastest sample, or 0. */
static int64_t
fastest(struct cbx_aead *aead, enum cbx_cipher cipher, uint8_t *text, size_t length,
        unsigned samples, int64_t at_least_ns)
{
    static const uint8_t key[CBX_AEAD_KEY], head[40];
    int64_t began = now_ns(), best = 0;
    for (uint64_t i = 0; i < samples + WARM_UP || now_ns() - began < at_least_ns; i++) {
        int64_t start = now_ns();
        if (cbx_aead_seal(aead, cipher, key, i, head, sizeof head, text, length) < 0)
            return 0;
        int64_t took = now_ns() - start;
        if (i >= WARM_UP && took > 0 && (best == 0 || took < best))
            best = took;
    }
    return best;
}

/* Bytes per second, or 0. Takes aead over. */
static uint64_t
speed_of(struct cbx_aead *aead, enum cbx_cipher cipher, size_t length, unsigned samples,
         int64_t at_least_us)
{
    uint8_t *text = calloc(1, length + CBX_AEAD_TAG);
    int64_t best = 0;
    if (aead && text)
        best = fastest(aead, cipher, text, length, samples, at_least_us * 1000);
    free(text);
    cbx_aead_free(aead);
    return best > 0 ? (uint64_t)((double)length * 1e9 / (double)best) : 0;
}

uint64_t
cbx_aead_speed(enum cbx_cipher cipher, size_t length, unsigned samples, int64_t at_least_us)
{
    return speed_of(cbx_aead_new(), cipher, length, samples, at_least_us);
}

enum cbx_aes
cbx_aes_preferred(void)
{
    static enum cbx_aes preferred;
    static bool measured;
    if (measured)
        return preferred;
    measured = true;
    uint64_t speed[2];
    for (unsigned aes = 0; aes < 2; aes++)
        speed[aes] = speed_of(cbx_aead_new_with(aes), CBX_CIPHER_AES256GCM, BLOCK, SAMPLES, 0);
    if (speed[CBX_AES_IPSEC_MB] > speed[CBX_AES_LIBCRYPTO])
        preferred = CBX_AES_IPSEC_MB;
    return preferred;
}

enum cbx_cipher
cbx_aead_preferred(void)
{
    static enum cbx_cipher preferred = CBX_CIPHER_NONE;
    if (preferred != CBX_CIPHER_NONE)
        return preferred;
    preferred = CBX_CIPHER_CHACHA20POLY1305;
    /* Without the instructions libcrypto's AES is slow at best, and not measured. */
    if (cbx_cpu_has_aes() && cbx_aead_speed(CBX_CIPHER_AES256GCM, BLOCK, SAMPLES, 0) >=
                                 cbx_aead_speed(CBX_CIPHER_CHACHA20POLY1305, BLOCK, SAMPLES, 0))
        preferred = CBX_CIPHER_AES256GCM;
    return preferred;
}

struct cbx_aead *
cbx_aead_new(void)
{
    return cbx_aead_new_with(cbx_aes_preferred());
}
