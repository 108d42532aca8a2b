/* SPDX-License-Identifier: MIT */
/*
 * Theory: the registry's rules. Per name (pond and slug) there is at most one open invite, at most
 * one joined invite, and at most one peer, the joined invite's. Serials order them: open is newer
 * than peer. Per pond there is one public key; per login key, identity and exchange key one owner.
 *
 *   invite: OPEN -join-> JOINED -identity logs in-> gone     (drop, expire, newer invite: gone)
 *   peer:   recorded by join, gone by revoke, expiry, a join with a higher serial, or a join of the
 *           same identity elsewhere; its joined invite goes with it, so that a revoked lease cannot
 *           come back by its old token
 *
 * Every check comes before the first change, and whatever needs memory before what does not: a call
 * that fails has changed nothing.
 */
#include "hub/registry/registry.h"

#include "hub/registry/table.h"

#include <sodium.h>
#include <stdlib.h>
#include <string.h>

enum { ID_PREFIX_MIN = 4 };

/* Invites. */

static uint64_t
newest_serial(const struct reg_slug *entry)
{
    uint64_t newest = 0;
    if (entry->open != NULL && entry->open->serial > newest)
        newest = entry->open->serial;
    if (entry->joined != NULL && entry->joined->serial > newest)
        newest = entry->joined->serial;
    if (entry->peer != NULL && entry->peer->serial > newest)
        newest = entry->peer->serial;
    return newest;
}

static bool
any_set(const struct reg_slug *entry)
{
    return entry->open != NULL || entry->joined != NULL || entry->peer != NULL;
}

static int
check_new_invite(const struct registry *registry, const struct cbx_invite_cert *cert,
                 const uint8_t pond_public[32], const uint8_t login_key[32], int64_t now_unix,
                 struct cbx_error *error)
{
    char fingerprint[CBX_FINGERPRINT_TEXT_MAX];
    if (cert->slug[0] == '\0')
        return cbx_fail(error, CBX_ERR_USAGE, "this hub takes no role invites; name a slug");
    if (now_unix > cert->join_by || now_unix > cert->ends)
        return cbx_fail(error, CBX_ERR_EXPIRED, "the invite for %s is past its last moment to join",
                        cert->slug);
    if (crypto_core_ed25519_is_valid_point(login_key) != 1)
        return cbx_fail(error, CBX_ERR_FORMAT, "the invite's login key is not a public key");
    const uint8_t *known = registry_pond_public(registry, cert->pond);
    if (known != NULL && sodium_memcmp(known, pond_public, CBX_KEY_SIZE) != 0)
        return cbx_fail(error, CBX_ERR_AUTH,
                        "pond \"%s\" is known here by another key; use the keys folder that holds "
                        "it, another pond name, or first drop its invites and peers",
                        cert->pond);
    const struct reg_slug *entry = registry_slug(registry, cert->pond, cert->slug);
    if (entry != NULL && any_set(entry) && cert->serial <= newest_serial(entry))
        return cbx_fail(error, CBX_ERR_EXISTS,
                        "%s.%s has an invite or peer as new as this; make another invite",
                        cert->slug, cert->pond);
    cbx_ssh_fingerprint(login_key, fingerprint);
    if (registry_login(registry, fingerprint).kind != REG_LOGIN_NONE)
        return cbx_fail(error, CBX_ERR_EXISTS, "the invite's login key is registered already");
    bool replaces = entry != NULL && entry->open != NULL;
    if (registry->invite_count >= REG_INVITES_MAX && !replaces)
        return cbx_fail(error, CBX_ERR_LIMIT, "%d invites wait already; drop some with uninvite",
                        REG_INVITES_MAX);
    return 0;
}

