/* SPDX-License-Identifier: MIT */
#include "common/base/err.h"
#include "common/crypto/noise.h"
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <jansson.h>
#include <sodium.h>
#include <string.h>

#ifndef CBX_TEST_DATA
#define CBX_TEST_DATA "tests/unit/common/crypto"
#endif

enum { MESSAGE_MAX = CBX_NOISE_PAYLOAD_MAX + CBX_NOISE_OVERHEAD };

static const char protocol[] = "Noise_KK_25519_ChaChaPoly_BLAKE2b";

/* --- published vectors ----------------------------------------------------------------------- */

struct bytes {
    uint8_t at[256];
    size_t length;
};

static struct bytes
hex(const json_t *object, const char *key)
{
    struct bytes out = {.length = 0};
    const char *text = json_string_value(json_object_get(object, key));
    assert_non_null(text);
    assert_int_equal(
        sodium_hex2bin(out.at, sizeof out.at, text, strlen(text), NULL, &out.length, NULL), 0);
    assert_int_equal(out.length * 2, strlen(text));
    return out;
}

static void
side_from_vector(struct cbx_noise *noise, const json_t *vector, bool initiator)
{
    struct bytes prologue = hex(vector, initiator ? "init_prologue" : "resp_prologue");
    struct bytes secret = hex(vector, initiator ? "init_static" : "resp_static");
    struct bytes ephemeral = hex(vector, initiator ? "init_ephemeral" : "resp_ephemeral");
    struct bytes remote = hex(vector, initiator ? "init_remote_static" : "resp_remote_static");
    uint8_t public_key[32];
    crypto_scalarmult_base(public_key, secret.at);
    cbx_noise_init(noise, initiator, prologue.at, prologue.length, secret.at, public_key,
                   remote.at);
    cbx_noise_set_ephemeral(noise, ephemeral.at);
}

static void
check_handshake_message(struct cbx_noise *writer, struct cbx_noise *reader, const json_t *message)
{
    struct bytes payload = hex(message, "payload");
    struct bytes expected = hex(message, "ciphertext");
    uint8_t out[MESSAGE_MAX];
    uint8_t back[CBX_NOISE_PAYLOAD_MAX];
    assert_int_equal(cbx_noise_write(writer, payload.at, payload.length, out), expected.length);
    assert_memory_equal(out, expected.at, expected.length);
    assert_int_equal(cbx_noise_read(reader, out, expected.length, back), payload.length);
    assert_memory_equal(back, payload.at, payload.length);
}

/* A transport message of Noise: ChaChaPoly under a key of Split, no additional data. */
static void
check_transport_message(const uint8_t send[32], const uint8_t receive[32], uint8_t counter,
                        const json_t *message)
{
    struct bytes payload = hex(message, "payload");
    struct bytes expected = hex(message, "ciphertext");
    uint8_t nonce[12] = {[4] = counter};
    uint8_t out[256];
    unsigned long long length = 0;
    crypto_aead_chacha20poly1305_ietf_encrypt(out, &length, payload.at, payload.length, NULL, 0,
                                              NULL, nonce, send);
    assert_int_equal(length, expected.length);
    assert_memory_equal(out, expected.at, expected.length);
    assert_int_equal(crypto_aead_chacha20poly1305_ietf_decrypt(
                         out, &length, NULL, expected.at, expected.length, NULL, 0, nonce, receive),
                     0);
    assert_memory_equal(out, payload.at, payload.length);
}

static void
check_vector(const json_t *vector)
{
    struct cbx_noise initiator;
    struct cbx_noise responder;
    side_from_vector(&initiator, vector, true);
    side_from_vector(&responder, vector, false);
    const json_t *messages = json_object_get(vector, "messages");
    assert_int_equal(json_array_size(messages), 6);
    check_handshake_message(&initiator, &responder, json_array_get(messages, 0));
    check_handshake_message(&responder, &initiator, json_array_get(messages, 1));

    uint8_t key[2][2][32]; /* side, then send and receive */
    uint8_t hash[2][64];
    assert_int_equal(cbx_noise_split(&initiator, key[0][0], key[0][1], hash[0]), 0);
    assert_int_equal(cbx_noise_split(&responder, key[1][0], key[1][1], hash[1]), 0);
    struct bytes expected = hex(vector, "handshake_hash");
    assert_int_equal(expected.length, 64);
    assert_memory_equal(hash[0], expected.at, 64);
    assert_memory_equal(hash[1], expected.at, 64);
    for (size_t i = 2; i < 6; i++) {
        size_t from = i % 2;
        check_transport_message(key[from][0], key[1 - from][1], (uint8_t)((i - 2) / 2),
                                json_array_get(messages, i));
    }
    cbx_noise_wipe(&initiator);
    cbx_noise_wipe(&responder);
}

