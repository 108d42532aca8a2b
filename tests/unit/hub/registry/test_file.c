/* SPDX-License-Identifier: MIT */
/* The registry on disk, and sshd's view of it. */
#include "common/disk/file.h"
#include "registry_fixture.h"

#include <ev.h>
#include <msgpack.h>

static const int64_t now = 1700000000;

/* Loading and committing. */

struct outcome {
    int calls;
    int result;
};

static void
count_done(void *arg, int result, const char *text)
{
    struct outcome *outcome = arg;
    assert_non_null(text);
    outcome->calls++;
    outcome->result = result;
}

/* Commits, and waits for the disk. */
static int
commit(struct fixture *f)
{
    struct outcome outcome = {0};
    struct ev_loop *loop = ev_loop_new(EVFLAG_AUTO);
    struct cbx_store *store = cbx_store_new(loop);
    assert_non_null(store);
    assert_non_null(store);
    assert_int_equal(registry_commit(f->registry, store, count_done, &outcome), 0);
    assert_int_equal(outcome.calls, 0);
    (void)ev_run(loop, 0);
    assert_int_equal(outcome.calls, 1);
    cbx_store_free(store);
    ev_loop_destroy(loop);
    return outcome.result;
}

/* Forgets what is in memory and reads the file. */
static int
reload(struct fixture *f)
{
    registry_free(f->registry);
    f->registry = registry_new(f->path, &f->key);
    assert_non_null(f->registry);
    return registry_load(f->registry, &f->error);
}

/* An open invite for api, a joined one for web with its peer, a peer db whose invite is burned. */
static void
fill(struct fixture *f)
{
    struct fixture_invite invite;
    struct fixture_joined joined;
    struct cbx_identity identity;
    struct reg_invite *out;
    (void)fixture_invited(f, &invite, "api", 6);
    out = fixture_invited(f, &invite, "web", 7);
    cbx_identity_random(&identity);
    assert_int_equal(fixture_join(f, out, &invite, &identity, &joined), 0);
    out = fixture_invited(f, &invite, "db", 8);
    cbx_identity_random(&identity);
    assert_int_equal(fixture_join(f, out, &invite, &identity, &joined), 0);
    assert_true(registry_burn(f->registry, joined.peer));
    assert_int_equal(registry_next_generation(f->registry, joined.peer, 1234), 1234);
}

static void
a_missing_file_is_an_empty_registry(void **state)
{
    struct fixture *f = *state;
    assert_int_equal(registry_load(f->registry, &f->error), 0);
    assert_null(registry_peers(f->registry));
    assert_null(registry_invites(f->registry));
}

static void
what_was_committed_is_loaded(void **state)
{
    struct fixture *f = *state;
    assert_int_equal(registry_load(f->registry, &f->error), 0);
    fill(f);
    struct reg_peer before = *registry_peer(f->registry, "demo", "db");
    assert_int_equal(commit(f), 0);
    assert_int_equal(reload(f), 0);
    const struct reg_invite *invite = registry_invites(f->registry);
    assert_string_equal(invite->slug, "api");
    assert_int_equal(invite->state, REG_INVITE_OPEN);
    assert_int_equal(registry_login(f->registry, invite->fingerprint).kind, REG_LOGIN_INVITE);
    invite = invite->next;
    assert_string_equal(invite->slug, "web");
    assert_int_equal(invite->state, REG_INVITE_JOINED);
    assert_null(invite->next);
    struct reg_peer *peer = registry_peer(f->registry, "demo", "web");
    assert_memory_equal(peer->identity, invite->identity, 32);
    assert_true(registry_burn(f->registry, peer));
    peer = registry_peer(f->registry, "demo", "db");
    assert_int_equal(peer->generation, 1234);
    assert_int_equal(peer->joined, now + 1);
    assert_int_equal(peer->ends, before.ends);
    assert_int_equal(peer->serial, 8);
    assert_string_equal(peer->ports, "5432,8080");
    assert_string_equal(peer->labels, "zone=a");
    assert_memory_equal(peer->chain_hash, before.chain_hash, 32);
    assert_null(peer->live);
}

