/* SPDX-License-Identifier: MIT */
/*
 * Certificates and chains. Illegal ones are written here field by field and then truly signed: a
 * refusal must come from the rule, not from a signature that happens to be off.
 */
#include "common/base/mpio.h"
#include "common/trust/trust.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <sodium.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define SET(field, text) ((void)snprintf((field), sizeof(field), "%s", (text)))

enum { NOW = 1700000000, DAY = 86400, NO_FIELD = -1 };

/* Fresh for each test: keys of everybody, a legal invite and a legal peer. */
struct scene {
    struct cbx_keypair pond;
    struct cbx_keypair signing;
    struct cbx_identity lease;
    struct cbx_invite_cert invite;
    struct cbx_peer_cert peer;
    struct cbx_cert invite_bytes;
    struct cbx_cert peer_bytes;
};

static int
setup(void **state)
{
    struct scene *scene = calloc(1, sizeof *scene);
    assert_non_null(scene);
    cbx_keypair_random(&scene->pond);
    cbx_keypair_random(&scene->signing);
    cbx_identity_random(&scene->lease);
    struct cbx_invite_cert *invite = &scene->invite;
    SET(invite->pond, "demo");
    SET(invite->slug, "web");
    SET(invite->labels, "k=v,os=debian 12");
    (void)cbx_expose_add(&invite->expose, "8080,5432=10.83.0.7:5432", NULL);
    invite->uses = 1;
    invite->serial = 1700000000123;
    invite->issued = NOW;
    invite->join_by = NOW + 900;
    invite->ends = NOW + 30 * DAY;
    memcpy(invite->signing_key, scene->signing.public_key, 32);
    assert_int_equal(cbx_invite_cert_sign(invite, &scene->pond, &scene->invite_bytes), 0);
    struct cbx_peer_cert *peer = &scene->peer;
    SET(peer->pond, "demo");
    SET(peer->slug, "web");
    memcpy(peer->identity, scene->lease.sign.public_key, 32);
    memcpy(peer->exchange, scene->lease.exchange_public, 32);
    (void)cbx_expose_add(&peer->expose, "8080", NULL);
    peer->issued = NOW + 5;
    peer->ends = NOW + 30 * DAY;
    cbx_cert_hash(scene->invite_bytes.bytes, scene->invite_bytes.length, peer->invite_hash);
    assert_int_equal(
        cbx_peer_cert_sign(peer, &scene->signing, &scene->lease.sign, &scene->peer_bytes), 0);
    *state = scene;
    return 0;
}

static int
teardown(void **state)
{
    free(*state);
    return 0;
}

static int
open_invite(const struct scene *scene, const struct cbx_cert *cert)
{
    struct cbx_invite_cert out;
    struct cbx_error error = {""};
    int result =
        cbx_invite_cert_open(cert->bytes, cert->length, scene->pond.public_key, &out, &error);
    if (result != 0)
        assert_string_not_equal(error.text, "");
    return result;
}

static int
open_chain(const struct scene *scene, int64_t now)
{
    struct cbx_error error = {""};
    int result = cbx_chain_open(&scene->invite_bytes, &scene->peer_bytes, scene->pond.public_key,
                                now, NULL, NULL, &error);
    if (result != 0)
        assert_string_not_equal(error.text, "");
    return result;
}

/* What one array is written from: legal fields, of which each can be replaced or left out. */
struct draft {
    const char *context;
    const char *expose; /* NULL: the certificate's own */
    int elements;       /* 0: as many as there are */
    int nil_field;      /* this field becomes nil */
    int short_key;      /* keys and hashes have 31 bytes */
    int wide_numbers;   /* in the nine-byte form, whatever they are */
    const char *tail;   /* stands behind the array */
};

static const struct draft legal = {.nil_field = NO_FIELD};

struct writer {
    struct cbx_mpbuf buffer;
    msgpack_packer packer;
    struct draft draft;
    int field;
};

static void
writer_begin(struct writer *writer, const struct draft *draft, struct cbx_cert *out,
             const char *context, int elements)
{
    memset(out, 0, sizeof *out);
    memset(writer, 0, sizeof *writer);
    writer->buffer = (struct cbx_mpbuf){.bytes = out->bytes, .size = sizeof out->bytes};
    writer->draft = *draft;
    if (draft->context != NULL)
        context = draft->context;
    cbx_mpbuf_add(&writer->buffer, context, strlen(context));
    msgpack_packer_init(&writer->packer, &writer->buffer, cbx_mpbuf_write);
    msgpack_pack_array(&writer->packer,
                       (size_t)(draft->elements != 0 ? draft->elements : elements));
}

