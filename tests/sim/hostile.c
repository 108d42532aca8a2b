/* SPDX-License-Identifier: MIT */
#include "hostile.h"
#include "agent/mesh/peer.h"
#include <stdlib.h>

enum world_verdict (*hostile_act)(struct world_flow *flow, struct cbx_frame *frame);
int hostile_left, hostile_done;
struct hostile hostile;
struct hostile_touch hostile_touch;
const uint8_t hostile_life[CBX_INCARNATION_SIZE] = {1, 2, 3};

static enum world_verdict
filter(struct world_flow *flow, struct cbx_frame *frame)
{
    return hostile_act ? hostile_act(flow, frame) : WORLD_PASS;
}

void
hostile_set(enum world_verdict (*act)(struct world_flow *flow, struct cbx_frame *frame), int times)
{
    hostile_act = act;
    hostile_left = times;
    hostile_done = 0;
}

bool
hostile_turn(void)
{
    if (hostile_left == 0)
        return false;
    hostile_left--;
    hostile_done++;
    return true;
}

int
hostile_begin(void **state)
{
    (void)state;
    struct world_path path = {.delay_us = 1000};
    memset(&hostile, 0, sizeof hostile);
    hostile.world = world_new(world_seed(), 0);
    hostile_set(NULL, 0);
    hostile.world->filter = filter;
    hostile.web = world_agent(hostile.world, "web", "8080,8081", path);
    hostile.db = world_agent(hostile.world, "db", "8080,5432", path);
    hostile.cli = world_agent(hostile.world, "cli", "8080", path);
    return 0;
}

int
hostile_end(void **state)
{
    (void)state;
    hostile_nothing_false();
    world_free(hostile.world);
    hostile_set(NULL, 0);
    return 0;
}

bool
hostile_names(const struct cbx_field *field, const char *text)
{
    return field->n == strlen(text) && memcmp(field->p, text, field->n) == 0;
}

bool
hostile_goes_to(const struct world_flow *flow, const char *slug, const struct cbx_frame *frame,
                enum cbx_frame_type type, uint16_t port)
{
    return flow->to_agent && strcmp(flow->agent->slug, slug) == 0 && frame->type == type &&
           flow->port == port;
}

bool
hostile_comes_from(const struct world_flow *flow, const char *slug, const struct cbx_frame *frame,
                   enum cbx_frame_type type, uint16_t port)
{
    return !flow->to_agent && strcmp(flow->agent->slug, slug) == 0 && frame->type == type &&
           flow->port == port;
}

bool
hostile_touched(const struct world_flow *flow, const struct cbx_frame *frame)
{
    return hostile_goes_to(flow, hostile_touch.to, frame, hostile_touch.type, VICTIM) &&
           hostile_touch.skip-- <= 0 && hostile_turn();
}

void
hostile_dial(void)
{
    hostile.integrity_web = world_count(hostile.web, "integrity");
    hostile.integrity_cli = world_count(hostile.cli, "integrity");
    hostile.victim = world_dial(hostile.cli, "web", VICTIM, STREAM_BYTES, STREAM_BYTES);
    hostile.neighbour = world_dial(hostile.cli, "web", NEIGHBOUR, STREAM_BYTES, STREAM_BYTES);
    hostile.bystander = world_dial(hostile.cli, "db", BYSTANDER, STREAM_BYTES, STREAM_BYTES);
}

static bool
is_over(const struct world_program *program)
{
    return program->closed && (program->far->closed || !program->far->mesh);
}

static bool
all_over(void *arg)
{
    (void)arg;
    return is_over(hostile.victim) && is_over(hostile.neighbour) && is_over(hostile.bystander);
}

void
hostile_run(void)
{
    bool over = world_until(hostile.world, 60000000, all_over, NULL);
    if (!over) {
        world_is_clean(hostile.victim);
        world_is_clean(hostile.victim->far);
        world_is_clean(hostile.neighbour);
        world_is_clean(hostile.bystander);
    }
    assert_true(over);
    world_run(hostile.world, 200000);
}

static bool
one_over(void *arg)
{
    return is_over(arg);
}

void
hostile_wait(struct world_program *program)
{
    bool over = world_until(hostile.world, 60000000, one_over, program);
    assert_true(over);
}

