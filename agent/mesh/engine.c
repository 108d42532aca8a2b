/* SPDX-License-Identifier: MIT */
/*
 * The engine as a whole (mesh.h): made, freed, and given its turns. A turn does what timers and
 * events have made due, in one order: who is listed, dials, moves, lanes to peers, the link to the
 * hub; at its end what is over is freed. Tested by sim_rules and sim_hostile_trust.
 */
#include "agent/mesh/attach.h"
#include "agent/mesh/direct.h"
#include "agent/mesh/directory.h"
#include "agent/mesh/ends.h"
#include "agent/mesh/lane.h"
#include "agent/mesh/loop.h"
#include "agent/mesh/move.h"
#include "agent/mesh/rendezvous.h"
#include "agent/mesh/stream.h"
#include "agent/mesh/streams.h"
#include "agent/mesh/trust.h"
#include "common/crypto/aead_choice.h"

#include <sodium.h>
#include <stdlib.h>
#include <string.h>

static const int64_t SWEEP_US = 500 * 1000;

static uint64_t
or_default(uint64_t value, uint64_t fallback)
{
    return value ? value : fallback;
}

static void
set_defaults(struct mesh_config *config)
{
    config->keepalive_us =
        (int64_t)or_default((uint64_t)config->keepalive_us, CBX_LINK_KEEPALIVE_US);
    config->gone_us = (int64_t)or_default((uint64_t)config->gone_us, CBX_LINK_GONE_US);
    config->dial_timeout_us =
        (int64_t)or_default((uint64_t)config->dial_timeout_us, 30 * 1000 * 1000);
    config->receive_budget = or_default(config->receive_budget, 128ull << 20);
    config->send_budget = or_default(config->send_budget, 64ull << 20);
}

static int
copy_known(struct mesh *mesh, const struct mesh_known *known, size_t count)
{
    mesh->known_room = count + 16;
    mesh->known = calloc(mesh->known_room, sizeof *mesh->known);
    if (!mesh->known)
        return CBX_ERR_NOMEM;
    if (count)
        memcpy(mesh->known, known, count * sizeof *known);
    mesh->known_count = count;
    return 0;
}

static void
init_lists(struct mesh *mesh)
{
    TAILQ_INIT(&mesh->streams);
    TAILQ_INIT(&mesh->waiting);
    TAILQ_INIT(&mesh->opening);
    TAILQ_INIT(&mesh->parked);
    TAILQ_INIT(&mesh->delayed_acks);
    TAILQ_INIT(&mesh->reap);
    TAILQ_INIT(&mesh->moving);
    TAILQ_INIT(&mesh->loops);
    TAILQ_INIT(&mesh->rendezvous);
    TAILQ_INIT(&mesh->directs);
}

/* Stays 0 where our own certificate does not open. */
static int
read_own_serial(struct mesh *mesh)
{
    struct cbx_invite_cert *own = calloc(1, sizeof *own);
    if (!own)
        return CBX_ERR_NOMEM;
    if (cbx_invite_cert_open(mesh->invite_cert.bytes, mesh->invite_cert.length,
                             mesh->config.pond_public, own, NULL) == 0)
        mesh->own_serial = own->serial;
    free(own);
    return 0;
}

struct mesh *
mesh_new(const struct mesh_config *config, const struct mesh_known *known, size_t known_count,
         const struct mesh_ops *ops, void *arg)
{
    struct mesh *mesh = calloc(1, sizeof *mesh);
    if (!mesh)
        return NULL;
    mesh->config = *config;
    set_defaults(&mesh->config);
    mesh->ops = ops;
    mesh->arg = arg;
    mesh->invite_cert = *config->invite_cert;
    mesh->peer_cert = *config->peer_cert;
    cbx_chain_hash(&mesh->invite_cert, &mesh->peer_cert, mesh->chain_hash);
    randombytes_buf(mesh->incarnation, sizeof mesh->incarnation);
    init_lists(mesh);
    mesh->next_counter = 1;
    mesh->aead = cbx_aead_new();
    mesh->software = strdup(config->software ? config->software : "cbx-agent");
    mesh->swept_at = mesh_now(mesh);
    if (!mesh->aead || !mesh->software || read_own_serial(mesh) < 0 ||
        copy_known(mesh, known, known_count) < 0) {
        mesh_free(mesh);
        return NULL;
    }
    mesh->env = (struct cbx_stream_env){.ops = &mesh_stream_ops,
                                        .aead = mesh->aead,
                                        .send_used = &mesh->send_used,
                                        .send_total = mesh->config.send_budget,
                                        .epoch_bytes_max = 64ull << 30,
                                        .epoch_records_max = 1ull << 32};
    return mesh;
}

void
mesh_free(struct mesh *mesh)
{
    if (!mesh)
        return;
    mesh->closing = true;
    mesh_directs_close(mesh, false);
    mesh_streams_leave(mesh, &mesh->pump.link, CBX_REASON_GOING_AWAY);
    mesh_streams_leave(mesh, NULL, CBX_REASON_GOING_AWAY);
    mesh_streams_refuse_waiting(mesh, NULL, CBX_REASON_GOING_AWAY);
    mesh_loops_free(mesh);
    mesh_streams_free(mesh);
    if (mesh->has_pump)
        cbx_pump_dispose(&mesh->pump);
    mesh_peers_free(mesh);
    cbx_aead_free(mesh->aead);
    free(mesh->known);
    free(mesh->software);
    sodium_memzero(mesh, sizeof *mesh);
    free(mesh);
}

void
mesh_known_stored(struct mesh *mesh)
{
    mesh->stored_version = mesh->asked_version;
    mesh_peers_stored(mesh);
    mesh->dial_due = true;
    mesh_wake(mesh);
}

void
mesh_known_failed(struct mesh *mesh)
{
    mesh->asked_version = mesh->stored_version;
    mesh->storing_failed = true;
    mesh_wake(mesh);
}

static int64_t
earlier(int64_t a, int64_t b)
{
    return a < b ? a : b;
}

int64_t
mesh_flush(struct mesh *mesh)
{
    int64_t now = mesh_now(mesh);
    if (now - mesh->swept_at >= SWEEP_US) {
        mesh->swept_at = now;
        cbx_slab_tick();
        mesh_peers_sweep(mesh, now);
        mesh_rendezvous_sweep(mesh, now);
        if (mesh->lane_due)
            mesh_lane_ask(mesh);
    }
    if (mesh->storing_failed)
        mesh_peers_not_stored(mesh);
    mesh_streams_due(mesh, now);
    int64_t due = mesh_moves_due(mesh, now);
    mesh_loops_run(mesh);
    due = earlier(due, mesh_directs_flush(mesh, now));
    mesh_link_flush(mesh, now);
    mesh_streams_free(mesh);
    now = mesh_now(mesh);
    due = earlier(due, mesh_streams_deadline(mesh));
    due = earlier(due, mesh->swept_at + SWEEP_US);
    due = earlier(due, mesh_link_deadline(mesh));
    return due > now ? due - now : 0;
}