static bool
put_nil(struct writer *writer)
{
    if (writer->field++ != writer->draft.nil_field)
        return false;
    msgpack_pack_nil(&writer->packer);
    return true;
}

static void
put_text(struct writer *writer, const char *text)
{
    if (!put_nil(writer))
        cbx_mp_pack_text(&writer->packer, text);
}

static void
put_number(struct writer *writer, int64_t number)
{
    if (put_nil(writer))
        return;
    if (writer->draft.wide_numbers)
        msgpack_pack_fix_uint64(&writer->packer, (uint64_t)number);
    else
        msgpack_pack_int64(&writer->packer, number);
}

static void
put_key(struct writer *writer, const uint8_t key[32])
{
    if (!put_nil(writer))
        cbx_mp_pack_bin(&writer->packer, key, writer->draft.short_key ? 31 : 32);
}

static void
put_expose(struct writer *writer, const struct cbx_expose *expose)
{
    char text[CBX_EXPOSE_TEXT_MAX];
    assert_true(cbx_expose_format(expose, text, sizeof text) >= 0);
    put_text(writer, writer->draft.expose != NULL ? writer->draft.expose : text);
}

static void
writer_sign(struct writer *writer, struct cbx_cert *out, size_t body, const struct cbx_keypair *key)
{
    uint8_t signature[64];
    (void)crypto_sign_detached(signature, NULL, out->bytes, body, key->secret_key);
    cbx_mpbuf_add(&writer->buffer, signature, sizeof signature);
    assert_false(writer->buffer.full);
    out->length = (uint16_t)writer->buffer.length;
}

static size_t
writer_tail(struct writer *writer)
{
    if (writer->draft.tail != NULL)
        cbx_mpbuf_add(&writer->buffer, writer->draft.tail, strlen(writer->draft.tail));
    return writer->buffer.length;
}

static void
forge_invite(struct scene *scene, const struct draft *draft)
{
    const struct cbx_invite_cert *cert = &scene->invite;
    struct writer writer;
    writer_begin(&writer, draft, &scene->invite_bytes, "cbx invite 1", 11);
    put_text(&writer, cert->pond);
    put_text(&writer, cert->slug);
    put_text(&writer, cert->role);
    put_expose(&writer, &cert->expose);
    put_text(&writer, cert->labels);
    put_number(&writer, cert->uses);
    put_number(&writer, (int64_t)cert->serial);
    put_number(&writer, cert->issued);
    put_number(&writer, cert->join_by);
    put_number(&writer, cert->ends);
    put_key(&writer, cert->signing_key);
    writer_sign(&writer, &scene->invite_bytes, writer_tail(&writer), &scene->pond);
}

static void
forge_peer(struct scene *scene, const struct draft *draft)
{
    const struct cbx_peer_cert *cert = &scene->peer;
    struct writer writer;
    writer_begin(&writer, draft, &scene->peer_bytes, "cbx peer 1", 8);
    put_text(&writer, cert->pond);
    put_text(&writer, cert->slug);
    put_key(&writer, cert->identity);
    put_key(&writer, cert->exchange);
    put_expose(&writer, &cert->expose);
    put_number(&writer, cert->issued);
    put_number(&writer, cert->ends);
    put_key(&writer, cert->invite_hash);
    size_t body = writer_tail(&writer);
    writer_sign(&writer, &scene->peer_bytes, body, &scene->signing);
    writer_sign(&writer, &scene->peer_bytes, body, &scene->lease.sign);
}

/* A changed invite, with a peer certificate that names its hash. */
static void
forge_both(struct scene *scene)
{
    forge_invite(scene, &legal);
    cbx_cert_hash(scene->invite_bytes.bytes, scene->invite_bytes.length, scene->peer.invite_hash);
    forge_peer(scene, &legal);
}

/* What is right. */

