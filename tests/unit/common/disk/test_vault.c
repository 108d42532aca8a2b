/* SPDX-License-Identifier: MIT */
/*
 * Sealed files. Each test has a folder of its own with a key file in it. Passphrase tests use the
 * least Argon2id cost, but for the one that looks at the default.
 */
#include "common/disk/file.h"
#include "common/disk/vault.h"
#include "scratch.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <sodium.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define SET(field, text) ((void)snprintf((field), sizeof(field), "%s", (text)))

enum { HEADER = 91, AT_KIND = 10, AT_SOURCE = 42, AT_OPS = 43, AT_MEM = 47, AT_SALT = 51 };

static const char kind[] = "cbx test state";
static const uint8_t plain[] = "the secret of this test";

struct place {
    char folder[SCRATCH_MAX];
    char *path[8];
    int paths;
    struct cbx_vault_key key; /* by key file, made in the folder */
};

/* A path in the test's folder, good until the test ends. */
static const char *
at(struct place *place, const char *name)
{
    assert_true(place->paths < 8);
    char *path = NULL;
    assert_true(asprintf(&path, "%s/%s", place->folder, name) > 0);
    place->path[place->paths++] = path;
    return path;
}

static int
setup(void **state)
{
    struct place *place = calloc(1, sizeof *place);
    assert_non_null(place);
    assert_true(scratch_folder("vault", place->folder));
    assert_int_equal(cbx_vault_key_init(&place->key, NULL, NULL, at(place, "default.key"), 1, NULL),
                     0);
    *state = place;
    return 0;
}

/* How many files there are, and how many of them are left-over temporary ones. */
static int
count_files(const struct place *place, int *temporary)
{
    int count = 0;
    DIR *folder = opendir(place->folder);
    assert_non_null(folder);
    *temporary = 0;
    for (struct dirent *entry = readdir(folder); entry != NULL; entry = readdir(folder)) {
        if (entry->d_name[0] == '.')
            continue;
        const char *dot = strrchr(entry->d_name, '.');
        count++;
        *temporary += dot != NULL && strlen(dot) == 7;
    }
    closedir(folder);
    return count;
}

static int
teardown(void **state)
{
    struct place *place = *state;
    int temporary;
    (void)count_files(place, &temporary);
    cbx_vault_key_wipe(&place->key);
    assert_true(scratch_remove(place->folder));
    for (int i = 0; i < place->paths; i++)
        free(place->path[i]);
    free(place);
    return temporary == 0 ? 0 : -1;
}

static unsigned
mode_of(const char *path)
{
    struct stat status;
    assert_int_equal(stat(path, &status), 0);
    return status.st_mode & 07777;
}

static void
put_file(const char *path, const void *bytes, size_t length)
{
    assert_int_equal(cbx_file_save(path, bytes, length, 0600, NULL), 0);
}

static void
expect_file(const char *path, const void *bytes, size_t length)
{
    uint8_t *found;
    size_t found_length;
    assert_int_equal(cbx_file_load(path, 1 << 20, &found, &found_length, NULL), 0);
    assert_int_equal(found_length, length);
    assert_memory_equal(found, bytes, length);
    free(found);
}

/* A key by passphrase at the least cost. */
static void
passphrase_key(struct place *place, struct cbx_vault_key *key, const char *text)
{
    const char *path = at(place, "passphrase");
    put_file(path, text, strlen(text));
    assert_int_equal(cbx_vault_key_init(key, path, NULL, NULL, 0, NULL), 0);
    key->opslimit = 1;
    key->memlimit_kib = 8;
}

struct sealed {
    uint8_t *bytes;
    size_t length;
};

static struct sealed
seal(const struct cbx_vault_key *key)
{
    struct sealed sealed;
    assert_int_equal(
        cbx_vault_seal(key, kind, plain, sizeof plain, &sealed.bytes, &sealed.length, NULL), 0);
    return sealed;
}

/* Opens a copy of exactly this size; on failure nothing is given out and the file is named. */
static int
open_bytes(const struct cbx_vault_key *key, const void *bytes, size_t length, const char *words)
{
    uint8_t *copy = malloc(length + (length == 0));
    uint8_t *found;
    size_t found_length;
    struct cbx_error error = {""};
    assert_non_null(copy);
    memcpy(copy, bytes, length);
    int result = cbx_vault_open(key, kind, "h/state", copy, length, &found, &found_length, &error);
    free(copy);
    if (result == 0) {
        assert_int_equal(found_length, sizeof plain);
        assert_memory_equal(found, plain, sizeof plain);
        free(found);
        return 0;
    }
    assert_null(found);
    assert_int_equal(found_length, 0);
    assert_int_equal(strncmp(error.text, "h/state: ", 9), 0);
    if (words != NULL)
        assert_non_null(strstr(error.text, words));
    return result;
}

