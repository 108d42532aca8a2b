/* SPDX-License-Identifier: MIT */
/*
 * Where vault keys come from: key files and passphrases, and the derivation of both. Tested by
 * test_vault.
 */
#include "common/disk/vault_key.h"
#include "common/disk/file.h"
#include "common/os/safe_path.h"

#include <errno.h>
#include <sodium.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

/* Good until the key is wiped: one passphrase, one salt, one cost. */
struct cbx_vault_cache {
    uint8_t salt[CBX_VAULT_SALT_SIZE];
    uint8_t master[CBX_VAULT_MASTER_SIZE];
    uint32_t opslimit; /* 0: empty */
    uint32_t memlimit_kib;
};

/* Refuses a key that another account could have read. Root reads everything anyway, and a file of
 * root's is how a secret is mounted. */
static int
check_private(const char *path, struct cbx_error *error)
{
    struct stat status;
    if (stat(path, &status) != 0) {
        if (errno == ENOENT)
            return cbx_fail(error, CBX_ERR_NOTFOUND, "%s: no such key file", path);
        return cbx_fail(error, CBX_ERR_IO, "%s: cannot open: %s", path, strerror(errno));
    }
    if (!S_ISREG(status.st_mode))
        return cbx_fail(error, CBX_ERR_FORMAT, "%s: a key file must be a regular file", path);
    if ((status.st_mode & 077) != 0)
        return cbx_fail(error, CBX_ERR_AUTH,
                        "%s: others may read or write this key file; run: chmod 600 %s", path,
                        path);
    if (status.st_uid != geteuid() && status.st_uid != 0 && geteuid() != 0)
        return cbx_fail(error, CBX_ERR_AUTH, "%s: this key file belongs to another user", path);
    return cbx_safe_file(path, error);
}

static int
read_key_file(const char *path, uint8_t out[CBX_VAULT_MASTER_SIZE], struct cbx_error *error)
{
    uint8_t *bytes;
    size_t length;
    int result = check_private(path, error);
    if (result == 0)
        result = cbx_file_load(path, CBX_VAULT_MASTER_SIZE, &bytes, &length, error);
    if (result == CBX_ERR_LIMIT)
        return cbx_fail(error, CBX_ERR_FORMAT, "%s: a key file has 32 bytes, this one has more",
                        path);
    if (result != 0)
        return result;
    if (length == CBX_VAULT_MASTER_SIZE)
        memcpy(out, bytes, length);
    else
        result = cbx_fail(error, CBX_ERR_FORMAT, "%s: a key file has 32 bytes, this one has %zu",
                          path, length);
    sodium_memzero(bytes, length);
    free(bytes);
    return result;
}

/* Two processes may do this at once: the file appears whole, and both then use the same one. */
static int
make_key_file(const char *path, struct cbx_error *error)
{
    uint8_t bytes[CBX_VAULT_MASTER_SIZE];
    randombytes_buf(bytes, sizeof bytes);
    int result = cbx_file_create(path, bytes, sizeof bytes, 0600, error);
    sodium_memzero(bytes, sizeof bytes);
    return result == CBX_ERR_EXISTS ? 0 : result;
}

static int
take_passphrase(struct cbx_vault_key *key, const char *path, const char *line, size_t length,
                struct cbx_error *error)
{
    key->passphrase = sodium_malloc(length + 1);
    key->cache = sodium_malloc(sizeof *key->cache);
    if (!key->passphrase || !key->cache) {
        cbx_vault_key_wipe(key);
        return cbx_fail(error, CBX_ERR_NOMEM, "%s: out of memory", path);
    }
    memcpy(key->passphrase, line, length);
    key->passphrase[length] = '\0';
    memset(key->cache, 0, sizeof *key->cache);
    return 0;
}

static int
read_passphrase(struct cbx_vault_key *key, const char *path, struct cbx_error *error)
{
    char *line;
    size_t length;
    int result = cbx_file_secret_line(path, "passphrase", &line, &length, error);
    if (result != 0)
        return result;
    result = take_passphrase(key, path, line, length, error);
    sodium_memzero(line, length);
    free(line);
    return result;
}

/* A file that was named and cannot serve is the command line's fault, or the configuration's. */
static int
named(int result)
{
    return result == 0 || result == CBX_ERR_NOMEM ? result : CBX_ERR_USAGE;
}