static void
a_chain_opens_and_gives_back_every_field(void **state)
{
    struct scene *scene = *state;
    struct cbx_invite_cert invite;
    struct cbx_peer_cert peer;
    assert_int_equal(cbx_chain_open(&scene->invite_bytes, &scene->peer_bytes,
                                    scene->pond.public_key, NOW, &invite, &peer, NULL),
                     0);
    assert_memory_equal(&invite, &scene->invite, sizeof invite);
    assert_memory_equal(&peer, &scene->peer, sizeof peer);
}

static void
an_invite_opens_alone(void **state)
{
    struct scene *scene = *state;
    struct cbx_invite_cert invite;
    assert_int_equal(cbx_invite_cert_open(scene->invite_bytes.bytes, scene->invite_bytes.length,
                                          scene->pond.public_key, &invite, NULL),
                     0);
    assert_memory_equal(&invite, &scene->invite, sizeof invite);
}

static void
the_bytes_are_those_of_the_protocol(void **state)
{
    struct scene *scene = *state;
    struct cbx_cert invite = scene->invite_bytes;
    struct cbx_cert peer = scene->peer_bytes;
    assert_memory_equal(invite.bytes,
                        "cbx invite 1\x9b\xa4"
                        "demo\xa3web\xa0\xb8"
                        "5432=10",
                        31);
    forge_both(scene);
    assert_memory_equal(&invite, &scene->invite_bytes, sizeof invite);
    assert_memory_equal(&peer, &scene->peer_bytes, sizeof peer);
}

/* Another writer's spelling of the same numbers: encoded again the body would be another one. */
static void
signatures_are_verified_over_the_bytes_received(void **state)
{
    struct scene *scene = *state;
    static const struct draft wide = {.nil_field = NO_FIELD, .wide_numbers = 1};
    uint16_t usual = scene->invite_bytes.length;
    forge_invite(scene, &wide);
    assert_true(scene->invite_bytes.length > usual);
    cbx_cert_hash(scene->invite_bytes.bytes, scene->invite_bytes.length, scene->peer.invite_hash);
    forge_peer(scene, &wide);
    struct cbx_invite_cert invite;
    struct cbx_peer_cert peer;
    assert_int_equal(cbx_chain_open(&scene->invite_bytes, &scene->peer_bytes,
                                    scene->pond.public_key, NOW, &invite, &peer, NULL),
                     0);
    assert_memory_equal(&invite, &scene->invite, sizeof invite);
    assert_memory_equal(&peer, &scene->peer, sizeof peer);
}

static void
a_role_invite_opens(void **state)
{
    struct scene *scene = *state;
    struct cbx_cert cert;
    scene->invite.slug[0] = '\0';
    SET(scene->invite.role, "worker");
    scene->invite.uses = 20;
    assert_int_equal(cbx_invite_cert_sign(&scene->invite, &scene->pond, &cert), 0);
    assert_int_equal(open_invite(scene, &cert), 0);
}

static void
the_largest_certificates_fit(void **state)
{
    struct scene *scene = *state;
    struct cbx_cert cert;
    memset(scene->invite.labels, 'x', CBX_LABELS_TEXT_MAX);
    scene->invite.labels[1] = '=';
    scene->invite.serial = UINT64_MAX;
    for (int port = 10000; port < 10044; port++) {
        char spec[32];
        (void)snprintf(spec, sizeof spec, "%d=10.0.0.1:9", port);
        assert_int_equal(cbx_expose_add(&scene->invite.expose, spec, NULL), 0);
    }
    assert_int_equal(cbx_invite_cert_sign(&scene->invite, &scene->pond, &cert), 0);
    assert_int_equal(open_invite(scene, &cert), 0);
}

static void
either_out_may_be_missing(void **state)
{
    assert_int_equal(open_chain(*state, NOW), 0);
}

/* Signatures. */

static void
every_flipped_bit_of_the_invite_is_found(void **state)
{
    struct scene *scene = *state;
    for (size_t i = 0; i < scene->invite_bytes.length; i++) {
        uint8_t bit = (uint8_t)(1u << (i % 8));
        scene->invite_bytes.bytes[i] ^= bit;
        assert_int_not_equal(open_invite(scene, &scene->invite_bytes), 0);
        assert_int_not_equal(open_chain(scene, NOW), 0);
        scene->invite_bytes.bytes[i] ^= bit;
    }
    assert_int_equal(open_chain(scene, NOW), 0);
}

