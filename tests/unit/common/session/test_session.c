/* SPDX-License-Identifier: MIT */
#include "common/session/session.h"
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <sodium.h>
#include <string.h>

enum { AES = CBX_CIPHER_AES256GCM, CHACHA = CBX_CIPHER_CHACHA20POLY1305 };

static const uint8_t pond[32] = "the public key of a pond";

/* An agent with everything that a handshake borrows from it. */
struct agent {
    uint8_t secret[32];
    uint8_t public_key[32];
    uint8_t chain[32];
    struct cbx_session_self self;
    struct cbx_session_peer seen; /* as others know it */
};

static void
agent_init(struct agent *agent, uint8_t fill)
{
    memset(agent, 0, sizeof *agent);
    memset(agent->secret, fill, 32);
    memset(agent->chain, fill + 100, 32);
    crypto_scalarmult_base(agent->public_key, agent->secret);
    agent->self.exchange_secret = agent->secret;
    agent->self.exchange_public = agent->public_key;
    agent->self.pond_public = pond;
    agent->self.chain_hash = agent->chain;
    memset(agent->self.incarnation, fill + 10, CBX_INCARNATION_SIZE);
    agent->self.pond_serial = 1000u + fill;
    agent->self.cipher[0] = AES;
    agent->self.cipher[1] = CHACHA;
    agent->self.cipher_count = 2;
    agent->seen.exchange_public = agent->public_key;
    agent->seen.chain_hash = agent->chain;
}

struct world {
    struct agent a; /* begins */
    struct agent b; /* answers */
    struct cbx_handshake handshake;
    uint8_t one[CBX_HANDSHAKE_MESSAGE_MAX];
    uint8_t two[CBX_HANDSHAKE_MESSAGE_MAX];
    struct cbx_session session_a;
    struct cbx_session session_b;
};

static void
world_init(struct world *world)
{
    memset(world, 0, sizeof *world);
    agent_init(&world->a, 1);
    agent_init(&world->b, 2);
}

static size_t
begin(struct world *world)
{
    int length = cbx_handshake_begin(&world->handshake, &world->a.self, &world->b.seen, world->one);
    assert_in_range(length, CBX_NOISE_OVERHEAD + 1, CBX_HANDSHAKE_MESSAGE_MAX);
    return (size_t)length;
}

static int
answer(struct world *world, const uint8_t *message, size_t length)
{
    return cbx_handshake_answer(&world->b.self, &world->a.seen, message, length, world->two,
                                &world->session_b);
}

static int
finish(struct world *world, const uint8_t *message, size_t length)
{
    return cbx_handshake_finish(&world->handshake, message, length, &world->session_a);
}

static void
complete(struct world *world)
{
    size_t length = begin(world);
    int answered = answer(world, world->one, length);
    assert_true(answered > 0);
    assert_int_equal(finish(world, world->two, (size_t)answered), 0);
}

static void
assert_empty(const struct cbx_session *session)
{
    assert_true(sodium_is_zero((const uint8_t *)session, sizeof *session));
}

/* --- a peer that is who it says, and says what it should not ---------------------------------- */

/* Built by hand from PROTOCOL.md, so that it also checks the prologue. */
static void
raw_noise(struct cbx_noise *noise, bool initiator, const struct agent *self,
          const struct agent *peer)
{
    uint8_t prologue[101];
    memcpy(prologue, "cbx/1", 5);
    memcpy(prologue + 5, pond, 32);
    memcpy(prologue + 37, initiator ? self->chain : peer->chain, 32);
    memcpy(prologue + 69, initiator ? peer->chain : self->chain, 32);
    cbx_noise_init(noise, initiator, prologue, sizeof prologue, self->secret, self->public_key,
                   peer->public_key);
}

/* a begins with these payload bytes; what b makes of it. */
static int
answer_to_payload(const uint8_t *payload, size_t length)
{
    struct world world;
    struct cbx_noise noise;
    world_init(&world);
    raw_noise(&noise, true, &world.a, &world.b);
    int written = cbx_noise_write(&noise, payload, length, world.one);
    assert_true(written > 0);
    int code = answer(&world, world.one, (size_t)written);
    if (code < 0)
        assert_empty(&world.session_b);
    return code;
}