static void
rules_hold_after_a_load(void **state)
{
    struct fixture *f = *state;
    struct fixture_invite invite;
    struct reg_invite *out;
    assert_int_equal(registry_load(f->registry, &f->error), 0);
    fill(f);
    assert_int_equal(commit(f), 0);
    assert_int_equal(reload(f), 0);
    fixture_invite_make(f, &invite, "demo", "db", 8);
    assert_int_equal(fixture_add_at(f, &invite, now, &out), CBX_ERR_EXISTS);
    cbx_keypair_random(&f->pond);
    fixture_invite_make(f, &invite, "demo", "new", 9);
    assert_int_equal(fixture_add_at(f, &invite, now, &out), CBX_ERR_AUTH);
}

static void
committing_before_loading_is_refused(void **state)
{
    struct fixture *f = *state;
    struct ev_loop *loop = ev_loop_new(EVFLAG_AUTO);
    struct cbx_store *store = cbx_store_new(loop);
    assert_non_null(store);
    assert_int_equal(registry_commit(f->registry, store, NULL, NULL), CBX_ERR_STATE);
    cbx_store_free(store);
    ev_loop_destroy(loop);
    assert_int_not_equal(access(f->path, F_OK), 0);
}

/* The file as load must leave it: refused, named, and the same afterwards. */
static void
assert_refused(struct fixture *f, int expected)
{
    uint8_t *before, *after;
    size_t length, length_after;
    assert_int_equal(cbx_file_load(f->path, 1 << 20, &before, &length, NULL), 0);
    assert_int_equal(reload(f), expected);
    assert_non_null(strstr(f->error.text, f->path));
    assert_null(registry_peers(f->registry));
    assert_null(registry_invites(f->registry));
    struct ev_loop *loop = ev_loop_new(EVFLAG_AUTO);
    struct cbx_store *store = cbx_store_new(loop);
    assert_non_null(store);
    assert_int_equal(registry_commit(f->registry, store, NULL, NULL), CBX_ERR_STATE);
    cbx_store_free(store);
    ev_loop_destroy(loop);
    assert_int_equal(cbx_file_load(f->path, 1 << 20, &after, &length_after, NULL), 0);
    assert_int_equal(length, length_after);
    assert_memory_equal(before, after, length);
    free(before);
    free(after);
}

static void
a_damaged_file_is_refused_and_kept(void **state)
{
    struct fixture *f = *state;
    uint8_t *bytes;
    size_t length;
    assert_int_equal(registry_load(f->registry, &f->error), 0);
    fill(f);
    assert_int_equal(commit(f), 0);
    assert_int_equal(cbx_file_load(f->path, 1 << 20, &bytes, &length, NULL), 0);
    bytes[length - 1] ^= 1;
    assert_int_equal(cbx_file_save(f->path, bytes, length, 0600, NULL), 0);
    assert_refused(f, CBX_ERR_AUTH);
    bytes[length - 1] ^= 1;
    assert_int_equal(cbx_file_save(f->path, bytes, 20, 0600, NULL), 0);
    assert_refused(f, CBX_ERR_FORMAT);
    assert_int_equal(cbx_file_save(f->path, (const uint8_t *)"hello", 5, 0600, NULL), 0);
    assert_refused(f, CBX_ERR_FORMAT);
    free(bytes);
}

/* Snapshots as a hostile or broken writer that holds the vault key would make them. */

struct snapshot {
    msgpack_sbuffer buffer;
    msgpack_packer packer;
};

static void
snapshot_begin(struct snapshot *snapshot, unsigned version)
{
    msgpack_sbuffer_init(&snapshot->buffer);
    msgpack_packer_init(&snapshot->packer, &snapshot->buffer, msgpack_sbuffer_write);
    msgpack_pack_array(&snapshot->packer, 3);
    msgpack_pack_uint64(&snapshot->packer, version);
}

static void
pack_bin(struct snapshot *snapshot, const uint8_t *bytes, size_t length)
{
    msgpack_pack_bin(&snapshot->packer, length);
    msgpack_pack_bin_body(&snapshot->packer, bytes, length);
}

static void
pack_invite(struct snapshot *snapshot, const uint8_t pond[32], const struct fixture_invite *invite,
            unsigned state)
{
    const uint8_t nobody[32] = {0};
    msgpack_pack_array(&snapshot->packer, 5);
    pack_bin(snapshot, pond, 32);
    pack_bin(snapshot, invite->cert.bytes, invite->cert.length);
    pack_bin(snapshot, invite->login.public_key, 32);
    msgpack_pack_uint64(&snapshot->packer, state);
    pack_bin(snapshot, nobody, sizeof nobody);
}

