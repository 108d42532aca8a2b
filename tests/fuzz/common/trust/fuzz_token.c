/* SPDX-License-Identifier: MIT */
/*
 * Tokens as text, and (first byte odd) as a payload put behind a right checksum, which is the only
 * way past it. What parses must format to a text that parses to the same.
 */
#include "check.h"
#include "common/trust/token.h"

#include <sodium.h>
#include <string.h>

int LLVMFuzzerInitialize(int *argc, char ***argv);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

enum { PAYLOAD_MAX = 1500, CHECK_SIZE = 4 };

int
LLVMFuzzerInitialize(int *argc, char ***argv)
{
    (void)argc;
    (void)argv;
    check(sodium_init() >= 0);
    return 0;
}

static void
try_text(const char *text, size_t length)
{
    static struct cbx_token token, again;
    static char out[CBX_TOKEN_TEXT_MAX], out_again[CBX_TOKEN_TEXT_MAX];
    struct cbx_error error = {""};
    if (cbx_token_parse(text, length, &token, &error) < 0) {
        check(error.text[0] != '\0');
        return;
    }
    check(token.address_count >= 1 && token.address_count <= CBX_TOKEN_ADDRESSES_MAX);
    int result = cbx_token_format(&token, out);
    check(result == 0 || result == CBX_ERR_LIMIT);
    if (result == 0) {
        check(cbx_token_parse(out, strlen(out), &again, NULL) == 0);
        check(cbx_token_format(&again, out_again) == 0 && strcmp(out, out_again) == 0);
    }
    cbx_token_wipe(&token);
    cbx_token_wipe(&again);
}

static void
try_payload(const uint8_t *payload, size_t length)
{
    static char text[5 + 2 * PAYLOAD_MAX];
    uint8_t bytes[PAYLOAD_MAX + CHECK_SIZE], hash[32];
    crypto_generichash_state state;
    crypto_generichash_init(&state, NULL, 0, sizeof hash);
    crypto_generichash_update(&state, (const uint8_t *)"cbx token 1", 11);
    crypto_generichash_update(&state, payload, length);
    crypto_generichash_final(&state, hash, sizeof hash);
    if (length)
        memcpy(bytes, payload, length);
    memcpy(bytes + length, hash, CHECK_SIZE);
    memcpy(text, "cbx1_", 5);
    sodium_bin2base64(text + 5, sizeof text - 5, bytes, length + CHECK_SIZE,
                      sodium_base64_VARIANT_URLSAFE_NO_PADDING);
    try_text(text, strlen(text));
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size < 1)
        return 0;
    if (data[0] % 2 && size - 1 <= PAYLOAD_MAX)
        try_payload(data + 1, size - 1);
    else
        try_text((const char *)data + 1, size - 1);
    return 0;
}
