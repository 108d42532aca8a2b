/* SPDX-License-Identifier: MIT */
/*
 * scale: a hub with many attached agents of one pond, in the simulator: the real engines of both
 * over memory carriers, in one process, on one core, under a fake clock.
 *
 *     scale [AGENTS]           prints {"steps": [...]}, a step for 10, 30, 100 ... AGENTS
 *
 * hub_bytes_agent  what the hub's engine and registry hold for each agent
 * agent_bytes      what an agent's engine holds, which grows with the peers that it knows
 * *_idle_us        CPU of a minute in which nothing happens but pings: the hub's for each agent, an
 *                  agent's own
 * update_*         one peer goes and comes back, twice told to each other peer: CPU of the hub and
 *                  of a peer for each telling, and the bytes that the hub sends for it
 *
 * CPU of the hub is the time in its carriers' ready and in its flush; that of the agents the same
 * on their side. Both are called through the wrappers below. The simulator's own work is left out.
 * Memory is what malloc counts, before and after agents come: the hub's is what is freed when the
 * hub is.
 */
#include "hub/core/link.h"
#include "pipe.h"
#include "world.h"
#include <malloc.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

enum { SECOND = 1000 * 1000, UPDATES = 8 };

static int64_t spent[2]; /* ns: agents, hub */

static int64_t
now_ns(void)
{
    struct timespec now;
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &now);
    return (int64_t)now.tv_sec * 1000000000 + now.tv_nsec;
}

/* ---- whose time it is ---- */

int64_t __real_hub_core_flush(struct hub_core *core);
int64_t __real_mesh_flush(struct mesh *mesh);
int64_t __wrap_hub_core_flush(struct hub_core *core);
int64_t __wrap_mesh_flush(struct mesh *mesh);

int64_t
__wrap_hub_core_flush(struct hub_core *core)
{
    int64_t start = now_ns();
    int64_t wait = __real_hub_core_flush(core);
    spent[1] += now_ns() - start;
    return wait;
}

int64_t
__wrap_mesh_flush(struct mesh *mesh)
{
    int64_t start = now_ns();
    int64_t wait = __real_mesh_flush(mesh);
    spent[0] += now_ns() - start;
    return wait;
}

/* The carrier's owner, called for a time that is counted; kept by the pipe's end. */
struct owner {
    void (*ready)(void *arg);
    void *arg;
    int side;
};

static void
timed_ready(void *arg)
{
    struct owner *owner = arg;
    int64_t start = now_ns();
    owner->ready(owner->arg);
    spent[owner->side] += now_ns() - start;
}

/* For the time of a measurement only: the hub knows its links by what its carriers carry. */
static struct owner *
clock_on(struct world *world)
{
    struct owner *owners = calloc(2 * WORLD_AGENTS_MAX, sizeof *owners), *owner = owners;
    for (uint32_t i = 0; i < world->agent_count; i++) {
        struct world_pipe *pipe = world_pipe_of(world->agent[i]);
        for (int side = 0; pipe && side < 2; side++, owner++) {
            struct cbx_carrier *base = &pipe->end[side].base;
            *owner = (struct owner){.ready = base->ready, .arg = base->arg, .side = side};
            base->ready = timed_ready;
            base->arg = owner;
        }
    }
    spent[0] = spent[1] = 0;
    return owners;
}

static void
clock_off(struct world *world, struct owner *owners)
{
    for (uint32_t i = 0; i < world->agent_count; i++) {
        struct world_pipe *pipe = world_pipe_of(world->agent[i]);
        for (int side = 0; pipe && side < 2; side++) {
            struct cbx_carrier *base = &pipe->end[side].base;
            struct owner *owner = base->arg;
            if (base->ready != timed_ready)
                continue;
            base->ready = owner->ready;
            base->arg = owner->arg;
        }
    }
    free(owners);
}

/* ---- the steps ---- */

struct step {
    uint32_t agents;
    double hub_bytes_agent, agent_bytes, hub_idle_us, agent_idle_us;
    double update_hub_us, update_agents_us, update_bytes;
};

