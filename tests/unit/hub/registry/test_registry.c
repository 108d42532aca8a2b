/* SPDX-License-Identifier: MIT */
#include "registry_fixture.h"

static const int64_t now = 1700000000;

/* Adding invites. */

static void
an_invite_is_found_by_its_login_key(void **state)
{
    struct fixture *f = *state;
    struct fixture_invite invite;
    struct reg_invite *registered = fixture_invited(f, &invite, "web", 7);
    assert_string_equal(registered->pond, "demo");
    assert_string_equal(registered->slug, "web");
    assert_int_equal(registered->serial, 7);
    assert_int_equal(registered->join_by, now + 900);
    assert_int_equal(strlen(registered->id), 16);
    struct reg_login login = registry_login(f->registry, registered->fingerprint);
    assert_int_equal(login.kind, REG_LOGIN_INVITE);
    assert_ptr_equal(login.invite, registered);
    assert_null(login.peer);
}

static void
a_cut_or_longer_fingerprint_finds_nobody(void **state)
{
    struct fixture *f = *state;
    struct fixture_invite invite;
    char text[2 * CBX_FINGERPRINT_TEXT_MAX];
    (void)snprintf(text, sizeof text, "%s=", fixture_invited(f, &invite, "web", 7)->fingerprint);
    assert_int_equal(registry_login(f->registry, text).kind, REG_LOGIN_NONE);
    text[strlen(text) - 2] = '\0';
    assert_int_equal(registry_login(f->registry, text).kind, REG_LOGIN_NONE);
    assert_int_equal(registry_login(f->registry, "").kind, REG_LOGIN_NONE);
}

static void
an_invite_of_another_signer_is_refused(void **state)
{
    struct fixture *f = *state;
    struct fixture_invite invite;
    struct reg_invite *out;
    fixture_invite_make(f, &invite, "demo", "web", 7);
    invite.cert.bytes[invite.cert.length - 1] ^= 1;
    assert_int_equal(fixture_add_at(f, &invite, now, &out), CBX_ERR_AUTH);
    assert_null(out);
    assert_null(registry_invites(f->registry));
}

static void
a_known_pond_keeps_its_key(void **state)
{
    struct fixture *f = *state;
    struct fixture_invite invite;
    struct reg_invite *out;
    (void)fixture_invited(f, &invite, "web", 7);
    cbx_keypair_random(&f->pond);
    fixture_invite_make(f, &invite, "demo", "api", 8);
    assert_int_equal(fixture_add_at(f, &invite, now, &out), CBX_ERR_AUTH);
    assert_non_null(strstr(f->error.text, "another key"));
    fixture_invite_make(f, &invite, "other", "api", 8);
    assert_int_equal(fixture_add_at(f, &invite, now, &out), 0);
}

static void
a_pond_without_members_may_begin_anew(void **state)
{
    struct fixture *f = *state;
    struct fixture_invite invite;
    struct reg_invite *out = fixture_invited(f, &invite, "web", 7);
    assert_int_equal(registry_drop_invite(f->registry, out->id, NULL), 0);
    cbx_keypair_random(&f->pond);
    (void)fixture_invited(f, &invite, "web", 6);
}

static void
a_newer_invite_replaces_an_open_one(void **state)
{
    struct fixture *f = *state;
    struct fixture_invite old, new;
    (void)fixture_invited(f, &old, "web", 7);
    struct reg_invite *out = fixture_invited(f, &new, "web", 8);
    assert_ptr_equal(registry_invites(f->registry), out);
    assert_null(out->next);
    char fingerprint[CBX_FINGERPRINT_TEXT_MAX];
    cbx_ssh_fingerprint(old.login.public_key, fingerprint);
    assert_int_equal(registry_login(f->registry, fingerprint).kind, REG_LOGIN_NONE);
}

