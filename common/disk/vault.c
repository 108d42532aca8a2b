/* SPDX-License-Identifier: MIT */
/*
 * The sealed bytes: a header, then a secretbox. The header goes into the secretbox key, so changing
 * any byte of either makes the file not open. What can be told apart before that (no vault file,
 * another version, kind or key source, a cost that nobody here would have chosen) is told apart, so
 * that the person gets the cause and not just "cannot be decrypted".
 */
#include "common/disk/vault.h"
#include "common/base/bytes.h"

#include "common/disk/file.h"
#include "common/disk/vault_key.h"

#include <errno.h>
#include <fcntl.h>
#include <sodium.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static const char magic[] = "cbxvault1\n";
static const char key_context[] = "cbx vault 1";

enum {
    MAGIC_SIZE = sizeof magic - 1,
    NONCE_SIZE = crypto_secretbox_NONCEBYTES,
    AT_KIND = MAGIC_SIZE,
    AT_SOURCE = AT_KIND + CBX_VAULT_KIND_MAX,
    AT_OPSLIMIT = AT_SOURCE + 1,
    AT_MEMLIMIT = AT_OPSLIMIT + 4,
    AT_SALT = AT_MEMLIMIT + 4,
    AT_NONCE = AT_SALT + CBX_VAULT_SALT_SIZE,
    HEADER_SIZE = AT_NONCE + NONCE_SIZE,
    MAC_SIZE = crypto_secretbox_MACBYTES,
    SEALED_MAX = HEADER_SIZE + MAC_SIZE + CBX_VAULT_PLAIN_MAX,
};

enum source { SOURCE_KEY_FILE = 0, SOURCE_PASSPHRASE = 1 };

static enum source
source_of(const struct cbx_vault_key *key)
{
    return key->passphrase != NULL ? SOURCE_PASSPHRASE : SOURCE_KEY_FILE;
}

/* Zero padded, as it stands in the header. */
static int
kind_field(const char *kind, uint8_t out[CBX_VAULT_KIND_MAX], struct cbx_error *error)
{
    size_t length = strlen(kind);
    if (length == 0 || length > CBX_VAULT_KIND_MAX)
        return cbx_fail(error, CBX_ERR_USAGE, "a kind of vault file has 1 to %d characters",
                        CBX_VAULT_KIND_MAX);
    memset(out, 0, CBX_VAULT_KIND_MAX);
    memcpy(out, kind, length);
    return 0;
}

static int
box_key(const struct cbx_vault_key *key, const uint8_t header[HEADER_SIZE],
        uint8_t out[crypto_secretbox_KEYBYTES], struct cbx_error *error)
{
    uint8_t master[CBX_VAULT_MASTER_SIZE];
    const struct cbx_vault_cost cost = {cbx_get_be32(header + AT_OPSLIMIT),
                                        cbx_get_be32(header + AT_MEMLIMIT)};
    int result = cbx_vault_key_master(key, &cost, header + AT_SALT, master, error);
    if (result == 0) {
        crypto_generichash_state state;
        (void)crypto_generichash_init(&state, master, sizeof master, crypto_secretbox_KEYBYTES);
        (void)crypto_generichash_update(&state, (const uint8_t *)key_context,
                                        sizeof key_context - 1);
        (void)crypto_generichash_update(&state, header, HEADER_SIZE);
        (void)crypto_generichash_final(&state, out, crypto_secretbox_KEYBYTES);
        sodium_memzero(&state, sizeof state);
    }
    sodium_memzero(master, sizeof master);
    return result;
}

