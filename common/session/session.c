/* SPDX-License-Identifier: MIT */
/*
 * Sessions: what Noise KK carries (prologue and payloads) and what is made of its result.
 *
 * Initiator: begin -> (message 1) ... (message 2) -> finish. Responder: answer, in one step, so it
 * keeps nothing of a handshake but the session. A handshake belongs to its caller and is good for
 * one message 2, right or wrong. Replaying message 1 makes the responder draw a fresh ephemeral
 * key, so it gives a session whose keys the replayer cannot know; that a responder waits for the
 * initiator's first record before it sends is the caller's rule (rule 13).
 */
#include "common/session/session.h"
#include "common/base/bytes.h"
#include "common/base/mpscan.h"
#include <msgpack.h>
#include <sodium.h>
#include <string.h>

enum {
    PAYLOAD_VERSION = 1,
    PAYLOAD_MAX = 64, /* what this version writes: at most 1 + 1 + 18 + 10 + 9 + 1 */
    SCAN_ELEMENTS_MAX = 16,
    SCAN_DEPTH_MAX = 2,
    PROLOGUE_SIZE = 5 + 32 + 32 + 32,
};

/* Elements of a message's payload; the cipher chosen is only in message 2. */
enum payload_element {
    PAYLOAD_AT_VERSION,
    PAYLOAD_AT_INCARNATION,
    PAYLOAD_AT_CIPHERS,
    PAYLOAD_AT_SERIAL,
    PAYLOAD_AT_CHOSEN,
    PAYLOAD_ELEMENTS
};

static uint32_t
payload_elements(bool with_choice)
{
    return with_choice ? PAYLOAD_ELEMENTS : PAYLOAD_AT_CHOSEN;
}

/* One handshake payload. chosen stays CBX_CIPHER_NONE in message 1. */
struct payload {
    uint8_t incarnation[CBX_INCARNATION_SIZE];
    uint8_t cipher[CBX_CIPHERS_MAX];
    uint8_t cipher_count;
    uint64_t serial;
    uint64_t chosen;
};

/* --- payloads on the wire -------------------------------------------------------------------- */

struct fixed_buffer {
    uint8_t bytes[PAYLOAD_MAX];
    size_t length;
};

static int
fixed_write(void *data, const char *bytes, size_t length)
{
    struct fixed_buffer *buffer = data;
    if (length > sizeof buffer->bytes - buffer->length)
        return -1;
    memcpy(buffer->bytes + buffer->length, bytes, length);
    buffer->length += length;
    return 0;
}

static int
payload_encode(const struct cbx_session_self *self, enum cbx_cipher chosen,
               struct fixed_buffer *out)
{
    msgpack_packer packer;
    msgpack_packer_init(&packer, out, fixed_write);
    out->length = 0;
    int bad = msgpack_pack_array(&packer, payload_elements(chosen != CBX_CIPHER_NONE));
    bad |= msgpack_pack_uint8(&packer, PAYLOAD_VERSION);
    bad |= msgpack_pack_bin(&packer, CBX_INCARNATION_SIZE);
    bad |= msgpack_pack_bin_body(&packer, self->incarnation, CBX_INCARNATION_SIZE);
    bad |= msgpack_pack_bin(&packer, self->cipher_count);
    bad |= msgpack_pack_bin_body(&packer, self->cipher, self->cipher_count);
    bad |= msgpack_pack_uint64(&packer, self->pond_serial);
    if (chosen != CBX_CIPHER_NONE)
        bad |= msgpack_pack_uint8(&packer, (uint8_t)chosen);
    return bad == 0 ? 0 : CBX_ERR_LIMIT;
}

static bool
is_uint(const msgpack_object *object)
{
    return object->type == MSGPACK_OBJECT_POSITIVE_INTEGER;
}

static bool
is_bin(const msgpack_object *object, uint32_t least, uint32_t most)
{
    return object->type == MSGPACK_OBJECT_BIN && object->via.bin.size >= least &&
           object->via.bin.size <= most;
}

static int
payload_read(const msgpack_object *root, bool with_choice, struct payload *out)
{
    if (root->type != MSGPACK_OBJECT_ARRAY || root->via.array.size != payload_elements(with_choice))
        return CBX_ERR_FORMAT;
    const msgpack_object *item = root->via.array.ptr;
    if (!is_uint(&item[PAYLOAD_AT_VERSION]) ||
        item[PAYLOAD_AT_VERSION].via.u64 != PAYLOAD_VERSION ||
        !is_bin(&item[PAYLOAD_AT_INCARNATION], CBX_INCARNATION_SIZE, CBX_INCARNATION_SIZE) ||
        !is_bin(&item[PAYLOAD_AT_CIPHERS], 1, CBX_CIPHERS_MAX) ||
        !is_uint(&item[PAYLOAD_AT_SERIAL]) || (with_choice && !is_uint(&item[PAYLOAD_AT_CHOSEN])))
        return CBX_ERR_FORMAT;
    memcpy(out->incarnation, item[PAYLOAD_AT_INCARNATION].via.bin.ptr, CBX_INCARNATION_SIZE);
    out->cipher_count = (uint8_t)item[PAYLOAD_AT_CIPHERS].via.bin.size;
    memcpy(out->cipher, item[PAYLOAD_AT_CIPHERS].via.bin.ptr, out->cipher_count);
    out->serial = item[PAYLOAD_AT_SERIAL].via.u64;
    out->chosen = with_choice ? item[PAYLOAD_AT_CHOSEN].via.u64 : CBX_CIPHER_NONE;
    return 0;
}

