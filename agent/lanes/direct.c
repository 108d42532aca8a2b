/* SPDX-License-Identifier: MIT */
/*
 * An expected ticket is struck out by whoever names its id, before the proof is looked at, so that
 * nobody can try twice. A try to reach a peer that cannot even begin is reported from the loop, as
 * any other: the mesh is not called back from inside its own call.
 */
#include "agent/lanes/direct.h"
#include "agent/lanes/direct_dialer.h"
#include "agent/lanes/direct_listener.h"
#include "common/base/log.h"
#include <ev.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sodium.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/queue.h>
#include <sys/socket.h>
#include <unistd.h>

enum { DIALS_MAX = 32, SPENT_MAX = 32, NOT_SENT_LOW_WATER = 128 * 1024 };

struct expected {
    LIST_ENTRY(expected) entry;
    struct cbx_lane_ticket ticket;
};

struct dial {
    LIST_ENTRY(dial) entry;
    struct agent_direct *direct;
    struct direct_dialer *dialer;
    uint8_t id[CBX_LANE_ID];
};

/* The last ids, oldest overwritten. */
struct ids {
    uint32_t count; /* ever added */
    uint8_t id[SPENT_MAX][CBX_LANE_ID];
};

struct agent_direct {
    struct ev_loop *loop;
    struct direct_listener *listener; /* NULL: none could be had */
    struct mesh *mesh;
    LIST_HEAD(, expected) expected;
    LIST_HEAD(, dial) dials;
    struct ids spent; /* struck out by a proof that held */
    struct ids stillborn;
    ev_timer report;
    uint32_t expecting, dialing;
    uint64_t dialed, dials_failed;
    struct cbx_error trouble; /* why there is no listener */
};

static void
ids_add(struct ids *ids, const uint8_t id[CBX_LANE_ID])
{
    memcpy(ids->id[ids->count++ % SPENT_MAX], id, CBX_LANE_ID);
}

static bool
ids_hold(const struct ids *ids, const uint8_t id[CBX_LANE_ID])
{
    uint32_t held = ids->count < SPENT_MAX ? ids->count : SPENT_MAX;
    for (uint32_t i = 0; i < held; i++) {
        if (memcmp(ids->id[i], id, CBX_LANE_ID) == 0)
            return true;
    }
    return false;
}

/* ---- a lane that stands ---- */

/* As a lane's socket to the hub. None of it is needed to work, so none is an error. */
static void
tune(int fd)
{
    const int on = 1, low_water = NOT_SENT_LOW_WATER;
    (void)setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
#ifdef TCP_NOTSENT_LOWAT
    (void)setsockopt(fd, IPPROTO_TCP, TCP_NOTSENT_LOWAT, &low_water, sizeof low_water);
#endif
}

/* Takes the socket over. CBX_ERR_STATE: nobody waits for the lane any more. */
static int
give_to_mesh(struct agent_direct *direct, int fd, const struct cbx_lane_ticket *ticket,
             bool listener)
{
    tune(fd);
    struct cbx_carrier *carrier =
        direct->mesh != NULL ? cbx_carrier_fd(direct->loop, fd, fd) : NULL;
    if (!carrier) {
        close(fd);
        return direct->mesh != NULL ? CBX_ERR_NOMEM : CBX_ERR_STATE;
    }
    return mesh_direct_attach(direct->mesh, carrier, ticket, listener);
}

/* ---- whoever comes to the listener ---- */

static void
strike_out(struct agent_direct *direct, struct expected *expected)
{
    LIST_REMOVE(expected, entry);
    direct->expecting--;
    sodium_memzero(expected, sizeof *expected);
    free(expected);
}

static struct expected *
find_expected(const struct agent_direct *direct, const uint8_t id[CBX_LANE_ID])
{
    struct expected *expected;
    LIST_FOREACH(expected, &direct->expected, entry) {
        if (memcmp(expected->ticket.id, id, CBX_LANE_ID) == 0)
            return expected;
    }
    return NULL;
}

