/* SPDX-License-Identifier: MIT */
/*
 * A hostile hub against trust: joins, the directory, chains, handshakes and dials. CBX_SEED replays
 * a run. Asserted of each attack:
 *  - what it touched is refused with the reason named (the agent's own finding, or the hub's word),
 * or goes on unharmed where the attack could not matter; a counter of mesh_status_json grows;
 *  - no program of a target ever sees a stream that its dialer did not dial, or sees one twice;
 *  - no byte that was not sent is delivered, none twice;
 *  - another peer's stream goes on, and once the hub is honest again everything works.
 */
#include "hostile.h"
#include <sodium.h>
#include <stdlib.h>

static struct hostile all;
static uint8_t junk_life[CBX_LIFE_SIZE] = {1, 2, 3};

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

/* ---- what the hub can say ---- */

static struct cbx_cert shown_invite, shown_peer;
static const char *shown_slug;

/* Shows another chain for shown_slug to cli. */
static enum world_verdict
show_chain(struct world_flow *flow, struct cbx_frame *frame)
{
    if (!hostile_goes_to(flow, "cli", frame, CBX_FRAME_CHAIN, 0) ||
        !hostile_names(&frame->field[0], shown_slug))
        return WORLD_PASS;
    hostile_done++;
    frame->field[1] = cbx_field_bytes(shown_invite.bytes, shown_invite.length);
    frame->field[2] = cbx_field_bytes(shown_peer.bytes, shown_peer.length);
    return WORLD_CHANGED;
}

/* Tells cli of a peer; its chain has the hash of the shown one. */
static void
list(const char *slug, uint64_t state, const uint8_t life[CBX_LIFE_SIZE])
{
    struct world_flow flow;
    uint8_t hash[32];
    cbx_chain_hash(&shown_invite, &shown_peer, hash);
    struct cbx_field fields[] = {cbx_field_text(slug),
                                 cbx_field_uint(state),
                                 cbx_field_uint(1),
                                 cbx_field_uint(1),
                                 cbx_field_bytes(life, CBX_LIFE_SIZE),
                                 cbx_field_bytes(hash, 32),
                                 cbx_field_text("8080"),
                                 cbx_field_text("")};
    assert_true(world_flow_of(all.cli, true, &flow));
    world_inject(&flow, CBX_FRAME_PEER, 0, fields, 8);
    world_run(all.world, 50000);
}

static void
show(const struct world_agent *agent)
{
    shown_slug = "web";
    shown_invite = agent->joined.invite_cert;
    shown_peer = agent->joined.peer_cert;
    hostile_set(show_chain, 0);
}

/* The directory as it is. */
static void
honest(void)
{
    show(all.web);
    hostile_set(NULL, 0);
    list("web", 1, all.web->mesh->life);
}

static struct mesh_peer *
peer_of(const struct world_agent *agent, const char *slug)
{
    struct mesh_peer *peer = mesh_peer_find(agent->mesh, slug, strlen(slug));
    assert_non_null(peer);
    return peer;
}

/* The chain shown is listed, asked for, and refused; other peers are not touched. */
static void
chain_refused(enum cbx_reason reason, const char *text)
{
    uint64_t refused = world_count(all.cli, "refused");
    list("web", 1, all.web->mesh->life);
    struct world_program *program = hostile_try(&all, "web", VICTIM);
    hostile_refused(program, reason);
    assert_int_equal(hostile_done, 1);
    assert_int_equal(world_count(all.cli, "refused"), refused + 1);
    assert_int_equal(peer_of(all.cli, "web")->trust, MESH_TRUST_REFUSED);
    if (!strstr(peer_of(all.cli, "web")->refused_text, text))
        fail_msg("'%s' does not say '%s'", peer_of(all.cli, "web")->refused_text, text);
    hostile_refused(hostile_try(&all, "web", NEIGHBOUR), reason); /* remembered */
    hostile_untouched(hostile_try(&all, "db", BYSTANDER));
    hostile_set(NULL, 0);
}

static void
works_again(void)
{
    honest();
    hostile_untouched(hostile_try(&all, "web", VICTIM));
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
    show(all.web);
    replace_in(&shown_peer, all.web->identity.exchange_public, own.exchange_public);
    chain_refused(CBX_REASON_DENIED, "signed");
    show(all.web);
    replace_in(&shown_peer, all.web->identity.sign.public_key, own.sign.public_key);
    chain_refused(CBX_REASON_DENIED, "signed");
    show(all.web);
    replace_in(&shown_invite, all.web->signing.public_key, own.sign.public_key);
    chain_refused(CBX_REASON_DENIED, "signed");
    works_again();
}

