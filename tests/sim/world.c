/* SPDX-License-Identifier: MIT */
#include "world.h"
#include "token.h"
#include <assert.h>
#include <sodium.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { BUFFER = 256 * 1024, TICK_US = 1000 };

/* ---- memory carriers ---- */

struct chunk {
    struct chunk *next;
    int64_t at;
    uint32_t length, taken;
    uint8_t bytes[];
};

struct lane {
    struct chunk *first, *last;
    uint32_t held;
    int64_t free_at;
};

struct end {
    struct cbx_carrier base;
    struct world_pipe *pipe;
    int side; /* 0: agent, 1: hub */
    bool want_read, want_write, closed;
};

/* lane[0] carries what the agent says, lane[1] what the hub says. */
struct world_pipe {
    struct world_pipe *next;
    struct world *world;
    struct world_path path;
    struct end end[2];
    struct lane lane[2];
    bool cut;
};

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

static size_t
chop(struct world_pipe *pipe, size_t length)
{
    if (!pipe->path.chop || length == 0)
        return length;
    size_t most = 1 + world_random(pipe->world, pipe->path.chop);
    return length < most ? length : most;
}

static ssize_t
mem_read(struct cbx_carrier *base, void *buffer, size_t length)
{
    struct end *end = (struct end *)base;
    struct world_pipe *pipe = end->pipe;
    struct lane *lane = &pipe->lane[1 - end->side];
    struct chunk *chunk = lane->first;
    if (pipe->path.stall_1_in && world_random(pipe->world, pipe->path.stall_1_in) == 0)
        return CBX_ERR_AGAIN;
    if (!chunk || chunk->at > pipe->world->now)
        return !chunk && (pipe->cut || pipe->end[1 - end->side].closed) ? CBX_ERR_CLOSED
                                                                        : CBX_ERR_AGAIN;
    size_t n = chunk->length - chunk->taken;
    n = chop(pipe, n < length ? n : length);
    memcpy(buffer, chunk->bytes + chunk->taken, n);
    chunk->taken += (uint32_t)n;
    lane->held -= (uint32_t)n;
    if (chunk->taken == chunk->length) {
        lane->first = chunk->next;
        if (!lane->first)
            lane->last = NULL;
        free(chunk);
    }
    return (ssize_t)n;
}

static ssize_t
mem_writev(struct cbx_carrier *base, const struct iovec *vector, int count)
{
    struct end *end = (struct end *)base;
    struct world_pipe *pipe = end->pipe;
    struct world *world = pipe->world;
    struct lane *lane = &pipe->lane[end->side];
    uint32_t buffer = pipe->path.buffer ? pipe->path.buffer : BUFFER;
    if (pipe->cut || pipe->end[1 - end->side].closed)
        return CBX_ERR_CLOSED;
    size_t total = 0, room = buffer > lane->held ? buffer - lane->held : 0;
    for (int i = 0; i < count; i++)
        total += vector[i].iov_len;
    total = chop(pipe, total < room ? total : room);
    if (total == 0)
        return CBX_ERR_AGAIN;
    struct chunk *chunk = malloc(sizeof *chunk + total);
    assert(chunk);
    chunk->next = NULL;
    chunk->length = 0;
    chunk->taken = 0;
    for (int i = 0; i < count && chunk->length < total; i++) {
        size_t n = vector[i].iov_len;
        if (n > total - chunk->length)
            n = total - chunk->length;
        memcpy(chunk->bytes + chunk->length, vector[i].iov_base, n);
        chunk->length += (uint32_t)n;
    }
    if (world->tamper)
        world->tamper(world, end->side == 0, chunk->bytes, total);
    int64_t begin = lane->free_at > world->now ? lane->free_at : world->now;
    lane->free_at = begin;
    if (pipe->path.rate)
        lane->free_at += (int64_t)(total * 1000000 / pipe->path.rate);
    chunk->at = lane->free_at + pipe->path.delay_us;
    if (lane->last)
        lane->last->next = chunk;
    else
        lane->first = chunk;
    lane->last = chunk;
    lane->held += (uint32_t)total;
    return (ssize_t)total;
}

