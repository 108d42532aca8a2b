/* SPDX-License-Identifier: MIT */
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <setjmp.h>

#include <cmocka.h>

#include "common/disk/file.h"
#include "common/trust/trust.h"
#include "hub/cmd/pond.h"
#include "scratch.h"

#include <msgpack.h>
#include <sodium.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

enum { PATH_SIZE = 128 };

struct fixture {
    char folder[SCRATCH_MAX];
    char key_path[PATH_SIZE];
    char keys_dir[PATH_SIZE]; /* not made yet */
    char path[PATH_SIZE];     /* demo's key */
    struct cbx_vault_key key;
    struct cbx_error error;
};

static int
setup(void **state)
{
    struct fixture *f = calloc(1, sizeof *f);
    if (sodium_init() < 0 || f == NULL)
        return -1;
    if (!scratch_folder("pond", f->folder))
        return -1;
    (void)snprintf(f->key_path, sizeof f->key_path, "%s/key", f->folder);
    (void)snprintf(f->keys_dir, sizeof f->keys_dir, "%s/keys", f->folder);
    (void)snprintf(f->path, sizeof f->path, "%s/keys/demo.pond", f->folder);
    *state = f;
    return cbx_vault_key_init(&f->key, NULL, NULL, f->key_path, 1, &f->error);
}

static int
teardown(void **state)
{
    struct fixture *f = *state;
    cbx_vault_key_wipe(&f->key);
    bool alone = scratch_end(f->folder, "keys/demo.pond", "keys/.lock", "keys", "key", NULL);
    free(f);
    return alone ? 0 : -1;
}

static int
open_pond(struct fixture *f, const char *name, bool create, struct pond **out)
{
    return pond_open(out, f->keys_dir, &f->key, name, create, &f->error);
}

/* Opens demo, made when it is missing. */
static struct pond *
made(struct fixture *f)
{
    struct pond *pond;
    if (open_pond(f, "demo", true, &pond) != 0)
        fail_msg("%s", f->error.text);
    return pond;
}

static void
a_missing_pond_is_not_made_unasked(void **state)
{
    struct fixture *f = *state;
    struct pond *pond;
    assert_int_equal(open_pond(f, "demo", false, &pond), CBX_ERR_NOTFOUND);
    assert_null(pond);
    assert_non_null(strstr(f->error.text, "--keys"));
    assert_int_not_equal(access(f->keys_dir, F_OK), 0);
}

static void
a_pond_is_made_with_its_folder(void **state)
{
    struct fixture *f = *state;
    struct stat status;
    struct pond *pond = made(f);
    assert_int_equal(stat(f->keys_dir, &status), 0);
    assert_int_equal(status.st_mode & 07777, 0700);
    assert_int_equal(stat(f->path, &status), 0);
    assert_int_equal(status.st_mode & 07777, 0600);
    pond_wipe(pond);
}

static void
the_key_is_the_same_each_time(void **state)
{
    struct fixture *f = *state;
    struct pond *first = made(f);
    struct pond *second = made(f);
    struct pond *third;
    assert_int_equal(open_pond(f, "demo", false, &third), 0);
    assert_memory_equal(pond_key(first)->public_key, pond_key(second)->public_key, 32);
    assert_memory_equal(pond_key(first)->secret_key, pond_key(third)->secret_key, 64);
    pond_wipe(first);
    pond_wipe(second);
    pond_wipe(third);
}

static void
the_key_signs_invites(void **state)
{
    struct fixture *f = *state;
    struct pond *pond = made(f);
    struct cbx_invite_cert fields = {.pond = "demo", .slug = "web", .uses = 1, .serial = 1};
    struct cbx_invite_cert opened;
    struct cbx_cert cert;
    assert_int_equal(cbx_invite_cert_sign(&fields, pond_key(pond), &cert), 0);
    assert_int_equal(cbx_invite_cert_open(cert.bytes, cert.length, pond_key(pond)->public_key,
                                          &opened, &f->error),
                     0);
    pond_wipe(pond);
}

static void
serials_grow_and_follow_the_clock(void **state)
{
    struct fixture *f = *state;
    struct pond *pond = made(f);
    uint64_t serial;
    assert_int_equal(pond_next_serial(pond, 1000, &serial, &f->error), 0);
    assert_int_equal(serial, 1000);
    assert_int_equal(pond_next_serial(pond, 1000, &serial, &f->error), 0);
    assert_int_equal(serial, 1001);
    assert_int_equal(pond_next_serial(pond, -7, &serial, &f->error), 0);
    assert_int_equal(serial, 1002);
    assert_int_equal(pond_next_serial(pond, 5000, &serial, &f->error), 0);
    assert_int_equal(serial, 5000);
    pond_wipe(pond);
}