static void
every_signature_of_a_chain_counts(void **state)
{
    (void)state;
    for (int i = 0; i < 3; i++) {
        show(all.web);
        struct cbx_cert *cert = i == 0 ? &shown_invite : &shown_peer;
        cert->bytes[cert->length - (i == 2 ? 100 : 10)] ^= 1;
        chain_refused(CBX_REASON_DENIED, "signed");
    }
    works_again();
}

static void
a_chain_cut_or_longer_is_refused(void **state)
{
    (void)state;
    show(all.web);
    shown_peer.length--;
    chain_refused(CBX_REASON_DENIED, "");
    show(all.web);
    shown_peer.bytes[shown_peer.length++] = 0;
    chain_refused(CBX_REASON_DENIED, "");
    show(all.web);
    shown_invite.length = 1;
    chain_refused(CBX_REASON_DENIED, "");
    works_again();
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
    cbx_cert_hash(shown_invite.bytes, shown_invite.length, cert->invite_hash);
    assert_int_equal(cbx_peer_cert_sign(cert, signing, &identity->sign, &shown_peer), 0);
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
    assert_int_equal(cbx_invite_cert_sign(cert, pond, &shown_invite), 0);
    free(cert);
}

static void
a_peer_signed_by_the_hub_is_refused(void **state)
{
    (void)state;
    struct cbx_identity own;
    cbx_identity_random(&own);
    show(all.web);
    sign_peer(&own, &own.sign, "web"); /* not the key that the invite names */
    chain_refused(CBX_REASON_DENIED, "signed");
    show(all.web);
    sign_invite(&own.sign, &own.sign, "web"); /* not the pond's key */
    sign_peer(&own, &own.sign, "web");
    chain_refused(CBX_REASON_DENIED, "signed");
    works_again();
}

static void
the_chain_of_another_peer_is_refused(void **state)
{
    (void)state;
    show(all.db);
    chain_refused(CBX_REASON_DENIED, "another lease");
    show(all.web);
    shown_invite = all.db->joined.invite_cert;
    chain_refused(CBX_REASON_DENIED, "");
    works_again();
}

static void
a_made_up_peer_is_refused(void **state)
{
    (void)state;
    struct cbx_identity own;
    cbx_identity_random(&own);
    show(all.web);
    shown_slug = "ghost";
    sign_invite(&own.sign, &own.sign, "ghost");
    sign_peer(&own, &own.sign, "ghost");
    list("ghost", 1, junk_life);
    hostile_refused(hostile_try(&all, "ghost", VICTIM), CBX_REASON_DENIED);
    assert_int_equal(hostile_done, 1);
    assert_int_equal(peer_of(all.cli, "ghost")->trust, MESH_TRUST_REFUSED);
    shown_invite.length = shown_peer.length = 0; /* listed, and then without a chain */
    list("ghost2", 1, junk_life);
    shown_slug = "ghost2";
    hostile_refused(hostile_try(&all, "ghost2", VICTIM), CBX_REASON_UNKNOWN_NAME);
    hostile_untouched(hostile_try(&all, "db", BYSTANDER));
    works_again();
}

static void
a_second_identity_under_one_invite_is_refused_as_a_leak(void **state)
{
    (void)state;
    struct cbx_identity own;
    cbx_identity_random(&own);
    hostile_untouched(hostile_try(&all, "web", VICTIM));
    show(all.web);
    sign_peer(&own, &all.web->signing, "web"); /* the hub has the invite's key: all else is true */
    chain_refused(CBX_REASON_DENIED, "leaked");
    assert_int_equal(world_count(all.cli, "leaked"), 1);
    works_again();
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
    show(old);
    chain_refused(CBX_REASON_DENIED, "older certificate");
    assert_int_equal(world_count(all.cli, "rolled_back"), 1);
    works_again();
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
        frame->field[1] = cbx_field_bytes(shown_invite.bytes, shown_invite.length);
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
                    {CBX_REASON_PROTOCOL, "out of turn"}};
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

