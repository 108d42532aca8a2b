/* SPDX-License-Identifier: MIT */
/*
 * Rules that need hub and agents together, and neither an attack nor a load: what is on disk before
 * what, clocks, sessions made by both sides, identities of streams, one answer about who is alive.
 * CBX_SEED replays a run.
 */
#include "agent/mesh/base.h"
#include "agent/mesh/dial.h"
#include "agent/mesh/peer.h"
#include "agent/mesh/session.h"
#include "agent/mesh/stream.h"
#include "filter.h"
#include "hub/core/edit.h"
#include "hub/core/link.h"
#include "pipe.h"
#include "world.h"
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

enum { MS = 1000, SECOND = 1000 * MS };
static const int64_t DAY_S = 86400;
static const struct world_path near = {.delay_us = 2 * MS};

/* How often each type of frame went by, to and from each agent; what is dropped. */
static uint32_t to_agent[WORLD_AGENTS_MAX][CBX_FRAME_TYPE_MAX + 1];
static uint32_t from_agent[WORLD_AGENTS_MAX][CBX_FRAME_TYPE_MAX + 1];
static bool (*drops)(const struct world_flow *flow, const struct cbx_frame *frame);

static enum world_verdict
count(struct world_flow *flow, struct cbx_frame *frame)
{
    uint32_t i = 0;
    while (i < flow->world->agent_count && flow->world->agent[i] != flow->agent)
        i++;
    (flow->to_agent ? to_agent : from_agent)[i][frame->type]++;
    return drops && drops(flow, frame) ? WORLD_DROP : WORLD_PASS;
}

static struct world *the;
static struct world_agent *web, *cli; /* 0 and 1 in the counts */

static int
begin(void **state)
{
    (void)state;
    memset(to_agent, 0, sizeof to_agent);
    memset(from_agent, 0, sizeof from_agent);
    drops = NULL;
    the = world_new(world_seed(), 0);
    the->filter = count;
    web = world_agent(the, "web", "8080,8081", near);
    cli = world_agent(the, "cli", "8080", near);
    return 0;
}

static int
end(void **state)
{
    (void)state;
    world_free(the);
    return 0;
}

static void
works(struct world_agent *from, const char *slug)
{
    struct world_program *program = world_dial(from, slug, 8080, 3000, 3000);
    assert_true(world_until(the, 20 * SECOND, world_closed, program));
    assert_true(world_is_clean(program));
}

/* An open stream without end, both ways at rest. */
static struct world_program *
rests(struct world_agent *from, const char *slug)
{
    struct world_program *program = world_dial(from, slug, 8081, 10, 10);
    program->hold_end = program->far->hold_end = true;
    world_run(the, SECOND);
    assert_true(program->opened && !program->closed);
    assert_int_equal(program->received, 10);
    return program;
}

static void
finish(struct world_program *program)
{
    struct world_program *both[] = {program, program->far};
    for (int i = 0; i < 2; i++) {
        both[i]->hold_end = false;
        both[i]->blocked_out = true; /* so that it is asked again */
    }
    assert_true(world_until(the, 20 * SECOND, world_closed, program));
    world_run(the, SECOND);
    assert_true(world_is_clean(program) && world_is_clean(program->far));
}

/* ---- on disk first (rules 3, 6, 7) ---- */

static void
a_peer_is_stored_before_its_first_use(void **state)
{
    (void)state;
    cli->disk_waits = true;
    struct world_program *program = world_dial(cli, "web", 8080, 100, 100);
    world_run(the, 5 * SECOND);
    assert_int_equal(from_agent[1][CBX_FRAME_CHAIN_GET], 1);
    assert_true(cli->store_due);
    assert_int_equal(world_peer(cli, "web")->trust, MESH_TRUST_STORING);
    assert_int_equal(from_agent[1][CBX_FRAME_HANDSHAKE], 0);
    cli->disk_waits = false;
    assert_true(world_until(the, 5 * SECOND, world_closed, program));
    assert_true(world_is_clean(program));
}

