/* SPDX-License-Identifier: MIT */
/*
 * A hostile hub against trust: what it shows of peers, and joins. CBX_SEED replays a run. Asserted
 * of each attack:
 *  - what it touched is refused with the reason named, and a counter of mesh_status_json grows;
 *  - no program of a target ever sees a stream that its dialer did not dial, or sees one twice;
 *  - no byte that was not sent is delivered, none twice;
 *  - another peer's stream goes on, and once the hub is honest again everything works.
 */
#include "hostile.h"
#include <stdlib.h>

static struct hostile all;

static int
begin(void **state)
{
    (void)state;
    hostile_begin(&all);
    return 0;
}

static int
end(void **state)
{
    (void)state;
    hostile_end(&all);
    return 0;
}

/* The chain shown is listed, asked for, and refused; other peers are not touched. */
static void
chain_refused(enum cbx_reason reason, const char *text)
{
    uint64_t refused = world_count(all.cli, "refused");
    hostile_list(&all, "web", 1, all.web->mesh->incarnation);
    struct world_program *program = hostile_try(&all, "web", VICTIM);
    hostile_refused(program, reason);
    assert_int_equal(hostile_done, 1);
    assert_int_equal(world_count(all.cli, "refused"), refused + 1);
    assert_int_equal(hostile_peer(all.cli, "web")->trust, MESH_TRUST_REFUSED);
    if (!strstr(hostile_peer(all.cli, "web")->refused_text, text))
        fail_msg("'%s' does not say '%s'", hostile_peer(all.cli, "web")->refused_text, text);
    hostile_refused(hostile_try(&all, "web", NEIGHBOUR), reason); /* remembered */
    hostile_untouched(hostile_try(&all, "db", BYSTANDER));
    hostile_set(NULL, 0);
}

/* ---- chains ---- */

static void
replace_in(struct cbx_cert *cert, const uint8_t *old, const uint8_t *new)
{
    uint8_t *at = memmem(cert->bytes, cert->length, old, 32);
    assert_non_null(at);
    memcpy(at, new, 32);
}

static void
swapped_keys_in_a_chain_are_refused(void **state)
{
    (void)state;
    struct cbx_identity own;
    cbx_identity_random(&own);
    hostile_show(&all, all.web);
    replace_in(&all.peer, all.web->identity.exchange_public, own.exchange_public);
    chain_refused(CBX_REASON_DENIED, "signed");
    hostile_show(&all, all.web);
    replace_in(&all.peer, all.web->identity.sign.public_key, own.sign.public_key);
    chain_refused(CBX_REASON_DENIED, "signed");
    hostile_show(&all, all.web);
    replace_in(&all.invite, all.web->signing.public_key, own.sign.public_key);
    chain_refused(CBX_REASON_DENIED, "signed");
    hostile_works(&all);
}

static void
every_signature_of_a_chain_counts(void **state)
{
    (void)state;
    for (int i = 0; i < 3; i++) {
        hostile_show(&all, all.web);
        struct cbx_cert *cert = i == 0 ? &all.invite : &all.peer;
        cert->bytes[cert->length - (i == 2 ? 100 : 10)] ^= 1;
        chain_refused(CBX_REASON_DENIED, "signed");
    }
    hostile_works(&all);
}

static void
a_chain_cut_or_longer_is_refused(void **state)
{
    (void)state;
    hostile_show(&all, all.web);
    all.peer.length--;
    chain_refused(CBX_REASON_DENIED, "");
    hostile_show(&all, all.web);
    all.peer.bytes[all.peer.length++] = 0;
    chain_refused(CBX_REASON_DENIED, "");
    hostile_show(&all, all.web);
    all.invite.length = 1;
    chain_refused(CBX_REASON_DENIED, "");
    hostile_works(&all);
}

/* A peer certificate for these keys under the invite that is shown. */
static void
sign_peer(const struct cbx_identity *identity, const struct cbx_keypair *signing, const char *slug)
{
    struct cbx_peer_cert *cert = calloc(1, sizeof *cert);
    assert_non_null(cert);
    strcpy(cert->pond, "demo");
    strcpy(cert->slug, slug);
    memcpy(cert->identity, identity->sign.public_key, 32);
    memcpy(cert->exchange, identity->exchange_public, 32);
    cert->issued = all.world->unix_base;
    cert->ends = all.world->unix_base + 86400;
    cbx_cert_hash(all.invite.bytes, all.invite.length, cert->invite_hash);
    assert_int_equal(cbx_peer_cert_sign(cert, signing, &identity->sign, &all.peer), 0);
    free(cert);
}

