/* SPDX-License-Identifier: MIT */
/*
 * The plain text of the file is one msgpack array: [version, identity (seed || exchange secret, or
 * empty), pending token (text, or ""), submitted membership, membership, known peers]. A membership
 * is [place (a token's text with an all-zero secret), invite certificate, peer certificate], or
 * empty; a known peer [slug, serial, identity]. Plain bytes are wiped wherever they were.
 */
#include "agent/daemon/state.h"

#include "common/base/mpio.h"
#include "common/base/mpscan.h"

#include <sodium.h>
#include <stdlib.h>
#include <string.h>

enum {
    STATE_VERSION = 1,
    STATE_DEPTH = 3,
    IDENTITY_SIZE = 64,
    /* Upper bounds of what is packed, with msgpack's own bytes. */
    FIXED_MAX = 4 * CBX_TOKEN_TEXT_MAX + 4 * CBX_CERT_MAX + 1024,
    KNOWN_SIZE_MAX = CBX_SLUG_MAX + 32 + 32,
};

/* Elements of the arrays, in their order. */
enum state_element {
    STATE_VERSION_ELEMENT,
    STATE_IDENTITY,
    STATE_PENDING,
    STATE_SUBMITTED,
    STATE_JOINED,
    STATE_KNOWN,
    STATE_ELEMENTS
};
enum membership_element {
    MEMBERSHIP_WHERE,
    MEMBERSHIP_INVITE,
    MEMBERSHIP_PEER,
    MEMBERSHIP_ELEMENTS
};
enum known_element { KNOWN_SLUG, KNOWN_SERIAL, KNOWN_IDENTITY, KNOWN_ELEMENTS };

static const char state_kind[] = "cbx agent state";

int
agent_membership_set(struct agent_membership *out, const struct cbx_token *where,
                     const struct cbx_cert *invite_cert, const struct cbx_cert *peer_cert,
                     struct cbx_error *error)
{
    struct agent_membership made = {
        .set = true,
        .where = *where,
        .invite_cert = *invite_cert,
        .peer_cert = *peer_cert,
    };
    sodium_memzero(made.where.secret, sizeof made.where.secret);
    int result = cbx_chain_open(invite_cert, peer_cert, where->pond_public, 0, &made.invite,
                                &made.peer, error);
    if (result == CBX_OK)
        *out = made;
    return result;
}

bool
agent_membership_is_of(const struct agent_membership *membership, const struct cbx_token *token)
{
    struct cbx_keypair login, signing;
    cbx_invite_keys(token->secret, &login, &signing);
    bool same = membership->set &&
                memcmp(signing.public_key, membership->invite.signing_key, CBX_KEY_SIZE) == 0 &&
                memcmp(token->pond_public, membership->where.pond_public, CBX_KEY_SIZE) == 0;
    cbx_keypair_wipe(&login);
    cbx_keypair_wipe(&signing);
    return same;
}

int
agent_state_set_known(struct agent_state *state, const struct mesh_known *known, size_t count)
{
    if (count > AGENT_KNOWN_MAX)
        return CBX_ERR_LIMIT;
    struct mesh_known *copy = NULL;
    if (count > 0) {
        copy = malloc(count * sizeof *copy);
        if (!copy)
            return CBX_ERR_NOMEM;
        memcpy(copy, known, count * sizeof *copy);
    }
    free(state->known);
    state->known = copy;
    state->known_count = count;
    return CBX_OK;
}

void
agent_state_wipe(struct agent_state *state)
{
    free(state->known);
    sodium_memzero(state, sizeof *state);
}

/* ---- packing ---- */

static int
pack_token(msgpack_packer *packer, const struct cbx_token *token)
{
    char text[CBX_TOKEN_TEXT_MAX];
    int result = cbx_token_format(token, text);
    if (result == CBX_OK)
        cbx_mp_pack_text(packer, text);
    sodium_memzero(text, sizeof text);
    return result;
}

static int
pack_membership(msgpack_packer *packer, const struct agent_membership *membership)
{
    if (!membership->set) {
        msgpack_pack_array(packer, 0);
        return CBX_OK;
    }
    msgpack_pack_array(packer, MEMBERSHIP_ELEMENTS);
    int result = pack_token(packer, &membership->where);
    cbx_mp_pack_bin(packer, membership->invite_cert.bytes, membership->invite_cert.length);
    cbx_mp_pack_bin(packer, membership->peer_cert.bytes, membership->peer_cert.length);
    return result;
}