/* The one that is dialed believes by the same rule. */
static void
a_dialer_is_stored_before_it_is_answered(void **state)
{
    (void)state;
    web->disk_waits = true;
    struct world_program *program = world_dial(cli, "web", 8080, 100, 100);
    world_run(the, 2 * SECOND);
    assert_true(to_agent[0][CBX_FRAME_HANDSHAKE] > 0);
    assert_true(web->store_due);
    assert_int_equal(from_agent[0][CBX_FRAME_HANDSHAKE], 0);
    web->disk_waits = false;
    assert_true(world_until(the, 10 * SECOND, world_closed, program));
    assert_true(world_is_clean(program));
}

/* Refused at once, with the reason, however often; and all is well when there is room again. */
static void
dials_of_a_peer_that_cannot_be_stored_are_refused(struct world_agent *full)
{
    full->disk_full = true;
    for (int i = 0; i < 3; i++) {
        struct world_program *program = world_dial(cli, "web", 8080, 100, 100);
        assert_true(world_until(the, SECOND, world_closed, program));
        assert_int_equal(program->reason, CBX_REASON_STORAGE);
    }
    full->disk_full = false;
    works(cli, "web");
}

static void
a_dial_whose_peer_cannot_be_stored_is_refused_at_once(void **state)
{
    (void)state;
    dials_of_a_peer_that_cannot_be_stored_are_refused(cli);
}

static void
a_dialer_that_cannot_be_stored_is_refused_at_once(void **state)
{
    (void)state;
    dials_of_a_peer_that_cannot_be_stored_are_refused(web);
}

static void
what_is_stored_is_serial_and_identity(void **state)
{
    (void)state;
    works(cli, "web");
    assert_int_equal(cli->mesh->known_count, 1);
    const struct mesh_known *known = &cli->mesh->known[0];
    assert_string_equal(known->slug, "web");
    assert_int_equal(known->serial, web->joined.invite.serial);
    assert_memory_equal(known->identity, web->identity.sign.public_key, 32);
}

static void
a_generation_is_on_disk_before_welcome(void **state)
{
    (void)state;
    uint64_t before = cli->mesh->generation;
    world_cut(cli);
    world_run(the, 100 * MS);
    uint32_t welcomes = to_agent[1][CBX_FRAME_WELCOME];
    the->hub_disk_waits = true;
    world_begin(cli);
    world_run(the, 5 * SECOND);
    assert_true(the->tickets > 0);
    assert_int_equal(to_agent[1][CBX_FRAME_WELCOME], welcomes);
    assert_false(cli->up);
    the->hub_disk_waits = false;
    world_run(the, SECOND);
    assert_true(cli->up);
    assert_true(cli->mesh->generation > before);
    assert_int_equal(cli->mesh->generation,
                     registry_peer(the->registry, "demo", "cli")->generation);
}

static void
a_join_is_on_disk_before_it_is_answered(void **state)
{
    (void)state;
    struct world_agent *late = world_invite(the, "late", NULL, near);
    world_run(the, SECOND);
    the->hub_disk_waits = true;
    world_join_begin(late);
    world_run(the, 5 * SECOND);
    assert_int_equal(from_agent[2][CBX_FRAME_JOIN], 1);
    assert_int_equal(to_agent[2][CBX_FRAME_JOINED], 0);
    the->hub_disk_waits = false;
    world_run(the, SECOND);
    assert_int_equal(to_agent[2][CBX_FRAME_JOINED], 1);
    assert_true(late->has_joined);
}

/* ---- order is a serial, ends are by one's own clock (rule 3) ---- */

