/* SPDX-License-Identifier: MIT */
/*
 * A hostile hub against trust: what it shows of peers, and joins. CBX_SEED replays a run. Asserted
 * of each attack:
 *  - what it touched is refused with the reason named, and a counter of mesh_status_json grows;
 *  - no program of a target ever sees a stream that its dialer did not dial, or sees one twice;
 *  - no byte that was not sent is delivered, none twice;
 *  - another peer's stream goes on, and once the hub is honest again everything works.
 */
#include "agent/mesh/peer_state.h"
#include "hostile.h"
#include <stdlib.h>

/* The chain shown is listed, asked for, and refused; other peers are not touched. */
static void
chain_refused(enum cbx_reason reason, const char *text)
{
    uint64_t refused = world_count(hostile.cli, "refused");
    hostile_list("web", 1, hostile.web->mesh->incarnation);
    struct world_program *program = hostile_try("web", VICTIM);
    hostile_refused(program, reason);
    assert_int_equal(hostile_done, 1);
    assert_int_equal(world_count(hostile.cli, "refused"), refused + 1);
    assert_int_equal(world_peer(hostile.cli, "web")->trust, MESH_TRUST_REFUSED);
    if (!strstr(world_peer(hostile.cli, "web")->refused_text, text))
        fail_msg("'%s' does not say '%s'", world_peer(hostile.cli, "web")->refused_text, text);
    hostile_refused(hostile_try("web", NEIGHBOUR), reason); /* remembered */
    hostile_untouched(hostile_try("db", BYSTANDER));
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
    hostile_show(hostile.web);
    replace_in(&hostile.peer, hostile.web->identity.exchange_public, own.exchange_public);
    chain_refused(CBX_REASON_DENIED, "signed");
    hostile_show(hostile.web);
    replace_in(&hostile.peer, hostile.web->identity.sign.public_key, own.sign.public_key);
    chain_refused(CBX_REASON_DENIED, "signed");
    hostile_show(hostile.web);
    replace_in(&hostile.invite, hostile.web->signing.public_key, own.sign.public_key);
    chain_refused(CBX_REASON_DENIED, "signed");
    hostile_works();
}

static void
every_signature_of_a_chain_counts(void **state)
{
    (void)state;
    for (int i = 0; i < 3; i++) {
        hostile_show(hostile.web);
        struct cbx_cert *cert = i == 0 ? &hostile.invite : &hostile.peer;
        cert->bytes[cert->length - (i == 2 ? 100 : 10)] ^= 1;
        chain_refused(CBX_REASON_DENIED, "signed");
    }
    hostile_works();
}

static void
a_chain_cut_or_longer_is_refused(void **state)
{
    (void)state;
    hostile_show(hostile.web);
    hostile.peer.length--;
    chain_refused(CBX_REASON_DENIED, "");
    hostile_show(hostile.web);
    hostile.peer.bytes[hostile.peer.length++] = 0;
    chain_refused(CBX_REASON_DENIED, "");
    hostile_show(hostile.web);
    hostile.invite.length = 1;
    chain_refused(CBX_REASON_DENIED, "");
    hostile_works();
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
    cert->issued = hostile.world->unix_base;
    cert->ends = hostile.world->unix_base + 86400;
    cbx_cert_hash(hostile.invite.bytes, hostile.invite.length, cert->invite_hash);
    assert_int_equal(cbx_peer_cert_sign(cert, signing, &identity->sign, &hostile.peer), 0);
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
    cert->serial = hostile.world->serial + 1000000;
    cert->issued = hostile.world->unix_base;
    cert->join_by = cert->issued + 900;
    cert->ends = cert->issued + 30 * 86400;
    memcpy(cert->signing_key, signing->public_key, 32);
    assert_int_equal(cbx_invite_cert_sign(cert, pond, &hostile.invite), 0);
    free(cert);
}

static void
a_peer_signed_by_the_hub_is_refused(void **state)
{
    (void)state;
    struct cbx_identity own;
    cbx_identity_random(&own);
    hostile_show(hostile.web);
    sign_peer(&own, &own.sign, "web"); /* not the key that the invite names */
    chain_refused(CBX_REASON_DENIED, "signed");
    hostile_show(hostile.web);
    sign_invite(&own.sign, &own.sign, "web"); /* not the pond's key */
    sign_peer(&own, &own.sign, "web");
    chain_refused(CBX_REASON_DENIED, "signed");
    hostile_works();
}

static void
the_chain_of_another_peer_is_refused(void **state)
{
    (void)state;
    hostile_show(hostile.db);
    chain_refused(CBX_REASON_DENIED, "another lease");
    hostile_show(hostile.web);
    hostile.invite = hostile.db->joined.invite_cert;
    chain_refused(CBX_REASON_DENIED, "");
    hostile_works();
}

