/* SPDX-License-Identifier: MIT */
/*
 * Feeds both readers of handshake messages with fixed keys. The first byte picks how: the rest as a
 * whole message (what the hub or a stranger can send), or as a payload that a peer with the right
 * keys has sealed (what a peer gone bad can send, and the only way past the seal to the decoder).
 */
#include "cheap_keys.h"
#include "check.h"
#include "common/session/session.h"
#include <sodium.h>
#include <string.h>

int LLVMFuzzerInitialize(int *argc, char ***argv);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

enum { ANSWER_MESSAGE, FINISH_MESSAGE, ANSWER_PAYLOAD, FINISH_PAYLOAD, WAYS };

struct side {
    uint8_t secret[32];
    uint8_t public_key[32];
    uint8_t chain[32];
    struct cbx_session_self self;
    struct cbx_session_peer seen;
};

static const uint8_t pond[32] = "pond";
static struct side side[2]; /* 0 begins, 1 answers */

static void
side_init(struct side *it, uint8_t fill)
{
    memset(it->secret, fill, 32);
    memset(it->chain, fill, 32);
    crypto_scalarmult_base(it->public_key, it->secret);
    it->self = (struct cbx_session_self){
        .exchange_secret = it->secret,
        .exchange_public = it->public_key,
        .pond_public = pond,
        .chain_hash = it->chain,
        .cipher = {CBX_CIPHER_AES256GCM, CBX_CIPHER_CHACHA20POLY1305},
        .cipher_count = 2,
    };
    it->seen = (struct cbx_session_peer){it->public_key, it->chain};
}

int
LLVMFuzzerInitialize(int *argc, char ***argv)
{
    (void)argc;
    (void)argv;
    cheap_random_install();
    check(sodium_init() >= 0);
    side_init(&side[0], 1);
    side_init(&side[1], 2);
    return 0;
}

static void
noise_of(struct cbx_noise *noise, int who)
{
    uint8_t prologue[101];
    memcpy(prologue, "cbx/1", 5);
    memcpy(prologue + 5, pond, 32);
    memcpy(prologue + 37, side[0].chain, 32);
    memcpy(prologue + 69, side[1].chain, 32);
    cbx_noise_init(noise, who == 0, prologue, sizeof prologue, side[who].secret,
                   side[who].public_key, side[1 - who].public_key);
}

/* What was accepted must be whole: a known cipher, and roots that are not empty. */
static void
check_session(int code, const struct cbx_session *session)
{
    bool empty = sodium_is_zero((const uint8_t *)session, sizeof *session);
    bool known =
        session->cipher == CBX_CIPHER_AES256GCM || session->cipher == CBX_CIPHER_CHACHA20POLY1305;
    check(code < 0 ? empty : known && !sodium_is_zero(session->root_send, 32));
}

static void
feed_answer(const uint8_t *data, size_t size, bool sealed)
{
    uint8_t message[CBX_HANDSHAKE_MESSAGE_MAX];
    uint8_t out[CBX_HANDSHAKE_MESSAGE_MAX];
    struct cbx_session session;
    struct cbx_noise noise;
    if (sealed) {
        noise_of(&noise, 0);
        int length = cbx_noise_write(&noise, data, size, message);
        if (length < 0)
            return;
        data = message;
        size = (size_t)length;
    }
    check_session(cbx_handshake_answer(&side[1].self, &side[0].seen, data, size, out, &session),
                  &session);
}

static void
feed_finish(const uint8_t *data, size_t size, bool sealed)
{
    uint8_t message[CBX_HANDSHAKE_MESSAGE_MAX];
    uint8_t plain[CBX_NOISE_PAYLOAD_MAX];
    struct cbx_handshake handshake;
    struct cbx_session session;
    struct cbx_noise noise;
    int length = cbx_handshake_begin(&handshake, &side[0].self, &side[1].seen, message);
    check(length >= 0);
    if (sealed) {
        noise_of(&noise, 1);
        check(cbx_noise_read(&noise, message, (size_t)length, plain) >= 0);
        length = cbx_noise_write(&noise, data, size, message);
        if (length < 0)
            return;
        data = message;
        size = (size_t)length;
    }
    check_session(cbx_handshake_finish(&handshake, data, size, &session), &session);
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size < 1)
        return 0;
    cheap_random_restart();
    int way = data[0] % WAYS;
    bool sealed = way == ANSWER_PAYLOAD || way == FINISH_PAYLOAD;
    if (way == ANSWER_MESSAGE || way == ANSWER_PAYLOAD)
        feed_answer(data + 1, size - 1, sealed);
    else
        feed_finish(data + 1, size - 1, sealed);
    return 0;
}