/* Sealing and opening. */

static void
a_sealed_text_opens_again(void **state)
{
    struct place *place = *state;
    struct sealed sealed = seal(&place->key);
    assert_int_equal(sealed.length, HEADER + 16 + sizeof plain);
    assert_int_equal(open_bytes(&place->key, sealed.bytes, sealed.length, NULL), 0);
    assert_null(memmem(sealed.bytes, sealed.length, plain, 8));
    free(sealed.bytes);
}

static void
an_empty_text_opens_again(void **state)
{
    struct place *place = *state;
    uint8_t *sealed;
    uint8_t *found;
    size_t length;
    assert_int_equal(cbx_vault_seal(&place->key, kind, NULL, 0, &sealed, &length, NULL), 0);
    assert_int_equal(cbx_vault_open(&place->key, kind, "x", sealed, length, &found, &length, NULL),
                     0);
    assert_int_equal(length, 0);
    free(sealed);
    free(found);
}

static void
the_bytes_are_those_of_the_protocol(void **state)
{
    struct place *place = *state;
    struct sealed sealed = seal(&place->key);
    uint8_t master[32];
    uint8_t key[32];
    uint8_t text[11 + HEADER];
    uint8_t opened[sizeof plain];
    uint8_t *bytes;
    size_t length;
    assert_memory_equal(sealed.bytes, "cbxvault1\ncbx test state\0\0", 26);
    assert_true(sodium_is_zero(sealed.bytes + AT_KIND + 14, 18));
    assert_true(sodium_is_zero(sealed.bytes + AT_SOURCE, 9));
    assert_int_equal(cbx_file_load(place->key.key_file, 32, &bytes, &length, NULL), 0);
    memcpy(master, bytes, 32);
    free(bytes);
    memcpy(text, "cbx vault 1", 11);
    memcpy(text + 11, sealed.bytes, HEADER);
    (void)crypto_generichash(key, 32, text, sizeof text, master, 32);
    assert_int_equal(crypto_secretbox_open_easy(opened, sealed.bytes + HEADER,
                                                sealed.length - HEADER, sealed.bytes + HEADER - 24,
                                                key),
                     0);
    assert_memory_equal(opened, plain, sizeof plain);
    free(sealed.bytes);
}

static void
two_seals_of_one_text_differ(void **state)
{
    struct place *place = *state;
    struct sealed a = seal(&place->key);
    struct sealed b = seal(&place->key);
    assert_memory_not_equal(a.bytes + AT_SALT, b.bytes + AT_SALT, 40);
    assert_memory_not_equal(a.bytes + HEADER, b.bytes + HEADER, 16 + sizeof plain);
    free(a.bytes);
    free(b.bytes);
}

static void
every_flipped_bit_is_found(void **state)
{
    struct place *place = *state;
    struct sealed sealed = seal(&place->key);
    for (size_t i = 0; i < sealed.length; i++) {
        uint8_t bit = (uint8_t)(1u << (i % 8));
        sealed.bytes[i] ^= bit;
        assert_int_not_equal(open_bytes(&place->key, sealed.bytes, sealed.length, NULL), 0);
        sealed.bytes[i] ^= bit;
    }
    sealed.bytes[sealed.length - 1] ^= 1;
    assert_int_equal(open_bytes(&place->key, sealed.bytes, sealed.length, "damaged"), CBX_ERR_AUTH);
    free(sealed.bytes);
}

static void
every_cut_is_found(void **state)
{
    struct place *place = *state;
    struct sealed sealed = seal(&place->key);
    for (size_t length = 0; length < sealed.length; length++)
        assert_int_not_equal(open_bytes(&place->key, sealed.bytes, length, NULL), 0);
    assert_int_equal(open_bytes(&place->key, sealed.bytes, 50, "cut short"), CBX_ERR_FORMAT);
    assert_int_equal(open_bytes(&place->key, sealed.bytes, 0, "cut short"), CBX_ERR_FORMAT);
    free(sealed.bytes);
}

static void
bytes_behind_the_end_are_found(void **state)
{
    struct place *place = *state;
    struct sealed sealed = seal(&place->key);
    sealed.bytes = realloc(sealed.bytes, sealed.length + 1);
    assert_non_null(sealed.bytes);
    sealed.bytes[sealed.length] = 0;
    assert_int_equal(open_bytes(&place->key, sealed.bytes, sealed.length + 1, NULL), CBX_ERR_AUTH);
    free(sealed.bytes);
}