static void
mem_want(struct cbx_carrier *base, bool read, bool write)
{
    struct end *end = (struct end *)base;
    end->want_read = read;
    end->want_write = write;
}

static void
mem_close(struct cbx_carrier *base)
{
    struct end *end = (struct end *)base;
    end->closed = true;
    end->base.ready = NULL;
}

static const struct cbx_carrier_ops mem_ops
    = { .read = mem_read, .writev = mem_writev, .want = mem_want, .close = mem_close };

static struct world_pipe *
pipe_new(struct world *world, struct world_path path)
{
    struct world_pipe *pipe = calloc(1, sizeof *pipe);
    assert(pipe);
    pipe->world = world;
    pipe->path = path;
    for (int side = 0; side < 2; side++)
        pipe->end[side] = (struct end) { .base.ops = &mem_ops, .pipe = pipe, .side = side };
    pipe->next = world->pipes;
    world->pipes = pipe;
    return pipe;
}

static void
pipe_free(struct world_pipe *pipe)
{
    for (int side = 0; side < 2; side++) {
        while (pipe->lane[side].first) {
            struct chunk *chunk = pipe->lane[side].first;
            pipe->lane[side].first = chunk->next;
            free(chunk);
        }
    }
    free(pipe);
}

static bool
end_is_ready(const struct end *end)
{
    const struct world_pipe *pipe = end->pipe;
    const struct chunk *in = pipe->lane[1 - end->side].first;
    bool gone = pipe->cut || pipe->end[1 - end->side].closed;
    uint32_t buffer = pipe->path.buffer ? pipe->path.buffer : BUFFER;
    if (end->closed || !end->base.ready)
        return false;
    if (end->want_read && ((in && in->at <= pipe->world->now) || (!in && gone)))
        return true;
    return end->want_write && (gone || pipe->lane[end->side].held < buffer);
}

/* ---- clocks and hub ---- */

static int64_t
hub_clock(void *arg)
{
    /* The pump's owner is a link; its core's clock is the world's. */
    struct world *world = arg;
    return world->now;
}

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
    return world->unix_base * 1000 + world->now / 1000;
}

static void
hub_commit(void *arg, uint64_t ticket)
{
    struct world *world = arg;
    assert(world->tickets < sizeof world->ticket_due / sizeof world->ticket_due[0]);
    world->ticket_due[world->tickets++] = ticket;
}

static void
nothing(void *arg)
{
    (void)arg;
}

static const struct hub_core_ops hub_ops
    = { .commit = hub_commit, .now_us = now_us, .now_unix_ms = hub_unix_ms, .wake = nothing };

struct world *
world_new(uint64_t seed, uint64_t queue_max)
{
    static struct cbx_vault_key no_key;
    struct world *world = calloc(1, sizeof *world);
    assert(world && sodium_init() >= 0);
    the_world = world;
    world->seed = world->random = seed;
    world->now = 1000000;
    world->unix_base = 1790000000;
    world->serial = (uint64_t)world->unix_base * 1000;
    cbx_keypair_random(&world->pond_key);
    world->registry = registry_new("/nonexistent/registry", &no_key);
    struct hub_core_config config = { .queue_max = queue_max, .software = "sim" };
    world->hub = hub_core_new(&config, world->registry, &hub_ops, world);
    assert(world->registry && world->hub && hub_clock(world) == world->now);
    return world;
}

/* ---- programs ---- */

static uint8_t
byte_at(uint64_t key, uint64_t offset)
{
    uint64_t z = key + offset / 8 * 0x9e3779b97f4a7c15ull;
    z = (z ^ (z >> 29)) * 0xbf58476d1ce4e5b9ull;
    return (uint8_t)(z >> (8 * (offset % 8)));
}

