/* SPDX-License-Identifier: MIT */
#include "common/base/mpio.h"
#include "common/trust/token.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <sodium.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define SET(field, text) ((void)snprintf((field), sizeof(field), "%s", (text)))

static struct cbx_token
sample(void)
{
    struct cbx_token token = {.address_count = 2, .user = "cbx"};
    SET(token.address[0], "hub.example.com:7000");
    SET(token.address[1], "[fd00::1]:7000");
    memset(token.host_key_sha256, 1, 32);
    memset(token.pond_public, 2, 32);
    memset(token.secret, 3, 32);
    return token;
}

static int
parse(const char *text, size_t length, struct cbx_error *error)
{
    struct cbx_token out;
    /* A copy of exactly this size shows any read behind it. */
    char *copy = malloc(length + (length == 0));
    assert_non_null(copy);
    memcpy(copy, text, length);
    memset(error, 0, sizeof *error);
    int result = cbx_token_parse(copy, length, &out, error);
    free(copy);
    if (result != 0) {
        assert_true(sodium_is_zero((const uint8_t *)&out, sizeof out));
        assert_string_not_equal(error->text, "");
    }
    return result;
}

static void
expect_refused(const char *text, const char *words)
{
    struct cbx_error error;
    assert_int_equal(parse(text, strlen(text), &error), CBX_ERR_FORMAT);
    assert_non_null(strstr(error.text, words));
}

/* Any bytes as a token with a right checksum. */
static void
wrap(const uint8_t *payload, size_t length, char out[CBX_TOKEN_TEXT_MAX])
{
    uint8_t bytes[11 + CBX_TOKEN_TEXT_MAX];
    uint8_t hash[32];
    assert_true(length + 4 < CBX_TOKEN_TEXT_MAX / 4 * 3);
    memcpy(bytes, "cbx token 1", 11);
    memcpy(bytes + 11, payload, length);
    (void)crypto_generichash(hash, 32, bytes, 11 + length, NULL, 0);
    memcpy(bytes + 11 + length, hash, 4);
    memcpy(out, "cbx1_", 5);
    (void)sodium_bin2base64(out + 5, CBX_TOKEN_TEXT_MAX - 5, bytes + 11, length + 4,
                            sodium_base64_VARIANT_URLSAFE_NO_PADDING);
}

static void
a_token_comes_back_whole(void **state)
{
    (void)state;
    struct cbx_token token = sample();
    struct cbx_token again;
    char text[CBX_TOKEN_TEXT_MAX];
    assert_int_equal(cbx_token_format(&token, text), 0);
    assert_int_equal(cbx_token_parse(text, strlen(text), &again, NULL), 0);
    assert_memory_equal(&again, &token, sizeof token);
}

static void
the_text_is_that_of_the_protocol(void **state)
{
    (void)state;
    struct cbx_token token = sample();
    char text[CBX_TOKEN_TEXT_MAX];
    char wanted[CBX_TOKEN_TEXT_MAX];
    uint8_t payload[256] = {0};
    struct cbx_mpbuf buffer = {.bytes = payload, .size = sizeof payload};
    cbx_mpbuf_add(&buffer, "\x95\x92\xb4hub.example.com:7000\xae[fd00::1]:7000\xc4\x20", 40);
    cbx_mpbuf_add(&buffer, token.host_key_sha256, 32);
    cbx_mpbuf_add(&buffer,
                  "\xa3"
                  "cbx\xc4\x20",
                  6);
    cbx_mpbuf_add(&buffer, token.pond_public, 32);
    cbx_mpbuf_add(&buffer, "\xc4\x20", 2);
    cbx_mpbuf_add(&buffer, token.secret, 32);
    wrap(payload, buffer.length, wanted);
    assert_int_equal(cbx_token_format(&token, text), 0);
    assert_string_equal(text, wanted);
}

static void
white_space_around_is_skipped(void **state)
{
    (void)state;
    struct cbx_token token = sample();
    struct cbx_error error;
    char text[CBX_TOKEN_TEXT_MAX];
    char padded[CBX_TOKEN_TEXT_MAX + 16];
    assert_int_equal(cbx_token_format(&token, text), 0);
    (void)snprintf(padded, sizeof padded, " \t\r\n%s\r\n\n ", text);
    assert_int_equal(parse(padded, strlen(padded), &error), 0);
}