static int
payload_decode(const uint8_t *bytes, size_t length, bool with_choice, struct payload *out)
{
    size_t used = 0;
    if (cbx_mpscan(bytes, length, SCAN_ELEMENTS_MAX, SCAN_DEPTH_MAX, &used) != 0 || used != length)
        return CBX_ERR_FORMAT;
    int code = CBX_ERR_FORMAT;
    msgpack_unpacked unpacked;
    msgpack_unpacked_init(&unpacked);
    switch (msgpack_unpack_next(&unpacked, (const char *)bytes, length, NULL)) {
    case MSGPACK_UNPACK_SUCCESS:
        code = payload_read(&unpacked.data, with_choice, out);
        break;
    case MSGPACK_UNPACK_NOMEM_ERROR:
        code = CBX_ERR_NOMEM;
        break;
    default:
        break;
    }
    msgpack_unpacked_destroy(&unpacked);
    return code;
}

/* --- ciphers --------------------------------------------------------------------------------- */

static bool
cipher_known(uint64_t cipher)
{
    return cipher == CBX_CIPHER_AES256GCM || cipher == CBX_CIPHER_CHACHA20POLY1305;
}

static bool
cipher_listed(const uint8_t *list, size_t count, uint64_t cipher)
{
    for (size_t i = 0; i < count; i++)
        if (list[i] == cipher)
            return true;
    return false;
}

/* The first of the list that is known and that the other list has. A number we do not know is
 * another version's and is passed over. */
static enum cbx_cipher
cipher_first(const uint8_t *list, size_t count, const uint8_t *other, size_t other_count)
{
    for (size_t i = 0; i < count; i++)
        if (cipher_known(list[i]) && cipher_listed(other, other_count, list[i]))
            return (enum cbx_cipher)list[i];
    return CBX_CIPHER_NONE;
}

/* What both like best. Where they differ it is ChaCha20-Poly1305: never as slow as AES-256-GCM is
 * for a CPU that has no instructions for it. */
static enum cbx_cipher
cipher_choose(const struct cbx_session_self *self, const struct payload *theirs)
{
    enum cbx_cipher ours =
        cipher_first(self->cipher, self->cipher_count, theirs->cipher, theirs->cipher_count);
    enum cbx_cipher other =
        cipher_first(theirs->cipher, theirs->cipher_count, self->cipher, self->cipher_count);
    return ours == other ? ours : CBX_CIPHER_CHACHA20POLY1305;
}

/* --- handshake ------------------------------------------------------------------------------- */

static void
noise_start(struct cbx_noise *noise, bool initiator, const struct cbx_session_self *self,
            const struct cbx_session_peer *peer)
{
    static const char label[] = "cbx/1";
    uint8_t prologue[PROLOGUE_SIZE];
    uint8_t *at = prologue;
    at = (uint8_t *)mempcpy(at, label, sizeof label - 1);
    at = (uint8_t *)mempcpy(at, self->pond_public, 32);
    at = (uint8_t *)mempcpy(at, initiator ? self->chain_hash : peer->chain_hash, 32);
    memcpy(at, initiator ? peer->chain_hash : self->chain_hash, 32);
    cbx_noise_init(noise, initiator, prologue, sizeof prologue, self->exchange_secret,
                   self->exchange_public, peer->exchange_public);
}

static int
session_fill(struct cbx_session *session, const struct cbx_noise *noise,
             const struct payload *theirs, enum cbx_cipher cipher)
{
    uint8_t hash[64];
    int code = cbx_noise_split(noise, session->root_send, session->root_receive, hash);
    if (code != 0)
        return code;
    memcpy(session->id, hash, CBX_SESSION_ID_SIZE);
    memcpy(session->peer_incarnation, theirs->incarnation, CBX_INCARNATION_SIZE);
    session->peer_serial = theirs->serial;
    session->cipher = cipher;
    session->initiator = noise->initiator;
    return 0;
}

int
cbx_handshake_begin(struct cbx_handshake *handshake, const struct cbx_session_self *self,
                    const struct cbx_session_peer *peer, uint8_t *out)
{
    memset(handshake, 0, sizeof *handshake);
    if (self->cipher_count < 1 || self->cipher_count > CBX_CIPHERS_MAX)
        return CBX_ERR_USAGE;
    struct fixed_buffer payload;
    int code = payload_encode(self, CBX_CIPHER_NONE, &payload);
    if (code != 0)
        return code;
    noise_start(&handshake->noise, true, self, peer);
    memcpy(handshake->offered, self->cipher, self->cipher_count);
    handshake->offered_count = self->cipher_count;
    code = cbx_noise_write(&handshake->noise, payload.bytes, payload.length, out);
    if (code < 0)
        cbx_handshake_wipe(handshake);
    return code;
}