static void
pack_peer(struct snapshot *snapshot, const struct fixture *f, const struct fixture_invite *invite,
          const struct cbx_identity *identity, uint64_t generation)
{
    struct cbx_peer_cert fields;
    struct cbx_cert cert;
    fixture_peer_fields(invite, identity, &fields);
    fixture_peer_sign(invite, identity, &fields, &cert);
    msgpack_pack_array(&snapshot->packer, 5);
    pack_bin(snapshot, f->pond.public_key, 32);
    pack_bin(snapshot, invite->cert.bytes, invite->cert.length);
    pack_bin(snapshot, cert.bytes, cert.length);
    msgpack_pack_uint64(&snapshot->packer, generation);
    msgpack_pack_uint64(&snapshot->packer, 5);
}

static void
snapshot_save(struct snapshot *snapshot, const struct fixture *f)
{
    assert_int_equal(cbx_vault_save(&f->key, "cbx hub registry", f->path,
                                    (const uint8_t *)snapshot->buffer.data, snapshot->buffer.size,
                                    NULL),
                     0);
    msgpack_sbuffer_destroy(&snapshot->buffer);
}

static void
assert_cause(const struct fixture *f, const char *cause)
{
    if (strstr(f->error.text, cause) == NULL)
        fail_msg("\"%s\" is not in: %s", cause, f->error.text);
}

static void
a_handmade_snapshot_loads(void **state)
{
    struct fixture *f = *state;
    struct snapshot snapshot;
    struct fixture_invite invite;
    struct cbx_identity identity;
    cbx_identity_random(&identity);
    fixture_invite_make(f, &invite, "demo", "web", 7);
    snapshot_begin(&snapshot, 1);
    msgpack_pack_array(&snapshot.packer, 0);
    msgpack_pack_array(&snapshot.packer, 1);
    pack_peer(&snapshot, f, &invite, &identity, 3);
    snapshot_save(&snapshot, f);
    assert_int_equal(reload(f), 0);
    assert_int_equal(registry_peer(f->registry, "demo", "web")->generation, 3);
}

static void
another_version_is_refused(void **state)
{
    struct fixture *f = *state;
    struct snapshot snapshot;
    snapshot_begin(&snapshot, 2);
    msgpack_pack_array(&snapshot.packer, 0);
    msgpack_pack_array(&snapshot.packer, 0);
    snapshot_save(&snapshot, f);
    assert_refused(f, CBX_ERR_FORMAT);
    assert_cause(f, "another version");
}

static void
trailing_bytes_are_refused(void **state)
{
    struct fixture *f = *state;
    struct snapshot snapshot;
    snapshot_begin(&snapshot, 1);
    msgpack_pack_array(&snapshot.packer, 0);
    msgpack_pack_array(&snapshot.packer, 0);
    msgpack_pack_nil(&snapshot.packer);
    snapshot_save(&snapshot, f);
    assert_refused(f, CBX_ERR_FORMAT);
}

static void
a_length_beyond_the_file_is_refused(void **state)
{
    struct fixture *f = *state;
    struct snapshot snapshot;
    snapshot_begin(&snapshot, 1);
    msgpack_pack_array(&snapshot.packer, UINT32_MAX);
    snapshot_save(&snapshot, f);
    assert_refused(f, CBX_ERR_FORMAT);
}

static void
an_invite_under_a_foreign_signature_is_refused(void **state)
{
    struct fixture *f = *state;
    struct snapshot snapshot;
    struct fixture_invite invite;
    uint8_t other[32];
    fixture_invite_make(f, &invite, "demo", "web", 7);
    memcpy(other, invite.signing.public_key, 32);
    snapshot_begin(&snapshot, 1);
    msgpack_pack_array(&snapshot.packer, 1);
    pack_invite(&snapshot, other, &invite, 0);
    msgpack_pack_array(&snapshot.packer, 0);
    snapshot_save(&snapshot, f);
    assert_refused(f, CBX_ERR_AUTH);
    assert_cause(f, "invite 1");
}

static void
an_unknown_invite_state_is_refused(void **state)
{
    struct fixture *f = *state;
    struct snapshot snapshot;
    struct fixture_invite invite;
    fixture_invite_make(f, &invite, "demo", "web", 7);
    snapshot_begin(&snapshot, 1);
    msgpack_pack_array(&snapshot.packer, 1);
    pack_invite(&snapshot, f->pond.public_key, &invite, 3);
    msgpack_pack_array(&snapshot.packer, 0);
    snapshot_save(&snapshot, f);
    assert_refused(f, CBX_ERR_FORMAT);
    assert_cause(f, "invite 1");
}