/* Listing a higher serial, or an invite that nobody has joined by, displaces nobody. */
static void
a_newer_invite_counts_once_it_is_joined(void **state)
{
    (void)state;
    struct world_program *program = rests(cli, "web");
    struct world_agent *next = world_invite(the, "web", "8080", near);
    world_run(the, SECOND);
    assert_true(web->up && !program->closed);
    works(cli, "web");
    world_join(next);
    assert_true(next->has_joined);
    world_run(the, SECOND);
    assert_false(web->up);
    assert_int_equal(web->lost_reason, CBX_REASON_SUPERSEDED);
    world_start(next);
    world_connect(next);
    works(cli, "web");
    assert_int_equal(cli->mesh->known[0].serial, next->joined.invite.serial);
}

static void
only_the_agents_own_clock_ends_a_certificate(void **state)
{
    (void)state;
    world_cut(cli);
    world_run(the, 100 * MS);
    the->hub_clock_s = -20 * DAY_S; /* nor does the hub's make it good again */
    world_connect(cli);
    works(cli, "web");
    the->unix_base += 31 * DAY_S;
    the->hub_clock_s -= 31 * DAY_S;
    struct world_agent *late = world_invite(the, "late", NULL, near);
    world_join(late);
    assert_true(late->has_joined);
    world_start(late);
    world_connect(late);
    struct world_program *program = world_dial(late, "web", 8080, 100, 100);
    assert_true(world_until(the, 20 * SECOND, world_closed, program));
    assert_int_equal(program->reason, CBX_REASON_EXPIRED);
    assert_false(program->opened);
}

/* web's certificate ends 20 days before cli's. */
static void
let_web_end_first(void)
{
    static const int64_t HALF = 20 * DAY_S;
    the->unix_base += HALF;
    the->direct = true;
    cli = world_agent(the, "late", "8081", near);
    the->unix_base += 30 * DAY_S - HALF;
}

/* Sessions, streams, the link and the place in the directory end together, at both ends and at the
 * hub, whether or not anybody dials. */
static void
what_a_certificate_gave_ends_with_it(void **state)
{
    (void)state;
    let_web_end_first();
    struct world_program *program = rests(cli, "web"), *other = rests(web, "late");
    world_run(the, 3 * SECOND);
    the->unix_base += CBX_CLOCK_GRACE_S - 10; /* not yet */
    world_run(the, 3 * SECOND);
    assert_true(web->up && !program->closed && !other->closed);
    uint64_t expired = the->hub->count.expired;
    the->unix_base += 10;
    world_run(the, 1500 * MS);
    assert_true(program->closed && other->closed && program->far->closed && other->far->closed);
    assert_false(world_is_clean(program) || world_is_clean(other));
    assert_int_equal(web->lost_reason, CBX_REASON_EXPIRED);
    assert_int_equal(the->hub->count.expired, expired + 2); /* and the first cli, which rests */
    assert_null(registry_peer(the->registry, the->pond, "web"));
    struct world_program *late = world_dial(cli, "web", 8080, 100, 100);
    assert_true(world_until(the, SECOND, world_closed, late));
    assert_int_equal(late->reason, CBX_REASON_UNKNOWN_NAME);
}

/* The hub is no judge of it: an agent ends by its own clock what the hub lets go on. */
static void
a_hub_that_is_late_does_not_lengthen_it(void **state)
{
    (void)state;
    let_web_end_first();
    struct world_program *program = rests(cli, "web");
    world_run(the, 3 * SECOND);
    the->hub_clock_s -= 2 * CBX_CLOCK_GRACE_S;
    the->unix_base += CBX_CLOCK_GRACE_S;
    world_run(the, 1500 * MS);
    assert_true(program->closed && program->far->closed);
    assert_int_equal(program->reason, CBX_REASON_EXPIRED);
    assert_null(world_peer(cli, "web")->direct);
    assert_int_equal(world_peer(cli, "web")->session_count, 0);
}

/* Dials web, which is refused as expired, and what is said to people about it holds these. */
static void
expired_says(struct world_agent *from, const char *slug, const char *first, const char *second)
{
    char text[400];
    struct world_program *program = world_dial(from, slug, 8080, 100, 100);
    assert_true(world_until(the, 20 * SECOND, world_closed, program));
    assert_int_equal(program->reason, CBX_REASON_EXPIRED);
    mesh_remedy(from->mesh, slug, program->reason, text, sizeof text);
    if (!strstr(text, first) || !strstr(text, second))
        fail_msg("\"%s\" lacks \"%s\" or \"%s\"", text, first, second);
}

