/* SPDX-License-Identifier: MIT */
/*
 * Secrets at rest: a file sealed with libsodium secretbox under a key from a key file or a
 * passphrase (Argon2id). Format in PROTOCOL.md, "Sealed files". Written to a temporary file in the
 * same folder, fsynced, renamed, folder fsynced. A file that is damaged, truncated, of another
 * kind or sealed by another key is refused with its name and what to do; nothing here overwrites it
 * then.
 */
#ifndef COMMON_DISK_VAULT_H
#define COMMON_DISK_VAULT_H

#include "common/base/err.h"
#include <stddef.h>
#include <stdint.h>

enum {
    CBX_VAULT_KIND_MAX = 32,
    CBX_VAULT_PLAIN_MAX = 64 * 1024 * 1024,
};

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
 * missing. A key file that others can read is refused.
 */
int cbx_vault_key_init(struct cbx_vault_key *key, const char *passphrase_file, const char *key_file,
                       const char *default_key_file, int create, struct cbx_error *error);
void cbx_vault_key_wipe(struct cbx_vault_key *key);

/* Seals plain into *out (malloc, caller frees). kind names what it is: "cbx hub registry". */
int cbx_vault_seal(const struct cbx_vault_key *key, const char *kind, const uint8_t *plain,
                   size_t plain_length, uint8_t **out, size_t *out_length, struct cbx_error *error);

/* Opens sealed bytes; name is for error texts. *plain is malloc'd, caller wipes and frees. */
int cbx_vault_open(const struct cbx_vault_key *key, const char *kind, const char *name,
                   const uint8_t *sealed, size_t sealed_length, uint8_t **plain,
                   size_t *plain_length, struct cbx_error *error);

/*
 * Whole file in one go. Load: CBX_ERR_NOTFOUND when there is none. Save: mode 0600; an existing
 * file that is no vault file, or one of another kind or key source, stays as it is and is refused
 * with CBX_ERR_EXISTS. A file that has not been loaded with this key must not be saved over: save
 * does not open it.
 */
int cbx_vault_load(const struct cbx_vault_key *key, const char *kind, const char *path,
                   uint8_t **plain, size_t *plain_length, struct cbx_error *error);
int cbx_vault_save(const struct cbx_vault_key *key, const char *kind, const char *path,
                   const uint8_t *plain, size_t plain_length, struct cbx_error *error);

/* Plain files by the same careful way: temporary, fsync, rename, fsync of the folder. */
int cbx_file_save(const char *path, const uint8_t *bytes, size_t length, unsigned mode,
                  struct cbx_error *error);
/* The same, but never over an existing file: CBX_ERR_EXISTS. */
int cbx_file_create(const char *path, const uint8_t *bytes, size_t length, unsigned mode,
                    struct cbx_error *error);
/* Reads at most max bytes; CBX_ERR_LIMIT when longer; CBX_ERR_NOTFOUND. *bytes is malloc'd, with a
 * NUL behind the last byte that *length does not count. Pipes work too. */
int cbx_file_load(const char *path, size_t max, uint8_t **bytes, size_t *length,
                  struct cbx_error *error);

#endif
