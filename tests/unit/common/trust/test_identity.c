/* SPDX-License-Identifier: MIT */
#include "common/trust/identity.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <sodium.h>
#include <string.h>

/* RFC 8032, 7.1, test 1. */
static const uint8_t seed[32] = {0x9d, 0x61, 0xb1, 0x9d, 0xef, 0xfd, 0x5a, 0x60, 0xba, 0x84, 0x4a,
                                 0xf4, 0x92, 0xec, 0x2c, 0xc4, 0x44, 0x49, 0xc5, 0x69, 0x7b, 0x32,
                                 0x69, 0x19, 0x70, 0x3b, 0xac, 0x03, 0x1c, 0xae, 0x7f, 0x60};
static const uint8_t public_key[32] = {
    0xd7, 0x5a, 0x98, 0x01, 0x82, 0xb1, 0x0a, 0xb7, 0xd5, 0x4b, 0xfe, 0xd3, 0xc9, 0x64, 0x07, 0x3a,
    0x0e, 0xe1, 0x72, 0xf3, 0xda, 0xa6, 0x23, 0x25, 0xaf, 0x02, 0x1a, 0x68, 0xf7, 0x07, 0x51, 0x1a};

/* What ssh-keygen -l says of that key. */
static const char fingerprint[] = "SHA256:bbXpuKG6zhzdmnxq256TlqzFBzRl2f6OOg722cYNbU8";

static void
a_seed_gives_the_published_key(void **state)
{
    (void)state;
    struct cbx_keypair pair;
    cbx_keypair_from_seed(&pair, seed);
    assert_memory_equal(pair.public_key, public_key, 32);
    assert_memory_equal(pair.secret_key, seed, 32);
    assert_memory_equal(pair.secret_key + 32, public_key, 32);
    cbx_keypair_wipe(&pair);
    assert_true(sodium_is_zero((const uint8_t *)&pair, sizeof pair));
}

static void
random_pairs_differ_and_sign(void **state)
{
    (void)state;
    struct cbx_keypair a;
    struct cbx_keypair b;
    uint8_t signature[CBX_SIGNATURE_SIZE];
    cbx_keypair_random(&a);
    cbx_keypair_random(&b);
    assert_memory_not_equal(&a, &b, sizeof a);
    assert_int_equal(crypto_sign_detached(signature, NULL, seed, 32, a.secret_key), 0);
    assert_int_equal(crypto_sign_verify_detached(signature, seed, 32, a.public_key), 0);
    assert_int_not_equal(crypto_sign_verify_detached(signature, seed, 32, b.public_key), 0);
}

static void
an_identity_holds_two_working_keys(void **state)
{
    (void)state;
    struct cbx_identity a;
    struct cbx_identity b;
    uint8_t ab[32];
    uint8_t ba[32];
    cbx_identity_random(&a);
    cbx_identity_random(&b);
    assert_int_equal(crypto_scalarmult(ab, a.exchange_secret, b.exchange_public), 0);
    assert_int_equal(crypto_scalarmult(ba, b.exchange_secret, a.exchange_public), 0);
    assert_memory_equal(ab, ba, 32);
    assert_memory_not_equal(a.sign.public_key, b.sign.public_key, 32);
}

static void
the_ssh_forms_are_those_of_openssh(void **state)
{
    (void)state;
    uint8_t blob[CBX_SSH_BLOB_SIZE];
    char line[84];
    char text[CBX_FINGERPRINT_TEXT_MAX];
    cbx_ssh_blob(public_key, blob);
    assert_memory_equal(blob, "\0\0\0\x0bssh-ed25519\0\0\0\x20", 19);
    assert_memory_equal(blob + 19, public_key, 32);
    cbx_ssh_line(public_key, line);
    assert_string_equal(
        line, "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAINdamAGCsQq31Uv+08lkBzoO4XLz2qYjJa8CGmj3B1Ea");
    cbx_ssh_fingerprint(public_key, text);
    assert_string_equal(text, fingerprint);
}

static void
a_hash_becomes_the_same_fingerprint(void **state)
{
    (void)state;
    uint8_t blob[CBX_SSH_BLOB_SIZE];
    uint8_t hash[32];
    char text[CBX_FINGERPRINT_TEXT_MAX];
    cbx_ssh_blob(public_key, blob);
    assert_int_equal(crypto_hash_sha256(hash, blob, sizeof blob), 0);
    cbx_fingerprint_text(hash, text);
    assert_string_equal(text, fingerprint);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_seed_gives_the_published_key),
        cmocka_unit_test(random_pairs_differ_and_sign),
        cmocka_unit_test(an_identity_holds_two_working_keys),
        cmocka_unit_test(the_ssh_forms_are_those_of_openssh),
        cmocka_unit_test(a_hash_becomes_the_same_fingerprint),
    };
    if (sodium_init() < 0)
        return 1;
    return cmocka_run_group_tests(tests, NULL, NULL);
}