static enum world_verdict
twist_greeting(struct world_flow *flow, struct cbx_frame *frame)
{
    bool hello = hostile_goes_to(flow, "cli", frame, CBX_FRAME_HUB_HELLO, 0);
    bool welcome = hostile_goes_to(flow, "cli", frame, CBX_FRAME_WELCOME, 0);
    if ((twist < 4 && !hello) || (twist >= 4 && !welcome) || !hostile_turn())
        return WORLD_PASS;
    switch (twist) {
    case 0:
        frame->field[0].u = 2;
        break;
    case 1:
        frame->field[1].u = 1;
        break;
    case 2:
        world_inject(flow, frame->type, 0, frame->field, frame->count);
        break;
    case 3:
        world_inject(flow, CBX_FRAME_SYNCED, 0, (struct cbx_field[]){cbx_field_uint(0)}, 1);
        break;
    case 4:
        frame->field[1] = cbx_field_text("web");
        break;
    case 5:
        frame->field[0] = cbx_field_text("otherpond");
        break;
    default:
        world_inject(flow, frame->type, 0, frame->field, frame->count);
        break;
    }
    return WORLD_CHANGED;
}

static bool
attach_is_over(void *arg)
{
    const struct world_agent *agent = arg;
    return agent->up || agent->lost_reason;
}

static void
a_greeting_that_is_not_ours_ends_the_link(void **state)
{
    (void)state;
    static const char *const text[] = {"version", "invite", "twice",      "before WELCOME",
                                       "name",    "name",   "out of turn"};
    for (twist = 0; twist < 7; twist++) {
        world_cut(all.cli);
        world_run(all.world, 100000);
        hostile_set(twist_greeting, 1);
        world_begin(all.cli);
        assert_true(world_until(all.world, 10000000, attach_is_over, all.cli));
        assert_int_equal(hostile_done, 1);
        assert_false(all.cli->up);
        assert_int_equal(all.cli->lost_reason, CBX_REASON_PROTOCOL);
        if (!strstr(all.cli->lost_text, text[twist]))
            fail_msg("'%s' does not say '%s'", all.cli->lost_text, text[twist]);
        hostile_set(NULL, 0);
        world_connect(all.cli);
        hostile_untouched(hostile_try(&all, "web", VICTIM));
    }
}

static enum world_verdict
lie_about_acks(struct world_flow *flow, struct cbx_frame *frame)
{
    if (!hostile_goes_to(flow, "cli", frame, CBX_FRAME_ACK, 0) || !hostile_turn())
        return WORLD_PASS;
    frame->field[0].u += 1000000;
    return WORLD_CHANGED;
}

static void
acknowledged_bytes_that_were_never_sent_end_the_link(void **state)
{
    (void)state;
    hostile_set(lie_about_acks, 1);
    hostile_dial(&all);
    assert_true(world_until(all.world, 10000000, world_all_closed, all.world));
    assert_int_equal(all.cli->lost_reason, CBX_REASON_PROTOCOL);
    assert_non_null(strstr(all.cli->lost_text, "never sent"));
    assert_int_equal(all.victim->reason, CBX_REASON_LOST);
    hostile_set(NULL, 0);
    world_connect(all.cli);
    hostile_untouched(hostile_try(&all, "web", VICTIM));
}

/* ---- dials ---- */

static enum world_verdict
another_port(struct world_flow *flow, struct cbx_frame *frame)
{
    if (!hostile_goes_to(flow, "web", frame, CBX_FRAME_OPEN, VICTIM) || !hostile_turn())
        return WORLD_PASS;
    frame->field[2].u = NEIGHBOUR;
    return WORLD_CHANGED;
}

static void
a_dial_sent_to_another_port_is_refused(void **state)
{
    (void)state;
    hostile_set(another_port, 1);
    hostile_dial(&all);
    hostile_run(&all);
    assert_int_equal(hostile_done, 1);
    hostile_refused(all.victim, CBX_REASON_INTEGRITY);
    assert_int_equal(world_count(all.web, "integrity"), 1);
    hostile_untouched(all.neighbour);
    hostile_untouched(all.bystander);
}

static int changed_field;

static enum world_verdict
change_open(struct world_flow *flow, struct cbx_frame *frame)
{
    if (!hostile_goes_to(flow, "web", frame, CBX_FRAME_OPEN, VICTIM) || !hostile_turn())
        return WORLD_PASS;
    struct cbx_field *field = &frame->field[changed_field % 9];
    if (changed_field % 9 < 2)
        *field = cbx_field_text("db");
    else if (field->p)
        field->p[changed_field < 9 ? field->n - 1 : 0] ^= 1;
    else
        field->u += changed_field < 9 ? 1 : UINT64_MAX;
    return WORLD_CHANGED;
}

