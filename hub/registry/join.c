/* SPDX-License-Identifier: MIT */
/*
 * A join is opened (certificates), checked (keys, order, use), then recorded: what struct join
 * gathers on the way is all that recording needs. Tested by test_registry and sim_rules.
 */
#include "hub/registry/join.h"
#include "hub/registry/lookup.h"
#include "hub/registry/object.h"
#include "hub/registry/state.h"
#include "hub/registry/table.h"
#include <string.h>

struct join {
    struct cbx_cert invite_bytes, peer_bytes;
    struct cbx_invite_cert invite_cert;
    struct cbx_peer_cert peer_cert;
    struct reg_slug *entry;
    struct reg_peer *mine;   /* what this identity has already */
    struct reg_peer *holder; /* who has the name already */
    enum cbx_reason reason;
};

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
        return cbx_fail(error, CBX_ERR_EXPIRED, "%s.%s: the invite has expired; ask for a new one",
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
        result = cbx_fail(error, CBX_ERR_AUTH, "peer certificate: issued for another slug");
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
    if (join->holder && (join->holder->serial > invite->serial ||
                         (join->holder->serial == invite->serial && join->holder != join->mine))) {
        join->reason = CBX_REASON_DENIED;
        return cbx_fail(error, CBX_ERR_AUTH, "%s.%s: a newer invite was joined already",
                        invite->slug, invite->pond);
    }
    if (registry->peer_count >= REG_PEERS_MAX && !join->mine && !join->holder) {
        join->reason = CBX_REASON_OVERLOADED;
        return cbx_fail(error, CBX_ERR_LIMIT, "%s.%s: the hub has %d peers already", invite->slug,
                        invite->pond, REG_PEERS_MAX);
    }
    return 0;
}

static int
check_used(struct join *join, const struct reg_invite *invite, struct cbx_error *error)
{
    if (invite->state == REG_INVITE_OPEN ||
        reg_same_key(invite->identity, join->peer_cert.identity))
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

static uint64_t
inherited_generation(const struct join *join)
{
    uint64_t generation = 0;
    if (join->mine)
        generation = join->mine->generation;
    if (join->holder && join->holder->generation > generation)
        generation = join->holder->generation;
    return generation;
}

static int
record(struct registry *registry, struct join *join, struct reg_invite *invite, int64_t now_unix,
       struct reg_peer **out, struct reg_peer **replaced, struct cbx_error *error)
{
    struct reg_peer *peer = registry_peer_new(&join->invite_bytes, &join->peer_bytes,
                                              &join->invite_cert, &join->peer_cert);
    if (!peer || registry_link_peer(registry, peer, invite->pond_public) != 0) {
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
        if (!older[i])
            continue;
        registry_take_out(registry, older[i], invite);
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
    if (result == 0 && join.mine && same_peer_cert(join.mine, &join)) {
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
