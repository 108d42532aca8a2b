/* SPDX-License-Identifier: MIT */
/* Tested by sim_rules. */
#include "agent/mesh/base.h"

#include "common/base/states.h"
#include "common/crypto/aead_choice.h"

static const struct cbx_states phases = {
    .what = "link to the hub of",
    .state =
        {
            [MESH_DOWN] = {"down", CBX_STATE(MESH_GREETING)},
            [MESH_GREETING] = {"greeting", CBX_STATE(MESH_WAITING) | CBX_STATE(MESH_DOWN)},
            [MESH_WAITING] = {"waiting", CBX_STATE(MESH_SYNCING) | CBX_STATE(MESH_DOWN)},
            [MESH_SYNCING] = {"syncing", CBX_STATE(MESH_UP) | CBX_STATE(MESH_DOWN)},
            [MESH_UP] = {"attached", CBX_STATE(MESH_DOWN)},
        },
};

int64_t
mesh_now(const struct mesh *mesh)
{
    return mesh->ops->now_us(mesh->arg);
}

void
mesh_wake(struct mesh *mesh)
{
    mesh->ops->wake(mesh->arg);
}

void
mesh_set_phase(struct mesh *mesh, enum mesh_phase phase)
{
    if (cbx_states_allow(&phases, mesh->config.slug, mesh->phase, phase))
        mesh->phase = phase;
}

const char *
mesh_phase_name(enum mesh_phase phase)
{
    return phases.state[phase].name;
}

enum cbx_cipher
mesh_preferred_cipher(const struct mesh *mesh)
{
    bool aes = cbx_aead_preferred() == CBX_CIPHER_AES256GCM && !mesh->config.prefer_chacha;
    return aes ? CBX_CIPHER_AES256GCM : CBX_CIPHER_CHACHA20POLY1305;
}