static void
two_open_invites_of_one_name_are_refused(void **state)
{
    struct fixture *f = *state;
    struct snapshot snapshot;
    struct fixture_invite first, second;
    fixture_invite_make(f, &first, "demo", "web", 7);
    fixture_invite_make(f, &second, "demo", "web", 8);
    snapshot_begin(&snapshot, 1);
    msgpack_pack_array(&snapshot.packer, 2);
    pack_invite(&snapshot, f->pond.public_key, &first, 0);
    pack_invite(&snapshot, f->pond.public_key, &second, 0);
    msgpack_pack_array(&snapshot.packer, 0);
    snapshot_save(&snapshot, f);
    assert_refused(f, CBX_ERR_FORMAT);
    assert_cause(f, "invite 2: its name is there twice");
}

static void
a_login_key_that_is_there_twice_is_refused(void **state)
{
    struct fixture *f = *state;
    struct snapshot snapshot;
    struct fixture_invite first, second;
    fixture_invite_make(f, &first, "demo", "web", 7);
    fixture_invite_make(f, &second, "demo", "api", 8);
    second.login = first.login;
    snapshot_begin(&snapshot, 1);
    msgpack_pack_array(&snapshot.packer, 2);
    pack_invite(&snapshot, f->pond.public_key, &first, 0);
    pack_invite(&snapshot, f->pond.public_key, &second, 0);
    msgpack_pack_array(&snapshot.packer, 0);
    snapshot_save(&snapshot, f);
    assert_refused(f, CBX_ERR_FORMAT);
    assert_cause(f, "invite 2: its login key is there twice");
}

static void
two_keys_of_one_pond_are_refused(void **state)
{
    struct fixture *f = *state;
    struct snapshot snapshot;
    struct fixture_invite first, second;
    uint8_t other[32];
    fixture_invite_make(f, &first, "demo", "web", 7);
    memcpy(other, f->pond.public_key, 32);
    cbx_keypair_random(&f->pond);
    fixture_invite_make(f, &second, "demo", "api", 8);
    snapshot_begin(&snapshot, 1);
    msgpack_pack_array(&snapshot.packer, 2);
    pack_invite(&snapshot, other, &first, 0);
    pack_invite(&snapshot, f->pond.public_key, &second, 0);
    msgpack_pack_array(&snapshot.packer, 0);
    snapshot_save(&snapshot, f);
    assert_refused(f, CBX_ERR_FORMAT);
    assert_cause(f, "invite 2: a second key for its pond");
}

static void
one_identity_under_two_names_is_refused(void **state)
{
    struct fixture *f = *state;
    struct snapshot snapshot;
    struct fixture_invite first, second;
    struct cbx_identity identity;
    cbx_identity_random(&identity);
    fixture_invite_make(f, &first, "demo", "web", 7);
    fixture_invite_make(f, &second, "demo", "api", 8);
    snapshot_begin(&snapshot, 1);
    msgpack_pack_array(&snapshot.packer, 0);
    msgpack_pack_array(&snapshot.packer, 2);
    pack_peer(&snapshot, f, &first, &identity, 1);
    pack_peer(&snapshot, f, &second, &identity, 1);
    snapshot_save(&snapshot, f);
    assert_refused(f, CBX_ERR_FORMAT);
    assert_cause(f, "peer 2: its identity is there twice");
}

static void
a_generation_near_wrapping_is_refused(void **state)
{
    struct fixture *f = *state;
    struct snapshot snapshot;
    struct fixture_invite invite;
    struct cbx_identity identity;
    cbx_identity_random(&identity);
    fixture_invite_make(f, &invite, "demo", "web", 7);
    snapshot_begin(&snapshot, 1);
    msgpack_pack_array(&snapshot.packer, 0);
    msgpack_pack_array(&snapshot.packer, 1);
    pack_peer(&snapshot, f, &invite, &identity, UINT64_MAX);
    snapshot_save(&snapshot, f);
    assert_refused(f, CBX_ERR_FORMAT);
    assert_cause(f, "peer 1: malformed");
}