static void
foreign_files_and_versions_are_told(void **state)
{
    struct place *place = *state;
    static const char foreign[] = "# a configuration file of something else entirely\n";
    struct sealed sealed = seal(&place->key);
    assert_int_equal(open_bytes(&place->key, foreign, sizeof foreign, "not a file that cbx sealed"),
                     CBX_ERR_FORMAT);
    sealed.bytes[8] = '2';
    assert_int_equal(open_bytes(&place->key, sealed.bytes, sealed.length, "another version"),
                     CBX_ERR_FORMAT);
    free(sealed.bytes);
}

static void
another_kind_is_told_by_name(void **state)
{
    struct place *place = *state;
    uint8_t *sealed;
    size_t length;
    assert_int_equal(cbx_vault_seal(&place->key, "cbx hub registry", plain, sizeof plain, &sealed,
                                    &length, NULL),
                     0);
    assert_int_equal(open_bytes(&place->key, sealed, length, "cbx hub registry"), CBX_ERR_FORMAT);
    free(sealed);
}

static void
a_kind_has_1_to_32_characters(void **state)
{
    struct place *place = *state;
    static const char longest[] = "12345678901234567890123456789012";
    static const char longer[] = "123456789012345678901234567890123";
    uint8_t *sealed;
    uint8_t *found;
    size_t length;
    assert_int_equal(cbx_vault_seal(&place->key, longer, plain, 1, &sealed, &length, NULL),
                     CBX_ERR_USAGE);
    assert_int_equal(cbx_vault_seal(&place->key, "", plain, 1, &sealed, &length, NULL),
                     CBX_ERR_USAGE);
    assert_int_equal(cbx_vault_seal(&place->key, longest, plain, 1, &sealed, &length, NULL), 0);
    assert_int_equal(
        cbx_vault_open(&place->key, longest, "x", sealed, length, &found, &length, NULL), 0);
    free(sealed);
    free(found);
}

static void
another_key_is_refused(void **state)
{
    struct place *place = *state;
    struct cbx_vault_key other;
    assert_int_equal(cbx_vault_key_init(&other, NULL, NULL, at(place, "other.key"), 1, NULL), 0);
    struct sealed sealed = seal(&other);
    assert_int_equal(open_bytes(&place->key, sealed.bytes, sealed.length, "another key file"),
                     CBX_ERR_AUTH);
    assert_int_equal(open_bytes(&other, sealed.bytes, sealed.length, NULL), 0);
    free(sealed.bytes);
    cbx_vault_key_wipe(&other);
}

static void
a_key_file_seal_has_no_cost(void **state)
{
    struct place *place = *state;
    struct sealed sealed = seal(&place->key);
    sealed.bytes[AT_OPS + 3] = 1;
    assert_int_equal(open_bytes(&place->key, sealed.bytes, sealed.length, NULL), CBX_ERR_FORMAT);
    free(sealed.bytes);
}

static void
too_much_to_seal_is_refused(void **state)
{
    struct place *place = *state;
    uint8_t *sealed;
    size_t length;
    assert_int_equal(cbx_vault_seal(&place->key, kind, plain, (size_t)CBX_VAULT_PLAIN_MAX + 1,
                                    &sealed, &length, NULL),
                     CBX_ERR_LIMIT);
    assert_null(sealed);
}

/* Passphrases. */

static void
a_passphrase_seals_and_opens(void **state)
{
    struct place *place = *state;
    struct cbx_vault_key key;
    struct cbx_vault_key again;
    passphrase_key(place, &key, "open sesame\nsecond line\n");
    struct sealed sealed = seal(&key);
    assert_int_equal(sealed.bytes[AT_SOURCE], 1);
    passphrase_key(place, &again, "open sesame\r\n");
    assert_int_equal(open_bytes(&again, sealed.bytes, sealed.length, NULL), 0);
    assert_int_equal(open_bytes(&again, sealed.bytes, sealed.length, NULL), 0);
    free(sealed.bytes);
    cbx_vault_key_wipe(&key);
    cbx_vault_key_wipe(&again);
}