/* Everything of an answer between noise_start and the wiping of noise. */
static int
answer(struct cbx_noise *noise, const struct cbx_session_self *self, const uint8_t *message,
       size_t length, uint8_t *out, struct cbx_session *session)
{
    uint8_t plain[CBX_NOISE_PAYLOAD_MAX];
    struct payload theirs;
    struct fixed_buffer ours;
    int code = cbx_noise_read(noise, message, length, plain);
    if (code < 0)
        return code;
    code = payload_decode(plain, (size_t)code, false, &theirs);
    if (code != 0)
        return code;
    enum cbx_cipher cipher = cipher_choose(self, &theirs);
    if (cipher == CBX_CIPHER_NONE)
        return CBX_ERR_NOTFOUND;
    code = payload_encode(self, cipher, &ours);
    if (code != 0)
        return code;
    int written = cbx_noise_write(noise, ours.bytes, ours.length, out);
    if (written < 0)
        return written;
    code = session_fill(session, noise, &theirs, cipher);
    return code != 0 ? code : written;
}

int
cbx_handshake_answer(const struct cbx_session_self *self, const struct cbx_session_peer *peer,
                     const uint8_t *message, size_t length, uint8_t *out,
                     struct cbx_session *session)
{
    memset(session, 0, sizeof *session);
    if (self->cipher_count < 1 || self->cipher_count > CBX_CIPHERS_MAX)
        return CBX_ERR_USAGE;
    struct cbx_noise noise;
    noise_start(&noise, false, self, peer);
    int code = answer(&noise, self, message, length, out, session);
    cbx_noise_wipe(&noise);
    if (code < 0)
        cbx_session_wipe(session);
    return code;
}

static int
finish(struct cbx_handshake *handshake, const uint8_t *message, size_t length,
       struct cbx_session *session)
{
    uint8_t plain[CBX_NOISE_PAYLOAD_MAX];
    struct payload theirs;
    /* Zeroed memory would look like a responder's state before message 1. */
    if (!handshake->noise.initiator)
        return CBX_ERR_STATE;
    int code = cbx_noise_read(&handshake->noise, message, length, plain);
    if (code < 0)
        return code;
    code = payload_decode(plain, (size_t)code, true, &theirs);
    if (code != 0)
        return code;
    if (!cipher_known(theirs.chosen) ||
        !cipher_listed(handshake->offered, handshake->offered_count, theirs.chosen))
        return CBX_ERR_FORMAT;
    return session_fill(session, &handshake->noise, &theirs, (enum cbx_cipher)theirs.chosen);
}

int
cbx_handshake_finish(struct cbx_handshake *handshake, const uint8_t *message, size_t length,
                     struct cbx_session *session)
{
    memset(session, 0, sizeof *session);
    int code = finish(handshake, message, length, session);
    cbx_handshake_wipe(handshake);
    if (code != 0)
        cbx_session_wipe(session);
    return code;
}

void
cbx_handshake_wipe(struct cbx_handshake *handshake)
{
    sodium_memzero(handshake, sizeof *handshake);
    cbx_noise_wipe(&handshake->noise);
}

void
cbx_session_wipe(struct cbx_session *session)
{
    sodium_memzero(session, sizeof *session);
}

/* --- what is derived ------------------------------------------------------------------------- */

void
cbx_record_key(const uint8_t root[32], const uint8_t stream_id[CBX_STREAM_ID_SIZE], uint64_t epoch,
               enum cbx_record_class class, uint8_t out[32])
{
    static const char context[] = "cbx record 1";
    enum { CONTEXT = sizeof context - 1 };
    uint8_t input[CONTEXT + CBX_STREAM_ID_SIZE + 8 + 1];
    memcpy(input, context, CONTEXT);
    memcpy(input + CONTEXT, stream_id, CBX_STREAM_ID_SIZE);
    cbx_put_be64(input + CONTEXT + CBX_STREAM_ID_SIZE, epoch);
    input[sizeof input - 1] = (uint8_t) class;
    crypto_generichash(out, 32, input, sizeof input, root, 32);
}

void
cbx_stream_id(const uint8_t dialer_incarnation[16], const uint8_t target_incarnation[16],
              uint64_t counter, uint8_t out[CBX_STREAM_ID_SIZE])
{
    memcpy(out, dialer_incarnation, CBX_INCARNATION_SIZE);
    memcpy(out + CBX_INCARNATION_SIZE, target_incarnation, CBX_INCARNATION_SIZE);
    cbx_put_be64(out + 2 * CBX_INCARNATION_SIZE, counter);
}

uint64_t
cbx_stream_id_counter(const uint8_t stream_id[CBX_STREAM_ID_SIZE])
{
    return cbx_get_be64(stream_id + 2 * CBX_INCARNATION_SIZE);
}