int
registry_add_invite(struct registry *registry, const uint8_t pond_public[32], const uint8_t *cert,
                    size_t length, const uint8_t login_key[32], int64_t now_unix,
                    struct reg_invite **out, struct cbx_error *error)
{
    struct cbx_invite_cert fields;
    *out = NULL;
    int result = cbx_invite_cert_open(cert, length, pond_public, &fields, error);
    if (result == 0)
        result = check_new_invite(registry, &fields, pond_public, login_key, now_unix, error);
    if (result != 0)
        return result;
    const struct reg_slug *entry = registry_slug(registry, fields.pond, fields.slug);
    struct reg_invite *older = entry != NULL ? entry->open : NULL;
    struct reg_invite *invite = registry_invite_new(cert, length, &fields, pond_public, login_key);
    if (invite == NULL || registry_link_invite(registry, invite) != 0) {
        registry_invite_free(invite);
        return cbx_fail(error, CBX_ERR_NOMEM, "the invite: out of memory");
    }
    if (older != NULL)
        registry_delete_invite(registry, older);
    *out = invite;
    return 0;
}

int
registry_drop_invite(struct registry *registry, const char *id, struct cbx_error *error)
{
    const size_t length = strlen(id);
    struct reg_invite *found = NULL;
    if (length < ID_PREFIX_MIN)
        return cbx_fail(error, CBX_ERR_USAGE, "invite \"%s\": at least %d characters of the id", id,
                        ID_PREFIX_MIN);
    for (struct reg_invite *at = registry->invites; at != NULL; at = at->next) {
        if (strncmp(at->id, id, length) != 0)
            continue;
        if (found != NULL)
            return cbx_fail(error, CBX_ERR_USAGE, "invite \"%s\": several begin so; give more", id);
        found = at;
    }
    if (found == NULL)
        return cbx_fail(error, CBX_ERR_NOTFOUND, "invite \"%s\": none has this id", id);
    registry_delete_invite(registry, found);
    return 0;
}

/* Joining. */

struct join {
    struct cbx_cert invite_bytes, peer_bytes;
    struct cbx_invite_cert invite_cert;
    struct cbx_peer_cert peer_cert;
    struct reg_slug *entry;
    struct reg_peer *mine;   /* what this identity has already */
    struct reg_peer *holder; /* who has the name already */
    enum cbx_reason reason;
};

static bool
same_key(const uint8_t a[32], const uint8_t b[32])
{
    return memcmp(a, b, CBX_KEY_SIZE) == 0;
}

static enum cbx_reason
reason_of(int result)
{
    switch (result) {
    case CBX_ERR_EXPIRED:
        return CBX_REASON_EXPIRED;
    case CBX_ERR_AUTH:
        return CBX_REASON_DENIED;
    case CBX_ERR_NOMEM:
        return CBX_REASON_INTERNAL;
    default:
        return CBX_REASON_PROTOCOL;
    }
}

static int
open_join(struct join *join, const struct reg_invite *invite, const uint8_t *bytes, size_t length,
          int64_t now_unix, struct cbx_error *error)
{
    if (now_unix > invite->join_by || now_unix > invite->ends)
        return cbx_fail(error, CBX_ERR_EXPIRED,
                        "%s.%s: the invite is past its last moment to join; ask for a new one",
                        invite->slug, invite->pond);
    if (length == 0 || length > CBX_CERT_MAX)
        return cbx_fail(error, CBX_ERR_FORMAT, "peer certificate: %zu bytes", length);
    join->invite_bytes.length = (uint16_t)invite->cert.length;
    memcpy(join->invite_bytes.bytes, invite->cert.bytes, invite->cert.length);
    join->peer_bytes.length = (uint16_t)length;
    memcpy(join->peer_bytes.bytes, bytes, length);
    int result = cbx_chain_open(&join->invite_bytes, &join->peer_bytes, invite->pond_public,
                                now_unix, &join->invite_cert, &join->peer_cert, error);
    if (result == 0 && strcmp(join->peer_cert.slug, invite->slug) != 0)
        result = cbx_fail(error, CBX_ERR_AUTH, "peer certificate: names another slug");
    return result;
}

