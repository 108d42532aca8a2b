/* SPDX-License-Identifier: MIT */
/*
 * Certificates and chains. The first byte picks: bytes as they are; an invite's body signed by the
 * pond key, then signed again from its fields; a peer's body signed by both keys under a good
 * invite. Signing is the only way past the signature to the decoder.
 */
#include "cheap_keys.h"
#include "check.h"
#include "common/trust/trust.h"

#include <sodium.h>
#include <string.h>

int LLVMFuzzerInitialize(int *argc, char ***argv);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static const int64_t now = 1700000000;
static struct cbx_keypair pond, signing, identity;
static struct cbx_cert invite;

int
LLVMFuzzerInitialize(int *argc, char ***argv)
{
    (void)argc;
    (void)argv;
    check(sodium_init() >= 0);
    uint8_t seed[32] = "seed";
    cbx_keypair_from_seed(&pond, seed);
    seed[31] = 1;
    cbx_keypair_from_seed(&signing, seed);
    seed[31] = 2;
    cbx_keypair_from_seed(&identity, seed);
    struct cbx_invite_cert fields = {.pond = "demo",
                                     .slug = "web",
                                     .uses = 1,
                                     .serial = 5,
                                     .issued = now - 60,
                                     .join_by = now + 900,
                                     .ends = now + 86400};
    memcpy(fields.signing_key, signing.public_key, 32);
    check(cbx_expose_add(&fields.expose, "8080,5432=10.83.0.7:5432", NULL) == 0);
    check(cbx_invite_cert_sign(&fields, &pond, &invite) == 0);
    return 0;
}

static size_t
sign(uint8_t *bytes, size_t length, const struct cbx_keypair *key, size_t body)
{
    crypto_sign_detached(bytes + length, NULL, bytes, body, key->secret_key);
    return length + CBX_SIGNATURE_SIZE;
}

static void
try_raw(const uint8_t *data, size_t size)
{
    static struct cbx_invite_cert invite_out;
    static struct cbx_peer_cert peer_out;
    static struct cbx_cert first, second;
    cbx_invite_cert_open(data, size, pond.public_key, &invite_out, NULL);
    first.length = (uint16_t)(size / 2 < CBX_CERT_MAX ? size / 2 : CBX_CERT_MAX);
    second.length =
        (uint16_t)(size - first.length < CBX_CERT_MAX ? size - first.length : CBX_CERT_MAX);
    memcpy(first.bytes, data, first.length);
    memcpy(second.bytes, data + first.length, second.length);
    check(cbx_chain_open(&first, &second, pond.public_key, now, &invite_out, &peer_out, NULL) < 0);
}

static void
try_invite(const uint8_t *data, size_t size)
{
    static uint8_t bytes[CBX_CERT_MAX];
    static struct cbx_invite_cert fields, fields_again;
    static struct cbx_cert again, third;
    memcpy(bytes, "cbx invite 1", 12);
    memcpy(bytes + 12, data, size);
    size_t length = sign(bytes, 12 + size, &pond, 12 + size);
    if (cbx_invite_cert_open(bytes, length, pond.public_key, &fields, NULL) < 0)
        return;
    check(cbx_slug_valid(fields.pond, strlen(fields.pond)));
    check((fields.slug[0] == '\0') != (fields.role[0] == '\0'));
    check(cbx_invite_cert_sign(&fields, &pond, &again) == 0);
    check(cbx_invite_cert_open(again.bytes, again.length, pond.public_key, &fields_again, NULL) ==
          0);
    check(cbx_invite_cert_sign(&fields_again, &pond, &third) == 0);
    check(third.length == again.length && memcmp(third.bytes, again.bytes, third.length) == 0);
}

static void
try_peer(const uint8_t *data, size_t size)
{
    static struct cbx_cert peer;
    static struct cbx_peer_cert fields;
    memcpy(peer.bytes, "cbx peer 1", 10);
    memcpy(peer.bytes + 10, data, size);
    size_t length = sign(peer.bytes, 10 + size, &signing, 10 + size);
    peer.length = (uint16_t)sign(peer.bytes, length, &identity, 10 + size);
    if (cbx_chain_open(&invite, &peer, pond.public_key, now, NULL, &fields, NULL) < 0)
        return;
    check(strcmp(fields.pond, "demo") == 0 && strcmp(fields.slug, "web") == 0);
    check(memcmp(fields.identity, identity.public_key, 32) == 0);
    check(fields.ends <= now + 86400);
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size < 1 || size > CBX_CERT_MAX - 12 - 2 * CBX_SIGNATURE_SIZE)
        return 0;
    if (data[0] % 3 == 0)
        try_raw(data + 1, size - 1);
    else if (data[0] % 3 == 1)
        try_invite(data + 1, size - 1);
    else
        try_peer(data + 1, size - 1);
    return 0;
}