static void
another_passphrase_is_refused(void **state)
{
    struct place *place = *state;
    struct cbx_vault_key key;
    struct cbx_vault_key other;
    passphrase_key(place, &key, "open sesame");
    passphrase_key(place, &other, "open barley");
    struct sealed sealed = seal(&key);
    assert_int_equal(open_bytes(&other, sealed.bytes, sealed.length, "another passphrase"),
                     CBX_ERR_AUTH);
    free(sealed.bytes);
    cbx_vault_key_wipe(&key);
    cbx_vault_key_wipe(&other);
}

static void
the_other_key_source_is_told(void **state)
{
    struct place *place = *state;
    struct cbx_vault_key key;
    passphrase_key(place, &key, "open sesame");
    struct sealed by_passphrase = seal(&key);
    struct sealed by_file = seal(&place->key);
    assert_int_equal(open_bytes(&place->key, by_passphrase.bytes, by_passphrase.length,
                                "sealed with a passphrase"),
                     CBX_ERR_AUTH);
    assert_int_equal(open_bytes(&key, by_file.bytes, by_file.length, "sealed with a key file"),
                     CBX_ERR_AUTH);
    by_file.bytes[AT_SOURCE] = 2;
    assert_int_equal(open_bytes(&place->key, by_file.bytes, by_file.length, "damaged"),
                     CBX_ERR_FORMAT);
    free(by_passphrase.bytes);
    free(by_file.bytes);
    cbx_vault_key_wipe(&key);
}

static void
the_default_cost_is_written_and_works(void **state)
{
    struct place *place = *state;
    struct cbx_vault_key key;
    passphrase_key(place, &key, "open sesame");
    key.opslimit = 0;
    key.memlimit_kib = 0;
    struct sealed sealed = seal(&key);
    assert_memory_equal(sealed.bytes + AT_OPS, "\0\0\0\x03\0\x01\0\0", 8);
    assert_int_equal(open_bytes(&key, sealed.bytes, sealed.length, NULL), 0);
    free(sealed.bytes);
    cbx_vault_key_wipe(&key);
}

/* The passphrase is changed behind the cache's back: what still works did not run Argon2id. */
static void
argon2_runs_once_for_many_saves(void **state)
{
    struct place *place = *state;
    struct cbx_vault_key key;
    passphrase_key(place, &key, "open sesame");
    struct sealed first = seal(&key);
    key.passphrase[0] = 'X';
    struct sealed second = seal(&key);
    key.passphrase[0] = 'o';
    assert_memory_equal(first.bytes + AT_SALT, second.bytes + AT_SALT, 16);
    assert_memory_not_equal(first.bytes + AT_SALT + 16, second.bytes + AT_SALT + 16, 24);
    struct cbx_vault_key fresh;
    passphrase_key(place, &fresh, "open sesame");
    assert_int_equal(open_bytes(&fresh, second.bytes, second.length, NULL), 0);
    assert_int_equal(open_bytes(&key, first.bytes, first.length, NULL), 0);
    free(first.bytes);
    free(second.bytes);
    cbx_vault_key_wipe(&key);
    cbx_vault_key_wipe(&fresh);
}

static void
a_key_without_a_cache_works(void **state)
{
    struct place *place = *state;
    char text[] = "open sesame";
    (void)place;
    const struct cbx_vault_key key = {.passphrase = text, .opslimit = 1, .memlimit_kib = 8};
    struct sealed sealed = seal(&key);
    assert_int_equal(open_bytes(&key, sealed.bytes, sealed.length, NULL), 0);
    free(sealed.bytes);
}

static void
absurd_costs_are_refused_before_they_are_tried(void **state)
{
    struct place *place = *state;
    struct cbx_vault_key key;
    passphrase_key(place, &key, "open sesame");
    static const struct {
        uint8_t cost[9];
        int result;
    } bad[] = {
        {"\x00\x00\x00\x0b\x00\x00\x00\x08", CBX_ERR_LIMIT},
        {"\xff\xff\xff\xff\x00\x00\x00\x08", CBX_ERR_LIMIT},
        {"\x00\x00\x00\x01\x00\x10\x00\x01", CBX_ERR_LIMIT},
        {"\x00\x00\x00\x01\xff\xff\xff\xff", CBX_ERR_LIMIT},
        {"\x00\x00\x00\x00\x00\x00\x00\x08", CBX_ERR_FORMAT},
        {"\x00\x00\x00\x01\x00\x00\x00\x07", CBX_ERR_FORMAT},
        {"\x00\x00\x00\x00\x00\x00\x00\x00", CBX_ERR_FORMAT},
    };
    struct sealed sealed = seal(&key);
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        memcpy(sealed.bytes + AT_OPS, bad[i].cost, 8);
        assert_int_equal(open_bytes(&key, sealed.bytes, sealed.length, NULL), bad[i].result);
    }
    free(sealed.bytes);
    cbx_vault_key_wipe(&key);
}

