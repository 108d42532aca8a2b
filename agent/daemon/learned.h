/* SPDX-License-Identifier: MIT */
/*
 * What the hub said over the link of where it is reached, and which address worked last, in a
 * sealed file of its own, `addresses`, beside the state: without it an agent is whole, so one that
 * cannot be read is passed over. The host key stays the token's, whatever an address leads to.
 */
#ifndef AGENT_DAEMON_LEARNED_H
#define AGENT_DAEMON_LEARNED_H

#include "common/base/err.h"
#include "common/disk/vault.h"
#include "common/trust/addresses.h"
#include "common/trust/token.h"
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct agent_learned {
    uint8_t host_key_sha256[32];       /* of the hub that it is about */
    struct cbx_addresses list;         /* what the token does not have */
    char worked[CBX_ADDRESS_TEXT_MAX]; /* "": the token's first, or none yet */
    bool changed;                      /* not given to the disk yet */
};

/* Where it is, for a state folder; malloc'd, NULL when memory is short. */
char *agent_learned_path(const char *state_dir);
/* Begins with what the file says of that token's hub: nothing, where there is no file or it is
 * about another hub. An error says why the file was passed over; *learned is empty then. */
int agent_learned_load(struct agent_learned *learned, const struct cbx_token *where,
                       const struct cbx_vault_key *key, const char *path, struct cbx_error *error);
/* The sealed file's bytes (malloc'd), for a store. */
int agent_learned_seal(const struct agent_learned *learned, const struct cbx_vault_key *key,
                       uint8_t **bytes, size_t *length, struct cbx_error *error);

/* Both set `changed` where that is news. True: the list is another one. */
bool agent_learned_hear(struct agent_learned *learned, const struct cbx_token *where,
                        const struct cbx_addresses *list);
void agent_learned_worked(struct agent_learned *learned, const struct cbx_token *where,
                          const char *address);

#endif
