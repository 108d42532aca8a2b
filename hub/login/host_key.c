/* SPDX-License-Identifier: MIT */
/* A bounded reader of OpenSSH's private key format, as far as the two halves of the key. */
#include "hub/login/host_key.h"
#include "common/base/bytes.h"
#include <sodium.h>
#include <stdbool.h>
#include <stdint.h>
#include <string.h>

static const char begin_line[] = "-----BEGIN OPENSSH PRIVATE KEY-----";
static const char end_line[] = "-----END OPENSSH PRIVATE KEY-----";
static const char magic[] = "openssh-key-v1"; /* with its NUL */

struct reader {
    const uint8_t *at, *end;
};

static bool
take_number(struct reader *reader, uint32_t *out)
{
    if (reader->end - reader->at < 4)
        return false;
    *out = cbx_get_be32(reader->at);
    reader->at += 4;
    return true;
}

static bool
take_string(struct reader *reader, struct reader *out)
{
    uint32_t length;
    if (!take_number(reader, &length) || length > (size_t)(reader->end - reader->at))
        return false;
    *out = (struct reader){.at = reader->at, .end = reader->at + length};
    reader->at += length;
    return true;
}

static bool
take_word(struct reader *reader, const char *word)
{
    struct reader got;
    return take_string(reader, &got) && (size_t)(got.end - got.at) == strlen(word) &&
           memcmp(got.at, word, strlen(word)) == 0;
}

static bool
take_bytes(struct reader *reader, size_t length, const uint8_t **out)
{
    struct reader got;
    if (!take_string(reader, &got) || (size_t)(got.end - got.at) != length)
        return false;
    *out = got.at;
    return true;
}

/* "ssh-ed25519", then the public key. */
static bool
take_public(struct reader *reader, const uint8_t **key)
{
    return take_word(reader, "ssh-ed25519") && take_bytes(reader, crypto_sign_PUBLICKEYBYTES, key);
}

static bool
halves_agree(const uint8_t *shown, const uint8_t *inner, const uint8_t *secret)
{
    uint8_t public_key[crypto_sign_PUBLICKEYBYTES], secret_key[crypto_sign_SECRETKEYBYTES];
    /* A secret key begins with its seed and ends with the public key. */
    bool good = crypto_sign_seed_keypair(public_key, secret_key, secret) == 0 &&
                sodium_memcmp(secret_key, secret, sizeof secret_key) == 0 &&
                memcmp(public_key, shown, sizeof public_key) == 0 &&
                memcmp(public_key, inner, sizeof public_key) == 0;
    sodium_memzero(secret_key, sizeof secret_key);
    return good;
}

static bool
check_blob(const uint8_t *blob, size_t length)
{
    struct reader reader = {.at = blob, .end = blob + length}, outer, inner, options;
    uint32_t keys, first, second;
    const uint8_t *shown, *public_key, *secret;
    if (length < sizeof magic || memcmp(blob, magic, sizeof magic) != 0)
        return false;
    reader.at += sizeof magic;
    if (!take_word(&reader, "none")) /* no cipher */
        return false;
    if (!take_word(&reader, "none")) /* no passphrase */
        return false;
    return take_string(&reader, &options) && take_number(&reader, &keys) && keys == 1 &&
           take_string(&reader, &outer) && take_public(&outer, &shown) &&
           take_string(&reader, &inner) && take_number(&inner, &first) &&
           take_number(&inner, &second) && first == second && take_public(&inner, &public_key) &&
           take_bytes(&inner, crypto_sign_SECRETKEYBYTES, &secret) &&
           halves_agree(shown, public_key, secret);
}

int
host_key_check(const char *text, size_t length)
{
    uint8_t blob[HOST_KEY_FILE_MAX];
    size_t used = 0;
    const char *end = NULL;
    if (length <= sizeof begin_line || memcmp(text, begin_line, sizeof begin_line - 1) != 0)
        return CBX_ERR_FORMAT;
    const char *body = text + sizeof begin_line - 1;
    bool good = sodium_base642bin(blob, sizeof blob, body, length - (size_t)(body - text), " \r\n",
                                  &used, &end, sodium_base64_VARIANT_ORIGINAL) == 0 &&
                (size_t)(text + length - end) >= sizeof end_line - 1 &&
                memcmp(end, end_line, sizeof end_line - 1) == 0 && check_blob(blob, used);
    sodium_memzero(blob, sizeof blob);
    return good ? 0 : CBX_ERR_FORMAT;
}
