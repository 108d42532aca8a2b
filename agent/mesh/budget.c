/* SPDX-License-Identifier: MIT */
/* Tested by sim_load and sim_allowance. */
#include "agent/mesh/budget.h"
#include "common/link/fields.h"

static const int64_t WANT_EVERY_US = 50 * 1000;

/* Where lanes to peers may be made, a quarter of the budget is theirs in any case. */
static uint64_t
hub_share(const struct mesh *mesh)
{
    uint64_t all = mesh->config.receive_budget;
    return mesh->config.direct ? all - all / 4 : all;
}

void
mesh_set_allowance(struct mesh *mesh, uint64_t value)
{
    mesh->allowance = value;
    mesh->hub_budget.total = value < hub_share(mesh) ? value : hub_share(mesh);
    mesh->direct_budget.total = mesh->config.receive_budget - mesh->hub_budget.total;
}

bool
mesh_may_grow(const struct mesh *mesh)
{
    return mesh->phase == MESH_UP && mesh->allowance < hub_share(mesh);
}

void
mesh_ask_for_more(struct mesh *mesh, int64_t now)
{
    if (!mesh_may_grow(mesh))
        mesh->hub_budget.cut = false;
    if (!mesh->hub_budget.cut || now < mesh->want_at)
        return;
    mesh->hub_budget.cut = false;
    mesh->want_at = now + WANT_EVERY_US;
    struct cbx_field fields[] = {[CBX_WANT_ALLOWANCE] = cbx_field_uint(2 * mesh->allowance)};
    cbx_link_send(&mesh->pump.link, CBX_FRAME_WANT, 0, fields, 1);
}