/* Rule 1: neither key may be known in another pairing, nor be somebody's login key. */
static int
check_keys(struct join *join, const struct registry *registry, struct cbx_error *error)
{
    const struct cbx_peer_cert *cert = &join->peer_cert;
    char fingerprint[CBX_FINGERPRINT_TEXT_MAX];
    cbx_ssh_fingerprint(cert->identity, fingerprint);
    struct reg_login login = registry_login(registry, fingerprint);
    join->mine = login.peer;
    const struct reg_peer *exchange = registry_find_exchange(registry, cert->exchange);
    if (login.kind == REG_LOGIN_INVITE)
        return cbx_fail(error, CBX_ERR_AUTH, "%s.%s: the identity is an invite's login key",
                        cert->slug, cert->pond);
    if (exchange != join->mine)
        return cbx_fail(error, CBX_ERR_AUTH,
                        "%s.%s: its identity or exchange key is registered in another pairing",
                        cert->slug, cert->pond);
    return 0;
}

static int
check_order(struct join *join, const struct registry *registry, const struct reg_invite *invite,
            struct cbx_error *error)
{
    join->entry = registry_slug(registry, invite->pond, invite->slug);
    join->holder = join->entry->peer;
    /* Rule 3. The same invite again is the same identity's, as check_used saw. */
    if (join->holder != NULL &&
        (join->holder->serial > invite->serial ||
         (join->holder->serial == invite->serial && join->holder != join->mine))) {
        join->reason = CBX_REASON_DENIED;
        return cbx_fail(error, CBX_ERR_AUTH, "%s.%s: a newer invite was joined already",
                        invite->slug, invite->pond);
    }
    if (registry->peer_count >= REG_PEERS_MAX && join->mine == NULL && join->holder == NULL) {
        join->reason = CBX_REASON_OVERLOADED;
        return cbx_fail(error, CBX_ERR_LIMIT, "%s.%s: the hub has %d peers already", invite->slug,
                        invite->pond, REG_PEERS_MAX);
    }
    return 0;
}

static int
check_used(struct join *join, const struct reg_invite *invite, struct cbx_error *error)
{
    if (invite->state == REG_INVITE_OPEN || same_key(invite->identity, join->peer_cert.identity))
        return 0;
    join->reason = CBX_REASON_USED;
    return cbx_fail(error, CBX_ERR_EXISTS,
                    "%s.%s: a second identity under a used invite; the token has leaked",
                    invite->slug, invite->pond);
}

static int
check_join(struct join *join, const struct registry *registry, const struct reg_invite *invite,
           struct cbx_error *error)
{
    int result = check_used(join, invite, error);
    if (result == 0)
        result = check_keys(join, registry, error);
    if (result == 0)
        result = check_order(join, registry, invite, error);
    return result;
}

/* Unlinks a peer and drops the joined invite that led to it, unless that is keep. */
static void
take_out(struct registry *registry, struct reg_peer *peer, const struct reg_invite *keep)
{
    const struct reg_slug *entry = registry_slug(registry, peer->pond, peer->slug);
    struct reg_invite *joined = entry->joined;
    if (joined != NULL && joined != keep && same_key(joined->identity, peer->identity))
        registry_delete_invite(registry, joined);
    registry_unlink_peer(registry, peer);
}

static uint64_t
inherited_generation(const struct join *join)
{
    uint64_t generation = 0;
    if (join->mine != NULL)
        generation = join->mine->generation;
    if (join->holder != NULL && join->holder->generation > generation)
        generation = join->holder->generation;
    return generation;
}

static int
record(struct registry *registry, struct join *join, struct reg_invite *invite, int64_t now_unix,
       struct reg_peer **out, struct reg_peer **replaced, struct cbx_error *error)
{
    struct reg_peer *peer = registry_peer_new(&join->invite_bytes, &join->peer_bytes,
                                              &join->invite_cert, &join->peer_cert);
    if (peer == NULL || registry_link_peer(registry, peer, invite->pond_public) != 0) {
        reg_peer_free(peer);
        return cbx_fail(error, CBX_ERR_NOMEM, "%s.%s: out of memory", invite->slug, invite->pond);
    }
    peer->joined = now_unix;
    /* Never lower than what the pond has seen of this name. */
    peer->generation = inherited_generation(join);
    struct reg_peer *older[2] = {join->mine, join->holder};
    if (join->holder == join->mine)
        older[1] = NULL;
    for (size_t i = 0; i < 2; i++) {
        if (older[i] == NULL)
            continue;
        take_out(registry, older[i], invite);
        older[i]->next = *replaced;
        *replaced = older[i];
    }
    registry_mark_joined(registry, invite, peer->identity);
    *out = peer;
    return 0;
}

