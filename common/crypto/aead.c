/* SPDX-License-Identifier: MIT */
/*
 * Record ciphers through libcrypto's EVP or gcm.c. An object has one slot per cipher and direction,
 * whatever the number of streams. A slot remembers which key its context holds:
 * records usually come in runs under one key, and expanding an AES key costs more than comparing 32
 * bytes. The remembered keys and the contexts' key schedules are wiped when the owner frees the
 * object. After the first use of a slot nothing is allocated.
 */
#include "common/crypto/aead.h"
#include "common/base/bytes.h"
#include "common/base/err.h"
#include "common/crypto/gcm.h"
#include <openssl/err.h>
#include <openssl/evp.h>
#include <sodium.h>
#include <stdlib.h>
#include <string.h>

enum { CIPHERS = 2 };

/* EVP counts in int; no record comes near this. */
static const size_t length_max = (size_t)1 << 30;

struct slot {
    EVP_CIPHER_CTX *context; /* NULL: gcm */
    struct cbx_gcm *gcm;
    bool keyed; /* it holds key */
    uint8_t key[CBX_AEAD_KEY];
};

struct cbx_aead {
    struct slot seal[CIPHERS];
    struct slot open[CIPHERS];
};

static bool
slot_init(struct slot *slot, const EVP_CIPHER *cipher, int sealing)
{
    slot->context = EVP_CIPHER_CTX_new();
    return slot->context != NULL &&
           EVP_CipherInit_ex(slot->context, cipher, NULL, NULL, NULL, sealing) == 1;
}

static void
slot_dispose(struct slot *slot)
{
    EVP_CIPHER_CTX_free(slot->context); /* both wipe the key schedule */
    cbx_gcm_free(slot->gcm);
    sodium_memzero(slot, sizeof *slot);
}

static bool
slots_init(struct slot slots[CIPHERS], int sealing, enum cbx_aes aes)
{
    bool done = aes == CBX_AES_IPSEC_MB ? (slots[0].gcm = cbx_gcm_new()) != NULL
                                        : slot_init(&slots[0], EVP_aes_256_gcm(), sealing);
    return done && slot_init(&slots[1], EVP_chacha20_poly1305(), sealing);
}

struct cbx_aead *
cbx_aead_new_with(enum cbx_aes aes)
{
    struct cbx_aead *aead = calloc(1, sizeof *aead);
    if (!aead)
        return NULL;
    if (!slots_init(aead->seal, 1, aes) || !slots_init(aead->open, 0, aes)) {
        cbx_aead_free(aead);
        return NULL;
    }
    return aead;
}

void
cbx_aead_free(struct cbx_aead *aead)
{
    if (!aead)
        return;
    for (size_t i = 0; i < CIPHERS; i++) {
        slot_dispose(&aead->seal[i]);
        slot_dispose(&aead->open[i]);
    }
    free(aead);
}

const char *
cbx_aes_name(enum cbx_aes aes)
{
    return aes == CBX_AES_IPSEC_MB ? "IPSec_MB" : "libcrypto";
}

const char *
cbx_cipher_name(enum cbx_cipher cipher)
{
    switch (cipher) {
    case CBX_CIPHER_NONE:
        return "none";
    case CBX_CIPHER_AES256GCM:
        return "aes-256-gcm";
    case CBX_CIPHER_CHACHA20POLY1305:
        return "chacha20-poly1305";
    }
    return "unknown";
}

static struct slot *
slot_of(struct slot slots[CIPHERS], enum cbx_cipher cipher)
{
    if (cipher == CBX_CIPHER_AES256GCM)
        return &slots[0];
    return cipher == CBX_CIPHER_CHACHA20POLY1305 ? &slots[1] : NULL;
}

/* In constant time, a word at a time: for each record libsodium's loop over bytes shows in
 * profiles. */
static bool
same_key(const uint8_t a[CBX_AEAD_KEY], const uint8_t b[CBX_AEAD_KEY])
{
    uint64_t differs = 0;
    for (size_t i = 0; i < CBX_AEAD_KEY; i += sizeof differs) {
        uint64_t x, y;
        memcpy(&x, a + i, sizeof x);
        memcpy(&y, b + i, sizeof y);
        differs |= x ^ y;
    }
    return differs == 0;
}

/* Readies the slot's context for one record: key if it changed, nonce, additional data. */
static bool
evp_begin(struct slot *slot, const uint8_t key[CBX_AEAD_KEY], const uint8_t nonce[CBX_AEAD_NONCE],
          const uint8_t *additional, size_t additional_length)
{
    bool same = slot->keyed && same_key(slot->key, key);
    slot->keyed = false; /* until the record is through: after a failure the context is suspect */
    if (EVP_CipherInit_ex(slot->context, NULL, NULL, same ? NULL : key, nonce, -1) != 1)
        return false;
    if (!same)
        memcpy(slot->key, key, CBX_AEAD_KEY);
    int written = 0;
    return additional_length == 0 ||
           EVP_CipherUpdate(slot->context, NULL, &written, additional, (int)additional_length) == 1;
}