static void
commits_during_a_write_share_the_next(void **state)
{
    struct fixture *f = *state;
    struct outcome first = {0}, rest = {0};
    struct ev_loop *loop = ev_loop_new(EVFLAG_AUTO);
    struct cbx_store *store = cbx_store_new(loop);
    struct fixture_invite invite;
    assert_non_null(store);
    assert_int_equal(registry_load(f->registry, &f->error), 0);
    assert_int_equal(registry_commit(f->registry, store, count_done, &first), 0);
    for (int i = 0; i < 50; i++)
        assert_int_equal(registry_commit(f->registry, store, count_done, &rest), 0);
    (void)fixture_invited(f, &invite, "web", 7);
    assert_int_equal(registry_commit(f->registry, store, NULL, NULL), 0);
    while (first.calls == 0)
        (void)ev_run(loop, EVRUN_ONCE);
    assert_int_equal(rest.calls, 0);
    (void)ev_run(loop, 0);
    assert_int_equal(first.calls, 1);
    assert_int_equal(rest.calls, 50);
    cbx_store_free(store);
    ev_loop_destroy(loop);
    assert_int_equal(reload(f), 0);
    assert_non_null(registry_invites(f->registry));
}

static void
a_flush_writes_what_waits_for_its_snapshot(void **state)
{
    struct fixture *f = *state;
    struct ev_loop *loop = ev_loop_new(EVFLAG_AUTO);
    struct cbx_store *store = cbx_store_new(loop);
    struct fixture_invite invite;
    assert_non_null(store);
    assert_int_equal(registry_load(f->registry, &f->error), 0);
    assert_int_equal(registry_commit(f->registry, store, NULL, NULL), 0);
    (void)fixture_invited(f, &invite, "web", 7);
    assert_int_equal(registry_commit(f->registry, store, NULL, NULL), 0);
    assert_int_equal(registry_flush(f->registry), 0);
    cbx_store_free(store);
    ev_loop_destroy(loop);
    assert_int_equal(reload(f), 0);
    assert_non_null(registry_invites(f->registry));
}

static void
a_failed_write_is_told_and_the_next_one_is_tried(void **state)
{
    struct fixture *f = *state;
    struct outcome outcome = {0};
    struct registry *registry = registry_new("/nonexistent-folder/registry", &f->key);
    assert_non_null(registry);
    struct ev_loop *loop = ev_loop_new(EVFLAG_AUTO);
    struct cbx_store *store = cbx_store_new(loop);
    assert_non_null(store);
    assert_int_equal(registry_load(registry, &f->error), 0);
    for (int i = 0; i < 2; i++)
        assert_int_equal(registry_commit(registry, store, count_done, &outcome), 0);
    (void)ev_run(loop, 0);
    assert_int_equal(outcome.calls, 2);
    assert_int_equal(outcome.result, CBX_ERR_IO);
    cbx_store_free(store);
    ev_loop_destroy(loop);
    registry_free(registry);
}

/* authorized_keys. */

static void
each_live_login_key_has_a_line(void **state)
{
    struct fixture *f = *state;
    char *text;
    char expected[1024];
    char line[84];
    fill(f);
    const struct reg_peer *peer = registry_peer(f->registry, "demo", "db");
    assert_int_equal(
        registry_authorized_keys(f->registry, "/usr/bin/cbx-hub", "/var/h", now, &text), 0);
    cbx_ssh_line(peer->identity, line);
    /* 1700000000 is 2023-11-14 22:13:20; 30 days later: */
    (void)snprintf(expected, sizeof expected,
                   "restrict,command=\"exec '/usr/bin/cbx-hub' attach --state '/var/h' --key "
                   "'%s'\",expiry-time=\"20231214221320Z\" %s cbx\n",
                   peer->fingerprint, line);
    assert_non_null(strstr(text, expected));
    const struct reg_invite *invite = registry_invites(f->registry);
    cbx_ssh_line(invite->login_key, line);
    (void)snprintf(expected, sizeof expected,
                   "--key '%s'\",expiry-time=\"20231114222820Z\" %s cbx\n", invite->fingerprint,
                   line);
    assert_non_null(strstr(text, expected));
    int lines = 0;
    for (const char *at = text; *at != '\0'; at++)
        lines += *at == '\n';
    assert_int_equal(lines, 4); /* api's and web's invites, web, db */
    free(text);
}