static void
expired_names_the_clock_that_is_wrong_and_ends_when_it_is_set(void **state)
{
    (void)state;
    cli->clock_s = 60 * DAY_S;
    world_cut(cli);
    world_run(the, 100 * MS);
    world_connect(cli);
    expired_says(cli, "web",
                 "certificate ended 30 days ago by this box's clock, which is 60 days ahead",
                 "the hub's: set this box's clock");
    expired_says(web, "cli", "that box's clock says",
                 "agrees with the hub's: set that box's clock");
    cli->clock_s = 0;
    works(cli, "web");
    works(web, "cli");
}

static void
expired_by_all_clocks_asks_for_an_invite(void **state)
{
    (void)state;
    the->unix_base += 31 * DAY_S;
    world_cut(cli);
    world_run(the, 100 * MS);
    world_connect(cli);
    expired_says(cli, "web", "ended 24 hours ago by this box's clock, which agrees with the hub's",
                 ": invite that lease again");
}

/* ---- sessions (rule 13) ---- */

static void
handshakes_that_cross_both_serve(void **state)
{
    (void)state;
    struct world_program *one = world_dial(cli, "web", 8080, 5000, 5000);
    struct world_program *two = world_dial(web, "cli", 8080, 5000, 5000);
    assert_true(world_until(the, 10 * SECOND, world_all_closed, the));
    assert_true(world_is_clean(one) && world_is_clean(two));
    /* Each began one, each answered the other's, and nobody began another. */
    for (int i = 0; i < 2; i++)
        assert_int_equal(from_agent[i][CBX_FRAME_HANDSHAKE], 2);
    assert_int_equal(world_count(cli, "handshakes"), 1);
    assert_int_equal(world_count(web, "handshakes"), 1);
    assert_int_equal(world_peer(cli, "web")->session_count, 2);
    assert_int_equal(world_peer(web, "cli")->session_count, 2);
}

/* Its dial was given up meanwhile: no OPEN will confirm it. */
static void
the_initiator_confirms_at_once(void **state)
{
    (void)state;
    struct world_program *program = world_dial(cli, "web", 8080, 100, 100);
    while (from_agent[1][CBX_FRAME_HANDSHAKE] == 0)
        world_step(the);
    world_reset(program);
    world_run(the, 100 * MS);
    assert_int_equal(from_agent[1][CBX_FRAME_OPEN], 0);
    assert_int_equal(from_agent[1][CBX_FRAME_CONFIRM], 1);
    assert_null(world_peer(web, "cli")->unconfirmed);
    assert_int_equal(world_peer(web, "cli")->session_count, 1);
}

/* All by which cli could confirm, and RESET, whose label the hub has never heard of then. */
static bool
confirms(const struct world_flow *flow, const struct cbx_frame *frame)
{
    return flow->agent == cli && !flow->to_agent &&
           (frame->type == CBX_FRAME_CONFIRM || frame->type == CBX_FRAME_OPEN ||
            frame->type == CBX_FRAME_RESET);
}

static void
give_up(struct world_program *program)
{
    world_reset(program);
    world_run(the, 100 * MS);
}

static void
until_a_record_of_the_initiator_opened_nothing_is_replaced(void **state)
{
    (void)state;
    works(cli, "web");
    struct mesh_peer *peer = world_peer(web, "cli");
    struct mesh_session *old = mesh_peer_newest(peer);
    drops = confirms;
    mesh_peer_suspect_sessions(world_peer(cli, "web"));
    struct world_program *lost = world_dial(cli, "web", 8080, 100, 100);
    world_run(the, 500 * MS);
    struct mesh_session *unconfirmed = peer->unconfirmed;
    assert_non_null(unconfirmed);
    assert_ptr_equal(mesh_peer_newest(peer), old);
    struct world_program *back = world_dial(web, "cli", 8080, 3000, 3000);
    assert_true(world_until(the, 5 * SECOND, world_closed, back));
    assert_true(world_is_clean(back)); /* by the one that it had */
    assert_ptr_equal(mesh_peer_newest(peer), old);
    assert_ptr_equal(peer->unconfirmed, unconfirmed);
    assert_int_equal(world_count(web, "handshakes"), 0);
    world_run(the, 12 * SECOND);
    assert_null(peer->unconfirmed);
    give_up(lost);
    drops = NULL;
    works(cli, "web");
}

