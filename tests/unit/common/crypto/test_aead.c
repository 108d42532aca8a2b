/* SPDX-License-Identifier: MIT */
#include "common/base/err.h"
#include "common/crypto/aead_choice.h"
#include "common/crypto/cpu.h"
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <openssl/crypto.h>
#include <sodium.h>
#include <stdlib.h>
#include <string.h>

enum { RECORD = 64 * 1024 };

static const enum cbx_cipher both[] = {CBX_CIPHER_AES256GCM, CBX_CIPHER_CHACHA20POLY1305};
static const uint8_t header[13] = "the header 13";

/* libcrypto's allocations are counted, to show that a record costs none, and can be made to fail.
 */
static size_t allocations;
static size_t failing_from = SIZE_MAX;

static void *
counting_malloc(size_t size, const char *file, int line)
{
    (void)file;
    (void)line;
    return allocations++ >= failing_from ? NULL : malloc(size);
}

static void *
counting_realloc(void *old, size_t size, const char *file, int line)
{
    (void)file;
    (void)line;
    return allocations++ >= failing_from ? NULL : realloc(old, size);
}

static void
counting_free(void *old, const char *file, int line)
{
    (void)file;
    (void)line;
    free(old);
}

/* The tests of a group run with this one. */
static enum cbx_aes engine;

static int
make(void **state)
{
    *state = cbx_aead_new_with(engine);
    return *state == NULL ? -1 : 0;
}

static int
unmake(void **state)
{
    cbx_aead_free(*state);
    return 0;
}

static void
check_hex(const uint8_t *bytes, size_t length, const char *expected)
{
    char text[257];
    assert_true(length * 2 < sizeof text);
    sodium_bin2hex(text, sizeof text, bytes, length);
    assert_string_equal(text, expected);
}

/* Cases 13 and 14 of the GCM specification (McGrew and Viega): key, nonce and text all zero. */
static void
aes_gcm_gives_the_published_bytes(void **state)
{
    static const uint8_t key[32];
    uint8_t text[32] = {0};
    assert_int_equal(cbx_aead_seal(*state, CBX_CIPHER_AES256GCM, key, 0, NULL, 0, text, 0), 0);
    check_hex(text, 16, "530f8afbc74536b9a963b4f1c4cb738b");
    memset(text, 0, sizeof text);
    assert_int_equal(cbx_aead_seal(*state, CBX_CIPHER_AES256GCM, key, 0, NULL, 0, text, 16), 0);
    check_hex(text, 32, "cea7403d4d606b6e074ec5d3baf39d18d0d1c8a799996bf0265b98b5d48ab919");
}

/* Another implementation, with the nonce built by hand, is the judge of layout and byte order. */
static void
both_ciphers_agree_with_libsodium(void **state)
{
    static const uint8_t nonce[12] = {0, 0, 0, 0, 1, 2, 3, 4, 5, 6, 7, 8};
    const uint64_t counter = 0x0102030405060708;
    uint8_t key[32];
    uint8_t plain[1000];
    uint8_t text[sizeof plain + CBX_AEAD_TAG];
    uint8_t expected[sizeof text];
    randombytes_buf(key, sizeof key);
    randombytes_buf(plain, sizeof plain);
    for (size_t length = 0; length <= sizeof plain; length += 125) {
        memcpy(text, plain, length);
        assert_int_equal(cbx_aead_seal(*state, CBX_CIPHER_CHACHA20POLY1305, key, counter, header,
                                       sizeof header, text, length),
                         0);
        crypto_aead_chacha20poly1305_ietf_encrypt(expected, NULL, plain, length, header,
                                                  sizeof header, NULL, nonce, key);
        assert_memory_equal(text, expected, length + CBX_AEAD_TAG);
        if (!crypto_aead_aes256gcm_is_available())
            continue;
        memcpy(text, plain, length);
        assert_int_equal(cbx_aead_seal(*state, CBX_CIPHER_AES256GCM, key, counter, header,
                                       sizeof header, text, length),
                         0);
        crypto_aead_aes256gcm_encrypt(expected, NULL, plain, length, header, sizeof header, NULL,
                                      nonce, key);
        assert_memory_equal(text, expected, length + CBX_AEAD_TAG);
    }
}

