/* SPDX-License-Identifier: MIT */
/*
 * Sealed files under a key file. The first byte picks: bytes as a file; the rest sealed, one byte
 * of the seal changed, then opened; a file with any header and a box that is right for it.
 */
#include "check.h"
#include "common/disk/vault.h"
#include "scratch.h"

#include <sodium.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

int LLVMFuzzerInitialize(int *argc, char ***argv);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

enum { MAGIC = 10, HEADER = MAGIC + 32 + 1 + 4 + 4 + 16 + 24, PLAIN_MAX = 4096 };

static const uint8_t master[32] = "thirty-two bytes of a key file.";
static char path[SCRATCH_MAX];
static struct cbx_vault_key key = {.key_file = path};

static void
remove_key(void)
{
    unlink(path);
}

int
LLVMFuzzerInitialize(int *argc, char ***argv)
{
    (void)argc;
    (void)argv;
    check(sodium_init() >= 0);
    check(scratch_file("fuzz-vault", master, sizeof master, path));
    atexit(remove_key);
    return 0;
}

/* 0 with a plain text, or an error with its cause and none. */
static int
try_open(const uint8_t *sealed, size_t size, uint8_t **plain, size_t *length)
{
    struct cbx_error error = {""};
    int result = cbx_vault_open(&key, "cbx fuzz", "a file", sealed, size, plain, length, &error);
    check(result == 0 ? *plain != NULL : *plain == NULL && error.text[0] != '\0');
    return result;
}

static void
try_changed(const uint8_t *data, size_t size)
{
    uint8_t *sealed, *plain;
    size_t length, plain_length;
    size_t where = size > 1 ? (size_t)data[0] << 8 | data[1] : 0;
    uint8_t change = size > 2 ? data[2] : 0;
    check(cbx_vault_seal(&key, "cbx fuzz", data, size, &sealed, &length, NULL) == 0);
    sealed[where % length] ^= change;
    int result = try_open(sealed, length, &plain, &plain_length);
    check((result == 0) == (change == 0));
    if (result == 0)
        check(plain_length == size && memcmp(plain, data, size) == 0);
    free(plain);
    free(sealed);
}

static void
try_header(const uint8_t *data, size_t size)
{
    static uint8_t sealed[HEADER + crypto_secretbox_MACBYTES + PLAIN_MAX];
    uint8_t secret[32], *plain;
    size_t rest = size - (HEADER - MAGIC), length;
    crypto_generichash_state state;
    if (rest > PLAIN_MAX)
        return;
    memcpy(sealed, "cbxvault1\n", MAGIC);
    memcpy(sealed + MAGIC, data, HEADER - MAGIC);
    if (sealed[MAGIC + 32] == 1) /* a passphrase would cost a second */
        return;
    crypto_generichash_init(&state, master, sizeof master, sizeof secret);
    crypto_generichash_update(&state, (const uint8_t *)"cbx vault 1", 11);
    crypto_generichash_update(&state, sealed, HEADER);
    crypto_generichash_final(&state, secret, sizeof secret);
    crypto_secretbox_easy(sealed + HEADER, data + HEADER - MAGIC, rest, sealed + HEADER - 24,
                          secret);
    int result = try_open(sealed, HEADER + crypto_secretbox_MACBYTES + rest, &plain, &length);
    static const uint8_t kind[32] = "cbx fuzz";
    if (result == 0)
        check(memcmp(sealed + MAGIC, kind, 32) == 0 && sealed[MAGIC + 32] == 0 && length == rest &&
              memcmp(plain, data + HEADER - MAGIC, rest) == 0);
    free(plain);
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    uint8_t *plain;
    size_t length;
    if (size < 1)
        return 0;
    if (data[0] % 3 == 1) {
        try_changed(data + 1, size - 1);
    } else if (data[0] % 3 == 2 && size - 1 >= HEADER - MAGIC) {
        try_header(data + 1, size - 1);
    } else {
        try_open(data + 1, size - 1, &plain, &length);
        free(plain);
    }
    return 0;
}