static void
every_flipped_bit_of_the_peer_certificate_is_found(void **state)
{
    struct scene *scene = *state;
    for (size_t i = 0; i < scene->peer_bytes.length; i++) {
        uint8_t bit = (uint8_t)(1u << (i % 8));
        scene->peer_bytes.bytes[i] ^= bit;
        assert_int_not_equal(open_chain(scene, NOW), 0);
        scene->peer_bytes.bytes[i] ^= bit;
    }
    assert_int_equal(open_chain(scene, NOW), 0);
}

static void
certificates_cut_anywhere_are_refused(void **state)
{
    struct scene *scene = *state;
    uint16_t length = scene->invite_bytes.length;
    for (scene->invite_bytes.length = 0; scene->invite_bytes.length < length;
         scene->invite_bytes.length++)
        assert_int_not_equal(open_chain(scene, NOW), 0);
    length = scene->peer_bytes.length;
    for (scene->peer_bytes.length = 0; scene->peer_bytes.length < length;
         scene->peer_bytes.length++)
        assert_int_not_equal(open_chain(scene, NOW), 0);
}

static void
bytes_behind_the_signature_are_refused(void **state)
{
    struct scene *scene = *state;
    scene->invite_bytes.length++;
    assert_int_equal(open_invite(scene, &scene->invite_bytes), CBX_ERR_AUTH);
}

static void
signed_bytes_behind_the_array_are_refused(void **state)
{
    struct scene *scene = *state;
    struct draft draft = legal;
    draft.tail = "x";
    forge_invite(scene, &draft);
    assert_int_equal(open_invite(scene, &scene->invite_bytes), CBX_ERR_FORMAT);
    assert_int_equal(setup(state), 0);
    free(scene);
    scene = *state;
    forge_peer(scene, &draft);
    assert_int_equal(open_chain(scene, NOW), CBX_ERR_FORMAT);
}

static void
a_length_beyond_the_object_is_refused(void **state)
{
    struct scene *scene = *state;
    scene->peer_bytes.length = UINT16_MAX;
    assert_int_equal(open_chain(scene, NOW), CBX_ERR_FORMAT);
    scene->invite_bytes.length = CBX_CERT_MAX + 1;
    assert_int_equal(open_chain(scene, NOW), CBX_ERR_FORMAT);
}

static void
another_ponds_key_is_refused(void **state)
{
    struct scene *scene = *state;
    cbx_keypair_random(&scene->pond);
    assert_int_equal(open_invite(scene, &scene->invite_bytes), CBX_ERR_AUTH);
    assert_int_equal(open_chain(scene, NOW), CBX_ERR_AUTH);
}

static void
a_peer_not_signed_by_the_invites_key_is_refused(void **state)
{
    struct scene *scene = *state;
    cbx_keypair_random(&scene->signing);
    forge_peer(scene, &legal);
    assert_int_equal(open_chain(scene, NOW), CBX_ERR_AUTH);
}

static void
a_peer_not_signed_by_its_own_identity_is_refused(void **state)
{
    struct scene *scene = *state;
    cbx_keypair_random(&scene->lease.sign);
    forge_peer(scene, &legal);
    assert_int_equal(open_chain(scene, NOW), CBX_ERR_AUTH);
}

static void
the_two_signatures_do_not_change_places(void **state)
{
    struct scene *scene = *state;
    uint8_t *first = scene->peer_bytes.bytes + scene->peer_bytes.length - 128;
    uint8_t swap[64];
    memcpy(swap, first, 64);
    memmove(first, first + 64, 64);
    memcpy(first + 64, swap, 64);
    assert_int_equal(open_chain(scene, NOW), CBX_ERR_AUTH);
}

static void
an_invite_is_no_peer_and_a_peer_no_invite(void **state)
{
    struct scene *scene = *state;
    struct cbx_cert invite = scene->invite_bytes;
    assert_int_equal(open_invite(scene, &scene->peer_bytes), CBX_ERR_AUTH);
    scene->invite_bytes = scene->peer_bytes;
    assert_int_equal(open_chain(scene, NOW), CBX_ERR_AUTH);
    scene->invite_bytes = invite;
    scene->peer_bytes = invite;
    assert_int_equal(open_chain(scene, NOW), CBX_ERR_AUTH);
}

static void
another_context_is_refused_though_signed(void **state)
{
    struct scene *scene = *state;
    struct draft draft = legal;
    draft.context = "cbx renew 1";
    forge_invite(scene, &draft);
    assert_int_equal(open_invite(scene, &scene->invite_bytes), CBX_ERR_AUTH);
}