static void
an_invite_that_is_not_newer_is_refused(void **state)
{
    struct fixture *f = *state;
    struct fixture_invite invite;
    struct reg_invite *out;
    (void)fixture_invited(f, &invite, "web", 7);
    assert_int_equal(fixture_add_at(f, &invite, now, &out), CBX_ERR_EXISTS);
    fixture_invite_make(f, &invite, "demo", "web", 6);
    assert_int_equal(fixture_add_at(f, &invite, now, &out), CBX_ERR_EXISTS);
    fixture_invite_make(f, &invite, "demo", "api", 6);
    assert_int_equal(fixture_add_at(f, &invite, now, &out), 0);
}

static void
a_used_invite_cannot_be_registered_again(void **state)
{
    struct fixture *f = *state;
    struct fixture_invite invite;
    struct fixture_joined joined;
    struct cbx_identity identity;
    struct reg_invite *out = fixture_invited(f, &invite, "web", 7);
    cbx_identity_random(&identity);
    assert_int_equal(fixture_join(f, out, &invite, &identity, &joined), 0);
    assert_true(registry_burn(f->registry, joined.peer));
    assert_int_equal(fixture_add_at(f, &invite, now, &out), CBX_ERR_EXISTS);
}

static void
an_invite_past_its_window_is_refused(void **state)
{
    struct fixture *f = *state;
    struct fixture_invite invite;
    struct reg_invite *out;
    fixture_invite_make(f, &invite, "demo", "web", 7);
    assert_int_equal(fixture_add_at(f, &invite, now + 901, &out), CBX_ERR_EXPIRED);
    assert_int_equal(fixture_add_at(f, &invite, now + 900, &out), 0);
}

static void
a_role_invite_is_refused(void **state)
{
    struct fixture *f = *state;
    struct fixture_invite invite;
    struct reg_invite *out;
    fixture_invite_make(f, &invite, "demo", "web", 7);
    invite.fields.slug[0] = '\0';
    (void)snprintf(invite.fields.role, sizeof invite.fields.role, "worker");
    fixture_invite_sign(f, &invite);
    assert_int_equal(fixture_add_at(f, &invite, now, &out), CBX_ERR_USAGE);
}

static void
a_login_key_belongs_to_one_invite(void **state)
{
    struct fixture *f = *state;
    struct fixture_invite first, second;
    struct reg_invite *out;
    (void)fixture_invited(f, &first, "web", 7);
    fixture_invite_make(f, &second, "demo", "api", 8);
    second.login = first.login;
    assert_int_equal(fixture_add_at(f, &second, now, &out), CBX_ERR_EXISTS);
}

static void
a_login_key_that_is_no_point_is_refused(void **state)
{
    struct fixture *f = *state;
    struct fixture_invite invite;
    struct reg_invite *out;
    fixture_invite_make(f, &invite, "demo", "web", 7);
    memset(invite.login.public_key, 0, 32);
    assert_int_equal(fixture_add_at(f, &invite, now, &out), CBX_ERR_FORMAT);
}

static void
an_invite_is_dropped_by_a_unique_prefix(void **state)
{
    struct fixture *f = *state;
    struct fixture_invite invite;
    struct reg_invite *out = fixture_invited(f, &invite, "web", 7);
    char prefix[5];
    (void)snprintf(prefix, sizeof prefix, "%.4s", out->id);
    assert_int_equal(registry_drop_invite(f->registry, "abc", &f->error), CBX_ERR_USAGE);
    assert_int_equal(registry_drop_invite(f->registry, "not-there", &f->error), CBX_ERR_NOTFOUND);
    assert_int_equal(registry_drop_invite(f->registry, prefix, &f->error), 0);
    assert_null(registry_invites(f->registry));
}

static void
an_ambiguous_prefix_drops_nothing(void **state)
{
    struct fixture *f = *state;
    struct fixture_invite first, second;
    struct reg_invite *a = fixture_invited(f, &first, "web", 7);
    struct reg_invite *b = fixture_invited(f, &second, "api", 8);
    memcpy(a->id, "abcd", 4);
    memcpy(b->id, "abcd", 4);
    assert_int_equal(registry_drop_invite(f->registry, "abcd", &f->error), CBX_ERR_USAGE);
    assert_ptr_equal(registry_invites(f->registry), a);
    assert_ptr_equal(a->next, b);
}

