/* SPDX-License-Identifier: MIT */
/* The agent's sealed state: what comes back, what is refused and left alone. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "agent/daemon/state.h"
#include "scratch.h"

#include <sodium.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

struct fixture {
    char folder[SCRATCH_MAX], path[96], key_path[96];
    struct cbx_vault_key key;
    struct cbx_keypair pond, login, signing;
    struct cbx_identity identity;
    struct cbx_token token;
    struct cbx_cert invite, peer;
};

static void
make_chain(struct fixture *f)
{
    struct cbx_invite_cert invite = {.uses = 1, .serial = 7, .issued = 1000, .join_by = 2000};
    invite.ends = 5000;
    (void)snprintf(invite.pond, sizeof invite.pond, "demo");
    (void)snprintf(invite.slug, sizeof invite.slug, "web");
    assert_int_equal(cbx_expose_add(&invite.expose, "8080", NULL), 0);
    memcpy(invite.signing_key, f->signing.public_key, 32);
    assert_int_equal(cbx_invite_cert_sign(&invite, &f->pond, &f->invite), 0);
    struct cbx_peer_cert peer = {.issued = 1500, .ends = 5000, .expose = invite.expose};
    (void)snprintf(peer.pond, sizeof peer.pond, "demo");
    (void)snprintf(peer.slug, sizeof peer.slug, "web");
    memcpy(peer.identity, f->identity.sign.public_key, 32);
    memcpy(peer.exchange, f->identity.exchange_public, 32);
    cbx_cert_hash(f->invite.bytes, f->invite.length, peer.invite_hash);
    assert_int_equal(cbx_peer_cert_sign(&peer, &f->signing, &f->identity.sign, &f->peer), 0);
}

static int
setup(void **state)
{
    struct fixture *f = calloc(1, sizeof *f);
    assert_true(scratch_folder("state", f->folder));
    (void)snprintf(f->path, sizeof f->path, "%s/agent", f->folder);
    (void)snprintf(f->key_path, sizeof f->key_path, "%s/key", f->folder);
    assert_int_equal(cbx_vault_key_init(&f->key, NULL, NULL, f->key_path, 1, NULL), 0);
    cbx_keypair_random(&f->pond);
    cbx_identity_random(&f->identity);
    f->token.address_count = 1;
    (void)snprintf(f->token.address[0], sizeof f->token.address[0], "192.0.2.1:7000");
    (void)snprintf(f->token.user, sizeof f->token.user, "cbx");
    memcpy(f->token.pond_public, f->pond.public_key, 32);
    randombytes_buf(f->token.secret, sizeof f->token.secret);
    cbx_invite_keys(f->token.secret, &f->login, &f->signing);
    make_chain(f);
    *state = f;
    return 0;
}

static int
teardown(void **state)
{
    struct fixture *f = *state;
    bool alone = scratch_end(f->folder, "agent", "key", NULL);
    cbx_vault_key_wipe(&f->key);
    free(f);
    return alone ? 0 : -1;
}

static void
fill(const struct fixture *f, struct agent_state *state)
{
    state->has_identity = true;
    state->identity = f->identity;
    state->has_pending = true;
    state->pending = f->token;
    assert_int_equal(agent_membership_set(&state->joined, &f->token, &f->invite, &f->peer, NULL),
                     0);
    state->submitted = state->joined;
    struct mesh_known known[2] = {{.slug = "a", .serial = 1}, {.slug = "b", .serial = UINT64_MAX}};
    known[1].identity[31] = 9;
    assert_int_equal(agent_state_set_known(state, known, 2), 0);
}

static void
a_missing_file_is_an_empty_state(void **state)
{
    struct fixture *f = *state;
    struct agent_state s = {0};
    assert_int_equal(agent_state_load(&s, &f->key, f->path, NULL), 0);
    assert_false(s.has_identity || s.has_pending || s.joined.set || s.submitted.set);
}

static void
what_was_saved_comes_back(void **state)
{
    struct fixture *f = *state;
    struct agent_state *s = calloc(1, sizeof *s), *t = calloc(1, sizeof *t);
    fill(f, s);
    assert_int_equal(agent_state_save(s, &f->key, f->path, NULL), 0);
    assert_int_equal(agent_state_load(t, &f->key, f->path, NULL), 0);
    assert_true(t->has_identity && t->has_pending && t->joined.set && t->submitted.set);
    assert_memory_equal(&t->identity, &f->identity, sizeof f->identity);
    assert_memory_equal(t->pending.secret, f->token.secret, sizeof f->token.secret);
    assert_string_equal(t->joined.peer.slug, "web");
    assert_string_equal(t->joined.where.address[0], "192.0.2.1:7000");
    assert_int_equal(t->known_count, 2);
    assert_memory_equal(t->known, s->known, 2 * sizeof *s->known);
    agent_state_wipe(s);
    agent_state_wipe(t);
    free(s);
    free(t);
}

static void
an_empty_state_can_be_saved(void **state)
{
    struct fixture *f = *state;
    struct agent_state s = {0};
    assert_int_equal(agent_state_save(&s, &f->key, f->path, NULL), 0);
    assert_int_equal(agent_state_load(&s, &f->key, f->path, NULL), 0);
    assert_false(s.has_identity || s.has_pending || s.joined.set);
}

static void
a_membership_holds_no_secret(void **state)
{
    struct fixture *f = *state;
    struct agent_membership membership;
    assert_int_equal(agent_membership_set(&membership, &f->token, &f->invite, &f->peer, NULL), 0);
    assert_true(sodium_is_zero(membership.where.secret, sizeof membership.where.secret));
}

static void
a_token_is_told_from_another(void **state)
{
    struct fixture *f = *state;
    struct agent_membership membership;
    assert_int_equal(agent_membership_set(&membership, &f->token, &f->invite, &f->peer, NULL), 0);
    assert_true(agent_membership_is_of(&membership, &f->token));
    f->token.secret[0] ^= 1;
    assert_false(agent_membership_is_of(&membership, &f->token));
    membership.set = false;
    f->token.secret[0] ^= 1;
    assert_false(agent_membership_is_of(&membership, &f->token));
}

static void
a_chain_of_another_pond_is_refused(void **state)
{
    struct fixture *f = *state;
    struct agent_membership membership = {0};
    f->token.pond_public[0] ^= 1;
    assert_int_not_equal(agent_membership_set(&membership, &f->token, &f->invite, &f->peer, NULL),
                         0);
    assert_false(membership.set);
}

static void
a_file_of_another_key_is_left_alone(void **state)
{
    struct fixture *f = *state;
    struct agent_state s = {0};
    assert_int_equal(agent_state_save(&s, &f->key, f->path, NULL), 0);
    struct stat before, after;
    assert_int_equal(stat(f->path, &before), 0);
    struct cbx_vault_key other;
    char path[128];
    (void)snprintf(path, sizeof path, "%s/other", f->folder);
    assert_int_equal(cbx_vault_key_init(&other, NULL, NULL, path, 1, NULL), 0);
    struct cbx_error error = {""};
    assert_true(agent_state_load(&s, &other, f->path, &error) < 0);
    assert_non_null(strstr(error.text, f->path));
    assert_int_equal(stat(f->path, &after), 0);
    assert_int_equal(before.st_ino, after.st_ino);
    cbx_vault_key_wipe(&other);
    (void)unlink(path);
}

static void
nonsense_inside_a_good_seal_is_refused(void **state)
{
    struct fixture *f = *state;
    static const struct {
        const char *bytes;
        size_t length;
    } bad[] = {
        {"", 0},                                                  /* nothing */
        {"\xc0", 1},                                              /* no array */
        {"\x96\x02\xc4\x00\xa0\x90\x90\x90", 8},                  /* another version */
        {"\x96\x01\xc4\x01x\xa0\x90\x90\x90", 9},                 /* a short identity */
        {"\x96\x01\xc4\x00\xa1x\x90\x90\x90", 9},                 /* no token */
        {"\x96\x01\xc4\x00\xa0\x91\x01\x90\x90", 9},              /* no membership */
        {"\x96\x01\xc4\x00\xa0\x90\x90\x91\x01", 9},              /* no known peer */
        {"\x96\x01\xc4\x00\xa0\x90\x90\x90\x00", 9},              /* something behind */
        {"\x96\x01\xc4\x00\xa0\x90\x90\xdd\xff\xff\xff\xff", 12}, /* four billion peers */
    };
    struct agent_state s = {0};
    assert_int_equal(cbx_vault_save(&f->key, "cbx agent state", f->path,
                                    (const uint8_t *)"\x96\x01\xc4\x00\xa0\x90\x90\x90", 8, NULL),
                     0);
    assert_int_equal(agent_state_load(&s, &f->key, f->path, NULL), 0);
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        assert_int_equal(cbx_vault_save(&f->key, "cbx agent state", f->path,
                                        (const uint8_t *)bad[i].bytes, bad[i].length, NULL),
                         0);
        assert_true(agent_state_load(&s, &f->key, f->path, NULL) < 0);
    }
}

static void
a_file_of_another_kind_is_refused(void **state)
{
    struct fixture *f = *state;
    struct agent_state s = {0};
    assert_int_equal(cbx_vault_save(&f->key, "cbx hub registry", f->path,
                                    (const uint8_t *)"\x96\x01\xc4\x00\xa0\x90\x90\x90", 8, NULL),
                     0);
    assert_true(agent_state_load(&s, &f->key, f->path, NULL) < 0);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int
main(void)
{
    if (sodium_init() < 0)
        return 1;
    const struct CMUnitTest tests[] = {
        TEST(a_missing_file_is_an_empty_state),    TEST(what_was_saved_comes_back),
        TEST(an_empty_state_can_be_saved),         TEST(a_membership_holds_no_secret),
        TEST(a_token_is_told_from_another),        TEST(a_chain_of_another_pond_is_refused),
        TEST(a_file_of_another_key_is_left_alone), TEST(nonsense_inside_a_good_seal_is_refused),
        TEST(a_file_of_another_kind_is_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
