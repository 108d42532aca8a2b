/* SPDX-License-Identifier: MIT */
/*
 * A certificate is context, one msgpack array, then one or two raw signatures over all that stands
 * before them. Reading goes in this order, so that unsigned bytes reach as little code as possible:
 * context, signature, msgpack, fields. The one exception is the peer certificate's own key: its
 * signature is checked when the body, already signed by the invite's key, has been read.
 */
#include "common/trust/trust.h"

#include "common/base/mpio.h"

#include <sodium.h>
#include <string.h>

enum {
    ROLE_MAX = 27, /* rule 2: leaves room for "-" and 13 characters in a slug */
};

/* Elements of the two arrays, in their order (PROTOCOL.md, "Certificates"). */
enum invite_element {
    INVITE_POND,
    INVITE_SLUG,
    INVITE_ROLE,
    INVITE_EXPOSE,
    INVITE_LABELS,
    INVITE_USES,
    INVITE_SERIAL,
    INVITE_ISSUED,
    INVITE_JOIN_BY,
    INVITE_ENDS,
    INVITE_SIGNING_KEY,
    INVITE_ELEMENTS
};
enum peer_element {
    PEER_POND,
    PEER_SLUG,
    PEER_IDENTITY,
    PEER_EXCHANGE,
    PEER_EXPOSE,
    PEER_ISSUED,
    PEER_ENDS,
    PEER_INVITE_HASH,
    PEER_ELEMENTS
};

static const char invite_context[] = "cbx invite 1";
static const char peer_context[] = "cbx peer 1";
static const char chain_context[] = "cbx chain 1";

/* The year 9999: later times are not times, and sums with them must not overflow. */
static const uint64_t time_max = 253402300799;

bool
cbx_labels_valid(const char *text, size_t length)
{
    if (length > CBX_LABELS_TEXT_MAX)
        return false;
    size_t begin = 0; /* of the item being read */
    bool has_equals = false;
    for (size_t i = 0; i < length; i++) {
        if (text[i] < 0x20 || text[i] > 0x7e)
            return false;
        if (text[i] == '=') {
            if (i == begin)
                return false;
            has_equals = true;
        } else if (text[i] == ',') {
            if (!has_equals)
                return false;
            begin = i + 1;
            has_equals = false;
        }
    }
    return length == 0 || has_equals;
}

/*
 * False for public keys whose agreement is zero for every secret, and for second spellings of a
 * key (high bit set, or not reduced): the registry compares keys as bytes.
 */
static bool
exchange_key_valid(const uint8_t key[32])
{
    static const uint8_t scalar[32] = {8, [31] = 0x40};
    uint8_t shared[32];
    bool ones = key[0] >= 0xed && key[31] == 0x7f;
    for (size_t i = 1; i < 31; i++)
        ones = ones && key[i] == 0xff;
    if (ones || (key[31] & 0x80) != 0)
        return false;
    return crypto_scalarmult(shared, scalar, key) == 0 && !sodium_is_zero(shared, sizeof shared);
}

static bool
text_slug_valid(const char *text)
{
    return cbx_slug_valid(text, strlen(text));
}

/* Times are compared as unsigned too, which refuses negative ones. */
static bool
time_valid(int64_t time)
{
    return (uint64_t)time <= time_max;
}

static const char *
invite_fault(const struct cbx_invite_cert *cert)
{
    if (!text_slug_valid(cert->pond))
        return "illegal pond name";
    if ((cert->slug[0] != '\0') == (cert->role[0] != '\0'))
        return "must name a slug or a role, and not both";
    if (cert->slug[0] != '\0' && !text_slug_valid(cert->slug))
        return "illegal slug";
    if (cert->role[0] != '\0' && (!text_slug_valid(cert->role) || strlen(cert->role) > ROLE_MAX))
        return "illegal role";
    if (cert->uses < 1 || (cert->slug[0] != '\0' && cert->uses != 1))
        return "illegal number of uses";
    if (!cbx_labels_valid(cert->labels, strlen(cert->labels)))
        return "illegal labels";
    if (!time_valid(cert->issued) || !time_valid(cert->join_by) || !time_valid(cert->ends))
        return "illegal time";
    return NULL;
}

static const char *
peer_fault(const struct cbx_peer_cert *cert)
{
    if (!text_slug_valid(cert->pond))
        return "illegal pond name";
    if (!text_slug_valid(cert->slug))
        return "illegal slug";
    if (!exchange_key_valid(cert->exchange))
        return "illegal X25519 key";
    if (!time_valid(cert->issued) || !time_valid(cert->ends))
        return "illegal time";
    return NULL;
}

/* Encoding. */

struct signer {
    struct cbx_mpbuf buffer;
    msgpack_packer packer;
};