/* Where the target does not even know the session the dialer asks for a new one and dials again. */
static void
a_changed_field_of_open_is_refused(void **state)
{
    (void)state;
    for (changed_field = 0; changed_field < 18; changed_field++) {
        uint64_t refused = world_count(all.web, "refused");
        hostile_set(change_open, -1);
        hostile_dial(&all);
        hostile_run(&all);
        assert_true(hostile_done > 0);
        enum cbx_reason reason = hostile_done == 2 ? CBX_REASON_NO_SESSION : CBX_REASON_INTEGRITY;
        hostile_refused(all.victim, reason);
        assert_int_equal(world_count(all.web, "refused"), refused + (uint64_t)hostile_done);
        hostile_untouched(all.neighbour);
        hostile_untouched(all.bystander);
    }
}

static enum world_verdict
another_peer(struct world_flow *flow, struct cbx_frame *frame)
{
    if (!hostile_comes_from(flow, "cli", frame, CBX_FRAME_OPEN, VICTIM) || !hostile_turn())
        return WORLD_PASS;
    frame->field[1] = cbx_field_text("db"); /* the honest part of this hub leads it there */
    return WORLD_CHANGED;
}

static enum world_verdict
another_peer_unchanged(struct world_flow *flow, struct cbx_frame *frame)
{
    struct world_flow wrong;
    if (!hostile_goes_to(flow, "web", frame, CBX_FRAME_OPEN, VICTIM) || !hostile_turn() ||
        !world_flow_of(all.db, true, &wrong))
        return WORLD_PASS;
    world_inject_copy(&wrong, world_keep(flow, frame), world_take_label(all.db));
    return WORLD_PASS;
}

static void
a_dial_sent_to_another_peer_is_refused(void **state)
{
    (void)state;
    hostile_untouched(hostile_try(&all, "db", VICTIM)); /* the port is open there too */
    hostile_set(another_peer, 2);
    hostile_dial(&all);
    hostile_run(&all);
    assert_int_equal(hostile_done, 2);
    hostile_refused(all.victim, CBX_REASON_NO_SESSION);
    assert_int_equal(world_count(all.db, "refused"), 2);
    hostile_untouched(all.neighbour);
    hostile_untouched(all.bystander);
    hostile_set(another_peer, 1); /* once: the second try reaches web */
    hostile_untouched(hostile_try(&all, "web", VICTIM));
    hostile_set(another_peer_unchanged, 1);
    hostile_untouched(hostile_try(&all, "web", VICTIM));
    assert_int_equal(hostile_done, 1);
    assert_int_equal(world_count(all.db, "refused"), 4);
}

static struct world_copy *kept;

static enum world_verdict
keep_open(struct world_flow *flow, struct cbx_frame *frame)
{
    if (hostile_goes_to(flow, "web", frame, CBX_FRAME_OPEN, VICTIM) && hostile_turn())
        kept = world_keep(flow, frame);
    return WORLD_PASS;
}

static void
repeat_open(void)
{
    struct world_flow flow;
    assert_true(world_flow_of(all.web, true, &flow));
    world_inject_copy(&flow, kept, world_take_label(all.web));
    world_run(all.world, 20000);
}

static void
restart_web(void)
{
    mesh_free(all.web->mesh);
    world_start(all.web);
    all.web->up = false;
    world_connect(all.web);
    world_run(all.world, 100000);
}

static void
a_repeated_open_is_taken_once(void **state)
{
    (void)state;
    hostile_set(keep_open, 1);
    hostile_dial(&all);
    all.victim->gap_us = 2000;
    all.victim->pull_limit = 1000;
    world_run(all.world, 30000);
    assert_true(all.victim->opened && !all.victim->closed);
    repeat_open(); /* while it runs */
    repeat_open();
    assert_int_equal(world_count(all.web, "replayed"), 2);
    hostile_run(&all);
    hostile_untouched(all.victim);
    hostile_untouched(all.neighbour);
    hostile_untouched(all.bystander);
    repeat_open(); /* after its end */
    assert_int_equal(world_count(all.web, "replayed"), 3);
    world_cut(all.web);
    world_run(all.world, 100000);
    world_connect(all.web);
    repeat_open(); /* on another link */
    assert_int_equal(world_count(all.web, "replayed"), 4);
    restart_web();
    repeat_open(); /* to another life: its session is gone */
    assert_int_equal(world_count(all.web, "refused"), 1);
    assert_int_equal(world_count(all.web, "accepted"), 0);
    hostile_untouched(hostile_try(&all, "web", VICTIM));
}

