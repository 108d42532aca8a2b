/* SPDX-License-Identifier: MIT */
/* Tested by sim_rates. */
#include "agent/mesh/rates.h"

#include "agent/mesh/path.h"
#include "common/link/rates.h"

#include <string.h>

/* What waits for a rate is looked at again after this long, some 36 OPENs at a time. */
static const int64_t PACE_US = 20 * 1000;

void
mesh_rates_begin(struct mesh *mesh)
{
    memset(&mesh->rates, 0, sizeof mesh->rates);
}

static bool
take(struct mesh *mesh, struct cbx_rate *rate, const struct cbx_rate_limit *limit, double share)
{
    if (cbx_rate_paces(rate, limit, share, mesh_now(mesh)))
        return true;
    mesh->count.paced++;
    return false;
}

bool
mesh_rate_opens(struct mesh *mesh, struct mesh_peer *peer, const struct cbx_link *link)
{
    bool hub = mesh_link_is_hub(mesh, link);
    struct cbx_rate *rate = hub ? &mesh->rates.opens : &peer->direct->opens_out;
    if (take(mesh, rate, &CBX_RATE_OPEN, 1))
        return true;
    if (!mesh->paced_at)
        mesh->paced_at = mesh_now(mesh) + PACE_US;
    return false;
}

bool
mesh_rate_passes(struct mesh *mesh, enum mesh_passed kind)
{
    static const double share[] = {
        [MESH_PASSED_BEGIN] = 0.5, [MESH_PASSED_ANSWER] = 0.75, [MESH_PASSED_SAY] = 1};
    return take(mesh, &mesh->rates.passed, &CBX_RATE_PASSED, share[kind]);
}

bool
mesh_rate_fetches(struct mesh *mesh)
{
    return take(mesh, &mesh->rates.chains, &CBX_RATE_CHAIN_GET, 1);
}

bool
mesh_rate_asks_lane(struct mesh *mesh)
{
    return take(mesh, &mesh->rates.lanes, &CBX_RATE_LANE_GET, 1);
}