static void
pack_identity(msgpack_packer *packer, const struct agent_state *state)
{
    uint8_t secrets[IDENTITY_SIZE];
    /* libsodium's secret key begins with its seed. */
    memcpy(secrets, state->identity.sign.secret_key, 32);
    memcpy(secrets + 32, state->identity.exchange_secret, 32);
    cbx_mp_pack_bin(packer, secrets, state->has_identity ? sizeof secrets : 0);
    sodium_memzero(secrets, sizeof secrets);
}

static int
pack_state(struct cbx_mpbuf *buffer, const struct agent_state *state)
{
    msgpack_packer packer;
    msgpack_packer_init(&packer, buffer, cbx_mpbuf_write);
    msgpack_pack_array(&packer, STATE_ELEMENTS);
    msgpack_pack_unsigned_int(&packer, STATE_VERSION);
    pack_identity(&packer, state);
    int result = CBX_OK;
    if (state->has_pending)
        result = pack_token(&packer, &state->pending);
    else
        cbx_mp_pack_text(&packer, "");
    if (result == CBX_OK)
        result = pack_membership(&packer, &state->submitted);
    if (result == CBX_OK)
        result = pack_membership(&packer, &state->joined);
    msgpack_pack_array(&packer, state->known_count);
    for (size_t i = 0; i < state->known_count; i++) {
        msgpack_pack_array(&packer, KNOWN_ELEMENTS);
        cbx_mp_pack_text(&packer, state->known[i].slug);
        msgpack_pack_uint64(&packer, state->known[i].serial);
        cbx_mp_pack_bin(&packer, state->known[i].identity, sizeof state->known[i].identity);
    }
    return result != CBX_OK ? result : buffer->full ? CBX_ERR_LIMIT : CBX_OK;
}

/* The plain text (malloc'd). It is never grown in place: realloc would leave copies of secrets. */
static int
encode(const struct agent_state *state, struct cbx_mpbuf *plain, struct cbx_error *error)
{
    *plain = (struct cbx_mpbuf){.size = FIXED_MAX + state->known_count * KNOWN_SIZE_MAX};
    plain->bytes = malloc(plain->size);
    if (!plain->bytes)
        return cbx_fail(error, CBX_ERR_NOMEM, "out of memory");
    int result = pack_state(plain, state);
    if (result == CBX_OK)
        return CBX_OK;
    sodium_memzero(plain->bytes, plain->size);
    free(plain->bytes);
    return cbx_fail(error, result, "the state cannot be encoded: %s", cbx_err_name(result));
}

static void
drop_plain(struct cbx_mpbuf *plain)
{
    sodium_memzero(plain->bytes, plain->size);
    free(plain->bytes);
}

int
agent_state_seal(const struct agent_state *state, const struct cbx_vault_key *key, uint8_t **bytes,
                 size_t *length, struct cbx_error *error)
{
    struct cbx_mpbuf plain;
    int result = encode(state, &plain, error);
    if (result != CBX_OK)
        return result;
    result = cbx_vault_seal(key, state_kind, plain.bytes, plain.length, bytes, length, error);
    drop_plain(&plain);
    return result;
}

int
agent_state_save(const struct agent_state *state, const struct cbx_vault_key *key, const char *path,
                 struct cbx_error *error)
{
    struct cbx_mpbuf plain;
    int result = encode(state, &plain, error);
    if (result != CBX_OK)
        return result;
    result = cbx_vault_save(key, state_kind, path, plain.bytes, plain.length, error);
    drop_plain(&plain);
    return result;
}

/* ---- reading ---- */

static bool
read_cert(const msgpack_object *object, struct cbx_cert *out)
{
    if (object->type != MSGPACK_OBJECT_BIN || object->via.bin.size > sizeof out->bytes)
        return false;
    out->length = (uint16_t)object->via.bin.size;
    if (out->length > 0)
        memcpy(out->bytes, object->via.bin.ptr, out->length);
    return true;
}

static bool
read_token(const msgpack_object *object, struct cbx_token *out)
{
    return object->type == MSGPACK_OBJECT_STR &&
           cbx_token_parse(object->via.str.ptr, object->via.str.size, out, NULL) == CBX_OK;
}

static bool
read_membership(const msgpack_object *object, struct agent_membership *out)
{
    if (object->type != MSGPACK_OBJECT_ARRAY)
        return false;
    if (object->via.array.size == 0)
        return true;
    if (object->via.array.size != MEMBERSHIP_ELEMENTS)
        return false;
    const msgpack_object *field = object->via.array.ptr;
    struct cbx_token where;
    struct cbx_cert invite, peer;
    return read_token(&field[MEMBERSHIP_WHERE], &where) &&
           read_cert(&field[MEMBERSHIP_INVITE], &invite) &&
           read_cert(&field[MEMBERSHIP_PEER], &peer) &&
           agent_membership_set(out, &where, &invite, &peer, NULL) == CBX_OK;
}