static void
bad_passphrase_files_are_refused(void **state)
{
    struct place *place = *state;
    struct cbx_vault_key key;
    struct cbx_error error;
    const char *path = at(place, "passphrase");
    char text[2000];
    static const char with_zero[] = "a\0b\n";
    put_file(path, "", 0);
    assert_int_equal(cbx_vault_key_init(&key, path, NULL, NULL, 0, &error), CBX_ERR_USAGE);
    assert_non_null(strstr(error.text, path));
    put_file(path, "\nsecond", 7);
    assert_int_equal(cbx_vault_key_init(&key, path, NULL, NULL, 0, NULL), CBX_ERR_USAGE);
    put_file(path, with_zero, 4);
    assert_int_equal(cbx_vault_key_init(&key, path, NULL, NULL, 0, NULL), CBX_ERR_USAGE);
    memset(text, 'x', sizeof text);
    put_file(path, text, sizeof text);
    assert_int_equal(cbx_vault_key_init(&key, path, NULL, NULL, 0, NULL), CBX_ERR_USAGE);
    assert_int_equal(cbx_vault_key_init(&key, at(place, "none"), NULL, NULL, 1, NULL),
                     CBX_ERR_USAGE);
    assert_null(key.passphrase);
    assert_null(key.key_file);
}

/* Key files. */

static void
the_default_key_file_is_made_once(void **state)
{
    struct place *place = *state;
    const char *path = at(place, "made.key");
    struct cbx_vault_key key;
    assert_int_equal(cbx_vault_key_init(&key, NULL, NULL, path, 0, NULL), CBX_ERR_NOTFOUND);
    assert_int_equal(cbx_vault_key_init(&key, NULL, NULL, path, 1, NULL), 0);
    assert_string_equal(key.key_file, path);
    assert_int_equal(mode_of(path), 0600);
    struct sealed sealed = seal(&key);
    cbx_vault_key_wipe(&key);
    assert_int_equal(cbx_vault_key_init(&key, NULL, NULL, path, 1, NULL), 0);
    assert_int_equal(open_bytes(&key, sealed.bytes, sealed.length, NULL), 0);
    cbx_vault_key_wipe(&key);
    free(sealed.bytes);
}

static void
a_key_file_asked_for_is_never_made(void **state)
{
    struct place *place = *state;
    struct cbx_vault_key key;
    struct cbx_error error;
    const char *path = at(place, "asked.key");
    assert_int_equal(cbx_vault_key_init(&key, NULL, path, at(place, "d"), 1, &error),
                     CBX_ERR_USAGE);
    assert_non_null(strstr(error.text, path));
    assert_int_not_equal(access(path, F_OK), 0);
}

static void
no_source_at_all_is_a_usage_error(void **state)
{
    struct cbx_vault_key key;
    (void)state;
    assert_int_equal(cbx_vault_key_init(&key, NULL, NULL, NULL, 1, NULL), CBX_ERR_USAGE);
}

static void
a_key_file_that_others_can_read_is_refused(void **state)
{
    struct place *place = *state;
    static const mode_t open_modes[] = {0640, 0604, 0620, 0610, 0666};
    struct cbx_vault_key key;
    struct cbx_error error;
    const char *path = at(place, "open.key");
    put_file(path, "12345678901234567890123456789012", 32);
    for (size_t i = 0; i < sizeof open_modes / sizeof open_modes[0]; i++) {
        assert_int_equal(chmod(path, open_modes[i]), 0);
        assert_int_equal(cbx_vault_key_init(&key, NULL, path, NULL, 0, &error), CBX_ERR_USAGE);
        assert_non_null(strstr(error.text, "chmod 600"));
    }
    assert_int_equal(chmod(path, 0400), 0);
    assert_int_equal(cbx_vault_key_init(&key, NULL, path, NULL, 0, NULL), 0);
    cbx_vault_key_wipe(&key);
}

static void
a_key_file_has_32_bytes_and_is_a_file(void **state)
{
    struct place *place = *state;
    struct cbx_vault_key key;
    const char *path = at(place, "short.key");
    put_file(path, "1234567890123456789012345678901", 31);
    assert_int_equal(cbx_vault_key_init(&key, NULL, path, NULL, 0, NULL), CBX_ERR_USAGE);
    put_file(path, "123456789012345678901234567890123", 33);
    assert_int_equal(cbx_vault_key_init(&key, NULL, path, NULL, 0, NULL), CBX_ERR_USAGE);
    put_file(path, "", 0);
    assert_int_equal(cbx_vault_key_init(&key, NULL, NULL, path, 1, NULL), CBX_ERR_FORMAT);
    expect_file(path, "", 0);
    assert_int_equal(cbx_vault_key_init(&key, NULL, place->folder, NULL, 0, NULL), CBX_ERR_USAGE);
}

