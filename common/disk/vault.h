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
#include "common/disk/vault_key.h"
#include <stddef.h>
#include <stdint.h>

enum {
    CBX_VAULT_KIND_MAX = 32,
    CBX_VAULT_PLAIN_MAX = 64 * 1024 * 1024,
};

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

#endif