/* b answers a's good message 1 with these payload bytes; what a makes of it. */
static int
finish_with_payload(const uint8_t *payload, size_t length)
{
    struct world world;
    struct cbx_noise noise;
    uint8_t plain[CBX_NOISE_PAYLOAD_MAX];
    world_init(&world);
    size_t one = begin(&world);
    raw_noise(&noise, false, &world.b, &world.a);
    assert_true(cbx_noise_read(&noise, world.one, one, plain) > 0);
    int written = cbx_noise_write(&noise, payload, length, world.two);
    assert_true(written > 0);
    int code = finish(&world, world.two, (size_t)written);
    if (code != 0)
        assert_empty(&world.session_a);
    return code;
}

#define INCARNATION                                                                                \
    "\xc4\x10"                                                                                     \
    "0123456789abcdef"
#define PAYLOAD(text) (const uint8_t *)(text), sizeof(text) - 1

/* --- tests ----------------------------------------------------------------------------------- */

static void
both_ends_hold_the_same_session(void **state)
{
    (void)state;
    struct world world;
    world_init(&world);
    complete(&world);
    assert_memory_equal(world.session_a.id, world.session_b.id, CBX_SESSION_ID_SIZE);
    assert_memory_equal(world.session_a.root_send, world.session_b.root_receive, 32);
    assert_memory_equal(world.session_a.root_receive, world.session_b.root_send, 32);
    assert_memory_not_equal(world.session_a.root_send, world.session_a.root_receive, 32);
    assert_memory_equal(world.session_a.peer_incarnation, world.b.self.incarnation,
                        CBX_INCARNATION_SIZE);
    assert_memory_equal(world.session_b.peer_incarnation, world.a.self.incarnation,
                        CBX_INCARNATION_SIZE);
    assert_int_equal(world.session_a.peer_serial, 1002);
    assert_int_equal(world.session_b.peer_serial, 1001);
    assert_int_equal(world.session_a.cipher, AES);
    assert_int_equal(world.session_b.cipher, AES);
    assert_true(world.session_a.initiator);
    assert_false(world.session_b.initiator);
}

static void
each_handshake_gives_fresh_roots(void **state)
{
    (void)state;
    struct world first;
    struct world second;
    world_init(&first);
    world_init(&second);
    complete(&first);
    complete(&second);
    assert_memory_not_equal(first.session_a.id, second.session_a.id, CBX_SESSION_ID_SIZE);
    assert_memory_not_equal(first.session_a.root_send, second.session_a.root_send, 32);
}

static void
the_session_id_is_the_beginning_of_the_handshake_hash(void **state)
{
    (void)state;
    struct world world;
    struct cbx_noise noise;
    uint8_t key[2][32];
    uint8_t hash[64];
    uint8_t plain[CBX_NOISE_PAYLOAD_MAX];
    static const char payload[] = "\x94\x01" INCARNATION "\xc4\x01\x02\x07";
    world_init(&world);
    raw_noise(&noise, true, &world.a, &world.b);
    int one = cbx_noise_write(&noise, PAYLOAD(payload), world.one);
    int two = answer(&world, world.one, (size_t)one);
    assert_true(two > 0);
    int length = cbx_noise_read(&noise, world.two, (size_t)two, plain);
    static const uint8_t expected[] = "\x95\x01\xc4\x10"
                                      "\x0c\x0c\x0c\x0c\x0c\x0c\x0c\x0c"
                                      "\x0c\x0c\x0c\x0c\x0c\x0c\x0c\x0c"
                                      "\xc4\x02\x01\x02\xcd\x03\xea\x02";
    assert_int_equal(length, sizeof expected - 1);
    assert_memory_equal(plain, expected, sizeof expected - 1);
    assert_int_equal(cbx_noise_split(&noise, key[0], key[1], hash), 0);
    assert_memory_equal(world.session_b.id, hash, CBX_SESSION_ID_SIZE);
    assert_memory_equal(world.session_b.root_receive, key[0], 32);
    assert_memory_equal(world.session_b.root_send, key[1], 32);
    assert_int_equal(world.session_b.peer_serial, 7);
    assert_int_equal(world.session_b.cipher, CHACHA);
}