/* A responder that has no other session makes one of its own rather than use it. */
static void
an_unconfirmed_session_sends_nothing(void **state)
{
    (void)state;
    drops = confirms;
    struct world_program *lost = world_dial(cli, "web", 8080, 100, 100);
    world_run(the, 500 * MS);
    assert_non_null(world_peer(web, "cli")->unconfirmed);
    assert_int_equal(from_agent[0][CBX_FRAME_OPEN], 0);
    works(web, "cli");
    assert_int_equal(world_count(web, "handshakes"), 1);
    give_up(lost);
}

static void
one_unconfirmed_session_per_peer(void **state)
{
    (void)state;
    drops = confirms;
    struct mesh_session *before = NULL;
    for (int i = 0; i < 4; i++) {
        struct world_program *program = world_dial(cli, "web", 8080, 100, 100);
        world_run(the, SECOND);
        struct mesh_peer *peer = world_peer(web, "cli");
        assert_non_null(peer->unconfirmed);
        assert_ptr_not_equal(peer->unconfirmed, before);
        assert_int_equal(peer->session_count, 0);
        before = peer->unconfirmed;
        give_up(program);
        mesh_peer_suspect_sessions(world_peer(cli, "web"));
    }
    assert_true(web->up && cli->up);
}

/* ---- epochs and identities of streams (rules 15, 18) ---- */

static uint64_t
epoch_of(const struct world_program *program)
{
    assert_non_null(program->stream);
    return program->stream->core.send_keys.epoch;
}

/* The defaults; by bytes at a smaller number: test_stream_flow. Here a direction that has all but
 * used up its records: of data, or the control ones of a side that only receives. */
static void
an_epoch_ends_after_64_gib_or_2_to_the_32_records(void **state)
{
    (void)state;
    const uint64_t records = UINT64_C(1) << 32;
    assert_int_equal(cli->mesh->env.epoch_bytes_max, UINT64_C(64) << 30);
    for (int control = 0; control < 2; control++) {
        struct world_program *program = rests(cli, "web");
        struct cbx_stream *core = &program->stream->core, *far = &program->far->stream->core;
        if (control)
            far->send_keys.control_next = core->receive_keys.control_next = records - 2;
        else
            core->send_keys.data_next = far->receive_keys.data_next = records - 2;
        for (int part = 1; part <= 4; part++) {
            program->to_send = program->far->expected = 10 + (uint64_t)part;
            program->blocked_out = true;
            world_run(the, SECOND);
            if (part == 1 || part == 4)
                assert_int_equal(epoch_of(control ? program->far : program), part == 1 ? 1 : 2);
        }
        finish(program);
    }
}

static void
age_sessions(struct world_agent *agent)
{
    struct mesh_peer *peer, *next;
    HASH_ITER(hh, agent->mesh->peers, peer, next) {
        struct mesh_session *session = TAILQ_FIRST(&peer->sessions);
        if (session)
            session->born -= MESH_RENEW_US;
    }
}