/* ---- refusals ---- */

static enum world_verdict
keep_refusal(struct world_flow *flow, struct cbx_frame *frame)
{
    if (hostile_goes_to(flow, "cli", frame, CBX_FRAME_RESET, NEIGHBOUR) && hostile_turn())
        kept = world_keep(flow, frame);
    return WORLD_PASS;
}

static enum world_verdict
refuse_with_kept(struct world_flow *flow, struct cbx_frame *frame)
{
    if (!hostile_goes_to(flow, "cli", frame, CBX_FRAME_CREDIT, NEIGHBOUR) || !hostile_turn())
        return WORLD_PASS;
    world_inject_copy(flow, kept, frame->label);
    return WORLD_PASS;
}

static void
a_repeated_refusal_refuses_nothing_else(void **state)
{
    (void)state;
    struct world_flow flow;
    struct cbx_expose all_ports = all.web->mesh->config.expose;
    struct cbx_expose *expose = &all.web->mesh->config.expose;
    memset(expose, 0, sizeof *expose); /* narrowed by its own configuration: only it knows */
    assert_int_equal(cbx_expose_add(expose, "8080", NULL), 0);
    hostile_set(keep_refusal, 1);
    struct world_program *refused = hostile_try(&all, "web", NEIGHBOUR);
    assert_int_equal(refused->reason, CBX_REASON_NOT_EXPOSED);
    assert_true(refused->by_target);
    uint64_t stale = world_count(all.cli, "stale_frames");
    assert_true(world_flow_of(all.cli, true, &flow));
    world_inject_copy(&flow, kept, 0); /* on its own label: that is over */
    world_run(all.world, 20000);
    assert_int_equal(world_count(all.cli, "stale_frames"), stale + 1);
    *expose = all_ports;
    hostile_set(refuse_with_kept, 1);
    hostile_dial(&all);
    hostile_run(&all);
    hostile_found(all.neighbour, CBX_REASON_INTEGRITY);
    assert_int_equal(world_count(all.cli, "integrity"), 1);
    hostile_untouched(all.victim);
    hostile_untouched(all.bystander);
}

static uint64_t word;

static enum world_verdict
refuse_handshake(struct world_flow *flow, struct cbx_frame *frame)
{
    struct world_flow back;
    if (!hostile_comes_from(flow, "cli", frame, CBX_FRAME_HANDSHAKE, 0) ||
        !hostile_names(&frame->field[1], "web") || !hostile_turn() ||
        !world_flow_of(all.cli, true, &back))
        return WORLD_PASS;
    struct cbx_field fields[] = {cbx_field_text("web"), cbx_field_text("cli"),
                                 cbx_field_uint(word)};
    for (int i = 0; i < 3; i++) /* repeated, too */
        world_inject(&back, CBX_FRAME_NO_HANDSHAKE, 0, fields, 3);
    return WORLD_DROP;
}

static void
a_refused_handshake_is_the_hubs_word(void **state)
{
    (void)state;
    static const struct {
        uint64_t word;
        enum cbx_reason reason;
    } each[] = {{CBX_REASON_PEER_AWAY, CBX_REASON_PEER_AWAY},
                {0, CBX_REASON_DENIED},
                {255, CBX_REASON_DENIED}};
    for (size_t i = 0; i < sizeof each / sizeof each[0]; i++) {
        uint64_t stale = world_count(all.cli, "stale_frames");
        word = each[i].word;
        hostile_set(refuse_handshake, 1);
        hostile_refused(hostile_try(&all, "web", VICTIM), each[i].reason);
        assert_int_equal(world_count(all.cli, "handshakes_refused"), i + 1);
        assert_int_equal(world_count(all.cli, "stale_frames"), stale + 2);
    }
    word = CBX_REASON_RESTARTED; /* then the chain is asked for anew */
    hostile_set(refuse_handshake, 1);
    hostile_untouched(hostile_try(&all, "web", VICTIM));
}

/* ---- handshakes ---- */

static uint64_t step;

static bool
is_handshake(const struct world_flow *flow, const struct cbx_frame *frame)
{
    return hostile_goes_to(flow, step == 1 ? "web" : "cli", frame, CBX_FRAME_HANDSHAKE, 0) &&
           frame->field[2].u == step;
}