static void
a_made_up_peer_is_refused(void **state)
{
    (void)state;
    struct cbx_identity own;
    cbx_identity_random(&own);
    hostile_show(hostile.web);
    hostile.slug = "ghost";
    sign_invite(&own.sign, &own.sign, "ghost");
    sign_peer(&own, &own.sign, "ghost");
    hostile_list("ghost", 1, hostile_life);
    hostile_refused(hostile_try("ghost", VICTIM), CBX_REASON_DENIED);
    assert_int_equal(hostile_done, 1);
    assert_int_equal(world_peer(hostile.cli, "ghost")->trust, MESH_TRUST_REFUSED);
    hostile.invite.length = hostile.peer.length = 0; /* listed, and then without a chain */
    hostile_list("ghost2", 1, hostile_life);
    hostile.slug = "ghost2";
    hostile_refused(hostile_try("ghost2", VICTIM), CBX_REASON_UNKNOWN_NAME);
    hostile_untouched(hostile_try("db", BYSTANDER));
    hostile_works();
}

static void
a_second_identity_under_one_invite_is_refused_as_a_leak(void **state)
{
    (void)state;
    struct cbx_identity own;
    cbx_identity_random(&own);
    hostile_untouched(hostile_try("web", VICTIM));
    hostile_show(hostile.web);
    sign_peer(&own, &hostile.web->signing,
              "web"); /* the hub has the invite's key: all else is true */
    chain_refused(CBX_REASON_DENIED, "leaked");
    assert_int_equal(world_count(hostile.cli, "leaked"), 1);
    hostile_works();
    assert_int_equal(world_count(hostile.cli, "leaked"), 1);
}

static void
an_older_chain_is_refused_as_rolled_back(void **state)
{
    (void)state;
    hostile_untouched(hostile_try("web", VICTIM));
    struct world_agent *old = hostile.web;
    hostile.web = world_agent(hostile.world, "web", "8080,8081", old->path);
    assert_int_equal(old->lost_reason, CBX_REASON_SUPERSEDED);
    hostile_untouched(hostile_try("web", VICTIM)); /* cli has seen the new one */
    hostile_show(old);
    chain_refused(CBX_REASON_DENIED, "older certificate");
    assert_int_equal(world_count(hostile.cli, "rolled_back"), 1);
    hostile_works();
}

static void
a_chain_past_its_end_is_refused(void **state)
{
    (void)state;
    hostile.world->unix_base += 31 * 86400;
    struct world_program *program = hostile_try("web", VICTIM);
    hostile_refused(program, CBX_REASON_EXPIRED);
    assert_int_equal(world_count(hostile.cli, "refused"), 1);
}

static void
a_chain_that_nobody_asked_for_changes_nothing(void **state)
{
    (void)state;
    struct world_flow flow;
    hostile_untouched(hostile_try("web", VICTIM));
    uint64_t stale = world_count(hostile.cli, "stale_frames");
    const struct cbx_cert *invite = &hostile.db->joined.invite_cert,
                          *peer = &hostile.db->joined.peer_cert;
    struct cbx_field fields[] = {cbx_field_text("web"),
                                 cbx_field_bytes(invite->bytes, invite->length),
                                 cbx_field_bytes(peer->bytes, peer->length)};
    assert_true(world_flow_of(hostile.cli, true, &flow));
    world_inject(&flow, CBX_FRAME_CHAIN, 0, fields, 3);
    world_run(hostile.world, 50000);
    assert_int_equal(world_count(hostile.cli, "stale_frames"), stale + 1);
    hostile_untouched(hostile_try("web", VICTIM));
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
        frame->field[1] = cbx_field_bytes(hostile.invite.bytes, hostile.invite.length);
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
        struct world_agent *agent = world_invite(hostile.world, slug, "8080", hostile.cli->path);
        sign_invite(&hostile.world->pond_key, &other, slug);
        hostile_set(twist_offer, 0);
        world_join(agent);
        assert_int_equal(hostile_done, 1);
        assert_false(agent->has_joined);
        assert_int_equal(agent->lost_reason, expected[twist].reason);
        if (!strstr(agent->lost_text, expected[twist].text))
            fail_msg("'%s' does not say '%s'", agent->lost_text, expected[twist].text);
        assert_null(
            registry_peer(hostile.world->registry, "demo", slug)); /* nothing was submitted */
        hostile_set(NULL, 0);
        agent->lost_final = false;
        world_join(agent);
        assert_true(agent->has_joined);
    }
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        HOSTILE_TEST(swapped_keys_in_a_chain_are_refused),
        HOSTILE_TEST(every_signature_of_a_chain_counts),
        HOSTILE_TEST(a_chain_cut_or_longer_is_refused),
        HOSTILE_TEST(a_peer_signed_by_the_hub_is_refused),
        HOSTILE_TEST(the_chain_of_another_peer_is_refused),
        HOSTILE_TEST(a_made_up_peer_is_refused),
        HOSTILE_TEST(a_second_identity_under_one_invite_is_refused_as_a_leak),
        HOSTILE_TEST(an_older_chain_is_refused_as_rolled_back),
        HOSTILE_TEST(a_chain_past_its_end_is_refused),
        HOSTILE_TEST(a_chain_that_nobody_asked_for_changes_nothing),
        HOSTILE_TEST(a_joiner_is_not_renamed_and_signs_for_no_other_invite),
    };
    return WORLD_RUN(tests);
}