static void
where_the_two_orders_differ_it_is_chacha20(void **state)
{
    (void)state;
    struct world world;
    for (int i = 0; i < 2; i++) {
        struct agent *slower = i == 0 ? &world.b : &world.a;
        world_init(&world);
        slower->self.cipher[0] = CHACHA;
        slower->self.cipher[1] = AES;
        complete(&world);
        assert_int_equal(world.session_a.cipher, CHACHA);
        assert_int_equal(world.session_b.cipher, CHACHA);
    }
}

static void
unknown_ciphers_are_skipped_on_both_sides(void **state)
{
    (void)state;
    struct world world;
    world_init(&world);
    static const uint8_t list[] = {77, 3, CHACHA, 0};
    memcpy(world.a.self.cipher, list, sizeof list);
    world.a.self.cipher_count = sizeof list;
    memcpy(world.b.self.cipher, list, sizeof list);
    world.b.self.cipher_count = sizeof list;
    complete(&world);
    assert_int_equal(world.session_a.cipher, CHACHA);
}

static void
no_cipher_in_common_is_told_apart(void **state)
{
    (void)state;
    struct world world;
    world_init(&world);
    world.a.self.cipher_count = 1;
    world.b.self.cipher[0] = CHACHA;
    world.b.self.cipher_count = 1;
    size_t length = begin(&world);
    assert_int_equal(answer(&world, world.one, length), CBX_ERR_NOTFOUND);
    assert_empty(&world.session_b);
}

static void
an_own_list_that_is_empty_or_too_long_is_refused(void **state)
{
    (void)state;
    static const uint8_t count[] = {0, CBX_CIPHERS_MAX + 1};
    for (size_t i = 0; i < sizeof count; i++) {
        struct world world;
        world_init(&world);
        size_t length = begin(&world);
        world.b.self.cipher_count = count[i];
        assert_int_equal(answer(&world, world.one, length), CBX_ERR_USAGE);
        world.a.self.cipher_count = count[i];
        assert_int_equal(
            cbx_handshake_begin(&world.handshake, &world.a.self, &world.b.seen, world.one),
            CBX_ERR_USAGE);
    }
}

static void
a_flipped_byte_anywhere_in_message_1_is_refused(void **state)
{
    (void)state;
    struct world world;
    world_init(&world);
    size_t length = begin(&world);
    for (size_t i = 0; i < length; i++) {
        world.one[i] ^= 0x80;
        assert_int_equal(answer(&world, world.one, length), CBX_ERR_AUTH);
        assert_empty(&world.session_b);
        world.one[i] ^= 0x80;
    }
    assert_true(answer(&world, world.one, length) > 0);
}

static void
a_flipped_byte_anywhere_in_message_2_is_refused(void **state)
{
    (void)state;
    struct world world;
    world_init(&world);
    size_t one = begin(&world);
    size_t two = (size_t)answer(&world, world.one, one);
    struct cbx_handshake kept = world.handshake;
    for (size_t i = 0; i < two; i++) {
        world.handshake = kept;
        world.two[i] ^= 1;
        assert_int_equal(finish(&world, world.two, two), CBX_ERR_AUTH);
        assert_empty(&world.session_a);
        world.two[i] ^= 1;
    }
    world.handshake = kept;
    assert_int_equal(finish(&world, world.two, two), 0);
}

static void
truncated_and_lengthened_messages_are_refused(void **state)
{
    (void)state;
    struct world world;
    uint8_t padded[CBX_HANDSHAKE_MESSAGE_MAX + 1] = {0};
    world_init(&world);
    size_t one = begin(&world);
    for (size_t cut = 0; cut < one; cut++)
        assert_int_equal(answer(&world, world.one, cut),
                         cut < CBX_NOISE_OVERHEAD ? CBX_ERR_FORMAT : CBX_ERR_AUTH);
    memcpy(padded, world.one, one);
    assert_int_equal(answer(&world, padded, one + 1), CBX_ERR_AUTH);
    assert_int_equal(answer(&world, padded, sizeof padded), CBX_ERR_FORMAT);
    size_t two = (size_t)answer(&world, world.one, one);
    struct cbx_handshake kept = world.handshake;
    for (size_t cut = 0; cut < two; cut++) {
        world.handshake = kept;
        assert_int_equal(finish(&world, world.two, cut),
                         cut < CBX_NOISE_OVERHEAD ? CBX_ERR_FORMAT : CBX_ERR_AUTH);
    }
}