/* In place; both ciphers give as many bytes as they take. */
static bool
evp_crypt(struct slot *slot, uint8_t *text, size_t length)
{
    int written = 0;
    return length == 0 ||
           (EVP_CipherUpdate(slot->context, text, &written, text, (int)length) == 1 &&
            (size_t)written == length);
}

static int
evp_seal(struct slot *slot, const uint8_t key[CBX_AEAD_KEY], const uint8_t nonce[CBX_AEAD_NONCE],
         const uint8_t *additional, size_t additional_length, uint8_t *text, size_t length)
{
    uint8_t *tag = text + length;
    int written = 0;
    if (!evp_begin(slot, key, nonce, additional, additional_length) ||
        !evp_crypt(slot, text, length) || EVP_CipherFinal_ex(slot->context, tag, &written) != 1 ||
        EVP_CIPHER_CTX_ctrl(slot->context, EVP_CTRL_AEAD_GET_TAG, CBX_AEAD_TAG, tag) != 1)
        return CBX_ERR_NOMEM;
    slot->keyed = true;
    return 0;
}

/* length without the tag, here and below. */
static int
evp_open(struct slot *slot, const uint8_t key[CBX_AEAD_KEY], const uint8_t nonce[CBX_AEAD_NONCE],
         const uint8_t *additional, size_t additional_length, uint8_t *text, size_t length)
{
    uint8_t *tag = text + length;
    if (!evp_begin(slot, key, nonce, additional, additional_length) ||
        EVP_CIPHER_CTX_ctrl(slot->context, EVP_CTRL_AEAD_SET_TAG, CBX_AEAD_TAG, tag) != 1 ||
        !evp_crypt(slot, text, length))
        return CBX_ERR_NOMEM;
    uint8_t nothing[CBX_AEAD_TAG]; /* both are stream ciphers: Final writes no text */
    int written = 0;
    if (EVP_CipherFinal_ex(slot->context, nothing, &written) != 1)
        return CBX_ERR_AUTH;
    slot->keyed = true;
    return 0;
}

/* Nothing in it fails, so the key stays good. */
static struct cbx_gcm *
gcm_keyed(struct slot *slot, const uint8_t key[CBX_AEAD_KEY])
{
    if (!slot->keyed || !same_key(slot->key, key)) {
        cbx_gcm_set_key(slot->gcm, key);
        memcpy(slot->key, key, CBX_AEAD_KEY);
        slot->keyed = true;
    }
    return slot->gcm;
}

static int
slot_open(struct slot *slot, const uint8_t key[CBX_AEAD_KEY], const uint8_t nonce[CBX_AEAD_NONCE],
          const uint8_t *additional, size_t additional_length, uint8_t *text, size_t length)
{
    if (!slot->gcm)
        return evp_open(slot, key, nonce, additional, additional_length, text, length);
    return cbx_gcm_open(gcm_keyed(slot, key), nonce, additional, additional_length, text, length,
                        text + length)
               ? CBX_OK
               : CBX_ERR_AUTH;
}

static void
nonce_of(uint64_t counter, uint8_t nonce[CBX_AEAD_NONCE])
{
    memset(nonce, 0, CBX_AEAD_NONCE);
    cbx_put_be64(nonce + CBX_AEAD_NONCE - 8, counter);
}

int
cbx_aead_seal(struct cbx_aead *aead, enum cbx_cipher cipher, const uint8_t key[CBX_AEAD_KEY],
              uint64_t counter, const uint8_t *additional, size_t additional_length, uint8_t *text,
              size_t length)
{
    struct slot *slot = slot_of(aead->seal, cipher);
    if (!slot || length > length_max || additional_length > length_max)
        return CBX_ERR_FORMAT;
    uint8_t nonce[CBX_AEAD_NONCE];
    nonce_of(counter, nonce);
    if (!slot->gcm)
        return evp_seal(slot, key, nonce, additional, additional_length, text, length);
    cbx_gcm_seal(gcm_keyed(slot, key), nonce, additional, additional_length, text, length,
                 text + length);
    return CBX_OK;
}

int
cbx_aead_open(struct cbx_aead *aead, enum cbx_cipher cipher, const uint8_t key[CBX_AEAD_KEY],
              uint64_t counter, const uint8_t *additional, size_t additional_length, uint8_t *text,
              size_t length)
{
    struct slot *slot = slot_of(aead->open, cipher);
    if (!slot || length > length_max || additional_length > length_max)
        return CBX_ERR_FORMAT;
    uint8_t nonce[CBX_AEAD_NONCE];
    nonce_of(counter, nonce);
    int result = CBX_ERR_AUTH;
    if (length >= CBX_AEAD_TAG)
        result =
            slot_open(slot, key, nonce, additional, additional_length, text, length - CBX_AEAD_TAG);
    if (result == CBX_OK)
        return CBX_OK;
    ERR_clear_error(); /* else a TLS user of this process could take our refusal for its own */
    if (length > 0)
        sodium_memzero(text, length);
    return result;
}
