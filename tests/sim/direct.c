/* SPDX-License-Identifier: MIT */
#include "direct.h"
#include "pipe.h"
#include <assert.h>
#include <sodium.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { PORT = 7000, HOST_PORT = 2000, CONNECT_US = 3 * 1000 * 1000 };

struct world_expected {
    struct world_expected *next;
    struct world_agent *listener;
    struct cbx_lane_ticket ticket;
};

/* Under way until `at`: to found, or to nobody. */
struct world_connect {
    struct world_connect *next;
    struct world_agent *from, *found;
    struct cbx_lane_ticket ticket;
    int64_t at;
};

/* ---- where they are ---- */

static uint32_t
index_of(const struct world_agent *agent)
{
    uint32_t i = 0;
    while (agent->world->agent[i] != agent)
        i++;
    return i;
}

static void
address_of(const struct world_agent *agent, bool loopback, char out[CANDIDATE_TEXT_MAX])
{
    uint32_t i = index_of(agent);
    if (loopback)
        (void)snprintf(out, CANDIDATE_TEXT_MAX, "127.0.0.1:%u", HOST_PORT + i);
    else
        (void)snprintf(out, CANDIDATE_TEXT_MAX, "10.0.%u.%u:%u", i / 250, i % 250 + 1, PORT);
}

void
world_direct_candidates(void *arg, const char *seen, struct candidates *out)
{
    const struct world_agent *agent = arg;
    (void)seen;
    address_of(agent, false, out->item[0]);
    address_of(agent, true, out->item[1]);
    out->count = 2;
}

bool
world_direct_mark(void *arg, const uint8_t key[32], uint8_t role, uint8_t out[16])
{
    const struct world_agent *agent = arg;
    uint32_t host = agent->host ? agent->host : 0x80000000u + index_of(agent);
    crypto_generichash_state state;
    crypto_generichash_init(&state, key, 32, 16);
    crypto_generichash_update(&state, &role, 1);
    crypto_generichash_update(&state, (const uint8_t *)&host, sizeof host);
    crypto_generichash_final(&state, out, 16);
    return true;
}

static struct world_agent *
who_is_at(const struct world_agent *from, const char *text)
{
    const struct world *world = from->world;
    char address[CANDIDATE_TEXT_MAX];
    for (uint32_t i = 0; i < world->agent_count; i++) {
        struct world_agent *agent = world->agent[i];
        address_of(agent, false, address);
        if (strcmp(address, text) == 0)
            return agent->unreachable ? NULL : agent;
        address_of(agent, true, address);
        if (strcmp(address, text) == 0)
            return agent->host && agent->host == from->host ? agent : NULL;
    }
    return NULL;
}

/* ---- tickets ---- */

void
world_direct_expect(void *arg, const struct cbx_lane_ticket *ticket)
{
    struct world_agent *agent = arg;
    struct world_expected *expected = calloc(1, sizeof *expected);
    assert(expected);
    expected->listener = agent;
    expected->ticket = *ticket;
    expected->next = agent->world->expected;
    agent->world->expected = expected;
}

static struct world_expected **
find_expected(const struct world_agent *listener, const uint8_t id[CBX_LANE_ID])
{
    struct world_expected **at = &listener->world->expected;
    while (*at && ((*at)->listener != listener || memcmp((*at)->ticket.id, id, CBX_LANE_ID) != 0))
        at = &(*at)->next;
    return at;
}

uint32_t
world_direct_expects(const struct world_agent *agent)
{
    uint32_t count = 0;
    for (const struct world_expected *at = agent->world->expected; at; at = at->next)
        count += at->listener == agent;
    return count;
}

static void
drop_expected(struct world_expected **at)
{
    struct world_expected *expected = *at;
    *at = expected->next;
    free(expected);
}

void
world_direct_forget(void *arg, const uint8_t id[CBX_LANE_ID])
{
    struct world_agent *agent = arg;
    struct world_expected **expected = find_expected(agent, id);
    if (*expected)
        drop_expected(expected);
    struct world_connect **at = &agent->world->connecting;
    while (*at) {
        struct world_connect *one = *at;
        if (one->from == agent && memcmp(one->ticket.id, id, CBX_LANE_ID) == 0) {
            *at = one->next;
            free(one);
        } else {
            at = &one->next;
        }
    }
}

/* ---- connecting ---- */

void
world_direct_connect(void *arg, const struct cbx_lane_ticket *ticket, const struct candidates *to)
{
    struct world_agent *agent = arg;
    struct world_connect *one = calloc(1, sizeof *one);
    assert(one && to->count > 0 && to->count <= CANDIDATES_MAX);
    agent->connects++;
    one->from = agent;
    one->ticket = *ticket;
    for (uint32_t i = 0; i < to->count && !one->found; i++)
        one->found = who_is_at(agent, to->item[i]);
    int64_t takes = one->found ? 4 * agent->path.delay_us : CONNECT_US;
    one->at = agent->world->now + (takes < CONNECT_US ? takes : CONNECT_US);
    one->next = agent->world->connecting;
    agent->world->connecting = one;
}

/* The preface opens the listener's ticket, and its answer the dialer's. */
static bool
is_proven(const struct cbx_lane_ticket *dialer, const struct cbx_lane_ticket *listener)
{
    uint8_t preface[CBX_LANE_PREFACE], answer[CBX_LANE_MAC];
    cbx_lane_preface(dialer, preface);
    cbx_lane_answer(listener, answer);
    return cbx_lane_preface_holds(listener, preface) && cbx_lane_answer_holds(dialer, answer);
}

static void
finish(struct world_connect *one)
{
    struct world_agent *from = one->from, *to = one->found;
    struct world_expected **at = to && to->mesh ? find_expected(to, one->ticket.id) : NULL;
    if (!at || !*at || !is_proven(&one->ticket, &(*at)->ticket)) {
        mesh_direct_failed(from->mesh, one->ticket.id, "nobody answers");
        return;
    }
    struct cbx_lane_ticket ticket = (*at)->ticket;
    drop_expected(at);
    struct world_pipe *pipe = world_direct_new(from);
    (void)mesh_direct_attach(to->mesh, &pipe->end[1].base, &ticket, true);
    (void)mesh_direct_attach(from->mesh, &pipe->end[0].base, &one->ticket, false);
}

void
world_direct_step(struct world *world)
{
    struct world_connect **at = &world->connecting;
    while (*at) {
        struct world_connect *one = *at;
        if (one->at > world->now) {
            at = &one->next;
            continue;
        }
        *at = one->next;
        finish(one);
        free(one);
        at = &world->connecting; /* what it called may have changed the list */
    }
}

void
world_direct_free(struct world *world)
{
    while (world->expected)
        drop_expected(&world->expected);
    while (world->connecting) {
        struct world_connect *one = world->connecting;
        world->connecting = one->next;
        free(one);
    }
}

/* ---- harm ---- */

void
world_cut_direct(struct world_agent *agent)
{
    assert(agent->direct);
    agent->direct->cut = true;
}

void
world_harm_direct(struct world_agent *agent, bool away, enum world_harm harm, uint64_t after)
{
    assert(agent->direct);
    agent->direct->lane[away ? 0 : 1].harm = harm;
    agent->direct->lane[away ? 0 : 1].harm_after = after;
}
