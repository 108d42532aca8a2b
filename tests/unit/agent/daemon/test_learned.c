/* SPDX-License-Identifier: MIT */
/* What the hub said of its addresses, on disk: what comes back, what is passed over, what is news.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "agent/daemon/learned.h"
#include "common/disk/file.h"
#include "scratch.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct fixture {
    char folder[SCRATCH_MAX], key_path[96];
    char *path;
    struct cbx_vault_key key;
    struct cbx_token token;
};

static int
setup(void **state)
{
    struct fixture *f = calloc(1, sizeof *f);
    assert_non_null(f);
    assert_true(scratch_folder("learned", f->folder));
    (void)snprintf(f->key_path, sizeof f->key_path, "%s/key", f->folder);
    *state = f;
    assert_int_equal(cbx_vault_key_init(&f->key, NULL, NULL, f->key_path, 1, NULL), 0);
    f->path = agent_learned_path(f->folder);
    assert_non_null(f->path);
    f->token.address_count = 2;
    (void)snprintf(f->token.address[0], sizeof f->token.address[0], "192.0.2.1:7000");
    (void)snprintf(f->token.address[1], sizeof f->token.address[1], "192.0.2.2:7000");
    f->token.host_key_sha256[0] = 7;
    return 0;
}

static int
teardown(void **state)
{
    struct fixture *f = *state;
    bool alone = scratch_end(f->folder, "addresses", "key", NULL);
    cbx_vault_key_wipe(&f->key);
    free(f->path);
    free(f);
    return alone ? 0 : -1;
}

static void
load(const struct fixture *f, struct agent_learned *learned)
{
    assert_int_equal(agent_learned_load(learned, &f->token, &f->key, f->path, NULL), 0);
    assert_false(learned->changed);
}

static void
save(const struct fixture *f, const struct agent_learned *learned)
{
    uint8_t *bytes = NULL;
    size_t length = 0;
    assert_int_equal(agent_learned_seal(learned, &f->key, &bytes, &length, NULL), 0);
    int result = cbx_file_save(f->path, bytes, length, 0600, NULL);
    free(bytes);
    assert_int_equal(result, 0);
}

static bool
hear(const struct fixture *f, struct agent_learned *learned, const char *text)
{
    struct cbx_addresses list;
    cbx_addresses_read(&list, text, strlen(text));
    return agent_learned_hear(learned, &f->token, &list);
}

static void
what_was_heard_comes_back(void **state)
{
    struct fixture *f = *state;
    struct agent_learned learned, again;
    load(f, &learned);
    assert_int_equal(learned.list.count, 0);
    assert_true(hear(f, &learned, "192.0.2.1:7000,192.0.2.9:7000,[2001:db8::1]:443"));
    agent_learned_worked(&learned, &f->token, "192.0.2.9:7000");
    assert_true(learned.changed);
    save(f, &learned);
    load(f, &again);
    assert_int_equal(again.list.count, 2);
    assert_string_equal(again.list.text[0], "192.0.2.9:7000");
    assert_string_equal(again.list.text[1], "[2001:db8::1]:443");
    assert_string_equal(again.worked, "192.0.2.9:7000");
}

static void
what_is_known_is_no_news(void **state)
{
    struct fixture *f = *state;
    struct agent_learned learned;
    load(f, &learned);
    assert_false(hear(f, &learned, "192.0.2.2:7000,192.0.2.1:7000"));
    assert_false(hear(f, &learned, ""));
    agent_learned_worked(&learned, &f->token, "192.0.2.1:7000");
    assert_false(learned.changed);
    assert_true(hear(f, &learned, "192.0.2.9:7000"));
    learned.changed = false;
    assert_false(hear(f, &learned, "192.0.2.9:7000,192.0.2.1:7000"));
    assert_false(learned.changed);
    agent_learned_worked(&learned, &f->token, "192.0.2.2:7000");
    assert_true(learned.changed);
    learned.changed = false;
    agent_learned_worked(&learned, &f->token, "192.0.2.2:7000");
    assert_false(learned.changed);
    assert_true(hear(f, &learned, "192.0.2.1:7000")); /* it moved back */
    assert_int_equal(learned.list.count, 0);
    assert_true(learned.changed);
}

static void
another_hubs_addresses_are_not_taken(void **state)
{
    struct fixture *f = *state;
    struct agent_learned learned;
    load(f, &learned);
    (void)hear(f, &learned, "192.0.2.9:7000");
    save(f, &learned);
    f->token.host_key_sha256[31] ^= 1;
    load(f, &learned);
    assert_int_equal(learned.list.count, 0);
    assert_memory_equal(learned.host_key_sha256, f->token.host_key_sha256, 32);
}

static void
a_damaged_file_is_an_error_and_nothing_is_learned(void **state)
{
    struct fixture *f = *state;
    struct agent_learned learned;
    struct cbx_error error;
    uint8_t *bytes = NULL;
    size_t length = 0;
    load(f, &learned);
    (void)hear(f, &learned, "192.0.2.9:7000");
    assert_int_equal(agent_learned_seal(&learned, &f->key, &bytes, &length, NULL), 0);
    for (size_t at = 0; at < length; at += 1 + at / 8) {
        bytes[at] ^= 1;
        assert_int_equal(cbx_file_save(f->path, bytes, length, 0600, NULL), 0);
        bytes[at] ^= 1;
        assert_true(agent_learned_load(&learned, &f->token, &f->key, f->path, &error) < 0);
        assert_non_null(strstr(error.text, f->path));
        assert_int_equal(learned.list.count, 0);
    }
    assert_int_equal(cbx_file_save(f->path, bytes, length / 2, 0600, NULL), 0);
    assert_true(agent_learned_load(&learned, &f->token, &f->key, f->path, &error) < 0);
    free(bytes);
    /* Well sealed, but nothing that this version wrote. */
    static const uint8_t other[] = {0x94, 0x02, 0xc0, 0xa0, 0xa0};
    assert_int_equal(
        cbx_vault_seal(&f->key, "cbx hub addresses", other, sizeof other, &bytes, &length, NULL),
        0);
    assert_int_equal(cbx_file_save(f->path, bytes, length, 0600, NULL), 0);
    free(bytes);
    assert_int_equal(agent_learned_load(&learned, &f->token, &f->key, f->path, &error),
                     CBX_ERR_FORMAT);
    assert_int_equal(learned.list.count, 0);
}

#define LEARNED_TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int
main(void)
{
    const struct CMUnitTest tests[] = {
        LEARNED_TEST(what_was_heard_comes_back),
        LEARNED_TEST(what_is_known_is_no_news),
        LEARNED_TEST(another_hubs_addresses_are_not_taken),
        LEARNED_TEST(a_damaged_file_is_an_error_and_nothing_is_learned),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