static void
unknown_versions_are_refused_as_such(void **state)
{
    struct scene *scene = *state;
    static const char *const invites[] = {"cbx invite 2", "cbx invite 0", "cbx invite 10",
                                          "cbx invite 12"};
    static const char *const peers[] = {"cbx peer 2", "cbx peer 11"};
    struct draft draft = legal;
    struct cbx_cert good = scene->invite_bytes;
    struct cbx_invite_cert out;
    struct cbx_error error;
    for (size_t i = 0; i < sizeof invites / sizeof invites[0]; i++) {
        draft.context = invites[i];
        forge_invite(scene, &draft);
        assert_int_equal(cbx_invite_cert_open(scene->invite_bytes.bytes, scene->invite_bytes.length,
                                              scene->pond.public_key, &out, &error),
                         CBX_ERR_FORMAT);
        assert_non_null(strstr(error.text, "unknown version"));
    }
    scene->invite_bytes = good;
    for (size_t i = 0; i < sizeof peers / sizeof peers[0]; i++) {
        draft.context = peers[i];
        forge_peer(scene, &draft);
        assert_int_equal(open_chain(scene, NOW), CBX_ERR_FORMAT);
    }
}

/* Shape. */

static void
every_field_must_have_its_type(void **state)
{
    struct scene *scene = *state;
    struct draft draft = legal;
    struct cbx_cert good = scene->invite_bytes;
    for (draft.nil_field = 0; draft.nil_field < 11; draft.nil_field++) {
        forge_invite(scene, &draft);
        assert_int_equal(open_invite(scene, &scene->invite_bytes), CBX_ERR_FORMAT);
    }
    scene->invite_bytes = good;
    for (draft.nil_field = 0; draft.nil_field < 8; draft.nil_field++) {
        forge_peer(scene, &draft);
        assert_int_equal(open_chain(scene, NOW), CBX_ERR_FORMAT);
    }
}

static void
arrays_have_exactly_the_elements_listed(void **state)
{
    struct scene *scene = *state;
    static const struct draft more = {.elements = 12, .nil_field = NO_FIELD, .tail = "\x01"};
    static const struct draft fewer = {.elements = 10, .nil_field = NO_FIELD};
    static const struct draft missing = {.elements = 12, .nil_field = NO_FIELD};
    static const struct draft *const all[] = {&more, &fewer, &missing};
    for (size_t i = 0; i < 3; i++) {
        forge_invite(scene, all[i]);
        assert_int_equal(open_invite(scene, &scene->invite_bytes), CBX_ERR_FORMAT);
    }
}

static void
short_keys_are_refused(void **state)
{
    struct scene *scene = *state;
    struct draft draft = legal;
    draft.short_key = 1;
    forge_peer(scene, &draft);
    assert_int_equal(open_chain(scene, NOW), CBX_ERR_FORMAT);
    forge_invite(scene, &draft);
    assert_int_equal(open_invite(scene, &scene->invite_bytes), CBX_ERR_FORMAT);
}

static void
bad_expose_lists_are_refused_though_signed(void **state)
{
    struct scene *scene = *state;
    static const char *const bad[] = {"0", "80,", "80,80=10.0.0.1:80", "80=web:80", "\n"};
    struct draft draft = legal;
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        draft.expose = bad[i];
        forge_invite(scene, &draft);
        assert_int_equal(open_invite(scene, &scene->invite_bytes), CBX_ERR_FORMAT);
    }
}

/* Both the signer and the opener refuse the invite as it stands. */
static void
expect_illegal_invite(struct scene *scene)
{
    struct cbx_cert cert;
    assert_int_equal(cbx_invite_cert_sign(&scene->invite, &scene->pond, &cert), CBX_ERR_FORMAT);
    forge_invite(scene, &legal);
    assert_int_equal(open_invite(scene, &scene->invite_bytes), CBX_ERR_FORMAT);
}

static void
illegal_names_in_an_invite_are_refused(void **state)
{
    struct scene *scene = *state;
    static const char *const bad[] = {"Web", "-web", "web-", "we b", "web.cbx", "w\x1b[2J"};
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        SET(scene->invite.slug, bad[i]);
        expect_illegal_invite(scene);
    }
    SET(scene->invite.slug, "web");
    SET(scene->invite.pond, "");
    expect_illegal_invite(scene);
    SET(scene->invite.pond, "De");
    expect_illegal_invite(scene);
}