static void
the_published_vector_holds_whole(void **state)
{
    (void)state;
    json_error_t error;
    json_t *root = json_load_file(CBX_TEST_DATA "/noise-kk-vectors.json", 0, &error);
    assert_non_null(root);
    size_t found = 0;
    size_t index = 0;
    const json_t *vector = NULL;
    json_array_foreach(json_object_get(root, "vectors"), index, vector) {
        if (strcmp(json_string_value(json_object_get(vector, "protocol_name")), protocol) == 0) {
            check_vector(vector);
            found++;
        }
    }
    assert_int_equal(found, 1);
    json_decref(root);
}

/* --- hostile input --------------------------------------------------------------------------- */

struct pair {
    struct cbx_noise initiator;
    struct cbx_noise responder;
    uint8_t message[MESSAGE_MAX];
    uint8_t plain[CBX_NOISE_PAYLOAD_MAX];
};

static void
keys_from(uint8_t fill, uint8_t secret[32], uint8_t public_key[32])
{
    memset(secret, fill, 32);
    crypto_scalarmult_base(public_key, secret);
}

static void
pair_init(struct pair *pair)
{
    uint8_t secret[2][32];
    uint8_t public_key[2][32];
    keys_from(1, secret[0], public_key[0]);
    keys_from(2, secret[1], public_key[1]);
    memset(pair, 0, sizeof *pair);
    cbx_noise_init(&pair->initiator, true, (const uint8_t *)"p", 1, secret[0], public_key[0],
                   public_key[1]);
    cbx_noise_init(&pair->responder, false, (const uint8_t *)"p", 1, secret[1], public_key[1],
                   public_key[0]);
}

static const uint8_t hello[5] = "hello";

static size_t
first_message(struct pair *pair)
{
    int length = cbx_noise_write(&pair->initiator, hello, sizeof hello, pair->message);
    assert_int_equal(length, sizeof hello + CBX_NOISE_OVERHEAD);
    return (size_t)length;
}

/* Both ends are left as they are after a good message 1 and the writing of message 2. */
static size_t
second_message(struct pair *pair)
{
    size_t length = first_message(pair);
    assert_int_equal(cbx_noise_read(&pair->responder, pair->message, length, pair->plain),
                     sizeof hello);
    assert_int_equal(cbx_noise_write(&pair->responder, hello, sizeof hello, pair->message), length);
    return length;
}

static void
a_random_ephemeral_is_drawn_for_each_handshake(void **state)
{
    (void)state;
    struct pair one;
    struct pair two;
    pair_init(&one);
    pair_init(&two);
    first_message(&one);
    first_message(&two);
    assert_memory_not_equal(one.message, two.message, 32);
}

static void
a_flipped_byte_anywhere_in_message_1_is_refused(void **state)
{
    (void)state;
    struct pair pair;
    pair_init(&pair);
    size_t length = first_message(&pair);
    for (size_t i = 0; i < length; i++) {
        struct cbx_noise responder = pair.responder;
        /* X25519 ignores the top bit of e's last byte; the transcript must not. */
        pair.message[i] ^= 0x80;
        assert_int_equal(cbx_noise_read(&responder, pair.message, length, pair.plain),
                         CBX_ERR_AUTH);
        pair.message[i] ^= 0x80;
    }
    assert_int_equal(cbx_noise_read(&pair.responder, pair.message, length, pair.plain),
                     sizeof hello);
}