/* To all but that agent. */
static uint64_t
hub_sent(const struct world *world, const struct world_agent *but)
{
    const struct hub_link *link;
    uint64_t sum = 0;
    TAILQ_FOREACH(link, &world->hub->links, entry) {
        if (strcmp(link->slug, but->slug) != 0)
            sum += link->pump.link.count.bytes_out;
    }
    return sum;
}

static void
measure_idle(struct world *world, struct step *step)
{
    struct owner *owners = clock_on(world);
    world_run(world, 60 * SECOND);
    clock_off(world, owners);
    step->agent_idle_us = (double)spent[0] / 1e3 / step->agents;
    step->hub_idle_us = (double)spent[1] / 1e3 / step->agents;
}

/* The last agent's link is cut and made again. What its own attach costs is in it too: small beside
 * the others' from some ten peers on. */
static void
measure_update(struct world *world, struct step *step)
{
    struct world_agent *agent = world->agent[world->agent_count - 1];
    double told = 2.0 * UPDATES * (step->agents - 1);
    uint64_t before = hub_sent(world, agent);
    struct owner *owners = clock_on(world);
    for (int i = 0; i < UPDATES; i++) {
        world_cut(agent);
        world_run(world, SECOND / 5);
        world_connect(agent);
        world_run(world, SECOND / 5);
    }
    clock_off(world, owners);
    step->update_agents_us = (double)spent[0] / 1e3 / told;
    step->update_hub_us = (double)spent[1] / 1e3 / told;
    step->update_bytes = (double)(hub_sent(world, agent) - before) / told;
}

static size_t
used(void)
{
    struct mallinfo2 info = mallinfo2();
    return info.uordblks + info.hblkhd;
}

/* A world of so many; ended with it. */
static struct step
run(uint32_t agents)
{
    struct step step = {.agents = agents};
    struct world_path path = {0};
    struct world *world = world_new(1, 0);
    for (uint32_t i = 0; i < agents; i++) {
        char slug[24];
        snprintf(slug, sizeof slug, "lease-%u", i);
        world_agent(world, slug, "8080", path);
    }
    world_run(world, SECOND);
    measure_idle(world, &step);
    measure_update(world, &step);
    size_t before = used();
    for (uint32_t i = 0; i < agents; i++) {
        mesh_free(world->agent[i]->mesh);
        world->agent[i]->mesh = NULL;
    }
    size_t without_agents = used();
    step.agent_bytes = (double)(before - without_agents) / agents;
    hub_core_free(world->hub);
    registry_free(world->registry);
    step.hub_bytes_agent = (double)(without_agents - used()) / agents;
    world->hub = NULL;
    world->registry = NULL;
    world_free(world);
    return step;
}

int
main(int argc, char **argv)
{
    static const uint32_t sizes[] = {10, 30, 100, 300, 1000};
    uint32_t most = argc > 1 ? (uint32_t)strtoul(argv[1], NULL, 10) : 1000;
    if (most < 10 || most > WORLD_AGENTS_MAX - 1) {
        fputs("usage: scale [AGENTS], 10 to 1000\n", stderr);
        return 2;
    }
    printf("{\"steps\": [");
    for (size_t i = 0; i < sizeof sizes / sizeof *sizes && sizes[i] <= most; i++) {
        struct step step = run(sizes[i]);
        printf("%s\n{\"agents\": %u, \"hub_bytes_agent\": %.0f, \"agent_bytes\": %.0f, "
               "\"hub_idle_us\": %.2f, \"agent_idle_us\": %.2f, \"update_hub_us\": %.3f, "
               "\"update_agents_us\": %.3f, \"update_bytes\": %.1f}",
               i ? "," : "", step.agents, step.hub_bytes_agent, step.agent_bytes, step.hub_idle_us,
               step.agent_idle_us, step.update_hub_us, step.update_agents_us, step.update_bytes);
        fflush(stdout);
    }
    puts("\n]}");
    return 0;
}
