/* SPDX-License-Identifier: MIT */
/*
 * What an agent keeps for good, in one sealed file `agent` of its state folder: its identity, a
 * token that has not been used up, its membership, and the peers that it ever believed (rule 3).
 */
#ifndef AGENT_DAEMON_STATE_H
#define AGENT_DAEMON_STATE_H

#include "agent/mesh/mesh.h"
#include "common/base/err.h"
#include "common/disk/vault.h"
#include "common/trust/identity.h"
#include "common/trust/token.h"
#include "common/trust/trust.h"
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum { AGENT_KNOWN_MAX = 20000 };

/* A place in a pond: where its hub is and the chain that proves the place. */
struct agent_membership {
    bool set;
    struct cbx_token where; /* its secret is all zero */
    struct cbx_cert invite_cert, peer_cert;
    struct cbx_invite_cert invite; /* the two, decoded */
    struct cbx_peer_cert peer;
};

struct agent_state {
    bool has_identity;
    struct cbx_identity identity;
    bool has_pending;
    struct cbx_token pending; /* wiped once joined */
    /* The chain that was sent with the pending token; the hub may have recorded it or not. */
    struct agent_membership submitted;
    struct agent_membership joined;
    struct mesh_known *known;
    size_t known_count;
};

/*
 * A zeroed state is an empty one. Load leaves it empty when there is no file, and fails without
 * touching the file when it is damaged or sealed by another key.
 */
int agent_state_load(struct agent_state *state, const struct cbx_vault_key *key, const char *path,
                     struct cbx_error *error);
/* The sealed file's bytes (malloc'd), for a store. */
int agent_state_seal(const struct agent_state *state, const struct cbx_vault_key *key,
                     uint8_t **bytes, size_t *length, struct cbx_error *error);
/* Writes it at once. */
int agent_state_save(const struct agent_state *state, const struct cbx_vault_key *key,
                     const char *path, struct cbx_error *error);
/* Wipes and frees what it holds, not itself. */
void agent_state_wipe(struct agent_state *state);

/* Checks and decodes a chain into *out, with the place of its hub (the secret is left out). Time is
 * not looked at. */
int agent_membership_set(struct agent_membership *out, const struct cbx_token *where,
                         const struct cbx_cert *invite_cert, const struct cbx_cert *peer_cert,
                         struct cbx_error *error);
/* Copies the list. */
int agent_state_set_known(struct agent_state *state, const struct mesh_known *known, size_t count);
/* Whether the token is of the invite by which this membership came about. */
bool agent_membership_is_of(const struct agent_membership *membership,
                            const struct cbx_token *token);

#endif