static void
a_key_file_gone_later_is_an_error_not_a_crash(void **state)
{
    struct place *place = *state;
    uint8_t *sealed;
    size_t length;
    assert_int_equal(unlink(place->key.key_file), 0);
    assert_int_equal(cbx_vault_seal(&place->key, kind, plain, sizeof plain, &sealed, &length, NULL),
                     CBX_ERR_NOTFOUND);
    assert_null(sealed);
}

static void
wipe_may_come_twice(void **state)
{
    struct place *place = *state;
    cbx_vault_key_wipe(&place->key);
    cbx_vault_key_wipe(&place->key);
    assert_null(place->key.key_file);
}

/* Files. */

static int
load(struct place *place, const char *path, struct cbx_error *error)
{
    uint8_t *found;
    size_t length;
    int result = cbx_vault_load(&place->key, kind, path, &found, &length, error);
    if (result == 0) {
        assert_int_equal(length, sizeof plain);
        assert_memory_equal(found, plain, sizeof plain);
    } else {
        assert_null(found);
    }
    free(found);
    return result;
}

static int
save(struct place *place, const char *path, struct cbx_error *error)
{
    return cbx_vault_save(&place->key, kind, path, plain, sizeof plain, error);
}

static void
a_file_saved_loads_again_and_is_private(void **state)
{
    struct place *place = *state;
    const char *path = at(place, "state");
    int temporary;
    mode_t mask = umask(0);
    assert_int_equal(save(place, path, NULL), 0);
    assert_int_equal(save(place, path, NULL), 0);
    umask(mask);
    assert_int_equal(load(place, path, NULL), 0);
    assert_int_equal(mode_of(path), 0600);
    assert_int_equal(count_files(place, &temporary), 2);
}

static void
a_missing_file_is_not_found(void **state)
{
    struct place *place = *state;
    assert_int_equal(load(place, at(place, "none"), NULL), CBX_ERR_NOTFOUND);
}

/* Damages a saved file in each way, and looks that load refuses it by name and leaves it alone. */
static void
a_file_that_does_not_load_stays_as_it_is(void **state)
{
    struct place *place = *state;
    const char *path = at(place, "state");
    struct sealed good = seal(&place->key);
    struct cbx_error error;
    put_file(path, good.bytes, good.length - 5);
    assert_int_equal(load(place, path, &error), CBX_ERR_AUTH);
    assert_int_equal(strncmp(error.text, path, strlen(path)), 0);
    expect_file(path, good.bytes, good.length - 5);
    put_file(path, "", 0);
    assert_int_equal(load(place, path, NULL), CBX_ERR_FORMAT);
    expect_file(path, "", 0);
    good.bytes[HEADER + 3] ^= 0x40;
    put_file(path, good.bytes, good.length);
    assert_int_equal(load(place, path, NULL), CBX_ERR_AUTH);
    expect_file(path, good.bytes, good.length);
    free(good.bytes);
}

static void
save_refuses_what_is_not_its_own(void **state)
{
    struct place *place = *state;
    static const char foreign[] = "something that a person wrote and would like to keep";
    const char *path = at(place, "state");
    struct cbx_error error;
    put_file(path, foreign, sizeof foreign);
    assert_int_equal(save(place, path, &error), CBX_ERR_EXISTS);
    assert_int_equal(strncmp(error.text, path, strlen(path)), 0);
    expect_file(path, foreign, sizeof foreign);
    put_file(path, "", 0);
    assert_int_equal(save(place, path, NULL), CBX_ERR_EXISTS);
    expect_file(path, "", 0);
}

static void
save_refuses_another_kind_and_another_key_source(void **state)
{
    struct place *place = *state;
    const char *path = at(place, "state");
    uint8_t *sealed;
    size_t length;
    struct cbx_vault_key key;
    assert_int_equal(cbx_vault_seal(&place->key, "cbx pond key", plain, 4, &sealed, &length, NULL),
                     0);
    put_file(path, sealed, length);
    assert_int_equal(save(place, path, NULL), CBX_ERR_EXISTS);
    expect_file(path, sealed, length);
    free(sealed);
    passphrase_key(place, &key, "open sesame");
    struct sealed other = seal(&key);
    put_file(path, other.bytes, other.length);
    assert_int_equal(save(place, path, NULL), CBX_ERR_EXISTS);
    expect_file(path, other.bytes, other.length);
    free(other.bytes);
    cbx_vault_key_wipe(&key);
}

