/* SPDX-License-Identifier: MIT */
#include "world.h"
#include "agent/mesh/base.h"
#include "agent/mesh/peer.h"
#include "common/base/log.h"
#include "common/trust/token.h"
#include "direct.h"
#include "filter.h"
#include "hub/core/circuit.h"
#include "hub/core/edit.h"
#include "hub/core/lane.h"
#include "hub/core/link.h"
#include "pipe.h"
#include <assert.h>
#include <sodium.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

enum { TICK_US = 10000, MOVED_US = 20, CONNECT_US = 60 * 1000 * 1000 };

uint64_t
world_random(struct world *world, uint64_t below)
{
    world->random += 0x9e3779b97f4a7c15ull;
    uint64_t z = world->random;
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9ull;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebull;
    z ^= z >> 31;
    return below ? z % below : z;
}

uint64_t
world_seed(void)
{
    static uint64_t value;
    if (value)
        return value;
    const char *text = getenv("CBX_SEED");
    /* Fixed, so that a failure is of the change and not of the day; CBX_SEED=random goes searching.
     */
    bool search = text && strcmp(text, "random") == 0;
    value = search ? (uint64_t)time(NULL) : text ? strtoull(text, NULL, 0) : 1;
    fprintf(stderr, "# CBX_SEED=%llu replays this run\n", (unsigned long long)value);
    return value;
}

/* ---- the hub ---- */

static struct world *the_world; /* carriers of the hub only know their link */

static int64_t
now_us(void *arg)
{
    (void)arg;
    return the_world->now;
}

static int64_t
hub_unix_ms(void *arg)
{
    struct world *world = arg;
    return (world->unix_base + world->hub_clock_s) * 1000 + world->now / 1000;
}

static void
hub_commit(void *arg, uint64_t ticket)
{
    struct world *world = arg;
    assert(world->tickets < WORLD_TICKETS_MAX);
    world->ticket_due[world->tickets++] = ticket;
}

static void
hub_wake(void *arg)
{
    struct world *world = arg;
    world->hub_due = 0;
}

static const struct hub_core_ops hub_ops = {
    .commit = hub_commit, .now_us = now_us, .now_unix_ms = hub_unix_ms, .wake = hub_wake};

struct world *
world_new(uint64_t seed, uint64_t queue_max)
{
    static struct cbx_vault_key no_key;
    struct world *world = calloc(1, sizeof *world);
    assert(world && sodium_init() >= 0);
    the_world = world;
    cbx_log_init("sim", getenv("CBX_LOG") ? CBX_LOG_INFO : CBX_LOG_ERROR);
    world->seed = world->random = seed;
    world->now = 1000000;
    world->unix_base = 1790000000;
    world->serial = (uint64_t)world->unix_base * 1000;
    world->pond = "demo";
    world->lanes = CBX_LANES_OFF;
    cbx_keypair_random(&world->pond_key);
    world->registry = registry_new("/nonexistent/registry", &no_key);
    struct hub_core_config config = {.queue_max = queue_max, .direct = true, .software = "sim"};
    world->hub = hub_core_new(&config, world->registry, &hub_ops, world);
    assert(world->registry && world->hub);
    return world;
}

/* ---- agents ---- */

static void
agent_incoming(void *arg, struct mesh_stream *stream, const char *from,
               const struct cbx_expose_item *item)
{
    (void)from;
    (void)item;
    world_program_incoming(arg, stream);
}

static void
agent_lost(void *arg, enum cbx_reason reason, uint32_t retry_ms, const char *text)
{
    struct world_agent *agent = arg;
    agent->up = false;
    agent->lost_reason = reason;
    agent->lost_retry_ms = retry_ms;
    agent->lost_count++;
    snprintf(agent->lost_text, sizeof agent->lost_text, "%s", text);
}

static void
agent_attached(void *arg)
{
    struct world_agent *agent = arg;
    agent->up = true;
}

static void
agent_known(void *arg, const struct mesh_known *known, size_t count)
{
    struct world_agent *agent = arg;
    (void)known;
    (void)count;
    agent->store_due = true;
}

static int64_t
agent_unix(void *arg)
{
    const struct world_agent *agent = arg;
    return the_world->unix_base + the_world->now / 1000000 + agent->clock_s;
}

static void
agent_wake(void *arg)
{
    struct world_agent *agent = arg;
    agent->due = 0;
}