/* It never sends: its session is renewed after an hour all the same, and the old one is wiped. */
static void
a_stream_at_rest_moves_to_the_newer_session_and_the_old_one_goes(void **state)
{
    (void)state;
    struct world_program *program = rests(cli, "web");
    uint8_t old[CBX_SESSION_ID_SIZE];
    memcpy(old, mesh_peer_newest(world_peer(cli, "web"))->keys.id, sizeof old);
    world_run(the, 5 * SECOND);
    assert_int_equal(epoch_of(program), 1);
    age_sessions(cli);
    world_run(the, 5 * SECOND);
    assert_int_equal(epoch_of(program), 2);
    assert_int_equal(epoch_of(program->far), 2);
    assert_memory_not_equal(mesh_peer_newest(world_peer(cli, "web"))->keys.id, old, sizeof old);
    world_run(the, 70 * SECOND);
    assert_null(mesh_peer_session_by_id(world_peer(cli, "web"), old));
    assert_null(mesh_peer_session_by_id(world_peer(web, "cli"), old));
    assert_int_equal(world_peer(cli, "web")->session_count, 1);
    assert_int_equal(world_peer(web, "cli")->session_count, 1);
    finish(program);
}

static bool
first_open(const struct world_flow *flow, const struct cbx_frame *frame)
{
    return frame->type == CBX_FRAME_OPEN && !flow->to_agent && flow->agent == cli &&
           frame->label == 3;
}

static bool
one_is_left(void *arg)
{
    struct world_program **program = arg;
    for (int i = 1; i < MESH_UNANSWERED_MAX; i++) {
        if (!program[i]->closed)
            return false;
    }
    return true;
}

static void
a_dialer_is_never_4096_ahead_of_its_oldest_unanswered_dial(void **state)
{
    (void)state;
    enum { DIALS = MESH_UNANSWERED_MAX + 50 };
    static struct world_program *program[DIALS];
    works(cli, "web"); /* label 1 */
    drops = first_open;
    uint64_t oldest = cli->mesh->next_counter;
    for (int i = 0; i < DIALS; i++)
        program[i] = world_dial(cli, "web", 8080, 1, 0);
    assert_true(world_until(the, 25 * SECOND, one_is_left, program));
    world_run(the, SECOND);
    assert_false(program[0]->closed);
    assert_int_equal(cli->mesh->next_counter, oldest + MESH_UNANSWERED_MAX);
    for (int i = 1; i < DIALS; i++)
        assert_int_equal(program[i]->opened, i < MESH_UNANSWERED_MAX);
    world_run(the, 35 * SECOND);
    assert_int_equal(program[0]->reason, CBX_REASON_TIMED_OUT);
    /* The others' time is over, too; who dials now is not held up. */
    works(cli, "web");
}

/* ---- links (rules 7, 22) ---- */

static void
a_link_without_room_for_an_allowance_is_refused_as_overloaded(void **state)
{
    (void)state;
    struct world *small = world_new(world_seed(), 100 * 1024);
    world_agent(small, "one", NULL, near);
    struct world_agent *two = world_invite(small, "two", NULL, near);
    world_join(two);
    assert_true(two->has_joined);
    world_start(two);
    world_begin(two);
    world_run(small, SECOND);
    assert_false(two->up);
    assert_int_equal(two->lost_reason, CBX_REASON_OVERLOADED);
    assert_true(two->lost_retry_ms > 0);
    assert_true(small->agent[0]->up);
    world_cut(small->agent[0]);
    world_run(small, SECOND);
    world_connect(two); /* there is room now */
    world_free(small);
}

/* Two at once, so that the end of each is news that the other is about to miss, too. */
static void
links_without_room_for_their_directory_are_closed(void **state)
{
    (void)state;
    struct cbx_error error;
    uint64_t ticket;
    uint32_t waiting[2];
    struct hub_link *link[2] = {registry_peer(the->registry, "demo", "web")->live,
                                registry_peer(the->registry, "demo", "cli")->live};
    world_agent(the, "db", "8080", near);
    world_run(the, SECOND);
    for (int i = 0; i < 2; i++) {
        waiting[i] = link[i]->pump.link.control_count;
        link[i]->pump.link.control_count = CBX_LINK_CONTROL_MAX;
    }
    assert_int_equal(hub_core_revoke(the->hub, "demo", "db", &ticket, &error), 0);
    for (int i = 0; i < 2; i++) {
        assert_true(link[i]->behind);
        assert_int_equal(link[i]->phase, HUB_READY); /* until the flush */
        link[i]->pump.link.control_count = waiting[i];
    }
    world_run(the, SECOND);
    assert_false(web->up || cli->up);
    assert_int_equal(web->lost_reason, CBX_REASON_OVERLOADED);
    assert_int_equal(cli->lost_reason, CBX_REASON_OVERLOADED);
    assert_true(web->lost_retry_ms > 0);
    assert_true(hub_core_idle(the->hub));
    world_connect(web);
    world_connect(cli);
    works(cli, "web");
}