static enum world_verdict
repeat_handshake(struct world_flow *flow, struct cbx_frame *frame)
{
    if (!is_handshake(flow, frame) || !hostile_turn())
        return WORLD_PASS;
    kept = world_keep(flow, frame);
    world_inject_copy(flow, kept, 0);
    world_inject_copy(flow, kept, 0);
    return WORLD_PASS;
}

static enum world_verdict
old_handshake(struct world_flow *flow, struct cbx_frame *frame)
{
    if (!is_handshake(flow, frame) || !hostile_turn())
        return WORLD_PASS;
    world_inject_copy(flow, kept, 0);
    return WORLD_DROP;
}

static void
a_repeated_first_message_is_answered_once(void **state)
{
    (void)state;
    struct world_flow flow;
    step = 1;
    hostile_set(repeat_handshake, 1);
    hostile_dial(&all);
    hostile_run(&all);
    assert_int_equal(world_count(all.web, "replayed"), 2);
    hostile_untouched(all.victim);
    hostile_untouched(all.neighbour);
    assert_true(world_flow_of(all.web, true, &flow));
    world_inject_copy(&flow, kept, 0); /* the session is in use */
    world_run(all.world, 50000);
    assert_int_equal(world_count(all.web, "replayed"), 3);
    restart_web(); /* it cannot know the old one: a session that nobody can use, and that goes */
    assert_true(world_flow_of(all.web, true, &flow));
    world_inject_copy(&flow, kept, 0);
    world_run(all.world, 100000);
    assert_non_null(peer_of(all.web, "cli")->unconfirmed);
    hostile_untouched(hostile_try(&all, "web", VICTIM));
    world_run(all.world, 12000000);
    assert_null(peer_of(all.web, "cli")->unconfirmed);
}

static void
a_repeated_second_message_is_dropped(void **state)
{
    (void)state;
    step = 2;
    hostile_set(repeat_handshake, 1);
    uint64_t stale = world_count(all.cli, "stale_frames");
    hostile_untouched(hostile_try(&all, "web", VICTIM));
    assert_int_equal(world_count(all.cli, "stale_frames"), stale + 2);
    mesh_peer_doubt_sessions(peer_of(all.cli, "web")); /* so that it makes another */
    hostile_set(old_handshake, 1);
    hostile_untouched(hostile_try(&all, "web", VICTIM)); /* at the second try */
    assert_int_equal(hostile_done, 1);
    assert_int_equal(world_count(all.cli, "handshakes_refused"), 1);
}

static enum world_verdict
change_handshake(struct world_flow *flow, struct cbx_frame *frame)
{
    if (!is_handshake(flow, frame) || !hostile_turn())
        return WORLD_PASS;
    struct cbx_field *field = &frame->field[changed_field < 6 ? changed_field : 5];
    if (changed_field < 2)
        *field = cbx_field_text("db");
    else if (changed_field == 2)
        field->u = 3 - field->u;
    else
        field->p[changed_field < 6 ? 0 : changed_field == 6 ? field->n / 2 : field->n - 1] ^= 1;
    return WORLD_CHANGED;
}

static uint64_t
handshake_counts(void)
{
    static const char *const name[] = {"integrity", "handshakes_refused", "stale_frames",
                                       "replayed"};
    uint64_t sum = 0;
    for (size_t i = 0; i < sizeof name / sizeof name[0]; i++)
        sum += world_count(all.web, name[i]) + world_count(all.cli, name[i]);
    return sum;
}

static void
a_changed_handshake_makes_no_session(void **state)
{
    (void)state;
    hostile_untouched(hostile_try(&all, "web", VICTIM));
    for (int i = 0; i < 16; i++) {
        step = i < 8 ? 1 : 2;
        changed_field = i % 8;
        uint64_t before = handshake_counts();
        mesh_peer_doubt_sessions(peer_of(all.cli, "web"));
        world_run(all.world, 1000000); /* five first messages a second at most */
        hostile_set(change_handshake, 1);
        struct world_program *program = hostile_try(&all, "web", VICTIM);
        assert_int_equal(hostile_done, 1);
        if (handshake_counts() == before)
            fail_msg("field %d of message %d: not counted", changed_field, (int)step);
        /* An unsealed refusal may have failed the dial; else the next handshake carried it. */
        if (program->reason)
            hostile_refused(program, CBX_REASON_DENIED);
        else
            hostile_untouched(program);
        hostile_set(NULL, 0);
        hostile_untouched(hostile_try(&all, "web", NEIGHBOUR));
    }
}

