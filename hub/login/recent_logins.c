/* SPDX-License-Identifier: MIT */
/* The file written and read, and when it is due. */
#include "hub/login/recent_logins.h"
#include "common/base/bytes.h"
#include "common/base/clock.h"
#include "common/base/log.h"
#include "common/disk/file.h"
#include "common/disk/store.h"
#include "common/disk/vault.h"
#include <limits.h>
#include <sodium.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { MAGIC_SIZE = 16, PREFIX_SIZE = 8, ENTRY_SIZE = 17, HASH_SIZE = 16 };
enum { SECOND_US = 1000000 };

static const uint8_t magic[MAGIC_SIZE] = "cbx hub lately1"; /* with its NUL */

struct recent_logins {
    struct admission *admission;
    struct cbx_store *store;
    uint64_t saved; /* admission_logins when it was last handed to the store */
    char path[PATH_MAX];
};

uint8_t *
recent_logins_encode(const struct admission *admission, int64_t now_us, int64_t now_unix,
                     size_t *length)
{
    struct admission_recent *recent = calloc(ADMISSION_RECENT_MAX, sizeof *recent);
    uint8_t *bytes = malloc(RECENT_LOGINS_FILE_MAX);
    if (!recent || !bytes) {
        free(recent);
        free(bytes);
        return NULL;
    }
    uint32_t count = admission_recent(admission, recent, ADMISSION_RECENT_MAX);
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
    if (length < MAGIC_SIZE + HASH_SIZE || length > RECENT_LOGINS_FILE_MAX ||
        (length - MAGIC_SIZE - HASH_SIZE) % ENTRY_SIZE != 0)
        return false;
    size_t body = length - HASH_SIZE;
    crypto_generichash(hash, HASH_SIZE, bytes, body, NULL, 0);
    return memcmp(hash, bytes + body, HASH_SIZE) == 0 && memcmp(bytes, magic, MAGIC_SIZE) == 0;
}

int
recent_logins_decode(struct admission *admission, const uint8_t *bytes, size_t length,
                     int64_t now_us, int64_t now_unix)
{
    if (!is_whole(bytes, length))
        return CBX_ERR_FORMAT;
    const uint8_t *end = bytes + length - HASH_SIZE;
    for (const uint8_t *at = bytes + MAGIC_SIZE; at < end; at += ENTRY_SIZE) {
        uint64_t when = cbx_get_be64(at + 1 + PREFIX_SIZE), now = (uint64_t)now_unix;
        uint64_t age = when < now ? now - when : 0;
        if (age > INT32_MAX) /* decades: not recent by any setting */
            continue;
        struct admission_recent recent = {.last_us = now_us - (int64_t)age * SECOND_US};
        recent.address.family = at[0];
        memcpy(recent.address.prefix, at + 1, PREFIX_SIZE);
        admission_remember(admission, &recent, now_us);
    }
    return 0;
}

static void
load(struct recent_logins *recent_logins)
{
    uint8_t *bytes = NULL;
    size_t length = 0;
    struct cbx_error error = {"damaged, or written by another version"};
    int result =
        cbx_file_load(recent_logins->path, RECENT_LOGINS_FILE_MAX, &bytes, &length, &error);
    if (result == CBX_ERR_NOTFOUND)
        return;
    if (result == 0)
        result = recent_logins_decode(recent_logins->admission, bytes, length, cbx_clock_us(),
                                      cbx_clock_unix());
    free(bytes);
    if (result < 0)
        cbx_log_warn("%s: cannot read the recent logins, starting without them: %s",
                     recent_logins->path, error.text);
}

struct recent_logins *
recent_logins_new(const char *state_dir, struct admission *admission, struct cbx_store *store)
{
    struct recent_logins *recent_logins = calloc(1, sizeof *recent_logins);
    if (!recent_logins)
        return NULL;
    recent_logins->admission = admission;
    recent_logins->store = store;
    int used = snprintf(recent_logins->path, sizeof recent_logins->path, "%s/lately", state_dir);
    if (used < 0 || (size_t)used >= sizeof recent_logins->path) {
        free(recent_logins);
        return NULL;
    }
    load(recent_logins);
    return recent_logins;
}

static void
on_saved(void *arg, int result, const char *text)
{
    (void)arg;
    if (result < 0)
        cbx_log_warn("cannot store the recent logins: %s", text);
}

void
recent_logins_step(struct recent_logins *recent_logins)
{
    uint64_t logins = admission_logins(recent_logins->admission);
    size_t length = 0;
    if (logins == recent_logins->saved)
        return;
    uint8_t *bytes =
        recent_logins_encode(recent_logins->admission, cbx_clock_us(), cbx_clock_unix(), &length);
    if (bytes && cbx_store_put(recent_logins->store, recent_logins->path, bytes, length, 0600,
                               on_saved, NULL) == 0)
        recent_logins->saved = logins;
}

void
recent_logins_free(struct recent_logins *recent_logins)
{
    free(recent_logins);
}