static ssize_t
program_pull(void *arg, void *buffer, size_t length)
{
    struct world_program *program = arg;
    uint8_t *out = buffer;
    uint64_t left = program->to_send - program->sent;
    if (left == 0) {
        if (program->hold_end)
            return CBX_ERR_AGAIN;
        return program->reset_at_end ? CBX_ERR_IO : CBX_ERR_CLOSED;
    }
    if (program->gap_us && program->world->now < program->next_pull)
        return CBX_ERR_AGAIN;
    if (program->pull_limit && left > program->pull_limit)
        left = program->pull_limit;
    size_t n = left < length ? (size_t)left : length;
    for (size_t i = 0; i < n; i++)
        out[i] = byte_at(program->key, program->sent + i);
    program->sent += n;
    if (program->gap_us) {
        /* The wait for the link counts too: a keystroke is due when it was typed. */
        program->stamp[program->stamp_in++ % 256] = program->next_pull ? program->next_pull : program->world->now;
        program->next_pull = (program->next_pull ? program->next_pull : program->world->now)
            + (int64_t)program->gap_us;
    }
    return (ssize_t)n;
}

static ssize_t
program_push(void *arg, const void *buffer, size_t length)
{
    struct world_program *program = arg;
    const uint8_t *in = buffer;
    if (program->paused) {
        program->blocked_in = true;
        return CBX_ERR_AGAIN;
    }
    size_t n = length;
    if (program->push_chop) {
        size_t most = 1 + world_random(program->world, program->push_chop);
        n = n < most ? n : most;
        if (world_random(program->world, 3) == 0) {
            program->blocked_in = true;
            return CBX_ERR_AGAIN;
        }
    }
    for (size_t i = 0; i < n; i++) {
        if (in[i] != byte_at(program->far_key, program->received + i))
            program->corrupt = true;
    }
    program->received += n;
    struct world_program *far = program->far;
    if (far && far->gap_us && far->stamp_out != far->stamp_in) {
        int64_t late = program->world->now - far->stamp[far->stamp_out++ % 256];
        if (late > far->late_us)
            far->late_us = late;
    }
    return (ssize_t)n;
}

static void
program_push_end(void *arg)
{
    struct world_program *program = arg;
    program->ended = true;
}

static void
program_opened(void *arg)
{
    struct world_program *program = arg;
    program->opened = true;
    program->opened_at = program->world->now;
}

static void
program_closed(void *arg, enum cbx_reason reason, bool by_target)
{
    struct world_program *program = arg;
    program->closed = true;
    program->closed_at = program->world->now;
    program->reason = reason;
    program->by_target = by_target;
    program->stream = NULL;
}

static const struct mesh_end program_end = { .pull = program_pull,
                                             .push = program_push,
                                             .push_end = program_push_end,
                                             .opened = program_opened,
                                             .closed = program_closed };

static struct world_program *
program_new(struct world *world)
{
    struct world_program *program = calloc(1, sizeof *program);
    assert(program);
    program->world = world;
    program->next = world->programs;
    world->programs = program;
    return program;
}

struct world_program *
world_dial(struct world_agent *agent, const char *slug, uint16_t port, uint64_t up, uint64_t down)
{
    struct world *world = agent->world;
    struct world_program *here = program_new(world), *there = program_new(world);
    here->key = world_random(world, 0);
    there->key = world_random(world, 0);
    here->far_key = there->key;
    there->far_key = here->key;
    here->to_send = there->expected = up;
    there->to_send = here->expected = down;
    here->far = there;
    there->far = here;
    there->is_target = true;
    here->mesh = agent->mesh;
    here->stream = mesh_dial(agent->mesh, slug, port, &program_end, here, 0);
    assert(here->stream);
    return here;
}

/* ---- agents ---- */

static void
agent_incoming(void *arg, struct mesh_stream *stream, const char *from,
               const struct cbx_expose_item *item)
{
    struct world_agent *agent = arg;
    (void)from;
    (void)item;
    /* Streams of one dialer come in the order of their dials: the oldest one still waiting. */
    struct world_program *found = NULL;
    for (struct world_program *at = agent->world->programs; at; at = at->next) {
        if (at->is_target && !at->stream && !at->closed && !at->mesh && !at->far->closed
            && at->far->stream)
            found = at;
    }
    if (!found) {
        mesh_refuse(stream, CBX_REASON_REFUSED);
        return;
    }
    found->mesh = agent->mesh;
    found->stream = stream;
    found->opened = true;
    mesh_accept(stream, &program_end, found);
}

