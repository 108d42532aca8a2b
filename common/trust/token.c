/* SPDX-License-Identifier: MIT */
/* The token's array and checksum, written and read, and the invite's keys out of its secret. */
#include "common/trust/token.h"

#include "common/base/mpio.h"
#include "common/base/mpscan.h"

#include <sodium.h>
#include <string.h>

enum {
    PREFIX_LENGTH = 5,
    CHECKSUM_SIZE = 4,
    /* What fits behind the prefix in CBX_TOKEN_TEXT_MAX with its NUL. */
    BYTES_MAX = (CBX_TOKEN_TEXT_MAX - 1 - PREFIX_LENGTH) / 4 * 3,
};

/* Elements of a token's array, in their order. */
enum token_element {
    TOKEN_ADDRESSES,
    TOKEN_HOST_KEY,
    TOKEN_USER,
    TOKEN_POND,
    TOKEN_SECRET,
    TOKEN_ELEMENTS
};

static const char prefix[] = "cbx1_";
static const char checksum_context[] = "cbx token 1";

static void
checksum(const uint8_t *payload, size_t length, uint8_t out[CHECKSUM_SIZE])
{
    uint8_t hash[CBX_HASH_SIZE];
    crypto_generichash_state state;
    (void)crypto_generichash_init(&state, NULL, 0, sizeof hash);
    (void)crypto_generichash_update(&state, (const uint8_t *)checksum_context,
                                    sizeof checksum_context - 1);
    (void)crypto_generichash_update(&state, payload, length);
    (void)crypto_generichash_final(&state, hash, sizeof hash);
    memcpy(out, hash, CHECKSUM_SIZE);
    sodium_memzero(hash, sizeof hash);
    sodium_memzero(&state, sizeof state);
}

/* A leading "-" could be taken for an option by a program that is given the name. */
static bool
user_valid(const char *user)
{
    if (user[0] == '\0' || user[0] == '-')
        return false;
    for (; *user != '\0'; user++) {
        if (*user <= 0x20 || *user > 0x7e)
            return false;
    }
    return true;
}

static bool
token_valid(const struct cbx_token *token)
{
    if (token->address_count < 1 || token->address_count > CBX_TOKEN_ADDRESSES_MAX)
        return false;
    for (uint32_t i = 0; i < token->address_count; i++) {
        if (!cbx_address_valid(token->address[i]))
            return false;
    }
    return user_valid(token->user);
}

static void
pack(struct cbx_mpbuf *buffer, const struct cbx_token *token)
{
    msgpack_packer packer;
    msgpack_packer_init(&packer, buffer, cbx_mpbuf_write);
    msgpack_pack_array(&packer, TOKEN_ELEMENTS);
    msgpack_pack_array(&packer, token->address_count);
    for (uint32_t i = 0; i < token->address_count; i++)
        cbx_mp_pack_text(&packer, token->address[i]);
    cbx_mp_pack_bin(&packer, token->host_key_sha256, sizeof token->host_key_sha256);
    cbx_mp_pack_text(&packer, token->user);
    cbx_mp_pack_bin(&packer, token->pond_public, sizeof token->pond_public);
    cbx_mp_pack_bin(&packer, token->secret, sizeof token->secret);
}

int
cbx_token_format(const struct cbx_token *token, char out[CBX_TOKEN_TEXT_MAX])
{
    out[0] = '\0';
    if (!token_valid(token))
        return CBX_ERR_FORMAT;
    uint8_t bytes[BYTES_MAX];
    struct cbx_mpbuf buffer = {.bytes = bytes, .size = BYTES_MAX - CHECKSUM_SIZE};
    pack(&buffer, token);
    if (!buffer.full) {
        checksum(bytes, buffer.length, bytes + buffer.length);
        memcpy(out, prefix, PREFIX_LENGTH);
        (void)sodium_bin2base64(out + PREFIX_LENGTH, CBX_TOKEN_TEXT_MAX - PREFIX_LENGTH, bytes,
                                buffer.length + CHECKSUM_SIZE,
                                sodium_base64_VARIANT_URLSAFE_NO_PADDING);
    }
    sodium_memzero(bytes, sizeof bytes);
    return buffer.full ? CBX_ERR_LIMIT : 0;
}

static bool
is_space(char c)
{
    return c == ' ' || (c >= '\t' && c <= '\r');
}

/* What stands around it: space, a byte order mark that an editor put there, quotes of a shell. */
static void
trim(const char **text, size_t *length)
{
    static const char mark[] = "\xef\xbb\xbf";
    if (*length >= sizeof mark - 1 && memcmp(*text, mark, sizeof mark - 1) == 0) {
        *text += sizeof mark - 1;
        *length -= sizeof mark - 1;
    }
    while (*length > 0 && is_space((*text)[0])) {
        (*text)++;
        (*length)--;
    }
    while (*length > 0 && is_space((*text)[*length - 1]))
        (*length)--;
    char first = *length > 1 ? (*text)[0] : '\0';
    if ((first == '"' || first == '\'') && (*text)[*length - 1] == first) {
        (*text)++;
        *length -= 2;
    }
}