static void
an_invite_names_a_slug_or_a_role(void **state)
{
    struct scene *scene = *state;
    SET(scene->invite.role, "worker");
    expect_illegal_invite(scene);
    scene->invite.slug[0] = '\0';
    SET(scene->invite.role, "a234567890123456789012345678");
    expect_illegal_invite(scene);
    SET(scene->invite.role, "Worker");
    expect_illegal_invite(scene);
    scene->invite.role[0] = '\0';
    expect_illegal_invite(scene);
}

static void
a_slug_means_one_use(void **state)
{
    struct scene *scene = *state;
    scene->invite.uses = 2;
    expect_illegal_invite(scene);
    scene->invite.uses = 0;
    expect_illegal_invite(scene);
}

static void
illegal_labels_are_refused(void **state)
{
    struct scene *scene = *state;
    static const char *const bad[] = {"k",     "=v",   "k=v,",   ",k=v",       "k=v,,l=w",
                                      "k=v,l", "k=\n", "k=\x7f", "k=\xc3\xbc", "k=v\x1b"};
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        assert_false(cbx_labels_valid(bad[i], strlen(bad[i])));
        SET(scene->invite.labels, bad[i]);
        expect_illegal_invite(scene);
    }
}

static void
legal_labels_are_taken(void **state)
{
    (void)state;
    static const char *const good[] = {"", "k=", "k=v", "k=v,l=w", "k=a=b c"};
    char longest[CBX_LABELS_TEXT_MAX + 2];
    for (size_t i = 0; i < sizeof good / sizeof good[0]; i++)
        assert_true(cbx_labels_valid(good[i], strlen(good[i])));
    memset(longest, '=', sizeof longest);
    longest[0] = 'k';
    assert_true(cbx_labels_valid(longest, CBX_LABELS_TEXT_MAX));
    assert_false(cbx_labels_valid(longest, CBX_LABELS_TEXT_MAX + 1));
    assert_false(cbx_labels_valid("k=\0", 3));
}

static void
times_that_are_none_are_refused(void **state)
{
    struct scene *scene = *state;
    scene->invite.ends = -1;
    expect_illegal_invite(scene);
    scene->invite.ends = INT64_MAX;
    expect_illegal_invite(scene);
    scene->invite.ends = NOW;
    scene->invite.issued = INT64_MIN;
    expect_illegal_invite(scene);
    scene->invite.issued = NOW;
    scene->invite.join_by = -5;
    expect_illegal_invite(scene);
}

/* Both the signer and the opener refuse the peer certificate as it stands. */
static void
expect_illegal_peer(struct scene *scene)
{
    struct cbx_cert cert;
    assert_int_equal(cbx_peer_cert_sign(&scene->peer, &scene->signing, &scene->lease.sign, &cert),
                     CBX_ERR_FORMAT);
    forge_peer(scene, &legal);
    assert_int_equal(open_chain(scene, NOW), CBX_ERR_FORMAT);
}

static void
illegal_names_in_a_peer_certificate_are_refused(void **state)
{
    struct scene *scene = *state;
    SET(scene->peer.slug, "WEB");
    expect_illegal_peer(scene);
    SET(scene->peer.slug, "");
    expect_illegal_peer(scene);
    SET(scene->peer.slug, "web");
    SET(scene->peer.pond, "de mo");
    expect_illegal_peer(scene);
}

static void
low_order_exchange_keys_are_refused(void **state)
{
    struct scene *scene = *state;
    static const char *const bad[] = {
        "0000000000000000000000000000000000000000000000000000000000000000",
        "0100000000000000000000000000000000000000000000000000000000000000",
        "e0eb7a7c3b41b8ae1656e3faf19fc46ada098deb9c32b1fd866205165f49b800",
        "5f9c95bca3508c24b1d0b1559c83ef5b04445cc4581c8e86d8224eddd09f1157",
        "ecffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
        "edffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
        "eeffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
    };
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        assert_int_equal(sodium_hex2bin(scene->peer.exchange, 32, bad[i], 64, NULL, NULL, NULL), 0);
        expect_illegal_peer(scene);
        scene->peer.exchange[31] |= 0x80;
        expect_illegal_peer(scene);
    }
}