static bool
read_identity(const msgpack_object *object, struct agent_state *state)
{
    if (object->type != MSGPACK_OBJECT_BIN)
        return false;
    if (object->via.bin.size == 0)
        return true;
    uint8_t secrets[IDENTITY_SIZE];
    if (!cbx_mp_bin(object, secrets, sizeof secrets))
        return false;
    struct cbx_identity *identity = &state->identity;
    cbx_keypair_from_seed(&identity->sign, secrets);
    memcpy(identity->exchange_secret, secrets + 32, 32);
    state->has_identity =
        crypto_scalarmult_base(identity->exchange_public, identity->exchange_secret) == 0;
    sodium_memzero(secrets, sizeof secrets);
    return state->has_identity;
}

static bool
read_known(const msgpack_object *object, struct agent_state *state)
{
    if (object->type != MSGPACK_OBJECT_ARRAY || object->via.array.size > AGENT_KNOWN_MAX)
        return false;
    size_t count = object->via.array.size;
    if (count == 0)
        return true;
    state->known = calloc(count, sizeof *state->known);
    if (!state->known)
        return false;
    state->known_count = count;
    for (size_t i = 0; i < count; i++) {
        const msgpack_object *item = &object->via.array.ptr[i];
        struct mesh_known *known = &state->known[i];
        if (item->type != MSGPACK_OBJECT_ARRAY || item->via.array.size != KNOWN_ELEMENTS ||
            !cbx_mp_text(&item->via.array.ptr[KNOWN_SLUG], known->slug, sizeof known->slug) ||
            !cbx_mp_uint(&item->via.array.ptr[KNOWN_SERIAL], UINT64_MAX, &known->serial) ||
            !cbx_mp_bin(&item->via.array.ptr[KNOWN_IDENTITY], known->identity,
                        sizeof known->identity))
            return false;
    }
    return true;
}

static bool
read_state(const msgpack_object *object, struct agent_state *state)
{
    if (object->type != MSGPACK_OBJECT_ARRAY || object->via.array.size != STATE_ELEMENTS)
        return false;
    const msgpack_object *field = object->via.array.ptr;
    uint64_t version;
    if (!cbx_mp_uint(&field[STATE_VERSION_ELEMENT], UINT64_MAX, &version) ||
        version != STATE_VERSION || !read_identity(&field[STATE_IDENTITY], state) ||
        field[STATE_PENDING].type != MSGPACK_OBJECT_STR)
        return false;
    state->has_pending = field[STATE_PENDING].via.str.size > 0;
    return (!state->has_pending || read_token(&field[STATE_PENDING], &state->pending)) &&
           read_membership(&field[STATE_SUBMITTED], &state->submitted) &&
           read_membership(&field[STATE_JOINED], &state->joined) &&
           read_known(&field[STATE_KNOWN], state);
}

static bool
decode(const uint8_t *plain, size_t length, struct agent_state *state)
{
    size_t used;
    if (cbx_mpscan(plain, length, AGENT_KNOWN_MAX, STATE_DEPTH, &used) != 0 || used != length)
        return false;
    msgpack_zone zone;
    if (!msgpack_zone_init(&zone, MSGPACK_ZONE_CHUNK_SIZE))
        return false;
    msgpack_object object;
    size_t offset = 0;
    bool read = msgpack_unpack((const char *)plain, length, &offset, &zone, &object) ==
                    MSGPACK_UNPACK_SUCCESS &&
                read_state(&object, state);
    msgpack_zone_destroy(&zone);
    return read;
}

int
agent_state_load(struct agent_state *state, const struct cbx_vault_key *key, const char *path,
                 struct cbx_error *error)
{
    uint8_t *plain;
    size_t length;
    int result = cbx_vault_load(key, state_kind, path, &plain, &length, error);
    if (result == CBX_ERR_NOTFOUND)
        return CBX_OK;
    if (result != CBX_OK)
        return result;
    if (!decode(plain, length, state)) {
        agent_state_wipe(state);
        result = cbx_fail(error, CBX_ERR_FORMAT,
                          "%s: unknown contents: it was written by another version of cbx, or is "
                          "damaged; use that version, or join again with another --state",
                          path);
    }
    sodium_memzero(plain, length);
    free(plain);
    return result;
}