static void
a_flipped_byte_anywhere_in_message_2_is_refused(void **state)
{
    (void)state;
    struct pair pair;
    pair_init(&pair);
    size_t length = second_message(&pair);
    for (size_t i = 0; i < length; i++) {
        struct cbx_noise initiator = pair.initiator;
        pair.message[i] ^= 1;
        assert_int_equal(cbx_noise_read(&initiator, pair.message, length, pair.plain),
                         CBX_ERR_AUTH);
        pair.message[i] ^= 1;
    }
    assert_int_equal(cbx_noise_read(&pair.initiator, pair.message, length, pair.plain),
                     sizeof hello);
}

static void
every_truncation_is_refused(void **state)
{
    (void)state;
    struct pair pair;
    pair_init(&pair);
    size_t length = first_message(&pair);
    for (size_t cut = 0; cut < length; cut++) {
        struct cbx_noise responder = pair.responder;
        int expected = cut < CBX_NOISE_OVERHEAD ? CBX_ERR_FORMAT : CBX_ERR_AUTH;
        assert_int_equal(cbx_noise_read(&responder, pair.message, cut, pair.plain), expected);
    }
}

static void
a_longer_payload_than_allowed_is_refused_on_both_sides(void **state)
{
    (void)state;
    struct pair pair;
    uint8_t big[MESSAGE_MAX + 1] = {0};
    pair_init(&pair);
    assert_int_equal(cbx_noise_write(&pair.initiator, big, CBX_NOISE_PAYLOAD_MAX + 1, big),
                     CBX_ERR_FORMAT);
    assert_int_equal(cbx_noise_read(&pair.responder, big, sizeof big, pair.plain), CBX_ERR_FORMAT);
}

static void
the_longest_and_the_empty_payload_pass(void **state)
{
    (void)state;
    struct pair pair;
    uint8_t payload[CBX_NOISE_PAYLOAD_MAX];
    memset(payload, 7, sizeof payload);
    pair_init(&pair);
    assert_int_equal(cbx_noise_write(&pair.initiator, payload, sizeof payload, pair.message),
                     MESSAGE_MAX);
    assert_int_equal(cbx_noise_read(&pair.responder, pair.message, MESSAGE_MAX, pair.plain),
                     sizeof payload);
    assert_memory_equal(pair.plain, payload, sizeof payload);
    assert_int_equal(cbx_noise_write(&pair.responder, NULL, 0, pair.message), CBX_NOISE_OVERHEAD);
    assert_int_equal(cbx_noise_read(&pair.initiator, pair.message, CBX_NOISE_OVERHEAD, pair.plain),
                     0);
}

static void
low_order_ephemerals_are_refused(void **state)
{
    (void)state;
    static const char *const point[] = {
        "0000000000000000000000000000000000000000000000000000000000000000",
        "0100000000000000000000000000000000000000000000000000000000000000",
        "e0eb7a7c3b41b8ae1656e3faf19fc46ada098deb9c32b1fd866205165f49b800",
        "5f9c95bca3508c24b1d0b1559c83ef5b04445cc4581c8e86d8224eddd09f1157",
        "ecffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
        "edffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
        "eeffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
        "0000000000000000000000000000000000000000000000000000000000000080",
    };
    for (size_t i = 0; i < sizeof point / sizeof point[0]; i++) {
        struct pair pair;
        pair_init(&pair);
        size_t length = second_message(&pair);
        struct pair fresh;
        pair_init(&fresh);
        assert_int_equal(
            sodium_hex2bin(pair.message, 32, point[i], strlen(point[i]), NULL, NULL, NULL), 0);
        assert_int_equal(cbx_noise_read(&fresh.responder, pair.message, length, pair.plain),
                         CBX_ERR_AUTH);
        assert_int_equal(cbx_noise_read(&pair.initiator, pair.message, length, pair.plain),
                         CBX_ERR_AUTH);
    }
}

static void
a_low_order_static_key_stops_the_writer(void **state)
{
    (void)state;
    struct cbx_noise noise;
    uint8_t secret[32];
    uint8_t public_key[32];
    uint8_t out[MESSAGE_MAX];
    static const uint8_t zero[32];
    keys_from(1, secret, public_key);
    cbx_noise_init(&noise, true, NULL, 0, secret, public_key, zero);
    assert_int_equal(cbx_noise_write(&noise, hello, sizeof hello, out), CBX_ERR_AUTH);
    assert_int_equal(cbx_noise_write(&noise, hello, sizeof hello, out), CBX_ERR_STATE);
}

