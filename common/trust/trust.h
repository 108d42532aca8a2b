/* SPDX-License-Identifier: MIT */
/*
 * The chain of belief: pond key -> invite certificate -> peer certificate (PROTOCOL.md,
 * "Certificates"; rules 1 to 3). Objects are verified over the bytes received, never re-encoded.
 * Sans-I/O: time comes as an argument.
 */
#ifndef COMMON_TRUST_TRUST_H
#define COMMON_TRUST_TRUST_H

#include "common/base/err.h"
#include "common/base/names.h"
#include "common/trust/expose.h"
#include "common/trust/identity.h"
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum {
    CBX_CERT_MAX = 4096,       /* one certificate, signatures included */
    CBX_LABELS_TEXT_MAX = 512, /* "k=v,k=v" */
    CBX_CLOCK_GRACE_S = 300,   /* rule 3: peers check ends with five minutes' grace */
    CBX_HASH_SIZE = 32,
    CBX_SECRET_SIZE = 32,
};

/* An encoded, signed object as received. */
struct cbx_cert {
    uint16_t length;
    uint8_t bytes[CBX_CERT_MAX];
};

struct cbx_invite_cert {
    char pond[CBX_SLUG_MAX + 1];
    char slug[CBX_SLUG_MAX + 1]; /* "" for a role invite (later) */
    char role[CBX_SLUG_MAX + 1]; /* "" for a slug invite */
    struct cbx_expose expose;    /* the most that the peer may expose */
    char labels[CBX_LABELS_TEXT_MAX + 1];
    uint32_t uses;           /* 1 for a slug */
    uint64_t serial;         /* pond serial: order, rule 3 */
    int64_t issued;          /* Unix seconds */
    int64_t join_by;         /* last moment to join; the hub checks */
    int64_t ends;            /* the certificate's end; peers check */
    uint8_t signing_key[32]; /* public half; signs the peer certificate */
};

struct cbx_peer_cert {
    char pond[CBX_SLUG_MAX + 1];
    char slug[CBX_SLUG_MAX + 1];
    uint8_t identity[32]; /* Ed25519 public key */
    uint8_t exchange[32]; /* X25519 public key */
    struct cbx_expose expose;
    int64_t issued;
    int64_t ends;
    uint8_t invite_hash[32]; /* BLAKE2b-256 of the invite certificate's bytes */
};

/* "k=v,k=v" in printable ASCII: keys are not empty, values hold no comma. Empty text is legal. */
bool cbx_labels_valid(const char *text, size_t length);

/* Encode and sign. 0, CBX_ERR_LIMIT when it would pass CBX_CERT_MAX, or CBX_ERR_FORMAT for fields
 * that cbx_..._open would refuse. */
int cbx_invite_cert_sign(const struct cbx_invite_cert *cert, const struct cbx_keypair *pond_key,
                         struct cbx_cert *out);
int cbx_peer_cert_sign(const struct cbx_peer_cert *cert, const struct cbx_keypair *signing_key,
                       const struct cbx_keypair *identity, struct cbx_cert *out);

/*
 * Verify and decode. CBX_ERR_AUTH for a wrong signature or context, CBX_ERR_FORMAT for anything
 * else off (unknown version, illegal slug, low-order X25519 key, trailing bytes).
 */
int cbx_invite_cert_open(const uint8_t *bytes, size_t length, const uint8_t pond_public[32],
                         struct cbx_invite_cert *out, struct cbx_error *error);

/*
 * A whole chain: both certificates, every link between them (pond, slug, invite hash, expose and
 * end inside the invite's), both signatures of the peer certificate, ends against now_unix with
 * grace. CBX_ERR_EXPIRED when only time is wrong. Either out may be NULL.
 */
int cbx_chain_open(const struct cbx_cert *invite, const struct cbx_cert *peer,
                   const uint8_t pond_public[32], int64_t now_unix,
                   struct cbx_invite_cert *invite_out, struct cbx_peer_cert *peer_out,
                   struct cbx_error *error);

void cbx_cert_hash(const uint8_t *bytes, size_t length, uint8_t out[32]);
/* Hash of a chain: BLAKE2b-256("cbx chain 1" || u32 length || invite || u32 length || peer). */
void cbx_chain_hash(const struct cbx_cert *invite, const struct cbx_cert *peer, uint8_t out[32]);

#endif