static enum world_verdict
change_confirm(struct world_flow *flow, struct cbx_frame *frame)
{
    if (!hostile_goes_to(flow, "web", frame, CBX_FRAME_CONFIRM, 0) || !hostile_turn())
        return WORLD_PASS;
    frame->field[changed_field].p[0] ^= 1;
    return WORLD_PASS;
}

static void
a_changed_confirmation_confirms_nothing(void **state)
{
    (void)state;
    hostile_untouched(hostile_try(&all, "web", VICTIM));
    for (changed_field = 2; changed_field < 4; changed_field++) {
        uint64_t before = handshake_counts();
        mesh_peer_doubt_sessions(peer_of(all.cli, "web"));
        hostile_set(change_confirm, 1);
        hostile_untouched(hostile_try(&all, "web", VICTIM)); /* its OPEN confirms */
        assert_int_equal(hostile_done, 1);
        assert_true(handshake_counts() > before);
    }
}

static enum world_verdict
reflect_handshake(struct world_flow *flow, struct cbx_frame *frame)
{
    struct world_flow back;
    if (!hostile_comes_from(flow, "cli", frame, CBX_FRAME_HANDSHAKE, 0) || !hostile_turn() ||
        !world_flow_of(all.cli, true, &back))
        return WORLD_PASS;
    struct cbx_field fields[] = {frame->field[1], frame->field[0], cbx_field_uint(1),
                                 frame->field[4], frame->field[3], frame->field[5]};
    world_inject(&back, CBX_FRAME_HANDSHAKE, 0, fields, 6);
    fields[2].u = 2;
    world_inject(&back, CBX_FRAME_HANDSHAKE, 0, fields, 6);
    return WORLD_DROP;
}

static void
its_own_handshake_sent_back_makes_no_session(void **state)
{
    (void)state;
    hostile_set(reflect_handshake, 1);
    hostile_untouched(hostile_try(&all, "web", VICTIM));
    assert_int_equal(hostile_done, 1);
    assert_true(world_count(all.cli, "handshakes_refused") >= 2);
}

/* ---- the directory ---- */

static enum world_verdict
lie_about_lives(struct world_flow *flow, struct cbx_frame *frame)
{
    if (!hostile_goes_to(flow, "cli", frame, CBX_FRAME_PEER, 0) ||
        !hostile_names(&frame->field[0], "web"))
        return WORLD_PASS;
    frame->field[4].p[0] ^= 1;
    frame->field[2].u += 1000; /* generation */
    frame->field[3].u += 1000; /* serial */
    hostile_done++;
    return WORLD_CHANGED;
}

static void
a_lie_about_a_life_is_corrected_by_the_peer(void **state)
{
    (void)state;
    hostile_set(lie_about_lives, 0);
    world_cut(all.cli);
    world_run(all.world, 100000);
    world_connect(all.cli); /* a new snapshot */
    assert_true(hostile_done > 0);
    hostile_untouched(hostile_try(&all, "web", VICTIM));
    assert_int_equal(world_count(all.cli, "hub_lies"), 1);
    uint64_t handshakes = world_count(all.cli, "handshakes");
    hostile_untouched(hostile_try(&all, "web", VICTIM));
    assert_int_equal(world_count(all.cli, "handshakes"), handshakes);
    hostile_set(NULL, 0);
    show(all.web);
    list("web", 1, junk_life); /* a made-up restart: one more handshake */
    hostile_untouched(hostile_try(&all, "web", VICTIM));
    assert_int_equal(world_count(all.cli, "hub_lies"), 2);
}

static void
a_directory_that_loses_a_peer_does_not_touch_its_streams(void **state)
{
    (void)state;
    static const struct {
        uint64_t state;
        enum cbx_reason reason;
    } each[] = {{0, CBX_REASON_PEER_AWAY}, {2, CBX_REASON_UNKNOWN_NAME}};
    for (size_t i = 0; i < 2; i++) {
        hostile_dial(&all);
        all.victim->gap_us = all.victim->far->gap_us = 3000;
        all.victim->pull_limit = all.victim->far->pull_limit = 2000;
        world_run(all.world, 40000);
        show(all.web);
        list("web", each[i].state, junk_life);
        assert_false(all.victim->closed);
        hostile_refused(hostile_try(&all, "web", NEIGHBOUR), each[i].reason);
        hostile_run(&all);
        hostile_untouched(all.victim);
        hostile_untouched(all.bystander);
        works_again();
    }
}