static void
agent_lane(void *arg, const struct cbx_lane_ticket *ticket)
{
    struct world_agent *agent = arg;
    agent->ticket = *ticket;
    agent->lane_promised = true;
    agent->lane_awaited = false;
}

static void
agent_no_lane(void *arg, bool lost, const char *text)
{
    struct world_agent *agent = arg;
    agent->lanes_lost += lost;
    if (lost)
        agent->up = false;
    snprintf(agent->lost_text, sizeof agent->lost_text, "%s", text);
}

static void
agent_addresses(void *arg, const struct cbx_addresses *list)
{
    struct world_agent *agent = arg;
    agent->heard = *list;
    agent->heard_count++;
}

static const struct mesh_ops agent_ops = {.incoming = agent_incoming,
                                          .addresses = agent_addresses,
                                          .lane = agent_lane,
                                          .no_lane = agent_no_lane,
                                          .link_lost = agent_lost,
                                          .attached = agent_attached,
                                          .candidates = world_direct_candidates,
                                          .host_mark = world_direct_mark,
                                          .direct_expect = world_direct_expect,
                                          .direct_connect = world_direct_connect,
                                          .direct_forget = world_direct_forget,
                                          .known_changed = agent_known,
                                          .now_us = now_us,
                                          .now_unix = agent_unix,
                                          .wake = agent_wake};

static void
on_joined(void *arg, const struct joiner_result *result)
{
    struct world_agent *agent = arg;
    agent->joined = *result;
    agent->has_joined = true;
}

static void
on_join_failed(void *arg, enum cbx_reason reason, const char *text)
{
    struct world_agent *agent = arg;
    agent->lost_reason = reason;
    agent->lost_final = true;
    snprintf(agent->lost_text, sizeof agent->lost_text, "%s", text);
}

static const struct joiner_ops join_ops = {.joined = on_joined,
                                           .failed = on_join_failed,
                                           .now_us = now_us,
                                           .now_unix = agent_unix,
                                           .wake = agent_wake};

static void
hub_take(struct world_pipe *pipe, const uint8_t key[32])
{
    char fingerprint[CBX_FINGERPRINT_TEXT_MAX];
    cbx_ssh_fingerprint(key, fingerprint);
    int result = hub_core_attach(pipe->world->hub, &pipe->end[1].base, fingerprint, 1, "sim");
    assert(result == 0);
}

static void
invite(struct world_agent *agent, const char *expose)
{
    struct world *world = agent->world;
    struct cbx_invite_cert *cert = calloc(1, sizeof *cert);
    struct cbx_cert signed_cert;
    uint8_t secret[32];
    assert(cert);
    randombytes_buf(secret, sizeof secret);
    cbx_invite_keys(secret, &agent->login, &agent->signing);
    strcpy(cert->pond, agent->pond);
    strcpy(cert->slug, agent->slug);
    cert->uses = 1;
    cert->serial = ++world->serial;
    cert->issued = agent_unix(agent);
    cert->join_by = cert->issued + 900;
    cert->ends = cert->issued + 30 * 86400;
    memcpy(cert->signing_key, agent->signing.public_key, 32);
    int result = expose ? cbx_expose_add(&cert->expose, expose, NULL) : 0;
    assert(result == 0);
    result = cbx_invite_cert_sign(cert, &world->pond_key, &signed_cert);
    assert(result == 0);
    struct reg_invite *registered;
    uint64_t ticket;
    result = hub_core_add_invite(world->hub, world->pond_key.public_key, signed_cert.bytes,
                                 signed_cert.length, agent->login.public_key, &registered, &ticket,
                                 NULL);
    assert(result == 0);
    free(cert);
}

struct world_agent *
world_invite(struct world *world, const char *slug, const char *expose, struct world_path path)
{
    struct world_agent *agent = calloc(1, sizeof *agent);
    assert(agent && world->agent_count < WORLD_AGENTS_MAX);
    world->agent[world->agent_count++] = agent;
    agent->world = world;
    agent->path = path;
    strcpy(agent->slug, slug);
    strcpy(agent->pond, world->pond);
    cbx_identity_random(&agent->identity);
    invite(agent, expose);
    return agent;
}

static bool
join_is_over(void *arg)
{
    const struct world_agent *agent = arg;
    return agent->has_joined || agent->lost_final;
}