static void
second_spellings_of_an_exchange_key_are_refused(void **state)
{
    struct scene *scene = *state;
    scene->peer.exchange[31] |= 0x80;
    expect_illegal_peer(scene);
    memset(scene->peer.exchange, 0xff, 32); /* 9 + p: the base point, not reduced */
    scene->peer.exchange[0] = 0xf6;
    scene->peer.exchange[31] = 0x7f;
    expect_illegal_peer(scene);
    scene->peer.exchange[0] = 0xea; /* p - 3: the greatest that is fine */
    forge_peer(scene, &legal);
    assert_int_equal(open_chain(scene, NOW), 0);
}

/* The rules between the two, each broken alone. */

static void
another_invites_hash_is_refused(void **state)
{
    struct scene *scene = *state;
    scene->peer.invite_hash[31] ^= 1;
    forge_peer(scene, &legal);
    assert_int_equal(open_chain(scene, NOW), CBX_ERR_AUTH);
}

static void
a_newer_invite_with_the_same_signing_key_is_refused(void **state)
{
    struct scene *scene = *state;
    scene->invite.serial++;
    forge_invite(scene, &legal);
    assert_int_equal(open_chain(scene, NOW), CBX_ERR_AUTH);
}

static void
another_pond_is_refused(void **state)
{
    struct scene *scene = *state;
    SET(scene->peer.pond, "prod");
    forge_peer(scene, &legal);
    assert_int_equal(open_chain(scene, NOW), CBX_ERR_AUTH);
}

static void
another_slug_is_refused(void **state)
{
    struct scene *scene = *state;
    SET(scene->peer.slug, "web2");
    forge_peer(scene, &legal);
    assert_int_equal(open_chain(scene, NOW), CBX_ERR_AUTH);
}

static void
a_slug_under_a_role_invite_is_refused(void **state)
{
    struct scene *scene = *state;
    scene->invite.slug[0] = '\0';
    SET(scene->invite.role, "web");
    forge_both(scene);
    assert_int_equal(open_chain(scene, NOW), CBX_ERR_AUTH);
}

static void
exposing_more_than_the_invite_is_refused(void **state)
{
    struct scene *scene = *state;
    static const char *const bad[] = {"8081", "8080,22", "8080=10.0.0.1:8080", "5432",
                                      "8080=127.0.0.1:22"};
    struct draft draft = legal;
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        draft.expose = bad[i];
        forge_peer(scene, &draft);
        assert_int_equal(open_chain(scene, NOW), CBX_ERR_AUTH);
    }
    draft.expose = "5432=10.83.0.7:5432";
    forge_peer(scene, &draft);
    assert_int_equal(open_chain(scene, NOW), 0);
    draft.expose = "";
    forge_peer(scene, &draft);
    assert_int_equal(open_chain(scene, NOW), 0);
}

static void
ending_after_the_invite_is_refused(void **state)
{
    struct scene *scene = *state;
    scene->peer.ends = scene->invite.ends + 1;
    forge_peer(scene, &legal);
    assert_int_equal(open_chain(scene, NOW), CBX_ERR_AUTH);
}

static void
the_end_has_five_minutes_grace(void **state)
{
    struct scene *scene = *state;
    int64_t last = scene->peer.ends + CBX_CLOCK_GRACE_S;
    assert_int_equal(open_chain(scene, last), 0);
    assert_int_equal(open_chain(scene, last + 1), CBX_ERR_EXPIRED);
    assert_int_equal(open_chain(scene, INT64_MAX), CBX_ERR_EXPIRED);
    assert_int_equal(open_chain(scene, 0), 0);
}

static void
the_peers_own_earlier_end_counts(void **state)
{
    struct scene *scene = *state;
    scene->peer.ends = NOW + DAY;
    forge_peer(scene, &legal);
    assert_int_equal(open_chain(scene, NOW + 2 * DAY), CBX_ERR_EXPIRED);
}

static void
expired_is_said_only_when_time_alone_is_wrong(void **state)
{
    struct scene *scene = *state;
    SET(scene->peer.slug, "web2");
    forge_peer(scene, &legal);
    assert_int_equal(open_chain(scene, INT64_MAX), CBX_ERR_AUTH);
}

static void
the_join_window_is_not_the_peers_business(void **state)
{
    struct scene *scene = *state;
    assert_int_equal(open_chain(scene, scene->invite.join_by + DAY), 0);
}