static void
sign_begin(struct signer *signer, struct cbx_cert *out, const char *context, size_t elements)
{
    memset(out, 0, sizeof *out);
    signer->buffer = (struct cbx_mpbuf){.bytes = out->bytes, .size = sizeof out->bytes};
    cbx_mpbuf_add(&signer->buffer, context, strlen(context));
    msgpack_packer_init(&signer->packer, &signer->buffer, cbx_mpbuf_write);
    msgpack_pack_array(&signer->packer, elements);
}

static int
sign_end(struct signer *signer, struct cbx_cert *out, const struct cbx_keypair *first,
         const struct cbx_keypair *second)
{
    const struct cbx_keypair *const keys[2] = {first, second};
    size_t body_length = signer->buffer.length;
    for (size_t i = 0; i < 2 && keys[i] != NULL && !signer->buffer.full; i++) {
        uint8_t signature[CBX_SIGNATURE_SIZE];
        (void)crypto_sign_detached(signature, NULL, out->bytes, body_length, keys[i]->secret_key);
        cbx_mpbuf_add(&signer->buffer, signature, sizeof signature);
    }
    if (signer->buffer.full)
        return CBX_ERR_LIMIT;
    out->length = (uint16_t)signer->buffer.length;
    return 0;
}

int
cbx_invite_cert_sign(const struct cbx_invite_cert *cert, const struct cbx_keypair *pond_key,
                     struct cbx_cert *out)
{
    char expose[CBX_EXPOSE_TEXT_MAX];
    if (invite_fault(cert))
        return CBX_ERR_FORMAT;
    if (cbx_expose_format(&cert->expose, expose, sizeof expose) < 0)
        return CBX_ERR_LIMIT;
    struct signer signer;
    sign_begin(&signer, out, invite_context, INVITE_ELEMENTS);
    msgpack_packer *packer = &signer.packer;
    cbx_mp_pack_text(packer, cert->pond);
    cbx_mp_pack_text(packer, cert->slug);
    cbx_mp_pack_text(packer, cert->role);
    cbx_mp_pack_text(packer, expose);
    cbx_mp_pack_text(packer, cert->labels);
    msgpack_pack_uint32(packer, cert->uses);
    msgpack_pack_uint64(packer, cert->serial);
    msgpack_pack_uint64(packer, (uint64_t)cert->issued);
    msgpack_pack_uint64(packer, (uint64_t)cert->join_by);
    msgpack_pack_uint64(packer, (uint64_t)cert->ends);
    cbx_mp_pack_bin(packer, cert->signing_key, sizeof cert->signing_key);
    return sign_end(&signer, out, pond_key, NULL);
}

int
cbx_peer_cert_sign(const struct cbx_peer_cert *cert, const struct cbx_keypair *signing_key,
                   const struct cbx_keypair *identity, struct cbx_cert *out)
{
    char expose[CBX_EXPOSE_TEXT_MAX];
    if (peer_fault(cert))
        return CBX_ERR_FORMAT;
    if (cbx_expose_format(&cert->expose, expose, sizeof expose) < 0)
        return CBX_ERR_LIMIT;
    struct signer signer;
    sign_begin(&signer, out, peer_context, PEER_ELEMENTS);
    msgpack_packer *packer = &signer.packer;
    cbx_mp_pack_text(packer, cert->pond);
    cbx_mp_pack_text(packer, cert->slug);
    cbx_mp_pack_bin(packer, cert->identity, sizeof cert->identity);
    cbx_mp_pack_bin(packer, cert->exchange, sizeof cert->exchange);
    cbx_mp_pack_text(packer, expose);
    msgpack_pack_uint64(packer, (uint64_t)cert->issued);
    msgpack_pack_uint64(packer, (uint64_t)cert->ends);
    cbx_mp_pack_bin(packer, cert->invite_hash, sizeof cert->invite_hash);
    return sign_end(&signer, out, signing_key, identity);
}

/* Decoding. */

/* The parts of a received object, all borrowed. */
struct parts {
    const uint8_t *body; /* what is signed: context and array */
    size_t body_length;
    const uint8_t *array;
    size_t array_length;
    const uint8_t *signatures;
};

static bool
is_digit(uint8_t byte)
{
    return byte >= '0' && byte <= '9';
}