static void
the_old_file_survives_a_save_that_fails(void **state)
{
    struct place *place = *state;
    const char *path = at(place, "state");
    const char *away = at(place, "away.key");
    int temporary;
    assert_int_equal(save(place, path, NULL), 0);
    assert_int_equal(rename(place->key.key_file, away), 0);
    assert_int_equal(save(place, path, NULL), CBX_ERR_NOTFOUND);
    assert_int_equal(rename(away, place->key.key_file), 0);
    assert_int_equal(
        cbx_vault_save(&place->key, kind, path, plain, (size_t)CBX_VAULT_PLAIN_MAX + 1, NULL),
        CBX_ERR_LIMIT);
    assert_int_equal(load(place, path, NULL), 0);
    assert_int_equal(count_files(place, &temporary), 2);
}

static void
a_folder_in_the_way_is_an_error_and_leaves_no_temporary(void **state)
{
    struct place *place = *state;
    const char *path = at(place, "folder");
    struct cbx_error error;
    int temporary;
    uint8_t *bytes;
    size_t length;
    assert_int_equal(mkdir(path, 0700), 0);
    assert_int_equal(cbx_file_save(path, plain, 4, 0600, &error), CBX_ERR_IO);
    assert_non_null(strstr(error.text, path));
    assert_int_equal(save(place, path, NULL), CBX_ERR_IO);
    assert_int_equal(cbx_file_load(path, 100, &bytes, &length, NULL), CBX_ERR_IO);
    assert_int_equal(count_files(place, &temporary), 2);
    assert_int_equal(temporary, 0);
    assert_int_equal(rmdir(path), 0);
}

static void
a_missing_folder_is_an_error(void **state)
{
    struct place *place = *state;
    assert_int_equal(save(place, at(place, "none/state"), NULL), CBX_ERR_IO);
}

static void
plain_files_get_the_mode_asked_for(void **state)
{
    struct place *place = *state;
    const char *path = at(place, "plain");
    mode_t mask = umask(077);
    assert_int_equal(cbx_file_save(path, plain, 5, 0644, NULL), 0);
    umask(mask);
    assert_int_equal(mode_of(path), 0644);
    expect_file(path, plain, 5);
}

/* What is unchanged needs no room on a full disk. */
static void
keep_writes_only_what_has_changed(void **state)
{
    struct place *place = *state;
    const char *path = at(place, "plain");
    struct stat first, now;
    assert_int_equal(cbx_file_keep(path, plain, 5, 0600, NULL), 0);
    assert_int_equal(stat(path, &first), 0);
    int hold = open(path, O_RDONLY); /* so that its number is not given again */
    assert_true(hold >= 0);
    assert_int_equal(cbx_file_keep(path, plain, 5, 0600, NULL), 0);
    assert_int_equal(stat(path, &now), 0);
    assert_int_equal(now.st_ino, first.st_ino);
    assert_int_equal(cbx_file_keep(path, plain, 5, 0640, NULL), 0); /* another mode */
    assert_int_equal(mode_of(path), 0640);
    assert_int_equal(stat(path, &now), 0);
    assert_int_not_equal(now.st_ino, first.st_ino);
    assert_int_equal(cbx_file_keep(path, plain, 4, 0640, NULL), 0);
    expect_file(path, plain, 4);
    close(hold);
}

static void
a_reserved_file_has_a_spare_of_its_size(void **state)
{
    struct place *place = *state;
    const char *path = at(place, "plain");
    char spare[256];
    struct stat status;
    assert_int_equal(cbx_file_save(path, plain, 5, 0640 | CBX_FILE_RESERVED, NULL), 0);
    expect_file(path, plain, 5);
    assert_int_equal(mode_of(path), 0640);
    (void)snprintf(spare, sizeof spare, "%s.spare", path);
    assert_int_equal(stat(spare, &status), 0);
    assert_true(status.st_blocks * 512 >= 64 * 1024);
    assert_int_equal(status.st_mode & 0777, 0600);
}

static void
create_never_replaces(void **state)
{
    struct place *place = *state;
    const char *path = at(place, "plain");
    int temporary;
    assert_int_equal(cbx_file_create(path, plain, 5, 0600, NULL), 0);
    assert_int_equal(cbx_file_create(path, plain, 9, 0600, NULL), CBX_ERR_EXISTS);
    expect_file(path, plain, 5);
    assert_int_equal(count_files(place, &temporary), 2);
}