static void
what_is_sealed_opens_in_place(void **state)
{
    uint8_t *plain = malloc(RECORD);
    uint8_t *text = malloc(RECORD + CBX_AEAD_TAG);
    uint8_t key[32] = {9};
    static const size_t sizes[] = {0, 1, 15, 16, 17, 4096, RECORD};
    assert_non_null(plain);
    assert_non_null(text);
    randombytes_buf(plain, RECORD);
    for (size_t c = 0; c < 2; c++)
        for (size_t i = 0; i < sizeof sizes / sizeof sizes[0]; i++) {
            memcpy(text, plain, sizes[i]);
            assert_int_equal(
                cbx_aead_seal(*state, both[c], key, i, header, sizeof header, text, sizes[i]), 0);
            assert_int_equal(cbx_aead_open(*state, both[c], key, i, header, sizeof header, text,
                                           sizes[i] + CBX_AEAD_TAG),
                             0);
            assert_memory_equal(text, plain, sizes[i]);
        }
    free(plain);
    free(text);
}

static void
a_flipped_byte_anywhere_is_refused_and_zeroed(void **state)
{
    static const uint8_t key[32] = {1, 2, 3};
    uint8_t sealed[40 + CBX_AEAD_TAG];
    for (size_t c = 0; c < 2; c++) {
        memset(sealed, 'x', sizeof sealed);
        assert_int_equal(cbx_aead_seal(*state, both[c], key, 5, header, sizeof header, sealed, 40),
                         0);
        for (size_t i = 0; i < sizeof sealed; i++) {
            uint8_t text[sizeof sealed];
            memcpy(text, sealed, sizeof text);
            text[i] ^= 0x10;
            assert_int_equal(
                cbx_aead_open(*state, both[c], key, 5, header, sizeof header, text, sizeof text),
                CBX_ERR_AUTH);
            assert_true(sodium_is_zero(text, sizeof text));
        }
    }
}

static void
another_header_counter_key_or_cipher_is_refused(void **state)
{
    static const uint8_t key[32] = {1};
    static const uint8_t other[32] = {2};
    struct {
        size_t cipher;
        const uint8_t *key;
        uint64_t counter;
        size_t header;
    } wrong[] = {
        {0, key, 5, sizeof header - 1},
        {0, key, 6, sizeof header},
        {0, key, 5 + ((uint64_t)1 << 32), sizeof header},
        {0, other, 5, sizeof header},
        {1, key, 5, sizeof header},
        {0, key, 5, 0},
    };
    uint8_t text[32 + CBX_AEAD_TAG];
    for (size_t c = 0; c < 2; c++)
        for (size_t i = 0; i < sizeof wrong / sizeof wrong[0]; i++) {
            memset(text, 0, sizeof text);
            assert_int_equal(
                cbx_aead_seal(*state, both[c], key, 5, header, sizeof header, text, 32), 0);
            assert_int_equal(cbx_aead_open(*state, both[(c + wrong[i].cipher) % 2], wrong[i].key,
                                           wrong[i].counter, header, wrong[i].header, text,
                                           sizeof text),
                             CBX_ERR_AUTH);
        }
}

static void
every_truncation_is_refused(void **state)
{
    static const uint8_t key[32] = {1};
    uint8_t sealed[20 + CBX_AEAD_TAG] = {0};
    for (size_t c = 0; c < 2; c++) {
        memset(sealed, 0, sizeof sealed);
        assert_int_equal(cbx_aead_seal(*state, both[c], key, 0, NULL, 0, sealed, 20), 0);
        for (size_t cut = 0; cut < sizeof sealed; cut++) {
            uint8_t text[sizeof sealed];
            memcpy(text, sealed, sizeof text);
            assert_int_equal(cbx_aead_open(*state, both[c], key, 0, NULL, 0, text, cut),
                             CBX_ERR_AUTH);
        }
    }
}

/* The remembered key must never serve a record of another key, nor survive a failure wrongly. */
static void
keys_may_alternate_and_failures_between_do_no_harm(void **state)
{
    uint8_t key[2][32] = {{1}, {1, [31] = 1}};
    uint8_t text[2][64 + CBX_AEAD_TAG];
    for (size_t c = 0; c < 2; c++)
        for (uint64_t counter = 0; counter < 8; counter++) {
            for (size_t k = 0; k < 2; k++) {
                memset(text[k], (int)counter, 64);
                assert_int_equal(
                    cbx_aead_seal(*state, both[c], key[k], counter, NULL, 0, text[k], 64), 0);
            }
            assert_memory_not_equal(text[0], text[1], 64);
            uint8_t bad[64 + CBX_AEAD_TAG];
            memcpy(bad, text[0], sizeof bad);
            assert_int_equal(
                cbx_aead_open(*state, both[c], key[1], counter, NULL, 0, bad, sizeof bad),
                CBX_ERR_AUTH);
            for (size_t k = 0; k < 2; k++) {
                assert_int_equal(cbx_aead_open(*state, both[c], key[k], counter, NULL, 0, text[k],
                                               sizeof text[k]),
                                 0);
                assert_int_equal(text[k][63], counter);
            }
        }
}