/* Joining. */

static void
a_join_records_the_peer(void **state)
{
    struct fixture *f = *state;
    struct fixture_invite invite;
    struct fixture_joined joined;
    struct cbx_identity identity;
    struct reg_invite *out = fixture_invited(f, &invite, "web", 7);
    cbx_identity_random(&identity);
    assert_int_equal(fixture_join(f, out, &invite, &identity, &joined), 0);
    assert_int_equal(joined.reason, CBX_REASON_NONE);
    assert_null(joined.replaced);
    const struct reg_peer *peer = joined.peer;
    assert_ptr_equal(registry_peer(f->registry, "demo", "web"), peer);
    assert_ptr_equal(registry_login(f->registry, peer->fingerprint).peer, peer);
    assert_int_equal(registry_login(f->registry, peer->fingerprint).kind, REG_LOGIN_PEER);
    assert_string_equal(peer->ports, "5432,8080");
    assert_string_equal(peer->labels, "zone=a");
    assert_int_equal(peer->serial, 7);
    assert_int_equal(peer->generation, 0);
    assert_int_equal(peer->joined, now + 1);
    assert_true(reg_peer_exposes(peer, 8080));
    assert_true(reg_peer_exposes(peer, 5432));
    assert_false(reg_peer_exposes(peer, 80));
    assert_int_equal(out->state, REG_INVITE_JOINED);
}

static void
the_same_join_again_changes_nothing(void **state)
{
    struct fixture *f = *state;
    struct fixture_invite invite;
    struct fixture_joined first, second;
    struct cbx_identity identity;
    struct reg_invite *out = fixture_invited(f, &invite, "web", 7);
    cbx_identity_random(&identity);
    assert_int_equal(fixture_join(f, out, &invite, &identity, &first), 0);
    assert_int_equal(fixture_join(f, out, &invite, &identity, &second), 0);
    assert_ptr_equal(first.peer, second.peer);
    assert_null(second.replaced);
}

static void
the_same_identity_may_submit_another_certificate(void **state)
{
    struct fixture *f = *state;
    struct fixture_invite invite;
    struct fixture_joined first, second;
    struct cbx_identity identity;
    struct cbx_peer_cert fields;
    struct cbx_cert cert;
    struct reg_invite *out = fixture_invited(f, &invite, "web", 7);
    cbx_identity_random(&identity);
    assert_int_equal(fixture_join(f, out, &invite, &identity, &first), 0);
    first.peer->generation = 41;
    fixture_peer_fields(&invite, &identity, &fields);
    fields.issued++;
    fixture_peer_sign(&invite, &identity, &fields, &cert);
    assert_int_equal(fixture_submit(f, out, &cert, now, &second), 0);
    assert_ptr_equal(second.replaced, first.peer);
    assert_null(second.replaced->next);
    assert_int_equal(second.peer->generation, 41);
    assert_ptr_equal(registry_invites(f->registry), out);
    reg_peer_free(second.replaced);
}

static void
a_second_identity_under_a_joined_invite_is_told_used(void **state)
{
    struct fixture *f = *state;
    struct fixture_invite invite;
    struct fixture_joined joined, refused;
    struct cbx_identity identity, thief;
    struct reg_invite *out = fixture_invited(f, &invite, "web", 7);
    cbx_identity_random(&identity);
    cbx_identity_random(&thief);
    assert_int_equal(fixture_join(f, out, &invite, &identity, &joined), 0);
    assert_int_not_equal(fixture_join(f, out, &invite, &thief, &refused), 0);
    assert_int_equal(refused.reason, CBX_REASON_USED);
    assert_null(refused.peer);
    assert_ptr_equal(registry_peer(f->registry, "demo", "web"), joined.peer);
    assert_null(joined.peer->next);
}

