/* SPDX-License-Identifier: MIT */
#include "hub/login/host_key.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <sodium.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { BLOB_MAX = 512, COMMENT = 7 };

struct blob {
    uint8_t bytes[BLOB_MAX];
    size_t length;
};

static void
add(struct blob *blob, const void *bytes, size_t length)
{
    assert_true(blob->length + length <= sizeof blob->bytes);
    memcpy(blob->bytes + blob->length, bytes, length);
    blob->length += length;
}

static void
add_string(struct blob *blob, const void *bytes, size_t length)
{
    const uint8_t head[4] = {0, 0, (uint8_t)(length >> 8), (uint8_t)length};
    add(blob, head, sizeof head);
    add(blob, bytes, length);
}

/* What ssh-keygen writes for this key, up to the comment; a comment and padding follow. */
static struct blob
make(const uint8_t public_key[32], const uint8_t secret_key[64])
{
    struct blob whole = {0}, outer = {0}, inner = {0};
    static const uint8_t one[4] = {0, 0, 0, 1};
    add_string(&outer, "ssh-ed25519", 11);
    add_string(&outer, public_key, 32);
    add(&inner, "abcdabcd", 8);
    add(&inner, outer.bytes, outer.length);
    add_string(&inner, secret_key, 64);
    add_string(&inner, "cbx-hub", COMMENT);
    add(&whole, "openssh-key-v1", 15);
    add_string(&whole, "none", 4);
    add_string(&whole, "none", 4);
    add_string(&whole, "", 0);
    add(&whole, one, sizeof one);
    add_string(&whole, outer.bytes, outer.length);
    add_string(&whole, inner.bytes, inner.length);
    return whole;
}

static int
check(const struct blob *blob)
{
    char body[2 * BLOB_MAX], text[3 * BLOB_MAX];
    sodium_bin2base64(body, sizeof body, blob->bytes, blob->length, sodium_base64_VARIANT_ORIGINAL);
    int length = snprintf(text, sizeof text,
                          "-----BEGIN OPENSSH PRIVATE KEY-----\n%.70s\n%s\n"
                          "-----END OPENSSH PRIVATE KEY-----\n",
                          body, strlen(body) > 70 ? body + 70 : "");
    /* A copy of just this size, so that a read beyond it is found. */
    char *exact = malloc((size_t)length);
    assert_non_null(exact);
    memcpy(exact, text, (size_t)length);
    int result = host_key_check(exact, (size_t)length);
    for (int cut = 0; cut < length - 1; cut++)
        assert_int_equal(host_key_check(exact, (size_t)cut), CBX_ERR_FORMAT);
    free(exact);
    return result;
}

static struct blob
some_key(void)
{
    uint8_t seed[32] = {7}, public_key[32], secret_key[64];
    crypto_sign_seed_keypair(public_key, secret_key, seed);
    return make(public_key, secret_key);
}

static void
test_whole_key_is_taken(void **state)
{
    (void)state;
    struct blob blob = some_key();
    assert_int_equal(check(&blob), 0);
}

static void
test_flipped_byte_is_found_wherever_it_matters(void **state)
{
    (void)state;
    struct blob blob = some_key();
    for (size_t i = 0; i < blob.length - COMMENT - 4; i++) {
        blob.bytes[i] ^= 1;
        assert_int_equal(check(&blob), CBX_ERR_FORMAT);
        blob.bytes[i] ^= 1;
    }
}

static void
test_cut_key_is_found(void **state)
{
    (void)state;
    struct blob blob = some_key();
    for (size_t cut = 0; cut < blob.length; cut++) {
        struct blob part = blob;
        part.length = cut;
        assert_int_equal(check(&part), CBX_ERR_FORMAT);
    }
}

static void
test_halves_of_two_keys_are_no_key(void **state)
{
    (void)state;
    uint8_t one[32] = {1}, two[32] = {2}, public_key[32], other[32], secret_key[64];
    crypto_sign_seed_keypair(other, secret_key, two);
    crypto_sign_seed_keypair(public_key, secret_key, one);
    struct blob blob = make(other, secret_key);
    assert_int_equal(check(&blob), CBX_ERR_FORMAT);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_whole_key_is_taken),
        cmocka_unit_test(test_flipped_byte_is_found_wherever_it_matters),
        cmocka_unit_test(test_cut_key_is_found),
        cmocka_unit_test(test_halves_of_two_keys_are_no_key),
    };
    if (sodium_init() < 0)
        return 1;
    return cmocka_run_group_tests(tests, NULL, NULL);
}