static void
agent_lost(void *arg, enum cbx_reason reason, uint32_t retry_ms, const char *text)
{
    struct world_agent *agent = arg;
    (void)retry_ms;
    agent->up = false;
    agent->lost_reason = reason;
    agent->lost_count++;
    snprintf(agent->lost_text, sizeof agent->lost_text, "%s", text);
}

static void
agent_attached(void *arg)
{
    struct world_agent *agent = arg;
    agent->up = true;
}

static struct mesh *stored_later[WORLD_AGENTS_MAX];
static uint32_t stored_count;

static void
agent_known(void *arg, const struct mesh_known *known, size_t count)
{
    struct world_agent *agent = arg;
    (void)known;
    (void)count;
    assert(stored_count < WORLD_AGENTS_MAX);
    stored_later[stored_count++] = agent->mesh;
}

static int64_t
agent_unix(void *arg)
{
    (void)arg;
    return the_world->unix_base + the_world->now / 1000000;
}

static const struct mesh_ops agent_ops = { .incoming = agent_incoming,
                                           .link_lost = agent_lost,
                                           .attached = agent_attached,
                                           .known_changed = agent_known,
                                           .now_us = now_us,
                                           .now_unix = agent_unix,
                                           .wake = nothing };

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

static const struct joiner_ops join_ops = { .joined = on_joined,
                                            .failed = on_join_failed,
                                            .now_us = now_us,
                                            .now_unix = agent_unix,
                                            .wake = nothing };