static void
a_second_identity_under_a_used_invite_is_told_used(void **state)
{
    struct fixture *f = *state;
    struct fixture_invite invite;
    struct fixture_joined joined;
    struct cbx_identity identity, thief;
    struct reg_invite *out = fixture_invited(f, &invite, "web", 7);
    cbx_identity_random(&identity);
    cbx_identity_random(&thief);
    assert_int_equal(fixture_join(f, out, &invite, &identity, &joined), 0);
    out->state = REG_INVITE_USED;
    assert_int_not_equal(fixture_join(f, out, &invite, &thief, &joined), 0);
    assert_int_equal(joined.reason, CBX_REASON_USED);
}

static void
an_identity_with_another_exchange_key_is_denied(void **state)
{
    struct fixture *f = *state;
    struct fixture_invite web, api;
    struct fixture_joined joined;
    struct cbx_identity identity, other;
    struct reg_invite *first = fixture_invited(f, &web, "web", 7);
    struct reg_invite *second = fixture_invited(f, &api, "api", 8);
    cbx_identity_random(&identity);
    assert_int_equal(fixture_join(f, first, &web, &identity, &joined), 0);
    cbx_identity_random(&other);
    other.sign = identity.sign;
    assert_int_equal(fixture_join(f, second, &api, &other, &joined), CBX_ERR_AUTH);
    assert_int_equal(joined.reason, CBX_REASON_DENIED);
}

static void
an_exchange_key_of_another_identity_is_denied(void **state)
{
    struct fixture *f = *state;
    struct fixture_invite web, api;
    struct fixture_joined joined;
    struct cbx_identity identity, other;
    struct reg_invite *first = fixture_invited(f, &web, "web", 7);
    struct reg_invite *second = fixture_invited(f, &api, "api", 8);
    cbx_identity_random(&identity);
    assert_int_equal(fixture_join(f, first, &web, &identity, &joined), 0);
    other = identity;
    cbx_keypair_random(&other.sign);
    assert_int_equal(fixture_join(f, second, &api, &other, &joined), CBX_ERR_AUTH);
    assert_int_equal(joined.reason, CBX_REASON_DENIED);
    assert_int_equal(second->state, REG_INVITE_OPEN);
}

static void
an_exchange_key_of_one_and_identity_of_another_peer_are_denied(void **state)
{
    struct fixture *f = *state;
    struct fixture_invite web, api, mix;
    struct fixture_joined joined;
    struct cbx_identity a, b, mixed;
    struct reg_invite *first = fixture_invited(f, &web, "web", 7);
    struct reg_invite *second = fixture_invited(f, &api, "api", 8);
    struct reg_invite *third = fixture_invited(f, &mix, "mix", 9);
    cbx_identity_random(&a);
    cbx_identity_random(&b);
    assert_int_equal(fixture_join(f, first, &web, &a, &joined), 0);
    assert_int_equal(fixture_join(f, second, &api, &b, &joined), 0);
    mixed = a;
    memcpy(mixed.exchange_public, b.exchange_public, 32);
    assert_int_equal(fixture_join(f, third, &mix, &mixed, &joined), CBX_ERR_AUTH);
    assert_int_equal(joined.reason, CBX_REASON_DENIED);
}

static void
a_login_key_as_identity_is_denied(void **state)
{
    struct fixture *f = *state;
    struct fixture_invite invite;
    struct fixture_joined joined;
    struct cbx_identity identity;
    struct reg_invite *out = fixture_invited(f, &invite, "web", 7);
    cbx_identity_random(&identity);
    identity.sign = invite.login;
    assert_int_equal(fixture_join(f, out, &invite, &identity, &joined), CBX_ERR_AUTH);
    assert_int_equal(joined.reason, CBX_REASON_DENIED);
}

