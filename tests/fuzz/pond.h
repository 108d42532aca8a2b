/* SPDX-License-Identifier: MIT */
/* A pond of a few leases with keys, certificates and chains, made once. */
#ifndef FUZZ_POND_H
#define FUZZ_POND_H

#include "cheap_keys.h"
#include "common/trust/identity.h"
#include "common/trust/trust.h"
#include "feed.h"

enum { POND_LEASES = 5 };
static const int64_t pond_time = 1790000000;

struct pond_lease {
    const char *slug, *expose;
    struct cbx_identity identity;
    struct cbx_keypair login, signing;
    struct cbx_invite_cert invite;
    struct cbx_peer_cert peer;
    struct cbx_cert invite_cert, peer_cert;
    uint8_t chain_hash[32];
    char login_name[CBX_FINGERPRINT_TEXT_MAX], name[CBX_FINGERPRINT_TEXT_MAX];
};

static struct cbx_keypair pond_key;
static struct pond_lease pond[POND_LEASES];

static inline void
pond_lease_init(struct pond_lease *lease, const char *slug, const char *expose, uint8_t number)
{
    uint8_t seed[32] = {number};
    lease->slug = slug;
    lease->expose = expose;
    cbx_keypair_from_seed(&lease->identity.sign, seed);
    seed[31] = 1;
    cbx_keypair_from_seed(&lease->login, seed);
    seed[31] = 2;
    cbx_keypair_from_seed(&lease->signing, seed);
    memset(lease->identity.exchange_secret, number, 32);
    check(crypto_scalarmult_base(lease->identity.exchange_public,
                                 lease->identity.exchange_secret) == 0);
    lease->invite = (struct cbx_invite_cert){.pond = "demo",
                                             .labels = "zone=a",
                                             .uses = 1,
                                             .serial = 5u + number,
                                             .issued = pond_time - 60,
                                             .join_by = pond_time + 900,
                                             .ends = pond_time + 86400};
    strcpy(lease->invite.slug, slug);
    memcpy(lease->invite.signing_key, lease->signing.public_key, 32);
    check(cbx_expose_add(&lease->invite.expose, expose, NULL) == 0);
    check(cbx_invite_cert_sign(&lease->invite, &pond_key, &lease->invite_cert) == 0);
    lease->peer = (struct cbx_peer_cert){.pond = "demo",
                                         .expose = lease->invite.expose,
                                         .issued = pond_time,
                                         .ends = pond_time + 86400};
    strcpy(lease->peer.slug, slug);
    memcpy(lease->peer.identity, lease->identity.sign.public_key, 32);
    memcpy(lease->peer.exchange, lease->identity.exchange_public, 32);
    cbx_cert_hash(lease->invite_cert.bytes, lease->invite_cert.length, lease->peer.invite_hash);
    check(cbx_peer_cert_sign(&lease->peer, &lease->signing, &lease->identity.sign,
                             &lease->peer_cert) == 0);
    cbx_chain_hash(&lease->invite_cert, &lease->peer_cert, lease->chain_hash);
    cbx_ssh_fingerprint(lease->login.public_key, lease->login_name);
    cbx_ssh_fingerprint(lease->identity.sign.public_key, lease->name);
}

static inline void
pond_init(void)
{
    uint8_t seed[32] = "pond";
    check(sodium_init() >= 0);
    cbx_keypair_from_seed(&pond_key, seed);
    pond_lease_init(&pond[0], "web", "8080,8081", 1);
    pond_lease_init(&pond[1], "cli", "8080", 3);
    pond_lease_init(&pond[2], "db", "8082", 5);
    pond_lease_init(&pond[3], "ops", "8082", 7);
    pond_lease_init(&pond[4], "new", "8080", 9);
}

#endif