static void
a_refused_chain_writes_nothing(void **state)
{
    struct scene *scene = *state;
    struct cbx_invite_cert invite = {.uses = 77};
    struct cbx_peer_cert peer = {.issued = 77};
    assert_int_equal(cbx_chain_open(&scene->invite_bytes, &scene->peer_bytes,
                                    scene->pond.public_key, INT64_MAX, &invite, &peer, NULL),
                     CBX_ERR_EXPIRED);
    assert_int_equal(invite.uses, 77);
    assert_int_equal(peer.issued, 77);
}

static void
the_chain_hash_is_that_of_the_protocol(void **state)
{
    struct scene *scene = *state;
    uint8_t text[11 + 8 + 2 * CBX_CERT_MAX];
    uint8_t wanted[32];
    uint8_t hash[32];
    size_t length = 11;
    const struct cbx_cert *const both[] = {&scene->invite_bytes, &scene->peer_bytes};
    memcpy(text, "cbx chain 1", 11);
    for (size_t i = 0; i < 2; i++) {
        text[length++] = 0;
        text[length++] = 0;
        text[length++] = (uint8_t)(both[i]->length / 256);
        text[length++] = (uint8_t)(both[i]->length % 256);
        memcpy(text + length, both[i]->bytes, both[i]->length);
        length += both[i]->length;
    }
    (void)crypto_generichash(wanted, 32, text, length, NULL, 0);
    cbx_chain_hash(&scene->invite_bytes, &scene->peer_bytes, hash);
    assert_memory_equal(hash, wanted, 32);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int
main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(a_chain_opens_and_gives_back_every_field),
        TEST(an_invite_opens_alone),
        TEST(the_bytes_are_those_of_the_protocol),
        TEST(signatures_are_verified_over_the_bytes_received),
        TEST(a_role_invite_opens),
        TEST(the_largest_certificates_fit),
        TEST(either_out_may_be_missing),
        TEST(every_flipped_bit_of_the_invite_is_found),
        TEST(every_flipped_bit_of_the_peer_certificate_is_found),
        TEST(certificates_cut_anywhere_are_refused),
        TEST(bytes_behind_the_signature_are_refused),
        TEST(signed_bytes_behind_the_array_are_refused),
        TEST(a_length_beyond_the_object_is_refused),
        TEST(another_ponds_key_is_refused),
        TEST(a_peer_not_signed_by_the_invites_key_is_refused),
        TEST(a_peer_not_signed_by_its_own_identity_is_refused),
        TEST(the_two_signatures_do_not_change_places),
        TEST(an_invite_is_no_peer_and_a_peer_no_invite),
        TEST(another_context_is_refused_though_signed),
        TEST(unknown_versions_are_refused_as_such),
        TEST(every_field_must_have_its_type),
        TEST(arrays_have_exactly_the_elements_listed),
        TEST(short_keys_are_refused),
        TEST(bad_expose_lists_are_refused_though_signed),
        TEST(illegal_names_in_an_invite_are_refused),
        TEST(an_invite_names_a_slug_or_a_role),
        TEST(a_slug_means_one_use),
        TEST(illegal_labels_are_refused),
        TEST(legal_labels_are_taken),
        TEST(times_that_are_none_are_refused),
        TEST(illegal_names_in_a_peer_certificate_are_refused),
        TEST(low_order_exchange_keys_are_refused),
        TEST(second_spellings_of_an_exchange_key_are_refused),
        TEST(another_invites_hash_is_refused),
        TEST(a_newer_invite_with_the_same_signing_key_is_refused),
        TEST(another_pond_is_refused),
        TEST(another_slug_is_refused),
        TEST(a_slug_under_a_role_invite_is_refused),
        TEST(exposing_more_than_the_invite_is_refused),
        TEST(ending_after_the_invite_is_refused),
        TEST(the_end_has_five_minutes_grace),
        TEST(the_peers_own_earlier_end_counts),
        TEST(expired_is_said_only_when_time_alone_is_wrong),
        TEST(the_join_window_is_not_the_peers_business),
        TEST(a_refused_chain_writes_nothing),
        TEST(the_chain_hash_is_that_of_the_protocol),
    };
    if (sodium_init() < 0)
        return 1;
    return cmocka_run_group_tests(tests, NULL, NULL);
}