/* At every step: a peer has a link exactly where the hub calls it attached, and circuits only
 * there; an agent says that it is attached exactly while it has a link. */
static void
one_answer(struct world *world)
{
    const struct hub_link *link;
    uint32_t circuits = 0;
    TAILQ_FOREACH(link, &world->hub->links, entry) {
        if (link->peer)
            assert_ptr_equal(link->peer->live, link);
        if (link->phase != HUB_READY)
            assert_int_equal(link->circuits, 0);
        circuits += link->circuits;
    }
    if (circuits == 0)
        assert_int_equal(world->hub->held, 0);
    for (uint32_t i = 0; i < world->agent_count; i++) {
        const struct mesh *mesh = world->agent[i]->mesh;
        assert_true(!mesh || mesh->has_pump == (mesh->phase != MESH_DOWN));
        assert_true(!mesh || mesh->has_pump || TAILQ_EMPTY(&mesh->streams));
    }
}

static bool
is_away(void *arg)
{
    (void)arg;
    return registry_peer(the->registry, "demo", "web")->live == NULL;
}

static bool
knows(void *arg)
{
    (void)arg;
    return !web->up;
}

/* Nothing comes through any more, and nobody says so: both ends find it by themselves. */
static void
what_is_called_dead_is_closed_in_the_same_step(void **state)
{
    (void)state;
    the->check = one_answer;
    struct world_program *program = rests(cli, "web");
    uint64_t left = the->hub->circuit_count;
    assert_int_equal(left, 1);
    world_run(the, 100 * SECOND); /* at rest, and pings suffice */
    assert_true(web->up && cli->up && !program->closed);
    web->pipe->path.delay_us = INT64_MAX / 4;
    int64_t since = the->now;
    assert_true(world_until(the, 60 * SECOND, is_away, NULL));
    assert_in_range(the->now - since, 44 * SECOND - 15 * SECOND, 46 * SECOND);
    assert_int_equal(the->hub->circuit_count, 0);
    assert_true(world_until(the, 30 * SECOND, knows, NULL));
    world_run(the, SECOND);
    assert_true(program->closed && program->far->closed);
    assert_int_equal(program->reason, CBX_REASON_LOST);
    assert_false(world_peer(cli, "web")->ready);
    world_connect(web); /* its name is free */
    world_run(the, SECOND);
    works(cli, "web");
}

/* ---- the directory, ends (rules 24, 27) ---- */

static void
a_chain_is_fetched_at_first_use_and_once(void **state)
{
    (void)state;
    world_run(the, SECOND);
    assert_true(to_agent[1][CBX_FRAME_PEER] > 0);
    assert_int_equal(from_agent[0][CBX_FRAME_CHAIN_GET] + from_agent[1][CBX_FRAME_CHAIN_GET], 0);
    works(cli, "web");
    works(cli, "web");
    world_cut(cli);
    world_run(the, 100 * MS);
    world_connect(cli);
    works(cli, "web");
    assert_int_equal(from_agent[1][CBX_FRAME_CHAIN_GET], 1);
    assert_int_equal(from_agent[0][CBX_FRAME_CHAIN_GET], 1);
}

