/* SPDX-License-Identifier: MIT */
/* Tested by test_registry. */
#include "hub/registry/invite.h"
#include "hub/registry/lookup.h"
#include "hub/registry/object.h"
#include "hub/registry/state.h"
#include "hub/registry/table.h"
#include <sodium.h>
#include <string.h>

enum { ID_PREFIX_MIN = 4 };

static uint64_t
newest_serial(const struct reg_slug *entry)
{
    uint64_t newest = 0;
    if (entry->open && entry->open->serial > newest)
        newest = entry->open->serial;
    if (entry->joined && entry->joined->serial > newest)
        newest = entry->joined->serial;
    if (entry->peer && entry->peer->serial > newest)
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
        return cbx_fail(error, CBX_ERR_USAGE, "this hub does not accept role invites; name a slug");
    if (now_unix > cert->join_by || now_unix > cert->ends)
        return cbx_fail(error, CBX_ERR_EXPIRED, "the invite for %s has expired", cert->slug);
    if (crypto_core_ed25519_is_valid_point(login_key) != 1)
        return cbx_fail(error, CBX_ERR_FORMAT, "the invite's login key is not a public key");
    const uint8_t *known = registry_pond_public(registry, cert->pond);
    if (known && sodium_memcmp(known, pond_public, CBX_KEY_SIZE) != 0)
        return cbx_fail(error, CBX_ERR_AUTH,
                        "pond \"%s\" is registered here with another key; use the keys folder that "
                        "holds it, choose another pond name, or first remove its invites and peers",
                        cert->pond);
    const struct reg_slug *entry = registry_slug(registry, cert->pond, cert->slug);
    if (entry && any_set(entry) && cert->serial <= newest_serial(entry))
        return cbx_fail(
            error, CBX_ERR_EXISTS,
            "%s.%s already has an invite or peer that is at least as new; make another invite",
            cert->slug, cert->pond);
    cbx_ssh_fingerprint(login_key, fingerprint);
    if (registry_login(registry, fingerprint).kind != REG_LOGIN_NONE)
        return cbx_fail(error, CBX_ERR_EXISTS, "the invite's login key is registered already");
    bool replaces = entry != NULL && entry->open != NULL;
    if (registry->invite_count >= REG_INVITES_MAX && !replaces)
        return cbx_fail(error, CBX_ERR_LIMIT,
                        "there are %d invites already; withdraw some with uninvite",
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
    if (!invite || registry_link_invite(registry, invite) != 0) {
        registry_invite_free(invite);
        return cbx_fail(error, CBX_ERR_NOMEM, "the invite: out of memory");
    }
    if (older)
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
        if (found)
            return cbx_fail(error, CBX_ERR_USAGE,
                            "invite \"%s\": the id is ambiguous; give more characters of it", id);
        found = at;
    }
    if (!found)
        return cbx_fail(error, CBX_ERR_NOTFOUND, "invite \"%s\": no invite has this id", id);
    registry_delete_invite(registry, found);
    return 0;
}