static int
check_prefix(const char *text, size_t length, struct cbx_error *error)
{
    if (length >= PREFIX_LENGTH && memcmp(text, prefix, PREFIX_LENGTH) == 0)
        return 0;
    size_t digits = 0;
    while (3 + digits < length && text[3 + digits] >= '0' && text[3 + digits] <= '9')
        digits++;
    if (length > 3 + digits && digits > 0 && memcmp(text, "cbx", 3) == 0 && text[3 + digits] == '_')
        return cbx_fail(error, CBX_ERR_FORMAT,
                        "the token is of another version; this cbx reads tokens that begin with "
                        "cbx1_");
    return cbx_fail(error, CBX_ERR_FORMAT,
                    "this is not a token; a token is the one line that cbx-hub invite prints and "
                    "begins with cbx1_");
}

/* Base64, then the checksum. The payload's own structure tells a token cut short from one with a
 * wrong character. */
static int
decode(const char *text, size_t length, uint8_t bytes[BYTES_MAX], size_t *payload_length,
       struct cbx_error *error)
{
    size_t size = 0;
    size_t walked = 0;
    for (size_t i = 0; i < length; i++) {
        if (is_space(text[i]))
            return cbx_fail(error, CBX_ERR_FORMAT,
                            "the token is broken over lines or holds a space; it is one line");
    }
    /* Some cut-off texts are not base64 at all: a last character alone, or with bits left over. */
    bool whole = sodium_base642bin(bytes, BYTES_MAX, text, length, NULL, &size, NULL,
                                   sodium_base64_VARIANT_URLSAFE_NO_PADDING) == 0;
    bool cut = cbx_mpscan(bytes, size, CBX_MP_ELEMENTS_MAX, 2, &walked) != 0 ||
               size < walked + CHECKSUM_SIZE;
    if (cut)
        return cbx_fail(error, CBX_ERR_FORMAT,
                        "the token is cut short or damaged; copy the whole line again");
    uint8_t sum[CHECKSUM_SIZE];
    checksum(bytes, size - CHECKSUM_SIZE, sum);
    if (!whole || sodium_memcmp(sum, bytes + size - CHECKSUM_SIZE, CHECKSUM_SIZE) != 0)
        return cbx_fail(error, CBX_ERR_FORMAT,
                        "the token does not match its checksum: a character was changed, added or "
                        "lost; copy the whole line again");
    *payload_length = size - CHECKSUM_SIZE;
    return 0;
}

static bool
read_addresses(const msgpack_object *object, struct cbx_token *out)
{
    if (object->type != MSGPACK_OBJECT_ARRAY || object->via.array.size > CBX_TOKEN_ADDRESSES_MAX)
        return false;
    for (uint32_t i = 0; i < object->via.array.size; i++) {
        if (!cbx_mp_text(&object->via.array.ptr[i], out->address[i], sizeof out->address[i]))
            return false;
    }
    out->address_count = object->via.array.size;
    return true;
}

static int
read_payload(const uint8_t *payload, size_t length, struct cbx_token *out, struct cbx_error *error)
{
    msgpack_zone zone;
    const msgpack_object *field;
    int result = cbx_mp_array(payload, length, TOKEN_ELEMENTS, 2, &zone, &field);
    if (result == CBX_ERR_NOMEM)
        return cbx_fail(error, result, "the token cannot be read: out of memory");
    if (result != 0)
        return cbx_fail(error, CBX_ERR_FORMAT, "the token is malformed");
    bool read =
        read_addresses(&field[TOKEN_ADDRESSES], out) &&
        cbx_mp_bin(&field[TOKEN_HOST_KEY], out->host_key_sha256, sizeof out->host_key_sha256) &&
        cbx_mp_text(&field[TOKEN_USER], out->user, sizeof out->user) &&
        cbx_mp_bin(&field[TOKEN_POND], out->pond_public, sizeof out->pond_public) &&
        cbx_mp_bin(&field[TOKEN_SECRET], out->secret, sizeof out->secret);
    msgpack_zone_destroy(&zone);
    if (!read || !token_valid(out))
        return cbx_fail(error, CBX_ERR_FORMAT, "the token is malformed");
    return 0;
}

int
cbx_token_parse(const char *text, size_t length, struct cbx_token *out, struct cbx_error *error)
{
    sodium_memzero(out, sizeof *out);
    trim(&text, &length);
    int result = check_prefix(text, length, error);
    if (result != 0)
        return result;
    if (length >= CBX_TOKEN_TEXT_MAX)
        return cbx_fail(error, CBX_ERR_FORMAT, "the token is too long");
    uint8_t bytes[BYTES_MAX];
    size_t payload_length = 0;
    result = decode(text + PREFIX_LENGTH, length - PREFIX_LENGTH, bytes, &payload_length, error);
    if (result == 0)
        result = read_payload(bytes, payload_length, out, error);
    sodium_memzero(bytes, sizeof bytes);
    if (result != 0)
        sodium_memzero(out, sizeof *out);
    return result;
}

void
cbx_token_wipe(struct cbx_token *token)
{
    sodium_memzero(token, sizeof *token);
}

void
cbx_invite_keys(const uint8_t secret[CBX_SECRET_SIZE], struct cbx_keypair *login,
                struct cbx_keypair *signing)
{
    uint8_t seed[32];
    (void)crypto_kdf_derive_from_key(seed, sizeof seed, 1, "cbxlogin", secret);
    cbx_keypair_from_seed(login, seed);
    (void)crypto_kdf_derive_from_key(seed, sizeof seed, 2, "cbxsign1", secret);
    cbx_keypair_from_seed(signing, seed);
    sodium_memzero(seed, sizeof seed);
}