static void
a_finished_stream_leaves_a_tombstone(void **state)
{
    (void)state;
    struct world_program *program = world_dial(cli, "web", 8080, 1000, 3000);
    assert_true(world_until(the, 10 * SECOND, world_closed, program));
    world_run(the, SECOND);
    for (int i = 0; i < 2; i++) {
        const struct mesh *mesh = i ? web->mesh : cli->mesh;
        const struct mesh_tombstone *stone = &mesh->tombstone[0];
        assert_int_equal(mesh->tombstone_next, 1);
        assert_memory_equal(stone->id, program->far->id, CBX_STREAM_ID_SIZE);
        assert_int_equal(stone->sent, i ? 3001 : 1001); /* the FIN counts as one */
        assert_int_equal(stone->received, i ? 1001 : 3001);
        assert_true(stone->clean);
    }
}

/* ---- the simulator itself ---- */

struct trace {
    int64_t now;
    uint64_t steps, random, frames, bytes;
};

static struct trace
a_run(uint64_t seed)
{
    struct world *world = world_new(seed, 0);
    struct world_path path = {.rate = 3000000, .delay_us = 7 * MS, .chop = 5000, .stall_1_in = 5};
    world_agent(world, "web", "8080", path);
    struct world_agent *agent = world_agent(world, "cli", NULL, path);
    for (int i = 0; i < 6; i++) {
        struct world_program *program =
            world_dial(agent, "web", 8080, world_random(world, 200000), world_random(world, 99999));
        program->push_chop = 4000;
    }
    assert_true(world_until(world, 60 * SECOND, world_all_closed, world));
    assert_true(world_all_clean(world));
    struct trace trace = {.now = world->now,
                          .steps = world->steps,
                          .random = world->random,
                          .frames = world->hub->count.relayed_frames,
                          .bytes = world->hub->count.relayed_bytes};
    world_free(world);
    return trace;
}

static void
the_same_seed_replays_the_same_run(void **state)
{
    (void)state;
    struct trace one = a_run(42), again = a_run(42), other = a_run(43);
    assert_memory_equal(&one, &again, sizeof one);
    assert_memory_not_equal(&one, &other, sizeof one);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, begin, end)

int
main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(a_peer_is_stored_before_its_first_use),
        TEST(a_dialer_is_stored_before_it_is_answered),
        TEST(a_dial_whose_peer_cannot_be_stored_is_refused_at_once),
        TEST(a_dialer_that_cannot_be_stored_is_refused_at_once),
        TEST(what_is_stored_is_serial_and_identity),
        TEST(a_generation_is_on_disk_before_welcome),
        TEST(a_join_is_on_disk_before_it_is_answered),
        TEST(a_newer_invite_counts_once_it_is_joined),
        TEST(only_the_agents_own_clock_ends_a_certificate),
        TEST(what_a_certificate_gave_ends_with_it),
        TEST(a_hub_that_is_late_does_not_lengthen_it),
        TEST(expired_names_the_clock_that_is_wrong_and_ends_when_it_is_set),
        TEST(expired_by_all_clocks_asks_for_an_invite),
        TEST(handshakes_that_cross_both_serve),
        TEST(the_initiator_confirms_at_once),
        TEST(until_a_record_of_the_initiator_opened_nothing_is_replaced),
        TEST(an_unconfirmed_session_sends_nothing),
        TEST(one_unconfirmed_session_per_peer),
        TEST(an_epoch_ends_after_64_gib_or_2_to_the_32_records),
        TEST(a_stream_at_rest_moves_to_the_newer_session_and_the_old_one_goes),
        TEST(a_dialer_is_never_4096_ahead_of_its_oldest_unanswered_dial),
        TEST(a_link_without_room_for_an_allowance_is_refused_as_overloaded),
        TEST(links_without_room_for_their_directory_are_closed),
        TEST(what_is_called_dead_is_closed_in_the_same_step),
        TEST(a_chain_is_fetched_at_first_use_and_once),
        TEST(a_finished_stream_leaves_a_tombstone),
        cmocka_unit_test(the_same_seed_replays_the_same_run),
    };
    return WORLD_RUN(tests);
}