void
world_join_begin(struct world_agent *agent)
{
    struct world *world = agent->world;
    struct world_pipe *pipe = world_pipe_new(agent, true);
    hub_take(pipe, agent->login.public_key);
    agent->joiner = joiner_new(&pipe->end[0].base, world->pond_key.public_key, &agent->signing,
                               &agent->identity, NULL, &join_ops, agent);
}

void
world_join(struct world_agent *agent)
{
    world_join_begin(agent);
    bool over = world_until(agent->world, CONNECT_US, join_is_over, agent);
    assert(over);
    joiner_free(agent->joiner);
    agent->joiner = NULL;
}

void
world_start(struct world_agent *agent)
{
    struct mesh_config config = {.identity = &agent->identity,
                                 .invite_cert = &agent->joined.invite_cert,
                                 .peer_cert = &agent->joined.peer_cert,
                                 .expose = agent->joined.invite.expose,
                                 .lanes = agent->world->lanes,
                                 .direct = agent->world->direct};
    memcpy(config.pond_public, agent->world->pond_key.public_key, 32);
    strcpy(config.pond, agent->pond);
    strcpy(config.slug, agent->slug);
    agent->mesh = mesh_new(&config, NULL, 0, &agent_ops, agent);
    assert(agent->mesh);
}

void
world_begin(struct world_agent *agent)
{
    struct world_pipe *pipe = world_pipe_new(agent, false);
    agent->up = false;
    agent->lost_reason = CBX_REASON_NONE;
    hub_take(pipe, agent->identity.sign.public_key);
    int result = mesh_attach(agent->mesh, &pipe->end[0].base);
    assert(result == 0);
}

bool
world_attach_is_over(void *arg)
{
    const struct world_agent *agent = arg;
    return agent->up || agent->lost_reason;
}

void
world_connect(struct world_agent *agent)
{
    int64_t give_up = agent->world->now + CONNECT_US;
    while (!agent->up && agent->world->now < give_up) {
        world_begin(agent);
        world_until(agent->world, CONNECT_US, world_attach_is_over, agent);
        if (!agent->up && agent->lost_retry_ms)
            world_run(agent->world, agent->lost_retry_ms * 1000ll);
    }
    if (!agent->up)
        fprintf(stderr, "%s did not attach: %s\n", agent->slug, agent->lost_text);
    assert(agent->up);
}

void
world_cut(struct world_agent *agent)
{
    struct world_pipe *pipe = world_pipe_of(agent);
    assert(pipe);
    pipe->cut = true;
}

/* ---- lanes ---- */

static void
connect_lane(struct world_agent *agent)
{
    agent->lane_promised = false;
    if (agent->world->lanes_fail)
        return;
    struct world_pipe *pipe = world_lane_new(agent);
    uint8_t preface[CBX_LANE_PREFACE];
    cbx_lane_preface(&agent->ticket, preface);
    agent->lane_awaited = hub_core_lane(agent->world->hub, &pipe->end[1].base, preface);
    if (!agent->lane_awaited)
        pipe->end[0].base.ops->close(&pipe->end[0].base);
}

/* The answer comes in pieces, as the pipe chops. */
static void
await_answer(struct world_agent *agent)
{
    struct world_pipe *pipe = agent->lane;
    static uint8_t answer[CBX_LANE_MAC];
    static size_t have;
    static struct world_pipe *of;
    if (of != pipe)
        have = 0;
    of = pipe;
    ssize_t got =
        pipe ? pipe->end[0].base.ops->read(&pipe->end[0].base, answer + have, sizeof answer - have)
             : CBX_ERR_CLOSED;
    if (got == CBX_ERR_AGAIN)
        return;
    if (got > 0 && (have += (size_t)got) < sizeof answer)
        return;
    agent->lane_awaited = false;
    of = NULL;
    if (got > 0) {
        assert(cbx_lane_answer_holds(&agent->ticket, answer));
        (void)mesh_lane_attach(agent->mesh, &pipe->end[0].base, &agent->ticket);
    } else if (pipe) {
        pipe->end[0].base.ops->close(&pipe->end[0].base);
    }
}

static void
step_lanes(struct world *world)
{
    for (uint32_t i = 0; i < world->agent_count; i++) {
        struct world_agent *agent = world->agent[i];
        if (agent->lane_promised)
            connect_lane(agent);
        if (agent->lane_awaited)
            await_answer(agent);
    }
}