/* As an editor, a shell script or a chat leaves it. */
static void
a_byte_order_mark_and_quotes_are_skipped(void **state)
{
    (void)state;
    static const char *const around[] = {"\xef\xbb\xbf%s\r\n", "\"%s\"\n", " '%s' ",
                                         "\xef\xbb\xbf\"%s\"\r\n"};
    struct cbx_token token = sample();
    struct cbx_error error;
    char text[CBX_TOKEN_TEXT_MAX];
    assert_int_equal(cbx_token_format(&token, text), 0);
    for (size_t i = 0; i < sizeof around / sizeof around[0]; i++) {
        char padded[CBX_TOKEN_TEXT_MAX + 16];
        const char *mark = strstr(around[i], "%s");
        (void)snprintf(padded, sizeof padded, "%.*s%s%s", (int)(mark - around[i]), around[i], text,
                       mark + 2);
        assert_int_equal(parse(padded, strlen(padded), &error), 0);
    }
    assert_true(parse("\"", 1, &error) < 0);
    assert_true(parse("\xef\xbb\xbf", 3, &error) < 0);
}

static void
every_changed_character_is_found(void **state)
{
    (void)state;
    static const char alphabet[] =
        "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_+/=. \n";
    struct cbx_token token = sample();
    struct cbx_error error;
    char text[CBX_TOKEN_TEXT_MAX];
    assert_int_equal(cbx_token_format(&token, text), 0);
    size_t length = strlen(text);
    for (size_t i = 0; i < length; i++) {
        char right = text[i];
        for (const char *wrong = alphabet; *wrong != '\0'; wrong++) {
            if (*wrong == right)
                continue;
            text[i] = *wrong;
            assert_int_equal(parse(text, length, &error), CBX_ERR_FORMAT);
            text[i] = right;
        }
    }
}

static void
every_cut_is_found(void **state)
{
    (void)state;
    struct cbx_token token = sample();
    struct cbx_error error;
    char text[CBX_TOKEN_TEXT_MAX];
    assert_int_equal(cbx_token_format(&token, text), 0);
    for (size_t length = 0; length < strlen(text); length++)
        assert_int_equal(parse(text, length, &error), CBX_ERR_FORMAT);
    text[strlen(text) / 2] = '\0';
    expect_refused(text, "cut short");
}

static void
what_is_wrong_is_said(void **state)
{
    (void)state;
    struct cbx_token token = sample();
    char text[CBX_TOKEN_TEXT_MAX];
    char other[2 * CBX_TOKEN_TEXT_MAX];
    assert_int_equal(cbx_token_format(&token, text), 0);
    expect_refused("", "not a token");
    expect_refused("hello", "not a token");
    expect_refused("ghp_abcdef", "not a token");
    expect_refused("cbx_abcdef", "not a token");
    expect_refused("cbx2_abcdef", "another version");
    expect_refused("cbx12_abcdef", "another version");
    (void)snprintf(other, sizeof other, "%sA", text);
    expect_refused(other, "");
    (void)snprintf(other, sizeof other, "%.20s\n%s", text, text + 20);
    expect_refused(other, "one line");
    (void)snprintf(other, sizeof other, "%s%s", text, text);
    expect_refused(other, "");
    text[40] = text[40] == 'A' ? 'B' : 'A';
    expect_refused(text, "checksum");
}

static void
no_error_shows_any_part_of_the_token(void **state)
{
    (void)state;
    struct cbx_token token = sample();
    struct cbx_error error;
    char text[CBX_TOKEN_TEXT_MAX];
    assert_int_equal(cbx_token_format(&token, text), 0);
    size_t length = strlen(text);
    for (size_t cut = 8; cut < length; cut++) {
        assert_int_not_equal(parse(text, cut, &error), 0);
        for (size_t i = 5; i + 6 < cut; i++) {
            char part[7] = {0};
            memcpy(part, text + i, 6);
            assert_null(strstr(error.text, part));
        }
    }
}

