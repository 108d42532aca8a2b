/* SPDX-License-Identifier: MIT */
/*
 * Everything but keys and states is in the certificates, which are opened again at each load, so
 * that a snapshot cannot say what no key signed. A file that does not decode as a whole is refused
 * as a whole, and nothing is written over it: committing is legal only after a load that succeeded
 * or found no file.
 */
#include "hub/registry/file.h"
#include "common/base/mpio.h"
#include "common/base/mpscan.h"
#include "hub/registry/lookup.h"
#include "hub/registry/object.h"
#include "hub/registry/snapshot.h"
#include "hub/registry/state.h"
#include "hub/registry/table.h"
#include <sodium.h>
#include <stdlib.h>
#include <string.h>

enum {
    ZONE_CHUNK = 64 * 1024,
    LIST_MAX = REG_PEERS_MAX > REG_INVITES_MAX ? REG_PEERS_MAX : REG_INVITES_MAX,
};

static bool
read_cert(const msgpack_object *object, struct cbx_cert *out)
{
    if (object->type != MSGPACK_OBJECT_BIN || object->via.bin.size > CBX_CERT_MAX)
        return false;
    out->length = (uint16_t)object->via.bin.size;
    memcpy(out->bytes, object->via.bin.ptr, out->length);
    return true;
}

/* The elements of an array of exactly this size; NULL when it is something else. */
static const msgpack_object *
read_array(const msgpack_object *object, uint32_t size)
{
    if (object->type != MSGPACK_OBJECT_ARRAY || object->via.array.size != size)
        return NULL;
    return object->via.array.ptr;
}

static bool
login_free(const struct registry *registry, const char *fingerprint)
{
    return registry_login(registry, fingerprint).kind == REG_LOGIN_NONE;
}

/* One key per pond. */
static bool
pond_agrees(const struct registry *registry, const char *pond, const uint8_t pond_public[32])
{
    const uint8_t *known = registry_pond_public(registry, pond);
    return !known || memcmp(known, pond_public, CBX_KEY_SIZE) == 0;
}

static int
malformed(struct cbx_error *error, const char *what)
{
    return cbx_fail(error, CBX_ERR_FORMAT, "%s", what);
}

static int
add_invite(struct registry *registry, struct reg_invite *invite, struct cbx_error *error)
{
    const struct reg_slug *entry = registry_slug(registry, invite->pond, invite->slug);
    bool is_open = invite->state == REG_INVITE_OPEN;
    if (!pond_agrees(registry, invite->pond, invite->pond_public))
        return malformed(error, "a second key for its pond");
    if (!login_free(registry, invite->fingerprint))
        return malformed(error, "its login key is there twice");
    if (entry && (is_open ? entry->open : entry->joined) != NULL)
        return malformed(error, "its name is there twice");
    if (registry_link_invite(registry, invite) != 0)
        return cbx_fail(error, CBX_ERR_NOMEM, "out of memory");
    return 0;
}

static int
load_invite(struct registry *registry, const msgpack_object *object, struct cbx_error *error)
{
    uint8_t pond_public[CBX_KEY_SIZE];
    uint8_t login_key[CBX_KEY_SIZE];
    uint8_t identity[CBX_KEY_SIZE];
    uint64_t state;
    struct cbx_cert bytes;
    struct cbx_invite_cert cert;
    const msgpack_object *field = read_array(object, REG_INVITE_ELEMENTS);
    if (!field || !cbx_mp_bin(&field[REG_INVITE_POND_PUBLIC], pond_public, sizeof pond_public) ||
        !read_cert(&field[REG_INVITE_CERT], &bytes) ||
        !cbx_mp_bin(&field[REG_INVITE_LOGIN_KEY], login_key, sizeof login_key) ||
        !cbx_mp_uint(&field[REG_INVITE_STATE], REG_INVITE_USED, &state) ||
        !cbx_mp_bin(&field[REG_INVITE_IDENTITY], identity, sizeof identity))
        return malformed(error, "malformed");
    int result = cbx_invite_cert_open(bytes.bytes, bytes.length, pond_public, &cert, error);
    if (result != 0)
        return result;
    if (cert.slug[0] == '\0')
        return malformed(error, "a role invite");
    if (crypto_core_ed25519_is_valid_point(login_key) != 1)
        return malformed(error, "its login key is not a public key");
    struct reg_invite *invite =
        registry_invite_new(bytes.bytes, bytes.length, &cert, pond_public, login_key);
    if (!invite)
        return cbx_fail(error, CBX_ERR_NOMEM, "out of memory");
    invite->state = (enum reg_invite_state)state;
    memcpy(invite->identity, identity, sizeof invite->identity);
    result = add_invite(registry, invite, error);
    if (result != 0)
        registry_invite_free(invite);
    return result;
}

static int
add_peer(struct registry *registry, struct reg_peer *peer, const uint8_t pond_public[32],
         struct cbx_error *error)
{
    const struct reg_slug *entry = registry_slug(registry, peer->pond, peer->slug);
    if (!pond_agrees(registry, peer->pond, pond_public))
        return malformed(error, "a second key for its pond");
    if (!login_free(registry, peer->fingerprint))
        return malformed(error, "its identity is there twice");
    if (registry_find_exchange(registry, peer->exchange))
        return malformed(error, "its exchange key is there twice");
    if (entry && entry->peer)
        return malformed(error, "its name is there twice");
    if (entry && entry->open && entry->open->serial <= peer->serial)
        return malformed(error, "an older invite waits for its name");
    if (entry && entry->joined &&
        (entry->joined->serial != peer->serial ||
         memcmp(entry->joined->identity, peer->identity, CBX_KEY_SIZE) != 0))
        return malformed(error, "another identity joined by its invite");
    if (registry_link_peer(registry, peer, pond_public) != 0)
        return cbx_fail(error, CBX_ERR_NOMEM, "out of memory");
    return 0;
}