static void
a_join_after_the_window_is_expired(void **state)
{
    struct fixture *f = *state;
    struct fixture_invite invite;
    struct fixture_joined joined;
    struct cbx_identity identity;
    struct cbx_peer_cert fields;
    struct cbx_cert cert;
    struct reg_invite *out = fixture_invited(f, &invite, "web", 7);
    cbx_identity_random(&identity);
    fixture_peer_fields(&invite, &identity, &fields);
    fixture_peer_sign(&invite, &identity, &fields, &cert);
    assert_int_equal(fixture_submit(f, out, &cert, now + 901, &joined), CBX_ERR_EXPIRED);
    assert_int_equal(joined.reason, CBX_REASON_EXPIRED);
    assert_int_equal(fixture_submit(f, out, &cert, now + 900, &joined), 0);
}

static void
an_ended_peer_certificate_is_expired(void **state)
{
    struct fixture *f = *state;
    struct fixture_invite invite;
    struct fixture_joined joined;
    struct cbx_identity identity;
    struct cbx_peer_cert fields;
    struct cbx_cert cert;
    struct reg_invite *out = fixture_invited(f, &invite, "web", 7);
    cbx_identity_random(&identity);
    fixture_peer_fields(&invite, &identity, &fields);
    fields.ends = now - CBX_CLOCK_GRACE_S - 1;
    fixture_peer_sign(&invite, &identity, &fields, &cert);
    assert_int_equal(fixture_submit(f, out, &cert, now, &joined), CBX_ERR_EXPIRED);
    assert_int_equal(joined.reason, CBX_REASON_EXPIRED);
}

static void
a_certificate_for_another_slug_is_denied(void **state)
{
    struct fixture *f = *state;
    struct fixture_invite invite;
    struct fixture_joined joined;
    struct cbx_identity identity;
    struct cbx_peer_cert fields;
    struct cbx_cert cert;
    struct reg_invite *out = fixture_invited(f, &invite, "web", 7);
    cbx_identity_random(&identity);
    fixture_peer_fields(&invite, &identity, &fields);
    (void)snprintf(fields.slug, sizeof fields.slug, "api");
    fixture_peer_sign(&invite, &identity, &fields, &cert);
    assert_int_equal(fixture_submit(f, out, &cert, now, &joined), CBX_ERR_AUTH);
    assert_int_equal(joined.reason, CBX_REASON_DENIED);
}

static void
a_certificate_of_another_invite_is_denied(void **state)
{
    struct fixture *f = *state;
    struct fixture_invite web, api;
    struct fixture_joined joined;
    struct cbx_identity identity;
    (void)fixture_invited(f, &web, "web", 7);
    struct reg_invite *second = fixture_invited(f, &api, "api", 8);
    cbx_identity_random(&identity);
    assert_int_equal(fixture_join(f, second, &web, &identity, &joined), CBX_ERR_AUTH);
    assert_int_equal(joined.reason, CBX_REASON_DENIED);
}

static void
junk_is_a_protocol_error(void **state)
{
    struct fixture *f = *state;
    struct fixture_invite invite;
    struct fixture_joined joined;
    struct cbx_cert cert = {.length = 20};
    struct reg_invite *out = fixture_invited(f, &invite, "web", 7);
    assert_int_equal(fixture_submit(f, out, &cert, now, &joined), CBX_ERR_FORMAT);
    assert_int_equal(joined.reason, CBX_REASON_PROTOCOL);
    cert.length = 0;
    assert_int_equal(fixture_submit(f, out, &cert, now, &joined), CBX_ERR_FORMAT);
    assert_int_equal(registry_join(f->registry, out, cert.bytes, CBX_CERT_MAX + 1, now,
                                   &joined.peer, &joined.replaced, &joined.reason, NULL),
                     CBX_ERR_FORMAT);
    assert_int_equal(joined.reason, CBX_REASON_PROTOCOL);
}