int
cbx_vault_seal(const struct cbx_vault_key *key, const char *kind, const uint8_t *plain,
               size_t plain_length, uint8_t **out, size_t *out_length, struct cbx_error *error)
{
    uint8_t header[HEADER_SIZE];
    uint8_t secret[crypto_secretbox_KEYBYTES];
    struct cbx_vault_cost cost;
    *out = NULL;
    *out_length = 0;
    if (plain_length > CBX_VAULT_PLAIN_MAX)
        return cbx_fail(error, CBX_ERR_LIMIT, "%s: more than %d bytes to seal", kind,
                        CBX_VAULT_PLAIN_MAX);
    int result = kind_field(kind, header + AT_KIND, error);
    if (result != 0)
        return result;
    memcpy(header, magic, MAGIC_SIZE);
    header[AT_SOURCE] = (uint8_t)source_of(key);
    cbx_vault_key_draw(key, &cost, header + AT_SALT);
    cbx_put_be32(header + AT_OPSLIMIT, cost.opslimit);
    cbx_put_be32(header + AT_MEMLIMIT, cost.memlimit_kib);
    randombytes_buf(header + AT_NONCE, NONCE_SIZE);
    result = box_key(key, header, secret, error);
    if (result != 0)
        return result;
    size_t length = HEADER_SIZE + MAC_SIZE + plain_length;
    uint8_t *sealed = malloc(length);
    if (sealed) {
        memcpy(sealed, header, HEADER_SIZE);
        (void)crypto_secretbox_easy(sealed + HEADER_SIZE, plain, plain_length, header + AT_NONCE,
                                    secret);
        *out = sealed;
        *out_length = length;
    }
    sodium_memzero(secret, sizeof secret);
    return sealed != NULL ? 0 : cbx_fail(error, CBX_ERR_NOMEM, "%s: out of memory", kind);
}

static int
check_magic(const char *name, const uint8_t *sealed, size_t length, struct cbx_error *error)
{
    static const size_t stem = MAGIC_SIZE - 2; /* "cbxvault" */
    size_t shown = length < MAGIC_SIZE ? length : MAGIC_SIZE;
    if (memcmp(sealed, magic, shown) == 0) {
        if (length < HEADER_SIZE + MAC_SIZE)
            return cbx_fail(error, CBX_ERR_FORMAT,
                            "%s: cut short (%zu bytes); put a backup in its place", name, length);
        return 0;
    }
    if (length > stem && memcmp(sealed, magic, stem) == 0)
        return cbx_fail(error, CBX_ERR_FORMAT,
                        "%s: sealed by another version of cbx; use that version", name);
    return cbx_fail(error, CBX_ERR_FORMAT,
                    "%s: not a file that cbx sealed; move it away or name another", name);
}

static int
check_kind(const char *kind, const char *name, const uint8_t *sealed, struct cbx_error *error)
{
    uint8_t wanted[CBX_VAULT_KIND_MAX];
    int result = kind_field(kind, wanted, error);
    if (result != 0)
        return result;
    if (memcmp(sealed + AT_KIND, wanted, sizeof wanted) != 0)
        return cbx_fail(error, CBX_ERR_FORMAT,
                        "%s: holds \"%.*s\" where \"%s\" belongs; move it to its own place", name,
                        CBX_VAULT_KIND_MAX, (const char *)sealed + AT_KIND, kind);
    return 0;
}

static int
check_source(const struct cbx_vault_key *key, const char *name, const uint8_t *sealed,
             struct cbx_error *error)
{
    uint8_t source = sealed[AT_SOURCE];
    if (source != SOURCE_KEY_FILE && source != SOURCE_PASSPHRASE)
        return cbx_fail(error, CBX_ERR_FORMAT, "%s: damaged; put a backup in its place", name);
    if (source == source_of(key))
        return 0;
    if (source == SOURCE_PASSPHRASE)
        return cbx_fail(error, CBX_ERR_AUTH,
                        "%s: sealed with a passphrase; give the passphrase file", name);
    return cbx_fail(error, CBX_ERR_AUTH,
                    "%s: sealed with a key file, not a passphrase; give the key file", name);
}

static int
check_cost(const char *name, const uint8_t *sealed, struct cbx_error *error)
{
    uint32_t opslimit = cbx_get_be32(sealed + AT_OPSLIMIT);
    uint32_t memlimit_kib = cbx_get_be32(sealed + AT_MEMLIMIT);
    bool by_passphrase = sealed[AT_SOURCE] == SOURCE_PASSPHRASE;
    if (opslimit > CBX_VAULT_OPSLIMIT_MAX || memlimit_kib > CBX_VAULT_MEMLIMIT_KIB_MAX)
        return cbx_fail(error, CBX_ERR_LIMIT,
                        "%s: asks for more work than any cbx file needs (Argon2id %u, %u KiB); it "
                        "is damaged or forged",
                        name, (unsigned)opslimit, (unsigned)memlimit_kib);
    bool legal = by_passphrase ? opslimit >= crypto_pwhash_argon2id_OPSLIMIT_MIN &&
                                     memlimit_kib >= crypto_pwhash_argon2id_MEMLIMIT_MIN / 1024
                               : opslimit == 0 && memlimit_kib == 0;
    if (!legal)
        return cbx_fail(error, CBX_ERR_FORMAT, "%s: damaged; put a backup in its place", name);
    return 0;
}