static int
load_peer(struct registry *registry, const msgpack_object *object, struct cbx_error *error)
{
    uint8_t pond_public[CBX_KEY_SIZE];
    uint64_t generation;
    uint64_t joined;
    struct cbx_cert invite;
    struct cbx_cert cert;
    struct cbx_invite_cert invite_cert;
    struct cbx_peer_cert peer_cert;
    const msgpack_object *field = read_array(object, REG_PEER_ELEMENTS);
    if (!field || !cbx_mp_bin(&field[REG_PEER_POND_PUBLIC], pond_public, sizeof pond_public) ||
        !read_cert(&field[REG_PEER_INVITE_CERT], &invite) ||
        !read_cert(&field[REG_PEER_CERT], &cert) ||
        !cbx_mp_uint(&field[REG_PEER_GENERATION], REG_NUMBER_MAX, &generation) ||
        !cbx_mp_uint(&field[REG_PEER_JOINED], REG_NUMBER_MAX, &joined))
        return malformed(error, "malformed");
    /* At time 0 nothing has ended yet: what has is registry_expire's matter. */
    int result = cbx_chain_open(&invite, &cert, pond_public, 0, &invite_cert, &peer_cert, error);
    if (result != 0)
        return result;
    struct reg_peer *peer = registry_peer_new(&invite, &cert, &invite_cert, &peer_cert);
    if (!peer)
        return cbx_fail(error, CBX_ERR_NOMEM, "out of memory");
    peer->generation = generation;
    peer->joined = (int64_t)joined;
    result = add_peer(registry, peer, pond_public, error);
    if (result != 0)
        reg_peer_free(peer);
    return result;
}

typedef int load_record(struct registry *registry, const msgpack_object *object,
                        struct cbx_error *error);

static int
load_list(struct registry *registry, const msgpack_object *list, uint32_t max, const char *what,
          load_record *load, struct cbx_error *error)
{
    if (list->type != MSGPACK_OBJECT_ARRAY || list->via.array.size > max)
        return cbx_fail(error, CBX_ERR_FORMAT, "%ss: not a list of at most %u", what,
                        (unsigned)max);
    for (uint32_t i = 0; i < list->via.array.size; i++) {
        struct cbx_error cause;
        int result = load(registry, &list->via.array.ptr[i], &cause);
        if (result != 0)
            return cbx_fail(error, result, "%s %u: %s", what, (unsigned)i + 1, cause.text);
    }
    return 0;
}

static int
load_snapshot(struct registry *registry, const msgpack_object *object, struct cbx_error *error)
{
    uint64_t version;
    const msgpack_object *field = read_array(object, REG_SNAPSHOT_ELEMENTS);
    if (!field || !cbx_mp_uint(&field[REG_SNAPSHOT_VERSION], UINT64_MAX, &version))
        return malformed(error, "malformed");
    if (version != REG_SNAPSHOT_FORMAT)
        return malformed(error, "written by another version of cbx-hub");
    int result = load_list(registry, &field[REG_SNAPSHOT_INVITES], REG_INVITES_MAX, "invite",
                           load_invite, error);
    if (result == 0)
        result = load_list(registry, &field[REG_SNAPSHOT_PEERS], REG_PEERS_MAX, "peer", load_peer,
                           error);
    return result;
}

static int
decode(struct registry *registry, const uint8_t *plain, size_t length, struct cbx_error *error)
{
    size_t used;
    msgpack_zone zone;
    msgpack_object object;
    if (cbx_mpscan(plain, length, LIST_MAX, REG_SNAPSHOT_DEPTH, &used) != 0 || used != length)
        return malformed(error, "malformed");
    if (!msgpack_zone_init(&zone, ZONE_CHUNK))
        return cbx_fail(error, CBX_ERR_NOMEM, "out of memory");
    size_t offset = 0;
    int result;
    switch (msgpack_unpack((const char *)plain, length, &offset, &zone, &object)) {
    case MSGPACK_UNPACK_SUCCESS:
        result = load_snapshot(registry, &object, error);
        break;
    case MSGPACK_UNPACK_NOMEM_ERROR:
        result = cbx_fail(error, CBX_ERR_NOMEM, "out of memory");
        break;
    default:
        result = malformed(error, "malformed");
    }
    msgpack_zone_destroy(&zone);
    return result;
}

int
registry_load(struct registry *registry, struct cbx_error *error)
{
    if (registry->loaded || registry->peers || registry->invites)
        return cbx_fail(error, CBX_ERR_STATE, "%s: loaded already", registry->path);
    uint8_t *plain;
    size_t length;
    int result =
        cbx_vault_load(registry->key, REG_SNAPSHOT_KIND, registry->path, &plain, &length, error);
    if (result == CBX_ERR_NOTFOUND) {
        registry->loaded = true;
        return 0;
    }
    if (result != 0)
        return result;
    struct cbx_error cause;
    result = decode(registry, plain, length, &cause);
    sodium_memzero(plain, length);
    free(plain);
    if (result != 0) {
        registry_clear(registry);
        return cbx_fail(error, result,
                        "%s: not a registry that this hub can use (%s); put a backup in its place, "
                        "or move it away to begin with an empty one",
                        registry->path, cause.text);
    }
    registry->loaded = true;
    return 0;
}
