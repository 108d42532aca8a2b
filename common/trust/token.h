/* SPDX-License-Identifier: MIT */
/*
 * The one line that `cbx-hub invite` prints and `cbx-agent join` reads:
 * "cbx1_" + base64url of a msgpack array and a 4-byte checksum (PROTOCOL.md, "Token").
 */
#ifndef COMMON_TRUST_TOKEN_H
#define COMMON_TRUST_TOKEN_H

#include "common/base/err.h"
#include "common/trust/addresses.h"
#include "common/trust/identity.h"
#include "common/trust/trust.h"
#include <stddef.h>
#include <stdint.h>

enum {
    CBX_TOKEN_TEXT_MAX = 2048,
    CBX_TOKEN_ADDRESSES_MAX = CBX_ADDRESSES_MAX,
    CBX_USER_MAX = 32,
};

struct cbx_token {
    uint32_t address_count;
    char address[CBX_TOKEN_ADDRESSES_MAX][CBX_ADDRESS_TEXT_MAX]; /* "host:port", "[v6]:port" */
    uint8_t host_key_sha256[32]; /* of the hub's SSH host key blob */
    char user[CBX_USER_MAX + 1];
    uint8_t pond_public[32];
    uint8_t secret[CBX_SECRET_SIZE];
};

/* out is NUL-terminated. 0, CBX_ERR_LIMIT (too long in all), or CBX_ERR_FORMAT for fields that
 * cbx_token_parse would refuse. */
int cbx_token_format(const struct cbx_token *token, char out[CBX_TOKEN_TEXT_MAX]);

/* Leading and trailing white space is skipped. Errors say what is wrong without showing any part
 * of the token: truncated, a character changed (checksum), not a token, another version. */
int cbx_token_parse(const char *text, size_t length, struct cbx_token *out,
                    struct cbx_error *error);

void cbx_token_wipe(struct cbx_token *token);

/* The two keys of an invite (crypto_kdf, contexts "cbxlogin" and "cbxsign1"). */
void cbx_invite_keys(const uint8_t secret[CBX_SECRET_SIZE], struct cbx_keypair *login,
                     struct cbx_keypair *signing);

#endif