/* Pond, either chain, either static key: a difference in any one is another handshake. */
static void
another_pond_chain_or_key_is_refused(void **state)
{
    (void)state;
    static const uint8_t other_pond[32] = "another pond";
    struct agent stranger;
    agent_init(&stranger, 3);
    for (size_t i = 0; i < 5; i++) {
        struct world world;
        world_init(&world);
        size_t length = begin(&world);
        struct cbx_session_self *self = &world.b.self;
        struct cbx_session_peer *peer = &world.a.seen;
        if (i == 0)
            self->pond_public = other_pond;
        else if (i == 1)
            self->chain_hash = stranger.chain;
        else if (i == 2)
            peer->chain_hash = stranger.chain;
        else if (i == 3)
            peer->exchange_public = stranger.public_key;
        else
            *self = stranger.self;
        assert_int_equal(answer(&world, world.one, length), CBX_ERR_AUTH);
    }
}

static void
an_own_message_1_that_comes_back_is_refused(void **state)
{
    (void)state;
    struct world world;
    world_init(&world);
    size_t length = begin(&world);
    assert_int_equal(cbx_handshake_answer(&world.a.self, &world.b.seen, world.one, length,
                                          world.two, &world.session_b),
                     CBX_ERR_AUTH);
    assert_int_equal(finish(&world, world.one, length), CBX_ERR_AUTH);
}

static void
all_zero_and_low_order_ephemerals_are_refused(void **state)
{
    (void)state;
    static const char *const point[] = {
        "0000000000000000000000000000000000000000000000000000000000000000",
        "0100000000000000000000000000000000000000000000000000000000000000",
        "e0eb7a7c3b41b8ae1656e3faf19fc46ada098deb9c32b1fd866205165f49b800",
        "5f9c95bca3508c24b1d0b1559c83ef5b04445cc4581c8e86d8224eddd09f1157",
        "edffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
    };
    for (size_t i = 0; i < sizeof point / sizeof point[0]; i++) {
        struct world world;
        world_init(&world);
        size_t one = begin(&world);
        size_t two = (size_t)answer(&world, world.one, one);
        sodium_hex2bin(world.one, 32, point[i], 64, NULL, NULL, NULL);
        sodium_hex2bin(world.two, 32, point[i], 64, NULL, NULL, NULL);
        assert_int_equal(finish(&world, world.two, two), CBX_ERR_AUTH);
        assert_int_equal(answer(&world, world.one, one), CBX_ERR_AUTH);
    }
}

static void
a_peer_with_a_low_order_key_is_refused(void **state)
{
    (void)state;
    static const uint8_t zero[32];
    struct world world;
    world_init(&world);
    world.b.seen.exchange_public = zero;
    assert_int_equal(cbx_handshake_begin(&world.handshake, &world.a.self, &world.b.seen, world.one),
                     CBX_ERR_AUTH);
    assert_int_equal(finish(&world, world.two, 100), CBX_ERR_STATE);
}

static void
a_replayed_message_1_gives_keys_that_the_replayer_cannot_know(void **state)
{
    (void)state;
    struct world world;
    world_init(&world);
    size_t one = begin(&world);
    int two = answer(&world, world.one, one);
    struct cbx_session first = world.session_b;
    uint8_t answer_1[CBX_HANDSHAKE_MESSAGE_MAX];
    memcpy(answer_1, world.two, sizeof answer_1);
    assert_int_equal(answer(&world, world.one, one), two);
    assert_memory_not_equal(first.id, world.session_b.id, CBX_SESSION_ID_SIZE);
    assert_memory_not_equal(first.root_send, world.session_b.root_send, 32);
    assert_int_equal(finish(&world, answer_1, (size_t)two), 0);
    assert_memory_equal(world.session_a.id, first.id, CBX_SESSION_ID_SIZE);
}

static void
an_answer_serves_only_the_handshake_it_answers(void **state)
{
    (void)state;
    struct world old;
    struct world new;
    world_init(&old);
    world_init(&new);
    size_t one = begin(&old);
    begin(&new);
    int two = answer(&old, old.one, one);
    assert_int_equal(finish(&new, old.two, (size_t)two), CBX_ERR_AUTH);
    assert_empty(&new.session_a);
    assert_int_equal(finish(&old, old.two, (size_t)two), 0);
}