static bool
same_peer_cert(const struct reg_peer *peer, const struct join *join)
{
    const struct cbx_cert *invite = &join->invite_bytes;
    const struct cbx_cert *cert = &join->peer_bytes;
    return peer->peer_cert.length == cert->length && peer->invite_cert.length == invite->length &&
           memcmp(peer->peer_cert.bytes, cert->bytes, cert->length) == 0 &&
           memcmp(peer->invite_cert.bytes, invite->bytes, invite->length) == 0;
}

int
registry_join(struct registry *registry, struct reg_invite *invite, const uint8_t *peer_cert,
              size_t length, int64_t now_unix, struct reg_peer **out, struct reg_peer **replaced,
              enum cbx_reason *reason, struct cbx_error *error)
{
    struct join join = {.reason = CBX_REASON_NONE};
    *out = NULL;
    *replaced = NULL;
    int result = open_join(&join, invite, peer_cert, length, now_unix, error);
    if (result == 0)
        result = check_join(&join, registry, invite, error);
    if (result == 0 && join.mine != NULL && same_peer_cert(join.mine, &join)) {
        /* The answer to the first try was lost. */
        registry_mark_joined(registry, invite, join.mine->identity);
        *out = join.mine;
    } else if (result == 0) {
        result = record(registry, &join, invite, now_unix, out, replaced, error);
    }
    *reason = join.reason;
    if (result != 0 && join.reason == CBX_REASON_NONE)
        *reason = reason_of(result);
    return result;
}

/* Peers. */

bool
registry_burn(struct registry *registry, const struct reg_peer *peer)
{
    const struct reg_slug *entry = registry_slug(registry, peer->pond, peer->slug);
    struct reg_invite *invite = entry != NULL ? entry->joined : NULL;
    if (invite == NULL || invite->serial != peer->serial ||
        !same_key(invite->identity, peer->identity))
        return false;
    registry_delete_invite(registry, invite);
    return true;
}

uint64_t
registry_next_generation(struct registry *registry, struct reg_peer *peer, int64_t now_ms)
{
    (void)registry;
    uint64_t now = now_ms > 0 ? (uint64_t)now_ms : 0;
    peer->generation = peer->generation + 1 > now ? peer->generation + 1 : now;
    return peer->generation;
}

struct reg_peer *
registry_peer(const struct registry *registry, const char *pond, const char *slug)
{
    const struct reg_slug *entry = registry_slug(registry, pond, slug);
    return entry != NULL ? entry->peer : NULL;
}

struct reg_peer *
registry_remove_peer(struct registry *registry, const char *pond, const char *slug)
{
    struct reg_peer *peer = registry_peer(registry, pond, slug);
    if (peer != NULL)
        take_out(registry, peer, NULL);
    return peer;
}

bool
registry_expire(struct registry *registry, int64_t now_unix)
{
    bool changed = false;
    struct reg_peer *next_peer;
    for (struct reg_peer *peer = registry->peers; peer != NULL; peer = next_peer) {
        next_peer = peer->next;
        if (peer->live != NULL || now_unix <= peer->ends + CBX_CLOCK_GRACE_S)
            continue;
        take_out(registry, peer, NULL);
        reg_peer_free(peer);
        changed = true;
    }
    struct reg_invite *next_invite;
    for (struct reg_invite *invite = registry->invites; invite != NULL; invite = next_invite) {
        next_invite = invite->next;
        if (now_unix <= invite->join_by && now_unix <= invite->ends)
            continue;
        registry_delete_invite(registry, invite);
        changed = true;
    }
    return changed;
}

struct reg_peer *
registry_peers(const struct registry *registry)
{
    return registry->peers;
}

struct reg_invite *
registry_invites(const struct registry *registry)
{
    return registry->invites;
}

bool
reg_peer_exposes(const struct reg_peer *peer, uint16_t port)
{
    for (uint32_t i = 0; i < peer->port_count; i++) {
        if (peer->port[i] == port)
            return true;
    }
    return false;
}