static int
take_parts(const uint8_t *bytes, size_t length, const char *context, size_t signatures,
           const char *what, struct parts *parts, struct cbx_error *error)
{
    size_t context_length = strlen(context);
    size_t tail = signatures * CBX_SIGNATURE_SIZE;
    int code = CBX_ERR_FORMAT;
    const char *fault = NULL;
    if (length > CBX_CERT_MAX) {
        fault = "too long";
    } else if (length < context_length + 1 + tail) {
        fault = "too short";
    } else if (memcmp(bytes, context, context_length - 1) != 0) {
        code = CBX_ERR_AUTH;
        fault = "another kind of object";
    } else if (bytes[context_length - 1] != '1' || is_digit(bytes[context_length])) {
        /* An array never begins with a digit, so the next byte tells "1" from "12". */
        fault = "unknown version; a newer cbx may read it";
    }
    if (fault) {
        (void)cbx_fail(error, code, "%s: %s", what, fault);
        return code;
    }
    parts->body = bytes;
    parts->body_length = length - tail;
    parts->array = bytes + context_length;
    parts->array_length = parts->body_length - context_length;
    parts->signatures = bytes + parts->body_length;
    return 0;
}

static bool
signature_holds(const struct parts *parts, size_t index, const uint8_t key[32])
{
    return crypto_sign_verify_detached(parts->signatures + index * CBX_SIGNATURE_SIZE, parts->body,
                                       parts->body_length, key) == 0;
}

static bool
read_time(const msgpack_object *object, int64_t *out)
{
    uint64_t value;
    if (!cbx_mp_uint(object, time_max, &value))
        return false;
    *out = (int64_t)value;
    return true;
}

static bool
read_expose(const msgpack_object *object, struct cbx_expose *out)
{
    char text[CBX_EXPOSE_TEXT_MAX];
    return cbx_mp_text(object, text, sizeof text) && cbx_expose_add(out, text, NULL) == 0;
}

static bool
read_invite(const msgpack_object *field, struct cbx_invite_cert *out)
{
    uint64_t uses;
    if (!cbx_mp_text(&field[INVITE_POND], out->pond, sizeof out->pond) ||
        !cbx_mp_text(&field[INVITE_SLUG], out->slug, sizeof out->slug) ||
        !cbx_mp_text(&field[INVITE_ROLE], out->role, sizeof out->role) ||
        !read_expose(&field[INVITE_EXPOSE], &out->expose) ||
        !cbx_mp_text(&field[INVITE_LABELS], out->labels, sizeof out->labels) ||
        !cbx_mp_uint(&field[INVITE_USES], UINT32_MAX, &uses) ||
        !cbx_mp_uint(&field[INVITE_SERIAL], UINT64_MAX, &out->serial) ||
        !read_time(&field[INVITE_ISSUED], &out->issued) ||
        !read_time(&field[INVITE_JOIN_BY], &out->join_by) ||
        !read_time(&field[INVITE_ENDS], &out->ends) ||
        !cbx_mp_bin(&field[INVITE_SIGNING_KEY], out->signing_key, sizeof out->signing_key))
        return false;
    out->uses = (uint32_t)uses;
    return true;
}

static bool
read_peer(const msgpack_object *field, struct cbx_peer_cert *out)
{
    return cbx_mp_text(&field[PEER_POND], out->pond, sizeof out->pond) &&
           cbx_mp_text(&field[PEER_SLUG], out->slug, sizeof out->slug) &&
           cbx_mp_bin(&field[PEER_IDENTITY], out->identity, sizeof out->identity) &&
           cbx_mp_bin(&field[PEER_EXCHANGE], out->exchange, sizeof out->exchange) &&
           read_expose(&field[PEER_EXPOSE], &out->expose) &&
           read_time(&field[PEER_ISSUED], &out->issued) &&
           read_time(&field[PEER_ENDS], &out->ends) &&
           cbx_mp_bin(&field[PEER_INVITE_HASH], out->invite_hash, sizeof out->invite_hash);
}

static int
decode_failed(int result, const char *what, struct cbx_error *error)
{
    if (result == CBX_ERR_NOMEM)
        return cbx_fail(error, result, "%s: out of memory", what);
    return cbx_fail(error, CBX_ERR_FORMAT, "%s: malformed", what);
}

int
cbx_invite_cert_open(const uint8_t *bytes, size_t length, const uint8_t pond_public[32],
                     struct cbx_invite_cert *out, struct cbx_error *error)
{
    static const char what[] = "invite certificate";
    struct parts parts = {0};
    memset(out, 0, sizeof *out);
    int result = take_parts(bytes, length, invite_context, 1, what, &parts, error);
    if (result != 0)
        return result;
    if (!signature_holds(&parts, 0, pond_public))
        return cbx_fail(error, CBX_ERR_AUTH, "%s: not signed by the pond's key", what);
    msgpack_zone zone;
    const msgpack_object *field;
    struct cbx_invite_cert cert = {0};
    result = cbx_mp_array(parts.array, parts.array_length, INVITE_ELEMENTS, 1, &zone, &field);
    if (result != 0)
        return decode_failed(result, what, error);
    bool read = read_invite(field, &cert);
    msgpack_zone_destroy(&zone);
    if (!read)
        return decode_failed(CBX_ERR_FORMAT, what, error);
    const char *fault = invite_fault(&cert);
    if (fault)
        return cbx_fail(error, CBX_ERR_FORMAT, "%s: %s", what, fault);
    *out = cert;
    return 0;
}

