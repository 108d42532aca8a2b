/* SPDX-License-Identifier: MIT */
/* Tested by sim_lanes and sim_planes. */
#include "agent/mesh/lane.h"
#include "agent/mesh/rates.h"

#include "common/link/fields.h"

#include <sodium.h>
#include <string.h>

bool
mesh_lane_up(const struct mesh *mesh)
{
    return mesh->has_pump && cbx_link_moved(&mesh->pump.link);
}

bool
mesh_lane_allows(const struct mesh *mesh)
{
    return mesh->config.lanes != CBX_LANES_REQUIRE || mesh_lane_up(mesh);
}

void
mesh_lane_ask(struct mesh *mesh)
{
    if (!mesh->synced || mesh->lane_asked || !mesh->has_pump || mesh->pump.lane)
        return;
    mesh->lane_due = !mesh_rate_asks_lane(mesh);
    if (mesh->lane_due)
        return;
    struct cbx_field fields[] = {[CBX_LANE_GET_CIPHER] =
                                     cbx_field_uint(mesh_preferred_cipher(mesh))};
    mesh->lane_asked = cbx_link_send(&mesh->pump.link, CBX_FRAME_LANE_GET, 0, fields, 1) == 0;
}

int
mesh_lane_promised(struct mesh *mesh, const struct cbx_frame *frame, struct cbx_error *error)
{
    struct cbx_lane_ticket ticket = {.cipher =
                                         (enum cbx_cipher)frame->field[CBX_LANE_FRAME_CIPHER].u};
    if (!mesh->lane_asked)
        return cbx_fail(error, CBX_ERR_STATE, "LANE without a request");
    if (ticket.cipher != CBX_CIPHER_AES256GCM && ticket.cipher != CBX_CIPHER_CHACHA20POLY1305)
        return cbx_fail(error, CBX_ERR_STATE, "LANE with an unknown cipher");
    memcpy(ticket.id, frame->field[CBX_LANE_FRAME_ID].p, sizeof ticket.id);
    memcpy(ticket.secret, frame->field[CBX_LANE_FRAME_SECRET].p, sizeof ticket.secret);
    mesh->lane_asked = false;
    memcpy(mesh->lane_id, ticket.id, sizeof mesh->lane_id);
    cbx_link_expect_lane(&mesh->pump.link, ticket.id);
    mesh->ops->lane(mesh->arg, &ticket);
    sodium_memzero(&ticket, sizeof ticket);
    return 0;
}

int
mesh_lane_refused(struct mesh *mesh, const struct cbx_frame *frame, struct cbx_error *error)
{
    char text[CBX_FRAME_TEXT_MAX + 1];
    if (!mesh->lane_asked)
        return cbx_fail(error, CBX_ERR_STATE, "NO_LANE without a request");
    mesh->lane_asked = false;
    cbx_field_copy(text, sizeof text, &frame->field[CBX_NO_LANE_TEXT]);
    mesh->ops->no_lane(mesh->arg, false, text);
    return 0;
}

int
mesh_lane_attach(struct mesh *mesh, struct cbx_carrier *carrier,
                 const struct cbx_lane_ticket *ticket)
{
    bool ours = mesh->has_pump && memcmp(mesh->lane_id, ticket->id, sizeof mesh->lane_id) == 0;
    struct cbx_lane *lane = ours ? cbx_lane_new(ticket, false) : NULL;
    if (!lane) {
        carrier->ops->close(carrier);
        return ours ? CBX_ERR_NOMEM : CBX_ERR_STATE;
    }
    int result = cbx_pump_lane(&mesh->pump, carrier, lane);
    if (result == 0)
        mesh->count.lanes++;
    mesh_wake(mesh);
    return result;
}