static void
load_is_bounded(void **state)
{
    struct place *place = *state;
    const char *path = at(place, "plain");
    uint8_t *bytes;
    size_t length;
    put_file(path, plain, 20);
    assert_int_equal(cbx_file_load(path, 20, &bytes, &length, NULL), 0);
    assert_int_equal(length, 20);
    assert_int_equal(bytes[20], 0);
    free(bytes);
    assert_int_equal(cbx_file_load(path, 19, &bytes, &length, NULL), CBX_ERR_LIMIT);
    assert_null(bytes);
    assert_int_equal(cbx_file_load("/dev/zero", 1 << 20, &bytes, &length, NULL), CBX_ERR_LIMIT);
}

static void
a_file_whose_size_is_not_known_loads(void **state)
{
    (void)state;
    uint8_t *bytes;
    size_t length;
    char path[32];
    char text[20000];
    int ends[2];
    memset(text, 'x', sizeof text);
    assert_int_equal(pipe(ends), 0);
    assert_int_equal(write(ends[1], text, sizeof text), sizeof text);
    close(ends[1]);
    (void)snprintf(path, sizeof path, "/dev/fd/%d", ends[0]);
    assert_int_equal(cbx_file_load(path, 1 << 20, &bytes, &length, NULL), 0);
    assert_int_equal(length, sizeof text);
    assert_memory_equal(bytes, text, sizeof text);
    free(bytes);
    close(ends[0]);
}

static void
a_path_without_a_folder_means_the_current_one(void **state)
{
    struct place *place = *state;
    int before = open(".", O_RDONLY | O_DIRECTORY);
    assert_true(before >= 0);
    assert_int_equal(chdir(place->folder), 0);
    assert_int_equal(cbx_file_save("plain", plain, 5, 0600, NULL), 0);
    expect_file("plain", plain, 5);
    assert_int_equal(fchdir(before), 0);
    close(before);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int
main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(a_sealed_text_opens_again),
        TEST(an_empty_text_opens_again),
        TEST(the_bytes_are_those_of_the_protocol),
        TEST(two_seals_of_one_text_differ),
        TEST(every_flipped_bit_is_found),
        TEST(every_cut_is_found),
        TEST(bytes_behind_the_end_are_found),
        TEST(foreign_files_and_versions_are_told),
        TEST(another_kind_is_told_by_name),
        TEST(a_kind_has_1_to_32_characters),
        TEST(another_key_is_refused),
        TEST(a_key_file_seal_has_no_cost),
        TEST(too_much_to_seal_is_refused),
        TEST(a_passphrase_seals_and_opens),
        TEST(another_passphrase_is_refused),
        TEST(the_other_key_source_is_told),
        TEST(the_default_cost_is_written_and_works),
        TEST(argon2_runs_once_for_many_saves),
        TEST(a_key_without_a_cache_works),
        TEST(absurd_costs_are_refused_before_they_are_tried),
        TEST(bad_passphrase_files_are_refused),
        TEST(the_default_key_file_is_made_once),
        TEST(a_key_file_asked_for_is_never_made),
        TEST(no_source_at_all_is_a_usage_error),
        TEST(a_key_file_that_others_can_read_is_refused),
        TEST(a_key_file_has_32_bytes_and_is_a_file),
        TEST(a_key_file_gone_later_is_an_error_not_a_crash),
        TEST(wipe_may_come_twice),
        TEST(a_file_saved_loads_again_and_is_private),
        TEST(a_missing_file_is_not_found),
        TEST(a_file_that_does_not_load_stays_as_it_is),
        TEST(save_refuses_what_is_not_its_own),
        TEST(save_refuses_another_kind_and_another_key_source),
        TEST(the_old_file_survives_a_save_that_fails),
        TEST(a_folder_in_the_way_is_an_error_and_leaves_no_temporary),
        TEST(a_missing_folder_is_an_error),
        TEST(plain_files_get_the_mode_asked_for),
        TEST(keep_writes_only_what_has_changed),
        TEST(a_reserved_file_has_a_spare_of_its_size),
        TEST(create_never_replaces),
        TEST(load_is_bounded),
        TEST(a_file_whose_size_is_not_known_loads),
        TEST(a_path_without_a_folder_means_the_current_one),
    };
    if (sodium_init() < 0)
        return 1;
    return cmocka_run_group_tests(tests, NULL, NULL);
}