static void
calls_out_of_turn_are_refused_and_harm_nothing(void **state)
{
    (void)state;
    struct pair pair;
    uint8_t key[2][32];
    uint8_t scratch[MESSAGE_MAX];
    pair_init(&pair);
    assert_int_equal(cbx_noise_write(&pair.responder, hello, sizeof hello, scratch), CBX_ERR_STATE);
    assert_int_equal(cbx_noise_read(&pair.initiator, scratch, 60, scratch), CBX_ERR_STATE);
    assert_int_equal(cbx_noise_split(&pair.initiator, key[0], key[1], NULL), CBX_ERR_STATE);
    size_t length = second_message(&pair);
    assert_int_equal(cbx_noise_write(&pair.initiator, hello, sizeof hello, scratch), CBX_ERR_STATE);
    assert_int_equal(cbx_noise_write(&pair.responder, hello, sizeof hello, scratch), CBX_ERR_STATE);
    assert_int_equal(cbx_noise_split(&pair.initiator, key[0], key[1], NULL), CBX_ERR_STATE);
    assert_int_equal(cbx_noise_read(&pair.initiator, pair.message, length, pair.plain),
                     sizeof hello);
    assert_int_equal(cbx_noise_read(&pair.initiator, pair.message, length, pair.plain),
                     CBX_ERR_STATE);
    assert_int_equal(cbx_noise_split(&pair.initiator, key[0], key[1], NULL), 0);
}

static void
after_a_failed_read_the_state_is_dead_and_empty(void **state)
{
    (void)state;
    struct pair pair;
    pair_init(&pair);
    size_t length = first_message(&pair);
    pair.message[40] ^= 1;
    assert_int_equal(cbx_noise_read(&pair.responder, pair.message, length, pair.plain),
                     CBX_ERR_AUTH);
    pair.message[40] ^= 1;
    assert_int_equal(cbx_noise_read(&pair.responder, pair.message, length, pair.plain),
                     CBX_ERR_STATE);
    assert_true(sodium_is_zero(pair.responder.static_secret, 32));
    assert_true(sodium_is_zero(pair.responder.chaining_key, 64));
    assert_true(sodium_is_zero(pair.responder.key, 32));
}

static void
a_wiped_state_holds_no_key_and_refuses_everything(void **state)
{
    (void)state;
    struct pair pair;
    uint8_t key[2][32];
    pair_init(&pair);
    size_t length = first_message(&pair);
    cbx_noise_wipe(&pair.initiator);
    assert_true(sodium_is_zero(pair.initiator.static_secret, 32));
    assert_true(sodium_is_zero(pair.initiator.ephemeral_secret, 32));
    assert_int_equal(cbx_noise_read(&pair.initiator, pair.message, length, pair.plain),
                     CBX_ERR_STATE);
    assert_int_equal(cbx_noise_write(&pair.initiator, hello, sizeof hello, pair.message),
                     CBX_ERR_STATE);
    assert_int_equal(cbx_noise_split(&pair.initiator, key[0], key[1], NULL), CBX_ERR_STATE);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_published_vector_holds_whole),
        cmocka_unit_test(a_random_ephemeral_is_drawn_for_each_handshake),
        cmocka_unit_test(a_flipped_byte_anywhere_in_message_1_is_refused),
        cmocka_unit_test(a_flipped_byte_anywhere_in_message_2_is_refused),
        cmocka_unit_test(every_truncation_is_refused),
        cmocka_unit_test(a_longer_payload_than_allowed_is_refused_on_both_sides),
        cmocka_unit_test(the_longest_and_the_empty_payload_pass),
        cmocka_unit_test(low_order_ephemerals_are_refused),
        cmocka_unit_test(a_low_order_static_key_stops_the_writer),
        cmocka_unit_test(calls_out_of_turn_are_refused_and_harm_nothing),
        cmocka_unit_test(after_a_failed_read_the_state_is_dead_and_empty),
        cmocka_unit_test(a_wiped_state_holds_no_key_and_refuses_everything),
    };
    if (sodium_init() < 0)
        return 1;
    return cmocka_run_group_tests(tests, NULL, NULL);
}
