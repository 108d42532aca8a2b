/* SPDX-License-Identifier: MIT */
/*
 * Theory. The sealed file is the truth; struct pond is a copy of it in locked memory. Two commands
 * may run at once, so whatever changes the file (making it, taking a serial) happens under an
 * exclusive flock of `<keys dir>/.lock`, and starts by reading the file again. The lock is a file
 * of its own because saving replaces the pond file. A serial that was saved and then not used is
 * just a gap.
 */
#include "hub/cmd/pond.h"

#include "common/base/mpio.h"
#include "common/base/names.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <sodium.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

enum {
    POND_VERSION = 1,
    POND_PLAIN_MAX = 128,
    POND_PATH_MAX = 4096,
    LOCK_WAIT_MS = 10000,
    LOCK_PAUSE_MS = 20,
};

#define POND_KIND "cbx pond key"

/* Numbers that JSON and every language keep exactly. */
static const uint64_t SERIAL_MAX = (UINT64_C(1) << 53) - 1;

struct pond {
    const struct cbx_vault_key *key;
    uint64_t serial; /* last one given out */
    struct cbx_keypair pair;
    uint8_t seed[crypto_sign_SEEDBYTES];
    char name[CBX_SLUG_MAX + 1];
    char path[POND_PATH_MAX];
    char lock_path[POND_PATH_MAX];
};

/* What the file holds, one array. */
enum { RECORD_VERSION, RECORD_NAME, RECORD_SEED, RECORD_SERIAL, RECORD_ELEMENTS };

struct pond_record {
    uint8_t seed[crypto_sign_SEEDBYTES];
    uint64_t serial;
};

static int
lock_folder(const struct pond *pond, int *lock, struct cbx_error *error)
{
    int fd = open(pond->lock_path, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);
    if (fd < 0)
        return cbx_fail(error, CBX_ERR_IO, "%s: cannot open the lock file: %s", pond->lock_path,
                        strerror(errno));
    int result = flock(fd, LOCK_EX | LOCK_NB);
    for (int ms = 0; result != 0 && errno == EWOULDBLOCK && ms < LOCK_WAIT_MS;
         ms += LOCK_PAUSE_MS) {
        (void)poll(NULL, 0, LOCK_PAUSE_MS);
        result = flock(fd, LOCK_EX | LOCK_NB);
    }
    if (result != 0) {
        int cause = errno;
        (void)close(fd);
        if (cause == EWOULDBLOCK)
            return cbx_fail(error, CBX_ERR_BUSY,
                            "another cbx-hub invite has held %s for %d s: is it stopped?",
                            pond->lock_path, LOCK_WAIT_MS / 1000);
        return cbx_fail(error, CBX_ERR_IO, "%s: cannot lock: %s", pond->lock_path, strerror(cause));
    }
    *lock = fd;
    return 0;
}

static int
damaged(const struct pond *pond, const char *what, struct cbx_error *error)
{
    return cbx_fail(error, CBX_ERR_FORMAT, "%s: %s; restore it from a backup", pond->path, what);
}

static int
decode(const struct pond *pond, const uint8_t *plain, size_t length, struct pond_record *record,
       struct cbx_error *error)
{
    msgpack_zone zone;
    const msgpack_object *field;
    int result = cbx_mp_array(plain, length, RECORD_ELEMENTS, 1, &zone, &field);
    if (result == CBX_ERR_NOMEM)
        return cbx_fail(error, result, "%s: out of memory", pond->path);
    if (result != 0)
        return damaged(pond, "not a pond key that this version can read", error);
    uint64_t version;
    char name[CBX_SLUG_MAX + 1];
    if (!cbx_mp_uint(&field[RECORD_VERSION], UINT64_MAX, &version) || version != POND_VERSION)
        result = cbx_fail(error, CBX_ERR_FORMAT,
                          "%s: written by another version of cbx; use that version", pond->path);
    else if (!cbx_mp_text(&field[RECORD_NAME], name, sizeof name) ||
             !cbx_mp_bin(&field[RECORD_SEED], record->seed, sizeof record->seed) ||
             !cbx_mp_uint(&field[RECORD_SERIAL], SERIAL_MAX, &record->serial))
        result = damaged(pond, "malformed", error);
    else if (strcmp(name, pond->name) != 0)
        result = cbx_fail(error, CBX_ERR_FORMAT,
                          "%s: holds the key of pond \"%s\"; give the file its old name back",
                          pond->path, name);
    msgpack_zone_destroy(&zone);
    return result;
}

static int
load(const struct pond *pond, struct pond_record *record, struct cbx_error *error)
{
    uint8_t *plain;
    size_t length;
    int result = cbx_vault_load(pond->key, POND_KIND, pond->path, &plain, &length, error);
    if (result != 0)
        return result;
    result = decode(pond, plain, length, record, error);
    sodium_memzero(plain, length);
    free(plain);
    return result;
}

static int
save(const struct pond *pond, const struct pond_record *record, struct cbx_error *error)
{
    uint8_t plain[POND_PLAIN_MAX];
    struct cbx_mpbuf buffer = {.bytes = plain, .size = sizeof plain};
    msgpack_packer packer;
    msgpack_packer_init(&packer, &buffer, cbx_mpbuf_write);
    msgpack_pack_array(&packer, RECORD_ELEMENTS);
    msgpack_pack_uint8(&packer, POND_VERSION);
    cbx_mp_pack_text(&packer, pond->name);
    cbx_mp_pack_bin(&packer, record->seed, sizeof record->seed);
    msgpack_pack_uint64(&packer, record->serial);
    int result =
        buffer.full ? cbx_fail(error, CBX_ERR_LIMIT, "%s: too long", pond->path)
                    : cbx_vault_save(pond->key, POND_KIND, pond->path, plain, buffer.length, error);
    sodium_memzero(plain, sizeof plain);
    return result;
}

