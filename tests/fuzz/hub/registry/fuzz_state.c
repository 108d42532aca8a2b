/* SPDX-License-Identifier: MIT */
/*
 * What stands in the sealed files, as somebody with the key could write it: the agent's state, or
 * the hub's registry. The first byte picks, and whether the input is the plain text itself or a
 * list of what it is made of: right and wrong keys, certificates, names, numbers. What loads is
 * whole: it can be found, and an agent's state comes back the same when it is stored.
 */
#include "hub/registry/state.h"

#include "hub/registry/registry.h"
#include "hub/registry/snapshot.h"

#include "agent/daemon/state.h"
#include "common/base/mpio.h"
#include "pond.h"

#include <stdio.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

int LLVMFuzzerInitialize(int *argc, char ***argv);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

enum { PLAIN_MAX = 64 * 1024, RECORDS_MAX = 8 };

static int key_file, file;
static char key_path[64], path[64];
static struct cbx_vault_key key = {.key_file = key_path};
static struct cbx_token token;
static char token_text[CBX_TOKEN_TEXT_MAX];

int
LLVMFuzzerInitialize(int *argc, char ***argv)
{
    static const uint8_t master[32] = "thirty-two bytes of a key file.";
    (void)argc;
    (void)argv;
    cheap_random_install();
    pond_init();
    key_file = memfd_create("key", MFD_CLOEXEC);
    file = memfd_create("state", MFD_CLOEXEC);
    check(key_file >= 0 && file >= 0 && fchmod(key_file, 0600) == 0);
    check(write(key_file, master, sizeof master) == sizeof master);
    snprintf(key_path, sizeof key_path, "/proc/self/fd/%d", key_file);
    snprintf(path, sizeof path, "/proc/self/fd/%d", file);
    token.address_count = 1;
    strcpy(token.address[0], "hub.example.org:7000");
    strcpy(token.user, "cbx");
    memcpy(token.pond_public, pond_key.public_key, 32);
    check(cbx_token_format(&token, token_text) == 0);
    return 0;
}

/* ---- plain text of the input's choice ---- */

static struct feed feed;
static msgpack_packer packer;

static const struct pond_lease *
any_lease(void)
{
    return &pond[feed_byte(&feed) % POND_LEASES];
}

/* The one that belongs there, but for a few. */
static void
pack_bin(const void *bytes, size_t length)
{
    const uint8_t *other;
    uint8_t pick = feed_byte(&feed);
    if (pick < 224) {
        cbx_mp_pack_bin(&packer, bytes, length);
        return;
    }
    size_t got = feed_bytes(&feed, pick % 64, &other);
    cbx_mp_pack_bin(&packer, other, got);
}

static void
pack_number(uint64_t usual)
{
    uint8_t pick = feed_byte(&feed);
    msgpack_pack_uint64(&packer, pick < 192 ? usual + pick % 4 : feed_number(&feed));
}

static void
pack_size(uint32_t usual)
{
    msgpack_pack_array(&packer, feed_byte(&feed) == 255 ? feed_byte(&feed) % 8 : usual);
}

static void
pack_cert(const struct cbx_cert *cert)
{
    pack_bin(cert->bytes, cert->length);
}

static void
pack_registry(void)
{
    uint32_t invites = feed_byte(&feed) % RECORDS_MAX, peers = feed_byte(&feed) % RECORDS_MAX;
    pack_size(3);
    pack_number(1);
    msgpack_pack_array(&packer, invites);
    for (uint32_t i = 0; i < invites; i++) {
        const struct pond_lease *lease = any_lease();
        pack_size(5);
        pack_bin(pond_key.public_key, 32);
        pack_cert(&lease->invite_cert);
        pack_bin(lease->login.public_key, 32);
        pack_number(0);
        pack_bin(lease->identity.sign.public_key, 32);
    }
    msgpack_pack_array(&packer, peers);
    for (uint32_t i = 0; i < peers; i++) {
        const struct pond_lease *lease = any_lease();
        pack_size(5);
        pack_bin(pond_key.public_key, 32);
        pack_cert(&lease->invite_cert);
        pack_cert(&lease->peer_cert);
        pack_number(1);
        pack_number(2);
    }
}

static void
pack_text(const char *text)
{
    const uint8_t *other;
    uint8_t pick = feed_byte(&feed);
    size_t got = pick >= 224 ? feed_bytes(&feed, pick % 64, &other) : 0;
    msgpack_pack_str(&packer, got ? got : strlen(text));
    msgpack_pack_str_body(&packer, got ? (const char *)other : text, got ? got : strlen(text));
}