static void
a_token_that_is_too_long_is_refused(void **state)
{
    (void)state;
    struct cbx_error error;
    char text[3 * CBX_TOKEN_TEXT_MAX];
    memset(text, 'A', sizeof text);
    memcpy(text, "cbx1_", 5);
    assert_int_equal(parse(text, sizeof text, &error), CBX_ERR_FORMAT);
    assert_int_equal(parse(text, CBX_TOKEN_TEXT_MAX, &error), CBX_ERR_FORMAT);
    assert_int_equal(parse(text, CBX_TOKEN_TEXT_MAX - 1, &error), CBX_ERR_FORMAT);
    assert_int_equal(parse(text, CBX_TOKEN_TEXT_MAX - 2, &error), CBX_ERR_FORMAT);
}

static void
hostile_payloads_with_a_right_checksum_are_refused(void **state)
{
    (void)state;
    static const struct {
        const char *bytes;
        size_t length;
    } bad[] = {{"", 0},
               {"\xdd\xff\xff\xff\xff", 5},
               {"\xdb\xff\xff\xff\xff", 5},
               {"\x95", 1},
               {"\x90", 1},
               {"\x01", 1},
               {"\x80", 1},
               {"\x95\x01\x01\x01\x01\x01", 6},
               {"\x95\x90\xc0\xc0\xc0\xc0", 6},
               {"\x95\x91\x91\x90\xc0\xc0\xc0\xc0", 8},
               {"\x90\x00", 2}};
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        char text[CBX_TOKEN_TEXT_MAX];
        wrap((const uint8_t *)bad[i].bytes, bad[i].length, text);
        expect_refused(text, "token");
    }
}

/* A token with these words in it, otherwise right, packed past the checks of format. */
static void
expect_field_refused(const char *address, uint32_t addresses, const char *user)
{
    uint8_t payload[1024] = {0};
    uint8_t zero[32] = {0};
    char text[CBX_TOKEN_TEXT_MAX];
    struct cbx_mpbuf buffer = {.bytes = payload, .size = sizeof payload};
    msgpack_packer packer;
    msgpack_packer_init(&packer, &buffer, cbx_mpbuf_write);
    msgpack_pack_array(&packer, 5);
    msgpack_pack_array(&packer, addresses);
    for (uint32_t i = 0; i < addresses; i++)
        cbx_mp_pack_text(&packer, address);
    cbx_mp_pack_bin(&packer, zero, 32);
    cbx_mp_pack_text(&packer, user);
    cbx_mp_pack_bin(&packer, zero, 32);
    cbx_mp_pack_bin(&packer, zero, 32);
    assert_false(buffer.full);
    wrap(payload, buffer.length, text);
    expect_refused(text, "malformed");
    struct cbx_token token = sample();
    token.address_count = addresses;
    if (addresses > 0 && addresses <= CBX_TOKEN_ADDRESSES_MAX) {
        for (uint32_t i = 0; i < addresses; i++)
            (void)snprintf(token.address[i], sizeof token.address[i], "%s", address);
    }
    if (strlen(user) <= CBX_USER_MAX)
        SET(token.user, user);
    else
        return;
    assert_int_equal(cbx_token_format(&token, text), CBX_ERR_FORMAT);
    assert_string_equal(text, "");
}

static void
illegal_fields_are_refused(void **state)
{
    (void)state;
    char host[300];
    expect_field_refused("hub", 1, "cbx");
    expect_field_refused("hub:0", 1, "cbx");
    expect_field_refused("hub:70000", 1, "cbx");
    expect_field_refused("fd00::1:22", 1, "cbx");
    expect_field_refused("h ub:22", 1, "cbx");
    expect_field_refused("hub\x1b:22", 1, "cbx");
    memset(host, 'a', sizeof host);
    memcpy(host + 254, ":22", 4);
    expect_field_refused(host, 1, "cbx");
    expect_field_refused("hub:22", 0, "cbx");
    expect_field_refused("hub:22", 9, "cbx");
    expect_field_refused("hub:22", 1, "");
    expect_field_refused("hub:22", 1, "-oProxyCommand=x");
    expect_field_refused("hub:22", 1, "c bx");
    expect_field_refused("hub:22", 1, "cbx\n");
    expect_field_refused("hub:22", 1, "a23456789012345678901234567890123");
}

