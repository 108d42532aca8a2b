/* SPDX-License-Identifier: MIT */
#include "hostile.h"
#include <stdlib.h>

enum world_verdict (*hostile_act)(struct world_flow *flow, struct cbx_frame *frame);
int hostile_left, hostile_done;

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
    *all = (struct hostile){.world = world_new(world_seed(), 0)};
    hostile_set(NULL, 0);
    all->world->filter = filter;
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

void
hostile_dial(struct hostile *all)
{
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