static bool
lane_is_up(void *arg)
{
    const struct world_agent *agent = arg;
    return mesh_lane_up(agent->mesh);
}

void
world_lane_up(struct world_agent *agent)
{
    bool up = world_until(agent->world, CONNECT_US, lane_is_up, agent);
    assert(up);
}

void
world_cut_lane(struct world_agent *agent)
{
    assert(agent->lane);
    agent->lane->cut = true;
}

bool
world_offer_lane(struct world_agent *agent, const uint8_t preface[CBX_LANE_PREFACE])
{
    struct world_pipe *pipe = world_lane_new(agent);
    bool taken = hub_core_lane(agent->world->hub, &pipe->end[1].base, preface);
    pipe->end[0].base.ops->close(&pipe->end[0].base);
    return taken;
}

void
world_harm_lane(struct world_agent *agent, bool to_agent, enum world_harm harm, uint64_t after)
{
    assert(agent->lane);
    agent->lane->lane[to_agent].harm = harm;
    agent->lane->lane[to_agent].harm_after = after;
}

struct world_agent *
world_agent(struct world *world, const char *slug, const char *expose, struct world_path path)
{
    struct world_agent *agent = world_invite(world, slug, expose, path);
    world_join(agent);
    if (!agent->has_joined)
        fprintf(stderr, "%s did not join: %s\n", slug, agent->lost_text);
    assert(agent->has_joined);
    world_start(agent);
    world_connect(agent);
    return agent;
}

/* ---- time ---- */

/* What went to disk is there: the hub's registry, the agents' known peers. */
static void
settle(struct world *world)
{
    uint64_t ticket[WORLD_TICKETS_MAX];
    uint32_t count = world->hub_disk_waits ? 0 : world->tickets;
    memcpy(ticket, world->ticket_due, count * sizeof *ticket);
    world->tickets -= count;
    for (uint32_t i = 0; i < count; i++)
        hub_core_committed(world->hub, ticket[i], 0);
    for (uint32_t i = 0; i < world->agent_count; i++) {
        struct world_agent *agent = world->agent[i];
        if (!agent->store_due || agent->disk_waits)
            continue;
        agent->store_due = false;
        if (agent->disk_full)
            mesh_known_failed(agent->mesh);
        else
            mesh_known_stored(agent->mesh);
    }
}

static int64_t
flush_agent(struct world_agent *agent)
{
    int64_t now = agent->world->now;
    if (agent->due > now)
        return agent->due;
    int64_t next = INT64_MAX;
    agent->due = INT64_MAX; /* unless it wakes itself meanwhile */
    if (agent->joiner) {
        int64_t wait = joiner_flush(agent->joiner);
        next = wait < 0 ? next : now + wait;
    }
    if (agent->mesh) {
        int64_t wait = mesh_flush(agent->mesh);
        next = wait < 0 || now + wait > next ? next : now + wait;
    }
    if (next < agent->due)
        agent->due = next;
    return agent->due;
}

static int64_t
flush_hub(struct world *world)
{
    if (world->hub_due > world->now)
        return world->hub_due;
    world->hub_due = INT64_MAX;
    int64_t wait = hub_core_flush(world->hub);
    if (wait >= 0 && world->now + wait < world->hub_due)
        world->hub_due = world->now + wait;
    return world->hub_due;
}

static int64_t
least(int64_t a, int64_t b)
{
    return a < b ? a : b;
}

void
world_step(struct world *world)
{
    the_world = world;
    world->steps++;
    settle(world);
    step_lanes(world);
    world_direct_step(world);
    bool moved = world_pipes_deliver(world);
    int64_t next = world_programs_wake(world);
    next = least(next, flush_hub(world));
    for (uint32_t i = 0; i < world->agent_count; i++)
        next = least(next, flush_agent(world->agent[i]));
    if (world->check)
        world->check(world);
    if (world->tickets && !world->hub_disk_waits)
        next = world->now;
    if (!moved)
        next = least(next, world_pipes_next(world));
    if (moved || next <= world->now)
        world->now += MOVED_US + (int64_t)world_random(world, 30);
    else
        world->now = least(next, world->now + TICK_US);
}

bool
world_until(struct world *world, int64_t limit_us, bool (*cond)(void *arg), void *arg)
{
    int64_t end = world->now + limit_us;
    while (!cond(arg)) {
        if (world->now >= end)
            return false;
        world_step(world);
    }
    return true;
}

