/* SPDX-License-Identifier: MIT */
/*
 * The handshake state of Noise_KK_25519_ChaChaPoly_BLAKE2b, in the words of the Noise specification
 * (revision 34): SymmetricState is hash, chaining_key, key and nonce; the two messages are
 *
 *     -> s, <- s (known before)    message 1: e, es, ss    message 2: e, ee, se
 *
 * States are `step`: 0 and 1 wait for that message, DONE may be split, DEAD refuses everything.
 * Whose turn it is follows from step and initiator. Any failure after keys were touched wipes the
 * whole state, so that no second try can run on a half-mixed one. In both messages the payload
 * comes after an agreement, so it is always sealed, and the ephemeral key, which comes before,
 * never is.
 */
#include "common/crypto/noise.h"
#include "common/base/err.h"
#include <sodium.h>
#include <string.h>

enum { STEP_DONE = 2, STEP_DEAD = 3 };
enum { KEY = 32, HASH = 64, BLOCK = 128, TAG = 16 };

_Static_assert(CBX_NOISE_OVERHEAD == KEY + TAG, "e and one tag per message");
_Static_assert(HASH == crypto_generichash_BYTES_MAX, "BLAKE2b-512");
_Static_assert(TAG == crypto_aead_chacha20poly1305_ietf_ABYTES, "Poly1305 tag");

/* HMAC-BLAKE2b over first || second with a key of HASH bytes (RFC 2104; block of 128 bytes). */
static void
hmac(const uint8_t key[HASH], const uint8_t *first, size_t first_length, const uint8_t *second,
     size_t second_length, uint8_t out[HASH])
{
    crypto_generichash_state state;
    uint8_t block[BLOCK];
    uint8_t inner[HASH];
    for (size_t i = 0; i < BLOCK; i++)
        block[i] = (uint8_t)((i < HASH ? key[i] : 0) ^ 0x36);
    crypto_generichash_init(&state, NULL, 0, HASH);
    crypto_generichash_update(&state, block, BLOCK);
    crypto_generichash_update(&state, first, first_length);
    crypto_generichash_update(&state, second, second_length);
    crypto_generichash_final(&state, inner, HASH);
    for (size_t i = 0; i < BLOCK; i++)
        block[i] ^= 0x36 ^ 0x5c;
    crypto_generichash_init(&state, NULL, 0, HASH);
    crypto_generichash_update(&state, block, BLOCK);
    crypto_generichash_update(&state, inner, HASH);
    crypto_generichash_final(&state, out, HASH);
    sodium_memzero(&state, sizeof state);
    sodium_memzero(block, sizeof block);
    sodium_memzero(inner, sizeof inner);
}

/* HKDF with two outputs. first may be chaining_key itself. */
static void
hkdf(const uint8_t chaining_key[HASH], const uint8_t *input, size_t length, uint8_t first[HASH],
     uint8_t second[HASH])
{
    static const uint8_t one = 1;
    static const uint8_t two = 2;
    uint8_t temporary[HASH];
    hmac(chaining_key, input, length, NULL, 0, temporary);
    hmac(temporary, &one, 1, NULL, 0, first);
    hmac(temporary, first, HASH, &two, 1, second);
    sodium_memzero(temporary, sizeof temporary);
}

static void
mix_hash(struct cbx_noise *noise, const uint8_t *bytes, size_t length)
{
    crypto_generichash_state state;
    crypto_generichash_init(&state, NULL, 0, HASH);
    crypto_generichash_update(&state, noise->hash, HASH);
    crypto_generichash_update(&state, bytes, length);
    crypto_generichash_final(&state, noise->hash, HASH);
}

/* MixKey(DH(secret, public)). Fails when the agreement is all zero (a low-order public key). */
static int
mix_agreement(struct cbx_noise *noise, const uint8_t secret[KEY], const uint8_t public_key[KEY])
{
    uint8_t shared[KEY];
    uint8_t key[HASH];
    int code = CBX_ERR_AUTH;
    if (crypto_scalarmult(shared, secret, public_key) == 0) {
        hkdf(noise->chaining_key, shared, KEY, noise->chaining_key, key);
        memcpy(noise->key, key, KEY);
        noise->nonce = 0;
        noise->has_key = true;
        code = 0;
    }
    sodium_memzero(shared, sizeof shared);
    sodium_memzero(key, sizeof key);
    return code;
}

/*
 * The agreements of the message at hand: es and ss, then ee and se. Letters name the initiator's
 * key first, so the side decides which of our keys meets which of theirs.
 */
static int
mix_agreements(struct cbx_noise *noise)
{
    const uint8_t *first_secret = noise->ephemeral_secret;
    const uint8_t *first_public = noise->remote_ephemeral;
    const uint8_t *second_secret = noise->static_secret;
    const uint8_t *second_public = noise->remote_static;
    if (noise->step == 0 && noise->initiator)
        first_public = noise->remote_static;
    else if (noise->step == 0)
        first_secret = noise->static_secret;
    else if (noise->initiator)
        second_public = noise->remote_ephemeral;
    else
        second_secret = noise->ephemeral_secret;
    int code = mix_agreement(noise, first_secret, first_public);
    return code != 0 ? code : mix_agreement(noise, second_secret, second_public);
}

/* ChaChaPoly of Noise: 32 zero bits, then the counter little-endian. */
static void
make_nonce(uint64_t counter, uint8_t nonce[crypto_aead_chacha20poly1305_ietf_NPUBBYTES])
{
    memset(nonce, 0, 4);
    for (size_t i = 0; i < 8; i++)
        nonce[4 + i] = (uint8_t)(counter >> (8 * i));
}