static bool
answer(int fd, const struct cbx_lane_ticket *ticket)
{
    uint8_t bytes[CBX_LANE_MAC];
    cbx_lane_answer(ticket, bytes);
    return send(fd, bytes, sizeof bytes, MSG_NOSIGNAL | MSG_DONTWAIT) == (ssize_t)sizeof bytes;
}

static enum direct_verdict
on_took(void *arg, int fd, const uint8_t preface[CBX_LANE_PREFACE])
{
    struct agent_direct *direct = arg;
    const uint8_t *id = preface + CBX_LANE_MAGIC;
    struct expected *expected = find_expected(direct, id);
    struct cbx_lane_ticket ticket;
    if (!expected) {
        close(fd);
        return ids_hold(&direct->spent, id) ? DIRECT_REPEATED : DIRECT_STRANGER;
    }
    ticket = expected->ticket;
    strike_out(direct, expected);
    bool holds = cbx_lane_preface_holds(&ticket, preface);
    if (holds)
        ids_add(&direct->spent, id);
    if (!holds || !answer(fd, &ticket))
        close(fd);
    else if (give_to_mesh(direct, fd, &ticket, true) < 0)
        cbx_log_info("closed an unexpected direct lane connection");
    sodium_memzero(&ticket, sizeof ticket);
    return holds ? DIRECT_PROVEN : DIRECT_STRANGER;
}

/* ---- our own tries ---- */

static void
dial_free(struct dial *dial)
{
    direct_dialer_free(dial->dialer);
    LIST_REMOVE(dial, entry);
    dial->direct->dialing--;
    free(dial);
}

static void
failed(struct agent_direct *direct, const uint8_t id[CBX_LANE_ID], const char *text)
{
    direct->dials_failed++;
    if (direct->mesh)
        mesh_direct_failed(direct->mesh, id, text);
}

/* The dial is gone before the mesh hears of it: the mesh may forget it from there. */
static void
on_dial_up(void *arg, int fd, const struct cbx_lane_ticket *its_ticket)
{
    struct dial *dial = arg;
    struct agent_direct *direct = dial->direct;
    struct cbx_lane_ticket ticket = *its_ticket;
    dial_free(dial);
    if (give_to_mesh(direct, fd, &ticket, false) == CBX_ERR_NOMEM)
        failed(direct, ticket.id, "out of memory");
    sodium_memzero(&ticket, sizeof ticket);
}

static void
on_dial_failed(void *arg, const char *text)
{
    struct dial *dial = arg;
    struct agent_direct *direct = dial->direct;
    char copy[CBX_ERROR_TEXT_MAX];
    uint8_t id[CBX_LANE_ID];
    memcpy(id, dial->id, sizeof id);
    (void)snprintf(copy, sizeof copy, "%s", text);
    dial_free(dial);
    failed(direct, id, copy);
}

static const struct direct_dialer_ops dialer_ops = {.up = on_dial_up, .failed = on_dial_failed};

static struct dial *
dial_new(struct agent_direct *direct, const struct cbx_lane_ticket *ticket,
         const struct candidates *to)
{
    struct dial *dial = direct->dialing < DIALS_MAX ? calloc(1, sizeof *dial) : NULL;
    if (!dial)
        return NULL;
    dial->direct = direct;
    memcpy(dial->id, ticket->id, sizeof dial->id);
    dial->dialer =
        direct_dialer_new(direct->loop, to, ticket, DIRECT_CONNECT_MS, &dialer_ops, dial);
    if (!dial->dialer) {
        free(dial);
        return NULL;
    }
    LIST_INSERT_HEAD(&direct->dials, dial, entry);
    direct->dialing++;
    return dial;
}

static void
on_report(struct ev_loop *loop, ev_timer *timer, int events)
{
    (void)loop;
    (void)events;
    struct agent_direct *direct = timer->data;
    struct ids all = direct->stillborn;
    direct->stillborn.count = 0;
    for (uint32_t i = 0; i < all.count && i < SPENT_MAX; i++)
        failed(direct, all.id[i], "too many attempts at once, or out of memory");
}

/* ---- the mesh's wishes ---- */

