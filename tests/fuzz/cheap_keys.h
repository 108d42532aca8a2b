/* SPDX-License-Identifier: MIT */
/*
 * Stand-ins for libsodium's X25519 and Ed25519, which the linker finds before the library's: both
 * sides of an agreement still agree, only what a key signed still verifies, at a hundredth of the
 * cost. What is fuzzed lies behind them. They are no secret to anybody who reads this; that a
 * mutated input hits a tag of 64 bytes is as unlikely as before.
 */
#ifndef FUZZ_CHEAP_KEYS_H
#define FUZZ_CHEAP_KEYS_H

#include <sodium.h>
#include <stdint.h>
#include <string.h>

/* Random numbers from a counter, so that an input always takes the same way. */
static uint32_t cheap_counter;

static inline const char *
cheap_random_name(void)
{
    return "counter";
}

static inline uint32_t
cheap_random_next(void)
{
    return ++cheap_counter * 2654435761u;
}

static inline void
cheap_random_fill(void *const out, const size_t size)
{
    for (size_t i = 0; i < size; i++)
        ((uint8_t *)out)[i] = (uint8_t)(cheap_random_next() >> 24);
}

static inline void
cheap_random_install(void)
{
    static struct randombytes_implementation source = {
        .implementation_name = cheap_random_name,
        .random = cheap_random_next,
        .buf = cheap_random_fill,
    };
    if (randombytes_set_implementation(&source) != 0)
        __builtin_trap();
}

static inline void
cheap_random_restart(void)
{
    cheap_counter = 0;
}

/* Four numbers, multiplied each by its own; the last has 63 bits, as the top one of a key is 0. */
static void
cheap_multiply(uint8_t out[32], const uint8_t a[32], const uint8_t b[32])
{
    uint64_t x[4], y[4];
    memcpy(x, a, 32);
    memcpy(y, b, 32);
    for (int i = 0; i < 4; i++)
        x[i] *= y[i];
    x[3] &= UINT64_MAX >> 1;
    memcpy(out, x, 32);
}

int
crypto_scalarmult(unsigned char *out, const unsigned char *secret, const unsigned char *public_key)
{
    cheap_multiply(out, secret, public_key);
    return sodium_is_zero(out, 32) ? -1 : 0;
}

int
crypto_scalarmult_base(unsigned char *out, const unsigned char *secret)
{
    static const uint8_t base[32] = {0x25, [8] = 0x51, [16] = 0x93, [24] = 0x0b};
    cheap_multiply(out, secret, base);
    return 0;
}

int
crypto_box_keypair(unsigned char *public_key, unsigned char *secret)
{
    randombytes_buf(secret, 32);
    return crypto_scalarmult_base(public_key, secret);
}

int
crypto_sign_seed_keypair(unsigned char *public_key, unsigned char *secret,
                         const unsigned char *seed)
{
    memmove(secret, seed, 32);
    crypto_generichash(public_key, 32, secret, 32, NULL, 0);
    memcpy(secret + 32, public_key, 32);
    return 0;
}

int
crypto_core_ed25519_is_valid_point(const unsigned char *point)
{
    return !sodium_is_zero(point, 32);
}

static void
cheap_tag(uint8_t out[64], const uint8_t public_key[32], const uint8_t *text, size_t length)
{
    crypto_generichash(out, 64, text, length, public_key, 32);
}

int
crypto_sign_detached(unsigned char *signature, unsigned long long *length_out,
                     const unsigned char *text, unsigned long long length,
                     const unsigned char *secret)
{
    cheap_tag(signature, secret + 32, text, length);
    if (length_out)
        *length_out = 64;
    return 0;
}

int
crypto_sign_verify_detached(const unsigned char *signature, const unsigned char *text,
                            unsigned long long length, const unsigned char *public_key)
{
    uint8_t right[64];
    cheap_tag(right, public_key, text, length);
    return sodium_memcmp(right, signature, sizeof right);
}

#endif
