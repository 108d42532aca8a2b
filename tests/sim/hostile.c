/* SPDX-License-Identifier: MIT */
#include "hostile.h"
#include "agent/mesh/peer.h"
#include <stdlib.h>

enum world_verdict (*hostile_act)(struct world_flow *flow, struct cbx_frame *frame);
int hostile_left, hostile_done;
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

void
hostile_begin(struct hostile *all)
{
    struct world_path path = {.delay_us = 1000};
    memset(all, 0, sizeof *all);
    all->world = world_new(world_seed(), 0);
    hostile_set(NULL, 0);
    all->world->filter = filter;
    all->world->filter_arg = all;
    all->web = world_agent(all->world, "web", "8080,8081", path);
    all->db = world_agent(all->world, "db", "8080,5432", path);
    all->cli = world_agent(all->world, "cli", "8080", path);
}

void
hostile_end(struct hostile *all)
{
    hostile_nothing_false(all);
    world_free(all->world);
    hostile_set(NULL, 0);
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
hostile_dial(struct hostile *all)
{
    all->integrity_web = world_count(all->web, "integrity");
    all->integrity_cli = world_count(all->cli, "integrity");
    all->victim = world_dial(all->cli, "web", VICTIM, STREAM_BYTES, STREAM_BYTES);
    all->neighbour = world_dial(all->cli, "web", NEIGHBOUR, STREAM_BYTES, STREAM_BYTES);
    all->bystander = world_dial(all->cli, "db", BYSTANDER, STREAM_BYTES, STREAM_BYTES);
}

static bool
is_over(const struct world_program *program)
{
    return program->closed && (program->far->closed || !program->far->mesh);
}

static bool
all_over(void *arg)
{
    const struct hostile *all = arg;
    return is_over(all->victim) && is_over(all->neighbour) && is_over(all->bystander);
}

void
hostile_run(struct hostile *all)
{
    bool over = world_until(all->world, 60000000, all_over, all);
    if (!over) {
        world_is_clean(all->victim);
        world_is_clean(all->victim->far);
        world_is_clean(all->neighbour);
        world_is_clean(all->bystander);
    }
    assert_true(over);
    world_run(all->world, 200000);
}

static bool
one_over(void *arg)
{
    return is_over(arg);
}

void
hostile_wait(struct hostile *all, struct world_program *program)
{
    bool over = world_until(all->world, 60000000, one_over, program);
    assert_true(over);
}

struct world_program *
hostile_try(struct hostile *all, const char *slug, uint16_t port)
{
    struct world_program *program = world_dial(all->cli, slug, port, 1000, 1000);
    hostile_wait(all, program);
    world_run(all->world, 200000);
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
hostile_found_by(struct hostile *all, const struct world_agent *finder)
{
    bool by_web = finder == all->web;
    hostile_run(all);
    assert_true(hostile_done > 0);
    hostile_found(by_web ? all->victim->far : all->victim, CBX_REASON_INTEGRITY);
    assert_int_equal(world_count(all->web, "integrity"), all->integrity_web + by_web);
    assert_int_equal(world_count(all->cli, "integrity"), all->integrity_cli + !by_web);
    hostile_untouched(all->neighbour);
    hostile_untouched(all->bystander);
    hostile_nothing_false(all);
}

void
hostile_untouched(const struct world_program *program)
{
    assert_true(world_is_clean(program));
    assert_true(world_is_clean(program->far));
}

void
hostile_nothing_false(struct hostile *all)
{
    for (struct world_program *at = all->world->programs; at; at = at->next) {
        assert_false(at->corrupt);
        if (at->reason == CBX_REASON_NONE && at->closed)
            assert_true(world_is_clean(at));
    }
    assert_int_equal(all->world->false_streams, 0);
    assert_true(all->web->up && all->db->up && all->cli->up);
}

/* ---- the directory ---- */

static enum world_verdict
show_chain(struct world_flow *flow, struct cbx_frame *frame)
{
    const struct hostile *all = flow->world->filter_arg;
    if (!hostile_goes_to(flow, "cli", frame, CBX_FRAME_CHAIN, 0) ||
        !hostile_names(&frame->field[0], all->slug))
        return WORLD_PASS;
    hostile_done++;
    frame->field[1] = cbx_field_bytes(all->invite.bytes, all->invite.length);
    frame->field[2] = cbx_field_bytes(all->peer.bytes, all->peer.length);
    return WORLD_CHANGED;
}

void
hostile_list(struct hostile *all, const char *slug, uint64_t state,
             const uint8_t incarnation[CBX_INCARNATION_SIZE])
{
    struct world_flow flow;
    uint8_t hash[32];
    cbx_chain_hash(&all->invite, &all->peer, hash);
    struct cbx_field fields[] = {cbx_field_text(slug),
                                 cbx_field_uint(state),
                                 cbx_field_uint(1),
                                 cbx_field_uint(1),
                                 cbx_field_bytes(incarnation, CBX_INCARNATION_SIZE),
                                 cbx_field_bytes(hash, 32),
                                 cbx_field_text("8080"),
                                 cbx_field_text("")};
    assert_true(world_flow_of(all->cli, true, &flow));
    world_inject(&flow, CBX_FRAME_PEER, 0, fields, 8);
    world_run(all->world, 50000);
}

void
hostile_show(struct hostile *all, const struct world_agent *agent)
{
    all->slug = "web";
    all->invite = agent->joined.invite_cert;
    all->peer = agent->joined.peer_cert;
    hostile_set(show_chain, 0);
}

void
hostile_honest(struct hostile *all)
{
    hostile_show(all, all->web);
    hostile_set(NULL, 0);
    hostile_list(all, "web", 1, all->web->mesh->incarnation);
}

void
hostile_works(struct hostile *all)
{
    hostile_honest(all);
    hostile_untouched(hostile_try(all, "web", VICTIM));
}

void
hostile_restart(struct hostile *all)
{
    mesh_free(all->web->mesh);
    world_start(all->web);
    all->web->up = false;
    world_connect(all->web);
    world_run(all->world, 100000);
}

struct mesh_peer *
hostile_peer(const struct world_agent *agent, const char *slug)
{
    struct mesh_peer *peer = mesh_peer_find(agent->mesh, slug, strlen(slug));
    assert_non_null(peer);
    return peer;
}