static void
message_1_for_one_peer_is_nothing_to_another(void **state)
{
    (void)state;
    struct world world;
    struct agent third;
    world_init(&world);
    agent_init(&third, 3);
    size_t length = begin(&world);
    assert_int_equal(cbx_handshake_answer(&third.self, &world.a.seen, world.one, length, world.two,
                                          &world.session_b),
                     CBX_ERR_AUTH);
}

static void
a_handshake_is_good_for_one_message_2(void **state)
{
    (void)state;
    struct world world;
    world_init(&world);
    size_t one = begin(&world);
    size_t two = (size_t)answer(&world, world.one, one);
    world.two[50] ^= 1;
    assert_int_equal(finish(&world, world.two, two), CBX_ERR_AUTH);
    assert_true(sodium_is_zero(world.handshake.noise.static_secret, 32));
    world.two[50] ^= 1;
    assert_int_equal(finish(&world, world.two, two), CBX_ERR_STATE);
    world_init(&world);
    complete(&world);
    assert_true(sodium_is_zero(world.handshake.noise.chaining_key, 64));
    assert_int_equal(finish(&world, world.two, two), CBX_ERR_STATE);
}

static void
finishing_what_never_began_is_refused(void **state)
{
    (void)state;
    struct world world;
    world_init(&world);
    assert_int_equal(finish(&world, world.two, 100), CBX_ERR_STATE);
    cbx_handshake_wipe(&world.handshake);
    assert_int_equal(finish(&world, world.two, 100), CBX_ERR_STATE);
}

static void
odd_first_payloads_are_refused(void **state)
{
    (void)state;
    static const struct {
        const char *what;
        const char *bytes;
        size_t length;
    } odd[] = {
#define ODD(what, text) {what, text, sizeof(text) - 1}
        ODD("empty", ""),
        ODD("nil", "\xc0"),
        ODD("version 2", "\x94\x02" INCARNATION "\xc4\x01\x01\x07"),
        ODD("version 0", "\x94\x00" INCARNATION "\xc4\x01\x01\x07"),
        ODD("negative version", "\x94\xff" INCARNATION "\xc4\x01\x01\x07"),
        ODD("version as float", "\x94\xca\x3f\x80\x00\x00" INCARNATION "\xc4\x01\x01\x07"),
        ODD("no cipher", "\x94\x01" INCARNATION "\xc4\x00\x07"),
        ODD("nine ciphers",
            "\x94\x01" INCARNATION "\xc4\x09\x01\x02\x03\x04\x05\x06\x07\x08\x09\x07"),
        ODD("ciphers as text", "\x94\x01" INCARNATION "\xa1\x01\x07"),
        ODD("ciphers as array", "\x94\x01" INCARNATION "\x91\x01\x07"),
        ODD("incarnation of 15", "\x94\x01\xc4\x0f"
                                 "0123456789abcde"
                                 "\xc4\x01\x01\x07"),
        ODD("incarnation of 17", "\x94\x01\xc4\x11"
                                 "0123456789abcdefg"
                                 "\xc4\x01\x01\x07"),
        ODD("incarnation as text", "\x94\x01\xb0"
                                   "0123456789abcdef"
                                   "\xc4\x01\x01\x07"),
        ODD("serial as text", "\x94\x01" INCARNATION "\xc4\x01\x01\xa1\x37"),
        ODD("serial negative", "\x94\x01" INCARNATION "\xc4\x01\x01\xe0"),
        ODD("three elements", "\x93\x01" INCARNATION "\xc4\x01\x01"),
        ODD("a choice in message 1", "\x95\x01" INCARNATION "\xc4\x01\x01\x07\x01"),
        ODD("a missing element", "\x94\x01" INCARNATION "\xc4\x01\x01"),
        ODD("a trailing byte", "\x94\x01" INCARNATION "\xc4\x01\x01\x07\x00"),
        ODD("a map", "\x82\x01" INCARNATION "\xc4\x01\x01\x07"),
        ODD("4 GiB announced", "\xdd\xff\xff\xff\xff"),
        ODD("a bin beyond the end", "\x94\x01\xc6\xff\xff\xff\xff"
                                    "0123"),
        ODD("deep", "\x91\x91\x91\x91\x91\x91\x91\x91\x91\x91\x91\x01"),
    };
    for (size_t i = 0; i < sizeof odd / sizeof odd[0]; i++) {
        int code = answer_to_payload((const uint8_t *)odd[i].bytes, odd[i].length);
        if (code != CBX_ERR_FORMAT)
            fail_msg("%s gave %d", odd[i].what, code);
    }
    assert_true(answer_to_payload(PAYLOAD("\x94\x01" INCARNATION "\xc4\x01\x01\x07")) > 0);
    assert_true(
        answer_to_payload(PAYLOAD(
            "\x94\x01" INCARNATION
            "\xc4\x08\x01\x02\x03\x04\x05\x06\x07\x08\xcf\xff\xff\xff\xff\xff\xff\xff\xff")) > 0);
}