static void
a_newer_invite_of_the_slug_replaces_its_peer(void **state)
{
    struct fixture *f = *state;
    struct fixture_invite old, new;
    struct fixture_joined first, second;
    struct cbx_identity a, b;
    struct reg_invite *older = fixture_invited(f, &old, "web", 7);
    cbx_identity_random(&a);
    cbx_identity_random(&b);
    assert_int_equal(fixture_join(f, older, &old, &a, &first), 0);
    first.peer->live = f;
    first.peer->generation = 99;
    struct reg_invite *newer = fixture_invited(f, &new, "web", 8);
    assert_int_equal(fixture_join(f, newer, &new, &b, &second), 0);
    assert_ptr_equal(second.replaced, first.peer);
    assert_ptr_equal(second.replaced->live, f);
    assert_null(second.replaced->next);
    assert_null(second.peer->live);
    assert_int_equal(second.peer->generation, 99);
    assert_ptr_equal(registry_peer(f->registry, "demo", "web"), second.peer);
    assert_int_equal(registry_login(f->registry, first.peer->fingerprint).kind, REG_LOGIN_NONE);
    /* The joined invite of the replaced peer went with it. */
    assert_ptr_equal(registry_invites(f->registry), newer);
    assert_null(newer->next);
    reg_peer_free(second.replaced);
}

static void
an_identity_that_joins_another_slug_leaves_its_old_one(void **state)
{
    struct fixture *f = *state;
    struct fixture_invite web, api;
    struct fixture_joined first, second;
    struct cbx_identity identity;
    struct reg_invite *api_invite = fixture_invited(f, &api, "api", 5);
    struct reg_invite *web_invite = fixture_invited(f, &web, "web", 7);
    cbx_identity_random(&identity);
    assert_int_equal(fixture_join(f, web_invite, &web, &identity, &first), 0);
    assert_int_equal(fixture_join(f, api_invite, &api, &identity, &second), 0);
    assert_ptr_equal(second.replaced, first.peer);
    assert_null(registry_peer(f->registry, "demo", "web"));
    assert_ptr_equal(registry_peer(f->registry, "demo", "api"), second.peer);
    assert_ptr_equal(registry_login(f->registry, second.peer->fingerprint).peer, second.peer);
    reg_peer_free(second.replaced);
}

static void
an_identity_may_move_to_another_pond(void **state)
{
    struct fixture *f = *state;
    struct fixture_invite here, there;
    struct fixture_joined first, second;
    struct cbx_identity identity;
    struct reg_invite *out;
    cbx_identity_random(&identity);
    out = fixture_invited(f, &here, "web", 7);
    assert_int_equal(fixture_join(f, out, &here, &identity, &first), 0);
    fixture_invite_make(f, &there, "other", "web", 8);
    assert_int_equal(fixture_add_at(f, &there, now, &out), 0);
    assert_int_equal(fixture_join(f, out, &there, &identity, &second), 0);
    assert_ptr_equal(second.replaced, first.peer);
    assert_null(registry_peer(f->registry, "demo", "web"));
    assert_ptr_equal(registry_peer(f->registry, "other", "web"), second.peer);
    reg_peer_free(second.replaced);
}

static void
moving_onto_a_taken_slug_replaces_both(void **state)
{
    struct fixture *f = *state;
    struct fixture_invite web, api, newer;
    struct fixture_joined a_joined, b_joined, moved;
    struct cbx_identity a, b;
    struct reg_invite *out = fixture_invited(f, &web, "web", 7);
    cbx_identity_random(&a);
    cbx_identity_random(&b);
    assert_int_equal(fixture_join(f, out, &web, &a, &a_joined), 0);
    out = fixture_invited(f, &api, "api", 8);
    assert_int_equal(fixture_join(f, out, &api, &b, &b_joined), 0);
    out = fixture_invited(f, &newer, "api", 9);
    assert_int_equal(fixture_join(f, out, &newer, &a, &moved), 0);
    assert_ptr_equal(registry_peers(f->registry), moved.peer);
    assert_null(moved.peer->next);
    assert_ptr_equal(moved.replaced, b_joined.peer);
    assert_ptr_equal(moved.replaced->next, a_joined.peer);
    assert_null(a_joined.peer->next);
    reg_peer_free(a_joined.peer);
    reg_peer_free(b_joined.peer);
}