static void
a_serial_is_on_disk_before_it_is_used(void **state)
{
    struct fixture *f = *state;
    struct pond *first = made(f);
    uint64_t serial;
    assert_int_equal(pond_next_serial(first, 1000, &serial, &f->error), 0);
    pond_wipe(first);
    struct pond *second = made(f);
    assert_int_equal(pond_next_serial(second, 0, &serial, &f->error), 0);
    assert_int_equal(serial, 1001);
    pond_wipe(second);
}

static void
two_that_are_open_at_once_get_different_serials(void **state)
{
    struct fixture *f = *state;
    struct pond *first = made(f);
    struct pond *second = made(f);
    uint64_t a, b;
    assert_int_equal(pond_next_serial(first, 1000, &a, &f->error), 0);
    assert_int_equal(pond_next_serial(second, 1000, &b, &f->error), 0);
    assert_int_equal(a, 1000);
    assert_int_equal(b, 1001);
    pond_wipe(first);
    pond_wipe(second);
}

/* One of several processes that all make the pond and take serials. Writes what it got. */
static void
contend(struct fixture *f, int out, int count)
{
    struct pond *pond;
    int result = open_pond(f, "demo", true, &pond);
    for (int i = 0; i < count && result == 0; i++) {
        uint64_t serial;
        result = pond_next_serial(pond, 1, &serial, &f->error);
        if (result == 0 && write(out, &serial, sizeof serial) != sizeof serial)
            result = -1;
    }
    _exit(result == 0 ? 0 : 1);
}

static void
processes_at_once_never_share_a_serial(void **state)
{
    enum { PROCESSES = 4, EACH = 5 };
    struct fixture *f = *state;
    int ends[2];
    bool seen[PROCESSES * EACH + 1] = {false};
    assert_int_equal(pipe(ends), 0);
    for (int i = 0; i < PROCESSES; i++) {
        pid_t child = fork();
        assert_true(child >= 0);
        if (child == 0)
            contend(f, ends[1], EACH);
    }
    (void)close(ends[1]);
    for (int i = 0; i < PROCESSES; i++) {
        int status;
        assert_true(wait(&status) > 0);
        assert_int_equal(status, 0);
    }
    uint64_t serial;
    int count = 0;
    for (; read(ends[0], &serial, sizeof serial) == (ssize_t)sizeof serial; count++) {
        assert_in_range(serial, 1, PROCESSES * EACH);
        assert_false(seen[serial]);
        seen[serial] = true;
    }
    assert_int_equal(count, PROCESSES * EACH);
    (void)close(ends[0]);
}

static void
a_serial_that_cannot_be_saved_is_not_given(void **state)
{
    struct fixture *f = *state;
    struct pond *pond = made(f);
    uint64_t serial = 42;
    assert_int_equal(unlink(f->path), 0);
    assert_int_equal(pond_next_serial(pond, 1000, &serial, &f->error), CBX_ERR_NOTFOUND);
    assert_int_equal(serial, 42);
    pond_wipe(pond);
}

static void
a_key_that_was_exchanged_meanwhile_is_noticed(void **state)
{
    struct fixture *f = *state;
    struct pond *first = made(f);
    uint64_t serial;
    assert_int_equal(unlink(f->path), 0);
    struct pond *second = made(f);
    assert_int_equal(pond_next_serial(first, 1, &serial, &f->error), CBX_ERR_STATE);
    assert_int_equal(pond_next_serial(second, 1, &serial, &f->error), 0);
    pond_wipe(first);
    pond_wipe(second);
}

static void
illegal_names_are_refused(void **state)
{
    static const char *const names[] = {"", "../x", "a/b", "Demo", "-a", "a.b"};
    struct fixture *f = *state;
    struct pond *pond;
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++)
        assert_int_equal(open_pond(f, names[i], true, &pond), CBX_ERR_FORMAT);
    assert_int_not_equal(access(f->keys_dir, F_OK), 0);
}

static void
a_damaged_file_is_refused_and_kept(void **state)
{
    struct fixture *f = *state;
    struct pond *pond;
    uint8_t *bytes, *after;
    size_t length, length_after;
    pond_wipe(made(f));
    assert_int_equal(cbx_file_load(f->path, 4096, &bytes, &length, NULL), 0);
    bytes[length - 1] ^= 1;
    assert_int_equal(cbx_file_save(f->path, bytes, length, 0600, NULL), 0);
    assert_int_equal(open_pond(f, "demo", true, &pond), CBX_ERR_AUTH);
    assert_non_null(strstr(f->error.text, f->path));
    assert_int_equal(cbx_file_load(f->path, 4096, &after, &length_after, NULL), 0);
    assert_memory_equal(bytes, after, length);
    free(bytes);
    free(after);
}