void
agent_direct_candidates(const struct agent_direct *direct, const char *seen, struct candidates *out)
{
    out->count = 0;
    if (direct->listener)
        candidates_own(out, direct_listener_port(direct->listener),
                       direct_listener_bound(direct->listener), seen);
}

void
agent_direct_expect(struct agent_direct *direct, const struct cbx_lane_ticket *ticket)
{
    agent_direct_forget(direct, ticket->id);
    struct expected *expected = calloc(1, sizeof *expected);
    if (!expected)
        return; /* the peer's try fails, and that is told */
    expected->ticket = *ticket;
    LIST_INSERT_HEAD(&direct->expected, expected, entry);
    direct->expecting++;
}

void
agent_direct_connect(struct agent_direct *direct, const struct cbx_lane_ticket *ticket,
                     const struct candidates *to)
{
    direct->dialed++;
    if (dial_new(direct, ticket, to))
        return;
    ids_add(&direct->stillborn, ticket->id);
    ev_timer_start(direct->loop, &direct->report);
}

void
agent_direct_forget(struct agent_direct *direct, const uint8_t id[CBX_LANE_ID])
{
    struct expected *expected = find_expected(direct, id);
    if (expected)
        strike_out(direct, expected);
    struct dial *dial, *next;
    for (dial = LIST_FIRST(&direct->dials); dial; dial = next) {
        next = LIST_NEXT(dial, entry);
        if (memcmp(dial->id, id, CBX_LANE_ID) == 0)
            dial_free(dial);
    }
}

/* ---- the whole ---- */

void
agent_direct_serve(struct agent_direct *direct, struct mesh *mesh)
{
    while (!LIST_EMPTY(&direct->expected))
        strike_out(direct, LIST_FIRST(&direct->expected));
    while (!LIST_EMPTY(&direct->dials))
        dial_free(LIST_FIRST(&direct->dials));
    ev_timer_stop(direct->loop, &direct->report);
    direct->stillborn.count = 0;
    direct->mesh = mesh;
}

struct agent_direct *
agent_direct_new(struct ev_loop *loop, const char *where, struct cbx_error *error)
{
    struct agent_direct *direct = calloc(1, sizeof *direct);
    struct cbx_error cause = {""};
    if (!direct) {
        (void)cbx_fail(error, CBX_ERR_NOMEM, "out of memory");
        return NULL;
    }
    direct->loop = loop;
    LIST_INIT(&direct->expected);
    LIST_INIT(&direct->dials);
    ev_timer_init(&direct->report, on_report, 0., 0.);
    direct->report.data = direct;
    direct->listener = direct_listener_new(loop, where, on_took, direct, &cause);
    if (direct->listener)
        return direct;
    if (strcmp(where, "auto") != 0) {
        (void)cbx_fail(error, CBX_ERR_IO, "%s", cause.text);
        free(direct);
        return NULL;
    }
    (void)cbx_fail(&direct->trouble, CBX_OK,
                   "%s; peers cannot open direct lanes to this agent, but it can to them",
                   cause.text);
    return direct;
}

void
agent_direct_free(struct agent_direct *direct)
{
    if (!direct)
        return;
    agent_direct_serve(direct, NULL);
    direct_listener_free(direct->listener);
    free(direct);
}

const char *
agent_direct_warning(const struct agent_direct *direct)
{
    return direct ? direct->trouble.text : "";
}

json_t *
agent_direct_json(const struct agent_direct *direct)
{
    if (!direct)
        return json_pack("{s:s}", "mode", "off");
    json_t *object =
        json_pack("{s:s, s:s, s:s, s:I, s:I, s:I}", "mode", "on", "trouble", direct->trouble.text,
                  "listening", "", "expected", (json_int_t)direct->expecting, "dials",
                  (json_int_t)direct->dialed, "dials_failed", (json_int_t)direct->dials_failed);
    json_t *listener = direct->listener != NULL ? direct_listener_json(direct->listener) : NULL;
    if (listener)
        (void)json_object_update(object, listener);
    json_decref(listener);
    return object;
}
