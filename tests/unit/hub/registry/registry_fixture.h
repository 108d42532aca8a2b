/* SPDX-License-Identifier: MIT */
/* What the registry's tests share: a pond key, invites and leases made from it, a folder. */
#ifndef REGISTRY_FIXTURE_H
#define REGISTRY_FIXTURE_H

#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <setjmp.h>

#include <cmocka.h>

#include "hub/registry/registry.h"
#include "scratch.h"

#include <sodium.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static const int64_t fixture_now = 1700000000;

/* An invite as its maker and its token's holder know it. */
struct fixture_invite {
    struct cbx_invite_cert fields;
    struct cbx_keypair login, signing;
    struct cbx_cert cert;
};

struct fixture {
    char folder[SCRATCH_MAX];
    char path[96];
    char key_path[96];
    struct cbx_vault_key key;
    struct cbx_keypair pond;
    struct registry *registry;
    struct cbx_error error;
};

static inline int
fixture_setup(void **state)
{
    if (sodium_init() < 0)
        return -1;
    struct fixture *f = calloc(1, sizeof *f);
    if (f == NULL)
        return -1;
    if (!scratch_folder("registry", f->folder))
        return -1;
    (void)snprintf(f->path, sizeof f->path, "%s/registry", f->folder);
    (void)snprintf(f->key_path, sizeof f->key_path, "%s/key", f->folder);
    if (cbx_vault_key_init(&f->key, NULL, NULL, f->key_path, 1, &f->error) != 0)
        return -1;
    cbx_keypair_random(&f->pond);
    f->registry = registry_new(f->path, &f->key);
    *state = f;
    return f->registry != NULL ? 0 : -1;
}

static inline int
fixture_teardown(void **state)
{
    struct fixture *f = *state;
    registry_free(f->registry);
    cbx_vault_key_wipe(&f->key);
    bool alone = scratch_end(f->folder, "registry", "registry.spare", "key", NULL);
    free(f);
    return alone ? 0 : -1;
}

static inline void
fixture_invite_sign(const struct fixture *f, struct fixture_invite *invite)
{
    assert_int_equal(cbx_invite_cert_sign(&invite->fields, &f->pond, &invite->cert), 0);
}

/* An invite that exposes 8080 and 5432, open for 15 minutes, ending in 30 days. */
static inline void
fixture_invite_make(const struct fixture *f, struct fixture_invite *invite, const char *pond,
                    const char *slug, uint64_t serial)
{
    memset(invite, 0, sizeof *invite);
    cbx_keypair_random(&invite->login);
    cbx_keypair_random(&invite->signing);
    struct cbx_invite_cert *fields = &invite->fields;
    (void)snprintf(fields->pond, sizeof fields->pond, "%s", pond);
    (void)snprintf(fields->slug, sizeof fields->slug, "%s", slug);
    (void)snprintf(fields->labels, sizeof fields->labels, "zone=a");
    assert_int_equal(cbx_expose_add(&fields->expose, "8080,5432", NULL), 0);
    fields->uses = 1;
    fields->serial = serial;
    fields->issued = fixture_now;
    fields->join_by = fixture_now + 900;
    fields->ends = fixture_now + 30 * 86400;
    memcpy(fields->signing_key, invite->signing.public_key, 32);
    fixture_invite_sign(f, invite);
}

static inline int
fixture_add_at(struct fixture *f, const struct fixture_invite *invite, int64_t now,
               struct reg_invite **out)
{
    return registry_add_invite(f->registry, f->pond.public_key, invite->cert.bytes,
                               invite->cert.length, invite->login.public_key, now, out, &f->error);
}

/* Makes and registers. */
static inline struct reg_invite *
fixture_invited(struct fixture *f, struct fixture_invite *invite, const char *slug, uint64_t serial)
{
    struct reg_invite *out;
    fixture_invite_make(f, invite, "demo", slug, serial);
    assert_int_equal(fixture_add_at(f, invite, fixture_now, &out), 0);
    return out;
}

static inline void
fixture_peer_fields(const struct fixture_invite *invite, const struct cbx_identity *identity,
                    struct cbx_peer_cert *fields)
{
    memset(fields, 0, sizeof *fields);
    memcpy(fields->pond, invite->fields.pond, sizeof fields->pond);
    memcpy(fields->slug, invite->fields.slug, sizeof fields->slug);
    memcpy(fields->identity, identity->sign.public_key, 32);
    memcpy(fields->exchange, identity->exchange_public, 32);
    fields->expose = invite->fields.expose;
    fields->issued = fixture_now;
    fields->ends = invite->fields.ends;
    cbx_cert_hash(invite->cert.bytes, invite->cert.length, fields->invite_hash);
}

static inline void
fixture_peer_sign(const struct fixture_invite *invite, const struct cbx_identity *identity,
                  const struct cbx_peer_cert *fields, struct cbx_cert *out)
{
    assert_int_equal(cbx_peer_cert_sign(fields, &invite->signing, &identity->sign, out), 0);
}

struct fixture_joined {
    struct reg_peer *peer, *replaced;
    enum cbx_reason reason;
};

static inline int
fixture_submit(struct fixture *f, struct reg_invite *invite, const struct cbx_cert *cert,
               int64_t now, struct fixture_joined *out)
{
    return registry_join(f->registry, invite, cert->bytes, cert->length, now, &out->peer,
                         &out->replaced, &out->reason, &f->error);
}

/* A join as an honest agent does it. */
static inline int
fixture_join(struct fixture *f, struct reg_invite *registered, const struct fixture_invite *invite,
             const struct cbx_identity *identity, struct fixture_joined *out)
{
    struct cbx_peer_cert fields;
    struct cbx_cert cert;
    fixture_peer_fields(invite, identity, &fields);
    fixture_peer_sign(invite, identity, &fields, &cert);
    return fixture_submit(f, registered, &cert, fixture_now + 1, out);
}

#endif