static void
sign_invite(const struct cbx_keypair *pond, const struct cbx_keypair *signing, const char *slug)
{
    struct cbx_invite_cert *cert = calloc(1, sizeof *cert);
    assert_non_null(cert);
    strcpy(cert->pond, "demo");
    strcpy(cert->slug, slug);
    cert->uses = 1;
    cert->serial = all.world->serial + 1000000;
    cert->issued = all.world->unix_base;
    cert->join_by = cert->issued + 900;
    cert->ends = cert->issued + 30 * 86400;
    memcpy(cert->signing_key, signing->public_key, 32);
    assert_int_equal(cbx_invite_cert_sign(cert, pond, &all.invite), 0);
    free(cert);
}

static void
a_peer_signed_by_the_hub_is_refused(void **state)
{
    (void)state;
    struct cbx_identity own;
    cbx_identity_random(&own);
    hostile_show(&all, all.web);
    sign_peer(&own, &own.sign, "web"); /* not the key that the invite names */
    chain_refused(CBX_REASON_DENIED, "signed");
    hostile_show(&all, all.web);
    sign_invite(&own.sign, &own.sign, "web"); /* not the pond's key */
    sign_peer(&own, &own.sign, "web");
    chain_refused(CBX_REASON_DENIED, "signed");
    hostile_works(&all);
}

static void
the_chain_of_another_peer_is_refused(void **state)
{
    (void)state;
    hostile_show(&all, all.db);
    chain_refused(CBX_REASON_DENIED, "another lease");
    hostile_show(&all, all.web);
    all.invite = all.db->joined.invite_cert;
    chain_refused(CBX_REASON_DENIED, "");
    hostile_works(&all);
}

static void
a_made_up_peer_is_refused(void **state)
{
    (void)state;
    struct cbx_identity own;
    cbx_identity_random(&own);
    hostile_show(&all, all.web);
    all.slug = "ghost";
    sign_invite(&own.sign, &own.sign, "ghost");
    sign_peer(&own, &own.sign, "ghost");
    hostile_list(&all, "ghost", 1, hostile_life);
    hostile_refused(hostile_try(&all, "ghost", VICTIM), CBX_REASON_DENIED);
    assert_int_equal(hostile_done, 1);
    assert_int_equal(hostile_peer(all.cli, "ghost")->trust, MESH_TRUST_REFUSED);
    all.invite.length = all.peer.length = 0; /* listed, and then without a chain */
    hostile_list(&all, "ghost2", 1, hostile_life);
    all.slug = "ghost2";
    hostile_refused(hostile_try(&all, "ghost2", VICTIM), CBX_REASON_UNKNOWN_NAME);
    hostile_untouched(hostile_try(&all, "db", BYSTANDER));
    hostile_works(&all);
}

static void
a_second_identity_under_one_invite_is_refused_as_a_leak(void **state)
{
    (void)state;
    struct cbx_identity own;
    cbx_identity_random(&own);
    hostile_untouched(hostile_try(&all, "web", VICTIM));
    hostile_show(&all, all.web);
    sign_peer(&own, &all.web->signing, "web"); /* the hub has the invite's key: all else is true */
    chain_refused(CBX_REASON_DENIED, "leaked");
    assert_int_equal(world_count(all.cli, "leaked"), 1);
    hostile_works(&all);
    assert_int_equal(world_count(all.cli, "leaked"), 1);
}

static void
an_older_chain_is_refused_as_rolled_back(void **state)
{
    (void)state;
    hostile_untouched(hostile_try(&all, "web", VICTIM));
    struct world_agent *old = all.web;
    all.web = world_agent(all.world, "web", "8080,8081", old->path);
    assert_int_equal(old->lost_reason, CBX_REASON_SUPERSEDED);
    hostile_untouched(hostile_try(&all, "web", VICTIM)); /* cli has seen the new one */
    hostile_show(&all, old);
    chain_refused(CBX_REASON_DENIED, "older certificate");
    assert_int_equal(world_count(all.cli, "rolled_back"), 1);
    hostile_works(&all);
}