static void
an_unknown_cipher_is_refused(void **state)
{
    static const uint8_t key[32];
    uint8_t text[32] = {0};
    static const enum cbx_cipher unknown[] = {CBX_CIPHER_NONE, (enum cbx_cipher)3,
                                              (enum cbx_cipher)255};
    for (size_t i = 0; i < 3; i++) {
        assert_int_equal(cbx_aead_seal(*state, unknown[i], key, 0, NULL, 0, text, 16),
                         CBX_ERR_FORMAT);
        assert_int_equal(cbx_aead_open(*state, unknown[i], key, 0, NULL, 0, text, 32),
                         CBX_ERR_FORMAT);
    }
}

static void
a_record_costs_no_allocation(void **state)
{
    uint8_t key[2][32] = {{1}, {2}};
    uint8_t *text = calloc(1, RECORD + CBX_AEAD_TAG);
    assert_non_null(text);
    size_t before = 0;
    for (uint64_t counter = 0; counter < 6; counter++) {
        if (counter == 2)
            before = allocations;
        for (size_t c = 0; c < 2; c++) {
            const uint8_t *k = key[counter % 2];
            assert_int_equal(cbx_aead_seal(*state, both[c], k, counter, header, 13, text, RECORD),
                             0);
            assert_int_equal(
                cbx_aead_open(*state, both[c], k, counter, header, 13, text, RECORD + CBX_AEAD_TAG),
                0);
        }
    }
    assert_true(before > 0);
    assert_int_equal(allocations, before);
    free(text);
}

static void
without_memory_there_is_no_object_and_no_crash(void **state)
{
    (void)state;
    struct cbx_aead *aead = NULL;
    size_t refused = 0;
    for (size_t granted = 0; aead == NULL && granted < 100; granted++) {
        failing_from = allocations + granted;
        aead = cbx_aead_new_with(engine);
        failing_from = SIZE_MAX;
        refused += aead == NULL;
    }
    assert_non_null(aead);
    /* A context of libcrypto per cipher and direction. */
    assert_true(refused >= (engine == CBX_AES_LIBCRYPTO ? 4 : 2));
    cbx_aead_free(aead);
}

static void
names_are_told(void **state)
{
    (void)state;
    assert_string_equal(cbx_cipher_name(CBX_CIPHER_AES256GCM), "aes-256-gcm");
    assert_string_equal(cbx_cipher_name(CBX_CIPHER_CHACHA20POLY1305), "chacha20-poly1305");
    assert_string_equal(cbx_cipher_name(CBX_CIPHER_NONE), "none");
    assert_string_equal(cbx_cipher_name((enum cbx_cipher)77), "unknown");
}

static void
hardware_aes_is_seen_where_libsodium_sees_it(void **state)
{
    (void)state;
    if (crypto_aead_aes256gcm_is_available())
        assert_true(cbx_cpu_has_aes());
}

static void
the_preferred_cipher_is_measured_once(void **state)
{
    (void)state;
    enum cbx_cipher preferred = cbx_aead_preferred();
    assert_true(preferred == CBX_CIPHER_AES256GCM || preferred == CBX_CIPHER_CHACHA20POLY1305);
    if (!cbx_cpu_has_aes())
        assert_int_equal(preferred, CBX_CIPHER_CHACHA20POLY1305);
    size_t before = allocations;
    assert_int_equal(cbx_aead_preferred(), preferred);
    assert_int_equal(allocations, before);
}

static void
a_speed_is_measured_or_said_to_be_unknown(void **state)
{
    (void)state;
    for (size_t i = 0; i < 2; i++)
        assert_true(cbx_aead_speed(both[i], RECORD, 1, 0) > 0);
    assert_int_equal(cbx_aead_speed(CBX_CIPHER_NONE, RECORD, 1, 0), 0);
    failing_from = 0;
    uint64_t without_memory = cbx_aead_speed(CBX_CIPHER_AES256GCM, RECORD, 1, 0);
    failing_from = SIZE_MAX;
    assert_int_equal(without_memory, 0);
}