static void
an_older_invite_cannot_take_the_slug_back(void **state)
{
    struct fixture *f = *state;
    struct fixture_invite old, new;
    struct fixture_joined joined;
    struct cbx_identity a, b;
    struct reg_invite *older = fixture_invited(f, &old, "web", 7);
    cbx_identity_random(&a);
    cbx_identity_random(&b);
    assert_int_equal(fixture_join(f, older, &old, &a, &joined), 0);
    struct reg_invite *newer = fixture_invited(f, &new, "web", 8);
    newer->serial = 6; /* as if it had been registered first and stayed open */
    assert_int_equal(fixture_join(f, newer, &new, &b, &joined), CBX_ERR_AUTH);
    assert_int_equal(joined.reason, CBX_REASON_DENIED);
}

/* Afterwards. */

static void
the_identity_burns_its_invite_once(void **state)
{
    struct fixture *f = *state;
    struct fixture_invite invite;
    struct fixture_joined joined;
    struct cbx_identity identity;
    struct reg_invite *out = fixture_invited(f, &invite, "web", 7);
    cbx_identity_random(&identity);
    assert_int_equal(fixture_join(f, out, &invite, &identity, &joined), 0);
    assert_true(registry_burn(f->registry, joined.peer));
    assert_null(registry_invites(f->registry));
    assert_false(registry_burn(f->registry, joined.peer));
}

static void
burning_leaves_a_newer_open_invite(void **state)
{
    struct fixture *f = *state;
    struct fixture_invite old, new;
    struct fixture_joined joined;
    struct cbx_identity identity;
    struct reg_invite *out = fixture_invited(f, &old, "web", 7);
    cbx_identity_random(&identity);
    assert_int_equal(fixture_join(f, out, &old, &identity, &joined), 0);
    struct reg_invite *newer = fixture_invited(f, &new, "web", 8);
    assert_true(registry_burn(f->registry, joined.peer));
    assert_false(registry_burn(f->registry, joined.peer));
    assert_ptr_equal(registry_invites(f->registry), newer);
}

static void
generations_grow_even_when_the_clock_does_not(void **state)
{
    struct fixture *f = *state;
    struct fixture_invite invite;
    struct fixture_joined joined;
    struct cbx_identity identity;
    struct reg_invite *out = fixture_invited(f, &invite, "web", 7);
    cbx_identity_random(&identity);
    assert_int_equal(fixture_join(f, out, &invite, &identity, &joined), 0);
    assert_int_equal(registry_next_generation(f->registry, joined.peer, 1000), 1000);
    assert_int_equal(registry_next_generation(f->registry, joined.peer, 1000), 1001);
    assert_int_equal(registry_next_generation(f->registry, joined.peer, 5), 1002);
    assert_int_equal(registry_next_generation(f->registry, joined.peer, -5), 1003);
    assert_int_equal(registry_next_generation(f->registry, joined.peer, 2000), 2000);
}

static void
a_removed_peer_takes_its_joined_invite_along(void **state)
{
    struct fixture *f = *state;
    struct fixture_invite invite;
    struct fixture_joined joined;
    struct cbx_identity identity;
    struct reg_invite *out = fixture_invited(f, &invite, "web", 7);
    cbx_identity_random(&identity);
    assert_int_equal(fixture_join(f, out, &invite, &identity, &joined), 0);
    struct reg_peer *removed = registry_remove_peer(f->registry, "demo", "web");
    assert_ptr_equal(removed, joined.peer);
    assert_null(registry_invites(f->registry));
    assert_null(registry_peers(f->registry));
    assert_null(registry_remove_peer(f->registry, "demo", "web"));
    reg_peer_free(removed);
}

static void
names_that_cannot_be_are_not_found(void **state)
{
    struct fixture *f = *state;
    struct fixture_invite invite;
    char text[200];
    (void)fixture_invited(f, &invite, "web", 7);
    memset(text, 'a', sizeof text - 1);
    text[sizeof text - 1] = '\0';
    assert_null(registry_peer(f->registry, "demo", "web"));
    assert_null(registry_peer(f->registry, text, text));
    assert_null(registry_peer(f->registry, "", ""));
    assert_null(registry_remove_peer(f->registry, "demo", text));
}