static void
a_directory_without_end_ends_the_link(void **state)
{
    (void)state;
    struct world_flow flow;
    assert_true(world_flow_of(all.cli, true, &flow));
    uint8_t hash[32] = {1};
    for (int i = 0; i < 2 * MESH_PEERS_MAX; i++) {
        char slug[16];
        snprintf(slug, sizeof slug, "ghost%d", i);
        struct cbx_field fields[] = {cbx_field_text(slug),
                                     cbx_field_uint(1),
                                     cbx_field_uint(1),
                                     cbx_field_uint(1),
                                     cbx_field_bytes(junk_life, CBX_LIFE_SIZE),
                                     cbx_field_bytes(hash, 32),
                                     cbx_field_text(""),
                                     cbx_field_text("")};
        world_inject(&flow, CBX_FRAME_PEER, 0, fields, 8);
    }
    all.cli->up = false;
    assert_true(world_until(all.world, 10000000, attach_is_over, all.cli));
    assert_int_equal(all.cli->lost_reason, CBX_REASON_PROTOCOL);
    assert_true(HASH_COUNT(all.cli->mesh->peers) <= MESH_PEERS_MAX);
    world_connect(all.cli); /* the snapshot of the new link drops them */
    assert_int_equal(HASH_COUNT(all.cli->mesh->peers), 3);
    hostile_untouched(hostile_try(&all, "web", VICTIM));
}

/* ---- allowances ---- */

static enum world_verdict
drop_allow(struct world_flow *flow, struct cbx_frame *frame)
{
    return hostile_goes_to(flow, "cli", frame, CBX_FRAME_ALLOW, 0) ? WORLD_DROP : WORLD_PASS;
}

static void
allow(uint64_t sequence, uint64_t value)
{
    struct world_flow flow;
    struct cbx_field fields[] = {cbx_field_uint(sequence), cbx_field_uint(value)};
    assert_true(world_flow_of(all.cli, true, &flow));
    world_inject(&flow, CBX_FRAME_ALLOW, 0, fields, 2);
    world_run(all.world, 20000);
}

static void
a_lie_about_the_allowance_bounds_memory_and_nothing_else(void **state)
{
    (void)state;
    struct mesh *mesh = all.cli->mesh;
    mesh->config.receive_budget = 100000;
    hostile_set(drop_allow, 0); /* what its honest part answers */
    hostile_dial(&all);
    all.victim->pull_limit = all.victim->far->pull_limit = 1000;
    all.victim->gap_us = all.victim->far->gap_us = 2000;
    allow(1, UINT64_MAX); /* its own budget stands */
    assert_true(mesh->budget.total <= 100000 && mesh->budget.used <= 100000);
    allow(2, 0); /* nothing new; what runs goes on at its floor */
    hostile_refused(hostile_try(&all, "web", VICTIM), CBX_REASON_OVERLOADED);
    hostile_run(&all);
    hostile_untouched(all.victim);
    hostile_untouched(all.neighbour);
    hostile_untouched(all.bystander);
    assert_int_equal(mesh->budget.used, 0);
    allow(3, 1); /* below one floor */
    hostile_refused(hostile_try(&all, "web", VICTIM), CBX_REASON_OVERLOADED);
    allow(4, 1 << 20);
    hostile_untouched(hostile_try(&all, "web", VICTIM));
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
        TEST(a_greeting_that_is_not_ours_ends_the_link),
        TEST(acknowledged_bytes_that_were_never_sent_end_the_link),
        TEST(a_dial_sent_to_another_port_is_refused),
        TEST(a_changed_field_of_open_is_refused),
        TEST(a_dial_sent_to_another_peer_is_refused),
        TEST(a_repeated_open_is_taken_once),
        TEST(a_repeated_refusal_refuses_nothing_else),
        TEST(a_refused_handshake_is_the_hubs_word),
        TEST(a_repeated_first_message_is_answered_once),
        TEST(a_repeated_second_message_is_dropped),
        TEST(a_changed_handshake_makes_no_session),
        TEST(a_changed_confirmation_confirms_nothing),
        TEST(its_own_handshake_sent_back_makes_no_session),
        TEST(a_lie_about_a_life_is_corrected_by_the_peer),
        TEST(a_directory_that_loses_a_peer_does_not_touch_its_streams),
        TEST(a_directory_without_end_ends_the_link),
        TEST(a_lie_about_the_allowance_bounds_memory_and_nothing_else),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