struct world_program *
hostile_try(const char *slug, uint16_t port)
{
    struct world_program *program = world_dial(hostile.cli, slug, port, 1000, 1000);
    hostile_wait(program);
    world_run(hostile.world, 200000);
    return program;
}

void
hostile_refused(const struct world_program *program, enum cbx_reason reason)
{
    assert_true(program->closed);
    assert_string_equal(cbx_reason_text(program->reason), cbx_reason_text(reason));
    assert_false(program->by_target);
    assert_false(program->opened);
    assert_null(program->far->mesh);
    assert_int_equal(program->received, 0);
    assert_int_equal(program->sent, 0);
}

void
hostile_found(const struct world_program *here, enum cbx_reason reason)
{
    assert_string_equal(cbx_reason_text(here->reason), cbx_reason_text(reason));
    assert_false(here->by_target);
    assert_string_equal(cbx_reason_text(here->far->reason), cbx_reason_text(reason));
    assert_true(here->far->by_target);
    assert_false(here->corrupt || here->far->corrupt);
}

void
hostile_found_by(const struct world_agent *finder)
{
    bool by_web = finder == hostile.web;
    hostile_run();
    assert_true(hostile_done > 0);
    hostile_found(by_web ? hostile.victim->far : hostile.victim, CBX_REASON_INTEGRITY);
    assert_int_equal(world_count(hostile.web, "integrity"), hostile.integrity_web + by_web);
    assert_int_equal(world_count(hostile.cli, "integrity"), hostile.integrity_cli + !by_web);
    hostile_untouched(hostile.neighbour);
    hostile_untouched(hostile.bystander);
    hostile_nothing_false();
}

void
hostile_untouched(const struct world_program *program)
{
    assert_true(world_is_clean(program));
    assert_true(world_is_clean(program->far));
}

void
hostile_nothing_false(void)
{
    for (struct world_program *at = hostile.world->programs; at; at = at->next) {
        assert_false(at->corrupt);
        if (at->reason == CBX_REASON_NONE && at->closed)
            assert_true(world_is_clean(at));
    }
    assert_int_equal(hostile.world->false_streams, 0);
    assert_true(hostile.web->up && hostile.db->up && hostile.cli->up);
}

/* ---- the directory ---- */

static enum world_verdict
show_chain(struct world_flow *flow, struct cbx_frame *frame)
{
    if (!hostile_goes_to(flow, "cli", frame, CBX_FRAME_CHAIN, 0) ||
        !hostile_names(&frame->field[0], hostile.slug))
        return WORLD_PASS;
    hostile_done++;
    frame->field[1] = cbx_field_bytes(hostile.invite.bytes, hostile.invite.length);
    frame->field[2] = cbx_field_bytes(hostile.peer.bytes, hostile.peer.length);
    return WORLD_CHANGED;
}

void
hostile_list(const char *slug, uint64_t state, const uint8_t incarnation[CBX_INCARNATION_SIZE])
{
    struct world_flow flow;
    uint8_t hash[32];
    cbx_chain_hash(&hostile.invite, &hostile.peer, hash);
    struct cbx_field fields[] = {cbx_field_text(slug),
                                 cbx_field_uint(state),
                                 cbx_field_uint(1),
                                 cbx_field_uint(1),
                                 cbx_field_bytes(incarnation, CBX_INCARNATION_SIZE),
                                 cbx_field_bytes(hash, 32),
                                 cbx_field_text("8080"),
                                 cbx_field_text("")};
    assert_true(world_flow_of(hostile.cli, true, &flow));
    world_inject(&flow, CBX_FRAME_PEER, 0, fields, 8);
    world_run(hostile.world, 50000);
}

void
hostile_show(const struct world_agent *agent)
{
    hostile.slug = "web";
    hostile.invite = agent->joined.invite_cert;
    hostile.peer = agent->joined.peer_cert;
    hostile_set(show_chain, 0);
}

void
hostile_honest(void)
{
    hostile_show(hostile.web);
    hostile_set(NULL, 0);
    hostile_list("web", 1, hostile.web->mesh->incarnation);
}

void
hostile_works(void)
{
    hostile_honest();
    hostile_untouched(hostile_try("web", VICTIM));
}

void
hostile_restart(struct world_agent *agent)
{
    mesh_free(agent->mesh);
    world_start(agent);
    agent->up = false;
    world_connect(agent);
    world_run(hostile.world, 100000);
}