static void
a_chain_past_its_end_is_refused(void **state)
{
    (void)state;
    all.world->unix_base += 31 * 86400;
    struct world_program *program = hostile_try(&all, "web", VICTIM);
    hostile_refused(program, CBX_REASON_EXPIRED);
    assert_int_equal(world_count(all.cli, "refused"), 1);
}

static void
a_chain_that_nobody_asked_for_changes_nothing(void **state)
{
    (void)state;
    struct world_flow flow;
    hostile_untouched(hostile_try(&all, "web", VICTIM));
    uint64_t stale = world_count(all.cli, "stale_frames");
    const struct cbx_cert *invite = &all.db->joined.invite_cert, *peer = &all.db->joined.peer_cert;
    struct cbx_field fields[] = {cbx_field_text("web"),
                                 cbx_field_bytes(invite->bytes, invite->length),
                                 cbx_field_bytes(peer->bytes, peer->length)};
    assert_true(world_flow_of(all.cli, true, &flow));
    world_inject(&flow, CBX_FRAME_CHAIN, 0, fields, 3);
    world_run(all.world, 50000);
    assert_int_equal(world_count(all.cli, "stale_frames"), stale + 1);
    hostile_untouched(hostile_try(&all, "web", VICTIM));
}

/* ---- joins and greetings ---- */

static int twist;

static enum world_verdict
twist_offer(struct world_flow *flow, struct cbx_frame *frame)
{
    if (!flow->join || frame->type != CBX_FRAME_JOIN_OFFER)
        return WORLD_PASS;
    hostile_done++;
    if (twist == 0)
        frame->field[0] = cbx_field_text("renamed");
    if (twist == 1)
        frame->field[1] = cbx_field_bytes(all.invite.bytes, all.invite.length);
    if (twist == 2)
        frame->field[1].p[frame->field[1].n - 1] ^= 1;
    if (twist == 3) {
        struct cbx_field kind[] = {cbx_field_uint(1), cbx_field_uint(1), cbx_field_text("again")};
        world_inject(flow, CBX_FRAME_HUB_HELLO, 0, kind, 3);
    }
    if (twist == 4) {
        world_inject(flow, CBX_FRAME_JOINED, 0, NULL, 0);
        return WORLD_DROP;
    }
    return WORLD_CHANGED;
}

static void
a_joiner_is_not_renamed_and_signs_for_no_other_invite(void **state)
{
    (void)state;
    static const struct {
        enum cbx_reason reason;
        const char *text;
    } expected[] = {{CBX_REASON_DENIED, "differently"},
                    {CBX_REASON_DENIED, "another invite"},
                    {CBX_REASON_DENIED, "signed"},
                    {CBX_REASON_PROTOCOL, "twice"},
                    {CBX_REASON_PROTOCOL, "unexpected"}};
    struct cbx_keypair other;
    cbx_keypair_random(&other);
    for (twist = 0; twist < 5; twist++) {
        char slug[8] = {'n', 'e', 'w', (char)('a' + twist)};
        struct world_agent *agent = world_invite(all.world, slug, "8080", all.cli->path);
        sign_invite(&all.world->pond_key, &other, slug);
        hostile_set(twist_offer, 0);
        world_join(agent);
        assert_int_equal(hostile_done, 1);
        assert_false(agent->has_joined);
        assert_int_equal(agent->lost_reason, expected[twist].reason);
        if (!strstr(agent->lost_text, expected[twist].text))
            fail_msg("'%s' does not say '%s'", agent->lost_text, expected[twist].text);
        assert_null(registry_peer(all.world->registry, "demo", slug)); /* nothing was submitted */
        hostile_set(NULL, 0);
        agent->lost_final = false;
        world_join(agent);
        assert_true(agent->has_joined);
    }
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, begin, end)

int
main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(swapped_keys_in_a_chain_are_refused),
        TEST(every_signature_of_a_chain_counts),
        TEST(a_chain_cut_or_longer_is_refused),
        TEST(a_peer_signed_by_the_hub_is_refused),
        TEST(the_chain_of_another_peer_is_refused),
        TEST(a_made_up_peer_is_refused),
        TEST(a_second_identity_under_one_invite_is_refused_as_a_leak),
        TEST(an_older_chain_is_refused_as_rolled_back),
        TEST(a_chain_past_its_end_is_refused),
        TEST(a_chain_that_nobody_asked_for_changes_nothing),
        TEST(a_joiner_is_not_renamed_and_signs_for_no_other_invite),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
