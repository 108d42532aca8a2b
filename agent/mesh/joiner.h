/* SPDX-License-Identifier: MIT */
/*
 * A join over a link that was logged in with an invite's key (rule 6): hears the invite
 * certificate and the slug, checks both against the token's pond key, signs the peer certificate
 * with the signing key and the identity, submits it, and hears that it was recorded.
 */
#ifndef AGENT_MESH_JOINER_H
#define AGENT_MESH_JOINER_H

#include "common/base/err.h"
#include "common/link/carrier.h"
#include "common/trust/identity.h"
#include "common/trust/trust.h"

struct joiner;

struct joiner_result {
    struct cbx_invite_cert invite; /* decoded */
    struct cbx_cert invite_cert, peer_cert;
};

struct joiner_ops {
    /* Right before the chain is sent (may be NULL): the owner stores it (rule 6), so that after a
     * lost answer it can log in with the identity. 0, or the join fails with INTERNAL. */
    int (*submitting)(void *arg, const struct joiner_result *result);
    /* Joined. The joiner may be freed inside. */
    void (*joined)(void *arg, const struct joiner_result *result);
    /* Failed. USED, EXPIRED, DENIED, PROTOCOL are final; LOST and others may be tried again. */
    void (*failed)(void *arg, enum cbx_reason reason, const char *text);
    int64_t (*now_us)(void *arg);
    int64_t (*now_unix)(void *arg);
    void (*wake)(void *arg);
};

/* Takes the carrier. signing and identity are borrowed until the joiner is freed. narrow is the
 * agent's own expose list (NULL: all that the invite allows). */
struct joiner *joiner_new(struct cbx_carrier *carrier, const uint8_t pond_public[32],
                          const struct cbx_keypair *signing, const struct cbx_identity *identity,
                          const struct cbx_expose *narrow, const struct joiner_ops *ops, void *arg);
int64_t joiner_flush(struct joiner *joiner); /* as mesh_flush */
void joiner_free(struct joiner *joiner);

#endif
