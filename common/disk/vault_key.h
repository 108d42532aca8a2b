/* SPDX-License-Identifier: MIT */
/* Inside the vault: from a struct cbx_vault_key to the 32 bytes that file keys are derived from. */
#ifndef COMMON_DISK_VAULT_KEY_H
#define COMMON_DISK_VAULT_KEY_H

#include "common/disk/vault.h"

enum { CBX_VAULT_MASTER_SIZE = 32, CBX_VAULT_SALT_SIZE = 16 };

/* Argon2id's; both 0 for a key file. */
struct cbx_vault_cost {
    uint32_t opslimit;
    uint32_t memlimit_kib;
};

/* Cost and salt for a new seal. */
void cbx_vault_key_draw(const struct cbx_vault_key *key, struct cbx_vault_cost *cost,
                        uint8_t salt[CBX_VAULT_SALT_SIZE]);

/* The key file's bytes, or Argon2id's result (kept in key->cache). The caller has checked cost
 * against the limits, and wipes out. */
int cbx_vault_key_master(const struct cbx_vault_key *key, const struct cbx_vault_cost *cost,
                         const uint8_t salt[CBX_VAULT_SALT_SIZE],
                         uint8_t out[CBX_VAULT_MASTER_SIZE], struct cbx_error *error);

#endif
