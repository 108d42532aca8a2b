/* SPDX-License-Identifier: MIT */
#include "lately.h"
#include "bytes.h"
#include "clock.h"
#include "log.h"
#include "store.h"
#include "vault.h"
#include <limits.h>
#include <sodium.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { MAGIC_SIZE = 16, PREFIX_SIZE = 8, ENTRY_SIZE = 17, HASH_SIZE = 16 };
enum { SECOND_US = 1000000 };

static const uint8_t magic[MAGIC_SIZE] = "cbx hub lately1"; /* with its NUL */

struct lately {
    struct slots *slots;
    struct cbx_store *store;
    uint64_t saved; /* slots_logins when it was last handed to the store */
    char path[PATH_MAX];
};

uint8_t *
lately_encode(const struct slots *slots, int64_t now_us, int64_t now_unix, size_t *length)
{
    struct slots_recent *recent = calloc(SLOTS_RECENT_MAX, sizeof *recent);
    uint8_t *bytes = malloc(LATELY_FILE_MAX);
    if (!recent || !bytes) {
        free(recent);
        free(bytes);
        return NULL;
    }
    uint32_t count = slots_recent(slots, recent, SLOTS_RECENT_MAX);
    uint8_t *at = bytes + MAGIC_SIZE;
    memcpy(bytes, magic, MAGIC_SIZE);
    for (uint32_t i = 0; i < count; i++, at += ENTRY_SIZE) {
        int64_t when = now_unix - (now_us - recent[i].last_us) / SECOND_US;
        at[0] = recent[i].address.family;
        memcpy(at + 1, recent[i].address.prefix, PREFIX_SIZE);
        cbx_put_be64(at + 1 + PREFIX_SIZE, when > 0 ? (uint64_t)when : 0);
    }
    size_t body = (size_t)(at - bytes);
    crypto_generichash(at, HASH_SIZE, bytes, body, NULL, 0);
    *length = body + HASH_SIZE;
    free(recent);
    return bytes;
}

static bool
is_whole(const uint8_t *bytes, size_t length)
{
    uint8_t hash[HASH_SIZE];
    if (length < MAGIC_SIZE + HASH_SIZE || length > LATELY_FILE_MAX ||
        (length - MAGIC_SIZE - HASH_SIZE) % ENTRY_SIZE != 0)
        return false;
    size_t body = length - HASH_SIZE;
    crypto_generichash(hash, HASH_SIZE, bytes, body, NULL, 0);
    return memcmp(hash, bytes + body, HASH_SIZE) == 0 && memcmp(bytes, magic, MAGIC_SIZE) == 0;
}

int
lately_decode(struct slots *slots, const uint8_t *bytes, size_t length, int64_t now_us,
              int64_t now_unix)
{
    if (!is_whole(bytes, length))
        return CBX_ERR_FORMAT;
    const uint8_t *end = bytes + length - HASH_SIZE;
    for (const uint8_t *at = bytes + MAGIC_SIZE; at < end; at += ENTRY_SIZE) {
        uint64_t when = cbx_get_be64(at + 1 + PREFIX_SIZE), now = (uint64_t)now_unix;
        uint64_t age = when < now ? now - when : 0;
        if (age > INT32_MAX) /* decades: nobody calls that lately */
            continue;
        struct slots_recent recent = {.last_us = now_us - (int64_t)age * SECOND_US};
        recent.address.family = at[0];
        memcpy(recent.address.prefix, at + 1, PREFIX_SIZE);
        slots_remember(slots, &recent, now_us);
    }
    return 0;
}

static void
load(struct lately *lately)
{
    uint8_t *bytes = NULL;
    size_t length = 0;
    struct cbx_error error = {"it is damaged, or of another version"};
    int result = cbx_file_load(lately->path, LATELY_FILE_MAX, &bytes, &length, &error);
    if (result == CBX_ERR_NOTFOUND)
        return;
    if (result == 0)
        result = lately_decode(lately->slots, bytes, length, cbx_clock_us(), cbx_clock_unix());
    free(bytes);
    if (result < 0)
        cbx_log_warn("%s: which addresses logged in lately is forgotten: %s", lately->path,
                     error.text);
}

struct lately *
lately_new(const char *state_dir, struct slots *slots, struct cbx_store *store)
{
    struct lately *lately = calloc(1, sizeof *lately);
    if (!lately)
        return NULL;
    lately->slots = slots;
    lately->store = store;
    int used = snprintf(lately->path, sizeof lately->path, "%s/lately", state_dir);
    if (used < 0 || (size_t)used >= sizeof lately->path) {
        free(lately);
        return NULL;
    }
    load(lately);
    return lately;
}

static void
on_saved(void *arg, int result, const char *text)
{
    (void)arg;
    if (result < 0)
        cbx_log_warn("which addresses logged in lately cannot be kept: %s", text);
}

void
lately_step(struct lately *lately)
{
    uint64_t logins = slots_logins(lately->slots);
    size_t length = 0;
    if (logins == lately->saved)
        return;
    uint8_t *bytes = lately_encode(lately->slots, cbx_clock_us(), cbx_clock_unix(), &length);
    if (bytes &&
        cbx_store_put(lately->store, lately->path, bytes, length, 0600, on_saved, NULL) == 0)
        lately->saved = logins;
}

void
lately_free(struct lately *lately)
{
    free(lately);
}