static void
pack_membership(void)
{
    const struct pond_lease *lease = any_lease();
    if (feed_byte(&feed) % 4 == 3) {
        pack_size(0);
        return;
    }
    pack_size(3);
    pack_text(token_text);
    pack_cert(&lease->invite_cert);
    pack_cert(&lease->peer_cert);
}

static void
pack_state(void)
{
    uint8_t secrets[64];
    uint32_t known = feed_byte(&feed) % RECORDS_MAX;
    memcpy(secrets, pond[0].identity.sign.secret_key, 32);
    memcpy(secrets + 32, pond[0].identity.exchange_secret, 32);
    pack_size(6);
    pack_number(1);
    pack_bin(secrets, feed_byte(&feed) % 4 == 3 ? 0 : 64);
    pack_text(feed_byte(&feed) % 2 ? token_text : "");
    pack_membership();
    pack_membership();
    msgpack_pack_array(&packer, known);
    for (uint32_t i = 0; i < known; i++) {
        const struct pond_lease *lease = any_lease();
        pack_size(3);
        pack_text(lease->slug);
        pack_number(lease->invite.serial);
        pack_bin(lease->identity.sign.public_key, 32);
    }
}

/* ---- loading ---- */

static void
seal(const char *kind, const uint8_t *plain, size_t length)
{
    uint8_t *sealed;
    size_t sealed_length;
    check(cbx_vault_seal(&key, kind, plain, length, &sealed, &sealed_length, NULL) == 0);
    check(ftruncate(file, 0) == 0 &&
          pwrite(file, sealed, sealed_length, 0) == (ssize_t)sealed_length);
    free(sealed);
}

static void
try_registry(void)
{
    struct cbx_error error = {""};
    struct registry *registry = registry_new(path, &key);
    check(registry != NULL);
    int result = registry_load(registry, &error);
    if (result != 0)
        check(error.text[0] != '\0' && !registry_peers(registry) && !registry_invites(registry));
    for (struct reg_peer *peer = registry_peers(registry); peer; peer = peer->next) {
        check(registry_peer(registry, peer->pond, peer->slug) == peer);
        check(registry_login(registry, peer->fingerprint).peer == peer);
        check(registry_find_exchange(registry, peer->exchange) == peer);
        check(peer->generation <= REG_NUMBER_MAX);
    }
    for (struct reg_invite *invite = registry_invites(registry); invite; invite = invite->next)
        check(registry_login(registry, invite->fingerprint).invite == invite);
    registry_free(registry);
}

static void
check_stored_again(const struct agent_state *state)
{
    struct agent_state again = {0};
    uint8_t *sealed;
    size_t length;
    check(agent_state_seal(state, &key, &sealed, &length, NULL) == 0);
    check(ftruncate(file, 0) == 0 && pwrite(file, sealed, length, 0) == (ssize_t)length);
    free(sealed);
    check(agent_state_load(&again, &key, path, NULL) == 0);
    check(again.has_identity == state->has_identity && again.has_pending == state->has_pending);
    check(again.joined.set == state->joined.set && again.submitted.set == state->submitted.set);
    check(again.known_count == state->known_count);
    for (size_t i = 0; i < again.known_count; i++)
        check(strcmp(again.known[i].slug, state->known[i].slug) == 0 &&
              again.known[i].serial == state->known[i].serial);
    agent_state_wipe(&again);
}

static void
try_state(void)
{
    struct agent_state state = {0};
    struct cbx_error error = {""};
    if (agent_state_load(&state, &key, path, &error) == 0)
        check_stored_again(&state);
    else
        check(error.text[0] != '\0' && !state.has_identity && !state.known);
    agent_state_wipe(&state);
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static uint8_t plain[PLAIN_MAX];
    struct cbx_mpbuf buffer = {.bytes = plain, .size = sizeof plain};
    feed = (struct feed){data, data + size};
    uint8_t way = feed_byte(&feed);
    cheap_random_restart();
    msgpack_packer_init(&packer, &buffer, cbx_mpbuf_write);
    if (way & 2)
        cbx_mpbuf_add(&buffer, feed.at, (size_t)(feed.end - feed.at));
    else if (way & 1)
        pack_registry();
    else
        pack_state();
    seal(way & 1 ? REG_SNAPSHOT_KIND : "cbx agent state", plain, buffer.length);
    if (way & 1)
        try_registry();
    else
        try_state();
    return 0;
}
