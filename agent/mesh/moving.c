/* SPDX-License-Identifier: MIT */
/*
 * The books of a move: the list with its times, and the circuit left behind; decisions are made in
 * move.c. Tested by sim_moves and sim_rendezvous.
 */
#include "agent/mesh/moving.h"

#include "agent/mesh/path.h"
#include "common/link/fields.h"

static const int64_t MOVE_US = 15 * 1000 * 1000;

bool
mesh_stream_is_moving(const struct mesh_stream *stream)
{
    return stream->move.until != 0;
}

void
mesh_moving_enter(struct mesh_stream *stream, int64_t at)
{
    stream->move.at = at;
    if (mesh_stream_is_moving(stream))
        return;
    stream->move.until = at + MOVE_US;
    TAILQ_INSERT_TAIL(&stream->mesh->moving, stream, move.entry);
}

void
mesh_moving_leave(struct mesh_stream *stream)
{
    if (mesh_stream_is_moving(stream))
        TAILQ_REMOVE(&stream->mesh->moving, stream, move.entry);
    stream->move.until = 0;
}

/* Only what is granted over the hub's link is counted by somebody else, too. */
struct mesh_circuit_left
mesh_circuit_now(const struct mesh_stream *stream)
{
    const struct cbx_circuit *circuit = &stream->core.circuit;
    bool hub = circuit->link && mesh_link_is_hub(stream->mesh, circuit->link);
    return (struct mesh_circuit_left){.link = circuit->link,
                                      .label = circuit->label,
                                      .credit = hub ? stream->core.in.counted : 0};
}

/*
 * The hub is told, and counts what was granted there until it has heard that. So does our budget,
 * or a grant on another circuit would pass the allowance.
 */
void
mesh_circuit_close(struct mesh *mesh, const struct mesh_circuit_left *left)
{
    struct cbx_field fields[] = {[CBX_CLOSE_REASON] = cbx_field_uint(CBX_REASON_LOST)};
    cbx_link_send(left->link, CBX_FRAME_CLOSE, left->label, fields, 1);
    mesh->closing_credit += left->credit;
}

void
mesh_left_close(struct mesh_stream *stream)
{
    struct mesh *mesh = stream->mesh;
    if (stream->left.link)
        mesh_circuit_close(mesh, &stream->left);
    else
        mesh->hub_budget.used -= stream->left.credit;
    stream->left = (struct mesh_circuit_left){.link = NULL};
}

/* The closes are on their way, ahead of every CREDIT that is not. */
void
mesh_left_settle(struct mesh *mesh)
{
    if (mesh->closing_credit == 0 || (mesh->has_pump && mesh->pump.link.control_count > 0))
        return;
    mesh->hub_budget.used -= mesh->closing_credit;
    mesh->closing_credit = 0;
}

void
mesh_move_forget(struct mesh_stream *stream)
{
    mesh_moving_leave(stream);
    mesh_left_close(stream);
}