/* Every length up to beyond the vector code's widest step, then a record's; any additional data. */
static void
both_engines_give_and_take_the_same_bytes(void **state)
{
    struct cbx_aead *other = cbx_aead_new_with(CBX_AES_LIBCRYPTO);
    uint8_t *plain = malloc(RECORD);
    uint8_t *text = malloc(RECORD + CBX_AEAD_TAG);
    uint8_t *expected = malloc(RECORD + CBX_AEAD_TAG);
    uint8_t key[32], additional[150];
    assert_true(other && plain && text && expected);
    randombytes_buf(plain, RECORD);
    randombytes_buf(additional, sizeof additional);
    for (size_t i = 0; i < 1100; i++) {
        size_t length = i < 1090 ? i : RECORD - randombytes_uniform(40);
        size_t heads = i % (sizeof additional + 1);
        uint64_t counter = (uint64_t)i << 30;
        if (i % 3 == 0)
            randombytes_buf(key, sizeof key);
        memcpy(text, plain, length);
        memcpy(expected, plain, length);
        assert_int_equal(cbx_aead_seal(*state, CBX_CIPHER_AES256GCM, key, counter, additional,
                                       heads, text, length),
                         0);
        assert_int_equal(cbx_aead_seal(other, CBX_CIPHER_AES256GCM, key, counter, additional, heads,
                                       expected, length),
                         0);
        assert_memory_equal(text, expected, length + CBX_AEAD_TAG);
        assert_int_equal(cbx_aead_open(*state, CBX_CIPHER_AES256GCM, key, counter, additional,
                                       heads, text, length + CBX_AEAD_TAG),
                         0);
        assert_memory_equal(text, plain, length);
    }
    free(plain);
    free(text);
    free(expected);
    cbx_aead_free(other);
}

static void
the_engine_is_one_that_is_here(void **state)
{
    (void)state;
    struct cbx_aead *aead = cbx_aead_new_with(cbx_aes_preferred());
    assert_non_null(aead);
    cbx_aead_free(aead);
    assert_string_equal(cbx_aes_name(CBX_AES_LIBCRYPTO), "libcrypto");
    assert_string_equal(cbx_aes_name(CBX_AES_IPSEC_MB), "IPSec_MB");
}

static void
freeing_nothing_is_fine(void **state)
{
    (void)state;
    cbx_aead_free(NULL);
}

int
main(void)
{
    const struct CMUnitTest with_each[] = {
        cmocka_unit_test(aes_gcm_gives_the_published_bytes),
        cmocka_unit_test(both_ciphers_agree_with_libsodium),
        cmocka_unit_test(what_is_sealed_opens_in_place),
        cmocka_unit_test(a_flipped_byte_anywhere_is_refused_and_zeroed),
        cmocka_unit_test(another_header_counter_key_or_cipher_is_refused),
        cmocka_unit_test(every_truncation_is_refused),
        cmocka_unit_test(keys_may_alternate_and_failures_between_do_no_harm),
        cmocka_unit_test(an_unknown_cipher_is_refused),
        cmocka_unit_test(a_record_costs_no_allocation),
        cmocka_unit_test(without_memory_there_is_no_object_and_no_crash),
        cmocka_unit_test(both_engines_give_and_take_the_same_bytes),
    };
    const struct CMUnitTest once[] = {
        cmocka_unit_test(names_are_told),
        cmocka_unit_test(hardware_aes_is_seen_where_libsodium_sees_it),
        cmocka_unit_test(the_preferred_cipher_is_measured_once),
        cmocka_unit_test(a_speed_is_measured_or_said_to_be_unknown),
        cmocka_unit_test(freeing_nothing_is_fine),
        cmocka_unit_test(the_engine_is_one_that_is_here),
    };
    if (sodium_init() < 0 ||
        CRYPTO_set_mem_functions(counting_malloc, counting_realloc, counting_free) != 1)
        return 1;
    int failed = cmocka_run_group_tests(with_each, make, unmake);
    struct cbx_aead *vector = cbx_aead_new_with(CBX_AES_IPSEC_MB);
    if (vector != NULL) {
        cbx_aead_free(vector);
        engine = CBX_AES_IPSEC_MB;
        failed += cmocka_run_group_tests_name("with_ipsec_mb", with_each, make, unmake);
        engine = CBX_AES_LIBCRYPTO;
    }
    return failed + cmocka_run_group_tests(once, NULL, NULL);
}