static void
keys_out_of_time_have_no_line(void **state)
{
    struct fixture *f = *state;
    char *text;
    fill(f);
    const struct reg_peer *peer = registry_peer(f->registry, "demo", "db");
    assert_int_equal(registry_authorized_keys(f->registry, "/h", "/s", now + 901, &text), 0);
    assert_null(strstr(text, registry_invites(f->registry)->fingerprint));
    assert_non_null(strstr(text, peer->fingerprint));
    free(text);
    assert_int_equal(registry_authorized_keys(f->registry, "/h", "/s", peer->ends + 1, &text), 0);
    assert_string_equal(text, "");
    free(text);
}

static void
a_used_invite_has_no_line(void **state)
{
    struct fixture *f = *state;
    struct fixture_invite invite;
    char *text;
    fixture_invited(f, &invite, "web", 7)->state = REG_INVITE_USED;
    assert_int_equal(registry_authorized_keys(f->registry, "/h", "/s", now, &text), 0);
    assert_string_equal(text, "");
    free(text);
}

/* As sshd reads the option's value: only \" is undone. */
static void
dequote(const char *line, char *out, size_t size)
{
    const char *at = strstr(line, "command=\"");
    size_t length = 0;
    assert_non_null(at);
    for (at += strlen("command=\""); *at != '"'; at++) {
        assert_true(*at != '\0' && length + 1 < size);
        if (at[0] == '\\' && at[1] == '"')
            at++;
        out[length++] = *at;
    }
    out[length] = '\0';
}

static void
paths_survive_sshd_and_the_shell(void **state)
{
    static const char dir[] = "/tmp/it's \"q\" \\ \\\" 100%h $HOME `id` \\";
    struct fixture *f = *state;
    struct fixture_invite invite;
    char *text;
    char command[512];
    char output[512] = "";
    char expected[512];
    const struct reg_invite *registered = fixture_invited(f, &invite, "web", 7);
    /* echo prints its arguments, one space between, as they arrive. */
    assert_int_equal(registry_authorized_keys(f->registry, "/bin/echo", dir, now, &text), 0);
    dequote(text, command, sizeof command);
    free(text);
    FILE *shell = popen(command, "r");
    assert_non_null(shell);
    assert_non_null(fgets(output, sizeof output, shell));
    assert_int_equal(pclose(shell), 0);
    (void)snprintf(expected, sizeof expected, "attach --state %s --key %s\n", dir,
                   registered->fingerprint);
    assert_string_equal(output, expected);
}

static void
paths_that_cannot_be_written_are_refused(void **state)
{
    struct fixture *f = *state;
    char *text;
    assert_int_equal(registry_authorized_keys(f->registry, "/a\nb", "/s", now, &text),
                     CBX_ERR_USAGE);
    assert_null(text);
    assert_int_equal(registry_authorized_keys(f->registry, "/h", "/s\r", now, &text),
                     CBX_ERR_USAGE);
    assert_int_equal(registry_authorized_keys(f->registry, "h", "/s", now, &text), CBX_ERR_USAGE);
    assert_int_equal(registry_authorized_keys(f->registry, "/h", "", now, &text), CBX_ERR_USAGE);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, fixture_setup, fixture_teardown)

int
main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(a_missing_file_is_an_empty_registry),
        TEST(what_was_committed_is_loaded),
        TEST(rules_hold_after_a_load),
        TEST(committing_before_loading_is_refused),
        TEST(a_damaged_file_is_refused_and_kept),
        TEST(a_handmade_snapshot_loads),
        TEST(another_version_is_refused),
        TEST(trailing_bytes_are_refused),
        TEST(a_length_beyond_the_file_is_refused),
        TEST(an_invite_under_a_foreign_signature_is_refused),
        TEST(an_unknown_invite_state_is_refused),
        TEST(two_open_invites_of_one_name_are_refused),
        TEST(a_login_key_that_is_there_twice_is_refused),
        TEST(two_keys_of_one_pond_are_refused),
        TEST(one_identity_under_two_names_is_refused),
        TEST(a_generation_near_wrapping_is_refused),
        TEST(commits_during_a_write_share_the_next),
        TEST(a_flush_writes_what_waits_for_its_snapshot),
        TEST(a_failed_write_is_told_and_the_next_one_is_tried),
        TEST(each_live_login_key_has_a_line),
        TEST(keys_out_of_time_have_no_line),
        TEST(a_used_invite_has_no_line),
        TEST(paths_survive_sshd_and_the_shell),
        TEST(paths_that_cannot_be_written_are_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