int
cbx_vault_key_init(struct cbx_vault_key *key, const char *passphrase_file, const char *key_file,
                   const char *default_key_file, int create, struct cbx_error *error)
{
    memset(key, 0, sizeof *key);
    if (passphrase_file)
        return named(read_passphrase(key, passphrase_file, error));
    const char *path = key_file != NULL ? key_file : default_key_file;
    if (!path)
        return cbx_fail(error, CBX_ERR_USAGE, "no key file and no passphrase file was named");
    uint8_t master[CBX_VAULT_MASTER_SIZE];
    int result = read_key_file(path, master, error);
    if (result == CBX_ERR_NOTFOUND && !key_file && create) {
        result = make_key_file(path, error);
        if (result == 0)
            result = read_key_file(path, master, error);
    }
    sodium_memzero(master, sizeof master);
    if (result != 0)
        return key_file != NULL ? named(result) : result;
    key->key_file = strdup(path);
    if (!key->key_file)
        return cbx_fail(error, CBX_ERR_NOMEM, "%s: out of memory", path);
    return 0;
}

void
cbx_vault_key_wipe(struct cbx_vault_key *key)
{
    sodium_free(key->passphrase); /* wipes; NULL is fine */
    sodium_free(key->cache);
    free(key->key_file);
    memset(key, 0, sizeof *key);
}

static int
run_argon2(const char *passphrase, const struct cbx_vault_cost *cost,
           const uint8_t salt[CBX_VAULT_SALT_SIZE], uint8_t out[CBX_VAULT_MASTER_SIZE],
           struct cbx_error *error)
{
    if (crypto_pwhash(out, CBX_VAULT_MASTER_SIZE, passphrase, strlen(passphrase), salt,
                      cost->opslimit, (size_t)cost->memlimit_kib * 1024,
                      crypto_pwhash_ALG_ARGON2ID13) != 0)
        return cbx_fail(error, CBX_ERR_NOMEM, "the passphrase needs %u KiB of memory to be checked",
                        (unsigned)cost->memlimit_kib);
    return 0;
}

static bool
cache_has_cost(const struct cbx_vault_cache *cache, const struct cbx_vault_cost *cost)
{
    return cache != NULL && cache->opslimit != 0 && cache->opslimit == cost->opslimit &&
           cache->memlimit_kib == cost->memlimit_kib;
}

void
cbx_vault_key_draw(const struct cbx_vault_key *key, struct cbx_vault_cost *cost,
                   uint8_t salt[CBX_VAULT_SALT_SIZE])
{
    *cost = (struct cbx_vault_cost){0};
    if (key->passphrase) {
        cost->opslimit = key->opslimit != 0 ? key->opslimit : CBX_VAULT_OPSLIMIT;
        cost->memlimit_kib = key->memlimit_kib != 0 ? key->memlimit_kib : CBX_VAULT_MEMLIMIT_KIB;
    }
    /* The same salt again is sound: the nonce, 24 random bytes, goes into each file's own key. */
    if (key->passphrase && cache_has_cost(key->cache, cost))
        memcpy(salt, key->cache->salt, CBX_VAULT_SALT_SIZE);
    else
        randombytes_buf(salt, CBX_VAULT_SALT_SIZE);
}

int
cbx_vault_key_master(const struct cbx_vault_key *key, const struct cbx_vault_cost *cost,
                     const uint8_t salt[CBX_VAULT_SALT_SIZE], uint8_t out[CBX_VAULT_MASTER_SIZE],
                     struct cbx_error *error)
{
    if (!key->passphrase)
        return read_key_file(key->key_file, out, error);
    if (cache_has_cost(key->cache, cost) &&
        memcmp(key->cache->salt, salt, CBX_VAULT_SALT_SIZE) == 0) {
        memcpy(out, key->cache->master, CBX_VAULT_MASTER_SIZE);
        return 0;
    }
    int result = run_argon2(key->passphrase, cost, salt, out, error);
    if (result != 0 || !key->cache)
        return result;
    memcpy(key->cache->salt, salt, CBX_VAULT_SALT_SIZE);
    memcpy(key->cache->master, out, CBX_VAULT_MASTER_SIZE);
    key->cache->opslimit = cost->opslimit;
    key->cache->memlimit_kib = cost->memlimit_kib;
    return 0;
}