static void
expiry_drops_invites_past_join_by(void **state)
{
    struct fixture *f = *state;
    struct fixture_invite invite;
    (void)fixture_invited(f, &invite, "web", 7);
    assert_false(registry_expire(f->registry, now + 900));
    assert_true(registry_expire(f->registry, now + 901));
    assert_null(registry_invites(f->registry));
    assert_false(registry_expire(f->registry, now + 901));
}

static void
a_peer_is_taken_out_at_its_end(void **state)
{
    struct fixture *f = *state;
    struct fixture_invite invite;
    struct fixture_joined joined;
    struct cbx_identity identity;
    struct reg_invite *out = fixture_invited(f, &invite, "web", 7);
    cbx_identity_random(&identity);
    assert_int_equal(fixture_join(f, out, &invite, &identity, &joined), 0);
    assert_true(registry_burn(f->registry, joined.peer));
    int64_t last = joined.peer->ends + CBX_CLOCK_GRACE_S;
    joined.peer->live = f; /* there or not */
    assert_null(registry_take_ended(f->registry, last));
    assert_ptr_equal(registry_take_ended(f->registry, last + 1), joined.peer);
    assert_null(registry_take_ended(f->registry, last + 1));
    reg_peer_free(joined.peer);
    assert_null(registry_peers(f->registry));
    assert_null(registry_peer(f->registry, "demo", "web"));
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, fixture_setup, fixture_teardown)

int
main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(an_invite_is_found_by_its_login_key),
        TEST(a_cut_or_longer_fingerprint_finds_nobody),
        TEST(an_invite_of_another_signer_is_refused),
        TEST(a_known_pond_keeps_its_key),
        TEST(a_pond_without_members_may_begin_anew),
        TEST(a_newer_invite_replaces_an_open_one),
        TEST(an_invite_that_is_not_newer_is_refused),
        TEST(a_used_invite_cannot_be_registered_again),
        TEST(an_invite_past_its_window_is_refused),
        TEST(a_role_invite_is_refused),
        TEST(a_login_key_belongs_to_one_invite),
        TEST(a_login_key_that_is_no_point_is_refused),
        TEST(an_invite_is_dropped_by_a_unique_prefix),
        TEST(an_ambiguous_prefix_drops_nothing),
        TEST(a_join_records_the_peer),
        TEST(the_same_join_again_changes_nothing),
        TEST(the_same_identity_may_submit_another_certificate),
        TEST(a_second_identity_under_a_joined_invite_is_told_used),
        TEST(a_second_identity_under_a_used_invite_is_told_used),
        TEST(an_identity_with_another_exchange_key_is_denied),
        TEST(an_exchange_key_of_another_identity_is_denied),
        TEST(an_exchange_key_of_one_and_identity_of_another_peer_are_denied),
        TEST(a_login_key_as_identity_is_denied),
        TEST(a_join_after_the_window_is_expired),
        TEST(an_ended_peer_certificate_is_expired),
        TEST(a_certificate_for_another_slug_is_denied),
        TEST(a_certificate_of_another_invite_is_denied),
        TEST(junk_is_a_protocol_error),
        TEST(a_newer_invite_of_the_slug_replaces_its_peer),
        TEST(an_identity_that_joins_another_slug_leaves_its_old_one),
        TEST(an_identity_may_move_to_another_pond),
        TEST(moving_onto_a_taken_slug_replaces_both),
        TEST(an_older_invite_cannot_take_the_slug_back),
        TEST(the_identity_burns_its_invite_once),
        TEST(burning_leaves_a_newer_open_invite),
        TEST(generations_grow_even_when_the_clock_does_not),
        TEST(a_removed_peer_takes_its_joined_invite_along),
        TEST(names_that_cannot_be_are_not_found),
        TEST(expiry_drops_invites_past_join_by),
        TEST(a_peer_is_taken_out_at_its_end),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