int
cbx_vault_open(const struct cbx_vault_key *key, const char *kind, const char *name,
               const uint8_t *sealed, size_t sealed_length, uint8_t **plain, size_t *plain_length,
               struct cbx_error *error)
{
    uint8_t secret[crypto_secretbox_KEYBYTES];
    *plain = NULL;
    *plain_length = 0;
    if (sealed_length > SEALED_MAX)
        return cbx_fail(error, CBX_ERR_LIMIT, "%s: too long", name);
    int result = check_magic(name, sealed, sealed_length, error);
    if (result == 0)
        result = check_kind(kind, name, sealed, error);
    if (result == 0)
        result = check_source(key, name, sealed, error);
    if (result == 0)
        result = check_cost(name, sealed, error);
    if (result == 0)
        result = box_key(key, sealed, secret, error);
    if (result != 0)
        return result;
    size_t length = sealed_length - HEADER_SIZE - MAC_SIZE;
    uint8_t *opened = malloc(length + 1); /* never of size 0 */
    if (!opened) {
        result = cbx_fail(error, CBX_ERR_NOMEM, "%s: out of memory", name);
    } else if (crypto_secretbox_open_easy(opened, sealed + HEADER_SIZE, length + MAC_SIZE,
                                          sealed + AT_NONCE, secret) != 0) {
        free(opened); /* nothing was decrypted into it */
        result =
            cbx_fail(error, CBX_ERR_AUTH,
                     "%s: cannot be decrypted: it is damaged, or sealed with another %s; give the "
                     "right one, or put a backup in its place",
                     name, source_of(key) == SOURCE_PASSPHRASE ? "passphrase" : "key file");
    } else {
        *plain = opened;
        *plain_length = length;
    }
    sodium_memzero(secret, sizeof secret);
    return result;
}

int
cbx_vault_load(const struct cbx_vault_key *key, const char *kind, const char *path, uint8_t **plain,
               size_t *plain_length, struct cbx_error *error)
{
    uint8_t *sealed;
    size_t length;
    *plain = NULL;
    *plain_length = 0;
    int result = cbx_file_load(path, SEALED_MAX, &sealed, &length, error);
    if (result != 0)
        return result;
    result = cbx_vault_open(key, kind, path, sealed, length, plain, plain_length, error);
    free(sealed);
    return result;
}

/* Up to size bytes from the beginning of a file. */
static int
read_head(const char *path, uint8_t *out, size_t size, size_t *length, struct cbx_error *error)
{
    *length = 0;
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    if (fd < 0 && errno == ENOENT)
        return CBX_ERR_NOTFOUND;
    ssize_t count = fd < 0 ? -1 : 0;
    while (fd >= 0 && *length < size) {
        count = read(fd, out + *length, size - *length);
        if (count < 0 && errno == EINTR)
            continue;
        if (count <= 0)
            break;
        *length += (size_t)count;
    }
    int result =
        count >= 0 ? 0 : cbx_fail(error, CBX_ERR_IO, "%s: cannot read: %s", path, strerror(errno));
    if (fd >= 0)
        close(fd);
    return result;
}

/* 0 when path is free or holds a file that this key and kind could have written. */
static int
check_replaceable(const struct cbx_vault_key *key, const char *kind, const char *path,
                  struct cbx_error *error)
{
    uint8_t header[HEADER_SIZE + MAC_SIZE] = {0};
    size_t length;
    int result = read_head(path, header, sizeof header, &length, error);
    if (result != 0)
        return result == CBX_ERR_NOTFOUND ? 0 : result;
    result = check_magic(path, header, length, error);
    if (result == 0)
        result = check_kind(kind, path, header, error);
    if (result == 0)
        result = check_source(key, path, header, error);
    return result == 0 ? 0 : CBX_ERR_EXISTS;
}

int
cbx_vault_save(const struct cbx_vault_key *key, const char *kind, const char *path,
               const uint8_t *plain, size_t plain_length, struct cbx_error *error)
{
    uint8_t *sealed;
    size_t length;
    int result = check_replaceable(key, kind, path, error);
    if (result == 0)
        result = cbx_vault_seal(key, kind, plain, plain_length, &sealed, &length, error);
    if (result != 0)
        return result;
    result = cbx_file_save(path, sealed, length, 0600, error);
    free(sealed);
    return result;
}