/* Another command may have made the key since the first look: so look again, under the lock. */
static int
create_key(const struct pond *pond, struct pond_record *record, struct cbx_error *error)
{
    int lock = -1;
    int result = lock_folder(pond, &lock, error);
    if (result != 0)
        return result;
    result = load(pond, record, error);
    if (result == CBX_ERR_NOTFOUND) {
        randombytes_buf(record->seed, sizeof record->seed);
        record->serial = 0;
        result = save(pond, record, error);
    }
    (void)close(lock);
    return result;
}

static int
name_files(struct pond *pond, const char *keys_dir, const char *name, struct cbx_error *error)
{
    if (!cbx_slug_valid(name, strlen(name)))
        return cbx_fail(error, CBX_ERR_FORMAT,
                        "pond \"%s\": not a legal name (a-z, 0-9 and inner -, at most %d)", name,
                        CBX_SLUG_MAX);
    (void)snprintf(pond->name, sizeof pond->name, "%s", name);
    int length = snprintf(pond->path, sizeof pond->path, "%s/%s.pond", keys_dir, name);
    int lock_length = snprintf(pond->lock_path, sizeof pond->lock_path, "%s/.lock", keys_dir);
    if (length < 0 || lock_length < 0 || length >= POND_PATH_MAX || lock_length >= POND_PATH_MAX)
        return cbx_fail(error, CBX_ERR_LIMIT, "the path of the keys folder is too long");
    return 0;
}

static int
read_or_create(struct pond *pond, const char *keys_dir, bool create, struct cbx_error *error)
{
    struct pond_record record = {0};
    int result = load(pond, &record, error);
    if (result == CBX_ERR_NOTFOUND && create) {
        if (mkdir(keys_dir, 0700) != 0 && errno != EEXIST)
            return cbx_fail(error, CBX_ERR_IO, "%s: cannot make the keys folder: %s", keys_dir,
                            strerror(errno));
        result = create_key(pond, &record, error);
    } else if (result == CBX_ERR_NOTFOUND) {
        bool folder = access(keys_dir, F_OK) == 0;
        result = cbx_fail(
            error, result,
            "pond \"%s\" exists, and its key is not there: %s %s does not exist; give "
            "the folder that holds it with --keys",
            pond->name, folder ? "the file" : "the folder", folder ? pond->path : keys_dir);
    }
    if (result == 0) {
        memcpy(pond->seed, record.seed, sizeof pond->seed);
        pond->serial = record.serial;
        cbx_keypair_from_seed(&pond->pair, pond->seed);
    }
    sodium_memzero(&record, sizeof record);
    return result;
}

int
pond_open(struct pond **out, const char *keys_dir, const struct cbx_vault_key *key,
          const char *name, bool create, struct cbx_error *error)
{
    *out = NULL;
    struct pond *pond = sodium_malloc(sizeof *pond);
    if (!pond)
        return cbx_fail(error, CBX_ERR_NOMEM, "pond \"%s\": out of memory", name);
    sodium_memzero(pond, sizeof *pond);
    pond->key = key;
    int result = name_files(pond, keys_dir, name, error);
    if (result == 0)
        result = read_or_create(pond, keys_dir, create, error);
    if (result != 0) {
        pond_wipe(pond);
        return result;
    }
    *out = pond;
    return 0;
}

void
pond_wipe(struct pond *pond)
{
    sodium_free(pond); /* wipes first */
}

const struct cbx_keypair *
pond_key(const struct pond *pond)
{
    return &pond->pair;
}

/* The next serial of the file as it is now. Under the lock. */
static int
advance(struct pond *pond, int64_t now_ms, struct cbx_error *error)
{
    struct pond_record record = {0};
    int result = load(pond, &record, error);
    if (result == 0 && sodium_memcmp(record.seed, pond->seed, sizeof record.seed) != 0)
        result = cbx_fail(error, CBX_ERR_STATE,
                          "%s: another key was created there meanwhile; run the command again",
                          pond->path);
    if (result == 0) {
        uint64_t now = now_ms > 0 ? (uint64_t)now_ms : 0;
        uint64_t next = record.serial + 1 > now ? record.serial + 1 : now;
        if (next > SERIAL_MAX)
            result = cbx_fail(error, CBX_ERR_LIMIT,
                              "%s: no serials left; is this machine's clock right?", pond->path);
        record.serial = next;
        if (result == 0)
            result = save(pond, &record, error);
        if (result == 0)
            pond->serial = next;
    }
    sodium_memzero(&record, sizeof record);
    return result;
}

int
pond_next_serial(struct pond *pond, int64_t now_ms, uint64_t *serial, struct cbx_error *error)
{
    int lock = -1;
    int result = lock_folder(pond, &lock, error);
    if (result != 0)
        return result;
    result = advance(pond, now_ms, error);
    (void)close(lock);
    if (result == 0)
        *serial = pond->serial;
    return result;
}