static void
encrypt_and_hash(struct cbx_noise *noise, const uint8_t *text, size_t length, uint8_t *out)
{
    uint8_t nonce[crypto_aead_chacha20poly1305_ietf_NPUBBYTES];
    make_nonce(noise->nonce++, nonce);
    crypto_aead_chacha20poly1305_ietf_encrypt(out, NULL, text, length, noise->hash, HASH, NULL,
                                              nonce, noise->key);
    mix_hash(noise, out, length + TAG);
}

static int
decrypt_and_hash(struct cbx_noise *noise, const uint8_t *sealed, size_t length, uint8_t *out)
{
    uint8_t nonce[crypto_aead_chacha20poly1305_ietf_NPUBBYTES];
    make_nonce(noise->nonce++, nonce);
    if (crypto_aead_chacha20poly1305_ietf_decrypt(out, NULL, NULL, sealed, length, noise->hash,
                                                  HASH, nonce, noise->key) != 0)
        return CBX_ERR_AUTH;
    mix_hash(noise, sealed, length);
    return 0;
}

/* The initiator writes message 0 and reads message 1; the responder the other way round. */
static bool
my_turn(const struct cbx_noise *noise, bool writing)
{
    return noise->step < STEP_DONE && writing == (noise->initiator == (noise->step == 0));
}

void
cbx_noise_init(struct cbx_noise *noise, bool initiator, const uint8_t *prologue,
               size_t prologue_length, const uint8_t static_secret[32],
               const uint8_t static_public[32], const uint8_t remote_static[32])
{
    static const char name[] = "Noise_KK_25519_ChaChaPoly_BLAKE2b";
    _Static_assert(sizeof name - 1 <= HASH, "the name is padded, not hashed");
    memset(noise, 0, sizeof *noise);
    noise->initiator = initiator;
    memcpy(noise->static_secret, static_secret, KEY);
    memcpy(noise->static_public, static_public, KEY);
    memcpy(noise->remote_static, remote_static, KEY);
    memcpy(noise->hash, name, sizeof name - 1);
    memcpy(noise->chaining_key, noise->hash, HASH);
    mix_hash(noise, prologue, prologue_length);
    mix_hash(noise, initiator ? noise->static_public : noise->remote_static, KEY);
    mix_hash(noise, initiator ? noise->remote_static : noise->static_public, KEY);
}

void
cbx_noise_set_ephemeral(struct cbx_noise *noise, const uint8_t secret[32])
{
    memcpy(noise->ephemeral_secret, secret, KEY);
    crypto_scalarmult_base(noise->ephemeral_public, noise->ephemeral_secret);
}

int
cbx_noise_write(struct cbx_noise *noise, const uint8_t *payload, size_t payload_length,
                uint8_t *out)
{
    if (!my_turn(noise, true))
        return CBX_ERR_STATE;
    if (payload_length > CBX_NOISE_PAYLOAD_MAX)
        return CBX_ERR_FORMAT;
    /* A public key is never all zero, so this tells whether a test has pinned one. */
    if (sodium_is_zero(noise->ephemeral_public, KEY))
        crypto_box_keypair(noise->ephemeral_public, noise->ephemeral_secret);
    memcpy(out, noise->ephemeral_public, KEY);
    mix_hash(noise, out, KEY);
    int code = mix_agreements(noise);
    if (code != 0) {
        cbx_noise_wipe(noise);
        return code;
    }
    encrypt_and_hash(noise, payload, payload_length, out + KEY);
    noise->step++;
    return (int)(payload_length + CBX_NOISE_OVERHEAD);
}

int
cbx_noise_read(struct cbx_noise *noise, const uint8_t *message, size_t length, uint8_t *out)
{
    if (!my_turn(noise, false))
        return CBX_ERR_STATE;
    int code = CBX_ERR_FORMAT;
    if (length < CBX_NOISE_OVERHEAD || length > CBX_NOISE_OVERHEAD + CBX_NOISE_PAYLOAD_MAX)
        goto dead;
    memcpy(noise->remote_ephemeral, message, KEY);
    mix_hash(noise, message, KEY);
    code = mix_agreements(noise);
    if (code != 0)
        goto dead;
    code = decrypt_and_hash(noise, message + KEY, length - KEY, out);
    if (code != 0)
        goto dead;
    noise->step++;
    return (int)(length - CBX_NOISE_OVERHEAD);
dead:
    cbx_noise_wipe(noise);
    return code;
}

int
cbx_noise_split(const struct cbx_noise *noise, uint8_t send[32], uint8_t receive[32],
                uint8_t hash[64])
{
    if (noise->step != STEP_DONE)
        return CBX_ERR_STATE;
    uint8_t first[HASH];
    uint8_t second[HASH];
    hkdf(noise->chaining_key, NULL, 0, first, second);
    memcpy(send, noise->initiator ? first : second, KEY);
    memcpy(receive, noise->initiator ? second : first, KEY);
    if (hash)
        memcpy(hash, noise->hash, HASH);
    sodium_memzero(first, sizeof first);
    sodium_memzero(second, sizeof second);
    return 0;
}

void
cbx_noise_wipe(struct cbx_noise *noise)
{
    sodium_memzero(noise, sizeof *noise);
    noise->step = STEP_DEAD;
}