static void
odd_second_payloads_are_refused(void **state)
{
    (void)state;
    static const struct {
        const char *what;
        const char *bytes;
        size_t length;
    } odd[] = {
        ODD("no choice", "\x94\x01" INCARNATION "\xc4\x01\x01\x07"),
        ODD("choice none", "\x95\x01" INCARNATION "\xc4\x01\x01\x07\x00"),
        ODD("choice unknown", "\x95\x01" INCARNATION "\xc4\x01\x03\x07\x03"),
        ODD("choice 257", "\x95\x01" INCARNATION "\xc4\x01\x01\x07\xcd\x01\x01"),
        ODD("choice negative", "\x95\x01" INCARNATION "\xc4\x01\x01\x07\xff"),
        ODD("choice as text", "\x95\x01" INCARNATION "\xc4\x01\x01\x07\xa1\x01"),
        ODD("version 2", "\x95\x02" INCARNATION "\xc4\x01\x01\x07\x01"),
        ODD("six elements", "\x96\x01" INCARNATION "\xc4\x01\x01\x07\x01\x01"),
        ODD("no cipher", "\x95\x01" INCARNATION "\xc4\x00\x07\x01"),
        ODD("a trailing byte", "\x95\x01" INCARNATION "\xc4\x01\x01\x07\x01\x01"),
#undef ODD
    };
    for (size_t i = 0; i < sizeof odd / sizeof odd[0]; i++) {
        int code = finish_with_payload((const uint8_t *)odd[i].bytes, odd[i].length);
        if (code != CBX_ERR_FORMAT)
            fail_msg("%s gave %d", odd[i].what, code);
    }
    assert_int_equal(finish_with_payload(PAYLOAD("\x95\x01" INCARNATION "\xc4\x01\x01\x07\x02")),
                     0);
}

static void
a_chosen_cipher_that_was_not_offered_is_refused(void **state)
{
    (void)state;
    struct world world;
    struct cbx_noise noise;
    uint8_t plain[CBX_NOISE_PAYLOAD_MAX];
    static const char payload[] = "\x95\x01" INCARNATION "\xc4\x02\x01\x02\x07\x02";
    world_init(&world);
    world.a.self.cipher_count = 1; /* AES alone; the answer chooses ChaCha20 */
    size_t one = begin(&world);
    raw_noise(&noise, false, &world.b, &world.a);
    assert_true(cbx_noise_read(&noise, world.one, one, plain) > 0);
    int two = cbx_noise_write(&noise, PAYLOAD(payload), world.two);
    assert_int_equal(finish(&world, world.two, (size_t)two), CBX_ERR_FORMAT);
    assert_empty(&world.session_a);
}

static void
record_keys_differ_by_every_input(void **state)
{
    (void)state;
    uint8_t root[32] = {1};
    uint8_t stream[CBX_STREAM_ID_SIZE] = {2};
    uint8_t key[6][32];
    cbx_record_key(root, stream, 0, CBX_CLASS_DATA, key[0]);
    cbx_record_key(root, stream, 0, CBX_CLASS_CONTROL, key[1]);
    cbx_record_key(root, stream, 1, CBX_CLASS_DATA, key[2]);
    cbx_record_key(root, stream, (uint64_t)1 << 56, CBX_CLASS_DATA, key[3]);
    stream[39] ^= 1;
    cbx_record_key(root, stream, 0, CBX_CLASS_DATA, key[4]);
    stream[39] ^= 1;
    root[31] ^= 1;
    cbx_record_key(root, stream, 0, CBX_CLASS_DATA, key[5]);
    for (size_t i = 0; i < 6; i++)
        for (size_t j = i + 1; j < 6; j++)
            assert_memory_not_equal(key[i], key[j], 32);
}

