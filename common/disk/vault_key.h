/* SPDX-License-Identifier: MIT */
/* Where the key of a vault comes from, and the 32 bytes that file keys are derived from. */
#ifndef COMMON_DISK_VAULT_KEY_H
#define COMMON_DISK_VAULT_KEY_H

#include "common/base/err.h"
#include <stddef.h>
#include <stdint.h>

/* Argon2id: the cost of new seals, and the most that a file may ask for before it is tried. */
enum {
    CBX_VAULT_OPSLIMIT = 3,
    CBX_VAULT_MEMLIMIT_KIB = 64 * 1024,
    CBX_VAULT_OPSLIMIT_MAX = 10,
    CBX_VAULT_MEMLIMIT_KIB_MAX = 1024 * 1024,
};

struct cbx_vault_cache; /* the last Argon2id result, in locked memory */

/* Where the key comes from. Exactly one of the first two is set. */
struct cbx_vault_key {
    char *key_file;    /* 32 random bytes, 0600; NULL when a passphrase is used */
    char *passphrase;  /* NUL-terminated, locked memory by sodium_malloc; NULL otherwise */
    uint32_t opslimit; /* cost of new seals by passphrase; 0: the defaults above */
    uint32_t memlimit_kib;
    struct cbx_vault_cache *cache; /* spares Argon2id at every save; NULL: none is kept */
};

/*
 * Chooses the key source: passphrase_file (its first line) if not NULL, else key_file if not NULL,
 * else default_key_file, which is made (32 random bytes, 0600, O_EXCL) when create is set and it is
 * missing. A key file that others can read is refused. CBX_ERR_USAGE for a file that was named and
 * cannot serve (not there, a folder, no key in it); what is wrong with the default one has its own
 * code, CBX_ERR_NOTFOUND among them.
 */
int cbx_vault_key_init(struct cbx_vault_key *key, const char *passphrase_file, const char *key_file,
                       const char *default_key_file, int create, struct cbx_error *error);
void cbx_vault_key_wipe(struct cbx_vault_key *key);

/* ---- for vault.c ---- */

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