static bool
never(void *arg)
{
    (void)arg;
    return false;
}

void
world_run(struct world *world, int64_t us)
{
    world_until(world, us, never, NULL);
}

/* ---- what holds ---- */

struct mesh_peer *
world_peer(const struct world_agent *agent, const char *slug)
{
    struct mesh_peer *peer = mesh_peer_find(agent->mesh, slug, strlen(slug));
    assert(peer);
    return peer;
}

uint64_t
world_count(const struct world_agent *agent, const char *name)
{
    json_t *status = mesh_status_json(agent->mesh);
    json_t *value = json_object_get(json_object_get(status, "counters"), name);
    assert(json_is_integer(value));
    uint64_t count = (uint64_t)json_integer_value(value);
    json_decref(status);
    return count;
}

/* The hub's end of the agent's link, once it is attached. */
static const struct hub_link *
link_of(const struct world_agent *agent)
{
    const struct world_pipe *pipe = world_pipe_of(agent);
    const struct hub_link *link = pipe ? pipe->end[1].base.arg : NULL; /* its pump comes first */
    return link && link->phase == HUB_READY ? link : NULL;
}

/* The two never differ about what may be outstanding, at any moment. */
static void
check_agent(const struct world_agent *agent)
{
    const struct mesh *mesh = agent->mesh;
    uint64_t fins = mesh->stream_count; /* one byte each, whatever the budget */
    assert(mesh->send_used <= mesh->config.send_budget + fins);
    if (!agent->up)
        return;
    assert(mesh->hub_budget.used <= mesh->config.receive_budget);
    const struct hub_link *link = link_of(agent);
    assert(agent->world->filter || !link || mesh->hub_budget.used <= link->allowance.value);
}

/* What malloc takes for so many bytes. */
static uint64_t
chunk(uint64_t bytes)
{
    return (bytes + 8 + 15) / 16 * 16;
}

/* A buffer that several share counts for each of them. */
uint64_t
world_hub_memory(const struct world *world)
{
    uint64_t bytes = 0;
    const struct hub_link *link;
    struct cbx_circuit *at, *next;
    TAILQ_FOREACH(link, &world->hub->links, entry) {
        HASH_ITER(hh, link->pump.link.circuits, at, next) {
            const struct hub_half *half =
                (struct hub_half *)((char *)at - offsetof(struct hub_half, circuit));
            const struct hub_queued *queued;
            STAILQ_FOREACH(queued, &half->data, entry)
                if (queued->cost) /* a FIN is as bounded as its circuit */
                    bytes += chunk(sizeof *queued) +
                             chunk(sizeof(struct cbx_slab) + queued->slice.slab->capacity);
        }
    }
    return bytes;
}

void
world_check_memory(struct world *world)
{
    const struct hub_core *hub = world->hub;
    uint64_t sum = 0;
    const struct hub_link *link;
    TAILQ_FOREACH(link, &hub->links, entry) {
        assert(link->allowance.granted <= link->allowance.value);
        sum += link->allowance.value;
    }
    assert(sum == hub->allowances.sum && sum + hub->allowances.pinned <= hub->allowances.total);
    assert(hub->held <= sum);
    /* Looked at only when it could matter. */
    if (hub->held + hub->allowances.pinned > hub->allowances.total / 16)
        assert(world_hub_memory(world) <= hub->held + hub->allowances.pinned);
    for (uint32_t i = 0; i < world->agent_count; i++) {
        if (world->agent[i]->mesh)
            check_agent(world->agent[i]);
    }
}

void
world_free(struct world *world)
{
    the_world = world;
    for (uint32_t i = 0; i < world->agent_count; i++) {
        struct world_agent *agent = world->agent[i];
        joiner_free(agent->joiner);
        mesh_free(agent->mesh);
        sodium_memzero(&agent->identity, sizeof agent->identity);
        free(agent);
    }
    hub_core_free(world->hub);
    registry_free(world->registry);
    world_direct_free(world);
    world_pipes_free(world);
    while (world->programs) {
        struct world_program *program = world->programs;
        world->programs = program->next;
        free(program);
    }
    while (world->copies) {
        struct world_copy *copy = world->copies;
        world->copies = copy->next;
        free(copy);
    }
    free(world);
}