static void
a_token_that_would_not_fit_is_not_made(void **state)
{
    (void)state;
    struct cbx_token token = sample();
    char text[CBX_TOKEN_TEXT_MAX];
    token.address_count = CBX_TOKEN_ADDRESSES_MAX;
    for (uint32_t i = 0; i < CBX_TOKEN_ADDRESSES_MAX; i++) {
        memset(token.address[i], 'a', 253);
        memcpy(token.address[i] + 253, ":65535", 7);
    }
    assert_int_equal(cbx_token_format(&token, text), CBX_ERR_LIMIT);
    assert_string_equal(text, "");
}

static void
the_longest_token_comes_back(void **state)
{
    (void)state;
    struct cbx_token token = sample();
    char text[CBX_TOKEN_TEXT_MAX];
    bool fitted = false;
    for (size_t host = 253; host > 0 && !fitted; host--) {
        token.address_count = CBX_TOKEN_ADDRESSES_MAX;
        memset(token.address, 0, sizeof token.address);
        for (uint32_t i = 0; i < CBX_TOKEN_ADDRESSES_MAX; i++) {
            memset(token.address[i], 'a', host);
            memcpy(token.address[i] + host, ":65535", 7);
        }
        fitted = cbx_token_format(&token, text) == 0;
    }
    struct cbx_token again;
    assert_true(fitted && strlen(text) > CBX_TOKEN_TEXT_MAX - 32);
    assert_int_equal(cbx_token_parse(text, strlen(text), &again, NULL), 0);
    assert_memory_equal(&again, &token, sizeof token);
}

static void
wipe_leaves_nothing(void **state)
{
    (void)state;
    struct cbx_token token = sample();
    cbx_token_wipe(&token);
    assert_true(sodium_is_zero((const uint8_t *)&token, sizeof token));
}

static void
the_two_invite_keys_differ_and_come_from_the_secret_alone(void **state)
{
    (void)state;
    uint8_t secret[CBX_SECRET_SIZE];
    uint8_t seed[32];
    struct cbx_keypair login;
    struct cbx_keypair signing;
    struct cbx_keypair wanted;
    memset(secret, 7, sizeof secret);
    cbx_invite_keys(secret, &login, &signing);
    assert_memory_not_equal(login.public_key, signing.public_key, 32);
    (void)crypto_kdf_derive_from_key(seed, 32, 1, "cbxlogin", secret);
    cbx_keypair_from_seed(&wanted, seed);
    assert_memory_equal(&login, &wanted, sizeof wanted);
    (void)crypto_kdf_derive_from_key(seed, 32, 2, "cbxsign1", secret);
    cbx_keypair_from_seed(&wanted, seed);
    assert_memory_equal(&signing, &wanted, sizeof wanted);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_token_comes_back_whole),
        cmocka_unit_test(the_text_is_that_of_the_protocol),
        cmocka_unit_test(white_space_around_is_skipped),
        cmocka_unit_test(a_byte_order_mark_and_quotes_are_skipped),
        cmocka_unit_test(every_changed_character_is_found),
        cmocka_unit_test(every_cut_is_found),
        cmocka_unit_test(what_is_wrong_is_said),
        cmocka_unit_test(no_error_shows_any_part_of_the_token),
        cmocka_unit_test(a_token_that_is_too_long_is_refused),
        cmocka_unit_test(hostile_payloads_with_a_right_checksum_are_refused),
        cmocka_unit_test(illegal_fields_are_refused),
        cmocka_unit_test(a_token_that_would_not_fit_is_not_made),
        cmocka_unit_test(the_longest_token_comes_back),
        cmocka_unit_test(wipe_leaves_nothing),
        cmocka_unit_test(the_two_invite_keys_differ_and_come_from_the_secret_alone),
    };
    if (sodium_init() < 0)
        return 1;
    return cmocka_run_group_tests(tests, NULL, NULL);
}