static int
peer_open(const struct cbx_cert *cert, const uint8_t signing_key[32], struct cbx_peer_cert *out,
          struct cbx_error *error)
{
    static const char what[] = "peer certificate";
    struct parts parts = {0};
    int result = take_parts(cert->bytes, cert->length, peer_context, 2, what, &parts, error);
    if (result != 0)
        return result;
    if (!signature_holds(&parts, 0, signing_key))
        return cbx_fail(error, CBX_ERR_AUTH, "%s: not signed by the invite's key", what);
    msgpack_zone zone;
    const msgpack_object *field;
    result = cbx_mp_array(parts.array, parts.array_length, PEER_ELEMENTS, 1, &zone, &field);
    if (result != 0)
        return decode_failed(result, what, error);
    bool read = read_peer(field, out);
    msgpack_zone_destroy(&zone);
    if (!read)
        return decode_failed(CBX_ERR_FORMAT, what, error);
    if (!signature_holds(&parts, 1, out->identity))
        return cbx_fail(error, CBX_ERR_AUTH, "%s: not signed by its own identity", what);
    const char *fault = peer_fault(out);
    if (fault)
        return cbx_fail(error, CBX_ERR_FORMAT, "%s: %s", what, fault);
    return 0;
}

static int
check_bond(const struct cbx_cert *invite_bytes, const struct cbx_invite_cert *invite,
           const struct cbx_peer_cert *peer, struct cbx_error *error)
{
    uint8_t hash[CBX_HASH_SIZE];
    const char *fault = NULL;
    cbx_cert_hash(invite_bytes->bytes, invite_bytes->length, hash);
    if (sodium_memcmp(hash, peer->invite_hash, sizeof hash) != 0)
        fault = "belongs to another invite";
    else if (strcmp(peer->pond, invite->pond) != 0)
        fault = "names another pond than its invite";
    else if (strcmp(peer->slug, invite->slug) != 0)
        fault = "names another slug than its invite";
    else if (!cbx_expose_within(&peer->expose, &invite->expose))
        fault = "exposes more than its invite allows";
    else if (peer->ends > invite->ends)
        fault = "ends after its invite";
    if (fault)
        return cbx_fail(error, CBX_ERR_AUTH, "peer certificate: %s", fault);
    return 0;
}

int
cbx_chain_open(const struct cbx_cert *invite, const struct cbx_cert *peer,
               const uint8_t pond_public[32], int64_t now_unix, struct cbx_invite_cert *invite_out,
               struct cbx_peer_cert *peer_out, struct cbx_error *error)
{
    struct cbx_invite_cert invite_cert;
    struct cbx_peer_cert peer_cert = {0};
    int result =
        cbx_invite_cert_open(invite->bytes, invite->length, pond_public, &invite_cert, error);
    if (result == 0)
        result = peer_open(peer, invite_cert.signing_key, &peer_cert, error);
    if (result == 0)
        result = check_bond(invite, &invite_cert, &peer_cert, error);
    if (result == 0 && now_unix > peer_cert.ends + CBX_CLOCK_GRACE_S)
        result = cbx_fail(error, CBX_ERR_EXPIRED, "peer certificate: past its end");
    if (result != 0)
        return result;
    if (invite_out)
        *invite_out = invite_cert;
    if (peer_out)
        *peer_out = peer_cert;
    return 0;
}

/* Hashes. */

void
cbx_cert_hash(const uint8_t *bytes, size_t length, uint8_t out[32])
{
    (void)crypto_generichash(out, CBX_HASH_SIZE, bytes, length, NULL, 0);
}

static void
hash_cert(crypto_generichash_state *state, const struct cbx_cert *cert)
{
    const uint8_t length[4] = {0, 0, (uint8_t)(cert->length >> 8), (uint8_t)cert->length};
    (void)crypto_generichash_update(state, length, sizeof length);
    (void)crypto_generichash_update(state, cert->bytes, cert->length);
}

void
cbx_chain_hash(const struct cbx_cert *invite, const struct cbx_cert *peer, uint8_t out[32])
{
    crypto_generichash_state state;
    (void)crypto_generichash_init(&state, NULL, 0, CBX_HASH_SIZE);
    (void)crypto_generichash_update(&state, (const uint8_t *)chain_context,
                                    sizeof chain_context - 1);
    hash_cert(&state, invite);
    hash_cert(&state, peer);
    (void)crypto_generichash_final(&state, out, CBX_HASH_SIZE);
}