static void
hub_take(struct world_agent *agent, struct world_pipe *pipe, const uint8_t key[32])
{
    char fingerprint[CBX_FINGERPRINT_TEXT_MAX];
    cbx_ssh_fingerprint(key, fingerprint);
    int result = hub_core_attach(agent->world->hub, &pipe->end[1].base, fingerprint, 1, "sim");
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
    strcpy(cert->pond, "demo");
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

static bool
has_joined(void *arg)
{
    const struct world_agent *agent = arg;
    return agent->has_joined || agent->lost_final;
}

static bool
is_up(void *arg)
{
    const struct world_agent *agent = arg;
    return agent->up;
}

void
world_connect(struct world_agent *agent)
{
    struct world_pipe *pipe = pipe_new(agent->world, agent->path);
    hub_take(agent, pipe, agent->identity.sign.public_key);
    int result = mesh_attach(agent->mesh, &pipe->end[0].base);
    assert(result == 0);
    bool up = world_until(agent->world, 60000000, is_up, agent);
    if (!up)
        fprintf(stderr, "%s did not attach: %s\n", agent->slug, agent->lost_text);
    assert(up);
}

void
world_cut(struct world_agent *agent)
{
    for (struct world_pipe *pipe = agent->world->pipes; pipe; pipe = pipe->next) {
        if (!pipe->end[0].closed && pipe->end[0].base.ready
            && pipe->end[0].base.arg && !pipe->cut && pipe->path.delay_us == agent->path.delay_us) {
            /* The newest pipe of this agent is first; its pump lies inside its mesh. */
            const char *pump = pipe->end[0].base.arg, *mesh = (const char *)agent->mesh;
            if (pump > mesh && pump < mesh + 4096 * 16) {
                pipe->cut = true;
                return;
            }
        }
    }
}

struct world_agent *
world_agent(struct world *world, const char *slug, const char *expose, struct world_path path)
{
    struct world_agent *agent = calloc(1, sizeof *agent);
    assert(agent && world->agent_count < WORLD_AGENTS_MAX);
    world->agent[world->agent_count++] = agent;
    agent->world = world;
    agent->path = path;
    strcpy(agent->slug, slug);
    cbx_identity_random(&agent->identity);
    invite(agent, expose);
    struct world_pipe *pipe = pipe_new(world, path);
    hub_take(agent, pipe, agent->login.public_key);
    agent->joiner = joiner_new(&pipe->end[0].base, world->pond_key.public_key, &agent->signing,
                               &agent->identity, NULL, &join_ops, agent);
    world_until(world, 60000000, has_joined, agent);
    if (!agent->has_joined)
        fprintf(stderr, "%s did not join: %s\n", slug, agent->lost_text);
    assert(agent->has_joined);
    joiner_free(agent->joiner);
    agent->joiner = NULL;
    struct mesh_config config = { .identity = &agent->identity,
                                  .invite_cert = &agent->joined.invite_cert,
                                  .peer_cert = &agent->joined.peer_cert,
                                  .expose = agent->joined.invite.expose };
    memcpy(config.pond_public, world->pond_key.public_key, 32);
    strcpy(config.pond, "demo");
    strcpy(config.slug, slug);
    agent->mesh = mesh_new(&config, NULL, 0, &agent_ops, agent);
    assert(agent->mesh);
    world_connect(agent);
    return agent;
}

/* ---- time ---- */

static bool
deliver(struct world *world)
{
    bool moved = false;
    for (struct world_pipe *pipe = world->pipes; pipe; pipe = pipe->next) {
        for (int side = 0; side < 2; side++) {
            struct end *end = &pipe->end[side];
            if (!end_is_ready(end))
                continue;
            moved = true;
            end->base.ready(end->base.arg);
        }
    }
    return moved;
}

static void
wake_programs(struct world *world)
{
    for (struct world_program *program = world->programs; program; program = program->next) {
        if (!program->stream || program->closed)
            continue;
        if (program->gap_us || program->sent < program->to_send || !program->hold_end)
            mesh_stream_readable(program->stream);
        if (program->stream && program->blocked_in && !program->paused) {
            program->blocked_in = false;
            mesh_stream_writable(program->stream);
        }
    }
}

static void
settle(struct world *world)
{
    uint64_t ticket[64];
    uint32_t count = world->tickets;
    memcpy(ticket, world->ticket_due, sizeof ticket);
    world->tickets = 0;
    for (uint32_t i = 0; i < count; i++)
        hub_core_committed(world->hub, ticket[i], 0);
    while (stored_count)
        mesh_known_stored(stored_later[--stored_count]);
}

void
world_step(struct world *world)
{
    the_world = world;
    world->steps++;
    settle(world);
    bool moved = deliver(world);
    wake_programs(world);
    hub_core_flush(world->hub);
    for (uint32_t i = 0; i < world->agent_count; i++) {
        struct world_agent *agent = world->agent[i];
        if (agent->joiner)
            joiner_flush(agent->joiner);
        if (agent->mesh)
            mesh_flush(agent->mesh);
    }
    if (world->check)
        world->check(world);
    world->now += moved ? 20 + (int64_t)world_random(world, 30) : TICK_US;
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

bool
world_all_closed(void *arg)
{
    struct world *world = arg;
    for (struct world_program *program = world->programs; program; program = program->next) {
        if (!program->closed)
            return false;
    }
    return true;
}

bool
world_all_clean(struct world *world)
{
    for (struct world_program *program = world->programs; program; program = program->next) {
        if (program->closed && program->reason == CBX_REASON_NONE && !program->corrupt
            && program->received == program->expected && program->ended)
            continue;
        fprintf(stderr,
                "program %s: closed %d reason %s sent %llu/%llu received %llu/%llu ended %d corrupt "
                "%d\n",
                program->is_target ? "target" : "dialer", program->closed,
                cbx_reason_text(program->reason), (unsigned long long)program->sent,
                (unsigned long long)program->to_send, (unsigned long long)program->received,
                (unsigned long long)program->expected, program->ended, program->corrupt);
        return false;
    }
    return true;
}

void
world_free(struct world *world)
{
    the_world = world;
    stored_count = 0;
    for (uint32_t i = 0; i < world->agent_count; i++) {
        struct world_agent *agent = world->agent[i];
        joiner_free(agent->joiner);
        mesh_free(agent->mesh);
        cbx_identity_wipe(&agent->identity);
        free(agent);
    }
    hub_core_free(world->hub);
    registry_free(world->registry);
    while (world->pipes) {
        struct world_pipe *pipe = world->pipes;
        world->pipes = pipe->next;
        pipe_free(pipe);
    }
    while (world->programs) {
        struct world_program *program = world->programs;
        world->programs = program->next;
        free(program);
    }
    free(world);
}