/* BLAKE2b-256 keyed with the root over exactly these 61 bytes. */
static void
a_record_key_is_the_hash_that_the_protocol_names(void **state)
{
    (void)state;
    uint8_t input[61] = "cbx record 1";
    uint8_t root[32];
    uint8_t expected[32];
    uint8_t key[32];
    for (size_t i = 0; i < 32; i++)
        root[i] = (uint8_t)i;
    for (size_t i = 0; i < CBX_STREAM_ID_SIZE; i++)
        input[12 + i] = (uint8_t)(100 + i);
    memcpy(input + 52, "\x01\x02\x03\x04\x05\x06\x07\x08\x01", 9);
    crypto_generichash(expected, 32, input, sizeof input, root, 32);
    cbx_record_key(root, input + 12, 0x0102030405060708, CBX_CLASS_CONTROL, key);
    assert_memory_equal(key, expected, 32);
    static const char fixed[] = "5179eb9ac7a93d8589ee13b8455d14bd6cf16d42b1b44e1039a647825d989a98";
    char text[65];
    sodium_bin2hex(text, sizeof text, key, 32);
    assert_string_equal(text, fixed);
}

static void
a_stream_id_is_two_lives_and_a_counter(void **state)
{
    (void)state;
    uint8_t id[CBX_STREAM_ID_SIZE];
    static const uint8_t dialer[16] = {[0] = 'd', [15] = 'D'};
    static const uint8_t target[16] = {[0] = 't', [15] = 'T'};
    cbx_stream_id(dialer, target, 0x0102030405060708, id);
    assert_memory_equal(id, dialer, 16);
    assert_memory_equal(id + 16, target, 16);
    assert_memory_equal(id + 32, "\x01\x02\x03\x04\x05\x06\x07\x08", 8);
    assert_int_equal(cbx_stream_id_counter(id), 0x0102030405060708);
    cbx_stream_id(dialer, target, UINT64_MAX, id);
    assert_true(cbx_stream_id_counter(id) == UINT64_MAX);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(both_ends_hold_the_same_session),
        cmocka_unit_test(each_handshake_gives_fresh_roots),
        cmocka_unit_test(the_session_id_is_the_beginning_of_the_handshake_hash),
        cmocka_unit_test(where_the_two_orders_differ_it_is_chacha20),
        cmocka_unit_test(unknown_ciphers_are_skipped_on_both_sides),
        cmocka_unit_test(no_cipher_in_common_is_told_apart),
        cmocka_unit_test(an_own_list_that_is_empty_or_too_long_is_refused),
        cmocka_unit_test(a_flipped_byte_anywhere_in_message_1_is_refused),
        cmocka_unit_test(a_flipped_byte_anywhere_in_message_2_is_refused),
        cmocka_unit_test(truncated_and_lengthened_messages_are_refused),
        cmocka_unit_test(another_pond_chain_or_key_is_refused),
        cmocka_unit_test(an_own_message_1_that_comes_back_is_refused),
        cmocka_unit_test(all_zero_and_low_order_ephemerals_are_refused),
        cmocka_unit_test(a_peer_with_a_low_order_key_is_refused),
        cmocka_unit_test(a_replayed_message_1_gives_keys_that_the_replayer_cannot_know),
        cmocka_unit_test(an_answer_serves_only_the_handshake_it_answers),
        cmocka_unit_test(message_1_for_one_peer_is_nothing_to_another),
        cmocka_unit_test(a_handshake_is_good_for_one_message_2),
        cmocka_unit_test(finishing_what_never_began_is_refused),
        cmocka_unit_test(odd_first_payloads_are_refused),
        cmocka_unit_test(odd_second_payloads_are_refused),
        cmocka_unit_test(a_chosen_cipher_that_was_not_offered_is_refused),
        cmocka_unit_test(record_keys_differ_by_every_input),
        cmocka_unit_test(a_record_key_is_the_hash_that_the_protocol_names),
        cmocka_unit_test(a_stream_id_is_two_lives_and_a_counter),
    };
    if (sodium_init() < 0)
        return 1;
    return cmocka_run_group_tests(tests, NULL, NULL);
}