static void
save_record(const struct fixture *f, unsigned version, const char *name, size_t seed_size,
            uint64_t serial)
{
    const char seed[64] = {1};
    msgpack_sbuffer buffer;
    msgpack_packer packer;
    msgpack_sbuffer_init(&buffer);
    msgpack_packer_init(&packer, &buffer, msgpack_sbuffer_write);
    msgpack_pack_array(&packer, 4);
    msgpack_pack_unsigned_int(&packer, version);
    msgpack_pack_str(&packer, strlen(name));
    msgpack_pack_str_body(&packer, name, strlen(name));
    msgpack_pack_bin(&packer, seed_size);
    msgpack_pack_bin_body(&packer, seed, seed_size);
    msgpack_pack_uint64(&packer, serial);
    assert_int_equal(cbx_vault_save(&f->key, "cbx pond key", f->path, (const uint8_t *)buffer.data,
                                    buffer.size, NULL),
                     0);
    msgpack_sbuffer_destroy(&buffer);
}

static void
what_the_file_says_is_checked(void **state)
{
    struct fixture *f = *state;
    struct pond *pond;
    pond_wipe(made(f));
    save_record(f, 2, "demo", 32, 1);
    assert_int_equal(open_pond(f, "demo", true, &pond), CBX_ERR_FORMAT);
    assert_non_null(strstr(f->error.text, "another version"));
    save_record(f, 1, "other", 32, 1);
    assert_int_equal(open_pond(f, "demo", true, &pond), CBX_ERR_FORMAT);
    assert_non_null(strstr(f->error.text, "\"other\""));
    save_record(f, 1, "demo", 31, 1);
    assert_int_equal(open_pond(f, "demo", true, &pond), CBX_ERR_FORMAT);
    save_record(f, 1, "demo", 32, UINT64_MAX);
    assert_int_equal(open_pond(f, "demo", true, &pond), CBX_ERR_FORMAT);
    save_record(f, 1, "demo", 32, 1);
    assert_int_equal(open_pond(f, "demo", true, &pond), 0);
    pond_wipe(pond);
}

static void
serials_end_before_they_wrap(void **state)
{
    struct fixture *f = *state;
    struct pond *pond;
    uint64_t serial;
    pond_wipe(made(f));
    save_record(f, 1, "demo", 32, (UINT64_C(1) << 53) - 1);
    assert_int_equal(open_pond(f, "demo", true, &pond), 0);
    assert_int_equal(pond_next_serial(pond, 1, &serial, &f->error), CBX_ERR_LIMIT);
    pond_wipe(pond);
}

static void
another_vault_key_does_not_open_it(void **state)
{
    struct fixture *f = *state;
    struct pond *pond;
    pond_wipe(made(f));
    cbx_vault_key_wipe(&f->key);
    assert_int_equal(unlink(f->key_path), 0);
    assert_int_equal(cbx_vault_key_init(&f->key, NULL, NULL, f->key_path, 1, &f->error), 0);
    assert_int_equal(open_pond(f, "demo", true, &pond), CBX_ERR_AUTH);
}

static void
a_keys_folder_that_cannot_be_made_is_told(void **state)
{
    struct fixture *f = *state;
    struct pond *pond;
    (void)snprintf(f->keys_dir, sizeof f->keys_dir, "%s/none/keys", f->folder);
    assert_int_equal(open_pond(f, "demo", true, &pond), CBX_ERR_IO);
    assert_non_null(strstr(f->error.text, f->keys_dir));
    assert_null(pond);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int
main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(a_missing_pond_is_not_made_unasked),
        TEST(a_pond_is_made_with_its_folder),
        TEST(the_key_is_the_same_each_time),
        TEST(the_key_signs_invites),
        TEST(serials_grow_and_follow_the_clock),
        TEST(a_serial_is_on_disk_before_it_is_used),
        TEST(two_that_are_open_at_once_get_different_serials),
        TEST(processes_at_once_never_share_a_serial),
        TEST(a_serial_that_cannot_be_saved_is_not_given),
        TEST(a_key_that_was_exchanged_meanwhile_is_noticed),
        TEST(illegal_names_are_refused),
        TEST(a_damaged_file_is_refused_and_kept),
        TEST(what_the_file_says_is_checked),
        TEST(serials_end_before_they_wrap),
        TEST(another_vault_key_does_not_open_it),
        TEST(a_keys_folder_that_cannot_be_made_is_told),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
